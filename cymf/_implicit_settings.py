"""The checked parameters of `ImplicitALS`, and what is made of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cymf._factors import Factors
from cymf._fit_log import TrainingSize
from cymf._implicit_problem import ImplicitModel, ImplicitProblem, implicit_model
from cymf._implicit_rows import ImplicitRows
from cymf._inputs import start_from, training_ratings
from cymf._ranking_metrics import as_metrics, ranking_scores
from cymf._ranking_problem import held_out_of
from cymf._training import Iteration, TrainingLoop
from cymf._validation import (
    check_choice,
    check_dtype,
    check_flag,
    check_integer,
    check_number,
    check_spread,
    check_threads,
    random_generator,
)
from cymf.ratings import Ratings, as_ratings

__all__ = ["Settings", "validation_score"]


@dataclass(frozen=True)
class Settings:
    """Checked values of all parameters."""

    model: ImplicitModel
    max_iter: int
    tol: float
    solver: str
    cg_steps: int
    block_size: int
    init_std: float
    init_distribution: str
    validation_metric: str
    patience: int | None
    track_objective: bool
    store_ratings: bool
    generator: np.random.Generator
    n_threads: int
    dtype: np.dtype[Any]
    verbose: bool

    @classmethod
    def of(cls, estimator: Any) -> Self:
        """Check an estimator's parameters."""
        solvers = ("auto", "cholesky", "cg", "subspace")
        patience = estimator.patience
        return cls(
            model=implicit_model(estimator),
            max_iter=check_integer("max_iter", estimator.max_iter, 1),
            tol=check_number("tol", estimator.tol),
            solver=check_choice("solver", estimator.solver, solvers),
            cg_steps=check_integer("cg_steps", estimator.cg_steps, 1),
            block_size=check_integer("block_size", estimator.block_size, 1),
            init_std=check_spread("init_std", estimator.init_std, check_dtype(estimator.dtype)),
            init_distribution=check_choice(
                "init_distribution", estimator.init_distribution, ("normal", "uniform")
            ),
            validation_metric=as_metrics((estimator.validation_metric,))[0].name,
            patience=None if patience is None else check_integer("patience", patience, 1),
            track_objective=check_flag("track_objective", estimator.track_objective),
            store_ratings=check_flag("store_ratings", estimator.store_ratings),
            generator=random_generator(estimator.random_state),
            n_threads=check_threads(estimator.n_threads),
            dtype=check_dtype(estimator.dtype),
            verbose=check_flag("verbose", estimator.verbose),
        )

    def start(self, problem: ImplicitProblem, init: Any) -> Factors:
        """Return the factors to start from: random ones, overwritten by what `init` knows."""
        std = self.init_std / math.sqrt(self.model.n_factors)
        factors = problem.random(self.generator, std, self.init_distribution)
        if init is not None:
            rated: Any = problem  # only ratings and counts are read
            start_from(init, factors, rated)
        return factors

    def rows(self, problem: ImplicitProblem) -> ImplicitRows:
        """Return what solves half-sweeps."""
        solver = "cholesky" if self.solver == "auto" else self.solver
        return ImplicitRows(problem, solver, self.cg_steps, self.block_size)

    def loop(
        self, name: str, ratings: Ratings, callback: Callable[[Iteration], Any] | None
    ) -> TrainingLoop:
        """Return the training loop."""
        measured = ("objective", "validation_score")
        return TrainingLoop(
            name,
            self.max_iter,
            self.patience,
            callback,
            self.verbose,
            measured,
            size=TrainingSize(ratings.shape, ratings.nnz, self.n_threads),
        )


def validation_score(
    validation: Any,
    ratings: Ratings,
    settings: Settings,
    described: tuple[np.ndarray, np.ndarray],
) -> Callable[[Factors], float]:
    """Return the function that scores factors on held-out interactions, NaN without them."""
    if validation is None:
        return lambda factors: math.nan
    metric = settings.validation_metric
    if isinstance(validation, tuple):
        if len(validation) != 2:
            raise ValueError(
                f"validation is a tuple of {len(validation)}; expected Ratings, a matrix or a table, or a pair (X, y)"
            )
        validation = training_ratings(*validation)
    held_out = held_out_of(as_ratings(validation), ratings, described)

    def score(factors: Factors) -> float:
        user_factors, item_factors, _, item_bias = factors.trimmed()
        found = ranking_scores(
            user_factors, item_factors, item_bias, held_out, (metric,), settings.n_threads
        )
        return float(found[metric])

    return score
