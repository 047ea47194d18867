"""The factor model behind generated ratings, and what it expects of a cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["GeneratedTruth"]

_CELLS_AT_ONCE = 1 << 20  # bounds temporary arrays to some tens of megabytes


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneratedTruth:
    """The truth behind generated ratings.

    The rating of user i for item j was drawn as ``t_ij + e_ij`` with
    ``t_ij = μ + b_i + b_j + w_i·h_j`` and independent ``e_ij ~ N(0, noise²)``, then, with a
    `rating_scale`, rounded to whole numbers and clipped to it.

    Attributes
    ----------
    user_factors, item_factors : ndarray of shape (n_users, n_factors), (n_items, n_factors)
        True factors w and h.
    user_bias, item_bias : ndarray of shape (n_users,), (n_items,)
        True biases.
    global_mean : float
        μ.
    noise : float
        Standard deviation of e.
    rating_scale : tuple of int, or None
        Lowest and highest rating if ratings were rounded, else None.
    """

    user_factors: NDArray[np.float64]
    item_factors: NDArray[np.float64]
    user_bias: NDArray[np.float64]
    item_bias: NDArray[np.float64]
    global_mean: float
    noise: float
    rating_scale: tuple[int, int] | None

    def expected(self, users: ArrayLike, items: ArrayLike) -> NDArray[np.float64]:
        """Expected ratings of cells: the prediction with the least squared error there is.

        Without rounding it is t. With rounding to lo..hi the expectation of the rounded, clipped
        value is ``lo + Σ_{s=lo}^{hi-1} Φ((t - s - ½) / noise)``.

        Parameters
        ----------
        users, items : array_like of int, shape (n,)
            Row numbers.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        ValueError
            If the shapes differ, or are not one-dimensional.
        IndexError
            If there is no such row.
        """
        rows, columns = np.asarray(users), np.asarray(items)
        if rows.ndim != 1 or rows.shape != columns.shape:
            raise ValueError(
                f"users has shape {rows.shape} and items {columns.shape}; expected one row number "
                "of each for every cell"
            )
        for what, numbers, total in (
            ("user", rows, len(self.user_bias)),
            ("item", columns, len(self.item_bias)),
        ):
            if numbers.size and not (numbers.min() >= 0 and numbers.max() < total):
                raise IndexError(
                    f"{what} row numbers go from {numbers.min()} to {numbers.max()}; "
                    f"expected 0 to {total - 1}"
                )
        out = self._before_noise(rows, columns)
        if self.rating_scale is not None:
            for part in _pieces(len(out), _CELLS_AT_ONCE):
                out[part] = _expected_after_rounding(out[part], self.noise, *self.rating_scale)
        return out

    def _before_noise(self, rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[np.float64]:
        """Ratings t of cells."""
        out = np.empty(len(rows))
        for part in _pieces(len(rows), max(1, _CELLS_AT_ONCE // (1 + self.user_factors.shape[1]))):
            i, j = rows[part], columns[part]
            out[part] = self.global_mean + self.user_bias[i] + self.item_bias[j]
            out[part] += np.einsum("ij,ij->i", self.user_factors[i], self.item_factors[j])
        return out


def _pieces(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _expected_after_rounding(
    truth: NDArray[np.float64], noise: float, low: int, high: int
) -> NDArray[np.float64]:
    if noise == 0:
        return np.clip(np.rint(truth), low, high)
    from scipy.special import ndtr  # imported where used: scipy.special is slow to import

    expected = np.full(len(truth), float(low))
    for step in range(low, high):
        expected += ndtr((truth - step - 0.5) / noise)
    return expected
