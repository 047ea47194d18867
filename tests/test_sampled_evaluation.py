"""Held-out items among sampled ones: ranks, ties, and draws that are fair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_models import made_up

import cymf
from cymf import Popularity
from cymf.evaluation import compare, evaluate_sampled, leave_k_out, sample_negatives
from cymf.ratings import Ratings

METRICS = ("hit_rate@1", "hit_rate@3", "ndcg@3", "mrr@3", "auc")


def slow_twin(scores, negatives, name):
    """The metric of one held-out item with the first of `scores`, among others with the rest."""
    kind, _, k = name.partition("@")
    greater = sum(other > scores for other in negatives)
    if kind == "auc":
        lower = sum(other < scores for other in negatives)
        return (lower + 0.5 * (len(negatives) - lower - greater)) / len(negatives)
    rank = 1 + greater
    values = {"hit_rate": 1.0, "ndcg": 1 / np.log2(rank + 1), "mrr": 1 / rank}
    return values[kind] if rank <= int(k) else 0.0


class Given:
    """Predicts from a table of scores, whatever the user."""

    def __init__(self, scores):
        self.scores = np.asarray(scores, float)

    def predict(self, users, items):
        return self.scores[items]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_ranks_with_ties(scores, n_pairs, n_negatives, seed):
    rng = np.random.default_rng(seed)
    items = rng.integers(0, len(scores), n_pairs)
    negatives = rng.integers(0, len(scores), (n_pairs, n_negatives))
    users = np.arange(n_pairs) // 2
    report = evaluate_sampled(Given(scores), (users, items), negatives, metrics=METRICS)
    for name in METRICS:
        expected = [
            slow_twin(scores[item], [scores[j] for j in others], name)
            for item, others in zip(items, negatives, strict=True)
        ]
        np.testing.assert_allclose(report.per_user[name], expected)
        assert report[name] == pytest.approx(np.mean(expected))
    assert report.users.tolist() == users.tolist()


@pytest.mark.parametrize("ids", [None, "int", "str"])
@pytest.mark.parametrize("bias", [True, False])
def test_models_of_cymf(ids, bias, monkeypatch):
    model, _ = made_up(8, 12, ids=ids, bias=bias, density=0.5)
    state = model._state
    known = np.flatnonzero(state.item_counts)
    rng = np.random.default_rng(0)
    users, items = rng.integers(1, 8, 20), rng.choice(known, 20)
    negatives = rng.choice(known, (20, 5))

    def named(rows, axis):
        return rows if axis is None else axis.to_ids(rows.ravel()).reshape(rows.shape)

    pairs = named(users, state.user_ids), named(items, state.item_ids)
    others = named(negatives, state.item_ids)
    report = evaluate_sampled(model, pairs, others, metrics=METRICS)
    scores = model.W_ @ model.H_ + (model.item_bias_ if bias else 0)
    for name in METRICS:
        expected = [
            slow_twin(scores[u, i], scores[u, row], name)
            for u, i, row in zip(users, items, negatives, strict=True)
        ]
        np.testing.assert_allclose(report.per_user[name], expected)
    again = evaluate_sampled(model, np.column_stack(pairs), others, metrics=METRICS)
    assert dict(again) == dict(report)
    assert compare(report, again, "auc").difference == 0
    monkeypatch.setattr("cymf._sampled_evaluation._BLOCK_SCORES", 7)
    assert dict(evaluate_sampled(model, pairs, others, metrics=METRICS)) == dict(report)


def test_items_that_nobody_has_stand_last():
    model, _ = made_up(8, 12, bias=False, density=0.6)
    assert model._state.item_counts[0] == 0
    report = evaluate_sampled(model, [(1, 0), (1, 99), (2, 1)], [[1, 2], [1, 2], [0, 99]])
    assert report.per_user["hit_rate@10"].tolist() == [1.0, 1.0, 1.0]
    first = evaluate_sampled(
        model, [(1, 0), (1, 99), (2, 1)], [[1, 2], [1, 2], [0, 99]], metrics="auc"
    )
    assert first.per_user["auc"].tolist() == [0.0, 0.0, 1.0]


def test_what_cannot_be_measured():
    pairs, negatives = [(0, 1), (1, 0)], [[0, 2], [1, 2]]
    model = Given([1.0, 2.0, 3.0])
    for metrics, text in (
        ("recall@5", "metric 'recall@5' is not defined for one held-out item"),
        ("hits@5", "metric 'hits@5' is unknown"),
    ):
        with pytest.raises(ValueError, match=text):
            evaluate_sampled(model, pairs, negatives, metrics=metrics)
    for wrong in ([0, 2], [[0, 2]], [[], []]):
        with pytest.raises(
            ValueError, match=r"negatives has shape .*; expected \(2, n_negatives\)"
        ):
            evaluate_sampled(model, pairs, wrong)
    with pytest.raises(ValueError, match=r"users of shape \(2,\) and items of shape \(1,\)"):
        evaluate_sampled(model, ([0, 1], [0]), negatives)
    with pytest.raises(ValueError, match="NaN"):
        evaluate_sampled(Given([1.0, np.nan, 3.0]), pairs, negatives)
    with pytest.raises(TypeError, match="model is a int"):
        evaluate_sampled(3, pairs, negatives)
    with pytest.raises(cymf.NotFittedError):
        evaluate_sampled(cymf.ALS(), pairs, negatives)


# ------------------------------------------------------------------ drawing negatives


@settings(deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.1, 0.3, 0.8]), st.integers(1, 4), st.booleans())
def test_negatives_are_neither_in_train_nor_in_test(seed, density, n, with_ids):
    rng = np.random.default_rng(seed)
    observed = rng.random((7, 15)) < density
    observed[:, 3] = False
    observed[0, :2] = True
    ids = [f"i{j:02}" for j in range(15)] if with_ids else None
    ratings = Ratings.from_matrix(np.where(observed, 1.0, np.nan), item_ids=ids)
    train, test = leave_k_out(ratings, random_state=seed)
    listed = train.item_counts > 0
    left = [(listed & ~observed[u]).sum() for u in test.users]
    if min(left) < n:
        with pytest.raises(ValueError, match=rf"only {min(left)} items left to draw from"):
            sample_negatives(train, test, n)
        return
    (users, items), negatives = sample_negatives(train, test, n, random_state=seed)
    again = sample_negatives(train, test, n, random_state=seed)[1]
    np.testing.assert_array_equal(negatives, again)
    np.testing.assert_array_equal(users, test.to_triplets()[0])
    np.testing.assert_array_equal(items, test.to_triplets()[1])
    assert negatives.shape == (test.nnz, n)
    for user, row in zip(users, negatives, strict=True):
        columns = [ids.index(j) for j in row] if with_ids else row.tolist()
        assert len(set(columns)) == n
        assert all(listed[j] and not observed[user, j] for j in columns)


@pytest.mark.parametrize("n", [2, 5])  # by rejection, and by shuffling
def test_all_sets_of_negatives_are_equally_likely(n):
    observed = np.zeros((3000, 9), bool)
    observed[:, :2] = True
    observed[0] = True
    ratings = Ratings.from_matrix(np.where(observed, 1.0, np.nan))
    train = ratings.subset((ratings.items != 0) | (ratings.users == 0))
    test = ratings.subset((ratings.items == 0) & (ratings.users > 0))
    _, negatives = sample_negatives(train, test, n, random_state=1)
    sets = np.sort(negatives, axis=1)
    _, counts = np.unique(sets, axis=0, return_counts=True)
    assert len(counts) == 21  # 7 over 2, or 7 over 5
    expected = len(negatives) / 21
    assert ((counts - expected) ** 2 / expected).sum() < 45.3  # 0.999 quantile, 20 degrees


def test_train_and_test_must_belong_together():
    ratings = Ratings.from_matrix(np.ones((4, 6)))
    train, test = leave_k_out(ratings)
    other = Ratings.from_matrix(np.ones((4, 7)))
    with pytest.raises(ValueError, match=r"train has shape \(4, 6\) and test \(4, 7\)"):
        sample_negatives(train, other)
    with pytest.raises(TypeError, match=r"expected cymf\.Ratings"):
        sample_negatives(np.ones((4, 6)), test)
    with pytest.raises(ValueError, match=r"n=0 is too small"):
        sample_negatives(train, test, 0)


def test_popularity_on_the_ncf_split(data_dir):
    z = np.load(data_dir / "ml-1m.npz")
    number = np.zeros(3953, np.int64)
    number[z["ncf_item_id"]] = np.arange(3706)
    users, items = z["user"].astype(np.int64), number[z["item"]]
    test_items = z["ncf_test_item"].astype(np.int64)
    in_train = items != test_items[users]
    assert in_train.sum() == 994_169
    train = Ratings.from_triplets(
        users[in_train], items[in_train], np.ones(in_train.sum()), shape=(6040, 3706)
    )
    pairs = np.arange(6040), test_items
    report = evaluate_sampled(
        Popularity().fit(train), pairs, z["ncf_test_negatives"].astype(np.int64)
    )
    assert round(report["hit_rate@10"], 4) == 0.4538
    assert round(report["ndcg@10"], 4) == 0.2545
