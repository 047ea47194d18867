"""The best n of blocks of scores, exactly, without ever holding all scores.

``top_n`` selects from a block of scores; ``top_n_of_products`` makes the blocks, some rows of
``query_factors @ target_factors.T`` at a time, and is what `recommend` and `similar_*` stand on.

How a block is searched: split a row's scores into groups of up to 16, a few left over, and take
each group's maximum. The n-th largest of these maxima is reached by at least n scores of the row,
so no score below it can be among the n best. What passes that bound, a little more than n scores
a row, is sorted. The cost is two passes over the block; ties at the border all pass the bound, so
that they can be settled by index.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Exclusions", "top_n", "top_n_of_products"]

_BLOCK_SCORES = 1 << 20  # scores held at a time: 4 MiB of float32 stay in the cache


class Exclusions(NamedTuple):
    """Targets that are no answer, in CSR form, with a row of their own for every query."""

    rows: np.ndarray  # (n_rows,) the row of each query, -1 where nothing is excluded
    indptr: np.ndarray
    indices: np.ndarray  # target numbers, row after row


def top_n(scores: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns and values of each row's n largest scores, the largest first.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_columns), float32 or float64
        Minus infinity marks what is no answer.
    n : int
        At least 1; may exceed `n_columns`.

    Returns
    -------
    columns : ndarray of int64, shape (n_rows, n)
        Equal scores stand in the order of their columns. -1 where answers ran out.
    values : ndarray of the dtype of `scores`, shape (n_rows, n)
        NaN where answers ran out.
    """
    n_rows = scores.shape[0]
    columns = np.full((n_rows, n), -1, np.int64)
    values = np.full((n_rows, n), np.nan, scores.dtype)

    passing = np.flatnonzero(scores >= _lower_bound(scores, n)[:, None])
    row, column = np.divmod(passing, max(1, scores.shape[1]))
    score = scores[row, column]
    order = np.lexsort((-score, row))  # stable, and the columns are in order
    row, column, score = row[order], column[order], score[order]

    start = np.searchsorted(row, np.arange(n_rows))
    rank = np.arange(len(row)) - start[row]
    best = rank < n
    columns[row[best], rank[best]] = column[best]
    values[row[best], rank[best]] = score[best]
    return columns, values


def _lower_bound(scores: np.ndarray, n: int) -> np.ndarray:
    """Return a finite value per row that at least n scores reach, or that all finite ones do."""
    n_rows, n_columns = scores.shape
    lowest = np.finfo(scores.dtype).min
    size = max(1, min(16, n_columns // (4 * n)))
    n_groups = n_columns // size
    if n > n_groups:
        return np.full(n_rows, lowest, scores.dtype)
    groups = scores[:, : n_groups * size].reshape(n_rows, size, n_groups)
    maxima = groups.max(axis=1)
    nth = np.partition(maxima, n_groups - n, axis=1)[:, n_groups - n]
    return np.maximum(nth, lowest)


def top_n_of_products(
    query_factors: np.ndarray,
    query_rows: np.ndarray,
    target_factors: np.ndarray,
    n: int,
    *,
    query_offset: np.ndarray | None = None,
    target_offset: np.ndarray | None = None,
    excluded: Exclusions | None = None,
    allowed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each query the n targets with the largest scores, the largest first.

    The score of query q and target t is ``query_factors[q] @ target_factors[t] +
    query_offset[q] + target_offset[t]``.

    Parameters
    ----------
    query_factors : ndarray of shape (n_queries, n_factors)
    query_rows : ndarray of int64, shape (n_rows,)
        The queries to answer. -1 is a query of which nothing is known: its factors are zero.
    target_factors : ndarray of shape (n_targets, n_factors)
    n : int
        Answers a query, at least 1.
    query_offset : ndarray of shape (n_rows,), optional
        One for each entry of `query_rows`.
    target_offset : ndarray of shape (n_targets,), optional
    excluded : Exclusions, optional
        Targets that are no answer.
    allowed : ndarray of int64, optional
        The only targets that may be an answer, rising and unique. None allows all.

    Returns
    -------
    targets : ndarray of int64, shape (n_rows, n)
        Padded by -1.
    scores : ndarray of shape (n_rows, n), dtype of the factors
        Padded by NaN.
    """
    n_targets = len(target_factors)
    column_of = target_of = np.arange(n_targets)
    if allowed is not None and 2 * len(allowed) > n_targets:
        # Most are allowed: cheaper to score the others too than to gather the factors of these.
        offset = np.full(n_targets, -np.inf, target_factors.dtype)
        offset[allowed] = 0 if target_offset is None else target_offset[allowed]
        target_offset = offset
    elif allowed is not None:
        target_of = allowed
        column_of = np.full(n_targets, -1)
        column_of[allowed] = np.arange(len(allowed))
        target_factors = target_factors[allowed]
        target_offset = None if target_offset is None else target_offset[allowed]

    targets = np.full((len(query_rows), n), -1, np.int64)
    values = np.full((len(query_rows), n), np.nan, query_factors.dtype)
    n_columns = len(target_factors)
    if n_columns == 0:
        return targets, values
    height = max(1, _BLOCK_SCORES // n_columns)
    for start in range(0, len(query_rows), height):
        block = slice(start, start + height)
        rows = query_rows[block]
        queries = query_factors[rows]
        queries[rows < 0] = 0
        scores = queries @ target_factors.T
        if target_offset is not None:
            scores += target_offset
        if query_offset is not None:
            scores += query_offset[block, None]
        if excluded is not None:
            row, target = _excluded_pairs(excluded, block)
            column = column_of[target]
            scores[row[column >= 0], column[column >= 0]] = -np.inf
        targets[block], values[block] = top_n(scores, n)
    found = targets >= 0
    targets[found] = target_of[targets[found]]
    return targets, values


def _excluded_pairs(excluded: Exclusions, block: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return the excluded pairs (position in the block, target)."""
    rows = excluded.rows[block]
    position = np.flatnonzero(rows >= 0)
    first = excluded.indptr[rows[position]]
    counts = excluded.indptr[rows[position] + 1] - first
    shift = first - (np.cumsum(counts) - counts)
    entry = np.arange(counts.sum()) + np.repeat(shift, counts)
    return np.repeat(position, counts), excluded.indices[entry]
