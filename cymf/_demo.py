"""`cymf demo`: from ratings of films to three models, recommendations and a picture."""

from __future__ import annotations

import argparse
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import cymf
from cymf._cli_console import Console, table
from cymf._cli_parameters import estimator_class
from cymf._demo_catalogue import make_catalogue
from cymf._extras import missing
from cymf._movielens import load_movielens
from cymf.evaluation import kfold, mae, random_split, rmse
from cymf.ratings import Ratings

if TYPE_CHECKING:
    from cymf._base import MatrixFactorization

__all__ = ["run_demo"]

_COMPARED = ("als", "sgd", "gd")
_STAR_WARS = 50
_ENOUGH_RATINGS = 50  # a film that few have rated is "similar" to any other by chance


@dataclass(frozen=True)
class _Reference:
    """A row of the table of errors that no model of ours made."""

    label: str
    rmse: float
    mae: float | None = None


@dataclass(frozen=True, eq=False)
class _Films:
    """What the demo trains on, and what its errors are held against."""

    name: str
    source: str
    split: str
    train: Ratings
    test: Ratings
    titles: dict[int, str]
    genres: dict[int, tuple[str, ...]]
    references: list[_Reference]
    reference_note: str
    known_film: int
    components: dict[str, Any]
    components_note: str


@dataclass(eq=False)
class _Outcome:
    model: MatrixFactorization
    rmse: float
    mae: float
    seconds: float
    curve: list[float] = field(repr=False)


def run_demo(arguments: argparse.Namespace, console: Console) -> int:
    """Train, compare, recommend, draw and save."""
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    films = _choose_films(arguments, console)
    console.say(f"Data   {films.source}")
    console.say(f"Split  {films.split}: {films.train.nnz:,} train, {films.test.nnz:,} held out")
    console.say()

    outcomes = [_train(name, films, console) for name in _COMPARED]
    console.say(_error_table(outcomes, films))
    console.say(films.reference_note)
    console.say()

    model_file = folder / "als.cymf"
    outcomes[0].model.save(model_file)
    model = cymf.load(model_file)
    popular = _popular_items(films.train)
    users = _example_users(films.train)
    recommendations = [_recommended(model, user, popular, films) for user in users]
    for found in recommendations:
        console.say(_recommendation_text(found))
    similar = _similar(model, popular, films)
    console.say(f"Films like {films.titles[films.known_film]}")
    console.say(
        "\n".join(f"  {film['similarity']:.2f}  {film['title']}" for film in similar) + "\n"
    )

    components = _components(films)
    console.say(_components_text(components, films))

    picture = _draw(outcomes, films, folder / "learning-curves.png", console)
    console.say(f"Model saved to {model_file}: cymf recommend {model_file} --users {users[0]}")
    console.document(
        {
            "command": "demo",
            "source": films.source,
            "split": films.split,
            "models": [
                {
                    "model": type(outcome.model).__name__,
                    "parameters": outcome.model.get_params(),
                    "rmse": outcome.rmse,
                    "mae": outcome.mae,
                    "n_iter": outcome.model.n_iter_,
                    "seconds": outcome.seconds,
                    "history": outcome.model.history_,
                }
                for outcome in outcomes
            ],
            "references": [vars(reference) for reference in films.references],
            "recommendations": recommendations,
            "similar": {"title": films.titles[films.known_film], "films": similar},
            "components": {"parameters": films.components, "films": components},
            "model_file": str(model_file),
            "picture": None if picture is None else str(picture),
        }
    )
    return 0


def _choose_films(arguments: argparse.Namespace, console: Console) -> _Films:
    if arguments.generated:
        return _generated_films()
    try:
        return _movielens_films(download=arguments.download)
    except FileNotFoundError as error:
        console.remark(f"{error}\n")
        return _generated_films()


def _movielens_films(*, download: bool) -> _Films:
    data = load_movielens("100k", download=download)
    train, test = next(iter(kfold(data.ratings, n_splits=5, random_state=0)))
    return _Films(
        name=data.name,
        source=f"{data.name} from {data.source} (GroupLens, for research)",
        split="the first of the five folds of Surprise's benchmark",
        train=train,
        test=test,
        titles=data.titles,
        genres=data.genres,
        references=[
            _Reference("Surprise SVD, published", 0.934, 0.737),
            _Reference("Surprise SVD++, published", 0.919, 0.721),
        ],
        reference_note="Published numbers are means of all five folds; folds differ by up to 0.015.",
        known_film=_STAR_WARS,
        components={"n_components": 10, "missing": "zero"},
        components_note="films without a rating count as 0: people choose what they watch",
    )


def _generated_films() -> _Films:
    catalogue = make_catalogue()
    train, test = random_split(catalogue.data.ratings, test_size=0.2, random_state=0)
    mean = np.full(test.nnz, train.values.mean())
    truth = catalogue.data.expected(test.users, test.items)
    return _Films(
        name="generated catalogue",
        source="a generated catalogue: invented films, invented users, known truth",
        split="a random fifth is held out",
        train=train,
        test=test,
        titles=catalogue.titles,
        genres=catalogue.genres,
        references=[
            _Reference("the mean rating", rmse(test.values, mean), mae(test.values, mean)),
            _Reference("the truth itself", rmse(test.values, truth), mae(test.values, truth)),
        ],
        reference_note="The truth errs by the noise in the ratings: nothing can do better.",
        known_film=int(np.bincount(train.items).argmax()),
        components={"n_components": 12, "alpha_W": 0.15},
        components_note="films without a rating are missing: who rates what is chance here",
    )


