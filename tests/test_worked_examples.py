"""The worked examples of the lecture and of the derivation, to the digits they print.

Lecture: Batra 2025, "Matrix factorization for movie recommendation systems" (IIT Gandhinagar).
Derivation: gradient descent after Aggarwal 2016, "Recommender systems: the textbook".
"""

from __future__ import annotations

import numpy as np
import pytest
import reference
from generated import Compressed
from kernel_drivers import (
    als_half_sweep,
    at_every_level,
    in_both_types,
    kernels_and_width,
    residual_gradient,
)
from sgd_grid import Grid, epoch, fill_blocks

import cymf
from cymf._kernels import _als_lapack, load_level

NAN = np.nan
USERS = ["Alice", "Bob", "Carol"]
MOVIES = ["Sholay", "Swades", "Batman", "Interstellar", "Shawshank"]
TABLE = np.array([[5, 4, 2, 3, 2], [NAN, 5, 1, 4, NAN], [4, NAN, 1, 5, NAN]])
FEATURES = np.array(  # H: Bollywood, action, comedy
    [[0.95, 1.00, 0.05, 0.05, 0.05], [0.10, 0.20, 0.80, 0.95, 0.15], [0.85, 0.90, 0.30, 0.70, 0.95]]
)
ALICE = [2.7756, 1.6564, 1.7466]
UNREGULARIZED = reference.Penalty(0.0, 0.0)


def compressed(matrix: np.ndarray, dtype: type[np.floating]) -> Compressed:
    """Ratings of a dense matrix with NaN where nothing is rated."""
    observed = ~np.isnan(matrix)
    return Compressed(
        np.concatenate([[0], np.cumsum(observed.sum(axis=1))]).astype(np.int64),
        np.nonzero(observed)[1].astype(np.int32),
        matrix[observed].astype(dtype),
        np.empty(0, dtype),
        matrix.shape[1],
    )


def digits(n: int) -> float:
    """Half a unit in the n-th decimal place: what a printed number promises."""
    return 0.5 * 10.0**-n


@at_every_level
@in_both_types
@pytest.mark.parametrize("lapack", [False, True])
def test_alices_preferences_by_least_squares(level, dtype, lapack):
    """ALS step 1, "Update Alice's preferences": w_1 = (X'X)^-1 X'y on the given H."""
    kernels, width = kernels_and_width(level, 3, dtype, True)
    model = reference.Factors.without_bias(np.zeros((3, 3)), FEATURES.T)
    module = _als_lapack if lapack else kernels
    ratings = compressed(TABLE, dtype)
    factors, _, status = als_half_sweep(module, ratings, model, UNREGULARIZED, False, width)
    assert status[0] == 0
    np.testing.assert_allclose(factors[0], ALICE, rtol=0, atol=digits(4))


@at_every_level
@in_both_types
@pytest.mark.parametrize("lapack", [False, True])
def test_user_1_of_the_3_by_3_example(level, dtype, lapack):
    """Step-by-step ALS, iteration 1: only the observed positions 1 and 3 of user 1."""
    matrix = np.array([[5, NAN, 2], [4, 4, NAN], [NAN, 5, 1]])
    users = np.array([[0.5, 0.3], [0.4, 0.6], [0.2, 0.8]])
    items = np.array([[1.0, 0.5, 0.2], [0.3, 1.2, 0.8]]).T
    kernels, width = kernels_and_width(level, 2, dtype, True)
    factors, _, status = als_half_sweep(
        _als_lapack if lapack else kernels,
        compressed(matrix, dtype),
        reference.Factors.without_bias(users, items),
        UNREGULARIZED,
        False,
        width,
    )
    assert not status.any()
    np.testing.assert_allclose(factors[0], [4.5946, 1.3514], rtol=0, atol=digits(4))
    np.testing.assert_allclose(items[[0, 2]] @ factors[0], [5, 2], rtol=1e-5)


def one_sgd_step(
    level: str, dtype: type[np.floating], rating: float, mean: float, w: list, h: list, rate: float
):
    """One rating, one epoch, no penalty: w, h, and the error before the step."""
    kernels, width = kernels_and_width(level, len(w), dtype, True)
    ratings = compressed(np.array([[rating]]), dtype)
    only = np.zeros(1, np.int64)
    grid = Grid(only, only, np.arange(2), np.arange(2), only)
    model = reference.Factors.without_bias(np.array([w]), np.array([h]), mean)
    blocks = fill_blocks(kernels, ratings, grid)
    outcome = epoch(kernels, ratings, blocks, grid, model, UNREGULARIZED, False, rate, width)
    return outcome.model.users[0], outcome.model.items[0], np.sqrt(outcome.squared_error[0])


