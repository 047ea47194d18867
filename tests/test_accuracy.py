"""Held-out RMSE on Surprise's five folds of MovieLens: what README and bench/accuracy.py promise."""

from __future__ import annotations

import numpy as np
import pytest

import cymf
from cymf.evaluation import cross_validate, kfold


def mean_rmse(model, name, data_dir):
    ratings = cymf.datasets.load_movielens(name, data_home=data_dir).ratings
    folds = kfold(ratings, 5, random_state=0)
    return float(np.mean(cross_validate(model, ratings, folds=folds, metrics=("rmse",))["rmse"]))


@pytest.mark.parametrize(
    ("estimator", "parameters", "at_most"),
    [
        (cymf.ALS, {}, 0.920),
        (cymf.SGD, {}, 0.915),
        (cymf.ALS, cymf.presets["als-ml-100k"], 0.910),
        (cymf.SGD, cymf.presets["sgd-ml-100k"], 0.905),
    ],
)
def test_movielens_100k(estimator, parameters, at_most, data_dir):
    assert mean_rmse(estimator(**parameters), "100k", data_dir) <= at_most


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "parameters", "at_most"),
    [
        (cymf.ALS, {}, 0.860),
        (cymf.SGD, {}, 0.855),
        (cymf.ALS, cymf.presets["als-ml-1m"], 0.850),
        (cymf.SGD, cymf.presets["sgd-ml-1m"], 0.845),
    ],
)
def test_movielens_1m(estimator, parameters, at_most, data_dir):
    assert mean_rmse(estimator(**parameters), "1m", data_dir) <= at_most
