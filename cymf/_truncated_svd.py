"""The largest singular values of a sparse matrix, and their vectors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from cymf._parallel import Workers

__all__ = ["TruncatedSVD", "truncated_svd"]

_DENSE_CELLS = 1 << 16  # matrices up to this size are cheaper to decompose whole
_BLOCK = 32
_STRIP = 256  # columns of the basis that are multiplied at a time
_ROWS = 4096


class TruncatedSVD(NamedTuple):
    """The best approximation U diag(σ) Vᵀ of some rank.

    Attributes
    ----------
    left : ndarray of shape (n_rows, n_vectors)
        U: orthonormal columns; zero where σ is.
    values : ndarray of shape (n_vectors,)
        σ, falling; zero beyond the rank of the matrix.
    right : ndarray of shape (n_columns, n_vectors)
        V, as U. The entry of the largest absolute value in each column is positive, the first of equal ones.
    n_iter : int
        Restarts of the iteration; 0 if there was none.
    converged : bool
        Whether the residuals are what was asked for.
    """

    left: np.ndarray
    values: np.ndarray
    right: np.ndarray
    n_iter: int
    converged: bool


def truncated_svd(
    matrix: sparse.csr_array,
    n_vectors: int,
    generator: np.random.Generator,
    *,
    tol: float,
    max_iter: int,
    workers: Workers,
) -> TruncatedSVD:
    """Return the `n_vectors` largest singular values and their vectors, in the dtype of the matrix.

    Small matrices, and those of which nearly all singular values are asked, are decomposed whole through LAPACK, the
    others by `_block_lanczos` on their shorter side.

    Parameters
    ----------
    matrix : csr_array of shape (n_rows, n_columns), float32 or float64
        Finite.
    n_vectors : int
        At least 1; may exceed the rank.
    generator : Generator
        Draws the start of the iteration.
    tol : float
        Largest ‖A v − σ u‖ of a wanted triplet, relative to the largest σ; ‖Aᵀu − σ v‖ is zero but for rounding. Of
        triplets with σ below ``tol`` times the largest, σ ‖A v − σ u‖ ≤ (``tol`` σ₁)² is enough.
    max_iter : int
        Most restarts, at least 1.
    workers : Workers
        The threads. BLAS is to be kept from starting its own.

    Notes
    -----
    Work is cut into pieces whatever the number of threads, so that the result is the same bits.
    """
    wanted = min(n_vectors, *matrix.shape)
    n_iter, converged = 0, True
    if matrix.shape[0] * matrix.shape[1] <= _DENSE_CELLS or 2 * _kept(wanted) + _BLOCK > min(
        matrix.shape
    ):
        left, values, transposed = np.linalg.svd(matrix.toarray(), full_matrices=False)
        right = transposed.T
    elif matrix.shape[0] > matrix.shape[1]:
        shorter = matrix.T.tocsr()
        right, values, left, n_iter, converged = _block_lanczos(
            shorter, wanted, generator, tol, max_iter, workers
        )
    else:
        left, values, right, n_iter, converged = _block_lanczos(
            matrix, wanted, generator, tol, max_iter, workers
        )
    noise = values[0] * max(matrix.shape) * np.finfo(matrix.dtype).eps
    wanted = int(np.count_nonzero(values[:wanted] > noise))
    peaks = np.take_along_axis(right, np.abs(right).argmax(axis=0)[None], 0)[0, :wanted]
    signs = np.where(peaks < 0, -1, 1).astype(matrix.dtype)
    return TruncatedSVD(
        _padded(left[:, :wanted] * signs, n_vectors),
        _padded(values[None, :wanted], n_vectors)[0],
        _padded(right[:, :wanted] * signs, n_vectors),
        n_iter,
        converged,
    )


def _padded(columns: np.ndarray, n_columns: int) -> np.ndarray:
    padded = np.zeros((len(columns), n_columns), columns.dtype)
    padded[:, : columns.shape[1]] = columns
    return padded


def _kept(n_vectors: int) -> int:
    """Return how many vectors survive a restart, whole blocks of them."""
    return -(-n_vectors // _BLOCK) * _BLOCK + _BLOCK


def _block_lanczos(
    matrix: Any,
    n_vectors: int,
    generator: np.random.Generator,
    tol: float,
    max_iter: int,
    workers: Workers,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, bool]:
    r"""Largest singular triplets by block Lanczos iteration on A Aᵀ, with thick restarts.

    A block X of orthonormal columns is appended to the basis Q, and the next one is what A AᵀX has that Q has not,

        A AᵀX = Q C + X₊ R.

    In the basis, kept orthonormal by projecting twice, A Aᵀ is the Gram matrix of B = AᵀQ; its eigenvectors W give
    u = Q w and v = B w / σ with Aᵀu = σ v exactly and ‖A v − σ u‖ = ‖R w_last‖ / σ, w_last being the entries of w for
    the last block. When the basis is full, twice as wide as what is wanted, the best of it are kept and the iteration
    goes on from X₊.

    A step costs two products of the sparse matrix with a block and 8 n_rows · width · block flops, nearly all of it in
    matrix products. Golub and Underwood 1977; Wu and Simon 2000, "Thick-restart Lanczos method".
    """
    n_rows, n_columns = matrix.shape
    forward, backward = _SparseProduct(matrix, workers), _SparseProduct(matrix.T.tocsr(), workers)
    dtype = matrix.dtype
    kept = _kept(n_vectors)
    width = 2 * kept
    basis = np.empty((n_rows, width), dtype, order="F")
    images = np.empty((n_columns, width), dtype, order="F")
    block = _orthonormal(_drawn(generator, n_rows, _BLOCK, dtype))
    filled = 0
    scale = 0.0
    for n_iter in range(1, max_iter + 1):
        while filled < width:
            new = slice(filled, filled + _BLOCK)
            basis[:, new] = block
            images[:, new] = backward(block)
            scale = max(scale, float(np.linalg.norm(images[:, new], axis=0).max()))
            following = forward(np.ascontiguousarray(images[:, new]))
            filled += _BLOCK
            block, coupling = _continued(following, basis[:, :filled], scale**2, generator, workers)
        squares, rotation = np.linalg.eigh(_gram(images, workers))
        values = np.sqrt(np.maximum(squares[::-1], 0))
        rotation = rotation[:, ::-1]
        last = rotation[-_BLOCK:, :n_vectors]
        residuals = np.linalg.norm(coupling @ last, axis=0)
        allowed = tol * values[0] * np.maximum(values[:n_vectors], tol * values[0])
        converged = bool((residuals <= allowed).all())
        if converged or n_iter == max_iter:
            break
        rotation = rotation[:, :kept].astype(dtype)
        for columns in (basis, images):
            _rotate(columns, rotation, workers)
        filled = kept
    rotation = rotation[:, :n_vectors].astype(dtype)
    for columns in (basis, images):
        _rotate(columns, rotation, workers)
    right = images[:, :n_vectors]
    norms = np.einsum("ij,ij->j", right, right, dtype=np.float64)
    values = np.sqrt(norms).astype(dtype)  # of small ones, the eigenvalues are inexact
    order = np.argsort(-values, kind="stable")
    values, left, right = values[order], basis[:, order], right[:, order]
    right /= np.where(values > 0, values, 1)
    return left, values, right, n_iter, converged


def _continued(
    block: np.ndarray,
    basis: np.ndarray,
    size: float,
    generator: np.random.Generator,
    workers: Workers,
) -> tuple[np.ndarray, np.ndarray]:
    """Return an orthonormal block X₊ orthogonal to the basis, and R with block = basis C + X₊ R.

    Directions that the basis has already, to rounding relative to `size`, are replaced by random ones; their rows of R
    are zero.
    """
    for _ in range(2):
        _project_out(block, basis, workers)
    block, coupling = np.linalg.qr(block)
    spent = np.abs(np.diag(coupling)) <= 10 * np.finfo(block.dtype).eps * size
    if spent.any():
        coupling[spent] = 0
        block[:, spent] = _drawn(generator, len(block), int(spent.sum()), block.dtype)
        for _ in range(2):
            _project_out(block, basis, workers)
            block = _orthonormal(block)
    return block, coupling.astype(np.float64)


class _SparseProduct:
    """Products of a sparse matrix with blocks of columns, some rows at a time."""

    def __init__(self, matrix: Any, workers: Workers) -> None:
        self._shape = matrix.shape
        self._workers = workers
        self._pieces = [
            (rows, matrix[rows]) for rows in _slices(matrix.shape[0], max(1, matrix.shape[0] // 16))
        ]

    def __call__(self, block: np.ndarray) -> np.ndarray:
        product = np.empty((self._shape[0], block.shape[1]), block.dtype)

        def multiply(number: int) -> None:
            rows, piece = self._pieces[number]
            product[rows] = piece @ block

        _each(len(self._pieces), multiply, self._workers)
        return product


def _project_out(block: np.ndarray, basis: np.ndarray, workers: Workers) -> None:
    """Subtract from a block of columns what the basis has of it."""
    coefficients = np.empty((basis.shape[1], block.shape[1]), block.dtype)
    columns = _slices(basis.shape[1], _STRIP)

    def multiply(number: int) -> None:
        coefficients[columns[number]] = basis[:, columns[number]].T @ block

    _each(len(columns), multiply, workers)
    rows = _slices(len(basis), _ROWS)

    def subtract(number: int) -> None:
        block[rows[number]] -= basis[rows[number]] @ coefficients

    _each(len(rows), subtract, workers)


def _rotate(columns: np.ndarray, rotation: np.ndarray, workers: Workers) -> None:
    """Overwrite the first columns by columns @ rotation."""
    rows = _slices(len(columns), _ROWS)

    def rotate(number: int) -> None:
        columns[rows[number], : rotation.shape[1]] = columns[rows[number]] @ rotation

    _each(len(rows), rotate, workers)


def _gram(columns: np.ndarray, workers: Workers) -> np.ndarray:
    """Return the lower triangle of columnsᵀ columns in float64, without which small singular values drown in the square
    of the largest.
    """
    gram = np.zeros((columns.shape[1], columns.shape[1]))
    strips = _slices(columns.shape[1], _STRIP)

    def multiply(number: int) -> None:
        strip = strips[number]
        for rows in _slices(len(columns), _ROWS):
            block = columns[rows, strip.start :].astype(np.float64)
            gram[strip.start :, strip] += block.T @ block[:, : strip.stop - strip.start]

    _each(len(strips), multiply, workers)
    return gram


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, min(length, start + step)) for start in range(0, length, step)]


def _each(n_pieces: int, work: Callable[[int], None], workers: Workers) -> None:
    """Do ``work(0)``, ``work(1)``, …, each once, by whatever thread comes first."""
    numbers = deque(range(n_pieces))

    def draw(worker: int) -> None:
        while True:
            try:
                number = numbers.popleft()
            except IndexError:
                return
            work(number)

    workers.run(draw)


def _orthonormal(block: np.ndarray) -> np.ndarray:
    return np.linalg.qr(block)[0]


def _drawn(
    generator: np.random.Generator, n_rows: int, n_columns: int, dtype: np.dtype[Any]
) -> np.ndarray:
    drawn: np.ndarray = generator.standard_normal((n_rows, n_columns), dtype)
    return drawn
