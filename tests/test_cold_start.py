"""Models with features: the joint objective and its exact steps, cold rows, and what is asked about them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import reference_features
from described_ratings import cold_parts, features, made_up
from fitted_models import (
    ThreadsEvenForLittle,
    bits_of,
    cells_of,
    factors_of,
    penalty_of,
    star_ratings,
    trimmed,
)
from reference_features import Prior

import cymf
from cymf import _feature_prior
from cymf._estimator import FitFeatures, FitSettings, fitting
from cymf.als import RowSolver

in_both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])
with_or_without_bias = pytest.mark.parametrize("use_bias", [True, False])


def priors_of(model, ratings):
    """What the fitted model has learnt of features, for the slow twins."""
    found = []
    for what, matrix in zip(("user", "item"), features(*ratings.shape), strict=True):
        extra = model._fitted().extra
        found.append(
            Prior(
                matrix.astype(np.float64),
                extra[f"{what}_feature_factors"].astype(np.float64),
                extra[f"{what}_feature_bias"].astype(np.float64),
            )
        )
    return found


def fitted(ratings, sides=None, **parameters):
    users, items = features(*ratings.shape) if sides is None else sides
    model = cymf.ALS(
        **{"n_factors": 4, "reg": 0.5, "feature_reg": 2.0, "max_iter": 5, **parameters}
    )
    return model.fit(ratings, user_features=users, item_features=items)


# ---- the objective and its steps -----------------------------------------------------------------


@in_both_types
@pytest.mark.parametrize("solver", ["cholesky", "lapack", "cg", "subspace"])
@with_or_without_bias
@pytest.mark.parametrize("reg_exponent", [0.0, 0.5, 1.0])
def test_no_step_raises_the_objective(dtype, solver, use_bias, reg_exponent):
    ratings = star_ratings(weights="integer")
    model = cymf.ALS(
        7, reg=0.05, reg_bias=0.2, reg_exponent=reg_exponent, use_bias=use_bias, dtype=dtype,
        feature_reg=0.7,
    )  # fmt: skip
    given = FitFeatures.of(model, *features())
    settings = FitSettings.of(model)
    rounding = 1e-12 if dtype == "float64" else 1e-5
    with fitting(model, settings, ratings, None, None, None, None, given) as (problem, _):
        factors = settings.start(problem, None)
        rows = RowSolver(problem, solver)
        before = np.inf
        for _ in range(5):
            for half_sweep in (rows.solve_items, rows.solve_users):
                half_sweep(factors)
                after, _ = problem.objective(factors)
                twins = [
                    Prior(side.features.matrix.toarray(), side.factors, side.bias)
                    for side in (problem.priors["user"], problem.priors["item"])
                ]
                expected = reference_features.objective(
                    cells_of(ratings), trimmed(problem, factors), penalty_of(model), *twins, 0.7
                )
                assert after == pytest.approx(expected, rel=rounding)
                assert after <= before * (1 + rounding)
                before = after


@pytest.mark.parametrize("solver", ["cholesky", "lapack"])
@with_or_without_bias
def test_sweeps_are_the_slow_twins(solver, use_bias, monkeypatch):
    monkeypatch.setattr(_feature_prior, "_FOLLOWING_STEPS", 0)
    ratings = star_ratings(weights="integer")
    model = fitted(
        ratings, n_factors=5, reg=0.3, reg_bias=0.8, use_bias=use_bias, solver=solver,
        dtype="float64", max_iter=3, tol=0,
    )  # fmt: skip
    settings = FitSettings.of(model)
    with fitting(model, settings, ratings, None, None, None, None) as (problem, _):
        expected = trimmed(problem, settings.start(problem, None))
    cells, penalty = cells_of(ratings), penalty_of(model)
    by_item = cells.transposed()
    user_features, item_features = (matrix.astype(np.float64) for matrix in features())
    users = Prior(user_features, np.zeros((3, 5)), np.zeros(3))
    items = Prior(item_features, np.zeros((4, 5)), np.zeros(4))
    for _ in range(3):
        items = reference_features.learnt(
            items, expected.items, expected.item_bias, cells.item_counts, penalty, 2.0
        )
        expected = reference_features.half_sweep(
            by_item, expected.transposed(), penalty, use_bias, items
        ).transposed()
        users = reference_features.learnt(
            users, expected.users, expected.user_bias, cells.user_counts, penalty, 2.0
        )
        expected = reference_features.half_sweep(cells, expected, penalty, use_bias, users)
    got = factors_of(model)
    for name in ("users", "items", "user_bias", "item_bias"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-9)
    extra = model._fitted().extra
    against = replace(
        expected,
        items=items.mean,
        item_bias=items.bias_mean if use_bias else 0 * expected.item_bias,
    )
    cold = reference_features.half_sweep(cells, against, penalty, use_bias, users)
    np.testing.assert_allclose(extra["cold_user_factors"], cold.users, atol=1e-9)
    against = replace(
        expected,
        users=users.mean,
        user_bias=users.bias_mean if use_bias else 0 * expected.user_bias,
    )
    cold = reference_features.half_sweep(by_item, against.transposed(), penalty, use_bias, items)
    np.testing.assert_allclose(extra["cold_item_factors"], cold.users, atol=1e-9)
    if use_bias:
        np.testing.assert_allclose(extra["cold_item_bias"], cold.user_bias, atol=1e-9)
    for found, twin in zip(priors_of(model, ratings), (users, items), strict=True):
        np.testing.assert_allclose(found.factors, twin.factors, atol=1e-9)
        np.testing.assert_allclose(found.bias, twin.bias if use_bias else 0, atol=1e-9)


@with_or_without_bias
def test_features_follow_the_ratings_to_the_slow_twin(use_bias, monkeypatch):
    ratings = star_ratings(weights="integer")
    model = cymf.ALS(3, reg=0.3, use_bias=use_bias, dtype="float64", feature_reg=0.7)
    settings, given = FitSettings.of(model), FitFeatures.of(model, *features())
    with fitting(model, settings, ratings, None, None, None, None, given) as (problem, _):
        factors = settings.start(problem, None)
        rows = RowSolver(problem, "cholesky")
        rows.solve_items(factors)
        rows.solve_users(factors)
        prior = problem.priors["user"]
        before, _ = problem.objective(factors)
        start = trimmed(problem, factors)
        twin = Prior(prior.features.matrix.toarray(), prior.factors, prior.bias)
        expected = reference_features.followed(cells_of(ratings), start, twin, use_bias, 0.7)
        fixed = factors.item, factors.item_bias
        for steps in (1, 2, 200):
            monkeypatch.setattr(_feature_prior, "_FOLLOWING_STEPS", steps)
            prior.follow(problem, problem.users, fixed, factors.user, factors.user_bias)
            after, _ = problem.objective(factors)
            assert after < before
            before = after
        np.testing.assert_allclose(prior.factors, expected.factors, atol=1e-9)
        np.testing.assert_allclose(prior.bias, expected.bias if use_bias else 0, atol=1e-9)
        held = start.users - twin.mean + expected.mean
        np.testing.assert_allclose(factors.user[:, :3], held, atol=1e-9)


@in_both_types
def test_the_history_is_the_joint_objective(dtype):
    ratings = star_ratings()
    model = fitted(ratings, dtype=dtype, tol=0)
    history = model.history_["objective"]
    assert all(after <= before * (1 + 1e-6) for before, after in pairwise(history))
    expected = reference_features.objective(
        cells_of(ratings), factors_of(model), penalty_of(model), *priors_of(model, ratings), 2.0
    )
    assert history[-1] == pytest.approx(expected, rel=1e-5)


def test_wide_features_go_by_conjugate_gradients(monkeypatch):
    ratings = star_ratings()
    expected = fitted(ratings, dtype="float64", tol=0)
    monkeypatch.setattr(_feature_prior, "_MOST_FACTORED", 0)
    monkeypatch.setattr(_feature_prior, "_BLOCK_ROWS", 7)
    got = fitted(ratings, dtype="float64", tol=0)
    np.testing.assert_allclose(got.user_factors_, expected.user_factors_, atol=1e-7)
    np.testing.assert_allclose(got.item_feature_factors_, expected.item_feature_factors_, atol=1e-7)
    assert bits_of(got) != bits_of(expected)  # it did go another way


@pytest.mark.parametrize("solver", ["cholesky", "cg", "subspace"])
def test_the_same_bits_for_any_number_of_threads(solver, monkeypatch):
    threads = ThreadsEvenForLittle(monkeypatch)
    ratings = star_ratings(300, 200, 0.1)
    models = [fitted(ratings, solver=solver, n_threads=n) for n in (1, 2, 5)]
    assert threads.calls > 0
    assert len({bits_of(model) for model in models}) == 1
    assert len({model.user_feature_factors_.tobytes() for model in models}) == 1


def test_one_side_alone():
    ratings = star_ratings()
    users, items = features()
    model = fitted(ratings, (users, None))
    assert model.user_feature_factors_.shape == (3, 4)
    assert model.item_feature_factors_ is None
    assert fitted(ratings, (None, items)).item_feature_factors_.shape == (4, 4)


def test_features_of_zeros_are_no_features():
    ratings = star_ratings()
    none = [np.zeros((n, 1)) for n in ratings.shape]
    plain = cymf.ALS(4, reg=0.5, max_iter=5).fit(ratings)
    assert bits_of(fitted(ratings, none)) == bits_of(plain)


def test_patience_restores_what_was_learnt_of_features():
    ratings = star_ratings(200, 100, 0.2)
    train, held_out = cymf.evaluation.random_split(ratings)
    noise = np.random.default_rng(0).normal(
        3, 2, held_out.nnz
    )  # what is learnt of the rest is of no use
    validation = cymf.Ratings.from_triplets(
        held_out.users, held_out.items, noise, shape=ratings.shape
    )
    parameters = {"reg": 0.02, "max_iter": 30, "tol": 0, "n_factors": 8}
    users, items = features(200, 100)
    model = cymf.ALS(patience=2, **parameters)
    model.fit(train, validation=validation, user_features=users, item_features=items)
    best = int(np.argmin(model.history_["validation_rmse"])) + 1
    assert best < model.n_iter_
    again = fitted(train, (users, items), **{**parameters, "max_iter": best, "feature_reg": None})
    assert bits_of(again)[:1000] == bits_of(model)[:1000]
    assert again.user_feature_factors_.tobytes() == model.user_feature_factors_.tobytes()


# ---- cold rows -----------------------------------------------------------------------------------


@in_both_types
@with_or_without_bias
def test_rows_without_ratings_are_what_their_features_predict(dtype, use_bias):
    ratings = star_ratings()  # the last user and the first item have none
    model = fitted(ratings, dtype=dtype, use_bias=use_bias)
    users, items = features()
    assert model.user_factors_[-1].any()
    for row, matrix, factors, learnt in (
        (-1, users, model.user_factors_, model.user_feature_factors_),
        (0, items, model.item_factors_, model.item_feature_factors_),
    ):
        exact = matrix[row].astype(np.float64) @ learnt.astype(np.float64)
        np.testing.assert_array_equal(factors[row], exact.astype(dtype))
    extra, mean = model._fitted().extra, model.global_mean_
    for asked, own, other in (
        ({"user_features": users[[-1]], "items": np.arange(30)}, model.user_factors_[-1], "item"),
        ({"users": np.arange(40), "item_features": items[[0]]}, model.item_factors_[0], "user"),
    ):
        expected = mean + extra[f"cold_{other}_factors"] @ own
        if use_bias:
            bias = model.user_bias_[-1] if other == "item" else model.item_bias_[0]
            expected = expected + bias + extra[f"cold_{other}_bias"]
        np.testing.assert_allclose(model.predict_cold(**asked), expected, rtol=1e-5)
    both = model.predict_cold(users[[-1]], items[[0]])
    assert both == model.predict(39, 0)
    assert both != pytest.approx(model.global_mean_)


def test_many_ratings_leave_features_behind():
    """A user's distance from the least squares fit falls with the weight of the ratings."""
    ratings = star_ratings(density=0.8, empty=False)
    users = np.ones((40, 1))
    distances = []
    for weight in (1e-4, 1.0, 1e4):
        heavy = cymf.Ratings.from_matrix(ratings.to_scipy(), weights=np.full(ratings.nnz, weight))
        model = fitted(
            heavy, (users, None), reg=1.0, reg_exponent=0.0, dtype="float64", n_factors=2
        )
        rated = ratings.items[ratings.users == 0]
        X = np.column_stack([model.item_factors_[rated], np.ones(len(rated))])
        y = ratings.values[ratings.users == 0] - model.global_mean_ - model.item_bias_[rated]
        free = np.linalg.lstsq(X, y, rcond=None)[0]
        row = np.append(model.user_factors_[0], model.user_bias_[0])
        drawn_to = users[0] @ model.user_feature_factors_
        content = np.linalg.norm(model.user_factors_[0] - drawn_to)
        distances.append((np.linalg.norm(X @ (row - free)) / np.linalg.norm(y), content))
    assert distances[2][0] < 1e-3 < distances[1][0] < distances[0][0]
    assert distances[0][1] < 1e-2 * distances[2][1]


