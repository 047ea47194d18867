"""How a factorization machine is trained: one class for each solver, and what they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cymf._batches import Batches, Steps, penalty_shares
from cymf._descent_sweeps import Penalties, Sweeps
from cymf._design import Design
from cymf._errors import DivergenceError
from cymf._losses import (
    concordance,
    logistic_losses,
    preference_pairs,
    probabilities,
    tangent_weights,
)
from cymf._machine import Machine
from cymf._parallel import Workers

__all__ = ["Data", "Descent", "GradientSteps", "HeldOut", "Solver"]

# Losses so many times the largest plausible one: training has exploded. AdaGrad's steps are bounded, and recover.
_IMPLAUSIBLE = 100.0
_MOST_ROWS = 1 << 40  # of a batch: borders of batches are 64-bit numbers


@dataclass(frozen=True, eq=False)
class Data:
    """Checked training or validation data.

    Attributes
    ----------
    design : Design
    targets : ndarray of float64, shape (n_rows,)
        Numbers; signs for the logistic loss.
    weights : ndarray in the dtype of the model, shape (n_rows,) or (0,)
        c, empty where all are 1.
    groups : ndarray of int64, shape (n_rows,), or None
        Whose row each is, for ranking.
    """

    design: Design
    targets: np.ndarray
    weights: np.ndarray
    groups: np.ndarray | None

    @property
    def total_weight(self) -> float:
        weights = self.weights
        return float(weights.sum(dtype=np.float64)) if len(weights) else float(self.design.n_rows)

    def weighted_sum(self, losses: np.ndarray) -> float:
        """Return Σ c l in float64, in an order of its own: a BLAS would sum by its threads."""
        return float(np.sum(losses * self.weights if len(self.weights) else losses))


class HeldOut:
    """Held-out data, and the running mean of predictions where they are averaged.

    Parameters
    ----------
    data : Data
    loss : {"squared", "logistic", "bpr"}
    workers : Workers
    """

    def __init__(self, data: Data, loss: str, workers: Workers) -> None:
        self._data = data
        self._loss = loss
        self._workers = workers
        self._sum = np.zeros(data.design.n_rows)
        self._count = 0

    def measure(
        self, machines: Sequence[Machine], scale: float = 1.0, *, average: bool = False
    ) -> float:
        """Return the RMSE; or minus the mean logistic loss; or the concordance of pairs within groups.

        Of the mean prediction of the machines; with `average`, of these and all that were given with it before.
        """
        data = self._data
        total = np.zeros(data.design.n_rows)
        for machine in machines:
            scores = machine.scores(data.design, self._workers) * scale
            total += probabilities(scores) if self._loss == "logistic" else scores
        count = len(machines)
        if average:
            self._sum += total
            self._count += count
            total, count = self._sum, self._count
        predictions = total / count
        if self._loss == "squared":
            squared = data.weighted_sum((predictions - data.targets) ** 2)
            return math.sqrt(squared / data.total_weight)
        if self._loss == "logistic":
            right = np.where(data.targets > 0, predictions, 1 - predictions)
            losses = -np.log(np.maximum(right, np.finfo(np.float64).tiny))
            return -data.weighted_sum(losses) / data.total_weight
        assert data.groups is not None
        return concordance(predictions, data.targets, data.groups)


class Solver(Protocol):
    """What the training loop needs: an iteration, and what can be said after it."""

    objective: float
    train_rmse: float

    def step(self) -> None:
        """Do one iteration."""


class Descent:
    """Coordinate descent: for the logistic loss on a quadratic that lies above it and touches it.

    With s = ŷ, −log σ(y s) ≤ ½ ω (s − y / (2 ω))² + const with ω = tanh(s₀/2) / (2 s₀), equal at s = s₀ (Jaakkola and
    Jordan 2000), so that a sweep on the right side lowers the left one.
    """

    def __init__(
        self, data: Data, machine: Machine, loss: str, penalties: Penalties, workers: Workers
    ) -> None:
        self._data = data
        self._loss = loss
        self._penalties = penalties
        self._pulls = penalties.pulls(machine.n_factors)
        self._machine = machine
        self._sweeps = Sweeps(data.design, machine, workers)
        self._sweeps.row_weights = data.weights
        self.objective = self.train_rmse = math.nan
        self._iteration = 0

    def step(self) -> None:
        data, sweeps = self._data, self._sweeps
        self._iteration += 1
        responses = data.targets
        scores = sweeps.scores()
        if self._loss == "logistic":
            omega = tangent_weights(scores)
            responses = data.targets / (2 * omega)
            weighted = omega if not len(data.weights) else omega * data.weights
            sweeps.row_weights = weighted.astype(self._machine.dtype)
        sweeps.aim(responses, scores)
        sweeps.run(self._pulls, lambda pulled, total: pulled / total)
        residuals = sweeps.residuals.astype(np.float64)
        penalty = 0.5 * self._penalties.of(self._machine)
        if self._loss == "squared":
            squared = data.weighted_sum(residuals**2)
            self.train_rmse = math.sqrt(squared / data.total_weight)
            self.objective = 0.5 * squared + penalty
        else:
            losses = logistic_losses(data.targets * (responses - residuals))
            self.objective = data.weighted_sum(losses) + penalty
        if not (math.isfinite(self.objective) and self._machine.is_finite()):
            raise DivergenceError(
                f"the objective was not finite after iteration {self._iteration}: scale columns and targets down, or "
                "use dtype='float64'"
            )


class GradientSteps:
    """Epochs over mini-batches; for ranking over pairs drawn anew in each epoch."""

    def __init__(
        self,
        data: Data,
        machine: Machine,
        loss: str,
        penalties: Penalties,
        generator: np.random.Generator,
        workers: Workers,
        *,
        rate: float,
        decay: float,
        adagrad: bool,
        batch_size: int,
        n_negatives: int,
    ) -> None:
        design = data.design.expanded()
        self._data = data
        self._loss = loss
        self._machine = machine
        self._penalties = penalties
        self._generator = generator
        self._rate = rate
        self._decay = decay
        self._size = min(batch_size, _MOST_ROWS) * (2 if loss == "bpr" else 1)
        self._n_negatives = n_negatives
        self._design = design
        counts = design.column_counts(data.weights if len(data.weights) else None)
        shares = np.column_stack([penalties.weights, penalties.factors])
        heaviest = float(data.weights.max()) if len(data.weights) else 1.0
        largest = 1.0
        if loss == "squared":
            offset = data.weighted_sum(data.targets) / data.total_weight
            if machine.use_bias:
                machine.constant[:] = offset
            largest = float(np.max((data.targets - offset * machine.use_bias) ** 2)) or 1e-12
            start = (machine.scores(design, workers) - data.targets) ** 2
            largest = max(largest, float(start.mean()))
        self._workers = workers
        self._most = math.inf if adagrad else _IMPLAUSIBLE * largest  # mean squared error
        self._steps = Steps(
            design, machine, loss, data.targets.astype(machine.dtype), data.weights,
            penalty_shares(counts, shares, machine.dtype), adagrad=adagrad, limit=self._most * heaviest,
            workers=workers,
        )  # fmt: skip
        self._batches: Batches | None = None
        self._epoch = 0
        self.objective = self.train_rmse = math.nan

    def step(self) -> None:
        batches = self._next_batches()
        order = self._generator.permutation(len(batches.start) - 1)
        rate = self._rate * (1 - self._decay) ** self._epoch
        self._epoch += 1
        loss = self._steps.run(batches, order, rate)
        penalty = 0.5 * self._penalties.of(self._machine)
        if self._loss == "squared":
            self.train_rmse = math.sqrt(loss / self._data.total_weight)
            loss *= 0.5
        self.objective = loss + penalty

    def check(self) -> None:
        """Raise if the last steps, whose losses no epoch has seen, made scores explode."""
        scores = self._machine.scores(self._design, self._workers)
        exploded = not np.isfinite(scores).all()
        if self._loss == "squared" and not exploded:
            squared = self._data.weighted_sum((scores - self._data.targets) ** 2)
            exploded = not squared <= self._most * self._data.total_weight
        if exploded:
            raise self._steps.divergence(self._rate * (1 - self._decay) ** (self._epoch - 1))

    def _next_batches(self) -> Batches:
        data, generator = self._data, self._generator
        if self._loss == "bpr":
            assert data.groups is not None
            pairs = preference_pairs(data.targets, data.groups, self._n_negatives, generator)
            generator.shuffle(pairs)
            return Batches.of(self._design, pairs.reshape(-1), self._size)
        if self._batches is None:
            rows = generator.permutation(self._design.n_rows)
            self._batches = Batches.of(self._design, rows, self._size)
        return self._batches
