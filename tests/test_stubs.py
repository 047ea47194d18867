"""The stubs of the compiled modules, made by .ci/stubs, say what the modules have."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import runpy
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import cymf
from cymf import _kernels
from cymf._kernels import available_levels, load_level

PACKAGE = Path(cymf.__file__).parent
REPOSITORY = Path(__file__).resolve().parents[1]
FAMILIES = ("", *_kernels._FAMILIES)
STUBS = {
    ".".join(("cymf", *path.relative_to(PACKAGE).with_suffix("").parts)): path
    for path in sorted(PACKAGE.rglob("*.pyi"))
}


def declared(stub: Path) -> dict[str, list[tuple[str, bool]]]:
    """The arguments of each function, and whether they have defaults."""
    found = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args]
            first = len(names) - len(node.args.defaults)
            found[node.name] = [(name, k >= first) for k, name in enumerate(names)]
    return found


def compiled(module: object) -> dict[str, list[tuple[str, bool]]]:
    found = {}
    for name, value in vars(module).items():
        if type(value).__name__ in ("cython_function_or_method", "fused_cython_function"):
            given = inspect.signature(value).parameters.values()
            found[name] = [(each.name, each.default is not each.empty) for each in given]
    return {name: value for name, value in found.items() if not name.startswith("_")}


@pytest.mark.parametrize("name", STUBS)
def test_the_stub_is_that_of_the_module(name):
    assert declared(STUBS[name]) == compiled(importlib.import_module(name))


@pytest.mark.parametrize("level", available_levels())
@pytest.mark.parametrize("family", FAMILIES)
def test_every_level_has_what_the_baseline_has(level, family):
    assert compiled(load_level(level, family)) == compiled(load_level("baseline", family))


def test_the_families_are_those_that_are_built_and_declared():
    """In setup.py; among the stubs; and for type checkers, which see the baseline of each."""
    source = (PACKAGE / "_kernels" / "__init__.py").read_text(encoding="utf-8")
    seen = dict(re.findall(r"import _(?:(\w+)_)?baseline as (\w+)", source))
    assert seen == {family: f"{family}_kernels" for family in _kernels._FAMILIES}
    stubs = {name.rpartition(".")[2] for name in STUBS if name.endswith("baseline")}
    assert stubs == {f"_{family}{family and '_'}baseline" for family in FAMILIES}
    setup = REPOSITORY / "setup.py"
    if setup.is_file():
        (listed,) = (
            node.value
            for node in ast.parse(setup.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FAMILIES"
        )
        assert {name.rstrip("_") for name in ast.literal_eval(listed)} == set(FAMILIES)


def test_the_stubs_are_made_of_the_sources_of_today():
    """Types and answers included, which compiled functions do not tell."""
    maker = REPOSITORY / ".ci" / "stubs"
    if not maker.is_file():
        pytest.skip("there are no sources beside these tests")
    made = runpy.run_path(str(maker))
    for stub in STUBS.values():
        source = REPOSITORY / "cymf" / stub.relative_to(PACKAGE).with_suffix(".pyx")
        assert stub.read_text("utf-8") == made["stub_of"](source), f"{stub.name}: run .ci/stubs"


def test_every_compiled_module_has_a_stub():
    modules = {
        path.name.partition(".")[0]
        for path in PACKAGE.rglob("*")
        if path.name.endswith(tuple(EXTENSION_SUFFIXES))
    }
    levels = {name for name in modules if name.endswith(("_v3", "_v4"))}
    assert modules - levels - {"_memory_views"} == {name.rpartition(".")[2] for name in STUBS}
