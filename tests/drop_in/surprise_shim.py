"""A pytest plugin: Surprise's own tests get cymf's drop-ins, in exact mode unless CYMF_SURPRISE_EXACT=0.

The fixtures are those that Surprise's tests ask for; its distribution has neither them nor their data.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import cymf.compat.surprise as drop_in

EXACT = os.environ.get("CYMF_SURPRISE_EXACT", "1") == "1"


class SVD(drop_in.SVD):
    def __init__(self, *arguments: Any, exact: bool = EXACT, **named: Any) -> None:
        super().__init__(*arguments, exact=exact, **named)


class SVDpp(drop_in.SVDpp):
    def __init__(self, *arguments: Any, exact: bool = EXACT, **named: Any) -> None:
        super().__init__(*arguments, exact=exact, **named)


class NMF(drop_in.NMF):
    def __init__(self, *arguments: Any, exact: bool = EXACT, **named: Any) -> None:
        super().__init__(*arguments, exact=exact, **named)


for module in ("surprise", "surprise.prediction_algorithms"):
    for stand_in in (SVD, SVDpp, NMF):
        setattr(import_module(module), stand_in.__name__, stand_in)

surprise = import_module("surprise")


@pytest.fixture
def toy_data_reader() -> Any:
    return surprise.Reader(
        line_format="user item rating", sep=" ", skip_lines=3, rating_scale=(1, 5)
    )


@pytest.fixture
def toy_data(toy_data_reader: Any) -> Any:
    return surprise.Dataset.load_from_file(str(Path("custom_dataset").resolve()), toy_data_reader)


@pytest.fixture
def u1_ml100k() -> Any:
    folds = [(str(Path("u1_ml100k_train").resolve()), str(Path("u1_ml100k_test").resolve()))]
    return surprise.Dataset.load_from_folds(folds, surprise.Reader("ml-100k"))


@pytest.fixture
def small_ml() -> Any:
    path = str(Path("u1_ml100k_test").resolve())
    return surprise.Dataset.load_from_file(path, surprise.Reader("ml-100k"))


@pytest.fixture
def pkf() -> Any:
    return import_module("surprise.model_selection").PredefinedKFold()
