"""What sampled ranking losses are trained on: positives, their confidences, and what is held out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cymf._factors import Factors
from cymf._parallel import Workers
from cymf._ranking_metrics import Catalogue, HeldOut, ranking_scores
from cymf._state import FittedState
from cymf._top_n import Exclusions

if TYPE_CHECKING:
    from cymf.ratings import Ratings

__all__ = ["Positives", "RankingProblem", "RatedRows", "held_out_of"]

_MOST_ROWS = 2**31 - 1


class Positives(NamedTuple):
    """Interactions of positive strength, in compressed rows.

    Attributes
    ----------
    indptr : ndarray of int64, shape (n_users + 1,)
    indices : ndarray of int32
        Items, rising within a row.
    confidences : ndarray
        Weights of the interactions; empty where all are 1.
    """

    indptr: np.ndarray
    indices: np.ndarray
    confidences: np.ndarray

    @classmethod
    def of(cls, ratings: Ratings, dtype: np.dtype[Any], alpha: float | None = None) -> Positives:
        """Take interactions of strength f > 0; their confidence is the weight, times αf where α is given."""
        if max(ratings.shape) > _MOST_ROWS:
            raise ValueError(
                f"ratings has shape {ratings.shape}; ranking losses take up to {_MOST_ROWS} users or items"
            )
        view = ratings.csr(dtype)
        positive = view.values > 0
        if not positive.any():
            raise ValueError(
                "no interaction has a positive strength; expected values > 0 where a user took an item"
            )
        before = np.zeros(len(positive) + 1, np.int64)
        np.cumsum(positive, out=before[1:])
        confidences = np.zeros(0, dtype)
        if alpha is not None:
            confidences = dtype.type(alpha) * view.values[positive]
        if view.weights is not None:
            weights = view.weights[positive]
            confidences = weights * confidences if len(confidences) else weights
        return cls(
            before[view.indptr],
            view.indices[positive].astype(np.int32, copy=False),
            np.ascontiguousarray(confidences),
        )


@dataclass(frozen=True, eq=False)
class RatedRows:
    """Interactions of each user or item, of any strength."""

    counts: np.ndarray


def held_out_of(
    held_out: Ratings, ratings: Ratings, described: tuple[np.ndarray, np.ndarray] | None = None
) -> HeldOut:
    """Return held-out interactions of known users under the row numbers of the training ratings.

    An unknown item counts as missed, as in `cymf.evaluation.evaluate_ranking`. `described` says which users and items
    are known without ratings, by their features.

    Raises
    ------
    ValueError
        If nothing is left that a ranking could find.
    """
    users, items, values, _ = held_out.align_to(ratings.user_ids, ratings.item_ids, ratings.shape)
    user_known, listable = ratings.user_counts > 0, ratings.item_counts
    if described is not None:
        user_known, listable = user_known | described[0], np.maximum(listable, described[1])
    known = users >= 0
    known[known] = user_known[users[known]]
    seen = ratings.csr(np.float32)
    catalogue = Catalogue(listable, int(np.count_nonzero(ratings.user_counts)))
    found = HeldOut.of_pairs(users[known], items[known], np.asarray(values)[known], catalogue)
    if not len(found):
        raise ValueError(
            "validation holds no interaction of positive strength of a known user; expected some, "
            "of the same users as the training data"
        )
    found.excluded = Exclusions(found.users, seen.indptr, seen.indices)
    return found


class RankingProblem:
    """Interactions, what is known beside them, and the passes that all ranking losses share.

    Parameters
    ----------
    ratings : Ratings
        What is visited.
    positives : Positives
        Those of it with a positive strength.
    known : Positives
        What no negative may be: `positives`, and for a model that goes on training what it was trained on before.
    n_factors : int
        Length of w_i and h_j.
    dtype : dtype
        float32 or float64.
    use_bias : bool
        Whether the model has biases.
    held_out : HeldOut or None
        What the validation score is measured on.
    metric : str
        Name of the validation score.
    workers : Workers
        The threads.
    """

    def __init__(
        self,
        ratings: Ratings,
        positives: Positives,
        known: Positives,
        *,
        n_factors: int,
        dtype: np.dtype[Any],
        use_bias: bool,
        held_out: HeldOut | None,
        metric: str,
        workers: Workers,
    ) -> None:
        self.ratings = ratings
        self.positives = positives
        self.known = known
        self.n_factors = n_factors
        self.dtype = dtype
        self.use_bias = use_bias
        self.held_out = held_out
        self.metric = metric
        self.workers = workers
        self.users = RatedRows(ratings.user_counts)
        self.items = RatedRows(ratings.item_counts)

    def zeros(self) -> Factors:
        """Return factors and biases of zero."""
        return Factors(
            self.ratings.n_users, self.ratings.n_items, self.n_factors, self.use_bias, self.dtype
        )

    def random(self, generator: np.random.Generator, std: float) -> Factors:
        """Return normal factors of standard deviation `std`, zero for rows without interactions; biases of zero."""
        factors = self.zeros()
        for array, side in ((factors.user, self.users), (factors.item, self.items)):
            k = self.n_factors
            array[:, :k] = generator.standard_normal((len(array), k), dtype=self.dtype)
            array[:, :k] *= std
            array[side.counts == 0] = 0
        return factors

    def validation_score(self, factors: Factors) -> float:
        """Return the metric of the held-out interactions, higher is better; NaN without them."""
        if self.held_out is None:
            return math.nan
        scores = ranking_scores(
            factors.user,
            factors.item,
            factors.item_bias,
            self.held_out,
            (self.metric,),
            self.workers.n_threads,
        )
        return scores[self.metric]

    def state(
        self,
        factors: Factors,
        *,
        history: dict[str, list[float]],
        n_iter: int,
        stop_reason: str,
        store_ratings: bool,
        extra: dict[str, np.ndarray],
    ) -> FittedState:
        """Return what a fitted model keeps of all this."""
        user_factors, item_factors, user_bias, item_bias = factors.trimmed()
        return FittedState(
            user_factors=user_factors,
            item_factors=item_factors,
            user_bias=user_bias,
            item_bias=item_bias,
            global_mean=0.0,
            rating_mean=0.0,
            rating_range=self.ratings.rating_range,
            user_ids=self.ratings.user_ids,
            item_ids=self.ratings.item_ids,
            user_counts=self.users.counts,
            item_counts=self.items.counts,
            ratings=self.ratings if store_ratings else None,
            history=history,
            n_iter=n_iter,
            stop_reason=stop_reason,
            extra=extra,
        ).finite()
