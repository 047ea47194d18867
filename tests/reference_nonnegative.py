"""Slow twins of non-negative rows: every formula as it is read, in float64 and without any trick.

A row's problem, with the bias b where the model has one:

    minimize over w >= 0, b:  1/2 sum_j c_j (y_j - b - w.h_j)^2 + 1/2 reg |w|^2 + l1 sum_f w_f + 1/2 reg_bias b^2
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Row:
    """Rated rows (n, k), targets (n,), weights (n,), and penalties; ``reg_bias`` None: no bias."""

    rated: Array
    targets: Array
    weights: Array
    reg: float
    l1: float
    reg_bias: float | None = None


def row_objective(row: Row, w: Array, b: float = 0.0) -> float:
    errors = row.targets - b - row.rated @ w
    bias = 0.0 if row.reg_bias is None else 0.5 * row.reg_bias * b * b
    return float(
        0.5 * np.sum(row.weights * errors**2) + 0.5 * row.reg * w @ w + row.l1 * w.sum() + bias
    )


def best_bias(row: Row, w: Array) -> float:
    """The bias that is best beside given factors."""
    if row.reg_bias is None:
        return 0.0
    below = row.weights.sum() + row.reg_bias
    return float(row.weights @ (row.targets - row.rated @ w) / below) if below > 0 else 0.0


def system(row: Row) -> tuple[Array, Array]:
    """G and r of 1/2 w'Gw - r'w, the bias eliminated."""
    k = row.rated.shape[1]
    gram = np.zeros((k, k))
    right = np.zeros(k)
    sums = np.zeros(k)
    for h, y, c in zip(row.rated, row.targets, row.weights, strict=True):
        gram += c * np.outer(h, h)
        right += c * y * h
        sums += c * h
    gram += row.reg * np.eye(k)
    if row.reg_bias is not None and row.weights.sum() + row.reg_bias > 0:
        below = row.weights.sum() + row.reg_bias
        gram -= np.outer(sums, sums) / below
        right -= row.weights @ row.targets / below * sums
    return gram, right - row.l1


def descend(gram: Array, right: Array, w: Array, passes: int) -> Array:
    """Coordinate descent: every coordinate becomes the best one beside the others, in turn."""
    w = w.copy()
    for _ in range(passes):
        for f in range(len(w)):
            if gram[f, f] <= 1e-14 * np.abs(gram).max(initial=0):
                w[f] = 0
                continue
            others = gram[f] @ w - gram[f, f] * w[f]
            w[f] = max(0.0, (right[f] - others) / gram[f, f])
    return w


def multiplied(row: Row, w: Array) -> Array:
    """One multiplicative update."""
    above, below = np.zeros_like(w), row.reg * w + row.l1
    for h, y, c in zip(row.rated, row.targets, row.weights, strict=True):
        above += c * y * h
        below += c * (w @ h) * h
    return w * np.divide(above, below, out=np.ones_like(w), where=below > 0)


def optimality(gram: Array, right: Array, w: Array) -> float:
    """How far w >= 0 is from a minimum of 1/2 w'Gw - r'w: the largest violation of Karush, Kuhn and Tucker."""
    gradient = gram @ w - right
    return float(np.max(np.where(w > 0, np.abs(gradient), np.maximum(-gradient, 0)), initial=0.0))


def nmf_objective(
    matrix: Array,
    weights: Array,
    users: Array,
    items: Array,
    alpha_W: float,
    alpha_H: float,
    l1_ratio: float,
) -> float:
    """The objective of NMF over the cells of ``matrix`` that are not NaN."""
    data = ~np.isnan(matrix)
    errors = np.where(data, matrix - users @ items.T, 0)
    total = 0.5 * np.sum(weights * errors**2)
    for rows, counts, alpha in (
        (users, data.sum(axis=1), alpha_W),
        (items, data.sum(axis=0), alpha_H),
    ):
        each = 0.5 * (1 - l1_ratio) * np.sum(rows**2, axis=1) + l1_ratio * rows.sum(axis=1)
        total += alpha * np.sum(counts * each)
    return float(total)
