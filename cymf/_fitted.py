"""What an estimator has learnt, and the attributes that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cymf._errors import NotFittedError
from cymf._parameters import Parameterized

if TYPE_CHECKING:
    from cymf._ids import IdMap
    from cymf._state import FittedState

__all__ = ["Fitted"]


class Fitted(Parameterized):
    """An object with parameters and, after training, a state.

    Attributes that end in an underscore raise NotFittedError before; it is an AttributeError, so
    that ``hasattr`` says whether they are there.
    """

    _state: FittedState | None = None

    def _publish(self, state: FittedState) -> None:
        """Make `state` what this model knows, for all readers at once."""
        self._state = state

    def _fitted(self) -> FittedState:
        """Return the state; to be called once by each public method."""
        state = self._state
        if state is None:
            name = type(self).__name__
            raise NotFittedError(f"this {name} is not fitted yet; call fit(ratings) first")
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return self._state is not None

    @property
    def user_ids_(self) -> IdMap | None:
        """Ids of the users in the order of the rows, as `Ratings.user_ids`; None where they are the row numbers.

        ``user_ids_.ids`` is the array of ids, ``user_ids_.to_index(["ann"])`` are their rows in `user_factors_`.
        """
        return self._fitted().user_ids

    @property
    def item_ids_(self) -> IdMap | None:
        """Ids of the items, as `user_ids_`."""
        return self._fitted().item_ids

    @property
    def user_factors_(self) -> np.ndarray:
        """User factors, a read-only array of shape (n_users, n_factors)."""
        return self._fitted().user_factors

    @property
    def item_factors_(self) -> np.ndarray:
        """Item factors, a read-only array of shape (n_items, n_factors)."""
        return self._fitted().item_factors

    @property
    def W_(self) -> np.ndarray:
        """The left factor of A ≈ W H: `user_factors_`."""
        return self._fitted().user_factors

    @property
    def H_(self) -> np.ndarray:
        """The right factor of A ≈ W H: `item_factors_` transposed, (n_factors, n_items)."""
        return self._fitted().item_factors.T

    @property
    def user_bias_(self) -> np.ndarray | None:
        """User biases, a read-only array of shape (n_users,); None without biases."""
        return self._fitted().user_bias

    @property
    def item_bias_(self) -> np.ndarray | None:
        """Item biases, a read-only array of shape (n_items,); None without biases."""
        return self._fitted().item_bias

    @property
    def global_mean_(self) -> float:
        """The mean μ that predictions start from; 0 in a model without biases."""
        return self._fitted().global_mean

    @property
    def history_(self) -> dict[str, list[float]]:
        """One number an iteration under each name, NaN where it was not measured; a copy."""
        return {name: list(values) for name, values in self._fitted().history.items()}

    @property
    def n_iter_(self) -> int:
        """Finished iterations."""
        return self._fitted().n_iter

    @property
    def stop_reason_(self) -> str:
        """Why training ended: "max_iter", "tol", "patience", "callback", "interrupted", "stalled"."""
        return self._fitted().stop_reason
