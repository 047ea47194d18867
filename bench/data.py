"""The ratings that all benchmarks use: one file, one split, for cymf and for every peer.

Files are made once, in the cache folder, by the process that has cymf; peers read them with NumPy alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

__all__ = [
    "DATA_SETS",
    "DEFAULT_CACHE",
    "IMPLICIT",
    "IMPLICIT_ALPHA",
    "IMPLICIT_REG",
    "Split",
    "prepare",
]

DEFAULT_CACHE = Path(os.environ.get("CYMF_BENCH_CACHE", "~/.cache/cymf-bench")).expanduser()
_TEST_SHARE = 0.1
_RANKED_USERS = 3000
# The objective over all cells that all libraries for implicit feedback are given (Hu, Koren and Volinsky 2008):
# 1/2 sum c (p - w.h)^2 + reg/2 (|W|^2 + |H|^2); where seen c = 1 + alpha and p = 1, elsewhere c = 1 and p = 0
IMPLICIT_ALPHA = 40.0
IMPLICIT_REG = 20.0
_VERSION = 1  # of what stands below: part of the file name, so that an old file is never mistaken for a new one


@dataclass(frozen=True, eq=False)
class Split:
    """Training and held-out ratings as row numbers; a tenth of explicit ratings is held out, drawn by one seed."""

    train_users: np.ndarray
    train_items: np.ndarray
    train_values: np.ndarray
    test_users: np.ndarray
    test_items: np.ndarray
    test_values: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def load(cls, path: str | Path) -> Split:
        with np.load(path) as file:
            arrays = {field.name: file[field.name] for field in fields(cls)}
        arrays["shape"] = tuple(int(n) for n in arrays["shape"])
        return cls(**arrays)

    @property
    def nnz(self) -> int:
        return len(self.train_values)

    def csr(self):
        """Return the training ratings as a SciPy CSR matrix of float32."""
        from scipy import sparse

        cells = self.train_users, self.train_items
        return sparse.csr_matrix((self.train_values, cells), shape=self.shape, dtype=np.float32)

    def frame(self, user: str, item: str, rating: str):
        """Return the training ratings as a pandas frame with columns of the given names."""
        import pandas as pd

        return pd.DataFrame(
            {user: self.train_users, item: self.train_items, rating: self.train_values}
        )

    def rmse(self, predictions: np.ndarray) -> float:
        """Return the RMSE of predictions of the held-out ratings."""
        errors = np.asarray(predictions, np.float64) - self.test_values
        return float(np.sqrt(np.mean(errors**2)))

    def missed(self, user_factors: np.ndarray, item_factors: np.ndarray) -> float:
        """Return 1 - recall@20 of the first 3,000 users: all items ranked, those of training left out."""
        seen = self.csr()[:_RANKED_USERS]
        scores = user_factors[:_RANKED_USERS] @ item_factors.T
        scores[seen.nonzero()] = -np.inf
        best = np.argpartition(-scores, 20, axis=1)[:, :20]
        recommended = np.zeros(scores.shape, bool)
        np.put_along_axis(recommended, best, True, axis=1)
        ranked = self.test_users < _RANKED_USERS
        users = self.test_users[ranked]
        hits = np.bincount(users, recommended[users, self.test_items[ranked]], len(scores))
        wanted = np.bincount(users, minlength=len(scores))
        return 1 - float(np.mean(hits[wanted > 0] / wanted[wanted > 0]))

    def implicit_objective(self, user_factors: np.ndarray, item_factors: np.ndarray) -> float:
        """Return the objective over all cells that IMPLICIT_ALPHA and IMPLICIT_REG set, in float64."""
        W, H = user_factors.astype(np.float64), item_factors.astype(np.float64)
        total = float(np.sum((W.T @ W) * (H.T @ H)))  # of squares of all predictions
        for begin in range(0, self.nnz, 1 << 20):
            part = slice(begin, begin + (1 << 20))
            s = np.einsum("if,if->i", W[self.train_users[part]], H[self.train_items[part]])
            total += float(np.sum((1 + IMPLICIT_ALPHA) * (1 - s) ** 2 - s**2))
        return 0.5 * (total + IMPLICIT_REG * float(np.sum(W**2) + np.sum(H**2)))


def _ml1m():
    """Ratings of MovieLens 1M, films numbered anew."""
    from cymf.datasets import load_movielens

    ratings = load_movielens("1m").ratings
    seen, items = np.unique(ratings.items, return_inverse=True)
    return ratings.users, items, ratings.values, (ratings.n_users, len(seen))


def _ml1m_half():
    """Ratings of the first 2,999 users of MovieLens 1M, films numbered anew."""
    from cymf.datasets import load_movielens

    ratings = load_movielens("1m").ratings
    users, items, values = ratings.users, ratings.items, ratings.values
    first = users < 2999
    seen, items = np.unique(items[first], return_inverse=True)
    return users[first], items, values[first], (2999, len(seen))


def _generated(n_users: int, n_items: int, n_ratings: int):
    from cymf.datasets import make_ratings

    ratings = make_ratings(
        n_users, n_items, n_ratings, n_factors=16, noise=0.7, random_state=0
    ).ratings
    return ratings.users, ratings.items, ratings.values, ratings.shape


def _gowalla() -> dict[str, np.ndarray]:
    """Check-ins of Gowalla in the split of the NGCF paper (`gowalla-lightgcn.npz`)."""
    with np.load(Path(os.environ["CYMF_DATA"]) / "gowalla-lightgcn.npz") as file:
        cells = {
            f"{part}_{axis}s": file[f"{part}_{axis}"]
            for part in ("train", "test")
            for axis in ("user", "item")
        }
        ones = {
            f"{part}_values": np.ones(len(cells[f"{part}_users"]), np.float32)
            for part in ("train", "test")
        }
        as_rows = {name: column.astype(np.int32) for name, column in cells.items()}
        return {**as_rows, **ones, "shape": file["shape"]}


def _held_out(
    users: np.ndarray, items: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    held_out = generator.random(len(values)) < _TEST_SHARE
    parts = {"shape": np.array(shape)}
    for part, chosen in (("train", ~held_out), ("test", held_out)):
        # in random order: peers that visit ratings as they come must not meet them sorted
        order = generator.permutation(np.flatnonzero(chosen))
        parts[f"{part}_users"] = np.asarray(users)[order].astype(np.int32)
        parts[f"{part}_items"] = np.asarray(items)[order].astype(np.int32)
        parts[f"{part}_values"] = np.asarray(values)[order].astype(np.float32)
    return parts


def _seen(users: np.ndarray, items: np.ndarray, values: np.ndarray, shape: tuple[int, int]):
    """Return ratings of whatever value as "has seen"."""
    return users, items, np.ones_like(values), shape


IMPLICIT = ("gowalla", "ml1m-seen", "tiny-seen")
DATA_SETS = {
    "ml1m-half": lambda: _held_out(*_ml1m_half()),
    "ml1m": lambda: _held_out(*_ml1m()),
    "ml1m-seen": lambda: _held_out(*_seen(*_ml1m())),
    "synthetic-20m": lambda: _held_out(*_generated(200_000, 20_000, 20_000_000)),
    "gowalla": _gowalla,
    "tiny": lambda: _held_out(*_generated(2_000, 1_000, 60_000)),
    "tiny-seen": lambda: _held_out(*_seen(*_generated(2_000, 1_000, 60_000))),
}


def prepare(name: str, cache: Path = DEFAULT_CACHE) -> Path:
    """Return the file of a data set, made if there is none."""
    path = cache / f"{name}-{_VERSION}.npz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, **DATA_SETS[name]())
        unfinished.rename(path)
    return path
