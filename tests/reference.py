"""Slow twins: every formula of the solvers, as it is read, in float64 and without any trick.

The objective, over the observed cells Omega, n being the number of ratings of a row or column:

    1/2 sum_Omega c_ij (a_ij - mean - b_i - b_j - w_i.h_j)^2
      + 1/2 sum_i n_i^nu (reg |w_i|^2 + reg_bias b_i^2)
      + 1/2 sum_j n_j^nu (reg |h_j|^2 + reg_bias b_j^2)

Rows without ratings are zero and take no part (0^0 counts as 0 here).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Cells:
    """Observed cells: ``values[t]``, of weight ``weights[t]``, at ``(users[t], items[t])``."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    values: Array
    weights: Array
    shape: tuple[int, int]

    @property
    def user_counts(self) -> Array:
        return np.bincount(self.users, minlength=self.shape[0]).astype(np.float64)

    @property
    def item_counts(self) -> Array:
        return np.bincount(self.items, minlength=self.shape[1]).astype(np.float64)

    @property
    def mean(self) -> float:
        return float(np.sum(self.weights * self.values) / np.sum(self.weights))

    def __repr__(self) -> str:
        return f"Cells({len(self.values)} of {self.shape})"

    def transposed(self) -> Cells:
        return replace(self, users=self.items, items=self.users, shape=self.shape[::-1])


@dataclass(frozen=True)
class Penalty:
    """Regularization: ``reg`` of factors, ``reg_bias`` of biases, both times n^``exponent``."""

    reg: float
    reg_bias: float
    exponent: float = 0.0

    def scale(self, counts: Array) -> Array:
        """n^nu, and zero for rows without ratings."""
        return np.where(counts > 0, np.maximum(counts, 1) ** self.exponent, 0.0)

    def share(self, counts: Array) -> Array:
        """n^(nu - 1): what one rating of a row carries of the row's penalty."""
        return np.where(counts > 0, np.maximum(counts, 1) ** (self.exponent - 1), 0.0)


@dataclass(frozen=True, repr=False)
class Factors:
    """``users`` (N, k), ``items`` (M, k), and biases (N,), (M,), zero where a model has none."""

    users: Array
    items: Array
    user_bias: Array
    item_bias: Array
    mean: float = 0.0

    @classmethod
    def without_bias(cls, users: Array, items: Array, mean: float = 0.0) -> Factors:
        return cls(users, items, np.zeros(len(users)), np.zeros(len(items)), mean)

    def __repr__(self) -> str:
        return f"Factors(users {self.users.shape}, items {self.items.shape}, mean {self.mean})"

    def _repr_pretty_(
        self, printer: object, cycle: bool
    ) -> None:  # hypothesis would print every array
        printer.text(repr(self))  # type: ignore[attr-defined]

    def copy(self) -> Factors:
        arrays = (self.users, self.items, self.user_bias, self.item_bias)
        return Factors(*(np.array(a, dtype=np.float64) for a in arrays), self.mean)

    def transposed(self) -> Factors:
        return Factors(self.items, self.users, self.item_bias, self.user_bias, self.mean)


# ---- predictions, objective, gradient ------------------------------------------------------------


def full_matrix(model: Factors) -> Array:
    """The whole N x M matrix of predictions."""
    return (
        model.mean
        + model.user_bias[:, np.newaxis]
        + model.item_bias[np.newaxis, :]
        + np.einsum("if,jf->ij", model.users, model.items)
    )


def predictions(model: Factors, users: Iterable[int], items: Iterable[int]) -> Array:
    """mean + b_i + b_j + w_i.h_j of each pair; a row -1 is unknown and its terms are left out."""
    answer = []
    for i, j in zip(users, items, strict=True):
        p = model.mean
        if i >= 0:
            p += model.user_bias[i]
        if j >= 0:
            p += model.item_bias[j]
        if i >= 0 and j >= 0:
            p += sum(w * h for w, h in zip(model.users[i], model.items[j], strict=True))
        answer.append(p)
    return np.array(answer, dtype=np.float64)


def errors(cells: Cells, model: Factors) -> Array:
    """a_ij - prediction of every observed cell."""
    return cells.values - predictions(model, cells.users, cells.items)


def squared_error(cells: Cells, model: Factors) -> float:
    """sum c e^2"""
    return float(np.sum(cells.weights * errors(cells, model) ** 2))


def penalty_of_rows(factors: Array, bias: Array, counts: Array, penalty: Penalty) -> float:
    """sum over rows of n^nu (reg |w|^2 + reg_bias b^2)"""
    squares = penalty.reg * np.sum(factors**2, axis=1) + penalty.reg_bias * bias**2
    return float(np.sum(penalty.scale(counts) * squares))


def objective(cells: Cells, model: Factors, penalty: Penalty) -> float:
    return 0.5 * (
        squared_error(cells, model)
        + penalty_of_rows(model.users, model.user_bias, cells.user_counts, penalty)
        + penalty_of_rows(model.items, model.item_bias, cells.item_counts, penalty)
    )


