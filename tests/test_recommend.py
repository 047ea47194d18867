"""The best items for users, and what is like what, against sorting everything."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from made_up_models import all_predictions, made_up, ranked, unrated

from cymf import UnknownIdError
from cymf._serving_index import serving_index
from cymf.ratings import Ratings

# --- recommend


@given(st.integers(0, 40), st.integers(1, 12), st.booleans(), st.booleans())
def test_recommend_against_sorting(seed, n, exclude_seen, bias):
    model, observed = made_up(seed=seed, bias=bias)
    full = all_predictions(model)
    order = full if bias else np.where(np.arange(6)[:, None] == 0, observed.sum(axis=0), full)
    items, scores = model.recommend(np.arange(6), n, exclude_seen=exclude_seen)
    assert items.shape == scores.shape == (6, n)
    for user in range(6):
        seen = set(np.flatnonzero(observed[user])) if exclude_seen else set()
        assert items[user].tolist() == ranked(order[user], seen | unrated(model), n)
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
    assert (model.recommend([99, 0], 3)[1] == 3.25).all()


def test_without_item_biases_the_unknown_get_what_most_have():
    model, observed = made_up(bias=False)
    by_count = ranked(observed.sum(axis=0), {0}, 8)
    items, scores = model.recommend([99, 1, 0], 8, exclude_seen=False)
    assert items[0].tolist() == items[2].tolist() == by_count
    assert items[1].tolist() == ranked(all_predictions(model)[1], {0}, 8)
    assert (scores[[0, 2]] == np.where(items[[0, 2]] >= 0, 3.25, np.nan)).sum() == 14
    assert np.isnan(scores[:, 7]).all()
    (item,) = by_count[:1]
    assert model.recommend(99, 2, filter=item)[0].tolist() == by_count[1:3]
    assert model.recommend(99, 2, candidates=by_count[4:7])[0].tolist() == by_count[4:6]
    assert model.recommend([99, 1], 2, candidates=[by_count[2:5], []])[0].tolist() == [
        by_count[2:4],
        [-1, -1],
    ]
    seen = Ratings.from_triplets([99], [item], [1.0])
    assert model.recommend([99, 98], 1, seen=seen)[0].tolist() == [[by_count[1]], [item]]
    with pytest.raises(UnknownIdError, match="99"):
        model.recommend(99, unknown="raise")


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


def test_everybodys_own_candidates():
    model, observed = made_up(ids="str", density=0.8)
    assert observed[:, 1:].any(axis=0).all()
    full = all_predictions(model)
    lists = [["i7", "i2", "i4", "i4", "no such item"], [], ["i0", "i5"]]
    users = ["u3", "u1", "nobody"]
    items, scores = model.recommend(users, 3, exclude_seen=False, candidates=lists)
    expected = ranked(full[3], set(range(8)) - {7, 2, 4}, 3)
    assert items.tolist() == [[f"i{j}" for j in expected], [""] * 3, ["i5", "", ""]]
    np.testing.assert_allclose(scores[0], full[3, expected])
    pairs = Ratings.from_triplets(
        ["u3", "u3", "u3", "nobody", "u3"], ["i2", "i4", "i7", "i5", "new"], np.ones(5)
    )
    same = model.recommend(users, 3, exclude_seen=False, candidates=pairs)
    np.testing.assert_array_equal(same[0], items)
    matrix = np.zeros((6, 8))
    matrix[3, [7, 2, 4]] = matrix[1, 0] = 1
    rows = model.recommend(
        [3, 1], 3, by="index", exclude_seen=False, candidates=sp.csr_array(matrix)
    )
    assert rows[0].tolist() == [expected, [-1] * 3]
    left = model.recommend("u3", 3, candidates=pairs, filter="i2", exclude_seen=False)[0]
    assert left.tolist() == [f"i{j}" for j in expected if j != 2] + [""]
    with pytest.raises(UnknownIdError, match="no such item"):
        model.recommend(["u3", "u1"], candidates=lists[:2], unknown="raise")
    with pytest.raises(ValueError, match=r"candidates holds 3 lists, but 2 users"):
        model.recommend(users[:2], candidates=lists)
    with pytest.raises(ValueError, match=r"candidates holds 3 lists, but a scalar user"):
        model.recommend("u1", candidates=lists)
    with pytest.raises(ValueError, match=r"candidates has shape \(8, 6\); expected \(6, 8\)"):
        model.recommend(users, candidates=sp.csr_array((8, 6)))


def test_seen_in_any_order():
    model, _ = made_up()
    unsorted = sp.csr_array(
        (np.ones(5), np.array([5, 2, 7, 2, 1]), np.array([0, 0, 5, 5, 5, 5, 5])), shape=(6, 8)
    )
    items, _ = model.recommend(1, 8, seen=unsorted)
    assert set(items.tolist()) == {3, 4, 6, -1}
    assert unsorted.indices.tolist() == [5, 2, 7, 2, 1]


@pytest.mark.parametrize("ids", [None, "int", "str"])
@pytest.mark.parametrize("bias", [True, False])
def test_one_user_is_answered_as_among_others(ids, bias):
    model, _ = made_up(ids=ids, bias=bias, dtype=np.float32)
    users = [1, 2, 3] if ids is None else model._state.user_ids.ids[1:4].tolist()
    for options in ({}, {"exclude_seen": False}):
        items, scores = model.recommend(users, 4, **options)
        for k, user in enumerate(users):
            one = model.recommend(user if k else np.asarray(user)[()], 4, **options)
            np.testing.assert_array_equal(one[0], items[k])
            np.testing.assert_array_equal(one[1], scores[k])
            assert one[1].dtype == np.float32
        by_index = model.recommend(1, 4, by="index", **options)
        np.testing.assert_array_equal(by_index[1], scores[0])


def test_the_index_is_of_the_state_that_answers():
    model, _ = made_up()
    before = model.recommend([1, 2, 3])[0]
    model._publish(made_up(seed=5)[0]._state)
    np.testing.assert_array_equal(
        model.recommend([1, 2, 3])[0], made_up(seed=5)[0].recommend([1, 2, 3])[0]
    )
    assert (model.recommend([1, 2, 3])[0] != before).any()


def test_indexes_go_with_their_states():
    gc.collect()
    model, _ = made_up()
    model.recommend([1, 2])
    model.similar_items(1)
    held = weakref.ref(serving_index(model._state, "recommend").panels)
    del model
    gc.collect()
    assert held() is None


def test_many_threads_make_one_index():
    model, _ = made_up(300, 200)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: model.recommend(np.arange(1, 50), 7)[0], range(16)))
        found = list(pool.map(lambda _: serving_index(model._state, "recommend"), range(16)))
    assert all((answer == answers[0]).all() for answer in answers)
    assert all(index is found[0] for index in found)


# --- by factors


def test_by_factors_of_users_that_are_there():
    model, observed = made_up(ids="str")
    state = model._state
    expected = model.recommend(["u1", "u4"], 5)
    rows = [1, 4]
    items, scores = model.recommend_by_factors(
        model.W_[rows],
        5,
        user_bias=model.user_bias_[rows],
        exclude=[state.item_ids.ids[observed[r]] for r in rows],
    )
    np.testing.assert_array_equal(items, expected[0])
    np.testing.assert_allclose(scores, expected[1])
    one = model.recommend_by_factors(
        model.W_[4], 5, user_bias=model.user_bias_[4], exclude=state.item_ids.ids[observed[4]]
    )
    np.testing.assert_array_equal(one[0], items[1])
    matrix = model.recommend_by_factors(model.W_[rows], 5, exclude=sp.csr_array(observed[rows]))
    np.testing.assert_array_equal(matrix[0], items)
    free = model.recommend_by_factors(model.W_[rows], 5, candidates=["i3", "i5"], filter="i5")
    assert free[0].tolist() == [["i3", "", "", "", ""]] * 2


@pytest.mark.parametrize(
    ("factors", "options", "message"),
    [
        (np.zeros(4), {}, r"user_factors has shape \(4,\); expected \(n_queries, 3\)"),
        (0.0, {}, r"user_factors has shape \(\)"),
        (np.zeros((2, 2, 3)), {}, r"user_factors has shape \(2, 2, 3\)"),
        (np.full(3, np.nan), {}, "NaN or infinity"),
        (np.zeros((2, 3)), {"user_bias": np.zeros(3)}, r"user_bias has shape \(3,\)"),
        (np.zeros((2, 3)), {"exclude": [[1]]}, r"exclude holds 1 lists; expected 2"),
        (np.zeros((2, 3)), {"exclude": sp.csr_array((3, 8))}, r"exclude has shape \(3, 8\)"),
    ],
)
def test_by_factors_refuses(factors, options, message):
    with pytest.raises(ValueError, match=message):
        made_up()[0].recommend_by_factors(factors, **options)


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
        ({"by": "name"}, ValueError, "by='name' is unknown"),
        ({"unknown": "guess"}, ValueError, "unknown='guess' is unknown"),
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
