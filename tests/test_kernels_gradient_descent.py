"""Gradient kernels against numeric differentiation and the slow twin; evaluating passes."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from generated import (
    FACTOR_COUNTS,
    Compressed,
    compressed_ratings,
    examples,
    factor_pair,
    penalties,
)
from hypothesis import given
from hypothesis import strategies as st
from kernel_drivers import (
    Pass,
    at_every_level,
    in_both_types,
    kernels_and_width,
    residual_gradient,
    squared_error,
    unit_roundoff,
)

from cymf._kernels import load_level


@st.composite
def problems(draw: st.DrawFn, dtype: type[np.floating]):
    ratings = draw(compressed_ratings(dtype))
    model, use_bias = draw(factor_pair(ratings, dtype))
    return (
        ratings,
        model,
        draw(penalties(positive=False)),
        use_bias,
        draw(st.booleans(), label="whole line"),
    )


def both_sides(
    kernels,
    ratings: Compressed,
    model: reference.Factors,
    penalty: reference.Penalty,
    use_bias: bool,
    width: int,
) -> tuple[Pass, Pass]:
    return (
        residual_gradient(kernels, ratings, model, penalty, use_bias, width),
        residual_gradient(
            kernels, ratings.by_column(), model.transposed(), penalty, use_bias, width
        ),
    )


def error_bounds(
    cells: reference.Cells, model: reference.Factors, dtype: type[np.floating]
) -> reference.Array:
    """Rounding of each error: that of a sum of k products, of the biases, of the rating."""
    k = model.users.shape[1]
    sizes = np.sum(np.abs(model.users[cells.users] * model.items[cells.items]), axis=1)
    sizes += np.abs(cells.values) + abs(model.mean)
    sizes += np.abs(model.user_bias[cells.users]) + np.abs(model.item_bias[cells.items])
    return (np.sqrt(k) + 4) * unit_roundoff(dtype) * sizes


def gradient_bounds(
    cells: reference.Cells,
    model: reference.Factors,
    penalty: reference.Penalty,
    dtype: type[np.floating],
) -> reference.Factors:
    """Entry by entry, the rounding of the gradient: of the errors, and of their weighted sum."""
    u = unit_roundoff(dtype)
    e = np.abs(reference.errors(cells, model))
    longest = max(cells.user_counts.max(), cells.item_counts.max())
    per_cell = cells.weights * (error_bounds(cells, model, dtype) + (np.sqrt(longest) + 4) * u * e)
    absolute = np.zeros(cells.shape)
    np.add.at(absolute, (cells.users, cells.items), per_cell)
    user_scale = 4 * u * penalty.scale(cells.user_counts)
    item_scale = 4 * u * penalty.scale(cells.item_counts)
    tiny = np.finfo(dtype).tiny
    return reference.Factors(
        absolute @ np.abs(model.items)
        + penalty.reg * user_scale[:, np.newaxis] * np.abs(model.users)
        + tiny,
        absolute.T @ np.abs(model.users)
        + penalty.reg * item_scale[:, np.newaxis] * np.abs(model.items)
        + tiny,
        absolute.sum(axis=1) + penalty.reg_bias * user_scale * np.abs(model.user_bias) + tiny,
        absolute.sum(axis=0) + penalty.reg_bias * item_scale * np.abs(model.item_bias) + tiny,
    )


@at_every_level
@in_both_types
@given(data=st.data())
@examples(60)
def test_gradient_is_the_slow_twins(level, dtype, data):
    ratings, model, penalty, use_bias, whole_line = data.draw(problems(dtype))
    kernels, width = kernels_and_width(level, model.users.shape[1], dtype, whole_line)
    users, items = both_sides(kernels, ratings, model, penalty, use_bias, width)
    cells = ratings.cells()
    expected = reference.gradient(cells, model, penalty)
    bounds = gradient_bounds(cells, model, penalty, dtype)
    assert np.all(np.abs(users.gradient - expected.users) <= bounds.users)
    assert np.all(np.abs(items.gradient - expected.items) <= bounds.items)
    if use_bias:
        assert np.all(np.abs(users.bias_gradient - expected.user_bias) <= bounds.user_bias)
        assert np.all(np.abs(items.bias_gradient - expected.item_bias) <= bounds.item_bias)


@at_every_level
@in_both_types
@given(data=st.data())
@examples(60)
def test_losses_are_the_slow_twins(level, dtype, data):
    """Squared errors of all three passes, and both penalties, which make the objective."""
    ratings, model, penalty, use_bias, whole_line = data.draw(problems(dtype))
    kernels, width = kernels_and_width(level, model.users.shape[1], dtype, whole_line)
    users, items = both_sides(kernels, ratings, model, penalty, use_bias, width)
    cells = ratings.cells()
    expected = reference.squared_error(cells, model)
    bounds = error_bounds(cells, model, dtype)
    e = np.abs(reference.errors(cells, model))
    slack = float(
        np.sum(cells.weights * (2 * e * bounds + bounds**2 + 4 * unit_roundoff(dtype) * e**2))
    )
    for got in (
        users.squared_error,
        items.squared_error,
        squared_error(kernels, ratings, model, use_bias, width),
    ):
        assert got == pytest.approx(expected, rel=0, abs=slack)
    user_penalty = reference.penalty_of_rows(
        model.users, model.user_bias, cells.user_counts, penalty
    )
    item_penalty = reference.penalty_of_rows(
        model.items, model.item_bias, cells.item_counts, penalty
    )
    relative = (np.sqrt(model.users.shape[1]) + 4) * unit_roundoff(dtype)
    assert users.penalty == pytest.approx(user_penalty, rel=relative)
    assert items.penalty == pytest.approx(item_penalty, rel=relative)
    total = 0.5 * (users.squared_error + users.penalty + items.penalty)
    objective = reference.objective(cells, model, penalty)
    assert total == pytest.approx(objective, rel=relative, abs=slack)


@at_every_level
@given(data=st.data())
@examples(30)
def test_gradient_is_the_objectives_slope(level, data):
    """Along a random direction, by central differences of the kernels' own objective."""
    ratings, model, penalty, use_bias, _ = data.draw(problems(np.float64))
    kernels, width = kernels_and_width(level, model.users.shape[1], np.float64, True)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="direction"))
    direction = reference.Factors(
        rng.normal(size=model.users.shape),
        rng.normal(size=model.items.shape),
        rng.normal(size=model.user_bias.shape) * use_bias,
        rng.normal(size=model.item_bias.shape) * use_bias,
    )

    def loss(t: float) -> float:
        moved = reference.Factors(
            model.users + t * direction.users,
            model.items + t * direction.items,
            model.user_bias + t * direction.user_bias,
            model.item_bias + t * direction.item_bias,
            model.mean,
        )
        users, items = both_sides(kernels, ratings, moved, penalty, use_bias, width)
        return 0.5 * (users.squared_error + users.penalty + items.penalty)

    # Along a line the objective has degree four: two central differences give its exact slope.
    h = 0.125
    slope = (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)
    users, items = both_sides(kernels, ratings, model, penalty, use_bias, width)
    expected = np.sum(users.gradient * direction.users) + np.sum(items.gradient * direction.items)
    if use_bias:
        expected += (
            users.bias_gradient @ direction.user_bias + items.bias_gradient @ direction.item_bias
        )
    assert slope == pytest.approx(expected, rel=1e-10, abs=1e-10 * (1 + loss(2 * h) + loss(-2 * h)))


