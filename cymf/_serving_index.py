"""Targets made ready for exact top-N search: in the order of a bound on their scores, and quantized.

With x = ‖w‖ the score of query w and target h is at most x ‖h‖ + b_h. Targets stand in the order of that bound for a
typical query; for every panel of 64 the index knows an upper bound for all targets from there on, at a few norms x. The
bound is a maximum of straight lines, a convex function of x, so that between two of these norms the chord is above it.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from cymf._kernels import top_n_kernels
from cymf._parallel import Workers

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["Exclusions", "Purpose", "ServingIndex", "serving_index"]

Purpose = Literal["recommend", "popularity", "item dot", "item cosine", "user dot", "user cosine"]

_LOGGER = logging.getLogger("cymf.serving")

_STRIP, _PANEL = 16, 64  # targets; CYMF_STRIP and CYMF_PANEL of the kernel
_BLOCK = 64  # queries; TOP_N_BLOCK of the kernel
_KNOTS = 17  # norms of queries at which the bound is known, if targets have offsets


class Exclusions(NamedTuple):
    """Targets that are no answer, in CSR form, with a row of their own for every query."""

    rows: np.ndarray  # (n_rows,) the row of each query, -1 where nothing is excluded
    indptr: np.ndarray
    indices: np.ndarray  # target numbers, rising in each row


class ServingIndex(NamedTuple):
    """Targets in panels; immutable, and so safe to share between threads.

    Attributes
    ----------
    factors : ndarray of shape (n_targets, n_factors)
        The targets' factors, not copied.
    offset : ndarray of shape (n_targets,), or (0,)
        What is added to a target's scores.
    order : ndarray of int64, shape (n_ordered,)
        The targets that can be an answer, in the order of the panels.
    panels : ndarray of int8, shape (n_strips, quads, 64)
        Four factors of the 16 targets of a strip beside each other, four strips to a panel; quads is n_factors / 4
        rounded up to an even number.
    starts : ndarray of int32, shape (n_strips, 16)
        What undoes the shift of quantized queries.
    scale : ndarray of float32, shape (n_strips, 16)
        Factors are about `scale` times `panels`.
    panel_offset : ndarray of float32, shape (n_strips, 16)
        `offset` in the order of the panels, minus infinity past the last target.
    slack : ndarray of float64, shape (n_panels, 3)
        The largest error by quantization, the largest norm, and what rounding of offsets amounts to.
    bound : ndarray of float64, shape (n_panels, n_knots + 1)
        Upper bounds of scores, from this panel on, at the norms 0, `knot_distance`, …; last, the slope beyond these.
    knot_distance : float

    Notes
    -----
    Memory: about n_factors + 25 bytes a target, beside the factors. Making one takes
    O(n_targets (n_factors + log n_targets)).
    """

    factors: np.ndarray
    offset: np.ndarray
    order: np.ndarray
    panels: np.ndarray
    starts: np.ndarray
    scale: np.ndarray
    panel_offset: np.ndarray
    slack: np.ndarray
    bound: np.ndarray
    knot_distance: float

    @classmethod
    def build(
        cls,
        factors: np.ndarray,
        offset: np.ndarray | None = None,
        allowed: np.ndarray | None = None,
        largest_norm: float = 0.0,
    ) -> ServingIndex:
        """Make an index.

        Parameters
        ----------
        factors : ndarray of shape (n_targets, n_factors), float32 or float64, C-contiguous
        offset : ndarray of shape (n_targets,), optional
        allowed : ndarray of int64, optional
            The only targets to put into it. None takes all.
        largest_norm : float
            A norm that most queries do not exceed; with offsets, bounds are tight up to it.
        """
        targets = np.arange(len(factors)) if allowed is None else np.asarray(allowed, np.int64)
        with np.errstate(all="ignore"):  # what is not finite proves nothing, and so costs only time
            return cls._build(factors, offset, targets, largest_norm)

    @classmethod
    def _build(
        cls,
        factors: np.ndarray,
        offset: np.ndarray | None,
        targets: np.ndarray,
        largest_norm: float,
    ) -> ServingIndex:
        n_factors = factors.shape[1]
        eps = float(np.finfo(factors.dtype).eps)
        # Inflated by more than the rounding of a product of such rows, and of this norm.
        grown = 1 + (n_factors + 16) * max(eps, 1e-12)
        squares = np.einsum("tf,tf->t", factors, factors, dtype=np.float64)[targets]
        norms = np.sqrt(squares) * grown
        offsets = np.zeros(len(targets)) if offset is None else offset[targets].astype(np.float64)
        knots = np.zeros(1)
        if offset is not None and 0 < largest_norm < np.inf:
            knots = np.linspace(0, largest_norm, _KNOTS)
        typical = knots[-1] / 2 if len(knots) > 1 else 1.0
        by_bound = np.argsort(-(typical * norms + offsets), kind="stable")
        targets, norms, offsets = targets[by_bound], norms[by_bound], offsets[by_bound]

        n_panels = -(-len(targets) // _PANEL)
        n_strips = n_panels * (_PANEL // _STRIP)
        panels = np.zeros((n_strips, -(-n_factors // 8) * 2, 4 * _STRIP), np.int8)
        starts = np.zeros((n_strips, _STRIP), np.int32)
        scale = np.zeros((n_strips, _STRIP), np.float32)
        errors = np.empty(len(targets))
        if len(targets):
            top_n_kernels.top_n_pack(factors, targets, panels, starts, scale, errors)

        # Sums of the filter are of single precision.
        filter_rounding = 16 * float(np.finfo(np.float32).eps)
        rounding = (filter_rounding + 8 * eps) * np.abs(offsets) + (n_factors + 16) * 1.2e-38
        slack = np.stack(
            [
                _panel_maxima(errors + (filter_rounding + grown - 1) * norms, 0.0),
                _panel_maxima(norms, 0.0),
                _panel_maxima(rounding, 0.0),
            ],
            axis=1,
        )
        ahead = [_panel_maxima(x * norms + offsets + rounding, -np.inf) for x in knots]
        ahead.append(slack[:, 1])
        bound = np.maximum.accumulate(np.stack(ahead, axis=1)[::-1], axis=0)[::-1]
        panel_offset = np.full(n_panels * _PANEL, -np.inf, np.float32)
        panel_offset[: len(offsets)] = offsets
        return cls(
            factors,
            np.zeros(0, factors.dtype) if offset is None else np.ascontiguousarray(offset),
            targets,
            panels,
            starts,
            scale,
            panel_offset.reshape(n_strips, _STRIP),
            np.ascontiguousarray(slack),
            np.ascontiguousarray(bound),
            float(knots[1]) if len(knots) > 1 else 0.0,
        )

    def search(
        self,
        query_factors: np.ndarray,
        query_rows: np.ndarray,
        n: int,
        *,
        query_offset: np.ndarray | None = None,
        excluded: Exclusions | None = None,
        allowed: np.ndarray | None = None,
        n_threads: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return for each query the n targets with the largest scores; see `top_n_of_products`.

        `allowed` is an array of uint8, 1 for each of all targets that may be an answer.
        """
        answers = empty_answers(len(query_rows), n, self.factors.dtype)
        size = _BLOCK * 4 * self.panels.shape[1] + 1
        arguments = (
            query_factors,
            query_rows,
            _or_empty(query_offset, self.factors.dtype),
            *self,
            *exclusion_arrays(excluded),
            _or_empty(allowed, np.uint8),
            *answers,
            np.zeros(1, np.int64),
        )

        def work(_: int) -> None:
            top_n_kernels.top_n_search(*arguments, np.empty(size, np.int8))

        if len(query_rows) == 1:
            work(0)
            return answers
        operations = 2.0 * len(query_rows) * self.panels.size
        with Workers(min(n_threads, -(-len(query_rows) // _BLOCK) or 1)) as workers:
            workers.run(work, operations)
        return answers


_indexes: WeakKeyDictionary[FittedState, dict[Purpose, ServingIndex]] = WeakKeyDictionary()
_building = threading.Lock()


def _release() -> None:
    """In a child of fork nobody is building, whoever was in the parent."""
    global _building
    _building = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release)


def serving_index(state: FittedState, purpose: Purpose) -> ServingIndex:
    """Return the index of a fitted state for a purpose, made when first asked for and kept as long as the state.

    Rows without training ratings are left out. For "cosine" the factors are normalized, zero where the norm is 0.
    """
    kept = _indexes.get(state)
    if kept is not None and purpose in kept:
        return kept[purpose]
    with _building:
        kept = _indexes.setdefault(state, {})
        if purpose not in kept:
            start = time.perf_counter()
            kept[purpose] = _build(state, purpose)
            seconds = time.perf_counter() - start
            _LOGGER.debug(
                "index for %s of %d rows: %.3g s", purpose, len(kept[purpose].order), seconds
            )
        return kept[purpose]


def _build(state: FittedState, purpose: Purpose) -> ServingIndex:
    by_user = purpose.startswith("user")
    factors = state.user_factors if by_user else state.item_factors
    is_known = state.user_known if by_user else state.item_known
    known = None if is_known.all() else np.flatnonzero(is_known)
    if purpose == "popularity":
        counts = state.item_counts.astype(np.float64)
        return ServingIndex.build(np.zeros((len(counts), 0)), counts, known)
    if purpose == "recommend" and state.item_bias is not None:
        norms = np.sqrt(np.einsum("uf,uf->u", state.user_factors, state.user_factors))
        return ServingIndex.build(factors, state.item_bias, known, float(norms.max(initial=0)))
    if purpose.endswith("cosine"):
        factors = _of_unit_length(factors)
    return ServingIndex.build(factors, None, known)


def _of_unit_length(factors: np.ndarray) -> np.ndarray:
    """Return rows divided by their norms; rows of zeros stay."""
    limits = np.finfo(factors.dtype)
    sizes = np.abs(factors).max(axis=1, initial=0)
    # squares of other rows would leave the range of numbers, or lose digits at its lower end
    squared = (sizes > math.sqrt(limits.tiny / limits.eps)) & (
        sizes < math.sqrt(limits.max / max(1, factors.shape[1]))
    )
    others = np.flatnonzero(~squared & (sizes > 0))
    if len(others):
        factors = factors.copy()
        factors[others] /= sizes[others, None]
    norms = np.linalg.norm(factors, axis=1, keepdims=True)
    units: np.ndarray = np.divide(factors, norms, out=np.zeros_like(factors), where=norms > 0)
    return units


def empty_answers(n_rows: int, n: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the arrays for targets and scores."""
    return np.empty((n_rows, n), np.int64), np.empty((n_rows, n), dtype)


_NO_INDICES = np.zeros(0, np.int64)


def exclusion_arrays(excluded: Exclusions | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the arrays that kernels take, empty ones for no exclusions."""
    if excluded is None:
        return _NO_INDICES, _NO_INDICES, _NO_INDICES
    rows, indptr = (np.ascontiguousarray(array, np.int64) for array in excluded[:2])
    return rows, indptr, np.ascontiguousarray(excluded.indices)


def _or_empty(array: np.ndarray | None, dtype: Any) -> np.ndarray:
    return np.zeros(0, dtype) if array is None else array


def _panel_maxima(values: np.ndarray, padding: float) -> np.ndarray:
    padded = np.full(-(-len(values) // _PANEL) * _PANEL, padding)
    padded[: len(values)] = values
    maxima: np.ndarray = padded.reshape(-1, _PANEL).max(axis=1)
    return maxima
