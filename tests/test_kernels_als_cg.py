"""The conjugate gradient kernel of ALS against its slow twin and against the exact solution."""

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


def half_sweep(module, ratings, model, penalty, use_bias, width, steps, n_threads=1):
    """Users from items, from where the users are: factors (N, width), biases (N,), mean squares."""
    dtype = ratings.values.dtype.type
    guarded = Guarded()
    solved = guarded.copy(padded(model.users, width, dtype))
    nothing = np.zeros(0, dtype)
    bias = guarded.copy(model.user_bias.astype(dtype)) if use_bias else nothing
    fixed_bias = model.item_bias.astype(dtype) if use_bias else nothing
    mean_squares = padded(np.mean(model.items**2, axis=0, keepdims=True), width, dtype)[0]
    status = guarded.array(ratings.n_rows, np.int8)
    counter = np.zeros(1, np.int64)

    def work(_):
        module.als_cg_half_sweep(
            ratings.indptr, ratings.indices, ratings.values, ratings.weights,
            padded(model.items, width, dtype), fixed_bias, solved, bias, model.mean, penalty.reg,
            penalty.reg_bias, penalty.exponent, mean_squares, steps, row_chunks(ratings.n_rows),
            counter, status, np.full(4 * width, np.nan, dtype),
        )  # fmt: skip

    in_threads(work, n_threads)
    guarded.check()
    assert not status.any()
    return solved, bias, mean_squares


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_steps_are_the_slow_twins(level, dtype, data):
    ratings = data.draw(compressed_ratings(dtype))
    model, use_bias = data.draw(factor_pair(ratings, dtype))
    steps = data.draw(st.integers(1, 4), label="steps")
    penalty = data.draw(penalties())
    module, width = kernels_and_width(level, model.items.shape[1], dtype, True)
    k = model.items.shape[1]
    solved, bias, squares = half_sweep(module, ratings, model, penalty, use_bias, width, steps)
    cells = ratings.cells()
    for i in range(ratings.n_rows):
        where = ratings.row(i)
        n, items = ratings.counts[i], cells.items[where]
        if n == 0:
            assert not solved[i].any()
            continue
        scale = float(n) ** penalty.exponent
        row = (
            model.items[items],
            cells.values[where] - model.mean - (model.item_bias[items] if use_bias else 0),
            cells.weights[where],
            penalty.reg * scale,
            penalty.reg_bias * scale if use_bias else None,
        )
        start = np.append(model.users[i], model.user_bias[i]) if use_bias else model.users[i]
        got = np.append(solved[i, :k], bias[i]) if use_bias else solved[i, :k].astype(float)
        matrix, right = reference.least_squares_rows(*row)

        def quadratic(x, matrix=matrix, right=right):
            return float(np.sum((matrix @ x - right) ** 2))

        def after(count, row=row, start=start, quadratic=quadratic):
            return quadratic(reference.als_cg_row(*row, squares[:k].astype(float), start, count))

        # An error is rounded at the size of what it is the difference of, in every step; rounding may cost the
        # directions their conjugacy, and with it a step (Greenbaum 1989), in single precision.
        summands = np.abs(cells.values[where]) + abs(model.mean) + np.abs(model.item_bias[items])
        largest = np.maximum(np.abs(got[:k]), np.abs(start[:k]))
        summands = summands + np.abs(model.items[items]) @ largest
        size = float(cells.weights[where] @ summands**2) + quadratic(start)
        rounding = 32 * (steps + 1) * float(np.finfo(dtype).eps) * size
        best = quadratic(reference.als_row(*row))
        assert best - rounding <= quadratic(got) <= after(steps - 1) + rounding
        if dtype is np.float64 or steps == 1:
            assert abs(quadratic(got) - after(steps)) <= rounding + 1e-7 * size
        assert not solved[i, k:].any()


@at_every_level
@pytest.mark.parametrize("use_bias", [True, False])
def test_as_many_steps_as_unknowns_are_the_exact_solution(level, use_bias):
    rng = np.random.default_rng(0)
    dense = rng.random((6, 40)) < 0.6
    ratings = Compressed(
        np.concatenate([[0], np.cumsum(dense.sum(1))]).astype(np.int64),
        np.nonzero(dense)[1].astype(np.int32),
        rng.normal(3, 1, dense.sum()),
        np.zeros(0),
        40,
    )
    model = reference.Factors(
        rng.normal(size=(6, 5)),
        rng.normal(size=(40, 5)),
        rng.normal(size=6),
        rng.normal(size=40),
        3.0,
    )
    penalty = reference.Penalty(0.5, 0.2, 0.5)
    module, width = kernels_and_width(level, 5, np.float64, True)
    solved, bias, _ = half_sweep(module, ratings, model, penalty, use_bias, width, 12)
    if not use_bias:
        model = reference.Factors(model.users, model.items, np.zeros(6), np.zeros(40), 3.0)
    exact = reference.als_half_sweep(ratings.cells(), model, penalty, use_bias)
    np.testing.assert_allclose(solved[:, :5], exact.users, rtol=1e-8)
    if use_bias:
        np.testing.assert_allclose(bias, exact.user_bias, rtol=1e-8)
    for n_threads in (2, 3, 7):
        again = half_sweep(module, ratings, model, penalty, use_bias, width, 12, n_threads)
        assert np.array_equal(again[0], solved)
