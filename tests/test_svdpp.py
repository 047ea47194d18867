"""SVDpp: what it learns, that it is reproducible, fold-in, new ratings, files, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import reference_svdpp as twin
from fitted_models import ThreadsEvenForLittle, star_ratings

import cymf
from cymf._svdpp_epochs import svdpp_kernels
from cymf.cli import main

PAIRS = [["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["bob", "gin"], ["cy", "rum"]]
STARS = [5.0, 1.0, 4.0, 2.0, 3.0]
LIVELY = {"learning_rate": 0.03, "decay": 0.0, "init_std": 0.1}


def bits_of(model) -> bytes:
    arrays = (model.user_factors_, model.item_factors_, model.user_bias_, model.item_bias_)
    arrays += (model.implicit_item_factors_, model._state.extra["own_user_factors"])
    return b"".join(a.tobytes() for a in arrays)


def learnt(model) -> twin.Model:
    state = model._state
    arrays = (
        state.extra["own_user_factors"], state.item_factors, state.extra["implicit_item_factors"],
        state.user_bias, state.item_bias,
    )  # fmt: skip
    return twin.Model(*(a.astype(np.float64) for a in arrays), state.global_mean)


@pytest.mark.parametrize("weights", [None, "integer"])
def test_epochs_are_the_slow_twins(weights, monkeypatch):
    """An epoch of the estimator, the order of users and ratings recorded on the way."""
    ratings = star_ratings(70, 30, 0.3, weights=weights)
    model = cymf.SVDpp(5, dtype="float64", max_iter=1, reg=0.2, reg_bias=0.1, **LIVELY)
    calls = []

    class Recorder:
        svdpp_whole_users = staticmethod(svdpp_kernels.svdpp_whole_users)

        @staticmethod
        def svdpp_epoch(*arguments):
            copied = [np.array(a) if isinstance(a, np.ndarray) else a for a in arguments]
            calls.append(copied)
            svdpp_kernels.svdpp_epoch(*arguments)

    monkeypatch.setattr("cymf._svdpp_epochs.svdpp_kernels", Recorder)
    model.fit(ratings)
    (
        order,
        turns,
        _,
        batch,
        border,
        items,
        values,
        given_weights,
        _,
        _,
        p,
        qy,
        b,
        c,
        mean,
        *_unused,
    ) = calls[0]
    n_stripes = (len(border) - 1) // ratings.n_users
    assert batch == 2
    width = p.shape[1]
    users = []
    for user, turn in zip(order.tolist(), turns.tolist(), strict=True):
        cells = slice(border[user * n_stripes], border[(user + 1) * n_stripes])
        own = [np.roll(a[cells], -turn).tolist() for a in (items, values)]
        own.append(
            np.roll(given_weights[cells], -turn).tolist() if weights else [1.0] * len(own[0])
        )
        users.append(twin.User(user, *own, sorted(own[0])))
    start = twin.Model(p[:, :5], qy[:, :5], qy[:, width : width + 5], b, c, mean)
    assert not start.y.any()
    expected, squared = twin.epoch(users, batch, start, 0.03, 0.2, 0.1)
    after = learnt(model)
    for name in ("p", "q", "y", "user_bias", "item_bias"):
        np.testing.assert_allclose(getattr(after, name), getattr(expected, name), atol=1e-12)
    whole = [expected.whole_user(u, ratings.items[ratings.users == u]) for u in range(70)]
    np.testing.assert_allclose(model.user_factors_, whole, atol=1e-12)
    total = 1.0 * ratings.nnz if weights is None else ratings.weights.sum()
    assert model.history_["train_rmse"][0] == pytest.approx(np.sqrt(squared.sum() / total))


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_the_same_bits_for_any_number_of_threads(n_threads, monkeypatch):
    ratings = star_ratings(150, 60, 0.3)
    alone = cymf.SVDpp(7, max_iter=4, n_threads=1, **LIVELY).fit(ratings)
    threads = ThreadsEvenForLittle(monkeypatch)
    together = cymf.SVDpp(7, max_iter=4, n_threads=n_threads, **LIVELY).fit(ratings)
    assert threads.calls > 0
    assert bits_of(together) == bits_of(alone)
    assert together.history_["train_rmse"] == alone.history_["train_rmse"]


def test_it_learns_from_what_was_rated_at_all():
    """A world in which only the choice of items says who likes what: SGD cannot know new users' tastes, SVD++ can."""
    rng = np.random.default_rng(0)
    n_users, n_items = 400, 40
    taste = rng.integers(0, 2, n_users)
    kind = np.arange(n_items) % 2
    own = taste[:, None] == kind
    chosen = rng.random((n_users, n_items)) < np.where(own, 0.5, 0.05)
    liked = np.where(own, 4.5, 1.5) + 0.1 * rng.normal(size=(n_users, n_items))
    told = chosen & (rng.random((n_users, n_items)) < 0.15)
    told[:, 0] |= ~told.any(axis=1)  # everybody has one rating at least
    ratings = np.where(told, liked, np.nan)
    views = cymf.Ratings.from_matrix(np.where(chosen, 1.0, np.nan))
    hidden = np.argwhere(~told & (rng.random(told.shape) < 0.2))
    truth = liked[tuple(hidden.T)]
    parameters = {"reg": 0.02, "max_iter": 60, "learning_rate": 0.02, "decay": 0.0}
    errors = {
        "views": cymf.SVDpp(4, init_std=0.1, **parameters).fit(ratings, implicit=views),
        "none": cymf.SVDpp(4, init_std=0.1, **parameters).fit(ratings),
    }
    errors = {name: model.rmse(hidden, truth) for name, model in errors.items()}
    assert errors["views"] < 0.85 * errors["none"]


