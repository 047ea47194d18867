"""Ratings: every way in, every error, and what comes out again."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from cymf._ids import IdMap
from cymf.ratings import Ratings, SparseView, as_ratings

FORMATS = ("csr", "csc", "coo", "lil", "dok")


@st.composite
def dense_matrices(draw, zeros=True):
    """A matrix of small ratings with NaN for what is missing, and at least one rating."""
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    rating = st.sampled_from([-1.0, 0.0, 0.5, 3.0] if zeros else [-1.0, 0.5, 3.0])
    dense = draw(hnp.arrays(np.float64, shape, elements=rating | st.just(np.nan)))
    if np.isnan(dense).all():
        dense[0, -1] = 3.0
    return dense


@st.composite
def triplets(draw, duplicates=False):
    """Shuffled rows, columns and values."""
    n_users, n_items = draw(st.integers(1, 8)), draw(st.integers(1, 8))
    cells = st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))
    chosen = draw(st.lists(cells, min_size=1, max_size=30, unique=not duplicates))
    users, items = np.array(chosen).T
    values = np.array(draw(st.lists(st.integers(-3, 3), min_size=len(users), max_size=len(users))))
    return users, items, values, (n_users, n_items)


def observed(ratings):
    """The matrix, NaN where nothing was observed."""
    dense = np.full(ratings.shape, np.nan)
    dense[ratings.users, ratings.items] = ratings.values
    return dense


def check_consistency(ratings):
    """What holds for all ratings, however they were made."""
    for dtype in (np.float32, np.float64):
        rows, columns = ratings.csr(dtype), ratings.csc(dtype)
        assert isinstance(rows, SparseView)
        assert rows.indptr.dtype == columns.indptr.dtype == np.int64
        assert rows.indices.dtype == columns.indices.dtype == np.int32
        assert rows.values.dtype == columns.values.dtype == dtype
        assert (rows.weights is None) == (columns.weights is None) == (not ratings.has_weights)
        forth = sparse.csr_array(rows[2::-1], shape=ratings.shape)
        back = sparse.csr_array(columns[2::-1], shape=ratings.shape[::-1])
        np.testing.assert_array_equal(forth.toarray(), back.toarray().T)
        for view, other in ((rows, ratings.n_items), (columns, ratings.n_users)):
            keys = np.repeat(np.arange(len(view.indptr) - 1), np.diff(view.indptr)) * other
            assert (np.diff(keys + view.indices) > 0).all()
            arrays = [array for array in view if array is not None]
            assert not any(array.flags.writeable for array in arrays)
            assert all(array.flags.c_contiguous for array in arrays)
        if ratings.has_weights:
            assert rows.weights.dtype == columns.weights.dtype == dtype
            weights = sparse.csr_array((rows.weights, *rows[1::-1]), shape=ratings.shape)
            turned = sparse.csr_array((columns.weights, *columns[1::-1]), ratings.shape[::-1])
            np.testing.assert_array_equal(weights.toarray(), turned.toarray().T)
        assert ratings.csr(dtype) is rows
        assert ratings.csc(dtype) is columns
    assert ratings.csc(np.float32).indices is ratings.csc(np.float64).indices
    assert ratings.nnz == len(ratings.users) == len(ratings.items) == len(ratings.values) > 0
    assert ratings.rating_range == (ratings.values.min(), ratings.values.max())
    assert (
        ratings.user_counts.tolist()
        == np.bincount(ratings.users, minlength=ratings.n_users).tolist()
    )
    assert (
        ratings.item_counts.tolist()
        == np.bincount(ratings.items, minlength=ratings.n_items).tolist()
    )


def check_same(one, other):
    assert one.shape == other.shape
    for name in ("users", "items", "values", "weights", "timestamps"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("user_ids", "item_ids"):
        ids, twin = getattr(one, name), getattr(other, name)
        assert (ids is None) == (twin is None)
        assert ids is None or ids.ids.tolist() == twin.ids.tolist()


# ------------------------------------------------------------------ matrices


@given(dense_matrices())
def test_dense_matrices_round_trip(dense):
    ratings = Ratings.from_matrix(dense)
    check_consistency(ratings)
    np.testing.assert_array_equal(observed(ratings), dense)
    np.testing.assert_array_equal(ratings.to_scipy().toarray(), np.nan_to_num(dense))
    assert ratings.to_scipy().nnz == ratings.nnz == np.isfinite(dense).sum()
    assert ratings.user_ids is ratings.item_ids is ratings.input_order is None
    check_same(Ratings.from_matrix(ratings.to_scipy()), ratings)
    check_same(Ratings.from_matrix(np.ma.masked_invalid(dense)), ratings)
    check_same(Ratings.from_matrix(dense.tolist()), ratings)
    check_same(Ratings.from_matrix(np.asfortranarray(dense)), ratings)


@given(dense_matrices(), st.sampled_from(FORMATS), st.booleans(), st.booleans())
def test_sparse_matrices_of_any_format_round_trip(dense, form, as_array, wide):
    rows, columns = np.nonzero(np.isfinite(dense))
    kind = sparse.coo_array if as_array else sparse.coo_matrix
    matrix = kind((dense[rows, columns], (rows, columns)), shape=dense.shape)
    if form in ("csr", "csc", "coo"):
        matrix = matrix.asformat(form)
        if wide:
            for name in {"csr": ("indices", "indptr"), "csc": ("indices", "indptr")}.get(form, ()):
                setattr(matrix, name, getattr(matrix, name).astype(np.int64))
        ratings = Ratings.from_matrix(matrix)
        np.testing.assert_array_equal(observed(ratings), dense)
    else:  # these two forget zeros themselves
        matrix = matrix.asformat(form)
        if matrix.nnz == 0:
            return
        ratings = Ratings.from_matrix(matrix)
        np.testing.assert_array_equal(ratings.to_scipy().toarray(), np.nan_to_num(dense))
    check_consistency(ratings)


@given(dense_matrices(zeros=False), st.sampled_from(["bsr", "dia"]))
def test_zeros_that_pad_are_not_ratings(dense, form):
    matrix = sparse.csr_array(np.nan_to_num(dense)).asformat(form)
    ratings = Ratings.from_matrix(matrix)
    np.testing.assert_array_equal(observed(ratings), dense)


def test_a_canonical_csr_matrix_is_used_without_a_copy():
    matrix = sparse.csr_array(np.maximum(np.random.default_rng(0).normal(size=(30, 20)), 0.0))
    ratings = Ratings.from_matrix(matrix)
    assert np.shares_memory(ratings.items, matrix.indices)
    assert np.shares_memory(ratings.csr(np.float64).indices, matrix.indices)
    assert np.shares_memory(ratings.csr(np.float64).values, matrix.data)
    assert np.shares_memory(ratings.csr(np.float32).indices, matrix.indices)
    assert np.shares_memory(ratings.to_scipy().indices, matrix.indices)
    matrix.data[0] = matrix.data[0]  # still the caller's to write
    with pytest.raises(ValueError, match="read-only"):
        ratings.values[0] = 1.0


def test_a_csr_matrix_with_unsorted_indices_is_sorted_and_left_alone():
    matrix = sparse.csr_array(([1.0, 2.0, 3.0], [2, 0, 1], [0, 2, 3]), shape=(2, 3))
    ratings = Ratings.from_matrix(matrix)
    assert ratings.items.tolist() == [0, 2, 1]
    assert ratings.values.tolist() == [2.0, 1.0, 3.0]
    assert matrix.indices.tolist() == [2, 0, 1]
    check_consistency(ratings)


def test_spare_room_behind_the_entries_of_a_csr_matrix_is_ignored():
    matrix = sparse.csr_array(
        (np.array([1.0, 2.0, 9.0]), np.array([0, 1, 7]), np.array([0, 1, 2])), shape=(2, 2)
    )
    assert Ratings.from_matrix(matrix).values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.float16, np.float32),
        (np.longdouble, np.float64),
        (np.int8, np.float32),
        (np.int64, np.float32),
        (np.bool_, np.float32),
        (np.uint32, np.float32),
    ],
)
def test_values_keep_their_precision(data, kept):
    matrix = sparse.csr_array(np.array([[1, 0], [0, 1]], dtype=np.int8))
    ratings = Ratings.from_matrix(sparse.csr_array((matrix.data.astype(data), *_pattern(matrix))))
    assert ratings.values.dtype == kept
    assert ratings.values.tolist() == [1.0, 1.0]


def _pattern(matrix):
    return matrix.indices, matrix.indptr


def test_integers_too_large_for_float32_stay_exact():
    ratings = Ratings.from_triplets([0, 1], [0, 0], [1, 2**24 + 1])
    assert ratings.values.tolist() == [1, 2**24 + 1]
    assert ratings.values.dtype == np.float64


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csr_matrix])
def test_weights_and_timestamps_of_a_matrix(form, kind):
    dense = np.array([[0.0, 2.0, 0.0], [3.0, 0.0, 4.0]])
    weights = np.array([[0.0, 0.5, 0.0], [1.0, 0.0, 2.0]])
    matrix = kind(dense).asformat(form)
    as_matrix = Ratings.from_matrix(matrix, weights=kind(weights), timestamps=10 * weights)
    in_order = Ratings.from_matrix(
        matrix,
        weights=kind(weights).asformat(form).data,
        timestamps=10 * kind(weights).asformat(form).data,
    )
    for ratings in (as_matrix, in_order, Ratings.from_matrix(matrix, weights=weights)):
        check_consistency(ratings)
        assert ratings.weights.tolist() == [0.5, 1.0, 2.0]
    check_same(as_matrix, in_order)
    assert as_matrix.timestamps.tolist() == [5.0, 10.0, 20.0]


def test_weights_of_a_dense_matrix():
    dense = np.array([[np.nan, 2.0], [3.0, 4.0]])
    by_cell = Ratings.from_matrix(dense, weights=np.array([[np.nan, 1.0], [2.0, 3.0]]))
    in_order = Ratings.from_matrix(dense, weights=[1, 2, 3])
    check_same(by_cell, in_order)


def test_weights_with_other_cells_are_refused():
    X = sparse.csr_array(np.array([[1.0, 2.0], [0.0, 3.0]]))
    surplus = sparse.csr_array(np.ones((2, 2)))
    lacking = sparse.csr_array(np.array([[1.0, 0.0], [0.0, 3.0]]))
    twice = sparse.coo_array(([1.0, 1.0, 1.0, 1.0], ([0, 0, 1, 1], [0, 1, 1, 1])), shape=(2, 2))
    for weights, text in (
        (surplus, "weights has an entry at (1, 0), where the matrix has none"),
        (lacking, "weights has no entry at (0, 1), where the matrix has one"),
        (twice, "weights names a cell twice"),
        (surplus[:, :1], "weights has shape (2, 1), but the matrix (2, 2)"),
        (np.ones((3, 2)), "weights has shape (3, 2), but the matrix (2, 2)"),
        (np.ones(4), "weights has shape (4,): expected one element for each of the 3 stored"),
    ):
        with pytest.raises(ValueError, match=re.escape(text)):
            Ratings.from_matrix(X, weights=weights)
    with pytest.raises(ValueError, match="LIL matrix have no order"):
        Ratings.from_matrix(X.tolil(), weights=[1, 2, 3])


def test_ids_of_a_matrix():
    X = np.array([[1.0, np.nan], [np.nan, 2.0]])
    ratings = Ratings.from_matrix(X, user_ids=["u", "v"], item_ids=IdMap([7, 5]))
    users, items, values = ratings.to_triplets()
    assert (users.tolist(), items.tolist(), values.tolist()) == (["u", "v"], [7, 5], [1.0, 2.0])
    with pytest.raises(ValueError, match="user_ids has 3 ids, but the matrix has 2 users"):
        Ratings.from_matrix(X, user_ids=[1, 2, 3])
    with pytest.raises(ValueError, match="item_ids must be unique: 'a' stands for both"):
        Ratings.from_matrix(X, item_ids=["a", "a"])


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (np.array([[1.0, np.inf]]), ValueError, "the entry at row 0, column 1 is inf (1 of 2"),
        (sparse.csr_array(np.array([[0, 1], [np.nan, 0]])), ValueError, "row 1, column 0 is nan"),
        (sparse.csc_array(np.array([[0, 1], [np.nan, 0]])), ValueError, "row 1, column 0 is nan"),
        (np.ma.masked_array([[1.0, np.nan]], [[True, False]]), ValueError, "column 1 is nan"),
        (np.full((2, 3), np.nan), ValueError, "matrix of shape (2, 3) has no observed entry"),
        (sparse.csr_array((4, 2)), ValueError, "matrix of shape (4, 2) has no observed entry"),
        (np.empty((0, 3)), ValueError, "matrix of shape (0, 3) has no observed entry"),
        (np.ones(5), ValueError, "given 1-D, shape (5,)"),
        (np.ones((2, 2, 2)), ValueError, "given 3-D"),
        ([1, 2, 3], ValueError, "given 1-D"),
        (sparse.coo_array(np.ones(3)), ValueError, "users × items; given shape (3,)"),
        (np.array([[1j]]), TypeError, "real numbers; given dtype complex128"),
        (sparse.csr_array(np.array([[1j]])), TypeError, "real numbers; given dtype complex128"),
        (np.array([["5"]]), TypeError, "convert strings to numbers first"),
        (np.array([[1, {}]], dtype=object), TypeError, "entry 1 is {}"),
    ],
)
def test_matrices_that_are_none_are_refused(X, error, text):
    with pytest.raises(error, match=re.escape(text)):
        Ratings.from_matrix(X)


def test_damaged_sparse_matrices_are_refused():
    def matrix():
        return sparse.csr_array(np.array([[1.0, 2.0], [0.0, 3.0]]))

    for at in (2, -1):
        X = matrix()
        X.indices[1] = at
        with pytest.raises(ValueError, match=f"X.indices: entry 1 is {at}, outside 0 to 1"):
            Ratings.from_matrix(X)
    for indptr in ([1, 2, 3], [0, 3, 2], [0, 2, 9]):
        X = matrix()
        X.indptr = np.array(indptr, dtype=np.int32)
        with pytest.raises(ValueError, match="indptr does not rise"):
            Ratings.from_matrix(X)
    X = matrix().tocoo()
    X.row[0] = 5
    with pytest.raises(ValueError, match="stored rows: entry 0 is 5"):
        Ratings.from_matrix(X)


def test_a_table_is_no_matrix():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(TypeError, match=r"DataFrame.*from_table.*to_numpy"):
        Ratings.from_matrix(pandas.DataFrame({"a": [1.0]}))


def test_cells_stored_twice():
    X = sparse.coo_array(([1.0, 2.0, 5.0], ([0, 1, 0], [1, 0, 1])), shape=(2, 2))
    with pytest.raises(ValueError, match="entries 0 and 2 both rate user 0, item 1"):
        Ratings.from_matrix(X)
    assert Ratings.from_matrix(X, duplicates="sum").values.tolist() == [6.0, 2.0]
    doubled = sparse.csr_array(([1.0, 2.0], [1, 1], [0, 2, 2]), shape=(2, 2))
    with pytest.raises(ValueError, match="entries 0 and 1 both rate user 0, item 1"):
        Ratings.from_matrix(doubled)
    assert Ratings.from_matrix(doubled, duplicates="last").values.tolist() == [2.0]


# ------------------------------------------------------------------ triplets


@given(triplets(), st.randoms(use_true_random=False))
def test_the_order_of_triplets_does_not_matter(data, random):
    users, items, values, shape = data
    order = list(range(len(users)))
    random.shuffle(order)
    extras = {"weights": values + 4.0, "timestamps": values * 10}
    ratings = Ratings.from_triplets(users, items, values, shape=shape, **extras)
    shuffled = Ratings.from_triplets(
        users[order],
        items[order],
        values[order],
        shape=shape,
        **{name: column[order] for name, column in extras.items()},
    )
    check_consistency(ratings)
    check_same(ratings, shuffled)
    direct = sparse.csr_array((values, (users, items)), shape=shape)
    np.testing.assert_array_equal(ratings.to_scipy().toarray(), direct.toarray())
    for made, given_order in ((ratings, np.arange(len(users))), (shuffled, np.array(order))):
        place = made.input_order if made.input_order is not None else np.arange(made.nnz)
        np.testing.assert_array_equal(users[given_order][place], made.users)
        np.testing.assert_array_equal(values[given_order][place], made.values)
        np.testing.assert_array_equal(values[given_order][place] * 10, made.timestamps)


@given(triplets(), st.booleans())
def test_ids_come_back(data, as_text):
    users, items, values, _ = data
    user_names = np.array([f"u{k}" for k in users]) if as_text else users * 10**12 - 5
    ratings = Ratings.from_triplets(user_names, items + 3, values)
    check_consistency(ratings)
    given_rows = sorted(zip(user_names.tolist(), (items + 3).tolist(), values, strict=True))
    assert list(zip(*(column.tolist() for column in ratings.to_triplets()), strict=True)) == (
        given_rows
    )
    assert ratings.shape == (len(set(users)), len(set(items)))


@given(triplets(duplicates=True), st.sampled_from(["first", "last", "mean", "sum"]), st.booleans())
def test_duplicates_are_joined_as_asked(data, how, weighted):
    users, items, values, shape = data
    weights = np.arange(len(users)) % 3 if weighted else np.ones(len(users))
    if not weights.any():
        weights = weights + 1
    times = np.arange(len(users))[::-1]
    cells: dict[tuple[int, int], list[int]] = {}
    for k, cell in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        cells.setdefault(cell, []).append(k)
    ratings = Ratings.from_triplets(
        users,
        items,
        values,
        weights=weights if weighted else None,
        timestamps=times,
        shape=shape,
        duplicates=how,
    )
    check_consistency(ratings)
    order = ratings.input_order if ratings.input_order is not None else np.arange(ratings.nnz)
    found = zip(ratings.users.tolist(), ratings.items.tolist(), strict=True)
    assert list(found) == sorted(cells)
    for entry, cell in enumerate(sorted(cells)):
        of = cells[cell]
        c = weights[of]
        if how in ("first", "last"):
            kept = of[0] if how == "first" else of[-1]
            expected = (values[kept], weights[kept], times[kept], kept)
        else:
            mean = np.average(values[of], weights=c if c.any() else None)
            value = mean if how == "mean" else values[of].sum()
            expected = (value, c.mean(), times[of].max(), of[0])
        got_weight = ratings.weights[entry] if weighted else 1.0
        got = (ratings.values[entry], got_weight, ratings.timestamps[entry], order[entry])
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_single_rating_is_not_changed_by_joining_others():
    third = 1 / 3
    for how in ("mean", "sum"):
        ratings = Ratings.from_triplets(
            [0, 0, 1], [0, 0, 0], [1, 2, third], weights=[1, 1, 0.1], duplicates=how
        )
        assert ratings.values[1] == third


def test_duplicates_are_named_and_counted():
    with pytest.raises(ValueError, match=re.escape(
        "entries 1 and 3 both rate user 'a', item 'x' (duplicates in all: 2): "
        "say what to do with them by duplicates='last'"
    )):  # fmt: skip
        Ratings.from_triplets(list("babab"), list("xxyxx"), range(5))
    with pytest.raises(ValueError, match=r"duplicates must be one of 'raise', .*; given 'max'"):
        Ratings.from_triplets([1], [1], [1], duplicates="max")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (([], [], []), ValueError, "there are no ratings"),
        (([1, 2], [1], [1, 1]), ValueError, "users has 2, items has 1, values has 2"),
        (([1], [1], [1, 2]), ValueError, "users has 1, items has 1, values has 2"),
        (([1, 2], ["x", "y"], [1, np.nan]), ValueError, "entry 1 (user 2, item 'y') is nan (1 of"),
        (([1, 2], [3, 3], [-np.inf, np.inf]), ValueError, "entry 0 (user 1, item 3) is -inf (2 of"),
        (([1], [1], [1j]), TypeError, "values must be real numbers; given dtype complex128"),
        (([1], [1], ["5"]), TypeError, "convert strings to numbers first"),
        (([1], [1], [None]), ValueError, "entry 0 (user 1, item 1) is nan"),
        (([1], [1], [{}]), TypeError, "values must be numbers; entry 0 is {}"),
        (([1], [1], [[1]]), ValueError, "values must be 1-D, one per rating; given shape (1, 1)"),
        (([1], [1], np.ma.masked_array([1.0], [True])), ValueError, "values: entry 0 is masked"),
        (([None], [1], [1]), ValueError, "users: entry 0 is missing"),
    ],
)
def test_triplets_that_are_none_are_refused(arguments, error, text):
    with pytest.raises(error, match=re.escape(text)):
        Ratings.from_triplets(*arguments)


@pytest.mark.parametrize(
    ("weights", "error", "text"),
    [
        ([1, -0.5], ValueError, "entry 1 (user 2, item 'y') has weight -0.5"),
        ([1, np.nan], ValueError, "weights must be finite, but entry 1 (user 2, item 'y') is nan"),
        ([0, 0], ValueError, "all weights are 0"),
        ([1], ValueError, "users has 2, items has 2, values has 2, weights has 1"),
        (["a", "b"], TypeError, "weights must be real numbers"),
    ],
)
def test_weights_that_are_none_are_refused(weights, error, text):
    with pytest.raises(error, match=re.escape(text)):
        Ratings.from_triplets([1, 2], ["x", "y"], [1, 2], weights=weights)


@pytest.mark.parametrize(
    ("timestamps", "error", "text"),
    [
        ([1, np.nan], ValueError, "timestamps must be finite, but entry 1"),
        (np.array(["2020-01-01", "NaT"], "M8[s]"), ValueError, "entry 1 (user 2, item 'y')"),
        ([1, 2, 3], ValueError, "timestamps has 3"),
        ([True, False], TypeError, "given dtype bool"),
        (["a", "b"], TypeError, "must be numbers or datetimes; given dtype <U1"),
        ([[1], [2]], ValueError, "timestamps must be 1-D"),
        ([{}, {}], TypeError, "entry 0 is {}"),
    ],
)
def test_timestamps_that_are_none_are_refused(timestamps, error, text):
    with pytest.raises(error, match=re.escape(text)):
        Ratings.from_triplets([1, 2], ["x", "y"], [1, 2], timestamps=timestamps)


def test_timestamps_keep_their_kind():
    import datetime

    for times, dtype in (
        (np.array([2, 1], np.uint8), np.int64),
        ([0.5, 1.5], np.float64),
        (np.array(["2020-01-02", "2020-01-01"], "M8[D]"), "M8[D]"),
        ([datetime.datetime(2020, 1, 1), datetime.datetime(2021, 1, 1)], "M8[us]"),
        ([datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)], "M8[us]"),
    ):
        assert Ratings.from_triplets([1, 2], [1, 2], [1, 2], timestamps=times).timestamps.dtype == (
            np.dtype(dtype)
        )


def test_moments_with_a_time_zone_are_put_in_utc():
    import datetime

    zone = datetime.timezone(datetime.timedelta(hours=2))
    times = [datetime.datetime(2020, 1, 1, 1, tzinfo=zone), datetime.datetime(2020, 1, 1)]
    ratings = Ratings.from_triplets([1, 2], [1, 2], [1, 2], timestamps=times)
    expected = np.array(["2019-12-31T23", "2020-01-01T00"], "M8[us]")
    np.testing.assert_array_equal(ratings.timestamps, expected)


def test_row_numbers_must_fit_the_shape():
    ratings = Ratings.from_triplets([0, 4], [1, 0], [1, 2], shape=(6, 2))
    assert ratings.shape == (6, 2)
    assert ratings.user_ids is ratings.item_ids is None
    for users, items, text in (
        ([0, -1], [0, 1], "users: entry 1 is -1, which is negative"),
        ([0, 1], [0, 2], "items: entry 1 is 2, which is too large for 2 items"),
        ([7, 1], [0, 2], "users: entry 0 is 7, which is too large for 6 users"),
    ):
        with pytest.raises(ValueError, match=text):
            Ratings.from_triplets(users, items, [1, 2], shape=(6, 2))
    with pytest.raises(TypeError, match="users must be row numbers because shape is given"):
        Ratings.from_triplets(["a"], [0], [1], shape=(6, 2))
    for shape in ((6,), (6, 2, 1), (0, 2), (6, -2), 6, (2.5, 2), "ab"):
        with pytest.raises(ValueError, match="shape must be"):
            Ratings.from_triplets([0], [0], [1], shape=shape)


def test_columns_may_be_iterators_and_strided():
    ratings = Ratings.from_triplets(map(str, range(3)), iter(range(3)), (k / 2 for k in range(3)))
    assert ratings.values.tolist() == [0.0, 0.5, 1.0]
    block = np.arange(12, dtype=np.float32).reshape(3, 4)
    columns = dict.fromkeys(("weights", "timestamps"), block[:, 3])
    strided = Ratings.from_triplets(block[:, 0], block[:, 1], block[:, 2], **columns)
    check_consistency(strided)
    assert strided.timestamps.flags.c_contiguous
    for arguments in ((1, [1], [1]), ([1], [1], 2.0), ([1], np.array(3), [1])):
        with pytest.raises(TypeError, match="must be a sequence, one entry per rating"):
            Ratings.from_triplets(*arguments)


def test_indices_are_wide_where_they_must_be():
    ratings = Ratings.from_triplets([0, 1], [2**31, 5], [1.0, 2.0], shape=(2, 2**31 + 1))
    assert ratings.csr().indices.tolist() == [2**31, 5]
    assert ratings.csr().indices.dtype == np.int64
    narrow = Ratings.from_triplets([0, 1], [2**31 - 2, 5], [1.0, 2.0], shape=(2, 2**31 - 1))
    assert narrow.csr().indices.dtype == np.int32


def test_booleans_are_ratings_of_zero_and_one():
    assert Ratings.from_triplets([1, 2], [1, 1], [True, False]).values.tolist() == [1.0, 0.0]


# ------------------------------------------------------------------ what it holds


def small(**extras):
    return Ratings.from_triplets(list("bab"), [30, 10, 10], [4.0, 0.0, 2.5], **extras)


def test_it_says_what_it_holds():
    assert (
        repr(small()) == "<Ratings: 2 users × 2 items, 3 ratings from 0 to 4 (75 % of the cells)>"
    )
    assert repr(small(weights=[1, 2, 3], timestamps=[1, 2, 3])).endswith(
        "cells), with weights and timestamps>"
    )
    assert "1 user × 1 item, 1 rating from" in repr(Ratings.from_triplets([1], [1], [1]))


def test_it_cannot_be_made_or_changed_by_hand():
    with pytest.raises(TypeError, match="Ratings are made by"):
        Ratings(np.ones((2, 2)))
    ratings = small(weights=[1, 2, 3], timestamps=[1, 2, 3])
    for name in ("values", "weights", "timestamps", "users", "items", "input_order"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(ratings, name)[0] = 1
        with pytest.raises(AttributeError):
            setattr(ratings, name, None)


@given(triplets())
def test_it_can_be_pickled_and_copied(data):
    users, items, values, _ = data
    ratings = Ratings.from_triplets(users, items, values, timestamps=values, weights=values + 4)
    ratings.csc(np.float32)
    for twin in (pickle.loads(pickle.dumps(ratings)), copy.deepcopy(ratings)):
        check_same(ratings, twin)
        check_consistency(twin)
        np.testing.assert_array_equal(ratings.input_order, twin.input_order)
        assert not twin.values.flags.writeable


def test_views_come_in_two_dtypes():
    ratings = Ratings.from_triplets([1, 2], [1, 2], [1e300, 1.0])
    assert ratings.csr("float64").values.max() == 1e300
    for view in (ratings.csr, ratings.csc):
        with pytest.raises(ValueError, match="ratings up to 1e\\+300 do not fit in float32"):
            view(np.float32)
        with pytest.raises(ValueError, match="dtype must be float32 or float64; given int64"):
            view(np.int64)
    heavy = Ratings.from_triplets([1, 2], [1, 2], [1.0, 1.0], weights=[1.0, 1e300])
    with pytest.raises(ValueError, match="weights up to"):
        heavy.csr(np.float32)


@given(triplets(), st.data())
def test_subsets_partition_exactly(data, draw):
    users, items, values, shape = data
    ratings = Ratings.from_triplets(
        users, items, values, weights=values + 4, timestamps=values, shape=shape
    )
    mask = np.array(draw.draw(st.lists(st.booleans(), min_size=len(users), max_size=len(users))))
    if mask.all() or not mask.any():
        with pytest.raises(ValueError, match="the selection holds no rating"):
            ratings.subset(mask if not mask.any() else ~mask)
        check_same(ratings.subset(mask | True), ratings)
        return
    parts = [ratings.subset(mask), ratings.subset(np.flatnonzero(~mask)[::-1])]
    for part in parts:
        check_consistency(part)
        assert part.shape == shape
        np.testing.assert_array_equal(users[part.input_order], part.users)
        np.testing.assert_array_equal(values[part.input_order], part.values)
        np.testing.assert_array_equal(part.weights, part.values + 4)
        np.testing.assert_array_equal(part.timestamps, part.values)
    assert sum(part.nnz for part in parts) == ratings.nnz
    total = np.nansum([np.nan_to_num(observed(part), nan=0) for part in parts], axis=0)
    np.testing.assert_array_equal(total, np.nan_to_num(observed(ratings), nan=0))


def test_a_subset_of_a_subset_still_knows_the_input():
    ratings = small()
    first = ratings.subset([1, 2])
    assert first.input_order.tolist() == [2, 0]
    assert first.subset([1]).input_order.tolist() == [0]
    assert first.subset([1]).user_ids is ratings.user_ids


@pytest.mark.parametrize(
    ("selection", "error", "text"),
    [
        ([True, False], ValueError, "the mask has 2 elements, but there are 3 ratings"),
        ([0, 0], ValueError, "names a position more than once"),
        ([0, 3], ValueError, "names position 3, outside 0 to 2"),
        ([-1], ValueError, "names position -1, outside 0 to 2"),
        ([], ValueError, "holds no rating"),
        ([0.5], TypeError, "a mask or positions; given dtype float64"),
        ([[0]], ValueError, "must be 1-D"),
    ],
)
def test_selections_that_select_nothing_sensible(selection, error, text):
    with pytest.raises(error, match=text):
        small().subset(selection)


# ------------------------------------------------------------------ alignment


def test_ids_lead_to_the_rows_of_others():
    train = small(weights=[1, 2, 3])
    test = Ratings.from_triplets(["c", "b"], [10, 99], [1.0, 2.0], weights=[5, 6])
    users, items, values, weights = test.align_to(train.user_ids, train.item_ids, train.shape)
    assert users.tolist() == [1, -1]
    assert items.tolist() == [-1, 0]
    assert users.dtype == items.dtype == np.int64
    assert values.tolist() == [2.0, 1.0]
    assert weights.tolist() == [6, 5]
    own = train.align_to(train.user_ids, train.item_ids, train.shape)
    assert own[0].tolist() == train.users.tolist()
    assert own[1].tolist() == train.items.tolist()


def test_integer_ids_are_the_row_numbers_of_a_matrix():
    test = Ratings.from_triplets([1, 7, -2], [0, 1, 0], [1, 2, 3])
    users, items, values, _ = test.align_to(None, None, (3, 2))
    assert dict(zip(values.tolist(), zip(users, items, strict=True), strict=True)) == {
        1.0: (1, 0),
        2.0: (-1, 1),
        3.0: (-1, 0),
    }


def test_ratings_that_cannot_be_aligned_say_why():
    matrix = Ratings.from_matrix(np.ones((2, 3)))
    assert matrix.align_to(None, None, (2, 3))[1].tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(ValueError, match=re.escape(
        "these ratings have shape (2, 3), but the model was trained on (3, 2), users × items: "
        "they look transposed"
    )):  # fmt: skip
        matrix.align_to(None, None, (3, 2))
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(2, 4\).*the shapes must agree"):
        matrix.align_to(None, None, (2, 4))
    with pytest.raises(ValueError, match="trained with user ids, but these ratings have none"):
        matrix.align_to(IdMap([1, 2]), None, (2, 3))
    with pytest.raises(TypeError, match=r"without user ids.*strings, such as 'a'"):
        small().align_to(None, None, (2, 2))
    with pytest.raises(TypeError, match="convert them to integers"):
        small().align_to(IdMap([1, 2]), IdMap([10]), (2, 1))


# ------------------------------------------------------------------ whatever a model accepts


def test_ratings_of_whatever_a_model_accepts():
    pandas = pytest.importorskip("pandas")
    ratings = small()
    assert as_ratings(ratings) is ratings
    dense = np.array([[1.0, np.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(observed(as_ratings(dense)), dense)
    assert as_ratings(sparse.csr_array(np.eye(2))).nnz == 2
    assert as_ratings(np.ma.masked_invalid(dense)).nnz == 3
    assert as_ratings([[1.0, 2.0]]).shape == (1, 2)
    table = pandas.DataFrame({"user": ["a"], "item": [1], "rating": [2.0]})
    assert as_ratings(table).user_ids.ids.tolist() == ["a"]
    with pytest.raises(TypeError, match="got a type; expected Ratings, a SciPy sparse matrix, an"):
        as_ratings(object)
