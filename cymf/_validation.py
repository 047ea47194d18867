"""Checks of the estimators' parameters; every message says what was given, what was expected, and what to do."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from cymf._parallel import available_threads, useful_threads

__all__ = [
    "check_callback",
    "check_choice",
    "check_dtype",
    "check_flag",
    "check_integer",
    "check_number",
    "check_spread",
    "check_threads",
    "random_generator",
]


def check_integer(name: str, value: Any, minimum: int) -> int:
    """Return `value` as an int that is at least `minimum`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(
            f"{name}={value!r} is a {type(value).__name__}; expected an integer ≥ {minimum}"
        )
    if value < minimum:
        raise ValueError(f"{name}={value!r} is too small; expected an integer ≥ {minimum}")
    return int(value)


def check_number(
    name: str, value: Any, *, positive: bool = False, maximum: float = math.inf
) -> float:
    """Return `value` as a finite float that is not negative, or is positive where that is asked."""
    expected = "a finite number " + ("> 0" if positive else "≥ 0")
    if maximum < math.inf:
        expected += f" and ≤ {maximum:g}"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; expected {expected}")
    number = float(value)
    if not math.isfinite(number) or number < 0 or (positive and number == 0) or number > maximum:
        raise ValueError(f"{name}={value!r} is out of range; expected {expected}")
    return number


def check_spread(name: str, value: Any, dtype: np.dtype[Any]) -> float:
    """Return the standard deviation of random factors, whose squares must fit in their dtype."""
    number = check_number(name, value, positive=True)
    if number > math.sqrt(float(np.finfo(dtype).max)):
        raise ValueError(
            f"{name}={value!r} is too large: squares of such factors do not fit in {dtype}; expected less, such as 0.1"
        )
    return number


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; expected True or False")
    return bool(value)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value`, one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"{name}={value!r} is unknown; expected one of {', '.join(map(repr, choices))}"
        )
    return value


def check_dtype(value: Any) -> np.dtype[Any]:
    """Return float32 or float64 as a dtype."""
    try:
        dtype: np.dtype[Any] | None = None if value is None else np.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype={value!r} is not supported; expected 'float32' or 'float64'")
    return dtype


def check_callback(value: Any) -> None:
    """Refuse a callback that cannot be called."""
    if value is not None and not callable(value):
        raise TypeError(
            f"callback is a {type(value).__name__}; expected a function of an Iteration"
        )


def check_threads(value: Any) -> int:
    """Return the number of threads, no more than can be of use; None means all processors this process may use."""
    if value is None:
        return available_threads()
    return useful_threads(check_integer("n_threads", value, 1))


def random_generator(value: Any) -> np.random.Generator:
    """Return a generator: of an int seed, the given one itself, or of fresh entropy for None."""
    if value is None or isinstance(value, np.random.Generator):
        return np.random.default_rng(value)
    if isinstance(value, np.random.RandomState):
        return np.random.default_rng(value.randint(0, 2**31, 4))
    if (
        isinstance(value, numbers.Integral)
        and not isinstance(value, (bool, np.bool_))
        and int(value) >= 0
    ):
        return np.random.default_rng(int(value))
    raise ValueError(
        f"random_state={value!r} is no seed; expected an integer ≥ 0, a numpy Generator or RandomState, or None"
    )
