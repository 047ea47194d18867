"""Models in scikit-learn's hands: cloned, searched, cross-validated, in pipelines; and its own checks of estimators."""

from __future__ import annotations

import importlib.util
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import sklearn
from sklearn.base import clone, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.validation import check_is_fitted

import cymf
from cymf._base import MatrixFactorization

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scikit-learn.md"
MODELS = [
    value
    for value in (getattr(cymf, name) for name in cymf.__all__)
    if isinstance(value, type) and issubclass(value, MatrixFactorization)
]
every_model = pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
explicit_models = pytest.mark.parametrize("kind", [cymf.ALS, cymf.SGD, cymf.GradientDescent])


def small(kind):
    """A model of a few factors that trains in no time, all else at its defaults."""
    wanted = {"n_factors": 3, "max_iter": 3, "n_threads": 1}
    return kind(**{name: wanted[name] for name in kind().get_params() if name in wanted})


@pytest.fixture(scope="module")
def pairs_and_y():
    made = cymf.datasets.make_ratings(80, 50, 1800, n_factors=2, noise=0.3, random_state=0).ratings
    order = np.random.default_rng(0).permutation(made.nnz)
    return np.column_stack([made.users, made.items])[order], made.values[order].astype(float)


@every_model
def test_clones_have_the_parameters_and_nothing_learnt(kind, pairs_and_y):
    model = small(kind).set_params(store_ratings=False)
    pairs, y = pairs_and_y
    model.fit(pairs, np.abs(y))
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert copy.store_ratings is False
    check_is_fitted(model)
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind is not cymf.NMF])
def test_tags(kind):
    """All but NMF, a transformer of matrices, describe themselves as regressors of pairs."""
    tags = get_tags(kind())
    assert is_regressor(kind())
    assert tags.input_tags.string
    assert tags.input_tags.sparse
    assert not tags.target_tags.required


@every_model
def test_every_model_is_cross_validated(kind, pairs_and_y):
    pairs, y = pairs_and_y
    scores = cross_val_score(small(kind), pairs, np.abs(y), cv=3, error_score="raise")
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()


@explicit_models
def test_scorers_splitters_and_curves(kind, pairs_and_y):
    pairs, y = pairs_and_y
    model = small(kind).set_params(max_iter=20)
    errors = -cross_val_score(model, pairs, y, cv=3, scoring="neg_root_mean_squared_error")
    assert (errors < 0.9 * y.std()).all()
    predicted = cross_val_predict(model, pairs, y, cv=3)
    assert np.sqrt(np.mean((predicted - y) ** 2)) == pytest.approx(errors.mean(), rel=0.05)
    sizes, _, scores = learning_curve(model, pairs, y, cv=3, train_sizes=[0.3, 1.0])
    assert sizes[0] < sizes[1]
    assert scores[1].mean() > scores[0].mean()


@explicit_models
def test_searches(kind, pairs_and_y):
    pairs, y = pairs_and_y
    model = small(kind).set_params(max_iter=20)
    best = {"n_factors": 2, "reg": model.reg}
    search = GridSearchCV(model, {"n_factors": [2], "reg": [model.reg, 30 * model.reg]}, cv=3).fit(
        pairs, y
    )
    assert search.best_params_ == best
    assert search.best_estimator_.n_factors == 2
    np.testing.assert_array_equal(search.predict(pairs), search.best_estimator_.predict(pairs))
    drawn = RandomizedSearchCV(
        model, {"reg": [model.reg, 30 * model.reg]}, n_iter=2, cv=3, random_state=0
    )
    assert drawn.fit(pairs, y).best_params_ == {"reg": model.reg}


def test_a_search_in_processes_gives_the_same(pairs_and_y):
    pairs, y = pairs_and_y
    grid = {"reg": [0.5, 5.0]}
    one, two = (
        GridSearchCV(small(cymf.ALS), grid, cv=2, n_jobs=n_jobs).fit(pairs, y) for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )


