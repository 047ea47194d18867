"""External ids and row numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cymf._column_types import ColumnType
from cymf._columns import id_column
from cymf._id_columns import (
    Coded,
    as_id_array,
    check_labels,
    compact,
    encode_integers,
    encode_objects,
    object_array,
    reject_masked,
)

__all__ = ["IdMap", "encode_ids", "id_of"]


class IdMap:
    """Unique ids in row order, and the way back from an id to its row number.

    Parameters
    ----------
    ids : ndarray of shape (n,)
        Integers or strings, each once; ``ids[r]`` is the id of row r.
    what : str, default="ids"
        What error messages call them.
    column : ColumnType, optional
        The type of the column of a table that they came from.

    Raises
    ------
    TypeError
        If the ids are neither all integers nor all strings.
    ValueError
        If an id occurs twice, is missing, or does not fit in 64 bits.

    Examples
    --------
    >>> import numpy as np
    >>> ids = IdMap(np.array([10, 20, 50]))
    >>> ids.to_index([50, 11]).tolist()
    [2, -1]
    >>> ids.to_ids(np.array([0, 2])).tolist()
    [10, 50]
    """

    __slots__ = ("_column", "_ids", "_is_int", "_lookup")

    def __init__(
        self,
        ids: ArrayLike | Sequence[Any],
        *,
        what: str = "ids",
        column: ColumnType | None = None,
    ) -> None:
        array = as_id_array(ids, what)
        if array.dtype.kind == "O":
            array = check_labels(array, what, lambda k: k)
        # a writable array could change under us; a read-only one may be a mapped file: no copy
        self._ids: NDArray[Any] = array.copy() if array.flags.writeable else array.view()
        self._is_int = array.dtype.kind == "i"
        self._lookup: Callable[[Any], NDArray[np.int64]] | None = None
        self._column = column
        _check_unique(self._ids, self._is_int, what)
        self._ids.flags.writeable = False

    @property
    def ids(self) -> NDArray[Any]:
        """The ids in row order: int64, or Python strings in an object array; read-only."""
        return self._ids

    @property
    def column(self) -> ColumnType | None:
        """The type of the column that the ids came from; None if that was no column of a table."""
        return self._column

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        kind = ("integer" if self._is_int else "string") + ("" if len(self) == 1 else "s")
        first = ", ".join(repr(i) for i in self._ids[:3].tolist())
        return f"<IdMap of {len(self)} {kind}: {first}{', …' if len(self) > 3 else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._ids, self._column)

    def of_column(self, column: ColumnType | None) -> IdMap:
        """The same ids, from a column of that type."""
        twin = object.__new__(IdMap)
        twin._ids, twin._is_int, twin._lookup = self._ids, self._is_int, self._lookup
        twin._column = column
        return twin

    def extended(self, ids: NDArray[Any]) -> IdMap:
        """These ids with others behind them."""
        return IdMap(np.concatenate([self._ids, ids]), column=self._column)

    def to_index(self, values: Any, what: str = "user") -> NDArray[np.int64]:
        """Row numbers of ids.

        Parameters
        ----------
        values : array-like of shape (m,)
            Ids, of the kind this map holds (integers or strings).
        what : str, default="user"
            What an id stands for, for error messages.

        Returns
        -------
        ndarray of int64, shape (m,)
            The row number of each id, -1 where it is unknown.

        Raises
        ------
        TypeError
            If strings are looked up among integers, or integers among strings.
        """
        plain = isinstance(values, (list, np.ndarray))
        column = values if plain else id_column(values, f"{what} ids")
        if isinstance(column, Coded):
            codes, labels = compact(column)
            by_label = self.to_index(labels, what)
            return by_label.take(codes)
        column = as_id_array(column, f"{what} ids")
        if len(column) == 0:
            return np.empty(0, dtype=np.int64)
        column = check_labels(column, f"{what} ids", lambda k: k)
        given_int = column.dtype.kind == "i"
        if given_int != self._is_int:
            known, given = ("integers", "strings") if self._is_int else ("strings", "integers")
            first, example = column[:1].tolist()[0], self._ids[:1].tolist()[0]
            raise TypeError(
                f"the {what} ids given are {given} (the first is {first!r}), but the known {what} "
                f"ids are {known}, such as {example!r}: convert them to {known}"
            )
        if self._lookup is None:
            self._lookup = _int_lookup(self._ids) if self._is_int else _str_lookup(self._ids)
        rows: NDArray[np.int64] = self._lookup(column)
        return rows

    def to_ids(self, index: ArrayLike) -> NDArray[Any]:
        """Ids of row numbers; -1, the mark of an empty place, gives -1 or ``""``.

        Parameters
        ----------
        index : array-like of int, any shape
            Row numbers, from -1 to ``len(self) - 1``.

        Returns
        -------
        ndarray of the same shape
            int64, or Python strings in an object array.

        Raises
        ------
        IndexError
            If a row number is out of range.
        """
        rows = np.asarray(index)
        if rows.size == 0:
            return np.empty(rows.shape, dtype=self._ids.dtype)
        low, high = int(rows.min()), int(rows.max())
        if low < -1 or high >= len(self):
            raise IndexError(
                f"row number {low if low < -1 else high} is out of range: "
                f"there are {len(self)} ids, rows 0 to {len(self) - 1}"
            )
        out: NDArray[Any] = self._ids[rows]
        if low == -1:
            out = np.where(rows == -1, -1 if self._is_int else "", out)
            out = out.astype(self._ids.dtype, copy=False)
        return out

    def to_arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The map as plain arrays, for a file: no object arrays among them.

        Parameters
        ----------
        prefix : str
            Put before the arrays' names.

        Returns
        -------
        dict of str to ndarray
            Integers: ``{prefix}_int``, int64. Strings: ``{prefix}_utf8``, uint8, all of them in a
            row, and ``{prefix}_offsets``, int64 of length n + 1, where each begins.
        """
        if self._is_int:
            return {f"{prefix}_int": self._ids}
        encoded = [text.encode("utf-8", "surrogatepass") for text in self._ids.tolist()]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        return {
            f"{prefix}_utf8": np.frombuffer(b"".join(encoded), dtype=np.uint8),
            f"{prefix}_offsets": offsets,
        }

    @classmethod
    def from_arrays(
        cls, prefix: str, arrays: Mapping[str, NDArray[Any]], column: ColumnType | None = None
    ) -> IdMap:
        """The map that `to_arrays` took apart.

        Integer ids are used as they come, so a memory-mapped array stays one.

        Parameters
        ----------
        prefix : str
            The prefix given to `to_arrays`.
        arrays : mapping of str to ndarray
            Holds the arrays; others are ignored.
        column : ColumnType, optional
            The type of the column that the ids came from.

        Returns
        -------
        IdMap

        Raises
        ------
        ValueError
            If the arrays are missing or do not fit together.
        """
        if f"{prefix}_int" in arrays:
            return cls(arrays[f"{prefix}_int"], what=prefix, column=column)
        try:
            utf8, offsets = arrays[f"{prefix}_utf8"], arrays[f"{prefix}_offsets"]
        except KeyError as missing:
            raise ValueError(
                f"no ids found under {prefix!r}: expected {prefix}_int, or {prefix}_utf8 "
                f"and {prefix}_offsets"
            ) from missing
        bounds = offsets.tolist()
        if not bounds or bounds[0] != 0 or bounds[-1] != len(utf8) or (np.diff(offsets) < 0).any():
            raise ValueError(
                f"{prefix}_offsets does not fit the {len(utf8)} bytes of {prefix}_utf8"
            )
        data = utf8.tobytes()
        try:
            ids = object_array(
                data[begin:end].decode("utf-8", "surrogatepass")
                for begin, end in itertools.pairwise(bounds)
            )
        except UnicodeDecodeError as damage:
            raise ValueError(f"{prefix}_utf8 is not UTF-8 text: {damage}") from damage
        return cls(ids, what=prefix, column=column)


