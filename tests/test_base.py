"""What every model does after training, shown by a model of biases and by made-up factors."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.validation import check_is_fitted

from cymf._base import MatrixFactorization
from cymf._errors import NotFittedError, UnknownIdError
from cymf._ids import IdMap
from cymf._state import FittedState
from cymf.ratings import Ratings


class BiasModel(MatrixFactorization):
    """Mean and shrunken biases, no factors: the smallest model that learns something."""

    def __init__(self, reg=1.0, *, dtype="float64"):
        self.reg = reg
        self.dtype = dtype

    def fit(self, X, y=None, **_):
        X = X if y is None else Ratings.from_triplets(X[:, 0], X[:, 1], y)
        centred = X.values - X.values.mean(dtype=np.float64)
        user_bias = np.bincount(X.users, centred, X.n_users) / (X.user_counts + self.reg)
        rest = centred - user_bias[X.users]
        item_bias = np.bincount(X.items, rest, X.n_items) / (X.item_counts + self.reg)
        self._publish(
            FittedState(
                user_factors=np.zeros((X.n_users, 0), self.dtype),
                item_factors=np.zeros((X.n_items, 0), self.dtype),
                user_bias=user_bias.astype(self.dtype),
                item_bias=item_bias.astype(self.dtype),
                global_mean=float(X.values.mean(dtype=np.float64)),
                rating_mean=float(X.values.mean(dtype=np.float64)),
                rating_range=X.rating_range,
                user_ids=X.user_ids,
                item_ids=X.item_ids,
                user_counts=X.user_counts,
                item_counts=X.item_counts,
                ratings=X,
                history={"objective": [1.0]},
                n_iter=1,
                stop_reason="max_iter",
            )
        )
        return self


def made_up(
    n_users=6,
    n_items=8,
    n_factors=3,
    *,
    dtype=np.float64,
    ids=None,
    bias=True,
    density=0.5,
    keep_ratings=True,
    seed=0,
):
    """A model with random factors; user 0 and item 0 have no ratings, and so zero rows."""
    rng = np.random.default_rng(seed)
    observed = rng.random((n_users, n_items)) < density
    observed[0] = observed[:, 0] = False
    matrix = np.where(observed, rng.integers(1, 6, observed.shape), np.nan)
    user_ids = item_ids = None
    if ids == "str":
        user_ids = np.array([f"u{i}" for i in range(n_users)], object)
        item_ids = np.array([f"i{j}" for j in range(n_items)], object)
    elif ids == "int":
        user_ids, item_ids = 100 + 3 * np.arange(n_users), 1000 - np.arange(n_items)
    ratings = Ratings.from_matrix(matrix, user_ids=user_ids, item_ids=item_ids)

    def rows(counts, *shape):
        values = rng.standard_normal((len(counts), *shape)).astype(dtype)
        values[counts == 0] = 0
        return values

    model = BiasModel(dtype=np.dtype(dtype).name)
    model._publish(
        FittedState(
            user_factors=rows(ratings.user_counts, n_factors),
            item_factors=rows(ratings.item_counts, n_factors),
            user_bias=rows(ratings.user_counts) if bias else None,
            item_bias=rows(ratings.item_counts) if bias else None,
            global_mean=3.25 if bias else 0.0,
            rating_mean=3.25,
            rating_range=ratings.rating_range,
            user_ids=ratings.user_ids,
            item_ids=ratings.item_ids,
            user_counts=ratings.user_counts,
            item_counts=ratings.item_counts,
            ratings=ratings if keep_ratings else None,
            history={"objective": [2.0, 1.0]},
            n_iter=2,
            stop_reason="tol",
        )
    )
    return model, observed


def all_predictions(model):
    full = model.W_ @ model.H_ + model.global_mean_
    if model.user_bias_ is not None:
        return full + model.user_bias_[:, None] + model.item_bias_
    full[model._state.user_counts == 0] = full[:, model._state.item_counts == 0] = 3.25
    return full


def unrated(model):
    return set(np.flatnonzero(model._state.item_counts == 0))


# --- before and after fit


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.predict(0, 0),
        lambda m: m.recommend(0),
        lambda m: m.similar_items(0),
        lambda m: m.similar_users(0),
        lambda m: m.score([[0, 0]], [1.0]),
        lambda m: m.rmse([[0, 0]], [1.0]),
        lambda m: m.save("nowhere"),
        lambda m: m.user_factors_,
        lambda m: m.H_,
        lambda m: m.n_iter_,
    ],
)
def test_unfitted(ask):
    with pytest.raises(NotFittedError, match=r"this BiasModel is not fitted yet; call fit"):
        ask(BiasModel())


def test_fitted_attributes():
    model, _ = made_up()
    assert model.W_.shape == model.user_factors_.shape == (6, 3)
    assert model.H_.shape == (3, 8)
    np.testing.assert_array_equal(model.H_.T, model.item_factors_)
    assert model.user_bias_.shape == (6,)
    assert model.item_bias_.shape == (8,)
    assert (model.global_mean_, model.n_iter_) == (3.25, 2)
    assert not hasattr(BiasModel(), "user_factors_")
    for array in (model.W_, model.H_, model.user_factors_, model.item_bias_):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert np.shares_memory(model.H_, model.item_factors_)


def test_history_is_a_copy():
    model, _ = made_up()
    model.history_["objective"].append(0.0)
    assert model.history_ == {"objective": [2.0, 1.0]}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies(copied):
    assert repr(copied(BiasModel(2.0))) == "BiasModel(reg=2.0)"
    assert not hasattr(copied(BiasModel()), "user_factors_")
    model, _ = made_up(ids="str")
    twin = copied(model)
    assert twin.recommend("u1")[0].tolist() == model.recommend("u1")[0].tolist()
    assert not twin.user_factors_.flags.writeable
    assert not np.shares_memory(twin.user_factors_, model.user_factors_)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_factors": np.zeros((8, 2))}, "same number of columns"),
        ({"item_factors": np.zeros((8, 3), np.float32)}, "same dtype"),
        ({"user_factors": np.zeros(6)}, "two dimensions"),
        ({"user_bias": None}, "both or neither"),
        ({"user_bias": np.zeros(5)}, "user_bias has shape"),
        ({"item_counts": np.zeros(8)}, "item_counts has shape"),
        ({"user_ids": IdMap(np.arange(5))}, "user_ids holds 5 ids"),
        ({"ratings": Ratings.from_matrix(np.ones((8, 6)))}, "ratings has shape"),
    ],
)
def test_contradicting_state(changes, message):
    state = made_up()[0]._state
    parts = {name: getattr(state, name) for name in state.__dataclass_fields__} | changes
    with pytest.raises(ValueError, match=message):
        FittedState(**parts)


def test_readers_see_one_state_or_the_other():
    """A model swapped under its readers answers from the old or the new, never from both."""
    small, large = (made_up(n, n + 2, seed=n)[0]._state for n in (5, 500))
    model = BiasModel()
    model._publish(small)
    expected = []
    for state in (small, large):
        fixed = BiasModel()
        fixed._publish(state)
        expected.append(fixed.recommend([1, 2], 3)[1].tolist())
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            model._publish(large)
            model._publish(small)

    writer = threading.Thread(target=swap)
    writer.start()
    try:
        answers = [model.recommend([1, 2], 3)[1].tolist() for _ in range(300)]
    finally:
        stop.set()
        writer.join()
    assert all(answer in expected for answer in answers)


# --- predict


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_factors", [0, 3])
def test_predict_is_the_formula(dtype, bias, n_factors):
    model, _ = made_up(dtype=dtype, bias=bias, n_factors=n_factors)
    full = all_predictions(model)
    users, items = np.indices(full.shape).reshape(2, -1)
    predicted = model.predict(users, items)
    np.testing.assert_allclose(predicted, full.ravel(), rtol=1e-5)
    assert predicted.dtype == dtype
    np.testing.assert_array_equal(model.predict(np.column_stack([users, items])), predicted)


def test_without_biases_the_unknown_is_predicted_by_the_ratings_mean():
    model, _ = made_up(bias=False)
    state = model._state
    counts = state.user_counts.copy()
    counts[2] = 0
    model._publish(dataclasses.replace(state, global_mean=0.0, rating_mean=3.25, user_counts=counts))
    known = model.user_factors_[1] @ model.item_factors_[2]
    expected = [3.25, 3.25, 3.25, known]
    np.testing.assert_allclose(model.predict([99, 1, 2, 1], [2, 99, 2, 2]), expected, rtol=1e-6)


def test_predict_memory_is_bounded():
    model, _ = made_up(n_factors=64)
    users = np.ones(200_000, np.int64)
    tracemalloc.start()
    model.predict(users, users)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 8 * len(users) / 4


def test_predict_scalars_and_arrays():
    model, _ = made_up(ids="str")
    full = all_predictions(model)
    one = model.predict("u1", "i2")
    assert isinstance(one, float)
    assert one == pytest.approx(full[1, 2])
    np.testing.assert_allclose(model.predict("u1", ["i2", "i3"]), full[1, 2:4])
    np.testing.assert_allclose(model.predict(["u1", "u4"], "i2"), full[[1, 4], 2])
    np.testing.assert_allclose(model.predict([["u1", "i2"]]), full[[1], [2]])
    np.testing.assert_allclose(model.predict(1, [2, 3], by="index"), full[1, 2:4])
    assert model.predict([], []).shape == (0,)
    assert model.predict(np.empty((0, 2), int), by="index").shape == (0,)


def test_predict_pairs_of_different_types():
    model, _ = made_up()
    state = model._state
    mixed = {name: getattr(state, name) for name in state.__dataclass_fields__}
    mixed |= {"ratings": None, "item_ids": IdMap(np.array(list("abcdefgh"), object))}
    model._publish(FittedState(**mixed))
    expected = all_predictions(model)[[1, 2], [3, 4]]
    pairs = [(1, "d"), (2, "e")]
    np.testing.assert_allclose(model.predict(pairs), expected)
    np.testing.assert_allclose(model.predict(pd.DataFrame(pairs)), expected)
    np.testing.assert_allclose(model.predict(np.array(pairs, dtype=object)), expected)


def test_ids_of_a_matrix_may_come_as_floats():
    model, _ = made_up()
    assert model.predict(np.array([[1.0, 2.0]])) == model.predict(np.array([[1, 2]]))
    with pytest.raises(TypeError, match="users"):
        model.predict([1.5], [2])
    with pytest.raises(TypeError, match=r"users are strings, the first is 'a'.*row numbers"):
        model.predict(["a"], [2])


@pytest.mark.parametrize("ids", [None, "int", "str"])
def test_unknown_falls_back_to_mean_and_known_bias(ids):
    model, _ = made_up(ids=ids)
    nobody, nothing = ("nobody", "nothing") if ids == "str" else (99_999, -5)
    user, item = {None: (1, 2), "int": (103, 998), "str": ("u1", "i2")}[ids]
    mean, b, d = model.global_mean_, model.user_bias_, model.item_bias_
    assert model.predict(nobody, nothing) == mean
    assert model.predict(nobody, item) == pytest.approx(mean + d[2])
    assert model.predict(user, nothing) == pytest.approx(mean + b[1])
    for pair in ((nobody, item), (user, nothing)):
        with pytest.raises(UnknownIdError, match=r"'no|99999|-5") as caught:
            model.predict(*pair, unknown="raise")
        assert "has no training ratings" in str(caught.value)


def test_rows_without_ratings_are_unknown():
    model, _ = made_up()
    assert model.predict(0, 0) == model.global_mean_
    with pytest.raises(UnknownIdError, match=r"user 0 has no training ratings$"):
        model.predict(0, 1, unknown="raise")
    with pytest.raises(UnknownIdError, match=r"item 0 .*2 of the 3 items asked for"):
        model.predict(1, [1, 0, 77], unknown="raise")
    with pytest.raises(UnknownIdError):
        model.predict(0, 1, by="index", unknown="raise")


@pytest.mark.parametrize("row", [-1, 6, 2**62])
def test_row_numbers_outside_the_matrix_raise(row):
    model, _ = made_up()
    with pytest.raises(IndexError, match=rf"user index {row} is out of range; expected 0 to 5"):
        model.predict(row, 0, by="index")


def test_clip():
    model, _ = made_up(n_factors=3, seed=4)
    users, items = np.indices((6, 8)).reshape(2, -1)
    free = model.predict(users, items)
    clipped = model.predict(users, items, clip=True)
    low, high = model._state.rating_range
    assert free.min() < low or free.max() > high
    np.testing.assert_array_equal(clipped, np.clip(free, low, high))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1, 2, 3]), "got 2 users and 3 items"),
        (([1], [1, 2]), "got 1 users and 2 items"),
        (([1, 2],), r"one argument of shape \(2,\); expected users and items, or pairs"),
        (([[1, 2, 3]],), r"shape \(1, 3\)"),
        (([[1, 2]], [1]), "users has 2 dimensions"),
        ((1, [[1]]), "items has 2 dimensions"),
    ],
)
def test_shapes_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        made_up()[0].predict(*arguments)


@pytest.mark.parametrize(
    ("option", "message"),
    [({"by": "name"}, "by='name'"), ({"unknown": "skip"}, r"unknown='skip' .*expected one of")],
)
def test_wrong_options(option, message):
    with pytest.raises(ValueError, match=message):
        made_up()[0].predict(1, 1, **option)


# --- recommend


def ranked(scores, forbidden, n):
    """Slow twin of ``recommend`` for one user: sort by (-score, item)."""
    order = [j for _, j in sorted((-s, j) for j, s in enumerate(scores) if j not in forbidden)][:n]
    return order + [-1] * (n - len(order))


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


# --- score


@pytest.mark.parametrize("weighted", [True, False])
def test_scores_are_scikit_learns(weighted):
    model, observed = made_up(dtype=np.float32)
    rng = np.random.default_rng(1)
    pairs = np.argwhere(observed)
    y = rng.integers(1, 6, len(pairs)).astype(float)
    weights = rng.random(len(pairs)) if weighted else None
    predicted = model.predict(pairs).astype(float)
    for ours, theirs in (
        (model.score, r2_score),
        (model.rmse, root_mean_squared_error),
        (model.mae, mean_absolute_error),
    ):
        expected = theirs(y, predicted, sample_weight=weights)
        assert ours(pairs, y, sample_weight=weights) == pytest.approx(expected, rel=1e-12)
        ratings = Ratings.from_triplets(*pairs.T, y, weights=weights, shape=(6, 8))
        assert ours(ratings) == pytest.approx(expected, rel=1e-6)


def test_score_takes_what_fit_takes():
    model, observed = made_up()
    dense = np.where(observed, 3.5, np.nan)
    table = pd.DataFrame(np.argwhere(observed), columns=["user", "item"]).assign(rating=3.5)
    coo = sp.coo_array((np.full(observed.sum(), 3.5), np.nonzero(observed)), shape=observed.shape)
    expected = model.rmse(np.argwhere(observed), np.full(observed.sum(), 3.5))
    for X in (dense, table, coo, coo.tocsr(), Ratings.from_matrix(dense)):
        assert model.rmse(X) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"\(8, 6\)"):
        model.rmse(dense.T)


def test_score_of_unknown_pairs():
    model, _ = made_up(ids="str")
    assert model.rmse([["nobody", "nothing"]], [4.25]) == 1.0
    assert model.mae([["nobody", "nothing"]], [2.25]) == 1.0


def test_score_of_equal_ratings():
    model, _ = made_up()
    assert model.score([[0, 0], [0, 0]], [3.25, 3.25]) == 1.0
    assert model.score([[0, 0], [0, 0]], [3.0, 3.0]) == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 1]], [3.0]), r"R² of [01] ratings"),
        (([[1, 1], [1, 2]], [3.0]), r"y has shape \(1,\); expected \(2,\)"),
        (([[1, 1], [1, 2]], [3.0, np.nan]), "y must be finite"),
        ((np.empty((0, 2), int), []), r"R² of [01] ratings"),
        (([[1, 1], [1, 2]], [3.0, 2.0], [1.0]), "equally long"),
        (([[1, 1], [1, 2]], [3.0, 2.0], [1.0, -1.0]), "not be negative"),
        (([[1, 1], [1, 2]], [3.0, 2.0], [0.0, 0.0]), "not all 0"),
        ((np.ones((6, 8)), None, np.ones(48)), "sample_weight is given without y"),
    ],
)
def test_score_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        made_up()[0].score(*arguments)


# --- scikit-learn


@pytest.fixture(params=["int", "str", "object"])
def pairs_and_y(request):
    rng = np.random.default_rng(0)
    pairs = np.argwhere(rng.random((30, 20)) < 0.5)
    y = 3 + rng.standard_normal(30)[pairs[:, 0]] + rng.standard_normal(20)[pairs[:, 1]]
    y = y + rng.standard_normal(len(y)) / 10
    order = rng.permutation(len(y))
    if request.param == "object":
        pairs = np.array([(int(i), f"item {j}") for i, j in pairs], dtype=object)
    return pairs[order].astype(request.param), y[order]


def test_cross_val_score(pairs_and_y):
    pairs, y = pairs_and_y
    model = BiasModel(reg=0.1)
    assert (cross_val_score(model, pairs, y, cv=3) > 0.8).all()
    errors = -cross_val_score(model, pairs, y, cv=3, scoring="neg_root_mean_squared_error")
    assert (errors < 0.8).all()
    assert not hasattr(model, "global_mean_")


def test_grid_search(pairs_and_y):
    pairs, y = pairs_and_y
    search = GridSearchCV(BiasModel(), {"reg": [0.1, 100.0]}, cv=3).fit(pairs, y)
    assert search.best_params_ == {"reg": 0.1}
    np.testing.assert_array_equal(search.predict(pairs), search.best_estimator_.predict(pairs))


def test_check_is_fitted(pairs_and_y):
    model = BiasModel().fit(*pairs_and_y)
    check_is_fitted(model)
    with pytest.raises(ValueError, match="not fitted"):
        check_is_fitted(clone(model))