def gradient(cells: Cells, model: Factors, penalty: Penalty) -> Factors:
    """Gradient of the objective: E V, E' U and E 1, E' 1, each with the penalty's part."""
    residual = np.zeros(cells.shape)  # E = prediction - rating, zero where nothing is observed
    np.add.at(residual, (cells.users, cells.items), -cells.weights * errors(cells, model))
    user_scale, item_scale = penalty.scale(cells.user_counts), penalty.scale(cells.item_counts)
    return Factors(
        residual @ model.items + penalty.reg * user_scale[:, np.newaxis] * model.users,
        residual.T @ model.users + penalty.reg * item_scale[:, np.newaxis] * model.items,
        residual.sum(axis=1) + penalty.reg_bias * user_scale * model.user_bias,
        residual.sum(axis=0) + penalty.reg_bias * item_scale * model.item_bias,
    )


def relative_change(before: Factors, after: Factors) -> float:
    """|A(t) - A(t-1)|_F / |A(t)|_F of the full matrices of predictions."""
    difference = full_matrix(after) - full_matrix(before)
    return float(np.linalg.norm(difference) / np.linalg.norm(full_matrix(after)))


# ---- ALS -----------------------------------------------------------------------------------------


def least_squares_rows(
    rated: Array, target: Array, weights: Array, reg: float, reg_bias: float | None
) -> tuple[Array, Array]:
    """The row's system as plain least squares: [sqrt(c) X; sqrt(reg) I] x = [sqrt(c) y; 0].

    ``rated`` (n, k), ``target`` (n,) = a - mean - b_j; a column of ones is the bias, unless
    ``reg_bias`` is None. ``reg`` and ``reg_bias`` are already times n^nu.
    """
    columns = rated if reg_bias is None else np.column_stack([rated, np.ones(len(rated))])
    k = rated.shape[1]
    diagonal = np.sqrt([reg] * k + ([] if reg_bias is None else [reg_bias]))
    root = np.sqrt(weights)
    matrix = np.vstack([root[:, np.newaxis] * columns, np.diag(diagonal)])
    return matrix, np.concatenate([root * target, np.zeros(len(diagonal))])


def als_row(
    rated: Array, target: Array, weights: Array, reg: float, reg_bias: float | None
) -> Array:
    """x = [w, b] of one row, from (X'CX + reg) x = X'C y; arguments as in `least_squares_rows`."""
    matrix, right = least_squares_rows(rated, target, weights, reg, reg_bias)
    return np.linalg.solve(matrix.T @ matrix, matrix.T @ right)


def als_cg_row(
    rated: Array,
    target: Array,
    weights: Array,
    reg: float,
    reg_bias: float | None,
    mean_squares: Array,
    start: Array,
    steps: int,
) -> Array:
    """[w, b] after some steps of preconditioned conjugate gradients on the row's normal equations."""
    matrix, right = least_squares_rows(rated, target, weights, reg, reg_bias)
    gram, n = matrix.T @ matrix, len(rated)
    diagonal = n * mean_squares + reg
    diagonal = diagonal if reg_bias is None else np.append(diagonal, n + reg_bias)
    x = np.array(start, dtype=np.float64)
    residual = matrix.T @ right - gram @ x
    z = residual / diagonal
    direction = z
    for _ in range(steps):
        if residual @ z == 0:
            break
        a = (residual @ z) / (direction @ gram @ direction)
        x = x + a * direction
        new = residual - a * gram @ direction
        new_z = new / diagonal
        direction = new_z + (new @ new_z) / (residual @ z) * direction
        residual, z = new, new_z
    return x


def als_subspace_row(
    rated: Array,
    target: Array,
    weights: Array,
    reg: float,
    reg_bias: float | None,
    start: Array,
    block_size: int,
) -> Array:
    """[w, b] after every block of factors, and the bias with each, was minimized in its turn."""
    matrix, right = least_squares_rows(rated, target, weights, reg, reg_bias)
    x, k = np.array(start, dtype=np.float64), rated.shape[1]
    for first in range(0, k, block_size):
        block = list(range(first, min(first + block_size, k))) + list(range(k, len(x)))
        x[block] = 0
        part = matrix[:, block]
        x[block] = np.linalg.solve(part.T @ part, part.T @ (right - matrix @ x))
    return x


def minimum_norm_row(
    rated: Array,
    target: Array,
    weights: Array,
    reg: float,
    reg_bias: float | None,
    rcond: float | None = None,
) -> Array:
    """The shortest least-squares solution of one row; arguments as in `least_squares_rows`."""
    matrix, right = least_squares_rows(rated, target, weights, reg, reg_bias)
    return np.linalg.lstsq(matrix, right, rcond=rcond)[0]


