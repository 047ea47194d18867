"""The subspace kernel of ALS against its slow twin and against the exact solution."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from generated import Compressed, compressed_ratings, examples, factor_pair, penalties
from hypothesis import given
from hypothesis import strategies as st
from kernel_drivers import (
    Guarded,
    at_every_level,
    in_both_types,
    in_threads,
    kernels_and_width,
    padded,
    row_chunks,
)


def half_sweep(module, ratings, model, penalty, use_bias, width, block_size, n_threads=1):
    """Users from items, from where the users are: factors (N, width), biases (N,), status (N,)."""
    dtype = ratings.values.dtype.type
    k = model.items.shape[1]
    guarded = Guarded()
    solved = guarded.copy(padded(model.users, width, dtype))
    nothing = np.zeros(0, dtype)
    bias = guarded.copy(model.user_bias.astype(dtype)) if use_bias else nothing
    fixed_bias = model.item_bias.astype(dtype) if use_bias else nothing
    status = guarded.array(ratings.n_rows, np.int8)
    counter = np.zeros(1, np.int64)
    longest = int(ratings.counts.max(initial=0))
    size = module.als_subspace_scratch_size(block_size, longest)
    scratch = [guarded.array(size, dtype) for _ in range(n_threads)]

    def work(worker):
        module.als_subspace_half_sweep(
            ratings.indptr, ratings.indices, ratings.values, ratings.weights,
            padded(model.items, width, dtype), fixed_bias, solved, bias, k, model.mean, penalty.reg,
            penalty.reg_bias, penalty.exponent, block_size, row_chunks(ratings.n_rows), counter,
            status, scratch[worker],
        )  # fmt: skip

    in_threads(work, n_threads)
    guarded.check()
    assert not solved[:, k:].any(), "padding must be zero"
    return solved, bias, status


def row_problem(ratings, model, penalty, use_bias, i):
    cells, where = ratings.cells(), ratings.row(i)
    items = cells.items[where]
    scale = float(ratings.counts[i]) ** penalty.exponent
    return (
        model.items[items],
        cells.values[where] - model.mean - (model.item_bias[items] if use_bias else 0),
        cells.weights[where],
        penalty.reg * scale,
        penalty.reg_bias * scale if use_bias else None,
    )


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_blocks_are_the_slow_twins(level, dtype, data):
    ratings = data.draw(compressed_ratings(dtype))
    model, use_bias = data.draw(factor_pair(ratings, dtype))
    penalty = reference.Penalty(data.draw(st.sampled_from([0.5, 3.0])), 0.7, 1.0)
    k = model.items.shape[1]
    block_size = data.draw(st.integers(1, k), label="block size")
    module, width = kernels_and_width(level, k, dtype, data.draw(st.booleans()))
    solved, bias, status = half_sweep(module, ratings, model, penalty, use_bias, width, block_size)
    assert not status.any()
    tolerance = 1e-9 if dtype is np.float64 else 1e-3
    for i in range(ratings.n_rows):
        if ratings.counts[i] == 0:
            assert not solved[i].any()
            continue
        row = row_problem(ratings, model, penalty, use_bias, i)
        start = np.append(model.users[i], model.user_bias[i]) if use_bias else model.users[i]
        expected = reference.als_subspace_row(*row, start, block_size)
        got = np.append(solved[i, :k], bias[i]) if use_bias else solved[i, :k]
        scale = 1 + np.abs(expected).max() + np.abs(start).max()
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_no_row_gets_worse_however_weak_the_penalty(level, dtype, data):
    ratings = data.draw(compressed_ratings(dtype))
    model, use_bias = data.draw(factor_pair(ratings, dtype))
    penalty = data.draw(penalties(positive=False))
    k = model.items.shape[1]
    block_size = data.draw(st.integers(1, k), label="block size")
    module, width = kernels_and_width(level, k, dtype, True)
    solved, bias, status = half_sweep(module, ratings, model, penalty, use_bias, width, block_size)
    assert not status.any()
    for i in np.flatnonzero(ratings.counts):
        matrix, right = reference.least_squares_rows(
            *row_problem(ratings, model, penalty, use_bias, i)
        )
        start = np.append(model.users[i], model.user_bias[i]) if use_bias else model.users[i]
        got = np.append(solved[i, :k], bias[i]) if use_bias else solved[i, :k]
        before, after = (
            float(np.sum((matrix @ x.astype(np.float64) - right) ** 2)) for x in (start, got)
        )
        summands = np.abs(right).sum() + (np.abs(matrix) @ np.abs(start.astype(float))).sum()
        rounding = 200 * (k + 1) * float(np.finfo(dtype).eps) * summands**2
        assert after <= before + rounding


@at_every_level
@pytest.mark.parametrize("use_bias", [True, False])
def test_one_block_of_all_factors_is_the_exact_solution_and_threads_change_no_bit(level, use_bias):
    rng = np.random.default_rng(0)
    dense = rng.random((9, 90)) < 0.6
    ratings = Compressed(
        np.concatenate([[0], np.cumsum(dense.sum(1))]).astype(np.int64),
        np.nonzero(dense)[1].astype(np.int32),
        rng.normal(3, 1, dense.sum()),
        np.zeros(0),
        90,
    )
    biases = (rng.normal(size=9), rng.normal(size=90)) if use_bias else (np.zeros(9), np.zeros(90))
    model = reference.Factors(rng.normal(size=(9, 21)), rng.normal(size=(90, 21)), *biases, 3.0)
    penalty = reference.Penalty(0.5, 0.2, 0.5)
    module, width = kernels_and_width(level, 21, np.float64, True)
    exact = reference.als_half_sweep(ratings.cells(), model, penalty, use_bias)
    solved, bias, _ = half_sweep(module, ratings, model, penalty, use_bias, width, 21)
    np.testing.assert_allclose(solved[:, :21], exact.users, rtol=1e-8, atol=1e-10)
    if use_bias:
        np.testing.assert_allclose(bias, exact.user_bias, rtol=1e-8, atol=1e-10)
    blocks = half_sweep(module, ratings, model, penalty, use_bias, width, 6)
    for n_threads in (2, 3, 7):
        again = half_sweep(module, ratings, model, penalty, use_bias, width, 6, n_threads)
        assert all(np.array_equal(a, b) for a, b in zip(again, blocks, strict=True))
