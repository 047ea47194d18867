"""cmfrec: collective matrix factorization by ALS, in C with OpenMP."""

from __future__ import annotations

import numpy as np
from data import IMPLICIT_ALPHA, IMPLICIT_REG

from adapters import Peer

# From source: its build uses all instructions of the processor at hand.
REQUIREMENTS = (
    ("numpy>=2", "scipy", "pandas", "threadpoolctl"),
    ("--no-binary", "cmfrec", "cmfrec>=3.5.1"),
)
_IMPLICIT = {"alpha": IMPLICIT_ALPHA, "lambda_": IMPLICIT_REG}
_SWEEP = ("lambda_", (2.5, 5.0, 10.0, 20.0, 40.0))
PEERS = {
    "cmfrec-cholesky": Peer(
        "cmfrec, Cholesky", "ALS", {"use_cg": False, "lambda_": 20.0}, sweep=_SWEEP, quick=True
    ),
    "cmfrec-cg": Peer(
        "cmfrec, CG",
        "ALS, CG",
        {"use_cg": True, "lambda_": 20.0},
        sweep=_SWEEP,
        quick=True,
        note="inexact solves",
    ),
    "cmfrec-implicit-cholesky": Peer(
        "cmfrec implicit, Cholesky", "iALS", {"use_cg": False, **_IMPLICIT}, quick=True
    ),
    "cmfrec-implicit-cg": Peer(
        "cmfrec implicit, CG",
        "iALS, CG",
        {"use_cg": True, **_IMPLICIT},
        quick=True,
        note="inexact solves, three steps",
    ),
}


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        from importlib.metadata import version

        self.version = version("cmfrec")
        # without a last exact iteration, and without the matrices that only later fold-in would use
        self.parameters = dict(
            peer.settings, k=n_factors, nthreads=n_threads, finalize_chol=False, precompute_for_predictions=False,
            use_float=True, verbose=False, random_state=1,
        )  # fmt: skip
        self.implicit = peer.implicit
        self.matrix = data.csr().tocoo()

    def fit(self, n_iter: int) -> None:
        from cmfrec import CMF, CMF_implicit

        model = CMF_implicit if self.implicit else CMF
        self.model = model(niter=n_iter, **self.parameters).fit(self.matrix)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self.model.predict(users, items)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.model.A_, self.model.B_