@at_every_level
@in_both_types
@given(data=st.data(), n_threads=st.sampled_from([2, 3, 7]))
@examples(15)
def test_threads_change_no_bit(level, dtype, data, n_threads):
    ratings, model, penalty, use_bias, _ = data.draw(problems(dtype))
    kernels, width = kernels_and_width(level, model.users.shape[1], dtype, True)
    one = residual_gradient(kernels, ratings, model, penalty, use_bias, width)
    many = residual_gradient(kernels, ratings, model, penalty, use_bias, width, n_threads)
    assert one.gradient.tobytes() == many.gradient.tobytes()
    assert one.bias_gradient.tobytes() == many.bias_gradient.tobytes()
    assert (one.squared_error, one.penalty) == (many.squared_error, many.penalty)


@at_every_level
@in_both_types
@given(
    k=st.sampled_from(FACTOR_COUNTS),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    n_pairs=st.integers(0, 40),
    use_bias=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@examples(60)
def test_predictions_of_pairs(level, dtype, k, shape, n_pairs, use_bias, seed):
    """Unpadded factors; what is unknown (-1) counts as zero."""
    rng = np.random.default_rng(seed)
    users, items = (rng.normal(size=(n, k)).astype(dtype) for n in shape)
    if use_bias:
        user_bias, item_bias = (rng.normal(size=n).astype(dtype) for n in shape)
    else:
        user_bias, item_bias = (np.empty(0, dtype) for _ in shape)
    model = reference.Factors(
        users.astype(np.float64),
        items.astype(np.float64),
        user_bias.astype(np.float64) if use_bias else np.zeros(shape[0]),
        item_bias.astype(np.float64) if use_bias else np.zeros(shape[1]),
        3.53,
    )
    rows, columns = (rng.integers(-1, n, n_pairs) for n in shape)
    got = np.full(n_pairs, np.nan, dtype)
    load_level(level).predict_pairs(
        rows, columns, users, items, user_bias, item_bias, model.mean, got
    )
    expected = reference.predictions(model, rows, columns)
    sizes = np.abs(model.users[rows] * model.items[columns]).sum(axis=1) + 3.53
    sizes += np.abs(model.user_bias[rows]) + np.abs(model.item_bias[columns])
    assert np.all(np.abs(got - expected) <= (np.sqrt(k) + 4) * unit_roundoff(dtype) * sizes)
    known = (rows >= 0) & (columns >= 0)
    np.testing.assert_allclose(
        expected[known],
        reference.full_matrix(model)[rows[known], columns[known]],
        rtol=1e-12,
        atol=1e-12,
    )
