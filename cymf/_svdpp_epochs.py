"""Epochs of SVD++: who rated what and in which order, the rows that are trained, and a watch on divergence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf._errors import DivergenceError
from cymf._factors import Factors, aligned_zeros
from cymf._kernels import svdpp_kernels
from cymf._parallel import equal_work_chunks
from cymf._strata import Stripes

if TYPE_CHECKING:
    from cymf._epochs import LearningRate
    from cymf._problem import Problem

__all__ = ["Members", "SvdppEpochs", "SvdppRows"]

_STRIPES = 16  # of items: the tasks into which the changes of a batch are cut
_MOST_USERS = 32  # of a batch,
_LEAST_BATCHES = 32  # but no fewer batches than this
_IMPLAUSIBLE = (
    100.0  # a user's squared errors so many times the largest squared rating: training has exploded
)


@dataclass(frozen=True, eq=False)
class Members:
    """Items of each user by the items' stripes.

    Attributes
    ----------
    border : ndarray of int64, shape (n_users * n_stripes + 1,)
        First entry of each user and stripe.
    items : ndarray of int32
        The items.
    order : ndarray of int64
        Place of each entry in the compressed rows that it came from.
    """

    border: np.ndarray
    items: np.ndarray
    order: np.ndarray

    @classmethod
    def of(
        cls, indptr: np.ndarray, indices: np.ndarray, stripe: np.ndarray, n_stripes: int
    ) -> Self:
        """Sort compressed rows by the stripes of their items."""
        n_users = len(indptr) - 1
        key = np.repeat(np.arange(n_users) * n_stripes, np.diff(indptr)) + stripe[indices]
        order = np.argsort(key, kind="stable")
        border = np.zeros(n_users * n_stripes + 1, np.int64)
        np.cumsum(np.bincount(key, minlength=n_users * n_stripes), out=border[1:])
        return cls(border, indices[order].astype(np.int32), order)


class SvdppRows:
    """What SVD++ trains, views of the one array `flat`.

    Attributes
    ----------
    user : ndarray of shape (n_users, width)
        p_u, padded by zeros.
    item : ndarray of shape (n_items, 2 width)
        q_i and y_i side by side.
    user_bias, item_bias : ndarray of shape (n_users,) and (n_items,)
        b_u and b_i.
    """

    def __init__(
        self, n_users: int, n_items: int, n_factors: int, width: int, dtype: np.dtype[Any]
    ) -> None:
        self.n_factors = n_factors
        self.width = width
        self.flat = aligned_zeros((n_users + 2 * n_items) * width + n_users + n_items, dtype)
        ends = np.cumsum([n_users * width, 2 * n_items * width, n_users])
        user, item, self.user_bias, self.item_bias = np.split(self.flat, ends)
        self.user = user.reshape(n_users, width)
        self.item = item.reshape(n_items, 2 * width)

    @classmethod
    def of(cls, start: Factors) -> Self:
        """Return rows with p and q of given factors, and y zero."""
        rows = cls(len(start.user), len(start.item), start.n_factors, start.width, start.flat.dtype)
        rows.user[:] = start.user
        rows.item[:, : rows.width] = start.item
        rows.user_bias[:] = start.user_bias
        rows.item_bias[:] = start.item_bias
        return rows

    @property
    def implied(self) -> np.ndarray:
        """y, of shape (n_items, n_factors)."""
        return self.item[:, self.width : self.width + self.n_factors]

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = type(self)(
            len(self.user), len(self.item), self.n_factors, self.width, self.flat.dtype
        )
        twin.assign(self)
        return twin

    def assign(self, other: Self) -> None:
        """Take over the values of `other`."""
        self.flat[:] = other.flat


class SvdppEpochs:
    """One fit's epochs.

    Parameters
    ----------
    problem : Problem
        The ratings to visit.
    rows : SvdppRows
        Where to start from; trained in place.
    members : tuple of ndarray
        (indptr, indices) of N(u): the items of each user, in compressed rows of the problem's numbering.
    rate : LearningRate
        The schedule.
    generator : Generator
        Deals the items into stripes, and orders users and ratings.
    """

    def __init__(
        self,
        problem: Problem,
        rows: SvdppRows,
        members: tuple[np.ndarray, np.ndarray],
        rate: LearningRate,
        generator: np.random.Generator,
    ) -> None:
        self.problem = problem
        self.rows = rows
        self.rate = rate
        self.epoch = 0
        self._generator = generator
        users = problem.users
        self._n_stripes = min(_STRIPES, problem.ratings.n_items)
        stripe = Stripes.deal(problem.item_counts, self._n_stripes, generator).stripe
        self._rated = Members.of(users.indptr, users.indices, stripe, self._n_stripes)
        self._members = (
            self._rated
            if members[1] is users.indices
            else Members.of(*members, stripe, self._n_stripes)
        )
        self._values = users.values[self._rated.order]
        self._weights = users.weights[self._rated.order] if len(users.weights) else users.weights
        self._who = np.flatnonzero(users.counts)
        self._batch = max(1, min(_MOST_USERS, len(self._who) // _LEAST_BATCHES))
        self._moves = aligned_zeros((self._batch, rows.width), problem.dtype)
        self._shrinks = np.zeros(self._batch, problem.dtype)
        self._chunks = equal_work_chunks(self._members.border[:: self._n_stripes], 1.0)
        extremes = np.subtract(problem.ratings.rating_range, problem.mean)
        heaviest = float(users.weights.max()) if len(users.weights) else 1.0
        largest = float(np.max(extremes**2)) or 1e-12
        initial = self._mean_error()  # which may be that of a model of other ratings
        if not math.isfinite(initial):
            raise DivergenceError(
                f"the errors that training starts from do not fit in {problem.dtype}; lower init_std, scale init or "
                "the weights down, or use dtype='float64'"
            )
        self._usual = max(largest, initial)
        self._limit = _IMPLAUSIBLE * heaviest * self._usual

    def _mean_error(self) -> float:
        return self.problem.squared_error(self.whole()) / self.problem.total_weight

    def check(self) -> None:
        """Raise if the last steps, whose errors no epoch has seen, made factors explode."""
        if not self._mean_error() <= _IMPLAUSIBLE * self._usual:
            raise self._divergence(self.epoch, self.rate.at(max(self.epoch - 1, 0)))

    def _divergence(self, epoch: int, rate: float) -> DivergenceError:
        return DivergenceError(
            f"training diverged in epoch {epoch}: errors grew beyond any plausible value at learning rate "
            f"{rate:.3g}; try learning_rate={self._smaller_rate():.2g} or a "
            f"{'smaller' if rate * max(self.problem.reg, self.problem.reg_bias) > 1 else 'larger'} reg"
        )

    def whole(self) -> Factors:
        """Return the factors that predict: users p_u + |N(u)|^-½ Σ y_j, items q_i."""
        rows, result = self.rows, self.problem.zeros()
        counter = np.zeros(1, np.int64)

        def work(_: int) -> None:
            svdpp_kernels.svdpp_whole_users(
                self._members.border, self._members.items, self._n_stripes, rows.user, rows.item,
                self._chunks, counter, result.user,
            )  # fmt: skip

        self.problem.workers.run(work, 2.0 * rows.n_factors * len(self._members.items))
        result.item[:] = rows.item[:, : rows.width]
        result.user_bias[:] = rows.user_bias
        result.item_bias[:] = rows.item_bias
        return result

    def run(self, reg: float, reg_bias: float) -> float:
        """Do one epoch; return the RMSE of the errors before each update."""
        rate, problem, rows = self.rate.at(self.epoch), self.problem, self.rows
        order = self._generator.permutation(self._who)
        counts = problem.users.counts[order]
        turns = self._generator.integers(0, counts)
        kept_at, fullest = _places_in_batch(counts, self._batch)
        changes = aligned_zeros((fullest, rows.width), problem.dtype)
        bias_changes = np.zeros(fullest, problem.dtype)
        counter, diverged = np.zeros(1, np.int64), np.zeros(1, np.int64)
        clocks = np.zeros(8 * self._batch, np.int64), np.zeros(8 * self._n_stripes, np.int64)
        squared = np.zeros(len(order))

        def work(_: int) -> None:
            svdpp_kernels.svdpp_epoch(
                order, turns, kept_at, self._batch,
                self._rated.border, self._rated.items, self._values, self._weights,
                self._members.border, self._members.items,
                rows.user, rows.item, rows.user_bias, rows.item_bias,
                problem.mean, rate, reg, reg_bias,
                changes, bias_changes, self._moves, self._shrinks, aligned_zeros(rows.width, problem.dtype),
                counter, *clocks, diverged, self._limit, squared,
            )  # fmt: skip

        problem.workers.run(work, 16.0 * len(self._values) * rows.n_factors)
        if diverged[0]:
            raise self._divergence(self.epoch + 1, rate)
        self.epoch += 1
        return problem.rmse_of(math.fsum(squared))

    def _smaller_rate(self) -> float:
        """Return a rate that is certainly smaller and, for ratings of any scale, of a plausible size."""
        low, high = self.problem.ratings.rating_range
        largest = max(self.problem.reg, self.problem.reg_bias, 1e-12)
        return min(self.rate.initial / 4, 0.04 / max(high - low, 1.0), 0.5 / largest)


def _places_in_batch(counts: np.ndarray, batch: int) -> tuple[np.ndarray, int]:
    """Return where each user's ratings begin among those of its batch, and the ratings of the fullest batch."""
    before = np.concatenate([[0], np.cumsum(counts)])
    firsts = before[np.arange(0, len(counts), batch)]
    sizes = np.diff(np.append(firsts, before[-1]))
    return before[:-1] - np.repeat(firsts, batch)[: len(counts)], int(sizes.max())
