"""implicit's AlternatingLeastSquares on cymf's kernels."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from cymf._errors import DivergenceError
from cymf._implicit_problem import ImplicitModel, ImplicitProblem
from cymf._implicit_rows import ImplicitRows
from cymf._parallel import Workers, single_threaded_blas
from cymf.compat._implicit_model import (
    FactorModel,
    ModelFitError,
    as_csr,
    generator_of,
    kept_with,
)
from cymf.ratings import Ratings

__all__ = ["AlternatingLeastSquares", "calculate_loss"]

log = logging.getLogger("implicit")

_BLOCK = 4096  # rows whose products are held at a time


class AlternatingLeastSquares(FactorModel):
    """Implicit-feedback matrix factorization by alternating least squares, as implicit has it.

    Minimizes Σ c_ui (p_ui − x_u·y_i)² + λ (Σ ‖x_u‖² + Σ ‖y_i‖²) over all cells, with c = α·value and p = 1 for stored
    values above 0, c = α·|value| and p = 0 for values below, and c = 1, p = 0 everywhere else. An iteration solves
    the users, then the items.

    Parameters
    ----------
    factors : int, default 100
        Length of the factors.
    regularization : float, default 0.01
        λ, not scaled by counts.
    alpha : float, default 1.0
        α.
    dtype : dtype, default float32
        float32 or float64 (float16 becomes float32).
    use_native : bool, default True
        Without effect: the kernels are compiled in any case.
    use_cg : bool, default True
        Whether rows are improved by three conjugate gradient steps, or solved exactly. Exact results are implicit's
        but for rounding; the steps are preconditioned and end elsewhere than implicit's.
    use_gpu : bool, default False
        cymf has no kernels for graphics cards; True is an error.
    iterations : int, default 15
        Iterations.
    calculate_training_loss : bool, default False
        Whether to compute the loss after each iteration, for the log, the progress bar and the callback.
    num_threads : int, default 0
        Threads; 0 means all processors. The result is the same bits for any number.
    random_state : int, RandomState, Generator or None
        Seed of the start: uniform from 0 to 0.01, users first.

    Attributes
    ----------
    user_factors, item_factors : ndarray of shape (n_users, factors) and (n_items, factors)
        None before `fit`; a second `fit` starts from them.

    References
    ----------
    Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets".
    """

    user_factors: Any
    item_factors: Any

    _SAVED = (
        "user_factors",
        "item_factors",
        "regularization",
        "factors",
        "num_threads",
        "iterations",
        "use_native",
        "use_cg",
        "cg_steps",
        "calculate_training_loss",
        "dtype",
        "random_state",
        "alpha",
    )

    def __init__(
        self,
        factors: int = 100,
        regularization: float = 0.01,
        alpha: float = 1.0,
        dtype: Any = np.float32,
        use_native: bool = True,
        use_cg: bool = True,
        use_gpu: bool = False,
        iterations: int = 15,
        calculate_training_loss: bool = False,
        num_threads: int = 0,
        random_state: Any = None,
    ) -> None:
        if use_gpu:
            raise ValueError("use_gpu=True: cymf computes on processors only; leave use_gpu out")
        super().__init__(num_threads=num_threads)
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.dtype: np.dtype[Any] = np.dtype(
            np.float64 if np.dtype(dtype) == np.float64 else np.float32
        )
        self.use_native = use_native
        self.use_cg = use_cg
        self.iterations = iterations
        self.calculate_training_loss = calculate_training_loss
        self.fit_callback: Any = None
        self.cg_steps = 3
        self.random_state = random_state
        self._YtY: Any = None
        self._XtX: Any = None

    @property
    def YtY(self) -> np.ndarray:
        """Gram matrix of the item factors, (factors, factors)."""
        return self._items_with_gram()[1]

    @property
    def XtX(self) -> np.ndarray:
        """Gram matrix of the user factors, (factors, factors)."""
        return self._users_with_gram()[1]

    def _items_with_gram(self) -> tuple[np.ndarray, np.ndarray]:
        self._YtY = kept = kept_with(self._YtY, self.item_factors, _gram)
        return kept

    def _users_with_gram(self) -> tuple[np.ndarray, np.ndarray]:
        self._XtX = kept = kept_with(self._XtX, self.user_factors, _gram)
        return kept

    def fit(
        self,
        user_items: Any,
        show_progress: bool = True,
        callback: Callable[[int, float, float | None], object] | None = None,
    ) -> None:
        """Learn the factors of a users × items matrix of confidences.

        Parameters
        ----------
        user_items : CSR matrix or array of shape (n_users, n_items)
            Confidences. Other sparse forms are converted, with a `ParameterWarning`.
        show_progress : bool, default True
            Whether to show a progress bar.
        callback : callable, optional
            Called with iteration, seconds and loss (None unless `calculate_training_loss`).

        Raises
        ------
        ModelFitError
            If factors are not finite.
        """
        generator = generator_of(self.random_state)
        matrix = as_csr(user_items)
        for name, size in (("user_factors", 0), ("item_factors", 1)):
            if getattr(self, name) is None:
                start = generator.random((matrix.shape[size], self.factors), dtype=self.dtype)
                setattr(self, name, start * self.dtype.type(0.01))
            elif getattr(self, name).shape != (matrix.shape[size], self.factors):
                raise ValueError(
                    f"{name} from before have shape {getattr(self, name).shape}; expected "
                    f"{(matrix.shape[size], self.factors)} to go on: make a new model for other data"
                )
        if matrix.nnz == 0:
            self.user_factors = np.zeros_like(self.user_factors)
            self.item_factors = np.zeros_like(self.item_factors)
            return
        self._iterate(matrix, show_progress, callback or self.fit_callback)
        self._check_fit_errors()

    def _iterate(
        self, matrix: Any, show_progress: bool, callback: Callable[..., object] | None
    ) -> None:
        from tqdm.auto import tqdm

        loss = None
        with (
            Workers(self._n_threads) as workers,
            single_threaded_blas(),
            tqdm(total=self.iterations, disable=not show_progress) as progress,
        ):
            problem = self._problem(matrix, workers)
            rows = ImplicitRows(problem, "cg" if self.use_cg else "cholesky", self.cg_steps, 64)
            factors = problem.zeros()
            factors.user[:, : self.factors] = self.user_factors
            factors.item[:, : self.factors] = self.item_factors
            for iteration in range(self.iterations):
                started = time.perf_counter()
                try:
                    rows.solve_users(factors)
                    rows.solve_items(factors)
                except DivergenceError as reason:
                    raise ModelFitError(str(reason)) from reason
                self.user_factors = factors.user[:, : self.factors].copy()
                self.item_factors = factors.item[:, : self.factors].copy()
                progress.update(1)
                if self.calculate_training_loss:
                    loss = self._loss(matrix)
                    progress.set_postfix({"loss": loss})
                    if not show_progress:
                        log.info("loss %.4f", loss)
                if callback is not None:
                    callback(iteration, time.perf_counter() - started, loss)
        if loss is not None:
            log.info("Final training loss %.4f", loss)

    def _loss(self, matrix: Any) -> float:
        scaled = matrix if self.alpha == 1 else self.alpha * matrix
        return calculate_loss(scaled, self.user_factors, self.item_factors, self.regularization)

    def _problem(self, matrix: Any, workers: Workers) -> ImplicitProblem:
        model = ImplicitModel(
            n_factors=self.factors,
            reg=self.regularization,
            reg_bias=self.regularization,
            reg_exponent=0.0,
            unobserved_weight=1.0,
            popularity_exponent=0.0,
            weighting="hu",
            confidence="given",
            alpha=self.alpha,
            epsilon=1.0,
            use_bias=False,
        )
        ratings = Ratings.from_matrix(matrix, duplicates="sum")
        return ImplicitProblem(ratings, model, self.dtype, workers)

    def recalculate_user(self, userid: Any, user_items: Any) -> np.ndarray:
        """Return the exact factors of users from what they liked, without storing them.

        `user_items` has one row for each user in `userid`.
        """
        rows = self._solved(userid, user_items, "user_items", *self._items_with_gram())
        return rows[0] if np.ndim(userid) == 0 else rows

    def recalculate_item(self, itemid: Any, item_users: Any) -> np.ndarray:
        """Return the exact factors of items from who liked them, without storing them.

        `item_users` has one row for each item in `itemid`.
        """
        rows = self._solved(itemid, item_users, "item_users", *self._users_with_gram())
        return rows[0] if np.ndim(itemid) == 0 else rows

    def _solved(
        self, asked: Any, liked: Any, name: str, fixed: np.ndarray, gram: np.ndarray
    ) -> np.ndarray:
        self._check_fitted()
        liked = as_csr(liked)
        n_asked = 1 if np.ndim(asked) == 0 else len(asked)
        if liked.shape[0] != n_asked:
            raise ValueError(
                f"{name} must contain 1 row for every id asked for; got {liked.shape[0]} rows "
                f"for {n_asked} ids"
            )
        if len(liked.indices) and liked.indices.max() >= len(fixed):
            raise ValueError(
                f"{name} has an entry in column {liked.indices.max()}; the model has {len(fixed)}"
            )
        solved = np.zeros((n_asked, self.factors), self.dtype)
        for row in range(n_asked):
            cells = slice(liked.indptr[row], liked.indptr[row + 1])
            if cells.stop > cells.start:
                solved[row] = self._solve_row(liked.indices[cells], liked.data[cells], fixed, gram)
        return solved

    def _normal_equations(
        self, indices: np.ndarray, values: np.ndarray, fixed: np.ndarray, gram: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return A = YᵀY + λI + Σ (|c| − 1) y yᵀ and the positive c of each entry, in float64."""
        confidence = self.alpha * np.asarray(values, np.float64)
        liked = fixed[indices].astype(np.float64)
        matrix = gram + (liked.T * (np.abs(confidence) - 1)) @ liked
        matrix[np.diag_indices(self.factors)] += self.regularization
        return matrix, np.maximum(confidence, 0)

    def _solve_row(
        self, indices: np.ndarray, values: np.ndarray, fixed: np.ndarray, gram: np.ndarray
    ) -> np.ndarray:
        matrix, positive = self._normal_equations(indices, values, fixed, gram)
        right = positive @ fixed[indices]
        if self.regularization > 0:
            return np.asarray(scipy.linalg.solve(matrix, right, assume_a="pos"))
        cutoff = self.factors * float(np.finfo(self.dtype).eps)
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=cutoff)[0])

    def partial_fit_users(self, userids: Any, user_items: Any) -> None:
        """Store newly computed factors of users, old and new; `user_items` has one row for each."""
        self.user_factors = self._with_rows(
            self.user_factors, userids, self.recalculate_user(np.asarray(userids), user_items)
        )

    def partial_fit_items(self, itemids: Any, item_users: Any) -> None:
        """Store newly computed factors of items, old and new; `item_users` has one row for each."""
        self.item_factors = self._with_rows(
            self.item_factors, itemids, self.recalculate_item(np.asarray(itemids), item_users)
        )

    def _with_rows(self, factors: np.ndarray, ids: Any, rows: np.ndarray) -> np.ndarray:
        grown = np.zeros((max(len(factors), int(np.max(ids)) + 1), self.factors), self.dtype)
        grown[: len(factors)] = factors
        grown[np.asarray(ids)] = rows
        return grown

    def explain(
        self, userid: int, user_items: Any, itemid: int, user_weights: Any = None, N: int = 10
    ) -> tuple[float, list[tuple[int, float]], Any]:
        """Tell which liked items brought an item its score.

        Parameters
        ----------
        userid : int
            A row of `user_items`.
        user_items : CSR matrix or array of shape (n_users, n_items)
            What users liked.
        itemid : int
            The item recommended.
        user_weights : tuple, optional
            The third value of an earlier call for the same user, which saves work.
        N : int, default 10
            Contributions to return.

        Returns
        -------
        score : float
            The item's score, of the exact user factors.
        contributions : list of (item, contribution)
            The largest first; all of them add up to `score`.
        user_weights : tuple
            Cholesky factor of the user's normal equations.
        """
        self._check_fitted()
        liked = as_csr(user_items)
        cells = slice(liked.indptr[userid], liked.indptr[userid + 1])
        indices, values = liked.indices[cells], liked.data[cells]
        factors, gram = self._items_with_gram()
        matrix, positive = self._normal_equations(indices, values, factors, gram)
        if user_weights is None:
            user_weights = scipy.linalg.cho_factor(matrix)
        reach = scipy.linalg.cho_solve(user_weights, factors[itemid].astype(np.float64))
        parts = positive * (factors[indices] @ reach)
        order = [s for s in np.argsort(-parts, kind="stable") if positive[s] > 0][:N]
        contributions = [(int(indices[s]), float(parts[s])) for s in order]
        return float(parts.sum()), contributions, user_weights


