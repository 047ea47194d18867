"""Held-out RMSE on Surprise's five folds of MovieLens-100K and -1M: defaults and presets beside published figures.

    python bench/accuracy.py [--data FOLDER] [--json FILE]

FOLDER (default: the environment variable CYMF_DATA) holds ``ml-100k/u.data`` and ``ml-1m.npz``. The folds are those of
Surprise's ``KFold(5, random_state=0)`` over the file's order; ``cymf.evaluation.kfold`` makes the same. Prints a
Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import numpy as np

import cymf

# Mean RMSE over five folds, default parameters: README of NicolasHug/Surprise (and JOSS 2020, doi:10.21105/joss.02174).
PUBLISHED = {
    "ml-100k": {"Surprise SVD": 0.934, "Surprise SVD++": 0.919},
    "ml-1m": {"Surprise SVD": 0.873, "Surprise SVD++": 0.862},
}
TARGETS = {
    ("ml-100k", "als-ml-100k"): 0.910,
    ("ml-100k", "sgd-ml-100k"): 0.905,
    ("ml-100k", "ALS()"): 0.920,
    ("ml-100k", "SGD()"): 0.915,
    ("ml-100k", "svdpp-ml-100k"): 0.900,
    ("ml-100k", "SVDpp()"): 0.910,
    ("ml-1m", "als-ml-1m"): 0.850,
    ("ml-1m", "sgd-ml-1m"): 0.845,
    ("ml-1m", "ALS()"): 0.860,
    ("ml-1m", "SGD()"): 0.855,
    ("ml-1m", "svdpp-ml-1m"): 0.841,
    ("ml-1m", "SVDpp()"): 0.850,
}


def models(dataset: str) -> dict[str, Any]:
    return {
        "ALS()": cymf.ALS(),
        "SGD()": cymf.SGD(),
        "SVDpp()": cymf.SVDpp(),
        f"als-{dataset}": cymf.ALS(**cymf.presets[f"als-{dataset}"]),
        f"sgd-{dataset}": cymf.SGD(**cymf.presets[f"sgd-{dataset}"]),
        f"svdpp-{dataset}": cymf.SVDpp(**cymf.presets[f"svdpp-{dataset}"]),
    }


def fold_errors(model: Any, ratings: cymf.Ratings) -> tuple[np.ndarray, float]:
    """Return the RMSE of each fold and the seconds of all fits."""
    results = cymf.evaluation.cross_validate(
        model, ratings, folds=cymf.evaluation.kfold(ratings, 5, random_state=0), metrics=("rmse",)
    )
    return np.asarray(results["rmse"]), float(np.sum(results["fit_seconds"]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("CYMF_DATA"))
    parser.add_argument("--json")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("no data: give --data, or set CYMF_DATA")
    rows = []
    for dataset, name in (("ml-100k", "100k"), ("ml-1m", "1m")):
        ratings = cymf.datasets.load_movielens(name, data_home=arguments.data).ratings
        for label, model in models(dataset).items():
            errors, seconds = fold_errors(model, ratings)
            rows.append(
                {
                    "dataset": dataset,
                    "model": label,
                    "rmse": float(errors.mean()),
                    "spread": float(errors.std()),
                    "at_most": TARGETS[dataset, label],
                    "fit_seconds": seconds,
                }
            )
    print("| | MovieLens-100K | MovieLens-1M |\n| --- | --- | --- |")
    for kind in ("SVD", "SVD++"):
        figures = [PUBLISHED[dataset][f"Surprise {kind}"] for dataset in ("ml-100k", "ml-1m")]
        print(f"| Surprise {kind} (published) | {figures[0]:.3f} | {figures[1]:.3f} |")
    for label in ("ALS()", "SGD()", "SVDpp()", "als-", "sgd-", "svdpp-"):
        cells = [
            f"{row['rmse']:.4f} ± {row['spread']:.4f}"
            for row in rows
            if row["model"].startswith(label)
        ]
        shown = f"`{label}`" if label.endswith(")") else f"preset `{label}…`"
        print(f"| {shown} | {' | '.join(cells)} |")
    for row in rows:
        verdict = "reached" if row["rmse"] <= row["at_most"] else "MISSED"
        print(
            f"{row['dataset']:8} {row['model']:13} {row['rmse']:.4f} (at most {row['at_most']:.3f}: {verdict}), "
            f"five fits in {row['fit_seconds']:.1f} s"
        )
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
