"""How a row goes from its features to its ratings: errors and weights over the number of ratings that it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cold_start_data import Described

import cymf

__all__ = ["hand_over", "picture"]

_REVEALED = (0, 1, 2, 4, 8, 16, 32)
# The plain penalty: scaled by the root of the ratings, it would trust a single one too much.
_SETTINGS = {
    "n_factors": 16, "reg": 12.0, "reg_exponent": 0.0, "max_iter": 10, "tol": 0, "n_threads": 1,
    "track_objective": False,
}  # fmt: skip


def hand_over(data: Described, side: str, n_splits: int) -> dict[str, Any]:
    """Return RMSE of three models, and the weight of features, for new rows with so many ratings each.

    A fifth of the rows with more than 40 ratings are new. Of each, the first n of a random order are in training; the
    test is what comes after the first 32, the same for all n.
    """
    found: dict[str, list[list[float]]] = {
        name: [] for name in ("features alone", "ratings alone", "both", "weight of features")
    }
    for seed in range(n_splits):
        order, rank, new = _dealt(data.ratings, side, seed)
        test = data.ratings.subset(new & (rank >= _REVEALED[-1]))
        rows: dict[str, list[float]] = {name: [] for name in found}
        for n in _REVEALED:
            train = data.ratings.subset(~new | (rank < n))
            both = cymf.ALS(**_SETTINGS).fit(
                train, user_features=data.users, item_features=data.items
            )
            plain = cymf.ALS(**_SETTINGS).fit(train)
            rows["both"].append(both.rmse(test))
            rows["ratings alone"].append(plain.rmse(test))
            rows["features alone"].append(_by_features(both, test, data, side))
            rows["weight of features"].append(_weight(both, train, order, data, side))
            print(
                side,
                seed,
                n,
                {name: round(values[-1], 4) for name, values in rows.items()},
                flush=True,
            )
        for name, values in rows.items():
            found[name].append(values)
    return {"revealed": list(_REVEALED), **found}


def _dealt(
    ratings: cymf.Ratings, side: str, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the new rows, the place of each rating in its row's random order, and which ratings are of new rows."""
    rng = np.random.default_rng(seed)
    rows, counts = (
        (ratings.users, ratings.user_counts)
        if side == "user"
        else (ratings.items, ratings.item_counts)
    )
    often = np.flatnonzero(counts > 40)
    chosen = np.sort(rng.choice(often, len(often) // 5, replace=False))
    shuffled = rng.permutation(ratings.nnz)
    order = shuffled[np.argsort(rows[shuffled], kind="stable")]
    rank = np.empty(ratings.nnz, np.int64)
    rank[order] = np.arange(ratings.nnz) - (np.cumsum(counts) - counts)[rows[order]]
    return chosen, rank, np.isin(rows, chosen)


def _by_features(model: cymf.ALS, test: cymf.Ratings, data: Described, side: str) -> float:
    """Return the RMSE of new rows as if they had no ratings."""
    users, items, _ = test.to_triplets()
    if side == "user":
        predicted = model.predict_cold(user_features=data.users.matrix[test.users], items=items)
    else:
        predicted = model.predict_cold(users=users, item_features=data.items.matrix[test.items])
    return float(np.sqrt(np.mean((predicted - test.values) ** 2)))


def _weight(
    model: cymf.ALS, train: cymf.Ratings, new: np.ndarray, data: Described, side: str
) -> float:
    """Return what is left of F B in the new rows: the mean of mᵀ P A⁻¹ m / mᵀm, A = XᵀX + P, m = F B, P = λ n^ν."""
    view = train.csr(np.float64) if side == "user" else train.csc(np.float64)
    other = (model.item_factors_ if side == "user" else model.user_factors_).astype(np.float64)
    own = model.user_feature_factors_ if side == "user" else model.item_feature_factors_
    matrix = (data.users if side == "user" else data.items).matrix
    left = []
    for row in new:
        rated = view.indices[view.indptr[row] : view.indptr[row + 1]]
        m = (matrix[[row]] @ own.astype(np.float64))[0]
        if len(rated) == 0 or not m.any():
            left.append(1.0)
            continue
        penalty = model.reg * len(rated) ** model.reg_exponent
        X = other[rated]
        solved = np.linalg.solve(X.T @ X + penalty * np.eye(len(m)), penalty * m)
        left.append(float(m @ solved / (m @ m)))
    return float(np.mean(left))


def picture(curves: dict[str, dict[str, Any]], name: str, path: Path) -> None:
    """Draw errors above, weights below, users left, items right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2, len(curves), figsize=(4.6 * len(curves), 5.2), sharex=True, squeeze=False,
        height_ratios=(2, 1), layout="constrained",
    )  # fmt: skip
    for (above, below), (side, found) in zip(axes.T, curves.items(), strict=True):
        places = np.arange(len(found["revealed"]))
        for kind, style in (("features alone", "--"), ("ratings alone", ":"), ("both", "-")):
            above.plot(places, np.mean(found[kind], axis=0), style, marker=".", label=kind)
        above.set(title=f"new {side}s", ylabel="RMSE")
        weight = np.mean(found["weight of features"], axis=0)
        below.fill_between(places, weight, label="features", alpha=0.5)
        below.fill_between(places, weight, 1, label="ratings", alpha=0.3)
        below.set(xlabel=f"ratings of the {side}", ylabel="weight", ylim=(0, 1))
        below.set_xticks(places, found["revealed"])
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].legend(fontsize=8)
    figure.suptitle(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