def test_further_interactions_are_found_by_id_and_add_to_what_was_rated():
    views = cymf.Ratings.from_triplets(
        ["ann", "ann", "dan", "cy"], ["gin", "tea", "tea", "ale"], np.ones(4)
    )
    ratings = cymf.Ratings.from_triplets(*zip(*PAIRS, strict=True), STARS)
    model = cymf.SVDpp(2, max_iter=5, **LIVELY).fit(ratings, implicit=views)
    state = model._state
    y, p = state.extra["implicit_item_factors"], state.extra["own_user_factors"]
    gin, rum, tea = (int(state.item_ids.to_index([name])[0]) for name in ("gin", "rum", "tea"))
    np.testing.assert_allclose(
        state.user_factors[0], p[0] + y[[gin, rum, tea]].sum(axis=0) / np.sqrt(3), atol=1e-6
    )
    np.testing.assert_allclose(state.user_factors[2], p[2] + y[rum], atol=1e-6)
    with pytest.raises(ValueError, match="have none"):
        cymf.SVDpp(2).fit(ratings, implicit=np.ones((3, 3)))


def test_training_lowers_the_error_and_patience_keeps_the_best():
    ratings = star_ratings(120, 50, 0.4)
    held_out = np.random.default_rng(0).random(ratings.nnz) < 0.2
    train, test = ratings.subset(~held_out), ratings.subset(held_out)
    model = cymf.SVDpp(6, max_iter=200, patience=5, reg=0.005, **LIVELY).fit(train, validation=test)
    errors = model.history_["validation_rmse"]
    assert model.stop_reason_ == "patience"
    assert len(errors) == np.argmin(errors) + 6
    assert model.rmse(test) == pytest.approx(min(errors), rel=1e-6)
    train_errors = model.history_["train_rmse"]
    assert train_errors[-1] < 0.9 * train_errors[0]


