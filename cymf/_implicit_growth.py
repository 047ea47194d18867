"""A fitted implicit model and new ratings: the rows that these touch, solved again."""

from __future__ import annotations

import numpy as np

from cymf._factors import Factors
from cymf._implicit_problem import ImplicitProblem, ImplicitSide, with_column
from cymf._implicit_rows import FixedSide, Method, rotate, scratch_of
from cymf._parallel import equal_work_chunks
from cymf._state import FittedState

__all__ = ["solve_chosen", "take_over"]


def take_over(state: FittedState, factors: Factors) -> None:
    """Copy a model's rows, which come first; the others stay zero."""
    k = state.n_factors
    factors.user[: state.n_users, :k] = state.user_factors
    factors.item[: state.n_items, :k] = state.item_factors
    if state.user_bias is not None and state.item_bias is not None:
        factors.user_bias[: state.n_users] = state.user_bias
        factors.item_bias[: state.n_items] = state.item_bias


def solve_chosen(
    problem: ImplicitProblem, factors: Factors, which: str, chosen: np.ndarray
) -> None:
    """Solve some rows of one side exactly from all their ratings; nothing else changes, the basis neither."""
    model, workers, k = problem.model, problem.workers, problem.n_factors
    if which == "user":
        other, side = "item", problem.users
        fixed, fixed_bias, solved, bias = (
            factors.item,
            factors.item_bias,
            factors.user,
            factors.user_bias,
        )
    else:
        other, side = "user", problem.items
        fixed, fixed_bias, solved, bias = (
            factors.user,
            factors.user_bias,
            factors.item,
            factors.item_bias,
        )
    rows = problem.extended(other, fixed) if model.use_bias else with_column(fixed, k, None)
    n_unknowns = k + model.use_bias
    gram, weights = problem.gram(other, rows), problem.weights(other)
    fixed_side = FixedSide(rows, gram, fixed_bias, weights, n_unknowns, model, workers)
    some = _rows_of(side, chosen, k)
    width = rows.shape[1]
    found = np.zeros((len(chosen), width), problem.dtype)
    longest = int(some.counts.max(initial=0))
    scratch = scratch_of(width, longest, problem.dtype, workers.n_threads)
    failed = fixed_side.solve(some, found, Method("cholesky"), workers, scratch)
    problem.check_solved(which, chosen[failed])
    rotate(found, fixed_side.basis.T, workers)
    solved[chosen, :k] = found[:, :k]
    if model.use_bias:
        bias[chosen] = found[:, k] * model.bias_column


def _rows_of(side: ImplicitSide, chosen: np.ndarray, n_factors: int) -> ImplicitSide:
    counts = side.counts[chosen]
    indptr = np.zeros(len(chosen) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    cells = np.arange(indptr[-1]) + np.repeat(side.indptr[chosen] - indptr[:-1], counts)
    return ImplicitSide(
        indptr,
        side.indices[cells],
        side.confidence[cells],
        side.base[chosen],
        side.column_base,
        side.penalties[chosen],
        equal_work_chunks(indptr, n_factors / 6 + 1),
        counts,
    )
