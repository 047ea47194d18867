"""SGD with features: it ends where exact steps do, with the same bits for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from described_ratings import cold_parts, features, made_up
from fitted_models import ThreadsEvenForLittle, bits_of, star_ratings

import cymf


def descended(ratings, sides=None, **parameters):
    users, items = features(*ratings.shape) if sides is None else sides
    defaults = {"n_factors": 4, "reg": 0.05, "max_iter": 30, "feature_reg": 1.0}
    model = cymf.SGD(**{**defaults, **parameters})
    return model.fit(ratings, user_features=users, item_features=items)


def test_descent_comes_to_where_exact_steps_do():
    """Few ratings and a falling rate: SGD ends near the least objective that exact steps find from there."""
    ratings = star_ratings(300, 200, 0.1)
    users, items = features(300, 200)
    model = descended(
        ratings, reg=0.1, max_iter=300, learning_rate=0.05, decay=0.02, track_objective=True,
        dtype="float64",
    )  # fmt: skip
    exact = cymf.ALS(
        4, reg=0.1, reg_exponent=1.0, feature_reg=1.0, max_iter=200, tol=0, dtype="float64"
    )
    exact.fit(ratings, init=model, user_features=users, item_features=items)
    reached, least = model.history_["objective"][-1], exact.history_["objective"][-1]
    assert least <= reached < 1.01 * least
    without = cymf.SGD(
        4, reg=0.1, max_iter=300, learning_rate=0.05, decay=0.02, track_objective=True
    )
    assert reached < 0.99 * without.fit(ratings).history_["objective"][-1]


def test_descent_has_the_same_bits_for_any_number_of_threads(monkeypatch):
    threads = ThreadsEvenForLittle(monkeypatch)
    ratings = star_ratings(300, 200, 0.3)
    models = [descended(ratings, max_iter=4, n_threads=n) for n in (1, 2, 5)]
    assert threads.calls > 0
    assert len({bits_of(model) for model in models}) == 1


def test_descent_with_features_of_zeros_is_descent(monkeypatch):
    ratings = star_ratings(300, 200, 0.3)
    none = [np.zeros((n, 1)) for n in ratings.shape]
    plain = cymf.SGD(4, max_iter=3).fit(ratings)
    assert bits_of(descended(ratings, none, reg=0.05, max_iter=3)) == bits_of(plain)


def test_descent_predicts_cold_rows():
    cells, people, films = made_up()
    train, test = cold_parts(cells, "user")
    model = cymf.SGD(8, reg=0.02, feature_reg=1.0, learning_rate=0.05, max_iter=60, init_std=0.1)
    model.fit(train, validation=test, user_features=people, item_features=films)
    assert model.rmse(test) < 0.6 * cymf.SGD(8, reg=0.02).fit(train).rmse(test)
    assert model.history_["validation_rmse"][-1] == pytest.approx(model.rmse(test), rel=1e-5)
    asked = model.predict_cold(user_features=people.iloc[[0]], items=["i1", "i2"])
    np.testing.assert_allclose(asked, model.predict("u0", ["i1", "i2"]), atol=0.5)


def test_adagrad_takes_no_features():
    with pytest.raises(ValueError, match="schedule='adagrad' does not take features"):
        descended(star_ratings(), schedule="adagrad")


def test_going_on_with_new_ratings_needs_a_model_without_features():
    ratings = star_ratings()
    model = descended(ratings)
    with pytest.raises(ValueError, match="fitted with features, which partial_fit does not take"):
        model.partial_fit(ratings)
