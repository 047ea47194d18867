"""New ratings for fitted models: how rows grow, what is solved again, and how far that drifts from a full fit."""

from __future__ import annotations

from copy import copy

import numpy as np
import pytest
import reference
from fitted_models import bits_of, cells_of, factors_of, objective_of, penalty_of, star_ratings
from hypothesis import given, settings
from hypothesis import strategies as st

import cymf
from cymf._growth import grow

with_or_without_bias = pytest.mark.parametrize("use_bias", [True, False])
PAIRS = [["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["bob", "gin"], ["cy", "rum"]]
STARS = [5.0, 1.0, 4.0, 2.0, 3.0]


# ---- old and new ratings together ------------------------------------------------------------------


@st.composite
def growing_ratings(draw: st.DrawFn):
    """Old and new ratings by id; some cells, users and items in both."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    parts = []
    for n, size, offset in ((draw(st.integers(1, 40)), 8, 0), (draw(st.integers(1, 12)), 11, 2)):
        cells = rng.permutation(size * size)[:n]
        users, items = cells // size + offset, cells % size + offset
        weights = rng.uniform(1, 2, n) if draw(st.booleans()) else None
        timestamps = rng.integers(0, 100, n) if draw(st.booleans()) else None
        values = rng.normal(size=n).astype(draw(st.sampled_from([np.float32, np.float64])))
        parts.append((users, items, values, weights, timestamps))
    return parts


@given(parts=growing_ratings())
@settings(max_examples=200, deadline=None)
def test_ratings_grow_as_a_dictionary_does(parts):
    """Merged in storage order: each cell with its newest value, weight and time."""
    old, new = (
        cymf.Ratings.from_triplets(users, items, values, weights=weights, timestamps=timestamps)
        for users, items, values, weights, timestamps in parts
    )
    state = cymf.ALS(1, max_iter=1).fit(old)._fitted()
    growth = grow(state, new)
    latest = None if parts[0][4] is None else parts[0][4].max()
    expected: dict[tuple[int, int], tuple] = {}
    for users, items, values, weights, timestamps in parts:
        for t in range(len(users)):
            weight = 1.0 if weights is None else weights[t]
            time = latest if timestamps is None else timestamps[t]
            expected[int(users[t]), int(items[t])] = float(values[t]), weight, time
    everything = growth.all
    found = {}
    who, what, values = everything.to_triplets()
    for t in range(everything.nnz):
        weight = 1.0 if everything.weights is None else everything.weights[t]
        time = None if everything.timestamps is None else everything.timestamps[t]
        found[int(who[t]), int(what[t])] = float(values[t]), weight, time
    if parts[0][4] is None:
        expected = {cell: (*entry[:2], None) for cell, entry in expected.items()}
    assert found == expected
    again = cymf.Ratings.from_matrix(everything.to_scipy().copy())  # checks that it is in order
    np.testing.assert_array_equal(again.items, everything.items)
    np.testing.assert_array_equal(growth.user_counts, everything.user_counts)
    np.testing.assert_array_equal(growth.item_counts, everything.item_counts)
    assert everything.rating_range == (min(values), max(values))
    assert len(set(everything.input_order.tolist())) == everything.nnz
    last = everything.input_order.argmax()
    t = parts[1][0].size - 1
    assert (who[last], what[last]) == (parts[1][0][t], parts[1][1][t])


def test_known_rows_keep_their_numbers_and_gaps_stay_empty():
    model = cymf.ALS(2, max_iter=3).fit(PAIRS, STARS)
    before = model._state.user_ids.ids.tolist()
    model.partial_fit([["zed", "tea"], ["abe", "zinfandel"]], [3.0, 2.0])
    assert model._state.user_ids.ids.tolist()[:3] == before
    assert model.user_factors_.shape == (5, 2)
    by_row_number = cymf.ALS(2, max_iter=3).fit(np.array([[5.0, np.nan], [3.0, 1.0]]))
    by_row_number.partial_fit([[3, 4], [0, 4]], [4.0, 1.0])
    assert by_row_number.user_factors_.shape == (4, 2)
    assert by_row_number.item_factors_.shape == (5, 2)
    assert not by_row_number.user_factors_[2].any()
    assert np.isfinite(by_row_number.predict([0, 3, 2], [4, 0, 4])).all()


@pytest.mark.parametrize("estimator", [cymf.ALS, cymf.SGD])
def test_a_row_number_far_away_is_refused_by_name(estimator):
    model = estimator(2, max_iter=2).fit(np.array([[5.0, np.nan], [3.0, 1.0]]))
    state = model._state
    with pytest.raises(ValueError, match=r"user 10000000000000 is a row number.*with ids"):
        model.partial_fit([[10**13, 0]], [4.0])
    with pytest.raises(ValueError, match="item 99999999 is a row number"):
        model.partial_fit([[0, 99999999]], [4.0])
    assert model._state is state
    model.partial_fit([[999, 0]], [4.0])  # gaps are allowed
    assert len(model.user_factors_) == 1000
    by_id = estimator(2, max_iter=2).fit([[0, 0], [1, 1]], [1.0, 2.0])
    by_id.partial_fit([[10**13, 0]], [4.0])
    assert np.isfinite(by_id.predict(10**13, 1))


@pytest.mark.parametrize("estimator", [cymf.ALS, cymf.SGD, cymf.SVDpp])
def test_timestamps_are_kept(estimator):
    users, items = zip(*PAIRS, strict=True)
    ratings = cymf.Ratings.from_triplets(users, items, STARS, timestamps=[5, 3, 8, 1, 2])
    model = estimator(2, max_iter=2).fit(ratings)
    later = cymf.Ratings.from_triplets(
        ["ann", "dan"], ["gin", "tea"], [1.0, 2.0], timestamps=[11, 12]
    )
    model.partial_fit(later)
    model.partial_fit([["ann", "tea"]], [4.0])  # has no time, so that it is as recent as the latest
    stored = model._state.ratings
    times = dict(
        zip(zip(*(x.tolist() for x in stored.to_triplets()[:2]), strict=True), stored.timestamps.tolist(), strict=True)
    )  # fmt: skip
    assert times == {
        ("ann", "tea"): 12, ("ann", "rum"): 3, ("bob", "tea"): 8, ("bob", "gin"): 1, ("cy", "rum"): 2,
        ("ann", "gin"): 11, ("dan", "tea"): 12,
    }  # fmt: skip
    dated = cymf.Ratings.from_triplets(
        ["ann"], ["tea"], [1.0], timestamps=np.array(["2020-01-01"], "datetime64[s]")
    )
    with pytest.raises(ValueError, match="both as datetimes or both as numbers"):
        model.partial_fit(dated)


def test_without_stored_ratings_a_cell_rated_again_counts_again():
    """Nobody can know it otherwise; with stored ratings it counts once."""
    counts = {}
    for store in (True, False):
        model = cymf.SGD(2, max_iter=2, store_ratings=store).fit(PAIRS, STARS)
        model.partial_fit([["ann", "tea"], ["ann", "gin"]], [1.0, 2.0])
        counts[store] = model._state.user_counts.tolist()
    assert counts == {True: [3, 2, 1], False: [4, 2, 1]}


# ---- ALS -------------------------------------------------------------------------------------------


@with_or_without_bias
def test_als_solves_what_it_touches_and_nothing_else(use_bias):
    """The touched users are the exact solution given the items; other rows keep their bits."""
    everything = star_ratings(50, 35, 0.4, empty=False)
    rng = np.random.default_rng(1)
    late = (everything.users >= 46) | (everything.items >= 33)
    late |= (everything.users < 4) & (rng.random(everything.nnz) < 0.3)
    old = everything.subset(~late)
    model = cymf.ALS(5, reg=0.4, use_bias=use_bias, dtype="float64", max_iter=6).fit(
        old.to_scipy()[:46, :33]
    )
    before, mean, n_iter = factors_of(model), model.global_mean_, model.n_iter_
    history = model.history_
    new = everything.subset(late)
    model.partial_fit(new, n_iter=2)
    after = factors_of(model)
    assert model.global_mean_ == mean
    assert (model.n_iter_, model.history_) == (n_iter, history)
    np.testing.assert_array_equal(model._state.ratings.values, everything.values)
    touched = np.unique(new.users)
    expected = reference.als_half_sweep(cells_of(everything), after, penalty_of(model), use_bias)
    np.testing.assert_allclose(after.users[touched], expected.users[touched], atol=1e-9)
    np.testing.assert_allclose(after.user_bias[touched], expected.user_bias[touched], atol=1e-9)
    untouched = np.setdiff1d(np.arange(46), touched)
    assert len(untouched)
    np.testing.assert_array_equal(after.users[untouched], before.users[untouched])
    same_items = np.setdiff1d(np.arange(33), new.items)
    np.testing.assert_array_equal(after.items[same_items], before.items[same_items])


def test_als_lowers_the_objective_with_every_turn():
    everything = star_ratings(60, 40, 0.3)
    late = np.random.default_rng(0).random(everything.nnz) < 0.1
    values = []
    for n_iter in (1, 2, 4, 8):
        model = cymf.ALS(5, reg=0.4, max_iter=6, dtype="float64").fit(everything.subset(~late))
        model.partial_fit(everything.subset(late), n_iter=n_iter)
        values.append(objective_of(model, everything))
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1]


@with_or_without_bias
def test_als_learns_a_new_user_with_a_new_item(use_bias):
    """Of two rows that are both new, neither may stay at zero, where the other's solution is zero as well."""
    model = cymf.ALS(3, reg=0.01, use_bias=use_bias, max_iter=10).fit(star_ratings().to_scipy())
    model.partial_fit([[40, 30]], [5.0])
    assert model.predict(40, 30) == pytest.approx(5, abs=0.3)
    assert model.item_factors_[30].any()


def test_als_takes_in_a_rating_given_again():
    model = cymf.ALS(2, reg=0.05, max_iter=10).fit(PAIRS, STARS)
    model.partial_fit([["ann", "tea"]], [1.0], n_iter=20)
    assert model.predict("ann", "tea") < 2.5
    assert model._state.ratings.nnz == len(PAIRS)


def test_als_refuses_and_is_then_what_it_was():
    model = cymf.ALS(2, max_iter=2).fit(PAIRS, STARS)
    state = model._state
    with pytest.raises(ValueError, match="the same parameters as then"):
        model.set_params(n_factors=3).partial_fit(PAIRS, STARS)
    model.set_params(n_factors=2)
    with pytest.raises(ValueError, match="have none"):
        model.partial_fit(np.ones((2, 2)))
    with pytest.raises(ValueError, match="n_iter=0"):
        model.partial_fit(PAIRS, STARS, n_iter=0)
    with pytest.raises(ValueError, match="are too large"):
        model.partial_fit([["ann", "tea"]], [3e38])
    assert model._state is state
    forgetful = cymf.ALS(2, max_iter=2, store_ratings=False).fit(PAIRS, STARS)
    with pytest.raises(ValueError, match="keeps no training ratings"):
        forgetful.partial_fit(PAIRS, STARS)


def test_als_unfitted_is_fitted_and_threads_change_no_bit(monkeypatch):
    fresh = cymf.ALS(3, max_iter=2).partial_fit(PAIRS, STARS)
    assert bits_of(fresh) == bits_of(cymf.ALS(3, max_iter=2).fit(PAIRS, STARS))
    everything = star_ratings(200, 80, 0.3)
    late = np.random.default_rng(0).random(everything.nnz) < 0.2
    results = []
    for n_threads in (1, 3):
        monkeypatch.setattr("cymf._parallel._SMALL_WORK", -1)
        model = cymf.ALS(4, max_iter=2, n_threads=n_threads).fit(everything.subset(~late))
        results.append(bits_of(model.partial_fit(everything.subset(late))))
    assert results[0] == results[1]


@pytest.mark.parametrize("use_bias", [True, False])
def test_sgd_solves_new_rows_as_far_as_they_touch_known_ones(use_bias):
    """One new user of known items: the fold-in. A new item of this user: solved against it. New with new: at random."""
    model = cymf.SGD(3, use_bias=use_bias, dtype="float64", init_std=0.1, learning_rate=1e-12)
    model.fit(PAIRS, STARS)
    known = model.user_factors_for(["tea", "rum"], [1.0, 5.0])
    model.partial_fit([["new", "tea"], ["new", "rum"]], [1.0, 5.0], n_epochs=1)
    new = model._state.user_ids.to_index(["new"])[0]
    np.testing.assert_allclose(model.user_factors_[new], known, atol=1e-9)
    item = model.item_factors_for(["new"], [2.0])
    model.partial_fit([["new", "ale"], ["other", "cider"]], [2.0, 3.0], n_epochs=1)
    state = model._state
    ale, cider = state.item_ids.to_index(["ale", "cider"])
    np.testing.assert_allclose(model.item_factors_[ale], item, atol=1e-9)
    assert 0 < np.abs(model.item_factors_[cider]).max() < 1
    assert 0 < np.abs(model.user_factors_[state.user_ids.to_index(["other"])[0]]).max() < 1


# ---- days of real updates --------------------------------------------------------------------------

A_DAYS_DRIFT = 0.002  # of RMSE and of NDCG@10: what docs/daily-updates.md promises


def last_days(data_dir, n_days):
    """MovieLens-100K by its time stamps: what was rated before the last days; each day, its last ratings held out."""
    ratings = cymf.datasets.load_movielens("100k", data_home=data_dir).ratings
    date = ratings.timestamps // 86400
    chosen = np.unique(date)[-n_days:]
    days = []
    for day in chosen:
        own = np.flatnonzero(date == day)
        own = own[np.lexsort((ratings.timestamps[own], ratings.users[own]))]
        _, first, count = np.unique(ratings.users[own], return_index=True, return_counts=True)
        rank = np.arange(len(own)) - np.repeat(first, count)
        late = rank >= np.repeat(count - count // 5, count)
        if late.any():
            days.append((ratings.subset(own[~late]), ratings.subset(own[late])))
    return ratings.subset(date < chosen[0]), days


def drift(make, measure, data_dir, n_days):
    """Return the means of a day's update of yesterday's refit, of today's refit, and of yesterday's as it was."""
    known, days = last_days(data_dir, n_days)
    yesterday = make().fit(known)
    sums = np.zeros((3, 2))
    for given_today, held_out in days:
        updated = copy(yesterday).partial_fit(given_today)
        today = make().fit(updated._state.ratings)
        sums += [measure(model, held_out) for model in (updated, today, yesterday)]
        yesterday = today
    return sums[:, 0] / sums[:, 1]


@pytest.mark.parametrize(("estimator", "n_days"), [(cymf.ALS, 12), (cymf.SGD, 12), (cymf.SVDpp, 3)])
def test_a_day_of_explicit_updates_drifts_little(estimator, n_days, data_dir):
    parameters = cymf.presets[f"{estimator.__name__.lower()}-ml-100k"]
    if estimator is cymf.ALS:
        parameters = parameters | {"track_objective": False}
    squares = drift(
        lambda: estimator(**parameters),
        lambda model, test: (model.rmse(test) ** 2 * test.nnz, test.nnz),
        data_dir,
        n_days,
    )
    updated, refit, stale = np.sqrt(squares)
    assert updated <= refit + A_DAYS_DRIFT
    assert updated < stale - 0.01, "a day's users must gain by the update"


def test_a_day_of_implicit_updates_drifts_little(data_dir):
    def ndcg(model, test):
        report = cymf.evaluation.evaluate_ranking(model, test, metrics=("ndcg@10",))
        return report["ndcg@10"] * len(report.users), len(report.users)

    updated, refit, stale = drift(
        lambda: cymf.ImplicitALS(32, reg=0.05, max_iter=10, track_objective=False),
        ndcg,
        data_dir,
        12,
    )
    assert updated >= refit - A_DAYS_DRIFT
    assert updated > stale