@pytest.mark.parametrize("side", ["user", "item"])
def test_features_predict_cold_rows(side):
    cells, people, films = made_up()
    train, test = cold_parts(cells, side)
    model = cymf.ALS(8, reg=0.3, feature_reg=1.0)
    model.fit(train, user_features=people, item_features=films)
    plain = cymf.ALS(8, reg=0.3).fit(train).rmse(test)
    assert model.rmse(test) < 0.6 * plain
    if side == "user":
        rows = people.set_index("user").loc[test["user"]].reset_index()
        asked = model.predict_cold(user_features=rows, items=test["item"])
    else:
        rows = films.set_index("item").loc[test["item"]].reset_index()
        asked = model.predict_cold(users=test["user"], item_features=rows)
    assert np.sqrt(np.mean((asked - test["rating"]) ** 2)) < 0.55 * plain


def test_cold_items_are_recommended_and_cold_users_are_recommended_to():
    cells, people, films = made_up()
    train, _ = cold_parts(cells, "item")
    train, _ = cold_parts(train, "user")
    model = cymf.ALS(8, reg=0.3, feature_reg=1.0)
    model.fit(train, user_features=people, item_features=films)
    cold_user = people.iloc[[0]]
    asked = model.predict_cold(user_features=cold_user, items=films["item"])
    for (items, scores), expected in (
        (model.recommend("u0", 20), model.predict("u0", films["item"])),
        ([answer[0] for answer in model.recommend_cold(cold_user, 20)], asked),
    ):
        order = np.argsort(-expected, kind="stable")[:20]
        assert set(items) == set(films["item"].iloc[order])
        assert any(int(item[1:]) % 5 == 0 for item in items)
        np.testing.assert_allclose(scores, np.sort(expected)[::-1][:20], rtol=1e-6)
    assert "i0" in model.similar_items("i5", 119)[0]
    stored = model.recommend_cold(
        {"town": "t1", "age": 33.0}, 3, candidates=["i5", "i6"], exclude=["i6"]
    )
    assert stored[0].tolist() == [["i5", "", ""]]


