"""Surprise: biased SGD in Cython, one thread."""

from __future__ import annotations

import numpy as np

from adapters import Peer

REQUIREMENTS = (("scikit-surprise>=1.1.4", "pandas"),)
_SWEEP = ("reg_all", (0.0125, 0.025, 0.05, 0.1, 0.2))
PEERS = {
    "surprise": Peer(
        "Surprise SVD",
        "SGD",
        {"reg_all": 0.05, "lr_all": 0.02},
        _SWEEP,
        quick=True,
        note="one thread only",
    )
}


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        from importlib.metadata import version

        from surprise import Dataset, Reader

        self.version = version("scikit-surprise")
        self.settings = dict(peer.settings, n_factors=n_factors, random_state=0)
        scale = float(data.train_values.min()), float(data.train_values.max())
        frame = data.frame("user", "item", "rating")
        self.data = Dataset.load_from_df(frame, Reader(rating_scale=scale)).build_full_trainset()
        self.rows = np.full(data.shape[0], -1), np.full(data.shape[1], -1)
        for inner in self.data.all_users():
            self.rows[0][self.data.to_raw_uid(inner)] = inner
        for inner in self.data.all_items():
            self.rows[1][self.data.to_raw_iid(inner)] = inner

    def fit(self, n_iter: int) -> None:
        from surprise import SVD

        self.model = SVD(n_epochs=n_iter, **self.settings).fit(self.data)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Evaluate the model's formula at once; its own `predict` takes one pair a call."""
        u, i = self.rows[0][users], self.rows[1][items]
        predictions = np.full(len(users), self.data.global_mean)
        predictions += np.where(u >= 0, self.model.bu[u], 0) + np.where(i >= 0, self.model.bi[i], 0)
        both = (u >= 0) & (i >= 0)
        predictions[both] += np.einsum("if,if->i", self.model.pu[u[both]], self.model.qi[i[both]])
        return predictions
