"""BayesianMF: reproducible draws, calibrated on a generated world and on MovieLens, ids, files, errors."""

from __future__ import annotations

import numpy as np
import pytest
from fitted_models import ThreadsEvenForLittle, star_ratings

import cymf
from cymf._normal_wishart import draw_normal_wishart, draw_wishart
from cymf.evaluation import kfold


def small(**parameters):
    return cymf.BayesianMF(
        **(
            {"n_factors": 3, "burn_in": 5, "n_samples": 6, "thinning": 2, "n_threads": 1}
            | parameters
        )
    )


def world(n_users=150, n_items=120, k=3, density=0.25, noise=0.6, seed=0):
    """Ratings of a model of this kind, split in two, and the expected ratings."""
    rng = np.random.default_rng(seed)
    expected = 3 + rng.normal(0, 0.4, (n_users, 1)) + rng.normal(0, 0.4, n_items)
    expected += 0.7 * rng.normal(size=(n_users, k)) @ rng.normal(size=(k, n_items))
    users, items = np.nonzero(rng.random(expected.shape) < density)
    ratings = expected[users, items] + rng.normal(0, noise, len(users))
    train = rng.random(len(users)) < 0.7
    return expected, *((users[part], items[part], ratings[part]) for part in (train, ~train))


def bits(model):
    state = model._fitted()
    arrays = [state.user_factors, state.item_factors, state.user_bias, *state.extra.values()]
    return b"".join(array.tobytes() for array in arrays)


def held_out_predictions(model, ratings):
    return model.predict(ratings.users, ratings.items, by="index")


@pytest.mark.parametrize("implicit_sets", [None, "user", "both"])
def test_same_bits_for_any_number_of_threads_and_by_the_seed(implicit_sets, monkeypatch):
    ratings = star_ratings(weights="integer")
    one = small(implicit_sets=implicit_sets).fit(ratings)
    assert bits(one) != bits(small(implicit_sets=implicit_sets, random_state=1).fit(ratings))
    used = ThreadsEvenForLittle(monkeypatch)
    three = small(implicit_sets=implicit_sets, n_threads=3).fit(ratings)
    assert used.calls > 0
    assert bits(one) == bits(three)


@pytest.mark.parametrize("implicit_sets", [None, "both"])
def test_predictions_are_means_over_the_draws(implicit_sets):
    ratings = star_ratings()
    model = small(implicit_sets=implicit_sets, dtype="float64").fit(ratings)
    state, s, k = model._fitted(), 6, 3
    draws = [
        state.extra["draws_mean"][t]
        + state.extra["draws_user_bias"][t][:, None]
        + state.extra["draws_item_bias"][t]
        + s * state.user_factors[:, t * k : t * k + k] @ state.item_factors[:, t * k : t * k + k].T
        for t in range(s)
    ]
    mean, spread = np.mean(draws, axis=0), np.std(draws, axis=0, ddof=1)
    known = np.ix_(ratings.user_counts > 0, ratings.item_counts > 0)
    users, items = np.meshgrid(*(np.arange(n) for n in ratings.shape), indexing="ij")
    predicted, latent = model.predict(users.ravel(), items.ravel(), return_std=True, std="latent")
    np.testing.assert_allclose(predicted.reshape(ratings.shape)[known], mean[known])
    np.testing.assert_allclose(latent.reshape(ratings.shape)[known], spread[known])
    noise = (
        model.predict(3, 3, return_std=True)[1] ** 2
        - model.predict(3, 3, return_std=True, std="latent")[1] ** 2
    )
    assert noise == pytest.approx(np.mean(state.extra["draws_noise_variance"]))
    assert model.noise_std_ == pytest.approx(np.sqrt(noise))


def test_a_generated_world_is_learnt_and_its_noise_known():
    expected, (users, items, ratings), (test_users, test_items, _) = world()
    shape = expected.shape
    data = cymf.Ratings.from_triplets(users, items, ratings, shape=shape)
    model = cymf.BayesianMF(n_factors=4, n_threads=1, n_samples=60, thinning=3).fit(data)
    assert model.noise_std_ == pytest.approx(0.6, abs=0.06)
    error = model.predict(test_users, test_items) - expected[test_users, test_items]
    als = cymf.ALS(n_factors=4, reg=0.6, n_threads=1).fit(data)
    others = als.predict(test_users, test_items) - expected[test_users, test_items]
    assert np.sqrt(np.mean(error**2)) < 0.95 * np.sqrt(np.mean(others**2))


