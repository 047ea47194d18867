"""Seconds of one epoch of BPR, beside implicit's, and of the other ranking losses.

    python bench/bench_ranking.py --data gowalla --factors 64 --threads 1 2

An epoch visits every positive once, with one verified negative for BPR. Each model and thread number is a process of
its own; they take turns, so that drift of the machine cancels. implicit verifies negatives too, and draws positives
with replacement. With more than one thread its updates race, so that its results differ from run to run; cymf's do not.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from data import DATA_SETS, DEFAULT_CACHE, Split, prepare

_FEW = 2
_MODELS = {
    "cymf BPR": ("BPR", {}),
    "cymf WARP": ("BPR", {"negative_sampling": "warp"}),
    "cymf LogisticMF, 4 negatives": ("LogisticMF", {"n_negatives": 4}),
    "cymf ContrastiveMF, softmax, 256": ("ContrastiveMF", {"n_negatives": 256}),
    "cymf ContrastiveMF, margin, 256": (
        "ContrastiveMF",
        {"n_negatives": 256, "loss": "cosine_contrastive"},
    ),
}
_PEER = "implicit BPR"


def work(label: str, path: str, n_factors: int, n_threads: int) -> None:
    """Fit as many epochs as each line of the input says, and answer with the seconds."""
    split = Split.load(path)
    if label == _PEER:
        from implicit.bpr import BayesianPersonalizedRanking

        matrix = split.csr()

        def fit(n_epochs: int) -> None:
            model = BayesianPersonalizedRanking(
                factors=n_factors,
                learning_rate=0.05,
                regularization=0.01,
                iterations=n_epochs,
                num_threads=n_threads,
                random_state=0,
                use_gpu=False,
            )
            model.fit(matrix, show_progress=False)
    else:
        import cymf

        ratings = cymf.Ratings.from_matrix(split.csr())
        name, parameters = _MODELS[label]

        def fit(n_epochs: int) -> None:
            model = getattr(cymf, name)(
                n_factors, max_iter=n_epochs, n_threads=n_threads, store_ratings=False, **parameters
            )
            model.fit(ratings)

    fit(1)
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        fit(int(line))
        print(time.perf_counter() - started, flush=True)


class Worker:
    """The process of one model."""

    def __init__(self, label: str, path: Path, n_factors: int, n_threads: int, cache: Path) -> None:
        from environments import interpreter, process_variables

        own = label != _PEER
        python = Path(sys.executable) if own else interpreter("implicit", cache / "environments")
        self.name = label, n_threads
        self._process = subprocess.Popen(
            [str(python), __file__, "--work", label, str(path), str(n_factors), str(n_threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=process_variables(n_threads, own=own),
        )
        self._answer()
        self.rounds: list[float] = []

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with status {self._process.wait()}")
        return line

    def seconds(self, n_epochs: int) -> float:
        print(n_epochs, file=self._process.stdin, flush=True)
        return float(self._answer())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    from machine import describe, heading
    from report import write_json, write_text

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="gowalla", choices=list(DATA_SETS))
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--models", nargs="+", default=[_PEER, *_MODELS])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4, help="of one timed difference")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    path = prepare(given.data, given.cache)
    split = Split.load(path)
    workers = [
        Worker(label, path, given.factors, n_threads, given.cache)
        for n_threads in given.threads
        for label in given.models
    ]
    for _ in range(given.rounds):
        for worker in workers:
            few, many = worker.seconds(_FEW), worker.seconds(_FEW + given.epochs)
            worker.rounds.append((many - few) / given.epochs)
    lines = [
        f"| model | threads | s/epoch | range | million positives/s | × {_PEER} |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    peers = {w.name[1]: w for w in workers if w.name[0] == _PEER}
    for worker in workers:
        worker.close()
        label, n_threads = worker.name
        seconds = statistics.median(worker.rounds)
        ratio = float("nan")
        if n_threads in peers:
            pairs = zip(peers[n_threads].rounds, worker.rounds, strict=True)
            ratio = statistics.median(theirs / own for theirs, own in pairs)
        lines.append(
            f"| {label} | {n_threads} | {seconds:.4g} | {min(worker.rounds):.4g} – {max(worker.rounds):.4g} "
            f"| {split.nnz / seconds / 1e6:.2f} | {ratio:.2f} |"
        )
    description = describe()
    text = heading(
        description,
        data=f"{given.data}, {split.nnz:,} positives, {split.shape[0]:,} × {split.shape[1]:,}, "
        f"{given.factors} factors, float32",
    )
    print(
        write_text(
            given.output / "ranking.md", f"## ranking\n\n{text}\n\n" + "\n".join(lines) + "\n"
        )
    )
    rounds = {f"{label}, {n_threads}": w.rounds for w in workers for label, n_threads in [w.name]}
    write_json(given.output / "ranking.json", {"machine": description, "rounds": rounds})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*sys.argv[2:4], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