def test_validation_knows_cold_rows():
    cells, people, films = made_up()
    train, test = cold_parts(cells, "user")
    model = cymf.ALS(4, reg=0.3, max_iter=3, tol=0)
    model.fit(train, validation=test, user_features=people, item_features=films)
    assert model.history_["validation_rmse"][-1] == pytest.approx(model.rmse(test), rel=1e-5)


def test_rankings_are_measured_with_cold_items():
    cells, people, films = made_up()
    train, test = cold_parts(cells, "item")
    model = cymf.ALS(4, reg=0.3).fit(train, user_features=people, item_features=films)
    liked = test[test["rating"] > 3.5]
    report = cymf.evaluation.evaluate_ranking(model, liked, metrics=("recall@20", "coverage@20"))
    assert report["recall@20"] > 0.3


def test_contributions_add_up_with_features():
    ratings = star_ratings()
    model = fitted(ratings, dtype="float64", max_iter=20)
    answer = model.explain(5, 7)
    assert answer.score == pytest.approx(model.predict(5, 7), abs=1e-9)
    without = fitted(ratings, dtype="float64", use_bias=False).explain(5, 7)
    assert without.base != 0  # what the features predict


# ---- what is asked -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def town_model():
    cells, people, films = made_up()
    return cymf.ALS(4, reg=0.3, max_iter=4).fit(cells, user_features=people, item_features=films)


