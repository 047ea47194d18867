"""Non-negative rows of a matrix that training has not seen: row solves against the fitted factors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cymf._alignment import align_index
from cymf._errors import DivergenceError
from cymf._factors import aligned_zeros
from cymf._implicit_problem import weighted_gram
from cymf._kernels import nonnegative_kernels
from cymf._nonnegative_complete import DenseCells, solve_rows, sparse_products
from cymf._nonnegative_input import NonnegativeMatrix, check_width
from cymf._nonnegative_rows import Penalty, exact_descent
from cymf._parallel import Workers, equal_work_chunks, single_threaded_blas
from cymf._sparse_view import SparseView
from cymf.ratings import Ratings

if TYPE_CHECKING:
    from cymf._ids import IdMap
    from cymf._state import FittedState

__all__ = ["fold_in", "fold_in_rows"]


def fold_in(
    matrix: NonnegativeMatrix,
    state: FittedState,
    penalty: Penalty,
    estimator: str,
    n_threads: int,
) -> np.ndarray:
    """Return the factors of the matrix' rows, the items fixed, without padding.

    Parameters
    ----------
    matrix : NonnegativeMatrix
        New rows, in the columns of the model: by name or id where both have them, by position otherwise.
    state : FittedState
        The model.
    penalty : Penalty
        That of the rows, before it is scaled by the number of cells.
    estimator : str
        Its name, for messages.
    n_threads : int
        Threads.
    """
    if matrix.dense is None:
        assert matrix.ratings is not None
        by_position = matrix.ratings.item_ids is None
        if matrix.names is not None:
            by_position = state.item_ids is None
            _column_order(matrix.names, state)
        view = _aligned_rows(matrix.ratings, state, by_position, estimator)
        return fold_in_rows(view, state, penalty, matrix.zeros, n_threads)
    dense = matrix.dense
    if matrix.names is not None and state.item_ids is not None:
        dense = dense[:, _column_order(matrix.names, state)]
    check_width(dense.shape[1], state.n_items, estimator)
    fixed = _padded(state.item_factors)
    with Workers(n_threads) as workers, single_threaded_blas():
        products = aligned_zeros((len(dense), fixed.shape[1]), state.dtype)
        DenseCells(dense, state.dtype, workers).products("user", fixed, products)
        return _solved(products, fixed, state, penalty, workers)


def fold_in_rows(
    view: SparseView, state: FittedState, penalty: Penalty, zeros: bool, n_threads: int
) -> np.ndarray:
    """Return the factors of compressed rows in the model's columns; `zeros` says what is not stored."""
    fixed = _padded(state.item_factors)
    n_rows, k = len(view.indptr) - 1, state.n_factors
    with Workers(n_threads) as workers, single_threaded_blas():
        if zeros:
            products = aligned_zeros((n_rows, fixed.shape[1]), state.dtype)
            sparse_products(view, fixed, products, workers)
            return _solved(products, fixed, state, penalty, workers)
        solved = aligned_zeros((n_rows, fixed.shape[1]), state.dtype)
        status, counter = np.zeros(n_rows, np.int8), np.zeros(1, np.int64)
        nothing = np.zeros(0, state.dtype)
        weights = nothing if view.weights is None else view.weights
        chunks = equal_work_chunks(view.indptr, k / 6 + 1)
        size = nonnegative_kernels.nonnegative_scratch_size(k, fixed.shape[1])
        scratch = [aligned_zeros(size, state.dtype) for _ in range(n_threads)]

        def work(worker: int) -> None:
            nonnegative_kernels.nonnegative_half_sweep(
                view.indptr, view.indices, view.values, weights, fixed, nothing, solved, nothing, k, 0.0,
                *penalty, 0.0, 1.0, *exact_descent(state.dtype), chunks, counter, status, scratch[worker],
            )  # fmt: skip

        workers.run(work, k * (k + 1.0) * len(view.indices))
    _check_finite(not status.any())
    return np.ascontiguousarray(solved[:, :k])


def _aligned_rows(
    ratings: Ratings, state: FittedState, by_position: bool, estimator: str
) -> SparseView:
    """Return ratings by user in the columns of the model; items that it has no ratings of are left out."""
    view = ratings.csr(state.dtype)
    if by_position:
        check_width(ratings.n_items, state.n_items, estimator)
        columns = view.indices.astype(np.int64)
    else:
        columns = align_index(view.indices, ratings.item_ids, state.item_ids, state.n_items, "item")
    known = columns >= 0
    known[known] = state.item_counts[columns[known]] > 0
    before = np.zeros(len(known) + 1, np.int64)
    np.cumsum(known, out=before[1:])
    weights = None if view.weights is None else view.weights[known]
    return SparseView(before[view.indptr], columns[known], view.values[known], weights)


def _solved(
    products: np.ndarray, fixed: np.ndarray, state: FittedState, penalty: Penalty, workers: Workers
) -> np.ndarray:
    k = state.n_factors
    gram = weighted_gram(fixed, np.zeros(0, state.dtype), workers)[:k, :k]
    solved = aligned_zeros((len(products), fixed.shape[1]), state.dtype)
    scaled = Penalty(*(state.n_items * part for part in penalty))
    cross = solve_rows(products, gram, scaled, solved, exact_descent(state.dtype), workers)
    _check_finite(bool(np.isfinite(cross)))
    return np.ascontiguousarray(solved[:, :k])


def _check_finite(finite: bool) -> None:
    if not finite:
        raise DivergenceError(
            "the factors of a row are not finite; scale the matrix down, or use dtype='float64'"
        )


def _column_order(names: IdMap, state: FittedState) -> np.ndarray:
    """Return where each column of the model stands among `names`; they must be the same."""
    if state.item_ids is None:
        return np.arange(len(names))
    known = state.item_ids.to_index(names.ids, "item")
    order = names.to_index(state.item_ids.ids, "item")
    for columns, given, text in (
        (known, names.ids, "X has the columns {}, which the model does not know"),
        (order, state.item_ids.ids, "X lacks the columns {}, which the model was fitted on"),
    ):
        strange = given[columns < 0]
        if len(strange):
            shown = ", ".join(map(repr, strange[:5].tolist())) + (", …" if len(strange) > 5 else "")
            raise ValueError(f"{text.format(shown)}; expected the same columns, in any order")
    return order


def _padded(factors: np.ndarray) -> np.ndarray:
    """Return factors with rows of whole cache lines."""
    lanes = 64 // factors.dtype.itemsize
    padded = aligned_zeros((len(factors), -(-factors.shape[1] // lanes) * lanes), factors.dtype)
    padded[:, : factors.shape[1]] = factors
    return padded
