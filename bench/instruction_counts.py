"""Count the instructions of the hot kernels under callgrind: a guard against slowdowns that needs no quiet machine.

    python bench/instruction_counts.py              # compare with instruction_counts.json; exit code 1 if any rose
    python bench/instruction_counts.py --update     # count again and store

Every kernel runs once on fixed inputs after a run that warms up; callgrind counts between the two readings of the
clock that would time it, so a compiler gives the same figure on any machine. Level v3 only, because callgrind knows no
AVX-512. Counts of another compiler are shown, not judged: it may schedule otherwise without being slower. A count says
nothing about caches and latency; those are for bench_kernels.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from kernel_cases import Case, cases_of_rows, cases_of_systems, cases_of_top_n
from report import write_json
from runner import load_runner

__all__ = ["cases", "compare", "compiler", "count", "missing"]

STORED = Path(__file__).with_name("instruction_counts.json")
LEVEL = "v3"
TOLERANCE = 0.03
_SYSTEMS = 50, 64, 128  # factors
_ROWS = (
    (64, 20),
    (64, 200),
    (128, 500),
)  # factors, ratings a row: a dual ALS system, then primal ones
_RATINGS = 1000
_TABLE_ROWS = 1000
_TOP_N = 64, 4000  # factors, targets


def cases() -> Iterator[Case]:
    """Return what is counted."""
    for n_factors in _SYSTEMS:
        yield from cases_of_systems(LEVEL, n_factors)
    for n_factors, length in _ROWS:
        for case in cases_of_rows(LEVEL, n_factors, length, _TABLE_ROWS, _RATINGS):
            if case.kernel != "gather":  # a measure of the machine, not a kernel
                yield case
    yield from cases_of_top_n(*_TOP_N)


def missing() -> str:
    """Return why nothing can be counted here, or nothing."""
    import cymf._kernels

    if shutil.which("valgrind") is None:
        return "there is no `valgrind`"
    if LEVEL not in cymf._kernels.available_levels():
        return f"this processor or this build lacks the level {LEVEL}"
    if importlib.util.find_spec("Cython") is None:
        return "there is no Cython"
    if not _compiler_command() or shutil.which(_compiler_command()[0]) is None:
        return "there is no C compiler"
    includes = subprocess.run(
        [*_compiler_command(), "-E", "-"],
        input="#include <valgrind/callgrind.h>",
        capture_output=True,
        text=True,
    )
    return "the header valgrind/callgrind.h is not installed" if includes.returncode else ""


def _compiler_command() -> list[str]:
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def compiler() -> str:
    """Return kind and major version of the compiler, "gcc 12" for instance."""
    macros = subprocess.run(
        [*_compiler_command(), "-dM", "-E", "-"], input="", capture_output=True, text=True
    ).stdout
    for kind, macro in (("clang", "__clang_major__"), ("gcc", "__GNUC__")):
        found = re.search(rf"^#define {macro} (\d+)$", macros, re.MULTILINE)
        if found:
            return f"{kind} {found[1]}"
    return "unknown"


def count() -> dict[str, float]:
    """Return instructions per rating (or per system) of each case."""
    load_runner(LEVEL)  # compiled here, at full speed
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "callgrind")
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]  # fmt: skip
        variables = {"CYMF_SIMD": LEVEL, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.run(
            [*command, sys.executable, __file__, "--run"],
            env={**os.environ, **variables}, capture_output=True, text=True,
        )  # fmt: skip
        if process.returncode:
            raise RuntimeError(f"callgrind failed:\n{process.stderr[-2000:]}")
        sections = {}
        for dump in Path(folder).iterdir():
            text = dump.read_text()
            part = re.search(r"^part: (\d+)$", text, re.MULTILINE)
            total = re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)
            if part and total and "Client Request" in text:
                sections[int(part[1])] = int(total[1])
    # of each run: until its warm-up, its warm-up, the run itself
    runs = iter([sections[part] for part in sorted(sections)][2::3])
    counts = {}
    for case in cases():
        instructions = next(runs) - (next(runs) if case.overhead else 0)
        counts[case.name] = round(instructions / case.units, 2)
    return counts


def _run() -> None:
    """Do the work that callgrind watches."""
    runner, one_sample = load_runner(LEVEL), np.empty(1)
    works = [run for case in cases() for run in (case.run, case.overhead) if run is not None]
    runner.start_counting()
    for work in works:
        work(1, one_sample)
    os._exit(0)  # Python's own end would be counted too, slowly


def compare(counts: dict[str, float], stored: dict[str, float]) -> tuple[str, list[str], list[str]]:
    """Return a table, what rose beyond the tolerance (or is not stored, or gone), and what fell beyond it."""
    lines = ["| kernel | stored | now | change |", "| --- | ---: | ---: | ---: |"]
    rose, fell = [], []
    for name in {**stored, **counts}:
        if name not in stored or name not in counts:
            rose.append(name)
            lines.append(f"| {name} | {stored.get(name, '')} | {counts.get(name, '')} | |")
            continue
        change = counts[name] / stored[name] - 1
        lines.append(
            f"| {name} | {stored[name]:.1f} | {counts[name]:.1f} | {100 * change:+.1f} % |"
        )
        if abs(change) > TOLERANCE:
            (rose if change > 0 else fell).append(name)
    return "\n".join(lines), rose, fell


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="store what is counted")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        _run()
        return 0
    if missing():
        print(f"nothing counted: {missing()}", file=sys.stderr)
        return 2
    counts = count()
    stored = json.loads(STORED.read_text()) if STORED.exists() else {"counts": {}}
    text, rose, fell = compare(counts, stored["counts"])
    print(text)
    if given.update:
        content = {
            "compiler": compiler(),
            "level": LEVEL,
            "unit": "instructions per rating, or per system",
        }
        write_json(STORED, {**content, "counts": counts})
        return 0
    if stored.get("compiler") != compiler():
        print(f"\nstored by {stored.get('compiler')}, this is {compiler()}: not judged")
        return 0
    if rose:
        print(f"\nmore than {TOLERANCE:.0%} above what is stored, new, or gone: {'; '.join(rose)}")
    if fell:
        print(f"\nmore than {TOLERANCE:.0%} below what is stored: {'; '.join(fell)}")
    if rose or fell:
        print(
            "Where that is meant, `python bench/instruction_counts.py --update` stores what is counted now."
        )
    return int(bool(rose))


if __name__ == "__main__":
    sys.exit(main())
