"""Factors and biases while they are trained: padded for the kernels, in one block of memory."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

__all__ = ["Factors", "aligned_zeros", "predicted_change"]

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector
_BLOCK_ROWS = 4096


def aligned_zeros(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return zeros whose first element starts a cache line."""
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(n_bytes + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + n_bytes].view(dtype).reshape(shape)


class Factors:
    """Both sides' factors and biases, views of the one array `flat`.

    Parameters
    ----------
    n_users, n_items, n_factors : int
        Sizes.
    use_bias : bool
        Without biases, `user_bias` and `item_bias` are empty.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    user, item : ndarray of shape (n_users, width) and (n_items, width)
        Factors; `width` is `n_factors` rounded up to a cache line, the padding is zero and stays zero.
    user_bias, item_bias : ndarray of shape (n_users,) and (n_items,), or (0,)
        Biases.
    flat : ndarray
        All of it, for solvers that see one vector.
    """

    def __init__(
        self, n_users: int, n_items: int, n_factors: int, use_bias: bool, dtype: np.dtype[Any]
    ) -> None:
        self.n_factors = n_factors
        self.use_bias = use_bias
        lanes = _ALIGNMENT // dtype.itemsize
        self.width = -(-n_factors // lanes) * lanes
        self._shape = n_users, n_items
        n_biases = n_users + n_items if use_bias else 0
        self._view(aligned_zeros((n_users + n_items) * self.width + n_biases, dtype))

    def _view(self, flat: np.ndarray) -> None:
        n_users, n_items = self._shape
        users_end = n_users * self.width
        items_end = users_end + n_items * self.width
        biases_end = items_end + (n_users if self.use_bias else 0)
        self.user = flat[:users_end].reshape(n_users, self.width)
        self.item = flat[users_end:items_end].reshape(n_items, self.width)
        self.user_bias = flat[items_end:biases_end]
        self.item_bias = flat[biases_end:]
        self.flat = flat

    def like(self) -> Self:
        """Return zeros of the same sizes."""
        return type(self)(*self._shape, self.n_factors, self.use_bias, self.flat.dtype)

    def copy(self) -> Self:
        """Return an independent copy."""
        twin = self.like()
        twin.flat[:] = self.flat
        return twin

    def assign(self, other: Self) -> None:
        """Take over the values of `other`."""
        self.flat[:] = other.flat

    def trimmed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Return user and item factors without padding, and the biases or None, as own arrays."""
        biases = (self.user_bias.copy(), self.item_bias.copy()) if self.use_bias else (None, None)
        k = self.n_factors
        return np.array(self.user[:, :k], order="C"), np.array(self.item[:, :k], order="C"), *biases


def _extended(
    factors: np.ndarray,
    bias: np.ndarray,
    n_factors: int,
    rows: slice,
    columns: tuple[float, ...],
    slot: int,
) -> np.ndarray:
    """Return float64 rows [factors, columns] with the bias added to column `slot` of the latter."""
    block = factors[rows, :n_factors]
    extended = np.empty((len(block), n_factors + len(columns)))
    extended[:, :n_factors] = block
    extended[:, n_factors:] = columns
    if len(bias):
        extended[:, n_factors + slot] += bias[rows]
    return extended


def predicted_change(before: Factors, after: Factors, mean: float) -> tuple[float, float]:
    r"""Return ‖Â − Â₀‖_F and ‖Â‖_F of the full matrices of predictions, biases and mean included.

    With rows extended to u = [w, b_i + μ, 1] and v = [h, 1, b_j], Â = U Vᵀ. From U = U₀ + dU and V = V₀ + dV,

        Â − Â₀ = dU Vᵀ + U₀ dVᵀ,
        ‖Â − Â₀‖² = ⟨dUᵀdU, VᵀV⟩ + 2 ⟨dUᵀU₀, VᵀdV⟩ + ⟨U₀ᵀU₀, dVᵀdV⟩.

    Small changes enter as themselves, so nothing large cancels. float64; O((n_users + n_items) n_factors²).
    """
    k = after.n_factors
    sides = (
        ((before.user, before.user_bias), (after.user, after.user_bias), (mean, 1.0), 0),
        ((before.item, before.item_bias), (after.item, after.item_bias), (1.0, 0.0), 1),
    )
    grams = []
    for old_side, new_side, columns, slot in sides:
        change_change, change_old, change_new, old_old, new_new = np.zeros((5, k + 2, k + 2))
        for start in range(0, len(new_side[0]), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            old = _extended(*old_side, k, rows, columns, slot)
            new = _extended(*new_side, k, rows, columns, slot)
            change = new - old
            change_change += change.T @ change
            new_new += new.T @ new
            if slot == 0:
                change_old += change.T @ old
                old_old += old.T @ old
            else:
                change_new += new.T @ change
        grams.append((change_change, change_old, change_new, old_old, new_new))
    (uu, u_old, _, old_old, new_u), (vv, _, v_new, _, new_v) = grams
    squared = np.vdot(uu, new_v) + 2 * np.vdot(u_old, v_new) + np.vdot(old_old, vv)
    size = float(np.vdot(new_u, new_v))
    return math.sqrt(max(float(squared), 0.0)), math.sqrt(max(size, 0.0))