def test_pairs_of_single_rows_and_of_many(town_model):
    model = town_model
    one = {"town": "t1", "age": 30.0}
    two = {"town": ["t1", "t2"], "age": [30.0, 50.0]}
    many = model.predict_cold(user_features=one, items=["i1", "i2", "i3"])
    assert many.shape == (3,)
    assert many.dtype == np.float32
    assert model.predict_cold(user_features=two, items="i2")[0] == many[1]
    assert model.predict_cold(user_features=two, items=["i1", "i2"])[0] == many[0]
    by_number = model.predict_cold(user_features=one, items=[0, 1], by="index")
    assert by_number.tolist() == model.predict_cold(user_features=one, items=["i0", "i1"]).tolist()
    clipped = model.predict_cold(user_features={"town": "t1", "age": 1e6}, items="i1", clip=True)
    assert clipped[0] in np.float32(model._fitted().rating_range)


def test_what_nothing_is_known_of_counts_as_the_mean(town_model):
    model = town_model
    nothing = model.predict_cold(user_features={"town": "Paris", "age": np.nan}, items="i3")
    row = model._fitted().item_ids.to_index(["i3"], "item")[0]
    bias = model._fitted().extra["cold_item_bias"][row]
    assert nothing[0] == pytest.approx(model.global_mean_ + bias, rel=1e-6)
    unknown = model.predict_cold(user_features={"town": "t1", "age": 30}, items="i999")
    assert np.isfinite(unknown).all()
    assert unknown[0] != nothing[0]


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (
            {"user_features": {"town": "t1", "age": 3}},
            ValueError,
            "neither of item_features and items",
        ),
        (
            {"users": "u1", "items": "i1", "user_features": [[1]]},
            ValueError,
            "both of user_features and users",
        ),
        (
            {"user_features": {"town": "t1"}, "items": "i1"},
            ValueError,
            "lacks 'age'; expected the columns",
        ),
        (
            {"user_features": {"town": "t1", "age": 3, "shoes": 44}, "items": "i1"},
            ValueError,
            "has the unseen 'shoes'",
        ),
        ({"user_features": [[1, 2]], "items": "i1"}, ValueError, "has 2 features; expected 5"),
        (
            {"user_features": cymf.Features(np.eye(5), names=list("abcde")), "items": "i1"},
            ValueError,
            "has the unseen features 'a', 'b', 'c', 'd', 'e' and lacks 'town=t0'",
        ),
        (
            {"user_features": np.zeros((2, 5)), "items": ["i1", "i2", "i3"]},
            ValueError,
            "got 2 users and 3 items",
        ),
        ({"user_features": 5, "items": "i1"}, TypeError, "expected cymf.Features"),
    ],
)
def test_questions_that_are_refused(town_model, asked, error, message):
    with pytest.raises(error) as caught:
        town_model.predict_cold(**asked)
    assert message in str(caught.value)


