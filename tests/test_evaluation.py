"""Splits that partition exactly, folds that are Surprise's, and errors measured by the formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cymf import ALS, ConvergenceWarning
from cymf.evaluation import (
    cross_validate,
    kfold,
    leave_k_out,
    leave_latest_out,
    mae,
    random_split,
    rmse,
    temporal_split,
)
from cymf.ratings import Ratings


@st.composite
def timed_ratings(draw):
    """Between 2 and 30 ratings in any input order, with many equal timestamps."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(2, 6)))
    cells = st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1))
    chosen = draw(st.lists(cells, min_size=2, max_size=30, unique=True))
    users, items = np.array(chosen).T
    n = len(chosen)
    times = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    return Ratings.from_triplets(
        users, items, np.arange(n), timestamps=times, weights=np.arange(n) + 1, shape=shape
    )


def check_partition(ratings, train, test):
    """Every rating is in exactly one part, with all that belongs to it."""
    for part in (train, test):
        assert part.shape == ratings.shape
        assert part.user_ids is ratings.user_ids
        np.testing.assert_array_equal(part.weights, part.values + 1)
    # the values number the ratings in input order, so they tell which ones they are
    assert sorted([*train.values, *test.values]) == sorted(ratings.values)
    assert train.nnz + test.nnz == ratings.nnz
    where = {value: k for k, value in enumerate(ratings.values)}
    for part in (train, test):
        at = [where[value] for value in part.values]
        np.testing.assert_array_equal(part.users, ratings.users[at])
        np.testing.assert_array_equal(part.items, ratings.items[at])
        np.testing.assert_array_equal(part.timestamps, ratings.timestamps[at])


@given(timed_ratings(), st.integers(0, 9), st.data())
def test_random_split(ratings, seed, data):
    count = data.draw(st.integers(1, ratings.nnz - 1))
    train, test = random_split(ratings, count, random_state=seed)
    check_partition(ratings, train, test)
    assert test.nnz == count
    again = random_split(ratings, count, random_state=np.random.default_rng(seed))[1]
    assert again.values.tolist() == test.values.tolist()
    assert random_split(ratings, count / ratings.nnz)[1].nnz == count


def test_a_random_split_does_not_depend_on_the_input_order():
    rng = np.random.default_rng(0)
    cells = rng.permutation(400)[:200]
    users, items = np.divmod(cells, 20)
    order = rng.permutation(200)
    one = Ratings.from_triplets(users, items, cells, shape=(20, 20))
    other = Ratings.from_triplets(users[order], items[order], cells[order], shape=(20, 20))
    for split in (random_split, leave_k_out):
        assert split(one)[1].values.tolist() == split(other)[1].values.tolist()
        assert split(one, random_state=1)[1].values.tolist() != split(one)[1].values.tolist()
    assert random_split(one, 0.2, None)[1].nnz == 40


@given(timed_ratings(), st.integers(1, 4), st.integers(0, 9))
def test_leave_k_out(ratings, k, seed):
    if ratings.user_counts.max() <= k:
        with pytest.raises(ValueError, match=f"no user has more than k={k} ratings"):
            leave_k_out(ratings, k)
        return
    train, test = leave_k_out(ratings, k, random_state=seed)
    check_partition(ratings, train, test)
    assert test.user_counts.tolist() == np.where(ratings.user_counts > k, k, 0).tolist()
    again = leave_k_out(ratings, k, random_state=seed)[1]
    assert again.values.tolist() == test.values.tolist()


def test_every_choice_of_k_is_equally_likely():
    n_users, k = 6000, 2
    ratings = Ratings.from_matrix(np.tile(np.arange(4.0), (n_users, 1)))
    _, test = leave_k_out(ratings, k, random_state=3)
    pairs = test.items.reshape(n_users, k)
    counts = np.bincount(pairs[:, 0] * 4 + pairs[:, 1])
    counts = counts[counts > 0]
    assert len(counts) == 6
    chi_squared = ((counts - n_users / 6) ** 2 / (n_users / 6)).sum()
    assert chi_squared < 20.5  # the 0.999 quantile for 5 degrees of freedom


