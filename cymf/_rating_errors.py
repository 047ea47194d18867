"""How far predictions are from ratings."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cymf._columns import plain_array

__all__ = ["mae", "rmse"]


def rmse(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Root of the mean squared error, √(Σ c (y − p)² / Σ c).

    Parameters
    ----------
    y, p : array-like of shape (n,)
        Ratings and their predictions.
    weights : array-like of shape (n,), default=None
        c; None: all 1.

    Returns
    -------
    float
        In float64, whatever the dtypes.

    Raises
    ------
    ValueError
        If lengths differ, there is nothing to compare, a number is not finite, or weights are
        negative or all 0.

    Examples
    --------
    >>> from cymf.evaluation import rmse
    >>> rmse([1, 2, 3, 4], [1, 2, 3, 6])
    1.0
    """
    error, c = _errors(y, p, weights)
    return float(np.sqrt(np.average(error * error, weights=c)))


def mae(y: ArrayLike, p: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean absolute error, Σ c |y − p| / Σ c.

    Parameters
    ----------
    y, p : array-like of shape (n,)
        Ratings and their predictions.
    weights : array-like of shape (n,), default=None
        c; None: all 1.

    Returns
    -------
    float
        In float64, whatever the dtypes.

    Raises
    ------
    ValueError
        If lengths differ, there is nothing to compare, a number is not finite, or weights are
        negative or all 0.

    Examples
    --------
    >>> from cymf.evaluation import mae
    >>> mae([1, 2, 3, 4], [1, 2, 3, 6])
    0.5
    """
    error, c = _errors(y, p, weights)
    return float(np.average(np.abs(error), weights=c))


def _errors(
    y: ArrayLike, p: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    columns = {"y": y, "p": p} | ({} if weights is None else {"weights": weights})
    arrays = {
        name: np.asarray(plain_array(column, name), np.float64) for name, column in columns.items()
    }
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or arrays["y"].ndim != 1:
        raise ValueError(f"ratings and predictions must be 1-D and equally long; given {shapes}")
    if arrays["y"].size == 0:
        raise ValueError("there is nothing to compare: no ratings were given")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            k = int(np.flatnonzero(~np.isfinite(array))[0])
            raise ValueError(f"{name} must be finite; {name}[{k}] is {array[k]}")
    c = arrays.get("weights")
    if c is not None and (c.min() < 0 or c.max() == 0):
        raise ValueError("weights must not be negative, and not all 0")
    return arrays["y"] - arrays["p"], c
