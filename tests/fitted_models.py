"""Fitted models and their problems in the terms of the slow twins; ratings to fit them to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import reference

import cymf
import cymf._parallel
from cymf._estimator import FitSettings, fitting
from cymf._factors import Factors
from cymf._problem import Problem

ESTIMATORS = {"ALS": cymf.ALS, "SGD": cymf.SGD, "GradientDescent": cymf.GradientDescent}


def star_ratings(
    n_users: int = 40,
    n_items: int = 30,
    density: float = 0.3,
    seed: int = 0,
    weights: np.ndarray | str | None = None,
    empty: bool = True,
) -> cymf.Ratings:
    """Half-star ratings of rank 2 with noise, exact in single precision.

    ``empty``: the last user and the first item have no ratings. ``weights="integer"``: 1, 2, or 3.
    """
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(n_users, 2)) @ rng.normal(size=(2, n_items))
    stars = np.clip(np.round(2 * (3 + taste / 2 + rng.normal(size=taste.shape) / 3)) / 2, 0.5, 5)
    observed = rng.random((n_users, n_items)) < density
    if empty:
        observed[-1] = False
        observed[:, 0] = False
    users, items = np.nonzero(observed)
    if weights == "integer":
        weights = rng.integers(1, 4, len(users)).astype(np.float64)
    return cymf.Ratings.from_triplets(
        users, items, stars[observed], weights=weights, shape=(n_users, n_items)
    )


def cells_of(ratings: cymf.Ratings) -> reference.Cells:
    values = np.asarray(ratings.values, dtype=np.float64)
    weights = ratings.weights
    return reference.Cells(
        np.asarray(ratings.users, dtype=np.int64),
        np.asarray(ratings.items, dtype=np.int64),
        values,
        np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64),
        ratings.shape,
    )


def factors_of(model: Any) -> reference.Factors:
    """What a fitted model has learnt."""
    users, items = (a.astype(np.float64) for a in (model.user_factors_, model.item_factors_))
    if model.user_bias_ is None:
        return reference.Factors.without_bias(users, items, model.global_mean_)
    return reference.Factors(
        users,
        items,
        model.user_bias_.astype(np.float64),
        model.item_bias_.astype(np.float64),
        model.global_mean_,
    )


def penalty_of(model: Any) -> reference.Penalty:
    reg_bias = model.reg if model.reg_bias is None else model.reg_bias
    return reference.Penalty(model.reg, reg_bias, model.reg_exponent)


def objective_of(model: Any, ratings: cymf.Ratings) -> float:
    return reference.objective(cells_of(ratings), factors_of(model), penalty_of(model))


@contextmanager
def opened(
    model: Any, ratings: cymf.Ratings, init: Any = None
) -> Iterator[tuple[Problem, Factors]]:
    """A model's problem and the factors that its fit would start from."""
    settings = FitSettings.of(model)
    with fitting(model, settings, ratings, None, None, None, None) as (problem, _):
        yield problem, settings.start(problem, init)


def trimmed(problem: Problem, factors: Factors) -> reference.Factors:
    """Factors in training, for the slow twins."""
    users, items, user_bias, item_bias = factors.trimmed()
    if user_bias is None:
        return reference.Factors.without_bias(
            users.astype(np.float64), items.astype(np.float64), problem.mean
        )
    return reference.Factors(
        *(a.astype(np.float64) for a in (users, items, user_bias, item_bias)), problem.mean
    )


def bits_of(model: Any) -> bytes:
    """All that was learnt, to compare bit for bit."""
    arrays = (model.user_factors_, model.item_factors_, model.user_bias_, model.item_bias_)
    losses = [model.history_[name] for name in ("objective", "train_rmse", "validation_rmse")]
    return b"".join(np.asarray(a).tobytes() for a in (*arrays, *losses) if a is not None)


class ThreadsEvenForLittle:
    """Makes small problems use all their threads; counts the calls handed to others."""

    def __init__(self, monkeypatch: Any) -> None:
        self.calls = 0
        monkeypatch.setattr(cymf._parallel, "_SMALL_WORK", -1)
        submit = cymf._parallel.ThreadPoolExecutor.submit

        def counted(pool: Any, *arguments: Any) -> Any:
            self.calls += 1
            return submit(pool, *arguments)

        monkeypatch.setattr(cymf._parallel.ThreadPoolExecutor, "submit", counted)
