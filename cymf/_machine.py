"""The parameters of a factorization machine while it is trained, and the scores they give."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from cymf._design import Design
from cymf._factors import aligned_zeros
from cymf._kernels import fm_kernels
from cymf._parallel import Workers

__all__ = ["Machine"]

_ALIGNMENT = 64


class Machine:
    """w0, w and V of one factorization machine; the rows of V are padded for the kernels.

    Parameters
    ----------
    n_columns, n_factors : int
        Sizes.
    use_bias : bool
        Without biases, `constant` and `weights` are empty.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    constant : ndarray of shape (1,) or (0,)
    weights : ndarray of shape (n_columns,) or (0,)
    factors : ndarray of shape (n_columns, width)
        The padding is zero and stays zero.
    """

    def __init__(
        self, n_columns: int, n_factors: int, use_bias: bool, dtype: np.dtype[Any]
    ) -> None:
        lanes = _ALIGNMENT // dtype.itemsize
        self.n_factors = n_factors
        self.constant = np.zeros(int(use_bias), dtype)
        self.weights = np.zeros(n_columns if use_bias else 0, dtype)
        self.factors = aligned_zeros((n_columns, -(-n_factors // lanes) * lanes), dtype)

    @classmethod
    def of(cls, constant: float, weights: np.ndarray, factors: np.ndarray) -> Self:
        """Return a machine of given parameters; empty `weights`: without biases."""
        n_columns, n_factors = factors.shape
        machine = cls(n_columns, n_factors, len(weights) > 0, factors.dtype)
        machine.constant[:] = constant
        machine.weights[:] = weights
        machine.trimmed[:] = factors
        return machine

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.factors.dtype

    @property
    def use_bias(self) -> bool:
        return len(self.constant) > 0

    @property
    def trimmed(self) -> np.ndarray:
        """V without its padding, a view of shape (n_columns, n_factors)."""
        return self.factors[:, : self.n_factors]

    def is_finite(self) -> bool:
        """Whether all parameters are finite."""
        return all(
            bool(np.isfinite(array).all()) for array in (self.constant, self.weights, self.factors)
        )

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = type(self)(len(self.factors), self.n_factors, self.use_bias, self.dtype)
        twin.assign(self)
        return twin

    def assign(self, other: Self) -> None:
        """Take over the values of `other`."""
        self.constant[:] = other.constant
        self.weights[:] = other.weights
        self.factors[:] = other.factors

    def scores(self, design: Design, workers: Workers) -> np.ndarray:
        """Return ŷ of each data row, float64 of shape (n_rows,)."""
        stacked = design.rows is not None
        width = self.factors.shape[1]
        own = np.empty(design.n_stacked)
        sums = aligned_zeros(
            (design.n_stacked if stacked else workers.n_threads, width), self.dtype
        )
        counter = np.zeros(1, np.int64)

        def rows(worker: int) -> None:
            fm_kernels.fm_rows(
                design.indptr, design.indices, design.values, self.weights, self.factors,
                design.stacked_chunks, counter, own, sums, -1 if stacked else worker,
            )  # fmt: skip

        workers.run(rows, 4.0 * width * len(design.indices))
        scores = own
        if design.rows is not None:
            data_rows, scores = design.rows, np.empty(design.n_rows)
            scratch = aligned_zeros((workers.n_threads, width), self.dtype)
            turns = np.zeros(1, np.int64)

            def join(worker: int) -> None:
                fm_kernels.fm_join(
                    data_rows, own, sums, design.row_chunks, turns, scores, scratch[worker]
                )

            workers.run(join, 4.0 * width * data_rows.size)
        if self.use_bias:
            scores += float(self.constant[0])
        return scores