def _gram(factors: np.ndarray) -> np.ndarray:
    return np.asarray(factors.T @ factors)


def calculate_loss(
    user_items: Any,
    user_factors: np.ndarray,
    item_factors: np.ndarray,
    regularization: float,
    num_threads: int = 0,
) -> float:
    """Return the loss of `AlternatingLeastSquares`, divided by the confidence of all cells together.

    Parameters
    ----------
    user_items : CSR matrix or array of shape (n_users, n_items)
        Confidences c, already multiplied by α.
    user_factors, item_factors : ndarray
        Factors.
    regularization : float
        λ.
    num_threads : int, default 0
        Accepted and without effect.

    Returns
    -------
    float
        (Σ c (p − x·y)² + λ (Σ ‖x‖² + Σ ‖y‖²)) / Σ c over all cells.
    """
    matrix = sp.csr_array(user_items)
    x, y = np.asarray(user_factors, np.float64), np.asarray(item_factors, np.float64)
    signed = matrix.data.astype(np.float64)
    confidence = np.abs(signed)
    loss = float(np.vdot(x.T @ x, y.T @ y))  # every cell as if it were not stored
    users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    for start in range(0, matrix.nnz, _BLOCK):
        part = slice(start, start + _BLOCK)
        scores = np.einsum("sf,sf->s", x[users[part]], y[matrix.indices[part]])
        errors = (signed[part] > 0) - scores
        loss += float(confidence[part] @ errors**2 - scores @ scores)
    loss += regularization * float(np.vdot(x, x) + np.vdot(y, y))
    return loss / float(confidence.sum() + matrix.shape[0] * matrix.shape[1] - matrix.nnz)
