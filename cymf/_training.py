"""The loop that all estimators share: history, validation, patience, callback, progress, log, and Ctrl-C."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol, Self

from cymf._errors import ConvergenceWarning, warn_caller
from cymf._fit_log import FitLog, TrainingSize

__all__ = ["Iteration", "TrainingLoop"]


class Restorable(Protocol):
    """What training changes, and can go back to: factors, or these and more."""

    def copy(self) -> Self: ...

    def assign(self, other: Self, /) -> None: ...


@dataclass(frozen=True)
class Iteration:
    """What is known after one iteration; a callback is given it, and ``history_`` keeps it.

    Attributes
    ----------
    iteration : int
        Counted from 1.
    seconds : float
        Time of the iteration, evaluation left out.
    objective : float
        The penalized objective, NaN where it was not computed.
    train_rmse, validation_rmse : float
        Root mean squared errors, NaN where they were not computed and for models of implicit feedback.
    validation_score : float
        The ranking metric of held-out interactions, higher is better; NaN without them and for explicit ratings.
    """

    iteration: int
    seconds: float
    objective: float = math.nan
    train_rmse: float = math.nan
    validation_rmse: float = math.nan
    validation_score: float = math.nan


@dataclass
class TrainingLoop:
    """Counts iterations until something says stop, and keeps the best iterate when patience is given.

    Parameters
    ----------
    name : str
        The estimator's, for messages.
    max_iter : int
        Most iterations.
    patience : int or None
        Iterations without a better validation RMSE, or score, before training stops; the best iterate is restored.
    callback : callable or None
        ``callback(Iteration)``; a true result stops.
    verbose : bool
        Whether to show a progress bar.
    measured : tuple of str
        The numbers of an `Iteration` that ``measure()`` returns, in its order. With ``"validation_score"`` among them
        patience waits for a higher score, otherwise for a lower validation RMSE.
    size : TrainingSize
        What is trained on, for the log.
    task : {"fit", "partial_fit"}
        What is done, for the log.

    Attributes
    ----------
    history : dict of str to list of float
        One number an iteration under each name.
    n_iter : int
        Finished iterations.
    stop_reason : str
        Why training ended.
    """

    name: str
    max_iter: int
    patience: int | None
    callback: Callable[[Iteration], Any] | None
    verbose: bool
    measured: tuple[str, ...] = ("objective", "train_rmse", "validation_rmse")
    history: dict[str, list[float]] = field(init=False)
    size: TrainingSize = field(kw_only=True)
    task: str = field(default="fit", kw_only=True)
    n_iter: int = 0
    stop_reason: str = "max_iter"

    def __post_init__(self) -> None:
        self.history = {name: [] for name in (*self.measured, "seconds")}

    def run(
        self,
        step: Callable[[int], bool],
        measure: Callable[[], tuple[float, ...]],
        factors: Restorable,
    ) -> None:
        """Repeat ``step(iteration) -> converged`` and ``measure()``, which returns what `measured` names."""

        def repeat(finished: Callable[[bool], bool]) -> None:
            for iteration in range(1, self.max_iter + 1):
                if finished(step(iteration)):
                    return

        self.drive(repeat, measure, factors)

    def drive(
        self,
        solver: Callable[[Callable[[bool], bool]], None],
        measure: Callable[[], tuple[float, ...]],
        factors: Restorable,
    ) -> None:
        """Run a solver that repeats itself and calls ``finished(converged) -> stop`` after each iteration."""
        best, best_iteration, kept = math.inf, 0, None
        log = FitLog(self.name, self.task, self.size, self.max_iter)
        with _interrupt_deferred() as interrupted, self._progress() as show:
            started = time.perf_counter()

            def finished(converged: bool) -> bool:
                nonlocal best, best_iteration, kept, started
                seconds = time.perf_counter() - started
                numbers = dict(zip(self.measured, measure(), strict=True))
                record = Iteration(self.n_iter + 1, seconds, **numbers)
                self._remember(record)
                show(record)
                if log.tells_iterations:
                    log.iteration(record.iteration, seconds, numbers)
                if self.patience is not None and self._badness(record) < best:
                    best, best_iteration, kept = self._badness(record), self.n_iter, factors.copy()
                reason = self._reason_to_stop(record, converged, best_iteration, interrupted)
                if reason:
                    self.stop_reason = reason
                started = time.perf_counter()
                return bool(reason)

            solver(finished)
        if kept is not None and best_iteration < self.n_iter:
            factors.assign(kept)
        final = best_iteration or self.n_iter
        if interrupted.is_set():  # perhaps after the last iteration's end
            self.stop_reason = "interrupted"
        log.end(self.n_iter, self.stop_reason, self._measured_at(final), final)
        if interrupted.is_set():
            warn_caller(
                f"{self.name} was interrupted; the model is that of iteration {final} of at most {self.max_iter}",
                ConvergenceWarning,
            )

    def _measured_at(self, iteration: int) -> dict[str, float]:
        return {name: self.history[name][iteration - 1] for name in self.measured if self.n_iter}

    def _badness(self, record: Iteration) -> float:
        scored = "validation_score" in self.measured
        return -record.validation_score if scored else record.validation_rmse

    def _remember(self, record: Iteration) -> None:
        self.n_iter = record.iteration
        for name, values in self.history.items():
            values.append(float(getattr(record, name)))

    def _reason_to_stop(
        self, record: Iteration, converged: bool, best_iteration: int, interrupted: threading.Event
    ) -> str:
        try:
            stop = self.callback is not None and self.callback(record)
        except KeyboardInterrupt:
            interrupted.set()
            stop = False
        if interrupted.is_set():
            return "interrupted"
        if stop:
            return "callback"
        if converged:
            return "tol"
        if self.patience is not None and record.iteration - best_iteration >= self.patience:
            return "patience"
        return ""

    @contextmanager
    def _progress(self) -> Iterator[Callable[[Iteration], None]]:
        if not self.verbose:
            yield lambda record: None
            return
        from tqdm.auto import tqdm

        with tqdm(total=self.max_iter, desc=self.name, unit="it") as bar:

            def show(record: Iteration) -> None:
                shown = {
                    "objective": f"{record.objective:.6g}",
                    "train": f"{record.train_rmse:.4f}",
                    "validation": f"{record.validation_rmse:.4f}",
                    "score": f"{record.validation_score:.4f}",
                }
                bar.set_postfix({k: v for k, v in shown.items() if v != "nan"}, refresh=False)
                bar.update()

            yield show


@contextmanager
def _interrupt_deferred() -> Iterator[threading.Event]:
    """Let Ctrl-C wait for the end of the iteration; a second one raises at once.

    Only the main thread can do so, and only where Python's own handler is in place; elsewhere the event stays unset.
    """
    interrupted = threading.Event()
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield interrupted
        return

    def handler(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()

    signal.signal(signal.SIGINT, handler)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
