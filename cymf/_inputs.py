"""What the arguments of ``fit`` mean: ratings, validation ratings, and factors to start from."""

from __future__ import annotations

from typing import Any

import numpy as np

from cymf._factors import Factors
from cymf._problem import Problem, Validation
from cymf._queries import split_pairs
from cymf.ratings import Ratings, as_ratings

__all__ = ["as_validation", "start_from", "training_ratings"]


def training_ratings(X: Any, y: Any = None, sample_weight: Any = None) -> Ratings:
    """Return `Ratings` of a matrix, table or Ratings `X`, or of pairs `X` and ratings `y`.

    `y` decides: with it, `X` is an (n, 2) array of users and items; without it, a matrix, even if it is (n, 2).
    """
    if y is not None:
        return Ratings.from_triplets(*split_pairs(X), y, weights=sample_weight)
    if sample_weight is None:
        return as_ratings(X)
    if isinstance(X, Ratings):
        raise ValueError(
            "sample_weight is given beside Ratings; expected the weights inside them: "
            "make the Ratings with weights=..."
        )
    return Ratings.from_matrix(X, weights=sample_weight)


def as_validation(validation: Any, ratings: Ratings) -> Validation | None:
    """Return held-out ratings under the row numbers of the training ratings."""
    if validation is None:
        return None
    held_out = (
        training_ratings(*validation) if isinstance(validation, tuple) else as_ratings(validation)
    )
    users, items, values, weights = held_out.align_to(
        ratings.user_ids, ratings.item_ids, ratings.shape
    )
    rated_users, rated_items = ratings.user_counts > 0, ratings.item_counts > 0
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
        for name, given, target in (
            ("user", init[0], factors.user),
            ("item", init[1], factors.item),
        ):
            array = np.asarray(given)
            if array.shape != (len(target), k):
                raise ValueError(
                    f"init's {name} factors have shape {array.shape}; expected {(len(target), k)}, "
                    f"(n_{name}s, n_factors)"
                )
            if not np.isfinite(array).all():
                raise ValueError(
                    f"init's {name} factors hold NaN or infinity; expected finite numbers"
                )
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
            (
                ratings.user_ids,
                state.user_ids,
                state.user_factors,
                state.user_bias,
                factors.user,
                factors.user_bias,
            ),
            (
                ratings.item_ids,
                state.item_ids,
                state.item_factors,
                state.item_bias,
                factors.item,
                factors.item_bias,
            ),
        ):
            wanted = np.arange(len(target)) if ids is None else ids.ids
            if known is not None:
                rows = known.to_index(wanted)
            elif ids is None:
                rows = np.where(wanted < len(own), wanted, -1)
            else:
                raise ValueError(
                    "init was trained on a matrix, these ratings have ids; expected the same kind of rows"
                )
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
