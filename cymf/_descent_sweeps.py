"""Coordinate descent over the parameters of a factorization machine; with draws, a Gibbs sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cymf._design import Design
from cymf._factors import aligned_zeros
from cymf._kernels import fm_kernels
from cymf._machine import Machine
from cymf._parallel import Workers

__all__ = ["Penalties", "Pulls", "Sweeps"]

_REFRESH = 16  # sweeps after which scores are computed anew, against the drift of rounding
_BATCH = 32  # data rows that the kernels gather at once
_SUMS = 8  # numbers that the kernels keep for a row of a block


class Pulls(NamedTuple):
    """What pulls each parameter, arrays of shape (k + 1, n_columns): w first, then the factors.

    Attributes
    ----------
    penalty, mean : ndarray
        λ and μ; empty `mean`, of shape (0, 0): all 0.
    noise : ndarray
        Standard normal noise to add; empty: none.
    """

    penalty: np.ndarray
    mean: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True, eq=False)
class Penalties:
    """The fixed penalties of descent.

    Attributes
    ----------
    weights, factors : ndarray of shape (n_columns,)
        λ_b n_j^ν of w_j and λ n_j^ν of v_j.
    """

    weights: np.ndarray
    factors: np.ndarray

    def pulls(self, n_factors: int) -> Pulls:
        """Return them for each parameter."""
        nothing = np.zeros((0, 0), self.weights.dtype)
        return Pulls(np.vstack([self.weights, *[self.factors] * n_factors]), nothing, nothing)

    def of(self, machine: Machine) -> float:
        """Return Σ_j n_j^ν (λ_b w_j² + λ ‖v_j‖²)."""
        total = 0.0
        if machine.use_bias:
            weights = machine.weights.astype(np.float64)
            total += float(self.weights.astype(np.float64) @ weights**2)
        norms = np.einsum("jf,jf->j", machine.trimmed, machine.trimmed, dtype=np.float64)
        return total + float(self.factors.astype(np.float64) @ norms)


class Sweeps:
    """Sweeps over w0, and over w and each factor of V of one block after the other.

    Parameters
    ----------
    design : Design
        The rows; a plain design is one block.
    machine : Machine
        Where to start; moved in place.
    workers : Workers
        The threads: they share the passes over data rows; columns are updated by one.

    Attributes
    ----------
    residuals : ndarray of shape (n_rows,)
        r = y − ŷ, up to date after a sweep.
    row_weights : ndarray of shape (n_rows,) or (0,)
        c, which the caller may change between sweeps.
    """

    def __init__(self, design: Design, machine: Machine, workers: Workers) -> None:
        self.row_weights = np.zeros(0, machine.dtype)
        self._targets = np.zeros(design.n_rows)
        self._n_scored = 0
        self._design = design
        self._machine = machine
        self._workers = workers
        self._theta = np.zeros((machine.n_factors + 1, design.n_columns), machine.dtype)
        self._cells = np.zeros((design.n_rows if design.rows is None else 0, 2), machine.dtype)
        self.residuals = np.zeros(design.n_rows, machine.dtype)
        if design.rows is not None:
            self._make_room()
        else:
            self.residuals = self._cells[:, 0]

    def _make_room(self) -> None:
        """Make the arrays of a stacked design: its rows' sums, and what the largest block needs."""
        design, dtype = self._design, self._machine.dtype
        n_places = self._machine.n_factors + 1
        lanes = max(4, fm_kernels.fm_vector_bytes() // dtype.itemsize)
        width = -(-n_places // lanes) * lanes
        largest = int(np.diff(design.row_borders).max())
        self._stacked_sums = aligned_zeros((design.n_stacked, width), dtype)
        self._stacked_sums[:, n_places - 1] = 1
        self._grams = aligned_zeros((largest, -(-n_places // 4) * 4 * width), dtype)
        self._right = aligned_zeros((largest, width), dtype)
        self._changes = aligned_zeros((largest, width), dtype)
        self._sums = aligned_zeros((largest, _SUMS), dtype)
        self._scratch = aligned_zeros((self._workers.n_threads, _BATCH * width), dtype)

    def scores(self) -> np.ndarray:
        """Return ŷ of each row: what residuals leave of the targets, and now and then by a pass over the rows."""
        self._n_scored += 1
        if self._n_scored % _REFRESH != 1:
            return self._targets - self.residuals
        if self._design.rows is not None:
            self._sum_stacked_rows()
        return self._machine.scores(self._design, self._workers)

    def aim(self, targets: np.ndarray, scores: np.ndarray) -> None:
        """Set y, and r given the scores."""
        self._targets = targets
        self.residuals[:] = targets - scores

    def run(
        self, pulls: Pulls, constant: Callable[[float, float], float], alpha: float = 1.0
    ) -> None:
        """Do one sweep.

        Parameters
        ----------
        pulls : Pulls
            Penalties, means and noise.
        constant : callable
            Of Σ c (r + w0) and Σ c, returns the new w0.
        alpha : float
            The precision of residuals.
        """
        machine, theta = self._machine, self._theta
        if machine.use_bias:
            self._update_constant(constant)
            theta[0] = machine.weights
        theta[1:] = machine.trimmed.T
        if self._design.rows is None:
            self._sweep_columns(pulls, alpha)
        else:
            for number in range(len(self._design.members)):
                self._sweep_block(number, pulls, alpha)
        if machine.use_bias:
            machine.weights[:] = theta[0]
        machine.trimmed[:] = theta[1:].T

    def _update_constant(self, constant: Callable[[float, float], float]) -> None:
        machine = self._machine
        residuals = self.residuals.astype(
            np.float64
        )  # summed by NumPy: a BLAS would sum by its threads
        if len(self.row_weights):
            total = float(self.row_weights.sum(dtype=np.float64))
            summed = float(np.sum(self.row_weights * residuals))
        else:
            total, summed = float(len(residuals)), float(residuals.sum())
        old = machine.constant[0]
        machine.constant[0] = constant(summed + float(old) * total, total)
        self.residuals -= machine.constant[0] - old

    def _sweep_columns(self, pulls: Pulls, alpha: float) -> None:
        """Sweep all columns of a plain design, family by family."""
        design, cells = self._design, self._cells
        indptr, rows, entries = design.by_column
        nothing = np.zeros(0, cells.dtype)
        for family, values in enumerate(self._theta):
            if family == 0 and not self._machine.use_bias:
                continue
            if family > 0:
                self._share(
                    2.0 * len(design.indices),
                    fm_kernels.fm_factor_sums,
                    *(design.indptr, design.indices, design.values, values),
                    *(design.stacked_chunks, _counter(), cells),
                )
            penalty, mean, noise = (part[family] if len(part) else nothing for part in pulls)
            fm_kernels.fm_columns(
                indptr, rows, entries, self.row_weights, family == 0, cells, values, penalty, mean, noise, alpha,
            )  # fmt: skip

    def _sweep_block(self, number: int, pulls: Pulls, alpha: float) -> None:
        """Sweep one block's columns over sums of the data rows that share its rows."""
        design, k = self._design, self._machine.n_factors
        start, members, chunks = design.members[number]
        assert design.rows is not None
        indptr, block_rows, entries = design.by_column
        first, end = map(int, design.row_borders[number : number + 2])
        first_column, end_column = map(int, design.column_borders[number : number + 2])
        sums = self._stacked_sums
        width = sums.shape[1]
        n_rows = end - first
        grams = self._grams[:n_rows].reshape(n_rows, -1, width)
        right, changes = self._right[:n_rows], self._changes[:n_rows]
        scratch = self._scratch.reshape(-1, _BATCH, width)
        rows, counter = (start, members, design.rows, number), _counter()
        self._workers.run(
            lambda worker: fm_kernels.fm_block_grams(
                *rows, self.row_weights, self.residuals, sums, k,
                chunks, counter, grams, right, scratch[worker],
            ),
            2.0 * width * width * len(members),
        )  # fmt: skip
        fm_kernels.fm_block_sweep(
            indptr, block_rows, entries, first_column, end_column, self._machine.use_bias, grams, right,
            sums[first:end], changes, self._theta, pulls.penalty, pulls.mean, pulls.noise, alpha, self._sums[:n_rows],
        )  # fmt: skip
        turns = _counter()
        self._workers.run(
            lambda worker: fm_kernels.fm_apply(
                *rows, sums, k, changes, chunks, turns, self.residuals, scratch[worker]
            ),
            2.0 * width * len(members),
        )

    def _sum_stacked_rows(self) -> None:
        """Set q_b of all stacked rows."""
        design, machine = self._design, self._machine
        width = machine.factors.shape[1]
        own = np.empty(design.n_stacked)
        sums = aligned_zeros((design.n_stacked, width), machine.dtype)
        self._share(
            4.0 * width * len(design.indices),
            fm_kernels.fm_rows,
            *(design.indptr, design.indices, design.values, machine.weights, machine.factors),
            *(design.stacked_chunks, _counter(), own, sums, -1),
        )
        self._stacked_sums[:, : machine.n_factors] = sums[:, : machine.n_factors]

    def _share(self, operations: float, kernel: Callable[..., object], *arguments: object) -> None:
        self._workers.run(lambda _: kernel(*arguments), operations)


def _counter() -> np.ndarray:
    return np.zeros(1, np.int64)
