"""Factors that non-negative factorization starts from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse

from cymf._factors import Factors

__all__ = ["INITS", "ColumnFilled", "start_factors"]

INITS = ("nndsvd", "nndsvda", "nndsvdar", "random")
_OVERSAMPLES = 10  # more vectors than asked for, and
_POWER_ITERATIONS = 5  # multiplications by A Aᵀ, sharpen the randomized decomposition


class ColumnFilled:
    """A sparse matrix whose missing cells hold the mean of their column, multiplied without storing them."""

    def __init__(self, stored: sparse.csr_array, counts: np.ndarray) -> None:
        sums = np.asarray(stored.sum(axis=0)).astype(np.float64)
        means = sums / np.maximum(counts, 1)
        self.shape: tuple[int, int] = stored.shape
        self._means = means.astype(stored.dtype)
        values = stored.data - self._means[stored.indices]
        self._deviations = sparse.csr_array((values, stored.indices, stored.indptr), stored.shape)

    def times(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray(self._deviations @ columns + self._means @ columns)

    def transposed_times(self, columns: np.ndarray) -> np.ndarray:
        means = np.outer(self._means, columns.sum(axis=0))
        return np.asarray(self._deviations.T @ columns + means)


class _Stored:
    """A dense or sparse matrix as it is."""

    def __init__(self, matrix: Any) -> None:
        self.shape: tuple[int, int] = matrix.shape
        self._matrix = matrix

    def times(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray(self._matrix @ columns)

    def transposed_times(self, columns: np.ndarray) -> np.ndarray:
        return np.asarray(self._matrix.T @ columns)


def start_factors(
    factors: Factors, matrix: Any, mean: float, init: str | None, generator: np.random.Generator
) -> None:
    """Fill `factors`, which are zero.

    Parameters
    ----------
    factors : Factors
        To be filled.
    matrix : ndarray, csr_array or ColumnFilled
        What is decomposed for all kinds of start but random ones.
    mean : float
        Mean of the cells that are data.
    init : str or None
        One of `INITS`; None takes "nndsvda" where there are enough rows and columns, "random" elsewhere.
    generator : Generator
        Draws random starts, and the start of the decomposition.
    """
    k = factors.n_factors
    n_users, n_items = len(factors.user), len(factors.item)
    if init is None:
        init = "nndsvda" if k <= min(n_users, n_items) else "random"
    if init == "random":
        scale = math.sqrt(mean / k)
        for rows in (factors.item, factors.user):
            rows[:, :k] = scale * np.abs(generator.standard_normal((len(rows), k)))
        return
    if k > min(n_users, n_items):
        raise ValueError(
            f"init={init!r} needs n_components ≤ the smaller side of the matrix, {min(n_users, n_items)}; "
            f"given n_components={k}; lower it, or take init='random'"
        )
    operator = matrix if isinstance(matrix, ColumnFilled) else _Stored(matrix)
    left, right = _double_svd(*_randomized_svd(operator, k, factors.flat.dtype, generator))
    for rows, start in ((factors.user, left), (factors.item, right)):
        if init == "nndsvda":
            start[start == 0] = mean
        elif init == "nndsvdar":
            empty = start == 0
            noise = generator.standard_normal(int(np.count_nonzero(empty)))
            start[empty] = np.abs(mean / 100 * noise)
        rows[:, :k] = start


def _randomized_svd(
    operator: ColumnFilled | _Stored, k: int, dtype: np.dtype[Any], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return about the k largest singular values and their vectors U, σ, V (Halko, Martinsson and Tropp 2011)."""
    n_vectors = min(k + _OVERSAMPLES, *operator.shape)
    start = generator.standard_normal((operator.shape[1], n_vectors)).astype(dtype)
    basis = np.linalg.qr(operator.times(start))[0]
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(operator.transposed_times(basis))[0]
        basis = np.linalg.qr(operator.times(basis))[0]
    left, values, right = np.linalg.svd(operator.transposed_times(basis).T, full_matrices=False)
    return (basis @ left)[:, :k], values[:k], right[:k].T


def _double_svd(
    left: np.ndarray, values: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return non-negative factors of each singular triplet's stronger half (Boutsidis and Gallopoulos 2008)."""
    users, items = np.zeros_like(left), np.zeros_like(right)
    users[:, 0] = math.sqrt(values[0]) * np.abs(left[:, 0])
    items[:, 0] = math.sqrt(values[0]) * np.abs(right[:, 0])
    for f in range(1, len(values)):
        halves = []
        for sign in (1, -1):
            u, v = np.maximum(sign * left[:, f], 0), np.maximum(sign * right[:, f], 0)
            halves.append((float(np.linalg.norm(u)) * float(np.linalg.norm(v)), u, v))
        size, u, v = max(halves, key=lambda half: half[0])
        if size > 0:
            scale = math.sqrt(values[f] * size)
            users[:, f] = scale / np.linalg.norm(u) * u
            items[:, f] = scale / np.linalg.norm(v) * v
    for rows in (users, items):
        rows[rows < 1e-6] = 0
    return users, items
