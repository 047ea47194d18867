"""Non-negative factorization beside scikit-learn's, and with missing cells beside NumPy and published errors.

    python bench/nonnegative.py [--quick] [--parts complete masked accuracy components] [--start nndsvda]

Complete matrices: cymf and ``sklearn.decomposition.NMF`` (both of its solvers) minimize one objective from one start,
by turns in one process. Each stops as it does by default; its objective is computed from its factors by one function,
in float64. "to its objective" are cymf's seconds until it was at most 0.1 % above the other's last objective, as a
share of its iterations. Missing cells: a multiplicative update with a mask, in NumPy, minimizes the same objective on a
dense matrix; all do a number of iterations. Errors: Surprise's folds.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from data import DEFAULT_CACHE, Split, prepare
from machine import describe, heading
from report import write_json, write_text
from threadpoolctl import threadpool_limits

import cymf
from cymf.datasets import load_movielens

# Mean RMSE over five folds, default parameters: README of NicolasHug/Surprise.
PUBLISHED = {"100k": 0.963, "1m": 0.916}
PRESETS = {
    "100k": {"n_components": 16, "alpha_W": 0.1},
    "1m": {"n_components": 24, "alpha_W": 0.05},
}
_CLOSE = 1.001


def made_up_matrix(kind: str, quick: bool) -> Any:
    """Return a matrix of float32: dense of low rank with noise, or word counts of made-up documents."""
    rng = np.random.default_rng(0)
    if kind == "dense":
        n, m, rank = (1000, 400, 12) if quick else (6000, 1500, 24)
        users, items = (np.maximum(rng.normal(size=(size, rank)), 0) for size in (n, m))
        return (users @ items.T + 0.5 * rng.random((n, m))).astype(np.float32)
    n, m, n_topics, length = (3000, 2000, 20, 60) if quick else (20000, 12000, 40, 120)
    popularity = 1 / np.arange(1, m + 1) ** 0.9
    topics = [rng.permutation(popularity * rng.gamma(0.1, 1, m)) for _ in range(n_topics)]
    cumulated = [np.cumsum(topic / topic.sum()) for topic in topics]
    rows, columns = [], []
    for document in range(n):
        for topic in rng.choice(n_topics, 3):
            words = np.searchsorted(cumulated[topic], rng.random(length // 3) * 0.999999)
            rows.append(np.full(len(words), document))
            columns.append(words)
    cells = np.concatenate(rows), np.concatenate(columns)
    matrix = sp.coo_array((np.ones(len(cells[0]), np.float32), cells), shape=(n, m)).tocsr()
    matrix.sum_duplicates()
    return matrix


def data_term(matrix: Any, users: np.ndarray, items: np.ndarray) -> float:
    """Return 1/2 ‖A − W Hᵀ‖² in float64, without a dense matrix of a sparse one."""
    users, items = users.astype(np.float64), items.astype(np.float64)
    squares = matrix.data if sp.issparse(matrix) else matrix
    norm = float(np.sum(np.square(squares, dtype=np.float64)))
    cross = float(np.sum((matrix.astype(np.float64) @ items) * users))
    return 0.5 * (norm - 2 * cross + float(np.vdot(users.T @ users, items.T @ items)))


def timed(work: Any) -> tuple[float, Any]:
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def start_of(matrix: Any, k: int, start: str) -> list[np.ndarray]:
    """Return the factors, users' and items', that both libraries start from."""
    if start != "random":
        from sklearn.decomposition._nmf import _initialize_nmf

        W, H = _initialize_nmf(matrix, k, init=start, random_state=0)
        return [np.ascontiguousarray(factors, np.float32) for factors in (W, H.T)]
    rng = np.random.default_rng(1)
    scale = math.sqrt(float(matrix.mean()) / k)
    return [
        (scale * np.abs(rng.standard_normal((size, k)))).astype(np.float32) for size in matrix.shape
    ]


def compare_complete(
    name: str, matrix: Any, k: int, n_rounds: int, start: str, max_iter: int
) -> dict[str, Any]:
    """Fit by turns from one start."""
    import sklearn.decomposition

    n, m = matrix.shape
    W, H = start_of(matrix, k, start)
    rows: dict[str, dict[str, Any]] = {}

    def note(label: str, seconds: float, objective: float, n_iter: int) -> None:
        row = rows.setdefault(label, {"seconds": [], "objective": objective, "n_iter": n_iter})
        row["seconds"].append(seconds)

    curve: list[float] = []
    for _ in range(n_rounds):
        for label in ("cymf cd", "cymf mu", "scikit-learn cd", "scikit-learn mu"):
            library, solver = label.split()
            if library == "cymf":
                model = cymf.NMF(
                    k,
                    missing="zero",
                    solver=solver,
                    max_iter=max_iter,
                    n_threads=1,
                    store_ratings=False,
                )
                seconds, _ = timed(lambda model=model: model.fit(matrix, init=(W, H)))
                factors = model.user_factors_, model.item_factors_
                if solver == "cd":
                    curve = model.history_["objective"]
            else:
                model = sklearn.decomposition.NMF(
                    k, init="custom", solver=solver, max_iter=max_iter
                )
                seconds, users = timed(
                    lambda model=model: model.fit_transform(
                        matrix, W=W.copy(), H=np.ascontiguousarray(H.T)
                    )
                )
                factors = users, model.components_.T
            note(label, seconds, data_term(matrix, *factors), model.n_iter_)
    own = rows["cymf cd"]
    for row in rows.values():
        row["ratio"] = statistics.median(
            theirs / ours for theirs, ours in zip(row["seconds"], own["seconds"], strict=True)
        )
        reached = [t for t, value in enumerate(curve, 1) if value <= _CLOSE * row["objective"]]
        share = reached[0] / len(curve) if reached else math.nan
        row["to_its_objective"] = share * statistics.median(own["seconds"])
    return {"name": name, "shape": [n, m], "k": k, "rows": rows}


def complete_table(found: list[dict[str, Any]]) -> str:
    lines = [
        "| matrix | components | solver | iterations | seconds | × cymf cd | ½‖A − WH‖² | above cymf cd "
        "| cymf cd to its objective, s | ratio |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in found:
        own = case["rows"]["cymf cd"]["objective"]
        for label, row in case["rows"].items():
            seconds = statistics.median(row["seconds"])
            to = row["to_its_objective"]
            ratio = "" if math.isnan(to) else f"{seconds / to:.1f}"
            lines.append(
                f"| {case['name']} {case['shape'][0]:,} × {case['shape'][1]:,} | {case['k']} | {label} "
                f"| {row['n_iter']} | {seconds:.3g} | {row['ratio']:.2f} | {row['objective']:.6g} "
                f"| {100 * (row['objective'] / own - 1):+.3f} % | {'not reached' if math.isnan(to) else f'{to:.3g}'} "
                f"| {ratio} |"
            )
    return "\n".join(lines)


def masked_updates(
    split: Split, W: np.ndarray, H: np.ndarray, alpha: float, n_iter: int
) -> tuple[np.ndarray, np.ndarray]:
    """Multiplicative updates on a dense matrix with a mask."""
    A = np.zeros(split.shape, np.float32)
    mask = np.zeros(split.shape, np.float32)
    A[split.train_users, split.train_items] = split.train_values
    mask[split.train_users, split.train_items] = 1
    counts = mask.sum(axis=1, keepdims=True), mask.sum(axis=0)[:, np.newaxis]
    W, H = W.copy(), H.copy()
    for _ in range(n_iter):
        H *= (A.T @ W) / ((mask * (W @ H.T)).T @ W + alpha * counts[1] * H + 1e-12)
        W *= (A @ H) / ((mask * (W @ H.T)) @ H + alpha * counts[0] * W + 1e-12)
    return W, H


def compare_masked(name: str, k: int, n_rounds: int, quick: bool) -> str:
    """Seconds an iteration and held-out errors of cymf's solvers and NumPy on half of MovieLens 1M."""
    split = Split.load(prepare(name, DEFAULT_CACHE))
    ratings = cymf.Ratings.from_matrix(split.csr())
    alpha, n_iter = 0.06, 4 if quick else 10
    rng = np.random.default_rng(0)
    scale = math.sqrt(float(split.train_values.mean()) / k)
    W, H = (
        (scale * np.abs(rng.standard_normal((size, k)))).astype(np.float32) for size in split.shape
    )
    pairs = np.column_stack([split.test_users, split.test_items])
    times: dict[str, list[float]] = {}
    held_out: dict[str, float] = {}
    for _ in range(n_rounds):
        for label in ("cymf cd", "cymf mu", "NumPy mu"):
            if label == "NumPy mu":
                few, _ = timed(lambda: masked_updates(split, W, H, alpha, 1))
                many, (users, items) = timed(lambda: masked_updates(split, W, H, alpha, 1 + n_iter))
                predictions = np.einsum(
                    "if,if->i", users[split.test_users], items[split.test_items]
                )
            else:
                seconds = []
                for iterations in (1, 1 + n_iter):
                    model = cymf.NMF(
                        k, alpha_W=alpha, solver=label.split()[1], max_iter=iterations, tol=0,
                        n_threads=1, store_ratings=False,
                    )  # fmt: skip
                    seconds.append(timed(lambda m=model: m.fit(ratings, init=(W, H)))[0])
                few, many = seconds
                predictions = model.predict(pairs)
            times.setdefault(label, []).append((many - few) / n_iter)
            held_out[label] = split.rmse(predictions)
    lines = [
        f"| {name}, {k} components | s/iteration | × cymf mu | held-out RMSE after {1 + n_iter} |",
        "| --- | ---: | ---: | ---: |",
    ]
    for label, seconds in times.items():
        ratio = statistics.median(
            theirs / own for theirs, own in zip(seconds, times["cymf mu"], strict=True)
        )
        lines.append(
            f"| {label} | {statistics.median(seconds):.3g} | {ratio:.1f} | {held_out[label]:.4f} |"
        )
    return "\n".join(lines)


