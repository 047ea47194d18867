"""Rows with known interactions, ratings with known factors, and quick machines for them."""

from __future__ import annotations

import numpy as np
import reference_fm

import cymf

SOLVERS = ["mcmc", "als", "sgd", "adagrad"]


def planted(n=1500, d=12, k=2, noise=0.1, seed=0):
    """Sparse rows and targets of a machine."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, d)) < 0.4, rng.normal(size=(n, d)), 0)
    truth = reference_fm.Parameters(1.0, rng.normal(size=d), rng.normal(size=(d, k)) * 0.7)
    scores = reference_fm.scores(X, truth)
    return X, scores + noise * rng.normal(size=n), scores


def machine(solver, **parameters):
    defaults = {
        "mcmc": {"max_iter": 60},
        "als": {"reg": 0.001, "max_iter": 100},
        "sgd": {"reg": 0.0001, "learning_rate": 0.05, "batch_size": 8, "max_iter": 100},
        "adagrad": {"reg": 0.0001, "learning_rate": 0.3, "batch_size": 8, "max_iter": 100},
    }[solver]
    return cymf.FactorizationMachine(
        **({"n_factors": 3, "solver": solver, "n_threads": 1} | defaults | parameters)
    )


def ratings_of(n_users=30, n_items=20, share=0.4, seed=0):
    rng = np.random.default_rng(seed)
    users, items = np.nonzero(rng.random((n_users, n_items)) < share)
    product = np.sum(rng.normal(size=(n_users, 2))[users] * rng.normal(size=(n_items, 2))[items], 1)
    values = 3.5 + rng.normal(size=n_users)[users] / 2 + product + 0.1 * rng.normal(size=len(users))
    return cymf.Ratings.from_triplets(users, items, values)