def test_folding_in_solves_for_what_the_rated_items_leave_unexplained():
    ratings = star_ratings(80, 30, 0.4)
    model = cymf.SVDpp(4, max_iter=20, dtype="float64", reg=0.1, reg_bias=0.05, **LIVELY).fit(
        ratings
    )
    state = model._state
    h, y = state.item_factors, state.extra["implicit_item_factors"]
    rated, stars = np.array([3, 7, 8, 20]), np.array([5.0, 1.0, 4.0, 2.0])
    factors, bias = model.user_factors_for(rated, stars, return_bias=True)
    implied = y[rated].sum(axis=0) / 2
    design = np.column_stack([h[rated], np.ones(4)])
    target = stars - state.global_mean - state.item_bias[rated] - h[rated] @ implied
    penalty = 4 * np.diag([0.1] * 4 + [0.05])
    solution = np.linalg.solve(design.T @ design + penalty, design.T @ target)
    np.testing.assert_allclose(factors, implied + solution[:4], atol=1e-10)
    assert bias == pytest.approx(solution[4], abs=1e-10)
    np.testing.assert_allclose(
        model.transform(ratings)[:10],
        [
            model.user_factors_for(ratings.items[own], ratings.values[own])
            for own in (ratings.users == u for u in range(10))
        ],
        atol=1e-10,
    )  # fmt: skip
    assert not model.user_factors_for([0], [3.0]).any()  # nobody rated it
    assert np.isfinite(model.item_factors_for(np.arange(20), np.full(20, 3.0))).all()
    test = star_ratings(80, 30, 0.4, seed=1)
    assert np.isfinite(model.rmse(test))


def test_partial_fit_learns_new_users_and_items():
    model = cymf.SVDpp(3, max_iter=30, learning_rate=0.05, schedule="constant").fit(PAIRS, STARS)
    mean, before = model.global_mean_, model.predict("dan", "tea")
    model.partial_fit(
        [["dan", "tea"], ["dan", "ale"], ["ann", "ale"]], [1.0, 2.0, 5.0], n_epochs=20
    )
    assert model.global_mean_ == mean
    assert model.user_factors_.shape == (4, 3)
    assert model.predict("dan", "tea") < before
    assert model.n_iter_ == 30
    assert len(model.history_["train_rmse"]) == 30
    state = model._state
    assert state.ratings.nnz == 8
    y, p = state.extra["implicit_item_factors"], state.extra["own_user_factors"]
    view = state.ratings.csr()
    for user in range(4):  # who did not rate anew has new factors too, as the items' y have moved
        rated = view.indices[view.indptr[user] : view.indptr[user + 1]]
        expected = p[user] + y[rated].sum(axis=0) / np.sqrt(len(rated))
        np.testing.assert_allclose(state.user_factors[user], expected, atol=1e-6)
    slow, fast = (cymf.SVDpp(2, max_iter=3).fit(PAIRS, STARS) for _ in range(2))
    slow.partial_fit([["new", "tea"]], [1.0], n_epochs=5)
    fast.partial_fit([["new", "tea"]], [1.0], n_epochs=5, learning_rate=0.1)
    assert fast.predict("new", "tea") < slow.predict("new", "tea")


def test_partial_fit_of_an_unfitted_model_and_what_it_refuses():
    fresh = cymf.SVDpp(3, max_iter=99).partial_fit(PAIRS, STARS, n_epochs=4)
    assert bits_of(fresh) == bits_of(cymf.SVDpp(3, max_iter=4).fit(PAIRS, STARS))
    assert fresh.max_iter == 99
    state = fresh._state
    with pytest.raises(ValueError, match="n_factors=3"):
        fresh.set_params(n_factors=4).partial_fit(PAIRS, STARS)
    fresh.set_params(n_factors=3, learning_rate=1e6)
    with pytest.raises(cymf.DivergenceError):
        fresh.partial_fit(PAIRS, STARS, n_epochs=20)
    assert fresh._state is state
    forgetful = cymf.SVDpp(3, max_iter=1, store_ratings=False).fit(PAIRS, STARS)
    with pytest.raises(ValueError, match="keeps no training ratings"):
        forgetful.partial_fit(PAIRS, STARS)


