"""Which past ratings made a prediction: the row's linear solve, taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cymf._feature_state import prior_row
from cymf._implicit_fold_in import FoldIn
from cymf._queries import Axis, By, ids_of, rows_of
from cymf._validation import check_number

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["Explanation", "explain_explicit", "explain_implicit"]


class Explanation(NamedTuple):
    """Why a user gets a score for an item.

    Attributes
    ----------
    score : float
        ``base + contributions.sum()``, which is the model's prediction but for rounding, if the user's row was solved
        exactly.
    items : ndarray of shape (n_ratings,)
        What the user rated, the largest contribution (of either sign) first.
    contributions : ndarray of float64, shape (n_ratings,)
        What each of these ratings adds to the score.
    base : float
        The score without them, from the mean and the biases; 0 in a model without biases.
    """

    score: float
    items: np.ndarray
    contributions: np.ndarray
    base: float


def explain_explicit(
    state: FittedState, estimator: Any, user: Any, item: Any, by: By
) -> Explanation:
    r"""Take a prediction of `ALS` apart.

    With a user's rated rows g_j = [h_j, 1] and targets y_j = a_j − μ − b_j, the row is x = A⁻¹ Σ_j c_j y_j g_j,
    A = Σ_j c_j g_j g_jᵀ + n^ν diag(λ, …, λ_b), so that its prediction for an item is

        â = μ + b + Σ_j c_j y_j (gᵀ A⁻¹ g_j)

    With features, which draw the row to m, y_j − g_j·m stands for y_j, and gᵀm belongs to the base.
    """
    row, column, ratings = _asked(state, user, item, by)
    view = ratings.csr(state.dtype)
    cells = slice(view.indptr[row], view.indptr[row + 1])
    rated, n = view.indices[cells], int(view.indptr[row + 1] - view.indptr[row])
    weights = np.ones(n) if view.weights is None else view.weights[cells].astype(np.float64)
    g = state.item_factors[rated].astype(np.float64)
    target = state.item_factors[column].astype(np.float64)
    scale = float(n) ** check_number("reg_exponent", estimator.reg_exponent)
    reg = check_number("reg", estimator.reg)
    penalty = np.full(state.n_factors, reg * scale)
    pulls, base = view.values[cells].astype(np.float64), 0.0
    if state.item_bias is not None:
        reg_bias = (
            reg if estimator.reg_bias is None else check_number("reg_bias", estimator.reg_bias)
        )
        g, target = np.column_stack([g, np.ones(n)]), np.append(target, 1.0)
        penalty = np.append(penalty, reg_bias * scale)
        pulls = pulls - state.global_mean - state.item_bias[rated]
        base = state.global_mean + float(state.item_bias[column])
    if estimator.nonnegative:  # what rests at zero has no part in the row's system
        solved = np.append(state.user_factors[row] > 0, np.ones(g.shape[1] - state.n_factors, bool))
        g, target, penalty = g[:, solved], target[solved], penalty[solved]
    prior = prior_row(state, "user", row)
    if prior is not None:
        drawn_to = np.append(*prior)[: len(target)]
        pulls = pulls - g @ drawn_to
        base += float(target @ drawn_to)
    influence = np.linalg.lstsq((g.T * weights) @ g + np.diag(penalty), target, rcond=None)[0]
    return _sorted(state, rated, weights * pulls * (g @ influence), base, by)


def explain_implicit(
    state: FittedState, estimator: Any, user: Any, item: Any, by: By
) -> Explanation:
    r"""Take a prediction of `ImplicitALS` apart.

    With the terms of ``_kernels/implicit_als.pxi``, a user's row is x = A⁻¹ (Σ_j r_j g_j − s t), so that its score for
    an item is b + Σ_j r_j (gᵀ A⁻¹ g_j) − s gᵀ A⁻¹ t. With features, which draw the row to m, λ gᵀ A⁻¹ m is added.
    """
    row, column, ratings = _asked(state, user, item, by)
    fold_in = FoldIn.of(state, estimator, "user")
    view = ratings.csr(state.dtype)
    prior = prior_row(state, "user", row)
    rated, pulls, influence, base = fold_in.influence(view, row, column, prior)
    if state.item_bias is not None:
        base += float(state.item_bias[column])
    return _sorted(state, rated, pulls * influence, base, by)


def _asked(state: FittedState, user: Any, item: Any, by: By) -> tuple[int, int, Any]:
    if np.ndim(user) or np.ndim(item):
        raise ValueError("explain takes one user and one item; expected scalars")
    if state.ratings is None:
        raise ValueError(
            "the model keeps no training ratings, of which an explanation is made; "
            "fit it with store_ratings=True"
        )
    [row] = rows_of(user, Axis.users(state), by=by, unknown="raise")
    [column] = rows_of(item, Axis.items(state), by=by, unknown="raise")
    return int(row), int(column), state.ratings


def _sorted(
    state: FittedState, rated: np.ndarray, contributions: np.ndarray, base: float, by: By
) -> Explanation:
    order = np.lexsort((rated, -np.abs(contributions)))
    ids = ids_of(rated[order].astype(np.int64), Axis.items(state), by)
    score = base + float(contributions.sum())
    return Explanation(score, ids, contributions[order], base)
