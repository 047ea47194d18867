"""Step rules of batch gradient descent: each repeats an iteration until it is told to stop.

A rule moves `x` in place and calls ``finished(value, squared, converged)`` after every iteration, with the objective
and Σ c e² there. One evaluation is one fused pass over the ratings a direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cymf._errors import DivergenceError
from cymf._factors import Factors
from cymf._problem import Problem

__all__ = ["RULES", "Descent"]

_SHRINK = 0.5
_SUFFICIENT = 1e-4  # Armijo's constant
_SMALLEST_RATE = 1e-18
_EXPLODED = 1e3  # objectives so many times the first one: training has diverged


class Descent:
    """The state that all rules share.

    Parameters
    ----------
    problem : Problem
        The objective.
    x : Factors
        Where to start; moved in place.
    rate : float or None
        The learning rate; None searches for one.
    max_iter : int
        Most iterations.
    tol : float
        An iteration that lowers the objective by at most `tol` times its value is the last.
    finished : callable
        ``finished(converged) -> stop``.
    """

    def __init__(
        self,
        problem: Problem,
        x: Factors,
        rate: float | None,
        max_iter: int,
        tol: float,
        finished: Callable[[bool], bool],
    ) -> None:
        self.problem = problem
        self.x = x
        self.gradient = x.like()
        self.rate = rate
        self.max_iter = max_iter
        self.tol = tol
        self.stalled = False
        self._finished = finished
        self.value, self.squared = problem.gradient(x, self.gradient)
        self._first = self.value

    def finished(self, value: float, squared: float) -> bool:
        """Report an iteration; returns whether to stop."""
        if not value <= _EXPLODED * max(self._first, 1e-30):
            rate = self.rate or 1.0
            raise DivergenceError(
                f"training diverged: the objective rose from {self._first:.3g} to {value:.3g} at learning rate "
                f"{rate:.3g}; try learning_rate={rate / 10:.2g}, or step='backtracking', which finds rates by itself"
            )
        converged = self.tol > 0 and abs(self.value - value) <= self.tol * abs(value)
        self.value, self.squared = value, squared
        return self._finished(converged)

    def evaluate(self, at: Factors, gradient: Factors) -> tuple[float, float]:
        """Return the objective and Σ c e² at a point, and write its gradient."""
        return self.problem.gradient(at, gradient)

    def search(
        self, start: Factors, value: float, gradient: Factors, sufficient: float
    ) -> tuple[float, float] | None:
        """Halve the rate until a step from `start` lowers the objective enough (Armijo); moves `x`.

        Returns the objective and Σ c e² there, with its gradient in `self.gradient`; None where rounding forbids.
        """
        slope = float(np.vdot(gradient.flat, gradient.flat))
        point, its_gradient = self.x.like(), self.x.like()
        while self.rate > _SMALLEST_RATE:
            np.subtract(start.flat, self.rate * gradient.flat, out=point.flat, casting="same_kind")
            new, squared = self.evaluate(point, its_gradient)
            if new <= value - sufficient * self.rate * slope and math.isfinite(new):
                self.x.assign(point)
                self.gradient.assign(its_gradient)
                return new, squared
            self.rate *= _SHRINK
        self.stalled = True
        return None


def fixed(descent: Descent) -> None:
    """x ← x − η ∇f(x) with one η; without a given one, the first that half-satisfies the quadratic model."""
    if descent.rate is None:
        descent.rate = 1.0
        before = descent.x.copy()
        if descent.search(before, descent.value, descent.gradient.copy(), 0.5) is None:
            return
        descent.x.assign(before)
        descent.value, descent.squared = descent.evaluate(descent.x, descent.gradient)
    for _ in range(descent.max_iter):
        descent.x.flat -= descent.x.flat.dtype.type(descent.rate) * descent.gradient.flat
        if descent.finished(*descent.evaluate(descent.x, descent.gradient)):
            return


def backtracking(descent: Descent) -> None:
    """x ← x − η ∇f(x), η doubled after every iteration and halved until the objective falls enough (Armijo)."""
    descent.rate = descent.rate or 1.0
    for _ in range(descent.max_iter):
        found = descent.search(
            descent.x.copy(), descent.value, descent.gradient.copy(), _SUFFICIENT
        )
        if found is None or descent.finished(*found):
            return
        descent.rate /= _SHRINK


def nesterov(descent: Descent) -> None:
    """Accelerated gradient with backtracking and restart.

    y ← x + β (x − x₋), x ← y − η ∇f(y), with β = (t₋ − 1) / t and t = (1 + √(1 + 4 t₋²)) / 2; when the objective
    rises, momentum starts anew from the better point (Nesterov 1983; O'Donoghue and Candès 2015).
    """
    descent.rate = descent.rate or 1.0
    previous, t = descent.x.copy(), 1.0
    ahead, gradient = descent.x.copy(), descent.gradient.copy()
    value_ahead = descent.value
    for _ in range(descent.max_iter):
        current = descent.x.copy()
        found = descent.search(ahead, value_ahead, gradient, 0.5)
        if found is not None and found[0] > descent.value and t > 1:
            t = 1.0
            descent.x.assign(current)
            value, _ = descent.evaluate(current, gradient)
            found = descent.search(current, value, gradient.copy(), 0.5)
        if found is None or descent.finished(*found):
            return
        previous.assign(current)
        before, t = t, 0.5 * (1 + math.sqrt(1 + 4 * t * t))
        momentum = descent.x.flat.dtype.type((before - 1) / t)
        ahead.assign(descent.x)
        ahead.flat += momentum * (descent.x.flat - previous.flat)
        value_ahead, _ = descent.evaluate(ahead, gradient)


def adam(descent: Descent) -> None:
    """Adam with β₁ = 0.9, β₂ = 0.999 (Kingma and Ba 2015, algorithm 1) on the full gradient."""
    descent.rate = descent.rate or 0.02
    mean, square = np.zeros_like(descent.x.flat), np.zeros_like(descent.x.flat)
    for t in range(1, descent.max_iter + 1):
        gradient = descent.gradient.flat
        mean += 0.1 * (gradient - mean)
        square += 0.001 * (gradient * gradient - square)
        rate = descent.rate * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        descent.x.flat -= descent.x.flat.dtype.type(rate) * mean / (np.sqrt(square) + 1e-8)
        if descent.finished(*descent.evaluate(descent.x, descent.gradient)):
            return


def lbfgs(descent: Descent) -> None:
    """SciPy's L-BFGS-B, ten corrections, on our objective and gradient."""
    from scipy.optimize import minimize

    x, stopped = descent.x, False
    point = x.copy()
    squared_at: dict[float, float] = {}

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        point.flat[:] = flat
        value, squared = descent.evaluate(point, descent.gradient)
        squared_at.clear()
        squared_at[value] = squared
        return value, descent.gradient.flat.astype(np.float64)

    def callback(intermediate_result: object) -> None:
        nonlocal stopped
        x.flat[:] = intermediate_result.x
        value = float(intermediate_result.fun)
        squared = squared_at.get(value)
        if squared is None:  # the accepted point was not the last one evaluated
            value, squared = descent.evaluate(x, descent.gradient)
        if descent.finished(value, squared):
            stopped = True
            raise StopIteration

    options = {
        "maxiter": descent.max_iter,
        "maxfun": 20 * descent.max_iter,
        "ftol": 0,
        "gtol": 0,
        "maxcor": 10,
    }
    start = x.flat.astype(np.float64)
    result = minimize(
        objective, start, jac=True, method="L-BFGS-B", callback=callback, options=options
    )
    descent.stalled = not stopped and result.nit < descent.max_iter


RULES: dict[str, Callable[[Descent], None]] = {
    "lbfgs": lbfgs,
    "nesterov": nesterov,
    "backtracking": backtracking,
    "adam": adam,
    "fixed": fixed,
}
