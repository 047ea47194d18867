"""Epochs of stochastic gradient descent over the fixed grid, with a watch on divergence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from cymf._errors import ConvergenceWarning, DivergenceError, warn_caller
from cymf._factors import Factors
from cymf._feature_pull import Pull
from cymf._fit_log import LOGGER
from cymf._kernels import kernels
from cymf._problem import Problem
from cymf._strata import Strata
from cymf._validation import check_choice, check_number

__all__ = ["SCHEDULES", "Epochs", "LearningRate"]

SCHEDULES = ("exponential", "constant", "inverse_scaling", "adagrad", "adagrad_row")
_STEP_RULES = {"adagrad_row": 1, "adagrad": 2}  # of the kernel; all other schedules are plain steps
_IMPLAUSIBLE = (
    100.0  # squared errors so many times the largest squared rating: training has exploded
)
_MOST_HALVINGS = 40


@dataclass
class LearningRate:
    """The learning rate of each epoch.

    Attributes
    ----------
    initial : float
        That of the first epoch.
    schedule : str
        One of `SCHEDULES`.
    decay : float
        See `SGD`.
    """

    initial: float
    schedule: str
    decay: float

    @classmethod
    def of(cls, model: Any) -> Self:
        """Check a model's parameters."""
        schedule = check_choice("schedule", model.schedule, SCHEDULES)
        return cls(
            check_number("learning_rate", model.learning_rate, positive=True),
            schedule,
            check_number(
                "decay", model.decay, maximum=1 if schedule == "exponential" else math.inf
            ),
        )

    @property
    def step_rule(self) -> int:
        """The kernel's number of the rule by which a step is taken."""
        return _STEP_RULES.get(self.schedule, 0)

    def held_at(self, epoch: int) -> Self:
        """Return a rate that stays what this one is in an epoch; AdaGrad goes on as it is."""
        schedule = self.schedule if self.step_rule else "constant"
        return type(self)(self.at(max(epoch, 0)), schedule, self.decay)

    def at(self, epoch: int) -> float:
        """Return the rate of an epoch, counted from 0."""
        if self.schedule == "exponential":
            return self.initial * math.pow(1 - self.decay, epoch)
        if self.schedule == "inverse_scaling":
            try:
                return self.initial / math.pow(1 + epoch, self.decay)
            except OverflowError:
                return 0.0
        return self.initial


