"""What the estimators' benchmarks share: options, seconds per iteration, and the table."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from data import DATA_SETS, DEFAULT_CACHE, Split, prepare
from machine import describe, heading
from report import write_json, write_text
from runner import best_level, peaks

import cymf

__all__ = ["Case", "measure_all", "options", "training_ratings", "write_cases"]

_FEW = 2


@dataclass
class Case:
    """One thing to time.

    Attributes
    ----------
    label, n_factors, n_threads
        What the table says.
    run : callable
        ``run(n_iter)`` does so many iterations, and returns the seconds that passed in the timed part.
    work : float
        Flops of one iteration by the textbook.
    """

    label: str
    n_factors: int
    n_threads: int
    run: Callable[[int], float]
    work: float
    many: int = 0
    rounds: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(self.rounds)


def options(description: str, iterations: int | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", default="ml1m-half", choices=list(DATA_SETS))
    parser.add_argument("--factors", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one timed difference, about")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    if iterations is not None:
        parser.add_argument("--iterations", type=int, default=iterations, help="of a fit, at most")
    return parser.parse_args()


def training_ratings(given: argparse.Namespace) -> tuple[Split, cymf.Ratings]:
    """Return the split, and its training part as Ratings with both views made."""
    split = Split.load(prepare(given.data, given.cache))
    ratings = cymf.Ratings.from_triplets(
        split.train_users, split.train_items, split.train_values, shape=split.shape
    )
    ratings.csr(np.dtype(given.dtype))
    ratings.csc(np.dtype(given.dtype))
    return split, ratings


def measure_all(cases: list[Case], given: argparse.Namespace) -> None:
    """Fill in (T(many) - T(few)) / (many - few), all cases by turns, so that drift of the machine cancels."""
    for case in cases:
        case.run(_FEW)
        probe = (case.run(_FEW + 2) - case.run(_FEW)) / 2
        case.many = _FEW + min(100, max(2, round(given.seconds / max(probe, 1e-4))))
    for _ in range(given.rounds):
        for case in cases:
            few, many = case.run(_FEW), case.run(case.many)
            case.rounds.append((many - few) / (case.many - _FEW))


def write_cases(
    name: str, cases: list[Case], given: argparse.Namespace, split: Split, against: str
) -> None:
    """Print and write the table; `against` is the label of the cases that the others are compared with."""
    roofs = peaks(best_level())
    peak = roofs[f"fma_f{given.dtype[-2:]}"]
    lines = [
        "| what | k | threads | s/iteration | range | million ratings/s | GFLOP/s by the textbook "
        f"| % of FMA peak | × {against} |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    records: list[dict[str, Any]] = []
    base = {(c.n_factors, c.n_threads): c for c in cases if c.label == against}
    for case in cases:
        gflops = case.work / case.seconds / 1e9
        share = gflops / (peak * case.n_threads)
        rival = base.get((case.n_factors, case.n_threads)) or base.get((case.n_factors, 1))
        pairs = zip(rival.rounds, case.rounds, strict=True) if rival else ()
        ratio = statistics.median(r / own for r, own in pairs) if rival else float("nan")
        lines.append(
            f"| {case.label} | {case.n_factors} | {case.n_threads} | {case.seconds:.4g} "
            f"| {min(case.rounds):.4g} – {max(case.rounds):.4g} | {split.nnz / case.seconds / 1e6:.1f} "
            f"| {gflops:.1f} | {100 * share:.0f} | {ratio:.2f} |"
        )
        records.append({
            "label": case.label, "n_factors": case.n_factors, "n_threads": case.n_threads, "rounds": case.rounds,
            "seconds": case.seconds, "gflops": gflops, "share_of_peak": share, "times_faster": ratio,
        })  # fmt: skip
    description = describe()
    text = heading(
        description,
        data=f"{given.data}, {split.nnz:,} training ratings, {split.shape[0]:,} × {split.shape[1]:,}, {given.dtype}",
        **{"FMA peak of one core, same run": f"{peak:.0f} GFLOP/s"},
    )
    print(
        write_text(
            given.output / f"{name}.md", f"## {name}\n\n{text}\n\n" + "\n".join(lines) + "\n"
        )
    )
    write_json(
        given.output / f"{name}.json", {"machine": description, "peaks": roofs, "cases": records}
    )
