"""scikit-learn's checks of estimators, as regressor and as classifier, with every exception written down."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import sklearn
from every_check import by_checks_of
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import cymf

# What does not hold, and why.
EXCEPTIONS = {
    "check_estimators_unfitted": "cymf.NotFittedError is a ValueError and an AttributeError, not scikit-learn's own",
    "check_supervised_y_2d": "targets in a column are an error, which says so, not a warning",
}
OF_STEPS = {
    "check_sample_weight_equivalence_on_dense_data": "mini-batches of repeated rows are other mini-batches",
    "check_sample_weight_equivalence_on_sparse_data": "mini-batches of repeated rows are other mini-batches",
}
OF_DRAWS = {
    "check_sample_weight_equivalence_on_dense_data": "repeated rows have Pólya-Gamma draws of their own",
    "check_sample_weight_equivalence_on_sparse_data": "repeated rows have Pólya-Gamma draws of their own",
}
# The check itself, before scikit-learn 1.7: it shuffles labels, then makes two classes of three by which comes first.
OF_LABELS = {
    "check_sample_weight_equivalence_on_dense_data": "scikit-learn < 1.7 compares fits to different labels",
    "check_sample_weight_equivalence_on_sparse_data": "scikit-learn < 1.7 compares fits to different labels",
}


def exceptions(model: cymf.FactorizationMachine) -> dict[str, str]:
    if model.solver in ("sgd", "adagrad"):
        return EXCEPTIONS | OF_STEPS
    if model.loss == "squared":
        return EXCEPTIONS
    if model.solver == "mcmc":
        return EXCEPTIONS | OF_DRAWS
    release = tuple(map(int, sklearn.__version__.split(".")[:2]))
    return EXCEPTIONS | (OF_LABELS if release < (1, 7) else {})


def scikit_learns_checks() -> pytest.MarkDecorator:
    estimators = [
        cymf.FactorizationMachine(
            2, solver=solver, loss=loss, max_iter=30, burn_in=5, dtype="float64", n_threads=1
        )
        for loss in ("squared", "logistic")
        for solver in ("mcmc", "als", "adagrad")
    ]
    return by_checks_of(estimators, exceptions)


@pytest.mark.filterwarnings("ignore")
@scikit_learns_checks()
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_in_pipelines_and_searches():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, (300, 3)).astype(str)
    effects = rng.normal(size=(2, 3, 5))
    codes = X.astype(int)
    y = sum(effects[0, j, codes[:, j]] for j in range(3))
    y = y + effects[1, 0, codes[:, 0]] * effects[1, 1, codes[:, 1]]
    machine = cymf.FactorizationMachine(4, solver="als", max_iter=50, n_threads=1)
    search = GridSearchCV(
        make_pipeline(OneHotEncoder(handle_unknown="ignore"), machine),
        {"factorizationmachine__reg": [0.001, 10.0]},
        cv=3,
    ).fit(X, y)
    assert search.best_params_["factorizationmachine__reg"] == 0.001
    assert search.best_score_ > 0.9


def test_more_than_two_classes_by_one_against_the_rest():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = np.array(["a", "b", "c"])[(X[:, 0] > 0).astype(int) + (X[:, 0] * X[:, 1] > 0)]
    machine = cymf.FactorizationMachine(2, loss="logistic", max_iter=60, n_threads=1)
    scores = cross_val_score(
        make_pipeline(StandardScaler(), OneVsRestClassifier(machine)), X, y, cv=3
    )
    assert scores.mean() > 0.8
