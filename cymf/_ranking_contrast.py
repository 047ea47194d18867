"""Epochs of stochastic gradient descent on contrastive losses, over rows of unit length."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cymf._epochs import LearningRate
from cymf._errors import DivergenceError
from cymf._factors import Factors, aligned_zeros
from cymf._gradient_sums import GradientSums
from cymf._kernels import ranking_kernels
from cymf._ranking_problem import RankingProblem
from cymf._ranking_strata import RankingStrata

__all__ = ["ContrastEpochs", "ContrastiveLoss", "to_unit_length"]

_KERNEL_NUMBER = {"softmax": 0, "cosine_contrastive": 1}


@dataclass(frozen=True)
class ContrastiveLoss:
    """A loss of positives against pools of negatives; see `ContrastiveMF`."""

    kind: str
    n_negatives: int
    temperature: float
    margin: float
    negative_weight: float


def to_unit_length(rows: np.ndarray) -> None:
    """Scale rows to unit length, in place; rows of zero stay."""
    norms = np.sqrt(np.einsum("if,if->i", rows, rows, dtype=np.float64))
    rows /= np.where(norms > 0, norms, 1.0).astype(rows.dtype)[:, None]


class ContrastEpochs:
    """One fit's epochs.

    Parameters
    ----------
    problem : RankingProblem
        Positives, and what no negative may be.
    start : Factors
        Where to start from; brought to unit length and trained in place.
    loss : ContrastiveLoss
        What is minimized.
    rate : LearningRate
        The schedule.
    generator : Generator
        Deals the positives, and seeds the draws.
    item_counts : ndarray of int64
        Interactions of each item; those without any are no negatives.
    sums : dict of str to ndarray
        AdaGrad's sums of squared gradients to go on from, as `sums` returns them.
    """

    def __init__(
        self,
        problem: RankingProblem,
        start: Factors,
        loss: ContrastiveLoss,
        rate: LearningRate,
        generator: np.random.Generator,
        *,
        item_counts: np.ndarray,
        sums: dict[str, np.ndarray],
    ) -> None:
        self.problem = problem
        self.working = start
        self.rate = rate
        self.epoch = 0
        self._loss = loss
        to_unit_length(start.user)
        to_unit_length(start.item)
        self._strata = RankingStrata(
            problem.positives, item_counts, 0.0, generator, loss.n_negatives
        )
        self._position = np.full(len(item_counts), -1, np.int32)
        self._sums = GradientSums(rate.step_rule, start, sums)

    def sums(self) -> dict[str, np.ndarray]:
        """Return AdaGrad's sums of squared gradients."""
        return self._sums.named()

    def run(self) -> float:
        """Do one epoch; return the mean of the losses before each step."""
        problem, working, strata, loss = self.problem, self.working, self._strata, self._loss
        rate = self.rate.at(self.epoch)
        strata.deal(self.epoch, problem.workers)
        order, n = strata.item_order, strata.n_stripes
        self._position[order] = np.arange(len(order), dtype=np.int32)
        items = aligned_zeros((len(order), working.width), problem.dtype)
        np.take(working.item, order, axis=0, out=items)
        user_sums, all_item_sums = self._sums.both
        item_sums = all_item_sums[order] if self.rate.step_rule else all_item_sums
        counter, diverged = np.zeros(1, np.int64), np.zeros(1, np.int64)
        clocks = np.zeros((2, 8 * n), np.int64)
        losses = np.zeros(n * n)
        pool = min(loss.n_negatives, int(np.diff(strata.item_start).max()))
        sharpness = loss.margin if loss.kind == "cosine_contrastive" else 1 / loss.temperature

        def work(_: int) -> None:
            size = ranking_kernels.contrast_scratch(pool, working.width)
            ranking_kernels.contrast_epoch(
                strata.block_start, strata.users, strata.items, strata.confidences, problem.known.indptr,
                problem.known.indices, self._position, strata.item_start, strata.strata, _KERNEL_NUMBER[loss.kind],
                pool, sharpness, loss.negative_weight, strata.seed, self.epoch, working.user, items, user_sums,
                item_sums, self.rate.step_rule, rate, working.n_factors, aligned_zeros(size, problem.dtype), counter,
                clocks[0], clocks[1], diverged, losses,
            )  # fmt: skip

        n_positives = len(problem.positives.indices)
        problem.workers.run(work, 6.0 * n_positives * pool * working.n_factors)
        working.item[order] = items
        if self.rate.step_rule:
            all_item_sums[order] = item_sums
        if diverged[0] or not math.isfinite(float(np.sum(working.flat))):
            raise DivergenceError(
                f"training diverged in epoch {self.epoch + 1}: rows are no longer finite at learning rate {rate:.3g}; "
                f"try learning_rate={self.rate.initial / 4:.2g}"
            )
        self.epoch += 1
        return math.fsum(losses) / n_positives
