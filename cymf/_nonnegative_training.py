"""Training of non-negative factors: parameters, start, sweeps, and what the model keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

from cymf._factors import Factors
from cymf._fit_log import TrainingSize
from cymf._inputs import as_validation, start_from
from cymf._kernels import kernels
from cymf._nonnegative_complete import CompleteRows, DenseCells, SparseCells
from cymf._nonnegative_input import NonnegativeMatrix
from cymf._nonnegative_rows import MULTIPLY, TRAINING, ObservedRows, Penalty, exact_descent
from cymf._nonnegative_start import INITS, ColumnFilled, start_factors
from cymf._parallel import Workers, single_threaded_blas
from cymf._problem import Problem, Validation, check_squares
from cymf._state import FittedState
from cymf._training import Iteration, TrainingLoop
from cymf._validation import (
    check_callback,
    check_choice,
    check_dtype,
    check_flag,
    check_integer,
    check_number,
    check_threads,
    random_generator,
)
from cymf.ratings import Ratings

__all__ = ["NonnegativeSettings", "train"]


@dataclass(frozen=True)
class NonnegativeSettings:
    """The checked values of the parameters of `cymf.NMF`."""

    name: str
    n_components: int
    missing: str
    init: str | None
    multiplies: bool
    user_penalty: Penalty
    item_penalty: Penalty
    tol: float
    max_iter: int
    patience: int | None
    store_ratings: bool
    generator: np.random.Generator
    n_threads: int
    dtype: np.dtype[Any] | None
    verbose: bool

    @classmethod
    def of(cls, model: Any) -> Self:
        """Check a model's parameters."""
        alpha_W = check_number("alpha_W", model.alpha_W)
        same = isinstance(model.alpha_H, str) and model.alpha_H == "same"
        if isinstance(model.alpha_H, str) and not same:
            raise ValueError(f"alpha_H={model.alpha_H!r} is unknown; expected a number or 'same'")
        alpha_H = alpha_W if same else check_number("alpha_H", model.alpha_H)
        ratio = check_number("l1_ratio", model.l1_ratio, maximum=1)
        return cls(
            name=type(model).__name__,
            n_components=check_integer("n_components", model.n_components, 1),
            missing=check_choice("missing", model.missing, ("masked", "zero")),
            init=None if model.init is None else check_choice("init", model.init, INITS),
            multiplies=check_choice("solver", model.solver, ("cd", "mu")) == "mu",
            user_penalty=Penalty(alpha_W * (1 - ratio), alpha_W * ratio),
            item_penalty=Penalty(alpha_H * (1 - ratio), alpha_H * ratio),
            tol=check_number("tol", model.tol),
            max_iter=check_integer("max_iter", model.max_iter, 1),
            patience=None
            if model.patience is None
            else check_integer("patience", model.patience, 1),
            store_ratings=check_flag("store_ratings", model.store_ratings),
            generator=random_generator(model.random_state),
            n_threads=check_threads(model.n_threads),
            dtype=None if model.dtype is None else check_dtype(model.dtype),
            verbose=check_flag("verbose", model.verbose),
        )


def train(
    matrix: NonnegativeMatrix,
    settings: NonnegativeSettings,
    validation: Any,
    callback: Callable[[Iteration], Any] | None,
    init: Any,
) -> FittedState:
    """Factorize a matrix; the arguments are those of ``NMF.fit``."""
    check_callback(callback)
    if settings.patience is not None and validation is None:
        raise ValueError(
            f"patience={settings.patience} needs a validation set; give fit(…, validation=…), or patience=None"
        )
    dtype = settings.dtype or matrix.dtype
    with Workers(settings.n_threads) as workers, single_threaded_blas():
        task = _Task(matrix, settings, dtype, workers)
        factors = task.start(init)
        held_out = None
        if validation is not None:
            held_out = as_validation(
                validation, matrix.ratings or Ratings.from_matrix(matrix.dense)
            )
        loop = TrainingLoop(
            name=settings.name,
            max_iter=settings.max_iter,
            patience=settings.patience,
            callback=callback,
            verbose=settings.verbose,
            size=TrainingSize(matrix.shape, task.n_observed, settings.n_threads),
        )
        descent = MULTIPLY if settings.multiplies else TRAINING
        objective, rmse = math.inf, math.nan

        def step(iteration: int) -> bool:
            nonlocal objective, rmse
            before = objective
            task.rows.solve_items(factors, descent)
            task.rows.solve_users(factors, descent)
            objective, rmse = task.rows.objective(factors)
            return settings.tol > 0 and before - objective <= settings.tol * objective

        def measure() -> tuple[float, float, float]:
            return objective, rmse, _held_out_rmse(held_out, factors, task.mean)

        loop.run(step, measure, factors)
        if isinstance(task.rows, CompleteRows):
            task.rows.restart()
        factors.user[:] = 0
        task.rows.solve_users(factors, exact_descent(dtype))
        return task.state(factors, loop)


