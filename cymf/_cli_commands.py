"""The working commands: `cymf fit`, `cymf evaluate`, `cymf recommend`, `cymf convert`."""

from __future__ import annotations

import argparse
import errno
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import cymf
from cymf._archive import replaceable
from cymf._base import MatrixFactorization
from cymf._cli_console import Console, table
from cymf._cli_features import given_features, read_new_users
from cymf._cli_files import read_pieces, read_ratings
from cymf._cli_parameters import estimator_class, given_parameters, ranks
from cymf._ratings_file import check_target, write_batches
from cymf._recommendation_file import RecommendationFile, recommendation_rows
from cymf.evaluation import cross_validate, evaluate_ranking, kfold
from cymf.ratings import Ratings

if TYPE_CHECKING:
    from cymf._ids import IdMap

__all__ = ["run_convert", "run_evaluate", "run_fit", "run_recommend"]

_USERS_PER_BLOCK = 4096
_RANKING = ("recall@20", "ndcg@20")


def run_fit(arguments: argparse.Namespace, console: Console) -> int:
    """Train a model on a file of ratings and save it."""
    _check_output(arguments.output)  # said before the work rather than after
    ratings = read_ratings(arguments.ratings, arguments, console)
    validation = None
    if arguments.validation is not None:
        validation = read_ratings(arguments.validation, arguments, console)
    model = estimator_class(arguments.model)(**given_parameters(arguments))
    features = given_features(arguments, model, console)
    started = time.perf_counter()
    with console.progress(type(model).__name__, getattr(model, "max_iter", 1)) as progress:
        model.fit(ratings, validation=validation, callback=progress, **features)
    seconds = time.perf_counter() - started
    model.save(arguments.output)

    last = {name: values[-1] for name, values in model.history_.items() if len(values)}
    stop_reason = model._state.stop_reason
    console.document(
        {
            "command": "fit",
            "model": type(model).__name__,
            "parameters": model.get_params(),
            "ratings": _size(ratings),
            "n_iter": model.n_iter_,
            "stop_reason": stop_reason,
            "seconds": seconds,
            "history": model.history_,
            "output": str(arguments.output),
        }
    )
    console.say(f"{model!r}")
    measures = {
        "train_rmse": "train RMSE",
        "validation_rmse": "validation RMSE",
        "validation_score": f"validation {getattr(model, 'validation_metric', '')}",
    }
    errors = "".join(
        f", {words} {last[name]:.4f}"
        for name, words in measures.items()
        if np.isfinite(last.get(name, np.nan))
    )
    console.say(f"{model.n_iter_} iterations in {seconds:.2f} s (stopped: {stop_reason}){errors}")
    console.say(f"saved to {arguments.output}")
    return 130 if stop_reason == "interrupted" else 0


def run_evaluate(arguments: argparse.Namespace, console: Console) -> int:
    """Measure a saved model on a file of ratings, or cross-validate."""
    if arguments.cross_validate is not None:
        return _cross_validate(arguments, console)
    model_path, ratings_path = arguments.files
    model = _load(model_path)
    ratings = read_ratings(ratings_path, arguments, console)
    if arguments.metrics is None and not ranks(model):
        measured = {
            "rmse": model.rmse(ratings),
            "mae": model.mae(ratings),
            "r2": model.score(ratings) if ratings.nnz > 1 else np.nan,
        }
        headers = ["RMSE", "MAE", "R²"]
    else:
        measured = dict(evaluate_ranking(model, ratings, metrics=arguments.metrics or _RANKING))
        headers = list(measured)
    state = model._fitted()
    users, items, *_ = ratings.align_to(
        state.user_ids, state.item_ids, (state.n_users, state.n_items)
    )
    n_unknown = int(((users < 0) | (items < 0)).sum())
    if n_unknown:
        console.remark(f"{n_unknown:,} ratings are of users or items that the model does not know")
    console.document(
        {
            "command": "evaluate",
            "model": str(model_path),
            "ratings": _size(ratings) | {"n_unknown": n_unknown},
            **measured,
        }
    )
    console.say(table(headers, [list(measured.values())]))
    return 0


def run_recommend(arguments: argparse.Namespace, console: Console) -> int:
    """Print or write the best items of users."""
    if arguments.output is not None:
        _check_output(arguments.output)
    model: Any = _load(arguments.model_file)
    state = model._fitted()
    if arguments.user_features is not None:
        users, features = read_new_users(arguments, model, console)
        from_features = (
            (users[part], *model.recommend_cold(features[part], n=arguments.n))
            for part in _blocks(len(users))
        )
        return _tell(arguments, console, len(users), from_features)
    if arguments.all_users:
        users = np.arange(state.n_users) if state.user_ids is None else state.user_ids.ids
    else:
        users = _parse_ids(arguments.users, state.user_ids)
        rows = users if state.user_ids is None else state.user_ids.to_index(users)
        unknown = users[(rows < 0) | (rows >= state.n_users)].tolist()
        if unknown and arguments.unknown == "fallback":
            listed = ", ".join(map(str, unknown))
            console.remark(f"not in the model, so ranked by the items' biases: {listed}")
    seen = None
    if arguments.seen is not None:
        seen = read_ratings(arguments.seen, arguments, console)
    answered = (
        (
            part,
            *model.recommend(
                part,
                n=arguments.n,
                exclude_seen=not arguments.include_seen,
                seen=seen,
                unknown=arguments.unknown,
            ),
        )
        for part in (users[block] for block in _blocks(len(users)))
    )
    return _tell(arguments, console, len(users), answered)


