"""Some rows of an explicit model, solved exactly from their ratings by the kernel that trains `ALS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from cymf._errors import DivergenceError
from cymf._factors import aligned_zeros
from cymf._ids import id_of
from cymf._kernels import _als_lapack, kernels, nonnegative_kernels
from cymf._nonnegative_rows import Penalty, exact_descent
from cymf._parallel import Workers, equal_work_chunks, single_threaded_blas
from cymf._problem import check_penalty, check_squares
from cymf._sparse_view import SparseView
from cymf._validation import check_number

if TYPE_CHECKING:
    from cymf._ids import IdMap
    from cymf._state import FittedState

__all__ = ["RowObjective", "SolvedRows", "check_solved", "solve_rows"]


@dataclass(frozen=True)
class RowObjective:
    """What a row minimizes: ½ Σ c (a − μ − b_j − b − w·h_j)² + ½ n^ν (λ ‖w‖² + λ_b b²).

    Attributes
    ----------
    mean, reg, reg_bias, reg_exponent : float
        μ, λ, λ_b and ν.
    nonnegative : bool
        Whether w ≥ 0.
    """

    mean: float
    reg: float
    reg_bias: float
    reg_exponent: float
    nonnegative: bool = False

    @classmethod
    def of(cls, estimator: Any, state: FittedState) -> Self:
        """Return that of a fitted estimator, its parameters checked."""
        reg = check_number("reg", estimator.reg)
        reg_bias = estimator.reg_bias
        return cls(
            state.global_mean,
            reg,
            reg if reg_bias is None else check_number("reg_bias", reg_bias),
            check_number("reg_exponent", estimator.reg_exponent, maximum=2),
            getattr(estimator, "nonnegative", False),
        )


class SolvedRows(NamedTuple):
    """Factors (n, k), biases (n,) or None, and the numbers of rows whose solution is not finite."""

    factors: np.ndarray
    bias: np.ndarray | None
    failed: np.ndarray


def solve_rows(
    view: SparseView,
    fixed: np.ndarray,
    fixed_bias: np.ndarray | None,
    objective: RowObjective,
    n_threads: int = 1,
) -> SolvedRows:
    """Solve rows exactly, the other side fixed; a row without ratings is zero.

    Parameters
    ----------
    view : SparseView
        The rows' ratings; indices are rows of `fixed`.
    fixed : ndarray of shape (m, n_factors)
        Not padded. Only the rows that are rated are copied.
    fixed_bias : ndarray of shape (m,) or None
    objective : RowObjective
    n_threads : int, default 1
        The result is the same bits for any number; it is that of a half-sweep of `ALS`.
    """
    (m, k), dtype, n_rows = fixed.shape, fixed.dtype, len(view.indptr) - 1
    lanes = 64 // dtype.itemsize
    width = -(-k // lanes) * lanes
    solved = aligned_zeros((n_rows, width), dtype)
    solved_bias = np.zeros(0 if fixed_bias is None else n_rows, dtype)
    status = np.zeros(n_rows, np.int8)
    if len(view.indices):
        check_squares(float(np.abs(view.values).max()), dtype)
        most = float(np.diff(view.indptr).max()) ** objective.reg_exponent
        for name, value in (("reg", objective.reg), ("reg_bias", objective.reg_bias)):
            check_penalty(name, value, value * most, dtype)
        rated, indices = _renumbered(view.indices, m, unique=n_rows == 1)
        rows = aligned_zeros((len(rated), width), dtype)
        rows[:, :k] = fixed[rated]
        bias = np.zeros(0, dtype) if fixed_bias is None else fixed_bias[rated]
        weights = np.zeros(0, dtype) if view.weights is None else view.weights
        data: tuple[Any, ...] = view.indptr, indices, view.values, weights
        sides = rows, bias, solved, solved_bias, k, objective.mean
        penalties = objective.reg_bias, objective.reg_exponent
        inputs: tuple[Any, ...] = *sides, objective.reg, *penalties
        half_sweep, size = kernels.als_half_sweep, kernels.als_scratch_size(k, width)
        if objective.nonnegative:
            inputs = *sides, *Penalty(objective.reg), *penalties, *exact_descent(dtype)
            half_sweep = nonnegative_kernels.nonnegative_half_sweep
            size = nonnegative_kernels.nonnegative_scratch_size(k, width)
        chunks = equal_work_chunks(view.indptr, k / 6 + 1)
        counter = np.zeros(1, np.int64)

        def work(_: int) -> None:
            half_sweep(*data, *inputs, chunks, counter, status, aligned_zeros(size, dtype))

        with Workers(n_threads) as workers:
            workers.run(work, float(k * (k + 1)) * len(indices) + n_rows * k**3 / 3)
        if status.any() and not objective.nonnegative:
            failed = np.flatnonzero(status)
            with single_threaded_blas():
                arguments: tuple[Any, ...] = failed, *data, *inputs, status
                _als_lapack.als_minimum_norm_rows(*arguments)
    return SolvedRows(
        np.ascontiguousarray(solved[:, :k]),
        None if fixed_bias is None else solved_bias,
        np.flatnonzero(status),
    )


def check_solved(
    solved: SolvedRows, what: str, rows: np.ndarray | None, ids: IdMap | None
) -> SolvedRows:
    """Return the solution, or raise with the id of a row that has none; `rows` are their numbers in the model."""
    if len(solved.failed):
        failed = int(solved.failed[0])
        row = id_of(ids, failed if rows is None else int(rows[failed]))
        raise DivergenceError(
            f"the solution of {what} {row!r} is not finite; raise reg, or scale the ratings down"
        )
    return solved


def _renumbered(indices: np.ndarray, m: int, *, unique: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that occur among `indices`, and the indices as places in them."""
    if unique:
        return indices, np.arange(len(indices), dtype=np.int32)
    occurs = np.zeros(m, bool)
    occurs[indices] = True
    rated = np.flatnonzero(occurs)
    place = np.empty(m, np.int32)
    place[rated] = np.arange(len(rated), dtype=np.int32)
    return rated, place[indices]
