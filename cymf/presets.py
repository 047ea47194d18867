"""Named parameter sets, tuned on data that is named with them.

The sets for MovieLens ratings were chosen on a random tenth of the training part of Surprise's folds (all five of
MovieLens-100K, the first of MovieLens-1M), never on a test part; ``bench/accuracy.py`` scores them on the test parts.
Use them by the estimator they are named after: ``cymf.ALS(**cymf.presets["als-ml-1m"])``.

The sets for published splits of implicit feedback are for `ImplicitALS`, but for ``"gowalla-spectral"``, which is for
`SpectralMF`; ``bench/published.py`` scores them. Those of ``ml-1m-ncf`` are published ones (google-research,
``ials/README.md``), those of ``gowalla`` come from its training set and, for the filter weight, from the paper of
GF-CF, those of ``lastfm-2k`` were chosen on a random fifth of its training set; ``docs/decisions/0014`` has all that
was tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["presets"]

_RENDLE: dict[str, Any] = {
    "weighting": "rendle",
    "confidence": "given",
    "alpha": 1.0,
    "max_iter": 12,
}

presets: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        name: MappingProxyType(parameters)
        for name, parameters in {
            "als-ml-100k": {"n_factors": 64, "reg": 1.2, "max_iter": 20, "tol": 0.0},
            "als-ml-1m": {"n_factors": 32, "reg": 1.3, "max_iter": 20, "tol": 0.0},
            "sgd-ml-100k": {
                "n_factors": 128,
                "reg": 0.06,
                "learning_rate": 0.02,
                "decay": 0.04,
                "init_std": 0.003,
                "max_iter": 54,
            },
            "sgd-ml-1m": {
                "n_factors": 100,
                "reg": 0.04,
                "learning_rate": 0.01,
                "decay": 0.02,
                "init_std": 0.002,
                "max_iter": 56,
            },
            "svdpp-ml-100k": {
                "n_factors": 256,
                "reg": 0.06,
                "learning_rate": 0.01,
                "decay": 0.02,
                "init_std": 0.01,
                "max_iter": 50,
            },
            "svdpp-ml-1m": {
                "n_factors": 128,
                "reg": 0.03,
                "learning_rate": 0.008,
                "decay": 0.02,
                "init_std": 0.003,
                "max_iter": 50,
            },
            "ml-1m-ncf-64": _RENDLE | {"n_factors": 64, "reg": 0.007, "unobserved_weight": 0.3},
            "ml-1m-ncf-192": _RENDLE | {"n_factors": 192, "reg": 0.007, "unobserved_weight": 0.3},
            "gowalla-64": _RENDLE
            | {
                "n_factors": 64,
                "reg": 0.003,
                "unobserved_weight": 0.01,
                "popularity_exponent": 0.5,
            },
            "gowalla-256": _RENDLE
            | {"n_factors": 256, "reg": 0.004, "unobserved_weight": 0.02, "max_iter": 10},
            "gowalla-spectral": {"n_factors": 1024, "filter_weight": 0.3},
            "lastfm-2k": _RENDLE
            | {
                "n_factors": 256,
                "reg": 0.045,
                "unobserved_weight": 0.03,
                "popularity_exponent": 0.375,
                "max_iter": 6,
            },
        }.items()
    }
)
