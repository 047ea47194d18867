"""Half-sweeps with non-negative factors over the observed cells."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from cymf._errors import DivergenceError
from cymf._factors import Factors, aligned_zeros
from cymf._kernels import nonnegative_kernels
from cymf._problem import Problem, Side

__all__ = [
    "MULTIPLY",
    "TRAINING",
    "Descent",
    "ObservedRows",
    "Penalty",
    "exact_descent",
    "sums_of_rows",
]

_BLOCK_ROWS = 1024  # converted to float64 at once


class Penalty(NamedTuple):
    """A row's penalty λ ‖w‖² / 2 + λ₁ Σ_f w_f, before it is scaled by the number of its cells."""

    reg: float
    reg_l1: float = 0.0


class Descent(NamedTuple):
    """How far a row's coordinate descent goes; no passes at all are one multiplicative update.

    A row rests once a pass over its coordinates lowers the objective by at most `precision` times what all passes did.
    """

    max_passes: int
    precision: float


TRAINING = Descent(4, 1e-2)  # the next half-sweep starts from there
MULTIPLY = Descent(0, 0.0)


def exact_descent(dtype: np.dtype[Any]) -> Descent:
    """Return the descent to a row's solution, as far as the type resolves it."""
    return Descent(2000, 1e-14 if dtype == np.float64 else 1e-7)


class ObservedRows:
    """Half-sweeps of one problem: every row of one side solved in w ≥ 0, the other side fixed.

    Parameters
    ----------
    problem : Problem
        The observed cells, mean and penalty of the biases. Its own `reg` is not used.
    user_penalty, item_penalty : Penalty
        Penalties of the factors, times n^ν.
    """

    def __init__(self, problem: Problem, user_penalty: Penalty, item_penalty: Penalty) -> None:
        self.problem = problem
        self._penalties = user_penalty, item_penalty
        width = problem.zeros().width
        size = nonnegative_kernels.nonnegative_scratch_size(problem.n_factors, width)
        self._scratch = [
            aligned_zeros(size, problem.dtype) for _ in range(problem.workers.n_threads)
        ]

    def solve_users(self, factors: Factors, descent: Descent = TRAINING) -> None:
        """Solve all users from where they are, the items fixed."""
        fixed = factors.item, factors.item_bias
        solved = factors.user, factors.user_bias
        self._half_sweep("user", self.problem.users, fixed, solved, self._penalties[0], descent)

    def solve_items(self, factors: Factors, descent: Descent = TRAINING) -> None:
        """Solve all items from where they are, the users fixed."""
        fixed = factors.user, factors.user_bias
        solved = factors.item, factors.item_bias
        self._half_sweep("item", self.problem.items, fixed, solved, self._penalties[1], descent)

    def objective(self, factors: Factors) -> tuple[float, float]:
        """Return the objective without biases' penalties, and the training RMSE."""
        squared = self.problem.squared_error(factors)
        total = 0.5 * squared
        for rows, counts, penalty in (
            (factors.user, self.problem.users.counts, self._penalties[0]),
            (factors.item, self.problem.item_counts, self._penalties[1]),
        ):
            total += sums_of_rows(rows, penalty, counts**self.problem.reg_exponent)
        return total, self.problem.rmse_of(squared)

    def reconstruction_error(self, factors: Factors) -> float:
        """Return √(Σ c e²) over the observed cells."""
        return math.sqrt(self.problem.squared_error(factors))

    def _half_sweep(
        self,
        name: str,
        side: Side,
        fixed: tuple[np.ndarray, np.ndarray],
        solved: tuple[np.ndarray, np.ndarray],
        penalty: Penalty,
        descent: Descent,
    ) -> None:
        problem, k = self.problem, self.problem.n_factors
        status = np.zeros(len(solved[0]), np.int8)
        inputs = (
            *fixed, *solved, k, problem.mean, *penalty, problem.reg_bias, problem.reg_exponent, *descent,
        )  # fmt: skip
        problem.sweep(
            nonnegative_kernels.nonnegative_half_sweep,
            side,
            inputs,
            (status,),
            k * (k + 1),
            self._scratch,
        )
        failed = np.flatnonzero(status)
        if len(failed):
            ids = problem.ratings.user_ids if name == "user" else problem.ratings.item_ids
            row = (failed if ids is None else ids.to_ids(failed[:1])).tolist()[0]
            raise DivergenceError(
                f"the solution of {name} {row!r} ({side.counts[failed[0]]} ratings) is not finite; "
                "scale the ratings down, or use dtype='float64'"
            )


def sums_of_rows(rows: np.ndarray, penalty: Penalty, scale: np.ndarray | float) -> float:
    """Return Σ_i s_i (λ ‖w_i‖² / 2 + λ₁ Σ_f w_if) in float64."""
    if penalty == (0, 0):
        return 0.0
    total = 0.0
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS].astype(np.float64)
        each = 0.5 * penalty.reg * np.square(block).sum(axis=1) + penalty.reg_l1 * block.sum(axis=1)
        own = scale if np.isscalar(scale) else scale[start : start + _BLOCK_ROWS]  # type: ignore[index]
        total += float(np.sum(own * each))
    return total
