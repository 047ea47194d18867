"""New ratings every day: what `partial_fit` costs, and how far it drifts from a refit of every day.

    python bench/updates.py [--data FOLDER] [--days 60] [--models ALS SGD] [--quick]

FOLDER (default: the environment variable CYMF_DATA) holds ``ml-100k/u.data`` and, for the speed on a larger model,
``ml-1m.npz``. MovieLens-100K is taken by its time stamps: models are fitted to what was rated before the last `--days`
days; then, day by day, the last fifth of each user's ratings of the day is held out for good, and the rest is given to
four copies of each model: one that stays as it is (stale), one that takes in every day by `partial_fit`, one that is
fitted anew to everything (refit), and yesterday's refit that takes in today by `partial_fit` (a day). Explicit models
are compared by the RMSE of the day's held-out ratings, implicit ones by the NDCG@10 of ranking, for the day's users,
what they have not rated.

Speed: ratings one at a time and in batches; models take turns, so that drift of the machine cancels; one thread. Writes
updates.md, updates.json and updates.png.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe, heading
from report import write_json, write_text

import cymf

_HELD_OUT = 0.2  # of each user's ratings of a day, the last ones
_BATCHES = 1, 10, 100, 1000
_SECONDS_OF_A_DAY = 86400
_COPIES = "stale", "partial_fit", "a day", "refit"


@dataclass
class Course:
    """One kind of model over the days.

    Attributes
    ----------
    results : dict of str to list
        Of each copy and day the sum and the weight of what is averaged.
    seconds : dict of str to list of float
        Of each update, and of each refit.
    """

    name: str
    metric: str
    make: Callable[[], Any]
    measure: Callable[[Any, cymf.Ratings], tuple[float, float]]
    results: dict[str, list[tuple[float, float]]] = field(
        default_factory=lambda: {name: [] for name in _COPIES}
    )
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"update": [], "refit": []})

    def mean(self, what: str, days: slice = slice(None)) -> float:
        """Return the metric over what was held out on some days."""
        sums, weights = np.array(self.results[what][days]).T.sum(axis=1)
        return float((sums / weights) ** (0.5 if self.metric == "RMSE" else 1))


def squared_error(model: Any, test: cymf.Ratings) -> tuple[float, float]:
    return model.rmse(test) ** 2 * test.nnz, test.nnz


def ndcg(model: Any, test: cymf.Ratings) -> tuple[float, float]:
    report = cymf.evaluation.evaluate_ranking(model, test, metrics=("ndcg@10",))
    return report["ndcg@10"] * len(report.users), len(report.users)


def courses(names: list[str]) -> list[Course]:
    one = {"n_threads": 1}
    explicit = one | cymf.presets["als-ml-100k"]
    implicit = one | {"n_factors": 32, "reg": 0.05, "max_iter": 10, "track_objective": False}
    found = [
        Course("ALS", "RMSE", lambda: cymf.ALS(**explicit), squared_error),
        Course("ImplicitALS", "NDCG@10", lambda: cymf.ImplicitALS(**implicit), ndcg),
    ]
    for name in ("SGD", "SVDpp"):
        settings = one | cymf.presets[f"{name.lower()}-ml-100k"]
        make = getattr(cymf, name)
        found.append(Course(name, "RMSE", lambda m=make, s=settings: m(**s), squared_error))
    return [course for course in found if course.name in names]


Day = tuple[cymf.Ratings, cymf.Ratings]  # given, held out


def by_days(ratings: cymf.Ratings, n_days: int) -> tuple[cymf.Ratings, list[Day]]:
    """Return what was rated before the last days, and these days."""
    order = np.argsort(ratings.timestamps, kind="stable")
    dates = ratings.timestamps[order] // _SECONDS_OF_A_DAY
    chosen = np.unique(dates)[-n_days:]
    days = []
    for date in chosen:
        mine = order[dates == date]
        users = ratings.users[mine]
        late = np.zeros(len(mine), bool)
        for user in np.unique(users):
            own = np.flatnonzero(users == user)
            late[own[len(own) - int(_HELD_OUT * len(own)) :]] = True
        if late.any():
            days.append((ratings.subset(mine[~late]), ratings.subset(mine[late])))
    return ratings.subset(order[dates < chosen[0]]), days


def joined(parts: list[cymf.Ratings]) -> cymf.Ratings:
    columns = zip(*((*part.to_triplets(), part.timestamps) for part in parts), strict=True)
    users, items, values, times = (np.concatenate(column) for column in columns)
    return cymf.Ratings.from_triplets(users, items, values, timestamps=times)


def follow(course: Course, known: list[cymf.Ratings], days: list[Day]) -> None:
    """Fill in the results of all days."""
    stale = course.make().fit(joined(known))
    updated, refit = copy(stale), stale
    for given, test in days:
        known = [*known, given]
        begin = time.perf_counter()
        updated.partial_fit(given)
        course.seconds["update"].append(time.perf_counter() - begin)
        a_day = copy(refit).partial_fit(given)
        everything = joined(known)
        refit = course.make()
        begin = time.perf_counter()
        refit.fit(everything)
        course.seconds["refit"].append(time.perf_counter() - begin)
        for name, model in zip(_COPIES, (stale, updated, a_day, refit), strict=True):
            course.results[name].append(course.measure(model, test))


def drift_table(found: list[Course]) -> str:
    lines = [
        "| model | measure | stale | `partial_fit` every day | refit every day | drift of a day | drift of all days, "
        "last quarter | `partial_fit`, ms a day | refit, ms |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for course in found:
        last = slice(-max(1, len(course.results["refit"]) // 4), None)
        late = course.mean("partial_fit", last) - course.mean("refit", last)
        times = [1e3 * statistics.median(course.seconds[name]) for name in ("update", "refit")]
        lines.append(
            f"| {course.name} | {course.metric} | {course.mean('stale'):.4f} | {course.mean('partial_fit'):.4f} "
            f"| {course.mean('refit'):.4f} | {course.mean('a day') - course.mean('refit'):+.4f} | {late:+.4f} "
            f"| {times[0]:.1f} | {times[1]:.0f} |"
        )
    return "\n".join(lines)


def timed(model: Any, ratings: cymf.Ratings, batch: int) -> Callable[[int], float]:
    """Return a function that gives the model so many further batches of ratings, and tells the seconds."""
    users, items, values = ratings.to_triplets()
    order = np.random.default_rng(0).permutation(len(values))
    pairs = np.column_stack([users, items])[order]
    at = 0

    def run(n: int) -> float:
        nonlocal at
        begin = time.perf_counter()
        for _ in range(n):
            at = at if at + batch <= len(pairs) else 0
            model.partial_fit(pairs[at : at + batch], values[order[at : at + batch]])
            at += batch
        return time.perf_counter() - begin

    return run


def speeds(name: str, ratings: cymf.Ratings, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return updates per second of models that know nine tenths of the ratings and are given the others."""
    late = np.random.default_rng(1).random(ratings.nnz) < 0.1
    old, new = ratings.subset(~late), ratings.subset(late)
    one = {"n_threads": 1, "n_factors": 64}
    models = [
        cymf.ALS(max_iter=5, **one),
        cymf.ImplicitALS(max_iter=5, track_objective=False, **one),
        cymf.SGD(max_iter=10, **one),
    ]
    for model in models:
        model.fit(old)
    cases = [
        {"data": name, "model": type(model).__name__, "batch": batch, "rounds": [],
         "run": timed(copy(model), new, batch)}
        for batch in _BATCHES
        for model in models
    ]  # fmt: skip
    cases += [fold_in_case(name, model, new) for model in models[:2]]
    for case in cases:
        case["n"] = max(1, min(1000, int(seconds / max(case["run"](1), 1e-5))))
    for _ in range(rounds):
        for case in cases:
            case["rounds"].append(case["run"](case["n"]) / case["n"])
    for case in cases:
        del case["run"]
    return cases


