"""What a table must say about where it was measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import scipy

import cymf

__all__ = ["describe", "heading"]


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", information.read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def _caches() -> str:
    sizes = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            kind, level, size = (
                (index / name).read_text().strip() for name in ("type", "level", "size")
            )
        except OSError:
            continue
        if kind != "Instruction":
            sizes.append(f"L{level} {size}")
    return ", ".join(sizes)


def _compiler() -> str:
    try:
        text = subprocess.run(
            [os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True
        ).stdout
    except OSError:
        return "none"
    return text.splitlines()[0] if text else "none"


def describe() -> dict[str, str]:
    """Return machine, versions and date."""
    gigabytes = (
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
        if hasattr(os, "sysconf")
        else float("nan")
    )
    busy = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "processor": f"{_processor()}, {os.cpu_count()} processors seen, {_caches()}",
        "memory": f"{gigabytes:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "compiler": _compiler(),
        "Python": f"{platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}",
        "cymf": f"{cymf.__version__}, SIMD level {cymf._kernels.simd_level()}",
        "load before": busy,
    }


def heading(description: dict[str, str], **more: str) -> str:
    """Return the lines that stand above a table."""
    return "\n".join(f"- {name}: {text}" for name, text in {**description, **more}.items())
