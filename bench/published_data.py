"""The splits that published rankings are measured on, as `cymf.Ratings`, and how each is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import cymf
from cymf.evaluation import evaluate_ranking, evaluate_sampled, sample_negatives

__all__ = ["TASKS", "Task", "load", "matched_validation", "part_of_train"]


@dataclass(frozen=True, eq=False)
class Task:
    """A training set, and a function that measures a fitted model on what was held out."""

    train: cymf.Ratings
    measure: Callable[[Any], dict[str, float]]


def _ones(users: Any, items: Any, shape: tuple[int, int]) -> cymf.Ratings:
    return cymf.Ratings.from_triplets(
        np.asarray(users, np.int64), np.asarray(items, np.int64), shape=shape
    )


def _ranked(train: cymf.Ratings, test: cymf.Ratings) -> Task:
    def measure(model: Any) -> dict[str, float]:
        return dict(evaluate_ranking(model, test, metrics=("recall@20", "ndcg@20"), train=train))

    return Task(train, measure)


def _gowalla(folder: Path) -> Task:
    """Check-ins split by Wang et al. (NGCF), as He et al. (LightGCN) use them."""
    with np.load(folder / "gowalla-lightgcn.npz") as file:
        shape = tuple(int(n) for n in file["shape"])
        parts = [
            _ones(file[f"{part}_user"], file[f"{part}_item"], shape) for part in ("train", "test")
        ]
    return _ranked(*parts)


def _lastfm(folder: Path) -> Task:
    """The 10-core of HetRec 2011's Last.fm, split as Di Palma et al. have it; without the counts."""
    with np.load(folder / "lastfm-2k.npz") as file:
        columns = [
            file[f"split_{part}_{axis}"].astype(np.int64)
            for axis in ("user", "artist")
            for part in ("train", "test")
        ]
    train_users, test_users, train_items, test_items = columns
    users = np.unique(np.concatenate([train_users, test_users]))
    items = np.unique(np.concatenate([train_items, test_items]))
    shape = len(users), len(items)
    return _ranked(
        _ones(np.searchsorted(users, train_users), np.searchsorted(items, train_items), shape),
        _ones(np.searchsorted(users, test_users), np.searchsorted(items, test_items), shape),
    )


def _ml_1m_ncf(folder: Path) -> Task:
    """MovieLens-1M as He et al. (NCF) split it: the last item of each user among 99 sampled ones."""
    with np.load(folder / "ml-1m.npz") as file:
        number = np.zeros(int(file["item"].max()) + 1, np.int64)
        number[file["ncf_item_id"]] = np.arange(len(file["ncf_item_id"]))
        users, items = file["user"].astype(np.int64), number[file["item"]]
        held_out = file["ncf_test_item"].astype(np.int64)
        negatives = file["ncf_test_negatives"].astype(np.int64)
    shape = len(held_out), int(number.max()) + 1
    train = items != held_out[users]
    pairs = np.arange(len(held_out)), held_out

    def measure(model: Any) -> dict[str, float]:
        return dict(evaluate_sampled(model, pairs, negatives))

    return Task(_ones(users[train], items[train], shape), measure)


TASKS = {"gowalla": _gowalla, "lastfm-2k": _lastfm, "ml-1m-ncf": _ml_1m_ncf}


def load(name: str, folder: Path) -> Task:
    """Return a task by its name in `TASKS`."""
    return TASKS[name](folder)


def part_of_train(name: str, folder: Path, seed: int = 0) -> Task:
    """Return a task made of the training set alone, to choose parameters on.

    ``"lastfm-2k"``: a random fifth is held out. ``"gowalla"``: `matched_validation`. ``"ml-1m-ncf"``: a random item of
    each user, among 99 that the user has not in the training set.
    """
    train = load(name, folder).train
    rng = np.random.default_rng(seed)
    if name == "gowalla":
        return matched_validation(train, rng)
    if name == "lastfm-2k":
        held_out = rng.random(train.nnz) < 0.2
        return _ranked(train.subset(~held_out), train.subset(held_out))
    last = np.cumsum(train.user_counts) - 1
    held_out = last - rng.integers(0, train.user_counts)
    rest = np.ones(train.nnz, bool)
    rest[held_out] = False
    pairs, negatives = sample_negatives(train.subset(rest), train.subset(held_out), 99, seed)

    def measure(model: Any) -> dict[str, float]:
        return dict(evaluate_sampled(model, pairs, negatives))

    return Task(train.subset(rest), measure)


def matched_validation(train: cymf.Ratings, rng: np.random.Generator) -> Task:
    """Hold out a tenth of Gowalla's training pairs that looks like its test part.

    The test part favours popular items: ranking by popularity has a recall@20 of 0.0416 there (published), but 0.027
    on a random part of the training set. Pairs are therefore drawn with odds in proportion to popularity ** 0.155,
    which brings it to about 0.0416 here as well.
    """
    odds = train.item_counts[train.items] ** 0.155
    held_out = rng.random(train.nnz) < 0.1 * odds / odds.mean()
    return _ranked(train.subset(~held_out), train.subset(held_out))
