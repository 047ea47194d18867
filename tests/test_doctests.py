"""The examples of all docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import cymf
import cymf.compat

MODULES = [
    info.name
    for package in (cymf, cymf.compat)
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    if not info.ispkg and info.name != "cymf.__main__"
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    if name == "cymf.compat.surprise":
        pytest.importorskip("surprise")
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


def test_the_estimators_have_examples():
    for name in ("als", "sgd", "gradient_descent", "ratings", "_base", "evaluation"):
        module = importlib.import_module(f"cymf.{name}")
        examples = doctest.DocTestFinder(exclude_empty=True).find(module)
        assert any(test.examples for test in examples), name
