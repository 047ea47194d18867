"""Scores of pairs and likeness of rows, from the factors alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cymf._kernels import kernels
from cymf._top_n import Exclusions, top_n_of_products
from cymf._validation import check_choice

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["predict_pairs", "similar_rows"]


def predict_pairs(state: FittedState, user_index: np.ndarray, item_index: np.ndarray) -> np.ndarray:
    """Return μ + b_i + b_j + w_i · h_j for pairs of row numbers, in the dtype of the model.

    A row number of -1 is unknown and adds neither a bias nor a product. A model without biases
    has nothing to say of a pair with an unknown side, or one without training ratings: that is
    predicted by the mean of the training ratings.
    """
    ratings = np.empty(len(user_index), state.dtype)
    users, items = (np.ascontiguousarray(rows, np.int64) for rows in (user_index, item_index))
    no_bias = np.zeros(0, state.dtype)
    kernels.predict_pairs(
        users, items, state.user_factors, state.item_factors,
        no_bias if state.user_bias is None else state.user_bias,
        no_bias if state.item_bias is None else state.item_bias,
        state.global_mean, ratings,
    )  # fmt: skip
    if state.user_bias is None:
        unknown = (users < 0) | (items < 0)
        unknown |= (state.user_counts[users] == 0) | (state.item_counts[items] == 0)
        ratings[unknown] = state.rating_mean
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