def accuracy_table(names: list[str]) -> str:
    """Errors on Surprise's folds."""
    lines = [
        "| | published: Surprise NMF | `NMF`, parameters | RMSE |",
        "| --- | ---: | --- | ---: |",
    ]
    for name in names:
        ratings = load_movielens(name).ratings
        found = cymf.evaluation.cross_validate(
            cymf.NMF(dtype="float32", n_threads=1, **PRESETS[name]),
            ratings,
            folds=cymf.evaluation.kfold(ratings, 5, random_state=0),
            metrics=("rmse",),
        )
        errors = np.asarray(found["rmse"])
        shown = ", ".join(f"{key}={value}" for key, value in PRESETS[name].items())
        lines.append(
            f"| MovieLens {name} | {PUBLISHED[name]} | {shown} | {errors.mean():.4f} ± {errors.std():.4f} |"
        )
    return "\n".join(lines)


def components_table(picture: Path | None, quick: bool) -> str:
    """Films that each component stands for, and a picture of their genres."""
    data = load_movielens("100k" if quick else "1m")
    ratings = data.ratings
    model = cymf.NMF(12, missing="zero", n_threads=1).fit(ratings)
    weights = model.item_factors_
    order = np.argsort(-weights.sum(axis=0) * model.user_factors_.sum(axis=0))
    ids = np.arange(ratings.n_items) if ratings.item_ids is None else ratings.item_ids.ids
    lines = ["| component | films of the largest weights |", "| ---: | --- |"]
    names = sorted({genre for item in ids for genre in data.genres[int(item)]})
    belongs = np.array([[name in data.genres[int(i)] for name in names] for i in ids], float)
    often = ratings.item_counts / ratings.item_counts.sum()
    lift = np.zeros((len(order), len(names)))
    for number, f in enumerate(order):
        best = np.argsort(-weights[:, f], kind="stable")[:6]
        lines.append(f"| {number + 1} | {'; '.join(data.titles[int(i)] for i in ids[best])} |")
        lift[number] = (weights[:, f] / weights[:, f].sum()) @ belongs / (often @ belongs)
    if picture is not None:
        _draw(lift, names, data.name, picture)
    return "\n".join(lines)


