"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with the real data sets, named by CYMF_DATA; skips without it."""
    folder = Path(os.environ.get("CYMF_DATA", _DEFAULT_DATA))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}: set CYMF_DATA to a folder that holds it")
    return folder