@at_every_level
@in_both_types
def test_sgd_step_on_alices_rating_of_sholay(level, dtype):
    """SGD step by step: prediction 0.655, error 4.345, alpha = 0.01."""
    w, h = [0.4, 0.2, 0.3], [0.95, 0.10, 0.85]
    prediction = np.empty(1, dtype)
    load_level(level).predict_pairs(
        *np.zeros((2, 1), np.int64),
        np.array([w], dtype),
        np.array([h], dtype),
        np.empty(0, dtype),
        np.empty(0, dtype),
        0.0,
        prediction,
    )
    assert prediction[0] == pytest.approx(0.655, abs=digits(3))
    new_w, new_h, error = one_sgd_step(level, dtype, 5, 0.0, w, h, 0.01)
    assert error == pytest.approx(4.345, abs=digits(3))
    np.testing.assert_allclose(new_w, [0.4413, 0.2043, 0.3369], rtol=0, atol=digits(4))
    # 0.85 + 0.01 * 4.345 * 0.3 is 0.863035, which the lecture prints as 0.8631.
    np.testing.assert_allclose(new_h, [0.9674, 0.1087, 0.863035], rtol=0, atol=digits(4))
    np.testing.assert_allclose(new_h[2], 0.8631, rtol=0, atol=2 * digits(4))


@at_every_level
@in_both_types
def test_quiz_3(level, dtype):
    """Rating 2, predicted 4.5: an error of -2.5. w.h is 0.75; a mean of 3.75 makes up the rest."""
    w, h = [0.8, 0.3], [0.6, 0.9]
    new_w, new_h, error = one_sgd_step(level, dtype, 2, 4.5 - np.dot(w, h), w, h, 0.1)
    assert error == pytest.approx(2.5, rel=1e-6)
    np.testing.assert_allclose(new_w, [0.65, 0.075], rtol=0, atol=digits(6))
    np.testing.assert_allclose(new_h, [0.4, 0.825], rtol=0, atol=digits(6))


@at_every_level
def test_gradients_are_ev_and_etu(level):
    """The derivation, E = R_hat - R: dL/dU = E V, dL/dV = E'U, and the numeric slopes."""
    rng = np.random.default_rng(1)
    users, items = rng.normal(size=(3, 2)), rng.normal(size=(5, 2))
    ratings = compressed(TABLE, np.float64)
    kernels, width = kernels_and_width(level, 2, np.float64, True)
    residual = np.where(np.isnan(TABLE), 0, users @ items.T - TABLE)
    model = reference.Factors.without_bias(users, items)
    for view, own, other, expected in (
        (ratings, model, items, residual @ items),
        (ratings.by_column(), model.transposed(), users, residual.T @ users),
    ):
        given = residual_gradient(kernels, view, own, UNREGULARIZED, False, width)
        np.testing.assert_allclose(given.gradient, expected, rtol=0, atol=1e-13)
        assert given.squared_error == pytest.approx(np.sum(residual**2), rel=1e-14)
        numeric = np.empty_like(expected)
        for place in np.ndindex(expected.shape):
            step = np.zeros_like(expected)
            step[place] = 0.5
            # the loss is quadratic in one side alone, so a central difference is exact
            up, down = (
                squared_loss(view, reference.Factors.without_bias(own.users + sign * step, other))
                for sign in (1, -1)
            )
            numeric[place] = up - down
        np.testing.assert_allclose(given.gradient, numeric, rtol=0, atol=1e-12)


def squared_loss(ratings: Compressed, model: reference.Factors) -> float:
    return 0.5 * reference.squared_error(ratings.cells(), model)


def test_zero_stands_for_what_is_missing():
    """The derivation sets missing values of R and R_hat to 0; the loss over Omega is the same."""
    rng = np.random.default_rng(2)
    model = reference.Factors.without_bias(rng.normal(size=(3, 2)), rng.normal(size=(5, 2)))
    missing = np.isnan(TABLE)
    whole = np.where(missing, 0, TABLE) - np.where(missing, 0, reference.full_matrix(model))
    ratings = compressed(TABLE, np.float64)
    assert squared_loss(ratings, model) == pytest.approx(0.5 * np.linalg.norm(whole) ** 2)


# ---- the same through the estimators -------------------------------------------------------------


@in_both_types
@pytest.mark.parametrize("solver", ["cholesky", "lapack"])
def test_als_finds_alices_preferences(dtype, solver):
    """ALS solves items first: with movies for users, the first solve is that of Alice, Bob, Carol."""
    model = cymf.ALS(
        3, reg=0, use_bias=False, solver=solver, dtype=dtype, max_iter=1, tol=0
    ).fit(TABLE.T, init=(FEATURES.T, np.zeros((3, 3))))  # fmt: skip
    np.testing.assert_allclose(model.item_factors_[0], ALICE, rtol=0, atol=digits(4))


@in_both_types
def test_als_solves_user_1_of_the_3_by_3_example(dtype):
    matrix = np.array([[5, NAN, 2], [4, 4, NAN], [NAN, 5, 1]])
    users = np.array([[0.5, 0.3], [0.4, 0.6], [0.2, 0.8]])
    items = np.array([[1.0, 0.5, 0.2], [0.3, 1.2, 0.8]]).T
    model = cymf.ALS(2, reg=0, use_bias=False, dtype=dtype, max_iter=1, tol=0)
    model.fit(matrix.T, init=(items, users))
    np.testing.assert_allclose(model.item_factors_[0], [4.5946, 1.3514], rtol=0, atol=digits(4))


