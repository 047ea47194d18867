r"""The uncertainty of rows that are the solutions of linear systems: `ALS` and `ImplicitALS`.

With the other side fixed, the penalized least squares of a row are the posterior mode of a linear model, whose
covariance is

    Cov(x_i) = σ² A_i⁻¹,    A_i = Σ_j c_j g_j g_jᵀ + n_i^ν diag(λ, …, λ_b),    g_j = [h_j, 1],

for explicit ratings, and that of all cells for implicit ones. A prediction depends on a user's row and an item's; to
first order, each given the other side, its variance is

    σ² (g_jᵀ A_i⁻¹ g_j + g_iᵀ B_j⁻¹ g_i)

with the item's system B_j and g_i = [w_i, 1]. σ² is estimated from the residuals,

    σ² = Σ c e² / (n − Σ_i (q − tr(P_i A_i⁻¹)) − the same of the items),    P_i = n_i^ν diag(λ, …, λ_b),

the denominator being what is left of n observations when the parameters that the data have determined are taken off,
those that the penalty holds left out; at least a tenth of n. For implicit feedback n are all cells.
"""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cymf._errors import DivergenceError
from cymf._factors import aligned_zeros
from cymf._implicit_problem import ImplicitProblem, fitted_model, with_column
from cymf._kernels import bayesian_kernels, kernels
from cymf._parallel import Workers, single_threaded_blas
from cymf._prediction import predict_pairs
from cymf._validation import check_number, check_threads

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["RowPosterior"]

_LEAST_SHARE_LEFT = 0.1  # of the observations, when parameters are taken off
_BLOCK_PAIRS = 1 << 20


