"""Metrics of rankings against held-out items, over all users, without ever holding all scores.

A ranking is measured by the top of each user's list, or, for the area under the ROC curve, by all items. The
arithmetic is in ``_kernels/ranking_metrics.pxi``; here are the metrics by name and what is prepared for the kernels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cymf._areas_under_curve import areas_under_curve
from cymf._kernels import top_n_kernels
from cymf._parallel import Workers, equal_work_chunks
from cymf._sparse_view import SparseView
from cymf._top_n import Exclusions, top_n_of_products

__all__ = [
    "Catalogue",
    "HeldOut",
    "Metric",
    "as_metrics",
    "measure_factors",
    "mean_of_users",
    "measure_lists",
    "ranking_scores",
]

# The numbers are those of ranking_metrics.pxi; coverage and the area are found elsewhere.
_KINDS = {
    "recall": 0,
    "truncated_recall": 1,
    "precision": 2,
    "hit_rate": 3,
    "ndcg": 4,
    "graded_ndcg": 5,
    "map": 6,
    "mrr": 7,
    "novelty": 8,
    "coverage": -1,
    "auc": -1,
}
_WITHOUT_CUTOFF = ("auc",)
_BLOCK_ENTRIES = 1 << 22  # entries of lists held at a time
_MOST_LISTED = 1_000_000  # items of a list

Lists = Callable[[slice, int], NDArray[np.int64]]
PerUser = dict[str, NDArray[np.float64]]


class Metric(NamedTuple):
    """A metric's name, as ``"ndcg@10"`` has it, taken apart."""

    name: str
    kind: str
    cutoff: int  # 0 where there is none


def as_metrics(names: str | Iterable[str]) -> tuple[Metric, ...]:
    """Take names such as ``"recall@20"`` apart.

    Raises
    ------
    ValueError
        If a name is unknown, lacks its cutoff or has one that does not belong, or there is none.
    """
    if not isinstance(names, Iterable):
        raise TypeError(f"metrics is {names!r}; expected names such as 'recall@20' or 'ndcg@10'")
    listed = (names,) if isinstance(names, str) else tuple(names)
    if not listed:
        raise ValueError("metrics is empty; expected names such as 'recall@20' or 'ndcg@10'")
    return tuple({metric.name: metric for metric in map(_metric, listed)}.values())


def _metric(name: Any) -> Metric:
    found = re.fullmatch(r"([a-z_]+)(?:@([1-9][0-9]*))?", name) if isinstance(name, str) else None
    if found is None or found[1] not in _KINDS:
        known = ", ".join(kind if kind in _WITHOUT_CUTOFF else f"{kind}@k" for kind in _KINDS)
        raise ValueError(
            f"metric {name!r} is unknown; expected one of {known} with a number for k, such as "
            "'ndcg@10'"
        )
    kind, cutoff = found[1], found[2]
    if (cutoff is None) != (kind in _WITHOUT_CUTOFF):
        raise ValueError(
            f"metric {name!r} has {'no' if cutoff is None else 'a'} cutoff; expected "
            + (f"{kind}@k, such as '{kind}@10'" if cutoff is None else kind)
        )
    if len(cutoff or "") > len(str(_MOST_LISTED)) or int(cutoff or 0) > _MOST_LISTED:
        raise ValueError(f"metric {name!r} has a cutoff beyond {_MOST_LISTED}; expected less")
    return Metric(name, kind, int(cutoff or 0))


class Catalogue(NamedTuple):
    """What is known of the items that can be listed."""

    item_counts: NDArray[np.int64]  # (n_items,) training interactions; without any, never listed
    n_users: int  # users with training interactions

    def allowed(self, n_items: int) -> NDArray[np.int64] | None:
        """Return which of `n_items` can be listed, rising; None for all."""
        listable = np.flatnonzero(self.item_counts)
        return None if len(listable) == n_items else listable

    def information(self) -> NDArray[np.float64]:
        """Return −log₂ of each item's share of users, 0 for items that are never listed."""
        share = self.item_counts / max(1, self.n_users)
        return -np.log2(share, out=np.zeros(len(share)), where=share > 0)


