"""What to recommend and what is like what, in row numbers: the index of the state, or lists, searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cymf._serving_index import Exclusions, Purpose, serving_index
from cymf._top_n import Candidates, top_n_of_lists
from cymf._validation import check_choice

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["best_items", "most_similar"]

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
    mask = None
    if allowed is not None:
        mask = np.zeros(state.n_items, np.uint8)
        mask[allowed] = 1
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
