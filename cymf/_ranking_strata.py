"""The grid of blocks that makes ranking losses reproducible for any number of threads.

Users are dealt into stripes once; items are dealt anew every epoch, by chance alone, so that any two items share a
stripe equally often. The negatives of a block come from its own item stripe: no block touches a row outside its two.
"""

from __future__ import annotations

import math

import numpy as np

from cymf._kernels import ranking_kernels
from cymf._parallel import Workers
from cymf._ranking_problem import Positives
from cymf._strata import Stripes

__all__ = ["RankingStrata", "stripes_for"]

_MOST_STRIPES = 16
_POSITIVES_PER_BLOCK = 500
_ITEMS_PER_STRIPE = 128  # fewer would make the negatives of an epoch too much alike


def stripes_for(n_positives: int, n_users: int, n_items: int, pool: int = 0) -> int:
    """Return the number of stripes for negatives that are drawn, or taken in pools; it depends on the data alone."""
    return max(
        1,
        min(
            _MOST_STRIPES,
            math.isqrt(n_positives // _POSITIVES_PER_BLOCK),
            n_users,
            n_items // max(_ITEMS_PER_STRIPE, pool),
        ),
    )


class RankingStrata:
    """Positives dealt into blocks, epoch after epoch.

    Parameters
    ----------
    positives : Positives
        What is dealt.
    item_counts : ndarray of int64
        Interactions of each item; items without any are not drawn.
    popularity_exponent : float
        Negatives are drawn in proportion to the count to this power; 0 draws all alike.
    generator : Generator
        Deals.
    pool : int, default 0
        Items that a stripe should have at least, beside what all stripes need.

    Attributes
    ----------
    block_start, users, items, confidences : ndarray
        Positives of the epoch, block by block: first of each block, rows, confidences (or empty).
    item_order, item_start : ndarray
        Items that can be drawn, stripe after stripe, and the first of each.
    cumulative : ndarray of float64
        Running sums of the weights by which they are drawn, anew in each stripe; empty where all are alike.
    strata : ndarray of int64
        Order of the diagonals.
    """

    def __init__(
        self,
        positives: Positives,
        item_counts: np.ndarray,
        popularity_exponent: float,
        generator: np.random.Generator,
        pool: int = 0,
    ) -> None:
        self._positives = positives
        self._generator = generator
        self._seed = int(generator.integers(2**63))
        self._rated = np.flatnonzero(item_counts).astype(np.int32)
        self._weights = item_counts[self._rated].astype(np.float64) ** popularity_exponent
        self._by_popularity = popularity_exponent > 0
        counts = np.diff(positives.indptr)
        self.n_stripes = n = stripes_for(
            len(positives.indices), len(counts), len(self._rated), pool
        )
        self.user_stripes = Stripes.deal(counts, n, generator)
        self._stripe_begin = np.zeros(n + 1, np.int64)
        np.cumsum(
            np.bincount(self.user_stripes.stripe, counts, n).astype(np.int64),
            out=self._stripe_begin[1:],
        )
        self.block_start = np.zeros(n * n + 1, np.int64)
        self.block_start[-1] = len(positives.indices)
        self.users, self.items = np.empty((2, len(positives.indices)), np.int32)
        self.confidences = np.empty_like(positives.confidences)
        self.item_start = np.linspace(0, len(self._rated), n + 1).astype(np.int64)
        self._item_stripe = np.zeros(len(item_counts), np.int32)
        self.item_order = self._rated
        self.cumulative = np.zeros(0)
        self.strata = np.zeros(n, np.int64)

    @property
    def seed(self) -> int:
        """The key of the blocks' streams."""
        return self._seed

    def deal(self, epoch: int, workers: Workers) -> None:
        """Deal the positives of one epoch."""
        n = self.n_stripes
        dealt = self._generator.permutation(len(self._rated))
        self.item_order = self._rated[dealt]
        self.strata = self._generator.permutation(n).astype(np.int64)
        sizes = np.diff(self.item_start)
        self._item_stripe[self.item_order] = np.repeat(np.arange(n, dtype=np.int32), sizes)
        if self._by_popularity:
            weights = self._weights[dealt]
            self.cumulative = np.concatenate(
                [
                    np.cumsum(weights[a:b])
                    for a, b in zip(self.item_start[:-1], self.item_start[1:], strict=True)
                ]
            )
        counter = np.zeros(1, np.int64)
        positives = self._positives

        def work(_: int) -> None:
            ranking_kernels.ranking_deal(
                positives.indptr, positives.indices, positives.confidences, self.user_stripes.order,
                self.user_stripes.start, self._stripe_begin, self._item_stripe, self._seed, epoch, counter,
                self.block_start, self.users, self.items, self.confidences, np.zeros(n + 1, np.int64),
            )  # fmt: skip

        workers.run(work, 20.0 * len(positives.indices))
