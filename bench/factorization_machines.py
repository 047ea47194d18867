"""Factorization machines with side information on MovieLens-100K's folds u1 to u5, beside myFM: errors and times.

    python bench/factorization_machines.py [--data FOLDER] [--quick] [--factors K] [--iterations N] [--output FOLDER]

FOLDER (default: the environment variable CYMF_DATA) holds ``ml-100k/``. Both libraries draw from the posterior (Gibbs
sampling) with the same columns, groups of columns, blocks, number of factors, draws and burn-in, one thread each, and
take turns; cymf does so once more with four chains of half as many draws. A sweep's seconds are
(T(many) − T(few)) / (many − few) of processor time, medians of several turns. myFM gets an environment of its own
(`environments.py`). ``--quick`` takes two folds and fewer draws. Writes factorization_machines.md, .json and .svg into
the output folder (default: bench/results).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from environments import interpreter, process_variables
from machine import describe, heading
from report import write_json, write_text
from scipy import sparse

import cymf

CACHE = Path(os.environ.get("CYMF_BENCH_CACHE", Path.home() / ".cache" / "cymf-bench"))
COLUMNS = {
    "users, items": {},
    "and features": {"features": True},
    "and histories": {"history": "both"},
    "and features, histories": {"features": True, "history": "both"},
}
_BURN_IN = 32
_CHAINS = 4
_LIBRARIES = ("cymf", "cymf, 4 chains", "myFM")


def one_hot(labels: Any, prefix: str) -> tuple[np.ndarray, list[str]]:
    """Return indicator columns of the labels that occur."""
    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    return np.eye(len(names))[codes], [f"{prefix}={name}" for name in names]


def features_of(parts: list[tuple[np.ndarray, list[str]]], ids: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(
        matrix=sparse.csr_array(np.hstack([matrix for matrix, _ in parts])),
        ids=ids,
        names=[name for _, names in parts for name in names],
    )


def side_information(folder: Path) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Return features of users (age in bands of five years, gender, occupation) and items (genres, year)."""
    lines = (folder / "u.user").read_text().splitlines()
    users = [line.split("|") for line in lines]
    user_features = features_of(
        [
            one_hot([int(row[1]) // 5 * 5 for row in users], "age"),
            one_hot([row[2] for row in users], "gender"),
            one_hot([row[3] for row in users], "occupation"),
        ],
        np.array([int(row[0]) for row in users]),
    )
    items = [
        line.split("|") for line in (folder / "u.item").read_text(encoding="latin-1").splitlines()
    ]
    years = [int(row[2][-4:]) if row[2] else 0 for row in items]
    bands = [year if year >= 1990 else year // 10 * 10 for year in years]
    genres = [line.split("|")[0] for line in (folder / "u.genre").read_text().split("\n") if line]
    flags = np.array([[int(flag) for flag in row[5:24]] for row in items], float)
    item_features = features_of(
        [(flags, [f"genre={name}" for name in genres]), one_hot(bands, "year")],
        np.array([int(row[0]) for row in items]),
    )
    return user_features, item_features


def read_fold(path: Path) -> cymf.Ratings:
    rows = np.loadtxt(path, dtype=np.int64)
    return cymf.Ratings.from_triplets(rows[:, 0], rows[:, 1], rows[:, 2].astype(float))


def write_fold(path: Path, train: cymf.DesignMatrix, test: cymf.DesignMatrix) -> None:
    """Write a fold's blocks for `design_worker.py`."""
    arrays: dict[str, Any] = {
        "n_blocks": len(train.blocks),
        "groups": train.groups,
        "train_target": train.target,
        "test_target": test.target,
    }
    for number, (block, other) in enumerate(zip(train.blocks, test.blocks, strict=True)):
        matrix = block.matrix
        arrays |= {
            f"data_{number}": matrix.data,
            f"indices_{number}": matrix.indices,
            f"indptr_{number}": matrix.indptr,
            f"shape_{number}": np.array(matrix.shape),
            f"train_{number}": block.rows,
            f"test_{number}": other.rows,
        }
    np.savez(path, **arrays)


class Peer:
    """myFM in a process of its own."""

    def __init__(self) -> None:
        python = interpreter("myfm", CACHE / "environments")
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("design_worker.py")), "myfm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=process_variables(1, own=False),
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("myFM's process has ended; run design_worker.py by hand to see why")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass
class Row:
    """Figures of one set of columns: errors fold by fold, seconds a sweep turn by turn, by library."""

    n_columns: int = 0
    errors: dict[str, list[float]] = field(default_factory=lambda: {x: [] for x in _LIBRARIES})
    fits: dict[str, list[float]] = field(default_factory=lambda: {x: [] for x in _LIBRARIES})
    sweeps: dict[str, list[float]] = field(default_factory=lambda: {"cymf": [], "myFM": []})


def fit_cymf(
    train: cymf.DesignMatrix, n_factors: int, n_iter: int, n_kept: int, seed: int, n_chains: int = 1
) -> tuple[cymf.FactorizationMachine, dict[str, float]]:
    model = cymf.FactorizationMachine(
        n_factors, solver="mcmc", max_iter=n_iter, burn_in=n_iter - n_kept, n_samples=None,
        n_chains=n_chains, n_threads=1, random_state=seed,
    )  # fmt: skip
    started, cpu = time.perf_counter(), time.process_time()
    model.fit(train)
    return model, {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}


def measure(
    row: Row,
    peer: Peer,
    train: cymf.DesignMatrix,
    test: cymf.DesignMatrix,
    fold: Path,
    arguments: argparse.Namespace,
    *,
    timed: bool,
) -> None:
    """Fit one fold by both libraries; time sweeps by turns where asked."""
    k, n_iter = arguments.factors, arguments.iterations
    row.n_columns = train.shape[1]
    write_fold(fold, train, test)
    peer.ask(load=str(fold))
    whole = {"n_factors": k, "n_iter": n_iter, "n_kept": n_iter - _BURN_IN, "seed": 1}
    chains = whole | {
        "n_iter": n_iter // 2, "n_kept": n_iter // 2 - _BURN_IN, "n_chains": _CHAINS
    }  # fmt: skip
    for library, settings in zip(_LIBRARIES, (whole, chains), strict=False):
        model, times = fit_cymf(train, **settings)
        row.fits[library].append(times["seconds"])
        errors = model.predict(test) - test.target
        row.errors[library].append(float(np.sqrt(np.mean(errors**2))))
    row.fits["myFM"].append(peer.ask(fit=whole)["seconds"])
    row.errors["myFM"].append(peer.ask(rmse=True)["rmse"])
    few, many = 3, 23
    for _ in range(arguments.turns if timed else 0):
        cost = {"cymf": [], "myFM": []}
        for count in (few, many):
            short = whole | {"n_iter": count, "n_kept": 1}
            cost["cymf"].append(fit_cymf(train, **short)[1]["cpu"])
            cost["myFM"].append(peer.ask(fit=short)["cpu"])
        for library, (less, more) in cost.items():
            row.sweeps[library].append((more - less) / (many - few))


def table(rows: dict[str, Row]) -> str:
    """Return both tables: errors and times of fits, and times of a sweep."""
    lines = [
        "| columns | number | cymf RMSE | cymf, 4 chains | myFM RMSE | cymf − myFM (spread over folds) "
        "| 4 chains − myFM (spread) | fit, s: cymf / 4 chains / myFM |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        errors = {library: np.array(values) for library, values in row.errors.items()}
        means = " | ".join(f"{errors[library].mean():.4f}" for library in _LIBRARIES)
        gaps = [errors[library] - errors["myFM"] for library in _LIBRARIES[:2]]
        shown = " | ".join(
            f"{gap.mean():+.4f}" + (f" ({gap.std(ddof=1):.4f})" if len(gap) > 1 else "")
            for gap in gaps
        )
        seconds = " / ".join(f"{statistics.median(row.fits[x]):.1f}" for x in _LIBRARIES)
        lines.append(f"| {name} | {row.n_columns} | {means} | {shown} | {seconds} |")
    lines += [
        "",
        "| columns | cymf ms/sweep | myFM ms/sweep | times faster (range) |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        ratios = [m / c for c, m in zip(row.sweeps["cymf"], row.sweeps["myFM"], strict=True)]
        own, other = (1000 * statistics.median(row.sweeps[library]) for library in row.sweeps)
        lines.append(
            f"| {name} | {own:.2f} | {other:.2f} | **{statistics.median(ratios):.1f}** "
            f"({min(ratios):.1f} – {max(ratios):.1f}) |"
        )
    return "\n".join(lines)


def picture(rows: dict[str, Row], path: Path) -> None:
    """Draw the errors by columns, and the seconds of a fit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    matplotlib.rcParams["svg.fonttype"] = "none"
    figure, (errors, times) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained", sharey=True)
    places = np.arange(len(rows))
    colors = "#7fb3d8", "#1f77b4", "#bbbbbb"
    for shift, library, color in zip((-0.25, 0, 0.25), _LIBRARIES, colors, strict=True):
        means = [np.mean(row.errors[library]) for row in rows.values()]
        errors.scatter(means, places + shift, color=color, label=library)
        seconds = [np.median(row.fits[library]) for row in rows.values()]
        times.barh(places + shift, seconds, 0.22, color=color)
    errors.set(xlabel="RMSE, mean of u1 – u5", yticks=places, yticklabels=list(rows))
    errors.invert_yaxis()
    errors.grid(axis="x", alpha=0.3)
    errors.legend(fontsize=8)
    times.set(xlabel="seconds of a fit, one thread")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("CYMF_DATA"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--factors", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=512)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=COLUMNS, metavar="COLUMNS")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("no data: give --data, or set CYMF_DATA")
    if arguments.quick:
        arguments.iterations = min(arguments.iterations, 128)
    folder = arguments.data / "ml-100k"
    user_features, item_features = side_information(folder)
    machine = describe()
    rows = {name: Row() for name in arguments.only or COLUMNS}
    peer = Peer()
    with tempfile.TemporaryDirectory() as scratch:
        for fold in range(1, 3 if arguments.quick else 6):
            train, test = (read_fold(folder / f"u{fold}.{part}") for part in ("base", "test"))
            for name, row in rows.items():
                chosen = COLUMNS[name]
                features: dict[str, Any] = {}
                if chosen.get("features"):
                    features = {"user_features": user_features, "item_features": item_features}
                design = cymf.design_matrix(train, history=chosen.get("history"), **features)
                measure(
                    row, peer, design, design.encode_ratings(test), Path(scratch, "fold.npz"),
                    arguments, timed=fold == 1,
                )  # fmt: skip
                print(
                    f"u{fold}, {name}: "
                    + ", ".join(
                        f"{x} {row.errors[x][-1]:.4f} in {row.fits[x][-1]:.1f} s"
                        for x in _LIBRARIES
                    ),
                    flush=True,
                )
    peer.close()
    about = heading(
        machine,
        factors=str(arguments.factors),
        draws=f"{arguments.iterations}, the first {_BURN_IN} left out",
        threads="1",
    )
    text = f"{about}\n\n{table(rows)}\n"
    print(text)
    write_text(arguments.output / "factorization_machines.md", text)
    write_json(
        arguments.output / "factorization_machines.json",
        {"machine": machine, "rows": {name: vars(row) for name, row in rows.items()}},
    )
    picture(rows, arguments.output / "factorization_machines.svg")


if __name__ == "__main__":
    main()
