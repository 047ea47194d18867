"""myFM: Bayesian factorization machines by Gibbs sampling, in C++, one thread.

Not one of `peers.py`: it is given design matrices in blocks, by ``design_worker.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# myfm imports pkg_resources, which setuptools 81 no longer has
REQUIREMENTS = (("setuptools<81",), ("myfm==0.4.0", "numpy", "scipy", "pandas"))


class train:
    """A regression on one fold's blocks.

    Parameters
    ----------
    blocks : list of (csr_matrix, ndarray, ndarray)
        Matrix, and its row of each training and each test row.
    groups : ndarray of shape (n_columns,)
        The group of each column.
    target : ndarray
        Training ratings.
    """

    def __init__(self, blocks: list[Any], groups: np.ndarray, target: np.ndarray) -> None:
        from importlib.metadata import version

        from myfm import RelationBlock

        self.version = version("myfm")
        self.blocks, self.test_blocks = (
            [
                RelationBlock(rows[number].astype(np.int64).tolist(), matrix)
                for matrix, *rows in blocks
            ]
            for number in (0, 1)
        )
        self.groups = groups.tolist()
        self.target = target

    def fit(self, n_factors: int, n_iter: int, n_kept: int, seed: int) -> None:
        """Draw, keeping the last draws; its progress bar is not for us."""
        from myfm import MyFMRegressor

        self.model = MyFMRegressor(rank=n_factors, random_seed=seed).fit(
            None,
            self.target,
            X_rel=self.blocks,
            grouping=self.groups,
            n_iter=n_iter,
            n_kept_samples=n_kept,
        )

    def predict(self) -> np.ndarray:
        """Predict the test rows."""
        return self.model.predict(None, self.test_blocks)
