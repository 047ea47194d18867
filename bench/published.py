"""Published rankings of three data sets reproduced: cymf's presets beside the figures of others, with fit times.

    python bench/published.py [--data FOLDER] [--quick] [--only PRESET …] [--threads N] [--output FOLDER]
    python bench/published.py --choose PRESET     # the preset and its neighbours, on two parts of the training set

FOLDER (default: the environment variable CYMF_DATA) holds ``ml-1m.npz``, ``gowalla-lightgcn.npz``, ``lastfm-2k.npz``.
``--quick`` leaves out the presets that take minutes and takes one seed instead of five. Writes published.md and
published.json into the output folder (default: bench/results).
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import describe, heading
from published_data import Task, load, part_of_train
from report import write_json, write_text

import cymf

TITLES = {
    "ml-1m-ncf": "MovieLens-1M, split of NCF: the last item of each user among 99 sampled ones",
    "gowalla": "Gowalla, split of LightGCN: all items ranked",
    "lastfm-2k": "Last.fm-2k, fixed split: all items ranked",
}
# Rows of others. BARS: reczoo/BARS, docs/Matching/leaderboard/gowalla_m1.csv at 5b5e61fe2e4d. Elliot: Di Palma et al.,
# "Evaluating ChatGPT as a Recommender System: A Rigorous Approach", sisinflab/Recommender-ChatGPT at 41e97b6d.
PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "ml-1m-ncf": {"most popular (recomputed)": (0.4538, 0.2545)},
    "gowalla": {
        "most popular (recomputed)": (0.0416, 0.0317),
        "item k-NN (BARS)": (0.1570, 0.1214),
        "NGCF (BARS)": (0.1570, 0.1327),
        "MF-BPR, tuned, 64 factors (BARS)": (0.1627, 0.1378),
        "EASE-R (BARS)": (0.1765, 0.1467),
        "LightGCN (BARS)": (0.1820, 0.1547),
        "MF, cosine contrastive loss (BARS)": (0.1837, 0.1493),
        "GF-CF (BARS)": (0.1849, 0.1518),
        "UltraGCN (BARS)": (0.1862, 0.1580),
        "SimpleX (BARS)": (0.1872, 0.1557),
    },
    "lastfm-2k": {
        "most popular (Elliot)": (0.1352, 0.1165),
        "EASE-R (Elliot)": (0.2813, 0.2501),
        "user k-NN (Elliot)": (0.3183, 0.2891),
        "item k-NN (Elliot)": (0.3329, 0.2999),
        "RP3beta (Elliot)": (0.3529, 0.3093),
    },
}


@dataclass(frozen=True)
class Entry:
    """A preset, what it is fitted with, and what it should reach."""

    task: str
    estimator: type[Any]
    at_least: tuple[float, float]
    seeds: int = 1
    quick: bool = True


ENTRIES = {
    "ml-1m-ncf-64": Entry("ml-1m-ncf", cymf.ImplicitALS, (0.718, 0.442), seeds=5),
    "ml-1m-ncf-192": Entry("ml-1m-ncf", cymf.ImplicitALS, (0.725, 0.450), seeds=5, quick=False),
    "gowalla-64": Entry("gowalla", cymf.ImplicitALS, (0.150, 0.126)),
    "gowalla-256": Entry("gowalla", cymf.ImplicitALS, (0.173, 0.143), quick=False),
    "gowalla-spectral": Entry("gowalla", cymf.SpectralMF, (0.184, 0.153), quick=False),
    "lastfm-2k": Entry("lastfm-2k", cymf.ImplicitALS, (0.395, 0.350)),
}

# What `--choose` measures on a part of the training set: changes of a preset, none included.
CHOICES: dict[str, list[dict[str, Any]]] = {
    "ml-1m-ncf-64": [{}, {"popularity_exponent": 0.25}, {"max_iter": 16}],
    "gowalla-256": [
        {},
        *({"reg": reg} for reg in (0.003, 0.006)),
        *({"unobserved_weight": weight} for weight in (0.01, 0.04)),
        {"popularity_exponent": 0.25},
    ],
    "gowalla-spectral": [
        {"n_factors": 512, "filter_weight": weight} for weight in (0.1, 0.3, 1.0, 3.0, None)
    ],
    "lastfm-2k": [
        {},
        *({"n_factors": k} for k in (64, 128, 512)),
        *({"reg": reg} for reg in (0.03, 0.055)),
        *({"unobserved_weight": weight} for weight in (0.01, 0.05)),
        *({"popularity_exponent": e} for e in (0.0, 0.25, 0.5)),
    ],
}


@dataclass
class Result:
    """Figures of one setting, one a seed."""

    preset: str
    parameters: dict[str, Any]
    figures: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def means(self) -> dict[str, float]:
        return {name: statistics.fmean(f[name] for f in self.figures) for name in self.figures[0]}


def measured(
    preset: str, parameters: dict[str, Any], task: Task, estimator: type[Any], seeds: int
) -> Result:
    """Fit a setting once a seed."""
    result = Result(preset, parameters)
    for seed in range(seeds):
        model = estimator(**parameters, random_state=seed)
        start = time.perf_counter()
        model.fit(task.train)
        result.seconds.append(time.perf_counter() - start)
        result.figures.append(task.measure(model))
        shown = "  ".join(f"{name} {value:.4f}" for name, value in result.figures[-1].items())
        print(f"{preset} (seed {seed}): {shown}  fit {result.seconds[-1]:.1f} s", flush=True)
    return result


def fitted_parameters(preset: str, n_threads: int | None) -> dict[str, Any]:
    parameters = dict(cymf.presets[preset]) | {"n_threads": n_threads}
    if ENTRIES[preset].estimator is cymf.ImplicitALS:
        parameters["track_objective"] = False
    return parameters


def table(task: str, results: list[Result]) -> str:
    """Return one data set's table, rows in the order of their first figure."""
    names = list(results[0].figures[0])
    rows = [(figures, f"{label} | ", "") for label, figures in PUBLISHED[task].items()]
    for result in results:
        means = tuple(result.means()[name] for name in names)
        wanted = ENTRIES[result.preset].at_least
        reached = all(got >= least for got, least in zip(means, wanted, strict=True))
        seeds = f", mean of {len(result.seconds)} seeds" if len(result.seconds) > 1 else ""
        label = f"**{ENTRIES[result.preset].estimator.__name__}, `{result.preset}`**{seeds}"
        verdict = f"{'≥' if reached else 'MISSED'} {wanted[0]:.3f} / {wanted[1]:.3f}"
        rows.append((means, f"{label} | {statistics.median(result.seconds):.1f}", verdict))
    lines = [
        f"| | fit, s | {' | '.join(names)} | wanted |",
        f"| --- | ---: | {'---: | ' * len(names)}--- |",
    ]
    for figures, label, verdict in sorted(rows, key=lambda row: row[0]):
        lines.append(f"| {label} | {' | '.join(f'{f:.4f}' for f in figures)} | {verdict} |")
    return f"### {TITLES[task]}\n\n" + "\n".join(lines)