@given(timed_ratings(), st.integers(1, 4))
def test_leave_latest_out(ratings, k):
    if ratings.user_counts.max() <= k:
        with pytest.raises(ValueError, match=f"no user has more than k={k} ratings"):
            leave_latest_out(ratings, k)
        return
    train, test = leave_latest_out(ratings, k)
    check_partition(ratings, train, test)
    for user in range(ratings.n_users):
        own = ratings.users == user
        # values count the input, so they break ties as the input order does
        ranked = sorted(zip(ratings.timestamps[own], ratings.values[own], strict=True))
        expected = [value for _, value in ranked[-k:]] if len(ranked) > k else []
        assert sorted(test.values[test.users == user]) == sorted(expected)


@given(timed_ratings(), st.data())
def test_temporal_split(ratings, data):
    count = data.draw(st.integers(1, ratings.nnz - 1))
    train, test = temporal_split(ratings, count)
    check_partition(ratings, train, test)
    ranked = sorted(zip(ratings.timestamps, ratings.values, strict=True))
    assert sorted(test.values) == sorted(value for _, value in ranked[-count:])
    assert train.timestamps.max() <= test.timestamps.min()


def test_times_may_be_datetimes():
    times = np.array(["2021-01-01", "2020-01-01", "2021-01-01"], "M8[D]")
    ratings = Ratings.from_triplets(["a"] * 3, [1, 2, 3], [1, 2, 3], timestamps=times)
    for split in (leave_latest_out, temporal_split):
        assert split(ratings, 1)[1].values.tolist() == [3.0]


@given(timed_ratings(), st.integers(2, 6), st.integers(0, 9))
def test_folds_partition_the_ratings(ratings, n_splits, seed):
    if n_splits > ratings.nnz:
        with pytest.raises(ValueError, match="n_splits must be an integer from 2"):
            kfold(ratings, n_splits)
        return
    folds = list(kfold(ratings, n_splits, random_state=seed))
    for train, test in folds:
        check_partition(ratings, train, test)
    assert sorted(value for _, test in folds for value in test.values) == sorted(ratings.values)
    # straight from Surprise's KFold.split; values number the input
    indices = np.arange(ratings.nnz)
    np.random.RandomState(seed).shuffle(indices)
    start = stop = 0
    for fold, (_, test) in enumerate(folds):
        start, stop = stop, stop + len(indices) // n_splits + (fold < len(indices) % n_splits)
        assert sorted(test.values) == sorted(indices[start:stop])


def test_folds_follow_the_random_state():
    ratings = Ratings.from_matrix(np.arange(200.0).reshape(10, 20))

    def folds(random_state):
        return [test.values.tolist() for _, test in kfold(ratings, 4, random_state)]

    assert folds(0) == folds(0) != folds(1)
    assert folds(np.random.default_rng(5)) == folds(np.random.default_rng(5)) != folds(0)
    assert sorted(value for fold in folds(None) for value in fold) == list(range(200))


def test_folds_of_duplicates_count_the_input_positions_that_remain():
    ratings = Ratings.from_triplets(
        [2, 1, 2, 0], [0, 0, 0, 0], [10, 11, 12, 13], duplicates="last", shape=(3, 1)
    )
    indices = np.arange(3)
    np.random.RandomState(0).shuffle(indices)
    expected = np.array([11.0, 12.0, 13.0])[indices]
    assert [test.values[0] for _, test in kfold(ratings, 3)] == expected.tolist()


