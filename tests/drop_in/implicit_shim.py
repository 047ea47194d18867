"""A pytest plugin: implicit's own tests, when they ask for its ALS and BPR, get cymf's drop-ins.

Everything else of implicit (its evaluation, its nearest neighbours, its test classes) stays what it is.
"""

from __future__ import annotations

from importlib import import_module

import cymf.compat.implicit as drop_in

for module, name in (
    ("implicit.als", "AlternatingLeastSquares"),
    ("implicit.bpr", "BayesianPersonalizedRanking"),
    ("implicit.cpu.als", "calculate_loss"),
    ("implicit.utils", "ParameterWarning"),
):
    setattr(import_module(module), name, getattr(drop_in, name))


def pytest_report_header() -> str:
    return f"implicit's ALS and BPR are those of {drop_in.__file__}"
