"""Every estimator that `cymf.load` knows, small, with data that suit it: for tests of what all of them do alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from fitted_models import star_ratings

import cymf
from cymf import _model_file

ESTIMATORS: dict[str, type] = {name: getattr(cymf, name) for name in _model_file.ESTIMATORS}
WITHOUT_ITERATIONS = ("Popularity", "Random", "SpectralMF")
ITERATING = tuple(name for name in ESTIMATORS if name not in WITHOUT_ITERATIONS)
UPDATED = tuple(name for name, estimator in ESTIMATORS.items() if hasattr(estimator, "partial_fit"))


def small(name: str, n_iter: int = 4, **parameters: Any) -> Any:
    """An unfitted model that does exactly so many iterations, if it does any."""
    if name == "BayesianMF":
        own = {"n_factors": 3, "burn_in": 1, "n_samples": n_iter - 1, "thinning": 1}
    elif name == "NMF":
        own = {"n_components": 3, "max_iter": n_iter, "tol": 0}
    elif name == "FactorizationMachine":
        own = {"n_factors": 3, "max_iter": n_iter, "burn_in": 0}
    elif name == "Popularity":
        own = {}
    elif name in WITHOUT_ITERATIONS:
        own = {"n_factors": 3}
    else:
        own = {"n_factors": 3, "max_iter": n_iter, "tol": 0}
    return ESTIMATORS[name](**(own | parameters))


@dataclass
class Data:
    """What a model is fitted to, held-out data, and what it is asked about."""

    train: tuple[Any, ...]
    validation: Any
    asked: tuple[Any, ...]


def data_for(name: str) -> Data:
    """Half-star ratings, a part of them held out; rows of numbers for the factorization machine."""
    if name == "FactorizationMachine":
        rng = np.random.default_rng(0)
        X = rng.normal(size=(60, 4))
        y = X[:, 0] + X[:, 1] * X[:, 2]
        return Data((X[:50], y[:50]), (X[50:], y[50:]), (X[50:],))
    train, test = cymf.evaluation.random_split(star_ratings(density=0.5), random_state=3)
    return Data((train,), test, ([0, 1, 2], [3, 4, 5]))


def use(name: str, folder: Any, **parameters: Any) -> Any:
    """Fit a model and do with it what models are for; returns it."""
    data = data_for(name)
    model = small(name, **parameters)
    model.fit(*data.train, validation=data.validation)
    assert np.isfinite(model.predict(*data.asked)).all()
    if hasattr(model, "recommend"):
        model.recommend([0, 1], 3)
        model.similar_items([1], 3)
        model.recommend_all(folder / f"{name}.csv", 2)
    if hasattr(model, "user_factors_for"):
        model.user_factors_for([3, 4], [5.0, 1.0])
    if name in UPDATED:
        model.partial_fit(data.validation)
    path = folder / f"{name}.cymf"
    model.save(path)
    loaded = cymf.load(path)
    np.testing.assert_array_equal(loaded.predict(*data.asked), model.predict(*data.asked))
    repr(loaded)
    return model
