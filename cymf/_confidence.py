"""From how often something happened to how sure it is that it was liked."""

from __future__ import annotations

import numpy as np

__all__ = ["CONFIDENCES", "signed_confidence"]

CONFIDENCES = ("linear", "log", "given")


def signed_confidence(
    strengths: np.ndarray,
    weights: np.ndarray | None,
    kind: str,
    alpha: float,
    epsilon: float,
) -> np.ndarray:
    """Return the confidence c of each observed cell, negative where the target is 0.

    With the strength f of a cell,

        linear   c = 1 + α |f|
        log      c = 1 + α log(1 + |f| / ε)
        given    c = α |f|

    times the cell's weight. The target is 1 where f > 0 and 0 elsewhere: a negative strength says "disliked", and how
    surely; zero says "nothing happened".

    Parameters
    ----------
    strengths, weights : ndarray of shape (nnz,)
        f, and further weights or None.
    kind : {"linear", "log", "given"}
        The formula.
    alpha, epsilon : float
        α ≥ 0 and ε > 0.

    Returns
    -------
    ndarray of shape (nnz,), in the dtype of `strengths`
    """
    size = np.abs(strengths)
    if kind == "linear":
        confidence = 1 + alpha * size
    elif kind == "log":
        confidence = 1 + alpha * np.log1p(size / epsilon)
    else:
        confidence = alpha * size
    if weights is not None:
        confidence *= weights
    np.negative(confidence, out=confidence, where=strengths <= 0)
    return np.asarray(confidence, strengths.dtype)
