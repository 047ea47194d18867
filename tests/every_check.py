"""scikit-learn's checks as parameters of a test."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks


def by_checks_of(
    estimators: Sequence[Any], expected_failures: Callable[[Any], dict[str, str]]
) -> pytest.MarkDecorator:
    """As `parametrize_with_checks`, without its warning that cymf's estimators do not inherit from BaseEstimator.

    Older releases make the checks, and warn, only when they are drawn, and pytest wants a list of them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not inherit from .*BaseEstimator")
        mark = parametrize_with_checks(
            list(estimators), expected_failed_checks=expected_failures
        ).mark
        names, checks = mark.args
        return pytest.mark.parametrize(names, list(checks), **mark.kwargs)