def _train(name: str, films: _Films, console: Console) -> _Outcome:
    model = estimator_class(name)()
    label = type(model).__name__
    started = time.perf_counter()
    with console.progress(f"{label:<16}", model.max_iter) as progress:
        model.fit(films.train, validation=films.test, callback=progress)
    seconds = time.perf_counter() - started
    if model._state.stop_reason == "interrupted":
        raise KeyboardInterrupt
    return _Outcome(
        model=model,
        rmse=model.rmse(films.test),
        mae=model.mae(films.test),
        seconds=seconds,
        curve=model.history_["validation_rmse"],
    )


def _error_table(outcomes: list[_Outcome], films: _Films) -> str:
    rows: list[list[object]] = [
        [
            f"cymf.{type(outcome.model).__name__}",
            outcome.rmse,
            outcome.mae,
            outcome.model.n_iter_,
            f"{outcome.seconds:.2f}",
        ]
        for outcome in outcomes
    ]
    rows += [
        [reference.label, reference.rmse, reference.mae, None, ""] for reference in films.references
    ]
    return table(["held-out error", "RMSE", "MAE", "iterations", "seconds"], rows)


def _popular_items(train: Ratings) -> np.ndarray:
    """Ids of the films with enough ratings to say something about them."""
    counts = np.bincount(train.items, minlength=train.n_items)
    rows = np.flatnonzero(counts >= _ENOUGH_RATINGS)
    return rows if train.item_ids is None else train.item_ids.to_ids(rows)


def _example_users(train: Ratings) -> list[int]:
    """A user of middling activity, an active one, and a very active one."""
    counts = np.bincount(train.users, minlength=train.n_users)
    order = np.argsort(counts, kind="stable")
    rows = order[(np.array([0.5, 0.8, 0.95]) * (len(order) - 1)).astype(int)]
    ids = rows if train.user_ids is None else train.user_ids.to_ids(rows)
    return [int(user) for user in ids]


def _recommended(
    model: MatrixFactorization, user: int, popular: np.ndarray, films: _Films
) -> dict[str, Any]:
    train = films.train
    row = user if train.user_ids is None else int(train.user_ids.to_index([user])[0])
    rated = np.flatnonzero(train.users == row)
    best = rated[np.argsort(-train.values[rated], kind="stable")[:3]]
    liked = train.items[best]
    liked_ids = liked if train.item_ids is None else train.item_ids.to_ids(liked)
    items, scores = model.recommend(user, n=5, candidates=popular)
    return {
        "user": user,
        "n_ratings": len(rated),
        "liked": [
            {"title": films.titles[int(item)], "rating": float(value)}
            for item, value in zip(liked_ids, train.values[best], strict=True)
        ],
        "recommended": [
            {"item": int(item), "title": _described(int(item), films), "score": float(score)}
            for item, score in zip(items, scores, strict=True)
        ],
    }


def _recommendation_text(found: dict[str, Any]) -> str:
    liked = ", ".join(f"{film['title']} {film['rating']:.0f}" for film in found["liked"])
    lines = [f"User {found['user']}, {found['n_ratings']} ratings, among them {liked}"]
    lines += [f"  {film['score']:.2f}  {film['title']}" for film in found["recommended"]]
    return "\n".join(lines) + "\n"


def _similar(
    model: MatrixFactorization, popular: np.ndarray, films: _Films
) -> list[dict[str, Any]]:
    items, similarities = model.similar_items(films.known_film, n=len(films.titles))
    kept = np.isin(items, popular)
    return [
        {"item": int(item), "title": _described(int(item), films), "similarity": float(value)}
        for item, value in zip(items[kept][:5], similarities[kept][:5], strict=True)
    ]


def _components(films: _Films) -> list[list[dict[str, Any]]]:
    """The films with the largest weights in each component of non-negative factors, the largest component first."""
    model = cymf.NMF(**films.components).fit(films.train)
    weights = model.item_factors_
    sizes = weights.sum(axis=0) * model.user_factors_.sum(axis=0)
    ids = films.train.item_ids
    found = []
    for component in np.argsort(-sizes, kind="stable"):
        rows = np.argsort(-weights[:, component], kind="stable")[:4]
        items = rows if ids is None else ids.to_ids(rows)
        found.append(
            [
                {
                    "item": int(item),
                    "title": _described(int(item), films),
                    "weight": float(weight),
                }
                for item, weight in zip(items, weights[rows, component], strict=True)
            ]
        )
    return found


def _components_text(components: list[list[dict[str, Any]]], films: _Films) -> str:
    lines = [f"What the components of NMF stand for ({films.components_note})"]
    for number, best in enumerate(components, 1):
        titles = "; ".join(films.titles[film["item"]] for film in best)
        lines += textwrap.wrap(
            titles, 100, initial_indent=f"  {number:2}  ", subsequent_indent="      "
        )
    return "\n".join(lines) + "\n"


def _described(item: int, films: _Films) -> str:
    return f"{films.titles[item]}  [{', '.join(films.genres[item])}]"


def _draw(outcomes: list[_Outcome], films: _Films, path: Path, console: Console) -> Path | None:
    """Held-out RMSE by iteration, one line a model, as a picture."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        console.remark(str(missing("matplotlib", "a picture of the learning curves")))
        return None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for outcome in outcomes:
        iterations = np.arange(1, len(outcome.curve) + 1)
        axes.plot(iterations, outcome.curve, label=type(outcome.model).__name__)
    for reference, style in zip(films.references, ("--", ":"), strict=True):
        axes.axhline(reference.rmse, color="grey", linestyle=style, label=reference.label)
    axes.set(xlabel="iteration", ylabel="held-out RMSE", xscale="log", title=films.name)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend()
    figure.savefig(path, dpi=120)
    console.say(f"Learning curves drawn in {path}")
    return path
