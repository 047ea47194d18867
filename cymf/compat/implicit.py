"""Drop-ins for implicit's models: change the import, keep the rest.

    from cymf.compat.implicit import AlternatingLeastSquares, BayesianPersonalizedRanking

Constructors, defaults, methods and meanings are those of implicit 0.7 on processors, and files of either library load
in the other. Different on purpose:

- ``csr_array`` is accepted wherever ``csr_matrix`` is, and a ``RandomState`` as ``random_state``.
- Missing answers of a batch are -1 with score NaN, and are left out for a single user; implicit pads by item 0.
- Results do not depend on the number of threads, BPR's included, and BLAS threads need no environment variable.
"""

from __future__ import annotations

from cymf.compat._implicit_als import AlternatingLeastSquares, calculate_loss
from cymf.compat._implicit_bpr import BayesianPersonalizedRanking
from cymf.compat._implicit_model import ModelFitError, ParameterWarning

__all__ = [
    "AlternatingLeastSquares",
    "BayesianPersonalizedRanking",
    "ModelFitError",
    "ParameterWarning",
    "calculate_loss",
]
