"""cymf, as the interpreter that runs the benchmark imports it."""

from __future__ import annotations

import numpy as np

from adapters import Peer

REQUIREMENTS: tuple[tuple[str, ...], ...] = ()
PEERS = {
    "cymf-als": Peer(
        "cymf ALS", "ALS", {"estimator": "ALS", "solver": "cholesky", "reg": 1.2, "tol": 0.0, "track_objective": False},
        ("reg", (0.3, 0.6, 1.2, 2.4, 4.8)), quick=True,
    ),
    "cymf-als-cg": Peer(
        "cymf ALS, CG", "ALS, CG",
        {"estimator": "ALS", "solver": "cg", "reg": 1.2, "tol": 0.0, "track_objective": False},
        ("reg", (0.3, 0.6, 1.2, 2.4, 4.8)), quick=True, note="inexact solves, three steps",
    ),
    "cymf-sgd": Peer(
        "cymf SGD", "SGD", {"estimator": "SGD", "reg": 0.03}, ("reg", (0.015, 0.03, 0.06, 0.12, 0.24)), quick=True,
    ),
}  # fmt: skip


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        import cymf

        self.version = f"{cymf.__version__}, SIMD level {cymf._kernels.simd_level()}"
        settings = dict(peer.settings)
        self.estimator = getattr(cymf, settings.pop("estimator"))
        self.parameters = dict(
            settings, n_factors=n_factors, n_threads=n_threads, store_ratings=False
        )
        self.ratings = cymf.Ratings.from_triplets(
            data.train_users, data.train_items, data.train_values, shape=data.shape
        )
        self.ratings.csr(np.float32)
        self.ratings.csc(np.float32)

    def fit(self, n_iter: int) -> None:
        self.model = self.estimator(max_iter=n_iter, **self.parameters).fit(self.ratings)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self.model.predict(users, items)
