"""Cross-validation of rankings, folds of scikit-learn, jobs, and searches over parameters."""

from __future__ import annotations

import pickle
import threading
import time

import numpy as np
import pytest
from fitted_models import star_ratings
from scipy.stats import loguniform

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
)

import cymf
from cymf import ALS, ConvergenceWarning, NotFittedError, Popularity, Ratings
from cymf.evaluation import (
    GridSearch,
    RandomSearch,
    cold_user_split,
    cross_validate,
    evaluate_ranking,
    kfold,
    leave_k_out,
    random_split,
    rmse,
)


def small_als(**parameters):
    return ALS(**{"n_factors": 3, "reg": 1.0, "max_iter": 4, "n_threads": 1} | parameters)


# ------------------------------------------------------------------ folds


def test_a_cold_user_is_in_one_part_only():
    ratings = star_ratings(weights="integer")
    train, test = cold_user_split(ratings, 0.25, random_state=1)
    assert not ((train.user_counts > 0) & (test.user_counts > 0)).any()
    np.testing.assert_array_equal(train.user_counts + test.user_counts, ratings.user_counts)
    assert (test.user_counts > 0).sum() == round(0.25 * (ratings.user_counts > 0).sum())
    again = cold_user_split(ratings, 0.25, random_state=1)[1]
    assert again.users.tolist() == test.users.tolist()
    assert cold_user_split(ratings, 3, random_state=2)[1].users.tolist() != test.users.tolist()
    assert (cold_user_split(ratings, 3)[1].user_counts > 0).sum() == 3
    with pytest.raises(ValueError, match="puts 39 of 39 users into the test"):
        cold_user_split(ratings, 39)
    with pytest.raises(ValueError, match="a share between 0 and 1 or a number of users"):
        cold_user_split(ratings, 1.5)


def test_rankings_are_cross_validated():
    ratings = star_ratings()
    metrics = ("ndcg@5", "rmse", "recall@3", "auc")
    found = cross_validate(small_als(), ratings, metrics=metrics, folds=3)
    assert list(found) == [*metrics, "fit_seconds", "predict_seconds"]
    for fold, (train, test) in enumerate(kfold(ratings, 3)):
        model = small_als().fit(train)
        report = evaluate_ranking(model, test, metrics=("ndcg@5", "recall@3", "auc"))
        for name, value in report.items():
            assert found[name][fold] == value
        assert found["rmse"][fold] == model.rmse(test)
    popular = cross_validate(Popularity(), ratings, metrics="recall@3", folds=3)
    assert popular["recall@3"].shape == (3,)


@pytest.mark.parametrize(
    "splitter",
    [
        KFold(3),
        KFold(4, shuffle=True, random_state=1),
        ShuffleSplit(2, test_size=0.3, random_state=0),
        StratifiedKFold(2),
        GroupKFold(3),
    ],
    ids=lambda splitter: type(splitter).__name__,
)
def test_folds_may_be_scikit_learns(splitter):
    rng = np.random.default_rng(0)
    cells = rng.permutation(400)[:150]  # not in storage order
    users, items = np.divmod(cells, 20)
    values = rng.integers(1, 6, 150).astype(float)
    ratings = Ratings.from_triplets(users, items, values, shape=(20, 20))
    found = cross_validate(small_als(), ratings, metrics="rmse", folds=splitter)
    expected = []
    groups = {"groups": users} if isinstance(splitter, GroupKFold) else {}
    for train, test in splitter.split(np.zeros((150, 1)), values, **groups):
        part = Ratings.from_triplets(users[train], items[train], values[train], shape=(20, 20))
        model = small_als().fit(part)
        expected.append(rmse(values[test], model.predict(users[test], items[test])))
    np.testing.assert_allclose(found["rmse"], expected, rtol=1e-6)


def test_the_same_for_any_number_of_jobs():
    ratings = star_ratings()
    model = cymf.SGD(n_factors=3, max_iter=3, random_state=np.random.default_rng(5))
    metrics = ("rmse", "ndcg@5", "auc")
    one = cross_validate(model, ratings, metrics=metrics, folds=4)
    for n_jobs in (2, 4, -1):
        found = cross_validate(model, ratings, metrics=metrics, folds=4, n_jobs=n_jobs)
        for name in metrics:
            np.testing.assert_array_equal(found[name], one[name])
    with pytest.raises(ValueError, match="n_jobs=0 is too small"):
        cross_validate(model, ratings, n_jobs=0)