def als_half_sweep(
    cells: Cells,
    model: Factors,
    penalty: Penalty,
    use_bias: bool,
    epsilon: float = np.finfo(np.float64).eps,
) -> Factors:
    """Every user row solved exactly, the items fixed; the shortest where a row leaves freedom.

    Singular values below ``epsilon`` times the number of equations, relative to the largest, are
    none: the rounding of the given factors.
    """
    model = model.copy()
    scale = penalty.scale(cells.user_counts)
    for i in range(cells.shape[0]):
        of_row = np.flatnonzero(cells.users == i)
        model.users[i] = 0
        model.user_bias[i] = 0
        if len(of_row) == 0:
            continue
        items = cells.items[of_row]
        target = cells.values[of_row] - model.mean - model.item_bias[items]
        solution = minimum_norm_row(
            model.items[items],
            target,
            cells.weights[of_row],
            penalty.reg * scale[i],
            penalty.reg_bias * scale[i] if use_bias else None,
            epsilon * (len(of_row) + model.users.shape[1] + use_bias),
        )
        model.users[i] = solution[: model.users.shape[1]]
        if use_bias:
            model.user_bias[i] = solution[-1]
    return model


def als_sweep(cells: Cells, model: Factors, penalty: Penalty, use_bias: bool) -> Factors:
    """Users from the items, then items from the users."""
    model = als_half_sweep(cells, model, penalty, use_bias)
    return als_half_sweep(cells.transposed(), model.transposed(), penalty, use_bias).transposed()


# ---- SGD -----------------------------------------------------------------------------------------


def rating_gradients(
    cells: Cells, model: Factors, penalty: Penalty, t: int
) -> tuple[Array, Array, float, float, float]:
    """Gradients of the t-th rating's part of the objective in w_i, h_j, b_i, b_j, and its error."""
    i, j = cells.users[t], cells.items[t]
    w, h = model.users[i], model.items[j]
    e = cells.values[t] - model.mean - model.user_bias[i] - model.item_bias[j] - np.sum(w * h)
    ce = cells.weights[t] * e
    share_i = penalty.share(cells.user_counts)[i]
    share_j = penalty.share(cells.item_counts)[j]
    return (
        penalty.reg * share_i * w - ce * h,
        penalty.reg * share_j * h - ce * w,
        penalty.reg_bias * share_i * model.user_bias[i] - ce,
        penalty.reg_bias * share_j * model.item_bias[j] - ce,
        float(e),
    )


def sgd_epoch(
    cells: Cells,
    model: Factors,
    penalty: Penalty,
    rate: float,
    order: Iterable[int],
    use_bias: bool,
) -> tuple[Factors, Array]:
    """One plain step a rating, both rows from their old values; and the errors before each step."""
    model = model.copy()
    before = np.zeros(len(cells.values))
    for t in order:
        i, j = cells.users[t], cells.items[t]
        gw, gh, gb, gc, before[t] = rating_gradients(cells, model, penalty, t)
        model.users[i] -= rate * gw
        model.items[j] -= rate * gh
        if use_bias:
            model.user_bias[i] -= rate * gb
            model.item_bias[j] -= rate * gc
    return model, before


def adagrad_epoch(
    cells: Cells,
    model: Factors,
    penalty: Penalty,
    rate: float,
    order: Iterable[int],
    use_bias: bool,
    sums: Factors,
    by_row: bool,
) -> tuple[Factors, Factors, Array]:
    """Steps of rate / sqrt(sum of squared gradients so far, this one included).

    ``sums`` has the model's shape: a sum for every coordinate. ``by_row``: all coordinates of a row
    share the sum of the mean squares, held in every column alike. A bias has its own either way.
    """
    model, sums = model.copy(), sums.copy()
    before = np.zeros(len(cells.values))
    for t in order:
        i, j = cells.users[t], cells.items[t]
        gw, gh, gb, gc, before[t] = rating_gradients(cells, model, penalty, t)
        sums.users[i] += np.mean(gw**2) if by_row else gw**2
        sums.items[j] += np.mean(gh**2) if by_row else gh**2
        model.users[i] -= rate / np.sqrt(sums.users[i]) * gw
        model.items[j] -= rate / np.sqrt(sums.items[j]) * gh
        if use_bias:
            sums.user_bias[i] += gb**2
            sums.item_bias[j] += gc**2
            model.user_bias[i] -= rate / np.sqrt(sums.user_bias[i]) * gb
            model.item_bias[j] -= rate / np.sqrt(sums.item_bias[j]) * gc
    return model, sums, before


def turns(runs: list[list[int]], seats: int = 8) -> list[int]:
    """Order in which the ratings of several users take turns.

    ``runs`` are the users' ratings. Each of the ``seats`` holds one user; seats are served round
    and round, one rating each. A user who has none left gives the seat to the next waiting; when
    none waits, to the one in the last seat, who is served at once.
    """
    seated = [list(run) for run in runs[:seats]]
    waiting = [list(run) for run in runs[seats:]]
    order: list[int] = []
    seat = 0
    while seated:
        order.append(seated[seat].pop(0))
        if seated[seat]:
            seat += 1
        elif waiting:
            seated[seat] = waiting.pop(0)
            seat += 1
        else:
            last = seated.pop()
            if seat < len(seated):
                seated[seat] = last
        if seat >= len(seated):
            seat = 0
    return order
