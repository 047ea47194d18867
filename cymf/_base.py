"""What every model does after training: predict, recommend, compare, score, save."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf import evaluation
from cymf._columns import query_column
from cymf._prediction import predict_pairs
from cymf._queries import (
    Axis,
    By,
    Unknown,
    broadcast_pairs,
    observations,
    rows_of,
    split_pairs,
)
from cymf._recommender import Recommender

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike

__all__ = ["MatrixFactorization"]


class MatrixFactorization(Recommender, ABC):
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
        users: Any,
        items: Any = None,
        *,
        by: By = "id",
        clip: bool = False,
        unknown: Unknown = "fallback",
        return_std: bool = False,
        std: str = "predictive",
    ) -> Any:
        """Predict ratings, pair by pair.

        Parameters
        ----------
        users : scalar, array-like of shape (n_pairs,), or array-like or table of shape (n_pairs, 2)
            Users; or, without `items`, pairs of a user and an item: a table with columns so named, or just two. Pairs
            of different types, such as a number and a string, are given as a list, a table or an object array.
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
        return_std : bool, default False
            Whether to return standard deviations as well, which `ALS`, `ImplicitALS` and `BayesianMF` know. Those of
            unknown users and items are what the model believes of a row before it has ratings.
        std : {"predictive", "latent"}, default "predictive"
            Of what: of a new rating of weight 1 around its prediction, √(latent² + σ²), or of the prediction
            itself, the expected rating.

        Returns
        -------
        ratings : ndarray of shape (n_pairs,) in the dtype of the model, or float for two scalars
        deviations : ndarray or float, alike
            Only with ``return_std=True``.

        Raises
        ------
        UnknownIdError
            If ``unknown="raise"`` and a user or item has no training ratings.
        IndexError
            If ``by="index"`` and a row number is not in the matrix.
        TypeError, ValueError
            If shapes, lengths or types do not fit; with ``return_std=True`` also if this model does not know its
            uncertainty, or would need the training ratings for it and keeps none.
        NotFittedError
            If `fit` has not been called.
        """
        state = self._fitted()
        if items is None:
            users, items = split_pairs(users)
        users, items = query_column(users, "users"), query_column(items, "items")
        user_rows = rows_of(users, Axis.users(state), by=by, unknown=unknown)
        item_rows = rows_of(items, Axis.items(state), by=by, unknown=unknown)
        dimensions = np.ndim(users), np.ndim(items)
        pairs = broadcast_pairs(user_rows, item_rows, *dimensions)
        ratings = predict_pairs(state, *pairs)
        if clip:
            np.clip(ratings, *state.rating_range, out=ratings)
        scalar = dimensions == (0, 0)
        if not return_std:
            return float(ratings[0]) if scalar else ratings
        from cymf._uncertainty import deviations

        spread = deviations(self, state, *pairs, std)
        return (float(ratings[0]), float(spread[0])) if scalar else (ratings, spread)

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
