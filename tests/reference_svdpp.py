"""The slow twin of the SVD++ kernels: written from the update, batch by batch, in float64."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Model:
    """p (N, k), q and y (M, k), biases and the mean."""

    p: Array
    q: Array
    y: Array
    user_bias: Array
    item_bias: Array
    mean: float = 0.0

    def copy(self) -> Model:
        arrays = (self.p, self.q, self.y, self.user_bias, self.item_bias)
        return Model(*(array.copy() for array in arrays), self.mean)

    def whole_user(self, user: int, members: NDArray[np.integer]) -> Array:
        """v = p + |N|^-1/2 sum y."""
        if len(members) == 0:
            return self.p[user].copy()
        return self.p[user] + self.y[members].sum(axis=0) / np.sqrt(len(members))


@dataclass
class User:
    """Ratings of one user in the order in which they are visited, and N(u)."""

    number: int
    items: list[int]
    values: list[float]
    weights: list[float]
    members: list[int] = field(default_factory=list)


def epoch(
    users: list[User], batch: int, model: Model, rate: float, reg: float, reg_bias: float
) -> tuple[Model, Array]:
    """One epoch. Within a batch users see the items as they were before it; every y takes every step.

    Returns the model, and each user's sum of c e^2, e before each step.
    """
    now = model.copy()
    squared = []
    for start in range(0, len(users), batch):
        before = now.copy()
        changes: list[tuple[str, int, float, Array | float]] = []
        for user in users[start : start + batch]:
            own = before.copy()  # this user's view of the items, y moving with its steps
            root = 1 / np.sqrt(len(user.members))
            total = 0.0
            steps = np.zeros_like(own.p[0])
            for item, value, weight in zip(user.items, user.values, user.weights, strict=True):
                v = own.whole_user(user.number, np.array(user.members))
                bias = own.user_bias[user.number]
                error = value - own.mean - bias - own.item_bias[item] - own.q[item] @ v
                ce = weight * error
                total += ce * error
                old_p, old_q = own.p[user.number].copy(), before.q[item]
                own.user_bias[user.number] += rate * (ce - reg_bias * bias)
                own.p[user.number] += rate * (ce * old_q - reg * old_p)
                for j in user.members:
                    own.y[j] += rate * (ce * root * old_q - reg * own.y[j])
                steps = (1 - rate * reg) * steps + rate * ce * root * old_q
                changes.append(("q", item, 1 - rate * reg, rate * ce * v))
                changes.append(("item_bias", item, 1 - rate * reg_bias, rate * ce))
            shrink = (1 - rate * reg) ** len(user.items)
            changes += [("y", j, shrink, steps) for j in user.members]
            now.p[user.number] = own.p[user.number]
            now.user_bias[user.number] = own.user_bias[user.number]
            squared.append(total)
        for name, row, shrink, change in changes:  # each row's changes, by user
            array = getattr(now, name)
            array[row] = shrink * array[row] + change
    return now, np.array(squared)
