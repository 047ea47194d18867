"""Slow twins of top-N search: sort everything."""

from __future__ import annotations

import numpy as np


def all_scores(query_factors, query_rows, target_factors, query_offset=None, target_offset=None):
    """Scores of every query with every target, in float64."""
    known = np.asarray(query_rows) >= 0
    with np.errstate(all="ignore"):
        queries = query_factors.astype(np.float64)[query_rows]
        queries[~known] = 0
        scores = queries @ target_factors.astype(np.float64).T
        if target_offset is not None:
            scores = scores + target_offset
        if query_offset is not None:
            scores = scores + np.asarray(query_offset)[:, None]
    return scores


def sort_everything(scores, n):
    """Sort each row by (-score, column); NaN and minus infinity are no answer."""
    columns = np.full((len(scores), n), -1)
    values = np.full((len(scores), n), np.nan, scores.dtype)
    for r, row in enumerate(scores):
        ranked = sorted((-s, c) for c, s in enumerate(row.tolist()) if s > -np.inf)[:n]
        for rank, (_, c) in enumerate(ranked):
            columns[r, rank], values[r, rank] = c, row[c]
    return columns, values


def mask_out(scores, excluded=None, allowed=None):
    """Minus infinity where a target is excluded or not allowed, in place."""
    if excluded is not None:
        for r, row in enumerate(excluded.rows):
            if row >= 0:
                scores[
                    r, excluded.indices[excluded.indptr[row] : excluded.indptr[row + 1]]
                ] = -np.inf
    if allowed is not None:
        scores[:, np.setdiff1d(np.arange(scores.shape[1]), allowed)] = -np.inf
    return scores
