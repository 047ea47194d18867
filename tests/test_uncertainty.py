"""Standard deviations of ALS and ImplicitALS against dense systems, and what other models say."""

from __future__ import annotations

import numpy as np
import pytest
from fitted_models import star_ratings

import cymf
from cymf._uncertainty import posterior_of
from cymf.evaluation import kfold


def dense(model, ratings):
    """Every user's and item's system of a fitted ALS, as its definition says; and the cells."""
    k, use_bias = model.n_factors, model.user_bias_ is not None
    there = np.zeros(ratings.shape)
    weights = np.ones(ratings.nnz) if ratings.weights is None else ratings.weights
    there[ratings.users, ratings.items] = weights
    reg_bias = model.reg if model.reg_bias is None else model.reg_bias
    penalty = np.diag([model.reg] * k + [reg_bias] * use_bias)
    ones = [1.0] if use_bias else []
    users, items = (
        np.column_stack([factors.astype(float), *(np.full(len(factors), one) for one in ones)])
        for factors in (model.user_factors_, model.item_factors_)
    )

    def systems(cells, g):
        counts = np.maximum(1, (cells != 0).sum(1))
        return [
            (g.T * row) @ g + n**model.reg_exponent * penalty
            for row, n in zip(cells, counts, strict=True)
        ]

    return there, users, items, systems(there, items), systems(there.T, users), penalty


def twin_of_als(model, ratings):
    """σ², and the latent variances of all cells."""
    there, users, items, user_systems, item_systems, penalty = dense(model, ratings)
    cells = there != 0
    predicted = model.predict(ratings.users, ratings.items)
    weights = there[ratings.users, ratings.items]
    error = float(np.sum(weights * (predicted - ratings.values) ** 2))
    used = 0.0
    for systems, counts in ((user_systems, cells.sum(1)), (item_systems, cells.sum(0))):
        for matrix, n in zip(systems, counts, strict=True):
            if n:
                trace = np.trace(n**model.reg_exponent * penalty @ np.linalg.inv(matrix))
                used += len(penalty) - trace
    n = np.count_nonzero(weights)
    noise = error / max(n - used, 0.1 * n)
    latent = np.array(
        [
            [
                g @ np.linalg.solve(a, g) + w @ np.linalg.solve(b, w)
                for g, b in zip(items, item_systems, strict=True)
            ]
            for w, a in zip(users, user_systems, strict=True)
        ]
    )
    return noise, noise * latent


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("weights", [None, "integer"])
def test_als_says_what_its_systems_say(use_bias, weights):
    ratings = star_ratings(weights=weights)
    model = cymf.ALS(4, reg=1.5, reg_bias=0.7, use_bias=use_bias, dtype="float64", n_threads=1)
    model.fit(ratings)
    noise, expected = twin_of_als(model, ratings)
    assert posterior_of(model, model._fitted()).noise_variance == pytest.approx(noise, rel=1e-6)
    known = np.ix_(np.flatnonzero(ratings.user_counts), np.flatnonzero(ratings.item_counts))
    users, items = (grid.ravel() for grid in np.meshgrid(*known, indexing="ij"))
    prediction, latent = model.predict(users, items, return_std=True, std="latent")
    np.testing.assert_allclose(latent.reshape(known[0].size, -1) ** 2, expected[known], rtol=1e-6)
    np.testing.assert_array_equal(prediction, model.predict(users, items))
    predictive = model.predict(users, items, return_std=True)[1]
    np.testing.assert_allclose(predictive**2, latent**2 + noise, rtol=1e-6)


def test_a_scalar_pair_gets_scalars_and_threads_change_no_bit():
    ratings = star_ratings()
    one, three = (cymf.ALS(4, n_threads=n).fit(ratings) for n in (1, 3))
    rating, deviation = one.predict(3, 4, return_std=True)
    assert isinstance(rating, float)
    assert isinstance(deviation, float)
    users, items = np.arange(30), np.arange(30)
    np.testing.assert_array_equal(
        one.predict(users, items, return_std=True)[1],
        three.predict(users, items, return_std=True)[1],
    )


