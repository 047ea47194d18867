"""buffalo: ALS for implicit feedback, in C++ with Eigen and OpenMP; its data lie in an HDF5 file."""

from __future__ import annotations

import numpy as np
from data import IMPLICIT_ALPHA, IMPLICIT_REG

from adapters import Peer

REQUIREMENTS = (("buffalo==2.0.6", "numpy<2", "scipy"),)  # its wheels end at Python 3.11
_SETTINGS = {"alpha": IMPLICIT_ALPHA, "reg_u": IMPLICIT_REG, "reg_i": IMPLICIT_REG}
PEERS = {
    "buffalo-cg": Peer(
        "buffalo, CG", "iALS, CG", {"optimizer": "manual_cg", **_SETTINGS}, quick=True,
        note="inexact solves, three steps",
    ),
    "buffalo-cholesky": Peer("buffalo, Cholesky", "iALS", {"optimizer": "llt", **_SETTINGS}, quick=True),
    "buffalo-ialspp": Peer(
        "buffalo, iALS++", "iALS++", {"optimizer": "ialspp", "block_size": 64, **_SETTINGS}, note="blocks of 64 factors"
    ),
}  # fmt: skip


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        import tempfile
        from importlib.metadata import version

        import buffalo.data
        from buffalo import ALSOption, MatrixMarketOptions, set_log_level

        set_log_level(0)
        self.version = version("buffalo")
        self.folder = tempfile.TemporaryDirectory()
        stored = MatrixMarketOptions().get_default_option()
        stored.input.main = data.csr()
        stored.data.update(
            path=f"{self.folder.name}/ratings.h5", tmp_dir=self.folder.name, validation={}
        )
        self.data = buffalo.data.load(stored)
        self.data.create()
        self.options = ALSOption().get_default_option()
        self.options.update(
            peer.settings, d=n_factors, num_workers=n_threads, compute_loss_on_training=False,
            evaluation_on_learning=False, random_seed=1,
        )  # fmt: skip

    def fit(self, n_iter: int) -> None:
        from buffalo import ALS

        self.options["num_iters"] = n_iter
        self.model = ALS(self.options, data=self.data)
        self.model.initialize()
        self.model.train()

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.model.P, self.model.Q
