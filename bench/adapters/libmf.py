"""LIBMF: parallel SGD in C++, as its Python package builds it and as its makefile would."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import subprocess
import tarfile
from pathlib import Path

import numpy as np

from adapters import Peer

REQUIREMENTS = (("numpy", "setuptools", "wheel"), ("--no-build-isolation", "libmf==0.9.2"))
_FLAGS = [
    "-O3",
    "-march=native",
    "-DUSEAVX",
    "-DUSEOMP",
    "-fopenmp",
    "-std=c++11",
    "-shared",
    "-fPIC",
]
_SETTINGS = {"eta": 0.1, "lambda": 0.05}
_SWEEP = ("lambda", (0.0125, 0.025, 0.05, 0.1, 0.2))
PEERS = {
    "libmf": Peer(
        "LIBMF, native AVX build",
        "SGD",
        {"native": True, **_SETTINGS},
        _SWEEP,
        quick=True,
        note="result depends on timing; `" + " ".join(["g++", *_FLAGS[:5]]) + "`",
    ),
    "libmf-pypi": Peer(
        "LIBMF from PyPI",
        "SGD",
        {"native": False, **_SETTINGS},
        _SWEEP,
        note="result depends on timing",
    ),
}


def build(environment: Path) -> None:
    """Compile the C++ source in the source package for this machine."""
    pip = [
        str(environment / "bin" / "pip"),
        "download",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run(
        [*pip, "--no-binary", ":all:", "--dest", str(environment), "libmf==0.9.2"], check=True
    )
    with tarfile.open(environment / "libmf-0.9.2.tar.gz") as archive:
        archive.extractall(environment, filter="data")
    source = environment / "libmf-0.9.2" / "src_cpp"
    compiler = os.environ.get("CXX", "g++")
    target = environment / "libmf-native.so"
    subprocess.run(
        [
            compiler,
            *_FLAGS,
            "-o",
            str(target),
            str(source / "libmf_interface.cpp"),
            str(source / "mf.cpp"),
        ],
        check=True,
    )


class train:
    def __init__(self, data, peer: Peer, n_factors: int, n_threads: int) -> None:
        import sys

        settings = dict(peer.settings)
        self.version = "0.9.2 (LIBMF 2.01)"
        if settings.pop("native"):
            os.environ["LIBMF_OBJ"] = str(Path(sys.prefix) / "libmf-native.so")
        with contextlib.redirect_stdout(io.StringIO()):
            from libmf import mf
        self.mf = mf
        # its `is` comparisons of option names want interned strings, which keyword arguments are
        reg = settings.pop("lambda")
        self.parameters = dict(
            settings, lambda_p2=reg, lambda_q2=reg, lambda_p1=0.0, lambda_q1=0.0, k=n_factors, nr_threads=n_threads,
            nr_bins=max(20, 2 * n_threads + 1), quiet=True,
        )  # fmt: skip
        self.triplets = np.column_stack(
            [data.train_users, data.train_items, data.train_values]
        ).astype(np.float32)
        self.mean = float(data.train_values.mean())

    def fit(self, n_iter: int) -> None:
        self.model = self.mf.MF(nr_iters=n_iter, **self.parameters)
        self.model.fit(self.triplets)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Multiply the factors: the package's own `predict` reads its pairs in another order than it is given them."""
        raw = self.model.model
        P = np.ctypeslib.as_array(
            ctypes.cast(raw.P, ctypes.POINTER(ctypes.c_float)), (raw.m, raw.k)
        )
        Q = np.ctypeslib.as_array(
            ctypes.cast(raw.Q, ctypes.POINTER(ctypes.c_float)), (raw.n, raw.k)
        )
        known = (users < raw.m) & (items < raw.n)
        predictions = np.full(len(users), np.float32(raw.b))
        predictions[known] = np.einsum("if,if->i", P[users[known]], Q[items[known]])
        return np.where(np.isfinite(predictions), predictions, raw.b)