def test_models_without_features_say_so():
    model = cymf.ALS(2).fit(star_ratings())
    for ask in (
        lambda: model.predict_cold(user_features=[[1]], items=1),
        lambda: model.recommend_cold([[1]]),
    ):
        with pytest.raises(ValueError, match="this ALS was fitted without user_features"):
            ask()
    with pytest.raises(cymf.NotFittedError):
        cymf.ALS().predict_cold(user_features=[[1]], items=1)
    matrices = fitted(star_ratings())
    with pytest.raises(TypeError, match="expected a matrix with 3 columns, as the model"):
        matrices.predict_cold(user_features={"town": "x"}, items=1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"feature_reg": 0}, "feature_reg=0 is out of range"),
        ({"reg": 0}, "reg=0 leaves features without effect"),
    ],
)
def test_penalties_that_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        fitted(star_ratings(), **parameters)


@pytest.mark.parametrize("mmap", [False, True])
def test_a_saved_model_knows_its_features(tmp_path, town_model, mmap):
    town_model.save(tmp_path / "m.cymf")
    loaded = cymf.load(tmp_path / "m.cymf", mmap=mmap)
    question = {
        "user_features": {"town": "t1", "age": 30},
        "item_features": {"genre": [["g1"]], "year": [1970]},
    }
    assert loaded.predict_cold(**question) == town_model.predict_cold(**question)
    assert loaded.feature_reg == town_model.feature_reg
    np.testing.assert_array_equal(loaded.user_feature_factors_, town_model.user_feature_factors_)
    assert loaded.explain("u1", "i1").score == town_model.explain("u1", "i1").score
    town_model.save(tmp_path / "m.cymf", store_ratings=False)
    loaded = cymf.load(tmp_path / "m.cymf")
    assert loaded.predict_cold(**question) == town_model.predict_cold(**question)
