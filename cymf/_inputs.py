"""What the arguments of ``fit`` mean: ratings, validation ratings, and factors to start from."""

from __future__ import annotations

from typing import Any

import numpy as np

from cymf._alignment import align_index
from cymf._arrays import as_array
from cymf._factors import Factors
from cymf._problem import Problem, Validation
from cymf._queries import split_pairs
from cymf.ratings import Ratings, as_ratings, is_matrix

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
    if not is_matrix(X):
        raise ValueError(
            f"sample_weight is given beside a {type(X).__name__}; expected a column of weights: "
            "Ratings.from_table(X, weight=...)"
        )
    return Ratings.from_matrix(X, weights=sample_weight)


def as_validation(
    validation: Any, ratings: Ratings, described: tuple[np.ndarray, np.ndarray] | None = None
) -> Validation | None:
    """Return held-out ratings under the row numbers of the training ratings.

    `described` says which users and items are known without ratings, by their features.
    """
    if validation is None:
        return None
    if isinstance(validation, tuple):
        if len(validation) != 2:
            raise ValueError(
                f"validation is a tuple of {len(validation)}; expected Ratings, a matrix or a table, or a pair (X, y)"
            )
        held_out = training_ratings(*validation)
    else:
        held_out = as_ratings(validation)
    users, items, values, weights = held_out.align_to(
        ratings.user_ids, ratings.item_ids, ratings.shape
    )
    known_users, known_items = ratings.user_counts > 0, ratings.item_counts > 0
    if described is not None:
        known_users, known_items = known_users | described[0], known_items | described[1]
    return Validation(
        np.where(known_users[users], users, -1),
        np.where(known_items[items], items, -1),
        np.asarray(values, np.float64),
        None if weights is None else np.asarray(weights, np.float64),
    )


def start_from(init: Any, factors: Factors, problem: Problem) -> None:
    """Overwrite random `factors` by those of `init`, a fitted model or a pair of factor arrays.

    A model's rows are found by id; rows it knows no ratings of keep their random start. Arrays have one row a user
    or item.
    """
    k = factors.n_factors
    if isinstance(init, tuple) and len(init) == 2:
        for name, given, target in (
            ("user", init[0], factors.user),
            ("item", init[1], factors.item),
        ):
            array = as_array(given, f"init's {name} factors")
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
        for what, ids, known, own, bias, counts, target, target_bias in (
            (
                "user",
                ratings.user_ids,
                state.user_ids,
                state.user_factors,
                state.user_bias,
                state.user_counts,
                factors.user,
                factors.user_bias,
            ),
            (
                "item",
                ratings.item_ids,
                state.item_ids,
                state.item_factors,
                state.item_bias,
                state.item_counts,
                factors.item,
                factors.item_bias,
            ),
        ):
            rows = align_index(np.arange(len(target)), ids, known, len(own), what)
            rows[rows >= len(own)] = -1
            found = rows >= 0
            found[found] = (
                counts[rows[found]] > 0
            )  # the zeros of a row without ratings are no start
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
