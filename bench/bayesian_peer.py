"""A sweep of BayesianMF beside one of myFM's Gibbs sampler: seconds, and held-out RMSE after as many sweeps.

    python bench/bayesian_peer.py [--data FOLDER] [--name 100k|1m] [--factors K] [--turns N] [--output FOLDER]

Both get the first of Surprise's folds, one thread, and the same model: users and items, without and with implicit sets
on both sides (myFM as further columns). Seconds of a sweep are processor time, (T(23) − T(3)) / 20, by turns. RMSE is
that of the mean over 200 sweeps after 50. Writes bayesian_peer.md and bayesian_peer.json into the output folder
(default: bench/results).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from factorization_machines import Peer, write_fold
from machine import describe, heading
from report import write_json, write_text

import cymf

BURN_IN, KEPT = 50, 200
FEW, MANY = 3, 23
SETS: dict[str, dict[str, Any]] = {"none": {}, "both": {"history": "both"}}


def fit(train: cymf.Ratings, k: int, sets: str | None, n_sweeps: int, **held_out: Any) -> Any:
    """Return a model of so many sweeps, and the processor time of its fit."""
    burn_in = BURN_IN if n_sweeps > BURN_IN else n_sweeps - 1
    model = cymf.BayesianMF(
        k,
        burn_in=burn_in,
        n_samples=1,
        thinning=n_sweeps - burn_in,
        implicit_sets=sets,
        n_threads=1,
    )
    cpu = time.process_time()
    model.fit(train, **held_out)
    return model, time.process_time() - cpu


def measure(
    train: cymf.Ratings, test: cymf.Ratings, label: str, peer: Peer, k: int, turns: int, path: Path
) -> dict[str, Any]:
    """Return the figures of one kind of sets."""
    sets = None if label == "none" else label
    design = cymf.design_matrix(train, **SETS[label])
    write_fold(path, design, design.encode_ratings(test))
    peer.ask(load=str(path))
    model, _ = fit(train, k, sets, BURN_IN + KEPT, validation=test)
    peer.ask(fit={"n_factors": k, "n_iter": BURN_IN + KEPT, "n_kept": KEPT, "seed": 1})
    peer_rmse = peer.ask(rmse=True)["rmse"]
    seconds: dict[str, list[float]] = {"cymf": [], "myFM": []}
    for _ in range(turns):
        own = [fit(train, k, sets, n)[1] for n in (FEW, MANY)]
        other = [
            peer.ask(fit={"n_factors": k, "n_iter": n, "n_kept": 1, "seed": 1})["cpu"]
            for n in (FEW, MANY)
        ]
        for name, (few, many) in (("cymf", own), ("myFM", other)):
            seconds[name].append((many - few) / (MANY - FEW))
    errors = {"cymf": model.history_["validation_rmse"][-1], "myFM": peer_rmse}
    return {"rmse": errors, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("CYMF_DATA"))
    parser.add_argument("--name", choices=("100k", "1m"), default="100k")
    parser.add_argument("--factors", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("no data: give --data, or set CYMF_DATA")
    ratings = cymf.datasets.load_movielens(arguments.name, data_home=arguments.data).ratings
    train, test = next(iter(cymf.evaluation.kfold(ratings, 5, random_state=0)))
    machine, peer, results = describe(), Peer(), {}
    lines = [
        "| implicit sets | cymf RMSE | myFM RMSE | cymf ms/sweep | myFM ms/sweep | times faster (range) |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        for label in SETS:
            found = measure(
                train,
                test,
                label,
                peer,
                arguments.factors,
                arguments.turns,
                Path(scratch, "fold.npz"),
            )
            own, other = (found["seconds"][name] for name in ("cymf", "myFM"))
            ratios = [b / a for a, b in zip(own, other, strict=True)]
            errors = " | ".join(f"{found['rmse'][name]:.4f}" for name in ("cymf", "myFM"))
            lines.append(
                f"| {label} | {errors} | {1000 * statistics.median(own):.1f} | {1000 * statistics.median(other):.1f} "
                f"| **{statistics.median(ratios):.1f}** ({min(ratios):.1f} – {max(ratios):.1f}) |"
            )
            results[label] = found
            print(lines[-1], flush=True)
    peer.close()
    text = (
        heading(machine, data=f"ml-{arguments.name}, first fold", factors=str(arguments.factors))
        + "\n\n"
        + "\n".join(lines)
    )
    print(text)
    write_text(arguments.output / "bayesian_peer.md", text + "\n")
    write_json(arguments.output / "bayesian_peer.json", {"machine": machine, "results": results})


if __name__ == "__main__":
    main()
