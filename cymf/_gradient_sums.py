"""AdaGrad's sums of squared gradients, of users and of items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cymf._factors import Factors

__all__ = ["GradientSums"]

_NAMES = ("user_gradient_sums", "item_gradient_sums")


class GradientSums:
    """One sum for each coordinate, or for each row, and one for each bias; ones at first.

    Parameters
    ----------
    step_rule : int
        Of the kernels: 0 keeps none, 1 a sum a row, 2 a sum a coordinate.
    factors : Factors
        Whose rows are trained.
    known : mapping of str to ndarray
        Sums to go on from, of the first rows, as `named` returns them. Those of another rule are passed over.

    Attributes
    ----------
    both : pair of ndarray, shapes (n_users, sums) and (n_items, sums)
        Where there are none, of shape (0, 0).
    """

    def __init__(self, step_rule: int, factors: Factors, known: Mapping[str, np.ndarray]) -> None:
        dtype = factors.flat.dtype
        columns = (0, 2, factors.n_factors + 1)[step_rule]
        both = []
        for name, rows in zip(_NAMES, (factors.user, factors.item), strict=True):
            sums = np.ones((len(rows) if columns else 0, columns), dtype)
            old = known.get(name)
            if columns and old is not None and old.shape[1] == columns:
                sums[: len(old)] = old
            both.append(sums)
        self.both = both[0], both[1]

    def named(self) -> dict[str, np.ndarray]:
        """Return copies under the names by which a fitted state keeps them; nothing where there are none."""
        return {
            name: sums.copy() for name, sums in zip(_NAMES, self.both, strict=True) if len(sums)
        }
