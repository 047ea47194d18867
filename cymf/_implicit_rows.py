"""Rows of implicit ALS: one side solved over all cells, the other side fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cymf._errors import DivergenceError
from cymf._factors import Factors, aligned_zeros
from cymf._implicit_problem import (
    ImplicitModel,
    ImplicitProblem,
    ImplicitSide,
    with_column,
)
from cymf._kernels import implicit_kernels
from cymf._parallel import Workers, in_shares

__all__ = ["FixedSide", "ImplicitRows", "Method", "rotate", "scratch_of"]

_ROTATED_BLOCK = 2048  # rows
_NO_DIRECTION = (
    1e30  # the eigenvalue of padding and of directions without rows: nothing moves there
)


class Method:
    """How rows are solved.

    Parameters
    ----------
    solver : {"cholesky", "cg", "subspace"}
        Its name.
    cg_steps, block_size : int
        Its settings; the block is rounded up to cache lines, and down to `width`.
    width : int
        Padded length of a row.
    itemsize : int
        Bytes of a number.
    """

    def __init__(
        self, solver: str, cg_steps: int = 1, block_size: int = 1, width: int = 0, itemsize: int = 4
    ) -> None:
        lanes = 64 // itemsize
        self.number = {"cholesky": 0, "cg": 1, "subspace": 2}[solver]
        self.setting = {
            "cholesky": 0,
            "cg": cg_steps,
            "subspace": min(-(-block_size // lanes) * lanes, width),
        }[solver]

    @property
    def starts_from_rows(self) -> bool:
        """Whether rows are improved from where they are."""
        return self.number != 0

    def flops_per_rating(self, n_unknowns: int) -> float:
        """Return a rough count, to decide whether threads are worth it."""
        each = {0: n_unknowns + 1, 1: 4 * (self.setting + 1), 2: self.setting}[self.number]
        return float(n_unknowns * each)


def scratch_of(width: int, longest: int, dtype: np.dtype[Any], n_threads: int) -> list[np.ndarray]:
    """Return every worker's scratch."""
    size = implicit_kernels.implicit_scratch_size(width, longest)
    return [aligned_zeros(size, dtype) for _ in range(n_threads)]


