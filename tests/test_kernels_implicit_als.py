"""The kernels of implicit ALS against dense systems, at every level, in both types, within their arrays."""

from __future__ import annotations

import numpy as np
import pytest
from generated import FACTOR_COUNTS, ROW_LENGTHS, Compressed, compressed_ratings, examples
from hypothesis import given
from hypothesis import strategies as st
from kernel_drivers import Guarded, at_every_level, in_both_types, in_threads, row_chunks

import cymf._kernels

METHODS = {"exact": 0, "cg": 1, "blocks": 2}


class System:
    """A fixed side in the eigenbasis of its Gram matrix."""

    def __init__(self, rng, ratings, k, dtype, use_offset, popular, empty):
        lanes = 64 // np.dtype(dtype).itemsize
        m = ratings.n_columns
        self.k, self.width = k, -(-k // lanes) * lanes
        self.base_fixed = (rng.uniform(0.2, 2, m) if popular else np.zeros(0)).astype(dtype)
        self.base = rng.uniform(0.1, 1, ratings.n_rows)
        v = self.base_fixed if popular else np.ones(m)
        g = rng.normal(size=(m, k)) / 2
        if empty:
            g[:, 0] = 0
        values, basis = np.linalg.eigh((g.T * v) @ g)
        none = values < 1e-9  # more factors than rows, too
        self.fixed = np.zeros((m, self.width), dtype)
        self.fixed[:, :k] = np.where(none, 0, g @ basis)
        self.eigenvalues = np.full(self.width, 1e30, dtype)
        self.eigenvalues[:k] = np.where(none, 1e30, values)
        self.offset = (rng.normal(size=m) / 4 if use_offset else np.zeros(0)).astype(dtype)
        self.constant = np.zeros(self.width if use_offset else 0, dtype)
        if use_offset:
            self.constant[:k] = (v * self.offset) @ self.fixed[:, :k]

    def row(self, ratings, i, replaces, reg):
        """The dense system A x = r of one row, in double precision."""
        cells = ratings.row(i)
        g = self.fixed[ratings.indices[cells], : self.k].astype(float)
        c = ratings.values[cells].astype(float)
        d = np.abs(c)
        if replaces:
            d = d - self.base[i] * (
                self.base_fixed[ratings.indices[cells]] if len(self.base_fixed) else 1
            )
        r = np.maximum(c, 0)
        right = np.zeros(self.k)
        if len(self.offset):
            r = r - d * self.offset[ratings.indices[cells]]
            right -= self.base[i] * self.constant[: self.k]
        diagonal = self.base[i] * self.eigenvalues[: self.k].astype(float) + reg
        return np.diag(diagonal) + (g.T * d) @ g, right + g.T @ r

    def right_terms(self, ratings, i):
        """Upper bounds of the sums of the sizes of the terms of r, which may cancel."""
        cells = ratings.row(i)
        columns = ratings.indices[cells]
        sizes = np.abs(ratings.values[cells].astype(float))
        total = np.zeros(self.k)
        if len(self.offset):
            replaced = self.base[i] * (self.base_fixed[columns] if len(self.base_fixed) else 1)
            sizes = sizes + (sizes + replaced) * np.abs(self.offset[columns])
            total += np.abs(self.base[i] * self.constant[: self.k])
        return total + np.abs(self.fixed[columns, : self.k].astype(float)).T @ sizes


def half_sweep(module, ratings, system, replaces, reg, method, setting, start=None, n_threads=1):
    dtype = ratings.values.dtype.type
    guarded = Guarded()
    solved = guarded.array((ratings.n_rows, system.width), dtype)
    if start is not None:
        solved[...] = start
    status = guarded.array(ratings.n_rows, np.int8)
    counter = np.zeros(1, np.int64)
    longest = int(ratings.counts.max(initial=0))
    size = module.implicit_scratch_size(system.width, longest)
    scratch = [guarded.array(size, dtype) for _ in range(n_threads)]
    mean_squares = (system.eigenvalues / ratings.n_columns).astype(dtype)

    def work(worker):
        module.implicit_half_sweep(
            ratings.indptr, ratings.indices, ratings.values, system.base, system.base_fixed, replaces,
            np.full(ratings.n_rows, reg), system.fixed, system.offset, system.constant, system.eigenvalues,
            mean_squares, system.k, METHODS[method], setting, solved, row_chunks(ratings.n_rows), counter, status,
            scratch[worker],
        )  # fmt: skip

    in_threads(work, n_threads)
    guarded.check()
    assert not solved[:, system.k :].any(), "padding must be zero"
    assert not status.any()
    return solved


@st.composite
def problems(draw, dtype, signed=True):
    ratings = draw(compressed_ratings(dtype, ROW_LENGTHS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    kind = draw(
        st.sampled_from(["all alike", "some disliked", "small", "some zero"]), label="confidence"
    )
    values = {
        "all alike": np.full(len(ratings.values), 2.5),
        "some disliked": rng.uniform(1, 4, len(ratings.values)) * rng.choice([1, 1, -1], len(ratings.values)),
        "small": rng.uniform(0.01, 0.5, len(ratings.values)),
        "some zero": rng.choice([0.0, 1.0, 2.0], len(ratings.values)),
    }[kind]  # fmt: skip
    ratings = Compressed(
        ratings.indptr, ratings.indices, values.astype(dtype), np.empty(0, dtype), ratings.n_columns
    )
    k = draw(st.sampled_from((*FACTOR_COUNTS, 130)), label="n_factors")
    flags = [draw(st.booleans(), label=name) for name in ("offset", "popular", "empty direction")]
    return ratings, System(rng, ratings, k, dtype, *flags), draw(st.booleans(), label="replaces")


def solution(system, ratings, i, replaces, reg):
    matrix, right = system.row(ratings, i, replaces, reg)
    return matrix, right, np.linalg.solve(matrix, right)


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_exact_rows_solve_the_dense_system(level, dtype, data):
    ratings, system, replaces = data.draw(problems(dtype))
    reg = data.draw(st.sampled_from([0.1, 2.0]), label="reg")
    module = cymf._kernels.load_level(level, "implicit")
    solved = half_sweep(module, ratings, system, replaces, reg, "exact", 0)
    for i in range(ratings.n_rows):
        if ratings.counts[i] == 0:
            assert not solved[i].any()
            continue
        matrix, _, expected = solution(system, ratings, i, replaces, reg)
        kept = np.diag(matrix) < 1e20
        condition = np.linalg.cond(matrix[np.ix_(kept, kept)]) if kept.any() else 1
        eps = float(np.finfo(dtype).eps)
        cancelled = (np.abs(np.linalg.inv(matrix)) @ system.right_terms(ratings, i)).max()
        atol = eps * (50 * condition * np.abs(expected).max() + cancelled)
        np.testing.assert_allclose(solved[i, : system.k], expected, rtol=0, atol=atol)


@at_every_level
@in_both_types
@pytest.mark.parametrize("method", ["cg", "blocks"])
@given(data=st.data())
@examples(30)
def test_inexact_rows_only_fall(level, dtype, method, data):
    """½ x'Ax − r'x never rises, and falls by something where there is something to fall."""
    ratings, system, replaces = data.draw(problems(dtype))
    setting = data.draw(st.sampled_from([1, 3])) if method == "cg" else min(16, system.width)
    module = cymf._kernels.load_level(level, "implicit")
    rng = np.random.default_rng(0)
    start = np.zeros((ratings.n_rows, system.width), dtype)
    start[:, : system.k] = rng.normal(size=(ratings.n_rows, system.k)) / 3
    start[:, system.eigenvalues > 1e20] = 0
    solved = half_sweep(module, ratings, system, replaces, 0.5, method, setting, start)
    for i in np.flatnonzero(ratings.counts):
        matrix, right, best = solution(system, ratings, i, replaces, 0.5)
        kept = np.diag(matrix) < 1e20
        if not kept.any():
            continue
        matrix, right, best = matrix[np.ix_(kept, kept)], right[kept], best[kept]

        def quadratic(x, matrix=matrix, right=right):
            return x @ matrix @ x / 2 - right @ x

        before = quadratic(start[i, : system.k][kept].astype(float))
        after = quadratic(solved[i, : system.k][kept].astype(float))
        size = (
            abs(before)
            + np.abs(matrix).sum() * np.abs(best).max() ** 2
            + np.abs(right) @ np.abs(best)
        )
        rounding = 64 * float(np.finfo(dtype).eps) * size
        assert quadratic(best) - rounding <= after <= before + rounding
        if before - quadratic(best) > 1e3 * rounding:
            assert after < before


@at_every_level
@pytest.mark.parametrize("method", ["cg", "blocks"])
def test_repeated_inexact_rows_become_exact(level, method):
    rng = np.random.default_rng(3)
    counts = np.array([150, 90, 200, 120])
    ratings = Compressed(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([np.sort(rng.permutation(300)[:n]) for n in counts]).astype(np.int32),
        rng.uniform(0.5, 3, counts.sum()) * rng.choice([1, -1], counts.sum()),
        np.empty(0),
        300,
    )
    system = System(rng, ratings, 21, np.float64, True, True, False)
    module = cymf._kernels.load_level(level, "implicit")
    solved = np.zeros((4, system.width))
    for _ in range(60):
        solved = half_sweep(
            module, ratings, system, False, 0.5, method, 3 if method == "cg" else 8, solved
        )
    for i in range(4):
        _, _, expected = solution(system, ratings, i, False, 0.5)
        np.testing.assert_allclose(solved[i, :21], expected, atol=1e-9)


@at_every_level
@in_both_types
@pytest.mark.parametrize("method", ["exact", "cg", "blocks"])
def test_threads_change_no_bit(level, dtype, method):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 60, 80)
    ratings = Compressed(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([np.sort(rng.permutation(90)[:n]) for n in counts]).astype(np.int64),
        rng.uniform(0.5, 3, counts.sum()).astype(dtype),
        np.empty(0, dtype),
        90,
    )
    system = System(rng, ratings, 24, dtype, True, True, True)
    module = cymf._kernels.load_level(level, "implicit")
    start = np.zeros((80, system.width), dtype)
    setting = {"exact": 0, "cg": 2, "blocks": 64 // start.itemsize}[method]
    rows = [
        half_sweep(module, ratings, system, True, 0.5, method, setting, start, n)
        for n in (1, 2, 3, 7)
    ]
    assert all(np.array_equal(rows[0], other) for other in rows[1:])


@at_every_level
@in_both_types
@given(data=st.data())
@examples(25)
def test_observed_errors_are_the_sum_over_cells(level, dtype, data):
    ratings, system, replaces = data.draw(problems(dtype))
    use_bias = data.draw(st.booleans(), label="biases")
    rng = np.random.default_rng(1)
    rows = np.zeros((ratings.n_rows, system.width), dtype)
    rows[:, : system.k] = rng.normal(size=(ratings.n_rows, system.k)) / 3
    bias = rng.normal(size=ratings.n_rows if use_bias else 0).astype(dtype)
    fixed_bias = rng.normal(size=ratings.n_columns if use_bias else 0).astype(dtype)
    chunks = row_chunks(ratings.n_rows)
    guarded = Guarded()
    sums = guarded.array(len(chunks) - 1, np.float64)
    cymf._kernels.load_level(level, "implicit").implicit_observed_errors(
        ratings.indptr, ratings.indices, ratings.values, system.base, system.base_fixed, replaces, rows, bias,
        system.fixed, fixed_bias, chunks, np.zeros(1, np.int64), sums,
    )  # fmt: skip
    guarded.check()
    of_cell = np.repeat(np.arange(ratings.n_rows), ratings.counts)
    scores = np.sum(rows[of_cell].astype(float) * system.fixed[ratings.indices], axis=1)
    if use_bias:
        scores += bias[of_cell] + fixed_bias[ratings.indices]
    c = ratings.values.astype(float)
    expected = np.abs(c) * ((c > 0) - scores) ** 2
    if replaces:
        popular = system.base_fixed[ratings.indices] if len(system.base_fixed) else 1.0
        expected -= system.base[of_cell] * popular * scores**2
    size = np.abs(expected).sum() + np.sum(np.abs(c) + scores**2)
    assert sums.sum() == pytest.approx(
        expected.sum(), abs=64 * float(np.finfo(dtype).eps) * max(size, 1)
    )