def encode_ids(
    values: Any, what: str, column: ColumnType | None = None
) -> tuple[NDArray[Any], IdMap]:
    """Number the ids of a column 0, 1, … in sorted order.

    Parameters
    ----------
    values : Coded, or array-like of shape (m,)
        The column.
    what : str
        What it is called in error messages.
    column : ColumnType, optional
        The type of the column of a table, if it is one.

    Returns
    -------
    codes : ndarray of int32, shape (m,)
        The number of each entry's id; int64 from 2³¹ different ids on.
    ids : IdMap
        The ids that occur, sorted.

    Notes
    -----
    Integers in a range not much wider than the column is long are numbered through a table,
    O(m + range); others are sorted chunk by chunk. Strings go through one dictionary.
    """
    if isinstance(values, Coded):
        codes, labels = compact(values)
    else:
        reject_masked(values, what)
        if not (isinstance(values, np.ndarray) and values.dtype.kind in "USTO"):
            values = as_id_array(values, what)
        if values.dtype.kind == "i":
            int_codes, ids = encode_integers(values)
            return int_codes, IdMap(ids, what=what, column=column)
        codes, labels = encode_objects(values, what)

    def position(label: int) -> int:
        return int(np.flatnonzero(codes == label)[0])

    labels = check_labels(as_id_array(labels, what), what, position)
    if labels.dtype.kind == "i":
        order = np.argsort(labels, kind="stable")
    else:
        text = labels.tolist()
        order = np.array(sorted(range(len(text)), key=text.__getitem__), dtype=np.int64)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[codes], IdMap(labels[order], what=what, column=column)