class HeldOut:
    """Held-out interactions of users, made ready for measuring.

    Parameters
    ----------
    train : SparseView
        Compressed rows of the training interactions: what each user has seen, and which items can be listed.
    test : SparseView
        Compressed rows of the held-out interactions, with the same rows and columns. Those with a positive value
        are relevant, the value being the gain of graded metrics; the others count as not held out.

    Attributes
    ----------
    users : ndarray of int64, shape (n_users,)
        Rows of the users with relevant held-out items; only these are measured.
    indptr : ndarray of int64, shape (n_users + 1,)
    items : ndarray of shape (nnz,)
        Their relevant items, rising for each user; -1 for items that nobody can list.
    gains, ideal : ndarray of float64, shape (nnz,)
        The gains of the items, and the gains of each user in falling order.
    excluded : Exclusions or None
        What is left out of the lists, in rising order for each user.
    catalogue : Catalogue
    """

    def __init__(self, train: SparseView, test: SparseView, n_items: int | None = None) -> None:
        if len(train.indptr) != len(test.indptr):
            raise ValueError(
                f"train has {len(train.indptr) - 1} users and test {len(test.indptr) - 1}; expected the same rows"
            )
        size = max(n_items or 0, *(int(view.indices.max(initial=-1)) + 1 for view in (train, test)))
        catalogue = Catalogue(
            np.bincount(train.indices, minlength=size), int((np.diff(train.indptr) > 0).sum())
        )
        rows = np.repeat(np.arange(len(test.indptr) - 1), np.diff(test.indptr))
        self._prepare(rows, test.indices, test.values, catalogue)
        self.excluded: Exclusions | None = Exclusions(self.users, train.indptr, train.indices)

    @classmethod
    def of_pairs(
        cls,
        groups: NDArray[Any],
        items: NDArray[Any],
        values: NDArray[Any],
        catalogue: Catalogue,
    ) -> HeldOut:
        """Make it of held-out pairs (group, item), -1 for unknown items; `users` are the groups, nothing excluded."""
        self = object.__new__(cls)
        self._prepare(groups, items, values, catalogue)
        self.excluded = None
        return self

    def _prepare(
        self,
        groups: NDArray[Any],
        items: NDArray[Any],
        values: NDArray[Any],
        catalogue: Catalogue,
    ) -> None:
        relevant = values > 0
        groups, items = groups[relevant], items[relevant]
        gains = values[relevant].astype(np.float64)
        self.users, counts = np.unique(groups, return_counts=True)
        self.users = self.users.astype(np.int64)
        order = np.lexsort((items, groups))
        self.items = np.ascontiguousarray(items[order])
        self.gains = gains[order]
        self.ideal = gains[np.lexsort((-gains, groups))]
        self.indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.catalogue = catalogue

    def __len__(self) -> int:
        return len(self.users)


