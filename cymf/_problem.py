"""One factorization problem: ratings, the objective's settings, and the passes over the data that all solvers share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cymf._factors import Factors
from cymf._feature_prior import FeaturePrior, Iterate, Priors, Strengths
from cymf._feature_state import feature_arrays
from cymf._kernels import kernels
from cymf._parallel import Workers, equal_work_chunks
from cymf._state import FittedState

if TYPE_CHECKING:
    from cymf._feature_rows import Sides
    from cymf.ratings import Ratings

__all__ = ["Problem", "Side", "Validation", "check_penalty", "check_squares"]

_BLOCK_ROWS = 1024  # converted to float64 at once
_BLOCK_RATINGS = 1 << 20
_LARGEST_PENALTY = 1e-3  # of the largest number: what is added to it has room
_FEATURE_REG_SHARE = 1e-3  # docs/decisions/0015


@dataclass(frozen=True, eq=False)
class Side:
    """The ratings seen from one side: rows are its users or its items.

    Attributes
    ----------
    indptr, indices, values, weights : ndarray
        Compressed rows; `weights` is empty where all are 1.
    chunks : ndarray of int64
        Row borders of about equal work.
    counts : ndarray of int64
        Ratings of each row.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    chunks: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True, eq=False)
class Validation:
    """Held-out ratings as row numbers of the training ratings, -1 where a row is unknown."""

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    weights: np.ndarray | None