def test_unknown_rows_have_what_the_penalty_says():
    ratings = star_ratings()  # the last user and the first item are unknown
    model = cymf.ALS(3, reg=2.0, reg_bias=0.5, n_threads=1).fit(ratings)
    noise = posterior_of(model, model._fitted()).noise_variance
    h = model.item_factors_[5].astype(float)
    item_row = model.predict(3, 5, return_std=True, std="latent")[1]
    prior = noise * (h @ h / 2.0 + 1 / 0.5)
    prediction, deviation = model.predict(39, 5, return_std=True, std="latent")
    assert prediction == pytest.approx(model.global_mean_ + float(model.item_bias_[5]))
    assert deviation**2 >= prior
    assert deviation > item_row
    neither = model.predict(39, 0, return_std=True, std="latent")[1]
    assert neither**2 == pytest.approx(noise * 2 / 0.5 + 3 * (noise / 2.0) ** 2, rel=1e-5)


def test_the_more_ratings_the_surer():
    rng = np.random.default_rng(0)
    there = rng.random((60, 50)) < np.linspace(0.05, 0.9, 60)[:, None]
    users, items = np.nonzero(there)
    values = 3 + rng.normal(size=len(users))
    model = cymf.ALS(2, reg_exponent=0.0, n_threads=1).fit(np.column_stack([users, items]), values)
    deviations = model.predict(np.arange(60), np.full(60, 7), return_std=True, std="latent")[1]
    assert np.corrcoef(deviations, there.sum(1))[0, 1] < -0.7


def test_als_is_calibrated_where_the_prior_is_right():
    rng = np.random.default_rng(0)
    noise, spread, k = 0.7, 0.6, 3
    w, h = spread * rng.normal(size=(200, k)), spread * rng.normal(size=(150, k))
    b, c = 0.5 * rng.normal(size=200), 0.5 * rng.normal(size=150)
    expected = 3 + b[:, None] + c + w @ h.T
    users, items = np.nonzero(rng.random(expected.shape) < 0.3)
    values = expected[users, items] + noise * rng.normal(size=len(users))
    train = rng.random(len(users)) < 0.8
    model = cymf.ALS(
        k, reg=(noise / spread) ** 2, reg_bias=(noise / 0.5) ** 2, reg_exponent=0.0, n_threads=1, max_iter=30
    )  # fmt: skip
    model.fit(np.column_stack([users, items])[train], values[train])
    predicted, deviation = model.predict(users[~train], items[~train], return_std=True)
    scores = (predicted - values[~train]) / deviation
    assert np.std(scores) == pytest.approx(1, abs=0.06)
    noise_found = posterior_of(model, model._fitted()).noise_variance
    assert np.sqrt(noise_found) == pytest.approx(noise, abs=0.05)
    latent = model.predict(users[~train], items[~train], return_std=True, std="latent")
    errors = (latent[0] - expected[users, items][~train]) / latent[1]
    assert np.std(errors) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("weighting", ["hu", "rendle"])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_implicit_als_says_what_its_systems_say(weighting, use_bias, exponent):
    rng = np.random.default_rng(0)
    strengths = np.where(rng.random((30, 25)) < 0.25, rng.integers(-1, 4, (30, 25)), np.nan)
    strengths[4] = strengths[:, 0] = np.nan
    model = cymf.ImplicitALS(
        3, weighting=weighting, use_bias=use_bias, reg=0.1, reg_bias=0.2, unobserved_weight=0.2,
        popularity_exponent=exponent, alpha=0.5, dtype="float64", n_threads=1,
    )  # fmt: skip
    model.fit(strengths)
    there = ~np.isnan(strengths)
    size = np.where(there, np.abs(strengths), 0)
    confidence = np.where(there, 1 + 0.5 * np.log1p(size), 0)
    target = np.where(there & (strengths > 0), 1.0, 0.0)
    n_users, n_items = there.sum(0), there.sum(1)
    rows, columns = np.flatnonzero(n_items), np.flatnonzero(n_users)
    shares = np.where(n_users > 0, np.maximum(1, n_users) ** exponent, 0)
    v = 0.2 * shares / shares[columns].mean()
    scores = model.predict(
        np.repeat(np.arange(30), 25), np.tile(np.arange(25), 30), by="index"
    ).reshape(30, 25)
    weights = confidence + (v if weighting == "rendle" else np.where(there, 0, v))
    used_cells = np.ix_(rows, columns)
    error = np.sum(confidence * (target - scores) ** 2)
    off = v * scores**2 * (1 if weighting == "rendle" else ~there)
    error += np.sum(off[used_cells])
    gamma = np.sqrt(0.1 / 0.2)
    w, h = (
        np.column_stack([f, *([np.full(len(f), gamma)] if use_bias else [])])
        for f in (model.user_factors_, model.item_factors_)
    )
    rho_user = 0.1 * (n_items + v.sum())
    rho_item = 0.1 * (n_users + v * len(rows))
    q = w.shape[1]
    user_systems = {
        i: (h[columns].T * weights[i, columns]) @ h[columns] + rho_user[i] * np.eye(q) for i in rows
    }
    item_systems = {
        j: (w[rows].T * weights[rows, j]) @ w[rows] + rho_item[j] * np.eye(q) for j in columns
    }
    used = sum(q - rho_user[i] * np.trace(np.linalg.inv(user_systems[i])) for i in rows)
    used += sum(q - rho_item[j] * np.trace(np.linalg.inv(item_systems[j])) for j in columns)
    n_cells = len(rows) * len(columns)
    noise = error / max(n_cells - used, 0.1 * n_cells)
    assert posterior_of(model, model._fitted()).noise_variance == pytest.approx(noise, rel=1e-6)
    for i, j in ((0, 1), (3, 7), (29, 24)):
        expected = h[j] @ np.linalg.solve(user_systems[i], h[j])
        expected += w[i] @ np.linalg.solve(item_systems[j], w[i])
        latent = model.predict(i, j, return_std=True, std="latent")[1]
        assert latent**2 == pytest.approx(noise * expected, rel=1e-5)
    assert model.predict(4, 3, return_std=True)[1] > latent
    assert model.predict(4, 0, return_std=True)[1] > 0


