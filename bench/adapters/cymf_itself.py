"""cymf, as the interpreter that runs the benchmark imports it."""

from __future__ import annotations

import numpy as np
from data import IMPLICIT_ALPHA, IMPLICIT_REG

from adapters import Peer

REQUIREMENTS: tuple[tuple[str, ...], ...] = ()
_ALS = {"estimator": "ALS", "reg": 1.2, "tol": 0.0, "track_objective": False}
_ALS_SWEEP = ("reg", (0.3, 0.6, 1.2, 2.4, 4.8))
_IALS = {
    "estimator": "ImplicitALS", "weighting": "hu", "confidence": "linear", "unobserved_weight": 1.0,
    "alpha": IMPLICIT_ALPHA, "reg": IMPLICIT_REG, "reg_exponent": 0.0,
    "tol": 0.0, "track_objective": False,
}  # fmt: skip
_BPR = {"estimator": "BPR", "reg": 0.01, "learning_rate": 0.05}
PEERS = {
    "cymf-als": Peer("cymf ALS", "ALS", {**_ALS, "solver": "cholesky"}, _ALS_SWEEP, quick=True),
    "cymf-als-cg": Peer(
        "cymf ALS, CG", "ALS, CG", {**_ALS, "solver": "cg"}, _ALS_SWEEP, quick=True,
        note="inexact solves, three steps",
    ),
    "cymf-sgd": Peer(
        "cymf SGD", "SGD", {"estimator": "SGD", "reg": 0.03}, ("reg", (0.015, 0.03, 0.06, 0.12, 0.24)), quick=True,
    ),
    "cymf-ials": Peer("cymf ImplicitALS", "iALS", {**_IALS, "solver": "cholesky"}, quick=True),
    "cymf-ials-cg": Peer(
        "cymf ImplicitALS, CG", "iALS, CG", {**_IALS, "solver": "cg"}, quick=True,
        note="inexact solves, three steps",
    ),
    "cymf-ials-subspace": Peer(
        "cymf ImplicitALS, subspace", "iALS++", {**_IALS, "solver": "subspace"}, quick=True,
        note="blocks of 64 factors",
    ),
    "cymf-bpr": Peer("cymf BPR", "BPR", _BPR, ("learning_rate", (0.0125, 0.025, 0.05, 0.1, 0.2)), quick=True),
}  # fmt: skip


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        import cymf

        self.version = f"{cymf.__version__}, SIMD level {cymf._kernels.simd_level()}"
        settings = dict(peer.settings)
        name = settings.pop("estimator")
        if not hasattr(cymf, name):
            raise RuntimeError(f"this cymf has no {name}")
        self.estimator = getattr(cymf, name)
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

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        user_factors, item_factors = self.model.user_factors_, self.model.item_factors_
        if self.model.item_bias_ is None:
            return user_factors, item_factors
        ones = np.ones((len(user_factors), 1), user_factors.dtype)
        return np.hstack([user_factors, ones]), np.hstack(
            [item_factors, self.model.item_bias_[:, None]]
        )