class FixedSide:
    """The side that others are solved from, rotated into the eigenbasis of its Gram matrix G = Σ v g gᵀ.

    There the base s G + λ of every row's system is a diagonal, whatever its s and λ.

    Parameters
    ----------
    rows : ndarray of shape (m, width)
        Rows g, rotated in place.
    gram : ndarray of shape (width, width)
        G of the rows as they come.
    offset : ndarray of shape (m,) or (0,)
        Their biases.
    weights : ndarray of shape (m,) or (0,)
        v, empty where all are 1.
    n_unknowns : int
        Columns that are not padding.
    model : ImplicitModel
        What is minimized.
    workers : Workers
        The threads.
    """

    def __init__(
        self,
        rows: np.ndarray,
        gram: np.ndarray,
        offset: np.ndarray,
        weights: np.ndarray,
        n_unknowns: int,
        model: ImplicitModel,
        workers: Workers,
    ) -> None:
        self.rows = rows
        self.offset = offset
        self.n_unknowns = n_unknowns
        self.model = model
        dtype = rows.dtype
        self.eigenvalues, self.basis = _eigenbasis(gram, n_unknowns, model.reg == 0, dtype)
        rotate(rows, self.basis, workers)
        self._spectrum = self.eigenvalues.astype(dtype)
        self._spectrum[~self.basis.any(axis=0)] = _NO_DIRECTION
        self._mean_squares = (self.eigenvalues / max(1, len(rows))).astype(dtype)
        self._constant = np.zeros(0, dtype)
        if len(offset):
            pulls = offset.astype(np.float64) * (weights if len(weights) else 1.0)
            self._constant = (pulls @ rows).astype(dtype)

    def solve(
        self,
        side: ImplicitSide,
        solved: np.ndarray,
        method: Method,
        workers: Workers,
        scratch: Sequence[np.ndarray],
        drawn_to: np.ndarray | None = None,
    ) -> np.ndarray:
        """Solve rows of the other side, in the rotated basis; return those that have no finite solution, now NaN.

        `drawn_to` holds, in that basis too, what the penalty draws each row to: λ ‖x − m‖² is λ ‖x‖² with s t − λ m in
        place of s t.
        """
        constant = self._constant
        if drawn_to is not None:
            ratio = np.divide(
                side.penalties, side.base, out=np.zeros_like(side.base), where=side.base > 0
            )
            constant = -drawn_to * ratio.astype(drawn_to.dtype)[:, np.newaxis]
            if len(self._constant):
                constant += self._constant
            constant = constant.ravel()
        status = np.zeros(len(solved), np.int8)
        counter = np.zeros(1, np.int64)

        def work(worker: int) -> None:
            implicit_kernels.implicit_half_sweep(
                side.indptr, side.indices, side.confidence, side.base, side.column_base, self.model.replaces,
                side.penalties, self.rows, self.offset, constant, self._spectrum, self._mean_squares,
                self.n_unknowns, method.number, method.setting, solved, side.chunks, counter, status, scratch[worker],
            )  # fmt: skip

        flops = method.flops_per_rating(self.n_unknowns)
        workers.run(work, flops * len(side.indices))
        retried = np.flatnonzero(status)
        for row in retried:
            solved[row] = 0
            own = None if drawn_to is None else drawn_to[row, : self.n_unknowns]
            solved[row, : self.n_unknowns] = self._minimum_norm_row(side, int(row), own)
        return np.asarray(retried[~np.isfinite(solved[retried].sum(axis=1))])

    def system(
        self, side: ImplicitSide, row: int, drawn_to: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return one row's normal equations in float64: A, its rated rows g and their pulls r, and −s t + λ m."""
        cells = slice(side.indptr[row], side.indptr[row + 1])
        indices, confidence = side.indices[cells], side.confidence[cells].astype(np.float64)
        q, base = self.n_unknowns, side.base[row]
        g = self.rows[indices, :q].astype(np.float64)
        weights, pulls = np.abs(confidence), np.maximum(confidence, 0)
        if self.model.replaces:
            weights -= base * (side.column_base[indices] if len(side.column_base) else 1.0)
        if len(self.offset):
            pulls -= weights * self.offset[indices]
        matrix = (g.T * weights) @ g
        matrix[np.diag_indices_from(matrix)] += base * self.eigenvalues[:q] + side.penalties[row]
        rest = np.zeros(q)
        if len(self._constant):
            rest -= base * self._constant[:q].astype(np.float64)
        if drawn_to is not None:
            rest += side.penalties[row] * drawn_to
        return matrix, g, pulls, rest

    def _minimum_norm_row(
        self, side: ImplicitSide, row: int, drawn_to: np.ndarray | None
    ) -> np.ndarray:
        """Return the shortest solution of one row's normal equations; NaN where there is none."""
        q = self.n_unknowns
        matrix, g, pulls, rest = self.system(side, row, drawn_to)
        right = np.asarray(g.T @ pulls + rest)
        if not (np.isfinite(matrix).all() and np.isfinite(right).all()):
            return np.full(q, np.nan)
        rcond = q * float(np.finfo(self.rows.dtype).eps)
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=rcond)[0])


