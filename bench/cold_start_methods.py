"""What is compared on cold splits: means, neighbours by features, cymf with and without features, other libraries.

A method takes a `ColdSplit` and settings and returns a function of pairs (rows of users, rows of items) to scores.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cold_start_data import ColdSplit, Scores
from environments import interpreter, process_variables

import cymf

__all__ = ["METHODS", "Method"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes
    ----------
    label : str
        What tables say.
    fit : callable
        ``fit(split, **settings) -> scores``.
    grids : dict of str to list of dict
        The settings that are tried for cold users and for cold items.
    errors : bool
        Whether its scores are ratings.
    """

    label: str
    fit: Callable[..., Scores]
    grids: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    errors: bool = True

    def settings(self, side: str) -> list[dict[str, Any]]:
        return self.grids.get(side) or [{}]


# ---- means ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Means:
    """The mean, and damped deviations of the users and of the items of training."""

    mean: float
    users: np.ndarray
    items: np.ndarray
    residuals: np.ndarray  # of the training ratings

    @classmethod
    def of(cls, train: cymf.Ratings, damping: float) -> Means:
        """Take the known side's deviations alone first; the other side's from what they leave."""
        values = train.values.astype(np.float64)
        mean = float(values.mean())
        items = _damped_means(train.items, values - mean, train.n_items, damping)
        users = _damped_means(train.users, values - mean, train.n_users, damping)
        both = values - mean - users[train.users] - items[train.items]
        return cls(mean, users, items, both)


def _damped_means(rows: np.ndarray, values: np.ndarray, n: int, damping: float) -> np.ndarray:
    sums = np.bincount(rows, values, minlength=n)
    return sums / np.maximum(np.bincount(rows, minlength=n) + damping, 1e-12)


def global_mean(split: ColdSplit) -> Scores:
    mean = float(split.train.values.mean(dtype=np.float64))
    return lambda users, items: np.full(len(users), mean)


def popularity(split: ColdSplit) -> Scores:
    counts = split.train.item_counts.astype(float)
    return lambda users, items: counts[items]


def known_means(split: ColdSplit, damping: float) -> Scores:
    """Item means for cold users, user means for cold items."""
    means = Means.of(split.train, damping)
    if split.side == "user":
        return lambda users, items: means.mean + means.items[items]
    return lambda users, items: means.mean + means.users[users]


def feature_means(split: ColdSplit, damping: float) -> Scores:
    """Beside the known side's means, the mean deviation of rows with a feature, averaged over a row's features."""
    means = Means.of(split.train, damping)
    train = split.train
    cold = split.side == "user"
    known = means.items[train.items] if cold else means.users[train.users]
    left = train.values.astype(np.float64) - means.mean - known
    matrix = (split.users if cold else split.items) > 0  # numbers count as above average or not
    rows = train.users if cold else train.items
    sums = matrix.T @ np.bincount(rows, left, minlength=matrix.shape[0])
    counts = matrix.T @ np.bincount(rows, minlength=matrix.shape[0]).astype(float)
    effect = sums / np.maximum(counts + damping, 1e-12)
    row_effect = (matrix @ effect) / np.maximum(np.asarray(matrix.sum(axis=1)).ravel(), 1)
    if cold:
        return lambda users, items: means.mean + means.items[items] + row_effect[users]
    return lambda users, items: means.mean + means.users[users] + row_effect[items]


def neighbours(split: ColdSplit, damping: float, shrinkage: float) -> Scores:
    """Content alone: deviations of the rows with the most alike features, weighted by the cosine to the fourth.

    A cold user is predicted by what similar users gave the item beyond its mean; a cold item by what the user gave
    similar items beyond the user's mean.
    """
    means, train = Means.of(split.train, damping), split.train
    cold = split.side == "user"
    matrix = (split.users if cold else split.items).toarray()
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    known = means.items[train.items] if cold else means.users[train.users]
    left = (train.values.astype(np.float64) - means.mean - known).astype(np.float32)
    cells = train.to_scipy().copy()
    deviations = cells.copy()
    deviations.data = left
    seen = cells.copy()
    seen.data = np.ones_like(left)
    asked = np.unique(split.test.users if cold else split.test.items)
    alike = np.maximum(matrix[asked] @ matrix.T, 0).astype(np.float32) ** 4
    if cold:
        above, below = (deviations.T @ alike.T).T, (seen.T @ alike.T).T
    else:
        above, below = (deviations @ alike.T).T, (seen @ alike.T).T
    table = above / (below + shrinkage)
    place = np.zeros(len(matrix), np.int64)
    place[asked] = np.arange(len(asked))
    if cold:
        return lambda users, items: means.mean + means.items[items] + table[place[users], items]
    return lambda users, items: means.mean + means.users[users] + table[place[items], users]


# ---- cymf ----------------------------------------------------------------------------------------


def als(split: ColdSplit, features: bool = True, **settings: Any) -> Scores:
    model = cymf.ALS(tol=0, n_threads=1, track_objective=False, **settings)
    model.fit(split.train, **(_features(split) if features else {}))
    if not features:
        return lambda users, items: model.predict(users, items, by="index")
    return _cold_scores(model, split)


