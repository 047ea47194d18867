"""Factors and biases while they are trained: padded for the kernels, in one block of memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np

__all__ = ["Factors", "aligned_zeros", "predicted_change"]

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector
_BLOCK_ROWS = 1024


def aligned_zeros(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Return zeros whose first element starts a cache line."""
    n_bytes = (shape if isinstance(shape, int) else math.prod(shape)) * dtype.itemsize
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
        self.width: int = -(-n_factors // lanes) * lanes
        self._shape = n_users, n_items
        n_biases = n_users + n_items if use_bias else 0
        self._view(aligned_zeros((n_users + n_items) * self.width + n_biases, dtype))

    def _view(self, flat: np.ndarray) -> None:
        n_users, n_items = self._shape
        users_end = n_users * self.width
        items_end = users_end + n_items * self.width
        biases_end = items_end + (n_users if self.use_bias else 0)
        self.user: np.ndarray = flat[:users_end].reshape(n_users, self.width)
        self.item: np.ndarray = flat[users_end:items_end].reshape(n_items, self.width)
        self.user_bias: np.ndarray = flat[items_end:biases_end]
        self.item_bias: np.ndarray = flat[biases_end:]
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


def predicted_change(
    before: Factors, after: Factors, mean: float, run: Callable[..., object] | None = None
) -> tuple[float, float]:
    r"""Return ‖Â − Â₀‖_F and ‖Â‖_F of the full matrices of predictions, biases and mean included.

    With rows extended to u = [w, b_i + μ, 1] and v = [h, 1, b_j], Â = U Vᵀ. From U = U₀ + dU and V = V₀ + dV,

        Â − Â₀ = dU Vᵀ + U₀ dVᵀ,
        ‖Â − Â₀‖² = ⟨dUᵀdU, VᵀV⟩ + 2 ⟨dUᵀU₀, VᵀdV⟩ + ⟨U₀ᵀU₀, dVᵀdV⟩.

    Small changes enter as themselves, so nothing large cancels. float64; O((n_users + n_items) n_factors²).
    `run`, if given, is `Workers.run`: long sums are cut in four for any number of threads, so that it changes no bit.
    """
    sides = (
        (before.user, before.user_bias, after.user, after.user_bias, (mean, 1.0), 0),
        (before.item, before.item_bias, after.item, after.item_bias, (1.0, 0.0), 1),
    )
    tasks = [
        (side, *part)
        for side, array in enumerate((before.user, before.item))
        for part in _parts(len(array))
    ]
    products: dict[tuple[int, int, int], np.ndarray] = {}
    waiting = tasks.copy()

    def work(_: int) -> None:
        while waiting:
            try:
                side, start, stop = task = waiting.pop()
            except IndexError:  # another thread was quicker
                break
            products[task] = _products_of_changes(*sides[side], start, stop, after.n_factors)

    if run is None:
        work(0)
    else:
        run(work, 4.0 * (len(before.user) + len(before.item)) * (after.n_factors + 2) ** 2)
    sums = [products[tasks[0]], products[next(task for task in tasks if task[0] == 1)]]
    for task in tasks:
        if task[1] > 0:
            sums[task[0]] += products[task]
    (uu, u_old, old_old), (vv, v_old, _) = sums
    new_u, new_v = (both + cross + cross.T + old for both, cross, old in sums)
    squared = np.vdot(uu, new_v) + 2 * np.vdot(u_old, v_old.T + vv) + np.vdot(old_old, vv)
    size = float(np.vdot(new_u, new_v))
    return math.sqrt(max(float(squared), 0.0)), math.sqrt(max(size, 0.0))


def _parts(n_rows: int) -> list[tuple[int, int]]:
    """Cut rows into at most four runs of whole blocks."""
    size = -(-n_rows // (4 * _BLOCK_ROWS)) * _BLOCK_ROWS
    return [(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


def _products_of_changes(
    old_rows: np.ndarray,
    old_bias: np.ndarray,
    new_rows: np.ndarray,
    new_bias: np.ndarray,
    columns: tuple[float, ...],
    slot: int,
    first: int,
    last: int,
    n_factors: int,
) -> np.ndarray:
    """Return dᵀd, dᵀo and oᵀo of extended rows o and their changes d, over some rows of one side."""
    k = n_factors
    products = np.zeros((3, k + 2, k + 2))
    for start in range(first, last, _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, last))
        old, change = np.zeros((2, rows.stop - rows.start, k + 2))
        old[:, :k] = old_rows[rows, :k]
        old[:, k:] = columns
        np.subtract(new_rows[rows, :k], old[:, :k], out=change[:, :k])
        if len(old_bias):
            old[:, k + slot] += old_bias[rows]
            np.subtract(new_bias[rows], old_bias[rows], out=change[:, k + slot], dtype=np.float64)
        products[0] += change.T @ change
        products[1] += change.T @ old
        products[2] += old.T @ old
    return products
