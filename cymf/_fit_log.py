"""What training tells the log ``cymf.fit``: that it begins, each iteration, and how it ended.

Levels are looked at once, where training begins, so that a log nobody reads costs nothing. The numbers of a line stand
in the record's attribute ``cymf`` as well, for handlers that want them unformatted.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LOGGER", "FitLog", "TrainingSize"]

LOGGER = logging.getLogger("cymf.fit")


@dataclass(frozen=True)
class TrainingSize:
    """What is trained on, and by how many threads.

    Attributes
    ----------
    shape : (int, int)
        Users and items; of a factorization machine, rows and columns.
    n_observed : int
        Ratings, interactions, or targets.
    n_threads : int
    """

    shape: tuple[int, int]
    n_observed: int
    n_threads: int


class FitLog:
    """The log of one training.

    Parameters
    ----------
    model : str
        The estimator's name.
    task : {"fit", "partial_fit"}
        Beginning and end are told at level INFO of a ``fit``, and at level DEBUG of a ``partial_fit``, of which there
        may be one an event.
    size : TrainingSize
        What is trained on.
    max_iter : int or None
        Most iterations; None for a model without any.
    """

    def __init__(self, model: str, task: str, size: TrainingSize, max_iter: int | None) -> None:
        self._level = logging.INFO if task == "fit" else logging.DEBUG
        self._told = LOGGER.isEnabledFor(self._level)
        self.tells_iterations = LOGGER.isEnabledFor(logging.DEBUG)
        self._name = f"{model}.{task}"
        self._started = time.perf_counter()
        if not self._told:
            return
        text = f"begins: {size.shape[0]} × {size.shape[1]}, {size.n_observed} observed"
        if max_iter is not None:
            text += f", max_iter={max_iter}"
        numbers = {
            "shape": size.shape,
            "n_observed": size.n_observed,
            "n_threads": size.n_threads,
            "max_iter": max_iter,
        }
        self._tell(self._level, "begin", f"{text}, n_threads={size.n_threads}", numbers)

    def iteration(self, number: int, seconds: float, measured: Mapping[str, float]) -> None:
        """Tell of one iteration; to be called where `tells_iterations`."""
        numbers = {"iteration": number, "seconds": seconds, **measured}
        text = f"iteration {number}: {seconds:.3g} s{_listed(measured)}"
        self._tell(logging.DEBUG, "iteration", text, numbers)

    def end(
        self,
        n_iter: int,
        stop_reason: str,
        measured: Mapping[str, float] | None = None,
        kept: int | None = None,
    ) -> None:
        """Tell how training ended, with the figures of the iteration that was kept: the last one, or `kept`."""
        if not self._told:
            return
        seconds = time.perf_counter() - self._started
        measured = measured or {}
        kept = n_iter if kept is None else kept
        text = f"ended after iteration {n_iter} ({stop_reason})" if n_iter else "ended"
        if kept != n_iter:
            text += f" and keeps iteration {kept}"
        text += f": {seconds:.3g} s"
        numbers = {
            "n_iter": n_iter,
            "kept_iteration": kept,
            "stop_reason": stop_reason,
            "seconds": seconds,
            **measured,
        }
        self._tell(self._level, "end", text + _listed(measured), numbers)

    def _tell(self, level: int, event: str, text: str, numbers: Mapping[str, Any]) -> None:
        extra = {"cymf": {"event": event, "model": self._name.partition(".")[0], **numbers}}
        LOGGER.log(level, "%s %s", self._name, text, extra=extra)


def _listed(measured: Mapping[str, float]) -> str:
    known = {name: value for name, value in measured.items() if not math.isnan(value)}
    return "".join(f", {name} {value:.6g}" for name, value in known.items())