class _Task:
    """One factorization: its half-sweeps, its start, and its result."""

    def __init__(
        self,
        matrix: NonnegativeMatrix,
        settings: NonnegativeSettings,
        dtype: np.dtype[Any],
        workers: Workers,
    ) -> None:
        self._matrix, self._settings = matrix, settings
        self._dtype = dtype
        penalties = settings.user_penalty, settings.item_penalty
        n_users, n_items = matrix.shape
        self.rows: ObservedRows | CompleteRows
        if matrix.zeros:
            check_squares(matrix.largest, dtype)
            cells: DenseCells | SparseCells
            if matrix.dense is None:
                assert matrix.ratings is not None
                cells = SparseCells(matrix.ratings, dtype, workers)
            else:
                cells = DenseCells(matrix.dense, dtype, workers)
            self.rows = CompleteRows(cells, *penalties, workers)
            self.mean = cells.mean()
            self._counts = np.full(n_users, n_items), np.full(n_items, n_users)
        else:
            assert matrix.ratings is not None
            problem = Problem(
                matrix.ratings,
                n_factors=settings.n_components,
                dtype=dtype,
                reg=0.0,
                reg_bias=0.0,
                reg_exponent=1.0,
                use_bias=False,
                validation=None,
                workers=workers,
            )
            self.rows = ObservedRows(problem, *penalties)
            self.mean = problem.rating_mean
            self._counts = problem.users.counts, problem.item_counts

    @property
    def n_observed(self) -> int:
        """Cells that are fitted, zeros included where they count."""
        return int(self._counts[0].sum())

    def start(self, init: Any) -> Factors:
        """Return the factors to start from."""
        settings, matrix = self._settings, self._matrix
        factors = Factors(*matrix.shape, settings.n_components, False, self._dtype)
        if init is None or not isinstance(init, tuple):
            start_factors(factors, self._operand(), self.mean, settings.init, settings.generator)
        if init is not None:
            ratings = matrix.ratings or SimpleNamespace(user_ids=None, item_ids=matrix.names)
            sides = [SimpleNamespace(counts=counts) for counts in self._counts]
            known: Any = SimpleNamespace(ratings=ratings, users=sides[0], items=sides[1])
            start_from(init, factors, known)
            if factors.flat.min() < 0:
                raise ValueError("init holds negative factors; expected none below 0")
        for rows, counts in zip((factors.user, factors.item), self._counts, strict=True):
            rows[counts == 0] = 0
        return factors

    def _operand(self) -> Any:
        """Return what the start may decompose."""
        matrix = self._matrix
        if matrix.dense is not None:
            return matrix.dense.astype(self._dtype, copy=False)
        assert matrix.ratings is not None
        stored = matrix.ratings.to_scipy().astype(self._dtype)
        return stored if matrix.zeros else ColumnFilled(stored, matrix.ratings.item_counts)

    def state(self, factors: Factors, loop: TrainingLoop) -> FittedState:
        """Return what a fitted model keeps."""
        matrix = self._matrix
        user_factors, item_factors, _, _ = factors.trimmed()
        ratings, user_ids, item_ids = matrix.ratings, None, matrix.names
        if ratings is not None:
            low, high = ratings.rating_range
            user_ids, item_ids = ratings.user_ids, ratings.item_ids
            if matrix.zeros and ratings.nnz < ratings.n_users * ratings.n_items:
                low = min(low, 0.0)
        else:
            assert matrix.dense is not None
            low, high = float(matrix.dense.min()), float(matrix.dense.max())
        return FittedState(
            user_factors=user_factors,
            item_factors=item_factors,
            user_bias=None,
            item_bias=None,
            global_mean=0.0,
            rating_mean=self.mean,
            rating_range=(low, high),
            user_ids=user_ids,
            item_ids=item_ids,
            user_counts=np.asarray(self._counts[0], np.int64),
            item_counts=np.asarray(self._counts[1], np.int64),
            ratings=ratings if self._settings.store_ratings else None,
            history=loop.history,
            n_iter=loop.n_iter,
            stop_reason=loop.stop_reason,
            extra={"reconstruction_error": np.array([self.rows.reconstruction_error(factors)])},
        ).finite()


def _held_out_rmse(held_out: Validation | None, factors: Factors, mean: float) -> float:
    """Return the RMSE of held-out ratings, the mean predicted for unknown rows; NaN without them."""
    if held_out is None:
        return math.nan
    predictions = np.empty(len(held_out.users), factors.flat.dtype)
    nothing = np.zeros(0, factors.flat.dtype)
    kernels.predict_pairs(
        held_out.users, held_out.items, factors.user, factors.item, nothing, nothing, 0.0, predictions
    )  # fmt: skip
    predictions[(held_out.users < 0) | (held_out.items < 0)] = mean
    squares = (predictions.astype(np.float64) - held_out.values) ** 2
    return math.sqrt(float(np.average(squares, weights=held_out.weights)))
