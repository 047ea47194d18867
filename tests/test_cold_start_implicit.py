"""ImplicitALS with features: the joint objective over all cells, cold rows, fold-in, explanations."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from fitted_models import ThreadsEvenForLittle

import cymf

in_both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])
with_or_without_bias = pytest.mark.parametrize("use_bias", [True, False])


def implicit_parts(seed=0, n_users=200, n_items=80):
    """Who took what, by town and genre; the features of both sides as indicators."""
    rng = np.random.default_rng(seed)
    town, genre = rng.integers(0, 4, n_users), rng.integers(0, 5, n_items)
    taste = rng.random((4, 5)) ** 3
    taken = rng.random((n_users, n_items)) < 0.5 * taste[town][:, genre]
    taken[::5] = False  # cold users
    taken[:, ::7] = False  # cold items
    users, items = np.nonzero(taken)
    strengths = rng.integers(1, 5, len(users)).astype(np.float64)
    plays = cymf.Ratings.from_triplets(users, items, strengths, shape=taken.shape)
    return (
        plays,
        np.eye(4, dtype=np.float32)[town],
        np.eye(5, dtype=np.float32)[genre],
        taste[town][:, genre],
    )


def implicit(plays, users, items, **parameters):
    defaults = {
        "n_factors": 6,
        "reg": 0.05,
        "unobserved_weight": 0.1,
        "feature_reg": 0.5,
        "max_iter": 6,
    }
    model = cymf.ImplicitALS(**{**defaults, **parameters})
    return model.fit(plays, user_features=users, item_features=items)


def implicit_objective(model, plays, users, items):
    """The formula of the docstring, cell by cell."""
    extra, alpha = model._fitted().extra, model.alpha
    rated = [counts > 0 for counts in (plays.user_counts, plays.item_counts)]
    popularity = np.where(
        rated[1], np.maximum(plays.item_counts, 1.0) ** model.popularity_exponent, 0
    )
    v = model.unobserved_weight * popularity / popularity.sum() * rated[1].sum()
    sides = []
    for what, matrix in (("user", users), ("item", items)):
        factors = getattr(model, f"{what}_factors_").astype(np.float64)
        bias = getattr(model, f"{what}_bias_")
        bias = np.zeros(len(factors)) if bias is None else bias.astype(np.float64)
        B = extra[f"{what}_feature_factors"].astype(np.float64)
        beta = extra[f"{what}_feature_bias"].astype(np.float64)
        sides.append((factors, bias, factors - matrix @ B, bias - matrix @ beta, B, beta))
    scores = sides[0][0] @ sides[1][0].T + sides[0][1][:, None] + sides[1][1][None]
    c = np.zeros(plays.shape)
    c[plays.users, plays.items] = 1 + alpha * np.log1p(np.abs(plays.values))
    cells = np.where(c > 0, c * (1 - scores) ** 2, v * scores**2)[rated[0]][:, rated[1]]
    if model.weighting == "rendle":
        cells = (c * (1 - scores) ** 2 + v * scores**2)[rated[0]][:, rated[1]]
    reg_bias = model.reg if model.reg_bias is None else model.reg_bias
    total = cells.sum()
    for side, counts, weights in (
        (sides[0], plays.user_counts, np.full(plays.n_users, v.sum())),
        (sides[1], plays.item_counts, v * rated[0].sum()),
    ):
        _, _, rest, bias_rest, B, beta = side
        scale = np.where(counts > 0, (counts + weights) ** model.reg_exponent, 0)
        total += np.sum(scale * (model.reg * np.sum(rest**2, axis=1) + reg_bias * bias_rest**2))
        total += model.feature_reg * (np.sum(B**2) + np.sum(beta**2))
    return 0.5 * total


@in_both_types
@pytest.mark.parametrize("solver", ["cholesky", "cg", "subspace"])
@with_or_without_bias
@pytest.mark.parametrize("weighting", ["hu", "rendle"])
def test_the_implicit_objective_falls(dtype, solver, use_bias, weighting):
    plays, users, items, _ = implicit_parts()
    given = {"solver": solver, "use_bias": use_bias, "weighting": weighting, "dtype": dtype}
    model = implicit(
        plays, users, items, **given, reg_bias=0.02, popularity_exponent=0.5, max_iter=8
    )
    history = model.history_["objective"]
    rounding = 1e-12 if dtype == "float64" else 1e-5
    assert all(after <= before * (1 + rounding) for before, after in pairwise(history))
    expected = implicit_objective(model, plays, users, items)
    assert history[-1] == pytest.approx(expected, rel=1e-10 if dtype == "float64" else 1e-4)


@with_or_without_bias
def test_implicit_rows_and_features_are_at_a_minimum(use_bias):
    """After many exact steps no direction of the joint objective, taken by finite differences, falls."""
    plays, users, items, _ = implicit_parts(n_users=30, n_items=20)
    model = implicit(
        plays, users, items, use_bias=use_bias, dtype="float64", n_factors=2, max_iter=3000, reg=0.3
    )
    best = implicit_objective(model, plays, users, items)
    assert best == pytest.approx(model.history_["objective"][-1], rel=1e-12)
    rng = np.random.default_rng(0)
    state = model._fitted()
    for _ in range(20):
        moved = _moved(state, rng, plays, 1e-4)
        other = cymf.ImplicitALS(**model.get_params())
        other._publish(moved)
        assert implicit_objective(other, plays, users, items) > best - 1e-9


def _moved(state, rng, plays, size):
    changes = {}
    for what, counts in (("user", plays.user_counts), ("item", plays.item_counts)):
        factors = getattr(state, f"{what}_factors")
        step = size * rng.normal(size=factors.shape)
        step[counts == 0] = 0
        changes[f"{what}_factors"] = factors + step
    extra = {
        name: array + size * rng.normal(size=array.shape) if "feature_factors" in name else array
        for name, array in state.extra.items()
    }
    return replace(state, **changes, extra=extra)


@in_both_types
@with_or_without_bias
def test_implicit_cold_rows_are_what_their_features_predict(dtype, use_bias):
    plays, users, items, liking = implicit_parts()
    model = implicit(plays, users, items, dtype=dtype, use_bias=use_bias)
    for row, matrix, factors, learnt in (
        (0, users, model.user_factors_, model.user_feature_factors_),
        (0, items, model.item_factors_, model.item_feature_factors_),
    ):
        exact = matrix[row].astype(np.float64) @ learnt.astype(np.float64)
        np.testing.assert_array_equal(factors[row], exact.astype(dtype))
    asked = model.predict_cold(user_features=users[[0]], items=np.arange(80))
    np.testing.assert_array_equal(asked, model.predict(0, np.arange(80)))
    both = model.predict_cold(users[[0]], items[[0]])
    assert both == model.predict(0, 0)
    cold = model.user_factors_[::5] @ model.item_factors_.T
    if use_bias:
        cold = cold + model.item_bias_
    assert np.corrcoef(cold.ravel(), liking[::5].ravel())[0, 1] > 0.8


def test_folding_a_user_in_with_features_gives_the_row_of_training():
    plays, users, items, _ = implicit_parts()
    for use_bias in (False, True):
        model = implicit(
            plays, users, items, use_bias=use_bias, dtype="float64", popularity_exponent=0.3
        )
        rows, bias = model.user_factors_for(plays, features=users, return_bias=True)
        np.testing.assert_allclose(rows, model.user_factors_, atol=1e-9)
        if use_bias:
            np.testing.assert_allclose(bias, model.user_bias_, atol=1e-9)
        drawn_to_zero = model.user_factors_for(plays)
        assert np.abs(drawn_to_zero - model.user_factors_).max() > 1e-3
    with pytest.raises(ValueError, match="features has 3 rows; expected 200"):
        model.user_factors_for(plays, features=users[:3])
    one = model.user_factors_for([1, 2], features=users[[3]])
    assert one.shape == (6,)


@with_or_without_bias
def test_implicit_contributions_add_up_with_features(use_bias):
    plays, users, items, _ = implicit_parts()
    model = implicit(plays, users, items, use_bias=use_bias, dtype="float64")
    user, item = int(plays.users[0]), 3
    assert model.explain(user, item).score == pytest.approx(model.predict(user, item), abs=1e-9)


def test_implicit_validation_knows_cold_rows():
    plays, users, items, liking = implicit_parts()
    held_out = cymf.Ratings.from_matrix(np.where(liking > 0.4, 1.0, np.nan))
    model = cymf.ImplicitALS(4, max_iter=3, validation_metric="ndcg@20", unobserved_weight=0.1)
    model.fit(plays, validation=held_out, user_features=users, item_features=items)
    report = cymf.evaluation.evaluate_ranking(model, held_out, metrics="ndcg@20")
    assert model.history_["validation_score"][-1] == pytest.approx(report["ndcg@20"], rel=1e-6)
    assert len(report.users) == np.count_nonzero((liking > 0.4).any(axis=1))


def test_implicit_features_of_zeros_are_no_features():
    plays, *_ = implicit_parts()
    plain = cymf.ImplicitALS(4, max_iter=4).fit(plays)
    zeros = [np.zeros((n, 2)) for n in plays.shape]
    model = cymf.ImplicitALS(4, max_iter=4).fit(
        plays, user_features=zeros[0], item_features=zeros[1]
    )
    np.testing.assert_allclose(model.user_factors_, plain.user_factors_, atol=1e-6)


@pytest.mark.parametrize("parameters", [{"reg": 0.0}, {"unobserved_weight": 0.0}])
def test_implicit_penalties_that_are_refused(parameters):
    with pytest.raises(ValueError, match="expected both > 0 with features"):
        implicit(*implicit_parts()[:3], **parameters)


def test_implicit_bits_do_not_depend_on_threads(monkeypatch):
    threads = ThreadsEvenForLittle(monkeypatch)
    models = [implicit(*implicit_parts()[:3], n_threads=n) for n in (1, 3)]
    assert threads.calls > 0
    assert models[0].user_factors_.tobytes() == models[1].user_factors_.tobytes()


def test_going_on_with_new_ratings_needs_a_model_without_features():
    plays, users, items, _ = implicit_parts()
    model = implicit(plays, users, items)
    before = model.user_factors_.copy()
    with pytest.raises(ValueError, match="fitted with features, which partial_fit does not take"):
        model.partial_fit(plays)
    np.testing.assert_array_equal(model.user_factors_, before)
