"""Compiled kernels, at the highest instruction-set level this processor supports.

``kernels`` is the chosen level's module for explicit ratings; those of the other families, ``implicit_kernels``,
``ranking_kernels`` and so on, are loaded when first asked for. ``CYMF_SIMD=baseline|v3|v4`` forces a level; one that
the processor or this build lacks is an error, never a crash. The contract of the kernels is in ``README.md`` beside
this file.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType
from typing import TYPE_CHECKING

from cymf._kernels import _cpu

if TYPE_CHECKING:  # all levels of a family have the same functions
    from cymf._kernels import _bayesian_baseline as bayesian_kernels  # noqa: F401
    from cymf._kernels import _fm_baseline as fm_kernels  # noqa: F401
    from cymf._kernels import _implicit_baseline as implicit_kernels  # noqa: F401
    from cymf._kernels import _nonnegative_baseline as nonnegative_kernels  # noqa: F401
    from cymf._kernels import _ranking_baseline as ranking_kernels  # noqa: F401
    from cymf._kernels import _svdpp_baseline as svdpp_kernels  # noqa: F401
    from cymf._kernels import _top_n_baseline as top_n_kernels  # noqa: F401

_FAMILIES = ("bayesian", "fm", "implicit", "nonnegative", "ranking", "svdpp", "top_n")
_CPU_LEVEL = {"baseline": 1, "v3": 3, "v4": 4}


def available_levels() -> tuple[str, ...]:
    """Levels that this build contains and this processor runs, lowest first."""
    cpu = _cpu.cpu_level()
    return tuple(
        level
        for level, needed in _CPU_LEVEL.items()
        if needed <= cpu and importlib.util.find_spec(f"cymf._kernels._{level}") is not None
    )


def load_level(level: str, family: str = "") -> ModuleType:
    """Kernels of one level, for tests and benchmarks that compare levels.

    `family` is "" (explicit ratings), or that of other kernels, such as "implicit".
    """
    available = available_levels()
    if level not in available:
        raise ImportError(
            f"CYMF_SIMD={level!r} asks for an instruction-set level that is not available here; "
            f"available: {', '.join(available)}. Unset CYMF_SIMD to choose the best one."
        )
    return importlib.import_module(f"cymf._kernels._{family}{family and '_'}{level}")


_level = os.environ.get("CYMF_SIMD") or available_levels()[-1]
kernels = load_level(_level)


def simd_level() -> str:
    """The level in use: ``"baseline"``, ``"v3"`` or ``"v4"``."""
    return _level


def __getattr__(name: str) -> ModuleType:
    family = name.removesuffix("_kernels")
    if name == family or family not in _FAMILIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = globals()[name] = load_level(_level, family)
    return module
