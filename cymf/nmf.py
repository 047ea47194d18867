"""Non-negative matrix factorization, of complete matrices and of those with missing cells."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf._base import MatrixFactorization
from cymf._errors import NotFittedError
from cymf._implicit_fold_in import is_single_row, view_of
from cymf._inputs import training_ratings
from cymf._nonnegative_fold_in import fold_in, fold_in_rows
from cymf._nonnegative_input import check_width, looks_like_pairs, read_nonnegative
from cymf._nonnegative_rows import Penalty
from cymf._nonnegative_training import NonnegativeSettings, train
from cymf._queries import By, Unknown
from cymf._training import Iteration
from cymf._validation import check_choice, check_number, check_threads
from cymf.ratings import Ratings

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from sklearn.utils import Tags

    from cymf._state import FittedState

__all__ = ["NMF"]


class NMF(MatrixFactorization):
    r"""Non-negative matrix factorization, A ≈ W H with W ≥ 0 and H ≥ 0, with or without missing cells.

    Minimizes, over the cells Ω that are data,

        ½ Σ_Ω c_ij (a_ij − w_i·h_j)²
          + α_W Σ_i n_i (½ (1 − ρ) ‖w_i‖² + ρ Σ_f w_if) + α_H Σ_j n_j (½ (1 − ρ) ‖h_j‖² + ρ Σ_f h_jf)

    where n counts the cells of a row or column in Ω and ρ is `l1_ratio`. For a matrix without missing cells that is the
    objective of ``sklearn.decomposition.NMF``, whose parameters and methods it has; with ``l1_ratio=0`` it is that of
    ``ALS(nonnegative=True, use_bias=False, reg=α, reg_exponent=1)``.

    Parameters
    ----------
    n_components : int, default 16
        Length of the factors w_i and h_j.
    missing : {"masked", "zero"}, default "masked"
        What cells without a number are.

        - ``"masked"``: missing. NaN in a dense matrix, what a sparse one does not store, and what has no rating take no
          part. A dense matrix without NaN is complete.
        - ``"zero"``: zeros, as scikit-learn has it. They are data, and cost nothing. NaN is an error.
    init : str or None, default None
        Where training starts: ``"nndsvd"``, ``"nndsvda"`` (zeros become the mean) and ``"nndsvdar"`` (small random
        numbers) decompose the matrix, missing cells filled by the mean of their column; or ``"random"``. None takes
        ``"nndsvda"`` where `n_components` is at most the smaller side of the matrix, ``"random"`` elsewhere.
    solver : {"cd", "mu"}, default "cd"
        Coordinate descent row by row (HALS), or multiplicative updates. The objective falls with both, faster with the
        first. Rows of W are solved exactly at the end.
    alpha_W : float, default 0
        α_W, the penalty on W. In the terms of other models it is `reg`, with ``reg_exponent=1``.
    alpha_H : float or "same", default "same"
        α_H, the penalty on H; "same" takes `alpha_W`.
    l1_ratio : float, default 0
        ρ, from 0 to 1: the share of the penalties that is proportional to factors, rather than to their squares.
    tol : float, default 3e-6
        Training stops when an iteration lowers the objective by at most ``tol`` times what is left. With 0, all
        iterations are done. Large matrices have plateaus that a larger one takes for the end.
    max_iter : int, default 200
        Most iterations.
    patience : int or None, default None
        With a validation set: stop after so many iterations without a better validation RMSE, and keep the best.
    store_ratings : bool, default True
        Whether the model keeps the training ratings, which ``recommend(exclude_seen=True)`` needs. A complete dense
        matrix is never kept.
    random_state : int, Generator or None, default 0
        Seed of the start. None draws a fresh one.
    n_threads : int or None, default None
        Threads; None means all processors. The result is the same bits for any number.
    dtype : str or None, default None
        "float32" or "float64", the type of the factors and of the arithmetic. None takes that of the matrix, float64
        for integers.
    verbose : bool, default False
        Whether to show a progress bar.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        H, which is also ``item_factors_`` transposed.
    n_components_ : int
        Length of the factors.
    reconstruction_err_ : float
        √(Σ_Ω c (a − w·h)²), the Frobenius norm of what the factors leave.
    n_features_in_ : int
        Columns of the matrix.
    feature_names_in_ : ndarray of str
        Their names, where they have some.

    Notes
    -----
    Users are the rows (samples) of the matrix and items its columns (features): ``predict``, ``recommend``, ``save``
    and all else that models of ratings have work as well.

    References
    ----------
    Lee and Seung 2001, "Algorithms for non-negative matrix factorization". Cichocki and Phan 2009, "Fast local
    algorithms for large scale nonnegative matrix and tensor factorizations". Hsieh and Dhillon 2011, "Fast coordinate
    descent methods with variable selection for non-negative matrix factorization". Boutsidis and Gallopoulos 2008,
    "SVD based initialization: a head start for nonnegative matrix factorization".

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> nan = np.nan
    >>> A = np.array([[1.0, 2, 3], [2, 4, nan], [nan, 1, 1.5]])
    >>> model = cymf.NMF(n_components=1, tol=1e-9)
    >>> W = model.fit_transform(A)
    >>> model.inverse_transform(W).round(3)
    array([[1. , 2. , 3. ],
           [2. , 4. , 6. ],
           [0.5, 1. , 1.5]])
    >>> bool(np.allclose(model.transform([[3, nan, 9]]), 3 * W[0]))
    True
    """

    def __init__(
        self,
        n_components: int = 16,
        *,
        missing: str = "masked",
        init: str | None = None,
        solver: str = "cd",
        alpha_W: float = 0.0,
        alpha_H: float | str = "same",
        l1_ratio: float = 0.0,
        tol: float = 3e-6,
        max_iter: int = 200,
        patience: int | None = None,
        store_ratings: bool = True,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        dtype: str | np.dtype[Any] | type | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_components = n_components
        self.missing = missing
        self.init = init
        self.solver = solver
        self.alpha_W = alpha_W
        self.alpha_H = alpha_H
        self.l1_ratio = l1_ratio
        self.tol = tol
        self.max_iter = max_iter
        self.patience = patience
        self.store_ratings = store_ratings
        self.random_state = random_state
        self.n_threads = n_threads
        self.dtype = dtype
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        validation: Any = None,
        callback: Callable[[Iteration], Any] | None = None,
        init: Any = None,
    ) -> Self:
        """Learn W and H.

        Parameters
        ----------
        X : array-like, sparse matrix, table or Ratings, shape (n_samples, n_features)
            The matrix; no cell may be negative. A table with columns "user" and "item" holds one rating a row, any
            other table is the matrix itself.
        y : array-like of shape (n_pairs,), optional
            Beside two columns of integers or strings: the ratings of these pairs of a user and an item. Beside another
            matrix it is not used, as scikit-learn's transformers have it; one of two columns is given as floats.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_features), or sparse matrix, optional
            Weights c of rows or of cells, not negative. Ratings bring their own. With ``missing="zero"`` a sparse
            matrix has none.
        validation : Ratings, matrix or table, optional
            Held-out ratings, evaluated after every iteration.
        callback : callable, optional
            Called with an `Iteration` after every iteration; a true result stops training.
        init : fitted model, or (W, item factors), optional
            Where to start from, instead of what the parameter `init` says. Item factors are H transposed.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not what they should be.
        DivergenceError
            If factors are not finite.
        """
        settings = NonnegativeSettings.of(self)
        if y is not None and looks_like_pairs(X):
            X, sample_weight = training_ratings(X, y, sample_weight), None
        matrix = read_nonnegative(X, sample_weight, settings.missing)
        self._publish(train(matrix, settings, validation, callback, init))
        return self

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> NDArray[Any]:
        """Learn W and H, and return W, of shape (n_samples, n_components); parameters are those of `fit`."""
        return np.array(self.fit(X, y, **fit_params).user_factors_)

    def transform(self, X: Any) -> NDArray[Any]:
        """Return the factors W of rows, H fixed: each the exact solution of its non-negative least squares.

        Parameters
        ----------
        X : array-like, sparse matrix, table or Ratings, shape (n_samples, n_features)
            Rows, of the training or new, in what `fit` takes. Ratings and tables are matched by id and name; of
            ratings, items that the model does not know are passed over.

        Returns
        -------
        ndarray of shape (n_samples, n_components), in the dtype of the model
            For the matrix of the training the W that `fit_transform` returns. A row without known cells has zeros.

        Raises
        ------
        ValueError, TypeError
            If the matrix has another width or other columns than that of the training, or cells that `fit` refuses.
        NotFittedError
            If `fit` has not been called.
        """
        state = self._fitted()
        missing = check_choice("missing", self.missing, ("masked", "zero"))
        matrix = read_nonnegative(X, None, missing, may_be_empty=True)
        n_threads = check_threads(self.n_threads)
        return fold_in(matrix, state, self._user_penalty(), type(self).__name__, n_threads)

    def inverse_transform(self, X: ArrayLike) -> NDArray[Any]:
        """Return W H, the matrix that factors stand for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Factors W.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        components = self.components_
        factors = np.asarray(X)
        if factors.ndim != 2 or factors.shape[1] != len(components):
            raise ValueError(
                f"X has shape {factors.shape}; expected (n_samples, {len(components)}), factors as `transform` "
                "returns them"
            )
        return np.asarray(factors @ components)

    def user_factors_for(
        self, ratings: Any, strengths: Any = None, *, by: By = "id"
    ) -> NDArray[Any]:
        """Return factors of users by their ratings alone, whether they were in training or not.

        Parameters
        ----------
        ratings : what `transform` takes; or array-like of shape (n_items,)
            The users' ratings, one row a user; or the items of a single user. Items that the model does not know are
            passed over.
        strengths : array-like of shape (n_items,), optional
            A single user's ratings of these items; 1 each by default.
        by : {"id", "index"}, default "id"
            Whether a single user's items are ids or row numbers.

        Returns
        -------
        ndarray of shape (n_users, n_components), or (n_components,) for a single user
        """
        state = self._fitted()
        if not is_single_row(ratings):
            solved: NDArray[Any] = self.transform(ratings)
            return solved
        view, _ = view_of(ratings, strengths, state, "user", by)
        if len(view.values) and view.values.min() < 0:
            raise ValueError(f"strengths go down to {view.values.min():g}; expected none below 0")
        zeros = check_choice("missing", self.missing, ("masked", "zero")) == "zero"
        return fold_in_rows(view, state, self._user_penalty(), zeros, 1).reshape(-1)

    def predict(
        self,
        users: ArrayLike,
        items: ArrayLike | None = None,
        *,
        by: By = "id",
        clip: bool = False,
        unknown: Unknown = "fallback",
        return_std: bool = False,
        std: str = "predictive",
    ) -> Any:
        """Predict ratings pair by pair, or all cells of the rows of a matrix.

        Parameters and errors are those of the other models' ``predict``, but that a matrix of `n_features_in_` columns
        may stand alone: its rows are solved for, as `transform` does, and all their cells are predicted. Two columns
        of integers or strings are pairs of a user and an item in any case.

        Returns
        -------
        ndarray of shape (n_pairs,), or (n_samples, n_features) for a matrix; float for two scalars
        """
        state = self._fitted()
        if return_std or items is not None or looks_like_pairs(users):
            return super().predict(
                users, items, by=by, clip=clip, unknown=unknown, return_std=return_std, std=std
            )
        completed = self.inverse_transform(self.transform(users))
        if clip:
            np.clip(completed, *state.rating_range, out=completed)
        return completed

    def _compared(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """As of the other models; of a matrix, `y` is passed over, as scikit-learn's pipelines hand it on."""
        if isinstance(X, Ratings) or (y is not None and looks_like_pairs(X)):
            return super()._compared(X, y, sample_weight)
        state = self._fitted()
        matrix = read_nonnegative(X, sample_weight, self.missing)
        ratings = matrix.ratings or Ratings.from_matrix(matrix.dense, item_ids=matrix.names)
        if ratings.item_ids is None:
            check_width(ratings.n_items, state.n_items, type(self).__name__)
        return super()._compared(ratings, None, None)

    @property
    def components_(self) -> np.ndarray:
        """H, a read-only array of shape (n_components, n_features)."""
        return self._fitted().item_factors.T

    @property
    def n_components_(self) -> int:
        """Length of the factors."""
        return self._fitted().n_factors

    @property
    def reconstruction_err_(self) -> float:
        """√(Σ c (a − w·h)²) over the cells that are data."""
        return float(self._fitted().extra["reconstruction_error"][0])

    @property
    def n_features_in_(self) -> int:
        """Columns of the matrix."""
        return self._fitted().n_items

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the columns, where they are strings."""
        ids = self._fitted().item_ids
        if ids is None or ids.ids.dtype.kind != "O":
            raise AttributeError("the columns of the matrix have no names")
        return ids.ids

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return names of the components: "nmf0", "nmf1", …

        `input_features` is not used: a component is not one of the columns.
        """
        return np.array([f"nmf{f}" for f in range(self.n_components_)], object)

    def _user_penalty(self) -> Penalty:
        alpha = check_number("alpha_W", self.alpha_W)
        ratio = check_number("l1_ratio", self.l1_ratio, maximum=1)
        return Penalty(alpha * (1 - ratio), alpha * ratio)

    def _fitted(self) -> FittedState:
        try:
            return super()._fitted()
        except NotFittedError as error:
            sklearn = sys.modules.get("sklearn.exceptions")
            if sklearn is None:
                raise
            kind = type("NotFittedError", (NotFittedError, sklearn.NotFittedError), {})
            raise kind(str(error)) from None  # scikit-learn's tools look for its own

    def __sklearn_tags__(self) -> Tags:
        """Describe this object to scikit-learn: a transformer of matrices that are not negative."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
            input_tags=InputTags(
                sparse=True, allow_nan=self.missing == "masked", positive_only=True
            ),
        )
