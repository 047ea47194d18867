"""A model fitted and measured on every fold, several at a time if there are processors."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cymf._foreign_names import unknown_parameter
from cymf._parallel import available_threads
from cymf._ranking_evaluation import evaluate_ranking
from cymf._ranking_metrics import as_metrics
from cymf._rating_errors import mae, rmse
from cymf._splits import RandomState, check_ratings, input_sequence, kfold
from cymf._validation import check_integer
from cymf.ratings import Ratings

__all__ = [
    "Fold",
    "as_folds",
    "check_jobs",
    "check_metrics",
    "cross_validate",
    "fresh_model",
    "in_parallel",
    "measured",
]

_LOGGER = logging.getLogger("cymf.evaluation")

Fold = tuple[Ratings, Ratings]
Answer = TypeVar("Answer")

_ERRORS: dict[str, Callable[[Any, Any, Any], float]] = {"rmse": rmse, "mae": mae}


def cross_validate(
    model: Any,
    ratings: Ratings,
    *,
    folds: Any = 5,
    metrics: str | Sequence[str] = ("rmse", "mae"),
    random_state: RandomState = 0,
    n_jobs: int | None = None,
) -> dict[str, NDArray[np.float64]]:
    """Fit a model on the train part of every fold and measure it on the test part.

    Parameters
    ----------
    model : estimator
        Left as it is: every fold gets a new one with the same parameters.
    ratings : Ratings
        What is split.
    folds : int, iterable of (train, test), or splitter of scikit-learn, default=5
        Number of folds, for `kfold`; or the folds themselves; or an object such as ``sklearn.model_selection.KFold``,
        ``ShuffleSplit`` or ``GroupKFold``, which splits the ratings in input order, their values being ``y`` and the
        users ``groups``.
    metrics : str or sequence of str, default=("rmse", "mae")
        What to measure: "rmse", "mae", and the ranking metrics of `evaluate_ranking`, such as "ndcg@10", for which the
        train part is what users have seen. Where test ratings have weights, errors are weighted.
    random_state : int, numpy.random.Generator or None, default=0
        For `kfold`; the model has its own.
    n_jobs : int or None, default=None
        Folds at a time; -1: as many as there are processors, None: 1. A model's `n_threads` are cut so that
        all together do not exceed the processors. The result is the same for any number.

    Returns
    -------
    dict of str to ndarray of shape (n_folds,)
        One entry for each metric, ``fit_seconds`` and ``predict_seconds``.

    Raises
    ------
    ValueError
        If a metric is unknown, or there is no fold.
    TypeError
        If `ratings` or a fold's parts are not Ratings.
    KeyboardInterrupt
        If training is interrupted in any fold.

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> from cymf.evaluation import cross_validate
    >>> ratings = cymf.Ratings.from_matrix(np.add.outer(np.arange(6.0), np.arange(5.0)))
    >>> found = cross_validate(cymf.ALS(n_factors=2), ratings, metrics=("rmse", "recall@1"), folds=3)
    >>> list(found)
    ['rmse', 'recall@1', 'fit_seconds', 'predict_seconds']
    """
    names = check_metrics(metrics)
    jobs = check_jobs(n_jobs)
    pairs = as_folds(ratings, folds, random_state)
    if jobs > 1:
        pairs = list(pairs)

    def on_fold(fold: Fold) -> dict[str, float]:
        fresh = fresh_model(model, jobs)
        start = perf_counter()
        fresh.fit(fold[0])
        if getattr(fresh, "stop_reason_", None) == "interrupted":
            raise KeyboardInterrupt  # whoever interrupts one fold means all of them
        fitted = perf_counter()
        values = measured(fresh, fold, names, jobs)
        seconds = {"fit_seconds": fitted - start, "predict_seconds": perf_counter() - fitted}
        _LOGGER.info("%s, one fold: %s", type(model).__name__, values | seconds)
        return values | seconds

    found = in_parallel(on_fold, pairs, jobs)
    if not found:
        raise ValueError("folds holds no (train, test) pair")
    return {name: np.array([values[name] for values in found]) for name in found[0]}


def check_metrics(metrics: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of known metrics, each once."""
    names = tuple(dict.fromkeys((metrics,) if isinstance(metrics, str) else metrics))
    for name in names:
        if name not in _ERRORS:
            try:
                as_metrics([name])
            except ValueError as error:
                known = ", ".join(map(repr, _ERRORS))
                raise ValueError(
                    f"metrics must be among {known} and those of rankings; {error}"
                ) from None
    if not names:
        raise ValueError("metrics is empty; expected names such as 'rmse' or 'ndcg@10'")
    return names


