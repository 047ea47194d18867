"""Rankings that a model has to beat: by popularity, and at random."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cymf._base import MatrixFactorization
from cymf._fit_log import FitLog, TrainingSize
from cymf._inputs import training_ratings
from cymf._state import FittedState
from cymf._validation import (
    check_callback,
    check_dtype,
    check_flag,
    check_integer,
    random_generator,
)
from cymf.ratings import Ratings

__all__ = ["Popularity", "Random"]


class Popularity(MatrixFactorization):
    """The same ranking for everybody: the items that most users have, first.

    The score of an item is the number of its training interactions, whatever their values. In the terms of the other
    models it is the item's bias, and there are no factors.

    Parameters
    ----------
    store_ratings : bool, default True
        Whether the model keeps the training interactions, which ``recommend(exclude_seen=True)`` needs.
    dtype : {"float32", "float64"}, default "float32"
        Type of the scores; float32 holds counts up to 2²⁴ exactly.

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> plays = np.array([[1, 1, np.nan], [np.nan, 1, np.nan], [1, 1, 1]])
    >>> model = cymf.Popularity().fit(plays)
    >>> model.item_bias_.tolist()
    [2.0, 3.0, 1.0]
    >>> model.recommend(1, n=2)[0].tolist()
    [0, 2]
    """

    def __init__(
        self,
        *,
        store_ratings: bool = True,
        dtype: str | np.dtype[Any] | type = "float32",
    ) -> None:
        self.store_ratings = store_ratings
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
        """Count.

        Parameters
        ----------
        X : Ratings, sparse matrix or array, dense array with NaN, or table; or array-like of shape (n_pairs, 2)
            Interactions; or, with `y`, pairs of a user and an item, by id.
        y : array-like of shape (n_pairs,), optional
            The values of the pairs.
        sample_weight : array-like of shape (n_pairs,), optional
            Weights of the pairs; checked, not used.
        validation, callback, init : optional
            Not used: there is nothing to iterate. They are here so that all models are called alike.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not what they should be.
        """
        dtype = check_dtype(self.dtype)
        keep = check_flag("store_ratings", self.store_ratings)
        check_callback(callback)
        ratings = training_ratings(X, y, sample_weight)
        log = _log_of(self, ratings)
        self._publish(
            _state(
                ratings,
                user_factors=np.zeros((ratings.n_users, 0), dtype),
                item_factors=np.zeros((ratings.n_items, 0), dtype),
                item_bias=ratings.item_counts.astype(dtype),
                keep=keep,
            )
        )
        log.end(0, "max_iter")
        return self


class Random(MatrixFactorization):
    """A random ranking for every user, the same at every call.

    Users and items are points drawn uniformly on the unit sphere, a score is the cosine between them. To each user
    every order of the items is equally likely, so that metrics of single users have the expectation of a random
    ranking; the rankings of two users are nearly independent, the more so the more factors there are. All strangers get
    one random ranking.

    Parameters
    ----------
    n_factors : int, default 64
        Dimensions of the sphere.
    store_ratings : bool, default True
        Whether the model keeps the training interactions, which ``recommend(exclude_seen=True)`` needs.
    random_state : int, Generator or None, default 0
        Seed. None draws a fresh one.
    dtype : {"float32", "float64"}, default "float32"
        Type of the factors.

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> model = cymf.Random(random_state=1).fit(np.ones((3, 100)))
    >>> items, scores = model.recommend([0, 1], n=2, exclude_seen=False)
    >>> items.shape
    (2, 2)
    """

    def __init__(
        self,
        n_factors: int = 64,
        *,
        store_ratings: bool = True,
        random_state: int | np.random.Generator | None = 0,
        dtype: str | np.dtype[Any] | type = "float32",
    ) -> None:
        self.n_factors = n_factors
        self.store_ratings = store_ratings
        self.random_state = random_state
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
        """Draw. Parameters, answer and errors are those of `Popularity.fit`."""
        n_factors = check_integer("n_factors", self.n_factors, 2)
        dtype = check_dtype(self.dtype)
        keep = check_flag("store_ratings", self.store_ratings)
        generator = random_generator(self.random_state)
        check_callback(callback)
        ratings = training_ratings(X, y, sample_weight)
        log = _log_of(self, ratings)
        user_factors, item_factors = (
            _on_the_sphere(counts, n_factors, generator, dtype)
            for counts in (ratings.user_counts, ratings.item_counts)
        )
        # Too little to turn the order of a known user's scores, but it is all that strangers are ranked by.
        item_bias = (1e-6 * generator.random(ratings.n_items)).astype(dtype)
        self._publish(
            _state(
                ratings,
                user_factors=user_factors,
                item_factors=item_factors,
                item_bias=item_bias,
                keep=keep,
            )
        )
        log.end(0, "max_iter")
        return self


def _log_of(model: MatrixFactorization, ratings: Ratings) -> FitLog:
    size = TrainingSize(ratings.shape, ratings.nnz, n_threads=1)
    return FitLog(type(model).__name__, "fit", size, None)


def _on_the_sphere(
    counts: NDArray[np.int64],
    n_factors: int,
    generator: np.random.Generator,
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Return random points, and zeros for rows without interactions."""
    points = generator.standard_normal((len(counts), n_factors), np.float32).astype(dtype)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[counts == 0] = 0
    return points


def _state(
    ratings: Ratings,
    *,
    user_factors: NDArray[Any],
    item_factors: NDArray[Any],
    item_bias: NDArray[Any],
    keep: bool,
) -> FittedState:
    item_bias[ratings.item_counts == 0] = 0
    return FittedState(
        user_factors=user_factors,
        item_factors=item_factors,
        user_bias=np.zeros(ratings.n_users, item_bias.dtype),
        item_bias=item_bias,
        global_mean=0.0,
        rating_mean=float(ratings.values.mean(dtype=np.float64)),
        rating_range=ratings.rating_range,
        user_ids=ratings.user_ids,
        item_ids=ratings.item_ids,
        user_counts=ratings.user_counts,
        item_counts=ratings.item_counts,
        ratings=ratings if keep else None,
        history={},
        n_iter=0,
        stop_reason="max_iter",
    )
