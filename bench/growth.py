"""How time and memory grow: with ratings from 10⁵ to 10⁸, factors from 8 to 512, one thread and two.

    python bench/growth.py                        # the whole sample of the grid; about an hour, 24 GiB
    python bench/growth.py --minutes 10           # what fits into ten minutes, the cheapest points first
    python bench/growth.py --largest 1e7

Every point is a process of its own: it loads the ratings, fits a few iterations, and tells the median of the
iterations' seconds, the memory before `fit` and the peak in it. `fit` makes both views of the ratings itself, so they
count as its memory: "of what it must hold" is the peak above the input, over CSR + CSC + factors. The ratings come
from cymf.datasets.make_ratings with one seed, made part by part, nnz / 100 users by nnz / 1000 items, and are kept in
the cache folder. Writes growth.md, growth.json and growth.png.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from data import DEFAULT_CACHE
from machine import describe, heading
from report import write_json, write_text
from worker import forget_peak, resident_megabytes

__all__ = ["Point", "generated", "sample"]

_KINDS = {
    "ALS": {"estimator": "ALS", "solver": "cholesky", "tol": 0.0, "track_objective": False},
    "ALS, CG": {"estimator": "ALS", "solver": "cg", "tol": 0.0, "track_objective": False},
    "SGD": {"estimator": "SGD"},
}
_FACTORS = 8, 16, 32, 64, 128, 256, 512
_MIDDLE = 10**6, 64  # where the two lines of the sample cross
_ITERATIONS = 3, 10  # least, most
_SECONDS = 2.0  # of all iterations, about
_FLOPS = 2e10  # a second, to guess what a point costs
_NEW_RATINGS = 4e-6  # seconds to generate or load one, to guess


@dataclass(frozen=True)
class Point:
    """One fit of the grid."""

    kind: str
    nnz: int
    n_factors: int
    n_threads: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.nnz // 100, self.nnz // 1000

    @property
    def iteration_seconds(self) -> float:
        """Guess the seconds of an iteration."""
        k = self.n_factors
        work = {
            "ALS": 2 * self.nnz * k * (k + 1) + sum(self.shape) * k**3 / 3,
            "ALS, CG": 32.0 * self.nnz * k,
            "SGD": 8.0 * self.nnz * k,
        }
        return work[self.kind] / _FLOPS / self.n_threads

    @property
    def iterations(self) -> int:
        least, most = _ITERATIONS
        return int(min(most, max(least, _SECONDS / self.iteration_seconds)))

    @property
    def cost(self) -> float:
        """Guess the seconds of the whole point."""
        return self.iterations * self.iteration_seconds + _NEW_RATINGS * self.nnz + 1

    def needed_megabytes(self) -> float:
        """Return what a fit must hold: both views with 32-bit indices, and padded factors."""
        width = -(-self.n_factors // 16) * 16
        return (16 * self.nnz + sum(self.shape) * (8 + 4 * width)) / 1e6


def sample(smallest: int, largest: int) -> list[Point]:
    """Return a sparse sample of the grid: lines along the ratings and along the factors, one thread and two."""
    sizes = [10**exponent for exponent in range(5, 9) if smallest <= 10**exponent <= largest]
    middle, n_factors = min(_MIDDLE[0], largest), _MIDDLE[1]
    points = [Point(kind, nnz, n_factors, 2) for kind in _KINDS for nnz in sizes]
    points += [Point(kind, middle, k, 2) for kind in _KINDS for k in _FACTORS]
    points += [Point(kind, nnz, n_factors, 1) for kind in _KINDS for nnz in sizes if nnz <= 10**7]
    points += [Point(kind, middle, k, 1) for kind in _KINDS for k in (8, 512)]
    return sorted(set(points), key=lambda point: (point.cost, str(point)))


def generated(nnz: int, cache: Path) -> Path:
    """Return the file with so many ratings as CSR; makes it if there is none."""
    path = cache / f"growth-{nnz}.npz"
    if not path.exists():
        from cymf.datasets import make_ratings

        n_users, n_items = Point("", nnz, 0, 0).shape
        ratings = make_ratings(
            n_users, n_items, nnz, n_factors=16, noise=0.7, random_state=0
        ).ratings
        view = ratings.csr(np.float32)
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, indptr=view.indptr, indices=view.indices, values=view.values)
        unfinished.rename(path)
    return path


def measure(point: Point, cache: Path) -> dict[str, Any]:
    """Fit one point in this process."""
    from scipy import sparse

    import cymf

    with np.load(generated(point.nnz, cache)) as file:
        parts = file["values"], file["indices"], file["indptr"]
    ratings = cymf.Ratings.from_matrix(sparse.csr_matrix(parts, shape=point.shape))
    del parts
    settings = dict(_KINDS[point.kind])
    estimator = getattr(cymf, settings.pop("estimator"))(
        n_factors=point.n_factors, n_threads=point.n_threads, max_iter=point.iterations, store_ratings=False, **settings
    )  # fmt: skip
    forget_peak()
    before, _ = resident_megabytes()
    started = time.perf_counter()
    estimator.fit(ratings)
    seconds = time.perf_counter() - started
    _, peak = resident_megabytes()
    own = estimator.history_["seconds"]
    return {
        "fit_seconds": seconds, "iterations": own, "seconds": statistics.median(own[1:] or own),
        "megabytes_before": before, "megabytes": peak, "needed": point.needed_megabytes(),
    }  # fmt: skip


def in_a_process(point: Point, given: argparse.Namespace) -> dict[str, Any]:
    """Fit one point in a process of its own; an error is a result too."""
    command = [sys.executable, __file__, "--cache", str(given.cache), "--point", json.dumps(asdict(point))]  # fmt: skip
    variables = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.run(command, env=variables, capture_output=True, text=True)
    if process.returncode:
        lines = process.stderr.strip().splitlines() or [f"ended by signal {-process.returncode}"]
        return {**asdict(point), "error": lines[-1][:200]}
    return {**asdict(point), **json.loads(process.stdout)}


def table(records: list[dict[str, Any]]) -> str:
    lines = [
        "| what | ratings | k | threads | s/iteration | ns per rating | ns per rating and factor "
        "| fit's peak MB, input with it | above the input | of what it must hold |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]  # fmt: skip
    for r in sorted(records, key=lambda r: (r["kind"], r["nnz"], r["n_factors"], r["n_threads"])):
        head = f"| {r['kind']} | {r['nnz']:,} | {r['n_factors']} | {r['n_threads']} "
        if "error" in r:
            lines.append(f"{head}| {r['error']} | | | | | |")
            continue
        each, above = 1e9 * r["seconds"] / r["nnz"], r["megabytes"] - r["megabytes_before"]
        lines.append(
            f"{head}| {r['seconds']:.4g} | {each:.3g} | {each / r['n_factors']:.3g} | {r['megabytes']:.0f} "
            f"| {above:.0f} | {above / r['needed']:.2f} |"
        )
    return "\n".join(lines)


def picture(records: list[dict[str, Any]], path: Path) -> None:
    """Draw time per rating over ratings and over factors, and memory over ratings."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (by_nnz, by_factors, memory) = plt.subplots(
        1, 3, figsize=(15, 4.6), layout="constrained"
    )
    measured = [r for r in records if "error" not in r]
    middle = statistics.mode(r["nnz"] for r in measured)
    for color, kind in zip(plt.cm.tab10.colors, _KINDS, strict=False):
        for n_threads, style in ((2, "o-"), (1, "s--")):
            own = [r for r in measured if (r["kind"], r["n_threads"]) == (kind, n_threads)]
            line = sorted((r["nnz"], r) for r in own if r["n_factors"] == _MIDDLE[1])
            row = sorted((r["n_factors"], r) for r in own if r["nnz"] == middle)
            look = {
                "color": color,
                "markersize": 5,
                "label": f"{kind}, {n_threads} thread{'s' * (n_threads > 1)}",
            }
            for axes, points in ((by_nnz, line), (by_factors, row)):
                times = [1e9 * r["seconds"] / r["nnz"] for _, r in points]
                axes.plot([x for x, _ in points], times, style, **look)
            if n_threads == 2:
                above = [max(1.0, r["megabytes"] - r["megabytes_before"]) for _, r in line]
                memory.plot([x for x, _ in line], above, style, **look)
    needed = sorted({(r["nnz"], r["needed"]) for r in measured if r["n_factors"] == _MIDDLE[1]})
    if needed:
        memory.plot(*zip(*needed, strict=True), color="0.6", label="CSR + CSC + factors")
    by_nnz.set(xlabel=f"ratings, k = {_MIDDLE[1]}", ylabel="ns per rating and iteration")
    by_factors.set(xlabel=f"factors, {middle:,} ratings", ylabel="ns per rating and iteration")
    memory.set(xlabel=f"ratings, k = {_MIDDLE[1]}", ylabel="peak of fit above the input, MB")
    for axes in (by_nnz, by_factors, memory):
        axes.set(xscale="log", yscale="log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    by_factors.set_xticks(_FACTORS, [str(k) for k in _FACTORS])
    by_factors.minorticks_off()
    figure.suptitle("Time and memory as problems grow; float32")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=90.0, help="points that may not fit are left out"
    )
    parser.add_argument("--smallest", type=float, default=1e5)
    parser.add_argument("--largest", type=float, default=1e8)
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.point:
        print(json.dumps(measure(Point(**json.loads(given.point)), given.cache)))
        return
    description, started = describe(), time.perf_counter()
    records: list[dict[str, Any]] = []
    left_out: list[str] = []
    slower_than_guessed = 1.0
    for point in sample(int(given.smallest), int(given.largest)):
        begin = time.perf_counter()
        if begin - started + point.cost * slower_than_guessed > 60 * given.minutes:
            left_out.append(f"{point.kind} with {point.nnz:,} ratings, {point.n_factors} factors")
            continue
        records.append(in_a_process(point, given))
        taken = time.perf_counter() - begin
        slower_than_guessed = max(1.0, 0.7 * slower_than_guessed + 0.3 * taken / point.cost)
        print(f"{point} {taken:.1f} s {records[-1].get('error', '')}", file=sys.stderr, flush=True)
        text = f"## Growth\n\n{heading(description)}\n\n{table(records)}\n"
        if left_out:
            text += f"\nLeft out for time: {'; '.join(left_out)}.\n"
        write_text(given.output / "growth.md", text)
        content = {"machine": description, "points": records, "left out": left_out}
        write_json(given.output / "growth.json", content)
    picture(records, given.output / "growth.png")
    print(text)


if __name__ == "__main__":
    main()
