"""A user's script passes ``mypy --strict`` against the installed package, and mistakes in it do not."""

from __future__ import annotations

import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cymf

SCRIPT = Path(__file__).with_name("typed_usage.py")
PACKAGE = Path(cymf.__file__).parent
# As in .ci/lint; that pandas comes without types is not ours to tell.
OPTIONS = ("--strict", "--config-file=", "--follow-imports=silent")
OPTIONS += ("--disable-error-code=import-untyped", "--disable-error-code=import-not-found")
MISTAKES = """\
import cymf
model = cymf.ALS("four")
model.fit([[1.0]], verbos=True)
model.predict(0, 0).shape
model.predict([0], [0], unknown="ignore")
items: list[int] = model.recommend(0)
cymf.Ratings.from_triplets([0], [0], [1.0], duplicates="keep")
model.fit([[1.0]], callback=lambda: True)
model.history_["seconds"].shape
cymf.ALS.fitt
"""


def checked(script: Path) -> subprocess.CompletedProcess[str]:
    """What mypy says in a folder of the user's own, without a configuration."""
    environment = dict(os.environ)
    if PACKAGE.parent.name != "site-packages":  # which mypy knows
        environment["MYPYPATH"] = str(PACKAGE.parent)
    return subprocess.run(
        [sys.executable, "-m", "mypy", *OPTIONS, str(script)],
        capture_output=True, text=True, check=False, cwd=script.parent, env=environment,
    )  # fmt: skip


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_the_script_runs():
    pytest.importorskip("pandas")
    runpy.run_path(str(SCRIPT))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy")
def test_the_script_is_typed_and_mistakes_are_found(tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    right = checked(tmp_path / SCRIPT.name)
    assert right.returncode == 0, right.stdout + right.stderr
    wrong = tmp_path / "mistakes.py"
    wrong.write_text(MISTAKES)
    told = checked(wrong).stdout
    lines = {int(line.split(":")[1]) for line in told.splitlines() if ": error:" in line}
    assert lines == set(range(2, 2 + 9)), told