class Watched:
    """Predicts zeros, and knows how many were fitted at the same time."""

    running = 0
    most = 0
    threads: tuple = ()
    lock = threading.Lock()

    def __init__(self, level=0.0, n_threads=None, fail=False):
        self.level = level
        self.n_threads = n_threads
        self.fail = fail

    def get_params(self, deep=True):
        return {"level": self.level, "n_threads": self.n_threads, "fail": self.fail}

    def fit(self, ratings):
        cls = type(self)
        with cls.lock:
            cls.running += 1
            cls.most = max(cls.most, cls.running)
            cls.threads += (self.n_threads,)
        time.sleep(0.02)
        with cls.lock:
            cls.running -= 1
        if self.fail:
            raise ArithmeticError("it went wrong")
        return self

    def predict(self, users, items, *, by="id"):
        return np.full(len(users), float(self.level))


@pytest.fixture
def watched():
    Watched.most, Watched.threads = 0, ()
    return Watched


def test_jobs_share_the_processors(watched, monkeypatch):
    monkeypatch.setattr("cymf._cross_validation.available_threads", lambda: 8)
    ratings = star_ratings()
    cross_validate(watched(), ratings, folds=6)
    assert watched.most == 1
    assert set(watched.threads) == {None}
    for n_jobs, given, expected in (
        (2, None, 4),
        (3, None, 2),
        (3, 1, 1),
        (2, 99, 4),
        (9, None, 1),
    ):
        watched.most, watched.threads = 0, ()
        cross_validate(watched(n_threads=given), ratings, folds=12, n_jobs=n_jobs)
        assert set(watched.threads) == {expected}
        assert 1 < watched.most <= n_jobs


def test_an_error_ends_all_jobs(watched):
    ratings = star_ratings()
    with pytest.raises(ArithmeticError, match="it went wrong"):
        cross_validate(watched(fail=True), ratings, folds=20, n_jobs=2)
    assert len(watched.threads) < 20


# ------------------------------------------------------------------ searches


def test_a_grid_is_searched():
    ratings = star_ratings()
    grid = {"reg": [0.1, 1.0, 30.0], "n_factors": [1, 3]}
    search = GridSearch(small_als(), grid, folds=3)
    with pytest.raises(NotFittedError, match=r"this GridSearch is not fitted yet"):
        search.best_params_  # noqa: B018
    assert search.fit(ratings) is search
    tried = [result["params"] for result in search.results_]
    assert tried == [{"reg": r, "n_factors": k} for r in grid["reg"] for k in grid["n_factors"]]
    for result in search.results_:
        expected = cross_validate(small_als(**result["params"]), ratings, folds=3)["rmse"]
        np.testing.assert_array_equal(result["scores"], expected)
        assert result["score"] == pytest.approx(expected.mean())
        assert result["std"] == pytest.approx(expected.std())
        assert result["error"] is None
        assert result["iterations"] <= 4
        assert result["fit_seconds"] > 0
    scores = [result["score"] for result in search.results_]
    assert sorted(result["rank"] for result in search.results_) == [1, 2, 3, 4, 5, 6]
    assert search.results_[int(np.argmin(scores))]["rank"] == 1
    assert search.best_params_ == tried[int(np.argmin(scores))]
    assert search.best_score_ == min(scores)
    best = small_als(**search.best_params_).fit(ratings)
    np.testing.assert_array_equal(search.best_model_.item_factors_, best.item_factors_)
    assert search.predict(3, 5) == best.predict(3, 5)
    assert search.recommend(3, n=4)[0].tolist() == best.recommend(3, n=4)[0].tolist()
    frame = search.results_frame()
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert frame["score"].tolist() == sorted(scores)
    assert dict(frame[["param_reg", "param_n_factors"]].iloc[0]) == {
        f"param_{name}": value for name, value in search.best_params_.items()
    }


def test_the_same_search_for_any_number_of_jobs():
    ratings = star_ratings()
    train, held_out = random_split(ratings)

    def found(n_jobs, **data):
        search = GridSearch(
            small_als(), {"reg": [0.3, 3.0]}, metric="ndcg@5", folds=2, n_jobs=n_jobs
        )
        search.fit(**data)
        return [result["scores"] for result in search.results_], search.best_model_.item_factors_

    for data in ({"X": ratings}, {"X": train, "validation": held_out}):
        one, two = found(1, **data), found(2, **data)
        assert one[0] == two[0]
        np.testing.assert_array_equal(one[1], two[1])


def test_a_search_is_evaluated_like_its_best_model():
    train, test = leave_k_out(star_ratings())
    search = GridSearch(small_als(), {"reg": [1.0]}, folds=2).fit(train)
    expected = evaluate_ranking(search.best_model_, test, metrics=("ndcg@5", "recall@3"))
    found = evaluate_ranking(search, test, metrics=("ndcg@5", "recall@3"))
    assert dict(found) == dict(expected)


