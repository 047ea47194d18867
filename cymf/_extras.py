"""The error for a library that is only needed here and there, and is not installed."""

from __future__ import annotations

from types import MappingProxyType

__all__ = ["EXTRAS", "missing"]

# The extra of pyproject.toml that brings a library; the others are installed by their own names.
EXTRAS = MappingProxyType(
    {"matplotlib": "plot", "pooch": "download", "pyarrow": "parquet", "usearch": "ann"}
)


def missing(library: str, purpose: str, otherwise: str = "") -> ModuleNotFoundError:
    """Return the error to raise: what `purpose` needs, how to get it, and what to do `otherwise`."""
    wanted = f'"cymf[{EXTRAS[library]}]"' if library in EXTRAS else library
    return ModuleNotFoundError(
        f"{purpose} needs {library}, which is not installed: pip install {wanted}{otherwise}",
        name=library,
    )