def test_files_hold_all_of_it(tmp_path):
    ratings = cymf.Ratings.from_triplets(*zip(*PAIRS, strict=True), STARS)
    views = cymf.Ratings.from_triplets(["ann"], ["gin"], [1.0])
    model = cymf.SVDpp(3, max_iter=3).fit(ratings, implicit=views)
    model.save(tmp_path / "model")
    again = cymf.load(tmp_path / "model")
    assert bits_of(again) == bits_of(model)
    assert again.get_params() == model.get_params()
    more = [["ann", "ale"], ["eve", "tea"]], [1.0, 2.0]
    assert bits_of(again.partial_fit(*more)) == bits_of(model.partial_fit(*more))


def test_explosions_raise_with_a_rate_that_helps():
    ratings = star_ratings()
    with pytest.raises(cymf.DivergenceError, match=r"epoch 1.*try learning_rate=") as error:
        cymf.SVDpp(4, learning_rate=5.0, init_std=0.5).fit(ratings)
    rate = float(str(error.value).split("try learning_rate=")[1].split()[0])
    model = cymf.SVDpp(4, learning_rate=rate, init_std=0.5, max_iter=20).fit(ratings)
    assert np.isfinite(model.user_factors_).all()


@pytest.mark.parametrize(
    "matrix",
    [np.array([[4.0]]), np.full((4, 3), 3.0), np.zeros((3, 3)), np.array([[1.0, 2.0, 3.0]])],
    ids=["one", "all equal", "all zero", "one user"],
)
def test_little_data_is_learnt(matrix):
    model = cymf.SVDpp(5, max_iter=3).fit(matrix)
    assert np.isfinite(model.predict(0, 0))
    assert np.isfinite(model.user_factors_).all()


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="schedule='adagrad'"):
        cymf.SVDpp(schedule="adagrad").fit(PAIRS, STARS)
    with pytest.raises(ValueError, match="learning_rate=0"):
        cymf.SVDpp(learning_rate=0).fit(PAIRS, STARS)
    with pytest.raises(ValueError, match="patience=3 needs a validation set"):
        cymf.SVDpp(patience=3).fit(PAIRS, STARS)


def test_the_command_line_has_it(tmp_path, capsys):
    lines = ["user,item,rating", *(f"{u},{i},{r}" for (u, i), r in zip(PAIRS, STARS, strict=True))]
    (tmp_path / "ratings.csv").write_text("\n".join(lines))
    words = ("fit", tmp_path / "ratings.csv", "--model", "svdpp", "--n-factors", 3, "--max-iter", 4)
    assert main([*map(str, words), "--output", str(tmp_path / "model")]) == 0
    assert "SVDpp(" in capsys.readouterr().out
    assert bits_of(cymf.load(tmp_path / "model")) == bits_of(
        cymf.SVDpp(3, max_iter=4).fit(PAIRS, STARS)
    )
    assert main(["evaluate", str(tmp_path / "model"), str(tmp_path / "ratings.csv")]) == 0
    assert "RMSE" in capsys.readouterr().out


def test_movielens_100k(data_dir):
    """The target on Surprise's five folds."""
    ratings = cymf.datasets.load_movielens("100k", data_home=data_dir).ratings
    folds = cymf.evaluation.kfold(ratings, 5, random_state=0)
    model = cymf.SVDpp(**cymf.presets["svdpp-ml-100k"])
    errors = cymf.evaluation.cross_validate(model, ratings, folds=folds, metrics=("rmse",))["rmse"]
    assert np.mean(errors) <= 0.900


@pytest.mark.slow
def test_movielens_1m(data_dir):
    ratings = cymf.datasets.load_movielens("1m", data_home=data_dir).ratings
    folds = list(cymf.evaluation.kfold(ratings, 5, random_state=0))[:1]
    model = cymf.SVDpp(**cymf.presets["svdpp-ml-1m"])
    errors = cymf.evaluation.cross_validate(model, ratings, folds=folds, metrics=("rmse",))["rmse"]
    assert np.mean(errors) <= 0.841
