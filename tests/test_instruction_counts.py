"""The hot kernels need no more instructions than is stored, as callgrind counts them: a guard that does not time."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not (BENCH / "instruction_counts.py").exists():
        pytest.skip("there is no folder of benchmarks beside these tests")
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("instruction_counts")


@pytest.mark.slow
def test_no_kernel_needs_more_instructions(
    counting: ModuleType, request: pytest.FixtureRequest, tmp_path: Path
):
    """The stored figures are those of bench/instruction_counts.json; another compiler's are not judged."""
    if counting.missing():
        pytest.skip(f"nothing to count with: {counting.missing()}")
    kept = getattr(request.config, "cache", None)  # none with -p no:cacheprovider
    cache = tmp_path if kept is None else kept.mkdir("bench")  # keeps the compiled runner
    paths = [str(BENCH), *filter(None, [os.environ.get("PYTHONPATH")])]
    variables = {"CYMF_BENCH_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(paths)}
    run = subprocess.run(
        [sys.executable, str(BENCH / "instruction_counts.py")],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_guard_judges(counting: ModuleType):
    """Three per cent more are let pass, five are not; fewer are told, and what is new or gone has to be stored."""
    stored = {"same": 100.0, "little more": 100.0, "more": 100.0, "fewer": 100.0, "gone": 1.0}
    counts = {"same": 100.0, "little more": 102.0, "more": 105.0, "fewer": 90.0, "new": 1.0}
    table, rose, fell = counting.compare(counts, stored)
    assert set(rose) == {"more", "gone", "new"}
    assert fell == ["fewer"]
    assert "| more | 100.0 | 105.0 | +5.0 % |" in table
