"""Search for good parameters of any estimator: over a grid, or at random."""

from __future__ import annotations

import copy
import itertools
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf._cross_validation import (
    as_folds,
    check_jobs,
    check_metrics,
    fresh_model,
    in_parallel,
)
from cymf._errors import NotFittedError
from cymf._extras import missing
from cymf._parameters import Parameterized
from cymf._search_trials import Trial, badness, stops_early, summary
from cymf._splits import RandomState
from cymf._validation import check_flag, check_integer, random_generator
from cymf.ratings import Ratings, as_ratings

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GridSearch", "RandomSearch"]


class _Search(Parameterized, ABC):
    """What both searches share: everything but the choice of parameter sets."""

    def __init__(
        self,
        model: Any,
        *,
        metric: str,
        folds: Any,
        refit: bool,
        random_state: RandomState,
        n_jobs: int | None,
        verbose: bool,
    ) -> None:
        self.model = model
        self.metric = metric
        self.folds = folds
        self.refit = refit
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self._results: list[dict[str, Any]] | None = None
        self._best_model: Any = None

    @abstractmethod
    def _candidates(self) -> list[dict[str, Any]]:
        """Return the parameter sets to try."""

    def fit(self, X: Any, *, validation: Any = None) -> Self:
        """Try all parameter sets.

        Parameters
        ----------
        X : Ratings, sparse matrix or array, dense array with NaN, or table
            What to train on; without `validation`, what is cut into folds.
        validation : like `X`, optional
            Held-out data to measure on. Then there are no folds: every candidate is trained once, on `X`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the metric is unknown, a parameter is not the model's, or all candidates failed.
        KeyboardInterrupt
            If training is interrupted.
        """
        (metric,) = check_metrics(self.metric)
        jobs = check_jobs(self.n_jobs)
        refit = check_flag("refit", self.refit)
        verbose = check_flag("verbose", self.verbose)
        candidates = self._candidates()
        for changes in candidates:
            fresh_model(self.model, **changes)  # a misspelt name is no failed candidate
        ratings = as_ratings(X)
        if validation is None:
            folds = list(as_folds(ratings, self.folds, copy.deepcopy(self.random_state)))
            if not folds:
                raise ValueError("folds holds no (train, test) pair")
        else:
            folds = [(ratings, as_ratings(validation))]
        trials = [
            Trial(self.model, changes, fold, metric, jobs, validation is not None)
            for changes in candidates
            for fold in folds
        ]
        keep = refit and validation is not None
        best: list[tuple[float, int, Any]] = []
        one_at_a_time = threading.Lock()

        def job(task: tuple[int, Trial]) -> dict[str, Any]:
            number, trial = task
            outcome = trial.run()
            model = outcome.pop("model")
            if keep and model is not None:
                with one_at_a_time:
                    best.append((badness(metric, outcome["score"]), number, model))
                    best.sort(key=lambda entry: entry[:2])
                    del best[1:]
            return outcome

        with _progress(len(trials), verbose) as advance:
            outcomes = in_parallel(lambda task: advance(job(task)), enumerate(trials), jobs)
        results = [
            summary(changes, outcomes[start : start + len(folds)])
            for changes, start in zip(candidates, range(0, len(outcomes), len(folds)), strict=True)
        ]
        order = sorted(range(len(results)), key=lambda k: badness(metric, results[k]["score"]))
        for rank, k in enumerate(order, 1):
            results[k]["rank"] = rank
        if math.isnan(results[order[0]]["score"]):
            raise ValueError(
                f"all {len(results)} candidates failed; the first, {results[0]['params']}, with {results[0]['error']}"
            )
        self._results, self._best_index = results, order[0]
        self._best_model = None
        if keep:
            self._best_model = best[0][2]
            if hasattr(self.model, "n_threads"):
                self._best_model.n_threads = self.model.n_threads  # no longer one job of several
        elif refit:
            self._best_model = self._refitted(ratings, results[order[0]])
        return self

    def _refitted(self, ratings: Ratings, result: Mapping[str, Any]) -> Any:
        """Train on everything, for as many iterations as early stopping found best on average."""
        changes = dict(result["params"])
        model = fresh_model(self.model, **changes)
        if stops_early(model):
            changes |= {"patience": None, "max_iter": max(1, round(result["iterations"]))}
            model = fresh_model(self.model, **changes)
        model.fit(ratings)
        if getattr(model, "stop_reason_", None) == "interrupted":
            raise KeyboardInterrupt
        return model

    # ------------------------------------------------------------------ what was found

    @property
    def results_(self) -> list[dict[str, Any]]:
        """One entry for each candidate, in the order in which they were tried.

        ``params``; ``score`` and ``std``, mean and standard deviation over the folds; ``scores`` of the folds; ``rank``
        from 1, the best; ``fit_seconds`` and ``iterations``, means over the folds; ``error``, None or what happened:
        such a candidate has the score NaN.
        """
        return [dict(result) for result in self._found()]

    @property
    def best_params_(self) -> dict[str, Any]:
        """The parameters that were best; of equal ones the first."""
        return dict(self._found()[self._best_index]["params"])

    @property
    def best_score_(self) -> float:
        """The mean of their metric over the folds."""
        return float(self._found()[self._best_index]["score"])

    @property
    def best_model_(self) -> Any:
        """The model with the best parameters, trained on everything; with `validation`, the one that was measured."""
        self._found()
        if self._best_model is None:
            raise NotFittedError(
                "refit=False keeps no model; fit one with best_params_, or search with refit=True"
            )
        return self._best_model

    def results_frame(self) -> pd.DataFrame:
        """Return `results_` as a pandas frame, best first, with a column for each parameter."""
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise missing("pandas", "results_frame()", "; results_ needs nothing") from None

        rows = [
            {f"param_{name}": value for name, value in result["params"].items()}
            | {name: value for name, value in result.items() if name not in ("params", "scores")}
            for result in self._found()
        ]
        return pd.DataFrame(rows).sort_values("rank", ignore_index=True)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Predict by the best model."""
        return self.best_model_.predict(*args, **kwargs)

    def recommend(self, *args: Any, **kwargs: Any) -> Any:
        """Recommend by the best model."""
        return self.best_model_.recommend(*args, **kwargs)

    def _found(self) -> list[dict[str, Any]]:
        if self._results is None:
            raise NotFittedError(
                f"this {type(self).__name__} is not fitted yet; call fit(ratings) first"
            )
        return self._results


class GridSearch(_Search):
    """Every combination of some values of some parameters, measured on held-out data.

    Parameters
    ----------
    model : estimator
        Left as it is: every candidate is a new one with its parameters, but for those of the grid.
    grid : mapping of str to sequence, or sequence of such mappings
        Values to try for each parameter; of several mappings, all combinations of each.
    metric : str, default "rmse"
        "rmse" or "mae", lower is better; or a ranking metric such as "ndcg@10", higher is better.
    folds : int, iterable of (train, test), or splitter of scikit-learn, default 5
        See `cross_validate`. Not used when ``fit`` is given validation data.
    refit : bool, default True
        Whether there shall be a `best_model_`.
    random_state : int, Generator or None, default 0
        For the folds; the models have their own.
    n_jobs : int or None, default None
        Fits at a time; -1: as many as there are processors, None: 1. See `cross_validate`.
    verbose : bool, default False
        Whether to show a progress bar over the fits.

    Notes
    -----
    A model with `patience` is stopped early: on the validation data, where these are given to ``fit``; otherwise on a
    tenth of the fold's train part, drawn at random, so that the test part is only used to measure. The model of all
    data is then trained without patience, for the mean number of iterations that was best.

    A candidate that fails has the error in ``results_`` and takes no part further.

    For other ways of searching, a study of Optuna needs three lines::

        def objective(trial):
            model = cymf.ALS(reg=trial.suggest_float("reg", 0.1, 10, log=True))
            return cross_validate(model, ratings)["rmse"].mean()

        optuna.create_study().optimize(objective, n_trials=50)

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> from cymf.evaluation import GridSearch
    >>> ratings = cymf.Ratings.from_matrix(np.add.outer(np.arange(8.0), np.arange(7.0)))
    >>> search = GridSearch(cymf.ALS(n_factors=2), {"reg": [0.1, 100.0]}, folds=3).fit(ratings)
    >>> search.best_params_
    {'reg': 0.1}
    >>> search.predict([0, 1], [2, 3]).shape
    (2,)
    """

    def __init__(
        self,
        model: Any,
        grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]],
        *,
        metric: str = "rmse",
        folds: Any = 5,
        refit: bool = True,
        random_state: RandomState = 0,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            model,
            metric=metric,
            folds=folds,
            refit=refit,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.grid = grid

    def _candidates(self) -> list[dict[str, Any]]:
        grids = [self.grid] if isinstance(self.grid, Mapping) else list(self.grid)
        found = [candidate for grid in grids for candidate in _combinations(grid)]
        if not found:
            raise ValueError(
                "grid holds no parameter set; expected values for at least one parameter"
            )
        return found


class RandomSearch(_Search):
    """Parameter sets drawn at random, measured on held-out data.

    Parameters
    ----------
    model : estimator
        Left as it is: every candidate is a new one with its parameters, but for those that are drawn.
    distributions : mapping of str to sequence, or to distribution with ``rvs``
        For each parameter the values to choose from, or a distribution such as ``scipy.stats.loguniform(0.01, 10)``.
    n_iter : int, default 20
        Number of parameter sets.
    metric, folds, refit, n_jobs, verbose
        As in `GridSearch`.
    random_state : int, Generator or None, default 0
        For the parameter sets and the folds; the models have their own.

    Notes
    -----
    Those of `GridSearch` hold. Random search finds better parameters than a grid of the same size where only some of
    the parameters matter (Bergstra and Bengio 2012).

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> from scipy.stats import loguniform
    >>> from cymf.evaluation import RandomSearch
    >>> ratings = cymf.Ratings.from_matrix(np.add.outer(np.arange(8.0), np.arange(7.0)))
    >>> search = RandomSearch(cymf.ALS(n_factors=2), {"reg": loguniform(0.01, 10)}, n_iter=3, folds=2).fit(ratings)
    >>> len(search.results_)
    3
    """

    def __init__(
        self,
        model: Any,
        distributions: Mapping[str, Any],
        *,
        n_iter: int = 20,
        metric: str = "rmse",
        folds: Any = 5,
        refit: bool = True,
        random_state: RandomState = 0,
        n_jobs: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            model,
            metric=metric,
            folds=folds,
            refit=refit,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.distributions = distributions
        self.n_iter = n_iter

    def _candidates(self) -> list[dict[str, Any]]:
        n_iter = check_integer("n_iter", self.n_iter, 1)
        generator = random_generator(copy.deepcopy(self.random_state))
        if not self.distributions:
            raise ValueError("distributions is empty; expected values for at least one parameter")
        return [
            {name: _draw(name, values, generator) for name, values in self.distributions.items()}
            for _ in range(n_iter)
        ]


@contextmanager
def _progress(total: int, shown: bool) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """Give a function that counts an outcome as done, and returns it."""
    if not shown:
        yield lambda outcome: outcome
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="fit") as bar:

        def advance(outcome: dict[str, Any]) -> dict[str, Any]:
            bar.update()
            return outcome

        yield advance


def _combinations(grid: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(grid, Mapping):
        raise TypeError(
            f"grid holds a {type(grid).__name__}; expected a mapping from parameters to values"
        )
    for name, values in grid.items():
        if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
            raise TypeError(f"grid[{name!r}] is {values!r}; expected a list of values")
    if grid:
        for chosen in itertools.product(*(map(_plain, values) for values in grid.values())):
            yield dict(zip(grid, chosen, strict=True))


def _draw(name: str, values: Any, generator: np.random.Generator) -> Any:
    if hasattr(values, "rvs"):
        return _plain(values.rvs(random_state=generator))
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)) or not len(values):
        raise TypeError(
            f"distributions[{name!r}] is {values!r}; expected a list of values or a distribution with rvs"
        )
    return _plain(values[int(generator.integers(len(values)))])


def _plain(value: Any) -> Any:
    """Return NumPy's scalars as Python's, which is what parameters are."""
    return value.item() if isinstance(value, np.generic) else value
