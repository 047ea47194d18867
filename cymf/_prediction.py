"""Predictions of pairs, from the factors alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cymf._kernels import kernels

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["predict_pairs"]


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
        unknown |= ~state.user_known[users] | ~state.item_known[items]
        ratings[unknown] = state.rating_mean
    return ratings
