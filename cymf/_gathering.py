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
    numbers: tuple[list[NDArray[Any]], ...] = ([], [], [])
    for batch in batches:
        for gathered, column in zip(ids, batch[:2], strict=True):
            gathered.add(column)
        for parts, column, what in zip(
            numbers, batch[2:], ("ratings", "weights", "timestamps"), strict=True
        ):
            if column is not None:
                parts.append(column if what == "timestamps" else as_numbers(column, what))
    _check_timestamps(numbers[2], source)
    return [*(gathered.coded() for gathered in ids), *(_joined(parts) for parts in numbers)]


def expand(ids: Any) -> NDArray[Any]:
    """The ids of a batch, one for each rating: int64, or Python strings in an object array."""
    whole: NDArray[Any] = ids.labels[ids.codes] if isinstance(ids, Coded) else ids
    return whole


class _GatheredIds:
    """Ids as codes; integers until a string turns up, strings from then on, with the same codes."""

    def __init__(self) -> None:
        self._integers = IntegerEncoder()
        self._strings: IdEncoder | None = None
        self._parts: list[NDArray[Any]] = []

    def add(self, ids: Any) -> None:
        if not isinstance(ids, Coded) and ids.dtype.kind == "i" and self._strings is not None:
            distinct, inverse = np.unique(ids, return_inverse=True)
            ids = Coded(inverse, distinct)
        if isinstance(ids, Coded):
            self._parts.append(self._encode(ids.labels)[ids.codes])
        else:
            self._parts.append(self._encode(ids))

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
        return Coded(_joined(self._parts), labels)


def _joined(parts: list[NDArray[Any]]) -> Any:
    """One array of all parts, which are let go; None if there are none."""
    if not parts:
        return None
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    parts.clear()
    return whole


def _check_timestamps(parts: list[NDArray[Any]], source: object) -> None:
    if len({part.dtype.kind == "M" for part in parts}) > 1:
        raise ValueError(
            f"{source}: timestamps are numbers in some files and dates in others: write them alike, or leave them "
            "out by timestamp=None"
        )