def _load(path: Path) -> MatrixFactorization:
    """Read a model of users and items."""
    model = cymf.load(path)
    if not isinstance(model, MatrixFactorization):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, which knows rows of a design matrix; expected a model of users "
            "and items, such as cymf fit writes"
        )
    return model


def _check_output(path: Path) -> None:
    """Refuse a file that could not be written."""
    folder = Path(replaceable(path)).parent
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "the folder to save in cannot be written to", folder)


def _blocks(n_users: int) -> Iterator[slice]:
    for start in range(0, n_users, _USERS_PER_BLOCK):
        yield slice(start, min(start + _USERS_PER_BLOCK, n_users))


def _tell(
    arguments: argparse.Namespace, console: Console, n_users: int, answered: Iterable[Any]
) -> int:
    """Print or write recommendations, block by block."""
    if arguments.output is not None:
        with RecommendationFile(arguments.output) as file:
            for answer in answered:
                file.write(*answer)
        console.document(
            {"command": "recommend", "n_users": n_users, "output": str(arguments.output)}
        )
        console.say(f"recommendations for {n_users:,} users written to {arguments.output}")
        return 0
    answers: list[tuple[Any, ...]] = []
    for part, items, scores in answered:
        block = list(zip(*recommendation_rows(part, items, scores), strict=True))
        if console.as_json:
            answers += block
        else:
            console.say(table(["user", "rank", "item", "score"], block))
    console.document(
        {
            "command": "recommend",
            "recommendations": [
                {"user": user, "rank": rank, "item": item, "score": score}
                for user, rank, item, score in answers
            ],
        }
    )
    return 0


def run_convert(arguments: argparse.Namespace, console: Console) -> int:
    """Write a file of ratings in another format; piece by piece, unless duplicates have to be looked for."""
    source, output = arguments.ratings, arguments.output
    check_target(output)
    if arguments.duplicates == "keep":
        again = source.is_file() or source.is_dir()  # a pipe is read once
        n_ratings = write_batches(lambda: read_pieces(source, arguments), output, again=again)
    else:
        ratings = read_ratings(source, arguments, console)
        ratings.to_file(output)
        n_ratings = ratings.nnz
    console.document(
        {"command": "convert", "ratings": {"n_ratings": n_ratings}, "output": str(output)}
    )
    console.say(f"{n_ratings:,} ratings written to {output}")
    return 0


def _cross_validate(arguments: argparse.Namespace, console: Console) -> int:
    (path,) = arguments.files
    ratings = read_ratings(path, arguments, console)
    model = estimator_class(arguments.model)(**given_parameters(arguments))
    n_folds = arguments.cross_validate

    def announced() -> Iterator[tuple[Ratings, Ratings]]:
        folds = kfold(ratings, n_folds, arguments.folds_seed)
        for number, fold in enumerate(folds, start=1):
            console.remark(f"fold {number} of {n_folds}")
            yield fold

    metrics = arguments.metrics or (_RANKING if ranks(model) else ("rmse", "mae"))
    measured = cross_validate(model, ratings, folds=announced(), metrics=metrics)
    titles = {"rmse": "RMSE", "mae": "MAE", "fit_seconds": "fit seconds"}
    names = {name: titles.get(name, name) for name in (*metrics, "fit_seconds")}
    columns = [measured[name] for name in names]
    folds = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    mean = {name: float(np.mean(measured[name])) for name in names}
    deviation = {name: float(np.std(measured[name])) for name in names}
    console.document(
        {
            "command": "evaluate",
            "model": type(model).__name__,
            "parameters": model.get_params(),
            "ratings": _size(ratings),
            "folds": folds,
            "mean": mean,
            "standard_deviation": deviation,
        }
    )
    console.say(f"{model!r}")
    rows = [[str(number), *fold.values()] for number, fold in enumerate(folds, start=1)]
    rows += [["mean", *mean.values()], ["deviation", *deviation.values()]]
    console.say(table(["fold", *names.values()], rows))
    return 0


def _parse_ids(texts: list[str], known: IdMap | None) -> NDArray[Any]:
    """Ids as the model has them: text, or whole numbers."""
    if known is not None and known.ids.dtype == object:
        return np.array(texts, dtype=object)
    try:
        if not all(
            re.fullmatch(r"[+-]?\d+", text, re.ASCII) for text in texts
        ):  # int() takes 1_000
            raise ValueError
        return np.array([int(text) for text in texts], dtype=np.int64)
    except (ValueError, OverflowError):
        raise ValueError(
            f"the user ids of this model are whole numbers of up to 64 bits, got --users {' '.join(texts)}"
        ) from None


def _size(ratings: Ratings) -> dict[str, int]:
    return {"n_ratings": ratings.nnz, "n_users": ratings.n_users, "n_items": ratings.n_items}
