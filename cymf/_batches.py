"""Mini-batches of design rows: who is in which, the columns of each, and epochs over them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from cymf._design import Design
from cymf._errors import DivergenceError
from cymf._factors import aligned_zeros
from cymf._kernels import fm_kernels
from cymf._machine import Machine
from cymf._parallel import Workers

__all__ = ["Batches", "Steps", "penalty_shares"]

LOSSES = {"squared": 0, "logistic": 1, "bpr": 2}  # the kernel's numbers
_LINE = 8


@dataclass(frozen=True, eq=False)
class Batches:
    """Rows of a design in batches, each with its columns.

    Attributes
    ----------
    rows : ndarray of int64, shape (visits,)
        Rows of the design, batch after batch.
    start : ndarray of int64, shape (n_batches + 1,)
        Borders of the batches.
    slot_start, slot_columns, slot_entries : ndarray of int64
        The columns of each batch, rising, and the borders of their entries.
    entry_rows, entry_values : ndarray
        Rows within the batch, rising, and values.
    """

    rows: np.ndarray
    start: np.ndarray
    slot_start: np.ndarray
    slot_columns: np.ndarray
    slot_entries: np.ndarray
    entry_rows: np.ndarray
    entry_values: np.ndarray

    @classmethod
    def of(cls, design: Design, rows: np.ndarray, size: int) -> Self:
        """Cut `rows` into batches of `size`, in their order; the last is perhaps smaller."""
        n_batches = -(-len(rows) // size)
        counts = np.diff(design.indptr)[rows]
        ends = np.cumsum(counts)
        entries = np.arange(ends[-1]) + np.repeat(design.indptr[rows] - (ends - counts), counts)
        visit = np.repeat(np.arange(len(rows)), counts)
        batch = visit // size
        columns = design.indices[entries].astype(np.int64)
        key = batch * design.n_columns + columns
        order = np.argsort(key, kind="stable")
        key = key[order]
        first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else key
        return cls(
            rows=rows.astype(np.int64),
            start=np.minimum(np.arange(n_batches + 1) * size, len(rows)),
            slot_start=np.searchsorted(key[first], np.arange(n_batches + 1) * design.n_columns),
            slot_columns=key[first] % design.n_columns,
            slot_entries=np.append(first, len(key)),
            entry_rows=(visit % size)[order].astype(np.int32),
            entry_values=design.values[entries[order]],
        )


class Steps:
    """Epochs of mini-batch gradient steps, plain or AdaGrad.

    Parameters
    ----------
    design : Design
        Plain.
    machine : Machine
        Where to start; moved in place.
    loss : {"squared", "logistic", "bpr"}
        Summed over the rows, or over pairs of neighbours in the batches' rows.
    targets, weights : ndarray of shape (n_rows,)
        Targets in the machine's dtype, signs for the logistic loss; weights empty where all are 1.
    shares : ndarray of shape (n_columns, 2)
        The penalty's part of the mean gradient, λ_b n_j^(ν−1) of w_j and λ n_j^(ν−1) of v_j.
    adagrad : bool
        Whether the rate is divided by the root of 1 plus the sum of squared gradients.
    limit : float
        The mean loss of a few rows from which on training counts as diverged.
    workers : Workers
        The threads.
    """

    def __init__(
        self,
        design: Design,
        machine: Machine,
        loss: str,
        targets: np.ndarray,
        weights: np.ndarray,
        shares: np.ndarray,
        *,
        adagrad: bool,
        limit: float,
        workers: Workers,
    ) -> None:
        self.machine = machine
        self._rows = design.indptr, design.indices, design.values, targets, weights
        self._loss = LOSSES[loss]
        self._shares = shares
        self._limit = limit
        self._workers = workers
        self._epoch = 0
        # no w0 where only differences count
        self._constant = machine.constant[: 0 if loss == "bpr" else None]
        kept = slice(None) if adagrad else slice(0)
        self._squares = (
            np.ones_like(self._constant[kept]),
            np.ones_like(machine.weights[kept]),
            np.ones_like(machine.factors[kept]),
        )

    def run(self, batches: Batches, order: np.ndarray, rate: float) -> float:
        """Visit the batches in an order; return Σ c e², or the loss where it is not squared, before each step.

        Raises
        ------
        DivergenceError
            If scores are not finite, or losses beyond any plausible value.
        """
        self._epoch += 1
        machine, workers = self.machine, self._workers
        largest = int(np.diff(batches.start).max())
        width = machine.factors.shape[1]
        sums, slopes = aligned_zeros((largest, width), machine.dtype), np.zeros(largest)
        turns = aligned_zeros((2 * len(order), 2 * _LINE), np.dtype(np.int64))
        diverged = np.zeros(1, np.int64)
        losses = np.zeros((len(order), fm_kernels.fm_batch_chunks(largest)))
        scratch = aligned_zeros((workers.n_threads, width), machine.dtype)

        def work(worker: int) -> None:
            fm_kernels.fm_epoch(
                *self._rows, batches.rows, batches.start, batches.slot_start, batches.slot_columns,
                batches.slot_entries, batches.entry_rows, batches.entry_values, order, self._loss, rate,
                self._shares, machine.n_factors, self._constant, machine.weights, machine.factors,
                *self._squares, sums, slopes, turns, diverged, self._limit, losses, scratch[worker],
            )  # fmt: skip

        workers.run(work, 12.0 * width * len(batches.entry_rows))
        if diverged[0] or not machine.is_finite():
            raise self.divergence(rate)
        return math.fsum(losses.ravel())

    def divergence(self, rate: float) -> DivergenceError:
        """Return the error of an epoch that diverged."""
        return DivergenceError(
            f"training diverged in epoch {self._epoch}: losses grew beyond any plausible value at learning rate "
            f"{rate:.3g}; try learning_rate={rate / 4:.2g}, a larger reg, columns of a smaller scale, or "
            "solver='adagrad'"
        )


def penalty_shares(counts: np.ndarray, penalties: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return a step's share of penalties of shape (n_columns, 2): divided by the rows that have the column."""
    shares: np.ndarray = penalties / np.maximum(counts, 1)[:, np.newaxis]
    return shares.astype(dtype)