class Problem:
    r"""What is minimized, and on what.

        ½ Σ_Ω c_ij (a_ij − μ − b_i − b_j − w_i·h_j)²
          + ½ Σ_i n_i^ν (λ ‖w_i‖² + λ_b b_i²) + ½ Σ_j n_j^ν (λ ‖h_j‖² + λ_b b_j²)

    Parameters
    ----------
    ratings : Ratings
        The observed cells Ω.
    n_factors : int
        Length of w_i and h_j.
    dtype : dtype
        float32 or float64.
    reg, reg_bias, reg_exponent : float
        λ, λ_b and ν.
    use_bias : bool
        Without biases the model is the textbook's w_i·h_j, with μ = b_i = b_j = 0.
    validation : Validation or None
        Held-out ratings.
    workers : Workers
        The threads.

    Attributes
    ----------
    priors : Priors
        What features say of the rows of a side, "user" or "item": there the penalty is on w_i − F_i B and b_i − F_i β,
        and ½ λ_B (‖B‖² + ‖β‖²) is added. Empty until `describe` is called.
    """

    def __init__(
        self,
        ratings: Ratings,
        *,
        n_factors: int,
        dtype: np.dtype[Any],
        reg: float,
        reg_bias: float,
        reg_exponent: float,
        use_bias: bool,
        validation: Validation | None,
        workers: Workers,
    ) -> None:
        self.ratings = ratings
        self.n_factors = n_factors
        self.dtype = dtype
        self.reg = reg
        self.reg_bias = reg_bias
        self.reg_exponent = reg_exponent
        self.use_bias = use_bias
        self.validation = validation
        self.workers = workers
        check_squares(max(map(abs, ratings.rating_range)), dtype)
        most = max(int(ratings.user_counts.max()), int(ratings.item_counts.max()))
        for name, value in (("reg", reg), ("reg_bias", reg_bias)):
            check_penalty(name, value, value * float(most) ** reg_exponent, dtype)
        self.priors: Priors = Priors()
        self.users: Side = self._side(ratings.csr(dtype))
        self.item_counts: np.ndarray = ratings.item_counts
        weights = self.users.weights if len(self.users.weights) else None
        self._user_scale, self._item_scale = (
            np.maximum(counts, 1) ** reg_exponent  # empty rows are zero
            for counts in (self.users.counts, self.item_counts)
        )
        self.total_weight: float = (
            float(np.sum(weights, dtype=np.float64)) if weights is not None else float(ratings.nnz)
        )
        if self.total_weight == 0:
            largest = 0.0 if ratings.weights is None else float(ratings.weights.max())
            raise ValueError(
                f"weights up to {largest:.6g} are 0 in {dtype}, so that no rating counts; expected some above: scale "
                "them up, or use dtype='float64'"
            )
        self.rating_mean: float = _mean(self.users.values, weights)
        self.mean: float = self.rating_mean if use_bias else 0.0

    @cached_property
    def items(self) -> Side:
        """The ratings by item, made when first asked for: SGD never does."""
        return self._side(self.ratings.csc(self.dtype))

    def _side(self, view: Any) -> Side:
        weights = np.zeros(0, self.dtype) if view.weights is None else view.weights
        work_per_row = (
            self.n_factors / 6 + 1
        )  # a solve costs about as much as k/6 ratings' Gram matrix
        return Side(
            view.indptr,
            view.indices,
            view.values,
            weights,
            equal_work_chunks(view.indptr, work_per_row),
            np.diff(view.indptr),
        )

    def describe(self, sides: Sides, feature_reg: float | None) -> None:
        """Give rows priors by their features; without a penalty λ_B, one in proportion to the ratings."""
        if self.reg == 0:
            raise ValueError(
                "reg=0 leaves features without effect, as they say what factors are drawn to; expected reg > 0"
            )
        if feature_reg is None:
            feature_reg = _FEATURE_REG_SHARE * self.total_weight
        strengths = Strengths(self.reg, self.reg_bias, feature_reg)
        for what, features, counts, scale in (
            ("user", sides.user, self.users.counts, self._user_scale),
            ("item", sides.item, self.item_counts, self._item_scale),
        ):
            if features is not None:
                weights = np.where(counts > 0, scale, 0.0)
                width = self.zeros().width
                self.priors[what] = FeaturePrior(
                    features, weights, strengths, self.n_factors, width, self.use_bias, self.dtype
                )

    def iterate(self, factors: Factors) -> Any:
        """Return what training keeps and restores: the factors, and what their priors are made of."""
        return Iterate(factors, self.priors) if self.priors else factors

    def zeros(self) -> Factors:
        """Return factors and biases of zero."""
        return Factors(
            self.ratings.n_users, self.ratings.n_items, self.n_factors, self.use_bias, self.dtype
        )

    def random(self, generator: np.random.Generator, std: float) -> Factors:
        """Return normal factors of standard deviation `std`, zero for rows without ratings; biases of zero."""
        factors = self.zeros()
        k = self.n_factors
        for array, counts in (
            (factors.user, self.users.counts),
            (factors.item, self.item_counts),
        ):
            for start in range(0, len(array), _BLOCK_ROWS):
                block = array[start : start + _BLOCK_ROWS, :k]
                block[:] = generator.standard_normal(block.shape, dtype=self.dtype)
                block *= std
            array[counts == 0] = 0
        return factors

    def sweep(
        self,
        kernel: Callable[..., object],
        side: Side,
        inputs: tuple[Any, ...],
        outputs: tuple[np.ndarray, ...],
        flops_per_rating: float,
        scratch: Sequence[np.ndarray] | None = None,
    ) -> None:
        """Run a kernel over the rows of one side: every worker draws chunks until none is left.

        The kernel takes the side's arrays, `inputs`, the chunks and their counter, `outputs`, and a worker's scratch.
        """
        counter = np.zeros(1, np.int64)

        def work(worker: int) -> None:
            own = () if scratch is None else (scratch[worker],)
            kernel(
                side.indptr, side.indices, side.values, side.weights, *inputs,
                side.chunks, counter, *outputs, *own,
            )  # fmt: skip

        self.workers.run(work, flops_per_rating * len(side.indices))

    def squared_error(self, factors: Factors) -> float:
        """Return Σ c e² over the training ratings, by one evaluating pass."""
        sums = np.zeros(len(self.users.chunks) - 1)
        inputs = factors.user, factors.user_bias, factors.item, factors.item_bias, self.mean
        self.sweep(kernels.squared_errors, self.users, inputs, (sums,), 2.0 * self.n_factors)
        return math.fsum(sums)

    def gradient(self, factors: Factors, out: Factors) -> tuple[float, float]:
        """Write the objective's gradient to `out`; return the objective and Σ c e².

        One pass over the ratings by user gives EV and the loss, one by item gives EᵀU.
        """
        users = factors.user, factors.user_bias
        items = factors.item, factors.item_bias
        settings = self.mean, self.reg, self.reg_bias, self.reg_exponent
        squared, penalty = 0.0, 0.0
        for side, own, other, gradient in (
            (self.items, items, users, (out.item, out.item_bias)),
            (self.users, users, items, (out.user, out.user_bias)),
        ):
            errors, penalties = np.zeros((2, len(side.chunks) - 1))
            inputs = *own, *other, *settings, *gradient
            self.sweep(
                kernels.residual_gradient, side, inputs, (errors, penalties), 4.0 * self.n_factors
            )
            squared = math.fsum(errors)  # both passes see the same residuals
            penalty += math.fsum(penalties)
        return 0.5 * (squared + penalty), squared

    def penalty(self, factors: Factors) -> float:
        """Return Σ_i n_i^ν (λ ‖w_i‖² + λ_b b_i²) + the same of the items, in float64; with features, of deviations."""
        total = 0.0
        for what, scale, rows, bias in (
            ("user", self._user_scale, factors.user, factors.user_bias),
            ("item", self._item_scale, factors.item, factors.item_bias),
        ):
            prior = self.priors.get(what)
            if prior is not None:
                total += prior.penalty()
                bias = bias - prior.bias_mean
            for start in range(0, len(rows), _BLOCK_ROWS):
                block = rows[start : start + _BLOCK_ROWS].astype(np.float64)
                if prior is not None:
                    block -= prior.mean[start : start + _BLOCK_ROWS]
                norms = np.multiply(block, block, out=block).sum(axis=1)
                total += self.reg * float(np.sum(scale[start : start + _BLOCK_ROWS] * norms))
            if len(bias):
                total += self.reg_bias * float(np.sum(scale * bias.astype(np.float64) ** 2))
        return total

    def objective(self, factors: Factors) -> tuple[float, float]:
        """Return the objective and the training RMSE, by one evaluating pass."""
        squared = self.squared_error(factors)
        return 0.5 * (squared + self.penalty(factors)), self.rmse_of(squared)

    def rmse_of(self, squared: float) -> float:
        """Return √(Σ c e² / Σ c) for a given Σ c e²."""
        return math.sqrt(squared / self.total_weight)

    def validation_rmse(self, factors: Factors) -> float:
        """Return the RMSE of the validation ratings; NaN without them."""
        held_out = self.validation
        if held_out is None:
            return math.nan
        predictions = np.empty(len(held_out.users), self.dtype)
        pieces = np.linspace(0, len(predictions), self.workers.n_threads + 1).astype(int)

        def work(number: int) -> None:
            piece = slice(pieces[number], pieces[number + 1])
            kernels.predict_pairs(
                held_out.users[piece], held_out.items[piece], factors.user, factors.item, factors.user_bias,
                factors.item_bias, self.mean, predictions[piece],
            )  # fmt: skip

        if self.workers.n_threads * 1_000_000 > len(predictions) * self.n_factors:
            for number in range(self.workers.n_threads):
                work(number)
        else:
            self.workers.run(work)
        if not self.use_bias:  # without μ, what is unknown is predicted by the ratings' mean
            predictions[(held_out.users < 0) | (held_out.items < 0)] = self.rating_mean
        squared, total = 0.0, 0.0
        for start in range(0, len(predictions), _BLOCK_RATINGS):
            block = slice(start, start + _BLOCK_RATINGS)
            errors = predictions[block].astype(np.float64) - held_out.values[block]
            if held_out.weights is None:
                squared += float(np.sum(errors * errors))
                total += len(errors)
            else:
                squared += float(np.sum(held_out.weights[block] * errors**2))
                total += float(held_out.weights[block].sum())
        return math.sqrt(squared / total)

    def state(
        self,
        factors: Factors,
        *,
        history: dict[str, list[float]],
        n_iter: int,
        stop_reason: str,
        store_ratings: bool,
        extra: dict[str, np.ndarray] | None = None,
    ) -> FittedState:
        """Return what a fitted model keeps of all this."""
        user_factors, item_factors, user_bias, item_bias = factors.trimmed()
        extra = dict(extra or {})
        if self.priors:
            extra |= feature_arrays(self.priors, self.dtype, keep_matrix=store_ratings)
        return FittedState(
            user_factors=user_factors,
            item_factors=item_factors,
            user_bias=user_bias,
            item_bias=item_bias,
            global_mean=self.mean,
            rating_mean=self.rating_mean,
            rating_range=self.ratings.rating_range,
            user_ids=self.ratings.user_ids,
            item_ids=self.ratings.item_ids,
            user_counts=self.users.counts,
            item_counts=self.item_counts,
            ratings=self.ratings if store_ratings else None,
            history=history,
            n_iter=n_iter,
            stop_reason=stop_reason,
            extra=extra,
        ).finite()


