"""BLAS limits around training."""

from __future__ import annotations

import os

import pytest
import threadpoolctl

from cymf import _parallel


def test_a_limit_that_could_not_be_set_is_not_taken_for_set(monkeypatch):
    monkeypatch.setattr(_parallel, "_blas_limit", _parallel._BlasLimit())

    def fail():
        raise OSError("no libraries")

    with monkeypatch.context() as patch:
        patch.setattr(threadpoolctl, "ThreadpoolController", fail)
        with pytest.raises(OSError, match="no libraries"), _parallel.single_threaded_blas():
            pass
    with threadpoolctl.threadpool_limits(2, "blas"):
        before = threads_of_blas()
        assert set(before) == {2}
        with _parallel.single_threaded_blas():
            assert set(threads_of_blas()) == {1}
        assert threads_of_blas() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_of_fork_sets_its_own_limit():
    with _parallel.single_threaded_blas():
        child = os.fork()
        if child == 0:
            os._exit(_parallel._blas_limit._users)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def threads_of_blas() -> list[int]:
    libraries = threadpoolctl.threadpool_info()
    return [library["num_threads"] for library in libraries if library["user_api"] == "blas"]
