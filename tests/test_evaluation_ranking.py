"""Evaluation of rankings: ids, seen items and strangers, reports, and the published figures of popularity."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from made_up_models import made_up
from reference_metrics import area_under_curve, list_metric, ranked
from scipy import stats

import cymf
from cymf._errors import NotFittedError
from cymf.evaluation import RankingReport, compare, evaluate_ranking
from cymf.ratings import Ratings


def held_out_of(model, observed, seed=1):
    """Held-out ratings of cells that were not observed, with the ids of the model."""
    rng = np.random.default_rng(seed)
    matrix = np.where(~observed & (rng.random(observed.shape) < 0.5), 1.0, np.nan)
    state = model._state
    ids = [None if side is None else side.ids for side in (state.user_ids, state.item_ids)]
    return Ratings.from_matrix(matrix, user_ids=ids[0], item_ids=ids[1]), ~np.isnan(matrix)


def expected_of(model, observed, relevant, name, exclude_seen=True):
    kind, _, cutoff = name.partition("@")
    scores = model.W_ @ model.H_
    if model.item_bias_ is not None:
        scores = scores + model.item_bias_
    listable = observed.any(axis=0)
    values = []
    for u in np.flatnonzero(relevant.any(axis=1)):
        seen = set(np.flatnonzero(observed[u])) if exclude_seen else set()
        gains = dict.fromkeys(np.flatnonzero(relevant[u]), 1.0)
        if kind == "auc":
            values.append(area_under_curve(scores[u], listable, seen, set(gains)))
        else:
            values.append(
                list_metric(kind, int(cutoff), ranked(scores[u], listable, seen), gains, None)
            )
    return np.array(values)


@pytest.mark.parametrize("ids", [None, "int", "str"])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_models_with_ids_of_any_kind(ids, exclude_seen):
    model, observed = made_up(8, 12, ids=ids, density=0.4)
    test, relevant = held_out_of(model, observed)
    metrics = ("recall@3", "truncated_recall@3", "ndcg@5", "map@5", "mrr@2", "auc")
    report = evaluate_ranking(model, test, metrics=metrics, exclude_seen=exclude_seen)
    rows = np.flatnonzero(relevant.any(axis=1))
    assert list(report) == list(metrics)
    users = rows if ids is None else model._state.user_ids.ids[rows]
    assert report.users.tolist() == users.tolist()
    for name in metrics:
        expected = expected_of(model, observed, relevant, name, exclude_seen)
        np.testing.assert_allclose(report.per_user[name], expected, rtol=1e-12)
        assert report[name] == pytest.approx(np.nanmean(expected))


def test_a_test_set_with_other_rows_and_columns():
    model, observed = made_up(8, 12, ids="str", density=0.4)
    test, relevant = held_out_of(model, observed)
    report = evaluate_ranking(model, test, metrics=("recall@3", "auc"))
    users, items, values = test.to_triplets()
    # a stranger, and an item that the model does not know: it is held out, and missed
    more = Ratings.from_triplets(
        [*users, "stranger", "u1"], [*items, "i5", "unheard-of"], [*values, 1, 1]
    )
    again = evaluate_ranking(model, more, metrics=("recall@3", "auc"))
    assert set(again.users) == {*report.users, "stranger"}
    at = {user: k for k, user in enumerate(again.users)}
    for name in report:
        for user, value in zip(report.users, report.per_user[name], strict=True):
            n = relevant[int(user[1:])].sum()
            expected = value * n / (n + 1) if user == "u1" else value
            assert again.per_user[name][at[user]] == pytest.approx(expected)
    best = model.recommend("stranger", n=3)[0]
    assert again.per_user["recall@3"][at["stranger"]] == ("i5" in best)


def test_lists_are_those_of_recommend():
    model, observed = made_up(30, 40, ids="int", density=0.3)
    test, _ = held_out_of(model, observed)
    report = evaluate_ranking(model, test, metrics="precision@7")
    best, _ = model.recommend(report.users, n=7)
    held_out = {*zip(*test.to_triplets()[:2], strict=True)}
    expected = [
        sum((user, item) in held_out for item in row) / 7
        for user, row in zip(report.users, best, strict=True)
    ]
    np.testing.assert_allclose(report.per_user["precision@7"], expected)


def test_seen_items_may_come_from_elsewhere():
    model, observed = made_up(8, 12, ids="str", density=0.4, keep_ratings=False)
    test, relevant = held_out_of(model, observed)
    with pytest.raises(ValueError, match="needs the training ratings"):
        evaluate_ranking(model, test)
    state = model._state
    # the same in another order of rows and columns, and with a stranger
    order = np.random.default_rng(0).permutation(12)
    seen = Ratings.from_matrix(
        np.where(observed, 1.0, np.nan)[:, order],
        user_ids=state.user_ids.ids,
        item_ids=state.item_ids.ids[order],
    )
    metrics = ("recall@3", "auc")
    report = evaluate_ranking(model, test, train=seen, metrics=metrics)
    for name in metrics:
        expected = expected_of(model, observed, relevant, name)
        np.testing.assert_allclose(report.per_user[name], expected, rtol=1e-12)


def test_matrices_with_long_indices():
    model, observed = made_up(8, 12)
    test, _ = held_out_of(model, observed)
    matrix = test.to_scipy().copy()
    matrix.indptr, matrix.indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)
    train = sp.csr_array(observed.astype(float))
    train.indptr, train.indices = train.indptr.astype(np.int64), train.indices.astype(np.int64)
    report = evaluate_ranking(model, matrix, train=train, metrics=("recall@3", "auc"))
    same = evaluate_ranking(model, test, metrics=("recall@3", "auc"))
    assert dict(report) == dict(same)


def test_only_positive_values_are_relevant():
    model, observed = made_up(8, 12)
    test, _ = held_out_of(model, observed)
    values = np.where(np.arange(test.nnz) % 3, 2.0, -1.0)
    values[0] = 0.0
    signed = Ratings.from_triplets(test.users, test.items, values, shape=test.shape)
    kept = test.subset(values > 0)
    one, other = (evaluate_ranking(model, part, metrics="ndcg@4") for part in (signed, kept))
    assert dict(one) == dict(other)
    with pytest.raises(ValueError, match=r"test holds no positive value \(\d+ from -1 to -1\)"):
        evaluate_ranking(model, signed.subset(values < 0))


def test_factors_from_anywhere():
    model, observed = made_up(8, 12, bias=False, ids="str")
    test, _ = held_out_of(model, observed)
    names = ("recall@3", "auc", "coverage@2", "novelty@2")
    expected = evaluate_ranking(model, test, metrics=names)
    factors = (model.user_factors_, model.item_factors_)
    found = evaluate_ranking(factors, test, train=model._state.ratings, metrics=names)
    assert dict(found) == pytest.approx(dict(expected))
    as_integers = (np.ones((8, 1), int), np.arange(12)[:, None])
    free = evaluate_ranking(as_integers, test, exclude_seen=False, metrics="recall@12")
    assert free["recall@12"] == 1.0
    with pytest.raises(ValueError, match="exclude_seen=True needs the training ratings"):
        evaluate_ranking(factors, test)
    with pytest.raises(
        ValueError, match=r"factors are of 7 users and 12 items; expected \(8, 12\)"
    ):
        evaluate_ranking((factors[0][1:], factors[1]), test, train=model._state.ratings)
    with pytest.raises(TypeError, match="model is a tuple of 3"):
        evaluate_ranking((*factors, 1), test)
    with pytest.raises(ValueError, match="finite numbers"):
        evaluate_ranking((factors[0] * np.nan, factors[1]), test)


class Alphabetical:
    """Recommends the ids of its items in order."""

    def __init__(self, items):
        self.items = list(items)

    def recommend(self, users, n, *, exclude_seen=True, seen=None):
        rows = []
        for user in users:
            known = set()
            if exclude_seen:
                them, what, _ = seen.to_triplets()
                known = set(what[them == user])
            rows.append([item for item in self.items if item not in known][:n])
            rows[-1] += [""] * (n - len(rows[-1]))
        return np.array(rows)


def test_anything_that_recommends():
    train = Ratings.from_triplets(["a", "a", "b"], ["x", "y", "z"], [1, 1, 1])
    test = Ratings.from_triplets(["a", "b", "b"], ["z", "x", "q"], [1, 1, 1])
    names = ("recall@2", "mrr@2", "coverage@1", "novelty@5")
    report = evaluate_ranking(Alphabetical("xyz"), test, train=train, metrics=names)
    assert report.users.tolist() == ["a", "b"]
    assert report.per_user["recall@2"].tolist() == [1.0, 0.5]
    assert report["mrr@2"] == 1.0
    assert report["coverage@1"] == 2 / 3
    assert report["novelty@5"] == 1.0  # each item is known to half of the users
    free = evaluate_ranking(Alphabetical("xyz"), test, exclude_seen=False, metrics="recall@1")
    assert free.per_user["recall@1"].tolist() == [0.0, 0.5]
    with pytest.raises(ValueError, match="auc needs the scores of all items, which a Alphabetical"):
        evaluate_ranking(Alphabetical("xyz"), test, train=train, metrics="auc")
    with pytest.raises(ValueError, match=r"coverage@1 of a Alphabetical needs train="):
        evaluate_ranking(Alphabetical("xyz"), test, metrics="coverage@1")


def test_what_is_no_model():
    _, observed = made_up()
    test = Ratings.from_matrix(np.where(observed, 1.0, np.nan))
    with pytest.raises(TypeError, match="model is a int; expected a fitted model"):
        evaluate_ranking(3, test)
    with pytest.raises(NotFittedError):
        evaluate_ranking(cymf.ALS(), test)


# ------------------------------------------------------------------ reports


def made_up_report(n_users=200, shift=0.0, seed=0):
    values = np.random.default_rng(seed).random(n_users)
    shifted = values + shift * np.random.default_rng(9).random(n_users)
    return RankingReport(
        {"ndcg@5": float(shifted.mean()), "coverage@5": 0.25},
        {"ndcg@5": shifted},
        np.arange(n_users),
    )


def test_reports_are_mappings_and_tables():
    report = made_up_report()
    assert list(report) == ["ndcg@5", "coverage@5"]
    assert len(report) == 2
    assert repr(report).splitlines() == [
        "RankingReport of 200 users",
        f"  ndcg@5        {report['ndcg@5']:.4f} ± {stats.sem(report.per_user['ndcg@5']):.4f}",
        "  coverage@5    0.2500",
    ]


def test_intervals():
    report = made_up_report()
    values = report.per_user["ndcg@5"]
    normal = report.interval("ndcg@5", 0.9, method="normal")
    expected = stats.norm.interval(0.9, values.mean(), stats.sem(values))
    np.testing.assert_allclose(normal, expected, rtol=1e-12)
    bootstrap = report.interval("ndcg@5", 0.9)
    np.testing.assert_allclose(bootstrap, expected, atol=0.01)
    assert (
        bootstrap
        == report.interval("ndcg@5", 0.9)
        != report.interval("ndcg@5", 0.9, random_state=1)
    )
    wider = report.interval("ndcg@5", 0.99)
    assert wider[0] < bootstrap[0] < bootstrap[1] < wider[1]
    with pytest.raises(ValueError, match="coverage@5 is a property of all lists together"):
        report.interval("coverage@5")
    with pytest.raises(ValueError, match="'auc' was not measured; measured: ndcg@5, coverage@5"):
        report.interval("auc")
    for level in (0, 1, 95, "a", True):
        with pytest.raises(ValueError, match="level"):
            report.interval("ndcg@5", level)
    with pytest.raises(ValueError, match="method='t' is unknown"):
        report.interval("ndcg@5", method="t")


def test_users_for_whom_a_metric_is_not_defined_are_left_out():
    values = np.array([0.2, np.nan, 0.6])
    report = RankingReport({"auc": 0.4}, {"auc": values}, np.arange(3))
    np.testing.assert_allclose(
        report.interval("auc", method="normal"), report.interval("auc", method="normal")
    )
    low, high = report.interval("auc")
    assert 0.2 <= low <= high <= 0.6
    other = RankingReport({"auc": 0.4}, {"auc": values / 2}, np.arange(3))
    assert compare(report, other, "auc").n_users == 2


@pytest.mark.parametrize("method", ["t", "bootstrap", "randomization"])
def test_comparisons(method):
    one, same, better = made_up_report(), made_up_report(), made_up_report(shift=0.02)
    nothing = compare(one, same, "ndcg@5", method=method)
    assert (nothing.difference, nothing.p_value, nothing.wins, nothing.losses) == (0.0, 1.0, 0, 0)
    found = compare(better, one, "ndcg@5", method=method)
    differences = better.per_user["ndcg@5"] - one.per_user["ndcg@5"]
    assert found.difference == pytest.approx(differences.mean())
    assert found.p_value < 0.005
    assert (found.wins, found.losses, found.n_users) == (200, 0, 200)
    low, high = stats.t.interval(0.95, 199, differences.mean(), stats.sem(differences))
    np.testing.assert_allclose(found.interval, (low, high), atol=3e-4)
    turned = compare(one, better, "ndcg@5", method=method)
    assert turned.difference == -found.difference
    unrelated = made_up_report(seed=5)
    p_value = compare(unrelated, one, "ndcg@5", method=method, n_resamples=5000).p_value
    expected = stats.ttest_rel(unrelated.per_user["ndcg@5"], one.per_user["ndcg@5"]).pvalue
    assert p_value == pytest.approx(expected, abs=1e-12 if method == "t" else 0.03)


def test_the_randomization_test_is_that_of_scipy():
    rng = np.random.default_rng(0)
    values, others = rng.random(9), rng.random(9) - 0.25
    one, other = (
        RankingReport({"auc": v.mean()}, {"auc": v}, np.arange(9)) for v in (values, others)
    )
    exact = stats.permutation_test(
        (values - others,),
        np.mean,
        permutation_type="samples",
        n_resamples=1000,  # more than the 512 there are: all of them
    ).pvalue
    found = compare(one, other, "auc", method="randomization", n_resamples=20_000).p_value
    assert 0.01 < exact < 0.3
    assert found == pytest.approx(exact, abs=0.01)
    again = compare(
        one, other, "auc", method="randomization", random_state=np.random.default_rng(0)
    )
    assert again == compare(one, other, "auc", method="randomization")


def test_users_are_paired_by_id():
    one = made_up_report()
    order = np.random.default_rng(0).permutation(200)
    turned = RankingReport(dict(one), {"ndcg@5": one.per_user["ndcg@5"][order]}, order)
    assert compare(one, turned, "ndcg@5").p_value == 1.0
    with pytest.raises(ValueError, match=r"different users \(200 and 199\)"):
        compare(one, made_up_report(199), "ndcg@5")
    with pytest.raises(ValueError, match="coverage@5 is a property of all lists"):
        compare(one, turned, "coverage@5")