def check_jobs(n_jobs: int | None) -> int:
    """Return how many jobs run at a time; -1 means one for each processor."""
    if n_jobs is None:
        return 1
    return available_threads() if n_jobs == -1 else check_integer("n_jobs", n_jobs, 1)


def threads_of_a_job(n_jobs: int) -> int | None:
    """Return the threads of each of several jobs, so that all together do not exceed the processors; None: no limit."""
    return None if n_jobs == 1 else max(1, available_threads() // n_jobs)


def fresh_model(model: Any, n_jobs: int = 1, /, **changes: Any) -> Any:
    """Return an unfitted model with the same parameters but for `changes`, and no more threads than a job may have.

    Parameters are copied, so that a random generator among them starts from the same state in every job.
    """
    parameters = copy.deepcopy(model.get_params(deep=False))
    limit = threads_of_a_job(n_jobs)
    if limit is not None and "n_threads" in parameters:
        given = parameters["n_threads"]
        parameters["n_threads"] = limit if given is None else min(given, limit)
    unknown = [name for name in changes if name not in parameters]
    if unknown:
        raise ValueError(unknown_parameter(type(model).__name__, unknown[0], parameters))
    return type(model)(**parameters | copy.deepcopy(changes))


def measured(model: Any, fold: Fold, names: Sequence[str], n_jobs: int = 1) -> dict[str, float]:
    """Return the metrics of a fitted model on the test part of a fold."""
    train, test = fold
    found: dict[str, float] = {}
    if any(name in _ERRORS for name in names):
        predicted = model.predict(test.users, test.items, by="index")
        for name, error in _ERRORS.items():
            if name in names:
                found[name] = error(test.values, predicted, test.weights)
    rankings = [name for name in names if name not in _ERRORS]
    if rankings:
        threads = threads_of_a_job(n_jobs)
        found |= evaluate_ranking(model, test, metrics=rankings, train=train, n_threads=threads)
    return {name: found[name] for name in names}


def as_folds(ratings: Ratings, folds: Any, random_state: RandomState) -> Iterable[Fold]:
    """Return the (train, test) pairs of a number of folds, of a splitter of scikit-learn, or those given."""
    check_ratings(ratings)
    if isinstance(folds, (int, np.integer)):
        return kfold(ratings, int(folds), random_state)
    if hasattr(folds, "split") and hasattr(folds, "get_n_splits"):
        return _split_by(folds, ratings)
    return map(_checked, folds)


def _split_by(splitter: Any, ratings: Ratings) -> Iterable[Fold]:
    stored = input_sequence(ratings)
    arguments: dict[str, Any] = {"y": ratings.values[stored]}
    routing = getattr(splitter, "get_metadata_routing", None)
    if routing is None or routing().split.requests.get("groups"):
        arguments["groups"] = ratings.users[stored]  # the others warn of them
    for train, test in splitter.split(np.zeros((len(stored), 1)), **arguments):
        yield ratings.subset(stored[train]), ratings.subset(stored[test])


def _checked(fold: Any) -> Fold:
    train, test = fold
    check_ratings(train)
    check_ratings(test)
    return train, test


def in_parallel(job: Callable[[Any], Answer], tasks: Iterable[Any], n_jobs: int) -> list[Answer]:
    """Return ``job(task)`` of all tasks in order, `n_jobs` at a time; the first error ends it all.

    Threads do, because the kernels hold no GIL.
    """
    if n_jobs == 1:
        return [job(task) for task in tasks]
    with ThreadPoolExecutor(n_jobs, thread_name_prefix="cymf-job") as pool:
        futures = [pool.submit(job, task) for task in tasks]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for future in futures:
            if future.done() and not future.cancelled():
                future.result()  # raises the first error in order
        return [future.result() for future in futures]
