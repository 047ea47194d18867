"""Real data: a fifth of the users or films of MovieLens 1M is known by features alone."""

from __future__ import annotations

import numpy as np
import pytest

import cymf
from cymf.evaluation import cold_item_split, cold_user_split


@pytest.fixture(scope="module")
def movielens(data_dir):
    """Ratings, and tables of users and films."""
    data = cymf.datasets.load_movielens("1m", data_home=data_dir)
    with np.load(data_dir / "ml-1m-side.npz") as side:
        people = {
            "user": np.arange(1, len(side["user_age"]) + 1),
            "age": side["user_age"].astype(int),
            "gender": side["user_is_female"].astype(int),
            "occupation": side["user_occupation"].astype(int),
        }
    years = [int(title[-5:-1]) for title in data.titles.values()]
    films = {
        "item": list(data.titles),
        "genres": [list(data.genres[film]) for film in data.titles],
        "year": years,
        "made in": list(map(str, years)),
    }
    users = cymf.Features.from_table(people, categorical=["age", "gender", "occupation"])
    return data.ratings, users, cymf.Features.from_table(films, "item")


def error_of(predicted, test):
    return float(np.sqrt(np.mean((np.asarray(predicted, float) - test.values) ** 2)))


def error_of_means(train, test, side):
    """Item means for cold users, user means for cold items."""
    rows, asked = (train.items, test.items) if side == "user" else (train.users, test.users)
    mean = train.values.mean(dtype=float)
    sums = np.bincount(rows, train.values - mean, minlength=max(train.shape))
    counts = np.bincount(rows, minlength=max(train.shape))
    return error_of(mean + (sums / np.maximum(counts, 1))[asked], test)


@pytest.mark.parametrize(("side", "least"), [("user", 0.002), ("item", 0.03)])
def test_cold_rows_are_predicted_better_than_by_means(movielens, side, least):
    ratings, users, items = movielens
    train, test = (cold_user_split if side == "user" else cold_item_split)(ratings)
    model = cymf.ALS(16, max_iter=8, tol=0, track_objective=False)
    model.fit(train, user_features=users, item_features=items)
    user_ids, item_ids, _ = test.to_triplets()
    if side == "user":
        features = users.matrix[users.ids.to_index(user_ids)]
        predicted = model.predict_cold(user_features=features, items=item_ids)
    else:
        features = items.matrix[items.ids.to_index(item_ids, "item")]
        predicted = model.predict_cold(users=user_ids, item_features=features)
    assert error_of(predicted, test) < error_of_means(train, test, side) - least


def test_features_do_not_harm_warm_rows(movielens):
    ratings, users, items = movielens
    train, test = cymf.evaluation.random_split(ratings, 0.1)
    given = {"max_iter": 8, "tol": 0, "track_objective": False}
    with_features = cymf.ALS(16, **given).fit(train, user_features=users, item_features=items)
    assert with_features.rmse(test) < cymf.ALS(16, **given).fit(train).rmse(test)
