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
        counts = np.bincount(groups)
        self._counts = counts.astype(np.float64)
        self._order = None if (np.diff(groups) >= 0).all() else np.argsort(groups, kind="stable")
        self._starts = np.cumsum(counts) - counts
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
        weights = machine.weights if machine.use_bias else np.zeros(len(self._groups))
        values = np.vstack([weights, machine.trimmed.T]).astype(np.float64)
        old = self.means
        squares = self._sums((values - old[:, self._groups]) ** 2)
        self.precisions = self._gamma(
            _SHAPE + self._counts + 1, _RATE + squares + _TRUST * old * old
        )
        trust = self._counts + _TRUST
        noise = self._generator.standard_normal(old.shape)
        self.means = self._sums(values) / trust + noise / np.sqrt(trust * self.precisions)
        return Pulls(
            np.take(self.precisions.astype(self._dtype), self._groups, axis=1),
            np.take(self.means.astype(self._dtype), self._groups, axis=1),
            self._generator.standard_normal(values.shape, dtype=self._dtype),
        )

    def _sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of each group of columns."""
        ordered = values if self._order is None else values[:, self._order]
        sums: np.ndarray = np.add.reduceat(ordered, self._starts, axis=1)
        return sums

    def _gamma(self, twice_shape: np.ndarray, twice_rate: np.ndarray) -> np.ndarray:
        shapes = np.broadcast_to(twice_shape / 2, twice_rate.shape)
        draws: np.ndarray = self._generator.standard_gamma(shapes) / (twice_rate / 2)
        return draws
