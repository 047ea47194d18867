"""Drawing cells of a matrix: how much users rate, and what."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["draw_cells", "draw_chunks", "power_law", "user_counts"]

_CELLS_PER_CHUNK = 1 << 20  # bounds the temporary arrays of a chunk to some tens of megabytes
_REJECTION_ROUNDS = 8


def draw_chunks(
    counts: NDArray[np.int64], popularity: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield users and items of the cells of some users after the other, ascending.

    ``counts[user]`` items of each user are drawn without replacement in proportion to popularity.
    """
    n_items = len(popularity)
    bounds = np.concatenate(([0], np.cumsum(counts)))
    first = 0
    while first < len(counts):
        last = int(np.searchsorted(bounds, bounds[first] + _CELLS_PER_CHUNK, side="right")) - 1
        last = max(last, first + 1)
        cells = draw_cells(counts[first:last], popularity, rng)
        users, items = np.divmod(cells, n_items)
        users += first
        yield users, items
        first = last


def power_law(n: int, exponent: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Probabilities that fall with a rank drawn at random."""
    weights: NDArray[np.float64] = (1.0 + rng.permutation(n) / (0.02 * n)) ** -exponent
    weights /= weights.sum()
    return weights


def user_counts(
    n_users: int, n_items: int, n_ratings: int, exponent: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Ratings of each user: in proportion to activity, at most n_items, at least one if enough."""
    activity = power_law(n_users, exponent, rng)
    counts = np.full(n_users, int(n_ratings >= n_users), dtype=np.int64)
    remaining = n_ratings - int(counts.sum())
    while remaining:
        open_users = np.flatnonzero(counts < n_items)
        share = activity[open_users] / activity[open_users].sum() * remaining
        more = np.minimum(share.astype(np.int64), n_items - counts[open_users])
        if not more.any():  # every share is below one rating: the largest get one each
            more[np.argsort(-share, kind="stable")[:remaining]] = 1
        counts[open_users] += more
        remaining -= int(more.sum())
    return counts


def draw_cells(
    counts: NDArray[np.int64], popularity: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Sorted cells ``row * n_items + item``, counts[row] of each row, by Plackett–Luce.

    Rows that take a small part of all items draw with replacement and keep the first of every
    item, which is the same distribution. The rest, and rows that popular items keep filling,
    take the largest of ``log popularity + Gumbel noise`` over the items not chosen yet.
    """
    n_items = len(popularity)
    cumulative = np.cumsum(popularity)
    cumulative /= cumulative[-1]
    chosen = np.empty(0, dtype=np.int64)
    missing = counts.copy()
    thin = counts * 8 <= n_items
    for _ in range(_REJECTION_ROUNDS):
        draws = np.where(thin & (missing > 0), missing + missing // 4 + 2, 0)
        if not draws.any():
            break
        rows = np.repeat(np.arange(len(counts)), draws)
        cells = rows * n_items + np.searchsorted(cumulative, rng.random(len(rows)), side="right")
        firsts = np.sort(np.unique(cells, return_index=True)[1])
        cells = cells[firsts][~np.isin(cells[firsts], chosen, assume_unique=True)]
        rows = cells // n_items
        order_in_row = np.arange(len(rows)) - np.searchsorted(rows, rows)
        kept = cells[order_in_row < missing[rows]]
        chosen = np.sort(np.concatenate((chosen, kept)))
        missing -= np.bincount(kept // n_items, minlength=len(counts))

    parts = [chosen]
    unfinished = np.flatnonzero(missing)
    rows_per_block = max(1, _CELLS_PER_CHUNK // n_items)
    for start in range(0, len(unfinished), rows_per_block):
        rows = unfinished[start : start + rows_per_block]
        keys = np.log(popularity) + rng.gumbel(size=(len(rows), n_items))
        taken = chosen[np.isin(chosen // n_items, rows)]
        keys[np.searchsorted(rows, taken // n_items), taken % n_items] = -np.inf
        best = np.argsort(-keys, axis=1)
        wanted = np.arange(n_items) < missing[rows][:, None]
        parts.append((rows[:, None] * n_items + best)[wanted])
    return np.sort(np.concatenate(parts))
