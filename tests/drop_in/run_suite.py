"""Run a peer's own tests against cymf's drop-ins for it.

    python tests/drop_in/run_suite.py implicit|surprise [--inexact]

Needs cymf, the peer and pytest in the Python that runs it, and the package index, from which the peer's source
distribution is fetched. Ends with status 0 if the outcome is what the peer's own classes have, 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


class Suite(NamedTuple):
    distribution: str
    files: tuple[str, ...]
    expected: dict[str, int]
    data: str = ""  # folder under CYMF_DATA whose files are put beside the tests


SUITES = {
    "implicit": Suite("implicit", ("als_test.py", "bpr_test.py"), {"passed": 66, "skipped": 7}),
    "surprise": Suite("scikit-surprise", (), {"passed": 82}, data="surprise-suite"),
}
INEXACT = {"passed": 79, "failed": 3}  # of Surprise: the three stored figures of SVD and SVD++


def fetch_tests(distribution: str, folder: Path) -> Path:
    """Fetch a source distribution, of the version installed, and return its folder of tests."""
    release = f"{distribution}=={version(distribution)}"
    options = ["--quiet", "--no-deps", "--no-binary", distribution, "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, release]
    subprocess.run(command, check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as contents:
        contents.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz") / "tests"


def run(plugin: str, suite: Suite, tests: Path, exact: bool) -> dict[str, int]:
    """Run the tests and return how many passed, failed and so on."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]).strip(
            os.pathsep
        ),
        "CYMF_SURPRISE_EXACT": str(int(exact)),
    }
    command = [sys.executable, "-m", "pytest", "-p", plugin, "-q", "--tb=short", *suite.files]
    done = subprocess.run(command, cwd=tests, env=environment, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")
    closing = done.stdout.strip().rpartition("\n")[2]
    counts = {kind: int(count) for count, kind in re.findall(r"(\d+) ([a-z]+)", closing)}
    return {
        kind: counts[kind]
        for kind in ("passed", "failed", "error", "errors", "skipped")
        if kind in counts
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=SUITES)
    parser.add_argument("--inexact", action="store_true", help="Surprise: the default arithmetic")
    arguments = parser.parse_args()
    suite = SUITES[arguments.peer]
    expected = INEXACT if arguments.inexact else suite.expected
    data = Path(os.environ.get("CYMF_DATA", HERE.parents[2] / "shared" / "data")) / suite.data
    if suite.data and not data.is_dir():
        print(f"skipped: {arguments.peer}'s tests need {data} (set CYMF_DATA)")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        tests = fetch_tests(suite.distribution, Path(folder))
        if suite.data:
            shutil.copytree(data, tests, dirs_exist_ok=True)
        outcome = run(f"{arguments.peer}_shim", suite, tests, not arguments.inexact)
    print(f"{arguments.peer}'s tests against cymf: {outcome}; expected {expected}")
    return 0 if outcome == expected else 1


if __name__ == "__main__":
    sys.exit(main())
