"""implicit: ALS for implicit feedback, in Cython with OpenMP."""

from __future__ import annotations

import numpy as np

from adapters import Peer

REQUIREMENTS = (("implicit>=0.7.2",),)
_SETTINGS = {"regularization": 0.01, "alpha": 10.0}
_SWEEP = ("regularization", (0.01, 0.1, 1.0, 10.0, 100.0))
PEERS = {
    "implicit-cg": Peer(
        "implicit, CG", "implicit", {"use_cg": True, **_SETTINGS}, _SWEEP, note="inexact solves"
    ),
    "implicit-cholesky": Peer(
        "implicit, Cholesky", "implicit", {"use_cg": False, **_SETTINGS}, _SWEEP
    ),
}


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        import implicit

        self.version = implicit.__version__
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

        self.model = AlternatingLeastSquares(iterations=n_iter, **self.parameters)
        self.model.fit(self.matrix, show_progress=False)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.model.user_factors, self.model.item_factors
