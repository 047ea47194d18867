"""Half-sweeps of implicit ALS: every row of one side solved over all cells, the other side fixed."""

from __future__ import annotations

import numpy as np

from cymf._errors import DivergenceError
from cymf._factors import Factors, aligned_zeros
from cymf._implicit_problem import ImplicitProblem, ImplicitSide, in_shares
from cymf._kernels import implicit_kernels

__all__ = ["ImplicitRows"]

_ROTATED_BLOCK = 2048  # rows
_METHODS = {"cholesky": 0, "cg": 1, "subspace": 2}


class ImplicitRows:
    """Half-sweeps in the eigenbasis of the fixed side's Gram matrix, where a row's base system is diagonal.

    A product w·h does not change when both sides are rotated alike. So without biases nothing is rotated back: after a
    half-sweep both sides stand in the eigenbasis of the fixed one. With biases, a fixed row is [h, γ] and a solved one
    [w, x] with the bias b = γ x, γ² = λ / λ_b, so that one λ penalizes all of it; these are rotated back.
    """

    def __init__(
        self, problem: ImplicitProblem, solver: str, cg_steps: int, block_size: int
    ) -> None:
        self.problem = problem
        self._method = _METHODS[solver]
        model, dtype = problem.model, problem.dtype
        self._n_unknowns = model.n_factors + model.use_bias
        lanes = 64 // dtype.itemsize
        self._width = -(-self._n_unknowns // lanes) * lanes
        block_size = min(-(-block_size // lanes) * lanes, self._width)
        self._setting = {"cholesky": 0, "cg": cg_steps, "subspace": block_size}[solver]
        longest = int(max(problem.users.counts.max(), problem.items.counts.max()))
        size = implicit_kernels.implicit_scratch_size(self._n_unknowns, self._width, longest)
        self._scratch = [aligned_zeros(size, dtype) for _ in range(problem.workers.n_threads)]
        self._grams: dict[str, np.ndarray] = {}  # of sides as they are now

    def solve_users(self, factors: Factors) -> None:
        """Solve all users, the items fixed."""
        problem = self.problem
        fixed, solved = (factors.item, factors.item_bias), (factors.user, factors.user_bias)
        self._half_sweep("user", problem.users, "item", problem.items, fixed, solved)

    def solve_items(self, factors: Factors) -> None:
        """Solve all items, the users fixed."""
        problem = self.problem
        fixed, solved = (factors.user, factors.user_bias), (factors.item, factors.item_bias)
        self._half_sweep("item", problem.items, "user", problem.users, fixed, solved)

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
        fixed_side: ImplicitSide,
        fixed: tuple[np.ndarray, np.ndarray],
        solved: tuple[np.ndarray, np.ndarray],
    ) -> None:
        problem, q = self.problem, self._n_unknowns
        rows, unknowns = fixed[0], solved[0]
        constant = np.zeros(0, problem.dtype)
        if problem.model.use_bias:
            rows = self._with_column(fixed[0], problem.model.bias_column * (fixed_side.counts > 0))
            unknowns = self._with_column(solved[0], solved[1] / problem.model.bias_column)
            self._grams.pop(fixed_name, None)
        eigenvalues, basis = self._eigenbasis(self._gram(fixed_name, rows))
        self._rotate(rows, basis)
        if self._method:
            self._rotate(unknowns, basis)
        self._grams = {fixed_name: np.diag(eigenvalues)}
        if problem.model.use_bias:
            weights = problem.popularity if fixed_name == "item" and len(problem.popularity) else 1
            constant = ((fixed[1].astype(np.float64) * weights) @ rows).astype(problem.dtype)
        spectrum = np.zeros((1, self._width), problem.dtype)
        spectrum[0, : len(eigenvalues)] = eigenvalues
        inputs = (
            side.base, side.column_base, problem.model.replaces, side.penalties, rows, fixed[1], constant,
        )  # fmt: skip
        status = np.zeros(len(unknowns), np.int8)
        counter = np.zeros(1, np.int64)
        mean_squares = spectrum[0] / max(1, int(np.count_nonzero(fixed_side.counts)))

        def work(worker: int) -> None:
            implicit_kernels.implicit_half_sweep(
                side.indptr, side.indices, side.confidence, *inputs, spectrum,
                mean_squares.astype(problem.dtype), q, self._method, self._setting, unknowns,
                side.chunks, counter, status, self._scratch[worker],
            )  # fmt: skip

        flops = {0: q * (q + 1.0), 1: 4.0 * q * (self._setting + 1), 2: 1.0 * q * self._setting}
        problem.workers.run(work, flops[self._method] * len(side.indices))
        for row in np.flatnonzero(status):
            cells = slice(side.indptr[row], side.indptr[row + 1])
            unknowns[row, :q] = minimum_norm_row(
                side.indices[cells], side.confidence[cells], side.base[row], *inputs[1:3],
                side.penalties[row], rows[:, :q], *inputs[5:], np.diag(eigenvalues[:q]),
            )  # fmt: skip
        if problem.model.use_bias:
            self._rotate(unknowns, basis.T)
            self._grams.clear()
            solved[0][:, : q - 1] = unknowns[:, : q - 1]
            solved[1][:] = unknowns[:, q - 1] * problem.model.bias_column
        finite = np.isfinite(unknowns.sum(axis=1))
        if not finite.all():
            self._raise(name, side, int(np.flatnonzero(~finite)[0]))

    def _with_column(self, factors: np.ndarray, column: np.ndarray) -> np.ndarray:
        extended = aligned_zeros((len(factors), self._width), self.problem.dtype)
        k = self._n_unknowns - 1
        extended[:, :k] = factors[:, :k]
        extended[:, k] = column
        return extended

    def _eigenbasis(self, gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return eigenvalues and eigenvectors; where nothing is penalized, without what is rounding noise.

        Directions that the fixed rows do not have get the eigenvalue 0 and an eigenvector of zeros, so that rotated
        rows have exact zeros there.
        """
        q, model = self._n_unknowns, self.problem.model
        if not np.isfinite(gram).all():
            raise DivergenceError(
                "the factors overflow; raise reg, lower alpha, or take dtype='float64'"
            )
        basis = np.zeros((self._width, self._width))
        eigenvalues = np.zeros(self._width)
        eigenvalues[:q], basis[:q, :q] = np.linalg.eigh(gram[:q, :q])
        np.maximum(eigenvalues, 0, out=eigenvalues)
        if model.reg == 0:
            rounding = 16 * q * float(np.finfo(self.problem.dtype).eps)
            noise = max(rounding**2, 16 * q * float(np.finfo(np.float64).eps))  # of squares
            none = eigenvalues <= noise * eigenvalues.max()
            eigenvalues[none] = 0
            basis[:, none] = 0
        return eigenvalues, basis

    def _rotate(self, rows: np.ndarray, basis: np.ndarray) -> None:
        turn = basis.astype(rows.dtype)

        def work(share: int) -> None:
            block = rows[share * _ROTATED_BLOCK : (share + 1) * _ROTATED_BLOCK]
            block[...] = block @ turn

        n_blocks = -(-len(rows) // _ROTATED_BLOCK)
        in_shares(self.problem.workers, n_blocks, work, 2.0 * rows.size * rows.shape[1])

    def _raise(self, name: str, side: ImplicitSide, row: int) -> None:
        ratings = self.problem.ratings
        ids = ratings.user_ids if name == "user" else ratings.item_ids
        shown = (np.array([row]) if ids is None else ids.to_ids(np.array([row]))).tolist()[0]
        raise DivergenceError(
            f"the solution of {name} {shown!r} ({side.counts[row]} ratings) is not finite; "
            "raise reg, lower alpha, or take dtype='float64'"
        )


def minimum_norm_row(
    indices: np.ndarray,
    confidence: np.ndarray,
    base: float,
    column_base: np.ndarray,
    replaces: bool,
    reg: float,
    fixed: np.ndarray,
    offset: np.ndarray,
    constant: np.ndarray,
    gram: np.ndarray,
) -> np.ndarray:
    """Return the shortest solution of one row's normal equations in float64; NaN where there is none."""
    g = fixed[indices].astype(np.float64)
    weights = np.abs(confidence).astype(np.float64)
    if replaces:
        weights = weights - base * (column_base[indices] if len(column_base) else 1.0)
    pulls = np.maximum(confidence, 0).astype(np.float64)
    if len(offset):
        pulls -= weights * offset[indices]
    matrix = base * gram + (g.T * weights) @ g
    matrix[np.diag_indices_from(matrix)] += reg
    right = g.T @ pulls
    if len(constant):
        right -= base * constant[: len(right)]
    if not (np.isfinite(matrix).all() and np.isfinite(right).all()):
        return np.full(len(right), np.nan)
    rcond = len(right) * float(np.finfo(fixed.dtype).eps)
    return np.asarray(np.linalg.lstsq(matrix, right, rcond=rcond)[0])