class Epochs:
    """One fit's epochs; the factors live in the order of the grid's stripes.

    Parameters
    ----------
    problem : Problem
        The ratings and the objective.
    start : Factors
        Where to start from, in the order of the problem's rows.
    rate : LearningRate
        The schedule.
    generator : Generator
        Deals the grid and orders the strata.
    back_off : bool
        Whether to halve the rate when training diverges, instead of raising.
    counts : pair of ndarray, optional
        Ratings n_i and n_j of each user and item where they are not those of the problem.
    sums : dict of str to ndarray, optional
        AdaGrad's sums of squared gradients to go on from, as `sums` returns them.
    """

    def __init__(
        self,
        problem: Problem,
        start: Factors,
        rate: LearningRate,
        generator: np.random.Generator,
        *,
        back_off: bool,
        counts: tuple[np.ndarray, np.ndarray] | None = None,
        sums: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.problem = problem
        self.rate = rate
        self.epoch = 0
        self._generator = generator
        self._back_off = back_off
        self._halvings = 0
        self._strata = Strata.of(problem.users, problem.item_counts, generator)
        self._orders = self._strata.user_stripes.order, self._strata.item_stripes.order
        self.working = start.like()
        _copy_rows(start, self.working, self._orders, gather=True)
        user_counts, item_counts = counts or (problem.users.counts, problem.item_counts)
        self._shares = self._penalty_shares(user_counts, 0), self._penalty_shares(item_counts, 1)
        self._largest_share = max(float(shares.max()) for shares in self._shares)
        self._sums = self._first_sums(sums or {})
        self._pull = self._first_pull() if problem.priors else None
        self._usual, self._limit = self._plausible_errors(start)
        self._first = self._snapshot() if back_off else None

    def _penalty_shares(self, counts: np.ndarray, side: int) -> np.ndarray:
        """Return (λ n^(ν−1), λ_b n^(ν−1)) of each row, in stripe order."""
        problem = self.problem
        power = np.maximum(counts, 1).astype(np.float64) ** (problem.reg_exponent - 1)
        shares = np.empty((len(power), 2), problem.dtype)
        ordered = power[self._orders[side]]
        shares[:, 0] = problem.reg * ordered
        shares[:, 1] = problem.reg_bias * ordered
        return shares

    def _first_pull(self) -> Pull:
        if self.rate.step_rule != 0:
            raise ValueError(
                f"schedule={self.rate.schedule!r} does not take features; expected another schedule, such as "
                "'exponential'"
            )
        return Pull(self.problem, self._orders, self._shares, self.working)

    def _first_sums(self, known: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        rule, n_factors = self.rate.step_rule, self.working.n_factors
        if rule == 0:
            nothing = np.zeros((0, 0), self.problem.dtype)
            return nothing, nothing
        columns = 2 if rule == 1 else n_factors + 1
        result = []
        for name, order in zip(
            ("user_gradient_sums", "item_gradient_sums"), self._orders, strict=True
        ):
            sums = np.ones((len(order), columns), self.problem.dtype)
            old = known.get(name)
            if old is not None and old.shape[1] == columns:
                sums[: len(old)] = old
            result.append(sums[order])
        return result[0], result[1]

    def check(self) -> None:
        """Raise if the last steps, whose errors no epoch has seen, made factors explode."""
        if not self._has_not_exploded():
            raise self._divergence(self.epoch, self.rate.at(max(self.epoch - 1, 0)))

    def _divergence(self, epoch: int, rate: float) -> DivergenceError:
        return DivergenceError(
            f"training diverged in epoch {epoch}: errors grew beyond any plausible value at "
            f"learning rate {rate:.3g}; try learning_rate={self._smaller_rate():.2g} or a "
            f"{'smaller' if rate * self._largest_share > 1 else 'larger'} reg, or on_divergence='back_off', which "
            "finds a rate by itself"
        )

    def _has_not_exploded(self) -> bool:
        squared = self.problem.squared_error(self.factors())
        return squared <= _IMPLAUSIBLE * self._usual * self.problem.total_weight

    def _snapshot(self) -> tuple[Factors, list[np.ndarray]]:
        return self.working.copy(), [sums.copy() for sums in self._sums]

    def _plausible_errors(self, start: Factors) -> tuple[float, float]:
        """Return the largest plausible mean squared error of all ratings, and of a single block."""
        extremes = np.subtract(self.problem.ratings.rating_range, self.problem.mean)
        largest = float(np.max(extremes**2)) or 1e-12
        initial = self.problem.squared_error(start) / self.problem.total_weight
        weights = self.problem.users.weights
        self._heaviest = float(weights.max()) if len(weights) else 1.0
        if not math.isfinite(initial):
            raise DivergenceError(
                f"the errors that training starts from do not fit in {self.problem.dtype}; lower init_std, scale init "
                "or the weights down, or use dtype='float64'"
            )
        usual = max(largest, initial)
        return usual, _IMPLAUSIBLE * self._heaviest * usual

    def factors(self) -> Factors:
        """Return a copy of the factors in the order of the problem's rows."""
        result = self.working.like()
        _copy_rows(self.working, result, self._orders, gather=False)
        return result

    def sums(self) -> dict[str, np.ndarray]:
        """Return AdaGrad's sums of squared gradients in the order of the problem's rows."""
        if self.rate.step_rule == 0:
            return {}
        result = {}
        names = ("user_gradient_sums", "item_gradient_sums")
        for name, sums, order in zip(names, self._sums, self._orders, strict=True):
            result[name] = np.empty_like(sums)
            result[name][order] = sums
        return result

    def run(self) -> float:
        """Do one epoch; return the RMSE of the errors before each update."""
        strata = self._generator.permutation(self._strata.n_stripes).astype(np.int64)
        kept = self._snapshot() if self._back_off else None
        while True:
            rate = self.rate.at(self.epoch)
            squared = self._one_pass(rate, strata)
            if squared is not None and (kept is None or self._has_not_exploded()):
                self.epoch += 1
                if self._pull is not None:
                    self._pull.learn(self.factors())
                return self.problem.rmse_of(squared)
            if kept is None or self._halvings == _MOST_HALVINGS:
                raise self._divergence(self.epoch + 1, rate)
            self._halvings += 1
            self.rate.initial /= 2
            self._restore(kept)
            place = "its start"
            if not self._is_plausible() and self._first is not None:
                kept, place = self._first, "the start of training"
                self._restore(kept)
            text = (
                f"training diverged in epoch {self.epoch + 1} and went back to {place}; "
                f"the learning rate was halved to {self.rate.at(self.epoch):.3g}"
            )
            LOGGER.info(text)
            warn_caller(text, ConvergenceWarning)

    def _restore(self, kept: tuple[Factors, list[np.ndarray]]) -> None:
        self.working.assign(kept[0])
        for sums, old in zip(self._sums, kept[1], strict=True):
            sums[:] = old

    def _is_plausible(self) -> bool:
        """Whether errors are not above those of the start: an epoch may blow factors up in its last steps."""
        mean = self.problem.squared_error(self.factors()) / self.problem.total_weight
        return mean <= self._usual

    def _smaller_rate(self) -> float:
        """Return a rate that is certainly smaller and, for ratings and weights of any scale, of a plausible size.

        A step multiplies a row's error by about 1 − η c ‖h‖², and ‖h‖² is of the order of the ratings' spread.
        """
        low, high = self.problem.ratings.rating_range
        usual = 0.08 / (max(high - low, 1.0) * self._heaviest)
        return min(self.rate.initial / 4, usual, 0.5 / max(self._largest_share, 1e-12))

    def _one_pass(self, rate: float, strata: np.ndarray) -> float | None:
        """Return Σ c e² of one pass at a given rate, or None if it diverged."""
        grid, working, problem = self._strata, self.working, self.problem
        n_stripes = grid.n_stripes
        diverged = np.zeros(1, np.int64)
        squared = np.zeros(n_stripes**2)
        shares = self._shares
        if self.rate.step_rule == 0:
            with np.errstate(over="ignore", invalid="ignore"):  # noticed by the watch
                shares = tuple(1 - problem.dtype.type(rate) * share for share in shares)

        parts = (strata,) if self._pull is None else self._pull.parts(strata, rate)
        for part in parts:
            counter, clocks = np.zeros(1, np.int64), np.zeros((2, 8 * n_stripes), np.int64)
            arguments = (
                grid.block_start, grid.users, grid.items, grid.values, grid.weights,
                grid.user_stripes.start, grid.item_stripes.start, part,
                working.user, working.item, working.user_bias, working.item_bias,
                *shares, *self._sums, self.rate.step_rule, problem.mean, rate, working.n_factors,
                counter, *clocks, diverged, self._limit, squared,
            )  # fmt: skip
            operations = 8.0 * len(grid.users) * working.n_factors * len(part) / n_stripes
            problem.workers.run(partial(_epoch, arguments), operations)
            if diverged[0]:
                return None
        return math.fsum(squared)


def _epoch(arguments: tuple[Any, ...], _: int) -> None:
    kernels.sgd_epoch(*arguments)


def _copy_rows(
    source: Factors, target: Factors, orders: tuple[np.ndarray, np.ndarray], *, gather: bool
) -> None:
    for order, given, taken in (
        (orders[0], source.user, target.user),
        (orders[1], source.item, target.item),
        (orders[0], source.user_bias, target.user_bias),
        (orders[1], source.item_bias, target.item_bias),
    ):
        if len(given) and gather:
            np.take(given, order, axis=0, out=taken)
        elif len(given):
            taken[order] = given
