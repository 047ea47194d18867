"""Objective over seconds of the solvers of ALS: which one to use at how many factors.

    python bench/solver_curves.py --data ml1m-half --factors 16 32 64 128 256 512 --threads 1

Every solver does the same iterations from the same start. Its seconds an iteration are measured apart, without
evaluation, solvers by turns, the least of all rounds (of processor time, with one thread); the curve is the objective
after each iteration over those seconds. With f the best objective that any of them reached, and that of factors of
zero, a solver has reached a gap g when its objective is at most f + g (zero - f).
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from estimators import options, training_ratings
from machine import describe, heading
from report import write_json, write_text

import cymf

SOLVERS: dict[str, dict[str, Any]] = {
    "cholesky": {"solver": "cholesky"},
    "cg, 3 steps": {"solver": "cg"},
    "cg, 6 steps": {"solver": "cg", "cg_steps": 6},
    "subspace, 16": {"solver": "subspace", "block_size": 16},
    "subspace, 32": {"solver": "subspace", "block_size": 32},
    "subspace, 64": {"solver": "subspace", "block_size": 64},
}
GAPS = (1e-2, 1e-3, 1e-4)


@dataclass
class Curve:
    """One solver at one number of factors.

    Attributes
    ----------
    seconds : float
        Of an iteration, evaluation left out.
    objective, held_out : list of float
        Objective and held-out RMSE after each iteration.
    """

    label: str
    n_factors: int
    seconds: float = math.inf
    objective: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)

    def seconds_to(self, objective: float) -> float:
        reached = [t for t, value in enumerate(self.objective, 1) if value <= objective]
        return reached[0] * self.seconds if reached else math.nan


def fit(ratings: Any, curve: Curve, given: Any, n_iter: int, held_out: Any = None) -> cymf.ALS:
    model = cymf.ALS(
        curve.n_factors, tol=0, max_iter=n_iter, track_objective=held_out is not None, store_ratings=False,
        n_threads=given.threads[-1], dtype=given.dtype, **SOLVERS[curve.label],
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(ratings, validation=held_out)


def measure(ratings: Any, held_out: Any, curves: list[Curve], given: Any) -> None:
    """Fill in the curves of one number of factors."""
    clock = time.process_time if given.threads[-1] == 1 else time.perf_counter
    for curve in curves:
        history = fit(ratings, curve, given, given.iterations, held_out).history_
        curve.objective, curve.held_out = history["objective"], history["validation_rmse"]
    for _ in range(given.rounds):
        for curve in curves:
            times = []
            for n_iter in (1, 3):
                started = clock()
                fit(ratings, curve, given, n_iter)
                times.append(clock() - started)
            curve.seconds = min(curve.seconds, (times[1] - times[0]) / 2)


def start_objective(ratings: Any) -> float:
    """Return half the squared deviations from the mean: the objective of factors of zero."""
    values = ratings.values.astype(np.float64)
    return 0.5 * float(np.sum((values - values.mean()) ** 2))


def table(curves: list[Curve], best: dict[int, float], start: float) -> list[str]:
    head = " | ".join(f"s to gap {gap:g}" for gap in GAPS)
    lines = [
        f"| k | solver | s/iteration | {head} | iterations | objective | held-out RMSE |",
        "| ---: | --- |" + " ---: |" * (len(GAPS) + 4),
    ]
    for curve in curves:
        floor = best[curve.n_factors]
        times = [curve.seconds_to(floor + gap * (start - floor)) for gap in GAPS]
        cells = " | ".join("" if math.isnan(t) else f"{t:.3g}" for t in times)
        lines.append(
            f"| {curve.n_factors} | {curve.label} | {curve.seconds:.4g} | {cells} "
            f"| {len(curve.objective)} | {curve.objective[-1]:.6g} | {min(curve.held_out):.4f} |"
        )
    return lines


def picture(curves: list[Curve], best: dict[int, float], start: float, path: Path) -> None:
    """Draw the relative gap over seconds, a panel for each number of factors."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    ranks = list(best)
    columns = min(3, len(ranks))
    rows = -(-len(ranks) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(4.5 * columns, 3.5 * rows), squeeze=False, layout="constrained"
    )
    for panel, k in zip(axes.flat, ranks, strict=False):
        for curve in curves:
            if curve.n_factors == k:
                gap = (np.array(curve.objective) - best[k]) / (start - best[k])
                seconds = curve.seconds * np.arange(1, len(gap) + 1)
                panel.loglog(seconds, np.maximum(gap, 1e-7), label=curve.label)
        panel.set(title=f"{k} factors", xlabel="seconds", ylabel="gap of the objective")
    axes.flat[0].legend(fontsize=7)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    given = options(__doc__.splitlines()[0], iterations=15)
    split, ratings = training_ratings(given)
    held_out = np.column_stack([split.test_users, split.test_items]), split.test_values
    start = start_objective(ratings)
    curves: list[Curve] = []
    best: dict[int, float] = {}
    for k in given.factors:
        own = [
            Curve(label, k)
            for label, settings in SOLVERS.items()
            if settings.get("block_size", 1) < k
        ]
        measure(ratings, held_out, own, given)
        curves += own
        best[k] = min(min(curve.objective) for curve in own)
    description = describe()
    text = heading(
        description,
        data=f"{given.data}, {split.nnz:,} training ratings, {split.shape[0]:,} × {split.shape[1]:,}, {given.dtype}",
        threads=str(given.threads[-1]),
        rounds=str(given.rounds),
    )
    lines = "\n".join(table(curves, best, start))
    name = f"solver-curves-{given.data}"
    print(write_text(given.output / f"{name}.md", f"## Solvers of ALS\n\n{text}\n\n{lines}\n"))
    write_json(
        given.output / f"{name}.json",
        {"machine": description, "start": start, "curves": [vars(curve) for curve in curves]},
    )
    picture(curves, best, start, given.output / f"{name}.png")


if __name__ == "__main__":
    main()
