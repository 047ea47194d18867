"""BayesianMF on Surprise's folds of MovieLens: held-out RMSE, coverage of its intervals, seconds a sweep.

    python bench/bayesian.py [--data FOLDER] [--quick] [--threads N] [--output FOLDER]

FOLDER (default: the environment variable CYMF_DATA) holds ``ml-100k/u.data`` and ``ml-1m.npz``. The folds are those of
Surprise's ``KFold(5, random_state=0)``: all five of MovieLens-100K, the first of MovieLens-1M. ``--quick`` takes one
fold of 100K alone. Coverage is that of the first fold. Writes bayesian.md, bayesian.json and bayesian-mf.png into the
output folder (default: bench/results).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, heading
from report import write_json, write_text

import cymf

LEVELS = (0.5, 0.8, 0.9, 0.95)
FOLDS = {"ml-100k": 5, "ml-1m": 1}
MODELS: dict[str, dict[str, tuple[type[Any], dict[str, Any]]]] = {
    dataset: {
        "ALS, preset": (cymf.ALS, dict(cymf.presets[f"als-{dataset}"])),
        "BayesianMF": (cymf.BayesianMF, plain),
        'BayesianMF, implicit_sets="user"': (cymf.BayesianMF, sets | {"implicit_sets": "user"}),
        'BayesianMF, implicit_sets="both"': (cymf.BayesianMF, sets | {"implicit_sets": "both"}),
    }
    for dataset, plain, sets in (
        ("ml-100k", {"n_factors": 8}, {"n_factors": 8}),
        ("ml-1m", {"n_factors": 32}, {"n_factors": 32}),
    )
}
WANTED = {
    ("ml-100k", "BayesianMF"): 0.898,
    ("ml-1m", "BayesianMF"): 0.838,
    ("ml-100k", 'BayesianMF, implicit_sets="both"'): 0.882,
    ("ml-1m", 'BayesianMF, implicit_sets="both"'): 0.833,
}


@dataclass
class Result:
    """One model on one data set."""

    dataset: str
    label: str
    parameters: dict[str, Any]
    rmse: list[float] = field(default_factory=list)  # one a fold, of the fitted model
    all_sweeps: list[float] = field(
        default_factory=list
    )  # of the mean over all sweeps after burn-in
    seconds: list[float] = field(default_factory=list)  # of a fit
    sweep: list[float] = field(default_factory=list)  # of a sweep, the median of a fit
    curves: list[list[float]] = field(default_factory=list)
    coverage: dict[float, float] = field(default_factory=dict)


def measure(result: Result, kind: type[Any], folds: list[Any], n_threads: int | None) -> None:
    """Fit and score a model on all folds."""
    for number, (train, test) in enumerate(folds):
        model = kind(**result.parameters, n_threads=n_threads)
        start = time.perf_counter()
        model.fit(train, validation=test)
        result.seconds.append(time.perf_counter() - start)
        result.rmse.append(model.rmse(test))
        result.all_sweeps.append(model.history_["validation_rmse"][-1])
        result.curves.append(model.history_["validation_rmse"])
        result.sweep.append(statistics.median(model.history_["seconds"]))
        if number == 0:
            result.coverage = coverage(model, test)
        print(
            f"{result.dataset} {result.label}: fold {number + 1} RMSE {result.rmse[-1]:.4f}, "
            f"{result.seconds[-1]:.1f} s",
            flush=True,
        )


def coverage(model: Any, test: cymf.Ratings) -> dict[float, float]:
    """Return the share of held-out ratings inside the predictive intervals of each level."""
    predicted, deviation = model.predict(test.users, test.items, by="index", return_std=True)
    distance = np.abs(predicted - test.values) / deviation
    return {
        level: float(np.mean(distance < statistics.NormalDist().inv_cdf(0.5 + level / 2)))
        for level in LEVELS
    }


def accuracy_table(results: list[Result]) -> str:
    lines = [
        "| data | model | factors | RMSE | all sweeps | fit, s | sweep, s | wanted |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for r in results:
        error = statistics.fmean(r.rmse)
        spread = f" ± {statistics.pstdev(r.rmse):.4f}" if len(r.rmse) > 1 else ""
        wanted = WANTED.get((r.dataset, r.label))
        verdict = "" if wanted is None else f"{'≤' if error <= wanted else 'MISSED'} {wanted:.3f}"
        lines.append(
            f"| {r.dataset}, {len(r.rmse)} fold{'s' * (len(r.rmse) > 1)} | {r.label} | {r.parameters['n_factors']} "
            f"| {error:.4f}{spread} | {statistics.fmean(r.all_sweeps):.4f} | {statistics.median(r.seconds):.1f} "
            f"| {statistics.median(r.sweep):.4f} | {verdict} |"
        )
    return "\n".join(lines)


def coverage_table(results: list[Result]) -> str:
    head = " | ".join(f"{level:.0%}" for level in LEVELS)
    lines = [f"| data | model | {head} |", "| --- | --- |" + " ---: |" * len(LEVELS)]
    for r in results:
        cells = " | ".join(f"{r.coverage[level]:.1%}" for level in LEVELS)
        lines.append(f"| {r.dataset} | {r.label} | {cells} |")
    return "\n".join(lines)


def picture(results: list[Result], path: Path) -> None:
    """Draw held-out RMSE over sweeps, of the first fold."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    datasets = list(dict.fromkeys(r.dataset for r in results))
    figure, axes = plt.subplots(
        1, len(datasets), figsize=(4.8 * len(datasets), 3.4), squeeze=False, layout="constrained"
    )
    for panel, dataset in zip(axes.flat, datasets, strict=True):
        own = [r for r in results if r.dataset == dataset]
        for r in own:
            panel.plot(range(1, len(r.curves[0]) + 1), r.curves[0], label=r.label, linewidth=1)
        best = min(min(r.curves[0]) for r in own)
        panel.set(
            title=f"{dataset}, first fold",
            xlabel="sweep",
            ylabel="held-out RMSE",
            ylim=(best - 0.005, best + 0.08),
        )
        panel.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("CYMF_DATA"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("no data: give --data, or set CYMF_DATA")
    machine, results = describe(), []
    for dataset, n_folds in FOLDS.items():
        if arguments.quick and dataset != "ml-100k":
            continue
        name = dataset.removeprefix("ml-")
        ratings = cymf.datasets.load_movielens(name, data_home=arguments.data).ratings
        folds = list(cymf.evaluation.kfold(ratings, 5, random_state=0))[
            : 1 if arguments.quick else n_folds
        ]
        for label, (kind, parameters) in MODELS[dataset].items():
            result = Result(dataset, label, parameters)
            measure(result, kind, folds, arguments.threads)
            results.append(result)
    text = "\n\n".join(
        [
            heading(machine, threads=str(arguments.threads or "all")),
            accuracy_table(results),
            "Share of held-out ratings inside predictive intervals, first fold:",
            coverage_table(results),
        ]
    )
    print(text)
    write_text(arguments.output / "bayesian.md", text + "\n")
    write_json(
        arguments.output / "bayesian.json",
        {"machine": machine, "results": [vars(r) for r in results]},
    )
    picture(results, arguments.output / "bayesian-mf.png")


if __name__ == "__main__":
    main()