def test_folds_of_movielens_are_those_of_surprise(data_dir):
    ratings = Ratings.from_file(data_dir / "ml-100k" / "u.data")
    columns = np.loadtxt(data_dir / "ml-100k" / "u.data", dtype=np.int64)
    positions = np.arange(100_000)
    np.random.RandomState(0).shuffle(positions)
    for fold, (train, test) in enumerate(kfold(ratings)):
        part = positions[20_000 * fold : 20_000 * (fold + 1)]
        assert sorted(test.input_order) == sorted(part)
        users, items, values = test.to_triplets()
        found = np.column_stack([users, items, values, test.timestamps])
        np.testing.assert_array_equal(found, columns[test.input_order])
        assert train.nnz == 80_000


@pytest.mark.parametrize("split", [random_split, temporal_split])
@pytest.mark.parametrize("test_size", [0, 5, -1, 0.0, 1.0, 1.5, 0.01, True, "a", None, np.nan])
def test_sizes_that_leave_nothing_are_refused(split, test_size):
    ratings = Ratings.from_triplets([1, 2, 3, 4, 5], [1] * 5, [1] * 5, timestamps=range(5))
    with pytest.raises(ValueError, match="test_size"):
        split(ratings, test_size)


@pytest.mark.parametrize("split", [leave_k_out, leave_latest_out])
@pytest.mark.parametrize("k", [0, -1, 1.5, True, "1", 5])
def test_counts_that_leave_nothing_are_refused(split, k):
    ratings = Ratings.from_triplets([1] * 5, [1, 2, 3, 4, 5], [1] * 5, timestamps=range(5))
    with pytest.raises(ValueError, match="k"):
        split(ratings, k)


def test_what_cannot_be_split():
    ratings = Ratings.from_matrix(np.ones((3, 3)))
    for split in (leave_latest_out, temporal_split):
        with pytest.raises(ValueError, match=f"{split.__name__} needs timestamps"):
            split(ratings)
    for split in (random_split, leave_k_out, leave_latest_out, temporal_split, kfold):
        with pytest.raises(TypeError, match=r"expected cymf.Ratings, given ndarray"):
            split(np.ones((3, 3)))
    for n_splits in (1, 10, 2.0):
        with pytest.raises(ValueError, match="n_splits must be an integer from 2"):
            kfold(ratings, n_splits)


# ------------------------------------------------------------------ errors


errors = st.lists(
    st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(0.01, 10)), min_size=1
)


@given(errors)
def test_errors_are_those_of_the_formula(rows):
    y, p, c = np.array(rows).T
    total = sum(c)
    squared = sum(w * (a - b) ** 2 for a, b, w in rows)
    absolute = sum(w * abs(a - b) for a, b, w in rows)
    np.testing.assert_allclose(rmse(y, p, c), np.sqrt(squared / total), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mae(y, p, c), absolute / total, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(rmse(y, p), rmse(y, p, np.full(len(y), 3)), atol=1e-9)
    np.testing.assert_allclose(mae(y, p), mae(y, p, np.full(len(y), 3)), atol=1e-9)


def test_errors_add_up_in_float64():
    y = np.full(1_000_000, 0.1, dtype=np.float32)
    expected = float(np.float32(0.1))
    assert rmse(y, np.zeros_like(y)) == pytest.approx(expected, rel=1e-12)
    assert isinstance(mae(y, np.zeros_like(y)), float)


@pytest.mark.parametrize("metric", [rmse, mae])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([1, 2], [1]), "1-D and equally long.*'y': \\(2,\\), 'p': \\(1,\\)"),
        (([1, 2], [1, 2], [1]), "equally long"),
        (([[1]], [[1]]), "1-D and equally long"),
        (([], []), "nothing to compare"),
        (([1, np.nan], [1, 2]), "y must be finite; y\\[1\\] is nan"),
        (([1, 2], [np.inf, 2]), "p must be finite; p\\[0\\] is inf"),
        (([1, 2], [1, 2], [1, np.nan]), "weights must be finite"),
        (([1, 2], [1, 2], [1, -1]), "weights must not be negative"),
        (([1, 2], [1, 2], [0, 0]), "not all 0"),
    ],
)
def test_what_cannot_be_compared(metric, arguments, text):
    with pytest.raises(ValueError, match=text):
        metric(*arguments)


