"""irspack: ALS for implicit feedback, in C++ with Eigen."""

from __future__ import annotations

import numpy as np
from data import IMPLICIT_ALPHA, IMPLICIT_REG

from adapters import Peer

REQUIREMENTS = (("irspack>=0.5",),)
# "ORIGINAL": what was seen has the weight alpha0 + value, what was not alpha0; nu = 0: a penalty that ignores counts
_SETTINGS = {"loss_type": "ORIGINAL", "alpha0": 1.0, "reg": IMPLICIT_REG, "nu": 0.0}
PEERS = {
    "irspack-cg": Peer(
        "irspack, CG", "iALS, CG", {"solver_type": "CG", **_SETTINGS}, quick=True, note="inexact solves, three steps"
    ),
    "irspack-cholesky": Peer("irspack, Cholesky", "iALS", {"solver_type": "CHOLESKY", **_SETTINGS}, quick=True),
    "irspack-ialspp": Peer(
        "irspack, iALS++", "iALS++", {"solver_type": "IALSPP", **_SETTINGS}, quick=True, note="blocks of 64 factors"
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
        self.matrix.data *= IMPLICIT_ALPHA

    def fit(self, n_iter: int) -> None:
        from irspack import IALSRecommender

        self.model = IALSRecommender(self.matrix, train_epochs=n_iter, **self.parameters).learn()

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.model.get_user_embedding(), self.model.get_item_embedding()
