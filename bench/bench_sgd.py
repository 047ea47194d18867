"""Seconds of one SGD epoch, with each kind of step.

    python bench/bench_sgd.py --factors 64 128 --threads 1 2

The work is 8 k flops a rating: the product of two rows, and two rows updated. Plain SGD is bound by loads and stores,
so its share of the FMA peak says little; million ratings a second say more.
"""

from __future__ import annotations

import time

from estimators import Case, measure_all, options, training_ratings, write_cases

import cymf

SCHEDULES = ("exponential", "adagrad_row", "adagrad")


def main() -> None:
    given = options(__doc__.splitlines()[0])
    split, ratings = training_ratings(given)

    def case(schedule: str, k: int, n_threads: int) -> Case:
        def run(n_iter: int) -> float:
            model = cymf.SGD(
                k,
                schedule=schedule,
                max_iter=n_iter,
                store_ratings=False,
                n_threads=n_threads,
                dtype=given.dtype,
            )
            started = time.perf_counter()
            model.fit(ratings)
            return time.perf_counter() - started

        return Case(schedule, k, n_threads, run, 8.0 * split.nnz * k)

    cases = [
        case(schedule, k, n) for k in given.factors for n in given.threads for schedule in SCHEDULES
    ]
    measure_all(cases, given)
    write_cases("sgd", cases, given, split, against="adagrad")


if __name__ == "__main__":
    main()
