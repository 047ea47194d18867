"""SVD++: ratings, and which items were rated at all, by stochastic gradient descent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from scipy import sparse

from cymf._epochs import LearningRate
from cymf._estimator import FitSettings, fitting
from cymf._fold_in import ExplicitModel
from cymf._grown_rows import GrownRows
from cymf._growth import Growth, grow
from cymf._inputs import training_ratings
from cymf._kernels import kernels
from cymf._row_solve import RowObjective, SolvedRows, solve_rows
from cymf._svdpp_epochs import SvdppEpochs, SvdppRows
from cymf._training import Iteration, TrainingLoop
from cymf._validation import check_choice, check_integer, check_number
from cymf.ratings import as_ratings

if TYPE_CHECKING:
    from cymf._factors import Factors
    from cymf._problem import Problem
    from cymf._sparse_view import SparseView
    from cymf._state import FittedState
    from cymf.ratings import Ratings

__all__ = ["SVDpp"]

_SCHEDULES = ("exponential", "constant", "inverse_scaling")


class SVDpp(ExplicitModel):
    r"""Matrix factorization that also learns from which items a user rated, whatever the ratings were (SVD++).

    A rating is predicted as

        â_ij = μ + b_i + b_j + h_j · (p_i + |N(i)|^-½ Σ_{j' ∈ N(i)} y_j')

    where N(i) are the items that user i rated, or took in another way (`implicit` of `fit`), and y_j is a second row of
    each item. The users' factors w_i = p_i + |N(i)|^-½ Σ y_j' are what ``user_factors_`` holds, so that predicting
    and recommending are those of every other model. For each rating, with the error e, its weight c and the learning
    rate η,

        b_i ← b_i + η (c e − λ_b b_i)         b_j ← b_j + η (c e − λ_b b_j)
        p_i ← p_i + η (c e h_j − λ p_i)       h_j ← h_j + η (c e w_i − λ h_j)
        y_j' ← y_j' + η (c e |N(i)|^-½ h_j − λ y_j')    for all j' in N(i)

    in O(n_factors) a rating, as all y of a user take the same steps. Users are visited in batches of at most 32, whose
    changes of items are added in a fixed order, so that the result is the same bits for any number of threads.

    Parameters
    ----------
    n_factors : int, default 128
        Length of all rows.
    reg : float, default 0.04
        λ, the penalty on the factors p, h and y, at each rating.
    reg_bias : float or None, default None
        λ_b, the penalty on biases, at each rating; None takes `reg`.
    learning_rate : float, default 0.01
        η of the first epoch.
    schedule : {"exponential", "constant", "inverse_scaling"}, default "exponential"
        How η falls. With epochs t = 0, 1, …: exponential η (1 − decay)^t; inverse scaling η / (1 + t)^decay; constant.
    decay : float, default 0.02
        The rate at which η falls, for "exponential" (at most 1) and "inverse_scaling".
    max_iter : int, default 45
        Epochs.
    tol : float, default 0
        Training stops when an epoch lowers the training RMSE by at most ``tol`` times its value; 0 does all epochs.
    init_std : float, default 0.005
        Standard deviation of the random p and h that training starts from; y starts at 0.
    patience : int or None, default None
        With a validation set: stop after so many epochs without a better validation RMSE, and keep the best.
    store_ratings : bool, default True
        Whether the model keeps the training ratings, which ``recommend(exclude_seen=True)`` and `partial_fit` need.
    random_state : int, Generator or None, default 0
        Seed of the start and of the order of users and ratings. None draws a fresh one.
    n_threads : int or None, default None
        Threads; None means all processors. The result is the same bits for any number.
    dtype : {"float32", "float64"}, default "float32"
        Type of the factors and of the arithmetic.
    verbose : bool, default False
        Whether to show a progress bar.

    References
    ----------
    Koren 2008, "Factorization meets the neighborhood: a multifaceted collaborative filtering model", section 4,
    equation 15.

    Examples
    --------
    >>> import cymf
    >>> pairs = [["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["cy", "rum"]]
    >>> model = cymf.SVDpp(2, max_iter=100, learning_rate=0.05).fit(pairs, [5.0, 1.0, 4.0, 2.0])
    >>> items, scores = model.recommend("bob", n=1)
    >>> print(items[0])
    rum
    """

    use_bias = True
    reg_exponent = 1.0  # a share of the penalty at each rating, so n times λ for a row

    def __init__(
        self,
        n_factors: int = 128,
        *,
        reg: float = 0.04,
        reg_bias: float | None = None,
        learning_rate: float = 0.01,
        schedule: str = "exponential",
        decay: float = 0.02,
        max_iter: int = 45,
        tol: float = 0.0,
        init_std: float = 0.005,
        patience: int | None = None,
        store_ratings: bool = True,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        dtype: str | np.dtype[Any] | type = "float32",
        verbose: bool = False,
    ) -> None:
        self.n_factors = n_factors
        self.reg = reg
        self.reg_bias = reg_bias
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.decay = decay
        self.max_iter = max_iter
        self.tol = tol
        self.init_std = init_std
        self.patience = patience
        self.store_ratings = store_ratings
        self.random_state = random_state
        self.n_threads = n_threads
        self.dtype = dtype
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        validation: Any = None,
        callback: Callable[[Iteration], Any] | None = None,
        init: Any = None,
        implicit: Any = None,
    ) -> Self:
        """Learn factors and biases.

        Parameters
        ----------
        X : Ratings, sparse matrix or array, dense array with NaN, or table; or array-like of shape (n_pairs, 2)
            Ratings; or, with `y`, pairs of a user and an item, by id.
        y : array-like of shape (n_pairs,), optional
            The ratings of the pairs.
        sample_weight : array-like of shape (n_pairs,), optional
            Weights c of the ratings, not negative. Ratings bring their own.
        validation : like `X`, or a pair (X, y), optional
            Held-out ratings, evaluated after every epoch.
        callback : callable, optional
            Called with an `Iteration` after every epoch; a true result stops training.
        init : fitted model, or (user_factors, item_factors), optional
            Where p and h start from. A model's rows are found by id.
        implicit : Ratings, sparse matrix or array, dense array with NaN, or table, optional
            Further interactions, such as views, that belong to N(i) beside what was rated; their values are not
            looked at. Users and items that the ratings do not have are passed over.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not what they should be.
        DivergenceError
            If errors explode.
        """
        tol = check_number("tol", self.tol)
        self._fit(
            FitSettings.of(self), tol, (X, y, sample_weight), validation, callback, init, implicit
        )
        return self

    def _fit(
        self,
        settings: FitSettings,
        tol: float,
        data: tuple[Any, Any, Any],
        validation: Any = None,
        callback: Callable[[Iteration], Any] | None = None,
        init: Any = None,
        implicit: Any = None,
    ) -> None:
        rate = self._rate()
        with fitting(self, settings, *data, validation, callback) as (problem, loop):
            extra = _implicit_pairs(implicit, problem.ratings)
            epochs = SvdppEpochs(
                problem,
                SvdppRows.of(settings.start(problem, init)),
                _members(problem.ratings, extra),
                rate,
                settings.generator,
            )
            self._run(settings, problem, loop, epochs, tol)
            self._publish(_state(settings, problem, loop, epochs, extra))

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        n_epochs: int = 5,
        learning_rate: float | None = None,
    ) -> Self:
        """Go on training with new ratings, of known and of new users and items.

        Only the given ratings are visited, with all that their users ever rated as N. The factors grow by the rows of
        users and items that are new: p, h and the biases start as the exact solution for their ratings of what is
        known, all else fixed, or at random where new users have rated nothing but new items, and y at zero. μ stays
        what it was. An unfitted model is fitted to the ratings.

        Parameters
        ----------
        X, y, sample_weight
            New ratings, as in `fit`. A cell that was rated before takes its new value.
        n_epochs : int, default 5
            Passes over the new ratings.
        learning_rate : float or None, default None
            The rate of all of them. None takes the one that `fit` ended with, which moves known rows gently.

        Returns
        -------
        self
            Its state is replaced at once; who reads it meanwhile in another thread sees the old one.

        Raises
        ------
        ValueError, TypeError, DivergenceError
            As in `fit`, and if the model keeps no ratings, which say what a user's N is. The model is then what it was.
        """
        n_epochs = check_integer("n_epochs", n_epochs, 1)
        settings = replace(FitSettings.of(self), max_iter=n_epochs, patience=None)
        rate, old = self._rate(), self._state
        if old is None:
            self._fit(settings, 0.0, (X, y, sample_weight))
            return self
        if old.n_factors != settings.n_factors:
            raise ValueError(
                f"the model was fitted with n_factors={old.n_factors}; expected the same as then, or fit anew"
            )
        if old.ratings is None:
            raise ValueError(
                "the model keeps no training ratings, which say what a user has rated; fit it with store_ratings=True"
            )
        growth = grow(old, training_ratings(X, y, sample_weight))
        assert growth.all is not None
        rate = rate.held_at(min(old.n_iter, check_integer("max_iter", self.max_iter, 1)) - 1)
        if learning_rate is not None:
            rate.initial = check_number("learning_rate", learning_rate, positive=True)
        with fitting(self, settings, growth.new, None, None, None, None) as (problem, loop):
            problem.mean = old.global_mean
            rows = SvdppRows.of(settings.start(problem, None))
            _enter(old, growth, RowObjective.of(self, old), settings, rows)
            extra = {name: array for name, array in old.extra.items() if name.startswith(_PAIRS)}
            members = _members(growth.all, extra)
            epochs = SvdppEpochs(problem, rows, members, rate, settings.generator)
            self._run(settings, problem, loop, epochs, 0.0)
            self._publish(
                _grown(_state(settings, problem, loop, epochs, extra), old, growth, settings)
            )
        return self

    @property
    def implicit_item_factors_(self) -> np.ndarray:
        """The rows y of the items, a read-only array of shape (n_items, n_factors)."""
        return self._fitted().extra[_IMPLIED]

    def _rate(self) -> LearningRate:
        check_choice("schedule", self.schedule, _SCHEDULES)
        return LearningRate.of(self)

    def _run(
        self,
        settings: FitSettings,
        problem: Problem,
        loop: TrainingLoop,
        epochs: SvdppEpochs,
        tol: float,
    ) -> None:
        train_rmse = math.inf

        def step(iteration: int) -> bool:
            nonlocal train_rmse
            before, train_rmse = train_rmse, epochs.run(settings.reg, settings.reg_bias)
            return tol > 0 and before - train_rmse <= tol * train_rmse

        def measure() -> tuple[float, float, float]:
            if problem.validation is None:
                return math.nan, train_rmse, math.nan
            return math.nan, train_rmse, problem.validation_rmse(epochs.whole())

        loop.run(step, measure, cast("Factors", epochs.rows))  # all it does is copy and assign

    def _solve(
        self, state: FittedState, which: str, view: SparseView, n_threads: int
    ) -> SolvedRows:
        """Solve rows; of a user, what its rated items imply is known, and p is what is left to solve for."""
        if which == "item":
            return super()._solve(state, which, view, n_threads)
        implied = _implied(view, state.extra[_IMPLIED])
        objective = RowObjective.of(self, state)
        return _solve_users(
            view, implied, state.item_factors, state.item_bias, objective, n_threads
        )


_OWN, _IMPLIED, _PAIRS = "own_user_factors", "implicit_item_factors", "implicit_pairs_"


def _implicit_pairs(implicit: Any, ratings: Ratings) -> dict[str, np.ndarray]:
    """Return the further interactions in row numbers of the ratings, by the names of the fitted state."""
    if implicit is None:
        return {}
    users, items, *_ = as_ratings(implicit).align_to(
        ratings.user_ids, ratings.item_ids, ratings.shape
    )
    known = (users >= 0) & (items >= 0)
    return {_PAIRS + "users": users[known], _PAIRS + "items": items[known]}


def _members(ratings: Ratings, extra: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return N(u) of all users as compressed rows: what they rated, and their further interactions."""
    view = ratings.csr(ratings.values.dtype)
    if not extra:
        return view.indptr, view.indices
    rated = sparse.csr_array(
        (np.ones(len(view.indices), bool), view.indices, view.indptr), shape=ratings.shape
    )
    pairs = extra[_PAIRS + "users"], extra[_PAIRS + "items"]
    more = sparse.coo_array((np.ones(len(pairs[0]), bool), pairs), shape=ratings.shape)
    both = sparse.csr_array(rated + more.tocsr())
    both.sort_indices()
    return both.indptr.astype(np.int64), both.indices


def _state(
    settings: FitSettings,
    problem: Problem,
    loop: TrainingLoop,
    epochs: SvdppEpochs,
    extra: dict[str, np.ndarray],
) -> FittedState:
    rows = epochs.rows
    own = {
        _OWN: np.array(rows.user[:, : rows.n_factors], order="C"),
        _IMPLIED: np.array(rows.implied, order="C"),
    }
    return settings.state(problem, epochs.whole(), loop, own | extra)


def _implied(view: SparseView, y: np.ndarray) -> np.ndarray:
    """Return |N|^-½ Σ y of the items of each row."""
    n_rows = len(view.indptr) - 1
    pattern = sparse.csr_array(
        (np.ones(len(view.indices), y.dtype), view.indices, view.indptr), shape=(n_rows, len(y))
    )
    scale = 1 / np.sqrt(np.maximum(np.diff(view.indptr), 1))[:, np.newaxis]
    return np.ascontiguousarray(pattern @ y * scale, y.dtype)


def _solve_users(
    view: SparseView,
    implied: np.ndarray,
    items: np.ndarray,
    item_bias: np.ndarray | None,
    objective: RowObjective,
    n_threads: int,
) -> SolvedRows:
    """Return p and what the items imply together, of users for whom p minimizes the objective."""
    explained = np.empty(len(view.indices), items.dtype)
    none = np.zeros(0, items.dtype)
    rows = np.repeat(np.arange(len(implied)), np.diff(view.indptr))
    kernels.predict_pairs(
        rows, view.indices.astype(np.int64), implied, items, none, none, 0.0, explained
    )
    rest = view._replace(values=view.values - explained)
    solved = solve_rows(rest, items, item_bias, objective, n_threads)
    return solved._replace(factors=solved.factors + implied)


def _enter(
    old: FittedState,
    growth: Growth,
    objective: RowObjective,
    settings: FitSettings,
    rows: SvdppRows,
) -> None:
    """Start from the model's rows; new users and items are solved for their ratings, with y of new items zero."""
    y = np.zeros((len(rows.item), old.n_factors), old.dtype)
    y[: old.n_items] = old.extra[_IMPLIED]

    def solve(
        side: str, view: SparseView, fixed: np.ndarray, fixed_bias: np.ndarray | None
    ) -> SolvedRows:
        if side == "item":
            return solve_rows(view, fixed, fixed_bias, objective, settings.n_threads)
        implied = _implied(view, y)
        return _solve_users(view, implied, fixed, fixed_bias, objective, settings.n_threads)

    grown = GrownRows(old, growth, growth.new, solve, settings)
    grown.solve_new_from_known()
    k = old.n_factors
    rows.user[: old.n_users, :k] = old.extra[_OWN]
    new = grown.new[0]
    rows.user[new.numbers, :k] = grown.factors["user"][new.numbers] - _implied(new.view, y)
    rows.item[:, :k] = grown.factors["item"]
    rows.implied[:] = y
    user_bias, item_bias = grown.bias["user"], grown.bias["item"]
    assert user_bias is not None
    assert item_bias is not None
    rows.user_bias[:], rows.item_bias[:] = user_bias, item_bias


def _grown(
    state: FittedState, old: FittedState, growth: Growth, settings: FitSettings
) -> FittedState:
    """Return the state of a training on new ratings as that of all ratings."""
    assert growth.all is not None
    return replace(
        state,
        rating_mean=old.rating_mean,
        rating_range=growth.all.rating_range,
        user_counts=growth.user_counts,
        item_counts=growth.item_counts,
        ratings=growth.all if settings.store_ratings else None,
        history={name: [*old.history[name], *values] for name, values in state.history.items()},
        n_iter=old.n_iter + state.n_iter,
    )
