"""A fitted model and new ratings, brought under one numbering of users and items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from cymf._assembly import RatingArrays
from cymf._ids import IdMap
from cymf._ratings_checks import index_dtype
from cymf.ratings import Ratings

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["Growth", "grow"]

_MOST_ROWS = 1_000_000  # without ids, a row number may leave so many rows empty,
_MOST_TIMES = 10  # or so many times as many as there are ratings' rows


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
        Ratings of each row, old and new together. Where the model keeps no ratings nobody can tell a cell that is
        rated again from a new one; there it counts again.
    """

    new: Ratings
    all: Ratings | None
    user_counts: np.ndarray
    item_counts: np.ndarray


def grow(state: FittedState, ratings: Ratings) -> Growth:
    """Number the users and items of a model and of new ratings together.

    Costs a copy of the old ratings, but no pass of sorting over them. Timestamps are kept where the model's ratings
    have them; new ratings without any are as recent as the latest before.
    """
    users, user_ids, n_users = _joined(
        "user", ratings.users, ratings.user_ids, state.user_ids, state.n_users, ratings.n_users
    )
    items, item_ids, n_items = _joined(
        "item", ratings.items, ratings.item_ids, state.item_ids, state.n_items, ratings.n_items
    )
    order: Any = slice(None) if ratings.input_order is None else np.argsort(ratings.input_order)
    new = Ratings.from_matrix(
        sparse.coo_array(
            (ratings.values[order], (users[order], items[order])), shape=(n_users, n_items)
        ),
        weights=None if ratings.weights is None else ratings.weights[order],
        timestamps=None if ratings.timestamps is None else ratings.timestamps[order],
        user_ids=user_ids,
        item_ids=item_ids,
    )
    old = state.ratings
    more = new.user_counts, new.item_counts
    before = state.user_counts, state.item_counts
    if old is None:
        counts = [np.pad(b, (0, len(m) - len(b))) + m for b, m in zip(before, more, strict=True)]
        return Growth(new, None, counts[0], counts[1])
    arrays, fresh = _merged(old._arrays, new._arrays)
    added = np.diff(arrays.indptr), np.bincount(new.items[fresh], minlength=n_items)
    item_counts = np.pad(before[1], (0, n_items - len(before[1]))) + added[1]
    return Growth(new, Ratings._of(arrays), added[0], item_counts)


def _merged(old: RatingArrays, new: RatingArrays) -> tuple[RatingArrays, np.ndarray]:
    """Return old and new ratings in storage order, and which of the new were not among the old."""
    n_users, n_items = new.shape
    begin = np.pad(old.indptr, (0, n_users + 1 - len(old.indptr)), mode="edge")
    counts = np.diff(new.indptr)
    touched = np.flatnonzero(counts)
    # the old cells of the users who rated, and where the new ones belong among them
    lengths = begin[touched + 1] - begin[touched]
    ends = np.cumsum(lengths)
    cells = np.arange(int(ends[-1])) + np.repeat(begin[touched] - ends + lengths, lengths)
    place = np.arange(len(touched), dtype=np.int64)
    known = np.repeat(place, lengths) * n_items + old.indices[cells]
    asked = np.repeat(place, counts[touched]) * n_items + new.indices
    at = np.searchsorted(known, asked)
    row_ends = np.repeat(begin[touched + 1], counts[touched])
    inside = at < np.repeat(ends, counts[touched])
    where = row_ends.copy()
    where[inside] = cells[at[inside]]
    again = inside.copy()
    again[inside] = known[at[inside]] == asked[inside]
    fresh = np.flatnonzero(~again)
    inserted = where[fresh]
    replaced = where[again] + np.searchsorted(inserted, where[again], side="right")

    def joined(before: np.ndarray, values: np.ndarray, dtype: Any) -> np.ndarray:
        result = _inserted(before.astype(dtype, copy=False), inserted, values[fresh])
        result[replaced] = values[again]
        return result

    indices = joined(old.indices, new.indices, index_dtype(n_items))
    values = joined(old.values, new.values, np.result_type(old.values, new.values))
    weights = None
    if old.weights is not None or new.weights is not None:
        before, after = (
            np.ones(len(a.values)) if a.weights is None else a.weights for a in (old, new)
        )
        weights = joined(before, after, np.result_type(before, after))
    timestamps = None
    if old.timestamps is not None:
        later = _timestamps_like(old.timestamps, new)
        timestamps = joined(old.timestamps, later, np.result_type(old.timestamps, later))
    n_old, n_new = len(old.values), len(new.values)
    orders = [
        np.arange(n) if a.input_order is None else a.input_order
        for n, a in ((n_old, old), (n_new, new))
    ]
    first = int(orders[0].max(initial=-1)) + 1
    last = first + int(orders[1].max()) + 1
    return RatingArrays(
        begin + np.concatenate([[0], np.cumsum(np.bincount(_rows(new)[fresh], minlength=n_users))]),
        indices,
        values,
        weights,
        timestamps,
        joined(orders[0], first + orders[1].astype(np.int64), index_dtype(last)),
        new.shape,
        new.user_ids,
        new.item_ids,
        (float(values.min()), float(values.max())),
    ), fresh


