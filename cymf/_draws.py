"""Kept draws of a Gibbs sampler: what of them is stored, and what they say of a prediction's uncertainty."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cymf._kernels import kernels
from cymf._state import FittedState

if TYPE_CHECKING:
    from cymf._factors import Factors
    from cymf._gibbs import Draw
    from cymf._problem import Problem
    from cymf._training import TrainingLoop

__all__ = ["DrawsPosterior", "KeptDraws", "RunningMean"]

_BLOCK_NUMBERS = 1 << 21  # of draws' products at a time


class KeptDraws:
    """Draws side by side: the dot product of two rows is the mean of the draws' products.

    Parameters
    ----------
    n_draws : int
        How many there is room for.
    problem : Problem
        Sizes and dtype.
    """

    def __init__(self, n_draws: int, problem: Problem) -> None:
        n_users, n_items = problem.ratings.shape
        k, dtype = problem.n_factors, problem.dtype
        self._user = np.zeros((n_users, n_draws, k), dtype)
        self._item = np.zeros((n_items, n_draws, k), dtype)
        self._draws: list[Draw] = []

    def __len__(self) -> int:
        return len(self._draws)

    def add(self, draw: Draw) -> None:
        """Keep a draw."""
        place = len(self._draws)
        self._user[:, place] = draw.user_factors
        self._item[:, place] = draw.item_factors
        nothing = draw.user_factors[:0]
        self._draws.append(draw._replace(user_factors=nothing, item_factors=nothing))

    def state(self, problem: Problem, loop: TrainingLoop, store_ratings: bool) -> FittedState:
        """Return the fitted state of all kept draws; the room that is left is dropped."""
        draws, n = self._draws, len(self._draws)
        dtype, ratings = problem.dtype, problem.ratings
        factors = []
        for rows in (self._user, self._item):
            flat = (rows if n == rows.shape[1] else rows[:, :n].copy()).reshape(len(rows), -1)
            flat *= dtype.type(1 / math.sqrt(n))
            factors.append(flat)
        means = np.array([draw.mean for draw in draws])
        user_bias, item_bias = (
            np.array([getattr(draw, f"{which}_bias") for draw in draws], dtype)
            for which in ("user", "item")
        )
        return FittedState(
            user_factors=factors[0],
            item_factors=factors[1],
            user_bias=user_bias.mean(axis=0, dtype=np.float64).astype(dtype),
            item_bias=item_bias.mean(axis=0, dtype=np.float64).astype(dtype),
            global_mean=float(means.mean()),
            rating_mean=problem.rating_mean,
            rating_range=ratings.rating_range,
            user_ids=ratings.user_ids,
            item_ids=ratings.item_ids,
            user_counts=problem.users.counts,
            item_counts=problem.item_counts,
            ratings=ratings if store_ratings else None,
            history=loop.history,
            n_iter=loop.n_iter,
            stop_reason=loop.stop_reason,
            extra={
                "draws_mean": means,
                "draws_user_bias": user_bias,
                "draws_item_bias": item_bias,
                "draws_user_covariance": np.array([draw.user_covariance for draw in draws]),
                "draws_item_covariance": np.array([draw.item_covariance for draw in draws]),
                "draws_noise_variance": np.array([draw.noise_variance for draw in draws]),
            },
        ).finite()


class RunningMean:
    """Held-out predictions, averaged over draws.

    Parameters
    ----------
    problem : Problem
        Knows the held-out ratings, or that there are none.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._held_out = problem.validation
        size = 0 if self._held_out is None else len(self._held_out.users)
        self._sum = np.zeros(size)
        self._n = 0

    def rmse_with(self, factors: Factors, *, forget: bool) -> float:
        """Take in a draw and return the RMSE of the mean; `forget` what came before. NaN without held-out ratings."""
        held_out = self._held_out
        if held_out is None:
            return math.nan
        predictions = np.empty(len(self._sum), self._problem.dtype)
        kernels.predict_pairs(
            held_out.users, held_out.items, factors.user, factors.item, factors.user_bias, factors.item_bias,
            self._problem.mean, predictions,
        )  # fmt: skip
        if forget:
            self._sum[:], self._n = 0, 0
        self._sum += predictions
        self._n += 1
        errors = self._sum / self._n - held_out.values
        return math.sqrt(np.average(errors * errors, weights=held_out.weights))


