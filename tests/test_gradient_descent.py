"""Batch gradient descent: its step rules, when they stop, and that no thread changes a bit."""

from __future__ import annotations

import re

import numpy as np
import pytest
import reference
from fitted_models import (
    ThreadsEvenForLittle,
    bits_of,
    cells_of,
    factors_of,
    objective_of,
    opened,
    penalty_of,
    star_ratings,
    trimmed,
)

import cymf

in_both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])
with_or_without_bias = pytest.mark.parametrize("use_bias", [True, False])
STEPS = ("lbfgs", "nesterov", "backtracking", "adam", "fixed")
by_every_step = pytest.mark.parametrize("step", STEPS)


@with_or_without_bias
def test_fixed_steps_are_the_slow_twins(use_bias):
    ratings = star_ratings(weights="integer")
    model = cymf.GradientDescent(
        4, reg=0.3, reg_bias=0.1, use_bias=use_bias, step="fixed", learning_rate=0.003,
        max_iter=5, tol=0, dtype="float64",
    )  # fmt: skip
    cells, penalty = cells_of(ratings), penalty_of(model)
    with opened(model, ratings) as (problem, start):
        x = trimmed(problem, start)
    objectives = []
    for _ in range(5):
        g = reference.gradient(cells, x, penalty)
        x = reference.Factors(
            x.users - 0.003 * g.users,
            x.items - 0.003 * g.items,
            x.user_bias - 0.003 * g.user_bias * use_bias,
            x.item_bias - 0.003 * g.item_bias * use_bias,
            x.mean,
        )
        objectives.append(reference.objective(cells, x, penalty))
    got = factors_of(model.fit(ratings))
    for name in ("users", "items", "user_bias", "item_bias"):
        np.testing.assert_allclose(getattr(got, name), getattr(x, name), atol=1e-12)
    np.testing.assert_allclose(model.history_["objective"], objectives, rtol=1e-12)


def test_adam_is_the_papers_algorithm():
    """Kingma and Ba 2015, algorithm 1 in the order of section 2, on the slow twin's gradient."""
    ratings = star_ratings()
    model = cymf.GradientDescent(
        3, reg=0.3, use_bias=False, step="adam", learning_rate=0.05, max_iter=6, tol=0,
        dtype="float64",
    )  # fmt: skip
    cells, penalty = cells_of(ratings), penalty_of(model)
    with opened(model, ratings) as (problem, start):
        x = trimmed(problem, start)
    m, v = ([np.zeros_like(x.users), np.zeros_like(x.items)] for _ in range(2))
    for t in range(1, 7):
        g = reference.gradient(cells, x, penalty)
        moved = []
        for side, (values, slope) in enumerate(((x.users, g.users), (x.items, g.items))):
            m[side] = 0.9 * m[side] + 0.1 * slope
            v[side] = 0.999 * v[side] + 0.001 * slope**2
            rate = 0.05 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            moved.append(values - rate * m[side] / (np.sqrt(v[side]) + 1e-8))
        x = reference.Factors.without_bias(*moved, x.mean)
    got = factors_of(model.fit(ratings))
    np.testing.assert_allclose(got.users, x.users, atol=1e-12)
    np.testing.assert_allclose(got.items, x.items, atol=1e-12)


@by_every_step
@in_both_types
def test_history_is_the_objective_of_each_iterate(step, dtype):
    ratings = star_ratings(weights="integer")
    model = cymf.GradientDescent(4, step=step, dtype=dtype, max_iter=12, tol=0).fit(ratings)
    rounding = 1e-11 if dtype == "float64" else 1e-5
    assert model.history_["objective"][-1] == pytest.approx(
        objective_of(model, ratings), rel=rounding
    )
    cells = cells_of(ratings)
    errors = reference.errors(cells, factors_of(model))
    train_rmse = np.sqrt(np.average(errors**2, weights=cells.weights))
    assert model.history_["train_rmse"][-1] == pytest.approx(train_rmse, rel=rounding)
    assert model.n_iter_ == 12


@pytest.mark.parametrize("step", ["lbfgs", "backtracking", "fixed"])
def test_monotone_rules_never_raise_the_objective(step):
    model = cymf.GradientDescent(4, step=step, dtype="float64", max_iter=60, tol=0)
    objective = np.array(model.fit(star_ratings()).history_["objective"])
    assert np.all(objective[1:] <= objective[:-1] * (1 + 1e-12))