@dataclass(frozen=True, eq=False)
class _Systems:
    """The systems A of one side's rows.

    Attributes
    ----------
    indptr, indices, weights : ndarray
        Observed cells by row; weights are empty where all are 1, and may be negative.
    fixed : ndarray of shape (n_fixed, width)
        Rows g of the other side.
    base : ndarray of shape (q, width) or (0, width)
        What all rows' systems have in common.
    base_scale, diagonal_scale : ndarray of float64, shape (n_rows + 1,)
        A row's share of `base` and of `diagonal`; last, those of a row without ratings.
    diagonal : ndarray of shape (q,)
        The penalty.
    """

    indptr: np.ndarray
    indices: np.ndarray
    weights: np.ndarray
    fixed: np.ndarray
    base: np.ndarray
    base_scale: np.ndarray
    diagonal: np.ndarray
    diagonal_scale: np.ndarray

    def variances(self, rows: np.ndarray, columns: np.ndarray, n_threads: int) -> np.ndarray:
        """Return gᵀ A⁻¹ g of pairs of a row, -1 being one without ratings, and a fixed row."""
        order = np.argsort(rows, kind="stable")
        asked, first = np.unique(rows[order], return_index=True)
        found = np.empty(len(rows))
        products = np.append(first, len(rows)).astype(np.int64), columns[order].astype(np.int64)
        found[order] = self._ask(asked.astype(np.int64), products, None, 0, n_threads)[0]
        return found

    def deviations(
        self, rows: np.ndarray, streams: np.ndarray, seed: int, n_threads: int
    ) -> np.ndarray:
        """Return draws of N(0, A⁻¹), of shape (n, width)."""
        nothing = np.zeros(0, np.int64), np.zeros(0, np.int64)
        return self._ask(rows, nothing, streams, seed, n_threads)[1]

    def determined(self, n_threads: int) -> float:
        """Return how many parameters of all rows the data, and not the penalty P, have determined: Σ q − tr(P A⁻¹)."""
        q = len(self.diagonal)
        rows = np.flatnonzero(np.diff(self.indptr))
        units = np.eye(q, self.fixed.shape[1], dtype=self.fixed.dtype)
        of_units = replace(self, fixed=np.concatenate([self.fixed, units]))
        total, size = 0.0, max(1, _BLOCK_PAIRS // q)
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            each = np.arange(len(self.fixed), len(self.fixed) + q)
            products = q * np.arange(len(block) + 1), np.tile(each, len(block))
            inverse = of_units._ask(block, products, None, 0, n_threads)[0].reshape(-1, q)
            total += q * len(block) - float(self.diagonal_scale[block] @ inverse @ self.diagonal)
        return total

    def _ask(
        self,
        asked: np.ndarray,
        products: tuple[np.ndarray, np.ndarray],
        streams: np.ndarray | None,
        seed: int,
        n_threads: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        q, width, dtype = len(self.diagonal), self.fixed.shape[1], self.fixed.dtype
        variances = np.zeros(len(products[1]))
        draws = aligned_zeros((0 if streams is None else len(asked), width), dtype)
        status = np.zeros(len(asked), np.int8)
        counter = np.zeros(1, np.int64)
        size = bayesian_kernels.posterior_scratch_size(q, width)
        scratch = [aligned_zeros(size, dtype) for _ in range(n_threads)]
        arguments = (
            self.indptr, self.indices, self.weights, self.fixed, self.base, self.base_scale, self.diagonal,
            self.diagonal_scale, asked, *products, seed, np.zeros(0, np.int64) if streams is None else streams,
            counter, variances, draws, status,
        )  # fmt: skip
        with Workers(n_threads) as workers:
            operations = float(q * q) * (len(self.indices) / len(self.indptr) * len(asked))
            workers.run(
                lambda worker: bayesian_kernels.posterior_rows(*arguments, scratch[worker]),
                operations + q * q * (len(variances) + q * len(asked)),
            )
        if status.any():
            raise DivergenceError(
                "a row's system is singular, so that its uncertainty has no bound; raise reg and fit again"
            )
        return variances, draws


class RowPosterior:
    """Uncertainty of a fitted model whose rows solve linear systems; see the head of this file.

    Parameters
    ----------
    state : FittedState
        What the model has learnt.
    users, items : _Systems
        Of both sides.
    bias_column : float
        The constant factor that stands for a bias.
    error : float
        Σ c e² over all cells that count.
    n_cells : float
        How many these are.
    n_threads : int
        For queries.

    Attributes
    ----------
    noise_variance : float
        σ².
    """

    def __init__(
        self,
        state: FittedState,
        users: _Systems,
        items: _Systems,
        bias_column: float,
        error: float,
        n_cells: float,
        n_threads: int,
    ) -> None:
        self._state = weakref.ref(state)
        self._users = users
        self._items = items
        self._bias_column = bias_column
        self._n_threads = n_threads
        used = users.determined(n_threads) + items.determined(n_threads)
        self.noise_variance = error / max(n_cells - used, _LEAST_SHARE_LEFT * n_cells)

    @classmethod
    def of_explicit(cls, state: FittedState, estimator: Any) -> RowPosterior:
        """Return that of a fitted `ALS`, made when first asked for."""
        return _made_once(state, estimator, _PARAMETERS, _of_explicit)

    @classmethod
    def of_implicit(cls, state: FittedState, estimator: Any) -> RowPosterior:
        """Return that of a fitted `ImplicitALS`, made when first asked for."""
        return _made_once(state, estimator, _IMPLICIT_PARAMETERS, _of_implicit)

    def latent_variances(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the variances of the expected ratings of pairs of row numbers; -1 is unknown.

        A row of which nothing is known has the penalty alone for a system. Of two unknown rows, what the product of
        their factors adds is counted as well.
        """
        found = np.zeros(len(users))
        known_users, known_items = users >= 0, items >= 0
        for systems, rows, columns, fixed in (
            (self._users, users, items, known_items),
            (self._items, items, users, known_users),
        ):
            found[fixed] += systems.variances(rows[fixed], columns[fixed], self._n_threads)
        neither = ~known_users & ~known_items
        if neither.any():
            found[neither] = self._of_two_unknown()
        return found * self.noise_variance

    def _of_two_unknown(self) -> float:
        k = self._own_state().n_factors
        users, items = (
            1 / (systems.diagonal.astype(np.float64) * systems.diagonal_scale[-1])
            for systems in (self._users, self._items)
        )
        biases = self._bias_column**2 * float(users[k:].sum() + items[k:].sum())
        return biases + self.noise_variance * float(users[:k] @ items[:k])

    def sampled_scores(
        self, rows: np.ndarray, streams: np.ndarray, seed: int, scale: float
    ) -> np.ndarray:
        """Return the scores of all items for each user, all rows drawn from their distribution given the other side.

        Items' draws depend on the seed and the item, and are the same for all users.
        """
        state = self._own_state()
        n, n_items = len(rows), state.n_items
        everything = np.arange(n_items, dtype=np.int64)
        users = self._drawn(
            self._users, rows, streams, seed, scale, state.user_factors, state.user_bias
        )
        items = self._drawn(
            self._items,
            np.where(state.item_counts > 0, everything, -1),
            everything,
            (seed + 1) % (1 << 63),
            scale,
            state.item_factors,
            state.item_bias,
        )
        scores = np.empty((n, n_items), state.dtype)
        kernels.predict_pairs(
            np.repeat(np.arange(n), n_items), np.tile(everything, n), users[0], items[0], users[1], items[1],
            state.global_mean, scores.reshape(-1),
        )  # fmt: skip
        return scores

    def _drawn(
        self,
        systems: _Systems,
        rows: np.ndarray,
        streams: np.ndarray,
        seed: int,
        scale: float,
        factors: np.ndarray,
        bias: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return factors and biases of rows, drawn around what they are; -1 is unknown, and drawn around 0."""
        k, dtype = factors.shape[1], factors.dtype
        draws = systems.deviations(rows, streams, seed, self._n_threads)
        draws *= dtype.type(scale * math.sqrt(self.noise_variance))
        known = rows >= 0
        drawn = np.ascontiguousarray(
            draws[:, :k] + np.where(known[:, None], factors[rows], 0), dtype
        )
        if bias is None:
            return drawn, np.zeros(0, dtype)
        own = draws[:, k] * dtype.type(self._bias_column) + np.where(known, bias[rows], 0)
        return drawn, np.ascontiguousarray(own, dtype)

    def _own_state(self) -> FittedState:
        state = self._state()
        assert state is not None  # who asks holds it
        return state


_PARAMETERS = ("reg", "reg_bias", "reg_exponent", "n_threads")
_IMPLICIT_PARAMETERS = (
    *("reg", "reg_bias", "reg_exponent", "n_threads", "unobserved_weight", "popularity_exponent"),
    *("weighting", "confidence", "alpha", "epsilon"),
)
_made: weakref.WeakKeyDictionary[FittedState, dict[Any, RowPosterior]] = weakref.WeakKeyDictionary()


def _made_once(
    state: FittedState, estimator: Any, names: tuple[str, ...], make: Any
) -> RowPosterior:
    if state.ratings is None:
        raise ValueError(
            "uncertainty is computed from the training ratings, but this model was made or saved with "
            "store_ratings=False; fit it with store_ratings=True"
        )
    parameters = tuple(getattr(estimator, name) for name in names)
    known: dict[Any, RowPosterior] = _made.setdefault(state, {})
    try:
        return known[parameters]
    except (KeyError, TypeError):  # what is not hashable is no parameter, as the checks will say
        with single_threaded_blas():
            found: RowPosterior = make(state, estimator)
            known[parameters] = found
    return found


def _of_explicit(state: FittedState, estimator: Any) -> RowPosterior:
    ratings = state.ratings
    assert ratings is not None
    reg = _positive("reg", estimator.reg)
    reg_bias = reg if estimator.reg_bias is None else _positive("reg_bias", estimator.reg_bias)
    exponent = check_number("reg_exponent", estimator.reg_exponent, maximum=2)
    n_threads = check_threads(estimator.n_threads)
    use_bias, k, dtype = state.user_bias is not None, state.n_factors, state.dtype
    diagonal = np.array([reg] * k + [reg_bias] * use_bias, dtype)
    sides = []
    for view, counts, other in (
        (ratings.csr(dtype), state.user_counts, state.item_factors),
        (ratings.csc(dtype), state.item_counts, state.user_factors),
    ):
        fixed = with_column(other, k, 1.0 if use_bias else None)
        scale = np.append(np.maximum(counts, 1.0) ** exponent, 1.0)
        weights = np.zeros(0, dtype) if view.weights is None else view.weights
        nothing = np.zeros((0, fixed.shape[1]), dtype)
        sides.append(
            _Systems(
                view.indptr, view.indices, weights, fixed, nothing, np.zeros_like(scale), diagonal, scale
            )
        )  # fmt: skip
    users, items = sides
    error, n_cells = 0.0, 0.0
    for start in range(0, ratings.nnz, _BLOCK_PAIRS):
        part = slice(start, start + _BLOCK_PAIRS)
        predicted = predict_pairs(state, ratings.users[part], ratings.items[part])
        errors = np.square(predicted.astype(np.float64) - ratings.values[part])
        weights = np.ones(len(errors)) if ratings.weights is None else ratings.weights[part]
        error += float(errors @ weights)
        n_cells += float(np.count_nonzero(weights))
    return RowPosterior(state, users, items, 1.0, error, n_cells, n_threads)


def _of_implicit(state: FittedState, estimator: Any) -> RowPosterior:
    ratings = state.ratings
    assert ratings is not None
    _positive("reg", estimator.reg)
    model = fitted_model(estimator, state)
    n_threads = check_threads(estimator.n_threads)
    k, dtype = state.n_factors, state.dtype
    with Workers(n_threads) as workers:
        problem = ImplicitProblem(ratings, model, dtype, workers)
        factors = problem.zeros()
        factors.user[:, :k], factors.item[:, :k] = state.user_factors, state.item_factors
        if state.user_bias is not None and state.item_bias is not None:
            factors.user_bias[:], factors.item_bias[:] = state.user_bias, state.item_bias
        sides = []
        for side, fixed_name, other, counts in (
            (problem.users, "item", factors.item, state.item_counts),
            (problem.items, "user", factors.user, state.user_counts),
        ):
            column = model.bias_column * (counts > 0) if model.use_bias else None
            fixed = with_column(other, k, column)
            gram = problem.gram(fixed_name, fixed)
            q = k + model.use_bias
            weights = np.abs(side.confidence)
            if model.replaces:
                lost = np.repeat(side.base, side.counts).astype(dtype)
                weights = weights - (
                    lost * side.column_base[side.indices] if len(side.column_base) else lost
                )
            sides.append(
                _Systems(
                    side.indptr,
                    side.indices,
                    weights.astype(dtype),
                    fixed,
                    np.ascontiguousarray(gram[:q], dtype),
                    np.append(side.base, 0.0),
                    np.ones(q, dtype),
                    np.append(side.penalties, side.penalties[side.counts > 0].min()),
                )
            )
        users, items = sides
        penalty = problem._penalty(factors)
        error = 2 * problem.objective(factors) - penalty
    n_cells = float(np.count_nonzero(state.user_counts)) * np.count_nonzero(state.item_counts)
    return RowPosterior(state, users, items, model.bias_column, error, n_cells, n_threads)


def _positive(name: str, value: Any) -> float:
    number = check_number(name, value)
    if number == 0:
        raise ValueError(
            f"{name}=0 leaves rows without a distribution beforehand; uncertainty needs {name} > 0"
        )
    return number
