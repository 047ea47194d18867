"""Threads over kernels that hold no GIL: how many, how work is cut, and BLAS kept out of the way.

Work is cut into chunks of rows whose borders depend on the data alone. Workers stay in C and draw chunks from one
counter, so that a half-sweep costs one call a worker, and results do not depend on who did what.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController, _ThreadpoolLimiter

__all__ = [
    "Workers",
    "available_threads",
    "equal_work_chunks",
    "in_shares",
    "single_threaded_blas",
    "useful_threads",
]

_SMALL_WORK = (
    2_000_000  # floating-point operations below which waking a thread costs more than it saves
)
_CHUNKS = 256
_FEW_ROWS = 64  # each a chunk of its own, without further ado


def available_threads() -> int:
    """Return the number of processors this process may use."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def useful_threads(wanted: int) -> int:
    """Return a number of threads, or the most that find work: each has memory of its own."""
    return min(wanted, max(_CHUNKS, available_threads()))


def equal_work_chunks(indptr: np.ndarray, work_per_row: float) -> np.ndarray:
    """Cut rows into at most 256 runs of about equal work.

    A row's work is its number of ratings plus `work_per_row`. The borders, an int64 array that starts with 0 and ends
    with the number of rows, depend on the data alone.
    """
    n_rows = len(indptr) - 1
    if n_rows <= _FEW_ROWS:
        return np.arange(n_rows + 1, dtype=np.int64)
    work = indptr + work_per_row * np.arange(n_rows + 1)
    borders = np.searchsorted(work, np.linspace(0, work[-1], _CHUNKS + 1)[1:-1])
    return np.unique(np.concatenate([[0], borders, [n_rows]]).astype(np.int64))


class Workers:
    """The threads of one ``fit``; the caller's is one of them.

    Parameters
    ----------
    n_threads : int
        At least 1. Threads are made when first needed and end with the ``with`` block.

    Notes
    -----
    Thread safety: one `Workers` belongs to one thread that calls `run`.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, work: Callable[[int], object], operations: float = np.inf) -> None:
        """Call ``work(0)``, ``work(1)``, … at once, one call a thread; return when all have.

        Parameters
        ----------
        work : callable
            Takes the worker's number and draws what it does from a counter that all share, so that it does not matter
            how many of the calls really run at the same time.
        operations : float
            An estimate of the floating-point operations; small work is done by the caller alone.
        """
        if self.n_threads == 1 or operations <= _SMALL_WORK:
            work(0)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.n_threads - 1, thread_name_prefix="cymf")
        others = [self._pool.submit(work, number) for number in range(1, self.n_threads)]
        try:
            work(0)
        finally:
            wait(others)
        for other in others:
            other.result()


def in_shares(
    workers: Workers, n_shares: int, work: Callable[[int], None], operations: float
) -> None:
    """Call ``work(share)`` once for every share, whichever thread comes first."""
    left = deque(range(n_shares))

    def draw(_: int) -> None:
        while True:
            try:
                share = left.popleft()
            except IndexError:
                return
            work(share)

    workers.run(draw, operations)


class _BlasLimit:
    """One thread for BLAS while anyone trains, whatever it was before when the last has finished."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._controller: ThreadpoolController | None = None
        self._limiter: _ThreadpoolLimiter | None = None

    def acquire(self) -> None:
        with self._lock:
            if self._users > 0:
                self._users += 1
                return
            if self._controller is None:
                import scipy.linalg.lapack  # noqa: F401  loads SciPy's BLAS, which the controller must see
                from threadpoolctl import ThreadpoolController

                self._controller = ThreadpoolController()
            self._limiter = self._controller.limit(limits=1, user_api="blas")
            self._users = 1

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._limiter is not None:
                self._limiter.restore_original_limits()
                self._limiter = None

    def reset(self) -> None:
        """Forget all users, in a child of fork: it has inherited their number, but not their threads."""
        self._lock = threading.Lock()
        self._users = 0
        self._limiter = None


_blas_limit = _BlasLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_blas_limit.reset)


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Keep BLAS from starting threads inside ours.

    The limit is the whole process's; concurrent users are counted, and the last one restores what was there before.
    """
    _blas_limit.acquire()
    try:
        yield
    finally:
        _blas_limit.release()