def _draw(lift: np.ndarray, names: list[str], data: str, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(
        np.log2(np.maximum(lift, 0.25)), cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto"
    )
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(lift)), [str(f + 1) for f in range(len(lift))], fontsize=8)
    axes.set(
        ylabel="component",
        title=f"{data}: share of a genre in a component over its share in all ratings (log₂)",
    )
    figure.colorbar(image, ax=axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts = ("complete", "masked", "accuracy", "components")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--components", nargs="+", type=int, default=[16, 64])
    parser.add_argument(
        "--start",
        choices=["random", "nndsvd", "nndsvda"],
        default="random",
        help="of complete ones",
    )
    parser.add_argument("--max-iter", type=int, default=200, help="of complete ones")
    parser.add_argument("--picture", type=Path, help="where to draw the components' genres")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    sections, found = [], []
    warnings.filterwarnings("ignore", message="Maximum number of iterations")
    with threadpool_limits(1):
        if "complete" in given.parts:
            for kind in ("dense", "words"):
                matrix = made_up_matrix(kind, given.quick)
                for k in given.components[:1] if given.quick else given.components:
                    found.append(
                        compare_complete(kind, matrix, k, given.rounds, given.start, given.max_iter)
                    )
            sections.append(complete_table(found))
        if "masked" in given.parts:
            sections.append(compare_masked("ml1m-half", 16, given.rounds, given.quick))
        if "accuracy" in given.parts:
            sections.append(accuracy_table(["100k"] if given.quick else ["100k", "1m"]))
        if "components" in given.parts:
            sections.append(components_table(given.picture, given.quick))
    description = describe()
    text = heading(
        description,
        data="one thread, processor time, float32",
        **{"start of complete ones": given.start},
    )
    body = "\n\n".join(sections)
    print(write_text(given.output / "nonnegative.md", f"## nonnegative\n\n{text}\n\n{body}\n"))
    write_json(given.output / "nonnegative.json", {"machine": description, "complete": found})


if __name__ == "__main__":
    main()
