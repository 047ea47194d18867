"""Gibbs sampling of a factor model: one draw of everything from its distribution given all else, sweep after sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cymf._errors import DivergenceError
from cymf._factors import Factors, aligned_zeros
from cymf._implicit_sets import ImplicitSets
from cymf._kernels import bayesian_kernels
from cymf._normal_wishart import draw_normal_wishart
from cymf._problem import Problem

__all__ = ["Draw", "GibbsSampler"]

_REMEDY = "bring the ratings to a scale near 1, or use dtype='float64'"
_STREAMS = 4  # a sweep: rows and set vectors of both sides


class Draw(NamedTuple):
    """One draw of the model, its rows around their means: an unknown row, at its mean, adds nothing to a prediction.

    Attributes
    ----------
    mean : float
        What predictions start from.
    user_factors, item_factors : ndarray of shape (n_users, n_factors) and (n_items, n_factors)
    user_bias, item_bias : ndarray of shape (n_users,) and (n_items,)
        These are zero, like the factors, for rows without ratings.
    user_covariance, item_covariance : ndarray of float64, shape (n_factors + 1, n_factors + 1)
        Covariance of a row's factors and bias, of whose ratings nothing is known.
    noise_variance : float
        Variance of a rating of weight 1 around its prediction.
    """

    mean: float
    user_factors: np.ndarray
    item_factors: np.ndarray
    user_bias: np.ndarray
    item_bias: np.ndarray
    user_covariance: np.ndarray
    item_covariance: np.ndarray
    noise_variance: float


@dataclass
class _Beforehand:
    """What is believed of a side's rows before their ratings: N(mean + what their sets say, precision⁻¹)."""

    mean: np.ndarray
    precision: np.ndarray
    sets: ImplicitSets | None