@pytest.mark.parametrize("step", STEPS)
def test_all_rules_reach_the_same_minimum(step):
    """With this penalty the minimum is unique up to rotation, so its objective is one number."""
    ratings = star_ratings()
    parameters = {"reg": 2.0, "dtype": "float64", "init_std": 0.3}
    best = cymf.ALS(4, tol=1e-13, max_iter=5000, **parameters).fit(ratings)
    model = cymf.GradientDescent(4, step=step, tol=1e-13, max_iter=5000, **parameters).fit(ratings)
    assert model.history_["objective"][-1] == pytest.approx(
        best.history_["objective"][-1], rel=1e-6
    )


@by_every_step
@in_both_types
def test_threads_change_no_bit(monkeypatch, step, dtype):
    threads = ThreadsEvenForLittle(monkeypatch)
    ratings = star_ratings(150, 120, weights="integer")
    expected = None
    for n_threads in (1, 2, 3, 7):
        model = cymf.GradientDescent(
            13, step=step, n_threads=n_threads, dtype=dtype, max_iter=6, tol=0
        )
        bits = bits_of(model.fit(ratings, validation=star_ratings(150, 120, seed=1)))
        assert (threads.calls > 0) == (n_threads > 1)
        expected = expected or bits
        assert bits == expected


@by_every_step
def test_tol_is_the_relative_change_of_the_objective(step):
    ratings = star_ratings()
    parameters = {"n_factors": 4, "step": step, "dtype": "float64", "max_iter": 60}
    objective = np.array(
        cymf.GradientDescent(**parameters, tol=0).fit(ratings).history_["objective"]
    )
    changes = np.abs(objective[1:] - objective[:-1]) / objective[1:]
    tol = 1.0001 * changes[20]
    expected = int(np.flatnonzero(changes <= tol)[0]) + 2
    assert cymf.GradientDescent(**parameters, tol=tol).fit(ratings).n_iter_ == expected


def test_a_fixed_rate_that_is_too_large_diverges_and_suggests_another():
    ratings = star_ratings(density=0.8)
    model = cymf.GradientDescent(6, step="fixed", learning_rate=1.0)
    with pytest.raises(cymf.DivergenceError, match=r"rate 1\b.*backtracking") as raised:
        model.fit(ratings)
    assert not hasattr(model, "user_factors_")
    rate = model.learning_rate
    for _ in range(5):  # following the advice leads to a rate that works
        rate = float(re.search(r"learning_rate=([0-9.e-]+)", str(raised.value)).group(1))
        try:
            model.set_params(learning_rate=rate).fit(ratings)
            break
        except cymf.DivergenceError as error:
            raised.value.args = error.args
    assert np.isfinite(model.rmse(ratings))


def test_a_fixed_rate_is_found_when_none_is_given():
    model = cymf.GradientDescent(6, step="fixed", max_iter=50).fit(star_ratings(density=0.8))
    objective = np.array(model.history_["objective"])
    assert np.all(objective[1:] <= objective[:-1] * (1 + 1e-5))
    assert objective[-1] < 0.9 * objective[0]


@in_both_types
@by_every_step
def test_it_ends_where_rounding_forbids_another_step(step, dtype):
    """tol = 0 and far more iterations than there is anything to gain."""
    matrix = np.array([[4.0, 2.0], [1.0, np.nan]])
    model = cymf.GradientDescent(1, step=step, tol=0, max_iter=3000, dtype=dtype).fit(matrix)
    gradient = reference.gradient(
        cells_of(cymf.Ratings.from_matrix(matrix)), factors_of(model), penalty_of(model)
    )
    largest = max(np.abs(a).max() for a in (gradient.users, gradient.items, gradient.user_bias))
    assert largest < (1e-2 if step == "adam" else 1e-3 if dtype == "float32" else 1e-6)


@with_or_without_bias
@pytest.mark.parametrize(
    "matrix",
    [np.array([[4.0]]), np.full((4, 3), 3.0), np.zeros((3, 3)), np.array([[1.0, 2.0, 3.0]])],
    ids=["one", "all equal", "all zero", "one user"],
)
@by_every_step
def test_little_data_is_learnt(matrix, use_bias, step):
    model = cymf.GradientDescent(5, use_bias=use_bias, step=step, max_iter=20).fit(matrix)
    assert np.isfinite(model.predict(0, 0))
    assert np.isfinite(model.user_factors_).all()


def test_a_perfect_start_is_where_it_ends():
    """The objective is zero at once: nothing to gain, nothing to divide by."""
    users, items = np.array([[1.0], [2.0]]), np.array([[1.0], [3.0]])
    for step in STEPS:
        model = cymf.GradientDescent(1, reg=0, use_bias=False, step=step, dtype="float64")
        model.fit(users @ items.T, init=(users, items))
        np.testing.assert_allclose(model.W_ @ model.H_, users @ items.T, atol=1e-12)
