"""What every model does after training: predict, recommend, compare, score, save."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from cymf import evaluation
from cymf._fitted import Fitted
from cymf._prediction import predict_pairs
from cymf._queries import (
    Axis,
    By,
    Unknown,
    allowed_items,
    broadcast_pairs,
    ids_of,
    observations,
    own_candidates,
    rows_of,
    seen_exclusions,
    split_pairs,
)
from cymf._ranking_queries import best_items, most_similar
from cymf._validation import check_integer, check_threads

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike

    from cymf._state import FittedState

__all__ = ["MatrixFactorization"]


class MatrixFactorization(Fitted, ABC):
    """The part that all models share: everything but ``fit``.

    A model predicts the rating of user i for item j as

        â_ij = μ + b_i + b_j + w_i · h_j

    with the mean μ, the biases b and the rows w_i, h_j of the user and item factors. An unknown
    user or item, one without training ratings, adds neither a bias nor a product. A model without
    biases, â_ij = w_i · h_j, predicts the mean of its training ratings there.

    Notes
    -----
    All that is fitted hangs on one reference, which `fit` swaps at once and every method reads
    once: a model may be asked in one thread while it is trained in another.

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> pairs = np.array([["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["cy", "rum"]])
    >>> model = cymf.ALS(n_factors=2).fit(pairs, [5.0, 1.0, 4.0, 2.0])
    >>> model.predict([["bob", "rum"], ["nobody", "rum"]]).shape
    (2,)
    >>> ids, scores = model.recommend("bob", n=1)
    >>> print(ids)
    ['rum']
    """

    @abstractmethod
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
        """Learn the factors of a matrix or `Ratings` `X`, or of pairs `X` and ratings `y`."""

    def predict(
        self,
        users: ArrayLike,
        items: ArrayLike | None = None,
        *,
        by: By = "id",
        clip: bool = False,
        unknown: Unknown = "fallback",
    ) -> np.ndarray | float:
        """Predict ratings, pair by pair.

        Parameters
        ----------
        users : scalar, array-like of shape (n_pairs,), or array-like of shape (n_pairs, 2)
            Users; or, without `items`, pairs of a user and an item. Pairs of different types,
            such as a number and a string, are given as a list, a table or an object array.
        items : scalar or array-like of shape (n_pairs,), optional
            Items. A scalar is paired with everything on the other side.
        by : {"id", "index"}, default "id"
            Whether `users` and `items` are ids as they were trained on or row numbers of the
            factors. The ids of a matrix are its row numbers.
        clip : bool, default False
            Whether to limit predictions to the range of the training ratings.
        unknown : {"fallback", "raise"}, default "fallback"
            What to do with users and items without training ratings: predict from the mean and
            the bias of the side that is known, or raise.

        Returns
        -------
        ndarray of shape (n_pairs,) in the dtype of the model, or float for two scalars

        Raises
        ------
        UnknownIdError
            If ``unknown="raise"`` and a user or item has no training ratings.
        IndexError
            If ``by="index"`` and a row number is not in the matrix.
        TypeError, ValueError
            If shapes, lengths or types do not fit.
        NotFittedError
            If `fit` has not been called.
        """
        state = self._fitted()
        if items is None:
            users, items = split_pairs(users)
        user_rows = rows_of(users, Axis.users(state), by=by, unknown=unknown)
        item_rows = rows_of(items, Axis.items(state), by=by, unknown=unknown)
        dimensions = np.ndim(users), np.ndim(items)
        ratings = predict_pairs(state, *broadcast_pairs(user_rows, item_rows, *dimensions))
        if clip:
            np.clip(ratings, *state.rating_range, out=ratings)
        return float(ratings[0]) if dimensions == (0, 0) else ratings

    def recommend(
        self,
        users: ArrayLike,
        n: int = 10,
        *,
        by: By = "id",
        exclude_seen: bool = True,
        seen: Any = None,
        candidates: Any = None,
        filter: ArrayLike | None = None,
        unknown: Unknown = "fallback",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest predicted ratings for each user.

        Parameters
        ----------
        users : scalar or array-like of shape (n_users,)
            Whom to recommend to.
        n : int, default 10
            Items for each user.
        by : {"id", "index"}, default "id"
            Whether users and items, given and returned, are ids or row numbers.
        exclude_seen : bool, default True
            Whether to leave out what a user has rated.
        seen : Ratings or scipy sparse matrix, optional
            What users have rated, in place of the training ratings. The ids of Ratings are
            matched with the model's; a sparse matrix has the model's rows and columns.
        candidates : array-like, Ratings, scipy sparse matrix, or a list of these items for each user, optional
            The only items to recommend: to everybody, if one-dimensional; else to each user their own, as a list
            of items for each entry of `users`, as Ratings (matched by ids), or as a sparse matrix with the model's
            rows and columns. Items that the model does not know are passed over.
        filter : array-like, optional
            Items not to recommend.
        unknown : {"fallback", "raise"}, default "fallback"
            What to do with users without training ratings: rank by the mean and the item
            biases, or raise. With ``"raise"``, unknown `candidates` and `filter` raise as well.

        Returns
        -------
        items : ndarray of shape (n_users, n), or (n,) for a scalar user
            Best first; equal scores in the order of the items' row numbers. Items without training
            ratings are never recommended. Where fewer than `n` items are left, the rest is -1, or
            "" among ids that are strings.
        scores : ndarray of the same shape, in the dtype of the model
            Predicted ratings, NaN in the rest.

        Raises
        ------
        ValueError
            If ``exclude_seen=True`` and there is nothing to tell what was seen: the model keeps
            no ratings and `seen` is not given.
        UnknownIdError
            If ``unknown="raise"`` and a user or item has no training ratings.
        IndexError
            If ``by="index"`` and a row number is not in the matrix.
        NotFittedError
            If `fit` has not been called.

        Notes
        -----
        The answer is exact and the same for any number of threads. The first call makes an index of the items
        (`n_factors` bytes an item), which is kept as long as the model is not trained again; then a query takes
        O(n_items n_factors) byte operations at most, and where norms of the item factors differ, far less: items
        are visited in the order of ‖h_j‖ and b_j, and ‖w_i‖ ‖h_j‖ + b_j bounds what is left. Memory beside index
        and answer does not grow with the number of users.
        """
        state = self._fitted()
        n = check_integer("n", n, 1)
        if seen is not None and not exclude_seen:
            raise ValueError("seen is given with exclude_seen=False; expected one or the other")
        rows = rows_of(users, Axis.users(state), by=by, unknown=unknown)
        excluded = seen_exclusions(state, seen, users, by) if exclude_seen else None
        offset = np.full(len(rows), state.global_mean, state.dtype)
        if state.user_bias is None:
            offset[rows < 0] = state.rating_mean
        else:
            offset += np.where(rows >= 0, state.user_bias[rows], 0)
        own = own_candidates(state, candidates, users, by, unknown)
        items, scores = best_items(
            state,
            state.user_factors,
            rows,
            offset,
            n,
            excluded=excluded,
            allowed=allowed_items(state, None if own else candidates, filter, by, unknown),
            candidates=own,
            n_threads=self._query_threads(),
        )
        ids = ids_of(items, Axis.items(state), by)
        return (ids[0], scores[0]) if np.ndim(users) == 0 else (ids, scores)

    def similar_items(
        self,
        items: ArrayLike,
        n: int = 10,
        *,
        by: By = "id",
        metric: Literal["cosine", "dot"] = "cosine",
        include_self: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items whose factors are most like those of each given item.

        Parameters
        ----------
        items : scalar or array-like of shape (n_queries,)
            The items to compare with all others.
        n : int, default 10
            Answers for each item.
        by : {"id", "index"}, default "id"
            Whether items, given and returned, are ids or row numbers.
        metric : {"cosine", "dot"}, default "cosine"
            The cosine h_i·h_j / (‖h_i‖ ‖h_j‖), 0 where a norm is 0; or the product h_i·h_j.
        include_self : bool, default False
            Whether an item may be an answer to itself.

        Returns
        -------
        ids : ndarray of shape (n_queries, n), or (n,) for a scalar item
            Most similar first; equal ones in the order of their row numbers. Items without
            training ratings are no answer. Padded by -1, or "" among ids that are strings.
        scores : ndarray of the same shape, in the dtype of the model
            Padded by NaN.

        Raises
        ------
        UnknownIdError
            If an item has no training ratings: nothing is known that could be similar.
        IndexError
            If ``by="index"`` and a row number is not in the matrix.
        NotFittedError
            If `fit` has not been called.
        """
        state = self._fitted()
        return self._similar(state, Axis.items(state), items, n, by, metric, include_self)

    def similar_users(
        self,
        users: ArrayLike,
        n: int = 10,
        *,
        by: By = "id",
        metric: Literal["cosine", "dot"] = "cosine",
        include_self: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the users whose factors are most like those of each given user.

        Parameters, answers and errors are those of `similar_items`, with users for items.
        """
        state = self._fitted()
        return self._similar(state, Axis.users(state), users, n, by, metric, include_self)

    def _similar(
        self,
        state: FittedState,
        axis: Axis,
        values: ArrayLike,
        n: int,
        by: By,
        metric: str,
        include_self: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = rows_of(values, axis, by=by, unknown="raise")
        found, scores = most_similar(
            state,
            axis.what,
            rows,
            check_integer("n", n, 1),
            metric=metric,
            include_self=include_self,
            n_threads=self._query_threads(),
        )
        ids = ids_of(found, axis, by)
        return (ids[0], scores[0]) if np.ndim(values) == 0 else (ids, scores)

    def _query_threads(self) -> int:
        return check_threads(getattr(self, "n_threads", 1))

    def score(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return R², the share of the ratings' variance that the predictions explain.

        R² = 1 − Σ c (a − â)² / Σ c (a − ā)², with the weighted mean ā; when all ratings are
        equal, 1 for perfect predictions and 0 for others, as scikit-learn has it.

        Parameters
        ----------
        X : Ratings, sparse matrix, array or table; or array-like of shape (n_pairs, 2)
            What `fit` takes: ratings, or with `y` pairs of a user and an item. Weights within
            Ratings are the weights c.
        y : array-like of shape (n_pairs,), optional
            The ratings of the pairs.
        sample_weight : array-like of shape (n_pairs,), optional
            The weights c of the pairs.

        Returns
        -------
        float
            At most 1; 0 for a model that always predicts the mean.

        Raises
        ------
        ValueError
            If there are fewer than two ratings, shapes do not fit, ratings or weights are not
            finite, or weights are negative or all 0.
        NotFittedError
            If `fit` has not been called.
        """
        values, predicted, weights = self._compared(X, y, sample_weight)
        if len(values) < 2:
            raise ValueError(
                f"R² of {len(values)} ratings is not defined; give two ratings or more"
            )
        error = evaluation.rmse(values, predicted, weights)
        mean = np.full(len(values), np.average(values, weights=weights))
        spread = evaluation.rmse(values, mean, weights) if np.ptp(values) > 0 else 0.0
        if spread == 0:
            return float(error == 0)
        return 1 - (error / spread) ** 2

    def rmse(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the root of the weighted mean squared error, √(Σ c (a − â)² / Σ c).

        Parameters and errors are those of `score`; one rating is enough.
        """
        return evaluation.rmse(*self._compared(X, y, sample_weight))

    def mae(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the weighted mean absolute error, Σ c |a − â| / Σ c.

        Parameters and errors are those of `score`; one rating is enough.
        """
        return evaluation.mae(*self._compared(X, y, sample_weight))

    def _compared(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return ratings, their predictions, and weights."""
        state = self._fitted()
        users, items, values, weights = observations(state, X, y, sample_weight)
        return values, predict_pairs(state, users, items), weights

    def save(self, path: str | os.PathLike[str], *, store_ratings: bool = True) -> None:
        """Write the fitted model to one file, which `cymf.load` reads.

        Parameters
        ----------
        path : str or path-like
            The file; an existing one is replaced at once when the new one is complete.
        store_ratings : bool, default True
            Whether to store the training ratings, if the model keeps them. Without them
            ``recommend`` needs ``seen``, and the file says less about its users.

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        TypeError
            If this is not one of cymf's own models, or a parameter is not a number, a string, a
            bool, None, a dtype, a list of these, or a random generator (which is stored as None).
        OSError
            If the file cannot be written. What stood there before is still there.
        """
        from cymf._model_file import save

        save(self, self._fitted(), path, store_ratings=store_ratings)