class GibbsSampler:
    r"""Draws of

        a_ij ~ N(μ + b_i + b_j + w_i·h_j, σ² / c_ij),    [w_i, b_i] ~ N(m + implicit sets, Λ⁻¹), items alike,

    with Normal–Wishart distributions of m and Λ and a gamma distribution of 1 / σ². Their scales are those of the
    ratings, so that the sampler does the same whatever units ratings come in.

    Parameters
    ----------
    problem : Problem
        Ratings and threads; ``problem.n_factors`` is k.
    start : Factors
        Where to start from, of k factors.
    generator : Generator
        Where random numbers come from; those of the rows have streams of their own.
    implicit_sets : {None, "user", "both"}
        Which sides have implicit sets.

    Attributes
    ----------
    factors : Factors
        The last draw, with k + 1 factors of which the last is 0: the kernels' place for the bias.
    noise_variance : float
        σ² of the last draw.
    """

    def __init__(
        self,
        problem: Problem,
        start: Factors,
        generator: np.random.Generator,
        implicit_sets: str | None,
    ) -> None:
        self.problem = problem
        self._generator = generator
        self._seed = int(generator.integers(2**63))
        self._sweeps = 0
        k, ratings = problem.n_factors, problem.ratings
        self._k = k
        self.factors = Factors(ratings.n_users, ratings.n_items, k + 1, True, problem.dtype)
        for which in ("user", "item"):
            getattr(self.factors, which)[:, :k] = getattr(start, which)[:, :k]
            getattr(self.factors, f"{which}_bias")[:] = getattr(start, f"{which}_bias")
        weights = problem.users.weights
        self._n_ratings = int(np.count_nonzero(weights)) if len(weights) else ratings.nnz
        around = problem.users.values.astype(np.float64) - problem.mean
        squares = np.square(around) * (weights if len(weights) else 1.0)
        variance = float(squares.sum()) / problem.total_weight
        self._variance = variance if variance > 0 else 1.0
        self._first_noise = self._variance * problem.total_weight / max(self._n_ratings, 1)
        self.noise_variance, self.squared_error = self._first_noise, math.nan
        self._scale = np.append(np.full(k, self._variance**0.25), self._variance**0.5)
        self._known = {
            "user": np.flatnonzero(problem.users.counts),
            "item": np.flatnonzero(problem.item_counts),
        }
        self._beforehand: dict[str, _Beforehand] = {}
        for which, side, members in (
            ("item", problem.items, problem.users),
            ("user", problem.users, problem.items),
        ):
            sets = None
            if implicit_sets == "both" or implicit_sets == which:
                sets = ImplicitSets(side, members, self._scale, problem)
            nothing = np.zeros(k + 1), np.diag(self._scale**-2.0)
            self._beforehand[which] = _Beforehand(*nothing, sets)
        size = bayesian_kernels.posterior_scratch_size(k + 1, self.factors.width)
        self._scratch = [
            aligned_zeros(size, problem.dtype) for _ in range(problem.workers.n_threads)
        ]

    def sweep(self) -> None:
        """Draw everything once: items, then users, each after their mean and precision; then the noise."""
        for number, which in enumerate(("item", "user")):
            try:
                self._draw_beforehand(which, number)
            except np.linalg.LinAlgError:
                raise DivergenceError(
                    f"the precision of the {which}s' rows cannot be drawn: {_REMEDY}"
                ) from None
            self._draw_rows(which, number)
        self._sweeps += 1
        squared = self.problem.squared_error(self.factors)
        if not math.isfinite(squared):
            raise DivergenceError(f"the draws overflow; {_REMEDY}")
        rate = self._first_noise + 0.5 * squared
        self.noise_variance = rate / self._generator.gamma(1 + 0.5 * self._n_ratings)
        self.squared_error = squared

    def draw(self) -> Draw:
        """Return the last draw, moved around the rows' means."""
        k, factors = self._k, self.factors
        users, items = self._beforehand["user"], self._beforehand["item"]
        w = factors.user[:, :k].astype(np.float64) - users.mean[:k]
        h = factors.item[:, :k].astype(np.float64) - items.mean[:k]
        b = factors.user_bias - users.mean[k] + w @ items.mean[:k]
        c = factors.item_bias - items.mean[k] + h @ users.mean[:k]
        for which, arrays in (("user", (w, b)), ("item", (h, c))):
            unknown = np.ones(len(arrays[0]), bool)
            unknown[self._known[which]] = False
            for array in arrays:
                array[unknown] = 0
        w, h, b, c = (array.astype(self.problem.dtype) for array in (w, h, b, c))
        return Draw(
            mean=self.problem.mean
            + float(users.mean[k] + items.mean[k] + users.mean[:k] @ items.mean[:k]),
            user_factors=w,
            item_factors=h,
            user_bias=b,
            item_bias=c,
            user_covariance=_moved_covariance(users.precision, items.mean[:k]),
            item_covariance=_moved_covariance(items.precision, users.mean[:k]),
            noise_variance=self.noise_variance,
        )

    def _epoch(self, number: int) -> int:
        return _STREAMS * self._sweeps + number

    def _draw_beforehand(self, which: str, number: int) -> None:
        """Draw mean, precision and set vectors of one side, given its rows."""
        belief, known = self._beforehand[which], self._known[which]
        rows = np.empty((len(known), self._k + 1))
        rows[:, : self._k] = getattr(self.factors, which)[known, : self._k]
        rows[:, self._k] = getattr(self.factors, f"{which}_bias")[known]
        if belief.sets is not None:
            rows -= belief.sets.means[known]
        belief.mean, belief.precision = draw_normal_wishart(rows, self._scale, self._generator)
        if belief.sets is not None:
            rows -= belief.mean
            belief.sets.draw(
                rows, known, belief.precision, self._generator, self._seed, self._epoch(2 + number)
            )

    def _draw_rows(self, which: str, number: int) -> None:
        """Draw all rows of one side, given the other."""
        problem, factors, k = self.problem, self.factors, self._k
        other = "item" if which == "user" else "user"
        side = problem.users if which == "user" else problem.items
        fixed, drawn = getattr(factors, other), getattr(factors, which)
        offset = (getattr(factors, f"{other}_bias") + problem.mean).astype(problem.dtype)
        belief = self._beforehand[which]
        width, dtype = factors.width, problem.dtype
        scaled = np.zeros((k + 1, width))
        scaled[:, : k + 1] = self.noise_variance * belief.precision
        means = belief.mean[np.newaxis] if belief.sets is None else belief.mean + belief.sets.means
        pulls = aligned_zeros((len(means), width), dtype)
        pulls[:] = means @ scaled
        status = np.zeros(len(drawn), np.int8)
        fixed[:, k] = 1
        inputs = (
            fixed, offset, scaled.astype(dtype), pulls, math.sqrt(self.noise_variance), self._seed, self._epoch(number)
        )  # fmt: skip
        problem.sweep(
            bayesian_kernels.bayesian_half_sweep, side, inputs, (drawn, status),
            float((k + 1) * (k + 2)), self._scratch,
        )  # fmt: skip
        fixed[:, k] = 0
        getattr(factors, f"{which}_bias")[:] = drawn[:, k]
        drawn[:, k] = 0
        failed = np.flatnonzero(status)
        if len(failed):
            ids = getattr(problem.ratings, f"{which}_ids")
            row = (failed if ids is None else ids.to_ids(failed[:1])).tolist()[0]
            raise DivergenceError(
                f"the draw of {which} {row!r} ({side.counts[failed[0]]} ratings) is not finite; {_REMEDY}"
            )


def _moved_covariance(precision: np.ndarray, other_mean: np.ndarray) -> np.ndarray:
    """Return the covariance of [w, b + w·m], m being the mean of the other side's factors."""
    move = np.eye(len(precision))
    move[-1, :-1] = other_mean
    covariance = move @ np.linalg.inv(precision) @ move.T
    return np.asarray(covariance)
