"""SGD kernels: dealing into blocks, epochs against the slow twin, the same bits by any threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference
from generated import Compressed, compressed_ratings, examples, factor_pair, penalties
from hypothesis import given
from hypothesis import strategies as st
from kernel_drivers import at_every_level, in_both_types, kernels_and_width, unit_roundoff
from sgd_grid import ADAGRAD, ADAGRAD_ROW, PLAIN, Blocks, Grid, epoch, fill_blocks

from cymf._kernels import load_level

SEATS = 8
LENGTHS = (0, 1, 2, 3, 5, 8, 13, 31, 33, 60)

in_every_step = pytest.mark.parametrize("step", [PLAIN, ADAGRAD_ROW, ADAGRAD])


@st.composite
def dealt_problems(draw: st.DrawFn, dtype: type[np.floating]):
    ratings = draw(compressed_ratings(dtype, LENGTHS, max_rows=20))
    stripes = draw(st.integers(1, 6), label="stripes")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed of grid"))
    return ratings, Grid.random((ratings.n_rows, ratings.n_columns), stripes, rng)


def dealt_positions(level: str, ratings: Compressed, grid: Grid) -> tuple[Blocks, np.ndarray]:
    """Blocks that carry, instead of values, the position of each rating in the input."""
    numbered = replace(ratings, values=np.arange(len(ratings.values), dtype=np.float64))
    numbered = replace(numbered, weights=ratings.weights.astype(np.float64))
    blocks = fill_blocks(load_level(level), numbered, grid)
    return blocks, blocks.values.astype(np.int64)


def epoch_order(blocks: Blocks, positions: np.ndarray, grid: Grid) -> list[int]:
    """Positions of the ratings in the order in which an epoch takes them."""
    return [int(t) for i, j in grid.blocks_in_turn() for t in positions[blocks.of(grid, i, j)]]


@at_every_level
@given(data=st.data())
@examples(60)
def test_every_rating_is_dealt_once_into_its_block(level, data):
    ratings, grid = data.draw(dealt_problems(np.float64))
    blocks, positions = dealt_positions(level, ratings, grid)
    cells = ratings.cells()
    nnz = len(cells.values)
    assert blocks.start[0] == 0
    assert blocks.start[-1] == nnz
    assert np.array_equal(np.sort(positions), np.arange(nnz))
    if len(ratings.weights):
        assert np.array_equal(blocks.weights, ratings.weights[positions])
    user_stripe = grid.stripe_of(grid.user_order, grid.user_start)
    item_stripe = grid.stripe_of(grid.item_order, grid.item_start)
    for i in range(grid.stripes):
        for j in range(grid.stripes):
            where = blocks.of(grid, i, j)
            dealt = positions[where]
            assert np.all(user_stripe[cells.users[dealt]] == i)
            assert np.all(item_stripe[cells.items[dealt]] == j)
            assert np.array_equal(
                grid.user_order[grid.user_start[i] + blocks.users[where]], cells.users[dealt]
            )
            assert np.array_equal(
                grid.item_order[grid.item_start[j] + blocks.items[where]], cells.items[dealt]
            )


@at_every_level
@given(data=st.data())
@examples(60)
def test_ratings_of_eight_users_take_turns(level, data):
    ratings, grid = data.draw(dealt_problems(np.float64))
    blocks, positions = dealt_positions(level, ratings, grid)
    cells = ratings.cells()
    item_stripe = grid.stripe_of(grid.item_order, grid.item_start)
    for i in range(grid.stripes):
        for j in range(grid.stripes):
            runs = []
            for user in grid.user_order[grid.user_start[i] : grid.user_start[i + 1]]:
                mine = np.arange(ratings.indptr[user], ratings.indptr[user + 1])
                runs.append([int(t) for t in mine if item_stripe[cells.items[t]] == j])
            expected = reference.turns([run for run in runs if run], SEATS)
            assert positions[blocks.of(grid, i, j)].tolist() == expected


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=30))
def test_turns_keep_a_users_ratings_apart(lengths):
    """A user is served twice in a row only when nobody else is left to serve."""
    ends = np.cumsum(lengths)
    users = np.repeat(np.arange(len(lengths)), lengths)
    order = reference.turns([list(range(e - n, e)) for n, e in zip(lengths, ends, strict=True)])
    assert sorted(order) == list(range(int(ends[-1])))
    served = users[order]
    for t in range(1, len(served)):
        if served[t] == served[t - 1]:
            assert np.all(served[t:] == served[t])
    for user, n in enumerate(lengths):
        assert [t for t in order if users[t] == user] == list(range(ends[user] - n, ends[user]))


def unit_sums(model: reference.Factors) -> reference.Factors:
    """AdaGrad's sums at their start."""
    return reference.Factors(
        *(np.ones_like(a) for a in (model.users, model.items, model.user_bias, model.item_bias))
    )


