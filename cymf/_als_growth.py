"""A model fitted by `ALS` and new ratings: the rows that these touch, solved again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cymf._growth import Growth, grow
from cymf._row_solve import RowObjective, check_solved, solve_rows
from cymf._sparse_view import SparseView

if TYPE_CHECKING:
    from cymf._estimator import FitSettings
    from cymf._state import FittedState
    from cymf.ratings import Ratings

__all__ = ["updated"]

_ROUNDS_OF_NEW_ROWS = 3


def updated(
    estimator: Any, old: FittedState, settings: FitSettings, ratings: Ratings, n_iter: int
) -> FittedState:
    """Return the state after new ratings; see `ALS.partial_fit`."""
    if (old.n_factors, old.user_bias is not None) != (settings.n_factors, settings.use_bias):
        raise ValueError(
            f"the model was fitted with n_factors={old.n_factors} and "
            f"use_bias={old.user_bias is not None}; expected the same parameters as then, or fit anew"
        )
    if old.ratings is None:
        raise ValueError(
            "the model keeps no training ratings, which exact solutions need; fit it with store_ratings=True"
        )
    growth = grow(old, ratings)
    assert growth.all is not None
    rows = _GrownRows(old, growth, growth.all, RowObjective.of(estimator, old), settings)
    users, items = rows.touched
    new_users, new_items = rows.new
    if len(new_items.numbers):  # before their users, whose rows they would disturb
        for _ in range(_ROUNDS_OF_NEW_ROWS if len(new_users.numbers) else 1):
            rows.solve(new_items)
            rows.solve(new_users)
    rows.solve(users)
    for _ in range(n_iter):
        rows.solve(items)
        rows.solve(users)
    return replace(
        old,
        user_factors=rows.factors["user"],
        item_factors=rows.factors["item"],
        user_bias=rows.bias["user"],
        item_bias=rows.bias["item"],
        user_ids=growth.all.user_ids,
        item_ids=growth.all.item_ids,
        user_counts=growth.user_counts,
        item_counts=growth.item_counts,
        rating_range=growth.all.rating_range,
        ratings=growth.all if settings.store_ratings else None,
    ).finite()


class _Part(NamedTuple):
    """Some rows of one side, and their ratings."""

    side: str
    numbers: np.ndarray
    view: SparseView


class _GrownRows:
    """All rows of both sides, the new ones at random, and the ratings of those that are to be solved."""

    def __init__(
        self,
        old: FittedState,
        growth: Growth,
        ratings: Ratings,
        objective: RowObjective,
        settings: FitSettings,
    ) -> None:
        self._objective = objective
        self._n_threads = settings.n_threads
        self._ids = {"user": ratings.user_ids, "item": ratings.item_ids}
        self.factors: dict[str, np.ndarray] = {}
        self.bias: dict[str, np.ndarray | None] = {}
        view = ratings.csr(old.dtype)
        parts = []
        for side, rows, bias, counts, more in (
            ("user", old.user_factors, old.user_bias, old.user_counts, growth.new.user_counts),
            ("item", old.item_factors, old.item_bias, old.item_counts, growth.new.item_counts),
        ):
            touched = np.flatnonzero(more)
            new = touched[touched >= len(counts)]
            new = np.concatenate([np.flatnonzero((counts == 0) & (more[: len(counts)] > 0)), new])
            start = np.zeros((len(more), old.n_factors), old.dtype)
            start[: len(rows)] = rows
            noise = settings.generator.standard_normal((len(new), old.n_factors), old.dtype.type)
            start[new] = settings.init_std * noise
            self.factors[side] = start
            self.bias[side] = None if bias is None else np.pad(bias, (0, len(more) - len(bias)))
            for numbers in (touched, new):
                own = (
                    _rows_of(view, numbers)
                    if side == "user"
                    else _columns_of(view, numbers, len(more))
                )
                parts.append(_Part(side, numbers, own))
        self.touched = parts[0], parts[2]
        self.new = parts[1], parts[3]

    def solve(self, part: _Part) -> None:
        """Solve rows exactly from all their ratings; nothing else changes."""
        other = "item" if part.side == "user" else "user"
        solved = solve_rows(
            part.view, self.factors[other], self.bias[other], self._objective, self._n_threads
        )
        check_solved(solved, part.side, part.numbers, self._ids[part.side])
        self.factors[part.side][part.numbers] = solved.factors
        bias = self.bias[part.side]
        if bias is not None:
            bias[part.numbers] = solved.bias


def _rows_of(view: SparseView, chosen: np.ndarray) -> SparseView:
    counts = view.indptr[chosen + 1] - view.indptr[chosen]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    cells = np.arange(indptr[-1]) + np.repeat(view.indptr[chosen] - indptr[:-1], counts)
    return _taken(view, indptr, view.indices[cells], cells)


def _columns_of(view: SparseView, chosen: np.ndarray, n_columns: int) -> SparseView:
    """Return some columns as rows: one look at every index, and a sort of those that are found."""
    if len(chosen) == 0:
        return _taken(view, np.zeros(1), view.indices[:0], np.zeros(0, np.int64))
    wanted = np.zeros(n_columns, bool)
    wanted[chosen] = True
    cells = np.flatnonzero(wanted[view.indices])
    places = np.searchsorted(chosen, view.indices[cells])
    counts = np.bincount(places, minlength=len(chosen))
    cells = cells[np.argsort(places, kind="stable")]
    rows = np.searchsorted(view.indptr, cells, side="right") - 1
    return _taken(view, np.concatenate([[0], np.cumsum(counts)]), rows, cells)


def _taken(
    view: SparseView, indptr: np.ndarray, indices: np.ndarray, cells: np.ndarray
) -> SparseView:
    weights = None if view.weights is None else view.weights[cells]
    return SparseView(indptr.astype(np.int64), indices, view.values[cells], weights)
