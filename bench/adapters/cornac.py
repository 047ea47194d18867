"""cornac: biased SGD in Cython with OpenMP."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from adapters import Peer

REQUIREMENTS = (("cornac>=2.6",),)
PEERS = {
    "cornac": Peer(
        "cornac MF", "SGD", {"learning_rate": 0.01, "lambda_reg": 0.04}, ("lambda_reg", (0.01, 0.02, 0.04, 0.08, 0.16)),
        note="result depends on timing: with a seed it would use one thread",
    )
}  # fmt: skip


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        from importlib.metadata import version

        from cornac.data import Dataset

        self.version = version("cornac")
        self.parameters = dict(
            peer.settings,
            k=n_factors,
            num_threads=n_threads,
            use_bias=True,
            early_stop=False,
            verbose=False,
        )
        n_users, n_items = data.shape
        cells = (
            data.train_users.astype(int),
            data.train_items.astype(int),
            data.train_values.astype(float),
        )
        identity = [OrderedDict((i, i) for i in range(n)) for n in (n_users, n_items)]
        self.data = Dataset(n_users, n_items, *identity, cells)

    def fit(self, n_iter: int) -> None:
        from cornac.models import MF

        self.model = MF(max_iter=n_iter, **self.parameters).fit(self.data)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        model = self.model
        predictions = model.global_mean + model.u_biases[users] + model.i_biases[items]
        return predictions + np.einsum("if,if->i", model.u_factors[users], model.i_factors[items])
