"""What must cost nothing: BLAS threads nobody limited, small fits, and the import.

    python bench/traps.py --rounds 15

Three tables. The same fits in processes with OPENBLAS_NUM_THREADS unset and set to 1, by turns: wall time and processor
time (user and system). Fits of 100 ratings with 10 factors and 15 iterations, against the time of their kernel calls.
The import of cymf against the import of what it depends on, in fresh processes. The least of all rounds is what others
on the machine disturbed least; medians are shown beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import describe, heading
from report import write_json, write_text

_BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_PREPARE = """
import json, time, numpy as np, cymf
from cymf.datasets import make_ratings
ratings = make_ratings({n_users}, {n_items}, {nnz}, random_state=0).ratings
ratings.csr(); ratings.csc()
models = {{
    "ALS": cymf.ALS({k}, max_iter={n_iter}, tol=0),
    "SGD": cymf.SGD({k}, max_iter={n_iter}),
    "GradientDescent": cymf.GradientDescent({k}, max_iter={n_iter}, tol=0),
    "GradientDescent, fixed": cymf.GradientDescent({k}, step="fixed", learning_rate=1e-4, max_iter={n_iter}, tol=0),
}}
"""
_FIT = (
    _PREPARE.format(n_users=6000, n_items=4000, nnz=500_000, k=64, n_iter=10)
    + """
found = {}
for name, model in models.items():
    model.fit(ratings)
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(ratings)
    found[name] = [time.perf_counter() - wall, time.process_time() - cpu]
print(json.dumps(found))
"""
)
_SMALL = (
    _PREPARE.format(n_users=20, n_items=15, nnz=100, k=10, n_iter=15)
    + """
from cymf._kernels import kernels
names = ["als_half_sweep", "sgd_epoch", "residual_gradient", "squared_errors"]
inside = 0.0
def timed(kernel):
    def call(*arguments):
        global inside
        started = time.perf_counter()
        kernel(*arguments)
        inside += time.perf_counter() - started
    return call
kept = {name: getattr(kernels, name) for name in names}
found = {}
for name, model in models.items():
    best, best_inside = 1e9, 1e9
    for _ in range(20):
        started = time.perf_counter()
        model.fit(ratings)
        best = min(best, time.perf_counter() - started)
    for kernel in names:
        setattr(kernels, kernel, timed(kept[kernel]))
    for _ in range(20):
        inside = 0.0
        model.fit(ratings)
        best_inside = min(best_inside, inside)
    for kernel in names:
        setattr(kernels, kernel, kept[kernel])
    found[name] = [best, best_inside]
print(json.dumps(found))
"""
)
_IMPORT = "import time; t = time.perf_counter(); import {what}; print(time.perf_counter() - t)"
_DEPENDENCIES = "numpy, scipy.sparse, threadpoolctl"


def run(code: str, byte_code: str, *, one_thread: bool = False) -> str:
    """Run `code` in a process of its own, with byte code kept as an installed package has it."""
    unwanted = (*_BLAS, "PYTHONDONTWRITEBYTECODE")
    variables = {name: value for name, value in os.environ.items() if name not in unwanted}
    variables["PYTHONPYCACHEPREFIX"] = byte_code
    if one_thread:
        variables["OPENBLAS_NUM_THREADS"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True, env=variables
    )
    return done.stdout


def summary(values: list[float]) -> tuple[float, float]:
    return min(values), statistics.median(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    description = describe()
    unset, limited, imports = [], [], []
    with tempfile.TemporaryDirectory() as byte_code:
        for what in ("cymf", _DEPENDENCIES):
            run(_IMPORT.format(what=what), byte_code)
        for turn in range(given.rounds):
            for one_thread in (False, True) if turn % 2 else (True, False):
                found = json.loads(run(_FIT, byte_code, one_thread=one_thread))
                (limited if one_thread else unset).append(found)
            imports.append(
                [float(run(_IMPORT.format(what=w), byte_code)) for w in ("cymf", _DEPENDENCIES)]
            )
        small = json.loads(run(_SMALL, byte_code))

    lines = [
        "| fit | unset: wall, least | median | processor, least | set to 1: wall, least | median | processor, least "
        "| wall × | processor × |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in unset[0]:
        (wall, wall_median), (cpu, _) = (
            summary([one[name][part] for one in unset]) for part in (0, 1)
        )
        (wall_1, wall_1_median), (cpu_1, _) = (
            summary([one[name][part] for one in limited]) for part in (0, 1)
        )
        lines.append(
            f"| {name} | {wall:.4f} | {wall_median:.4f} | {cpu:.4f} | {wall_1:.4f} | {wall_1_median:.4f} | {cpu_1:.4f} "
            f"| {wall / wall_1:.3f} | {cpu / cpu_1:.3f} |"
        )
    lines += [
        "",
        "| small fit | ms | of it in kernels, ms | 5 × kernels + 1 ms |",
        "| --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {1e3 * whole:.3f} | {1e3 * inside:.3f} | {5e3 * inside + 1:.3f} |"
        for name, (whole, inside) in small.items()
    ]
    own, others = ([one[part] for one in imports] for part in (0, 1))
    lines += [
        "",
        f"Import of cymf {1e3 * min(own):.0f} ms, of {_DEPENDENCIES} {1e3 * min(others):.0f} ms: "
        f"× {min(own) / min(others):.2f} (medians × {statistics.median(own) / statistics.median(others):.2f}).",
    ]
    text = f"## Traps\n\n{heading(description)}\n\n" + "\n".join(lines) + "\n"
    print(write_text(given.output / "traps.md", text))
    record = {"machine": description, "unset": unset, "limited": limited, "small": small}
    write_json(given.output / "traps.json", {**record, "imports": imports})


if __name__ == "__main__":
    main()
