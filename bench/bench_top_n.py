"""Seconds to find the ten best items of all users, and of one user a request, beside implicit on the same factors.

    python bench/bench_top_n.py --threads 2

Each library runs in its own process and environment and gets the same factors and seen items; calls alternate. Factors:

    random     normally distributed, of one length: nothing to prune by norm
    implicit   trained by implicit's AlternatingLeastSquares, defaults, 10 iterations
    cymf       trained by cymf.ImplicitALS with regularization that grows with counts, 10 iterations

The answers must agree but for ties within rounding. Writes top_n.md into the output folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

FACTORS = ("random", "implicit", "cymf")
N_REQUESTS = 1000
N_COMPARED = 2000


# --- in the worker: one library, asked through lines of JSON


def load(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def seen_matrix(data: dict[str, np.ndarray]) -> Any:
    import scipy.sparse as sp

    shape = tuple(int(size) for size in data["shape"])
    cells = (data["users"].astype(np.int64), data["items"].astype(np.int64))
    return sp.csr_matrix((np.ones(len(cells[0]), np.float32), cells), shape=shape)


class OfImplicit:
    def __init__(self, data: dict[str, np.ndarray], n_threads: int) -> None:
        from implicit.cpu.als import AlternatingLeastSquares

        self.seen = seen_matrix(data)
        self.model = AlternatingLeastSquares(data["user_factors"].shape[1], num_threads=n_threads)
        self.model.user_factors = data["user_factors"]
        self.model.item_factors = data["item_factors"]
        self.users = np.arange(self.seen.shape[0])

    def all(self) -> np.ndarray:
        return self.model.recommend(self.users, self.seen, N=10)[0]

    def one(self, user: int) -> None:
        self.model.recommend(user, self.seen[user], N=10)


class OfCymf:
    def __init__(self, data: dict[str, np.ndarray], n_threads: int) -> None:
        import cymf
        from cymf._state import FittedState

        ratings = cymf.Ratings.from_matrix(seen_matrix(data))
        self.model = cymf.ImplicitALS(data["user_factors"].shape[1], n_threads=n_threads)
        self.state = FittedState(
            user_factors=data["user_factors"], item_factors=data["item_factors"], user_bias=None, item_bias=None,
            global_mean=0.0, rating_mean=1.0, rating_range=(1.0, 1.0), user_ids=None, item_ids=None,
            user_counts=ratings.user_counts, item_counts=ratings.item_counts, ratings=ratings, history={}, n_iter=1,
            stop_reason="max_iter",
        )  # fmt: skip
        self.model._publish(self.state)
        self.users = np.arange(ratings.n_users)
        self.fifty = np.arange(0, 50 * 7, 7) % ratings.n_items

    def all(self) -> np.ndarray:
        return self.model.recommend(self.users, 10)[0]

    def one(self, user: int) -> None:
        self.model.recommend(user, 10)

    def by_factors(self, user: int) -> None:
        self.model.recommend_by_factors(self.state.user_factors[user], 10, exclude=self.fifty)


def serve(library: str, path: str, n_threads: int) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker: Any = (OfCymf if library == "cymf" else OfImplicit)(load(path), n_threads)
    for line in sys.stdin:
        request = json.loads(line)
        if "all" in request:
            started = time.perf_counter()
            found = worker.all()
            answer: Any = {"seconds": time.perf_counter() - started}
            if request["all"]:
                np.save(request["all"], found[:N_COMPARED])
        else:
            ask = getattr(worker, request["one"], None)
            times = []
            for user in range(N_REQUESTS if ask is not None else 0):
                started = time.perf_counter()
                ask(user)
                times.append(time.perf_counter() - started)
            answer = {"microseconds": median(times) * 1e6 if times else None}
        print(json.dumps(answer), file=answers)


def train(library: str, path: str, n_factors: int) -> None:
    """Add factors trained by a library to the file."""
    data = load(path)
    seen = seen_matrix(data)
    if library == "implicit":
        from implicit.cpu.als import AlternatingLeastSquares

        model = AlternatingLeastSquares(n_factors, iterations=10, random_state=0)
        model.fit(seen, show_progress=False)
        found = model.user_factors, model.item_factors
    else:
        import cymf

        fitted = cymf.ImplicitALS(
            n_factors, reg=0.003, reg_exponent=1.0, unobserved_weight=0.01, weighting="rendle",
            max_iter=10, random_state=0,
        ).fit(seen)  # fmt: skip
        found = fitted.user_factors_, fitted.item_factors_
    np.savez(path, **{**data, "user_factors": found[0], "item_factors": found[1]})


# --- in the parent


def cells_of(name: str) -> dict[str, np.ndarray]:
    folder = Path(os.environ["CYMF_DATA"])
    if name == "gowalla":
        with np.load(folder / "gowalla-lightgcn.npz") as file:
            return {
                "users": file["train_user"],
                "items": file["train_item"],
                "shape": file["shape"],
            }
    with np.load(folder / "ml-1m.npz") as file:
        users, items = (
            np.unique(file[axis], return_inverse=True)[1].astype(np.int32)
            for axis in ("user", "item")
        )
        return {
            "users": users,
            "items": items,
            "shape": np.array([users.max() + 1, items.max() + 1]),
        }


class Process:
    def __init__(self, library: str, path: Path, n_threads: int, environments: Path) -> None:
        from environments import interpreter, process_variables

        module = "implicit" if library == "implicit" else "cymf_itself"
        self._process = subprocess.Popen(
            [str(interpreter(module, environments)), __file__, "--worker", library, str(path), str(n_threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=process_variables(n_threads, own=library == "cymf"),
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the worker ended; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def factor_file(name: str, kind: str, n_factors: int, cache: Path) -> Path:
    """Return a file with the cells and factors of a kind, made if there is none."""
    from environments import interpreter, process_variables

    path = cache / f"top-n-{name}-{kind}-{n_factors}.npz"
    if path.exists():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    data = cells_of(name)
    if kind == "random":
        rng = np.random.default_rng(0)
        for axis, size in zip(("user", "item"), data["shape"], strict=True):
            data[f"{axis}_factors"] = rng.standard_normal((int(size), n_factors), np.float32)
    np.savez(unfinished, **data)
    if kind != "random":
        module = "implicit" if kind == "implicit" else "cymf_itself"
        subprocess.run(
            [str(interpreter(module, cache / "environments")), __file__, "--train", kind, str(unfinished),
             str(n_factors)],
            check=True, env=process_variables(1, own=kind == "cymf"),
        )  # fmt: skip
    unfinished.rename(path)
    return path


def agreement(cymf: Path, implicit: Path) -> float:
    """Share of the places of the lists with the same item."""
    return float((np.load(cymf) == np.load(implicit)).mean())


def row(name: str, kind: str, given: argparse.Namespace) -> str:
    path = factor_file(name, kind, given.factors, given.environments)
    libraries = {
        library: Process(library, path, given.threads, given.environments / "environments")
        for library in ("cymf", "implicit")
    }
    kept = {library: given.environments / f"top-n-answer-{library}.npy" for library in libraries}
    for library, process in libraries.items():
        process.ask(all=str(kept[library]))
    seconds: dict[str, list[float]] = {library: [] for library in libraries}
    for _ in range(given.rounds):
        for library, process in libraries.items():
            seconds[library].append(process.ask(all="")["seconds"])
    ratios = [b / a for a, b in zip(seconds["cymf"], seconds["implicit"], strict=True)]
    requests = [
        libraries[library].ask(one=ask)["microseconds"]
        for library, ask in (("cymf", "one"), ("cymf", "by_factors"), ("implicit", "one"))
    ]
    for process in libraries.values():
        process.close()
    return (
        f"| {name} | {kind} | {median(seconds['cymf']):.4f} | {median(seconds['implicit']):.3f} "
        f"| **{median(ratios):.1f}** ({min(ratios):.1f} – {max(ratios):.1f}) "
        f"| {requests[0]:.0f} | {requests[1]:.0f} | {requests[2]:.0f} "
        f"| {agreement(kept['cymf'], kept['implicit']):.5f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", nargs="+", choices=("gowalla", "ml1m"), default=["gowalla", "ml1m"]
    )
    parser.add_argument("--kinds", nargs="+", choices=FACTORS, default=list(FACTORS))
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--environments", type=Path)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--worker", nargs=3, metavar=("LIBRARY", "FILE", "THREADS"))
    parser.add_argument("--train", nargs=3, metavar=("LIBRARY", "FILE", "FACTORS"))
    given = parser.parse_args()
    if given.worker:
        serve(given.worker[0], given.worker[1], int(given.worker[2]))
        return
    if given.train:
        train(given.train[0], given.train[1], int(given.train[2]))
        return

    from data import DEFAULT_CACHE
    from machine import describe, heading
    from report import write_text

    given.environments = given.environments or DEFAULT_CACHE
    head = heading(describe(), threads=str(given.threads), rounds=str(given.rounds))
    lines = [
        f"## Top 10, {given.factors} factors, seen items left out\n\n{head}\n",
        "| data | factors | cymf, s | implicit, s | ratio (range) | one user, µs | by factors and 50 items, µs "
        "| implicit, one user, µs | same items |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in given.data:
        for kind in given.kinds:
            lines.append(row(name, kind, given))
            print(lines[-1], flush=True)
    write_text(given.output / "top_n.md", "\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
