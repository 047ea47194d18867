"""Compressed rows: sorting triplets, joining duplicates, transposing.

All of it by counting, O(n_ratings + n_rows + n_columns), in SciPy's compiled conversions. The one
they are used for is a stable counting sort: the transpose of a matrix with one entry per row lists,
column by column, the rows whose entry lies there, in rising order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cymf._id_columns import chunks
from cymf._ratings_checks import index_dtype

__all__ = [
    "CompressedRows",
    "compress",
    "is_canonical",
    "join_duplicates",
    "repeats",
    "row_numbers",
    "row_of",
    "scipy_rows",
    "transpose",
]


class CompressedRows(NamedTuple):
    """Entries sorted by row, then column, then input; row i is ``indptr[i]:indptr[i + 1]``."""

    indptr: NDArray[np.int64]
    indices: NDArray[Any]  # int32 where the number of columns allows
    order: NDArray[Any] | None  # position in the input of each entry; None: as they came


def compress(entries: list[NDArray[Any]], shape: tuple[int, int]) -> CompressedRows:
    """Sort entries, stably, by row and column; `entries` are their rows and columns.

    Two passes: by column (a counting sort), then by row while converting columns to rows. The list is emptied, so
    that long columns go as soon as they are used up.
    """
    n_rows, n_columns = shape
    rows, columns = entries
    entries.clear()
    rows = rows.astype(index_dtype(n_rows), copy=False)
    columns = columns.astype(index_dtype(n_columns), copy=False)
    if _is_sorted(rows, columns):
        indptr = np.searchsorted(rows, np.arange(n_rows + 1)).astype(np.int64)
        return CompressedRows(indptr, columns, None)
    count = len(rows)
    each = np.arange(count + 1, dtype=index_dtype(count))
    one = np.zeros(count, dtype=np.int8)
    by_column = sparse.csr_array((one, columns, each), shape=(count, n_columns)).tocsc()
    del each, one, columns
    order, starts = by_column.indices, by_column.indptr
    del by_column
    rows = rows[order]
    by_row = sparse.csc_array((order, rows, starts), shape=shape).tocsr()
    return CompressedRows(
        by_row.indptr.astype(np.int64, copy=False),
        by_row.indices.astype(index_dtype(n_columns), copy=False),
        by_row.data,
    )


def transpose(
    indptr: NDArray[np.int64], indices: NDArray[Any], data: NDArray[Any], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    """Compressed rows of the transposed matrix: ``(indptr, indices, data)``."""
    turned = scipy_rows(indptr, indices, data, shape).tocsc()
    return (
        turned.indptr.astype(np.int64, copy=False),
        turned.indices.astype(index_dtype(shape[0]), copy=False),
        turned.data,
    )


def scipy_rows(
    indptr: NDArray[np.int64], indices: NDArray[Any], data: NDArray[Any], shape: tuple[int, int]
) -> sparse.csr_array:
    """A SciPy array over these arrays; SciPy wants one dtype for both kinds of indices."""
    common = index_dtype(max(len(indices), *shape))
    pattern = (indices.astype(common, copy=False), indptr.astype(common, copy=False))
    return sparse.csr_array((data, *pattern), shape=shape)


def is_canonical(indptr: NDArray[Any], indices: NDArray[Any]) -> bool:
    """Whether the columns of every row rise strictly."""
    if len(indices) < 2:
        return True
    rising = indices[1:] > indices[:-1]
    rising[_row_borders(indptr, len(indices))] = True
    return bool(rising.all())


def repeats(indptr: NDArray[np.int64], indices: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Marks entries that name the same cell as the one before; None if there are none."""
    same = np.zeros(len(indices), dtype=bool)
    np.equal(indices[1:], indices[:-1], out=same[1:])
    same[1:][_row_borders(indptr, len(indices))] = False
    return same if same.any() else None


def join_duplicates(
    rows: CompressedRows,
    repeated: NDArray[np.bool_],
    values: NDArray[Any],
    weights: NDArray[Any] | None,
    timestamps: NDArray[Any] | None,
    how: str,
) -> tuple[CompressedRows, NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    """Make one entry of those that name the same cell; all columns come in storage order.

    ``first`` and ``last`` keep one entry whole. ``mean`` and ``sum`` take the mean (by weight) or
    the sum of the values, the mean of the weights and the latest timestamp.
    """
    count = len(values)
    first = np.flatnonzero(~repeated)
    last = np.append(first[1:], count) - 1
    kept = last if how == "last" else first
    if how in ("first", "last"):
        values = values[kept]
        weights = None if weights is None else weights[kept]
        timestamps = None if timestamps is None else timestamps[kept]
    else:
        size = last - first + 1
        exact = values.astype(np.float64, copy=False)
        if how == "sum":
            joined = np.add.reduceat(exact, first)
        else:
            joined = np.add.reduceat(exact, first) / size
            if weights is not None:
                total = np.add.reduceat(weights, first, dtype=np.float64)
                weighted = np.add.reduceat(weights * exact, first)
                np.divide(weighted, total, out=joined, where=total > 0)
        joined[size == 1] = exact[first[size == 1]]  # untouched, to the last bit
        values = joined
        if weights is not None:
            weights = np.add.reduceat(weights, first, dtype=np.float64) / size
        if timestamps is not None:
            timestamps = np.maximum.reduceat(timestamps, first)
    before = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(~repeated, out=before[1:])
    order = kept if rows.order is None else rows.order[kept]
    return (
        CompressedRows(before[rows.indptr], rows.indices[first], order),
        values,
        weights,
        timestamps,
    )


def row_numbers(indptr: NDArray[Any], dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """The row of every entry."""
    return np.repeat(np.arange(len(indptr) - 1, dtype=dtype), np.diff(indptr))


def row_of(indptr: NDArray[Any], entry: int) -> int:
    """The row of one entry."""
    return int(np.searchsorted(indptr, entry, side="right")) - 1


def _row_borders(indptr: NDArray[Any], count: int) -> NDArray[Any]:
    """Places k such that entries k and k + 1 lie in different rows."""
    starts = indptr[1:-1]
    return starts[(starts > 0) & (starts < count)] - 1


def _is_sorted(rows: NDArray[Any], columns: NDArray[Any]) -> bool:
    for part in chunks(len(rows) - 1):
        after = slice(part.start + 1, part.stop + 1)
        rising = rows[part] < rows[after]
        rising |= (rows[part] == rows[after]) & (columns[part] <= columns[after])
        if not rising.all():
            return False
    return True
