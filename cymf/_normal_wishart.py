"""Draws of what a Gibbs sampler does not know about its rows: their mean and their precision."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["draw_normal_wishart", "draw_wishart"]

_MEAN_WEIGHT = 2.0  # β₀: the prior mean of 0 counts like so many rows


def draw_normal_wishart(
    rows: np.ndarray, scale: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    r"""Draw the mean m and the precision Λ of normal rows.

    With n rows of mean x̄ and scatter S = Σ (x − x̄)(x − x̄)ᵀ, m | Λ ~ N(0, (β₀ Λ)⁻¹) and Λ ~ W(diag(scale)⁻², q)
    beforehand,

        Λ ~ W((diag(scale)² + S + β₀ n / (β₀ + n) x̄ x̄ᵀ)⁻¹, q + n),    m ~ N(n x̄ / (β₀ + n), ((β₀ + n) Λ)⁻¹)

    (Salakhutdinov and Mnih 2008, equation 14).

    Parameters
    ----------
    rows : ndarray of float64, shape (n, q)
        The rows; n may be 0.
    scale : ndarray of float64, shape (q,)
        Standard deviations that are expected of the columns, worth one row.
    generator : Generator
        Where random numbers come from.

    Returns
    -------
    mean : ndarray of shape (q,)
    precision : ndarray of shape (q, q)
    """
    n, q = rows.shape
    centre = rows.mean(axis=0) if n else np.zeros(q)
    around = rows - centre
    scatter = np.diag(scale**2) + around.T @ around
    scatter += _MEAN_WEIGHT * n / (_MEAN_WEIGHT + n) * np.outer(centre, centre)
    precision = draw_wishart(scatter, q + n, generator)
    spread = np.linalg.cholesky(precision)
    noise = np.linalg.solve(spread.T, generator.standard_normal(q)) / math.sqrt(_MEAN_WEIGHT + n)
    return n / (_MEAN_WEIGHT + n) * centre + noise, precision


def draw_wishart(scatter: np.ndarray, degrees: float, generator: np.random.Generator) -> np.ndarray:
    """Draw from the Wishart distribution W(scatter⁻¹, degrees), by Bartlett's decomposition."""
    q = len(scatter)
    bartlett = np.tril(generator.standard_normal((q, q)), -1)
    bartlett[np.diag_indices(q)] = np.sqrt(generator.chisquare(degrees - np.arange(q)))
    root = np.linalg.cholesky(scatter)  # scatter⁻¹ = root⁻ᵀ root⁻¹
    half = np.linalg.solve(root.T, bartlett)
    return np.asarray(half @ half.T)
