"""Features: what each kind of column becomes, ids, what is missing or unknown, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from table_libraries import of

import cymf
from cymf._feature_rows import align_features, as_features
from cymf.features import FeatureEncoder

TABLE = {
    "user": ["ann", "bob", "cy", "dan"],
    "age": [30.0, 20.0, None, 40.0],
    "member": [True, False, True, True],
    "town": ["Rome", "Oslo", "Rome", None],
    "tags": ["red|blue", "", "blue", "blue | blue"],
}
NAMES = ("age", "age is missing", "member", "town=Oslo", "town=Rome", "tags=blue", "tags=red")
DEVIATION = np.sqrt(200 / 3)
MATRIX = np.array(
    [
        [0, 0, 1, 0, 1, 1, 1],
        [-10 / DEVIATION, 0, 0, 1, 0, 0, 0],
        [0, 1, 1, 0, 1, 1, 0],
        [10 / DEVIATION, 0, 1, 0, 0, 1, 0],
    ]
)


def encoded(table=TABLE, **options):
    return cymf.Features.from_table(table, **{"multi_valued": {"tags": "|"}, **options})


@pytest.mark.parametrize(
    "made",
    [dict, pd.DataFrame, of("polars", lambda pl: pl.DataFrame), of("pyarrow", lambda pa: pa.table)],
)
def test_every_kind_of_column(made):
    features = encoded(made(TABLE))
    assert features.names == NAMES
    np.testing.assert_allclose(features.matrix.toarray(), MATRIX, atol=1e-15)
    assert features.ids.ids.tolist() == TABLE["user"]
    assert features.encoder.names == NAMES
    assert features.matrix.dtype == np.float64
    assert isinstance(features.matrix, sparse.csr_array)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, None, 2], dtype="Int64"),
        pd.Series([1.0, np.nan, 2.0]),
        of("polars", lambda pl: pl.Series([1, None, 2])),
        of("pyarrow", lambda pa: pa.chunked_array([[1, None, 2]])),
        [1, None, 2],
        np.array([1, np.nan, 2]),
        [1, pd.NA, 2],
    ],
)
def test_missing_numbers_count_as_the_mean_and_are_marked(column):
    features = cymf.Features.from_table({"x": column}, id=None)
    assert features.names == ("x", "x is missing")
    assert features.matrix.toarray().tolist() == [[-1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["b", None, "a"]),
        pd.Series(["b", None, "a"], dtype="category"),
        of("polars", lambda pl: pl.Series(["b", None, "a"])),
        of("polars", lambda pl: pl.Series(["b", None, "a"], dtype=pl.Categorical)),
        of("polars", lambda pl: pl.Series(["b", None, "a"], dtype=pl.Enum(["c", "b", "a"]))),
        of("pyarrow", lambda pa: pa.chunked_array([["b", None, "a"]]).dictionary_encode()),
        ["b", None, "a"],
        ["b", np.nan, "a"],
        np.array(["b", "", "a"]),
        [b"b", None, b"a"],
    ],
)
def test_missing_words_have_no_indicator(column):
    features = cymf.Features.from_table({"x": column}, id=None)
    assert features.names == ("x=a", "x=b")
    assert features.matrix.toarray().tolist() == [[0, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([["b", "a"], [], None]),
        of("polars", lambda pl: pl.Series([["b", "a"], [], None])),
        of("pyarrow", lambda pa: pa.chunked_array([[["b", "a"], [], None]])),
        [["b", "a", "b"], (), None],
        [np.array(["b", "a"]), {"", None}, None],
    ],
)
def test_lists_are_found_by_their_type(column):
    features = cymf.Features.from_table({"x": column}, id=None)
    assert features.names == ("x=a", "x=b")
    assert features.matrix.toarray().tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    "column", [[True, None, False], pd.Series([True, pd.NA, False], dtype="boolean")]
)
def test_missing_flags_count_as_the_share(column):
    features = cymf.Features.from_table({"x": column}, id=None)
    assert features.matrix.toarray().tolist() == [[1, 0], [0.5, 1], [0, 0]]


def test_numbers_may_be_codes():
    features = cymf.Features.from_table({"x": [10, 9, 10]}, id=None, categorical=["x"])
    assert features.names == ("x=9", "x=10")  # by size
    again = features.encoder.transform({"x": [10.0, 11]})
    assert again.matrix.toarray().tolist() == [[0, 1], [0, 0]]


def test_words_may_be_numbers():
    features = cymf.Features.from_table({"x": ["1", "", " 3 "]}, id=None, numeric=["x"])
    assert features.matrix.toarray().tolist() == [[-1, 0], [0, 1], [1, 0]]


def test_a_constant_number_is_zero():
    features = cymf.Features.from_table({"x": [0.1] * 3, "y": [1, 2, 3]}, id=None)
    assert not features.matrix.toarray()[:, 0].any()


def test_another_table_is_encoded_alike():
    encoder = encoded().encoder
    other = encoder.transform(
        {"tags": ["green|red"], "town": ["Paris"], "member": [None], "age": [np.nan]}
    )
    assert other.names == NAMES
    assert other.ids is None
    np.testing.assert_allclose(other.matrix.toarray(), [[0, 1, 0.75, 0, 0, 0, 1]])
    one = encoder.transform({"user": "eve", "age": 20, "member": True, "town": "Oslo", "tags": ""})
    assert one.ids.ids.tolist() == ["eve"]
    np.testing.assert_allclose(one.matrix.toarray(), [[-10 / DEVIATION, 0, 1, 1, 0, 0, 0]])


def test_the_encoding_survives_text_and_pickle():
    features = encoded()
    for encoder in (
        FeatureEncoder.from_json(features.encoder.to_json()),
        pickle.loads(pickle.dumps(features)).encoder,
    ):
        again = encoder.transform(TABLE)
        assert (again.matrix != features.matrix).nnz == 0
        assert again.ids.ids.tolist() == features.ids.ids.tolist()


@given(
    st.lists(
        st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-(2**40), 2**40)),
        min_size=1,
        max_size=20,
    ),
    st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=1, max_size=20),
)
def test_any_values_give_finite_features_of_their_own_names(numbers, words):
    n = min(len(numbers), len(words))
    features = cymf.Features.from_table({"n": numbers[:n], "w": words[:n], "one": [1] * n}, id=None)
    dense = features.matrix.toarray()
    assert dense.shape == (n, len(features.names))
    assert np.isfinite(dense).all()
    assert len(set(features.names)) == len(features.names)
    for row, word in enumerate(words[:n]):
        own = [
            name
            for name, x in zip(features.names, dense[row], strict=True)
            if x and name[:2] == "w="
        ]
        assert own == ([f"w={word}"] if word else [])
    given = [x for x in numbers[:n] if x is not None]
    if given and np.std(given) > 1e-6 * max(map(abs, given)):
        place = features.names.index("n")
        present = [row for row in range(n) if numbers[row] is not None]
        assert abs(dense[present, place].mean()) < 1e-6
        assert dense[present, place].std() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("table", "options", "error", "message"),
    [
        ({"age": [1, 2]}, {}, ValueError, "no column 'user': its columns are 'age'"),
        ({"user": [1, 1], "age": [1, 2]}, {}, ValueError, "1 stands for both row 0 and row 1"),
        ({"user": ["a", None], "age": [1, 2]}, {}, ValueError, "entry 1 is missing"),
        ({"user": ["a", "b"]}, {}, ValueError, "no feature"),
        ({"user": ["a", "b"], "x": [1.0, np.inf]}, {}, ValueError, "holds inf at id 'b'"),
        ({"user": [1, 2], "x": ["1", "z"]}, {"numeric": ["x"]}, ValueError, "holds 'z' at id 2"),
        ({"user": [1, 2], "x": [1, "z"]}, {}, TypeError, "column 'x' holds int and str"),
        ({"user": [1, 2], "x": [1, 2, 3]}, {}, ValueError, "differ in length: 'user' 2, 'x' 3"),
        ({"user": [1], "x": [1]}, {"numeric": ["y"]}, ValueError, "numeric names the column 'y'"),
        ({"user": [1], "x": [1]}, {"numeric": "x"}, TypeError, "expected a list of columns"),
        (
            {"user": [1], "x": [1]},
            {"numeric": ["x"], "categorical": ["x"]},
            ValueError,
            "named in categorical and in numeric",
        ),
        (
            {"user": [1], "x": [1]},
            {"categorical": ["user"]},
            ValueError,
            "named in id and in categorical",
        ),
        (
            {"user": [1], "x": ["a|b"]},
            {"multi_valued": ["x"]},
            TypeError,
            "multi_valued={'x': '|'}",
        ),
        (
            {"user": [1], "x": [["a"]]},
            {"numeric": ["x"]},
            TypeError,
            "holds lists; expected numbers",
        ),
        ({"user": [1], "x": [["a"]]}, {"categorical": ["x"]}, TypeError, "expected a single word"),
        ("users.csv", {}, TypeError, "expected cymf.Features, a pandas"),
        (
            pd.DataFrame({"user": [1], "x": pd.to_datetime(["2020-01-01"])}),
            {},
            TypeError,
            "dates to years",
        ),
    ],
)
def test_tables_that_are_refused(table, options, error, message):
    with pytest.raises(error, match=None) as caught:
        cymf.Features.from_table(table, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"age": [1], "member": [True], "town": ["x"]}, ValueError, "lacks 'tags'"),
        (TABLE | {"title": ["x"] * 4}, ValueError, "has the unseen 'title'; expected the columns"),
        (TABLE | {"age": [["x"]] * 4}, TypeError, "holds lists; expected numbers"),
        (TABLE | {"town": [["x"]] * 4}, TypeError, "expected a single word an entry"),
    ],
)
def test_other_tables_that_are_refused(table, error, message):
    with pytest.raises(error) as caught:
        encoded().encoder.transform(table)
    assert message in str(caught.value)


def test_matrices():
    dense = np.array([[1.0, 0], [0, 2]], np.float32)
    for matrix in (
        dense,
        sparse.coo_matrix(dense),
        sparse.csc_array(dense),
        dense.tolist(),
        dense > 0,
    ):
        features = cymf.Features(matrix, ids=[5, 3])
        assert (
            features.matrix.toarray().tolist()
            == np.asarray(matrix if not sparse.issparse(matrix) else dense).tolist()
        )
        assert features.names == ("0", "1")
        assert features.encoder is None
        assert features.shape == (2, 2)
        assert len(features) == 2
        assert repr(features) == "<Features: 2 rows × 2 features, with ids>"
        with pytest.raises(ValueError, match="read-only"):
            features.matrix.data[0] = 7


@pytest.mark.parametrize(
    ("matrix", "options", "error", "message"),
    [
        ([1, 2], {}, ValueError, "shape (2,); expected two dimensions"),
        (np.zeros((2, 0)), {}, ValueError, "expected one column or more"),
        ([["a"]], {}, TypeError, "from_table"),
        ([[1], [np.nan]], {}, ValueError, "features of row 1 hold NaN"),
        ([[1j]], {}, TypeError, "complex128"),
        ([[1], [2]], {"ids": [1]}, ValueError, "holds 1 ids; expected 2"),
        ([[1], [2]], {"ids": [1, 1]}, ValueError, "unique"),
        ([[1, 2]], {"names": ["a", "a"]}, ValueError, "expected 2, a name of its own"),
    ],
)
def test_matrices_that_are_refused(matrix, options, error, message):
    with pytest.raises(error) as caught:
        cymf.Features(matrix, **options)
    assert message in str(caught.value)


def test_what_fit_takes_finds_its_ids():
    for table in ({"x": [1, 2], "userId": [7, 8]}, {"who": [7, 8], "x": [1, 2]}):
        assert as_features(table, "user").ids.ids.tolist() == [7, 8]
    assert as_features({"movie_id": [7], "x": [1]}, "item").ids.ids.tolist() == [7]
    assert as_features(np.eye(2), "item").ids is None


def rated(users, items, **options):
    return cymf.Ratings.from_triplets(users, items, np.arange(1.0, len(users) + 1), **options)


def test_rows_are_found_by_id_and_new_ids_become_rows():
    ratings = rated(["ann", "cy", "dan"], [7, 7, 9])
    users = cymf.Features([[1.0], [2], [3], [4]], ids=["eve", "dan", "ann", "bob"])
    items = cymf.Features([[0.0, 1], [1, 0]], ids=[9, 10])
    wide, sides = align_features(ratings, users, items)
    assert wide.user_ids.ids.tolist() == ["ann", "cy", "dan", "eve", "bob"]
    assert wide.item_ids.ids.tolist() == [7, 9, 10]
    assert wide.shape == (5, 3)
    assert wide.user_counts.tolist() == [1, 1, 1, 0, 0]
    assert wide.item_counts.tolist() == [2, 1, 0]
    np.testing.assert_array_equal(wide.values, ratings.values)
    assert sides.user.matrix.toarray().ravel().tolist() == [3, 0, 2, 1, 4]
    assert sides.user.described.tolist() == [True, False, True, True, True]
    assert sides.item.matrix.toarray().tolist() == [[0, 0], [0, 1], [1, 0]]
    assert sides.item.described.tolist() == [False, True, True]


def test_rows_of_a_matrix_are_their_numbers():
    ratings = rated([0, 2], [1, 0], shape=(3, 2))
    wide, sides = align_features(ratings, cymf.Features([[1.0], [2]], ids=[4, 2]), np.eye(2))
    assert wide.shape == (5, 2)
    assert wide.user_ids is None
    assert sides.user.matrix.toarray().ravel().tolist() == [0, 0, 2, 0, 1]
    assert sides.item.described.all()
    same, sides = align_features(ratings, None, np.eye(2))
    assert same is ratings
    assert sides.user is None


@pytest.mark.parametrize(
    ("users", "error", "message"),
    [
        (np.eye(3), ValueError, "has 3 rows without ids, but the ratings have 2 users"),
        (
            cymf.Features(np.eye(2), ids=["x", "y"]),
            ValueError,
            "none of the 2 users of user_features has ratings",
        ),
        (cymf.Features(np.eye(2), ids=[1, 2]), TypeError, "known user ids are strings"),
        (7, TypeError, "user_features is a int"),
    ],
)
def test_features_that_do_not_fit_the_ratings(users, error, message):
    with pytest.raises(error) as caught:
        align_features(rated(["ann", "bob"], [1, 2]), users, None)
    assert message in str(caught.value)


def test_ids_beside_a_matrix_are_row_numbers():
    ratings = rated([0, 2], [1, 0], shape=(3, 2))
    for ids in (["a", "b"], [-1, 0]):
        with pytest.raises(ValueError, match="whose user ids are row numbers"):
            align_features(ratings, cymf.Features(np.eye(2), ids=ids), None)
