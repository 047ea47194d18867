"""Design matrices of ratings: columns, names, groups, histories, features, and encoding of new pairs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import cymf


@pytest.fixture
def ratings():
    users = ["ann", "ann", "bob", "cy", "cy", "cy"]
    items = [10, 30, 10, 10, 20, 30]
    return cymf.Ratings.from_triplets(users, items, [5.0, 1.0, 4.0, 2.0, 3.0, 1.5])


def features(matrix, ids=None, names=None):
    return SimpleNamespace(matrix=sparse.csr_array(np.asarray(matrix, float)), ids=ids, names=names)


def test_one_hot_columns(ratings):
    design = cymf.design_matrix(ratings)
    assert design.names == ["user=ann", "user=bob", "user=cy", "item=10", "item=20", "item=30"]
    assert design.group_names == ["user", "item"]
    assert design.groups.tolist() == [0, 0, 0, 1, 1, 1]
    assert design.shape == (6, 6)
    expected = np.zeros((6, 6))
    expected[np.arange(6), ratings.users] = 1
    expected[np.arange(6), 3 + ratings.items] = 1
    np.testing.assert_array_equal(design.matrix.toarray(), expected)
    np.testing.assert_array_equal(design.target, ratings.values)
    assert design.weights is None


def test_histories_are_the_sets_over_the_root_of_their_size(ratings):
    design = cymf.design_matrix(ratings, history="both")
    full = pd.DataFrame(design.matrix.toarray(), columns=design.names)
    rated = ratings.to_scipy().toarray() != 0
    for row, (u, i) in enumerate(zip(ratings.users, ratings.items, strict=True)):
        of_user = rated[u] / np.sqrt(rated[u].sum())
        of_item = rated[:, i] / np.sqrt(rated[:, i].sum())
        np.testing.assert_allclose(full.loc[row, ["rated=10", "rated=20", "rated=30"]], of_user)
        names = ["rated by=ann", "rated by=bob", "rated by=cy"]
        np.testing.assert_allclose(full.loc[row, names], of_item)
    assert design.group_names == ["user", "rated", "item", "rated by"]
    assert cymf.design_matrix(ratings, history="user").group_names == ["user", "rated", "item"]


def test_features_of_both_sides_follow_their_ids(ratings):
    user_features = features([[1, 0], [0, 1], [1, 1]], ["cy", "ann", "dora"], ["age", "job=x"])
    item_features = features([[7.0], [8.0]], [20, 10], ["year"])
    design = cymf.design_matrix(ratings, user_features=user_features, item_features=item_features)
    full = pd.DataFrame(design.matrix.toarray(), columns=design.names)
    assert full["user:age"].tolist() == [0, 0, 0, 1, 1, 1]
    assert full["user:job=x"].tolist() == [1, 1, 0, 0, 0, 0]
    assert full["item:year"].tolist() == [8, 0, 8, 8, 7, 0]
    assert design.group_names == ["user", "user:age", "user:job", "item", "item:year"]
    assert len(design.groups) == design.shape[1]


def test_features_of_tables(ratings):
    table = pd.DataFrame(
        {
            "user": ["ann", "bob", "cy", "dora"],
            "job": ["x", "y", "x", "y"],
            "age": [20.0, 30, 40, 50],
        }
    )
    design = cymf.design_matrix(ratings, user_features=cymf.Features.from_table(table, "user"))
    assert {"user", "user:job", "user:age", "item"} == set(design.group_names)
    known, new = design.encode(["bob", "dora"], [10, 10]).matrix.toarray()
    job = design.names.index("user:job=y")
    assert known[job] == new[job] == 1
    assert (known[:3].tolist(), new[:3].tolist()) == ([0, 1, 0], [0, 0, 0])


def test_new_pairs_have_the_same_columns(ratings):
    user_features = features([[1, 0], [0, 1], [1, 1]], ["cy", "ann", "dora"], ["age", "job=x"])
    design = cymf.design_matrix(ratings, user_features=user_features, history="both")
    new = design.encode(["dora", "nobody", "ann"], [10, 20, 99])
    full = pd.DataFrame(new.matrix.toarray(), columns=new.names)
    assert new.names == design.names
    assert full.loc[0, ["user:age", "user:job=x"]].tolist() == [1, 1]
    users = ["user=ann", "user=bob", "user=cy"]
    assert full.loc[0, users].tolist() == [0, 0, 0]
    assert full.loc[1, [*users, "user:age", "rated=10"]].tolist() == [0] * 5
    assert full.loc[2, users].tolist() == [1, 0, 0]
    assert full.loc[2, ["item=10", "item=20", "item=30", "rated by=ann"]].tolist() == [0] * 4
    assert new.target is None
    again = design.encode(*ratings.to_triplets()[:2])
    np.testing.assert_array_equal(again.matrix.toarray(), design.matrix.toarray())


def test_a_scalar_is_paired_with_everything(ratings):
    design = cymf.design_matrix(ratings)
    assert design.encode("bob", [10, 20, 30]).matrix.toarray()[:, 1].tolist() == [1, 1, 1]


def test_held_out_ratings_bring_their_target(ratings):
    held_out = cymf.Ratings.from_triplets(["bob", "new"], [30, 10], [2.0, 3.0])
    encoded = cymf.design_matrix(ratings).encode_ratings(held_out)
    assert encoded.target.tolist() == [2.0, 3.0]
    assert encoded.matrix.toarray()[1].tolist() == [0, 0, 0, 1, 0, 0]


def test_context_columns(ratings):
    context = pd.DataFrame({"hour": np.arange(6.0), "home": [0, 1, 0, 1, 0, 1]})
    design = cymf.design_matrix(ratings, context=context)
    assert design.names[-2:] == ["context:hour", "context:home"]
    np.testing.assert_array_equal(design.matrix.toarray()[:, -2:], context.to_numpy())
    new = design.encode(["bob"], [20], context=context[:1])
    assert new.matrix.toarray().tolist() == [[0, 1, 0, 0, 1, 0, 0, 0]]
    with pytest.raises(ValueError, match=r"context is missing: .* context:hour, context:home"):
        design.encode(["bob"], [20])
    with pytest.raises(ValueError, match="expected those of the design"):
        design.encode(["bob"], [20], context=[[1.0, 2.0]])
    with pytest.raises(ValueError, match="the design has no context"):
        cymf.design_matrix(ratings).encode(["bob"], [20], context=[[1.0]])
    with pytest.raises(ValueError, match="context has 2 rows; expected 6"):
        cymf.design_matrix(ratings, context=context[:2])
    with pytest.raises(ValueError, match="context has NaN"):
        cymf.design_matrix(ratings, context=np.full((6, 1), np.nan))


def test_matrices_without_ids_are_known_by_their_rows():
    matrix = np.array([[1.0, np.nan, 3.0], [np.nan, 2.0, np.nan]])
    design = cymf.design_matrix(matrix, item_features=features([[1], [2], [3], [4]]))
    new = design.encode([1, 5], [3, 0])
    assert new.matrix.toarray().tolist() == [[0, 1, 0, 0, 0, 4], [0, 0, 1, 0, 0, 1]]
    with pytest.raises(TypeError, match="expected row numbers"):
        design.encode(["x"], [0])


def test_negatives_are_unrated_and_uniform():
    matrix = np.full((3, 8), np.nan)
    matrix[0, [0, 3, 4]] = 1
    matrix[1, :] = 1
    matrix[2, 7] = 1
    design = cymf.design_matrix(matrix, n_negatives=4000)
    n_rated = 12
    assert (design.target[:n_rated] == 1).all()
    assert (design.target[n_rated:] == 0).all()
    items = design.matrix.toarray()[:, 3:].argmax(axis=1)
    for user, free in ((0, [1, 2, 5, 6, 7]), (2, [0, 1, 2, 3, 4, 5, 6])):
        drawn = items[(design.users == user) & (design.target == 0)]
        counts = np.bincount(drawn, minlength=8)
        assert (counts[[i for i in range(8) if i not in free]] == 0).all()
        share = counts[free] / len(drawn)
        assert np.abs(share - 1 / len(free)).max() < 0.03
    assert not ((design.users == 1) & (design.target == 0)).any()


def test_weights_of_ratings_come_along():
    ratings = cymf.Ratings.from_triplets([1, 2], [1, 2], [3.0, 4.0], weights=[1.0, 2.0])
    assert cymf.design_matrix(ratings).weights.tolist() == [1.0, 2.0]


def test_what_is_wrong_is_said(ratings):
    with pytest.raises(ValueError, match="history='all' is unknown"):
        cymf.design_matrix(ratings, history="all")
    with pytest.raises(TypeError, match=r"user_features is a list; expected cymf\.Features"):
        cymf.design_matrix(ratings, user_features=[1, 2])
    with pytest.raises(ValueError, match="2 columns and 1 names"):
        cymf.design_matrix(ratings, user_features=features(np.ones((3, 2)), names=["a"]))
    with pytest.raises(ValueError, match="2 rows and no ids; the ratings have 3 users"):
        cymf.design_matrix(ratings, user_features=features(np.ones((2, 2))))
    with pytest.raises(ValueError, match="3 rows and 2 ids"):
        cymf.design_matrix(ratings, user_features=features(np.ones((3, 2)), ["ann", "bob"]))
    with pytest.raises(ValueError, match="nan in column 'age'"):
        cymf.design_matrix(ratings, user_features=features([[np.nan]] * 3, names=["age"]))
    with pytest.raises(TypeError, match="user ids given are integers"):
        cymf.design_matrix(ratings).encode([1], [10])
    with pytest.raises(ValueError, match="n_negatives is given beside context"):
        cymf.design_matrix(ratings, context=np.ones((6, 1)), n_negatives=1)
