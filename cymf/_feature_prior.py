r"""Rows that their features predict: the prior F B of one side's factors and biases, and how B is learnt.

With the features F_i of row i and weights s_i = n_i^ν (0 for rows without ratings) the objective has the terms

    ½ Σ_i s_i (λ ‖w_i − F_i B‖² + λ_b (b_i − F_i β)²) + ½ λ_B (‖B‖² + ‖β‖²)

in place of ½ Σ_i s_i (λ ‖w_i‖² + λ_b b_i²). Three steps take turns, none of which raises it. Given B, a row's
residual w_i − F_i B solves the same least-squares problem as ever, against what F_i B leaves of the ratings. Given the
rows, B is a ridge regression:

    (λ FᵀSF + λ_B I) B = λ FᵀSW,        (λ_b FᵀSF + λ_B I) β = λ_b FᵀSb

Alone, these two crawl where rows are close to their priors, as each follows the other. So, given the residuals, B also
goes some conjugate gradient steps towards what explains the ratings best, and takes the rows with it.

The source of the idea: Agarwal and Chen 2009, "Regression-based latent factor models".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy import sparse

from cymf._factors import Factors, aligned_zeros
from cymf._kernels import kernels
from cymf._parallel import Workers, in_shares

if TYPE_CHECKING:
    from cymf._feature_rows import RowFeatures
    from cymf._problem import Problem, Side

__all__ = ["FeaturePrior", "Iterate", "Priors", "Ridge", "Strengths"]

_MOST_FACTORED = 2000  # features: beyond, their Gram matrix is not made
_BLOCK_ROWS = 1 << 16
_CG_STEPS = 100
_CG_TOLERANCE = 1e-10
_FOLLOWING_STEPS = 3  # of B and β after the ratings


class Ridge:
    """Solves (reg FᵀSF + feature_reg I) X = reg FᵀS Y for X.

    Parameters
    ----------
    matrix : csr_array of shape (n_rows, n_features)
        F.
    weights : ndarray of float64, shape (n_rows,)
        S.
    reg, feature_reg : float
        Both positive.

    Notes
    -----
    Up to 2,000 features the matrix is factored once, when it is first needed. Beyond, conjugate gradients start from a
    given X, so that they never lead away from the solution, and stop at a residual of 1e-10 of the right-hand side.
    """

    def __init__(
        self, matrix: sparse.csr_array, weights: np.ndarray, reg: float, feature_reg: float
    ) -> None:
        self._matrix = matrix
        self._weights = weights
        self._reg = reg
        self._feature_reg = feature_reg
        self._factor: Any = None

    def solve(self, targets: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Return X for targets Y of shape (n_rows, n_columns)."""
        right = self._reg * self._pulled(targets)
        if self._matrix.shape[1] <= _MOST_FACTORED:
            from scipy.linalg import cho_factor, cho_solve

            if self._factor is None:
                scaled = self._matrix * self._weights[:, np.newaxis]
                gram = self._reg * (self._matrix.T @ scaled).toarray()
                gram[np.diag_indices_from(gram)] += self._feature_reg
                self._factor = cho_factor(gram, lower=True, overwrite_a=True)
            return np.asarray(cho_solve(self._factor, right))
        return self._by_conjugate_gradients(right, start)

    def _pulled(self, targets: np.ndarray) -> np.ndarray:
        """Return FᵀS Y in float64."""
        total = np.zeros((self._matrix.shape[1], targets.shape[1]))
        for start in range(0, len(targets), _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            block = targets[rows].astype(np.float64) * self._weights[rows, np.newaxis]
            total += self._matrix[rows].T @ block
        return total

    def _product(self, X: np.ndarray) -> np.ndarray:
        total = self._feature_reg * X
        for start in range(0, self._matrix.shape[0], _BLOCK_ROWS):
            rows = slice(start, start + _BLOCK_ROWS)
            part = self._matrix[rows]
            total += self._reg * (part.T @ ((part @ X) * self._weights[rows, np.newaxis]))
        return total

    def _by_conjugate_gradients(self, right: np.ndarray, start: np.ndarray) -> np.ndarray:
        """All columns at once, each with its own steps, preconditioned by the diagonal."""
        squares = sparse.csr_array(self._matrix.multiply(self._matrix))
        diagonal = self._feature_reg + self._reg * (squares.T @ self._weights)
        inverse = 1 / diagonal[:, np.newaxis]
        X = start.copy()
        residual = right - self._product(X)
        limit = _CG_TOLERANCE**2 * np.einsum("pf,pf->f", right, inverse * right)
        z = inverse * residual
        direction = z.copy()
        size = np.einsum("pf,pf->f", residual, z)
        for _ in range(_CG_STEPS):
            active = size > limit
            if not active.any():
                break
            product = self._product(direction)
            curvature = np.einsum("pf,pf->f", direction, product)
            step = np.divide(size, curvature, out=np.zeros_like(size), where=active)
            X += step * direction
            residual -= step * product
            z = inverse * residual
            before, size = size, np.einsum("pf,pf->f", residual, z)
            ratio = np.divide(size, before, out=np.zeros_like(size), where=active)
            direction = z + ratio * direction
        return X


@dataclass(frozen=True)
class Strengths:
    """λ, λ_b and λ_B."""

    reg: float
    reg_bias: float
    feature_reg: float


class FeaturePrior:
    """The prior of one side's rows while it is learnt.

    Parameters
    ----------
    features : RowFeatures
        F.
    weights : ndarray of float64, shape (n_rows,)
        s, 0 for rows without ratings.
    strengths : Strengths
        The penalties.
    n_factors, width : int
        Length of a row without and with padding.
    use_bias : bool
        Whether biases have a prior, too.
    dtype : dtype
        Of the rows.

    Attributes
    ----------
    mean : ndarray of shape (n_rows, width)
        F B.
    bias_mean : ndarray of shape (n_rows,), or (0,)
        F β.
    factors, bias : ndarray of float64, shape (n_features, n_factors) and (n_features,)
        B and β.
    """

    def __init__(
        self,
        features: RowFeatures,
        weights: np.ndarray,
        strengths: Strengths,
        n_factors: int,
        width: int,
        use_bias: bool,
        dtype: np.dtype[Any],
    ) -> None:
        self.features = features
        self._strengths = strengths
        self._n_factors = n_factors
        self._unrated = np.flatnonzero(weights == 0)
        n_rows, n_features = features.matrix.shape
        self.factors = np.zeros((n_features, n_factors))
        self.bias = np.zeros(n_features)
        self.mean = aligned_zeros((n_rows, width), dtype)
        self.bias_mean = np.zeros(n_rows if use_bias else 0, dtype)
        feature_reg = strengths.feature_reg
        self._ridge = Ridge(features.matrix, weights, strengths.reg, feature_reg)
        self._bias_ridge: Ridge | None = None
        if use_bias and strengths.reg_bias == strengths.reg:
            self._bias_ridge = self._ridge
        elif use_bias and strengths.reg_bias > 0:
            self._bias_ridge = Ridge(features.matrix, weights, strengths.reg_bias, feature_reg)

    def learn(self, rows: np.ndarray, bias: np.ndarray) -> None:
        """Fit B and β to the rows as they are."""
        k = self._n_factors
        self.factors = self._rounded(self._ridge.solve(rows[:, :k], self.factors))
        if self._bias_ridge is not None:
            solved = self._bias_ridge.solve(bias[:, np.newaxis], self.bias[:, np.newaxis])
            self.bias = self._rounded(solved[:, 0])
        self._predict()

    def _rounded(self, coefficients: np.ndarray) -> np.ndarray:
        """Return what the fitted model will hold, so that it predicts the very rows of training."""
        return coefficients.astype(self.mean.dtype).astype(np.float64)

    def follow(
        self,
        problem: Problem,
        side: Side,
        fixed: tuple[np.ndarray, np.ndarray],
        rows: np.ndarray,
        bias: np.ndarray,
    ) -> None:
        """Fit B and β to the ratings, the residuals of the rows held: a few conjugate gradient steps.

        Each costs a pass over the ratings. Rows move with their means, and the objective never rises.
        """
        matrix, k = self.features.matrix, self._n_factors
        feature_reg = self._strengths.feature_reg
        n_columns = k + (len(bias) > 0)

        def pulls(
            seen: Side, own: np.ndarray, own_bias: np.ndarray, other_bias: np.ndarray, mean: float
        ) -> np.ndarray:
            """Return Fᵀ of the gradient in the rows, biases last."""
            gradient, bias_gradient = np.zeros_like(rows), np.zeros_like(bias)
            sums = np.zeros((2, len(side.chunks) - 1))
            problem.sweep(
                kernels.residual_gradient,
                seen,
                (own, own_bias, fixed[0], other_bias, mean, 0.0, 0.0, 0.0, gradient, bias_gradient),
                (sums[0], sums[1]),
                4.0 * k,
            )
            total = np.empty((matrix.shape[1], n_columns))
            total[:, :k] = matrix.T @ gradient[:, :k].astype(np.float64)
            if len(bias):
                total[:, k] = matrix.T @ bias_gradient.astype(np.float64)
            return total

        def moved(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            """Return what a change of B and β does to the rows."""
            own, own_bias = np.zeros_like(rows), np.zeros_like(bias)
            own[:, :k] = matrix @ direction[:, :k]
            if len(bias):
                own_bias[:] = matrix @ direction[:, k]
            return own, own_bias

        nothing = replace(side, values=np.zeros_like(side.values))
        no_bias = np.zeros_like(fixed[1])
        current = np.column_stack([self.factors, self.bias])[:, :n_columns]
        residual = -pulls(side, rows, bias, fixed[1], problem.mean) - feature_reg * current
        counts = (matrix.multiply(matrix).T @ side.counts.astype(np.float64))[:, np.newaxis]
        squares = np.square(fixed[0][:, :k], dtype=np.float64)
        spread = np.ones(n_columns)
        spread[:k] = np.bincount(side.indices, minlength=len(squares)) @ squares / len(side.indices)
        inverse = 1 / (counts * spread + feature_reg)
        change = np.zeros_like(current)
        z = inverse * residual
        direction = z.copy()
        size = float(np.vdot(residual, z))
        for _ in range(_FOLLOWING_STEPS):
            if not size > 0:
                break
            product = pulls(nothing, *moved(direction), no_bias, 0.0) + feature_reg * direction
            step = size / float(np.vdot(direction, product))
            change += step * direction
            residual -= step * product
            z = inverse * residual
            before, size = size, float(np.vdot(residual, z))
            direction = z + (size / before) * direction
        rows -= self.mean
        if len(bias):
            bias -= self.bias_mean
        self.factors = self._rounded(self.factors + change[:, :k])
        if len(bias):
            self.bias = self._rounded(self.bias + change[:, k])
        self._predict()
        self.add_to(rows, bias)

    def turn(self, basis: np.ndarray) -> None:
        """Follow the rows when these are multiplied by an orthogonal matrix from the right."""
        k = self._n_factors
        self.factors = self.factors @ basis[:k, :k]
        self._predict()

    def finish(self, rows: np.ndarray, bias: np.ndarray) -> None:
        """Write what is predicted, by the very B and β that the fitted model holds, to rows without ratings."""
        self.factors, self.bias = self._rounded(self.factors), self._rounded(self.bias)
        self._predict()
        self.fill(rows, bias)

    def fill(self, rows: np.ndarray, bias: np.ndarray) -> None:
        """Write what is predicted to rows without ratings."""
        rows[self._unrated] = self.mean[self._unrated]
        if len(bias):
            bias[self._unrated] = self.bias_mean[self._unrated]

    def _predict(self) -> None:
        """Take the means from B and β."""
        matrix, k = self.features.matrix, self._n_factors
        for start in range(0, len(self.mean), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            self.mean[block, :k] = matrix[block] @ self.factors
        if len(self.bias_mean):
            self.bias_mean[:] = matrix @ self.bias

    def centred(
        self,
        side: Side,
        fixed: np.ndarray,
        rows: np.ndarray,
        bias: np.ndarray,
        workers: Workers,
    ) -> Side:
        """Turn rows into residuals, and return what the prior leaves of their ratings."""
        rows -= self.mean
        if len(bias):
            bias -= self.bias_mean
        predicted = np.empty_like(side.values)
        nothing = np.zeros(len(fixed) if len(bias) else 0, fixed.dtype)

        def work(chunk: int) -> None:
            first, last = side.chunks[chunk], side.chunks[chunk + 1]
            cells = slice(side.indptr[first], side.indptr[last])
            own = np.repeat(np.arange(first, last), side.counts[first:last])
            kernels.predict_pairs(
                own, side.indices[cells].astype(np.int64), self.mean, fixed, self.bias_mean, nothing, 0.0,
                predicted[cells],
            )  # fmt: skip

        in_shares(workers, len(side.chunks) - 1, work, 2.0 * self._n_factors * len(side.indices))
        return replace(side, values=np.subtract(side.values, predicted, out=predicted))

    def add_to(self, rows: np.ndarray, bias: np.ndarray) -> None:
        """Turn residuals into rows."""
        rows += self.mean
        if len(bias):
            bias += self.bias_mean

    def penalty(self) -> float:
        """Return λ_B (‖B‖² + ‖β‖²)."""
        squares = float(np.vdot(self.factors, self.factors)) + float(self.bias @ self.bias)
        return self._strengths.feature_reg * squares

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of B and β."""
        return self.factors.copy(), self.bias.copy()


class Priors(dict[str, FeaturePrior]):
    """The priors of the sides that have features: ``"user"``, ``"item"``, both or none."""

    def finish(self, factors: Factors) -> None:
        """See `FeaturePrior.finish`."""
        for what, prior in self.items():
            prior.finish(*_side(factors, what))

    def filled(self, factors: Factors) -> Factors:
        """Return factors in which rows without ratings are what is predicted of them."""
        if not self:
            return factors
        complete = factors.copy()
        for what, prior in self.items():
            prior.fill(*_side(complete, what))
        return complete


def _side(factors: Factors, what: str) -> tuple[np.ndarray, np.ndarray]:
    users = factors.user, factors.user_bias
    return users if what == "user" else (factors.item, factors.item_bias)


class Iterate:
    """Factors and what their priors are made of, as one thing to be kept and restored."""

    def __init__(
        self,
        factors: Factors,
        priors: Priors,
        kept: dict[str, tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> None:
        self._factors = factors
        self._priors = priors
        self._kept = kept

    def copy(self) -> Self:
        """Return an independent copy."""
        coefficients = {name: prior.coefficients() for name, prior in self._priors.items()}
        return type(self)(self._factors.copy(), self._priors, coefficients)

    def assign(self, other: Self) -> None:
        """Take over the values of a copy."""
        self._factors.assign(other._factors)
        for name, (factors, bias) in (other._kept or {}).items():
            prior = self._priors[name]
            prior.factors, prior.bias = factors, bias
