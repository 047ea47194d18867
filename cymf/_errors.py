"""Exceptions and warnings that cymf raises beside ValueError and TypeError."""

from __future__ import annotations

import sys
import warnings

__all__ = [
    "ConvergenceWarning",
    "CymfWarning",
    "DataTermsWarning",
    "DivergenceError",
    "FeatureNamesWarning",
    "ModelFileError",
    "NotFittedError",
    "UnknownIdError",
    "warn_caller",
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


class CymfWarning(UserWarning):
    """The base of all warnings of cymf, to filter them by: each has a class of its own below it.

    All of them point at the line outside cymf that led to them.

    Examples
    --------
    >>> import warnings
    >>> import cymf
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", cymf.CymfWarning)  # stop at the first
    ...     model = cymf.SGD(2, max_iter=3).fit([[5.0, 1.0], [4.0, 2.0]])
    """


class ConvergenceWarning(CymfWarning):
    """Training was interrupted, or diverged and went back to a smaller learning rate."""


class FeatureNamesWarning(CymfWarning):
    """A table has names of columns where a `FactorizationMachine` was fitted without, or the other way round."""


class DataTermsWarning(CymfWarning):
    """A published data set is about to be downloaded, and these are its terms of use: said once a download."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Issue a warning that points at the line outside cymf from which it was called."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_own(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_own(module: str) -> bool:
    return module == "cymf" or module.startswith("cymf.")
