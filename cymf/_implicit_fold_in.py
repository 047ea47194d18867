"""Rows of implicit ALS for users and items that training has not seen: exact solves against the fitted factors."""

from __future__ import annotations

import weakref
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from cymf._alignment import align_index, check_same_shape
from cymf._columns import plain_array, query_column
from cymf._confidence import signed_confidence
from cymf._implicit_problem import (
    ImplicitModel,
    ImplicitSide,
    implicit_model,
    weighted_gram,
    with_column,
)
from cymf._implicit_rows import FixedSide, Method, scratch_of
from cymf._parallel import Workers, equal_work_chunks, single_threaded_blas
from cymf._queries import Axis, By, rows_of
from cymf._sparse_view import SparseView
from cymf._tables import open_table
from cymf.ratings import Ratings, as_ratings

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["FoldIn", "Solved", "is_single_row", "view_of"]


class Solved(NamedTuple):
    """Folded-in rows: factors of shape (n, n_factors), and biases of shape (n,) or None."""

    factors: np.ndarray
    bias: np.ndarray | None


class FoldIn:
    """One side of a fitted model, fixed, to solve rows of the other side from.

    Parameters
    ----------
    state : FittedState
        What the model has learnt.
    model : ImplicitModel
        What it minimizes.
    which : {"user", "item"}
        The side to be solved.

    Notes
    -----
    Holds a rotated copy of the fixed factors, as large as they are. Thread safety: `solve` may be called by any number
    of threads at once.
    """

    def __init__(self, state: FittedState, model: ImplicitModel, which: str) -> None:
        self.model = model
        self._which = which
        counts = state.item_counts if which == "user" else state.user_counts
        factors = state.item_factors if which == "user" else state.user_factors
        bias = state.item_bias if which == "user" else state.user_bias
        dtype = state.dtype
        popularity = model.popularity(state.item_counts)
        rated = state.item_counts[state.item_counts > 0]
        self._mean_popularity = float(np.mean(rated.astype(float) ** model.popularity_exponent))
        self._n_fixed = int(np.count_nonzero(counts))
        self.weights = np.zeros(0, dtype)
        if which == "user" and (model.popularity_exponent > 0 or not counts.all()):
            self.weights = popularity.astype(dtype)
        column = None if bias is None else model.bias_column * (counts > 0)
        rows = with_column(factors, model.n_factors, column)
        rows[counts == 0] = 0  # what features say of rows without observed cells takes no part
        exact = np.dtype(np.float64) if model.reg == 0 else None
        self._n_unknowns = model.n_factors + (bias is not None)
        with single_threaded_blas(), Workers(1) as workers:
            self._fixed = FixedSide(
                rows,
                weighted_gram(rows, self.weights, workers, exact),
                np.zeros(0, dtype) if bias is None else bias,
                self.weights,
                self._n_unknowns,
                model,
                workers,
            )
        self._back = np.ascontiguousarray(self._fixed.basis.T, dtype)

    @classmethod
    def of(cls, state: FittedState, estimator: Any, which: str) -> FoldIn:
        """Return that of an estimator's state and parameters, made when first asked for."""
        parameters = which, *(getattr(estimator, name) for name in _PARAMETERS)
        known = _made.setdefault(state, {})
        if parameters not in known:
            known[parameters] = cls(state, implicit_model(estimator), which)
        return known[parameters]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._fixed.rows.dtype

    def side(self, view: SparseView, counts: np.ndarray | None = None) -> ImplicitSide:
        """Return the rows to be solved; `counts` are their observed cells where `view` has not all of them."""
        model = self.model
        confidence = signed_confidence(
            view.values, view.weights, model.confidence, model.alpha, model.epsilon
        )
        counts = np.diff(view.indptr) if counts is None else counts
        base = np.full(len(counts), model.unobserved_weight)
        if self._which == "item" and model.popularity_exponent > 0:
            base *= np.maximum(counts, 1.0) ** model.popularity_exponent / self._mean_popularity
        return ImplicitSide(
            view.indptr,
            view.indices,
            confidence,
            base,
            self.weights,
            model.penalties(counts, base * self._n_fixed),
            _ONE_CHUNK
            if len(counts) == 1
            else equal_work_chunks(view.indptr, model.n_factors / 6 + 1),
            counts,
        )

    def solve(
        self,
        side: ImplicitSide,
        n_threads: int = 1,
        drawn_to: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Solved:
        """Solve rows exactly; `drawn_to` are the factors and biases that features predict of them."""
        width = self._fixed.rows.shape[1]
        solved = np.zeros((len(side.counts), width), self.dtype)
        longest = int(np.diff(side.indptr).max(initial=0))
        with Workers(n_threads) as workers:
            scratch = scratch_of(width, longest, self.dtype, n_threads)
            prior = None if drawn_to is None else self._rotated(*drawn_to)
            self._fixed.solve(side, solved, Method("cholesky"), workers, scratch, prior)
            if prior is not None:
                empty = np.diff(side.indptr) == 0
                solved[empty] = prior[empty]
        solved = solved @ self._back
        k = self.model.n_factors
        if self._n_unknowns == k:
            return Solved(np.ascontiguousarray(solved[:, :k]), None)
        bias = solved[:, k] * self.dtype.type(self.model.bias_column)
        return Solved(np.ascontiguousarray(solved[:, :k]), bias)

    def _rotated(self, factors: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """Return rows with their biases in the basis in which rows are solved."""
        has_bias = self._n_unknowns > self.model.n_factors
        column = bias / self.model.bias_column if has_bias else None
        rows = with_column(factors.astype(self.dtype), self.model.n_factors, column)
        return np.ascontiguousarray(rows @ self._fixed.basis.astype(self.dtype))

    def influence(
        self,
        view: SparseView,
        row: int,
        other: int,
        drawn_to: tuple[np.ndarray, float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Return what made a row's score for a row of the other side.

        The rated rows j, their pulls r_j, the influence gᵀA⁻¹g_j of each on the score, and what the score is without
        them, the other row's own bias left out.
        """
        cells = slice(int(view.indptr[row]), int(view.indptr[row + 1]))
        rated = view.indices[cells]
        weights = None if view.weights is None else view.weights[cells]
        one = SparseView(np.array([0, len(rated)], np.int64), rated, view.values[cells], weights)
        prior = None
        if drawn_to is not None:
            rotated = self._rotated(drawn_to[0][np.newaxis], np.array([drawn_to[1]]))
            prior = rotated[0, : self._n_unknowns].astype(np.float64)
        matrix, g, pulls, rest = self._fixed.system(self.side(one), 0, prior)
        target = self._fixed.rows[other, : self._n_unknowns].astype(np.float64)
        solved = np.linalg.lstsq(matrix, target, rcond=None)[0]
        return rated, pulls, g @ solved, float(rest @ solved)


_ONE_CHUNK = np.array([0, 1], np.int64)
_PARAMETERS = tuple(parameter.name for parameter in fields(ImplicitModel))
_made: weakref.WeakKeyDictionary[FittedState, dict[Any, FoldIn]] = weakref.WeakKeyDictionary()


def view_of(
    ratings: Any,
    strengths: Any,
    state: FittedState,
    which: str,
    by: By,
    *,
    called: str = "strengths",
) -> tuple[SparseView, bool]:
    """Return what is asked about as compressed rows in the model's columns, and whether it is a single row.

    `ratings` is what `fit` takes, or a list of ids of one row's observed cells, with `strengths` (which messages call
    `called`) or of strength 1. Ids that the model does not know are passed over.
    """
    if not is_single_row(ratings):
        if strengths is not None or by != "id":
            raise ValueError(
                f"{called} and by='index' belong to a list of ids; expected Ratings, a matrix or a table alone"
            )
        return _rows_of_ratings(as_ratings(ratings), state, which), False
    axis = Axis.items(state) if which == "user" else Axis.users(state)
    columns = rows_of(ratings, axis, by=by)
    if strengths is None:
        values = np.ones(len(columns), state.dtype)
    else:
        values = np.asarray(plain_array(strengths, called), state.dtype)
        if values.shape != columns.shape:
            raise ValueError(
                f"{called} has shape {values.shape}; expected {columns.shape}, one for each {axis.what}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{called} holds NaN or infinity; expected finite numbers")
    known = columns >= 0
    if not known.all():
        columns, values = columns[known], values[known]
    if len(set(columns.tolist())) < len(columns):
        raise ValueError(f"one of the {axis.what}s is given twice; expected each once")
    return SparseView(np.array([0, len(columns)], np.int64), columns, values, None), True


def is_single_row(ratings: Any) -> bool:
    """Whether these are the ids of one row's cells, rather than rows of ratings."""
    if isinstance(ratings, Ratings) or sparse.issparse(ratings):
        return False
    return open_table(ratings) is None and np.ndim(query_column(ratings, "ratings")) != 2


def _rows_of_ratings(ratings: Ratings, state: FittedState, which: str) -> SparseView:
    users = which == "user"
    view = ratings.csr(state.dtype) if users else ratings.csc(state.dtype)
    own, known_ids = (
        (ratings.item_ids, state.item_ids) if users else (ratings.user_ids, state.user_ids)
    )
    counts = state.item_counts if users else state.user_counts
    if own is None and known_ids is None:
        check_same_shape(ratings.shape, (state.n_users, state.n_items), (not users, users))
    what = "item" if users else "user"
    columns = align_index(view.indices, own, known_ids, len(counts), what)
    known = columns >= 0
    known[known] = counts[columns[known]] > 0
    before = np.zeros(len(known) + 1, np.int64)
    np.cumsum(known, out=before[1:])
    weights = None if view.weights is None else view.weights[known]
    return SparseView(before[view.indptr], columns[known], view.values[known], weights)
