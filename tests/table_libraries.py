"""Parameters of tests that a table library makes; where it is not installed, those skip."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


def of(library: str, make: Callable[[ModuleType], Any]) -> Any:
    """Return what `make` makes of the library, as a parameter of a test."""
    try:
        module = importlib.import_module(library)
    except ModuleNotFoundError:
        return pytest.param(None, marks=pytest.mark.skip(reason=f"{library} is not installed"))
    return make(module)