def measure_lists(
    held_out: HeldOut, metrics: Sequence[Metric], lists: Lists, n_threads: int
) -> tuple[dict[str, float], PerUser]:
    """Measure lists that are made block by block.

    Parameters
    ----------
    held_out : HeldOut
    metrics : sequence of Metric
        Any but the area under the curve.
    lists : callable
        ``lists(block, n)`` returns the first n items, best first and padded by -1, for a slice of
        ``held_out.users``, as int64 of shape (n_users of the block, n).
    n_threads : int

    Returns
    -------
    means : dict of str to float
        Mean over the users for whom the metric is defined; of coverage the value itself.
    per_user : dict of str to ndarray of shape (len(held_out),)
        Without coverage, which no single user has. NaN where the metric is not defined: the novelty of an empty list.
    """
    ours = [metric for metric in metrics if metric.kind != "coverage"]
    longest = max(metric.cutoff for metric in metrics)
    n_users = len(held_out)
    values = np.empty((len(ours), n_users))
    cutoffs = {metric.cutoff for metric in metrics if metric.kind == "coverage"}
    listed = {cutoff: np.zeros(len(held_out.catalogue.item_counts), bool) for cutoff in cutoffs}
    information = np.empty(0)
    if any(metric.kind == "novelty" for metric in ours):
        information = held_out.catalogue.information()
    kinds = np.array([_KINDS[metric.kind] for metric in ours], np.int64)
    ends = np.array([metric.cutoff for metric in ours], np.int64)
    discount = 1 / np.log2(np.arange(2, longest + 2))
    height = max(1, _BLOCK_ENTRIES // longest)
    with Workers(n_threads) as workers:
        for start in range(0, n_users, height):
            block = slice(start, min(start + height, n_users))
            found = np.ascontiguousarray(lists(block, longest), np.int64)
            for cutoff, flags in listed.items():
                top = found[:, :cutoff]
                flags[top[top >= 0]] = True
            indptr = held_out.indptr[block.start : block.stop + 1]
            out = np.empty((len(ours), len(found)))
            chunks, counter = equal_work_chunks(indptr, longest), np.zeros(1, np.int64)

            def work(
                _: int,
                found: NDArray[np.int64] = found,
                indptr: NDArray[np.int64] = indptr,
                chunks: NDArray[np.int64] = chunks,
                counter: NDArray[np.int64] = counter,
                out: NDArray[np.float64] = out,
            ) -> None:
                top_n_kernels.list_metrics(
                    found, indptr, held_out.items, held_out.gains, held_out.ideal, discount,
                    information, kinds, ends, chunks, counter, out, np.empty(longest),
                )  # fmt: skip

            workers.run(work, 20.0 * found.size * len(ours))
            values[:, block] = out
    per_user = {metric.name: values[m] for m, metric in enumerate(ours)}
    means = {}
    for metric in metrics:
        if metric.kind == "coverage":
            possible = int((held_out.catalogue.item_counts > 0).sum())
            means[metric.name] = float(listed[metric.cutoff].sum() / max(1, possible))
        else:
            means[metric.name] = mean_of_users(metric.name, per_user[metric.name])
    return means, per_user


def measure_factors(
    user_factors: NDArray[Any],
    user_rows: NDArray[np.int64],
    item_factors: NDArray[Any],
    item_bias: NDArray[Any] | None,
    held_out: HeldOut,
    metrics: Sequence[Metric],
    n_threads: int,
) -> tuple[dict[str, float], PerUser]:
    """Measure the rankings by ``user_factors[user_rows] @ item_factors.T + item_bias``.

    `user_rows` has an entry for each of ``held_out.users``; -1 is a user of whom nothing is known, ranked by the bias
    alone. Otherwise as `measure_lists`. The area under the curve is NaN for users to whom every item is held out.
    """
    allowed = held_out.catalogue.allowed(len(item_factors))
    excluded = held_out.excluded

    def lists(block: slice, n: int) -> NDArray[np.int64]:
        return top_n_of_products(
            user_factors,
            user_rows[block],
            item_factors,
            n,
            target_offset=item_bias,
            excluded=None if excluded is None else excluded._replace(rows=excluded.rows[block]),
            allowed=allowed,
            n_threads=n_threads,
        )[0]

    of_lists = [metric for metric in metrics if metric.kind != "auc"]
    means, per_user = measure_lists(held_out, of_lists, lists, n_threads) if of_lists else ({}, {})
    for metric in metrics:
        if metric.kind == "auc":
            per_user[metric.name] = areas_under_curve(
                user_factors, user_rows, item_factors, item_bias, held_out, n_threads
            )
            means[metric.name] = mean_of_users(metric.name, per_user[metric.name])
    order = [metric.name for metric in metrics]
    return (
        {name: means[name] for name in order},
        {name: per_user[name] for name in order if name in per_user},
    )


def ranking_scores(
    user_factors: NDArray[Any],
    item_factors: NDArray[Any],
    item_bias: NDArray[Any] | None,
    held_out: HeldOut,
    metrics: str | Iterable[str],
    n_threads: int = 1,
) -> dict[str, float]:
    """Return the mean of ranking metrics over all users with held-out items, for training loops.

    Parameters
    ----------
    user_factors, item_factors : ndarray of shape (n_users, width) and (n_items, width)
        Rows as in the views of which `held_out` was made; columns of zeros behind the factors do no harm.
    item_bias : ndarray of shape (n_items,), or None
        Empty means None. User biases and the mean do not change a ranking.
    held_out : HeldOut
    metrics : str or iterable of str
        Names such as ``"ndcg@10"``.
    n_threads : int, default 1
        The result is the same bits for any number.

    Returns
    -------
    dict of str to float
    """
    if item_bias is not None and len(item_bias) == 0:
        item_bias = None
    if len(held_out.catalogue.item_counts) > len(item_factors):
        raise ValueError(
            f"held-out and training items go up to {len(held_out.catalogue.item_counts) - 1}, but there are factors "
            f"of {len(item_factors)} items"
        )
    return measure_factors(
        user_factors,
        held_out.users,
        item_factors,
        item_bias,
        held_out,
        as_metrics(metrics),
        n_threads,
    )[0]


def mean_of_users(name: str, values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    if not len(defined):
        raise ValueError(
            f"{name} is not defined for any of the {len(values)} users with held-out items: "
            + (
                "all their items are held out or left out"
                if name == "auc"
                else "no item can be listed for them"
            )
        )
    return float(defined.mean())
