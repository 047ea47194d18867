"""A model fitted by `ALS` and new ratings: the rows that these touch, solved again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cymf._grown_rows import GrownRows, row_solver
from cymf._growth import grow
from cymf._row_solve import RowObjective

if TYPE_CHECKING:
    from cymf._estimator import FitSettings
    from cymf._state import FittedState
    from cymf.ratings import Ratings

__all__ = ["updated"]


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
    solve = row_solver(RowObjective.of(estimator, old), settings.n_threads)
    rows = GrownRows(old, growth, growth.all, solve, settings)
    users, items = rows.touched
    if len(rows.new[1].numbers):  # before their users, whose rows they would disturb
        rows.solve_new()
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
    )