def sgd(split: ColdSplit, **settings: Any) -> Scores:
    model = cymf.SGD(n_threads=1, **settings).fit(split.train, **_features(split))
    return _cold_scores(model, split)


def _cold_scores(model: Any, split: ColdSplit) -> Scores:
    if split.side == "user":
        return lambda users, items: model.predict_cold(
            user_features=split.users[users], items=items, by="index"
        )
    return lambda users, items: model.predict_cold(
        users=users, item_features=split.items[items], by="index"
    )


def implicit_als(split: ColdSplit, **settings: Any) -> Scores:
    liked = split.train.subset(split.train.values >= 4)
    ones = cymf.Ratings.from_triplets(liked.users, liked.items, shape=liked.shape)
    model = cymf.ImplicitALS(n_threads=1, track_objective=False, **settings)
    model.fit(ones, **_features(split))
    return lambda users, items: model.predict(users, items, by="index")


def _features(split: ColdSplit) -> dict[str, Any]:
    return {"user_features": split.users, "item_features": split.items}


# ---- other libraries -----------------------------------------------------------------------------


def peer(split: ColdSplit, library: str, cache: Path, **settings: Any) -> Scores:
    """Train in the library's own environment; each call for scores asks its process."""
    return _Peer(split, library, cache, settings)


class _Peer:
    def __init__(
        self, split: ColdSplit, library: str, cache: Path, settings: dict[str, Any]
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        given = Path(self._folder.name, "given.npz")
        arrays = {"shape": np.array(split.train.shape), "values": split.train.values}
        arrays |= {"train_users": split.train.users, "train_items": split.train.items}
        for name, matrix in (("users", split.users), ("items", split.items)):
            arrays |= {
                f"{name}_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")
            }
            arrays[f"{name}_shape"] = np.array(matrix.shape)
        np.savez(given, **arrays)
        python = interpreter(library, cache)
        self._process = subprocess.Popen(
            [str(python), str(_FOLDER / "cold_start_peer.py"), library, str(given), split.side, json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=process_variables(1, own=False),
        )  # fmt: skip
        self._answer()

    def _answer(self) -> None:
        if self._process.stdout is None or not self._process.stdout.readline():
            raise RuntimeError(f"the process of a peer ended with code {self._process.wait()}")

    def __call__(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        pairs, scores = (Path(self._folder.name, name) for name in ("pairs.npz", "scores.npy"))
        np.savez(pairs, users=users, items=items)
        self._process.stdin.write(f"{pairs} {scores}\n")
        self._process.stdin.flush()
        self._answer()
        return np.load(scores)

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()


# ---- the rows of the table -----------------------------------------------------------------------


def _both(settings: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {"user": settings, "item": settings}


def METHODS(cache: Path) -> dict[str, Method]:
    """Return all methods by their keys; `cache` holds the environments of other libraries."""
    dampings = [{"damping": d} for d in (0.0, 3.0, 10.0)]
    hybrid = [
        {"n_factors": k, "reg": reg, "max_iter": 10} for k in (8, 16, 32) for reg in (1.2, 3.0)
    ]
    return {
        "mean": Method("global mean", global_mean),
        "popularity": Method("popularity", popularity, errors=False),
        "known-means": Method("means of the known side", known_means, _both(dampings)),
        "feature-means": Method("per-feature means", feature_means, _both(dampings)),
        "neighbours": Method(
            "content alone: neighbours by features",
            neighbours,
            _both([{"damping": 3.0, "shrinkage": s} for s in (1.0, 3.0, 10.0, 30.0, 100.0)]),
        ),
        "als": Method(
            "collaboration alone: `ALS` without features",
            als,
            _both([{"features": False, "n_factors": 16, "reg": r} for r in (1.2, 3.0, 6.0)]),
        ),
        "als-features": Method("**hybrid: `ALS` with features**", als, _both(hybrid)),
        "sgd-features": Method(
            "hybrid: `SGD` with features",
            sgd,
            _both(
                [
                    {"n_factors": k, "reg": reg, "max_iter": 30}
                    for k in (8, 16, 32)
                    for reg in (0.05, 0.1)
                ]
            ),
        ),
        "implicit-features": Method(
            "hybrid: `ImplicitALS` with features, of liked films",
            implicit_als,
            _both(
                [
                    {
                        "n_factors": 32,
                        "reg": reg,
                        "unobserved_weight": 0.1,
                        "feature_reg": feature_reg,
                    }
                    for reg in (0.01, 0.03)
                    for feature_reg in (1.0, 10.0, 100.0)
                ]
            ),
            errors=False,
        ),
        "cmfrec": Method(
            "cmfrec `CMF` with features",
            lambda split, **settings: peer(split, "cmfrec", cache, **settings),
            _both(
                [
                    {"k": 16, "lambda_": reg, "w_user": weight, "w_item": weight, "niter": 10}
                    for reg in (5.0, 20.0, 80.0)
                    for weight in (1.0, 10.0)
                ]
            ),
        ),
        "myfm": Method(
            "myFM `MyFMRegressor` with features",
            lambda split, **settings: peer(split, "myfm", cache, **settings),
            _both([{"rank": rank, "n_iter": 100} for rank in (2, 4, 8, 16)]),
        ),
    }
