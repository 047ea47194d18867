"""One parameter set on one fold: fitted, measured, and summed up; an error is an outcome."""

from __future__ import annotations

import logging
import math
from time import perf_counter
from typing import Any

import numpy as np

from cymf._cross_validation import Fold, fresh_model, measured
from cymf._splits import random_split

__all__ = ["Trial", "badness", "stops_early", "summary"]

_LOGGER = logging.getLogger("cymf.evaluation")
_LOWER_IS_BETTER = ("rmse", "mae")
_EARLY_STOPPING_SHARE = 0.1


class Trial:
    """One candidate on one fold."""

    def __init__(
        self,
        model: Any,
        changes: dict[str, Any],
        fold: Fold,
        metric: str,
        n_jobs: int,
        held_out: bool,
    ) -> None:
        self.model = model
        self.changes = changes
        self.fold = fold
        self.metric = metric
        self.n_jobs = n_jobs
        self.held_out = held_out

    def run(self) -> dict[str, Any]:
        """Fit and measure; an error is an outcome."""
        start = perf_counter()
        outcome: dict[str, Any] = {
            "score": math.nan, "iterations": math.nan, "error": None, "model": None,
        }  # fmt: skip
        try:
            model = fresh_model(self.model, self.n_jobs, **self.changes)
            train, test = self.fold
            if stops_early(model):
                fitted_to, watched = (
                    (train, test) if self.held_out else random_split(train, _EARLY_STOPPING_SHARE)
                )
                model.fit(fitted_to, validation=watched)
            else:
                model.fit(train)
            outcome["fit_seconds"] = perf_counter() - start
            if getattr(model, "stop_reason_", None) == "interrupted":
                raise KeyboardInterrupt
            outcome["iterations"] = _best_iteration(model)
            outcome["score"] = measured(model, self.fold, [self.metric], self.n_jobs)[self.metric]
            outcome["model"] = model
        except Exception as error:
            outcome["error"] = f"{type(error).__name__}: {error}"
            outcome["fit_seconds"] = perf_counter() - start
        _LOGGER.info(
            "%s %s, one fold: %s %s, %.3g s", type(self.model).__name__, self.changes, self.metric,
            outcome["error"] or f"{outcome['score']:.6g}", outcome["fit_seconds"],
        )  # fmt: skip
        return outcome


def stops_early(model: Any) -> bool:
    return getattr(model, "patience", None) is not None


def _best_iteration(model: Any) -> float:
    """Return the iteration whose factors a model has; NaN for one that does not count."""
    if not hasattr(model, "n_iter_"):
        return math.nan
    if stops_early(model):
        history = model.history_
        for name, best in (("validation_score", np.nanargmax), ("validation_rmse", np.nanargmin)):
            values = np.array(history.get(name, ()), np.float64)
            if np.isfinite(values).any():
                return float(best(values)) + 1
    return float(model.n_iter_)


def summary(params: dict[str, Any], outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [float(outcome["score"]) for outcome in outcomes]
    return {
        "params": params,
        "score": float(np.mean(scores)),
        "std": float(np.std(scores)),
        "scores": scores,
        "fit_seconds": float(np.mean([outcome["fit_seconds"] for outcome in outcomes])),
        "iterations": float(np.mean([outcome["iterations"] for outcome in outcomes])),
        "error": next((outcome["error"] for outcome in outcomes if outcome["error"]), None),
    }


def badness(metric: str, score: float) -> float:
    """Return a number that is lower for better scores, and infinite for NaN."""
    if math.isnan(score):
        return math.inf
    return score if metric in _LOWER_IS_BETTER else -score
