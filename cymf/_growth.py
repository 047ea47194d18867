"""A fitted model and new ratings, brought under one numbering of users and items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from cymf._ids import IdMap
from cymf.ratings import Ratings

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["Growth", "grow"]


@dataclass(frozen=True, eq=False)
class Growth:
    """New ratings in the rows of the grown model: the model's rows first, then the new ones.

    Attributes
    ----------
    new : Ratings
        The new ratings alone.
    all : Ratings or None
        Old and new together, a cell rated again with its new value; None where the model keeps no ratings.
    user_counts, item_counts : ndarray of int64
        Ratings of each row, old and new together.
    """

    new: Ratings
    all: Ratings | None
    user_counts: np.ndarray
    item_counts: np.ndarray


def grow(state: FittedState, ratings: Ratings) -> Growth:
    """Number the users and items of a model and of new ratings together."""
    users, user_ids, n_users = _joined(
        ratings.users, ratings.user_ids, state.user_ids, state.n_users, ratings.n_users
    )
    items, item_ids, n_items = _joined(
        ratings.items, ratings.item_ids, state.item_ids, state.n_items, ratings.n_items
    )
    shape = n_users, n_items
    new = _of_rows(users, items, ratings.values, ratings.weights, shape, user_ids, item_ids)
    if state.ratings is None:
        counts = [
            np.pad(old, (0, n - len(old))) + np.bincount(rows, minlength=n)
            for old, rows, n in (
                (state.user_counts, users, n_users),
                (state.item_counts, items, n_items),
            )
        ]
        return Growth(new, None, counts[0], counts[1])
    old = state.ratings
    weights = None
    if old.weights is not None or ratings.weights is not None:
        weights = np.concatenate(
            [np.ones(r.nnz) if r.weights is None else r.weights for r in (old, ratings)]
        )
    together = _of_rows(
        np.concatenate([old.users, users]),
        np.concatenate([old.items, items]),
        np.concatenate([old.values, ratings.values]),
        weights,
        shape,
        user_ids,
        item_ids,
    )
    return Growth(new, together, together.user_counts, together.item_counts)


def _of_rows(
    users: np.ndarray,
    items: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray | None,
    shape: tuple[int, int],
    user_ids: IdMap | None,
    item_ids: IdMap | None,
) -> Ratings:
    matrix = sparse.coo_array((values, (users, items)), shape=shape)
    return Ratings.from_matrix(
        matrix, weights=weights, user_ids=user_ids, item_ids=item_ids, duplicates="last"
    )


def _joined(
    rows: np.ndarray, given: IdMap | None, known: IdMap | None, n_known: int, n_given: int
) -> tuple[np.ndarray, IdMap | None, int]:
    """Return the rows of new ratings in the grown model, its ids, and its number of rows."""
    if known is None and given is None:
        return rows, None, max(n_known, n_given)
    if known is None:
        numbers = given.ids
        if numbers.dtype.kind != "i" or (numbers < 0).any():
            raise ValueError(
                "the model was trained on a matrix, whose ids are row numbers; "
                f"the new ratings have ids such as {numbers[0]!r}: give row numbers, integers ≥ 0"
            )
        return numbers[rows], None, max(n_known, int(numbers.max()) + 1)
    if given is None:
        raise ValueError(
            "the model was trained with ids, the new ratings have none; "
            "give pairs and y, a table, or Ratings made with ids"
        )
    own = known.to_index(given.ids)
    unknown = own < 0
    own[unknown] = n_known + np.arange(np.count_nonzero(unknown))
    ids = known
    if unknown.any():
        ids = IdMap(np.concatenate([known.ids, given.ids[unknown]]))
    return own[rows], ids, len(ids)
