"""What the explicit estimators' ``fit`` methods share: parameter checks, the problem, the loop, the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf._factors import Factors
from cymf._feature_rows import Sides, align_features
from cymf._fit_log import TrainingSize
from cymf._inputs import as_validation, start_from, training_ratings
from cymf._parallel import Workers
from cymf._problem import Problem
from cymf._state import FittedState
from cymf._training import TrainingLoop
from cymf._validation import (
    check_callback,
    check_dtype,
    check_flag,
    check_integer,
    check_number,
    check_spread,
    check_threads,
    random_generator,
)

if TYPE_CHECKING:
    from cymf.ratings import Ratings

__all__ = ["FitFeatures", "FitSettings", "aligned", "fitting"]


@dataclass(frozen=True)
class FitSettings:
    """The checked values of the parameters that all explicit estimators have."""

    n_factors: int
    reg: float
    reg_bias: float
    reg_exponent: float
    use_bias: bool
    max_iter: int
    init_std: float
    patience: int | None
    track_objective: bool
    store_ratings: bool
    generator: np.random.Generator
    n_threads: int
    dtype: np.dtype[Any]
    verbose: bool

    @classmethod
    def of(cls, model: Any, default_init_std: float | None = None) -> Self:
        """Check a model's parameters; `default_init_std` stands for an `init_std` of None."""
        init_std = default_init_std if model.init_std is None else model.init_std
        reg = check_number("reg", model.reg)
        return cls(
            n_factors=check_integer("n_factors", model.n_factors, 1),
            reg=reg,
            reg_bias=reg if model.reg_bias is None else check_number("reg_bias", model.reg_bias),
            reg_exponent=check_number("reg_exponent", model.reg_exponent, maximum=2),
            use_bias=check_flag("use_bias", model.use_bias),
            max_iter=check_integer("max_iter", model.max_iter, 1),
            init_std=check_spread("init_std", init_std, check_dtype(model.dtype)),
            patience=None
            if model.patience is None
            else check_integer("patience", model.patience, 1),
            track_objective=check_flag("track_objective", getattr(model, "track_objective", True)),
            store_ratings=check_flag("store_ratings", model.store_ratings),
            generator=random_generator(model.random_state),
            n_threads=check_threads(model.n_threads),
            dtype=check_dtype(model.dtype),
            verbose=check_flag("verbose", model.verbose),
        )

    def start(self, problem: Problem, init: Any) -> Factors:
        """Return the factors to start from: random ones, overwritten by what `init` knows."""
        factors = problem.random(self.generator, self.init_std)
        if init is not None:
            start_from(init, factors, problem)
        return factors

    def measure(self, problem: Problem, factors: Factors) -> tuple[float, float, float]:
        """Return objective, training RMSE and validation RMSE by passes over the ratings, NaN for what is not asked."""
        objective, train_rmse = math.nan, math.nan
        if self.track_objective:
            objective, train_rmse = problem.objective(factors)
        return objective, train_rmse, problem.validation_rmse(factors)

    def state(
        self,
        problem: Problem,
        factors: Factors,
        loop: TrainingLoop,
        extra: dict[str, np.ndarray] | None = None,
    ) -> FittedState:
        """Return the fitted state."""
        return problem.state(
            factors,
            history=loop.history,
            n_iter=loop.n_iter,
            stop_reason=loop.stop_reason,
            store_ratings=self.store_ratings,
            extra=extra,
        )


@dataclass(frozen=True, eq=False)
class FitFeatures:
    """What `fit` was given as features, and the penalty λ_B on what is learnt of them; None for the problem's own."""

    user: Any
    item: Any
    reg: float | None

    @classmethod
    def of(cls, model: Any, user_features: Any, item_features: Any) -> Self | None:
        """Check a model's `feature_reg`; None without features."""
        reg = model.feature_reg
        if reg is not None:
            reg = check_number("feature_reg", reg, positive=True)
        if user_features is None and item_features is None:
            return None
        return cls(user_features, item_features, reg)


def aligned(ratings: Ratings, features: FitFeatures | None) -> tuple[Ratings, Sides]:
    """Return ratings and features under one numbering of users and items."""
    if features is None:
        return ratings, Sides(None, None)
    return align_features(ratings, features.user, features.item)


@contextmanager
def fitting(
    model: Any,
    settings: FitSettings,
    X: Any,
    y: Any,
    sample_weight: Any,
    validation: Any,
    callback: Callable[..., Any] | None,
    features: FitFeatures | None = None,
) -> Iterator[tuple[Problem, TrainingLoop]]:
    """Check the data and open the threads of one fit."""
    check_callback(callback)
    if settings.patience is not None and validation is None:
        raise ValueError(
            f"patience={settings.patience} needs a validation set; give fit(…, validation=…), or patience=None"
        )
    ratings = training_ratings(X, y, sample_weight)
    ratings, sides = aligned(ratings, features)
    with Workers(settings.n_threads) as workers:
        problem = Problem(
            ratings,
            n_factors=settings.n_factors,
            dtype=settings.dtype,
            reg=settings.reg,
            reg_bias=settings.reg_bias,
            reg_exponent=settings.reg_exponent,
            use_bias=settings.use_bias,
            validation=as_validation(validation, ratings, sides.described(ratings.shape)),
            workers=workers,
        )
        if features is not None:
            problem.describe(sides, features.reg)
        loop = TrainingLoop(
            name=type(model).__name__,
            max_iter=settings.max_iter,
            patience=settings.patience,
            callback=callback,
            verbose=settings.verbose,
            size=TrainingSize(ratings.shape, ratings.nnz, settings.n_threads),
        )
        yield problem, loop