@every_model
def test_fitted_models_are_pickled(kind, pairs_and_y):
    pairs, y = pairs_and_y
    model = small(kind).fit(pairs, np.abs(y))
    same = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(same.predict(pairs[:50]), model.predict(pairs[:50]))
    assert same.get_params() == model.get_params()


@explicit_models
def test_weights_reach_fit(kind, pairs_and_y):
    """A weight of 0 is no rating: wrong ones with it change nothing, and spoil the fit without it."""
    pairs, y = pairs_and_y
    spoilt = np.arange(len(y)) % 4 == 0
    wrong = np.where(spoilt, y + 50.0, y)
    model = small(kind).set_params(max_iter=20)
    scoring = "neg_median_absolute_error"
    options = {"cv": 3, "scoring": scoring}
    weighted = cross_val_score(
        model, pairs, wrong, params={"sample_weight": (~spoilt).astype(float)}, **options
    )
    assert (weighted > -1).all()
    assert (weighted > 3 * cross_val_score(model, pairs, wrong, **options)).all()


def test_a_pipeline_ends_in_a_model(pairs_and_y):
    pairs, y = pairs_and_y
    renamed = FunctionTransformer(lambda pairs: pairs + 1000)
    pipeline = make_pipeline(renamed, cymf.ALS(3, n_threads=1))
    assert (cross_val_score(pipeline, pairs, y, cv=3) > 0.3).all()
    search = GridSearchCV(pipeline, {"als__reg": [0.5, 1e4]}, cv=3).fit(pairs, y)
    assert search.best_params_ == {"als__reg": 0.5}
    assert set(search.best_estimator_[-1]._fitted().user_ids.ids) == set(pairs[:, 0] + 1000)


@pytest.mark.parametrize("kind_of_id", ["str", "object"])
def test_ids_of_any_kind(kind_of_id, pairs_and_y):
    pairs, y = pairs_and_y
    if kind_of_id == "object":
        named = np.array([(int(user), f"item {item}") for user, item in pairs], dtype=object)
    else:
        named = pairs.astype(str)
    model = cymf.ALS(3, n_threads=1)
    options = {"cv": 3, "scoring": "neg_mean_absolute_error"}
    np.testing.assert_allclose(
        cross_val_score(model, named, y, **options),
        cross_val_score(model, pairs, y, **options),
        rtol=1e-2,  # string ids have another order, and so another start
    )


def documented_failures() -> set[str]:
    """The checks that docs/scikit-learn.md says do not apply, and why."""
    text = PAGE.read_text(encoding="utf-8")
    table = re.search(r"<!-- checks -->(.*)<!-- end of checks -->", text, re.DOTALL)[1]
    return set(re.findall(r"`(check_\w+)`", table))


@pytest.mark.skipif(not PAGE.exists(), reason="there is no documentation beside these tests")
@pytest.mark.skipif(
    not hasattr(estimator_checks, "estimator_checks_generator"), reason="needs scikit-learn 1.6"
)
@pytest.mark.parametrize("kind", [cymf.ALS, cymf.SGD])
def test_checks_fail_for_the_documented_reasons_alone(kind):
    failed, passed = set(), set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = estimator_checks.check_estimator(small(kind), on_fail=None, on_skip=None)
    for result in results:
        if result["status"] == "failed":
            failed.add(result["check_name"])
        elif result["status"] == "passed":
            passed.add(result["check_name"])
    assert len(passed) >= 10, sklearn.__version__
    undocumented = failed - documented_failures()
    assert not undocumented, {
        r["check_name"]: str(r["exception"])[:200]
        for r in results
        if r["check_name"] in undocumented
    }


def test_scikit_learn_is_no_dependency():
    assert importlib.util.find_spec("sklearn")  # here; but
    source = Path(cymf.__file__).parent
    importing = {
        path.name
        for path in source.glob("*.py")
        if re.search(r"^(import|from) sklearn", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert not importing
