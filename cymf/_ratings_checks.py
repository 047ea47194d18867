"""Checks of what ratings are made from, and the texts of their errors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "as_numbers",
    "as_timestamps",
    "check_duplicates_policy",
    "check_finite",
    "check_positions",
    "check_row_numbers",
    "check_same_length",
    "check_shape",
    "check_weights",
    "index_dtype",
    "naive_utc",
]

DUPLICATES = ("raise", "last", "first", "mean", "sum")
_FLOAT32_INTEGERS = 2**24  # float32 holds every integer up to here


def index_dtype(size: int) -> type[np.signedinteger[Any]]:
    """The smaller of int32 and int64 that numbers ``size`` things."""
    return np.int32 if size <= np.iinfo(np.int32).max else np.int64


def check_duplicates_policy(duplicates: str) -> None:
    if duplicates not in DUPLICATES:
        options = ", ".join(repr(name) for name in DUPLICATES)
        raise ValueError(f"duplicates must be one of {options}; given {duplicates!r}")


def check_same_length(**columns: Any) -> int:
    """The common length of the columns that are not None."""
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"one entry per rating is needed in every column, but {given}")
    return next(iter(lengths.values()))


def check_shape(shape: Any) -> tuple[int, int]:
    try:
        n_users, n_items = (int(size) for size in shape)
        whole = all(size == given for size, given in zip((n_users, n_items), shape, strict=True))
    except (TypeError, ValueError):
        whole = False
    if not whole or n_users < 1 or n_items < 1:
        raise ValueError(
            f"shape must be (n_users, n_items), two positive integers; given {shape!r}"
        )
    return n_users, n_items


def check_row_numbers(index: NDArray[np.int64], size: int, what: str) -> None:
    """Refuse numbers outside 0 to size − 1, naming the first."""
    low, high = int(index.min()), int(index.max())
    if low >= 0 and high < size:
        return
    k = int(np.flatnonzero((index < 0) | (index >= size))[0])
    reason = "is negative" if index[k] < 0 else f"is too large for {size} {what}"
    raise ValueError(
        f"{what}: entry {k} is {index[k]}, which {reason}: with shape given they are row numbers, "
        f"0 to {size - 1}. For ids of another kind leave shape out"
    )


def check_positions(selection: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Sorted positions chosen among `count` by a mask or by numbers; refuses an empty choice."""
    if selection.ndim != 1:
        raise ValueError(f"the selection must be 1-D; given shape {selection.shape}")
    if selection.dtype.kind == "b":
        if len(selection) != count:
            raise ValueError(
                f"the mask has {len(selection)} elements, but there are {count} ratings"
            )
        mask = selection
    elif selection.size and selection.dtype.kind not in "iu":
        raise TypeError(f"the selection must be a mask or positions; given dtype {selection.dtype}")
    else:
        chosen = selection.astype(np.int64)
        if chosen.size and (int(chosen.min()) < 0 or int(chosen.max()) >= count):
            k = int(np.flatnonzero((chosen < 0) | (chosen >= count))[0])
            raise ValueError(f"the selection names position {chosen[k]}, outside 0 to {count - 1}")
        mask = np.zeros(count, dtype=bool)
        mask[chosen] = True
        if int(mask.sum()) != len(chosen):
            raise ValueError("the selection names a position more than once")
    positions = np.flatnonzero(mask)
    if len(positions) == 0:
        raise ValueError("the selection holds no rating: at least one is needed")
    return positions


def as_numbers(array: NDArray[Any], what: str) -> NDArray[Any]:
    """Float32 or float64 values of a column of numbers.

    Floats keep their width where it is one of the two; integers and booleans become float32 where
    that is exact and float64 elsewhere.
    """
    kind = array.dtype.kind
    if kind == "f":
        wide = np.float32 if array.dtype.itemsize <= 4 else np.float64
        return array.astype(wide, copy=False)
    if kind in "iub":
        small = array.dtype.itemsize <= 2 or (
            array.size > 0
            and int(array.max()) <= _FLOAT32_INTEGERS
            and int(array.min()) >= -_FLOAT32_INTEGERS
        )
        return array.astype(np.float32 if small else np.float64)
    if kind == "O":
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError):
            k, value = next((k, v) for k, v in enumerate(array.tolist()) if not _is_number(v))
            raise TypeError(f"{what} must be numbers; entry {k} is {value!r}") from None
    raise TypeError(
        f"{what} must be real numbers; given dtype {array.dtype}"
        + (": convert strings to numbers first" if kind in "UST" else "")
    )


def check_finite(
    values: NDArray[Any], what: str, name_entry: Callable[[int], str]
) -> tuple[float, float]:
    """Refuse NaN and infinities, naming the first; gives the least and the greatest value."""
    low, high = float(values.min()), float(values.max())  # a NaN comes through both
    if np.isfinite(low) and np.isfinite(high):
        return low, high
    bad = np.flatnonzero(~np.isfinite(values))
    raise ValueError(
        f"{what} must be finite, but {name_entry(int(bad[0]))} is {values[bad[0]]} "
        f"({len(bad)} of {len(values)} are not finite): drop these ratings or give them values"
    )


def check_weights(weights: NDArray[Any], name_entry: Callable[[int], str]) -> None:
    low, high = check_finite(weights, "weights", name_entry)
    if low < 0:
        k = int(np.flatnonzero(weights < 0)[0])
        raise ValueError(
            f"weights must not be negative, but {name_entry(k)} has weight {weights[k]}: "
            f"a weight says how much a rating counts, 0 not at all"
        )
    if high == 0:
        raise ValueError("all weights are 0: at least one rating must count")


def as_timestamps(array: NDArray[Any], name_entry: Callable[[int], str]) -> NDArray[Any]:
    """Timestamps as int64, float64 or datetime64, none missing."""
    if array.dtype.kind == "O":
        moments = [naive_utc(t) if isinstance(t, datetime) else t for t in array.tolist()]
        try:
            array = np.array(moments, dtype="datetime64[us]")
        except (TypeError, ValueError):
            raise TypeError(
                f"timestamps must be numbers or datetimes; entry 0 is {array[0]!r}: convert them, or "
                "leave timestamps out (timestamp=None where a table or file has such a column)"
            ) from None
    kind = array.dtype.kind
    if kind in "iu":
        return array.astype(np.int64, copy=False)
    if kind == "f":
        check_finite(array, "timestamps", name_entry)
        return array.astype(np.float64, copy=False)
    if kind != "M":
        raise TypeError(f"timestamps must be numbers or datetimes; given dtype {array.dtype}")
    if (missing := np.isnat(array)).any():
        first = int(np.flatnonzero(missing)[0])
        raise ValueError(f"timestamps: {name_entry(first)} is missing (NaT): drop it or date it")
    return array


def naive_utc(moment: datetime) -> datetime:
    """The same moment in UTC, without saying so; a moment without time zone stays as it is."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True
