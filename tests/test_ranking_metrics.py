"""Ranking metrics against slow twins and against scikit-learn, at every level."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_metrics import area_under_curve, list_metric, ranked

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from cymf import _areas_under_curve, _ranking_metrics
from cymf._kernels import available_levels, load_level
from cymf._ranking_metrics import HeldOut, as_metrics, ranking_scores
from cymf._sparse_view import SparseView
from cymf.ratings import Ratings

KINDS = (
    "recall", "truncated_recall", "precision", "hit_rate", "ndcg", "graded_ndcg", "map", "mrr",
    "novelty",
)  # fmt: skip


@pytest.fixture(params=available_levels(), autouse=True, scope="module")
def level(request):
    with pytest.MonkeyPatch.context() as patch:
        for module in (_areas_under_curve, _ranking_metrics):
            patch.setattr(module, "top_n_kernels", load_level(request.param, "top_n"))
        yield


def view(mask, values=None, index=np.int32):
    matrix = sp.csr_array(np.where(mask, 1.0 if values is None else values, 0.0))
    stored = SparseView(
        matrix.indptr.astype(np.int64), matrix.indices.astype(index), matrix.data, None
    )
    assert matrix.nnz == mask.sum()
    return stored


@st.composite
def problems(draw):
    """Train and test of a few users and up to 300 items, with small whole factors: no rounding, many ties."""
    n_users, n_items = draw(st.integers(1, 5)), draw(st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    train = rng.random((n_users, n_items)) < draw(st.sampled_from([0.0, 0.1, 0.5]))
    test = rng.random((n_users, n_items)) < draw(st.sampled_from([0.02, 0.5, 1.0]))
    values = rng.integers(-1, 6, (n_users, n_items)).astype(float)
    test &= values != 0
    k = draw(st.sampled_from([0, 1, 3, 4, 8]))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    users = rng.integers(-2, 3, (n_users, k)).astype(dtype)
    items = rng.integers(-2, 3, (n_items, k)).astype(dtype)
    bias = rng.integers(-2, 3, n_items).astype(dtype) if draw(st.booleans()) else None
    index = draw(st.sampled_from([np.int32, np.int64]))
    return train, test, values, users, items, bias, index


@settings(deadline=None)
@given(problems(), st.lists(st.sampled_from([1, 2, 5, 20]), min_size=1, unique=True))
def test_metrics_are_those_of_the_slow_twin(problem, cutoffs):
    train, test, values, users, items, bias, index = problem
    held_out = HeldOut(view(train, index=index), view(test, values, index), len(items))
    names = [f"{kind}@{k}" for kind in KINDS for k in cutoffs]
    relevant = test & (values > 0)
    measured = np.flatnonzero(relevant.any(axis=1))
    np.testing.assert_array_equal(held_out.users, measured)
    if not len(measured) or not train.any():
        return
    counts = train.sum(axis=0)
    information = [-math.log2(c / train.any(axis=1).sum()) if c else 0.0 for c in counts]
    scores = users @ items.T + (0 if bias is None else bias)
    rows = users, measured, items, bias, held_out
    _, found = (
        _ranking_metrics.measure_factors(*rows, as_metrics([*names, "auc"]), 1)
        if (train[measured].sum(axis=1) < (counts > 0).sum()).all()
        and _some_area(counts, train, relevant, measured)
        else (None, None)
    )
    if found is None:
        return
    listed_by_anyone = {k: set() for k in cutoffs}
    for position, u in enumerate(measured):
        seen = set(np.flatnonzero(train[u]))
        gains = {j: values[u, j] for j in np.flatnonzero(relevant[u])}
        order = ranked(scores[u], counts > 0, seen)
        for k in cutoffs:
            listed_by_anyone[k] |= set(order[:k])
            for kind in KINDS:
                expected = list_metric(kind, k, order, gains, information)
                assert found[f"{kind}@{k}"][position] == pytest.approx(
                    expected, rel=1e-12, nan_ok=True
                )
        area = area_under_curve(scores[u], counts > 0, seen, set(gains))
        assert found["auc"][position] == pytest.approx(area, rel=1e-12, nan_ok=True)
    means = ranking_scores(*rows[:1], items, bias, held_out, [f"coverage@{k}" for k in cutoffs])
    for k in cutoffs:
        assert means[f"coverage@{k}"] == len(listed_by_anyone[k]) / (counts > 0).sum()


def _some_area(counts, train, relevant, measured):
    """Whether some user has an item that is neither seen nor held out, so that there is an area at all."""
    return ((counts > 0) & ~train[measured] & ~relevant[measured]).any()


def random_problem(n_users=40, n_items=400, k=6, seed=0, seen=0.1):
    rng = np.random.default_rng(seed)
    train = rng.random((n_users, n_items)) < seen
    train[0] = True  # so that all items can be listed
    test = (rng.random((n_users, n_items)) < 0.05) & ~train
    values = rng.integers(1, 6, (n_users, n_items)).astype(float)
    factors = rng.standard_normal((n_users, k)), rng.standard_normal((n_items, k))
    return train, test, values, *factors


def test_metrics_are_those_of_scikit_learn():
    train, test, values, users, items = random_problem()
    held_out = HeldOut(view(train), view(test, values))
    metrics = as_metrics(["ndcg@10", "graded_ndcg@10", "ndcg@400", "map@400", "auc"])
    _, found = _ranking_metrics.measure_factors(
        users, held_out.users, items, None, held_out, metrics, 2
    )
    for position, u in enumerate(held_out.users):
        unseen = ~train[u]
        relevant, gains = test[u, unseen], np.where(test[u], values[u], 0)[unseen]
        scores = (items @ users[u])[unseen]
        expected = {
            "ndcg@10": ndcg_score([relevant], [scores], k=10),
            "graded_ndcg@10": ndcg_score([gains], [scores], k=10),
            "ndcg@400": ndcg_score([relevant], [scores]),
            "map@400": average_precision_score(relevant, scores),
            "auc": roc_auc_score(relevant, scores),
        }
        for name, value in expected.items():
            assert found[name][position] == pytest.approx(value, rel=1e-10), name


@pytest.mark.filterwarnings("ignore")  # of the other library
def test_metrics_are_those_of_ranx():
    ranx = pytest.importorskip("ranx", reason="ranx is not installed")
    train, test, values, users, items = random_problem()
    held_out = HeldOut(view(train), view(test, values))
    theirs = {
        "recall@20": "recall@20",
        "precision@10": "precision@10",
        "hit_rate@5": "hit_rate@5",
        "mrr@20": "mrr@20",
        "graded_ndcg@10": "ndcg@10",
        "map@400": "map",
    }
    _, found = _ranking_metrics.measure_factors(
        users, held_out.users, items, None, held_out, as_metrics(theirs), 1
    )
    scores = users @ items.T
    relevant = {
        str(u): {str(j): int(values[u, j]) for j in np.flatnonzero(test[u])} for u in held_out.users
    }
    listed = {
        str(u): {str(j): scores[u, j] for j in np.flatnonzero(~train[u])} for u in held_out.users
    }
    for name, their_name in theirs.items():
        run = ranx.Run(listed)
        ranx.evaluate(ranx.Qrels(relevant), run, their_name)
        expected = [run.scores[their_name][str(u)] for u in held_out.users]
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, err_msg=name)


def test_the_area_counts_ties_as_scikit_learn_does():
    train, test, _, _, items = random_problem()
    scores = np.random.default_rng(1).integers(0, 4, (len(train), 1)) * np.ones((1, 1))
    bias = np.random.default_rng(2).integers(0, 4, len(items)).astype(float)
    held_out = HeldOut(view(train), view(test))
    _, found = _ranking_metrics.measure_factors(
        scores, held_out.users, np.zeros((len(items), 1)), bias, held_out, as_metrics("auc"), 1
    )
    for position, u in enumerate(held_out.users):
        unseen = ~train[u]
        assert found["auc"][position] == pytest.approx(roc_auc_score(test[u, unseen], bias[unseen]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bits_for_any_number_of_threads(dtype):
    train, test, values, users, items = random_problem(300, 700, k=33)
    users, items = users.astype(dtype), items.astype(dtype)
    held_out = HeldOut(view(train), view(test, values))
    metrics = as_metrics([*(f"{kind}@10" for kind in KINDS), "auc", "coverage@10"])
    arguments = users, held_out.users, items, None, held_out, metrics
    means, per_user = _ranking_metrics.measure_factors(*arguments, 1)
    for n_threads in (2, 3):
        again, users_again = _ranking_metrics.measure_factors(*arguments, n_threads)
        assert again == means
        for name in per_user:
            np.testing.assert_array_equal(users_again[name], per_user[name])


def test_equal_items_tie_in_the_area_whatever_tile_they_are_in():
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        one = rng.standard_normal((1, 37)).astype(dtype)
        items = np.repeat(one, 1000, axis=0)
        users = rng.standard_normal((20, 37)).astype(dtype)
        train = np.zeros((20, 1000), bool)
        train[np.arange(1000) % 20, np.arange(1000)] = True
        test = ~train & (rng.random(train.shape) < 0.3)
        held_out = HeldOut(view(train), view(test))
        found = ranking_scores(users, items, None, held_out, "auc")
        assert found == {"auc": 0.5}


def test_blocks_of_users_do_not_matter(monkeypatch):
    train, test, values, users, items = random_problem()
    held_out = HeldOut(view(train), view(test, values))
    names = [*(f"{kind}@7" for kind in KINDS), "coverage@7", "coverage@2"]
    whole = ranking_scores(users, items, None, held_out, names)
    monkeypatch.setattr(_ranking_metrics, "_BLOCK_ENTRIES", 20)
    assert ranking_scores(users, items, None, held_out, names) == whole


def test_scores_for_training_loops():
    train, test, values, users, items = random_problem(k=5)
    held_out = HeldOut(view(train), view(test, values))
    found = ranking_scores(users, items, np.empty(0), held_out, ("ndcg@10", "auc"))
    assert list(found) == ["ndcg@10", "auc"]
    padded = [np.pad(rows, ((0, 0), (0, 3))) for rows in (users, items)]
    assert ranking_scores(*padded, None, held_out, ("ndcg@10", "auc"), 2) == pytest.approx(found)
    assert ranking_scores(users, items, None, held_out, "mrr@5").keys() == {"mrr@5"}
    # items behind those of training and test have nothing to be listed for
    longer = np.vstack([items, 100 * items])
    assert ranking_scores(users, longer, None, held_out, ("ndcg@10", "auc")) == pytest.approx(found)
    with pytest.raises(ValueError, match="go up to 399, but there are factors of 399 items"):
        ranking_scores(users, items[:-1], None, held_out, "auc")
    with pytest.raises(ValueError, match="train has 40 users and test 39"):
        HeldOut(view(train), view(test[:-1]))
    views = [Ratings.from_matrix(np.where(mask, 1.0, np.nan)).csr() for mask in (train, test)]
    assert ranking_scores(users, items, None, HeldOut(*views), "auc")["auc"] == found["auc"]


def test_metrics_that_are_not_defined():
    full = np.ones((2, 3), bool)
    held_out = HeldOut(view(full), view(~full | full))
    factors = np.ones((2, 1)), np.ones((3, 1))
    assert ranking_scores(*factors, None, held_out, "recall@2") == {"recall@2": 0.0}
    with pytest.raises(ValueError, match="auc is not defined for any of the 2 users"):
        ranking_scores(*factors, None, held_out, "auc")
    with pytest.raises(ValueError, match="novelty@2 is not defined for any of the 2 users"):
        ranking_scores(*factors, None, held_out, "novelty@2")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("recal@10", "metric 'recal@10' is unknown; expected one of recall@k"),
        ("recall", "metric 'recall' has no cutoff; expected recall@k, such as 'recall@10'"),
        ("auc@10", "metric 'auc@10' has a cutoff; expected auc"),
        ("recall@0", "is unknown"),
        ("recall@-1", "is unknown"),
        (["recall@5", 7], "metric 7 is unknown"),
        ([], "metrics is empty"),
    ],
)
def test_names_that_are_no_metrics(names, text):
    with pytest.raises(ValueError, match=text):
        as_metrics(names)


def test_a_metric_named_twice_is_measured_once():
    assert [metric.name for metric in as_metrics(["auc", "map@5", "auc"])] == ["auc", "map@5"]
