"""The kernels of non-negative rows against their slow twins and against the conditions of a minimum."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import reference_nonnegative as twin
from generated import FACTOR_COUNTS, Compressed, compressed_ratings, examples, factor_pair
from hypothesis import given
from hypothesis import strategies as st
from kernel_drivers import Guarded, at_every_level, in_both_types, in_threads, padded, row_chunks

import cymf._kernels

PENALTIES = st.builds(
    reference.Penalty,
    st.sampled_from([0.0, 0.1, 3.0]),
    st.sampled_from([0.0, 0.1, 3.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
)
NOTHING = {np.float32: np.zeros(0, np.float32), np.float64: np.zeros(0, np.float64)}


def kernels_and_width(level, k, dtype, whole_line):
    module = cymf._kernels.load_level(level, "nonnegative")
    vector = {"baseline": 16, "v3": 32, "v4": 64}[level]
    step = (64 if whole_line else max(4 * np.dtype(dtype).itemsize, vector)) // np.dtype(
        dtype
    ).itemsize
    return module, -(-k // step) * step


def half_sweep(
    module, ratings, model, penalty, l1, use_bias, width, passes, precision=0.0, n_threads=1
):
    """Users from items, from where the users are: factors (N, width), biases (N,), status (N,)."""
    dtype = ratings.values.dtype.type
    k = model.items.shape[1]
    guarded = Guarded()
    solved = guarded.copy(padded(model.users, width, dtype))
    bias = guarded.array(ratings.n_rows, dtype) if use_bias else NOTHING[dtype]
    fixed_bias = model.item_bias.astype(dtype) if use_bias else NOTHING[dtype]
    status = guarded.array(ratings.n_rows, np.int8)
    status[:] = -1
    counter = np.zeros(1, np.int64)
    size = module.nonnegative_scratch_size(k, width)
    scratch = [guarded.array(size, dtype) for _ in range(n_threads)]

    def work(worker):
        module.nonnegative_half_sweep(
            ratings.indptr, ratings.indices, ratings.values, ratings.weights,
            padded(model.items, width, dtype), fixed_bias, solved, bias, k, model.mean, penalty.reg,
            l1, penalty.reg_bias, penalty.exponent, passes, precision, row_chunks(ratings.n_rows),
            counter, status, scratch[worker],
        )  # fmt: skip

    in_threads(work, n_threads)
    guarded.check()
    assert not solved[:, k:].any(), "padding must be zero"
    assert not (solved < 0).any()
    return solved, bias, status


def row_of(ratings, model, penalty, l1, use_bias, i):
    cells, where = ratings.cells(), ratings.row(i)
    items = cells.items[where]
    scale = float(ratings.counts[i]) ** penalty.exponent
    return twin.Row(
        model.items[items],
        cells.values[where] - model.mean - (model.item_bias[items] if use_bias else 0),
        cells.weights[where],
        penalty.reg * scale,
        l1 * scale,
        penalty.reg_bias * scale if use_bias else None,
    )


@st.composite
def row_problems(draw, dtype, signed=True):
    """Ratings, factors >= 0 with some zeros, penalties."""
    ratings = draw(compressed_ratings(dtype))
    model, use_bias = draw(factor_pair(ratings, dtype))
    for rows in (model.users, model.items):
        np.maximum(rows, 0, out=rows)
    if not signed:
        ratings = Compressed(
            ratings.indptr,
            ratings.indices,
            np.abs(ratings.values),
            ratings.weights,
            ratings.n_columns,
        )
        use_bias = False
        model = reference.Factors.without_bias(model.users, model.items)
    return ratings, model, use_bias, draw(PENALTIES), draw(st.sampled_from([0.0, 0.05]))


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_passes_are_the_slow_twins(level, dtype, data):
    ratings, model, use_bias, penalty, l1 = data.draw(row_problems(dtype))
    k = model.items.shape[1]
    passes = data.draw(st.integers(1, 3), label="passes")
    module, width = kernels_and_width(level, k, dtype, data.draw(st.booleans()))
    if penalty.reg == 0:  # what singular systems are divided by is rounding noise
        penalty = reference.Penalty(0.1, penalty.reg_bias, penalty.exponent)
    solved, bias, status = half_sweep(module, ratings, model, penalty, l1, use_bias, width, passes)
    assert not status.any()
    tolerance = 1e-9 if dtype is np.float64 else 2e-3
    for i in range(ratings.n_rows):
        if ratings.counts[i] == 0:
            assert not solved[i].any()
            assert not use_bias or bias[i] == 0
            continue
        row = row_of(ratings, model, penalty, l1, use_bias, i)
        expected = twin.descend(*twin.system(row), model.users[i], passes)
        scale = 1 + np.abs(expected).max() + np.abs(model.users[i]).max()
        np.testing.assert_allclose(solved[i, :k], expected, rtol=0, atol=tolerance * scale)
        if use_bias:
            scale += np.abs(row.targets).max()
            own = twin.best_bias(row, solved[i, :k].astype(np.float64))
            np.testing.assert_allclose(bias[i], own, rtol=0, atol=tolerance * scale)


@at_every_level
@given(data=st.data())
@examples(40)
def test_many_passes_lead_to_the_minimum(level, data):
    ratings, model, use_bias, penalty, l1 = data.draw(row_problems(np.float64))
    penalty = reference.Penalty(1.0, penalty.reg_bias, penalty.exponent)
    module, width = kernels_and_width(level, model.items.shape[1], np.float64, True)
    solved, _, _ = half_sweep(module, ratings, model, penalty, l1, use_bias, width, 20000, 1e-15)
    for i in np.flatnonzero(ratings.counts):
        gram, right = twin.system(row_of(ratings, model, penalty, l1, use_bias, i))
        w = solved[i, : len(right)]
        size = 1 + np.abs(right).max() + np.abs(gram).max() * np.abs(w).max()
        assert twin.optimality(gram, right, w) <= 1e-6 * size


@at_every_level
@in_both_types
@pytest.mark.parametrize("multiplies", [False, True])
@given(data=st.data())
@examples(40)
def test_no_row_gets_worse_however_weak_the_penalty(level, dtype, multiplies, data):
    ratings, model, use_bias, penalty, l1 = data.draw(row_problems(dtype, signed=not multiplies))
    k = model.items.shape[1]
    passes = 0 if multiplies else data.draw(st.integers(1, 5), label="passes")
    module, width = kernels_and_width(level, k, dtype, True)
    solved, bias, status = half_sweep(module, ratings, model, penalty, l1, use_bias, width, passes)
    assert not status.any()
    for i in np.flatnonzero(ratings.counts):
        row = row_of(ratings, model, penalty, l1, use_bias, i)
        start, got = model.users[i], solved[i, :k].astype(np.float64)
        before = twin.row_objective(row, start, twin.best_bias(row, start))
        after = twin.row_objective(row, got, float(bias[i]) if use_bias else 0.0)
        summands = np.sqrt(row.weights) @ (
            np.abs(row.targets) + row.rated @ (start + got) + (abs(bias[i]) if use_bias else 0)
        )
        rounding = 100 * (k + 1) * float(np.finfo(dtype).eps) * (1 + summands) ** 2
        assert after <= before + rounding


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_multiplicative_updates_are_the_slow_twins(level, dtype, data):
    ratings, model, use_bias, penalty, l1 = data.draw(row_problems(dtype, signed=False))
    k = model.items.shape[1]
    module, width = kernels_and_width(level, k, dtype, data.draw(st.booleans()))
    solved, _, status = half_sweep(module, ratings, model, penalty, l1, use_bias, width, 0)
    assert not status.any()
    tolerance = 1e-10 if dtype is np.float64 else 1e-3
    for i in range(ratings.n_rows):
        if ratings.counts[i] == 0:
            assert not solved[i].any()
            continue
        expected = twin.multiplied(row_of(ratings, model, penalty, l1, False, i), model.users[i])
        scale = 1 + np.abs(expected).max()
        np.testing.assert_allclose(
            solved[i, :k], expected, rtol=tolerance, atol=1e-6 * tolerance * scale
        )


@at_every_level
def test_infinities_are_noticed(level):
    ratings = Compressed(
        np.array([0, 2, 3], np.int64),
        np.array([0, 1, 1], np.int32),
        np.array([1e30, 1e30, 1.0], np.float32),
        np.zeros(0, np.float32),
        2,
    )
    items = np.array([[1e30, 1.0], [1.0, 0.5]])
    model = reference.Factors.without_bias(np.ones((2, 2)), items)
    module, width = kernels_and_width(level, 2, np.float32, True)
    for passes in (3, 0):
        status = half_sweep(
            module, ratings, model, reference.Penalty(0.1, 0.1), 0.0, False, width, passes
        )[2]
        assert status.tolist() == [2, 0]


@at_every_level
@in_both_types
@pytest.mark.parametrize(("use_bias", "passes"), [(True, 4), (False, 4), (False, 0)])
def test_threads_change_no_bit(level, dtype, use_bias, passes):
    rng = np.random.default_rng(0)
    dense = rng.random((40, 90)) < 0.6
    ratings = Compressed(
        np.concatenate([[0], np.cumsum(dense.sum(1))]).astype(np.int64),
        np.nonzero(dense)[1].astype(np.int32),
        rng.random(dense.sum()).astype(dtype),
        rng.random(dense.sum()).astype(dtype),
        90,
    )
    model = reference.Factors(
        rng.random((40, 21)), rng.random((90, 21)), np.zeros(40), rng.normal(size=90), 0.5
    )
    module, width = kernels_and_width(level, 21, dtype, True)
    arguments = module, ratings, model, reference.Penalty(0.5, 0.2, 0.5), 0.01, use_bias, width
    expected = half_sweep(*arguments, passes)
    for n_threads in (2, 3, 7):
        again = half_sweep(*arguments, passes, n_threads=n_threads)
        assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True))


# ---- rows that share a Gram matrix ---------------------------------------------------------------


def shared_rows(module, products, gram, l1, start, width, passes, precision, size=50, n_threads=1):
    """Rows from their products: factors (N, k) and the sum of w.r."""
    dtype = products.dtype.type
    k = len(gram)
    guarded = Guarded()
    solved = guarded.copy(padded(start, width, dtype))
    chunks = row_chunks(len(products), size)
    sums = guarded.array(len(chunks) - 1, np.float64)
    counter = np.zeros(1, np.int64)
    n_scratch = module.nonnegative_shared_scratch_size(k, np.dtype(dtype).itemsize)
    scratch = [guarded.array(n_scratch, dtype) for _ in range(n_threads)]

    def work(worker):
        module.nonnegative_shared_rows(
            padded(products, width, dtype), gram.astype(dtype), l1, passes, precision, solved,
            chunks, counter, sums, scratch[worker],
        )  # fmt: skip

    in_threads(work, n_threads)
    guarded.check()
    assert not solved[:, k:].any(), "padding must be zero"
    assert (solved >= 0).all()
    return solved[:, :k], float(sums.sum())


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_shared_rows_are_the_slow_twins(level, dtype, data):
    k = data.draw(st.sampled_from(FACTOR_COUNTS), label="k")
    n = data.draw(st.sampled_from([1, 2, 7, 8, 31, 32, 33, 100]), label="rows")
    passes = data.draw(st.integers(0, 3), label="passes")
    l1 = data.draw(st.sampled_from([0.0, 0.5]), label="l1")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    fixed = np.maximum(rng.normal(size=(k + 3, k)), 0).astype(dtype).astype(np.float64)
    fixed[:, rng.random(k) < 0.1] = 0
    gram = fixed.T @ fixed + data.draw(st.sampled_from([0.0, 0.1])) * np.eye(k)
    products = rng.random((n, k + 3)).astype(dtype).astype(np.float64) @ fixed
    start = np.maximum(rng.normal(size=(n, k)), 0).astype(dtype).astype(np.float64)
    module, width = kernels_and_width(level, k, dtype, data.draw(st.booleans()))
    solved, cross = shared_rows(module, products.astype(dtype), gram, l1, start, width, passes, 0.0)
    tolerance = 1e-9 if dtype is np.float64 else 5e-3
    for i in range(n):
        if passes:
            expected = twin.descend(gram, products[i] - l1, start[i], passes)
        else:
            below = gram @ start[i] + l1
            expected = start[i] * np.divide(products[i], below, out=np.ones(k), where=below > 1e-30)
        scale = 1 + np.abs(expected).max()
        np.testing.assert_allclose(solved[i], expected, rtol=tolerance, atol=tolerance * scale)
    assert cross == pytest.approx(float(np.sum(solved * products)), rel=1e-5, abs=1e-6)


@at_every_level
@in_both_types
def test_a_shared_row_does_not_depend_on_its_neighbours_nor_on_threads(level, dtype):
    rng = np.random.default_rng(3)
    fixed = rng.random((40, 19))
    products = (rng.random((130, 40)) @ fixed).astype(dtype)
    module, width = kernels_and_width(level, 19, dtype, True)
    start = rng.random((130, 19))

    def solve(rows, size=50, n_threads=1):
        return shared_rows(
            module, products[rows], fixed.T @ fixed, 0.1, start[rows], width, 200, 1e-6, size, n_threads
        )[0]  # fmt: skip

    together = solve(np.arange(130))
    assert np.array_equal(together, solve(np.arange(130), n_threads=3))
    shuffled = rng.permutation(130)
    assert np.array_equal(together[shuffled], solve(shuffled, size=37))
    assert np.array_equal(together[7:8], solve(np.array([7])))


@at_every_level
def test_shared_rows_reach_the_minimum(level):
    rng = np.random.default_rng(4)
    fixed = np.maximum(rng.normal(size=(60, 12)), 0)
    gram, products = fixed.T @ fixed, np.maximum(rng.normal(size=(70, 60)), 0) @ fixed
    module, width = kernels_and_width(level, 12, np.float64, True)
    solved, _ = shared_rows(module, products, gram, 0.3, np.zeros((70, 12)), width, 5000, 1e-14)
    assert (
        max(twin.optimality(gram, r - 0.3, w) for r, w in zip(products, solved, strict=True)) < 1e-5
    )
    assert (solved == 0).any()


@at_every_level
@in_both_types
@given(data=st.data())
@examples(25)
def test_sparse_products(level, dtype, data):
    ratings = data.draw(compressed_ratings(dtype))
    model, _ = data.draw(factor_pair(ratings, dtype))
    k = model.items.shape[1]
    module, width = kernels_and_width(level, k, dtype, data.draw(st.booleans()))
    guarded = Guarded()
    products = guarded.array((ratings.n_rows, width), dtype)
    module.nonnegative_products(
        ratings.indptr, ratings.indices, ratings.values, padded(model.items, width, dtype),
        row_chunks(ratings.n_rows), np.zeros(1, np.int64), products,
    )  # fmt: skip
    guarded.check()
    cells = ratings.cells()
    matrix = np.zeros(cells.shape)
    matrix[cells.users, cells.items] = cells.values
    tolerance = 1e-12 if dtype is np.float64 else 1e-4
    np.testing.assert_allclose(
        products[:, :k], matrix @ model.items, atol=tolerance * (1 + np.abs(matrix).sum())
    )