def _inserted(before: np.ndarray, at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return an array with `values` in front of its places `at`, which do not fall, copied run by run."""
    result = np.empty(len(before) + len(at), before.dtype)
    places, first = np.unique(at, return_index=True)
    begin, shift = 0, 0
    for place, end in zip(places.tolist(), np.append(first, len(at))[1:].tolist(), strict=True):
        result[begin + shift : place + shift] = before[begin:place]
        result[place + shift : place + end] = values[shift:end]
        begin, shift = place, end
    result[begin + shift :] = before[begin:]
    return result


def _rows(arrays: RatingArrays) -> np.ndarray:
    return np.repeat(np.arange(len(arrays.indptr) - 1), np.diff(arrays.indptr))


def _timestamps_like(before: np.ndarray, new: RatingArrays) -> np.ndarray:
    if new.timestamps is None:
        return np.full(len(new.values), before.max())
    if (before.dtype.kind == "M") != (new.timestamps.dtype.kind == "M"):
        raise ValueError(
            f"the model's ratings have timestamps of {before.dtype}, the new ones of {new.timestamps.dtype}; "
            "expected both as datetimes or both as numbers"
        )
    return new.timestamps


def _joined(
    what: str,
    rows: np.ndarray,
    given: IdMap | None,
    known: IdMap | None,
    n_known: int,
    n_given: int,
) -> tuple[np.ndarray, IdMap | None, int]:
    """Return the rows of new ratings in the grown model, its ids, and its number of rows."""
    if known is None:
        if given is None:
            return rows, None, max(n_known, n_given)
        numbers = given.ids
        if numbers.dtype.kind != "i" or (numbers < 0).any():
            raise ValueError(
                "the model was trained on a matrix, whose ids are row numbers; "
                f"the new ratings have ids such as {numbers.tolist()[0]!r}: give row numbers, integers ≥ 0"
            )
        n_rows = max(n_known, int(numbers.max()) + 1)
        most = max(_MOST_ROWS, _MOST_TIMES * (n_known + len(given)))
        if n_rows > most:
            raise ValueError(
                f"{what} {int(numbers.max())} is a row number to this model, which was trained on a matrix of "
                f"{n_known} {what}s; so far behind them it would leave {n_rows - n_known - len(given)} rows empty, "
                f"and the matrix may grow to {most} rows at once: number the {what}s from 0 without such gaps, or "
                "train the model on Ratings with ids, such as Ratings.from_triplets"
            )
        return numbers[rows], None, n_rows
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
        ids = known.extended(given.ids[unknown])
    return own[rows], ids, len(ids)