class DrawsPosterior:
    """Uncertainty of the predictions of a fitted `BayesianMF`.

    Parameters
    ----------
    state : FittedState
        With the kept draws.

    Attributes
    ----------
    noise_variance : float
        σ², the mean over the draws.
    """

    def __init__(self, state: FittedState) -> None:
        self._state = state
        extra = state.extra
        self._means: np.ndarray = extra["draws_mean"]
        self._user_bias: np.ndarray = extra["draws_user_bias"]
        self._item_bias: np.ndarray = extra["draws_item_bias"]
        self._covariances = extra["draws_user_covariance"], extra["draws_item_covariance"]
        self.noise_variance = float(np.mean(extra["draws_noise_variance"]))
        self._n = len(self._means)
        self._k = state.n_factors // self._n

    def latent_variances(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the variances of the expected ratings of pairs of row numbers, -1 being unknown.

        The variance of the draws' predictions; for an unknown row, plus the mean of what a row's distribution
        beforehand adds.
        """
        state, n, k = self._state, self._n, self._k
        size = max(1, _BLOCK_NUMBERS // (n * k))
        variances = np.empty(len(users))
        for start in range(0, len(users), size):
            part = slice(start, start + size)
            i, j = users[part], items[part]
            w, h = (
                np.where((rows >= 0)[:, None], factors[rows], 0).reshape(-1, n, k)
                for rows, factors in ((i, state.user_factors), (j, state.item_factors))
            )
            b = np.where(i >= 0, self._user_bias[:, i], 0).astype(np.float64)
            c = np.where(j >= 0, self._item_bias[:, j], 0).astype(np.float64)
            predictions = n * np.einsum("psk,psk->sp", w, h, dtype=np.float64)
            predictions += self._means[:, None] + b + c
            # from one draw nothing can be said but the noise
            spread = predictions.var(axis=0, ddof=1) if n > 1 else np.zeros(len(i))
            variances[part] = spread + self._unknown(i, j, w, h)
        return variances

    def _unknown(self, i: np.ndarray, j: np.ndarray, w: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Return what rows of which nothing is known add to the variance."""
        added = np.zeros(len(i))
        own, other = self._covariances
        k = self._k
        for asked, fixed, covariance in (
            ((i < 0) & (j >= 0), h, own),
            ((i >= 0) & (j < 0), w, other),
        ):
            if asked.any():
                g = np.ones((int(asked.sum()), self._n, k + 1))
                g[:, :, :k] = fixed[asked] * math.sqrt(self._n)
                added[asked] = np.einsum("psa,sab,psb->p", g, covariance, g) / self._n
        both = (i < 0) & (j < 0)
        if both.any():
            products = np.einsum("sab,sba->s", own[:, :k, :k], other[:, :k, :k])
            added[both] = np.mean(own[:, k, k] + other[:, k, k] + products)
        return added

    def sampled_scores(
        self, rows: np.ndarray, streams: np.ndarray, seed: int, scale: float
    ) -> np.ndarray:
        """Return scores of all items for each user by one of the kept draws, a draw of their own for each user.

        `scale` multiplies what the draw differs from the mean by.
        """
        state, n, k = self._state, self._n, self._k
        assert state.user_bias is not None
        assert state.item_bias is not None
        scores = np.empty((len(rows), state.n_items), state.dtype)
        every = np.arange(state.n_items, dtype=np.int64)
        for place, (row, stream) in enumerate(zip(rows, streams, strict=True)):
            generator = np.random.default_rng((seed, int(stream) % (1 << 64)))
            s = int(generator.integers(n))
            block = slice(s * k, (s + 1) * k)
            query = np.zeros((1, state.n_factors))
            if row >= 0:
                query[0] = (1 - scale) * state.user_factors[row]
                query[0, block] += scale * n * state.user_factors[row, block]
                mean, drawn = state.user_bias[row], self._user_bias[s, row]
            else:
                spread = np.linalg.cholesky(self._covariances[0][s])
                [*w, drawn] = spread @ generator.standard_normal(k + 1)
                query[0, block] = scale * math.sqrt(n) * np.array(w)
                mean = 0.0
            offset = (1 - scale) * (state.global_mean + mean) + scale * (self._means[s] + drawn)
            bias = (1 - scale) * state.item_bias + scale * self._item_bias[s]
            kernels.predict_pairs(
                np.zeros(len(every), np.int64), every, query.astype(state.dtype), state.item_factors,
                np.zeros(1, state.dtype), bias.astype(state.dtype), float(offset), scores[place],
            )  # fmt: skip
        return scores
