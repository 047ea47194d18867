"""The stubs of the compiled modules, made by .ci/stubs, say what the modules have."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import cymf
from cymf._kernels import _cpu, available_levels, load_level

PACKAGE = Path(cymf.__file__).parent
EXTENSION = Path(_cpu.__file__).suffix  # .so, or .pyd on Windows
FAMILIES = [
    path.stem.removesuffix("baseline").strip("_")
    for path in sorted(PACKAGE.glob("_kernels/*baseline.pyi"))
]
STUBS = {
    ".".join(("cymf", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in sorted(PACKAGE.rglob("*.pyi"))
}


def declared(stub: Path) -> dict[str, list[str]]:
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    return {
        node.name: [argument.arg for argument in node.args.args]
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


def compiled(module: object) -> dict[str, list[str]]:
    found = {}
    for name, value in vars(module).items():
        if type(value).__name__ in ("cython_function_or_method", "fused_cython_function"):
            found[name] = list(inspect.signature(value).parameters)
    return {name: value for name, value in found.items() if not name.startswith("_")}


@pytest.mark.parametrize("name", STUBS)
def test_the_stub_is_that_of_the_module(name):
    assert declared(STUBS[name]) == compiled(importlib.import_module(name))


@pytest.mark.parametrize("level", available_levels())
@pytest.mark.parametrize("family", FAMILIES)
def test_every_level_has_what_the_baseline_has(level, family):
    assert compiled(load_level(level, family)) == compiled(load_level("baseline", family))


def test_every_compiled_module_has_a_stub():
    modules = {path.name.partition(".")[0] for path in PACKAGE.rglob(f"*{EXTENSION}")}
    levels = {name for name in modules if name.endswith(("_v3", "_v4"))}
    assert modules - levels - {"_memory_views"} == {name.rpartition(".")[2] for name in STUBS}
