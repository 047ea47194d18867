"""Seconds of one full gradient with its step, against the same in scipy.sparse: E = …; E @ V; E.T @ U.

    python bench/bench_gradient_descent.py --factors 64 --threads 1 2

The work is 8 k flops a rating: residual and gradient, in both directions.
"""

from __future__ import annotations

import time

import numpy as np
from estimators import Case, measure_all, options, training_ratings, write_cases
from scipy import sparse

import cymf

RATE = 1e-6


def main() -> None:
    given = options(__doc__.splitlines()[0])
    split, ratings = training_ratings(given)
    dtype = np.dtype(given.dtype)
    matrix = ratings.to_scipy().astype(dtype)
    users, items = matrix.tocoo().coords

    def fused(k: int, n_threads: int) -> Case:
        def run(n_iter: int) -> float:
            model = cymf.GradientDescent(
                k, step="fixed", learning_rate=RATE, max_iter=n_iter, tol=0, use_bias=False, store_ratings=False,
                n_threads=n_threads, dtype=given.dtype,
            )  # fmt: skip
            started = time.perf_counter()
            model.fit(ratings)
            return time.perf_counter() - started

        return Case("cymf", k, n_threads, run, 8.0 * split.nnz * k)

    def with_scipy(k: int) -> Case:
        def run(n_iter: int) -> float:
            generator = np.random.default_rng(0)
            U, V = (0.1 * generator.standard_normal((n, k), dtype=dtype) for n in split.shape)
            started = time.perf_counter()
            for _ in range(n_iter):
                errors = np.einsum("ij,ij->i", U[users], V[items]) - matrix.data
                E = sparse.csr_array((errors, matrix.indices, matrix.indptr), shape=matrix.shape)
                gradient_U, gradient_V = E @ V + 1.2 * U, E.T @ U + 1.2 * V
                U -= RATE * gradient_U
                V -= RATE * gradient_V
            return time.perf_counter() - started

        return Case("scipy.sparse", k, 1, run, 8.0 * split.nnz * k)

    cases = []
    for k in given.factors:
        cases += [fused(k, n) for n in given.threads]
        cases.append(with_scipy(k))
    measure_all(cases, given)
    write_cases("gradient_descent", cases, given, split, against="scipy.sparse")


if __name__ == "__main__":
    main()
