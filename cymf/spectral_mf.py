"""Spectral matrix factorization: the truncated SVD of the degree-normalized matrix, filtered."""

from __future__ import annotations

import math
import numbers
import time
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cymf._base import MatrixFactorization
from cymf._errors import DivergenceError
from cymf._fit_log import FitLog, TrainingSize
from cymf._implicit_fold_in import view_of
from cymf._inputs import training_ratings
from cymf._parallel import Workers, single_threaded_blas
from cymf._queries import By
from cymf._sparse_view import SparseView
from cymf._state import FittedState
from cymf._truncated_svd import truncated_svd
from cymf._validation import (
    check_callback,
    check_dtype,
    check_flag,
    check_integer,
    check_number,
    check_threads,
    random_generator,
)

__all__ = ["SpectralMF"]


class SpectralMF(MatrixFactorization):
    r"""Matrix factorization for implicit feedback without training: a linear filter of the interaction graph.

    With the interactions R, the degrees d (sums of a row's, of a column's strengths) and the truncated singular value
    decomposition

        D_u^a R D_i^b ≈ U Σ Vᵀ,

    users, items and scores are

        W = R D_i^b V,    H = D_i^{−b} V g(Σ),    Â = W Hᵀ,    g(σ) = (σ² + ω) / (1 + ω).

    That is the graph filter GF-CF within n_factors dimensions: the ideal low pass V Vᵀ, with the weight ω, and the
    linear filter R̃ᵀR̃ = V Σ² Vᵀ. Both keep what varies slowly over the graph of users and items. Without the linear
    filter (``filter_weight=None``, g = 1), Â is the matrix R itself but for what the truncation drops.

    Parameters
    ----------
    n_factors : int, default 256
        Singular vectors that are kept. Factors beyond the rank of the matrix are zero.
    filter_weight : float or None, default 0.3
        ω, the weight of the ideal low pass beside the linear filter; None leaves the linear filter out.
    user_exponent : float, default -0.5
        a, from -2 to 0: the more negative, the less do users with many interactions shape the factors.
    item_exponent : float, default -0.5
        b, from -2 to 0: the same of items.
    max_iter : int, default 10
        Most restarts of the Lanczos iteration that finds the singular vectors.
    tol : float, default 1e-3
        It stops when ‖R̃ v − σ u‖ ≤ ``tol`` · σ₁ for every triplet, R̃ being the normalized matrix.
    store_ratings : bool, default True
        Whether the model keeps the training interactions, which ``recommend(exclude_seen=True)`` needs.
    random_state : int, Generator or None, default 0
        Seed of the block that the iteration starts from. None draws a fresh one.
    n_threads : int or None, default None
        Threads; None means all processors. The result is the same bits for any number.
    dtype : {"float32", "float64"}, default "float32"
        Type of the factors and of the arithmetic.

    Notes
    -----
    Strengths must not be negative, and enter as they are: heavy-tailed counts want a logarithm first, and clicks or
    check-ins a 1 each. The full linear filter of GF-CF, an item × item matrix, has no factors and is left to others.

    References
    ----------
    Shen, Wu, Zhang, Shan, Zhang, Letaief and Li 2021, "How powerful is graph convolution for recommendation?", CIKM,
    equations 12 and 13 (GF-CF).

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> nan = np.nan
    >>> plays = np.array([[1, 1, nan, nan], [1, 1, 1, nan], [nan, nan, 1, 1], [nan, 1, nan, 1]])
    >>> model = cymf.SpectralMF(n_factors=2).fit(plays)
    >>> model.recommend(0, n=1)[0].tolist()
    [2]
    """

    def __init__(
        self,
        n_factors: int = 256,
        *,
        filter_weight: float | None = 0.3,
        user_exponent: float = -0.5,
        item_exponent: float = -0.5,
        max_iter: int = 10,
        tol: float = 1e-3,
        store_ratings: bool = True,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        dtype: str | np.dtype[Any] | type = "float32",
    ) -> None:
        self.n_factors = n_factors
        self.filter_weight = filter_weight
        self.user_exponent = user_exponent
        self.item_exponent = item_exponent
        self.max_iter = max_iter
        self.tol = tol
        self.store_ratings = store_ratings
        self.random_state = random_state
        self.n_threads = n_threads
        self.dtype = dtype

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        validation: Any = None,
        callback: Any = None,
        init: Any = None,
    ) -> Self:
        """Decompose the normalized matrix.

        Parameters
        ----------
        X : Ratings, sparse matrix or array, dense array with NaN, or table; or array-like of shape (n_pairs, 2)
            Interactions and their strengths; or, with `y`, pairs of a user and an item, by id.
        y : array-like of shape (n_pairs,), optional
            The strengths of the pairs.
        sample_weight : array-like of shape (n_pairs,), optional
            Weights of the pairs, by which strengths are multiplied. Ratings bring their own.
        validation, callback, init : optional
            Not used: there is nothing to iterate. They are here so that all models are called alike.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not what they should be; strengths must be ≥ 0, one of them > 0.
        DivergenceError
            If the normalized matrix or the factors are not finite.
        """
        n_factors = check_integer("n_factors", self.n_factors, 1)
        user_exponent = _exponent("user_exponent", self.user_exponent)
        item_exponent = _exponent("item_exponent", self.item_exponent)
        weight = self.filter_weight
        weight = None if weight is None else check_number("filter_weight", weight)
        max_iter = check_integer("max_iter", self.max_iter, 1)
        tol = check_number("tol", self.tol)
        keep = check_flag("store_ratings", self.store_ratings)
        generator = random_generator(self.random_state)
        n_threads = check_threads(self.n_threads)
        dtype = check_dtype(self.dtype)
        check_callback(callback)
        ratings = training_ratings(X, y, sample_weight)
        size = TrainingSize(ratings.shape, ratings.nnz, n_threads)
        log = FitLog(type(self).__name__, "fit", size, max_iter)
        start = time.perf_counter()
        strengths = _strengths(ratings.csr(np.float64), ratings.shape)
        if not strengths.data.any():
            raise ValueError("all strengths are 0; expected some above")
        with np.errstate(over="ignore", invalid="ignore"):  # noticed below
            user_degrees, item_degrees = strengths.sum(axis=1), strengths.sum(axis=0)
            normalized = _normalized(
                strengths, _power(user_degrees, user_exponent), _power(item_degrees, item_exponent)
            )
        largest = float(np.abs(normalized.data).max())
        if not largest < math.sqrt(float(np.finfo(dtype).max)):
            raise DivergenceError(
                f"the normalized matrix has numbers of up to {largest:.3g}, whose squares do not fit in {dtype}; bring "
                "the strengths nearer to 1, or user_exponent and item_exponent nearer to 0, or use dtype='float64'"
            )
        with Workers(n_threads) as workers, single_threaded_blas():
            in_dtype = normalized.astype(dtype)
            svd = truncated_svd(
                in_dtype,
                n_factors,
                generator,
                tol=tol,
                max_iter=max_iter,
                workers=workers,
            )
        values = svd.values.astype(np.float64)
        user_factors = in_dtype @ svd.right  # U Σ, without the tolerance of the iteration
        user_factors = _outer_scaled(
            user_factors, _power(user_degrees, -user_exponent), np.ones_like(values)
        )
        gains = np.where(values > 0, _gains(values, weight), 0)
        item_factors = _outer_scaled(svd.right, _power(item_degrees, -item_exponent), gains)
        if not (np.isfinite(user_factors).all() and np.isfinite(item_factors).all()):
            raise DivergenceError(
                "the factors are not finite; scale the strengths down, or use dtype='float64'"
            )
        residual = float(normalized.power(2).sum() - np.square(values).sum())
        objective, stop_reason = 0.5 * max(0.0, residual), "tol" if svd.converged else "max_iter"
        self._publish(
            FittedState(
                user_factors=user_factors,
                item_factors=item_factors,
                user_bias=None,
                item_bias=None,
                global_mean=0.0,
                rating_mean=float(np.average(ratings.values, weights=ratings.weights)),
                rating_range=ratings.rating_range,
                user_ids=ratings.user_ids,
                item_ids=ratings.item_ids,
                user_counts=ratings.user_counts,
                item_counts=ratings.item_counts,
                ratings=ratings if keep else None,
                history={
                    "objective": [objective],
                    "seconds": [time.perf_counter() - start],
                },
                n_iter=svd.n_iter,
                stop_reason=stop_reason,
                extra={
                    "singular_values": values,
                    "fold_in_scale": _power(item_degrees, 2 * item_exponent),
                    "fold_in_gains": np.divide(1, gains, out=np.zeros_like(gains), where=gains > 0),
                },
            ).finite()
        )
        log.end(svd.n_iter, stop_reason, {"objective": objective})
        return self

    @property
    def singular_values_(self) -> np.ndarray:
        """Singular values of the normalized matrix, falling, a read-only array of shape (n_factors,)."""
        values: np.ndarray = self._fitted().extra["singular_values"]
        return values

    def user_factors_for(
        self, ratings: Any, strengths: Any = None, *, by: By = "id"
    ) -> NDArray[Any]:
        """Return factors of users by their interactions alone, whether they were in training or not.

        Parameters
        ----------
        ratings : Ratings, sparse matrix, dense array with NaN, or table; or array-like of shape (n_items,)
            The users' interactions, one row a user; or the items of a single user. Items that the model does not know
            are passed over.
        strengths : array-like of shape (n_items,), optional
            Strengths of a single user's items; 1 each by default.
        by : {"id", "index"}, default "id"
            Whether a single user's items are ids or row numbers.

        Returns
        -------
        ndarray of shape (n_users, n_factors), or (n_factors,) for a single user, in the dtype of the model
            R D_i^b V: for users of the training their ``user_factors_``, but for rounding. A user without known items
            has zeros.

        Raises
        ------
        ValueError, TypeError
            If the interactions are not what they should be.
        NotFittedError
            If `fit` has not been called.
        """
        state = self._fitted()
        view, single = view_of(ratings, strengths, state, "user", by)
        rows = _strengths(view, (len(view.indptr) - 1, state.n_items))
        rows.data *= state.extra["fold_in_scale"][view.indices]
        factors: NDArray[Any] = rows.astype(state.dtype) @ state.item_factors
        factors *= state.extra["fold_in_gains"].astype(state.dtype)
        return factors[0] if single else factors


