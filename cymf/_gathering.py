"""Columns of ratings gathered batch by batch, so that a file is never in memory as a whole table.

A batch is a `Columns`: ids are int64, or Python strings in an object array, or `Coded` with labels of either kind;
ratings and weights are numbers of any width, timestamps int64, float64 or datetime64.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cymf._column_choice import Columns
from cymf._id_columns import Coded, IdEncoder
from cymf._integer_encoder import IntegerEncoder
from cymf._ratings_checks import as_numbers

__all__ = ["expand", "gather"]


def gather(batches: Iterable[Columns], source: object) -> list[Any]:
    """The columns that the batches make together, in the order of `Columns`; none may be empty.

    Ids come as codes of 32 bits, whatever they are: integers where all are, otherwise strings.
    """
    ids = (_GatheredIds(), _GatheredIds())
    numbers = {name: _Grown() for name in ("values", "weights", "timestamps")}
    for batch in batches:
        for gathered, column in zip(ids, batch[:2], strict=True):
            gathered.add(column)
        for name, grown in numbers.items():
            column = getattr(batch, name)
            if column is None:
                continue
            if name == "timestamps":
                _check_timestamps(grown, column, source)
                grown.append(column)
            else:
                grown.append(as_numbers(column, "ratings" if name == "values" else name))
    return [*(gathered.coded() for gathered in ids), *(grown.whole() for grown in numbers.values())]


def expand(ids: Any) -> NDArray[Any]:
    """The ids of a batch, one for each rating: int64, or Python strings in an object array."""
    whole: NDArray[Any] = ids.expanded() if isinstance(ids, Coded) else ids
    return whole


class _GatheredIds:
    """Ids as codes; integers until a string turns up, strings from then on, with the same codes."""

    def __init__(self) -> None:
        self._integers = IntegerEncoder()
        self._strings: IdEncoder | None = None
        self._codes = _Grown()

    def add(self, ids: Any) -> None:
        if not isinstance(ids, Coded) and ids.dtype.kind == "i" and self._strings is not None:
            distinct, inverse = np.unique(ids, return_inverse=True)
            ids = Coded(inverse, distinct)
        if isinstance(ids, Coded):
            self._codes.append(self._encode(ids.labels)[ids.codes])
        else:
            self._codes.append(self._encode(ids))

    def _encode(self, ids: NDArray[Any]) -> NDArray[np.int32]:
        if ids.dtype.kind == "i" and self._strings is None:
            return self._integers.encode(ids)
        if self._strings is None:
            self._strings = IdEncoder()
            self._strings.encode(list(map(str, self._integers.labels().tolist())))
        text = ids.tolist()
        return self._strings.encode(list(map(str, text)) if ids.dtype.kind == "i" else text)

    def coded(self) -> Coded:
        labels = self._integers.labels() if self._strings is None else self._strings.labels()
        return Coded(self._codes.whole(), labels)


class _Grown:
    """A column that grows at its end, in one piece of memory, which the system can lengthen without a copy."""

    def __init__(self) -> None:
        self._buffer: NDArray[Any] | None = None
        self._length = 0

    @property
    def dtype(self) -> np.dtype[Any] | None:
        return None if self._buffer is None else self._buffer.dtype

    def append(self, part: NDArray[Any]) -> None:
        end = self._length + len(part)
        if self._buffer is None:
            self._buffer = np.empty(0, part.dtype)
        common = np.result_type(self._buffer.dtype, part.dtype)
        if common != self._buffer.dtype:
            self._buffer = self._buffer.astype(common)
        if end > len(self._buffer):
            self._buffer.resize(max(end, len(self._buffer) * 9 // 8), refcheck=False)
        self._buffer[self._length : end] = part
        self._length = end

    def whole(self) -> Any:
        """The column, which is let go; None if nothing was appended."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            buffer.resize(self._length, refcheck=False)
        return buffer


def _check_timestamps(before: _Grown, column: NDArray[Any], source: object) -> None:
    if before.dtype is not None and (before.dtype.kind == "M") != (column.dtype.kind == "M"):
        raise ValueError(
            f"{source}: timestamps are numbers in some files and dates in others: write them alike, or leave them "
            "out by timestamp=None"
        )
