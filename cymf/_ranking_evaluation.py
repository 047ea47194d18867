"""Rankings of any model measured against held-out interactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cymf._arrays import as_array
from cymf._fitted import Fitted
from cymf._queries import Axis, rows_of, seen_exclusions
from cymf._ranking_metrics import (
    Catalogue,
    HeldOut,
    Metric,
    as_metrics,
    measure_factors,
    measure_lists,
)
from cymf._ranking_report import RankingReport
from cymf._state import FittedState
from cymf._validation import check_threads
from cymf.ratings import Ratings, as_ratings

__all__ = ["Recommender", "evaluate_ranking"]


@runtime_checkable
class Recommender(Protocol):
    """What a model from elsewhere needs for `evaluate_ranking`: one method."""

    def recommend(self, users: Any, n: int, *, exclude_seen: bool, seen: Any) -> Any:
        """Return the ids of each user's best n items as an array of shape (n_users, n), best first; or a pair of it and
        the scores.

        `users` are ids as `test` has them. Where items run out, the rest is -1, or "" among ids that are strings, and
        scores there are NaN. With
        `exclude_seen` the items that a user has in `seen` are left out, in training if `seen` is None.
        """


def evaluate_ranking(
    model: Any,
    test: Any,
    *,
    metrics: str | Sequence[str] = ("recall@20", "ndcg@20"),
    train: Any = None,
    exclude_seen: bool = True,
    n_threads: int | None = None,
) -> RankingReport:
    r"""Rank all items for each user of a test set, and measure where the held-out ones stand.

    Parameters
    ----------
    model : fitted model, pair (user_factors, item_factors), or Recommender
        A model of cymf. Or factors from anywhere, with the rows and columns of `train`, such as those of another
        library's model, ``(model.user_factors, model.item_factors)``. Or any object whose method
        ``recommend(users, n, exclude_seen=..., seen=...)`` returns ids, see `Recommender`.
    test : Ratings, sparse matrix, dense array with NaN, or table
        Held-out interactions. Those with a positive value are relevant; leave out what shall not count beforehand,
        for instance by ``test.subset(test.values >= 4)``. Users are matched by their ids. Users without relevant
        interactions are not measured.
    metrics : str or sequence of str, default ("recall@20", "ndcg@20")
        See Notes.
    train : like `test`, optional
        What users have seen, in place of the model's own training ratings.
    exclude_seen : bool, default True
        Whether to leave out of a user's list what the user has seen.
    n_threads : int or None, default None
        Threads; None means all processors. The result is the same bits for any number.

    Returns
    -------
    RankingReport
        A mapping from metrics to means over users, with the values of single users beside.

    Raises
    ------
    ValueError
        If a metric is unknown, no user has relevant held-out items, it is not known what users have seen, or shapes do
        not fit.
    TypeError
        If `model` is none of these.

    Notes
    -----
    With n held-out items of a user, hits h_r = 1 where the item at rank r is one of them, and d_r = 1 / log₂(r + 1):

    ============================  =====================================================================================
    ``recall@k``                  Σ_{r≤k} h_r / n, as LightGCN and most graph networks have it
    ``truncated_recall@k``        Σ_{r≤k} h_r / min(k, n), as Mult-VAE has it: 1 can always be reached
    ``precision@k``               Σ_{r≤k} h_r / k
    ``hit_rate@k``                1 if there is a hit among the first k
    ``ndcg@k``                    Σ_{r≤k} d_r h_r / Σ_{r≤min(k,n)} d_r
    ``graded_ndcg@k``             the same with the held-out values as gains, in the denominator in falling order
    ``map@k``                     Σ_{r≤k} h_r precision@r / min(k, n)
    ``mrr@k``                     1 / rank of the first hit, 0 if it is not among the first k
    ``auc``                       share of the pairs (held-out item, other item) in the right order, ties counting ½
    ``coverage@k``                share of all items that are in somebody's list
    ``novelty@k``                 mean of −log₂ p_j over the listed items j, p_j being the share of the training users
                                  who have it
    ============================  =====================================================================================

    All items with training interactions are ranked, without sampling (Krichene and Rendle 2020). Equal scores stand in
    the order of row numbers. A held-out item that cannot be listed, because it is unknown to the model or among the
    seen, counts in n and is missed; for the area it stands below all others. A user unknown to the model gets the
    model's list for strangers.

    References
    ----------
    Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques" (NDCG). Liang, Krishnan, Hoffman
    and Jebara 2018, "Variational autoencoders for collaborative filtering", section 4 (Mult-VAE). He, Deng, Wang, Li,
    Zhang and Wang 2020, "LightGCN". Zhou, Kuscsik, Liu, Medo, Wakeling and Zhang 2010, "Solving the apparent
    diversity-accuracy dilemma of recommender systems" (self-information). Krichene and Rendle 2020, "On sampled metrics
    for item recommendation".

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> from cymf.evaluation import evaluate_ranking
    >>> train = np.array([[5, 4, np.nan, np.nan], [4, np.nan, 5, np.nan], [np.nan, 5, 4, 1]])
    >>> test = np.array([[np.nan, np.nan, 5, np.nan], [np.nan, 4, np.nan, np.nan], [5, np.nan, np.nan, np.nan]])
    >>> report = evaluate_ranking(cymf.ALS(n_factors=2).fit(train), test, metrics=("recall@1", "mrr@2"))
    >>> report["recall@1"], len(report.users)
    (1.0, 3)
    """
    wanted = as_metrics(metrics)
    threads = check_threads(n_threads)
    held_out_ratings = as_ratings(test)
    seen = None if train is None else as_ratings(train)
    if isinstance(model, tuple):
        state = _state_of_factors(model, seen, held_out_ratings)
    elif isinstance(model, Fitted):
        state = model._fitted()
    elif isinstance(model, Recommender):
        return _of_recommender(model, held_out_ratings, wanted, seen, exclude_seen, threads)
    else:
        raise TypeError(
            f"model is a {type(model).__name__}; expected a fitted model of cymf, a pair (user_factors, item_factors), "
            "or an object with a method recommend(users, n, exclude_seen=..., seen=...)"
        )
    items = held_out_ratings.align_to(
        state.user_ids, state.item_ids, (state.n_users, state.n_items)
    )[1]
    listable = np.maximum(state.item_counts, state.item_known)
    catalogue = Catalogue(listable, int((state.user_counts > 0).sum()))
    held_out, users = _held_out(held_out_ratings, items, catalogue)
    rows = rows_of(users, Axis.users(state))
    if exclude_seen:
        held_out.excluded = seen_exclusions(state, seen, users, "id")
    means, per_user = measure_factors(
        state.user_factors, rows, state.item_factors, state.item_bias, held_out, wanted, threads
    )
    return RankingReport(means, per_user, users)


def _of_recommender(
    model: Recommender,
    test: Ratings,
    metrics: tuple[Metric, ...],
    train: Ratings | None,
    exclude_seen: bool,
    n_threads: int,
) -> RankingReport:
    """Measure the lists of an object of which nothing is known but `recommend`."""
    for metric in metrics:
        if metric.kind == "auc":
            raise ValueError(
                f"auc needs the scores of all items, which a {type(model).__name__} does not tell; expected a model of "
                "cymf or a pair of factors, or metrics of lists such as 'ndcg@10'"
            )
        if metric.kind in ("coverage", "novelty") and train is None:
            raise ValueError(
                f"{metric.name} of a {type(model).__name__} needs train=, to know the items"
            )
    known = test if train is None else train
    items = test.align_to(known.user_ids, known.item_ids, known.shape)[1]
    catalogue = Catalogue(known.item_counts, int((known.user_counts > 0).sum()))
    held_out, users = _held_out(test, items, catalogue)

    def lists(block: slice, n: int) -> NDArray[np.int64]:
        answer = model.recommend(users[block], n, exclude_seen=exclude_seen, seen=train)
        listed, scores = answer if isinstance(answer, tuple) else (answer, None)
        found = np.asarray(as_array(listed, "items"))
        expected = (len(users[block]), n)
        if found.shape != expected:
            raise ValueError(
                f"recommend returned items of shape {found.shape}; expected {expected}, (n_users, n)"
            )
        if known.item_ids is None:
            return np.where(found < known.n_items, found, -1)
        empty = found == ("" if found.dtype.kind in "OUT" else -1)
        if scores is not None:  # an id may be what marks an empty place
            empty = np.isnan(as_array(scores, "scores"))
        rows = known.item_ids.to_index(found.ravel(), "item").reshape(expected)
        return np.where(empty, -1, rows)

    return RankingReport(*measure_lists(held_out, metrics, lists, n_threads), users)


def _held_out(
    test: Ratings, items: NDArray[np.int64], catalogue: Catalogue
) -> tuple[HeldOut, NDArray[Any]]:
    """Return what is held out of each user, `items` being the items as the model numbers them, and the ids of users."""
    held_out = HeldOut.of_pairs(test.users, items, test.values, catalogue)
    if not len(held_out):
        raise ValueError(
            f"test holds no positive value ({test.nnz} from {test.rating_range[0]:g} to {test.rating_range[1]:g}), so "
            "nothing is relevant"
        )
    users = held_out.users if test.user_ids is None else test.user_ids.to_ids(held_out.users)
    return held_out, users


def _state_of_factors(
    factors: tuple[Any, ...], train: Ratings | None, test: Ratings
) -> FittedState:
    """Return a state that ranks by given factors; rows and columns are those of `train`, or else of `test`."""
    if len(factors) != 2:
        raise TypeError(
            f"model is a tuple of {len(factors)}; expected a pair (user_factors, item_factors)"
        )
    user_factors, item_factors = (_factor_array(array) for array in factors)
    known = test if train is None else train
    if (len(user_factors), len(item_factors)) != known.shape:
        raise ValueError(
            f"the factors are of {len(user_factors)} users and {len(item_factors)} items; expected {known.shape} as "
            f"{'test' if train is None else 'train'} has"
        )
    dtype = np.result_type(user_factors, item_factors)
    ones = (np.ones(size, np.int64) for size in known.shape)
    user_counts, item_counts = ones if train is None else (train.user_counts, train.item_counts)
    return FittedState(
        user_factors=np.ascontiguousarray(user_factors, dtype),
        item_factors=np.ascontiguousarray(item_factors, dtype),
        user_bias=None,
        item_bias=None,
        global_mean=0.0,
        rating_mean=0.0,
        rating_range=known.rating_range,
        user_ids=known.user_ids,
        item_ids=known.item_ids,
        user_counts=user_counts,
        item_counts=item_counts,
        ratings=train,
        history={},
        n_iter=0,
        stop_reason="max_iter",
    )


def _factor_array(factors: ArrayLike) -> NDArray[Any]:
    array = as_array(factors, "factors")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError(
            f"factors of shape {array.shape} given; expected two dimensions of finite numbers, (n_rows, n_factors)"
        )
    return array
