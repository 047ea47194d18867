"""How an iteration of each solver scales with threads, against how memory bandwidth scales in the same run.

    python bench/scaling.py --threads 1 2 16 --factors 64 128

An exact ALS iteration is bound by arithmetic and should scale as the cores do; SGD and batch gradients are bound by
loads and stores. Two references tell what the machine itself gains, by turns with the solvers, so that what else runs
slows down all alike: multiply-adds on registers, each thread its own, and reading an array far larger than the caches,
one part a thread.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from estimators import Case as Timed
from estimators import measure_all, options, training_ratings
from machine import describe, heading
from report import write_json, write_text
from runner import best_level, load_runner

import cymf

_READ_BYTES = 1 << 28
_MULTIPLY_TURNS = 1 << 24
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


def at_once(work: list[Callable[[], object]]) -> float:
    """Return the seconds from the start of the first thread to the end of the last."""
    threads = [threading.Thread(target=one) for one in work]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.perf_counter() - started) / 2  # the runner warms up by as many repetitions


def multiplying(n_threads: int) -> Timed:
    """One iteration is a fixed number of multiply-adds, dealt out evenly."""
    runner = load_runner(best_level())

    def run(n_iter: int) -> float:
        turns = n_iter * _MULTIPLY_TURNS // n_threads
        return at_once([partial(runner.time_fma, True, turns, np.empty(1))] * n_threads)

    return Timed("multiply-adds", 0, n_threads, run, 0.0)


def reading(n_threads: int) -> Timed:
    """One iteration reads the whole array, every thread its part."""
    runner, array = load_runner(best_level()), np.ones(_READ_BYTES // 4, np.float32)
    parts = [part[: len(part) // 64 * 64] for part in np.array_split(array, n_threads)]

    def run(n_iter: int) -> float:
        return at_once([partial(runner.time_read, part, n_iter, np.empty(1)) for part in parts])

    return Timed("reading memory", 0, n_threads, run, 0.0)


def main() -> None:
    given = options(__doc__.splitlines()[0])
    split, ratings = training_ratings(given)
    cases = [multiplying(n) for n in given.threads] + [reading(n) for n in given.threads]
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
