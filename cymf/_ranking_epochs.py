"""Epochs of stochastic gradient descent on sampled ranking losses, with a watch on divergence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cymf._epochs import LearningRate
from cymf._errors import ConvergenceWarning, DivergenceError, warn_caller
from cymf._factors import Factors, aligned_zeros
from cymf._fit_log import LOGGER
from cymf._gradient_sums import GradientSums
from cymf._kernels import ranking_kernels
from cymf._ranking_problem import RankingProblem
from cymf._ranking_strata import RankingStrata

__all__ = ["RankingEpochs", "SampledLoss"]

_KERNEL_NUMBER = {"pairwise": 0, "warp": 1, "pointwise": 2}
_IMPLAUSIBLE = 100.0  # mean loss of a block, per negative: scores have exploded
_MOST_HALVINGS = 40


@dataclass(frozen=True)
class SampledLoss:
    """A loss over positives and sampled negatives.

    Attributes
    ----------
    kind : {"pairwise", "warp", "pointwise"}
        See ``_kernels/ranking.pxi``.
    n_negatives : int
        Negatives of each positive, for WARP the most that are tried.
    popularity_exponent : float
        Negatives are drawn in proportion to their number of interactions to this power.
    reg, reg_bias : float
        λ and λ_b of each step.
    """

    kind: str
    n_negatives: int
    popularity_exponent: float
    reg: float
    reg_bias: float


class RankingEpochs:
    """One fit's epochs.

    Parameters
    ----------
    problem : RankingProblem
        Positives, and what no negative may be.
    start : Factors
        Where to start from; they are trained in place.
    loss : SampledLoss
        What is minimized.
    rate : LearningRate
        The schedule.
    generator : Generator
        Deals the positives, and seeds the draws.
    back_off : bool
        Whether to halve the rate when training diverges, instead of raising.
    item_counts : ndarray of int64
        Interactions of each item, for negatives by popularity.
    sums : dict of str to ndarray
        AdaGrad's sums of squared gradients to go on from, as `sums` returns them.
    """

    def __init__(
        self,
        problem: RankingProblem,
        start: Factors,
        loss: SampledLoss,
        rate: LearningRate,
        generator: np.random.Generator,
        *,
        back_off: bool,
        item_counts: np.ndarray,
        sums: dict[str, np.ndarray],
    ) -> None:
        self.problem = problem
        self.working = start
        self.rate = rate
        self.epoch = 0
        self._loss = loss
        self._back_off = back_off
        self._halvings = 0
        self._strata = RankingStrata(
            problem.positives, item_counts, loss.popularity_exponent, generator
        )
        self._sums = GradientSums(rate.step_rule, start, sums)
        self._rank_loss = np.zeros(0)
        if loss.kind == "warp":
            harmonic = np.cumsum(1 / np.arange(1, max(int(np.count_nonzero(item_counts)), 2)))
            self._rank_loss = np.concatenate([[0.0], harmonic / harmonic[-1]])
        confidences = problem.positives.confidences
        self._limit = (
            _IMPLAUSIBLE
            * (1 if loss.kind == "warp" else loss.n_negatives)
            * max(1.0, float(confidences.max(initial=0)))
        )

    def sums(self) -> dict[str, np.ndarray]:
        """Return AdaGrad's sums of squared gradients."""
        return self._sums.named()

    def run(self) -> float:
        """Do one epoch; return the mean of the losses before each step."""
        kept = self._snapshot() if self._back_off else None
        self._strata.deal(self.epoch, self.problem.workers)
        while True:
            rate = self.rate.at(self.epoch)
            objective = self._one_pass(rate)
            if objective is not None:
                self.epoch += 1
                return objective
            if kept is None or self._halvings == _MOST_HALVINGS:
                raise DivergenceError(
                    f"training diverged in epoch {self.epoch + 1}: scores grew beyond any plausible value at "
                    f"learning rate {rate:.3g}; try learning_rate={self.rate.initial / 4:.2g} or a larger reg, or "
                    "on_divergence='back_off', which finds a rate by itself"
                )
            self._halvings += 1
            self.rate.initial /= 2
            self.working.assign(kept[0])
            for sums, old in zip(self._sums.both, kept[1], strict=True):
                sums[:] = old
            text = (
                f"training diverged in epoch {self.epoch + 1} and went back to its start; "
                f"the learning rate was halved to {self.rate.at(self.epoch):.3g}"
            )
            LOGGER.info(text)
            warn_caller(text, ConvergenceWarning)

    def _snapshot(self) -> tuple[Factors, list[np.ndarray]]:
        return self.working.copy(), [sums.copy() for sums in self._sums.both]

    def _one_pass(self, rate: float) -> float | None:
        """Return the mean loss of one pass at a given rate, or None if it diverged."""
        strata, working, known, loss = self._strata, self.working, self.problem.known, self._loss
        n = strata.n_stripes
        counter, diverged, drawn = (
            np.zeros(1, np.int64),
            np.zeros(1, np.int64),
            np.zeros(n * n, np.int64),
        )
        clocks = np.zeros((2, 8 * n), np.int64)
        losses = np.zeros(n * n)

        def work(_: int) -> None:
            scratch = aligned_zeros((3, working.width), self.problem.dtype)
            ranking_kernels.ranking_epoch(
                strata.block_start, strata.users, strata.items, strata.confidences, known.indptr, known.indices,
                strata.item_order, strata.item_start, strata.cumulative, strata.strata,
                _KERNEL_NUMBER[loss.kind], loss.n_negatives, self._rank_loss, strata.seed, self.epoch,
                working.user, working.item, working.user_bias, working.item_bias, *self._sums.both, self.rate.step_rule,
                rate, loss.reg, loss.reg_bias, working.n_factors, scratch, counter, clocks[0], clocks[1],
                diverged, self._limit, losses, drawn,
            )  # fmt: skip

        pairs = len(self.problem.positives.indices) * loss.n_negatives
        self.problem.workers.run(work, 10.0 * pairs * working.n_factors)
        if diverged[0] or not math.isfinite(float(np.sum(working.flat))):
            return None
        n_terms = (
            int(drawn.sum()) if loss.kind == "pairwise" else len(self.problem.positives.indices)
        )
        return math.fsum(losses) / max(n_terms, 1)
