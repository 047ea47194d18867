"""Slow twins of implicit ALS: dense matrices over all cells, straight from the formulas of `cymf.ImplicitALS`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Cells:
    """All cells: observed confidences and targets, unobserved weights; rows and columns that take no part have none."""

    observed: NDArray[np.bool_]
    confidence: Array  # c, 0 elsewhere
    target: Array  # p, 0 elsewhere
    unobserved: Array  # v_j where a cell takes part
    replaces: bool

    @property
    def quadratic(self) -> Array:
        """Weight of s² of each cell."""
        base = np.where(self.observed & self.replaces, 0, self.unobserved)
        return self.confidence + base

    def transposed(self) -> Cells:
        return Cells(
            self.observed.T, self.confidence.T, self.target.T, self.unobserved.T, self.replaces
        )


def confidences(f: Array, kind: str, alpha: float, epsilon: float = 1.0) -> Array:
    size = np.abs(f)
    return {
        "linear": 1 + alpha * size,
        "log": 1 + alpha * np.log(1 + size / epsilon),
        "given": alpha * size,
    }[kind]


def cells(
    strengths: Array,
    *,
    weighting: str,
    confidence: str = "linear",
    alpha: float = 1.0,
    epsilon: float = 1.0,
    unobserved_weight: float = 1.0,
    popularity_exponent: float = 0.0,
    weights: Array | None = None,
) -> Cells:
    """Cells of a dense matrix of strengths, NaN where nothing was observed."""
    observed = ~np.isnan(strengths)
    f = np.where(observed, strengths, 0.0)
    c = np.where(observed, confidences(f, confidence, alpha, epsilon), 0.0)
    if weights is not None:
        c = c * np.where(observed, weights, 0.0)
    counts = observed.sum(axis=0)
    known = counts > 0
    popularity = np.zeros(len(counts))
    popularity[known] = counts[known] ** popularity_exponent
    popularity[known] /= popularity[known].mean()
    takes_part = observed.any(axis=1)[:, None] & known[None, :]
    base = np.where(takes_part, unobserved_weight * popularity[None, :], 0.0)
    return Cells(observed, c, (f > 0).astype(float), base, weighting == "hu")


def penalties(given: Cells, reg: float, exponent: float) -> Array:
    """λ (n + weight of all cells)^ν of each row."""
    return reg * (given.observed.sum(axis=1) + given.unobserved.sum(axis=1)) ** exponent


@dataclass(frozen=True)
class Model:
    users: Array
    items: Array
    user_bias: Array
    item_bias: Array

    @property
    def scores(self) -> Array:
        return self.users @ self.items.T + self.user_bias[:, None] + self.item_bias[None, :]

    def transposed(self) -> Model:
        return Model(self.items, self.users, self.item_bias, self.user_bias)


def objective(given: Cells, model: Model, reg: float, reg_bias: float, exponent: float) -> float:
    """The sum over every cell of the matrix."""
    scores = model.scores
    total = 0.0
    for i, j in np.ndindex(scores.shape):
        if given.observed[i, j]:
            total += given.confidence[i, j] * (given.target[i, j] - scores[i, j]) ** 2
        if not (given.observed[i, j] and given.replaces):
            total += given.unobserved[i, j] * scores[i, j] ** 2
    for cells_of, factors, bias in (
        (given, model.users, model.user_bias),
        (given.transposed(), model.items, model.item_bias),
    ):
        total += penalties(cells_of, reg, exponent) @ np.sum(factors**2, axis=1)
        total += penalties(cells_of, reg_bias, exponent) @ bias**2
    return total / 2


def row_system(
    given: Cells, i: int, fixed: Array, fixed_bias: Array, reg: float, reg_bias: float | None
) -> tuple[Array, Array]:
    """Normal equations of row i, the bias last; ``reg_bias`` None: no bias. ``reg`` already scaled."""
    g = fixed if reg_bias is None else np.column_stack([fixed, np.ones(len(fixed))])
    weight = given.quadratic[i]
    diagonal = [reg] * fixed.shape[1] + ([] if reg_bias is None else [reg_bias])
    matrix = (g.T * weight) @ g + np.diag(diagonal)
    right = g.T @ (given.confidence[i] * given.target[i] - weight * fixed_bias)
    return matrix, right


def half_sweep(
    given: Cells, model: Model, reg: float, reg_bias: float | None, exponent: float
) -> Model:
    """Every user solved exactly, the items fixed; the shortest solution where there are many."""
    users, bias = np.zeros_like(model.users), np.zeros_like(model.user_bias)
    k = users.shape[1]
    scale = penalties(given, 1.0, exponent)
    for i in np.flatnonzero(given.observed.any(axis=1)):
        scaled_bias = None if reg_bias is None else reg_bias * scale[i]
        system = row_system(given, i, model.items, model.item_bias, reg * scale[i], scaled_bias)
        solution = np.linalg.lstsq(*system, rcond=1e-12)[0]
        users[i] = solution[:k]
        if reg_bias is not None:
            bias[i] = solution[k]
    return Model(users, model.items, bias, model.item_bias)


def sweep(given: Cells, model: Model, reg: float, reg_bias: float | None, exponent: float) -> Model:
    """Items from the users, then users from the items."""
    turned = half_sweep(given.transposed(), model.transposed(), reg, reg_bias, exponent)
    return half_sweep(given, turned.transposed(), reg, reg_bias, exponent)
