"""What a user's script looks like to a type checker; `test_typed_usage` checks it, and runs it.

``assert_type`` is an error for mypy where the type is another, and does nothing when the script runs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import cymf
from cymf.evaluation import GridSearch, cross_validate, evaluate_ranking, random_split

# ---- ratings of everything one has -----------------------------------------------------------------

table = pd.DataFrame(
    {
        "user": ["ann", "ann", "bob", "cy", "cy", "bob", "dan", "dan"],
        "item": ["tea", "rum", "tea", "rum", "gin", "gin", "tea", "gin"],
        "rating": [5.0, 1.0, 4.0, 2.0, 3.0, 5.0, 1.0, 2.0],
    }
)
ratings = cymf.Ratings.from_table(table)
assert_type(ratings, cymf.Ratings)
triplets = cymf.Ratings.from_triplets(["ann", "bob"], np.array([7, 8]), [1, 2], duplicates="last")
dense = cymf.Ratings.from_matrix(np.array([[5.0, np.nan], [np.nan, 3.0]]), user_ids=["a", "b"])
assert_type(dense.shape, tuple[int, int])
assert_type(triplets.n_users, int)

# ---- fit, predict, recommend -----------------------------------------------------------------------

train, test = random_split(ratings, test_size=0.25, random_state=0)
assert_type(train, cymf.Ratings)
figures: list[float] = []


def watch(record: cymf.Iteration) -> bool:
    figures.append(record.validation_rmse)
    return record.seconds > 60


model = cymf.ALS(4, reg=0.1, max_iter=3).fit(train, validation=test, callback=watch)
assert_type(model, cymf.ALS)
assert_type(cymf.BPR(2, max_iter=1).fit(table).partial_fit(table), cymf.BPR)
assert_type(model.predict("ann", "tea"), float)
assert_type(model.predict(["ann", "bob"], ["tea", "rum"]), NDArray[Any])
assert_type(model.predict(np.array([["ann", "tea"]]), clip=True), NDArray[Any])
assert_type(model.predict("ann", "tea", return_std=True), tuple[float, float])
assert_type(model.predict("ann", ["tea"], return_std=True), tuple[NDArray[Any], NDArray[Any]])
items, scores = model.recommend("ann", n=2)
assert_type(items, np.ndarray)
assert_type(scores, np.ndarray)
model.recommend(["ann", "bob"], by="id", exclude_seen=False, unknown="raise")
model.similar_items(["tea"], 1, metric="dot")
assert_type(model.rmse(test), float)
assert_type(model.score(ratings), float)
assert_type(model.user_factors_, np.ndarray)
assert_type(model.user_bias_, np.ndarray | None)
assert_type(model.history_, dict[str, list[float]])
assert_type(model.n_iter_, int)
assert_type(model.stop_reason_, str)
assert_type(model.user_factors_for(["tea"], [5.0]), NDArray[Any])
factors, bias = model.user_factors_for(["tea"], [5.0], return_bias=True)
assert_type(factors, NDArray[Any])
model.recommend_by_factors(factors, 1, user_bias=bias)

implicit = cymf.ImplicitALS(2, max_iter=1).fit(ratings)
assert_type(implicit.transform(ratings), np.ndarray)
low, high = cymf.BayesianMF(2, burn_in=1, n_samples=2).fit(ratings).predict_interval("ann", "tea")
assert_type(low, float)
nonnegative = cymf.NMF(2, max_iter=2)
assert_type(nonnegative.fit_transform(np.ones((3, 3))), NDArray[Any])
assert_type(nonnegative.components_, np.ndarray)

# ---- features, machines ----------------------------------------------------------------------------

people = cymf.Features.from_table(
    pd.DataFrame({"user": ["ann", "eve"], "age": [31, 40]}), id="user"
)
assert_type(people, cymf.Features)
cold = cymf.ALS(2, max_iter=1).fit(ratings, user_features=people)
assert_type(cold.predict_cold(user_features={"age": 33}, items="tea"), np.ndarray)
design = cymf.design_matrix(ratings, history="user")
assert_type(design, cymf.DesignMatrix)
machine = cymf.FactorizationMachine(2, max_iter=2, burn_in=0).fit(design)
assert_type(machine, cymf.FactorizationMachine)
assert_type(machine.predict(design), NDArray[Any])
assert_type(machine.predict(design, return_std=True), tuple[NDArray[Any], NDArray[Any]])

# ---- evaluation, files, data -----------------------------------------------------------------------

found = cross_validate(cymf.ALS(2, max_iter=1), ratings, folds=2, metrics=("rmse", "ndcg@2"))
assert_type(found, dict[str, NDArray[np.float64]])
report = evaluate_ranking(model, test, metrics=("recall@2",), train=train)
assert_type(report["recall@2"], float)
search = GridSearch(cymf.ALS(2, max_iter=1), {"reg": [0.1, 1.0]}, folds=2).fit(ratings)
assert_type(search, GridSearch)
assert_type(search.best_score_, float)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "model.cymf")
    model.save(path)
    assert_type(cymf.load(path).predict("ann", "tea"), float)
assert_type(cymf.datasets.make_ratings(20, 10, 50).ratings, cymf.Ratings)

try:
    cymf.ALS().predict(0, 0)
except cymf.NotFittedError as error:
    assert_type(error, cymf.NotFittedError)
