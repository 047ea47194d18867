"""Splitting data into train and test, and measuring predictions and rankings.

Splits: `random_split`, `leave_k_out`, `leave_latest_out`, `temporal_split`, `cold_user_split`, `cold_item_split`,
`kfold`. Errors of predicted ratings: `rmse`, `mae`. Rankings against all items: `evaluate_ranking`, with `compare` for
two models; against sampled items: `evaluate_sampled`, `sample_negatives`. Over folds: `cross_validate`; over
parameters: `GridSearch`, `RandomSearch`. Policies that explore, from a log of random recommendations: `replay`.

Examples
--------
>>> import numpy as np
>>> import cymf
>>> ratings = cymf.Ratings.from_matrix(np.random.default_rng(0).integers(1, 6, (30, 20)))
>>> train, test = cymf.evaluation.leave_k_out(ratings)
>>> report = cymf.evaluation.evaluate_ranking(cymf.ALS(n_factors=4).fit(train), test, metrics="hit_rate@20")
>>> report["hit_rate@20"]
1.0
"""

from cymf._cross_validation import cross_validate
from cymf._model_search import GridSearch, RandomSearch
from cymf._ranking_evaluation import Recommender, evaluate_ranking
from cymf._ranking_report import Comparison, RankingReport, compare
from cymf._rating_errors import mae, rmse
from cymf._replay import ReplayReport, replay
from cymf._sampled_evaluation import evaluate_sampled, sample_negatives
from cymf._splits import (
    cold_item_split,
    cold_user_split,
    kfold,
    leave_k_out,
    leave_latest_out,
    random_split,
    temporal_split,
)

__all__ = [
    "Comparison",
    "GridSearch",
    "RandomSearch",
    "RankingReport",
    "Recommender",
    "ReplayReport",
    "cold_item_split",
    "cold_user_split",
    "compare",
    "cross_validate",
    "evaluate_ranking",
    "evaluate_sampled",
    "kfold",
    "leave_k_out",
    "leave_latest_out",
    "mae",
    "random_split",
    "replay",
    "rmse",
    "sample_negatives",
    "temporal_split",
]