def _exponent(name: str, value: Any) -> float:
    """Return a parameter that must be a number from -2 to 0."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"{name}={value!r} is a {type(value).__name__}; expected a number from -2 to 0"
        )
    if not -2 <= float(value) <= 0:
        raise ValueError(f"{name}={value!r} is out of range; expected a number from -2 to 0")
    return float(value)


def _strengths(view: SparseView, shape: tuple[int, int]) -> sparse.csr_array:
    """Return values times weights as a float64 matrix of its own."""
    if len(view.values) and view.values.min() < 0:
        raise ValueError(
            f"strengths go down to {view.values.min():g}; expected none below 0: this model knows no dislikes"
        )
    strengths = view.values.astype(np.float64)
    if view.weights is not None:
        strengths *= view.weights
    return sparse.csr_array((strengths, view.indices, view.indptr), shape=shape)


def _power(degrees: np.ndarray, exponent: float) -> np.ndarray:
    """Return degrees ** exponent, 0 for a degree of 0."""
    powers = np.zeros_like(degrees)
    powers[degrees > 0] = degrees[degrees > 0] ** exponent
    return powers


def _normalized(
    matrix: sparse.csr_array, row_scale: np.ndarray, column_scale: np.ndarray
) -> sparse.csr_array:
    scale = np.repeat(row_scale, np.diff(matrix.indptr)) * column_scale[matrix.indices]
    return sparse.csr_array((matrix.data * scale, matrix.indices, matrix.indptr), matrix.shape)


def _gains(values: np.ndarray, weight: float | None) -> np.ndarray:
    return np.ones_like(values) if weight is None else (values**2 + weight) / (1 + weight)


def _outer_scaled(columns: np.ndarray, rows: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return diag(rows) columns diag(factors), in the dtype of the columns."""
    scaled: np.ndarray = columns * factors.astype(columns.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled *= rows.astype(columns.dtype)[:, None]
    return scaled