class ImplicitRows:
    """Half-sweeps of one fit.

    A product w·h does not change when both sides are rotated alike. So without biases nothing is rotated back: after a
    half-sweep both sides stand in the eigenbasis of the fixed one. With biases, a fixed row is [h, γ] and a solved one
    [w, x] with the bias b = γ x, γ² = λ / λ_b, so that one λ penalizes all of it; these are rotated back.
    """

    def __init__(
        self, problem: ImplicitProblem, solver: str, cg_steps: int, block_size: int
    ) -> None:
        self.problem = problem
        model, dtype = problem.model, problem.dtype
        self._n_unknowns = model.n_factors + model.use_bias
        lanes = 64 // dtype.itemsize
        width = -(-self._n_unknowns // lanes) * lanes
        self._method = Method(solver, cg_steps, block_size, width, dtype.itemsize)
        longest = int(max(problem.users.counts.max(), problem.items.counts.max()))
        n_threads = problem.workers.n_threads
        self._scratch = scratch_of(width, longest, dtype, n_threads)
        self._grams: dict[str, np.ndarray] = {}  # of sides as they are now

    def solve_users(self, factors: Factors) -> None:
        """Solve all users, the items fixed."""
        fixed, solved = (factors.item, factors.item_bias), (factors.user, factors.user_bias)
        self._half_sweep("user", self.problem.users, "item", fixed, solved)

    def solve_items(self, factors: Factors) -> None:
        """Solve all items, the users fixed."""
        fixed, solved = (factors.user, factors.user_bias), (factors.item, factors.item_bias)
        self._half_sweep("item", self.problem.items, "user", fixed, solved)

    def all_cells(self, factors: Factors) -> float:
        """Return Σ v score² over all cells; the Gram matrix it needs serves the next half-sweep as well."""
        if self.problem.model.use_bias:
            return self.problem.all_cells(factors)
        grams = self._gram("user", factors.user), self._gram("item", factors.item)
        return float(np.vdot(*grams))

    def _gram(self, which: str, rows: np.ndarray) -> np.ndarray:
        if which not in self._grams:
            self._grams[which] = self.problem.gram(which, rows)
        return self._grams[which]

    def _half_sweep(
        self,
        name: str,
        side: ImplicitSide,
        fixed_name: str,
        fixed: tuple[np.ndarray, np.ndarray],
        solved: tuple[np.ndarray, np.ndarray],
    ) -> None:
        problem, method = self.problem, self._method
        rows, unknowns = fixed[0], solved[0]
        prior, drawn_to = problem.priors.get(name), None
        if prior is not None:
            prior.learn(*solved)
            drawn_to = prior.mean
            if problem.model.use_bias:
                column = prior.bias_mean / problem.model.bias_column
                drawn_to = with_column(prior.mean, problem.n_factors, column)
        if problem.model.use_bias:
            rows = problem.extended(fixed_name, fixed[0])
            column = solved[1] / problem.model.bias_column
            unknowns = with_column(solved[0], problem.n_factors, column)
            gram = problem.gram(fixed_name, rows)
        else:
            gram = self._gram(fixed_name, rows)
        fixed_side = FixedSide(
            rows, gram, fixed[1], problem.weights(fixed_name), self._n_unknowns, problem.model, problem.workers
        )  # fmt: skip
        if method.starts_from_rows:
            rotate(unknowns, fixed_side.basis, problem.workers)
        if drawn_to is not None:
            rotate(drawn_to, fixed_side.basis, problem.workers)
        failed = fixed_side.solve(side, unknowns, method, problem.workers, self._scratch, drawn_to)
        problem.check_solved(name, failed)
        self._grams = {fixed_name: np.diag(fixed_side.eigenvalues)}
        if problem.model.use_bias:
            rotate(unknowns, fixed_side.basis.T, problem.workers)
            self._grams.clear()
            k = problem.n_factors
            solved[0][:, :k] = unknowns[:, :k]
            solved[1][:] = unknowns[:, k] * problem.model.bias_column
        else:
            for known in problem.priors.values():
                known.turn(fixed_side.basis)


def rotate(rows: np.ndarray, basis: np.ndarray, workers: Workers) -> None:
    """Multiply rows by a square matrix from the right, in place."""
    turn = basis.astype(rows.dtype)

    def work(share: int) -> None:
        block = rows[share * _ROTATED_BLOCK : (share + 1) * _ROTATED_BLOCK]
        block[...] = block @ turn

    n_blocks = -(-len(rows) // _ROTATED_BLOCK)
    in_shares(workers, n_blocks, work, 2.0 * rows.size * rows.shape[1])


def _eigenbasis(
    gram: np.ndarray, n_unknowns: int, without_noise: bool, dtype: np.dtype[Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors; where nothing is penalized, without what is rounding noise.

    Directions that the fixed rows do not have get the eigenvalue 0 and an eigenvector of zeros, so that rotated rows
    have exact zeros there.
    """
    q, width = n_unknowns, len(gram)
    if not np.isfinite(gram).all():
        raise DivergenceError(
            "the factors overflow; raise reg, lower alpha, or take dtype='float64'"
        )
    basis, eigenvalues = np.zeros((width, width)), np.zeros(width)
    eigenvalues[:q], basis[:q, :q] = np.linalg.eigh(gram[:q, :q])
    np.maximum(eigenvalues, 0, out=eigenvalues)
    if without_noise:
        rounding = 16 * q * float(np.finfo(dtype).eps)
        noise = max(rounding**2, 16 * q * float(np.finfo(np.float64).eps))  # of squares
        none = eigenvalues <= noise * eigenvalues.max()
        eigenvalues[none] = 0
        basis[:, none] = 0
    return eigenvalues, basis
