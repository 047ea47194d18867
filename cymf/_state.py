"""Everything that a fitted model is, in one immutable object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf._errors import DivergenceError

if TYPE_CHECKING:
    from cymf._ids import IdMap
    from cymf.ratings import Ratings

__all__ = ["FittedState"]


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedState:
    """The result of training: factors, biases, ids, and how training went.

    A model holds one reference to its state and swaps it when it is trained, so that a reader
    beside a writer sees the old model or the new one, never a mixture. The arrays are kept as
    read-only views; the caller gives them away and must not write to them afterwards.

    Parameters
    ----------
    user_factors : ndarray of shape (n_users, n_factors)
        float32 or float64, C-contiguous.
    item_factors : ndarray of shape (n_items, n_factors)
        Of the same dtype.
    user_bias, item_bias : ndarray of shape (n_users,) and (n_items,), or None
        Of the same dtype. Both or neither.
    global_mean : float
        The mean μ that every prediction starts from; 0 in a model without biases.
    rating_mean : float
        Weighted mean of the training ratings.
    rating_range : tuple of two floats
        Lowest and highest training rating.
    user_ids, item_ids : IdMap or None
        None where the ids are the row numbers.
    user_counts, item_counts : ndarray of int64, shape (n_users,) and (n_items,)
        Training ratings of each row. A row is known if it has at least one, or features.
    ratings : Ratings or None
        What the model was trained on, or None where it was told to forget that.
    history : mapping of str to list of float
        One number an iteration under each name.
    n_iter : int
        Finished iterations.
    stop_reason : str
        ``"max_iter"``, ``"tol"``, ``"patience"``, ``"callback"``, ``"interrupted"`` or ``"stalled"``.
    extra : mapping of str to ndarray, optional
        Further arrays that an estimator needs for going on, such as accumulators of its step
        sizes. They are saved and loaded with the rest.

    Raises
    ------
    ValueError
        If shapes or dtypes contradict each other.
    """

    user_factors: np.ndarray
    item_factors: np.ndarray
    user_bias: np.ndarray | None
    item_bias: np.ndarray | None
    global_mean: float
    rating_mean: float
    rating_range: tuple[float, float]
    user_ids: IdMap | None
    item_ids: IdMap | None
    user_counts: np.ndarray
    item_counts: np.ndarray
    ratings: Ratings | None
    history: Mapping[str, list[float]]
    n_iter: int
    stop_reason: str
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check()
        self._lock()

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        self._lock()  # NumPy does not pickle the read-only flag

    @cached_property
    def user_known(self) -> np.ndarray:
        """Of which users something is known: training ratings, or features."""
        return self._known("user", self.user_counts)

    @cached_property
    def item_known(self) -> np.ndarray:
        """Of which items something is known: training ratings, or features."""
        return self._known("item", self.item_counts)

    def _known(self, what: str, counts: np.ndarray) -> np.ndarray:
        described = self.extra.get(f"{what}_described")
        return counts > 0 if described is None else (counts > 0) | described

    @property
    def n_users(self) -> int:
        return int(self.user_factors.shape[0])

    @property
    def n_items(self) -> int:
        return int(self.item_factors.shape[0])

    @property
    def n_factors(self) -> int:
        return int(self.user_factors.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.user_factors.dtype

    def finite(self) -> Self:
        """Return the state that training has ended with.

        Raises
        ------
        DivergenceError
            If not all of it is finite, or predictions could be too large for the dtype: none is larger than
            |μ| + max |b_i| + max |b_j| + n_factors · max |w_if| · max |h_jf|.
        """
        rows = _largest(self.user_factors), _largest(self.item_factors)
        biases = sum(_largest(b) for b in (self.user_bias, self.item_bias) if b is not None)
        largest = abs(self.global_mean) + biases + self.n_factors * rows[0] * rows[1]
        if not largest < float(np.finfo(self.dtype).max):
            what = "factors or biases are not finite"
            if math.isfinite(biases + rows[0] + rows[1]):
                what = f"predictions of up to {largest:.3g} do not fit in {self.dtype}"
            raise DivergenceError(
                f"training ended with numbers that are too large: {what}; scale the ratings down, raise reg, lower "
                "learning_rate or init_std, or use dtype='float64'"
            )
        return self

    def _lock(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, entry.name, _read_only(value))
        object.__setattr__(
            self, "extra", {name: _read_only(value) for name, value in self.extra.items()}
        )

    def _extra_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of further arrays that kernels will trust."""
        sides: tuple[tuple[str, int], ...] = (("user", self.n_users), ("item", self.n_items))
        shapes: dict[str, tuple[int | None, ...]] = {
            "own_user_factors": (self.n_users, self.n_factors),
            "implicit_item_factors": (self.n_items, self.n_factors),
        }
        for what, n_rows in sides:
            shapes[f"{what}_described"] = (n_rows,)
            shapes[f"{what}_feature_factors"] = (None, self.n_factors)
            shapes[f"draws_{what}_bias"] = (None, n_rows)
        return shapes

    def _check(self) -> None:
        for name in ("user_factors", "item_factors"):
            factors = getattr(self, name)
            if factors.ndim != 2 or factors.dtype not in (np.float32, np.float64):
                raise ValueError(
                    f"{name} has shape {factors.shape} and dtype {factors.dtype}; "
                    "expected two dimensions of float32 or float64"
                )
        if (self.user_factors.shape[1], self.dtype) != (
            self.item_factors.shape[1],
            self.item_factors.dtype,
        ):
            raise ValueError(
                f"user_factors has shape {self.user_factors.shape} and dtype {self.dtype}, "
                f"item_factors {self.item_factors.shape} and {self.item_factors.dtype}; "
                "expected the same number of columns and the same dtype"
            )
        if (self.user_bias is None) != (self.item_bias is None):
            raise ValueError("one of user_bias and item_bias is None; expected both or neither")
        for side, n_rows in (("user", self.n_users), ("item", self.n_items)):
            for kind, dtype in (("bias", self.dtype), ("counts", np.dtype(np.int64))):
                array = getattr(self, f"{side}_{kind}")
                if array is not None and (array.shape != (n_rows,) or array.dtype != dtype):
                    raise ValueError(
                        f"{side}_{kind} has shape {array.shape} and dtype {array.dtype}; "
                        f"expected {(n_rows,)} and {dtype}"
                    )
            ids = getattr(self, f"{side}_ids")
            if ids is not None and len(ids) != n_rows:
                raise ValueError(f"{side}_ids holds {len(ids)} ids; expected {n_rows}")
        for name, shape in self._extra_shapes().items():
            array = self.extra.get(name)
            if array is not None and (
                array.ndim != len(shape)
                or any(
                    size not in (None, own) for size, own in zip(shape, array.shape, strict=True)
                )
            ):
                raise ValueError(f"{name} has shape {array.shape}; expected {shape}")
        if self.ratings is not None and self.ratings.shape != (self.n_users, self.n_items):
            raise ValueError(
                f"ratings has shape {self.ratings.shape}; "
                f"expected {(self.n_users, self.n_items)} like the factors"
            )


def _largest(array: np.ndarray) -> float:
    """Return the largest absolute value, NaN where there is one."""
    return max(-float(array.min(initial=0)), float(array.max(initial=0)))


def _read_only(array: np.ndarray) -> np.ndarray:
    view = np.asarray(array, order="C").view()
    view.flags.writeable = False
    return view
