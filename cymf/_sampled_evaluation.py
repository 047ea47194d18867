"""Held-out items ranked among a few sampled ones: the protocol of neural collaborative filtering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cymf._columns import plain_array, written_column
from cymf._fitted import Fitted
from cymf._kernels import kernels
from cymf._queries import Axis, rows_of, split_pairs
from cymf._ranking_metrics import Metric, as_metrics, mean_of_users
from cymf._ranking_report import RankingReport
from cymf._splits import RandomState, check_ratings
from cymf._validation import check_integer
from cymf.ratings import Ratings

__all__ = ["evaluate_sampled", "sample_negatives"]

_KINDS = ("hit_rate", "ndcg", "mrr", "auc")
_BLOCK_SCORES = 1 << 20  # scores held at a time


def evaluate_sampled(
    model: Any,
    test_pairs: Any,
    negatives: ArrayLike,
    *,
    metrics: str | Sequence[str] = ("hit_rate@10", "ndcg@10"),
) -> RankingReport:
    """Rank each held-out item among sampled items of the same user, and measure where it stands.

    Parameters
    ----------
    model : fitted model, or object with ``predict(users, items)``
        A model of cymf; or any object whose ``predict`` takes two arrays of ids and returns scores.
    test_pairs : pair (users, items), or array-like of shape (n_pairs, 2)
        Ids of users, and of one held-out item each.
    negatives : array-like of shape (n_pairs, n_negatives)
        Ids of the items that each held-out item is ranked among.
    metrics : str or sequence of str, default ("hit_rate@10", "ndcg@10")
        With rank r = 1 + number of negatives with a *strictly greater* score: ``hit_rate@k`` is 1 if r ≤ k,
        ``ndcg@k`` is 1 / log₂(r + 1) if r ≤ k, ``mrr@k`` is 1 / r if r ≤ k, otherwise 0; ``auc`` is the share of
        negatives with a lower score, equal ones counting ½.

    Returns
    -------
    RankingReport
        With one entry for each pair; its `users` are the users of the pairs.

    Raises
    ------
    ValueError
        If a metric is unknown or not one of these, shapes do not fit, or a score is NaN.
    TypeError
        If `model` cannot predict.

    Notes
    -----
    Such figures serve for comparison with published ones. They depend on the number of negatives and how they were
    drawn, and may order models otherwise than `evaluate_ranking` does (Krichene and Rendle 2020): do not choose a model
    by them.

    As equal scores count for the model, one that gives all items the same score looks perfect. Items without training
    interactions stand below all others; a user unknown to the model has the scores of a stranger.

    References
    ----------
    He, Liao, Zhang, Nie, Hu and Chua 2017, "Neural collaborative filtering", section 4.1. Krichene and Rendle 2020, "On
    sampled metrics for item recommendation".

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> from cymf.evaluation import evaluate_sampled
    >>> model = cymf.Popularity().fit(np.array([[1, 1, np.nan], [np.nan, 1, 1], [np.nan, 1, 1]]))
    >>> evaluate_sampled(model, [(0, 2), (1, 0)], [[0], [2]], metrics="hit_rate@1").per_user["hit_rate@1"].tolist()
    [1.0, 0.0]
    """
    wanted = as_metrics(metrics)
    for metric in wanted:
        if metric.kind not in _KINDS:
            raise ValueError(
                f"metric {metric.name!r} is not defined for one held-out item among sampled ones; expected "
                f"{', '.join(_KINDS)}"
            )
    users, items = test_pairs if isinstance(test_pairs, tuple) else split_pairs(test_pairs)
    users, items = written_column(users, "users"), written_column(items, "items")
    others = plain_array(negatives, "negatives")
    if users.ndim != 1 or users.shape != items.shape or not len(users):
        raise ValueError(
            f"test_pairs has users of shape {users.shape} and items of shape {items.shape}; expected one item a user"
        )
    if others.ndim != 2 or len(others) != len(users) or not others.shape[1]:
        raise ValueError(
            f"negatives has shape {others.shape}; expected ({len(users)}, n_negatives), a row for each pair"
        )
    greater, equal = _compared(model, users, items, others)
    per_user = {metric.name: _values(metric, greater, equal, others.shape[1]) for metric in wanted}
    means = {name: mean_of_users(name, values) for name, values in per_user.items()}
    return RankingReport(means, per_user, users)


def _values(
    metric: Metric, greater: NDArray[np.int64], equal: NDArray[np.int64], n_negatives: int
) -> NDArray[np.float64]:
    if metric.kind == "auc":
        return 1 - (greater + 0.5 * equal) / n_negatives
    value = {
        "hit_rate": np.ones(len(greater)),
        "ndcg": 1 / np.log2(greater + 2),
        "mrr": 1 / (greater + 1),
    }[metric.kind]
    return np.where(greater < metric.cutoff, value, 0.0)


def _compared(
    model: Any, users: NDArray[Any], items: NDArray[Any], others: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many negatives of each pair have a greater score than its item, and how many an equal one."""
    n_pairs, n_negatives = others.shape
    greater, equal = np.zeros(n_pairs, np.int64), np.zeros(n_pairs, np.int64)
    height = max(1, _BLOCK_SCORES // n_negatives)
    for start in range(0, n_pairs, height):
        block = slice(start, start + height)
        own = _scores(model, users[block], items[block])
        theirs = _scores(model, np.repeat(users[block], n_negatives), others[block].ravel())
        theirs = theirs.reshape(-1, n_negatives)
        greater[block] = (theirs > own[:, None]).sum(axis=1)
        equal[block] = (theirs == own[:, None]).sum(axis=1)
    return greater, equal


def _scores(model: Any, users: NDArray[Any], items: NDArray[Any]) -> NDArray[Any]:
    """Return the scores of pairs of ids; of items that the model does not know, minus infinity."""
    if not isinstance(model, Fitted):
        if not hasattr(model, "predict"):
            raise TypeError(
                f"model is a {type(model).__name__}; expected a fitted model of cymf, or an object with a method "
                "predict(users, items)"
            )
        scores = np.asarray(model.predict(users, items))
        if scores.shape != users.shape or np.isnan(scores).any():
            raise ValueError(
                f"predict returned {int(np.isnan(scores).sum())} NaN in shape {scores.shape}; expected a score for "
                f"each of {len(users)} pairs"
            )
        return scores
    state = model._fitted()
    rows, columns = (
        np.ascontiguousarray(rows_of(ids, axis), np.int64)
        for ids, axis in ((users, Axis.users(state)), (items, Axis.items(state)))
    )
    scores = np.empty(len(rows), state.dtype)
    # Biases of users and the mean cannot matter, but where they are, rounding is that of `predict`.
    no_bias = np.zeros(0, state.dtype)
    kernels.predict_pairs(
        rows, columns, state.user_factors, state.item_factors,
        no_bias if state.user_bias is None else state.user_bias,
        no_bias if state.item_bias is None else state.item_bias,
        state.global_mean, scores,
    )  # fmt: skip
    scores[columns < 0] = -np.inf
    return scores


def sample_negatives(
    train: Ratings, test: Ratings, n: int = 99, random_state: RandomState = 0
) -> tuple[tuple[NDArray[Any], NDArray[Any]], NDArray[Any]]:
    """Draw for each held-out interaction n items that its user has neither in train nor in test.

    Every set of n of these items is equally likely; only items with training interactions are drawn.

    Parameters
    ----------
    train, test : Ratings
        With the same rows, columns and ids, as the splits of this module make them.
    n : int, default 99
        Items for each held-out interaction.
    random_state : int, numpy.random.Generator or None, default 0
        Seed, or source of random numbers; None: different at every call.

    Returns
    -------
    test_pairs : (users, items), two ndarrays of shape (test.nnz,)
        Ids, in storage order.
    negatives : ndarray of shape (test.nnz, n)
        Ids.

    Raises
    ------
    ValueError
        If train and test differ in shape or ids, or a user has fewer than n such items.

    Examples
    --------
    >>> import numpy as np
    >>> from cymf.ratings import Ratings
    >>> from cymf.evaluation import leave_k_out, sample_negatives
    >>> ratings = Ratings.from_matrix(np.where(np.eye(6) + np.eye(6, k=1), 1, np.nan))
    >>> train, test = leave_k_out(ratings)
    >>> pairs, negatives = sample_negatives(train, test, n=3)
    >>> negatives.shape
    (5, 3)
    """
    check_ratings(train)
    check_ratings(test)
    n = check_integer("n", n, 1)
    if train.shape != test.shape or not all(
        _same_ids(own, other)
        for own, other in ((train.user_ids, test.user_ids), (train.item_ids, test.item_ids))
    ):
        raise ValueError(
            f"train has shape {train.shape} and test {test.shape}, perhaps with other ids; expected the same rows and "
            "columns, as a split makes them"
        )
    candidates = np.flatnonzero(train.item_counts)
    taken = np.unique(np.concatenate([_cells(train), _cells(test)]))
    users = np.asarray(test.users, np.int64)
    drawn = _distinct_draws(
        users, candidates, taken, train.n_items, n, np.random.default_rng(random_state)
    )
    user_ids, item_ids, _ = test.to_triplets()
    negatives = drawn if test.item_ids is None else test.item_ids.to_ids(drawn.ravel())
    return (user_ids, item_ids), negatives.reshape(drawn.shape)


def _same_ids(own: Any, other: Any) -> bool:
    if own is None or other is None:
        return own is other
    return own is other or np.array_equal(own.ids, other.ids)


def _cells(ratings: Ratings) -> NDArray[np.int64]:
    cells: NDArray[np.int64] = ratings.users.astype(np.int64) * ratings.n_items + ratings.items
    return cells


def _distinct_draws(
    users: NDArray[np.int64],
    candidates: NDArray[np.int64],
    taken: NDArray[np.int64],  # cells, rising
    n_items: int,
    n: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Return n distinct candidates for each user that are not among the user's taken cells.

    Draws that are taken or repeat an earlier one of the row are drawn again. All items that may be drawn are treated
    alike, so that all sets of n are equally likely. Where that would take long, the items are shuffled instead.
    """
    of_candidates = np.zeros(n_items, bool)
    of_candidates[candidates] = True
    taken = taken[of_candidates[taken % n_items]]
    first, last = (np.searchsorted(taken, users * n_items + end) for end in (0, n_items))
    left = len(candidates) - (last - first)
    if len(left) and left.min() < n:
        raise ValueError(
            f"a user of test has only {left.min()} items left to draw from; expected n={n} or more: choose a smaller n"
        )
    drawn = np.empty((len(users), n), np.int64)
    crowded = 2 * n > left
    for row in np.flatnonzero(crowded | (2 * left < len(candidates))):
        free = np.setdiff1d(
            candidates, taken[first[row] : last[row]] - users[row] * n_items, assume_unique=True
        )
        drawn[row] = generator.choice(free, n, replace=False)
        crowded[row] = True
    open_rows = np.flatnonzero(~crowded)
    missing = np.ones((len(open_rows), n), bool)
    while len(open_rows):
        rows = drawn[open_rows]
        rows[missing] = generator.choice(candidates, int(missing.sum()))
        drawn[open_rows] = rows
        cells = users[open_rows, None] * n_items + rows
        missing = _is_in(cells, taken) | _repeats(rows)
        still = missing.any(axis=1)
        open_rows, missing = open_rows[still], missing[still]
    return drawn


def _is_in(cells: NDArray[np.int64], taken: NDArray[np.int64]) -> NDArray[np.bool_]:
    if not len(taken):
        return np.zeros(cells.shape, bool)
    place = np.minimum(np.searchsorted(taken, cells), len(taken) - 1)
    found: NDArray[np.bool_] = taken[place] == cells
    return found


def _repeats(rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark what stands further left in the same row already."""
    order = np.argsort(rows, axis=1, kind="stable")
    ranked = np.take_along_axis(rows, order, axis=1)
    repeated = np.zeros(rows.shape, bool)
    np.put_along_axis(repeated, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
    return repeated
