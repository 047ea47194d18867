"""Chains of draws of a factorization machine's parameters, by Gibbs sampling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from cymf._descent_sweeps import Sweeps
from cymf._errors import DivergenceError
from cymf._fm_gibbs import Hyperpriors
from cymf._fm_state import Samples
from cymf._fm_training import Data
from cymf._losses import polya_gamma
from cymf._machine import Machine
from cymf._parallel import Workers

__all__ = ["Chains"]


class _Chain:
    """One chain; see `Chains`."""

    def __init__(
        self,
        data: Data,
        machine: Machine,
        loss: str,
        scale: float,
        groups: np.ndarray,
        generator: np.random.Generator,
        workers: Workers,
    ) -> None:
        self.machine = machine
        self._data = data
        self._loss = loss
        self._targets = data.targets / scale
        self._generator = generator
        self._sweeps = Sweeps(data.design, machine, workers)
        self._sweeps.row_weights = data.weights
        self._prior = Hyperpriors(groups, machine, generator)

    @property
    def noise(self) -> float:
        """The standard deviation of residuals, as drawn."""
        return 1 / math.sqrt(self._prior.alpha)

    def squared(self) -> float:
        """Return Σ c r²."""
        return self._data.weighted_sum(self._sweeps.residuals.astype(np.float64) ** 2)

    def step(self) -> None:
        """Draw everything once."""
        data, sweeps, prior = self._data, self._sweeps, self._prior
        scores = sweeps.scores()
        if self._loss == "squared":
            sweeps.aim(self._targets, scores)
            prior.draw_alpha(self.squared(), data.total_weight)
        else:
            weights = data.weights if len(data.weights) else np.ones(len(scores))
            omega = polya_gamma(weights, scores, self._generator)
            sweeps.row_weights = omega.astype(self.machine.dtype)
            sweeps.aim(data.targets * weights / (2 * omega), scores)
        sweeps.run(prior.draw(self.machine), prior.draw_constant, prior.alpha)


class Chains:
    """Independent chains that start from machines of their own, side by side; their draws are pooled.

    For the logistic loss with Pólya-Gamma weights (Polson, Scott and Windle 2013). Targets of the squared loss are
    divided by their standard deviation, for which the hyperpriors are made.

    Parameters
    ----------
    data : Data
        What is learnt from.
    machines : sequence of Machine
        Where each chain starts; moved in place.
    loss : {"squared", "logistic"}
    groups : ndarray of int64, shape (n_columns,)
        The group of each column.
    keep : list of int
        The iterations whose draws are kept.
    generators : sequence of Generator
        One for each chain.
    workers : Workers
        The threads: one chain has all of them, several chains share them.
    """

    def __init__(
        self,
        data: Data,
        machines: Sequence[Machine],
        loss: str,
        groups: np.ndarray,
        keep: list[int],
        generators: Sequence[np.random.Generator],
        workers: Workers,
    ) -> None:
        self._data = data
        self._loss = loss
        self._keep = set(keep)
        self._workers = workers
        self._iteration = 0
        self.scale = 1.0
        if loss == "squared":
            mean = data.weighted_sum(data.targets) / data.total_weight
            spread = data.weighted_sum((data.targets - mean) ** 2) / data.total_weight
            self.scale = math.sqrt(spread) or 1.0
        inner = workers if len(machines) == 1 else Workers(1)
        self._chains = [
            _Chain(data, machine, loss, self.scale, groups, generator, inner)
            for machine, generator in zip(machines, generators, strict=True)
        ]
        self.machines = list(machines)
        self.objective = self.train_rmse = math.nan
        self._constants: list[float] = []
        self._weights: list[np.ndarray] = []
        self._factors: list[np.ndarray] = []
        self._noises: list[float] = []

    @property
    def keeps(self) -> bool:
        """Whether the last iteration's draws were kept."""
        return self._iteration in self._keep

    def step(self) -> None:
        """Draw everything of each chain once."""
        self._iteration += 1
        if len(self._chains) == 1:
            self._chains[0].step()
        else:
            numbers = itertools.count()  # drawn by all workers

            def work(_: int) -> None:
                while (number := next(numbers)) < len(self._chains):
                    self._chains[number].step()

            self._workers.run(work)
        if not all(machine.is_finite() for machine in self.machines):
            raise DivergenceError(
                f"draw {self._iteration} was not finite: scale the columns down, or use dtype='float64'"
            )
        if self._loss == "squared":
            squared = np.mean([chain.squared() for chain in self._chains])
            self.train_rmse = self.scale * math.sqrt(squared / self._data.total_weight)
        if self.keeps:
            self._remember()

    def _remember(self) -> None:
        scale = self.scale
        for chain in self._chains:
            machine = chain.machine
            self._constants.append(float(machine.constant.sum()) * scale)
            self._weights.append(machine.weights * machine.dtype.type(scale))
            self._factors.append(machine.trimmed * machine.dtype.type(math.sqrt(scale)))
            self._noises.append(chain.noise * scale)

    def samples(self) -> Samples:
        """Return the draws that were kept; the last ones if training ended before the first."""
        if not self._constants:
            self._remember()
        return Samples(np.array(self._constants), np.array(self._weights), np.array(self._factors))

    @property
    def noise(self) -> float:
        """The standard deviation of targets around scores, its mean over the kept draws."""
        return float(np.mean(self._noises)) if self._loss == "squared" else math.nan
