"""Explanations: contributions are what is lost with a rating, and sum to the score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import cymf

with_or_without_bias = pytest.mark.parametrize("use_bias", [False, True])


def stars(n_users=40, n_items=30, seed=0):
    rng = np.random.default_rng(seed)
    dense = rng.integers(1, 6, (n_users, n_items)).astype(float)
    dense[rng.random(dense.shape) < 0.7] = np.nan
    return dense


@with_or_without_bias
@pytest.mark.parametrize("weighting", ["hu", "rendle"])
def test_implicit_contributions_sum_to_the_score(use_bias, weighting):
    dense = stars()
    dense[2, 3] = -2
    model = cymf.ImplicitALS(
        6, use_bias=use_bias, weighting=weighting, popularity_exponent=0.5, dtype="float64", solver="cholesky",
    ).fit(dense)  # fmt: skip
    for user, item in ((0, 0), (2, 5), (7, 29)):
        score, items, contributions, base = model.explain(user, item)
        assert score == pytest.approx(model.predict(user, item), abs=1e-9)
        assert score == pytest.approx(base + contributions.sum(), abs=1e-12)
        assert (base == 0) == (not use_bias)
        assert sorted(items) == np.flatnonzero(~np.isnan(dense[user])).tolist()
        assert (np.diff(np.abs(contributions)) <= 0).all()


@with_or_without_bias
@pytest.mark.parametrize("weighted", [False, True])
def test_explicit_contributions_sum_to_the_prediction(use_bias, weighted):
    dense = stars()
    weights = np.random.default_rng(1).uniform(0.5, 2, np.count_nonzero(~np.isnan(dense)))
    ratings = cymf.Ratings.from_matrix(dense, weights=weights if weighted else None)
    model = cymf.ALS(5, use_bias=use_bias, reg_bias=0.3, dtype="float64", solver="cholesky").fit(
        ratings
    )
    for user, item in ((0, 0), (2, 5), (7, 29)):
        score, items, contributions, base = model.explain(user, item)
        assert score == pytest.approx(model.predict(user, item), abs=1e-9)
        assert score == pytest.approx(base + contributions.sum(), abs=1e-12)
        expected_base = model.global_mean_ + model.item_bias_[item] if use_bias else 0
        assert base == pytest.approx(expected_base)
        assert sorted(items) == np.flatnonzero(~np.isnan(dense[user])).tolist()


def test_a_contribution_is_linear_in_its_rating():
    dense = stars()
    model = cymf.ALS(4, use_bias=False, dtype="float64").fit(dense)
    before = model.explain(3, 4)
    changed = int(before.items[2])
    dense[3, changed] *= 2
    state = replace(model._fitted(), ratings=cymf.Ratings.from_matrix(dense))
    model._publish(state)  # the same factors, one rating doubled
    after = model.explain(3, 4)
    for item in before.items:
        expected = before.contributions[before.items == item] * (2 if item == changed else 1)
        assert after.contributions[after.items == item] == pytest.approx(expected)


def test_what_is_disliked_pulls_by_nothing():
    dense = stars()
    item = int(np.flatnonzero(~np.isnan(dense[3]))[0])
    dense[3, item] = -1
    found = cymf.ImplicitALS(4, dtype="float64").fit(dense).explain(3, 4)
    assert found.contributions[found.items == item] == 0
    assert np.count_nonzero(found.contributions) == len(found.items) - 1


def test_ids_and_refusals():
    pairs = np.array([["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["cy", "rum"]])
    model = cymf.ImplicitALS(2).fit(pairs, [5.0, 1.0, 4.0, 2.0])
    found = model.explain("ann", "tea")
    assert set(found.items) == {"tea", "rum"}
    assert model.explain(0, 1, by="index").items.dtype.kind == "i"
    with pytest.raises(cymf.UnknownIdError, match="'zoe'"):
        model.explain("zoe", "tea")
    with pytest.raises(cymf.UnknownIdError, match="'gin'"):
        model.explain("ann", "gin")
    with pytest.raises(ValueError, match="one user and one item"):
        model.explain(["ann"], "tea")
    model = cymf.ImplicitALS(2, store_ratings=False).fit(pairs, [5.0, 1.0, 4.0, 2.0])
    with pytest.raises(ValueError, match="keeps no training ratings"):
        model.explain("ann", "tea")
    with pytest.raises(cymf.NotFittedError):
        cymf.ALS().explain(1, 2)
