"""Peak memory of a fit above the ratings it is given, against what the algorithm must hold.

    python bench/memory.py --ratings 1e6 1e7 --factors 64

Every estimator is measured in a process of its own, with generated float32 ratings that are in memory before: the peak
of resident memory during `fit`, less what was resident before it. What must be held is one copy each of the ratings by
user and by item (indices and values, 8 bytes a rating, and the row pointers), the factors with their biases, and with
``--patience`` the best factors once more and the held-out ratings. The ratings by user are counted although the input
lends them. Linux with glibc only.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from machine import describe, heading
from report import write_json, write_text
from worker import forget_peak, resident_megabytes

import cymf

_ESTIMATORS = {
    "ALS": lambda **p: cymf.ALS(**p),
    "SGD": lambda **p: cymf.SGD(**p),
    "GradientDescent, fixed": lambda **p: cymf.GradientDescent(
        step="fixed", learning_rate=1e-9, tol=0.0, **p
    ),
    "GradientDescent, nesterov": lambda **p: cymf.GradientDescent(step="nesterov", tol=0.0, **p),
    "GradientDescent, lbfgs": lambda **p: cymf.GradientDescent(step="lbfgs", tol=0.0, **p),
}
_HELD_OUT = 0.1


def generated(n_ratings: int, seed: int) -> cymf.Ratings:
    """Return ratings of n / 100 users and n / 1000 items, drawn evenly; cells drawn twice count once."""
    generator = np.random.default_rng(seed)
    shape = n_ratings // 100, n_ratings // 1000
    cells = np.unique(generator.integers(0, shape[0] * shape[1], n_ratings))
    values = generator.normal(3.5, 1, len(cells)).astype(np.float32)
    users = (cells // shape[1]).astype(np.int32)
    items = (cells % shape[1]).astype(np.int32)
    return cymf.Ratings.from_triplets(users, items, values, shape=shape)


def needed_megabytes(ratings: cymf.Ratings, n_factors: int, patience: bool) -> float:
    rows = ratings.n_users + ratings.n_items
    factors = 4 * rows * (n_factors + 1)
    held_out = _HELD_OUT * ratings.nnz * 12 if patience else 0
    return (16 * ratings.nnz + 8 * rows + factors * (2 if patience else 1) + held_out) / 1e6


def measure(label: str, n_ratings: int, n_factors: int, n_threads: int, patience: bool) -> dict:
    """Fit once, in this process."""
    small = generated(10_000, 1)
    parameters = {"max_iter": 3, "n_threads": n_threads}
    _ESTIMATORS[label](n_factors=4, **parameters).fit(small)  # loads what is imported when used
    ratings = generated(n_ratings, 0)
    given = {}
    if patience:
        parameters["patience"] = 3
        held_out = ratings.subset(np.arange(0, ratings.nnz, round(1 / _HELD_OUT)))
        given["validation"] = held_out
    model = _ESTIMATORS[label](n_factors=n_factors, **parameters)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed must not be there to be used again
    forget_peak()
    before, _ = resident_megabytes()
    model.fit(ratings, **given)
    after, peak = resident_megabytes()
    needed = needed_megabytes(ratings, n_factors, patience)
    return {
        "estimator": label, "ratings": ratings.nnz, "n_factors": n_factors, "patience": patience, "before": before,
        "above": peak - before, "kept": after - before, "needed": needed, "ratio": (peak - before) / needed,
    }  # fmt: skip


def in_own_process(*arguments: object) -> dict:
    command = [sys.executable, __file__, "--one", json.dumps(arguments)]
    # every array of some size gets pages of its own, which are given back when it is freed
    variables = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=variables)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", nargs="+", type=float, default=[1e6, 1e7])
    parser.add_argument("--factors", nargs="+", type=int, default=[64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--estimators", nargs="+", choices=list(_ESTIMATORS))
    parser.add_argument("--patience", action="store_true", help="early stopping too")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*json.loads(given.one))))
        return
    description = describe()
    records = [
        in_own_process(label, int(n), k, given.threads, patience)
        for n in given.ratings
        for k in given.factors
        for label in given.estimators or _ESTIMATORS
        for patience in ((False, True) if given.patience else (False,))
    ]
    lines = [
        "| estimator | ratings | k | early stopping | needed, MB | peak above the ratings, MB | ratio | kept, MB |",
        "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r['estimator']} | {r['ratings']:,} | {r['n_factors']} | {'yes' if r['patience'] else 'no'} "
        f"| {r['needed']:.1f} | {r['above']:.1f} | {r['ratio']:.2f} | {r['kept']:.1f} |"
        for r in records
    ]
    text = f"## Memory\n\n{heading(description, threads=str(given.threads))}\n\n" + "\n".join(lines)
    print(write_text(given.output / "memory.md", text + "\n"))
    write_json(given.output / "memory.json", {"machine": description, "cases": records})


if __name__ == "__main__":
    main()
