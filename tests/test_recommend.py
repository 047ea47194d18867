"""The best items for users, and what is like what, against sorting everything."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from made_up_models import all_predictions, made_up, ranked, unrated

from cymf import UnknownIdError
from cymf.ratings import Ratings

# --- recommend


@given(st.integers(0, 40), st.integers(1, 12), st.booleans(), st.booleans())
def test_recommend_against_sorting(seed, n, exclude_seen, bias):
    model, observed = made_up(seed=seed, bias=bias)
    full = all_predictions(model)
    items, scores = model.recommend(np.arange(6), n, exclude_seen=exclude_seen)
    assert items.shape == scores.shape == (6, n)
    for user in range(6):
        seen = set(np.flatnonzero(observed[user])) if exclude_seen else set()
        assert items[user].tolist() == ranked(full[user], seen | unrated(model), n)
        found = items[user] >= 0
        np.testing.assert_allclose(scores[user, found], full[user, items[user, found]])
        assert np.isnan(scores[user, ~found]).all()


def test_recommend_answers_ids():
    for kind, user, padding in (("str", "u1", ""), ("int", 103, -1)):
        model, observed = made_up(ids=kind)
        items, scores = model.recommend(user, 20)
        rows, row_scores = model.recommend(1, 20, by="index")
        left = int((~observed[1, 1:]).sum())
        assert items.shape == scores.shape == (20,)
        np.testing.assert_array_equal(items[:left], model._state.item_ids.to_ids(rows[:left]))
        assert (items[left:] == padding).all()
        assert (rows[left:] == -1).all()
        np.testing.assert_array_equal(scores, row_scores)
        assert np.isnan(scores[left:]).all()
        assert not np.isnan(scores[:left]).any()


def test_recommend_to_the_unknown_by_bias():
    model, _ = made_up(ids="str")
    ranking = ranked(model.item_bias_, {0}, 7)
    items, scores = model.recommend(["u1", "nobody", "u0"], 7)
    for row in (1, 2):
        assert items[row].tolist() == [f"i{j}" for j in ranking]
        np.testing.assert_allclose(scores[row], 3.25 + model.item_bias_[ranking])
    with pytest.raises(UnknownIdError, match=r"user 'nobody' .*2 of the 3"):
        model.recommend(["u1", "nobody", "u0"], unknown="raise")


def test_recommend_settles_ties_by_row():
    model, _ = made_up(bias=False, n_factors=0)
    assert model.recommend(1, 3, exclude_seen=False)[0].tolist() == [1, 2, 3]


def test_without_biases_the_unknown_get_the_mean_rating():
    model, _ = made_up(bias=False)
    assert model.predict([0, 99, 1, 99], [1, 1, 0, 99]).tolist() == [3.25] * 4
    items, scores = model.recommend([99, 0], 3)
    assert items.tolist() == [[1, 2, 3]] * 2
    assert (scores == 3.25).all()


def test_candidates_and_filter():
    model, observed = made_up(ids="str", density=0.8)
    assert observed[:, 1:].any(axis=0).all()
    full = all_predictions(model)
    allowed = ["i7", "i2", "i4", "i4", "no such item"]
    items, _ = model.recommend("u3", 5, exclude_seen=False, candidates=allowed)
    expected = ranked(full[3], set(range(8)) - {7, 2, 4}, 3)
    assert items.tolist() == [*(f"i{j}" for j in expected), "", ""]
    items, _ = model.recommend("u3", 8, exclude_seen=False, filter=["i1", "no such item"])
    assert items.tolist() == [*(f"i{j}" for j in ranked(full[3], {0, 1}, 6)), "", ""]
    items, _ = model.recommend("u3", 1, exclude_seen=False, candidates=["i1", "i5"], filter="i5")
    assert items.tolist() == ["i1"]
    items, scores = model.recommend("u3", 2, candidates=[])
    assert items.tolist() == ["", ""]
    assert np.isnan(scores).all()
    with pytest.raises(UnknownIdError, match="no such item"):
        model.recommend("u3", candidates=allowed, unknown="raise")


def test_candidates_that_were_seen_stay_out():
    model, observed = made_up()
    items, _ = model.recommend(2, 8, candidates=np.flatnonzero(observed[2]))
    assert (items == -1).all()


def test_seen_is_needed_where_ratings_are_not_kept():
    model, observed = made_up(keep_ratings=False)
    with pytest.raises(ValueError, match=r"store_ratings=False; give them as seen="):
        model.recommend(1)
    expected = made_up()[0].recommend([1, 2])[0]
    seen = sp.csr_array(observed)
    for given_seen in (seen, seen.tocoo(), Ratings.from_matrix(np.where(observed, 1.0, np.nan))):
        np.testing.assert_array_equal(model.recommend([1, 2], seen=given_seen)[0], expected)
    assert (model.recommend([1, 2], 7, exclude_seen=False)[0] > 0).all()


def test_a_matrix_of_seen_items_counts_for_users_without_training_ratings():
    model, _ = made_up(keep_ratings=False)
    seen = sp.csr_array(([1.0], ([0], [3])), shape=(6, 8))
    assert 3 not in model.recommend(0, seen=seen)[0]
    assert 3 in model.recommend(1, seen=seen)[0]


def test_seen_replaces_the_training_ratings():
    model, _ = made_up()
    nothing = sp.csr_array((6, 8))
    free = model.recommend([1, 2], exclude_seen=False)[0]
    np.testing.assert_array_equal(model.recommend([1, 2], seen=nothing)[0], free)


@pytest.mark.parametrize("by", ["id", "index"])
def test_seen_ratings_are_matched_by_id(by):
    model, _ = made_up(ids="str", keep_ratings=False)
    seen = Ratings.from_triplets(["u3", "u3", "new", "u1"], ["i5", "new", "i6", "i2"], np.ones(4))
    users = ["u1", "u2", "u3", "new"] if by == "id" else [1, 2, 3]
    items, _ = model.recommend(users, 8, seen=seen, by=by)
    names = model._state.item_ids.ids.tolist()
    absent = [
        [name for row, name in enumerate(names) if (name if by == "id" else row) not in answer]
        for answer in [[*answer, 0 if by == "index" else "i0"] for answer in items.tolist()]
    ]
    assert absent == [["i2"], [], ["i5"], ["i6"]][: len(users)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seen": sp.csr_array((8, 6))}, ValueError, r"seen has shape \(8, 6\); expected \(6, 8\)"),
        ({"seen": np.zeros((6, 8))}, TypeError, "seen is a ndarray"),
        ({"seen": sp.csr_array((6, 8)), "exclude_seen": False}, ValueError, "one or the other"),
        ({"n": 0}, ValueError, "n=0 is too small"),
        ({"n": 2.5}, TypeError, r"n=2\.5 is a float"),
    ],
)
def test_recommend_refuses(options, error, message):
    with pytest.raises(error, match=message):
        made_up()[0].recommend(1, **options)


# --- similar


@pytest.mark.parametrize("side", ["user", "item"])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
@pytest.mark.parametrize("include_self", [True, False])
def test_similar_is_the_formula(side, metric, include_self):
    model, _ = made_up()
    factors = getattr(model, f"{side}_factors_")[1:]  # row 0 has no ratings
    norms = np.linalg.norm(factors, axis=1) if metric == "cosine" else np.ones(len(factors))
    likeness = factors @ factors.T / np.outer(norms, norms)
    query = getattr(model, f"similar_{side}s")
    rows, scores = query([2, 1], 3, metric=metric, include_self=include_self)
    for answer, row in enumerate([1, 0]):
        expected = ranked(likeness[row], set() if include_self else {row}, 3)
        assert rows[answer].tolist() == [j + 1 for j in expected]
        np.testing.assert_allclose(scores[answer], likeness[row, expected])


def test_similar_answers_ids_and_pads():
    model, _ = made_up(ids="str")
    items, scores = model.similar_items("i3", 9)
    assert sorted(items.tolist()) == ["", "", "", "i1", "i2", "i4", "i5", "i6", "i7"]
    assert items[6:].tolist() == [""] * 3
    assert np.isnan(scores).tolist() == [False] * 6 + [True] * 3
    for unknown in ("i0", "nothing"):
        with pytest.raises(UnknownIdError, match=unknown):
            model.similar_items(unknown)


def test_cosine_of_zero_rows_is_zero():
    model, _ = made_up(n_factors=0)
    assert model.similar_users(1, 2)[1].tolist() == [0, 0]


def test_unknown_metric():
    with pytest.raises(ValueError, match=r"metric='angle' .* expected one of 'cosine', 'dot'"):
        made_up()[0].similar_items(1, metric="angle")