def test_models_that_do_not_know_say_so():
    ratings = star_ratings()
    model = cymf.SGD(n_factors=2, max_iter=2, n_threads=1).fit(ratings)
    with pytest.raises(TypeError, match=r"SGD does not know .* ALS, ImplicitALS and BayesianMF do"):
        model.predict(1, 1, return_std=True)


def test_what_is_missing_is_named():
    ratings = star_ratings()
    without = cymf.ALS(2, store_ratings=False, n_threads=1).fit(ratings)
    with pytest.raises(ValueError, match="fit it with store_ratings=True"):
        without.predict(1, 1, return_std=True)
    free = cymf.ALS(2, reg=0.0, n_threads=1).fit(ratings)
    with pytest.raises(ValueError, match="uncertainty needs reg > 0"):
        free.predict(1, 1, return_std=True)
    model = cymf.ALS(2, n_threads=1).fit(ratings)
    with pytest.raises(
        ValueError, match="std='sigma' is unknown; expected one of 'predictive', 'latent'"
    ):
        model.predict(1, 1, return_std=True, std="sigma")
    assert np.isfinite(without.predict(1, 1))


def test_a_loaded_model_knows_the_same(tmp_path):
    model = cymf.ALS(3, n_threads=1).fit(star_ratings())
    model.save(tmp_path / "model")
    assert cymf.load(tmp_path / "model").predict(3, 3, return_std=True) == model.predict(
        3, 3, return_std=True
    )


def test_predictive_deviations_on_movielens(data_dir):
    ratings = cymf.datasets.load_movielens("100k", data_home=data_dir).ratings
    train, test = next(iter(kfold(ratings, 5, random_state=0)))
    model = cymf.ALS(16, n_threads=1).fit(train)
    predicted, deviation = model.predict(test.users, test.items, by="index", return_std=True)
    inside = np.abs(predicted - test.values) < 1.645 * deviation
    assert 0.82 < inside.mean() < 0.97
    # less sure where it errs more
    halves = deviation > np.median(deviation)
    errors = (predicted - test.values) ** 2
    assert errors[halves].mean() > 1.05 * errors[~halves].mean()
