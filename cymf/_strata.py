"""The fixed grid of blocks that makes SGD reproducible for any number of threads.

Users and items are dealt into equally many stripes, of about equal numbers of ratings. A stratum is a set of blocks
that share no stripe: its blocks touch disjoint rows and columns, so their updates commute exactly. Grid and order
come from the data and the seed alone (Gemulla et al. 2011, "Large-scale matrix factorization with distributed
stochastic gradient descent").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cymf._kernels import kernels
from cymf._problem import Side

__all__ = ["Stripes", "Strata"]

_RATINGS_PER_BLOCK = 2000
_MOST_STRIPES = 32
_STRIPE_ROWS = 1 << 16  # rows within a stripe are 16-bit numbers


@dataclass(frozen=True, eq=False)
class Stripes:
    """One side's rows, dealt into stripes.

    Attributes
    ----------
    order : ndarray of int64, shape (n_rows,)
        Row of each position: stripe after stripe, shuffled within.
    position : ndarray of int64, shape (n_rows,)
        Position of each row.
    start : ndarray of int64, shape (n_stripes + 1,)
        First position of each stripe.
    stripe : ndarray of int32, shape (n_rows,)
        Stripe of each row.
    """

    order: np.ndarray
    position: np.ndarray
    start: np.ndarray
    stripe: np.ndarray

    @classmethod
    def deal(cls, counts: np.ndarray, n_stripes: int, generator: np.random.Generator) -> Stripes:
        """Deal rows to stripes by falling number of ratings, to and fro, ties and places by chance."""
        n_rows = len(counts)
        shuffled = generator.permutation(n_rows)
        dealt = shuffled[np.argsort(-counts[shuffled], kind="stable")]
        to_and_fro = np.concatenate([np.arange(n_stripes), np.arange(n_stripes)[::-1]])
        stripe = np.empty(n_rows, np.int32)
        stripe[dealt] = np.resize(to_and_fro, n_rows)
        order = shuffled[np.argsort(stripe[shuffled], kind="stable")]
        position = np.empty(n_rows, np.int64)
        position[order] = np.arange(n_rows)
        start = np.zeros(n_stripes + 1, np.int64)
        np.cumsum(np.bincount(stripe, minlength=n_stripes), out=start[1:])
        return cls(order.astype(np.int64), position, start, stripe)


@dataclass(frozen=True, eq=False)
class Strata:
    """Ratings dealt into the grid.

    Attributes
    ----------
    user_stripes, item_stripes : Stripes
        The grid.
    block_start : ndarray of int64, shape (n_stripes² + 1,)
        First rating of each block; user stripe after user stripe.
    users, items : ndarray of uint16, shape (nnz,)
        Places within the block's stripes.
    values, weights : ndarray
        Ratings; weights may be empty.
    """

    user_stripes: Stripes
    item_stripes: Stripes
    block_start: np.ndarray
    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    weights: np.ndarray

    @property
    def n_stripes(self) -> int:
        return len(self.user_stripes.start) - 1

    @classmethod
    def of(cls, users: Side, item_counts: np.ndarray, generator: np.random.Generator) -> Strata:
        """Deal the ratings of `users` (rows are users) into blocks."""
        nnz, n_users, n_items = len(users.indices), len(users.counts), len(item_counts)
        wanted = min(_MOST_STRIPES, math.isqrt(nnz // _RATINGS_PER_BLOCK) + 1)
        needed = -(-max(n_users, n_items) // (_STRIPE_ROWS - 1))
        n_stripes = max(wanted, needed)
        user_stripes = Stripes.deal(users.counts, n_stripes, generator)
        item_stripes = Stripes.deal(item_counts, n_stripes, generator)
        fullest = int(np.bincount(user_stripes.stripe, users.counts, n_stripes).max())
        strata = cls(
            user_stripes,
            item_stripes,
            np.zeros(n_stripes**2 + 1, np.int64),
            np.empty(nnz, np.uint16),
            np.empty(nnz, np.uint16),
            np.empty_like(users.values),
            np.empty_like(users.weights),
        )
        kernels.sgd_fill_blocks(
            users.indptr,
            users.indices,
            users.values,
            users.weights,
            user_stripes.order,
            item_stripes.position,
            user_stripes.start,
            item_stripes.start,
            item_stripes.stripe,
            strata.block_start,
            strata.users,
            strata.items,
            strata.values,
            strata.weights,
            np.zeros(n_stripes + 1, np.int64),
            np.empty(fullest, np.uint16),
            np.empty(fullest, np.int64),
            np.empty(fullest, np.int64),
        )
        return strata
