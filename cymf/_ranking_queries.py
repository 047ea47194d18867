"""What to recommend and what is like what, in row numbers: the index of the state, or lists, searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cymf._serving_index import Exclusions, Purpose, empty_answers, serving_index
from cymf._top_n import Candidates, top_n_of_lists
from cymf._validation import check_choice

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["best_items", "best_items_of_one", "most_similar"]

_SHORT = 32  # a list of less than 1 / 32 of the items is scored faster one by one


def best_items(
    state: FittedState,
    query_factors: np.ndarray,
    query_rows: np.ndarray,
    query_offset: np.ndarray,
    n: int,
    *,
    excluded: Exclusions | None = None,
    allowed: np.ndarray | None = None,
    candidates: Candidates | None = None,
    n_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best items of each query.

    Parameters
    ----------
    query_factors : ndarray of shape (n_queries, n_factors)
    query_rows : ndarray of int64, shape (n_rows,)
        Rows of `query_factors`; -1 for a user of whom nothing is known.
    query_offset : ndarray of shape (n_rows,)
    n : int
    excluded : Exclusions, optional
    allowed : ndarray of int64, optional
        The only items for all queries, rising.
    candidates : Candidates, optional
        The only items of each query.
    n_threads : int
    """
    unknown = query_rows < 0
    if state.item_bias is None and unknown.any():
        return _with_popularity(
            state,
            query_factors,
            query_rows,
            query_offset,
            n,
            unknown,
            excluded,
            allowed,
            candidates,
            n_threads,
        )
    mask = None
    if allowed is not None:
        mask = _mask(allowed, state.n_items)
        if candidates is None and len(allowed) * _SHORT < state.n_items:
            one_row = np.zeros(len(query_rows), np.int64)
            candidates = Candidates(one_row, np.array([0, len(allowed)]), allowed)
            mask = None
    if candidates is None:
        return serving_index(state, "recommend").search(
            query_factors,
            query_rows,
            n,
            query_offset=query_offset,
            excluded=excluded,
            allowed=mask,
            n_threads=n_threads,
        )
    return top_n_of_lists(
        query_factors,
        query_rows,
        state.item_factors,
        n,
        candidates,
        query_offset=query_offset,
        target_offset=state.item_bias,
        excluded=excluded,
        allowed=mask,
        n_threads=n_threads,
    )


def _with_popularity(
    state: FittedState,
    query_factors: np.ndarray,
    query_rows: np.ndarray,
    query_offset: np.ndarray,
    n: int,
    unknown: np.ndarray,
    excluded: Exclusions | None,
    allowed: np.ndarray | None,
    candidates: Candidates | None,
    n_threads: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Answer the unknown by the items with the most training ratings, all with the score `query_offset`."""
    items, scores = empty_answers(len(query_rows), n, state.dtype)
    for part in (unknown, ~unknown):
        rows, offset = query_rows[part], query_offset[part]
        left_out = None if excluded is None else excluded._replace(rows=excluded.rows[part])
        own = None if candidates is None else candidates._replace(rows=candidates.rows[part])
        if part is not unknown:
            items[part], scores[part] = best_items(
                state, query_factors, rows, offset, n, excluded=left_out, allowed=allowed, candidates=own,
                n_threads=n_threads,
            )  # fmt: skip
            continue
        mask = None if allowed is None else _mask(allowed, state.n_items)
        index = serving_index(state, "popularity")
        nothing = np.zeros((0, 0))
        if own is None:
            found = index.search(
                nothing, rows, n, excluded=left_out, allowed=mask, n_threads=n_threads
            )[0]
        else:
            found = top_n_of_lists(
                nothing, rows, index.factors, n, own, target_offset=index.offset, excluded=left_out,
                allowed=mask, n_threads=n_threads,
            )[0]  # fmt: skip
        items[part], scores[part] = found, np.where(found >= 0, offset[:, None], np.nan)
    return items, scores


def _mask(rows: np.ndarray, n_rows: int) -> np.ndarray:
    mask = np.zeros(n_rows, np.uint8)
    mask[rows] = 1
    return mask


def best_items_of_one(
    state: FittedState, row: int, n: int, exclude_seen: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best items, of shape (n,), of one user with training ratings: what a web service asks for."""
    rows = np.array([row])
    offset = np.full(1, state.global_mean, state.dtype)
    if state.user_bias is not None:
        offset += state.user_bias[row]
    excluded = None
    if exclude_seen and state.ratings is not None:
        view = state.ratings.csr(state.ratings.values.dtype)
        excluded = Exclusions(rows, view.indptr, view.indices)
    items, scores = serving_index(state, "recommend").search(
        state.user_factors, rows, n, query_offset=offset, excluded=excluded
    )
    return items[0], scores[0]


def most_similar(
    state: FittedState,
    side: str,
    rows: np.ndarray,
    n: int,
    *,
    metric: str,
    include_self: bool,
    n_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of `rows` of a side ("user" or "item") the n rows whose factors are most like its own.

    `metric` is "cosine", 0 where a norm is 0, or "dot". Rows without training ratings are no answer.
    """
    purposes: dict[tuple[str, str], Purpose] = {
        ("item", "dot"): "item dot",
        ("item", "cosine"): "item cosine",
        ("user", "dot"): "user dot",
        ("user", "cosine"): "user cosine",
    }
    check_choice("metric", metric, ("cosine", "dot"))
    index = serving_index(state, purposes[side, metric])
    own = np.arange(len(index.factors) + 1)
    return index.search(
        index.factors,
        rows,
        n,
        excluded=None if include_self else Exclusions(rows, own, own[:-1]),
        n_threads=n_threads,
    )
