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
from made_up_models import BiasModel, all_predictions, made_up

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.validation import check_is_fitted

from cymf._errors import NotFittedError, UnknownIdError
from cymf._ids import IdMap
from cymf._state import FittedState
from cymf.ratings import Ratings

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


@pytest.mark.parametrize("ids", ["int", "str"])
def test_rows_are_found_by_id(ids):
    model, _ = made_up(ids=ids)
    (item,) = model.item_ids_.to_ids([3])
    (row,) = model.item_ids_.to_index([item])
    assert row == 3
    assert model.user_ids_.ids.tolist() == model._state.ratings.user_ids.ids.tolist()
    assert made_up()[0].user_ids_ is None


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
    model._publish(
        dataclasses.replace(state, global_mean=0.0, rating_mean=3.25, user_counts=counts)
    )
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


@pytest.mark.parametrize("ids", [None, "int", "str"])
def test_predict_takes_the_pairs_of_ratings(ids):
    model, _ = made_up(ids=ids)
    ratings = model._state.ratings
    test = ratings.subset(np.arange(0, ratings.nnz, 2))
    expected = all_predictions(model)[test.users, test.items]
    np.testing.assert_allclose(model.predict(test), expected)
    np.testing.assert_allclose(model.predict(test, by="index"), expected)
    assert model.rmse(test) == pytest.approx(
        np.sqrt(np.mean((model.predict(test) - test.values) ** 2))
    )
    other = Ratings.from_triplets(["nobody"], ["nothing"], [1.0])
    if ids == "str":
        assert model.predict(other).tolist() == [model.global_mean_]


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


def test_rows_without_ratings_score_alike_as_pairs_and_as_ratings():
    model, _ = made_up(bias=False)
    full = Ratings.from_matrix(np.full((6, 8), 4.25))
    pairs = np.argwhere(np.ones((6, 8)))
    assert model.rmse(full) == model.rmse(pairs, full.values)
    only_unknown = full.subset(full.users == 0)
    assert model.rmse(only_unknown) == 1.0


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
