"""Numbering integers as they come, without sorting them all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["IntegerEncoder"]

_LEAST = -(2**63)
_ALWAYS = 1 << 22  # width of a table that may be made however few integers were met


class IntegerEncoder:
    """Numbers integers batch by batch, each by one number for good.

    While their range is not much wider than their count, a table over the range gives the numbers, O(batch). Beyond,
    what was met is kept sorted, and only batches are sorted.
    """

    def __init__(self) -> None:
        self._met = 0
        self._count = 0
        self._low = 0
        self._table: NDArray[np.int32] | None = np.empty(0, np.int32)  # -1: not met
        self._ids = np.empty(0, np.int64)  # sorted, without a table
        self._numbers = np.empty(0, np.int32)

    def __len__(self) -> int:
        return self._count

    def encode(self, values: NDArray[np.int64]) -> NDArray[np.int32]:
        """Numbers of a batch of integers; new ones get the next numbers."""
        if len(values) == 0:
            return np.empty(0, np.int32)
        self._met += len(values)
        if self._table is not None:
            self._cover(int(values.min()), int(values.max()))
        return self._search(values) if self._table is None else self._look_up(self._table, values)

    def labels(self) -> NDArray[np.int64]:
        """The integers met so far, in the order of their numbers."""
        if self._table is not None:
            self._ids, self._numbers = self._sorted(self._table)
        labels = np.empty(self._count, np.int64)
        labels[self._numbers] = self._ids
        return labels

    def _cover(self, low: int, high: int) -> None:
        """Widen the table to a range, or do without one if that is too wide."""
        assert self._table is not None
        if len(self._table) == 0:
            self._low = low
        least, most = min(low, self._low), max(high + 1, self._low + len(self._table))
        span = most - least
        if span == len(self._table):
            return
        limit = max(4 * self._met, _ALWAYS)
        if span > limit:
            self._ids, self._numbers = self._sorted(self._table)
            self._table = None
            return
        room = min(
            span + span // 2, limit
        )  # ids that rise through a file should not widen it each time
        if low < self._low:
            least = max(most - room, _LEAST)
        wider = np.full(room, -1, np.int32)
        wider[self._low - least :][: len(self._table)] = self._table
        self._table, self._low = wider, least

    def _sorted(self, table: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        places = np.flatnonzero(table >= 0)
        return places + self._low, table[places]

    def _look_up(self, table: NDArray[np.int32], values: NDArray[np.int64]) -> NDArray[np.int32]:
        places = values - self._low
        codes: NDArray[np.int32] = table[places]
        new = codes < 0
        if new.any():
            found = np.unique(places[new])
            table[found] = self._next(len(found))
            codes[new] = table[places[new]]
        return codes

    def _search(self, values: NDArray[np.int64]) -> NDArray[np.int32]:
        distinct, inverse = np.unique(values, return_inverse=True)
        at = np.searchsorted(self._ids, distinct)
        known = at < len(self._ids)
        known[known] = self._ids[at[known]] == distinct[known]
        local = np.empty(len(distinct), np.int32)
        local[known] = self._numbers[at[known]]
        local[~known] = self._next(int(np.count_nonzero(~known)))
        self._ids = np.insert(self._ids, at[~known], distinct[~known])
        self._numbers = np.insert(self._numbers, at[~known], local[~known])
        codes: NDArray[np.int32] = local[inverse]
        return codes

    def _next(self, count: int) -> NDArray[np.int32]:
        self._count += count
        return np.arange(self._count - count, self._count, dtype=np.int32)
