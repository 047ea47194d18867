"""Exceptions and warnings that cymf raises beside ValueError and TypeError."""

from __future__ import annotations

import sys
import warnings

__all__ = [
    "ConvergenceWarning",
    "DivergenceError",
    "ModelFileError",
    "NotFittedError",
    "UnknownIdError",
    "warn_of_convergence",
]


class NotFittedError(ValueError, AttributeError):
    """An estimator was asked for something that only a fitted one knows."""


class UnknownIdError(KeyError):
    """An id was given that did not occur in the training ratings."""

    def __str__(self) -> str:  # KeyError would quote the message like a key
        return str(self.args[0]) if self.args else ""


class DivergenceError(ArithmeticError):
    """Training produced values that are not finite, or errors that only grow."""


class ModelFileError(ValueError):
    """A model file is damaged, foreign, or newer than this version can read."""


class ConvergenceWarning(UserWarning):
    """Training was interrupted, or diverged and went back to a smaller learning rate."""


def warn_of_convergence(message: str) -> None:
    """Issue a ConvergenceWarning that points at the line outside cymf from which training was started."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals["__name__"].partition(".")[0] == "cymf":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, ConvergenceWarning, stacklevel=level)
