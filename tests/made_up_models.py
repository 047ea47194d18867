"""A model of biases that learns, models of random factors, and slow twins of what they answer."""

from __future__ import annotations

import numpy as np

from cymf._base import MatrixFactorization
from cymf._state import FittedState
from cymf.ratings import Ratings


class BiasModel(MatrixFactorization):
    """Mean and shrunken biases, no factors: the smallest model that learns something."""

    def __init__(self, reg=1.0, *, dtype="float64"):
        self.reg = reg
        self.dtype = dtype

    def fit(self, X, y=None, **_):
        X = X if y is None else Ratings.from_triplets(X[:, 0], X[:, 1], y)
        centred = X.values - X.values.mean(dtype=np.float64)
        user_bias = np.bincount(X.users, centred, X.n_users) / (X.user_counts + self.reg)
        rest = centred - user_bias[X.users]
        item_bias = np.bincount(X.items, rest, X.n_items) / (X.item_counts + self.reg)
        self._publish(
            FittedState(
                user_factors=np.zeros((X.n_users, 0), self.dtype),
                item_factors=np.zeros((X.n_items, 0), self.dtype),
                user_bias=user_bias.astype(self.dtype),
                item_bias=item_bias.astype(self.dtype),
                global_mean=float(X.values.mean(dtype=np.float64)),
                rating_mean=float(X.values.mean(dtype=np.float64)),
                rating_range=X.rating_range,
                user_ids=X.user_ids,
                item_ids=X.item_ids,
                user_counts=X.user_counts,
                item_counts=X.item_counts,
                ratings=X,
                history={"objective": [1.0]},
                n_iter=1,
                stop_reason="max_iter",
            )
        )
        return self


def made_up(
    n_users=6,
    n_items=8,
    n_factors=3,
    *,
    dtype=np.float64,
    ids=None,
    bias=True,
    density=0.5,
    keep_ratings=True,
    seed=0,
):
    """A model with random factors; user 0 and item 0 have no ratings, and so zero rows."""
    rng = np.random.default_rng(seed)
    observed = rng.random((n_users, n_items)) < density
    observed[0] = observed[:, 0] = False
    matrix = np.where(observed, rng.integers(1, 6, observed.shape), np.nan)
    user_ids = item_ids = None
    if ids == "str":
        user_ids = np.array([f"u{i}" for i in range(n_users)], object)
        item_ids = np.array([f"i{j}" for j in range(n_items)], object)
    elif ids == "int":
        user_ids, item_ids = 100 + 3 * np.arange(n_users), 1000 - np.arange(n_items)
    ratings = Ratings.from_matrix(matrix, user_ids=user_ids, item_ids=item_ids)

    def rows(counts, *shape):
        values = rng.standard_normal((len(counts), *shape)).astype(dtype)
        values[counts == 0] = 0
        return values

    model = BiasModel(dtype=np.dtype(dtype).name)
    model._publish(
        FittedState(
            user_factors=rows(ratings.user_counts, n_factors),
            item_factors=rows(ratings.item_counts, n_factors),
            user_bias=rows(ratings.user_counts) if bias else None,
            item_bias=rows(ratings.item_counts) if bias else None,
            global_mean=3.25 if bias else 0.0,
            rating_mean=3.25,
            rating_range=ratings.rating_range,
            user_ids=ratings.user_ids,
            item_ids=ratings.item_ids,
            user_counts=ratings.user_counts,
            item_counts=ratings.item_counts,
            ratings=ratings if keep_ratings else None,
            history={"objective": [2.0, 1.0]},
            n_iter=2,
            stop_reason="tol",
        )
    )
    return model, observed


def all_predictions(model):
    full = model.W_ @ model.H_ + model.global_mean_
    if model.user_bias_ is not None:
        return full + model.user_bias_[:, None] + model.item_bias_
    full[model._state.user_counts == 0] = full[:, model._state.item_counts == 0] = 3.25
    return full


def unrated(model):
    return set(np.flatnonzero(model._state.item_counts == 0))


def ranked(scores, forbidden, n):
    """Slow twin of ``recommend`` for one user: sort by (-score, item)."""
    order = [j for _, j in sorted((-s, j) for j, s in enumerate(scores) if j not in forbidden)][:n]
    return order + [-1] * (n - len(order))
