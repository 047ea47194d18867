"""The losses of factorization machines: logistic, and preferences within groups."""

from __future__ import annotations

import numpy as np

__all__ = [
    "concordance",
    "logistic_losses",
    "polya_gamma",
    "preference_pairs",
    "probabilities",
    "tangent_weights",
]

_TERMS = 8  # of the Pólya-Gamma series that are drawn; the rest enters by its mean


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return σ(s) = 1 / (1 + exp(−s)), without overflow."""
    small = np.exp(-np.abs(scores))
    result: np.ndarray = np.where(scores >= 0, 1.0, small) / (1 + small)
    return result


def logistic_losses(margins: np.ndarray) -> np.ndarray:
    """Return log(1 + exp(−m))."""
    losses: np.ndarray = np.logaddexp(0, -margins)
    return losses


def tangent_weights(scores: np.ndarray) -> np.ndarray:
    """Return tanh(s/2) / (2 s), the curvature of the quadratic above the logistic loss that touches it at s; ¼ at 0."""
    size = np.abs(scores)
    safe = np.maximum(size, 1e-6)
    return np.where(size > 1e-6, np.tanh(safe / 2) / (2 * safe), 0.25)


def polya_gamma(
    shapes: np.ndarray, tilts: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    r"""Draw ω ~ PG(b, z).

    ω = 1/(2π²) Σ_k g_k / ((k − ½)² + z²/(4π²)),  g_k ~ Gamma(b, 1).

    The first eight terms are drawn. What the others add enters by its mean, which loses 0.004 % of the variance;
    the mean of ω is exact, b tanh(z/2) / (2 z).

    References
    ----------
    Polson, Scott and Windle 2013, "Bayesian inference for logistic models using Pólya-Gamma latent variables".
    """
    shift = (tilts / (2 * np.pi)) ** 2
    drawn = np.zeros(len(tilts))
    expected = np.zeros(len(tilts))
    for k in range(1, _TERMS + 1):
        scale = 1 / (2 * np.pi**2 * ((k - 0.5) ** 2 + shift))
        drawn += generator.standard_gamma(shapes) * scale
        expected += shapes * scale
    rest = np.maximum(shapes * tangent_weights(tilts) - expected, 0)
    result: np.ndarray = np.maximum(drawn + rest, np.finfo(np.float64).tiny)
    return result


def preference_pairs(
    relevance: np.ndarray, groups: np.ndarray, n_negatives: int, generator: np.random.Generator
) -> np.ndarray:
    """Draw for each row so many rows of its group that are less relevant.

    Returns
    -------
    ndarray of int64, shape (n_pairs, 2)
        The preferred row, and the other; nothing for rows that no row of their group is below.

    Raises
    ------
    ValueError
        If no group has rows of different relevance.
    """
    order = np.lexsort((relevance, groups))
    sorted_groups, sorted_relevance = groups[order], relevance[order]
    changes = np.concatenate([[True], sorted_groups[1:] != sorted_groups[:-1]])
    level = changes | np.concatenate([[True], sorted_relevance[1:] != sorted_relevance[:-1]])
    places = np.arange(len(order))
    group_start = np.maximum.accumulate(np.where(changes, places, 0))
    level_start = np.maximum.accumulate(np.where(level, places, 0))
    lower = level_start - group_start
    preferred = np.repeat(np.flatnonzero(lower), n_negatives)
    if len(preferred) == 0:
        raise ValueError(
            "no group has rows of different targets, so that there is nothing to rank; expected groups with rows of "
            "higher and lower y"
        )
    others = (generator.random(len(preferred)) * lower[preferred]).astype(np.int64)
    return np.column_stack([order[preferred], order[group_start[preferred] + others]])


def concordance(scores: np.ndarray, relevance: np.ndarray, groups: np.ndarray) -> float:
    """Return the share of pairs of different relevance within a group that scores put in order, its mean over groups.

    Ties count one half. With two relevances this is the area under the ROC curve of each group. NaN without such pairs.
    """
    order = np.argsort(groups, kind="stable")
    borders = np.flatnonzero(np.diff(groups[order])) + 1
    shares = []
    for rows in np.split(order, borders):
        right = pairs = 0.0
        for value in np.unique(relevance[rows])[1:]:
            high = scores[rows[relevance[rows] == value]]
            low = np.sort(scores[rows[relevance[rows] < value]])
            below = np.searchsorted(low, high, side="left") + np.searchsorted(
                low, high, side="right"
            )
            right += below.sum() / 2
            pairs += len(low) * len(high)
        if pairs:
            shares.append(right / pairs)
    return float(np.mean(shares)) if shares else float("nan")
