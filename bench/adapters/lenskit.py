"""LensKit: biased ALS with exact solves, in Rust."""

from __future__ import annotations

import numpy as np

from adapters import Peer

# A CPU build of torch first: LensKit alone would draw the CUDA build, gigabytes that nothing here uses.
REQUIREMENTS = (("torch==2.13.0",), ("lenskit>=2025.8",))
_SWEEP = ("regularization", (0.025, 0.05, 0.1, 0.2, 0.4))
PEERS = {
    "lenskit": Peer("LensKit BiasedMF", "ALS", {"regularization": 0.1}, sweep=_SWEEP, quick=True)
}


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        from importlib.metadata import version

        from lenskit.data import from_interactions_df

        self.version = f"{version('lenskit')}, torch {version('torch')}"
        self.settings = dict(peer.settings, features=n_factors)
        self.data = from_interactions_df(
            data.frame("user_id", "item_id", "rating"),
            user_col="user_id",
            item_col="item_id",
            rating_col="rating",
        )

    def fit(self, n_iter: int) -> None:
        from lenskit.als import BiasedMFScorer
        from lenskit.training import TrainingOptions

        self.model = BiasedMFScorer(epochs=n_iter, **self.settings)
        self.model.train(self.data, TrainingOptions(rng=0))

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Evaluate the model's formula at once; its own scorer takes one user a call."""
        model, bias = self.model, self.model.bias
        u = model.users.numbers(users, missing="negative")
        i = model.items.numbers(items, missing="negative")
        predictions = np.full(len(users), float(bias.global_bias))
        predictions += np.where(u >= 0, bias.user_biases[u], 0) + np.where(
            i >= 0, bias.item_biases[i], 0
        )
        both = (u >= 0) & (i >= 0)
        P, Q = model.user_embeddings, model.item_embeddings
        predictions[both] += np.einsum("if,if->i", P[u[both]], Q[i[both]])
        return predictions
