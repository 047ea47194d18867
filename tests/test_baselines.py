"""Popularity and chance: their rankings, manners and published figures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import cymf
from cymf import Popularity, Random
from cymf.evaluation import evaluate_ranking
from cymf.ratings import Ratings

BASELINES = [Popularity, Random]


def plays(n_users=60, n_items=40, seed=0):
    """Interactions with string ids; the last user and the first item have none."""
    rng = np.random.default_rng(seed)
    observed = rng.random((n_users, n_items)) < np.linspace(0.05, 0.5, n_items)
    observed[-1] = observed[:, 0] = False
    ids = [
        np.array([f"{kind}{i:03}" for i in range(n)])
        for kind, n in zip("ui", observed.shape, strict=True)
    ]
    matrix = np.where(observed, 2.0, np.nan)
    return Ratings.from_matrix(matrix, user_ids=ids[0], item_ids=ids[1]), observed


def test_popularity_counts():
    ratings, observed = plays()
    model = Popularity().fit(ratings)
    counts = observed.sum(axis=0)
    np.testing.assert_array_equal(model.item_bias_, counts)
    order = sorted((-count, j) for j, count in enumerate(counts))
    for user in ("u000", "u059", "stranger"):
        seen = set(np.flatnonzero(observed[int(user[1:])])) if user != "stranger" else set()
        best = [j for count, j in order if j not in seen and count][:5]
        ids, scores = model.recommend(user, n=5)
        assert ids.tolist() == [f"i{j:03}" for j in best]
        np.testing.assert_array_equal(scores, counts[best])
    assert model.predict("u003", "i039") == counts[39] == model.predict("stranger", "i039")
    assert model.predict("u003", "unheard-of") == 0
    weighted = Popularity(dtype="float64").fit(
        Ratings.from_triplets(["a", "b"], ["x", "y"], [3, 1], weights=[2, 5])
    )
    assert weighted.item_bias_.tolist() == [1.0, 1.0]
    assert weighted.item_bias_.dtype == np.float64


def test_every_item_is_as_likely_to_be_first():
    ratings = Ratings.from_matrix(np.ones((4000, 10)))
    model = Random(random_state=3).fit(ratings)
    best = model.recommend(np.arange(4000), n=10, exclude_seen=False)[0]
    for rank in (0, 4, 9):
        # users share their items' places on the sphere, so that this is not quite a sample of independent draws
        counts = np.bincount(best[:, rank], minlength=10)
        assert 250 < counts.min() < counts.max() < 600
    assert len({tuple(row) for row in best}) > 3900
    means = model.predict(np.repeat(np.arange(4000), 10), np.tile(np.arange(10), 4000))
    assert abs(means.mean()) < 0.02


def test_chance_finds_what_chance_finds():
    rng = np.random.default_rng(0)
    train = Ratings.from_matrix(np.where(rng.random((3000, 200)) < 0.5, 1.0, np.nan))
    matrix = np.full(train.shape, np.nan)
    matrix[np.arange(3000), rng.integers(0, 200, 3000)] = 1
    model = Random().fit(train)
    test = Ratings.from_matrix(matrix)
    report = evaluate_ranking(model, test, metrics=("recall@20", "auc"), exclude_seen=False)
    low, high = report.interval("auc", 0.9999, method="normal")
    assert low < 0.5 < high
    low, high = stats.binom.interval(0.9999, 3000, 20 / 200)
    assert low < 3000 * report["recall@20"] < high


def test_strangers_get_a_random_ranking_too():
    ratings = Ratings.from_matrix(np.ones((5, 50)))
    one, other = (Random(random_state=seed).fit(ratings).recommend(99, n=50)[0] for seed in (0, 1))
    assert sorted(one) == sorted(other) == list(range(50))
    assert one.tolist() != other.tolist() != list(range(50))


@pytest.mark.parametrize("kind", BASELINES)
def test_manners(kind, tmp_path):
    ratings, _ = plays()
    model = kind().fit(ratings)
    best = model.recommend(["u001", "u059", "stranger"], n=39)
    again = kind().fit(ratings)
    for copy in (again, kind(**model.get_params()).fit(ratings, validation=ratings)):
        np.testing.assert_array_equal(
            copy.recommend(["u001", "u059", "stranger"], n=39)[0], best[0]
        )
    assert "i000" not in best[0]
    assert best[0][0, -1] == ""
    assert np.isnan(best[1][0, -1])
    model.save(tmp_path / "model.cymf")
    loaded = cymf.load(tmp_path / "model.cymf")
    assert type(loaded) is kind
    np.testing.assert_array_equal(loaded.recommend("u001", n=39)[0], best[0][0])
    assert (model.n_iter_, model.history_, model.stop_reason_) == (0, {}, "max_iter")
    pairs = [("a", 1), ("b", 1), ("b", 2)]
    assert kind().fit(pairs, [1, 1, 1]).recommend("a", n=1)[0].tolist() == [2]
    forgetful = kind(store_ratings=False).fit(ratings)
    with pytest.raises(ValueError, match="needs the training ratings"):
        forgetful.recommend("u001")
    with pytest.raises(ValueError, match="dtype='int8' is not supported"):
        kind(dtype="int8").fit(ratings)
    with pytest.raises(TypeError, match="store_ratings=3"):
        kind(store_ratings=3).fit(ratings)
    assert (
        model.set_params(dtype="float64").fit(ratings).recommend("u001", n=2)[1].dtype == np.float64
    )


# ------------------------------------------------------------------ published figures


def interactions(users, items, shape):
    return Ratings.from_triplets(
        users.astype(np.int64), items.astype(np.int64), np.ones(len(users)), shape=shape
    )


def test_popularity_on_gowalla(data_dir):
    z = np.load(data_dir / "gowalla-lightgcn.npz")
    shape = tuple(map(int, z["shape"]))
    train, test = (
        interactions(z[f"{part}_user"], z[f"{part}_item"], shape) for part in ("train", "test")
    )
    report = evaluate_ranking(Popularity().fit(train), test)
    assert round(report["recall@20"], 4) == 0.0416
    assert round(report["ndcg@20"], 4) == 0.0317


def lastfm(data_dir):
    z = np.load(data_dir / "lastfm-2k.npz")
    users = np.concatenate([z["split_train_user"], z["split_test_user"]])
    items = np.concatenate([z["split_train_artist"], z["split_test_artist"]])
    (_, users), (_, items) = (np.unique(column, return_inverse=True) for column in (users, items))
    n_train = len(z["split_train_user"])
    shape = (int(users.max()) + 1, int(items.max()) + 1)
    train = interactions(users[:n_train], items[:n_train], shape)
    return train, interactions(users[n_train:], items[n_train:], shape)


def test_popularity_on_lastfm(data_dir):
    train, test = lastfm(data_dir)
    report = evaluate_ranking(
        Popularity().fit(train), test, metrics=("recall@20", "hit_rate@20", "recall@10", "ndcg@10")
    )
    assert round(report["recall@20"], 4) == 0.1353
    assert round(report["hit_rate@20"], 4) == 0.5353
    # computed elsewhere, with ties in another order
    assert abs(report["recall@10"] - 0.0895) < 0.0005
    assert abs(report["ndcg@10"] - 0.0933) < 0.0005


def test_chance_on_lastfm(data_dir):
    train, test = lastfm(data_dir)
    metrics = ("recall@20", "hit_rate@20", "ndcg@20")
    reports = [
        evaluate_ranking(Random(random_state=s).fit(train), test, metrics=metrics) for s in range(4)
    ]
    for name, published in (("recall@20", 0.0140), ("hit_rate@20", 0.0990), ("ndcg@20", 0.0094)):
        mean = np.mean([report[name] for report in reports])
        error = np.mean([report.standard_error(name) for report in reports])
        assert abs(mean - published) < 4 * error  # the published figure is of one draw
