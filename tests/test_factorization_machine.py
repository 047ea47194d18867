"""Factorization machines: what they learn, what they equal, how the solvers behave."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import reference
import reference_fm
from generated import Compressed
from kernel_drivers import residual_gradient
from planted_machines import SOLVERS, machine, planted, ratings_of
from scipy import sparse

import cymf
from cymf._batches import Batches, Steps
from cymf._design import plain_design, stacked_design
from cymf._kernels import kernels
from cymf._losses import concordance, polya_gamma, preference_pairs
from cymf._machine import Machine
from cymf._parallel import Workers

# ---- what is learnt --------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_interactions_are_found(solver):
    X, y, _ = planted()
    model = machine(solver).fit(X[:1200], y[:1200])
    linear = np.linalg.lstsq(np.c_[np.ones(1200), X[:1200]], y[:1200], rcond=None)[0]
    error = np.sqrt(np.mean((model.predict(X[1200:]) - y[1200:]) ** 2))
    linear_error = np.sqrt(np.mean((np.c_[np.ones(300), X[1200:]] @ linear - y[1200:]) ** 2))
    assert error < 0.15 < linear_error / 4
    assert model.score(X[1200:], y[1200:]) > 0.98


@pytest.mark.parametrize("solver", SOLVERS)
def test_classes_are_found(solver):
    X, _, scores = planted(noise=0)
    labels = np.where(
        np.random.default_rng(1).random(1500) < 1 / (1 + np.exp(-3 * scores)), "yes", "no"
    )
    model = machine(solver, loss="logistic").fit(X[:1200], labels[:1200])
    assert model.classes_.tolist() == ["no", "yes"]
    best = np.mean(np.where(scores[1200:] > 0, "yes", "no") == labels[1200:])
    assert model.score(X[1200:], labels[1200:]) > best - 0.06
    probabilities = model.predict_proba(X[1200:])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    log_odds = model.decision_function(X[1200:])
    np.testing.assert_allclose(1 / (1 + np.exp(-log_odds)), probabilities[:, 1], rtol=1e-5)
    np.testing.assert_array_equal(model.predict(X[1200:]), np.where(log_odds > 0, "yes", "no"))


@pytest.mark.parametrize("solver", ["sgd", "adagrad"])
def test_order_within_groups_is_found(solver):
    X, _, scores = planted(noise=0)
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 40, 1500)
    levels = (
        rng.normal(size=40)[groups] * 10 + scores
    )  # groups differ in level, which must not matter
    train, test = slice(0, 1200), slice(1200, None)
    model = machine(solver, loss="bpr", n_negatives=3).fit(
        X[train], levels[train], groups=groups[train]
    )
    assert model.score(X[test], levels[test], groups=groups[test]) > 0.95
    assert concordance(model.predict(X[test]), levels[test], groups[test]) == pytest.approx(
        model.score(X[test], levels[test], groups=groups[test])
    )


def test_positives_rank_above_sampled_negatives():
    rng = np.random.default_rng(0)
    tastes, kinds = rng.integers(0, 3, 60), rng.integers(0, 3, 45)
    likes = (tastes[:, None] == kinds) & (rng.random((60, 45)) < 0.5)
    users, items = np.nonzero(likes)
    held_out = rng.random(len(users)) < 0.2
    ratings = cymf.Ratings.from_triplets(users[~held_out], items[~held_out])
    design = cymf.design_matrix(ratings, n_negatives=4)
    model = cymf.FactorizationMachine(8, loss="bpr", max_iter=60, n_threads=1).fit(design)
    new = design.encode(np.repeat(np.arange(60), 45), np.tile(np.arange(45), 60))
    scores = model.predict(new).reshape(60, 45)
    matching = tastes[:, None] == kinds
    assert scores[matching].mean() > scores[~matching].mean() + 1
    found = scores[users[held_out], items[held_out]]
    assert np.mean(found > np.median(scores, axis=1)[users[held_out]]) > 0.9


# ---- what it equals --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_hot_users_and_items_are_biased_matrix_factorization(dtype):
    """Scores are the model's of `SGD`, and the gradient that of `GradientDescent`'s kernel."""
    ratings = ratings_of()
    model = cymf.SGD(5, max_iter=3, dtype=dtype, n_threads=1).fit(ratings)
    design = cymf.design_matrix(ratings)
    own = Machine(50, 5, True, np.dtype(dtype))
    own.constant[:] = model.global_mean_
    own.weights[:] = np.concatenate([model.user_bias_, model.item_bias_])
    own.trimmed[:] = np.concatenate([model.user_factors_, model.item_factors_])
    rows = stacked_design(design.blocks, np.dtype(dtype))
    with Workers(1) as workers:
        np.testing.assert_allclose(
            own.scores(rows, workers),
            model.predict(*ratings.to_triplets()[:2]),
            rtol=1e-5 if dtype == "float32" else 1e-13,
        )
        before = own.copy()
        counts = np.concatenate([ratings.user_counts, ratings.item_counts])
        shares = np.full((50, 2), 0.05) * [2, 1]  # λ_b = 0.1, λ = 0.05, ν = 1
        plain = rows.expanded()
        steps = Steps(
            plain, own, "squared", ratings.values.astype(dtype), np.zeros(0, dtype), shares.astype(dtype),
            adagrad=False, limit=1e9, workers=workers,
        )  # fmt: skip
        steps.run(Batches.of(plain, np.arange(ratings.nnz), ratings.nnz), np.arange(1), 1.0)
    factor_gradient = (before.trimmed - own.trimmed) * counts[:, None]
    bias_gradient = (before.weights - own.weights) * counts
    view = ratings.csr(dtype)
    cells = Compressed(view.indptr, view.indices, view.values, np.zeros(0, dtype), 20)
    factors = reference.Factors(
        *(np.asarray(a, np.float64) for a in (
            model.user_factors_, model.item_factors_, model.user_bias_, model.item_bias_,
        )),
        model.global_mean_,
    )  # fmt: skip
    penalty = reference.Penalty(0.05, 0.1, 1.0)
    expected = [
        residual_gradient(kernels, part, side, penalty, True, 16)
        for part, side in ((cells, factors), (cells.by_column(), factors.transposed()))
    ]
    tolerance = {"rtol": 0, "atol": 2e-4 if dtype == "float32" else 1e-11}
    np.testing.assert_allclose(
        factor_gradient, np.concatenate([e.gradient[:, :5] for e in expected]), **tolerance
    )
    np.testing.assert_allclose(
        bias_gradient, np.concatenate([e.bias_gradient for e in expected]), **tolerance
    )


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_design_in_blocks_is_the_same_matrix(solver, loss):
    """Predictions are those of the matrix written out; so are mini-batches, which do not care for blocks."""
    ratings = ratings_of()
    design = cymf.design_matrix(ratings, history="both")
    y = design.target if loss == "squared" else design.target > 3.5
    model = machine(solver, loss=loss, dtype="float64", max_iter=12).fit(design, y)
    new = design.encode(np.arange(30), np.arange(30) % 20)
    outcome = "decision_function" if loss == "logistic" else "predict"
    expected = getattr(model, outcome)(new)
    np.testing.assert_allclose(getattr(model, outcome)(new.matrix), expected, rtol=1e-9)
    if solver in ("sgd", "adagrad"):
        model.fit(design.matrix, y)
        np.testing.assert_array_equal(getattr(model, outcome)(new), expected)


def test_dense_sparse_and_tables_are_one_matrix():
    X, y, _ = planted(200)
    model = machine("als", max_iter=5, dtype="float64")
    expected = model.fit(X, y).predict(X)
    with_zeros = sparse.coo_array(X)
    for form in (
        sparse.csr_array(X),
        sparse.csc_matrix(X),
        with_zeros,
        X.tolist(),
        np.asfortranarray(X),
    ):
        np.testing.assert_array_equal(model.fit(form, y).predict(form), expected)
    table = pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])
    np.testing.assert_array_equal(model.fit(table, y).predict(table), expected)
    assert model.feature_names_in_.tolist() == table.columns.tolist()
    doubled = sparse.csr_array(X / 2)
    doubled = sparse.coo_array(
        (np.tile(doubled.data, 2), tuple(np.tile(c, 2) for c in doubled.nonzero())), X.shape
    )
    np.testing.assert_array_equal(model.fit(doubled, y).predict(X), expected)


@pytest.mark.parametrize("solver", ["mcmc", "als"])
def test_weights_are_repetitions(solver):
    X, y, _ = planted(120)
    times = np.random.default_rng(0).integers(0, 4, 120)
    one = machine(solver, dtype="float64", max_iter=15).fit(X, y, sample_weight=times)
    other = machine(solver, dtype="float64", max_iter=15).fit(
        X.repeat(times, axis=0), y.repeat(times)
    )
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-6, atol=1e-8)


# ---- solvers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("stacked", [False, True])
def test_descent_never_goes_up(loss, stacked):
    ratings = ratings_of()
    design = cymf.design_matrix(ratings, history="user")
    y = design.target if loss == "squared" else design.target > 3.5
    X = design if stacked else design.matrix
    model = machine("als", loss=loss, dtype="float64", reg=0.1, max_iter=40).fit(X, y)
    objective = np.array(model.history_["objective"])
    assert np.all(np.diff(objective) <= 1e-9 * objective[:-1])


def test_the_objective_is_what_it_says():
    X, y, _ = planted(100)
    c = np.random.default_rng(0).uniform(0.5, 2, 100)
    for loss in ("squared", "logistic"):
        targets = y if loss == "squared" else y > 1
        model = machine(
            "als", loss=loss, reg=0.3, reg_bias=0.7, reg_exponent=0.5, dtype="float64", max_iter=3
        )
        model.fit(X, targets, sample_weight=c)
        found = reference_fm.Parameters(model.intercept_, model.weights_, model.factors_)
        signs = targets if loss == "squared" else np.where(targets, 1.0, -1.0)
        total, _ = reference_fm.loss_and_slopes(loss, reference_fm.scores(X, found), signs, c)
        counts = c @ (X != 0)
        penalty = np.sqrt(counts) @ (
            0.7 * model.weights_**2 + 0.3 * (model.factors_**2).sum(axis=1)
        )
        expected = total * (0.5 if loss == "squared" else 1) + 0.5 * penalty
        assert model.history_["objective"][-1] == pytest.approx(expected, rel=1e-9)
        if loss == "squared":
            assert model.history_["train_rmse"][-1] == pytest.approx(np.sqrt(total / c.sum()))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("loss", ["squared", "logistic", "bpr"])
def test_threads_change_no_bit(solver, loss, monkeypatch):
    if loss == "bpr" and solver in ("mcmc", "als"):
        pytest.skip("no such solver")
    monkeypatch.setattr("cymf._parallel._SMALL_WORK", -1)
    design = cymf.design_matrix(ratings_of(), history="both")
    y = design.target if loss == "squared" else design.target > 3.5
    fitted = [
        machine(solver, loss=loss, max_iter=12, batch_size=50, n_threads=n).fit(design, y)
        for n in (1, 3)
    ]
    assert fitted[0].factors_.tobytes() == fitted[1].factors_.tobytes()
    predictions = [np.asarray(model.predict(design)).tobytes() for model in fitted]
    assert predictions[0] == predictions[1]
    assert fitted[0].history_["objective"] == pytest.approx(
        fitted[1].history_["objective"], abs=0, nan_ok=True
    )


def test_draws_tell_their_spread():
    X, y, _ = planted(400, noise=0.5)
    model = machine("mcmc", max_iter=120).fit(X, y)
    assert model.noise_std_ == pytest.approx(0.5, abs=0.06)
    known, known_std = model.predict(X, return_std=True)
    far, far_std = model.predict(10 * X[:50], return_std=True)
    assert np.all(known_std >= 0)
    assert far_std.mean() > 5 * known_std.mean()
    assert known.dtype == far.dtype == np.float32


def test_kept_draws_are_spread_evenly():
    X, y, _ = planted(60)
    model = machine("mcmc", max_iter=30, burn_in=10, n_samples=7).fit(X, y)
    assert len(model._fitted().samples.constants) == 7
    assert machine("mcmc", max_iter=30, burn_in=10, n_samples=None).fit(X, y)._fitted().samples.factors.shape == (
        20, 12, 3,
    )  # fmt: skip
    design = plain_design(sparse.csr_array(X), np.dtype("float32"))
    mean = np.mean([m.scores(design, Workers(1)) for m in model._fitted().machines()], axis=0)
    np.testing.assert_allclose(model.predict(X), mean, rtol=1e-5, atol=1e-5)


def test_chains_are_pooled_whatever_the_threads():
    X, y, _ = planted(200)
    fitted = [machine("mcmc", max_iter=20, n_chains=3, n_threads=n).fit(X, y) for n in (1, 4)]
    np.testing.assert_array_equal(fitted[0].predict(X), fitted[1].predict(X))
    samples = fitted[0]._fitted().samples
    assert len(samples.constants) == 30
    assert len(np.unique(samples.constants)) == 30
    few = machine("mcmc", max_iter=20, n_chains=3, n_samples=6).fit(X, y)
    assert len(few._fitted().samples.constants) == 6
    watched = machine("mcmc", max_iter=20, n_chains=2, n_samples=None)
    watched.fit(X[:100], y[:100], validation=(X[100:], y[100:]))
    reached = np.sqrt(np.mean((watched.predict(X[100:]) - y[100:]) ** 2))
    assert watched.history_["validation_rmse"][-1] == pytest.approx(reached, rel=1e-4)


def test_the_scale_of_targets_does_not_matter_to_draws():
    X, y, _ = planted(300)
    one = machine("mcmc", max_iter=20, dtype="float64").fit(X, y).predict(X)
    other = machine("mcmc", max_iter=20, dtype="float64").fit(X, 1e5 * y).predict(X)
    np.testing.assert_allclose(other, 1e5 * one, rtol=1e-5, atol=10)


def test_columns_never_seen_add_nothing():
    X, y, _ = planted(300)
    X[:, 4] = 0
    for solver in ("als", "sgd", "adagrad"):
        model = machine(solver, max_iter=5).fit(X, y)
        assert np.all(model.factors_[4] == 0)
        assert model.weights_[4] == 0


def test_groups_of_columns_have_penalties_of_their_own():
    X, y, _ = planted(300)
    groups = np.arange(12) % 2
    model = machine("als", reg=[0.001, 1000.0], reg_bias=0.001).fit(X, y, column_groups=groups)
    size = np.abs(model.factors_).max(axis=1)
    assert size[groups == 1].max() < 0.01 < size[groups == 0].min()


def test_without_biases_there_are_none():
    X, y, _ = planted(100)
    for solver in SOLVERS:
        model = machine(solver, use_bias=False, max_iter=12).fit(X, y)
        assert model.weights_.shape == (0,)
        assert model.intercept_ == 0
        assert model.predict(np.zeros((1, 12)))[0] == 0


def test_pairs_prefer_the_higher_target_of_the_group():
    rng = np.random.default_rng(0)
    relevance, groups = rng.integers(0, 3, 50).astype(float), rng.integers(0, 9, 50)
    pairs = preference_pairs(relevance, groups, 20, rng)
    assert np.all(relevance[pairs[:, 0]] > relevance[pairs[:, 1]])
    assert np.all(groups[pairs[:, 0]] == groups[pairs[:, 1]])
    lower = [(groups == g) & (relevance < r) for g, r in zip(groups, relevance, strict=True)]
    assert set(pairs[:, 0]) == {row for row in range(50) if lower[row].any()}
    for row in set(pairs[:, 0]):
        assert set(pairs[pairs[:, 0] == row, 1]) <= set(np.flatnonzero(lower[row]))


def test_concordance_counts_pairs():
    scores = np.array([1.0, 2, 2, 0, 5, 5, 3])
    relevance = np.array([0.0, 1, 2, 0, 1, 0, 0])
    groups = np.array([0, 0, 0, 0, 1, 1, 2])
    first = (1 + 1 + 1 + 1 + 0.5) / 5  # five pairs of unequal relevance, one tie
    assert concordance(scores, relevance, groups) == pytest.approx((first + 0.5) / 2)
    assert np.isnan(concordance(scores, np.zeros(7), groups))


def test_polya_gamma_has_its_moments():
    rng = np.random.default_rng(0)
    for z in (0.0, 0.7, 4.0):
        draws = polya_gamma(np.ones(200_000), np.full(200_000, z), rng)
        mean = np.tanh(z / 2) / (2 * z) if z else 0.25
        variance = (np.sinh(z) - z) / (4 * z**3 * np.cosh(z / 2) ** 2) if z else 1 / 24
        assert draws.mean() == pytest.approx(mean, rel=0.01)
        assert draws.var() == pytest.approx(variance, rel=0.03)


# ---- training --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["als", "sgd", "adagrad"])
def test_patience_keeps_the_best(solver):
    X, y, _ = planted(150, noise=1.0)
    model = machine(solver, n_factors=12, max_iter=200, patience=3, reg=0.0, init_std=0.01)
    model.fit(X[:80], y[:80], validation=(X[80:], y[80:]))
    errors = model.history_["validation_rmse"]
    assert model.stop_reason_ == "patience"
    reached = np.sqrt(np.mean((model.predict(X[80:]) - y[80:]) ** 2))
    assert reached == pytest.approx(min(errors), rel=1e-4)


def test_the_validation_figure_of_draws_is_that_of_their_mean():
    X, y, _ = planted(200)
    model = machine("mcmc", max_iter=30, n_samples=None)
    model.fit(X[:100], y[:100], validation=(X[100:], y[100:]))
    reached = np.sqrt(np.mean((model.predict(X[100:]) - y[100:]) ** 2))
    assert model.history_["validation_rmse"][-1] == pytest.approx(reached, rel=1e-4)


def test_validation_scores_of_other_losses():
    X, y, _ = planted(300)
    labels = y > 1
    model = machine("als", loss="logistic", max_iter=5).fit(
        X[:200], labels[:200], validation=(X[200:], labels[200:])
    )
    right = np.where(labels[200:], *model.predict_proba(X[200:]).T[::-1])
    assert model.history_["validation_score"][-1] == pytest.approx(np.log(right).mean(), rel=1e-4)
    groups = np.arange(300) % 10
    model = machine("adagrad", loss="bpr", max_iter=5).fit(
        X[:200], y[:200], groups=groups[:200], validation=(X[200:], y[200:], groups[200:])
    )
    assert model.history_["validation_score"][-1] == pytest.approx(
        model.score(X[200:], y[200:], groups=groups[200:])
    )


def test_a_callback_stops():
    X, y, _ = planted(100)
    model = machine("als").fit(X, y, callback=lambda it: it.iteration == 4)
    assert (model.n_iter_, model.stop_reason_) == (4, "callback")
    assert {len(values) for values in model.history_.values()} == {4}
    stopped = machine("mcmc").fit(X, y, callback=lambda it: it.iteration == 3)  # within the burn-in
    assert np.isfinite(stopped.predict(X)).all()


def test_tol_stops():
    X, y, _ = planted(200)
    model = machine("als", tol=1e-3).fit(X, y)
    assert model.stop_reason_ == "tol"
    objective = model.history_["objective"]
    assert objective[-2] - objective[-1] <= 1e-3 * objective[-1]