# ------------------------------------------------------------------ cross-validation


class Shifted:
    """Predicts the training mean plus a parameter."""

    made = 0

    def __init__(self, shift=0.0):
        self.shift = shift
        type(self).made += 1

    def get_params(self, deep=True):
        return {"shift": self.shift}

    def fit(self, ratings):
        assert not hasattr(self, "mean_"), "a model was fitted twice"
        self.mean_ = float(ratings.values.mean())
        return self

    def predict(self, users, items, *, by):
        assert by == "index"
        assert len(users) == len(items)
        return np.full(len(users), self.mean_ + self.shift)


def test_cross_validation_measures_every_fold():
    ratings = Ratings.from_matrix(np.arange(20.0).reshape(4, 5))
    model = Shifted(shift=2.0)
    before = Shifted.made
    found = cross_validate(model, ratings)
    assert Shifted.made == before + 5
    assert not hasattr(model, "mean_")
    assert list(found) == ["rmse", "mae", "fit_seconds", "predict_seconds"]
    for name, metric in (("rmse", rmse), ("mae", mae)):
        expected = [
            metric(test.values, np.full(test.nnz, train.values.mean() + 2.0))
            for train, test in kfold(ratings)
        ]
        np.testing.assert_allclose(found[name], expected)
    assert all((found[name] >= 0).all() for name in ("fit_seconds", "predict_seconds"))


def test_cross_validation_over_folds_of_ones_own():
    ratings = Ratings.from_triplets(
        [0, 0, 1, 1], [0, 1, 0, 1], [1.0, 2.0, 3.0, 5.0], weights=[1, 1, 1, 3], shape=(2, 2)
    )
    split = leave_k_out(ratings)
    found = cross_validate(Shifted(), ratings, folds=[split], metrics="mae")
    assert list(found) == ["mae", "fit_seconds", "predict_seconds"]
    train, test = split
    expected = mae(test.values, np.full(2, train.values.mean()), test.weights)
    np.testing.assert_allclose(found["mae"], [expected])
    three = cross_validate(Shifted(), ratings, folds=kfold(ratings, 3))
    np.testing.assert_array_equal(
        three["rmse"], cross_validate(Shifted(), ratings, folds=3)["rmse"]
    )
    other = cross_validate(Shifted(), ratings, folds=3, random_state=4)
    assert other["rmse"].tolist() != three["rmse"].tolist()


def test_ctrl_c_ends_the_whole_cross_validation():
    fitted = []

    class Interrupted(ALS):
        def fit(self, X, y=None, **rest):
            def interrupt(_):
                raise KeyboardInterrupt

            fitted.append(self)
            with pytest.warns(ConvergenceWarning):
                return super().fit(X, y, callback=interrupt)

    ratings = Ratings.from_matrix(np.arange(1.0, 21.0).reshape(5, 4))
    with pytest.raises(KeyboardInterrupt):
        cross_validate(Interrupted(2), ratings)
    assert len(fitted) == 1


def test_cross_validation_of_nonsense_is_refused():
    ratings = Ratings.from_matrix(np.ones((3, 3)))
    with pytest.raises(
        ValueError, match="'rmse', 'mae' and those of rankings; metric 'r2' is unkno"
    ):
        cross_validate(Shifted(), ratings, metrics=("rmse", "r2"))
    with pytest.raises(ValueError, match="metrics is empty"):
        cross_validate(Shifted(), ratings, metrics=())
    with pytest.raises(ValueError, match="folds holds no"):
        cross_validate(Shifted(), ratings, folds=[])
    with pytest.raises(TypeError, match=r"expected cymf.Ratings, given ndarray"):
        cross_validate(Shifted(), np.ones((3, 3)))
    with pytest.raises(TypeError, match=r"expected cymf.Ratings, given ndarray"):
        cross_validate(Shifted(), ratings, folds=[(np.ones((3, 3)), ratings)])
