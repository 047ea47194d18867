"""Implicit sets: what it says about a row which cells of it are observed, whatever stands in them."""

from __future__ import annotations

import numpy as np

from cymf._factors import aligned_zeros
from cymf._kernels import bayesian_kernels
from cymf._normal_wishart import draw_wishart
from cymf._problem import Problem, Side

__all__ = ["ImplicitSets"]


class ImplicitSets:
    r"""The set vectors v_j of one side, and what they say.

    The row i with the set S_i has the mean m + |S_i|^−½ Σ_{j ∈ S_i} v_j. Beforehand v_j ~ N(0, M⁻¹), with a Wishart
    distribution of M.

    Parameters
    ----------
    side, members : Side
        The rows that have sets, by row and by member: the set of a row is its observed cells.
    scale : ndarray of float64, shape (q,)
        Standard deviations that are expected of the columns.
    problem : Problem
        Dtype and threads.

    Attributes
    ----------
    means : ndarray of float64, shape (n_rows, q)
        |S_i|^−½ Σ v_j.
    vectors : ndarray of float64, shape (n_members, q)
        v, zero for members of no set.
    """

    def __init__(self, side: Side, members: Side, scale: np.ndarray, problem: Problem) -> None:
        self._members = members
        self._scale = scale
        self._workers = problem.workers
        self._dtype = problem.dtype
        self._row_scales = (1 / np.sqrt(np.maximum(side.counts, 1))).astype(problem.dtype)
        exact = 1.0 / np.maximum(side.counts, 1)
        sums = np.concatenate([[0.0], np.cumsum(exact[members.indices])])
        self._sums = np.diff(sums[members.indptr])
        self._used = np.flatnonzero(members.counts)
        q = len(scale)
        self.means = np.zeros((len(side.counts), q))
        self.vectors = np.zeros((len(members.counts), q))

    def draw(
        self,
        rows: np.ndarray,
        known: np.ndarray,
        precision: np.ndarray,
        generator: np.random.Generator,
        seed: int,
        epoch: int,
    ) -> None:
        """Draw all vectors, given the rows.

        Parameters
        ----------
        rows : ndarray of float64, shape (n_known, q)
            What of the rows is explained neither by their mean nor by the vectors as they are; used up.
        known : ndarray of int64, shape (n_known,)
            Which rows these are: those with a set.
        precision : ndarray of float64, shape (q, q)
            Λ: the rows are normal around their means with the covariance Λ⁻¹.
        generator : Generator
            For M; the vectors have streams of their own, of `seed` and `epoch`.
        """
        import scipy.linalg

        q, dtype = len(precision), self._dtype
        used = self.vectors[self._used]
        own = draw_wishart(np.diag(self._scale**2) + used.T @ used, q + len(used), generator)
        # in the basis V with VᵀΛV = I and VᵀMV diagonal, columns are independent; x = V x̃, x̃ = VᵀΛx
        diagonal, basis = scipy.linalg.eigh(own, precision)
        into = precision @ basis
        lanes = 64 // dtype.itemsize
        width = -(-q // lanes) * lanes
        residuals = aligned_zeros((len(self.means), width), dtype)
        residuals[known, :q] = rows @ into
        vectors = aligned_zeros((len(self.vectors), width), dtype)
        vectors[:, :q] = self.vectors @ into
        padded = np.full(width, np.inf)
        padded[:q] = diagonal
        counter = np.zeros(1, np.int64)

        def work(_: int) -> None:
            bayesian_kernels.bayesian_set_sweep(
                self._members.indptr, self._members.indices, self._row_scales, self._sums, padded, seed, epoch,
                counter, residuals, vectors,
            )  # fmt: skip

        self._workers.run(work, 4.0 * width * len(self._members.indices))
        self.vectors = vectors[:, :q].astype(np.float64) @ basis.T
        self.means[known] += rows - residuals[known, :q].astype(np.float64) @ basis.T
