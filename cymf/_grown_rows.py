"""Rows of a fitted model that new ratings touch, and rows that are new to it: solved, all others as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from cymf._row_solve import RowObjective, SolvedRows, check_solved, solve_rows
from cymf._sparse_view import SparseView

if TYPE_CHECKING:
    from cymf._estimator import FitSettings
    from cymf._growth import Growth
    from cymf._state import FittedState
    from cymf.ratings import Ratings

__all__ = ["GrownRows", "row_solver"]

_ROUNDS_OF_NEW_ROWS = 3


class _Part(NamedTuple):
    """Some rows of one side, and their ratings."""

    side: str
    numbers: np.ndarray
    view: SparseView


class _Solve(Protocol):
    """Solves rows of a side, "user" or "item", against the other side's factors and biases."""

    def __call__(
        self, side: str, view: SparseView, fixed: np.ndarray, fixed_bias: np.ndarray | None, /
    ) -> SolvedRows: ...


def row_solver(objective: RowObjective, n_threads: int) -> _Solve:
    """Return what solves rows of either side by one objective."""

    def solve(
        side: str, view: SparseView, fixed: np.ndarray, fixed_bias: np.ndarray | None
    ) -> SolvedRows:
        return solve_rows(view, fixed, fixed_bias, objective, n_threads)

    return solve


class GrownRows:
    """All rows of both sides, the new ones at random, and the ratings of those that are to be solved.

    Attributes
    ----------
    factors : dict of str to ndarray
        Factors of the rows of "user" and of "item", not padded.
    bias : dict of str to ndarray, or None
        Their biases, in a model that has them.
    touched, new : tuple of two _Part
        Users and items with new ratings, and those of them that had none before.
    """

    def __init__(
        self,
        old: FittedState,
        growth: Growth,
        ratings: Ratings,
        solve: _Solve,
        settings: FitSettings,
    ) -> None:
        self._solve = solve
        self._ids = {"user": ratings.user_ids, "item": ratings.item_ids}
        self._settled: dict[str, np.ndarray] = {}
        self.factors: dict[str, np.ndarray] = {}
        self.bias: dict[str, np.ndarray | None] = {}
        view = ratings.csr(old.dtype)
        parts = []
        for side, rows, bias, counts, more in (
            ("user", old.user_factors, old.user_bias, old.user_counts, growth.new.user_counts),
            ("item", old.item_factors, old.item_bias, old.item_counts, growth.new.item_counts),
        ):
            touched = np.flatnonzero(more)
            new = touched[touched >= len(counts)]
            new = np.concatenate([np.flatnonzero((counts == 0) & (more[: len(counts)] > 0)), new])
            start = np.zeros((len(more), old.n_factors), old.dtype)
            start[: len(rows)] = rows
            noise = settings.generator.standard_normal((len(new), old.n_factors), old.dtype.type)
            start[new] = settings.init_std * noise
            self.factors[side] = start
            self._settled[side] = np.pad(counts > 0, (0, len(more) - len(counts)))
            self.bias[side] = None if bias is None else np.pad(bias, (0, len(more) - len(bias)))
            for numbers in (touched, new):
                own = (
                    _rows_of(view, numbers)
                    if side == "user"
                    else _columns_of(view, numbers, len(more))
                )
                parts.append(_Part(side, numbers, own))
        self.touched = parts[0], parts[2]
        self.new = parts[1], parts[3]

    def solve_new(self) -> None:
        """Solve the rows that had no ratings before: items, then users; in turn where both sides have some."""
        users, items = self.new
        both = len(users.numbers) and len(items.numbers)
        for _ in range(_ROUNDS_OF_NEW_ROWS if both else 1):
            self.solve(items)
            self.solve(users)

    def solve_new_from_known(self) -> None:
        """Solve the rows that had no ratings before as far as ratings connect them with rows that had.

        Users by their ratings of known items; items by those of users known or solved; users again, by all of these.
        What is connected with new rows alone stays at random: a solution against random rows would be as large as they
        are small, and a gradient step from there too long.
        """
        users, items = self.new
        for part in (users, items, users) if len(items.numbers) else (users,):
            view = _restricted(part.view, self._settled["item" if part.side == "user" else "user"])
            connected = np.flatnonzero(np.diff(view.indptr))
            numbers = part.numbers[connected]
            self.solve(_Part(part.side, numbers, _rows_of(view, connected)))
            self._settled[part.side][numbers] = True

    def solve(self, part: _Part) -> None:
        """Solve rows exactly from all their ratings; nothing else changes."""
        other = "item" if part.side == "user" else "user"
        solved = self._solve(part.side, part.view, self.factors[other], self.bias[other])
        check_solved(solved, part.side, part.numbers, self._ids[part.side])
        self.factors[part.side][part.numbers] = solved.factors
        bias = self.bias[part.side]
        if bias is not None:
            bias[part.numbers] = solved.bias


def _restricted(view: SparseView, columns: np.ndarray) -> SparseView:
    """Return the rows without the entries whose column is not among the chosen, a mask."""
    kept = columns[view.indices]
    if kept.all():
        return view
    ends = np.concatenate([[0], np.cumsum(kept)])
    cells = np.flatnonzero(kept)
    return _taken(view, ends[view.indptr], view.indices[cells], cells)


def _rows_of(view: SparseView, chosen: np.ndarray) -> SparseView:
    counts = view.indptr[chosen + 1] - view.indptr[chosen]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    cells = np.arange(indptr[-1]) + np.repeat(view.indptr[chosen] - indptr[:-1], counts)
    return _taken(view, indptr, view.indices[cells], cells)


def _columns_of(view: SparseView, chosen: np.ndarray, n_columns: int) -> SparseView:
    """Return some columns as rows: one look at every index, and a sort of those that are found."""
    if len(chosen) == 0:
        return _taken(view, np.zeros(1), view.indices[:0], np.zeros(0, np.int64))
    wanted = np.zeros(n_columns, bool)
    wanted[chosen] = True
    cells = np.flatnonzero(wanted[view.indices])
    places = np.searchsorted(chosen, view.indices[cells])
    counts = np.bincount(places, minlength=len(chosen))
    cells = cells[np.argsort(places, kind="stable")]
    rows = np.searchsorted(view.indptr, cells, side="right") - 1
    return _taken(view, np.concatenate([[0], np.cumsum(counts)]), rows, cells)


def _taken(
    view: SparseView, indptr: np.ndarray, indices: np.ndarray, cells: np.ndarray
) -> SparseView:
    weights = None if view.weights is None else view.weights[cells]
    return SparseView(indptr.astype(np.int64), indices, view.values[cells], weights)
