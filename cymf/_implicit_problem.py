"""One factorization of implicit feedback: confidences, the weights of all cells, penalties, the objective."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cymf._confidence import CONFIDENCES, signed_confidence
from cymf._errors import DivergenceError
from cymf._factors import Factors, aligned_zeros
from cymf._feature_prior import FeaturePrior, Iterate, Priors, Strengths
from cymf._feature_state import feature_arrays
from cymf._kernels import implicit_kernels
from cymf._parallel import Workers, equal_work_chunks, in_shares
from cymf._problem import check_penalty
from cymf._state import FittedState
from cymf._validation import check_choice, check_flag, check_integer, check_number

if TYPE_CHECKING:
    from cymf._feature_rows import Sides
    from cymf.ratings import Ratings

__all__ = [
    "ImplicitModel",
    "ImplicitProblem",
    "ImplicitSide",
    "fitted_model",
    "implicit_model",
    "weighted_gram",
    "with_column",
]

_GRAM_BLOCK = 512  # rows summed in the factors' dtype before the sum goes on in float64
_LEAST_RATIO = 1e-30  # of the penalties of factors and of biases
_GRAM_BYTES = 64_000_000  # of all partial sums together


@dataclass(frozen=True)
class ImplicitModel:
    """The checked parameters that say what is minimized."""

    n_factors: int
    reg: float
    reg_bias: float
    reg_exponent: float
    unobserved_weight: float
    popularity_exponent: float
    weighting: str
    confidence: str
    alpha: float
    epsilon: float
    use_bias: bool

    @property
    def replaces(self) -> bool:
        """Whether an observed cell loses its unobserved weight."""
        return self.weighting == "hu"

    @property
    def bias_column(self) -> float:
        """The constant factor whose weight, penalized like the others, is the bias: γ with b = γ x, γ² = λ / λ_b."""
        return math.sqrt(self.reg / self.reg_bias) if self.use_bias and self.reg > 0 else 1.0

    def popularity(self, counts: np.ndarray) -> np.ndarray:
        """Return each item's part in the unobserved weight: n^exponent, 1 on average over rated items, 0 without."""
        shares = np.where(counts > 0, np.maximum(counts, 1.0) ** self.popularity_exponent, 0.0)
        return np.asarray(shares / shares.sum() * np.count_nonzero(counts))

    def penalties(self, counts: np.ndarray, unobserved: np.ndarray | float) -> np.ndarray:
        """Return λ (n + unobserved)^ν of each row, with `unobserved` the weight of all its cells."""
        return np.asarray(self.reg * (counts + unobserved) ** self.reg_exponent)


def implicit_model(estimator: Any) -> ImplicitModel:
    """Check the parameters of an estimator that say what is minimized."""
    reg = check_number("reg", estimator.reg)
    reg_bias = reg if estimator.reg_bias is None else check_number("reg_bias", estimator.reg_bias)
    weight = check_number("unobserved_weight", estimator.unobserved_weight)
    use_bias = check_flag("use_bias", estimator.use_bias)
    if reg == 0 and weight == 0:
        raise ValueError(
            "reg and unobserved_weight are both 0, which leaves nothing to hold the factors; "
            "expected one of them > 0"
        )
    if use_bias and (reg == 0) != (reg_bias == 0):
        raise ValueError(f"reg={reg:g} and reg_bias={reg_bias:g}; expected both > 0 or both 0")
    if use_bias and reg > 0 and not _LEAST_RATIO <= reg / reg_bias <= 1 / _LEAST_RATIO:
        raise ValueError(
            f"reg={reg:g} and reg_bias={reg_bias:g} are too far apart to be solved for together; expected a ratio of "
            f"at most {1 / _LEAST_RATIO:g}"
        )
    return ImplicitModel(
        n_factors=check_integer("n_factors", estimator.n_factors, 1),
        reg=reg,
        reg_bias=reg_bias,
        reg_exponent=check_number("reg_exponent", estimator.reg_exponent, maximum=2),
        unobserved_weight=weight,
        popularity_exponent=check_number(
            "popularity_exponent", estimator.popularity_exponent, maximum=2
        ),
        weighting=check_choice("weighting", estimator.weighting, ("hu", "rendle")),
        confidence=check_choice("confidence", estimator.confidence, CONFIDENCES),
        alpha=check_number("alpha", estimator.alpha),
        epsilon=check_number("epsilon", estimator.epsilon, positive=True),
        use_bias=use_bias,
    )


