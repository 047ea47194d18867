"""What ``fit`` and ``partial_fit`` of the models with sampled ranking losses share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

import numpy as np

from cymf._fit_log import TrainingSize
from cymf._growth import grow
from cymf._inputs import start_from, training_ratings
from cymf._parallel import Workers
from cymf._ranking_metrics import as_metrics
from cymf._ranking_problem import Positives, RankingProblem, held_out_of
from cymf._training import TrainingLoop
from cymf._validation import (
    check_callback,
    check_choice,
    check_dtype,
    check_flag,
    check_integer,
    check_number,
    check_spread,
    check_threads,
    random_generator,
)

if TYPE_CHECKING:
    from cymf._base import MatrixFactorization
    from cymf._factors import Factors
    from cymf._problem import Problem
    from cymf._state import FittedState
    from cymf.ratings import Ratings

__all__ = ["RankingSettings", "fit_ranking", "go_on_ranking"]


class Trainer(Protocol):
    """Epochs of one loss."""

    working: Factors

    def run(self) -> float: ...

    def sums(self) -> dict[str, np.ndarray]: ...


MakeTrainer = Callable[["RankingProblem", "Factors", "Growth"], Trainer]


@dataclass(frozen=True)
class RankingSettings:
    """The checked values of the parameters that all models with sampled ranking losses have."""

    n_factors: int
    max_iter: int
    tol: float
    init_std: float
    use_bias: bool
    patience: int | None
    validation_metric: str
    back_off: bool
    store_ratings: bool
    generator: np.random.Generator
    n_threads: int
    dtype: np.dtype[Any]
    verbose: bool
    alpha: float | None = None

    @classmethod
    def of(cls, model: Any) -> Self:
        """Check a model's parameters."""
        alpha = getattr(model, "alpha", None)
        return cls(
            n_factors=check_integer("n_factors", model.n_factors, 1),
            max_iter=check_integer("max_iter", model.max_iter, 1),
            tol=check_number("tol", model.tol),
            init_std=check_spread(
                "init_std", getattr(model, "init_std", 1.0), check_dtype(model.dtype)
            ),
            use_bias=check_flag("use_bias", getattr(model, "use_bias", False)),
            patience=None
            if model.patience is None
            else check_integer("patience", model.patience, 1),
            validation_metric=as_metrics((model.validation_metric,))[0].name,
            back_off=check_choice(
                "on_divergence", getattr(model, "on_divergence", "raise"), ("raise", "back_off")
            )
            == "back_off",
            store_ratings=check_flag("store_ratings", model.store_ratings),
            generator=random_generator(model.random_state),
            n_threads=check_threads(model.n_threads),
            dtype=check_dtype(model.dtype),
            verbose=check_flag("verbose", model.verbose),
            alpha=None if alpha is None else check_number("alpha", alpha, positive=True),
        )


@dataclass(frozen=True, eq=False)
class Growth:
    """What is known beside the interactions that are visited.

    Attributes
    ----------
    known : Ratings
        All interactions that the model knows, to verify negatives against.
    item_counts : ndarray of int64
        Interactions of each item, old and new together.
    sums : dict of str to ndarray
        AdaGrad's sums of earlier calls.
    """

    known: Ratings
    item_counts: np.ndarray
    sums: dict[str, np.ndarray]


def fit_ranking(
    model: MatrixFactorization,
    settings: RankingSettings,
    trainer: MakeTrainer,
    data: tuple[Any, Any, Any],
    *,
    validation: Any,
    callback: Callable[..., Any] | None,
    init: Any,
) -> None:
    """Train a model on ``data = (X, y, sample_weight)`` and publish what it learnt."""
    check_callback(callback)
    if settings.patience is not None and validation is None:
        raise ValueError(
            f"patience={settings.patience} needs a validation set; give fit(…, validation=…), or patience=None"
        )
    ratings = training_ratings(*data)
    held_out = _held_out_ratings(validation)
    growth = Growth(ratings, ratings.item_counts, {})
    with _problem(settings, ratings, growth, held_out) as problem:
        factors = problem.random(settings.generator, settings.init_std)
        if init is not None:
            start_from(init, factors, cast("Problem", problem))
        model._publish(
            _train(model, settings, problem, trainer(problem, factors, growth), callback)
        )


