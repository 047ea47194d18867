"""Views of ratings for the kernels: compressed rows and columns in the model's dtype."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cymf._assembly import RatingArrays
from cymf._compressed import transpose

__all__ = ["SparseView", "column_view", "read_only", "row_view"]


class SparseView(NamedTuple):
    """Compressed rows for the kernels; all arrays are read-only.

    Row i holds the entries ``indptr[i]:indptr[i + 1]``, sorted by index.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[Any]  # int32 where they fit, else int64
    values: NDArray[Any]
    weights: NDArray[Any] | None


def row_view(arrays: RatingArrays, dtype: np.dtype[Any]) -> SparseView:
    """Rows are users; everything but a change of dtype is shared."""
    values, weights = _in_dtype(arrays, dtype)
    return SparseView(arrays.indptr, arrays.indices, read_only(values), read_only(weights))


def column_view(arrays: RatingArrays, dtype: np.dtype[Any], other: SparseView | None) -> SparseView:
    """Rows are items; `other`, a column view in another dtype, lends its index arrays."""
    values, weights = _in_dtype(arrays, dtype)
    pattern = (arrays.indptr, arrays.indices)
    indptr, indices, values = transpose(*pattern, values, arrays.shape)
    if weights is not None:
        weights = transpose(*pattern, weights, arrays.shape)[2]
    if other is not None:
        indptr, indices = other.indptr, other.indices
    return SparseView(*map(read_only, (indptr, indices, values, weights)))


def read_only(array: Any) -> Any:
    """A view that nobody can write through; None stays None."""
    if array is None or not array.flags.writeable:
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def _in_dtype(
    arrays: RatingArrays, dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    weights = None if arrays.weights is None else _cast(arrays.weights, dtype, "weights")
    return _cast(arrays.values, dtype, "ratings"), weights


def _cast(array: NDArray[Any], dtype: np.dtype[Any], what: str) -> NDArray[Any]:
    if dtype == np.float32 and array.dtype != dtype:
        largest = max(abs(float(array.min())), abs(float(array.max())))
        if largest > float(np.finfo(np.float32).max):
            raise ValueError(
                f"{what} up to {largest:.6g} do not fit in float32: use dtype='float64'"
            )
    return array.astype(dtype, copy=False)