@at_every_level
@in_both_types
@in_every_step
@given(data=st.data())
@examples(25)
def test_an_epoch_is_the_slow_twin_in_the_same_order(level, dtype, step, data):
    ratings, grid = data.draw(dealt_problems(dtype))
    model, use_bias = data.draw(factor_pair(ratings, dtype))
    penalty = data.draw(penalties())
    whole_line = data.draw(st.booleans(), label="whole line")
    rate = data.draw(st.sampled_from([0.001, 0.02]), label="rate")
    k = model.users.shape[1]
    kernels, width = kernels_and_width(level, k, dtype, whole_line)
    blocks, positions = dealt_positions(level, ratings, grid)
    order = epoch_order(blocks, positions, grid)
    cells = ratings.cells()
    sums = None if step == PLAIN else unit_sums(model)
    dealt = fill_blocks(kernels, ratings, grid)
    outcome = epoch(
        kernels, ratings, dealt, grid, model, penalty, use_bias, rate, width, step, sums
    )
    assert not outcome.diverged
    if step == PLAIN:
        expected, before = reference.sgd_epoch(cells, model, penalty, rate, order, use_bias)
    else:
        expected, expected_sums, before = reference.adagrad_epoch(
            cells, model, penalty, rate, order, use_bias, sums, step == ADAGRAD_ROW
        )
    # Each update rounds what it stores, and passes on, times the rate, the rounding of its error:
    # that of a sum of k products and of the rating. A stable step does not amplify what came in.
    parameters = (expected.users, expected.items, expected.user_bias, expected.item_bias)
    stored = max(1.0, *(float(np.abs(a).max()) for a in parameters))
    weight = max(1.0, float(cells.weights.max(initial=0)))
    summands = (
        2 * stored
        + model.mean
        + float(np.abs(before).max(initial=0))
        + np.abs(cells.values).max(initial=0)
    )
    updates = max(1.0, float(cells.user_counts.max()), float(cells.item_counts.max()))
    of_error = (np.sqrt(k) + 4) * unit_roundoff(dtype) * summands
    tolerance = 2 * updates * (unit_roundoff(dtype) * stored + rate * weight * of_error * stored)
    for name in ("users", "items", "user_bias", "item_bias"):
        np.testing.assert_allclose(
            getattr(outcome.model, name),
            getattr(expected, name),
            rtol=0,
            atol=tolerance,
            err_msg=name,
        )
        if step != PLAIN:
            squares = getattr(expected_sums, name)
            largest = np.sqrt(squares.max())  # no gradient is larger
            slack = (
                2 * updates * largest * weight * (of_error + tolerance) * stored
                + tolerance * squares.max()
            )
            np.testing.assert_allclose(
                getattr(outcome.sums, name), squares, rtol=0, atol=slack, err_msg=f"sums of {name}"
            )
    squared = cells.weights * before**2
    for i in range(grid.stripes):
        for j in range(grid.stripes):
            dealt = positions[blocks.of(grid, i, j)]
            slack = (
                2
                * weight
                * (of_error + tolerance * stored * k)
                * float(np.abs(before[dealt]).sum())
                + tolerance**2
            )
            got = outcome.squared_error[i * grid.stripes + j]
            assert got == pytest.approx(float(squared[dealt].sum()), rel=0, abs=slack)


@at_every_level
@in_both_types
@in_every_step
@given(data=st.data())
@examples(15)
def test_threads_change_no_bit(level, dtype, step, data):
    ratings, grid = data.draw(dealt_problems(dtype))
    model, use_bias = data.draw(factor_pair(ratings, dtype))
    penalty = data.draw(penalties())
    kernels, width = kernels_and_width(level, model.users.shape[1], dtype, True)
    blocks = fill_blocks(kernels, ratings, grid)
    sums = None if step == PLAIN else unit_sums(model)
    bits = {
        epoch(
            *(kernels, ratings, blocks, grid, model, penalty, use_bias, 0.02, width, step, sums),
            n_threads=n_threads,
        ).bits
        for n_threads in (1, 2, 3, 7, 3)
    }
    assert len(bits) == 1


