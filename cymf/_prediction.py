"""Scores of pairs and likeness of rows, from the factors alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cymf._queries import check_choice
from cymf._top_n import Exclusions, top_n_of_products

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["predict_pairs", "similar_rows"]

_BLOCK_ELEMENTS = 1 << 18  # factors gathered at a time on each side


def predict_pairs(state: FittedState, user_index: np.ndarray, item_index: np.ndarray) -> np.ndarray:
    """Return μ + b_i + b_j + w_i · h_j for pairs of row numbers, in the dtype of the model.

    A row number of -1 is unknown and adds neither a bias nor a product. Factors are gathered in
    blocks: memory beside the answer does not grow with the number of pairs.
    """
    ratings = np.full(len(user_index), state.global_mean, state.dtype)
    size = max(1, _BLOCK_ELEMENTS // max(1, state.n_factors))
    for start in range(0, len(ratings), size):
        block = slice(start, start + size)
        i, j = user_index[block], item_index[block]
        if state.user_bias is not None and state.item_bias is not None:
            ratings[block] += np.where(i >= 0, state.user_bias[i], 0)
            ratings[block] += np.where(j >= 0, state.item_bias[j], 0)
        products = np.einsum("pk,pk->p", state.user_factors[i], state.item_factors[j])
        ratings[block] += np.where((i >= 0) & (j >= 0), products, 0)
    return ratings


def similar_rows(
    factors: np.ndarray,
    counts: np.ndarray,
    rows: np.ndarray,
    n: int,
    *,
    metric: str,
    include_self: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of `rows` the n rows whose factors are most like its own.

    Parameters
    ----------
    factors : ndarray of shape (n_rows, n_factors)
    counts : ndarray of int64, shape (n_rows,)
        Training ratings; rows without any are no answer.
    rows : ndarray of int64, shape (n_queries,)
    n : int
    metric : {"cosine", "dot"}
        The cosine is 0 where a norm is 0.
    include_self : bool

    Returns
    -------
    rows : ndarray of int64, shape (n_queries, n)
        Padded by -1.
    scores : ndarray of shape (n_queries, n), dtype of the factors
        Padded by NaN.
    """
    check_choice("metric", metric, ("cosine", "dot"))
    if metric == "cosine":
        norms = np.linalg.norm(factors, axis=1, keepdims=True)
        factors = np.divide(factors, norms, out=np.zeros_like(factors), where=norms > 0)
    own = np.arange(len(factors) + 1)
    return top_n_of_products(
        factors,
        rows,
        factors,
        n,
        excluded=None if include_self else Exclusions(rows, own, own[:-1]),
        allowed=None if counts.all() else np.flatnonzero(counts),
    )
