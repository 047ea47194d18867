"""What the arguments of ``fit`` mean: ratings, validation ratings, and factors to start from."""

from __future__ import annotations

from typing import Any

import numpy as np

from cymf._factors import Factors
from cymf._problem import Problem, Validation
from cymf.ratings import Ratings

__all__ = ["as_ratings", "as_validation", "start_from"]


def as_ratings(X: Any, y: Any = None, sample_weight: Any = None) -> Ratings:
    """Return `Ratings` of a matrix, table or Ratings `X`, or of pairs `X` and ratings `y`.

    `y` decides: with it, `X` is an (n, 2) array of users and items; without it, a matrix, even if it is (n, 2).
    """
    if y is not None:
        pairs = _pairs(X)
        return Ratings.from_triplets(pairs[:, 0], pairs[:, 1], y, weights=sample_weight)
    if sample_weight is not None and not hasattr(X, "indptr") and not isinstance(X, (np.ndarray, Ratings)):
        raise ValueError("sample_weight goes with pairs and y, or with a matrix; give Ratings their weights themselves")
    if isinstance(X, Ratings):
        if sample_weight is not None:
            raise ValueError("sample_weight is given beside Ratings; make the Ratings with weights=… instead")
        return X
    if hasattr(X, "__narwhals_dataframe__") or (hasattr(X, "columns") and not hasattr(X, "indptr")):
        return Ratings.from_table(X)
    return Ratings.from_matrix(X, weights=sample_weight)


def _pairs(X: Any) -> np.ndarray:
    if hasattr(X, "columns") and not isinstance(X, np.ndarray):
        X = X.to_numpy()
    pairs = np.asarray(X)
    if pairs.dtype.kind == "U" and isinstance(X, (list, tuple)):
        pairs = np.asarray(X, dtype=object)  # numbers among strings stay numbers
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(
            f"X has shape {pairs.shape}; with y given, expected pairs of a user and an item, of shape (n_pairs, 2)"
        )
    return pairs


def as_validation(validation: Any, ratings: Ratings) -> Validation | None:
    """Return held-out ratings under the row numbers of the training ratings."""
    if validation is None:
        return None
    held_out = as_ratings(*validation) if isinstance(validation, tuple) else as_ratings(validation)
    users, items, values, weights = held_out.align_to(ratings.user_ids, ratings.item_ids, ratings.shape)
    rated_users = np.diff(ratings.csr(np.float32).indptr) > 0
    rated_items = np.diff(ratings.csc(np.float32).indptr) > 0
    return Validation(
        np.where(rated_users[users], users, -1),
        np.where(rated_items[items], items, -1),
        np.asarray(values, np.float64),
        None if weights is None else np.asarray(weights, np.float64),
    )


def start_from(init: Any, factors: Factors, problem: Problem) -> None:
    """Overwrite random `factors` by those of `init`, a fitted model or a pair of factor arrays.

    A model's rows are found by id; rows it does not know keep their random start. Arrays have one row a user or item.
    """
    k = factors.n_factors
    if isinstance(init, tuple) and len(init) == 2:
        for name, given, target in (("user", init[0], factors.user), ("item", init[1], factors.item)):
            array = np.asarray(given)
            if array.shape != (len(target), k):
                raise ValueError(
                    f"init's {name} factors have shape {array.shape}; expected {(len(target), k)}, "
                    f"(n_{name}s, n_factors)"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"init's {name} factors hold NaN or infinity; expected finite numbers")
            target[:, :k] = array
    else:
        state = init._fitted() if hasattr(init, "_fitted") else None
        if state is None:
            raise TypeError(
                f"init is a {type(init).__name__}; expected a fitted model or a pair (user_factors, item_factors)"
            )
        if state.n_factors != k:
            raise ValueError(f"init has {state.n_factors} factors; expected n_factors={k}")
        ratings = problem.ratings
        for ids, known, own, bias, target, target_bias in (
            (ratings.user_ids, state.user_ids, state.user_factors, state.user_bias, factors.user, factors.user_bias),
            (ratings.item_ids, state.item_ids, state.item_factors, state.item_bias, factors.item, factors.item_bias),
        ):
            wanted = np.arange(len(target)) if ids is None else ids.ids
            if known is not None:
                rows = known.to_index(wanted)
            elif ids is None:
                rows = np.where(wanted < len(own), wanted, -1)
            else:
                raise ValueError("init was trained on a matrix, these ratings have ids; expected the same kind of rows")
            found = rows >= 0
            target[found, :k] = own[rows[found]]
            if bias is not None and len(target_bias):
                target_bias[found] = bias[rows[found]]
    for side, rows, bias in (
        (problem.users, factors.user, factors.user_bias),
        (problem.items, factors.item, factors.item_bias),
    ):
        empty = side.counts == 0
        rows[empty] = 0
        if len(bias):
            bias[empty] = 0
