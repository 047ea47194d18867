"""implicit: ALS and BPR for implicit feedback, in Cython with OpenMP."""

from __future__ import annotations

import numpy as np
from data import IMPLICIT_ALPHA, IMPLICIT_REG

from adapters import Peer

REQUIREMENTS = (("implicit>=0.7.2",),)
# its confidence of what was seen is alpha times the value, without the 1 that the objective adds
_SETTINGS = {"regularization": IMPLICIT_REG, "alpha": 1 + IMPLICIT_ALPHA}
_BPR = {"regularization": 0.01, "learning_rate": 0.05}
PEERS = {
    "implicit-cg": Peer("implicit, CG", "iALS, CG", {"use_cg": True, **_SETTINGS}, quick=True, note="inexact solves"),
    "implicit-cholesky": Peer("implicit, Cholesky", "iALS", {"use_cg": False, **_SETTINGS}, quick=True),
    "implicit-bpr": Peer(
        "implicit BPR", "BPR", _BPR, ("learning_rate", (0.0125, 0.025, 0.05, 0.1, 0.2)), quick=True,
        note="result depends on timing",
    ),
}  # fmt: skip


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        import implicit

        self.version = implicit.__version__
        self.ranking = peer.family == "BPR"
        self.parameters = dict(
            peer.settings,
            factors=n_factors,
            num_threads=n_threads,
            dtype=np.float32,
            use_gpu=False,
            random_state=0,
        )
        self.matrix = data.csr()

    def fit(self, n_iter: int) -> None:
        from implicit.als import AlternatingLeastSquares
        from implicit.bpr import BayesianPersonalizedRanking

        model = BayesianPersonalizedRanking if self.ranking else AlternatingLeastSquares
        self.model = model(iterations=n_iter, **self.parameters)
        self.model.fit(self.matrix, show_progress=False)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.model.user_factors, self.model.item_factors
