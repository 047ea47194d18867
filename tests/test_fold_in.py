"""Folding in: rows of users and items from their ratings alone, against training and the slow twin."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import reference
from fitted_models import cells_of, factors_of, penalty_of, star_ratings
from kernel_drivers import in_both_types

import cymf
from cymf._ids import IdMap
from cymf._row_solve import SolvedRows, check_solved

EXPLICIT = {"ALS": cymf.ALS, "SGD": cymf.SGD, "GradientDescent": cymf.GradientDescent}
by_every_estimator = pytest.mark.parametrize("estimator", EXPLICIT.values(), ids=EXPLICIT)
with_or_without_bias = pytest.mark.parametrize("use_bias", [True, False])


def fitted(estimator=cymf.ALS, ratings=None, **parameters):
    parameters = {"reg": 0.3, "max_iter": 4} | parameters
    if estimator is cymf.SGD:
        parameters = {"reg_exponent": 1.0, "init_std": 0.1} | parameters
    return estimator(6, **parameters).fit(star_ratings() if ratings is None else ratings)


@in_both_types
@with_or_without_bias
@pytest.mark.parametrize("solver", ["cholesky", "auto"])
@pytest.mark.parametrize("weights", [None, "integer"])
def test_a_user_of_training_gets_the_stored_row_bit_for_bit(dtype, use_bias, solver, weights):
    """`fit` ends with a solution of all users, by the same kernel."""
    ratings = star_ratings(weights=weights)
    model = fitted(ratings=ratings, use_bias=use_bias, dtype=dtype, solver=solver, n_threads=2)
    factors, bias = model.user_factors_for(ratings, return_bias=True)
    np.testing.assert_array_equal(factors, model.user_factors_)
    if use_bias:
        np.testing.assert_array_equal(bias, model.user_bias_)
    else:
        assert not bias.any()
    np.testing.assert_array_equal(model.transform(ratings), factors)
    if weights is None:  # the ids of one row have none
        view = ratings.csr(dtype)
        for i in (0, 7, 21):
            cells = slice(view.indptr[i], view.indptr[i + 1])
            one, own = model.user_factors_for(
                view.indices[cells], view.values[cells], by="index", return_bias=True
            )
            np.testing.assert_array_equal(one, model.user_factors_[i])
            assert own == (model.user_bias_[i] if use_bias else 0)


@with_or_without_bias
def test_an_item_of_training_gets_the_stored_row_at_convergence(use_bias):
    ratings = star_ratings()
    model = fitted(ratings=ratings, use_bias=use_bias, dtype="float64", max_iter=3000, tol=1e-12)
    assert model.stop_reason_ == "tol"
    factors, bias = model.item_factors_for(ratings, return_bias=True)
    np.testing.assert_allclose(factors, model.item_factors_, atol=1e-6)
    if use_bias:
        np.testing.assert_allclose(bias, model.item_bias_, atol=1e-6)
    early = fitted(ratings=ratings, use_bias=use_bias, dtype="float64", max_iter=1)
    assert not np.allclose(early.item_factors_for(ratings), early.item_factors_, atol=1e-3)


@by_every_estimator
@with_or_without_bias
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_rows_never_seen_are_the_slow_twins(estimator, use_bias, exponent):
    model = fitted(
        estimator, use_bias=use_bias, reg_exponent=exponent, reg_bias=0.2, dtype="float64"
    )
    new = star_ratings(15, 30, 0.4, seed=7, weights="integer")
    cells = cells_of(new)
    known = model._state.item_counts[cells.items] > 0  # nothing is known of the others
    mask = np.zeros(new.nnz, bool)
    mask[np.flatnonzero(known)] = True
    kept = new.subset(mask)
    learnt = factors_of(model)
    start = reference.Factors(
        np.zeros((15, 6)), learnt.items, np.zeros(15), learnt.item_bias, learnt.mean
    )
    expected = reference.als_half_sweep(cells_of(kept), start, penalty_of(model), use_bias)
    factors, bias = model.user_factors_for(new, return_bias=True)
    np.testing.assert_allclose(factors, expected.users, atol=1e-10)
    np.testing.assert_allclose(bias, expected.user_bias, atol=1e-10)
    turned = cymf.Ratings.from_matrix(
        star_ratings(40, 12, 0.4, seed=9).to_scipy()
    )  # twelve items never seen, of the model's users
    start = reference.Factors(
        learnt.users, np.zeros((12, 6)), learnt.user_bias, np.zeros(12), learnt.mean
    )
    by_item = reference.als_half_sweep(
        cells_of(turned).transposed(), start.transposed(), penalty_of(model), use_bias
    )
    factors, bias = model.item_factors_for(turned, return_bias=True)
    np.testing.assert_allclose(factors, by_item.users, atol=1e-10)
    np.testing.assert_allclose(bias, by_item.user_bias, atol=1e-10)


def test_batches_and_threads_change_no_bit(monkeypatch):
    model = fitted()
    new = star_ratings(90, 30, 0.4, seed=3)
    alone = model.user_factors_for(new)
    monkeypatch.setattr("cymf._parallel._SMALL_WORK", -1)
    model.set_params(n_threads=3)
    np.testing.assert_array_equal(model.user_factors_for(new), alone)
    some = new.to_scipy()[10:20]
    np.testing.assert_array_equal(model.user_factors_for(some), alone[10:20])


def test_recommend_by_factors_takes_what_is_folded_in():
    """Of a user of training it gives the user's own recommendations."""
    ratings = star_ratings()
    model = fitted(ratings=ratings)
    view = ratings.csr()
    for user in (0, 5, 12):
        cells = slice(view.indptr[user], view.indptr[user + 1])
        rated = view.indices[cells]
        factors, bias = model.user_factors_for(rated, view.values[cells], return_bias=True)
        items, scores = model.recommend_by_factors(factors, 5, user_bias=bias, exclude=rated)
        expected_items, expected_scores = model.recommend(user, 5)
        assert items.tolist() == expected_items.tolist()
        np.testing.assert_allclose(scores, expected_scores, rtol=1e-6)


