"""Matrices, sparse and dense, taken apart into entries."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cymf._arrays import as_array, offers_array, type_name
from cymf._columns import as_series, number_column
from cymf._compressed import CompressedRows, compress, is_canonical, row_numbers, row_of
from cymf._ratings_checks import as_numbers, index_dtype
from cymf._tables import open_table

__all__ = ["MatrixEntries", "extra_column", "read_matrix"]


class MatrixEntries(NamedTuple):
    """The observed entries of a matrix, in the order in which it stores them."""

    shape: tuple[int, int]
    rows: NDArray[Any] | None  # None: `indptr` holds them, and the entries are sorted and unique
    indptr: NDArray[np.int64] | None
    columns: NDArray[Any]
    values: NDArray[Any]
    keeps_order: bool  # whether the order of the entries was somebody's choice (COO)

    def cell(self, entry: int) -> tuple[int, int]:
        """Row and column of an entry."""
        if self.rows is not None:
            return int(self.rows[entry]), int(self.columns[entry])
        assert self.indptr is not None
        return row_of(self.indptr, entry), int(self.columns[entry])

    def compressed(self) -> CompressedRows:
        """The same entries by row and column; a cell that is stored several times, several times."""
        if self.rows is not None:
            return compress([self.rows, self.columns], self.shape)
        assert self.indptr is not None
        return CompressedRows(self.indptr, self.columns, None)


def read_matrix(X: Any, what: str = "X") -> MatrixEntries:
    """Entries of a SciPy sparse matrix or array, a dense array with NaN, or a masked array."""
    if not sparse.issparse(X):
        return _read_dense(X, what)
    if X.ndim != 2:
        raise ValueError(f"{what} must be 2-D, users × items; given shape {X.shape}")
    if X.format in ("bsr", "dia"):
        return _read_padded(X)
    if X.format not in ("csr", "csc", "coo"):
        X = X.tocsr()
    n_rows, n_columns = shape = (int(X.shape[0]), int(X.shape[1]))
    values = _numbers(X.data, what)
    if X.format == "coo":
        rows, columns = np.asarray(X.row), np.asarray(X.col)
        _check_stored(rows, n_rows, f"{what}: stored rows")
        _check_stored(columns, n_columns, f"{what}: stored columns")
        return MatrixEntries(shape, rows, None, columns, values, True)
    indptr, indices = X.indptr.astype(np.int64), X.indices
    if indptr[0] != 0 or indptr[-1] > min(len(indices), len(values)) or (np.diff(indptr) < 0).any():
        raise ValueError(f"{what}.indptr does not rise from 0 to the number of stored entries")
    indices, values = indices[: indptr[-1]], values[: indptr[-1]]  # the rest is spare room
    minor = n_columns if X.format == "csr" else n_rows
    _check_stored(indices, minor, f"{what}.indices")
    indices = indices.astype(index_dtype(minor), copy=False)
    if X.format == "csc":
        columns = row_numbers(indptr, index_dtype(n_columns))
        return MatrixEntries(shape, indices, None, columns, values, False)
    if is_canonical(indptr, indices):
        return MatrixEntries(shape, None, indptr, indices, values, False)
    rows = row_numbers(indptr, index_dtype(n_rows))
    return MatrixEntries(shape, rows, None, indices, values, False)


def extra_column(extra: Any, X: Any, entries: MatrixEntries, what: str) -> NDArray[Any]:
    """Weights or timestamps that belong to the entries of a matrix, in the entries' order.

    They come as a sparse matrix with the same entries, as a dense array of the same shape, or as a
    1-D array with one element per entry, in the order of ``X.data`` (of a dense X: row by row).
    """
    if sparse.issparse(extra):
        return _same_cells(read_matrix(extra, what), entries, what)
    if as_series(extra) is not None:
        array = number_column(extra, what)
    elif isinstance(extra, np.ma.MaskedArray):
        array = np.ma.getdata(extra)
    else:
        array = as_array(extra, what)
    if array.ndim == 2:
        if array.shape != entries.shape:
            raise ValueError(f"{what} has shape {array.shape}, but the matrix {entries.shape}")
        rows = entries.rows
        if rows is None:
            assert entries.indptr is not None
            rows = row_numbers(entries.indptr, index_dtype(entries.shape[0]))
        picked: NDArray[Any] = array[rows, entries.columns]
        return picked
    if array.ndim == 1 and sparse.issparse(X) and X.format not in ("csr", "csc", "coo"):
        raise ValueError(
            f"the entries of a {X.format.upper()} matrix have no order that 1-D {what} could "
            f"follow: give {what} as a matrix of shape {entries.shape}, or convert X to CSR first"
        )
    if array.ndim != 1 or len(array) != len(entries.values):
        raise ValueError(
            f"{what} has shape {array.shape}: expected one element for each of the "
            f"{len(entries.values)} stored entries, or a matrix of shape {entries.shape}"
        )
    column: NDArray[Any] = array
    return column


def _same_cells(extra: MatrixEntries, entries: MatrixEntries, what: str) -> NDArray[Any]:
    if extra.shape != entries.shape:
        raise ValueError(f"{what} has shape {extra.shape}, but the matrix {entries.shape}")
    if (
        extra.indptr is not None
        and entries.indptr is not None
        and np.array_equal(extra.indptr, entries.indptr)
        and np.array_equal(extra.columns, entries.columns)
    ):
        return extra.values
    keys, own = _cell_keys(extra), _cell_keys(entries)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if (keys[1:] == keys[:-1]).any():
        raise ValueError(f"{what} names a cell twice: sum its duplicates first")
    if len(missing := np.setdiff1d(own, keys)):
        cell = divmod(int(missing[0]), entries.shape[1])
        raise ValueError(f"{what} has no entry at {cell}, where the matrix has one")
    if len(surplus := np.setdiff1d(keys, own)):
        cell = divmod(int(surplus[0]), entries.shape[1])
        raise ValueError(f"{what} has an entry at {cell}, where the matrix has none")
    picked: NDArray[Any] = extra.values[order[np.searchsorted(keys, own)]]
    return picked


def _cell_keys(entries: MatrixEntries) -> NDArray[np.int64]:
    rows = entries.rows
    if rows is None:
        assert entries.indptr is not None
        rows = row_numbers(entries.indptr, np.int64)
    keys: NDArray[np.int64] = rows.astype(np.int64) * entries.shape[1] + entries.columns
    return keys


def _read_padded(X: Any) -> MatrixEntries:
    """BSR and DIA pad with zeros, so there a zero is not a rating."""
    triplets = X.tocoo()
    observed = triplets.data != 0
    rows, columns = triplets.row[observed], triplets.col[observed]
    values = _numbers(triplets.data[observed], "X")
    return MatrixEntries(tuple(triplets.shape), rows, None, columns, values, False)


def _read_dense(X: Any, what: str) -> MatrixEntries:
    if not (isinstance(X, (list, tuple)) or offers_array(X)) or open_table(X) is not None:
        raise TypeError(
            f"{what} must be a SciPy sparse matrix or an array; given {type_name(X)}. For a table with one rating a "
            f"row use Ratings.from_table; for a table that is itself the matrix pass its .to_numpy()"
        )
    masked = X if isinstance(X, np.ma.MaskedArray) else None
    array = as_array(X, what) if masked is None else np.ma.getdata(masked)
    if array.ndim != 2:
        raise ValueError(
            f"{what} must be 2-D, users × items; given {array.ndim}-D, shape {array.shape}. For "
            f"columns of users, items and ratings use Ratings.from_triplets"
        )
    flat = _numbers(array.reshape(-1), what).reshape(array.shape)
    observed = ~np.isnan(flat) if masked is None else ~np.ma.getmaskarray(masked)
    shape = (int(array.shape[0]), int(array.shape[1]))
    indptr = np.zeros(shape[0] + 1, dtype=np.int64)
    np.cumsum(observed.sum(axis=1), out=indptr[1:])
    numbers = np.arange(shape[1], dtype=index_dtype(shape[1]))
    columns = np.broadcast_to(numbers, shape)[observed]
    return MatrixEntries(shape, None, indptr, columns, flat[observed], False)


def _numbers(data: NDArray[Any], what: str) -> NDArray[Any]:
    return as_numbers(np.asarray(data), f"the entries of {what}")


def _check_stored(index: NDArray[Any], size: int, what: str) -> None:
    if len(index) and (int(index.min()) < 0 or int(index.max()) >= size):
        k = int(np.flatnonzero((index < 0) | (index >= size))[0])
        raise ValueError(f"{what}: entry {k} is {index[k]}, outside 0 to {size - 1}")
