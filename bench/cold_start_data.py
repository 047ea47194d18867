"""MovieLens with features of users and films, cold splits of it, and how predictions for cold rows are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cymf
from cymf._feature_rows import align_features
from cymf.evaluation import cold_item_split, cold_user_split

__all__ = ["SIDES", "ColdSplit", "Described", "load", "measure"]

SIDES = ("user", "item")
_LIKED = 4.0  # stars
_RANKED_USERS = 500


@dataclass(frozen=True, eq=False)
class Described:
    """Ratings and the features of both sides, as rows of the ratings."""

    name: str
    ratings: cymf.Ratings
    users: cymf.Features
    items: cymf.Features


@dataclass(frozen=True, eq=False)
class ColdSplit:
    """What a method is given: training ratings, features by row, and of the test its pairs alone."""

    side: str
    train: cymf.Ratings
    test: cymf.Ratings
    users: Any  # csr_array
    items: Any

    @classmethod
    def of(cls, data: Described, ratings: cymf.Ratings, side: str, seed: int) -> ColdSplit:
        split = cold_user_split if side == "user" else cold_item_split
        train, test = split(ratings, 0.2, seed)
        return cls(side, train, test, data.users.matrix, data.items.matrix)

    @property
    def candidates(self) -> np.ndarray:
        """Which items are ranked: all of training for cold users, the cold ones for known users."""
        counts = (self.train if self.side == "user" else self.test).item_counts
        return np.flatnonzero(counts)

    def ranked_users(self) -> np.ndarray:
        """At most 500 users of the test, drawn once and for all, who like an item there."""
        liked = np.unique(self.test.users[self.test.values >= _LIKED])
        if len(liked) > _RANKED_USERS:
            liked = np.sort(np.random.default_rng(0).choice(liked, _RANKED_USERS, replace=False))
        return liked


def load(name: str, folder: Path) -> Described:
    """Return ``"1m"`` or ``"100k"``: age, gender and occupation of users, genres and year of films."""
    data = cymf.datasets.load_movielens(name, data_home=folder)
    people = _people_1m(folder) if name == "1m" else _people_100k(folder)
    years = {film: title[-5:-1] for film, title in data.titles.items()}
    films = {
        "item": list(data.titles),
        "genres": [list(data.genres[film]) for film in data.titles],
        "year": [int(year) if year.isdecimal() else None for year in years.values()],
        "made in": [year if year.isdecimal() else None for year in years.values()],
    }
    categorical = [column for column in people if column not in ("user", "years of age")]
    users = cymf.Features.from_table(people, "user", categorical=categorical)
    items = cymf.Features.from_table(films, "item")
    ratings, sides = align_features(data.ratings, users, items)
    return Described(
        data.name,
        ratings,
        cymf.Features(sides.user.matrix, ratings.user_ids, sides.user.names),
        cymf.Features(sides.item.matrix, ratings.item_ids, sides.item.names),
    )


def _people_1m(folder: Path) -> dict[str, Any]:
    with np.load(folder / "ml-1m-side.npz") as file:
        n = len(file["user_age"])
        return {
            "user": np.arange(1, n + 1),
            "age": file["user_age"].astype(int),
            "gender": file["user_is_female"].astype(int),
            "occupation": file["user_occupation"].astype(int),
        }


def _people_100k(folder: Path) -> dict[str, Any]:
    lines = (folder / "ml-100k" / "u.user").read_text(encoding="latin-1").splitlines()
    user, age, gender, occupation, _ = zip(*(line.split("|") for line in lines), strict=True)
    ages = np.array(age, int)
    bands = np.array([1, 18, 25, 35, 45, 50, 56])  # those of the larger set
    return {
        "user": np.array(user, int),
        "age": bands[np.searchsorted(bands, ages, "right") - 1],
        "years of age": ages.astype(float),
        "gender": list(gender),
        "occupation": list(occupation),
    }


Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]


def measure(
    split: ColdSplit, scores: Scores, *, errors: bool = True, ranking: bool = True
) -> dict[str, float]:
    """Return the RMSE over the test, and NDCG@10 over ranked users: 1 for a film that the user liked, else 0.

    `scores` takes rows of users and rows of items, pair by pair. Seen items are not candidates: those of cold users
    are unknown, and cold items were seen by nobody.
    """
    found = {}
    if errors:
        predicted = scores(split.test.users, split.test.items)
        found["RMSE"] = float(np.sqrt(np.mean((predicted - split.test.values.astype(float)) ** 2)))
    if not ranking:
        return found
    candidates = split.candidates
    liked = split.test.values >= _LIKED
    gains = []
    for users in _blocks(split.ranked_users()):
        pairs = np.repeat(users, len(candidates)), np.tile(candidates, len(users))
        table = scores(*pairs).reshape(len(users), -1)
        for user, row in zip(users, table, strict=True):
            wanted = split.test.items[(split.test.users == user) & liked]
            best = candidates[np.argsort(-row, kind="stable")[:10]]
            gain = np.isin(best, wanted) @ (1 / np.log2(np.arange(2, len(best) + 2)))
            ideal = np.sum(1 / np.log2(np.arange(2, min(10, len(wanted)) + 2)))
            gains.append(gain / ideal)
    found["NDCG@10"] = float(np.mean(gains))
    return found


def _blocks(users: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(users), 100):
        yield users[start : start + 100]