def test_by_id_and_in_tables():
    rng = np.random.default_rng(0)
    users = [f"u{i}" for i in rng.integers(0, 30, 300)]
    items = [f"i{i}" for i in rng.integers(0, 20, 300)]
    stars = rng.integers(1, 6, 300).astype(float)
    ratings = cymf.Ratings.from_triplets(users, items, stars, duplicates="mean")
    model = cymf.ALS(4, max_iter=3).fit(ratings)
    known = model.user_factors_for(["i3", "i5"], [4.0, 1.0])
    np.testing.assert_array_equal(
        model.user_factors_for(["i3", "new", "i5"], [4.0, 5.0, 1.0]), known
    )
    factors, bias = model.user_factors_for(["new"], [1.0], return_bias=True)
    assert not factors.any()
    assert bias == 0
    table = pd.DataFrame(
        {"user": ["x", "x", "y"], "item": ["i3", "i5", "new"], "rating": [4.0, 1.0, 2.0]}
    )
    np.testing.assert_allclose(model.transform(table), [known, np.zeros(4)], atol=1e-6)


def test_what_cannot_be_folded_in_is_refused():
    model = fitted()
    with pytest.raises(ValueError, match="without values"):
        model.user_factors_for([1, 2])
    with pytest.raises(ValueError, match=r"values has shape \(1,\); expected \(2,\)"):
        model.user_factors_for([1, 2], [1.0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.user_factors_for([1], [np.inf])
    with pytest.raises(ValueError, match="items is given twice"):
        model.user_factors_for([1, 1], [2.0, 3.0])
    with pytest.raises(ValueError, match="users is given twice"):
        model.item_factors_for([1, 1], [2.0, 3.0])
    with pytest.raises(ValueError, match=r"values and by='index' belong to a list of ids"):
        model.user_factors_for(star_ratings(), [1.0])
    with pytest.raises(ValueError, match=r"looks? transposed|must agree"):
        model.user_factors_for(np.ones((30, 40)))
    for estimator in (model, cymf.ImplicitALS(2, max_iter=1).fit(star_ratings())):
        with pytest.raises(ValueError, match=r"X has 1 dimensions.*user_factors_for"):
            estimator.transform([1, 2])
    with pytest.raises(cymf.NotFittedError):
        cymf.ALS().user_factors_for([1], [1.0])
    with pytest.raises(ValueError, match=r"ratings up to 3e\+30 are too large"):
        model.transform(np.full((1, 30), 3e30))
    failed = SolvedRows(np.zeros((2, 3)), None, np.array([1]))
    ids = IdMap(["ann", "bob"])
    with pytest.raises(cymf.DivergenceError, match="user 'bob' is not finite; raise reg"):
        check_solved(failed, "user", None, ids)


def test_without_a_penalty_a_row_is_the_shortest_solution():
    model = fitted(reg=0.0, use_bias=False, dtype="float64", max_iter=2)
    factors = model.user_factors_for([3], [4.0])
    h = model.item_factors_[3]
    np.testing.assert_allclose(factors, 4.0 * h / (h @ h), atol=1e-10)


def test_implicit_models_transform_as_they_fold_in():
    plays = np.where(np.random.default_rng(0).random((30, 20)) < 0.3, 2.0, np.nan)
    model = cymf.ImplicitALS(4, max_iter=3, dtype="float64").fit(plays)
    np.testing.assert_array_equal(model.transform(plays), model.user_factors_for(plays))


def test_saved_models_fold_in_the_same_bits(tmp_path):
    model = fitted()
    model.save(tmp_path / "model")
    again = cymf.load(tmp_path / "model", mmap=True)
    new = star_ratings(9, 30, 0.4, seed=3)
    np.testing.assert_array_equal(again.transform(new), model.transform(new))


@with_or_without_bias
def test_features_draw_a_folded_in_row_to_what_they_predict(use_bias):
    """With the features of its training, a user gets the stored row; one without ratings, what they predict."""
    ratings = star_ratings()
    rng = np.random.default_rng(0)
    users = rng.normal(size=(ratings.n_users, 3))
    model = cymf.ALS(4, reg=0.5, feature_reg=0.1, use_bias=use_bias, max_iter=5, dtype="float64")
    model.fit(ratings, user_features=users)
    factors, bias = model.user_factors_for(ratings, return_bias=True, features=users)
    np.testing.assert_allclose(factors, model.user_factors_, atol=1e-9)
    if use_bias:
        np.testing.assert_allclose(bias, model.user_bias_, atol=1e-9)
    assert np.abs(model.user_factors_for(ratings) - factors).max() > 1e-3
    predicted = model.user_factors_for([10_000], [3.0], features=users[:1])  # no item of the model
    np.testing.assert_allclose(predicted, users[0] @ model.user_feature_factors_, atol=1e-12)


def test_features_that_do_not_fit_the_rows():
    ratings = star_ratings()
    users = np.ones((ratings.n_users, 2))
    model = cymf.ALS(2, max_iter=1).fit(ratings, user_features=users)
    with pytest.raises(ValueError, match=f"features has 3 rows; expected {ratings.n_users}"):
        model.user_factors_for(ratings, features=users[:3])
    with pytest.raises(ValueError, match="fitted without item_features"):
        model.item_factors_for(ratings, features=users)


@in_both_types
@with_or_without_bias
def test_rows_of_a_nonnegative_model_are_not_negative(dtype, use_bias):
    ratings = star_ratings()
    model = cymf.ALS(4, reg=0.1, nonnegative=True, use_bias=use_bias, max_iter=5, dtype=dtype).fit(
        ratings
    )
    factors, bias = model.user_factors_for(ratings, return_bias=True)
    assert factors.min() >= 0
    np.testing.assert_array_equal(factors, model.user_factors_)
    if use_bias:
        np.testing.assert_array_equal(bias, model.user_bias_)
    model.partial_fit(cymf.Ratings.from_triplets([0, 900], [1, 1], [5.0, 1.0]))
    assert min(model.user_factors_.min(), model.item_factors_.min()) >= 0


def test_what_a_nonnegative_model_cannot_do_is_said():
    ratings = star_ratings()
    with pytest.raises(ValueError, match="nonnegative=True does not go with features"):
        cymf.ALS(2, nonnegative=True).fit(ratings, user_features=np.ones((ratings.n_users, 1)))
    model = cymf.ALS(2, nonnegative=True, max_iter=1).fit(ratings)
    with pytest.raises(ValueError, match="no normal posterior"):
        model.predict(0, 0, return_std=True)
