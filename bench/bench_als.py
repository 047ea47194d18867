"""Seconds of one ALS iteration, its textbook work as a share of the FMA peak, against the path through LAPACK.

    python bench/bench_als.py --factors 64 128 --threads 1 2

The work is that of both half-sweeps, whatever is really executed:
2 nnz k(k + 1) + 4 nnz k + (N + M)(k³/3 + 2k²) flops.
"""

from __future__ import annotations

import time

from estimators import Case, measure_all, options, training_ratings, write_cases

import cymf

SOLVERS = ("cholesky", "lapack")


def main() -> None:
    given = options(__doc__.splitlines()[0])
    split, ratings = training_ratings(given)
    n_rows = sum(split.shape)

    def case(solver: str, k: int, n_threads: int) -> Case:
        def run(n_iter: int) -> float:
            model = cymf.ALS(
                k, solver=solver, max_iter=n_iter, tol=0, track_objective=False, store_ratings=False,
                n_threads=n_threads, dtype=given.dtype,
            )  # fmt: skip
            started = time.perf_counter()
            model.fit(ratings)
            return time.perf_counter() - started

        work = 2 * split.nnz * k * (k + 1) + 4 * split.nnz * k + n_rows * (k**3 / 3 + 2 * k * k)
        return Case(solver, k, n_threads, run, work)

    cases = [case(solver, k, n) for k in given.factors for n in given.threads for solver in SOLVERS]
    measure_all(cases, given)
    write_cases("als", cases, given, split, against="lapack")


if __name__ == "__main__":
    main()
