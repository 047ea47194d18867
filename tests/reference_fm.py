"""Slow twins of the factorization machine kernels, straight from the formulas, in float64 on dense rows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Parameters:
    """w0, w and V."""

    constant: float
    weights: Array
    factors: Array


def scores(X: Array, model: Parameters) -> Array:
    """Equation 1 of Rendle 2010, pair by pair."""
    result = model.constant + X @ model.weights
    for j in range(X.shape[1]):
        for m in range(j + 1, X.shape[1]):
            result = result + model.factors[j] @ model.factors[m] * X[:, j] * X[:, m]
    return result


def slope(X: Array, model: Parameters, j: int, f: int | None) -> Array:
    """The derivative of each score in w_j, or in v_jf: what the score is linear in."""
    if f is None:
        return X[:, j]
    others = X @ model.factors[:, f] - X[:, j] * model.factors[j, f]
    return X[:, j] * others


@dataclass(frozen=True)
class Pull:
    """Penalties, means and noise of a family of parameters, column by column."""

    penalty: Array
    mean: Array
    noise: Array


def sweep(
    X: Array,
    y: Array,
    c: Array,
    model: Parameters,
    pulls: list[Pull],
    alpha: float,
    use_bias: bool,
    blocks: list[range],
) -> Parameters:
    """One sweep, block after block, residuals from scratch for each coordinate; ``pulls``: of w, then each factor."""
    if use_bias:
        rest = y - scores(X, replace(model, constant=0.0))
        model = replace(model, constant=float(c @ rest / c.sum()))
    families = [(b, n) for b in blocks for n in range(0 if use_bias else 1, len(pulls))]
    for block, family in families:
        pull = pulls[family]
        f = None if family == 0 else family - 1
        for j in block:
            h = slope(X, model, j, f)
            old = model.weights[j] if f is None else model.factors[j, f]
            rest = y - scores(X, model) + h * old
            precision = alpha * c @ h**2 + pull.penalty[j]
            if precision <= 0:
                continue
            new = (alpha * c @ (h * rest) + pull.penalty[j] * pull.mean[j]) / precision
            new += pull.noise[j] / np.sqrt(precision)
            weights, factors = model.weights.copy(), model.factors.copy()
            if f is None:
                weights[j] = new
            else:
                factors[j, f] = new
            model = Parameters(model.constant, weights, factors)
    return model


def loss_and_slopes(loss: str, s: Array, y: Array, c: Array) -> tuple[float, Array]:
    """Σ c e² or the loss itself, and its derivative in each score; ``bpr`` takes pairs of neighbours."""
    if loss == "squared":
        return float(c @ (s - y) ** 2), c * (s - y)
    if loss == "logistic":
        return float(c @ np.log1p(np.exp(-y * s))), -c * y / (1 + np.exp(y * s))
    gap = s[0::2] - s[1::2]
    g = np.empty(len(s))
    g[0::2] = -c[0::2] / (1 + np.exp(gap))
    g[1::2] = -g[0::2]
    return float(c[0::2] @ np.log1p(np.exp(-gap))), g


def batch_step(
    X: Array,
    loss: str,
    y: Array,
    c: Array,
    model: Parameters,
    shares: Array,
    rate: float,
    use_bias: bool,
    squares: Parameters | None,
) -> tuple[Parameters, Parameters | None, float]:
    """One step along the mean gradient over the rows that have a column; ``squares`` are AdaGrad's sums."""
    total, g = loss_and_slopes(loss, scores(X, model), y, c)
    has = X != 0
    rows = np.maximum(has.sum(axis=0), 1)
    seen = has.any(axis=0)
    d_weights = np.array([g @ slope(X, model, j, None) for j in range(X.shape[1])]) / rows
    d_weights = (d_weights + shares[:, 0] * model.weights) * seen * use_bias
    d_factors = np.array(
        [
            [g @ slope(X, model, j, f) for f in range(model.factors.shape[1])]
            for j in range(X.shape[1])
        ]
    )
    d_factors = (d_factors / rows[:, None] + shares[:, 1:] * model.factors) * seen[:, None]
    d_constant = float(g.mean()) * (use_bias and loss != "bpr")
    if squares is None:
        return (
            Parameters(
                model.constant - rate * d_constant,
                model.weights - rate * d_weights,
                model.factors - rate * d_factors,
            ),
            None,
            total,
        )
    squares = Parameters(
        squares.constant + d_constant**2,
        squares.weights + d_weights**2,
        squares.factors + d_factors**2,
    )
    return (
        Parameters(
            model.constant - rate * d_constant / np.sqrt(squares.constant),
            model.weights - rate * d_weights / np.sqrt(squares.weights),
            model.factors - rate * d_factors / np.sqrt(squares.factors),
        ),
        squares,
        total,
    )
