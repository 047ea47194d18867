"""Fixtures shared by all tests, and the proof that they test what is installed."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # there are as many workers as processors already
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cymf

_REPOSITORY = Path(__file__).resolve().parents[1]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts what is in the background so
    signal.signal(signal.SIGINT, signal.default_int_handler)

with contextlib.suppress(ModuleNotFoundError):  # some of the tests do without
    from hypothesis import HealthCheck, settings

    # A machine may be slow, an emulated one very slow: an example that takes long is no failure.
    settings.register_profile("cymf", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("cymf")

os.environ["PYTHONSAFEPATH"] = (
    "1"  # nor may the source folder shadow it in the processes that tests start
)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse to test the source folder where the installed package is meant (CYMF_REQUIRE_INSTALLED)."""
    package = Path(cymf.__file__).resolve().parent
    if os.environ.get("CYMF_REQUIRE_INSTALLED") and package.parent == _REPOSITORY:
        pytest.exit(
            f"cymf was imported from the source folder {package}, not from an installation", 3
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest first, so that several workers end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_report_header() -> str:
    from cymf._kernels import simd_level

    return f"cymf {cymf.__version__} from {Path(cymf.__file__).parent}, SIMD level {simd_level()}"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with the real data sets, named by CYMF_DATA; skips without it."""
    folder = Path(os.environ.get("CYMF_DATA", _REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found in {folder}: set CYMF_DATA to a folder that holds it")
    return folder
