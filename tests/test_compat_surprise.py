"""The drop-ins for Surprise beside Surprise itself, which must be installed."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from page_examples import REPOSITORY, python_blocks

pytest.importorskip("surprise", reason="Surprise is not installed: pip install scikit-surprise")

import surprise
from surprise.model_selection import GridSearchCV, cross_validate

from cymf import ConvergenceWarning
from cymf.compat import surprise as drop_in

PAIRS = [
    pytest.param(getattr(drop_in, name), getattr(surprise, name), id=name)
    for name in ("SVD", "SVDpp", "NMF")
]


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    cells = generator.permutation(40 * 30)[:500]
    ratings = generator.integers(1, 6, 500).astype(float)
    import pandas as pd

    frame = pd.DataFrame({"user": cells // 30, "item": cells % 30, "rating": ratings})
    return surprise.Dataset.load_from_df(frame, surprise.Reader(rating_scale=(1, 5)))


@pytest.mark.parametrize(("own", "original"), PAIRS)
def test_exact_is_the_same_to_the_last_digit(data, own, original):
    trainset = data.build_full_trainset()
    mine = own(n_epochs=3, random_state=1, exact=True).fit(trainset)
    theirs = original(n_epochs=3, random_state=1).fit(trainset)
    for name in ("pu", "qi", "bu", "bi"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
    testset = [*trainset.build_anti_testset()[:50], ("nobody", 1, 3.0), (1, "nothing", 3.0)]
    assert mine.test(testset) == theirs.test(testset)


@pytest.mark.parametrize("own", [drop_in.SVDpp, drop_in.NMF])
def test_default_is_the_same_but_for_rounding(data, own):
    trainset = data.build_full_trainset()
    testset = trainset.build_anti_testset()
    exact = own(n_epochs=5, random_state=1, exact=True).fit(trainset).test(testset)
    default = own(n_epochs=5, random_state=1).fit(trainset).test(testset)
    np.testing.assert_allclose([p.est for p in default], [p.est for p in exact], rtol=1e-9)


@pytest.mark.parametrize("biased", [True, False])
def test_test_agrees_with_predict(data, biased):
    trainset = data.build_full_trainset()
    model = drop_in.SVD(n_factors=5, biased=biased, random_state=1).fit(trainset)
    testset = [*trainset.build_testset()[:20], ("nobody", 1, 3.0), (1, "nothing", 3.0)]
    for prediction, (user, item, _) in zip(model.test(testset), testset, strict=True):
        alone = model.predict(user, item)
        assert prediction.est == pytest.approx(alone.est, rel=1e-12)
        assert prediction.details == alone.details


@pytest.mark.parametrize(
    "options", [{}, {"lr_bu": 0.004}, {"init_std_dev": 0}, {"init_mean": 0.1}, {"biased": False}]
)
def test_default_svd_learns_as_well(data, options):
    trainset = data.build_full_trainset()
    testset = trainset.build_testset()
    settings = {"n_factors": 10, "random_state": 0, "n_epochs": 30, "lr_all": 0.02, **options}
    own = surprise.accuracy.rmse(drop_in.SVD(**settings).fit(trainset).test(testset), verbose=False)
    other = surprise.accuracy.rmse(
        surprise.SVD(**settings).fit(trainset).test(testset), verbose=False
    )
    assert own < 1.05 * other


def test_works_in_cross_validation_search_and_pickle(data):
    found = cross_validate(drop_in.SVD(n_factors=3, n_epochs=2), data, ["rmse"], cv=2)
    assert np.isfinite(found["test_rmse"]).all()
    search = GridSearchCV(drop_in.SVD, {"n_factors": [2, 3], "n_epochs": [2]}, cv=2)
    search.fit(data)
    assert search.best_params["rmse"]["n_factors"] in (2, 3)
    model = drop_in.NMF(n_epochs=2, random_state=0).fit(data.build_full_trainset())
    assert pickle.loads(pickle.dumps(model)).predict(1, 1) == model.predict(1, 1)


@pytest.mark.parametrize("options", [{"lr_all": 50.0}, {"lr_pu": 50.0}])
def test_divergence_warns_and_predicts_the_mean(data, options):
    trainset = data.build_full_trainset()
    model = drop_in.SVD(n_factors=3, random_state=0, **options)
    with pytest.warns(ConvergenceWarning, match="lower the learning rates"):
        model.fit(trainset)
    assert model.predict(1, 1).est == pytest.approx(trainset.global_mean)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert model.test([(1, 1, 3.0)])[0].est == pytest.approx(trainset.global_mean)


def test_refuses_what_surprise_refuses():
    with pytest.raises(ValueError, match="init_low"):
        drop_in.NMF(init_low=-1)
    with pytest.raises(ValueError, match="RandomState"):
        drop_in._generator("seed")


def test_names_that_are_not_here_say_where():
    with pytest.raises(ImportError, match="from surprise import Dataset"):
        exec("from cymf.compat.surprise import SVD, Dataset")


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # dump leaves files open
def test_the_migration_page_runs_with_surprise(tmp_path, monkeypatch):
    page = "docs/migration.md"
    if not (REPOSITORY / page).exists():
        pytest.skip("there is no documentation beside these tests")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in python_blocks(page):
        exec(block, names)
        if "from surprise import" in block:
            break
    model, loaded = names["model"], surprise.dump.load("svd.dump")[1]
    assert loaded.predict(12, 30) == model.predict(12, 30)
