"""How an iteration of each solver scales with threads, against how memory bandwidth scales in the same run.

    python bench/scaling.py --threads 1 2 16 --factors 64 128

An exact ALS iteration is bound by arithmetic and should scale as the cores do; SGD and batch gradients are bound by
loads and stores. The bandwidth is that of reading an array far larger than the caches, one part a thread, at the same
time: by turns with the solvers, so that what else runs on the machine slows down all alike.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import numpy as np
from estimators import Case as Timed
from estimators import measure_all, options, training_ratings
from machine import describe, heading
from report import write_json, write_text
from runner import best_level, load_runner

import cymf

_READ_BYTES = 1 << 28
_SOLVERS: dict[str, Callable[..., object]] = {
    "ALS, exact": lambda **p: cymf.ALS(tol=0.0, track_objective=False, **p),
    "ALS, CG": lambda **p: cymf.ALS(solver="cg", tol=0.0, track_objective=False, **p),
    "SGD": lambda **p: cymf.SGD(**p),
    "batch gradient": lambda **p: cymf.GradientDescent(
        step="fixed", learning_rate=1e-6, tol=0, **p
    ),
}


def solver(label: str, ratings: cymf.Ratings, k: int, n_threads: int, dtype: str) -> Timed:
    def run(n_iter: int) -> float:
        model = _SOLVERS[label](
            n_factors=k, max_iter=n_iter, store_ratings=False, n_threads=n_threads, dtype=dtype
        )
        started = time.perf_counter()
        model.fit(ratings)
        return time.perf_counter() - started

    return Timed(label, k, n_threads, run, 0.0)


def reading(n_threads: int) -> Timed:
    """One iteration reads the whole array, every thread its part."""
    runner, array = load_runner(best_level()), np.ones(_READ_BYTES // 4, np.float32)
    parts = [part[: len(part) // 64 * 64] for part in np.array_split(array, n_threads)]

    def run(n_iter: int) -> float:
        seconds = np.empty(1)
        work = [
            threading.Thread(target=runner.time_read, args=(part, n_iter, seconds.copy()))
            for part in parts
        ]
        started = time.perf_counter()
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        return (time.perf_counter() - started) / 2  # the runner warms up by as many repetitions

    return Timed("reading memory", 0, n_threads, run, 0.0)


def main() -> None:
    given = options(__doc__.splitlines()[0])
    split, ratings = training_ratings(given)
    cases = [reading(n) for n in given.threads]
    cases += [
        solver(label, ratings, k, n, given.dtype)
        for label in _SOLVERS
        for k in given.factors
        for n in given.threads
    ]
    measure_all(cases, given)
    base = {(c.label, c.n_factors): c for c in cases if c.n_threads == given.threads[0]}
    lines = [
        f"| what | k | threads | s/iteration | × {given.threads[0]} thread(s) | quickest | × |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    records = []
    for case in cases:
        one = base[case.label, case.n_factors]
        ratio = statistics.median(a / b for a, b in zip(one.rounds, case.rounds, strict=True))
        quickest = min(one.rounds) / min(case.rounds)
        lines.append(
            f"| {case.label} | {case.n_factors or ''} | {case.n_threads} | {case.seconds:.4g} | {ratio:.2f} "
            f"| {min(case.rounds):.4g} | {quickest:.2f} |"
        )
        records.append({
            "label": case.label, "n_factors": case.n_factors, "n_threads": case.n_threads, "rounds": case.rounds,
            "scaling": ratio, "scaling_of_quickest": quickest,
        })  # fmt: skip
    description = describe()
    text = heading(description, data=f"{given.data}, {split.nnz:,} training ratings")
    print(
        write_text(
            given.output / "scaling.md", f"## Scaling\n\n{text}\n\n" + "\n".join(lines) + "\n"
        )
    )
    write_json(given.output / "scaling.json", {"machine": description, "cases": records})


if __name__ == "__main__":
    main()
