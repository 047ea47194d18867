"""Seconds of Surprise's classes and of cymf's drop-ins for them: fit, test, and both.

    pip install scikit-surprise cymf        # both into one environment
    python bench/bench_surprise.py --data 1m --models SVD

The same trainset object, a random tenth held out, each pair of fits by turns in one process. Surprise has one thread;
cymf takes all processors, as its users' scripts will.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import pandas as pd
import surprise
from machine import describe, heading
from report import write_json, write_text

import cymf
import cymf.compat.surprise as drop_in

_MODELS = ("SVD", "SVDpp", "NMF")


def timed(model: Any, trainset: Any, testset: list[Any]) -> tuple[float, float, float]:
    started = time.perf_counter()
    model.fit(trainset)
    fitted = time.perf_counter()
    predictions = model.test(testset)
    return (
        fitted - started,
        time.perf_counter() - fitted,
        surprise.accuracy.rmse(predictions, verbose=False),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="1m", choices=["100k", "1m"])
    parser.add_argument("--models", nargs="+", default=["SVD"], choices=_MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    ratings = cymf.datasets.load_movielens(given.data).ratings
    frame = pd.DataFrame({"user": ratings.users, "item": ratings.items, "rating": ratings.values})
    data = surprise.Dataset.load_from_df(frame, surprise.Reader(rating_scale=(1, 5)))
    trainset, testset = surprise.model_selection.train_test_split(data, 0.1, random_state=0)
    lines = [
        "| model | fit: Surprise, s | cymf, s | ratio (range) | test: Surprise, s | cymf, s | ratio (range) "
        "| RMSE: Surprise | cymf |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    records = []
    for name in given.models:
        rounds = []
        for _ in range(given.rounds):
            trainset._global_mean = None  # neither profits from what the other found
            theirs = timed(getattr(surprise, name)(random_state=0), trainset, testset)
            trainset._global_mean = None
            rounds.append(
                (theirs, timed(getattr(drop_in, name)(random_state=0), trainset, testset))
            )
        cells = [name]
        for part in (0, 1):
            one, other = ([r[which][part] for r in rounds] for which in (0, 1))
            ratios = sorted(a / b for a, b in zip(one, other, strict=True))
            cells += [f"{statistics.median(one):.3f}", f"{statistics.median(other):.3f}"]
            cells.append(
                f"**{statistics.median(ratios):.1f}** ({ratios[0]:.1f} – {ratios[-1]:.1f})"
            )
        cells += [f"{rounds[0][0][2]:.4f}", f"{rounds[0][1][2]:.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
        records.append({"model": name, "rounds": rounds})
    description = describe()
    text = heading(
        description, data=f"MovieLens {given.data}, {trainset.n_ratings:,} training ratings"
    )
    title = "## Surprise's classes and the drop-ins"
    report = "\n".join([title, "", text, "", *lines, ""])
    print(write_text(given.output / "surprise.md", report))
    write_json(given.output / "surprise.json", {"machine": description, "models": records})


if __name__ == "__main__":
    main()
