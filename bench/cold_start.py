"""Users and items without ratings, predicted from their features: cymf beside means, neighbours and other libraries.

    python bench/cold_start.py [--data FOLDER] [--quick] [--sets 100k 1m] [--only KEY …] [--splits 5] [--output FOLDER]
    python bench/cold_start.py --hand-over     # only the picture of what content and ratings weigh

FOLDER (default: the environment variable CYMF_DATA) holds MovieLens. A fifth of the users, or of the items, has no
training rating. Every method with settings is tuned alike: on a fifth of the first split's training users (or items)
held out in the same way, by RMSE, or by NDCG@10 if it does not predict ratings. Splits differ a lot: read the
differences to the means of the known side on the same split. Writes cold-start.md, cold-start.json and
cold-start-hand-over.svg.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from cold_start_data import SIDES, ColdSplit, Described, load, measure
from cold_start_hand_over import hand_over, picture
from cold_start_methods import METHODS, Method
from data import DEFAULT_CACHE
from machine import describe, heading
from report import write_json, write_text

_BASE = "known-means"
_TITLES = {"user": "users", "item": "items"}


def tuned(method: Method, split: ColdSplit, data: Described) -> dict[str, Any]:
    """Return the best of a method's settings on a part of the training ratings."""
    settings = method.settings(split.side)
    if len(settings) == 1:
        return settings[0]
    inner = ColdSplit.of(data, split.train, split.side, 100)
    by = "RMSE" if method.errors else "NDCG@10"
    found = []
    for one in settings:
        scores = method.fit(inner, **one)
        value = measure(inner, scores, errors=method.errors, ranking=not method.errors)[by]
        found.append(value if method.errors else -value)
        print(f"  {method.label} {one}: {by} {value:.4f}", flush=True)
    return settings[int(np.argmin(found))]


def measured(
    data: Described, side: str, methods: dict[str, Method], n_splits: int
) -> dict[str, Any]:
    """Return the figures of all methods on all splits."""
    results: dict[str, Any] = {}
    for seed in range(n_splits):
        split = ColdSplit.of(data, data.ratings, side, seed)
        for key, method in methods.items():
            if seed == 0:
                results[key] = {"settings": tuned(method, split, data), "figures": []}
            started = time.perf_counter()
            scores = method.fit(split, **results[key]["settings"])
            seconds = time.perf_counter() - started
            figures = measure(split, scores, errors=method.errors) | {"seconds": seconds}
            results[key]["figures"].append(figures)
            shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
            print(f"{data.name}, cold {side} {seed}, {method.label}: {shown}", flush=True)
    return results


def table(results: dict[str, Any], methods: dict[str, Method]) -> str:
    """Return one data set's and side's table."""
    lines = [
        "| | RMSE | difference to the means | NDCG@10 | fit, s | settings |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    base = [figures["RMSE"] for figures in results[_BASE]["figures"]]
    for key, result in results.items():
        columns = {
            name: np.array([figures.get(name, np.nan) for figures in result["figures"]])
            for name in ("RMSE", "NDCG@10", "seconds")
        }
        difference = columns["RMSE"] - base
        settings = ", ".join(f"{k}={v}" for k, v in result["settings"].items() if k != "features")
        lines.append(
            f"| {methods[key].label} | {_spread(columns['RMSE'])} | {_spread(difference, sign='+')} | "
            f"{_spread(columns['NDCG@10'])} | {np.median(columns['seconds']):.2f} | {settings} |"
        )
    return "\n".join(lines)


def _spread(values: np.ndarray, sign: str = "") -> str:
    if np.isnan(values).any():
        return ""
    return f"{values.mean():{sign}.4f} ± {values.std():.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("CYMF_DATA"))
    parser.add_argument("--quick", action="store_true", help="the small set, two splits")
    parser.add_argument("--sets", nargs="+", choices=("100k", "1m"))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--only", nargs="+", metavar="KEY")
    parser.add_argument("--splits", type=int)
    parser.add_argument(
        "--hand-over", action=argparse.BooleanOptionalAction, help="only the picture, or no picture"
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("no data: give --data, or set CYMF_DATA")
    sets = arguments.sets or (["100k"] if arguments.quick else ["100k", "1m"])
    n_splits = arguments.splits or (2 if arguments.quick else 5)
    methods = METHODS(DEFAULT_CACHE)
    if arguments.only:
        unknown = set(arguments.only) - set(methods)
        if unknown:
            parser.error(f"--only knows {', '.join(methods)}; not {', '.join(unknown)}")
        methods = {key: methods[key] for key in methods if key in (*arguments.only, _BASE)}
    machine = describe()
    content: dict[str, Any] = {"machine": machine, "splits": n_splits, "tables": {}}
    text = [heading(machine, splits=str(n_splits))]
    if not arguments.hand_over:
        for name in sets:
            data = load(name, arguments.data)
            for side in arguments.sides:
                results = measured(data, side, methods, n_splits)
                content["tables"][f"{data.name}, cold {_TITLES[side]}"] = results
                text.append(f"### {data.name}, cold {_TITLES[side]}\n\n{table(results, methods)}")
    if arguments.hand_over is not False:
        draw(sets[-1], arguments, n_splits, content)
    print("\n\n".join(text))
    write_text(arguments.output / "cold-start.md", "\n\n".join(text))
    write_json(arguments.output / "cold-start.json", content)


def draw(name: str, arguments: argparse.Namespace, n_splits: int, content: dict[str, Any]) -> None:
    """Measure and draw how rows go from their features to their ratings."""
    data = load(name, arguments.data)
    curves = {side: hand_over(data, side, n_splits) for side in arguments.sides}
    content["hand_over"] = curves
    picture(curves, data.name, arguments.output / "cold-start-hand-over.svg")


if __name__ == "__main__":
    main()
