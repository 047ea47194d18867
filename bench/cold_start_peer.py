"""The process of another library on a cold split: trains, then answers pairs with predictions.

    python cold_start_peer.py LIBRARY FILE SIDE SETTINGS

FILE holds training ratings and the features of both sides by row, SETTINGS are JSON. It prints a line when it is
trained; then, for each line "PAIRS SCORES" with two file names, it predicts the pairs and prints a line again.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
from scipy import sparse


class Cmfrec:
    """Collective factorization: ratings and both sides' features share factors."""

    def __init__(self, given, users, items, side: str, settings: dict) -> None:
        from cmfrec import CMF

        shape = tuple(given["shape"])
        cells = given["train_users"], given["train_items"]
        X = sparse.coo_matrix((given["values"].astype(np.float64), cells), shape=shape)
        self.side, self.users, self.items = side, users.toarray(), items.toarray()
        known = [np.bincount(cells[axis], minlength=shape[axis]) > 0 for axis in (0, 1)]
        # new rows come by predict_cold alone, so that training sees no features of the cold ones
        self.place = [np.cumsum(mask) - 1 for mask in known]
        X = X.tocsr()[known[0]][:, known[1]].tocoo()
        self.model = CMF(verbose=False, nthreads=1, random_state=1, use_float=True, **settings)
        self.model.fit(X, U=self.users[known[0]], I=self.items[known[1]])

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """What predict_cold_multiple and predict_new do, but with the factors of each cold row made once."""
        if self.side == "user":
            cold, place = np.unique(users, return_inverse=True)
            factors = self.model._factors_cold_multiple(U=self.users[cold])
            return self.model._predict_user_multiple(factors[place], self.place[1][items])
        cold, place = np.unique(items, return_inverse=True)
        factors = self.model._factors_cold_multiple(U=self.items[cold], is_I=True)
        return self.model._predict_new(self.place[0][users], factors[place])


class MyFM:
    """A Bayesian factorization machine of one-hot users and items beside their features."""

    def __init__(self, given, users, items, side: str, settings: dict) -> None:
        from myfm import MyFMRegressor, RelationBlock

        self.blocks = []
        self.known = []
        for features, rows in ((users, given["train_users"]), (items, given["train_items"])):
            known = np.bincount(rows, minlength=features.shape[0]) > 0
            one_hot = sparse.diags(known.astype(np.float64), format="csr")
            self.blocks.append(sparse.hstack([one_hot, features], format="csr"))
        self.RelationBlock = RelationBlock
        groups = [users.shape[0], users.shape[1], items.shape[0], items.shape[1]]
        self.model = MyFMRegressor(rank=settings["rank"], random_seed=1, fit_w0=True)
        n_iter = settings["n_iter"]
        self.model.fit(
            None, given["values"].astype(np.float64),
            X_rel=self._relations(given["train_users"], given["train_items"]),
            n_iter=n_iter, n_kept_samples=n_iter * 2 // 3, group_shapes=groups,
        )  # fmt: skip

    def _relations(self, users: np.ndarray, items: np.ndarray):
        return [
            self.RelationBlock(np.asarray(rows, np.int64).tolist(), block)
            for rows, block in zip((users, items), self.blocks, strict=True)
        ]

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self.model.predict(None, self._relations(users, items), n_workers=1)


def _matrix(given, name: str):
    parts = tuple(given[f"{name}_{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_matrix(parts, shape=tuple(given[f"{name}_shape"]))


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    library, path, side, settings = sys.argv[1:]
    given = np.load(path)
    kind = {"cmfrec": Cmfrec, "myfm": MyFM}[library]
    trained = kind(
        given, _matrix(given, "users"), _matrix(given, "items"), side, json.loads(settings)
    )
    print("trained", file=answers)
    for line in sys.stdin:
        pairs, scores = line.split()
        asked = np.load(pairs)
        np.save(scores, trained.predict(asked["users"], asked["items"]))
        print("done", file=answers)


if __name__ == "__main__":
    main()
