"""Drop-ins for implicit's models: change the import, keep the rest.

    from cymf.compat.implicit import AlternatingLeastSquares, BayesianPersonalizedRanking, bm25_weight

Constructors, defaults, methods and meanings are those of implicit 0.7 on processors, and files of either library load
in the other. implicit need not be installed. Different on purpose:

- ``csr_array`` is accepted wherever ``csr_matrix`` is, and a ``RandomState`` as ``random_state``.
- The conjugate gradient steps of ALS (``use_cg=True``, the default) are preconditioned and end elsewhere; with
  ``use_cg=False`` results are implicit's but for rounding. BPR draws its pairs in another order.
- Missing answers of a batch are -1 with score NaN, and are left out for a single user; implicit pads by item 0.
- Results do not depend on the number of threads, BPR's included, and BLAS threads need no environment variable.
"""

from __future__ import annotations

from typing import NoReturn

from cymf.compat._implicit_als import AlternatingLeastSquares, calculate_loss
from cymf.compat._implicit_bpr import BayesianPersonalizedRanking
from cymf.compat._implicit_model import ModelFitError, ParameterWarning
from cymf.compat._implicit_weights import bm25_weight, tfidf_weight

__all__ = [
    "AlternatingLeastSquares",
    "BayesianPersonalizedRanking",
    "ModelFitError",
    "ParameterWarning",
    "bm25_weight",
    "calculate_loss",
    "tfidf_weight",
]

_INSTEAD = {
    "LogisticMatrixFactorization": "cymf's own model of this kind is cymf.LogisticMF",
    "ranking_metrics_at_k": "implicit's takes these models too, and so does cymf.evaluation.evaluate_ranking, as pairs "
    "(model.user_factors, model.item_factors)",
    "train_test_split": "cymf.evaluation.random_split splits Ratings",
} | dict.fromkeys(
    ("BM25Recommender", "CosineRecommender", "ItemItemRecommender", "TFIDFRecommender"),
    "import it from implicit.nearest_neighbours",
)


def __getattr__(name: str) -> NoReturn:
    if name not in _INSTEAD:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise ImportError(
        f"{__name__} has no {name}: {_INSTEAD[name]}. It has {', '.join(__all__)}", name=__name__
    )
