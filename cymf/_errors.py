"""Exceptions and warnings that cymf raises beside ValueError and TypeError."""

from __future__ import annotations

__all__ = [
    "ConvergenceWarning",
    "DivergenceError",
    "ModelFileError",
    "NotFittedError",
    "UnknownIdError",
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
    """Training stopped before its tolerance was reached, or was interrupted."""
