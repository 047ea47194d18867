"""Compiles kernel_runner.pxi for an instruction-set level, and measures with it what this machine can do at most."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import shlex
import subprocess
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from data import DEFAULT_CACHE

import cymf._kernels

__all__ = ["best_level", "load_runner", "peaks", "time_kernel"]

_HERE = Path(__file__).parent
_KERNELS = _HERE.parent / "cymf" / "_kernels"
_SAMPLE_SECONDS = 0.01


def _setup_tables() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the compiler flags and the Cython directives of setup.py, without running its setup()."""
    tree = ast.parse((_HERE.parent / "setup.py").read_text())
    wanted = {"DEBUG", "X86", "FLAGS", "DIRECTIVES"}
    kept = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in wanted
    ]
    names: dict[str, Any] = {"os": os, "sysconfig": sysconfig}
    exec(compile(ast.Module(kept, []), "setup.py", "exec"), names)
    return names["FLAGS"]["unix"], names["DIRECTIVES"]


@cache
def load_runner(level: str, folder: Path = DEFAULT_CACHE) -> ModuleType:
    """Return the compiled runner of a level; compiles it if its sources or flags are new."""
    flags, directives = _setup_tables()
    name = f"kernel_runner_{level}"
    includes = ["micro_kernels", "als", "gradient_descent", "als_cg", "sgd", "kernel_runner"]
    lines = [f'include "{include}.pxi"\n' for include in includes]
    sources = [
        *sorted(_KERNELS.glob("*.pxi")),
        *sorted(_KERNELS.glob("*.h")),
        _HERE / "peaks.h",
        _HERE / "counting.h",
        _HERE / "kernel_runner.pxi",
    ]
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    options = [*flags["all"], *flags["kernels"], *flags[level], "-fPIC", "-shared", "-w"]
    state = hashlib.sha256(repr((lines, directives, options, compiler, suffix)).encode())
    for source in sources:
        state.update(source.read_bytes())
    target = folder / "runner" / state.hexdigest()[:16] / f"{name}{suffix}"
    if not target.exists():
        from Cython.Compiler.Main import compile_single
        from Cython.Compiler.Options import CompilationOptions

        target.parent.mkdir(parents=True, exist_ok=True)
        module = target.with_name(f"{name}.pyx")
        module.write_text("".join(lines))
        c_file = module.with_suffix(".c")
        given = CompilationOptions(
            include_path=[str(_KERNELS), str(_HERE)],
            compiler_directives=directives,
            output_file=str(c_file),
        )
        if compile_single(str(module), given, full_module_name=name).num_errors:
            raise RuntimeError(f"Cython could not translate {module}; see its messages above")
        paths = [sysconfig.get_path("include"), str(_KERNELS), str(_HERE)]
        unfinished = target.with_suffix(".part")
        command = [
            *compiler,
            *options,
            *(f"-I{path}" for path in paths),
            str(c_file),
            "-o",
            str(unfinished),
        ]
        subprocess.run(command, check=True)
        unfinished.rename(target)
    spec = importlib.util.spec_from_file_location(name, target)
    assert spec is not None
    assert spec.loader is not None
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    return runner


def time_kernel(call: Callable[[int, np.ndarray], Any], samples: int = 9) -> np.ndarray:
    """Return seconds per repetition of each sample; repetitions are chosen so that a sample takes 10 ms or more.

    `call` takes a number of repetitions and the array of samples to fill.
    """
    repetitions, one = 1, np.empty(1)
    while True:
        call(repetitions, one)
        if one[0] * repetitions >= _SAMPLE_SECONDS:
            break
        repetitions = max(2 * repetitions, int(_SAMPLE_SECONDS / max(one[0], 1e-9)))
    seconds = np.empty(samples)
    call(repetitions, seconds)
    return seconds


@cache
def peaks(level: str) -> dict[str, float]:
    """Measure what one core can do: GFLOP/s of multiply-adds, GB/s of reading and of the triad.

    With the instructions of a level; the best of several samples, as a peak is.
    """
    runner = load_runner(level)
    found: dict[str, float] = {}
    for name, single in (("fma_f32", True), ("fma_f64", False)):
        seconds = np.empty(15)
        flops = runner.time_fma(single, 1_000_000, seconds)
        found[name] = float(flops / seconds.min() / 1e9)
    for name, kilobytes in (
        ("read_L1", 16),
        ("read_L2", 256),
        ("read_L3", 4096),
        ("read_memory", 262144),
    ):
        x = np.zeros(kilobytes * 256, np.float32)
        seconds = time_kernel(lambda n, s, x=x: runner.time_read(x, n, s))
        found[name] = float(x.nbytes / seconds.min() / 1e9)
    a, b, c = np.zeros((3, 1 << 24), np.float32)
    seconds = time_kernel(lambda n, s: runner.time_triad(a, b, c, n, s))
    found["triad_memory"] = float(3 * a.nbytes / seconds.min() / 1e9)
    return found


def best_level() -> str:
    """Return the highest level this processor and this build have."""
    return cymf._kernels.available_levels()[-1]