def fold_in_case(name: str, model: Any, ratings: cymf.Ratings) -> dict[str, Any]:
    """Fold in one user after the other by `user_factors_for`."""
    view = ratings.csr(np.float32)
    rows = np.flatnonzero(np.diff(view.indptr))
    at = 0

    def run(n: int) -> float:
        nonlocal at
        begin = time.perf_counter()
        for _ in range(n):
            row = rows[at % len(rows)]
            cells = slice(view.indptr[row], view.indptr[row + 1])
            model.user_factors_for(view.indices[cells], view.values[cells], by="index")
            at += 1
        return time.perf_counter() - begin

    return {"data": name, "model": type(model).__name__, "batch": 0, "rounds": [], "run": run}


def speed_table(cases: list[dict[str, Any]]) -> str:
    lines = [
        "| data | model | what | ms | range | calls/s | ratings/s |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for case in cases:
        middle = statistics.median(case["rounds"])
        batch = case["batch"]
        what = f"`partial_fit` of {batch:,}" if batch else "fold-in of a user"
        ratings = f"{batch / middle:,.0f}" if batch else ""
        lines.append(
            f"| {case['data']} | {case['model']} | {what} | {1e3 * middle:.3g} "
            f"| {1e3 * min(case['rounds']):.3g} – {1e3 * max(case['rounds']):.3g} | {1 / middle:,.0f} | {ratings} |"
        )
    return "\n".join(lines)


def picture(found: list[Course], path: Path) -> None:
    """Draw each measure over the days: the mean of what was held out up to each day."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(found), figsize=(4.6 * len(found), 3.6), layout="constrained", squeeze=False
    )
    for panel, course in zip(axes.flat, found, strict=True):
        n_days = len(course.results["refit"])
        for name, style in zip(_COPIES, (":", "-", None, "--"), strict=True):
            if style is not None:
                means = [course.mean(name, slice(0, day)) for day in range(1, n_days + 1)]
                panel.plot(range(1, n_days + 1), means, style, label=name)
        panel.set(title=course.name, xlabel="days", ylabel=f"{course.metric} up to this day")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("CYMF_DATA"))
    parser.add_argument("--days", type=int, default=60)
    models = ["ALS", "ImplicitALS", "SGD", "SVDpp"]
    parser.add_argument("--models", nargs="+", default=models, choices=models, help="for the drift")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="ALS and implicit ALS, 20 days, no larger model"
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    if given.data is None:
        parser.error("no data: give --data, or set CYMF_DATA")
    if given.quick:
        given.days, given.rounds, given.models = min(given.days, 20), 2, ["ALS", "ImplicitALS"]
    description = describe()
    ratings = cymf.datasets.load_movielens("100k", data_home=given.data).ratings
    start, days = by_days(ratings, given.days)
    found = courses(given.models)
    for course in found:
        follow(course, [start], days)
    cases = speeds("MovieLens-100K", ratings, given.rounds, 0.3)
    if not given.quick:
        larger = cymf.datasets.load_movielens("1m", data_home=given.data).ratings
        cases += speeds("MovieLens-1M", larger, given.rounds, 0.5)
    text = heading(
        description,
        data=f"MovieLens-100K; {start.nnz:,} ratings before, {len(days)} days with "
        f"{sum(day.nnz for day, _ in days):,} ratings given and {sum(test.nnz for _, test in days):,} held out",
    )
    print(
        write_text(
            given.output / "updates.md",
            f"## Updates\n\n{text}\n\n{drift_table(found)}\n\n{speed_table(cases)}\n",
        )
    )
    drift = [
        {"name": c.name, "metric": c.metric, "results": c.results, "seconds": c.seconds}
        for c in found
    ]
    write_json(
        given.output / "updates.json", {"machine": description, "drift": drift, "speed": cases}
    )
    picture(found, given.output / "updates.png")


if __name__ == "__main__":
    main()
