"""cymf: matrix factorization of the ratings that exist, and prediction of those that do not."""

from cymf._errors import (
    ConvergenceWarning,
    DivergenceError,
    ModelFileError,
    NotFittedError,
    UnknownIdError,
)
from cymf._version import __version__

__all__ = [
    "ConvergenceWarning",
    "DivergenceError",
    "ModelFileError",
    "NotFittedError",
    "UnknownIdError",
    "__version__",
]
