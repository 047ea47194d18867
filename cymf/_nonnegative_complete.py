"""Half-sweeps with non-negative factors where every cell is data, zeros included."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cymf._errors import DivergenceError
from cymf._factors import Factors, aligned_zeros
from cymf._implicit_problem import weighted_gram
from cymf._kernels import nonnegative_kernels
from cymf._nonnegative_rows import TRAINING, Descent, Penalty, sums_of_rows
from cymf._parallel import Workers, equal_work_chunks, in_shares
from cymf._sparse_view import SparseView
from cymf.ratings import Ratings

__all__ = ["CompleteRows", "DenseCells", "SparseCells", "solve_rows"]

_PIECE_FLOPS = 4_000_000  # of one product of a dense matrix, about
_LEAST_ROWS = 64
_CHUNK_ROWS = 256


class DenseCells:
    """A dense matrix, multiplied piece by piece; the pieces depend on its sizes alone."""

    def __init__(self, matrix: np.ndarray, dtype: np.dtype[Any], workers: Workers) -> None:
        self.matrix = matrix.astype(dtype, copy=False)
        self.shape: tuple[int, int] = (matrix.shape[0], matrix.shape[1])
        self._workers = workers

    def mean(self) -> float:
        return float(np.mean(self.matrix, dtype=np.float64))

    def squared_norm(self) -> float:
        pieces = (self.matrix[i : i + _CHUNK_ROWS] for i in range(0, len(self.matrix), _CHUNK_ROWS))
        return math.fsum(float(np.sum(np.square(p, dtype=np.float64))) for p in pieces)

    def products(self, which: str, fixed: np.ndarray, out: np.ndarray) -> None:
        """Write the matrix, or its transpose for items, times the fixed factors."""
        matrix = self.matrix if which == "user" else self.matrix.T
        flops_per_row = 2 * matrix.shape[1] * fixed.shape[1]
        size = max(_LEAST_ROWS, -(-_PIECE_FLOPS // flops_per_row))

        def work(piece: int) -> None:
            rows = slice(piece * size, (piece + 1) * size)
            with np.errstate(over="ignore", invalid="ignore"):  # noticed after the solve
                np.matmul(matrix[rows], fixed, out=out[rows])

        in_shares(self._workers, -(-len(matrix) // size), work, flops_per_row * len(matrix))

    def squared_error(self, factors: Factors, from_products: float) -> float:
        """Return ‖A − W Hᵀ‖², cell by cell."""
        total, k = 0.0, factors.n_factors
        items = np.ascontiguousarray(factors.item[:, :k].T)
        for start in range(0, len(self.matrix), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            errors = self.matrix[rows] - factors.user[rows, :k] @ items
            total += float(np.sum(np.square(errors, dtype=np.float64)))
        return total


class SparseCells:
    """A sparse matrix whose other cells are zeros."""

    def __init__(self, ratings: Ratings, dtype: np.dtype[Any], workers: Workers) -> None:
        self.shape = ratings.shape
        self._ratings, self._dtype, self._workers = ratings, dtype, workers
        self._views: dict[str, SparseView] = {}

    def _view(self, which: str) -> SparseView:
        if which not in self._views:
            read = self._ratings.csr if which == "user" else self._ratings.csc
            self._views[which] = read(self._dtype)
        return self._views[which]

    def mean(self) -> float:
        values = self._view("user").values
        return float(np.sum(values, dtype=np.float64)) / (self.shape[0] * self.shape[1])

    def squared_norm(self) -> float:
        return float(np.sum(np.square(self._view("user").values, dtype=np.float64)))

    def products(self, which: str, fixed: np.ndarray, out: np.ndarray) -> None:
        """Write the matrix, or its transpose for items, times the fixed factors."""
        sparse_products(self._view(which), fixed, out, self._workers)

    def squared_error(self, factors: Factors, from_products: float) -> float:
        """Return ‖A − W Hᵀ‖², which the products with the factors tell."""
        return max(0.0, from_products)


def sparse_products(view: SparseView, fixed: np.ndarray, out: np.ndarray, workers: Workers) -> None:
    """Write compressed rows times the fixed factors."""
    chunks, counter = equal_work_chunks(view.indptr, 1.0), np.zeros(1, np.int64)

    def work(_: int) -> None:
        nonnegative_kernels.nonnegative_products(
            view.indptr, view.indices, view.values, fixed, chunks, counter, out
        )

    workers.run(work, 2.0 * len(view.indices) * fixed.shape[1])


def solve_rows(
    products: np.ndarray,
    gram: np.ndarray,
    penalty: Penalty,
    solved: np.ndarray,
    descent: Descent,
    workers: Workers,
) -> float:
    """Solve rows from where they are; return Σ_i w_i·r_i.

    `products` are the r_i, `gram` is the fixed side's in float64, both without the penalty.
    """
    k, dtype = len(gram), solved.dtype
    system = (gram + penalty.reg * np.eye(k)).astype(dtype)
    chunks = np.unique(np.append(np.arange(0, len(solved), _CHUNK_ROWS), len(solved)))
    sums, counter = np.zeros(len(chunks) - 1), np.zeros(1, np.int64)
    size = nonnegative_kernels.nonnegative_shared_scratch_size(k, dtype.itemsize)
    scratch = [aligned_zeros(size, dtype) for _ in range(workers.n_threads)]

    def work(worker: int) -> None:
        nonnegative_kernels.nonnegative_shared_rows(
            products, system, penalty.reg_l1, *descent, solved, chunks.astype(np.int64), counter, sums,
            scratch[worker],
        )  # fmt: skip

    workers.run(work, 2.0 * k * k * len(solved) * max(1, descent.max_passes))
    return math.fsum(sums)


class CompleteRows:
    """Half-sweeps over all cells of a matrix.

    Parameters
    ----------
    cells : DenseCells or SparseCells
        The matrix.
    user_penalty, item_penalty : Penalty
        Penalties of the factors; a user's is scaled by the number of items, an item's by that of users.
    workers : Workers
        The threads.

    Notes
    -----
    Gram matrices are kept from one half-sweep to the next; who changes factors otherwise calls `restart`.
    """

    def __init__(
        self,
        cells: DenseCells | SparseCells,
        user_penalty: Penalty,
        item_penalty: Penalty,
        workers: Workers,
    ) -> None:
        n_users, n_items = cells.shape
        self._cells, self._workers = cells, workers
        self._penalties = {
            "user": Penalty(*(n_items * part for part in user_penalty)),
            "item": Penalty(*(n_users * part for part in item_penalty)),
        }
        self._squared_norm = cells.squared_norm()
        self._products: dict[str, np.ndarray] = {}
        self._grams: dict[str, np.ndarray] = {}
        self._cross = math.nan

    def solve_items(self, factors: Factors, descent: Descent = TRAINING) -> None:
        """Solve all items from where they are, the users fixed."""
        self._half_sweep("item", "user", factors.user, factors.item, factors.n_factors, descent)

    def solve_users(self, factors: Factors, descent: Descent = TRAINING) -> None:
        """Solve all users from where they are, the items fixed."""
        self._half_sweep("user", "item", factors.item, factors.user, factors.n_factors, descent)

    def restart(self) -> None:
        """Forget what is known of the factors."""
        self._grams.clear()

    def objective(self, factors: Factors) -> tuple[float, float]:
        """Return the objective and the training RMSE after a half-sweep, without a pass over the matrix."""
        squared = max(0.0, self._squared_error())
        total = 0.5 * squared
        for rows, name in ((factors.user, "user"), (factors.item, "item")):
            total += sums_of_rows(rows, self._penalties[name], 1.0)
        n_users, n_items = self._cells.shape
        return total, math.sqrt(squared / (n_users * n_items))

    def reconstruction_error(self, factors: Factors) -> float:
        """Return ‖A − W Hᵀ‖_F."""
        return math.sqrt(self._cells.squared_error(factors, self._squared_error()))

    def _squared_error(self) -> float:
        both = float(np.vdot(self._grams["user"], self._grams["item"]))
        return self._squared_norm - 2 * self._cross + both

    def _gram(self, rows: np.ndarray, k: int) -> np.ndarray:
        return weighted_gram(rows, np.zeros(0, rows.dtype), self._workers)[:k, :k]

    def _half_sweep(
        self,
        name: str,
        other: str,
        fixed: np.ndarray,
        solved: np.ndarray,
        k: int,
        descent: Descent,
    ) -> None:
        if name not in self._products:
            self._products[name] = aligned_zeros((len(solved), solved.shape[1]), solved.dtype)
        products = self._products[name]
        if other not in self._grams:
            self._grams[other] = self._gram(fixed, k)
        self._cells.products(name, fixed, products)
        self._cross = solve_rows(
            products, self._grams[other], self._penalties[name], solved, descent, self._workers
        )
        if not math.isfinite(self._cross):
            raise DivergenceError(
                f"the factors of the {name}s are not finite; scale the matrix down, or use dtype='float64'"
            )
        self._grams[name] = self._gram(solved, k)
