"""Named parameter sets, tuned on data that is named with them.

The sets for MovieLens were chosen on a random tenth of the training part of Surprise's folds (all five of
MovieLens-100K, the first of MovieLens-1M), never on a test part; ``bench/accuracy.py`` scores them on the test parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["presets"]

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
        }.items()
    }
)