def _held_out_ratings(validation: Any) -> Ratings | None:
    if validation is None or not isinstance(validation, tuple):
        return None if validation is None else training_ratings(validation)
    if len(validation) != 2:
        raise ValueError(
            f"validation is a tuple of {len(validation)}; expected Ratings, a matrix or a table, or a pair (X, y)"
        )
    return training_ratings(*validation)


def go_on_ranking(
    model: MatrixFactorization,
    settings: RankingSettings,
    trainer: MakeTrainer,
    data: tuple[Any, Any, Any],
    n_epochs: int,
) -> None:
    """Train a model further on ``data = (X, y, sample_weight)`` and publish the grown model."""
    settings = replace(settings, max_iter=check_integer("n_epochs", n_epochs, 1), patience=None)
    old = model._state
    if old is None:
        fit_ranking(model, settings, trainer, data, validation=None, callback=None, init=None)
        return
    if old.n_factors != settings.n_factors or (old.user_bias is not None) != settings.use_bias:
        raise ValueError(
            f"the model was fitted with n_factors={old.n_factors} and use_bias={old.user_bias is not None}; "
            "expected the same parameters as then, or fit anew"
        )
    grown = grow(old, training_ratings(*data))
    growth = Growth(
        grown.new if grown.all is None else grown.all,
        grown.item_counts,
        dict(old.extra),
    )
    with _problem(settings, grown.new, growth, None) as problem:
        factors = problem.random(settings.generator, settings.init_std)
        _take_over(old, factors)
        epochs = trainer(problem, factors, growth)
        state = _train(model, settings, problem, epochs, None, "partial_fit")
    low, high = old.rating_range
    model._publish(
        replace(
            state,
            rating_range=(min(low, state.rating_range[0]), max(high, state.rating_range[1])),
            user_counts=grown.user_counts,
            item_counts=grown.item_counts,
            ratings=grown.all if settings.store_ratings else None,
            history=old.history,
            n_iter=old.n_iter,
            stop_reason=old.stop_reason,
        )
    )


@contextmanager
def _problem(
    settings: RankingSettings, ratings: Ratings, growth: Growth, held_out: Ratings | None
) -> Iterator[RankingProblem]:
    positives = Positives.of(ratings, settings.dtype, settings.alpha)
    known = positives
    if growth.known is not ratings:
        known = Positives.of(growth.known, settings.dtype)
    with Workers(settings.n_threads) as workers:
        yield RankingProblem(
            ratings,
            positives,
            known,
            n_factors=settings.n_factors,
            dtype=settings.dtype,
            use_bias=settings.use_bias,
            held_out=None if held_out is None else held_out_of(held_out, ratings),
            metric=settings.validation_metric,
            workers=workers,
        )


def _train(
    model: MatrixFactorization,
    settings: RankingSettings,
    problem: RankingProblem,
    epochs: Trainer,
    callback: Callable[..., Any] | None,
    task: str = "fit",
) -> FittedState:
    loop = TrainingLoop(
        name=type(model).__name__,
        max_iter=settings.max_iter,
        patience=settings.patience,
        callback=callback,
        verbose=settings.verbose,
        measured=("objective", "validation_score"),
        size=TrainingSize(problem.ratings.shape, problem.ratings.nnz, settings.n_threads),
        task=task,
    )
    objective = math.inf

    def step(iteration: int) -> bool:
        nonlocal objective
        before, objective = objective, epochs.run()
        return settings.tol > 0 and before - objective <= settings.tol * abs(objective)

    loop.run(step, lambda: (objective, problem.validation_score(epochs.working)), epochs.working)
    return problem.state(
        epochs.working,
        history=loop.history,
        n_iter=loop.n_iter,
        stop_reason=loop.stop_reason,
        store_ratings=settings.store_ratings,
        extra=epochs.sums(),
    )


def _take_over(state: FittedState, factors: Factors) -> None:
    """Copy a model's rows, which come first, over a random start, unless they had no interactions."""
    k = state.n_factors
    for counts, rows, bias, target, target_bias in (
        (state.user_counts, state.user_factors, state.user_bias, factors.user, factors.user_bias),
        (state.item_counts, state.item_factors, state.item_bias, factors.item, factors.item_bias),
    ):
        known = np.flatnonzero(counts)
        target[known, :k] = rows[known]
        if bias is not None:
            target_bias[known] = bias[known]
