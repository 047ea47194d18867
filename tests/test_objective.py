"""One objective, three solvers: the same settings, the same number, the same stationary points."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from fitted_models import (
    ESTIMATORS,
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

by_every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
with_or_without_bias = pytest.mark.parametrize("use_bias", [True, False])
at_every_exponent = pytest.mark.parametrize("reg_exponent", [0.0, 0.5, 1.0])


def tracked(estimator: type, **parameters):
    """An estimator that computes its objective by a pass after every iteration."""
    if estimator is not cymf.GradientDescent:
        parameters["track_objective"] = True
    return estimator(**{"init_std": 0.1, **parameters})


def largest(model: reference.Factors) -> float:
    arrays = (model.users, model.items, model.user_bias, model.item_bias)
    return max(float(np.abs(a).max()) for a in arrays)


@by_every_estimator
@with_or_without_bias
@at_every_exponent
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weights", [None, "integer"])
def test_history_holds_the_objective(estimator, use_bias, reg_exponent, dtype, weights):
    ratings = star_ratings(weights=weights)
    model = tracked(
        estimator,
        n_factors=7,
        reg=0.05,
        reg_bias=0.4,
        reg_exponent=reg_exponent,
        use_bias=use_bias,
        dtype=dtype,
        max_iter=4,
    ).fit(ratings)
    relative = 1e-12 if dtype == "float64" else 1e-5
    expected = objective_of(model, ratings)
    assert model.history_["objective"][-1] == pytest.approx(expected, rel=relative)
    cells = cells_of(ratings)
    errors = reference.errors(cells, factors_of(model))
    train_rmse = np.sqrt(np.average(errors**2, weights=cells.weights))
    assert model.history_["train_rmse"][-1] == pytest.approx(train_rmse, rel=relative)


@with_or_without_bias
def test_the_same_settings_mean_the_same_objective(use_bias):
    """All three start from one model; what they would minimize there is one number."""
    ratings = star_ratings(weights="integer")
    parameters = {"n_factors": 5, "reg": 0.3, "reg_bias": 0.1, "reg_exponent": 0.5}
    parameters |= {"use_bias": use_bias, "dtype": "float64"}
    given = cymf.ALS(**parameters, max_iter=2).fit(ratings)
    values = []
    for estimator in ESTIMATORS.values():
        with opened(estimator(**parameters), ratings, init=given) as (problem, factors):
            values.append(problem.objective(factors)[0])
            values.append(problem.gradient(factors, factors.like())[0])
    np.testing.assert_allclose(values, objective_of(given, ratings), rtol=1e-13)


@with_or_without_bias
@at_every_exponent
def test_a_converged_als_is_stationary_for_all(use_bias, reg_exponent):
    """Zero gradient for the batch solver, zero expected step for SGD with one common rate."""
    ratings = star_ratings(weights="integer")
    parameters = {"n_factors": 4, "reg": 0.4, "reg_bias": 0.2, "reg_exponent": reg_exponent}
    parameters |= {"use_bias": use_bias, "dtype": "float64"}
    converged = cymf.ALS(**parameters, max_iter=5000, tol=1e-15).fit(ratings)
    halfway = cymf.ALS(**parameters, max_iter=2).fit(ratings)
    cells, penalty = cells_of(ratings), penalty_of(converged)

    def batch_gradient(model: cymf.ALS) -> reference.Factors:
        with opened(cymf.GradientDescent(**parameters), ratings, init=model) as (problem, factors):
            gradient = factors.like()
            problem.gradient(factors, gradient)
            return trimmed(problem, gradient)

    assert largest(batch_gradient(converged)) < 1e-9
    assert largest(batch_gradient(halfway)) > 1e-2

    def expected_step(model: cymf.ALS) -> reference.Factors:
        """Mean over the ratings of the step that each would take alone, at rate 1."""
        total = reference.Factors(
            *(np.zeros_like(a) for a in (model.user_factors_, model.item_factors_)),
            *(np.zeros(n) for n in cells.shape),
        )
        given = factors_of(model)
        for t in range(len(cells.values)):
            i, j = cells.users[t], cells.items[t]
            gw, gh, gb, gc, _ = reference.rating_gradients(cells, given, penalty, t)
            total.users[i] += gw
            total.items[j] += gh
            total.user_bias[i] += gb * use_bias
            total.item_bias[j] += gc * use_bias
        return total

    assert largest(expected_step(converged)) < 1e-9
    assert largest(expected_step(halfway)) > 1e-2

    def epoch_change(model: cymf.ALS, rate: float) -> float:
        """What a whole epoch of the estimator changes, by rate."""
        after = cymf.SGD(
            **parameters, learning_rate=rate, schedule="constant", max_iter=1
        ).fit(ratings, init=model)  # fmt: skip
        a, b = factors_of(model), factors_of(after)
        pairs = [(a.users, b.users), (a.items, b.items)]
        pairs += [(a.user_bias, b.user_bias), (a.item_bias, b.item_bias)]
        return max(float(np.abs(x - y).max()) for x, y in pairs) / rate

    # Updates see those before them, a change of second order in the rate; nothing of first order
    # is left where the solution has converged.
    assert epoch_change(converged, 1e-6) < 1e-3
    assert epoch_change(converged, 1e-6) == pytest.approx(
        10 * epoch_change(converged, 1e-7), rel=0.05
    )
    assert epoch_change(halfway, 1e-6) == pytest.approx(epoch_change(halfway, 1e-7), rel=0.05)


@with_or_without_bias
def test_the_batch_gradient_is_the_slow_twins(use_bias):
    ratings = star_ratings(weights="integer")
    model = cymf.GradientDescent(
        6, reg=0.3, reg_bias=0.7, reg_exponent=0.5, use_bias=use_bias, dtype="float64"
    )
    with opened(model, ratings) as (problem, factors):
        if use_bias:
            factors.user_bias[:-1] = 0.3
        gradient = factors.like()
        problem.gradient(factors, gradient)
        got, at = trimmed(problem, gradient), trimmed(problem, factors)
    expected = reference.gradient(cells_of(ratings), at, penalty_of(model))
    np.testing.assert_allclose(got.users, expected.users, atol=1e-11)
    np.testing.assert_allclose(got.items, expected.items, atol=1e-11)
    if use_bias:
        np.testing.assert_allclose(got.user_bias, expected.user_bias, atol=1e-11)
        np.testing.assert_allclose(got.item_bias, expected.item_bias, atol=1e-11)


@by_every_estimator
def test_integer_weights_are_repeated_cells(estimator):
    ratings = star_ratings(weights="integer")
    model = tracked(estimator, n_factors=3, reg_exponent=0.0, dtype="float64", max_iter=3)
    model.fit(ratings)
    cells = cells_of(ratings)
    times = cells.weights.astype(int)
    repeated = reference.Cells(
        np.repeat(cells.users, times),
        np.repeat(cells.items, times),
        np.repeat(cells.values, times),
        np.ones(times.sum()),
        cells.shape,
    )
    assert model.global_mean_ == pytest.approx(repeated.mean, rel=1e-12)
    expected = reference.objective(repeated, factors_of(model), penalty_of(model))
    assert model.history_["objective"][-1] == pytest.approx(expected, rel=1e-12)


@by_every_estimator
def test_weights_come_in_three_ways(estimator):
    ratings = star_ratings(weights="integer", empty=False)
    pairs = np.column_stack([ratings.users, ratings.items])
    model = estimator(3, max_iter=2, init_std=0.1)
    bits = bits_of(model.fit(ratings))
    by_pairs = model.fit(pairs, ratings.values, sample_weight=ratings.weights)
    assert bits_of(by_pairs) == bits
    by_matrix = model.fit(ratings.to_scipy(), sample_weight=ratings.weights)
    assert bits_of(by_matrix) == bits
    with pytest.raises(ValueError, match="beside Ratings"):
        model.fit(ratings, sample_weight=ratings.weights)


@by_every_estimator
def test_a_weight_of_zero_is_no_rating_but_is_counted(estimator):
    """c = 0 takes a cell out of the errors; n counts stored ratings, it among them."""
    rng = np.random.default_rng(0)
    whole = star_ratings(density=0.6, empty=False)
    weights = rng.integers(0, 2, whole.nnz).astype(float)
    some = cymf.Ratings.from_triplets(
        whole.users, whole.items, whole.values, weights=weights, shape=whole.shape
    )
    kept = weights > 0
    fewer = cymf.Ratings.from_triplets(
        whole.users[kept], whole.items[kept], whole.values[kept], shape=whole.shape
    )
    model = tracked(estimator, n_factors=3, reg_exponent=0.0, dtype="float64", max_iter=3)
    one = model.fit(some).history_["objective"][-1]
    assert model.global_mean_ == pytest.approx(fewer.values.mean(), rel=1e-12)
    assert one == pytest.approx(objective_of(model, some), rel=1e-12)
    if estimator is not cymf.SGD:  # whose order of ratings changes
        assert model.fit(fewer).history_["objective"][-1] == pytest.approx(one, rel=1e-9)


@by_every_estimator
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_types_learn_the_same(estimator, dtype):
    ratings = star_ratings()
    model = tracked(estimator, n_factors=4, max_iter=5, dtype=dtype).fit(ratings)
    for array in (model.user_factors_, model.item_factors_, model.user_bias_, model.item_bias_):
        assert array.dtype == dtype
        assert not array.flags.writeable
    assert model.predict([0, 1], [1, 2]).dtype == dtype
    assert model.user_factors_.shape == (40, 4)
    assert not model.user_factors_[-1].any()  # a user without ratings
    assert not model.item_factors_[0].any()
    assert model.user_bias_[-1] == 0


@by_every_estimator
def test_types_differ_by_rounding_only(estimator):
    """Even the random start is the same number, rounded."""
    ratings = star_ratings()
    start = cymf.ALS(4, max_iter=1, dtype="float32").fit(ratings)
    single, double = (
        tracked(estimator, n_factors=4, max_iter=3, dtype=dtype).fit(ratings, init=start)
        for dtype in ("float32", "float64")
    )
    np.testing.assert_allclose(
        single.history_["objective"], double.history_["objective"], rtol=1e-3
    )