def test_higher_rankings_are_better():
    ratings = star_ratings()
    search = GridSearch(small_als(), {"reg": [0.1, 1.0, 30.0]}, metric="ndcg@5", folds=3).fit(
        ratings
    )
    scores = [result["score"] for result in search.results_]
    assert search.best_score_ == max(scores) > min(scores)


def test_validation_data_take_the_place_of_folds():
    ratings = star_ratings()
    train, held_out = random_split(ratings)
    search = GridSearch(small_als(), {"reg": [0.1, 1.0, 30.0]}).fit(train, validation=held_out)
    models = [small_als(reg=reg).fit(train) for reg in (0.1, 1.0, 30.0)]
    errors = [model.rmse(held_out) for model in models]
    assert [result["score"] for result in search.results_] == errors
    best = models[int(np.argmin(errors))]
    np.testing.assert_array_equal(search.best_model_.item_factors_, best.item_factors_)
    several = GridSearch(small_als(n_threads=None), {"reg": [1.0]}, n_jobs=2)
    assert several.fit(train, validation=held_out).best_model_.n_threads is None


def test_early_stopping_is_honoured():
    ratings = star_ratings(n_users=80, density=0.5)
    train, held_out = random_split(ratings)
    slow = {"reg": 0.1, "reg_exponent": 1.0, "init_std": 1.0, "n_factors": 8, "max_iter": 30}
    slow |= {"tol": 0.0, "patience": 1}
    model = small_als(**slow)
    search = GridSearch(model, {"n_factors": [8]}).fit(train, validation=held_out)
    same = small_als(**slow)
    same.fit(train, validation=held_out)
    assert same.stop_reason_ == "patience"
    assert search.best_score_ == same.rmse(held_out)
    best = float(np.argmin(same.history_["validation_rmse"])) + 1
    assert search.results_[0]["iterations"] == best < same.n_iter_

    search = GridSearch(model, {"n_factors": [8]}, folds=3).fit(ratings)
    counts = []
    for score, (train, test) in zip(search.results_[0]["scores"], kfold(ratings, 3), strict=True):
        fitted_to, watched = random_split(train, 0.1)
        fold = small_als(**slow)
        fold.fit(fitted_to, validation=watched)
        assert fold.rmse(test) == score
        counts.append(float(np.argmin(fold.history_["validation_rmse"])) + 1)
    assert search.results_[0]["iterations"] == np.mean(counts)
    assert search.best_model_.n_iter_ == round(np.mean(counts))
    assert search.best_model_.patience is None
    assert search.best_model_._state.ratings is ratings


def test_a_failure_is_recorded(watched):
    ratings = star_ratings()
    grid = [{"fail": [True], "level": [1.0]}, {"level": [2.0, 3.0]}]
    for n_jobs in (1, 2):
        search = GridSearch(watched(), grid, folds=2, n_jobs=n_jobs, metric="mae").fit(ratings)
        failed, *others = search.results_
        assert failed["error"] == "ArithmeticError: it went wrong"
        assert np.isnan(failed["score"])
        assert failed["rank"] == 3
        assert all(result["error"] is None for result in others)
        assert search.best_params_ == {"level": 3.0}
        assert search.results_frame()["error"].tolist()[-1] == failed["error"]
    with pytest.raises(ValueError, match=r"all 1 candidates failed.*'fail': True.*it went wrong"):
        GridSearch(watched(), {"fail": [True]}, folds=2).fit(ratings)
    search = GridSearch(small_als(), {"reg": [-1.0, 1.0]}, folds=2).fit(ratings)
    assert "reg=-1.0 is out of range" in search.results_[0]["error"]


def test_without_refit_there_is_no_model():
    search = GridSearch(small_als(), {"reg": [1.0]}, folds=2, refit=False).fit(star_ratings())
    assert search.best_params_ == {"reg": 1.0}
    with pytest.raises(NotFittedError, match="refit=False keeps no model"):
        search.predict(0, 0)