def fitted_model(estimator: Any, state: FittedState) -> ImplicitModel:
    """Return what an estimator minimizes by its parameters, with the factors and biases that it was fitted with."""
    return replace(
        implicit_model(estimator),
        n_factors=state.n_factors,
        use_bias=state.user_bias is not None,
    )


@dataclass(frozen=True, eq=False)
class ImplicitSide:
    """The observed cells seen from one side: rows are its users or its items.

    Attributes
    ----------
    indptr, indices, confidence : ndarray
        Compressed rows; confidences are negative where the target is 0.
    base : ndarray of float64, shape (n_rows,)
        s: a row's part in the unobserved weight s_i v_j of a cell.
    column_base : ndarray
        v: the other side's part, empty where all are 1.
    penalties : ndarray of float64, shape (n_rows,)
        λ, scaled, of each row.
    chunks, counts : ndarray of int64
        Row borders of about equal work; observed cells of each row.
    """

    indptr: np.ndarray
    indices: np.ndarray
    confidence: np.ndarray
    base: np.ndarray
    column_base: np.ndarray
    penalties: np.ndarray
    chunks: np.ndarray
    counts: np.ndarray


class ImplicitProblem:
    """What is minimized, and on what; the formula is that of `ImplicitALS`.

    Rows and columns without observed cells take no part: "all cells" are those of the others. With features, which
    `describe` takes, they stay zero until `Priors.finish` writes what is predicted of them.
    """

    def __init__(
        self, ratings: Ratings, model: ImplicitModel, dtype: np.dtype[Any], workers: Workers
    ) -> None:
        self.ratings = ratings
        self.model = model
        self.dtype = dtype
        self.workers = workers
        self.n_factors = model.n_factors
        self.priors = Priors()
        user_counts, item_counts = ratings.user_counts, ratings.item_counts
        popularity = model.popularity(item_counts)
        weight = model.unobserved_weight
        constant = model.popularity_exponent == 0 and item_counts.all()
        self.popularity = np.zeros(0, dtype) if constant else popularity.astype(dtype)
        n_users, n_items = (int(np.count_nonzero(c)) for c in (user_counts, item_counts))
        self.users = self._side(
            ratings.csr(dtype),
            np.full(len(user_counts), weight),
            self.popularity,
            model.penalties(user_counts, weight * n_items),
        )
        self.items = self._side(
            ratings.csc(dtype),
            weight * popularity,
            np.zeros(0, dtype),
            model.penalties(item_counts, weight * popularity * n_users),
        )

    def _side(
        self, view: Any, base: np.ndarray, column_base: np.ndarray, penalties: np.ndarray
    ) -> ImplicitSide:
        model = self.model
        confidence = signed_confidence(
            view.values, view.weights, model.confidence, model.alpha, model.epsilon
        )
        largest = float(np.abs(confidence).max())
        if largest > math.sqrt(float(np.finfo(self.dtype).max)):
            raise ValueError(
                f"confidences up to {largest:.6g} are too large for {self.dtype}: lower alpha, scale the strengths "
                "down, or take confidence='log'"
            )
        check_penalty("reg", model.reg, float(penalties.max()), self.dtype)
        check_penalty("unobserved_weight", model.unobserved_weight, float(base.max()), self.dtype)
        return ImplicitSide(
            view.indptr,
            view.indices,
            confidence,
            base,
            column_base,
            penalties,
            equal_work_chunks(view.indptr, self.n_factors / 6 + 1),
            np.diff(view.indptr),
        )

    def describe(self, sides: Sides, feature_reg: float | None) -> None:
        """Give rows priors by their features: the penalty is on w_i − F_i B and b_i − F_i β."""
        model = self.model
        if model.reg == 0 or model.unobserved_weight == 0:
            raise ValueError(
                f"reg={model.reg:g} and unobserved_weight={model.unobserved_weight:g}; expected both > 0 with "
                "features, which say what factors are drawn to"
            )
        strengths = Strengths(model.reg, model.reg_bias, feature_reg or 1.0)
        for what, features, side in (
            ("user", sides.user, self.users),
            ("item", sides.item, self.items),
        ):
            if features is not None:
                weights = np.where(side.counts > 0, side.penalties / model.reg, 0.0)
                width = self.zeros().width
                self.priors[what] = FeaturePrior(
                    features, weights, strengths, self.n_factors, width, model.use_bias, self.dtype
                )

    def iterate(self, factors: Factors) -> Any:
        """Return what training keeps and restores: the factors, and what their priors are made of."""
        return Iterate(factors, self.priors) if self.priors else factors

    def zeros(self) -> Factors:
        """Return factors and biases of zero."""
        ratings, model = self.ratings, self.model
        return Factors(
            ratings.n_users, ratings.n_items, model.n_factors, model.use_bias, self.dtype
        )

    def random(self, generator: np.random.Generator, std: float, distribution: str) -> Factors:
        """Return random factors, zero for rows without observed cells; biases of zero.

        Normal with standard deviation `std`, or uniform from 0 to √3 `std`, with the same mean square.
        """
        factors, k = self.zeros(), self.n_factors
        for array, side in ((factors.user, self.users), (factors.item, self.items)):
            if distribution == "normal":
                array[:, :k] = generator.standard_normal((len(array), k), dtype=self.dtype)
                array[:, :k] *= std
            else:
                array[:, :k] = generator.random((len(array), k), dtype=self.dtype)
                array[:, :k] *= math.sqrt(3) * std
            array[side.counts == 0] = 0
        return factors

    def weights(self, which: str) -> np.ndarray:
        """Return v of one side's rows, the items' part in the unobserved weight; empty where all are 1."""
        return self.popularity if which == "item" else self.popularity[:0]

    def extended(self, which: str, factors: np.ndarray) -> np.ndarray:
        """Return a copy of one side's factors with the constant factor γ whose weight is the other side's bias."""
        side = self.users if which == "user" else self.items
        column = self.model.bias_column * (side.counts > 0)
        return with_column(factors, self.n_factors, column)

    def gram(self, which: str, rows: np.ndarray) -> np.ndarray:
        """Return Σ v g gᵀ of one side's rows, v being the items' part in the unobserved weight and 1 for users."""
        # without a penalty, what is rank and what is rounding must be told apart
        exact = self.model.reg == 0
        return weighted_gram(
            rows, self.weights(which), self.workers, np.dtype(np.float64) if exact else None
        )

    def objective(self, factors: Factors, gram_product: float | None = None) -> float:
        """Return the objective over all cells.

        `gram_product` is Σ v (w·h)² over all cells without the unobserved weight, where it is known already.
        """
        sums = np.zeros(len(self.users.chunks) - 1)
        counter = np.zeros(1, np.int64)
        side = self.users

        def work(_: int) -> None:
            implicit_kernels.implicit_observed_errors(
                side.indptr, side.indices, side.confidence, side.base, side.column_base, self.model.replaces,
                factors.user, factors.user_bias, factors.item, factors.item_bias, side.chunks, counter, sums,
            )  # fmt: skip

        self.workers.run(work, 2.0 * self.n_factors * len(side.indices))
        if gram_product is None:
            gram_product = self.all_cells(factors)
        total = math.fsum(sums) + self.model.unobserved_weight * gram_product
        return 0.5 * (total + self._penalty(factors))

    def all_cells(self, factors: Factors) -> float:
        """Return Σ v score² over all cells, v being the items' part in the unobserved weight."""
        if not self.model.use_bias:
            grams = self.gram("user", factors.user), self.gram("item", factors.item)
            return float(np.vdot(*grams))
        k, grams_of = self.n_factors, []
        for which, side, rows, bias, own in (
            ("user", self.users, factors.user, factors.user_bias, 0),
            ("item", self.items, factors.item, factors.item_bias, 1),
        ):
            extended = np.zeros((len(rows), k + 2), self.dtype)
            extended[:, :k] = rows[:, :k]
            extended[:, k + own] = bias
            extended[:, k + 1 - own] = side.counts > 0
            grams_of.append(self.gram(which, extended))
        return float(np.vdot(*grams_of))

    def _penalty(self, factors: Factors) -> float:
        total = 0.0
        ratio = self.model.bias_column**-2
        for what, side, rows, bias in (
            ("user", self.users, factors.user, factors.user_bias),
            ("item", self.items, factors.item, factors.item_bias),
        ):
            prior = self.priors.get(what)
            if prior is not None:
                total += prior.penalty()
                rated = side.counts > 0
                rows = np.where(rated[:, np.newaxis], rows - prior.mean, 0)
                bias = np.where(rated, bias - prior.bias_mean, 0) if len(bias) else bias
            total += float(side.penalties @ np.einsum("if,if->i", rows, rows).astype(np.float64))
            if len(bias):
                total += ratio * float(side.penalties @ np.square(bias, dtype=np.float64))
        return total

    def check_solved(self, which: str, failed: np.ndarray) -> None:
        """Raise if rows of one side failed, with the first one's id."""
        if len(failed) == 0:
            return
        row = failed[:1]
        side = self.users if which == "user" else self.items
        ids = self.ratings.user_ids if which == "user" else self.ratings.item_ids
        shown = (row if ids is None else ids.to_ids(row)).tolist()[0]
        raise DivergenceError(
            f"the solution of {which} {shown!r} ({side.counts[row[0]]} ratings) is not finite; "
            "raise reg, lower alpha, or take dtype='float64'"
        )

    def state(
        self,
        factors: Factors,
        *,
        history: dict[str, list[float]],
        n_iter: int,
        stop_reason: str,
        store_ratings: bool,
    ) -> FittedState:
        """Return what a fitted model keeps of all this."""
        user_factors, item_factors, user_bias, item_bias = factors.trimmed()
        ratings = self.ratings
        return FittedState(
            user_factors=user_factors,
            item_factors=item_factors,
            user_bias=user_bias,
            item_bias=item_bias,
            global_mean=0.0,
            rating_mean=0.0,
            rating_range=ratings.rating_range,
            user_ids=ratings.user_ids,
            item_ids=ratings.item_ids,
            user_counts=self.users.counts,
            item_counts=self.items.counts,
            ratings=ratings if store_ratings else None,
            history=history,
            n_iter=n_iter,
            stop_reason=stop_reason,
            extra=feature_arrays(self.priors, self.dtype, keep_matrix=store_ratings),
        ).finite()


