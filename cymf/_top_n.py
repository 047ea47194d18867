"""The best n targets for each query, exactly: the one door to the compiled search.

All ways through it give the same answers to the bit (``_kernels/top_n.pxi`` says why), so which one is taken is a
question of time alone: a few queries or short lists are scored target by target, many go through a `ServingIndex`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cymf._compressed import is_canonical
from cymf._kernels import top_n_kernels
from cymf._parallel import Workers
from cymf._serving_index import Exclusions, ServingIndex, empty_answers, exclusion_arrays

__all__ = ["Candidates", "Exclusions", "ServingIndex", "top_n_of_lists", "top_n_of_products"]

_WORTH_AN_INDEX = 32  # queries: making an index costs about as much as answering half as many


class Candidates(NamedTuple):
    """The only targets that may be an answer, in CSR form, with a row of their own for every query."""

    rows: np.ndarray  # (n_rows,) the row of each query, -1 where nothing is a candidate
    indptr: np.ndarray
    indices: np.ndarray  # int64 target numbers, each once in a row


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
    n_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each query the n targets with the largest scores, the largest first.

    The score of query q and target t is ``query_factors[q] @ target_factors[t] +
    target_offset[t] + query_offset[q]``, rounded in this order.

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
        Targets that are no answer, in any order.
    allowed : ndarray of int64, optional
        The only targets that may be an answer, rising and unique. None allows all.
    n_threads : int, default 1
        The answer is the same for any number.

    Returns
    -------
    targets : ndarray of int64, shape (n_rows, n)
        Equal scores stand in the order of their targets. Padded by -1. A score of minus infinity
        or NaN is no answer.
    scores : ndarray of shape (n_rows, n), dtype of the factors
        Padded by NaN.
    """
    dtype = target_factors.dtype
    query_factors, target_factors = (
        np.ascontiguousarray(factors, dtype) for factors in (query_factors, target_factors)
    )
    query_offset, target_offset = (
        None if offset is None else np.ascontiguousarray(offset, dtype)
        for offset in (query_offset, target_offset)
    )
    if excluded is not None and not is_canonical(excluded.indptr, excluded.indices):
        excluded = _in_order(excluded)
    if len(query_rows) >= _WORTH_AN_INDEX:
        norm = 0.0
        if target_offset is not None and len(query_factors):
            norm = float(np.linalg.norm(query_factors, axis=1).max())
        index = ServingIndex.build(target_factors, target_offset, allowed, norm)
        return index.search(
            query_factors,
            query_rows,
            n,
            query_offset=query_offset,
            excluded=excluded,
            n_threads=n_threads,
        )
    listed = np.arange(len(target_factors)) if allowed is None else allowed
    return top_n_of_lists(
        query_factors,
        query_rows,
        target_factors,
        n,
        Candidates(np.zeros(len(query_rows), np.int64), np.array([0, len(listed)]), listed),
        query_offset=query_offset,
        target_offset=target_offset,
        excluded=excluded,
        n_threads=n_threads,
    )


def _in_order(excluded: Exclusions) -> Exclusions:
    rows = np.repeat(np.arange(len(excluded.indptr) - 1), np.diff(excluded.indptr))
    return excluded._replace(indices=excluded.indices[np.lexsort((excluded.indices, rows))])


def top_n_of_lists(
    query_factors: np.ndarray,
    query_rows: np.ndarray,
    target_factors: np.ndarray,
    n: int,
    candidates: Candidates,
    *,
    query_offset: np.ndarray | None = None,
    target_offset: np.ndarray | None = None,
    excluded: Exclusions | None = None,
    allowed: np.ndarray | None = None,
    n_threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each query the n best of its own candidates.

    Parameters and answers are those of `top_n_of_products`, but that `allowed` is an array of uint8, 1 for
    each of all targets that may be an answer. Every candidate is scored: O(n_factors) each.
    """
    dtype = target_factors.dtype
    none = np.zeros(0, dtype)
    answers = empty_answers(len(query_rows), n, dtype)
    arguments = (
        query_factors,
        query_rows,
        none if query_offset is None else query_offset,
        target_factors,
        none if target_offset is None else target_offset,
        *(np.ascontiguousarray(array, np.int64) for array in candidates),
        *exclusion_arrays(excluded),
        np.zeros(0, np.uint8) if allowed is None else allowed,
        *answers,
        np.zeros(1, np.int64),
    )
    per_query = len(candidates.indices) / max(1, len(candidates.indptr) - 1)
    operations = 2.0 * len(query_rows) * per_query * (target_factors.shape[1] + 4)
    with Workers(n_threads) as workers:
        workers.run(lambda _: top_n_kernels.top_n_listed(*arguments), operations)
    return answers