def check_squares(largest: float, dtype: np.dtype[Any]) -> None:
    """Refuse ratings whose squares do not fit in the type of the arithmetic."""
    if largest > math.sqrt(float(np.finfo(dtype).max)):
        raise ValueError(
            f"ratings up to {largest:.6g} are too large: their squares do not fit in {dtype}; "
            "scale them down" + (", or use dtype='float64'" if dtype == np.float32 else "")
        )


def check_penalty(name: str, value: float, largest: float, dtype: np.dtype[Any]) -> None:
    """Refuse a penalty that, scaled for the row in which it counts most, does not fit in the type of the arithmetic."""
    if not largest <= _LARGEST_PENALTY * float(np.finfo(dtype).max):
        raise ValueError(
            f"{name}={value:g} is too large: it counts up to {largest:.3g} in a row, which does not fit in {dtype}; "
            "expected less" + (", or dtype='float64'" if dtype == np.float32 else "")
        )


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    """Return Σ c a / Σ c in float64, a block of ratings after the other."""
    total, weight = 0.0, 0.0
    for start in range(0, len(values), _BLOCK_RATINGS):
        block = slice(start, start + _BLOCK_RATINGS)
        exact = values[block].astype(np.float64)
        if weights is None:
            total += float(exact.sum())
        else:
            total += float(np.sum(exact * weights[block]))
            weight += float(np.sum(weights[block], dtype=np.float64))
    return total / (len(values) if weights is None else weight)
