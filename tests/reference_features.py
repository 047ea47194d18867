"""Slow twins of what features add: priors of rows, and the ridge regressions by which they are learnt.

The penalty on users becomes, and that on items likewise,

    1/2 sum_i n_i^nu (reg |w_i - F_i B|^2 + reg_bias (b_i - F_i beta)^2) + 1/2 feature_reg (|B|^2 + |beta|^2)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from reference import Array, Cells, Factors, Penalty, penalty_of_rows, squared_error


@dataclass(frozen=True)
class Prior:
    """One side's features F, (n_rows, p), with B, (p, k), and beta, (p,)."""

    features: Array
    factors: Array
    bias: Array

    @property
    def mean(self) -> Array:
        return self.features @ self.factors

    @property
    def bias_mean(self) -> Array:
        return self.features @ self.bias


def penalty_with_prior(
    factors: Array, bias: Array, counts: Array, penalty: Penalty, prior: Prior, feature_reg: float
) -> float:
    rows = penalty_of_rows(factors - prior.mean, bias - prior.bias_mean, counts, penalty)
    return rows + feature_reg * float(np.sum(prior.factors**2) + np.sum(prior.bias**2))


def objective(
    cells: Cells,
    model: Factors,
    penalty: Penalty,
    users: Prior | None,
    items: Prior | None,
    feature_reg: float,
) -> float:
    total = squared_error(cells, model)
    for factors, bias, counts, prior in (
        (model.users, model.user_bias, cells.user_counts, users),
        (model.items, model.item_bias, cells.item_counts, items),
    ):
        total += (
            penalty_of_rows(factors, bias, counts, penalty)
            if prior is None
            else penalty_with_prior(factors, bias, counts, penalty, prior, feature_reg)
        )
    return 0.5 * total


def ridge(features: Array, weights: Array, targets: Array, reg: float, feature_reg: float) -> Array:
    """X of (reg F'SF + feature_reg I) X = reg F'S Y, S being diagonal."""
    matrix = reg * (features.T * weights) @ features + feature_reg * np.eye(features.shape[1])
    return np.linalg.solve(matrix, reg * (features.T * weights) @ targets)


def learnt(
    prior: Prior, factors: Array, bias: Array, counts: Array, penalty: Penalty, feature_reg: float
) -> Prior:
    """B and beta by ridge regression of the rows that have ratings."""
    weights = penalty.scale(counts)
    return replace(
        prior,
        factors=ridge(prior.features, weights, factors, penalty.reg, feature_reg),
        bias=ridge(prior.features, weights, bias, penalty.reg_bias, feature_reg)
        if penalty.reg_bias
        else np.zeros_like(prior.bias),
    )


def half_sweep(
    cells: Cells, model: Factors, penalty: Penalty, use_bias: bool, prior: Prior
) -> Factors:
    """All users from (X'CX + P) x = X'C y + P m, with the prior's m = [F_i B, F_i beta] and the penalties P."""
    model = model.copy()
    for i, (n, mean, bias_mean) in enumerate(
        zip(cells.user_counts, prior.mean, prior.bias_mean, strict=True)
    ):
        own = cells.users == i
        columns = model.items[cells.items[own]]
        target = cells.values[own] - model.mean - model.item_bias[cells.items[own]]
        diagonal = np.full(columns.shape[1], penalty.reg)
        m = mean
        if use_bias:
            columns = np.column_stack([columns, np.ones(len(columns))])
            diagonal, m = np.append(diagonal, penalty.reg_bias), np.append(mean, bias_mean)
        x = m
        if n > 0:
            P = n**penalty.exponent * np.diag(diagonal)
            weighted = columns.T * cells.weights[own]
            x = np.linalg.solve(weighted @ columns + P, weighted @ target + P @ m)
        model.users[i] = x[: len(mean)]
        if use_bias:
            model.user_bias[i] = x[-1]
    return model


def followed(
    cells: Cells, model: Factors, prior: Prior, use_bias: bool, feature_reg: float
) -> Prior:
    """B and beta that fit the ratings best while the users' residuals w_i - F_i B stay: one least squares problem."""
    k = model.users.shape[1]
    columns = np.column_stack([model.items, np.ones(len(model.items))]) if use_bias else model.items
    held = model.users - prior.mean
    held_bias = model.user_bias - prior.bias_mean
    left = cells.values - model.mean - model.item_bias[cells.items] - held_bias[cells.users]
    left -= np.einsum("tf,tf->t", held[cells.users], model.items[cells.items])
    design = np.einsum("tp,tf->tpf", prior.features[cells.users], columns[cells.items])
    design = design.reshape(len(left), -1)
    weighted = design.T * cells.weights
    solved = np.linalg.solve(
        weighted @ design + feature_reg * np.eye(design.shape[1]), weighted @ left
    )
    solved = solved.reshape(-1, columns.shape[1])
    return replace(prior, factors=solved[:, :k], bias=solved[:, k] if use_bias else prior.bias)
