"""irspack: ALS for implicit feedback, in C++ with Eigen."""

from __future__ import annotations

import numpy as np

from adapters import Peer

REQUIREMENTS = (("irspack>=0.5",),)
_SETTINGS = {"alpha0": 0.1, "reg": 0.003}
_SWEEP = ("reg", (0.0003, 0.001, 0.003, 0.01, 0.03))
PEERS = {
    "irspack-cg": Peer("irspack, CG", "implicit", {"solver_type": "CG", **_SETTINGS}, _SWEEP, note="inexact solves"),
    "irspack-cholesky": Peer("irspack, Cholesky", "implicit", {"solver_type": "CHOLESKY", **_SETTINGS}, _SWEEP),
    "irspack-ialspp": Peer(
        "irspack, iALS++", "implicit", {"solver_type": "IALSPP", **_SETTINGS}, _SWEEP, note="blocks of 64 factors"
    ),
}  # fmt: skip


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        from importlib.metadata import version

        self.version = version("irspack")
        self.parameters = dict(
            peer.settings, n_components=n_factors, n_threads=n_threads, random_seed=0
        )
        self.matrix = data.csr()

    def fit(self, n_iter: int) -> None:
        from irspack import IALSRecommender

        self.model = IALSRecommender(self.matrix, train_epochs=n_iter, **self.parameters).learn()

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.model.get_user_embedding(), self.model.get_item_embedding()