def _restore(ids: NDArray[Any], column: ColumnType | None) -> IdMap:
    return IdMap(ids, column=column)


def id_of(ids: IdMap | None, row: int) -> int | str:
    """The id of one row; without a map, its number."""
    if ids is None:
        return int(row)
    found: int | str = ids.ids[[row]].tolist()[0]
    return found


def _check_unique(ids: NDArray[Any], is_int: bool, what: str) -> None:
    if is_int:
        if len(ids) < 2 or (ids[1:] > ids[:-1]).all():
            return
        order = np.argsort(ids, kind="stable")
        same = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
        if same.size == 0:
            return
        first, second = int(order[same[0]]), int(order[same[0] + 1])
    else:
        text = ids.tolist()
        if len(set(text)) == len(text):
            return
        seen: dict[str, int] = {}
        second = next(k for k, value in enumerate(text) if seen.setdefault(value, k) != k)
        first = seen[text[second]]
    raise ValueError(
        f"{what} must be unique: {ids[[first]].tolist()[0]!r} stands for both row {first} "
        f"and row {second}"
    )


def _int_lookup(ids: NDArray[np.int64]) -> Callable[[Any], NDArray[np.int64]]:
    if len(ids) == 0:
        return lambda values: np.full(len(values), -1, dtype=np.int64)
    low, high = int(ids.min()), int(ids.max())
    if high - low < max(4 * len(ids), 1 << 16):
        table = np.full(high - low + 1, -1, dtype=np.int64)
        table[ids - low] = np.arange(len(ids))

        def by_table(values: NDArray[np.int64]) -> NDArray[np.int64]:
            inside = (values >= low) & (values <= high)
            found: NDArray[np.int64] = table[np.where(inside, values, low) - low]
            return np.where(inside, found, -1)

        return by_table

    order = np.argsort(ids, kind="stable")
    ordered = ids[order]

    def by_search(values: NDArray[np.int64]) -> NDArray[np.int64]:
        at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
        return np.where(ordered[at] == values, order[at], -1)

    return by_search


def _str_lookup(ids: NDArray[Any]) -> Callable[[Any], NDArray[np.int64]]:
    rows = {text: row for row, text in enumerate(ids.tolist())}

    def by_name(values: NDArray[Any]) -> NDArray[np.int64]:
        return np.fromiter(
            map(rows.get, values.tolist(), itertools.repeat(-1)), np.int64, len(values)
        )

    return by_name
