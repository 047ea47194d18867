"""Recommendations that try what the model is not sure about: upper confidence bounds, and Thompson sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cymf._prediction import predict_pairs
from cymf._uncertainty import Posterior, posterior_of
from cymf._validation import check_choice, check_number, random_generator

if TYPE_CHECKING:
    from cymf._serving_index import Exclusions
    from cymf._state import FittedState
    from cymf._top_n import Candidates

__all__ = ["Explore", "explored_items"]

Explore = Literal["thompson", "ucb"]
_BLOCK_SCORES = 1 << 20  # of users times items at a time


def explored_items(
    model: Any,
    state: FittedState,
    rows: np.ndarray,
    n: int,
    explore: str,
    scale: Any,
    random_state: Any,
    excluded: Exclusions | None,
    allowed: np.ndarray | None,
    candidates: Candidates | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the items with the best explored scores of each user; all items are scored.

    Parameters
    ----------
    rows : ndarray of int64, shape (n_rows,)
        The users; -1 is unknown.
    n : int
        Items for each.
    explore : {"thompson", "ucb"}
        How to explore.
    scale : float
        Times the latent standard deviation.
    random_state : int, Generator or None
        Seed of Thompson sampling. A user's draw depends on the seed and the user alone, an unknown user's on its place
        in the query.
    excluded, allowed, candidates
        As in ``best_items``.
    """
    check_choice("explore", explore, ("thompson", "ucb"))
    scale = check_number("explore_scale", scale)
    generator = random_generator(random_state)
    seed = int(generator.integers(2**63))
    posterior = posterior_of(model, state)
    streams = np.where(rows >= 0, rows, -1 - np.arange(len(rows)))
    items = np.full((len(rows), n), -1)
    scores = np.full((len(rows), n), np.nan, state.dtype)
    height = max(1, _BLOCK_SCORES // max(1, state.n_items))
    for start in range(0, len(rows), height):
        block = slice(start, start + height)
        if explore == "ucb":
            found = _upper_bounds(state, posterior, rows[block], scale)
        else:
            found = posterior.sampled_scores(rows[block], streams[block], seed, scale)
        found[:, state.item_counts == 0] = -np.inf
        for place, row_scores in enumerate(found, start):
            if allowed is not None:
                row_scores = _only(row_scores, allowed)
            if candidates is not None:
                row_scores = _only(row_scores, _listed(candidates, place))
            if excluded is not None:
                row_scores[_listed(excluded, place)] = -np.inf
            best = np.argsort(-row_scores, kind="stable")[:n]
            best = best[row_scores[best] > -np.inf]
            items[place, : len(best)] = best
            scores[place, : len(best)] = row_scores[best]
    return items, scores


def _upper_bounds(
    state: FittedState, posterior: Posterior, rows: np.ndarray, scale: float
) -> np.ndarray:
    users = np.repeat(rows, state.n_items)
    items = np.tile(np.arange(state.n_items), len(rows))
    variances = np.zeros(len(users))
    rated = state.item_counts[items] > 0
    variances[rated] = posterior.latent_variances(users[rated], items[rated])
    bounds = predict_pairs(state, users, items) + scale * np.sqrt(variances).astype(state.dtype)
    return np.asarray(bounds, state.dtype).reshape(len(rows), state.n_items)


def _only(scores: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """Return the scores of the listed items, minus infinity for all others."""
    kept = np.full_like(scores, -np.inf)
    kept[listed] = scores[listed]
    return kept


def _listed(lists: Exclusions | Candidates, place: int) -> np.ndarray:
    row = lists.rows[place]
    return (
        lists.indices[lists.indptr[row] : lists.indptr[row + 1]] if row >= 0 else lists.indices[:0]
    )
