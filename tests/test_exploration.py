"""Recommendations that explore, what they earn in a made-up world, and replays of logs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fitted_models import star_ratings

import cymf
from cymf._uncertainty import posterior_of
from cymf.evaluation import replay


@pytest.fixture(scope="module")
def models():
    ratings = star_ratings()
    likes = cymf.Ratings.from_triplets(
        ratings.users, ratings.items, np.ones(ratings.nnz), shape=ratings.shape
    )
    return {
        "ALS": cymf.ALS(3, n_threads=1).fit(ratings),
        "ALS without biases": cymf.ALS(3, use_bias=False, n_threads=1).fit(ratings),
        "ImplicitALS": cymf.ImplicitALS(3, n_threads=1).fit(likes),
        "ImplicitALS with biases": cymf.ImplicitALS(3, use_bias=True, n_threads=1).fit(likes),
        "BayesianMF": cymf.BayesianMF(3, n_samples=20, n_threads=1).fit(ratings),
    }


by_model = pytest.mark.parametrize(
    "name",
    ["ALS", "ALS without biases", "ImplicitALS", "ImplicitALS with biases", "BayesianMF"],
)


def bounds(model, user, scale):
    """Prediction plus deviations of all items."""
    items = np.arange(model._fitted().n_items)
    rating, deviation = model.predict(user, items, return_std=True, std="latent")
    return rating + scale * deviation


@by_model
@pytest.mark.parametrize("scale", [0.5, 2])
def test_upper_bounds_rank_as_predictions_and_deviations_say(models, name, scale):
    model = models[name]
    state = model._fitted()
    items, scores = model.recommend([0, 7], 5, explore="ucb", explore_scale=scale)
    for place, user in enumerate((0, 7)):
        expected = bounds(model, user, scale).astype(float)
        expected[state.item_counts == 0] = -np.inf
        view = state.ratings.csr(np.float32)
        expected[view.indices[view.indptr[user] : view.indptr[user + 1]]] = -np.inf
        assert items[place].tolist() == np.argsort(-expected, kind="stable")[:5].tolist()
        np.testing.assert_allclose(scores[place], np.sort(expected)[::-1][:5], rtol=1e-4)


@by_model
def test_without_scale_nothing_is_explored(models, name):
    model = models[name]
    plain = model.recommend(np.arange(30), 6)
    for explore in ("ucb", "thompson"):
        items, scores = model.recommend(np.arange(30), 6, explore=explore, explore_scale=0)
        np.testing.assert_allclose(scores, plain[1], rtol=1e-4, atol=1e-5)
        assert np.mean(items == plain[0]) > 0.97  # but for ties of rounding


@by_model
def test_draws_depend_on_the_seed_and_the_user_alone(models, name):
    model = models[name]
    options = {"explore": "thompson", "explore_scale": 1.0, "random_state": 3}
    together = model.recommend([4, 9, 2], 5, **options)
    alone = model.recommend(9, 5, **options)
    np.testing.assert_array_equal(together[0][1], alone[0])
    np.testing.assert_array_equal(together[1][1], alone[1])
    other = model.recommend([4, 9, 2], 5, **(options | {"random_state": 4}))
    assert not np.array_equal(other[1], together[1])
    everybody = np.arange(30)
    fresh = [model.recommend(everybody, 5, explore="thompson")[1] for _ in range(2)]
    assert not np.array_equal(*fresh)


@by_model
def test_users_of_whom_nothing_is_known(models, name):
    model = models[name]
    items, scores = model.recommend(
        [39, 0, 39], 30, explore="thompson", exclude_seen=False, random_state=0
    )
    assert np.isnan(scores[:, 29]).all()  # one item has no ratings
    assert (items[:, 29] == -1).all()
    assert not np.array_equal(scores[0], scores[2])  # two unknown users draw apart
    items, scores = model.recommend(39, 29, explore="ucb", exclude_seen=False)
    assert sorted(items) == list(range(1, 30))
    assert np.all(np.diff(scores) <= 0)


def test_sampled_scores_of_als_have_its_variance(models):
    model = models["ALS"]
    posterior = posterior_of(model, model._fitted())
    row = np.array([5])
    scores = np.array([posterior.sampled_scores(row, row, seed, 0.2)[0] for seed in range(2000)])
    predicted, deviation = model.predict(5, np.arange(30), return_std=True, std="latent")
    spread = 0.2 * deviation
    np.testing.assert_allclose(scores.std(axis=0)[1:], spread[1:], rtol=0.1)
    assert np.all(np.abs(scores.mean(axis=0) - predicted)[1:] < 5 * spread[1:] / math.sqrt(2000))


def test_draws_of_bayesian_mf_are_its_kept_ones(models):
    model = models["BayesianMF"]
    state = model._fitted()
    _, scores = model.recommend(
        3, 29, explore="thompson", exclude_seen=False, by="index", random_state=1
    )
    items = model.recommend(3, 29, explore="thompson", exclude_seen=False, random_state=1)[0]
    k, n = 3, 20
    distances = []
    for s in range(n):
        block = slice(s * k, s * k + k)
        drawn = state.extra["draws_mean"][s] + state.extra["draws_user_bias"][s, 3]
        drawn += (
            state.extra["draws_item_bias"][s]
            + n * state.item_factors[:, block] @ state.user_factors[3, block]
        )
        distances.append(np.abs(drawn[items] - scores).max())
    assert min(distances) < 1e-4
    assert sorted(distances)[1] > 1e-3


def test_candidates_filters_and_ids():
    names = [f"film {j}" for j in range(12)]
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((20, 12)) < 0.5)
    ratings = cymf.Ratings.from_triplets(
        [f"user {i}" for i in users], [names[j] for j in items], rng.integers(1, 6, len(users))
    )
    model = cymf.ALS(2, n_threads=1).fit(ratings)
    options = {"explore": "ucb", "exclude_seen": False}
    found, _ = model.recommend("user 3", 3, candidates=names[:4], filter=[names[1]], **options)
    assert sorted(found) == sorted([names[0], names[2], names[3]])
    own, scores = model.recommend(
        ["user 3", "user 4"], 2, candidates=[[names[5]], [names[6], names[7]]], **options
    )
    assert own[0].tolist() == [names[5], ""]
    assert np.isnan(scores[0, 1])
    assert sorted(own[1]) == [names[6], names[7]]
    table = model.recommend_table(["user 3"], 2, explore="ucb")
    assert len(table) == 2


def test_errors(models):
    model = models["ALS"]
    with pytest.raises(ValueError, match="explore='greedy' is unknown"):
        model.recommend(1, explore="greedy")
    with pytest.raises(ValueError, match="explore_scale=-1"):
        model.recommend(1, explore="ucb", explore_scale=-1)
    with pytest.raises(TypeError, match="SGD does not know"):
        cymf.SGD(2, max_iter=1, n_threads=1).fit(star_ratings()).recommend(1, explore="ucb")


# ---- a made-up world ------------------------------------------------------------------------------


def regret(explore, scale, seed, epsilon=0.0, rounds=200):
    """What choosing lost against knowing: every round gives everybody one item, which they may have had before."""
    rng = np.random.default_rng(seed)
    n_users, n_items, k, noise = 30, 40, 2, 0.5
    w, h = (0.9 * rng.normal(size=(n, k)) for n in (n_users, n_items))
    truth = 3 + rng.normal(0, 0.3, n_items) + w @ h.T
    everybody, counts, sums = np.arange(n_users), np.zeros(truth.shape), np.zeros(truth.shape)

    def rate(users, items):
        np.add.at(counts, (users, items), 1)
        np.add.at(sums, (users, items), truth[users, items] + rng.normal(0, noise, len(users)))

    rate(rng.integers(0, n_users, n_items), np.arange(n_items))
    rate(everybody, rng.integers(0, n_items, n_users))
    lost = 0.0
    for turn in range(rounds):
        users, items = np.nonzero(counts)
        seen = counts[users, items]
        data = cymf.Ratings.from_triplets(
            users, items, sums[users, items] / seen, weights=seen, shape=truth.shape
        )
        model = cymf.ALS(
            k, reg=0.3, reg_bias=2.8, reg_exponent=0.0, max_iter=5, tol=0, track_objective=False, n_threads=1
        ).fit(data)  # fmt: skip
        chosen = model.recommend(
            everybody,
            1,
            exclude_seen=False,
            explore=explore,
            explore_scale=scale,
            random_state=turn,
        )[0][:, 0]
        anything = rng.integers(0, n_items, n_users)
        chosen = np.where(rng.random(n_users) < epsilon, anything, chosen)
        lost += float(np.mean(truth.max(1) - truth[everybody, chosen]))
        rate(everybody, chosen)
    return lost


def test_exploring_loses_less_than_greed():
    greedy, epsilon, ucb, thompson = (
        np.mean([regret(explore, scale, seed, share) for seed in range(4)])
        for explore, scale, share in (
            (None, 1.0, 0.0),
            (None, 1.0, 0.05),
            ("ucb", 1.0, 0.0),
            ("thompson", 0.5, 0.0),
        )
    )
    assert ucb < 0.95 * min(greedy, epsilon)
    assert thompson < 0.95 * min(greedy, epsilon)


# ---- replay ---------------------------------------------------------------------------------------


def uniform_log(n, rng):
    quality = np.array([0.2, 0.5, 0.8])
    shown = rng.integers(0, 3, n)
    rewards = (rng.random(n) < quality[shown]).astype(float)
    return [
        (f"user {t}", [0, 1, 2], int(j), r)
        for t, (j, r) in enumerate(zip(shown, rewards, strict=True))
    ]


def test_replay_finds_what_a_policy_earns():
    log = uniform_log(6000, np.random.default_rng(0))
    report = replay(lambda user, candidates: 2, log)
    assert abs(report.mean_reward - 0.8) < 4 * report.standard_error
    assert report.n_events == 6000
    assert report.n_matched == sum(shown == 2 for _, _, shown, _ in log)
    assert report.standard_error == pytest.approx(0.4 / math.sqrt(report.n_matched), rel=0.1)


def test_a_policy_learns_from_what_it_chose_alone():
    earned, told = np.zeros((2, 3)), []

    def choose(user, candidates):
        return int(np.argmax((earned[0] + 1) / (earned[1] + 1)))

    def learn(user, item, reward):
        told.append(item)
        earned[:, item] += reward, 1

    report = replay(choose, uniform_log(3000, np.random.default_rng(1)), learn=learn)
    assert len(told) == report.n_matched
    assert report.mean_reward > 0.7


def test_replay_of_nothing_and_of_nonsense():
    empty = replay(lambda user, candidates: 1, [])
    assert math.isnan(empty.mean_reward)
    assert empty.n_matched == empty.n_events == 0
    with pytest.raises(ValueError, match="choose returned 5 to user 'ann'"):
        replay(lambda user, candidates: 5, [("ann", [1, 2], 1, 1.0)])
    with pytest.raises(ValueError, match="the log has shown 3 to user 'ann'"):
        replay(lambda user, candidates: 1, [("ann", [1, 2], 3, 1.0)])
    with pytest.raises(ValueError, match="reward of event 1 is nan"):
        replay(lambda user, candidates: 1, [("ann", [1, 2], 1, math.nan)])