def with_column(
    factors: np.ndarray, n_factors: int, column: np.ndarray | float | None
) -> np.ndarray:
    """Return a padded copy of factors, with one more column unless it is None."""
    n_unknowns = n_factors + (column is not None)
    lanes = 64 // factors.dtype.itemsize
    copy = aligned_zeros((len(factors), -(-n_unknowns // lanes) * lanes), factors.dtype)
    copy[:, :n_factors] = factors[:, :n_factors]
    if column is not None:
        copy[:, n_factors] = column
    return copy


def weighted_gram(
    rows: np.ndarray, weights: np.ndarray, workers: Workers, dtype: np.dtype[Any] | None = None
) -> np.ndarray:
    """Return Σ v g gᵀ over the rows g in float64; empty `weights` mean v = 1.

    Blocks of rows are summed in `dtype`, their own where it is None, the blocks of a share in float64, the shares in
    their order: what is added to what depends on the sizes alone.
    """
    n_rows, width = rows.shape
    n_blocks = -(-n_rows // _GRAM_BLOCK)
    n_shares = max(1, min(n_blocks // 4, 64, _GRAM_BYTES // (8 * width * width)))
    partial = np.zeros((n_shares, width, width))
    borders = np.linspace(0, n_blocks, n_shares + 1).astype(int) * _GRAM_BLOCK
    roots = np.sqrt(weights)[:, np.newaxis] if len(weights) else None

    def work(share: int) -> None:
        for start in range(borders[share], borders[share + 1], _GRAM_BLOCK):
            block = rows[start : start + _GRAM_BLOCK].astype(dtype or rows.dtype, copy=False)
            if roots is not None:
                block = block * roots[start : start + _GRAM_BLOCK]
            partial[share] += block.T @ block

    in_shares(workers, n_shares, work, 2.0 * n_rows * width * width)
    return np.asarray(partial.sum(axis=0))
