"""Whatever offers its memory as an array, as a NumPy array that shares it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_array", "is_foreign_sparse", "offers_array", "type_name"]

_NUMPY_PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__")


def offers_array(values: Any) -> bool:
    """Whether an object hands over its memory: by one of NumPy's protocols, by DLPack, or as a buffer."""
    if isinstance(values, (str, bytes)):
        return False
    return _speaks_numpy(values) or hasattr(values, "__dlpack__")


def as_array(values: Any, what: str) -> NDArray[Any]:
    """The array that an object offers, without a copy where its owner needs none; lists become one.

    Raises
    ------
    TypeError
        If the object refuses (memory of another device, a tensor that records gradients, a sparse array), or offers
        none.
    """
    if isinstance(values, (np.ndarray, list, tuple)):
        return np.asanyarray(values)
    if is_foreign_sparse(values):
        raise TypeError(
            f"{what} is a {type_name(values)}, a sparse array of another library than SciPy; expected an array or a "
            "SciPy sparse array: convert it, for instance by .to_scipy_sparse()"
        )
    try:
        if not _speaks_numpy(values) and hasattr(values, "__dlpack__"):
            return np.from_dlpack(values)
        array = np.asarray(values)
    except (TypeError, RuntimeError, BufferError) as refusal:
        raise TypeError(
            f"{what} is a {type_name(values)}, which gives no NumPy array: {refusal}"
        ) from refusal
    if array.dtype == object and array.ndim == 0:
        raise TypeError(
            f"{what} is a {type_name(values)}; expected an array, a sequence, or a table in memory"
        )
    return array


def is_foreign_sparse(values: Any) -> bool:
    """Whether an object is a sparse array that is not SciPy's: NumPy would fill it with zeros, or refuse."""
    return (
        hasattr(values, "todense")
        and hasattr(values, "nnz")
        and not type(values).__module__.startswith("scipy.")
    )


def type_name(values: Any) -> str:
    """The name of an object's type with its module, for messages."""
    kind = type(values)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _speaks_numpy(values: Any) -> bool:
    if any(hasattr(values, protocol) for protocol in _NUMPY_PROTOCOLS):
        return True
    try:
        memoryview(values)
    except TypeError:
        return False
    return True
