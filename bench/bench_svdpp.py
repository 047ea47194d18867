"""Seconds of one epoch of SVD++, beside Surprise's and the drop-in for it.

    python bench/bench_svdpp.py --factors 20 64 --threads 1 2 [--data ml-100k]

The ratings are MovieLens-100K (``--data ml-1m``: -1M, on which an epoch of Surprise takes minutes). Surprise's epoch
updates every y of a user at each of its ratings, O(Σ |N(u)|² k); cymf's takes these steps at once, O(nnz k), and so
does the drop-in ``cymf.compat.surprise.SVDpp``, in Surprise's order, in float64, on one thread. Each model is a process
of its own; they take turns, so that drift of the machine cancels. The picture is the held-out RMSE over epochs, of the
presets on the first of Surprise's five folds, beside `SGD`. Writes svdpp.md, svdpp.json and svdpp.png.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_FEW = 1
_OWN, _PEER, _DROP_IN = "cymf SVDpp", "Surprise SVDpp", "cymf.compat.surprise SVDpp"


def work(label: str, path: str, n_factors: int, n_threads: int) -> None:
    """Fit as many epochs as each line of the input says, and answer with the seconds."""
    with np.load(path) as file:
        users, items, values = file["users"], file["items"], file["values"]
    if label == _OWN:
        import cymf

        ratings = cymf.Ratings.from_triplets(users, items, values)

        def fit(n_epochs: int) -> None:
            cymf.SVDpp(n_factors, max_iter=n_epochs, n_threads=n_threads, store_ratings=False).fit(
                ratings
            )
    else:
        import pandas as pd
        from surprise import Dataset, Reader, SVDpp

        if label == _DROP_IN:
            from cymf.compat.surprise import SVDpp
        frame = pd.DataFrame({"user": users, "item": items, "rating": values})
        data = Dataset.load_from_df(frame, Reader(rating_scale=(1, 5))).build_full_trainset()

        def fit(n_epochs: int) -> None:
            SVDpp(n_factors=n_factors, n_epochs=n_epochs, random_state=0).fit(data)

    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        fit(int(line))
        print(time.perf_counter() - started, flush=True)


class Worker:
    """The process of one model."""

    def __init__(self, label: str, path: Path, n_factors: int, n_threads: int, cache: Path) -> None:
        from environments import interpreter, process_variables

        self.label, self.n_factors, self.n_threads = label, n_factors, n_threads
        own = label == _OWN
        python = Path(sys.executable) if own else interpreter("surprise", cache / "environments")
        variables = process_variables(n_threads, own=own)
        if label == _DROP_IN:  # Surprise is in its environment, cymf here
            import cymf

            variables["PYTHONPATH"] = str(Path(cymf.__file__).parents[1])
        self._process = subprocess.Popen(
            [str(python), __file__, "--work", label, str(path), str(n_factors), str(n_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
        )
        self._answer()
        self.rounds: list[float] = []

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.label} ended with status {self._process.wait()}")
        return line

    def seconds(self, n_epochs: int) -> float:
        print(n_epochs, file=self._process.stdin, flush=True)
        return float(self._answer())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def prepared(name: str, folder: str, cache: Path) -> tuple[Path, int]:
    """Return a file of the ratings as arrays, and how many they are."""
    import cymf

    ratings = cymf.datasets.load_movielens(name.removeprefix("ml-"), data_home=folder).ratings
    path = cache / f"svdpp-{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    users, items, values = ratings.to_triplets()
    np.savez(path, users=users, items=items, values=values)
    return path, ratings.nnz


def table(workers: list[Worker], nnz: int) -> tuple[str, list[dict[str, Any]]]:
    lines = [
        f"| model | k | threads | s/epoch | range | million ratings/s | × {_OWN}, one thread (range) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    records = []
    for worker in workers:
        base = next(w for w in workers if (w.label, w.n_factors) == (_OWN, worker.n_factors))
        ratios = [theirs / own for theirs, own in zip(worker.rounds, base.rounds, strict=True)]
        seconds = statistics.median(worker.rounds)
        lines.append(
            f"| {worker.label} | {worker.n_factors} | {worker.n_threads} | {seconds:.4g} "
            f"| {min(worker.rounds):.4g} – {max(worker.rounds):.4g} | {nnz / seconds / 1e6:.3g} "
            f"| {statistics.median(ratios):.3g} ({min(ratios):.3g} – {max(ratios):.3g}) |"
        )
        records.append({"label": worker.label, "n_factors": worker.n_factors, "n_threads": worker.n_threads,
                        "rounds": worker.rounds, "ratios": ratios})  # fmt: skip
    return "\n".join(lines), records


def picture(name: str, folder: str, path: Path) -> dict[str, list[float]]:
    """Draw the held-out RMSE over epochs; return the curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    import cymf

    ratings = cymf.datasets.load_movielens(name.removeprefix("ml-"), data_home=folder).ratings
    train, test = next(iter(cymf.evaluation.kfold(ratings, 5, random_state=0)))
    curves = {}
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for label, estimator in (("SGD", cymf.SGD), ("SVDpp", cymf.SVDpp)):
        parameters = cymf.presets[f"{label.lower()}-{name}"]
        model = estimator(**parameters).fit(train, validation=test)
        curves[label] = model.history_["validation_rmse"]
        axes.plot(range(1, len(curves[label]) + 1), curves[label], label=f"{label}, preset")
    axes.set(
        xlabel="epochs", ylabel="held-out RMSE", ylim=(None, min(map(min, curves.values())) + 0.04)
    )
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)
    return curves


def main() -> None:
    from data import DEFAULT_CACHE
    from machine import describe, heading
    from report import write_json, write_text

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="ml-100k", choices=["ml-100k", "ml-1m"])
    parser.add_argument("--folder", default=os.environ.get("CYMF_DATA"))
    parser.add_argument("--factors", nargs="+", type=int, default=[20, 64])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="20 factors, two rounds")
    parser.add_argument("--own-only", action="store_true", help="without Surprise and the drop-in")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    if given.quick:
        given.factors, given.rounds = [20], 2
    path, nnz = prepared(given.data, given.folder, given.cache)
    description = describe()
    workers = []
    for k in given.factors:
        workers += [Worker(_OWN, path, k, n, given.cache) for n in given.threads]
        if not given.own_only:
            workers += [Worker(label, path, k, 1, given.cache) for label in (_DROP_IN, _PEER)]
    many = {}
    for worker in workers:
        worker.seconds(_FEW)
        probe = max(worker.seconds(_FEW + 1) - worker.seconds(_FEW), 1e-3)
        many[worker] = _FEW + max(1, min(50, round(1.0 / probe)))
    for _ in range(given.rounds):
        for worker in workers:
            few = worker.seconds(_FEW)
            worker.rounds.append((worker.seconds(many[worker]) - few) / (many[worker] - _FEW))
    for worker in workers:
        worker.close()
    lines, records = table(workers, nnz)
    text = heading(description, data=f"{given.data}, {nnz:,} ratings")
    print(write_text(given.output / "svdpp.md", f"## SVD++\n\n{text}\n\n{lines}\n"))
    curves = picture(given.data, given.folder, given.output / "svdpp.png")
    write_json(
        given.output / "svdpp.json",
        {"machine": description, "cases": records, "validation_rmse": curves},
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