def test_random_search_draws():
    ratings = star_ratings()
    distributions = {
        "reg": loguniform(0.1, 10),
        "n_factors": [1, 2, 3],
        "max_iter": np.arange(2, 5),
    }

    def search(seed, **changes):
        return RandomSearch(
            small_als(), distributions, n_iter=6, folds=2, random_state=seed, refit=False, **changes
        )

    found = search(0).fit(ratings)
    tried = [result["params"] for result in found.results_]
    assert len({params["reg"] for params in tried}) == 6
    assert all(0.1 <= params["reg"] <= 10 for params in tried)
    assert {params["n_factors"] for params in tried} <= {1, 2, 3}
    assert all(type(params["max_iter"]) is int for params in tried)
    assert all(type(params["reg"]) is float for params in tried)
    assert [result["params"] for result in search(0, n_jobs=2).fit(ratings).results_] == tried
    assert [result["params"] for result in search(1).fit(ratings).results_] != tried
    assert found.best_score_ == min(result["score"] for result in found.results_)


@pytest.mark.parametrize(
    ("search", "error", "text"),
    [
        (lambda m: GridSearch(m, {"rag": [1]}), ValueError, "ALS has no parameter 'rag'"),
        (lambda m: GridSearch(m, {"reg": 1}), TypeError, r"grid\['reg'\] is 1; expected a list"),
        (lambda m: GridSearch(m, {"solver": "cg"}), TypeError, "is 'cg'; expected a list"),
        (lambda m: GridSearch(m, [3]), TypeError, "grid holds a int"),
        (lambda m: GridSearch(m, {}), ValueError, "grid holds no parameter set"),
        (lambda m: GridSearch(m, {"reg": []}), ValueError, "grid holds no parameter set"),
        (lambda m: GridSearch(m, {"reg": [1]}, metric="r2"), ValueError, "metric 'r2' is unknown"),
        (lambda m: GridSearch(m, {"reg": [1]}, refit=1), TypeError, "refit=1"),
        (lambda m: GridSearch(m, {"reg": [1]}, folds=[]), ValueError, "folds holds no"),
        (lambda m: RandomSearch(m, {"reg": 1}), TypeError, r"distributions\['reg'\] is 1"),
        (lambda m: RandomSearch(m, {}), ValueError, "distributions is empty"),
        (lambda m: RandomSearch(m, {"reg": [1]}, n_iter=0), ValueError, "n_iter=0 is too small"),
    ],
)
def test_searches_that_make_no_sense(search, error, text):
    with pytest.raises(error, match=text):
        search(small_als()).fit(star_ratings())


def test_searches_are_objects_with_parameters(capsys):
    search = RandomSearch(small_als(), {"reg": [1.0]}, n_iter=2, folds=2, verbose=True)
    assert repr(search).startswith("RandomSearch(model=ALS(n_factors=3, reg=1.0, ")
    assert search.get_params()["distributions"] == {"reg": [1.0]}
    search.set_params(folds=3, n_jobs=2).fit(star_ratings())
    assert len(search.results_[0]["scores"]) == 3
    assert "6/6" in capsys.readouterr().err
    again = pickle.loads(pickle.dumps(search))
    assert again.best_params_ == search.best_params_
    assert again.predict(1, 2) == search.predict(1, 2)


def test_ctrl_c_ends_a_search():
    fitted = []

    class Interrupted(ALS):
        def fit(self, X, y=None, **rest):
            def interrupt(_):
                raise KeyboardInterrupt

            fitted.append(self)
            with pytest.warns(ConvergenceWarning):
                return super().fit(X, y, callback=interrupt)

    with pytest.raises(KeyboardInterrupt):
        GridSearch(Interrupted(2), {"reg": [1.0, 2.0]}, folds=2).fit(star_ratings())
    assert len(fitted) == 1


def test_scikit_learns_search_over_pairs():
    users, items, values = star_ratings().to_triplets()
    search = GridSearchCV(
        small_als(), {"reg": [0.3, 3.0]}, cv=KFold(3, shuffle=True, random_state=0)
    )
    search.fit(np.column_stack([users, items]), values)
    assert search.best_params_ == {"reg": 0.3}
    assert search.predict([[1, 2]]).shape == (1,)


def test_optuna_searches():
    optuna = pytest.importorskip("optuna", reason="optuna is not installed")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ratings = star_ratings()

    def objective(trial):
        model = small_als(reg=trial.suggest_float("reg", 0.1, 30, log=True))
        return cross_validate(model, ratings, folds=2)["rmse"].mean()

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=5)
    expected = cross_validate(small_als(**study.best_params), ratings, folds=2)["rmse"].mean()
    assert study.best_value == expected


def test_leave_one_out_serves_as_a_fold():
    ratings = star_ratings()
    search = GridSearch(
        small_als(), {"reg": [0.3, 3.0]}, metric="hit_rate@5", folds=[leave_k_out(ratings)]
    )
    assert len(search.fit(ratings).results_[0]["scores"]) == 1
