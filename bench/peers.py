"""Compare cymf with other libraries, each in its own process and environment, on the same data, split and threads.

    python bench/peers.py --quick                 # half of MovieLens 1M, 64 factors, four libraries
    python bench/peers.py --task implicit         # implicit feedback: Gowalla and MovieLens 1M as "has seen"
    python bench/peers.py --all                   # everything; hours
    python bench/peers.py --data synthetic-20m --factors 64 --peer-seconds 120 --curve-seconds 400
    python bench/peers.py --sweep                 # try penalties, print the held-out error of each

Writes peers.md, peers.json and a picture per table into the output folder. Seconds per iteration are
(T(many) - T(few)) / (many - few), by turns; "× cymf" is the median over rounds of the ratio to the cymf estimator
of the same kind within the round. Quality: from `fit()`'s begin to within 0.1 % of the library's own best held-out
error (RMSE; for implicit feedback 1 - recall@20), to the other's, and to one that all reach, the largest of their
bests; for implicit feedback also to the objective over all cells, which is the same for all libraries.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from adapters import all_peers
from data import DATA_SETS, DEFAULT_CACHE, IMPLICIT, Split, prepare
from machine import describe, heading
from measure import Plan, run
from report import (
    objective_table,
    peers_picture,
    peers_table,
    quality_table,
    write_json,
    write_text,
)

TASKS = {
    "explicit": ["ml1m-half", "synthetic-20m"],
    "implicit": ["gowalla", "ml1m-seen"],
}
ORIGINS = {
    "ALS": "cymf-als",
    "ALS, CG": "cymf-als-cg",
    "SGD": "cymf-sgd",
    "iALS": "cymf-ials",
    "iALS, CG": "cymf-ials-cg",
    "iALS++": "cymf-ials-subspace",
    "BPR": "cymf-bpr",
}
SLOW_ON_MANY = (
    "surprise",
    "spark",
    "libmf-pypi",
)  # minutes an epoch, or gigabytes of Python objects
MANY = 5_000_000


def arguments() -> argparse.Namespace:
    known = all_peers()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", action="store_true", help="the default: one data set, the nearest rivals"
    )
    size.add_argument("--all", action="store_true", help="all data sets, ranks and libraries")
    parser.add_argument(
        "--task",
        choices=list(TASKS),
        help="the data sets of one kind; default: explicit, with --all both",
    )
    parser.add_argument("--data", nargs="+", choices=list(DATA_SETS))
    parser.add_argument("--factors", nargs="+", type=int)
    parser.add_argument(
        "--peers", nargs="+", choices=list(known), metavar="KEY", help=", ".join(known)
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one timed difference, about")
    parser.add_argument(
        "--curve-seconds", type=float, default=240.0, help="most time of a quality curve; 0: none"
    )
    parser.add_argument(
        "--peer-seconds",
        type=float,
        default=180.0,
        help="of the rounds of one library; it does one at least",
    )
    parser.add_argument("--name", default="peers", help="of the files that are written")
    parser.add_argument(
        "--sweep", action="store_true", help="compare penalties instead of libraries"
    )
    parser.add_argument(
        "--environments",
        type=Path,
        default=DEFAULT_CACHE,
        help="cache folder of environments and data",
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    tasks = [given.task] if given.task else list(TASKS) if given.all else ["explicit"]
    whole = given.all or given.task == "implicit"
    given.data = given.data or [
        name for task in tasks for name in TASKS[task][: None if whole else 1]
    ]
    given.factors = given.factors or ([64, 128] if given.all else [64])
    given.named = bool(given.peers)
    given.peers = given.peers or [
        key for key, (_, peer) in known.items() if given.all or peer.quick
    ]
    return given


def fitting(given: argparse.Namespace, data: str, nnz: int = 0) -> list[str]:
    """Return the peers that train on such data; on much of it without the slowest, unless they were named."""
    return [
        key
        for key in given.peers
        if all_peers()[key][1].implicit == (data in IMPLICIT)
        and (given.named or nnz < MANY or key not in SLOW_ON_MANY)
    ]


def sweep(given: argparse.Namespace) -> None:
    """Print the best held-out error of each peer at each of its penalties."""
    print(
        "| library | data | k | setting | held-out error (iterations) |\n| --- | --- | ---: | --- | --- |"
    )
    plan = Plan(1, 0.0, given.curve_seconds)
    for name in given.data:
        path = prepare(name, given.environments)
        for n_factors in given.factors:
            for key in fitting(given, name):
                setting, values = all_peers()[key][1].sweep
                for value in values:
                    settings = {setting: value}
                    [result] = run(
                        [key],
                        path,
                        n_factors,
                        given.threads,
                        plan,
                        given.environments / "environments",
                        settings,
                    )
                    best = result.best
                    reached = result.error or f"{best.error:.4f} ({best.iterations})"
                    label = result.peer.label
                    print(
                        f"| {label} | {name} | {n_factors} | {setting} = {value:g} | {reached} |",
                        flush=True,
                    )


def compare(given: argparse.Namespace) -> None:
    """Measure and write the tables."""
    description = describe()
    plan = Plan(given.rounds, given.seconds, given.curve_seconds, given.peer_seconds)
    text = [
        f"## Side by side\n\n{heading(description, threads=str(given.threads), rounds=str(given.rounds))}\n"
    ]
    records: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for name in given.data:
        path = prepare(name, given.environments)
        split = Split.load(path)
        title = f"{name}: {split.nnz:,} training ratings, {split.shape[0]:,} × {split.shape[1]:,}"
        for n_factors in given.factors:
            print(f"{title}, {n_factors} factors", file=sys.stderr, flush=True)
            results = run(
                fitting(given, name, split.nnz),
                path,
                n_factors,
                given.threads,
                plan,
                given.environments / "environments",
            )
            own = {
                family: next((r for r in results if r.key == key), None)
                for family, key in ORIGINS.items()
            }
            work = textbook_work(split, n_factors)
            error = "1 − recall@20" if name in IMPLICIT else "RMSE"
            text.append(
                f"### {title}, {n_factors} factors\n\n{peers_table(results, own, work, error)}\n"
            )
            if given.curve_seconds:
                text.append(f"Time to quality:\n\n{quality_table(results, own, error)}\n")
                if name in IMPLICIT:
                    text.append(f"Time to the objective:\n\n{objective_table(results)}\n")
            picture = given.output / f"{given.name}-{name}-{n_factors}.png"
            peers_picture(
                results, f"{title}, {n_factors} factors, {given.threads} threads", error, picture
            )
            versions.update({r.peer.label: r.version for r in results if r.version})
            records.append(
                {"data": name, "n_factors": n_factors, "results": [r.as_dict() for r in results]}
            )
            save(given, description, text, versions, records)
    text[0] = text[0].rstrip("\n") + f"\n- load after: {describe()['load before']}\n"
    print(save(given, description, text, versions, records))


def save(
    given: argparse.Namespace,
    description: dict[str, str],
    text: list[str],
    versions: dict[str, str],
    records: list[dict[str, Any]],
) -> str:
    """Write what there is so far; return the Markdown."""
    notes = [
        f"- {peer.label}: {peer.note}"
        for _, peer in all_peers().values()
        if peer.note and peer.label in versions
    ]
    told = [f"- {label}: {version}" for label, version in versions.items()]
    write_json(
        given.output / f"{given.name}.json",
        {"machine": description, "threads": given.threads, "versions": versions, "tables": records},
    )
    return write_text(
        given.output / f"{given.name}.md",
        "\n".join([*text, "Versions:\n", *told, "\nNotes:\n", *notes, ""]),
    )


def textbook_work(split: Split, n_factors: int) -> dict[str, float]:
    """Return the flops of one iteration by the textbook: two half-sweeps of exact ALS, one epoch of SGD.

    For implicit feedback the Gram matrices of all rows come on top, 2 (N + M) k².
    """
    k = n_factors
    als = (
        2 * split.nnz * k * (k + 1) + 4 * split.nnz * k + sum(split.shape) * (k**3 / 3 + 2 * k * k)
    )
    implicit = als + 2 * sum(split.shape) * k * k
    return {
        **dict.fromkeys(("ALS", "ALS, CG"), als),
        **dict.fromkeys(("iALS", "iALS, CG", "iALS++"), implicit),
        "SGD": 8.0 * split.nnz * k,
    }


def main() -> None:
    given = arguments()
    if given.sweep:
        sweep(given)
    else:
        compare(given)


if __name__ == "__main__":
    main()
