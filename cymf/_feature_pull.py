"""Priors by features during SGD: rows are pulled to what their features predict, a few times an epoch.

A step of SGD shrinks a row by s = 1 − η λ n^(ν−1) towards zero; towards a prior mean m it would be w ← s w + (1 − s) m.
After c of a row's ratings these additions amount to (1 − s^c) m. So an epoch is cut into parts, and around each of them
half of the part's additions are made before, and half after (Strang's splitting): the sum over an epoch is exact, and
where within a part an addition is made matters little, because rows are dealt evenly over the parts. In between epochs
B is solved for exactly. Nothing depends on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cymf._factors import Factors
from cymf._problem import Problem

__all__ = ["Pull"]

_PARTS = 8  # of an epoch


class Pull:
    """The pulls of one fit.

    Parameters
    ----------
    problem : Problem
        With priors.
    orders : pair of ndarray
        Row of each place in `working`, of users and of items.
    shares : pair of ndarray of shape (n_rows, 2)
        λ n^(ν−1) and λ_b n^(ν−1) of each row of `working`.
    working : Factors
        The factors that SGD works on.
    """

    def __init__(
        self,
        problem: Problem,
        orders: tuple[np.ndarray, np.ndarray],
        shares: tuple[np.ndarray, np.ndarray],
        working: Factors,
    ) -> None:
        self._problem = problem
        self._working = working
        self._sides = [
            (problem.priors[what], order, share.astype(np.float64), counts[order])
            for what, order, share, counts in (
                ("user", orders[0], shares[0], problem.users.counts),
                ("item", orders[1], shares[1], problem.item_counts),
            )
            if what in problem.priors
        ]

    def parts(self, strata: np.ndarray, rate: float) -> Iterator[np.ndarray]:
        """Yield the strata of an epoch part after part, and pull before, between and after them."""
        parts = [part for part in np.array_split(strata, _PARTS) if len(part)]
        share = 1 / len(parts)
        self._pull(rate, share / 2)
        for number, part in enumerate(parts):
            yield part
            self._pull(rate, share / 2 if number == len(parts) - 1 else share)

    def _pull(self, rate: float, share: float) -> None:
        working = self._working
        for prior, order, shares, counts in self._sides:
            users = prior is self._problem.priors.get("user")
            rows, bias = (
                (working.user, working.user_bias) if users else (working.item, working.item_bias)
            )
            shrink = np.clip(1 - rate * shares, 0, 1)
            moved = 1 - shrink ** (share * counts[:, np.newaxis])
            moved = moved.astype(rows.dtype)
            rows += moved[:, :1] * prior.mean[order]
            if len(bias):
                bias += moved[:, 1] * prior.bias_mean[order]

    def learn(self, factors: Factors) -> None:
        """Fit B and β to factors in the order of the problem's rows, then to the ratings, which moves the rows."""
        problem, working = self._problem, self._working
        users, items = (factors.user, factors.user_bias), (factors.item, factors.item_bias)
        for prior, order, _, _ in self._sides:
            is_user = prior is problem.priors.get("user")
            own, other, side = (
                (users, items, problem.users) if is_user else (items, users, problem.items)
            )
            prior.learn(*own)
            prior.follow(problem, side, other, *own)
            rows, bias = (
                (working.user, working.user_bias) if is_user else (working.item, working.item_bias)
            )
            np.take(own[0], order, axis=0, out=rows)
            if len(bias):
                np.take(own[1], order, out=bias)