def crowded_problem(dtype: type[np.floating], n_users: int = 120, n_items: int = 90, k: int = 16):
    """Enough ratings that several workers meet in every stratum."""
    rng = np.random.default_rng(5)
    counts = rng.integers(0, n_items, n_users)
    ratings = Compressed(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([np.sort(rng.permutation(n_items)[:n]) for n in counts]).astype(np.int32),
        (rng.integers(1, 11, counts.sum()) / 2).astype(dtype),
        np.empty(0, dtype),
        n_items,
    )
    model = reference.Factors.without_bias(
        rng.normal(size=(n_users, k)) / 4, rng.normal(size=(n_items, k)) / 4, 3.5
    )
    return ratings, Grid.random((n_users, n_items), 8, rng), model


@at_every_level
@in_both_types
def test_a_crowd_of_workers_changes_no_bit(level, dtype):
    ratings, grid, model = crowded_problem(dtype)
    kernels, width = kernels_and_width(level, 16, dtype, True)
    blocks = fill_blocks(kernels, ratings, grid)
    penalty = reference.Penalty(0.1, 0.1, 0.5)

    def bits(n_threads: int) -> bytes:
        return epoch(
            kernels, ratings, blocks, grid, model, penalty, True, 0.02, width, n_threads=n_threads
        ).bits

    expected = bits(1)
    for _ in range(10):
        for n_threads in (2, 3, 7):
            assert bits(n_threads) == expected


@at_every_level
@in_both_types
@pytest.mark.parametrize("k", [32, 64, 128])
def test_rows_of_a_known_width_give_the_bits_of_longer_ones(level, dtype, k):
    """The compiler knows these widths; more padding must change nothing. Users fill more than the second cache."""
    n_users, n_items = 1100, 12
    ratings, _, model = crowded_problem(dtype, n_users, n_items, k)
    grid = Grid.random((n_users, n_items), 1, np.random.default_rng(0))
    kernels, width = kernels_and_width(level, k, dtype, True)
    assert width == k
    blocks = fill_blocks(kernels, ratings, grid)
    penalty = reference.Penalty(0.1, 0.1, 0.5)
    exact, longer = (
        epoch(kernels, ratings, blocks, grid, model, penalty, True, 0.02, w)
        for w in (k, k + 64 // np.dtype(dtype).itemsize)
    )
    assert np.array_equal(exact.squared_error, longer.squared_error)
    for name in ("users", "items", "user_bias", "item_bias"):
        assert np.array_equal(getattr(exact.model, name), getattr(longer.model, name)), name


@at_every_level
@in_both_types
@pytest.mark.parametrize("n_threads", [1, 3])
def test_divergence_stops_every_worker(level, dtype, n_threads):
    ratings, grid, model = crowded_problem(dtype)
    kernels, width = kernels_and_width(level, 16, dtype, True)
    blocks = fill_blocks(kernels, ratings, grid)
    penalty = reference.Penalty(0.1, 0.1)

    def outcome(rate: float, limit: float):
        return epoch(
            *(kernels, ratings, blocks, grid, model, penalty, True, rate, width),
            limit=limit,
            n_threads=n_threads,
        )

    assert not outcome(0.01, 1e6).diverged
    assert not outcome(0.01, np.inf).diverged
    assert outcome(5.0, 1e6).diverged  # errors above the limit
    assert outcome(50.0, np.inf).diverged  # no limit, but errors that are not finite
    assert outcome(0.01, 1e-3).diverged  # a limit that no real data meets


@at_every_level
@in_both_types
def test_an_empty_block_does_not_diverge(level, dtype):
    """Zero times an unlimited error is not a number, but a block without ratings has no error."""
    rng = np.random.default_rng(0)
    ratings = Compressed(
        np.array([0, 1, 1], np.int64),
        np.zeros(1, np.int32),
        np.ones(1, dtype),
        np.empty(0, dtype),
        2,
    )
    grid = Grid(np.arange(2), np.arange(2), np.arange(3), np.arange(3), np.arange(2))
    kernels, width = kernels_and_width(level, 1, dtype, True)
    model = reference.Factors.without_bias(rng.normal(size=(2, 1)), rng.normal(size=(2, 1)))
    blocks = fill_blocks(kernels, ratings, grid)
    free = reference.Penalty(0, 0)
    outcome = epoch(kernels, ratings, blocks, grid, model, free, False, 0.1, width, limit=np.inf)
    assert not outcome.diverged