def textbook_sgd(rate: float, dtype: str, n_factors: int) -> cymf.SGD:
    return cymf.SGD(
        n_factors, reg=0, use_bias=False, schedule="constant", learning_rate=rate, max_iter=1, dtype=dtype
    )  # fmt: skip


@in_both_types
def test_sgd_steps_as_the_lecture_does(dtype):
    w, h = np.array([[0.4, 0.2, 0.3]]), np.array([[0.95, 0.10, 0.85]])
    model = textbook_sgd(0.01, dtype, 3).fit(np.array([[5.0]]), init=(w, h))
    assert model.history_["train_rmse"] == [pytest.approx(4.345, abs=digits(3))]
    new_w, new_h = model.user_factors_[0], model.item_factors_[0]
    np.testing.assert_allclose(new_w, [0.4413, 0.2043, 0.3369], rtol=0, atol=digits(4))
    np.testing.assert_allclose(new_h, [0.9674, 0.1087, 0.863035], rtol=0, atol=digits(4))


@in_both_types
def test_sgd_answers_quiz_3(dtype):
    """Without biases the prediction is w.h = 0.75; a rating of -1.75 gives the quiz's error of -2.5."""
    w, h = np.array([[0.8, 0.3]]), np.array([[0.6, 0.9]])
    model = textbook_sgd(0.1, dtype, 2).fit(np.array([[-1.75]]), init=(w, h))
    assert model.history_["train_rmse"] == [pytest.approx(2.5, rel=1e-6)]
    np.testing.assert_allclose(model.user_factors_[0], [0.65, 0.075], rtol=0, atol=digits(6))
    np.testing.assert_allclose(model.item_factors_[0], [0.4, 0.825], rtol=0, atol=digits(6))


def test_one_step_of_gradient_descent_is_ev_and_etu():
    rng = np.random.default_rng(3)
    users, items = rng.normal(size=(3, 2)), rng.normal(size=(5, 2))
    residual = np.where(np.isnan(TABLE), 0, users @ items.T - TABLE)
    model = cymf.GradientDescent(
        2, reg=0, use_bias=False, step="fixed", learning_rate=0.01, max_iter=1, dtype="float64"
    ).fit(TABLE, init=(users, items))
    np.testing.assert_allclose(model.user_factors_, users - 0.01 * residual @ items, atol=1e-14)
    np.testing.assert_allclose(model.item_factors_, items - 0.01 * residual.T @ users, atol=1e-14)


TABLE_SETTINGS = {"reg": 0.1, "reg_exponent": 0.0, "init_std": 0.3, "dtype": "float64"}
UNTIL_CONVERGED = [
    cymf.ALS(3, max_iter=20_000, tol=1e-12, **TABLE_SETTINGS),
    cymf.GradientDescent(3, max_iter=20_000, tol=1e-15, **TABLE_SETTINGS),
    cymf.SGD(
        3,
        max_iter=20_000,
        learning_rate=0.05,
        schedule="inverse_scaling",
        decay=0.4,
        **TABLE_SETTINGS,
    ),
]


@pytest.mark.parametrize("model", UNTIL_CONVERGED, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("use_bias", [True, False])
def test_the_3_by_5_table_and_its_question_marks(model, use_bias):
    """All solvers reproduce what is rated and give every `?` the value of a minimum."""
    model.set_params(use_bias=use_bias).fit(TABLE)
    assert model.user_factors_.size + model.item_factors_.size == 3 * (3 + 5)  # r (N + M)
    assert model.W_.shape == (3, 3)
    assert model.H_.shape == (3, 5)
    rated = ~np.isnan(TABLE)
    prediction = np.array([[model.predict(i, j) for j in range(5)] for i in range(3)])
    np.testing.assert_allclose(prediction[rated], TABLE[rated], rtol=0, atol=0.25)
    assert np.all((prediction > 0) & (prediction < 7))
    # Bob and Carol, like Alice, give Shawshank less than Interstellar; Bob would like Sholay.
    assert prediction[1, 4] < prediction[1, 3]
    assert prediction[2, 4] < prediction[2, 3]
    assert prediction[1, 0] > 3
    named = cymf.Ratings.from_matrix(TABLE, user_ids=USERS, item_ids=MOVIES)
    model.fit(named)
    ids, scores = model.recommend("Bob", n=2)
    assert set(ids) == {"Sholay", "Shawshank"}
    assert scores[0] == pytest.approx(max(prediction[1, [0, 4]]), rel=1e-9)


@pytest.mark.parametrize(("n_users", "n_movies", "r"), [(3, 5, 3), (3, 3, 2), (7, 11, 4)])
def test_parameter_count_of_quiz_2(n_users, n_movies, r):
    ratings = np.random.default_rng(0).integers(1, 6, (n_users, n_movies)).astype(float)
    for estimator in (cymf.ALS, cymf.SGD, cymf.GradientDescent):
        model = estimator(r, use_bias=False, max_iter=1).fit(ratings)
        assert model.W_.size + model.H_.size == r * (n_users + n_movies)
        assert model.user_bias_ is None
