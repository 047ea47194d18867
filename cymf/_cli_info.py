"""`cymf info`: what is installed, and what it runs on."""

from __future__ import annotations

import argparse
import os
import platform
from importlib import metadata
from typing import Any

from cymf._cli_console import Console
from cymf._downloads import data_folders
from cymf._parallel import available_threads

__all__ = ["installation", "run_info"]

_OPTIONAL = ("pyarrow", "matplotlib", "pooch")


def installation() -> dict[str, Any]:
    """Versions, instruction-set levels, BLAS libraries, threads and data folders."""
    import numpy as np
    import scipy.linalg.cython_blas
    import threadpoolctl

    import cymf
    from cymf import _kernels

    blas = [
        {
            "library": pool["internal_api"],
            "version": pool["version"],
            "threads": pool["num_threads"],
            "file": pool["filepath"],
        }
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return {
        "cymf": cymf.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "optional": {name: _version(name) for name in _OPTIONAL},
        "platform": platform.platform(),
        "simd_level": _kernels.simd_level(),
        "simd_levels_available": list(_kernels.available_levels()),
        "blas": blas,
        "cpus": os.cpu_count(),
        "threads": available_threads(),
        "data_folders": {str(folder): folder.is_dir() for folder in data_folders()},
    }


def run_info(arguments: argparse.Namespace, console: Console) -> int:
    """Print what `installation` finds."""
    found = installation()
    console.document(found)
    if console.as_json:
        return 0
    optional = ", ".join(
        f"{name} {version or '(not installed)'}" for name, version in found["optional"].items()
    )
    levels = ", ".join(found["simd_levels_available"])
    lines = {
        "cymf": found["cymf"],
        "Python": found["python"],
        "NumPy": found["numpy"],
        "SciPy": found["scipy"],
        "optional": optional,
        "platform": found["platform"],
        "SIMD level": f"{found['simd_level']} (available: {levels})",
        "BLAS": "\n".join(
            f"{pool['library']} {pool['version']}, {pool['threads']} threads, {pool['file']}"
            for pool in found["blas"]
        )
        or "none that threadpoolctl knows",
        "threads": f"{found['threads']} by default, {found['cpus']} CPUs",
        "data": "\n".join(
            folder + ("" if exists else " (not there)")
            for folder, exists in found["data_folders"].items()
        ),
    }
    for name, text in lines.items():
        first, *more = text.split("\n")
        console.say(f"{name:<12}{first}")
        for line in more:
            console.say(" " * 12 + line)
    return 0


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
