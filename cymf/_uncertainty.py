"""How sure a model is: standard deviations of predictions, and where they come from."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cymf._validation import check_choice

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = ["Posterior", "deviations", "interval", "posterior_of"]

KINDS = ("predictive", "latent")


class Posterior(Protocol):
    """What a fitted model knows of its own uncertainty.

    Attributes
    ----------
    noise_variance : float
        σ²: variance of a rating of weight 1 around its expected value.
    """

    @property
    def noise_variance(self) -> float: ...

    def latent_variances(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return variances of the expected ratings of pairs of row numbers in float64; -1 is unknown."""

    def sampled_scores(
        self, rows: np.ndarray, streams: np.ndarray, seed: int, scale: float
    ) -> np.ndarray:
        """Return a draw of the scores of all items for each user.

        Parameters
        ----------
        rows : ndarray of int64, shape (n,)
            The users; -1 is unknown.
        streams : ndarray of int64, shape (n,)
            With `seed`, what a user's random numbers depend on.
        scale : float
            Times the standard deviation.

        Returns
        -------
        ndarray of shape (n, n_items), in the dtype of the model
        """


def posterior_of(model: Any, state: FittedState) -> Posterior:
    """Return what a model knows of its uncertainty.

    Raises
    ------
    TypeError
        If it knows nothing.
    """
    maker = getattr(model, "_posterior", None)
    if maker is None:
        raise TypeError(
            f"{type(model).__name__} does not know the uncertainty of its predictions; ALS, ImplicitALS and "
            "BayesianMF do"
        )
    posterior: Posterior = maker(state)
    return posterior


def deviations(
    model: Any, state: FittedState, users: np.ndarray, items: np.ndarray, kind: str
) -> np.ndarray:
    """Return standard deviations of predictions of pairs of row numbers, -1 being unknown, in the model's dtype."""
    check_choice("std", kind, KINDS)
    posterior = posterior_of(model, state)
    variances = posterior.latent_variances(users, items)
    if kind == "predictive":
        variances = variances + posterior.noise_variance
    found: np.ndarray = np.sqrt(variances).astype(state.dtype)
    return found


def interval(
    state: FittedState, prediction: Any, deviation: Any, level: Any, clip: bool
) -> tuple[Any, Any]:
    """Return prediction ± z deviation, z being the normal distribution's for this level."""
    if isinstance(level, (bool, np.bool_)) or not isinstance(level, (int, float, np.floating)):
        raise TypeError(f"level={level!r} is a {type(level).__name__}; expected a number in (0, 1)")
    if not 0 < level < 1:
        raise ValueError(f"level={level!r} is out of range; expected a number in (0, 1)")
    z = NormalDist().inv_cdf(0.5 + float(level) / 2)
    low, high = prediction - z * deviation, prediction + z * deviation
    if clip:
        low, high = (np.clip(bound, *state.rating_range) for bound in (low, high))
    return (float(low), float(high)) if np.ndim(low) == 0 else (low, high)
