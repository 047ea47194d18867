"""Rows of explicit models for users and items that training has not seen: exact solves against the fitted factors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from cymf._base import MatrixFactorization
from cymf._feature_state import predicted_rows
from cymf._implicit_fold_in import is_single_row, view_of
from cymf._row_solve import RowObjective, SolvedRows, check_solved, solve_rows
from cymf._validation import check_threads
from cymf.ratings import Ratings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cymf._queries import By
    from cymf._sparse_view import SparseView
    from cymf._state import FittedState

__all__ = ["ExplicitModel", "as_rows_of_users"]


class ExplicitModel(MatrixFactorization):
    """A model of ratings whose rows, the other side fixed, are least-squares problems of their own."""

    reg: float
    reg_bias: float | None
    reg_exponent: float
    n_threads: int | None

    @overload
    def user_factors_for(
        self,
        ratings: Any,
        values: Any = ...,
        *,
        by: By = ...,
        return_bias: Literal[False] = ...,
        features: Any = ...,
    ) -> NDArray[Any]: ...

    @overload
    def user_factors_for(
        self,
        ratings: Any,
        values: Any = ...,
        *,
        by: By = ...,
        return_bias: Literal[True],
        features: Any = ...,
    ) -> tuple[NDArray[Any], Any]: ...

    @overload
    def user_factors_for(
        self,
        ratings: Any,
        values: Any = ...,
        *,
        by: By = ...,
        return_bias: bool,
        features: Any = ...,
    ) -> Any: ...

    def user_factors_for(
        self,
        ratings: Any,
        values: Any = None,
        *,
        by: By = "id",
        return_bias: bool = False,
        features: Any = None,
    ) -> Any:
        r"""Return factors of users as if they had these ratings and no others: the exact solution, items fixed.

        A row w with its bias b minimizes

            ½ Σ_j c_j (a_j − μ − b_j − b − w·h_j)² + ½ n^ν (λ ‖w‖² + λ_b b²)

        over the user's n ratings a_j, with the model's μ, λ, λ_b and ν, and with w ≥ 0 if the model's are. With
        features the penalty is that of the distance to what they predict.

        Parameters
        ----------
        ratings : Ratings, sparse matrix, dense array with NaN, or table; or array-like of shape (n_items,)
            The users' ratings, one row a user; or, with `values`, the items of a single user. Items that the model
            does not know are passed over.
        values : array-like of shape (n_items,), optional
            A single user's ratings of these items.
        by : {"id", "index"}, default "id"
            Whether a single user's items are ids or row numbers.
        return_bias : bool, default False
            Whether to return the users' biases as well, which `recommend_by_factors` takes.
        features : Features, table, mapping, or matrix with a row for each user, optional
            What the users are drawn to, for a model that was fitted with `user_features`; in the order of the rows,
            whatever their ids. Without them, rows are drawn to zero.

        Returns
        -------
        factors : ndarray of shape (n_users, n_factors), or (n_factors,) for a single user
            In the order of the ratings' rows. A user without known items has zeros, or what the features predict.
        bias : ndarray of shape (n_users,), or float
            Only with ``return_bias=True``; zero in a model without biases.

        Raises
        ------
        ValueError, TypeError
            If the ratings or features are not what they should be.
        DivergenceError
            If a solution is not finite.
        NotFittedError
            If `fit` has not been called.

        Notes
        -----
        `ALS` ends with a solution of all users, so that a user of its training gets the stored row, if rows were solved
        exactly. The model is not changed; `partial_fit` is what adds users to it.

        Examples
        --------
        >>> import cymf
        >>> pairs = [["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["cy", "rum"]]
        >>> model = cymf.ALS(n_factors=2).fit(pairs, [5.0, 1.0, 4.0, 2.0])
        >>> factors, bias = model.user_factors_for(["tea"], [5.0], return_bias=True)
        >>> items, scores = model.recommend_by_factors(factors, 1, user_bias=bias)
        >>> print(items)
        ['tea']
        """
        return self._fold_in("user", ratings, values, by, return_bias, features)

    @overload
    def item_factors_for(
        self,
        ratings: Any,
        values: Any = ...,
        *,
        by: By = ...,
        return_bias: Literal[False] = ...,
        features: Any = ...,
    ) -> NDArray[Any]: ...

    @overload
    def item_factors_for(
        self,
        ratings: Any,
        values: Any = ...,
        *,
        by: By = ...,
        return_bias: Literal[True],
        features: Any = ...,
    ) -> tuple[NDArray[Any], Any]: ...

    @overload
    def item_factors_for(
        self,
        ratings: Any,
        values: Any = ...,
        *,
        by: By = ...,
        return_bias: bool,
        features: Any = ...,
    ) -> Any: ...

    def item_factors_for(
        self,
        ratings: Any,
        values: Any = None,
        *,
        by: By = "id",
        return_bias: bool = False,
        features: Any = None,
    ) -> Any:
        """Return factors of items as if they had these ratings and no others: the exact solution, users fixed.

        Parameters, answers and errors are those of `user_factors_for`, with items for users: columns of `ratings` are
        the items, or `ratings` are the users of a single item. `ALS` solves items before users, so that an item of its
        training gets the stored row as far as training has converged.
        """
        return self._fold_in("item", ratings, values, by, return_bias, features)

    def transform(self, X: Any) -> np.ndarray:
        """Return the factors of users by their ratings, as scikit-learn's transformers do: `user_factors_for` of `X`.

        Parameters
        ----------
        X : Ratings, sparse matrix, dense array with NaN, or table
            Ratings of users, known or new, of the model's items.

        Returns
        -------
        ndarray of shape (n_users, n_factors)
            In the order of the rows of `X`, without biases, which `user_factors_for` returns on request.

        Raises
        ------
        ValueError, TypeError, DivergenceError, NotFittedError
            As `user_factors_for`.
        """
        factors: np.ndarray = self.user_factors_for(as_rows_of_users(X))
        return factors

    def _fold_in(
        self, which: str, ratings: Any, values: Any, by: By, return_bias: bool, features: Any
    ) -> Any:
        state = self._fitted()
        if values is None and is_single_row(ratings):
            raise ValueError(
                "the ids of one row are given without values; expected values, a rating for each of them, or Ratings, "
                "a matrix or a table"
            )
        view, single = view_of(ratings, values, state, which, by, called="values")
        drawn_to = None
        if features is not None:
            drawn_to = predicted_rows(
                state, which, features, len(view.indptr) - 1, type(self).__name__
            )
            view = _beyond(view, drawn_to, *_fixed_side(state, which))
        solved = self._solve(state, which, view, 1 if single else check_threads(self.n_threads))
        ids = None
        if isinstance(ratings, Ratings):
            ids = ratings.user_ids if which == "user" else ratings.item_ids
        factors, bias, _ = check_solved(solved, which, None, ids)
        if drawn_to is not None:
            factors = factors + drawn_to[0]
            bias = None if bias is None else bias + drawn_to[1]
        if not return_bias:
            return factors[0] if single else factors
        bias = np.zeros(len(factors), state.dtype) if bias is None else bias
        return (factors[0], float(bias[0])) if single else (factors, bias)

    def _solve(
        self, state: FittedState, which: str, view: SparseView, n_threads: int
    ) -> SolvedRows:
        """Solve rows whose ratings are given in the model's columns."""
        return solve_rows(view, *_fixed_side(state, which), RowObjective.of(self, state), n_threads)


def _fixed_side(state: FittedState, which: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the factors and biases that rows of the side `which` are solved from."""
    if which == "user":
        return state.item_factors, state.item_bias
    return state.user_factors, state.user_bias


def _beyond(
    view: SparseView,
    drawn_to: tuple[np.ndarray, np.ndarray],
    fixed: np.ndarray,
    fixed_bias: np.ndarray | None,
) -> SparseView:
    """Return ratings less what the rows' features predict of them beyond μ and the fixed side's biases."""
    rows = np.repeat(np.arange(len(view.indptr) - 1), np.diff(view.indptr))
    factors, bias = drawn_to
    predicted = np.einsum("sf,sf->s", factors[rows], fixed[view.indices])
    if fixed_bias is not None:
        predicted += bias[rows]
    return view._replace(values=view.values - predicted)


def as_rows_of_users(X: Any) -> Any:
    """Return `X`, unless it is the ids of a single row, which no transformer takes."""
    if is_single_row(X):
        raise ValueError(
            f"X has {np.ndim(X)} dimensions; expected the ratings of users as Ratings, a matrix or a table "
            "(for the ratings of one user by item: user_factors_for)"
        )
    return X
