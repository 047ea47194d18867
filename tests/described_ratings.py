"""Generated ratings whose users and items have features."""

from __future__ import annotations

import numpy as np
import pandas as pd


def features(n_users=40, n_items=30, seed=1):
    """Features of both sides in the order of the rows, some of them zero."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(n_users, 3)).astype(np.float32)
    items = (rng.random((n_items, 4)) < 0.4).astype(np.float32)
    users[3] = 0
    return users, items


def made_up(seed=0, n_users=300, n_items=120):
    """Ratings that follow features but for noise, with ids that are words; the tables of both sides."""
    rng = np.random.default_rng(seed)
    town, age = rng.integers(0, 4, n_users), rng.integers(18, 60, n_users).astype(float)
    genre, year = rng.integers(0, 5, n_items), rng.integers(1950, 2000, n_items)
    liking = rng.normal(size=(4, 5))
    stars = (
        3 + liking[town][:, genre] + 0.02 * (age - 40)[:, None] + 0.02 * (year - 1975)[None]
        + 0.3 * rng.normal(size=(n_users, n_items))
    )  # fmt: skip
    users, items = np.nonzero(rng.random(stars.shape) < 0.15)
    names = [
        np.array([f"u{i}" for i in range(n_users)]),
        np.array([f"i{j}" for j in range(n_items)]),
    ]
    cells = pd.DataFrame(
        {"user": names[0][users], "item": names[1][items], "rating": stars[users, items]}
    )
    people = pd.DataFrame({"user": names[0], "town": [f"t{t}" for t in town], "age": age})
    films = pd.DataFrame({"item": names[1], "genre": [[f"g{g}"] for g in genre], "year": year})
    return cells, people, films


def cold_parts(cells, side, every=5):
    cold = cells[side].str[1:].astype(int) % every == 0
    return cells[~cold], cells[cold]