def choose(preset: str, folder: Path, n_threads: int | None, n_parts: int = 2) -> None:
    """Print the figures of a preset's neighbours on parts of the training set."""
    parts = [part_of_train(ENTRIES[preset].task, folder, seed) for seed in range(n_parts)]
    for change in CHOICES[preset]:
        parameters = fitted_parameters(preset, n_threads) | change
        label = f"{preset} {change or ''}"
        results = [
            measured(label, parameters, part, ENTRIES[preset].estimator, 1) for part in parts
        ]
        means = {
            name: statistics.fmean(r.means()[name] for r in results) for name in results[0].means()
        }
        print(label, "  ".join(f"{name} {value:.4f}" for name, value in means.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("CYMF_DATA"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=ENTRIES, metavar="PRESET")
    parser.add_argument("--choose", choices=CHOICES, metavar="PRESET")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("no data: give --data, or set CYMF_DATA")
    if arguments.choose:
        choose(arguments.choose, arguments.data, arguments.threads)
        return
    machine = describe()
    results: dict[str, list[Result]] = {}
    loaded: dict[str, Task] = {}
    for preset, entry in ENTRIES.items():
        wanted = preset in arguments.only if arguments.only else entry.quick or not arguments.quick
        if wanted:
            task = loaded.get(entry.task) or loaded.setdefault(
                entry.task, load(entry.task, arguments.data)
            )
            parameters = fitted_parameters(preset, arguments.threads)
            seeds = 1 if arguments.quick else entry.seeds
            result = measured(preset, parameters, task, entry.estimator, seeds)
            results.setdefault(entry.task, []).append(result)
    text = "\n\n".join(
        [
            heading(machine, threads=str(arguments.threads or "all")),
            *(table(task, rows) for task, rows in results.items()),
        ]
    )
    print(text)
    write_text(arguments.output / "published.md", text)
    write_json(
        arguments.output / "published.json",
        {
            "machine": machine,
            "results": {name: [vars(r) for r in rows] for name, rows in results.items()},
        },
    )


if __name__ == "__main__":
    main()