@pytest.mark.parametrize("std", ["predictive", "latent"])
def test_intervals_cover_what_they_say(std):
    covered, n = {0.5: 0, 0.9: 0}, 0
    for seed in range(3):
        expected, (users, items, ratings), (test_users, test_items, test) = world(seed=seed)
        data = cymf.Ratings.from_triplets(users, items, ratings, shape=expected.shape)
        model = cymf.BayesianMF(n_factors=3, n_threads=1, random_state=seed).fit(data)
        truth = test if std == "predictive" else expected[test_users, test_items]
        n += len(truth)
        for level in covered:
            low, high = model.predict_interval(test_users, test_items, level=level, std=std)
            covered[level] += np.sum((low < truth) & (truth < high))
    for level, count in covered.items():
        assert count / n == pytest.approx(level, abs=0.035)


def test_units_of_ratings_do_not_matter():
    ratings = star_ratings()
    scaled = cymf.Ratings.from_triplets(
        ratings.users, ratings.items, 16 * ratings.values - 8, shape=ratings.shape
    )
    one = small(dtype="float64").fit(ratings)
    other = small(dtype="float64", init_std=0.1 * 4).fit(scaled)
    a, b = (m.predict(ratings.users, ratings.items, return_std=True) for m in (one, other))
    np.testing.assert_allclose(b[0], 16 * a[0] - 8, rtol=1e-6)
    np.testing.assert_allclose(b[1], 16 * a[1], rtol=1e-6)


def test_history_has_the_error_of_the_mean_over_sweeps():
    ratings = star_ratings(density=0.5)
    train, test = next(iter(kfold(ratings, 4, random_state=0)))
    seen = []
    model = small(thinning=1).fit(train, validation=test, callback=seen.append)
    history = model.history_
    assert model.n_iter_ == len(seen) == len(history["validation_rmse"]) == model.max_iter == 11
    # with thinning=1 the kept draws are all sweeps after burn_in
    assert history["validation_rmse"][-1] == pytest.approx(model.rmse(test), rel=1e-4)
    assert history["train_rmse"][-1] < 2
    assert model.stop_reason_ == "max_iter"


def test_a_model_stopped_early_has_what_there_is():
    ratings = star_ratings()
    model = small().fit(ratings, callback=lambda record: record.iteration == 2)
    assert model.stop_reason_ == "callback"
    assert model.user_factors_.shape == (40, 3)
    assert np.isfinite(model.predict(1, 1))
    model = small().fit(ratings, callback=lambda record: record.iteration == 9)
    assert model.user_factors_.shape == (40, 6)
    assert model.predict_interval(1, 1)[0] < model.predict(1, 1)


def test_sets_help_where_who_rates_what_tells_the_taste():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 2, (2, 300))
    alike = groups[0][:, None] == groups[1]
    users, items = np.nonzero(rng.random(alike.shape) < np.where(alike, 0.09, 0.01))
    values = 3 + np.where(alike[users, items], 1.0, -1.0) + rng.normal(0, 0.5, len(users))
    data = cymf.Ratings.from_triplets(users, items, values, shape=alike.shape)
    train, test = next(iter(kfold(data, 5, random_state=0)))
    plain, sets = (
        cymf.BayesianMF(2, implicit_sets=which, n_threads=1, n_samples=30).fit(train).rmse(test)
        for which in (None, "both")
    )
    assert sets < plain - 0.01


def test_set_means_are_sums_of_the_vectors():
    from cymf._gibbs import GibbsSampler
    from cymf._inputs import training_ratings
    from cymf._parallel import Workers
    from cymf._problem import Problem

    ratings = training_ratings(star_ratings())
    with Workers(1) as workers:
        problem = Problem(
            ratings, n_factors=3, dtype=np.dtype(np.float32), reg=0.0, reg_bias=0.0, reg_exponent=0.0,
            use_bias=True, validation=None, workers=workers,
        )  # fmt: skip
        rng = np.random.default_rng(0)
        sampler = GibbsSampler(problem, problem.random(rng, 0.1), rng, "both")
        for _ in range(60):
            sampler.sweep()
    there = ratings.to_scipy().toarray() != 0
    for which, matrix in (("user", there), ("item", there.T)):
        sets = sampler._beforehand[which].sets
        counts = np.maximum(1, matrix.sum(1))[:, None]
        expected = matrix @ sets.vectors / np.sqrt(counts)
        np.testing.assert_allclose(sets.means, expected, atol=1e-4 * np.abs(expected).max())
        assert np.abs(sets.vectors).max() > 0


