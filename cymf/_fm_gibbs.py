"""Hyper-parameters of a Bayesian factorization machine, drawn in turn with its parameters."""

from __future__ import annotations

import math

import numpy as np

from cymf._descent_sweeps import Pulls
from cymf._machine import Machine

__all__ = ["Hyperpriors"]

# The hyperpriors that libFM has: Gamma(1/2, 1/2) on precisions, and means around 0 with as much trust as one value.
_SHAPE = 1.0
_RATE = 1.0
_TRUST = 1.0


class Hyperpriors:
    r"""Normal priors whose means and precisions are drawn for every group of columns.

        w_j ~ N(μ_g, 1/λ_g),    v_jf ~ N(μ_gf, 1/λ_gf),    g the group of column j
        μ | λ ~ N(0, 1/(γ λ)),    λ ~ Gamma(½, ½),    residuals ~ N(0, 1/(α c)),    α ~ Gamma(½, ½)

    Given the parameters, each is drawn from its conditional, so that nothing is left to tune. With n values θ of a
    group,

        λ ~ Gamma(½ (n + 2), ½ (1 + Σ (θ − μ)² + γ μ²)),    μ ~ N(Σ θ / (n + γ), 1/((n + γ) λ)).

    Parameters
    ----------
    groups : ndarray of int64, shape (n_columns,)
        The group of each column, from 0.
    machine : Machine
        Gives the numbers of factors and columns.
    generator : Generator
        All draws come from it, in one order.

    References
    ----------
    Freudenthaler, Schmidt-Thieme and Rendle 2011, "Bayesian factorization machines". Rendle 2012, "Factorization
    machines with libFM" (TIST), section 4.4.
    """

    def __init__(
        self, groups: np.ndarray, machine: Machine, generator: np.random.Generator
    ) -> None:
        self.alpha = 1.0
        self._groups = groups
        self._counts = np.bincount(groups).astype(np.float64)
        self._generator = generator
        self._dtype = machine.dtype
        families = machine.n_factors + 1  # w first
        self.means = np.zeros((families, len(self._counts)))
        self.precisions = np.ones((families, len(self._counts)))

    def draw_alpha(self, squared: float, count: float) -> None:
        """Draw α, given Σ c r² and how many residuals it sums."""
        self.alpha = float(self._gamma(np.array(_SHAPE + count), np.array(_RATE + squared)))

    def draw_constant(self, pulled: float, total: float) -> float:
        """Draw w0 from its conditional under a flat prior."""
        noise = self._generator.standard_normal()
        return pulled / total + noise / math.sqrt(self.alpha * total)

    def draw(self, machine: Machine) -> Pulls:
        """Draw means and precisions given the parameters; return both, and noise, for each parameter."""
        groups, trust = self._groups, self._counts + _TRUST
        families = [machine.weights if machine.use_bias else np.zeros(len(groups))]
        for family, values in enumerate([*families, *machine.trimmed.T]):
            exact = values.astype(np.float64)
            old = self.means[family]
            squares = np.bincount(groups, (exact - old[groups]) ** 2)
            precision = self._gamma(_SHAPE + self._counts + 1, _RATE + squares + _TRUST * old * old)
            noise = self._generator.standard_normal(len(old))
            mean = np.bincount(groups, exact) / trust + noise / np.sqrt(trust * precision)
            self.means[family], self.precisions[family] = mean, precision
        shape = len(self.means), len(groups)
        return Pulls(
            np.take(self.precisions.astype(self._dtype), groups, axis=1),
            np.take(self.means.astype(self._dtype), groups, axis=1),
            self._generator.standard_normal(shape, dtype=self._dtype),
        )

    def _gamma(self, twice_shape: np.ndarray, twice_rate: np.ndarray) -> np.ndarray:
        draws: np.ndarray = self._generator.standard_gamma(twice_shape / 2) / (twice_rate / 2)
        return draws