def test_unknown_rows_are_predicted_by_their_mean_and_are_less_sure():
    ratings = star_ratings()  # the last user and the first item are unknown
    model = small(n_samples=40).fit(ratings)
    known, unknown = model.predict([0, -5], [3, 3], return_std=True, std="latent")
    assert unknown[1] > unknown[0]
    rating, deviation = model.predict(39, 3, return_std=True)
    assert rating == pytest.approx(float(known[1]))
    assert deviation > unknown[1]
    nothing = model.predict(39, 0, return_std=True, std="latent")
    assert nothing[0] == pytest.approx(model.global_mean_, rel=1e-5)
    assert nothing[1] > max(unknown[1], model.predict(0, 0, return_std=True, std="latent")[1])


def test_weights_are_precisions():
    ratings = star_ratings(weights="integer")
    twice = cymf.Ratings.from_triplets(
        ratings.users,
        ratings.items,
        ratings.values,
        weights=100.0 * ratings.weights,
        shape=ratings.shape,
    )
    light, heavy = (small(dtype="float64").fit(data) for data in (ratings, twice))
    assert heavy.noise_std_ == pytest.approx(10 * light.noise_std_, rel=1e-6)
    one, other = (m.predict(ratings.users, ratings.items) for m in (light, heavy))
    np.testing.assert_allclose(one, other, rtol=1e-6)


def test_saving_and_loading(tmp_path):
    model = small(implicit_sets="user").fit(star_ratings())
    model.save(tmp_path / "model")
    again = cymf.load(tmp_path / "model")
    assert bits(model) == bits(again)
    assert again.get_params() == model.get_params()
    assert again.predict_interval(2, 2) == model.predict_interval(2, 2)


def test_start_from_another_model():
    ratings = star_ratings()
    als = cymf.ALS(n_factors=3, n_threads=1).fit(ratings)
    model = small(burn_in=0, n_samples=1, thinning=1).fit(ratings, init=als)
    cold = small(burn_in=0, n_samples=1, thinning=1).fit(ratings)
    assert model.history_["train_rmse"][0] < cold.history_["train_rmse"][0]


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"burn_in": -1}, ValueError, "burn_in=-1 is too small"),
        ({"n_samples": 0}, ValueError, "n_samples=0"),
        ({"thinning": 0.5}, TypeError, "thinning=0.5 is a float"),
        ({"implicit_sets": "items"}, ValueError, "expected one of 'user', 'both'"),
        ({"init_std": 0}, ValueError, "init_std"),
    ],
)
def test_wrong_parameters(parameters, error, message):
    with pytest.raises(error, match=message):
        small(**parameters).fit(star_ratings())


def test_wrong_levels():
    model = small().fit(star_ratings())
    for level in (0, 1, 1.5):
        with pytest.raises(ValueError, match="out of range"):
            model.predict_interval(1, 1, level=level)
    with pytest.raises(TypeError, match="level='much'"):
        model.predict_interval(1, 1, level="much")
    with pytest.raises(ValueError, match="std='both' is unknown"):
        model.predict_interval(1, 1, std="both")


def test_constant_ratings():
    ratings = cymf.Ratings.from_triplets([0, 0, 1, 2], [0, 1, 1, 0], [4.0, 4, 4, 4])
    model = small().fit(ratings)
    assert model.predict(2, 1) == pytest.approx(4, abs=2)


def test_wishart_draws_have_their_mean():
    rng = np.random.default_rng(0)
    scatter = np.array([[4.0, 1.0], [1.0, 2.0]])
    mean = np.mean([draw_wishart(scatter, 7.0, rng) for _ in range(4000)], axis=0)
    np.testing.assert_allclose(mean, 7 * np.linalg.inv(scatter), atol=0.1)


def test_normal_wishart_finds_mean_and_precision_of_many_rows():
    rng = np.random.default_rng(0)
    root = np.array([[1.0, 0.0], [0.7, 0.4]])
    rows = rng.normal(size=(20_000, 2)) @ root.T + [1.0, -2.0]
    mean, precision = draw_normal_wishart(rows, np.ones(2), rng)
    np.testing.assert_allclose(mean, [1, -2], atol=0.05)
    np.testing.assert_allclose(np.linalg.inv(precision), root @ root.T, atol=0.05)
    alone = draw_normal_wishart(np.zeros((0, 2)), np.ones(2), rng)
    assert np.isfinite(alone[1]).all()


def test_movielens_100k(data_dir):
    ratings = cymf.datasets.load_movielens("100k", data_home=data_dir).ratings
    train, test = next(iter(kfold(ratings, 5, random_state=0)))
    model = cymf.BayesianMF(16, burn_in=30, n_samples=20, thinning=4, n_threads=1).fit(
        train, validation=test
    )
    assert model.history_["validation_rmse"][-1] < 0.908  # folds differ: ALS has 0.919 here
    values = test.values
    low, high = model.predict_interval(test.users, test.items, by="index")
    assert np.mean((low < values) & (values < high)) == pytest.approx(0.9, abs=0.03)
