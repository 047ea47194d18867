"""Stochastic gradient descent for explicit ratings."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf import _cold
from cymf._epochs import Epochs, LearningRate
from cymf._estimator import FitFeatures, FitSettings, fitting
from cymf._feature_state import refuse_features
from cymf._fold_in import ExplicitModel
from cymf._grown_rows import GrownRows, row_solver
from cymf._growth import Growth, grow
from cymf._inputs import training_ratings
from cymf._parallel import single_threaded_blas
from cymf._row_solve import RowObjective
from cymf._training import Iteration, TrainingLoop
from cymf._validation import check_choice, check_integer, check_number
from cymf.als import RowSolver

if TYPE_CHECKING:
    from cymf._factors import Factors
    from cymf._problem import Problem
    from cymf._state import FittedState

__all__ = ["SGD"]


class SGD(ExplicitModel):
    r"""Matrix factorization by stochastic gradient descent, one rating at a time.

    Minimizes the same objective as `ALS`. For each observed rating, with the error
    e = a_ij − μ − b_i − b_j − w_i·h_j and the learning rate η,

        w_i ← w_i + η (c e h_j − λ n_i^(ν−1) w_i),    h_j ← h_j + η (c e w_i − λ n_j^(ν−1) h_j),

    both from the old values, and the biases likewise with λ_b. Summed over all ratings, the steps are the gradient of
    the objective. Ratings are visited in blocks of a fixed grid, in an order that the seed alone decides, so that the
    result is the same bits for any number of threads.

    Parameters
    ----------
    n_factors : int, default 100
        Length of the factors w_i and h_j.
    reg : float, default 0.05
        λ, the penalty on factors.
    reg_bias : float or None, default None
        λ_b, the penalty on biases; None takes `reg`.
    reg_exponent : float, default 1
        ν: 0 is the textbook's penalty, 1 scales it by the number of ratings, so that a step's share is the plain λ.
    feature_reg : float or None, default None
        λ_B, the penalty on what is learnt of features, for `fit` with features: see `ALS`. None takes a thousandth of
        the number of ratings, or of their weight.
    use_bias : bool, default True
        Whether the model has the biases μ + b_i + b_j; without them it is A ≈ W H.
    learning_rate : float, default 0.02
        η of the first epoch.
    schedule : {"exponential", "constant", "inverse_scaling", "adagrad", "adagrad_row"}, default "exponential"
        How η falls. With epochs t = 0, 1, …: exponential η (1 − decay)^t; inverse scaling η / (1 + t)^decay; constant.
        AdaGrad divides η by the root of 1 plus the sum of squared gradients, of each coordinate or of each row (their
        mean over the row).
    decay : float, default 0.05
        The rate at which η falls, for "exponential" (at most 1) and "inverse_scaling".
    max_iter : int, default 50
        Epochs.
    tol : float, default 0
        Training stops when an epoch lowers the training RMSE by at most ``tol`` times its value; 0 does all epochs.
    init_std : float or None, default None
        Standard deviation of the random factors that training starts from; the smaller, the later they overfit. None
        takes 0.005, and 0.1 without biases, where predictions start near zero and nothing else can move.
    patience : int or None, default None
        With a validation set: stop after so many epochs without a better validation RMSE, and keep the best.
    on_divergence : {"raise", "back_off"}, default "raise"
        What to do when errors explode: raise within the epoch, or go back to its start and halve the learning rate.
    track_objective : bool, default False
        Whether ``history_`` gets the objective and the training RMSE from a pass of their own. Otherwise the training
        RMSE is that of the errors before each update, and the objective is NaN.
    store_ratings : bool, default True
        Whether the model keeps the training ratings, which ``recommend(exclude_seen=True)`` needs.
    random_state : int, Generator or None, default 0
        Seed of the start and of the order of ratings. None draws a fresh one.
    n_threads : int or None, default None
        Threads; None means all processors. The result is the same bits for any number.
    dtype : {"float32", "float64"}, default "float32"
        Type of the factors and of the arithmetic.
    verbose : bool, default False
        Whether to show a progress bar.

    References
    ----------
    Koren, Bell and Volinsky 2009, "Matrix factorization techniques for recommender systems". Gemulla, Nijkamp, Haas
    and Sismanis 2011, "Large-scale matrix factorization with distributed stochastic gradient descent". Duchi, Hazan
    and Singer 2011, "Adaptive subgradient methods for online learning and stochastic optimization".

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> nan = np.nan
    >>> A = np.array([[5, 4, 2, 3, 2], [nan, 5, 1, 4, nan], [4, nan, 1, 5, nan]])
    >>> parameters = {"reg": 0.01, "learning_rate": 0.05, "schedule": "constant", "max_iter": 200}
    >>> model = cymf.SGD(n_factors=2, **parameters).fit(A)
    >>> bool(abs(model.predict(0, 0) - 5) < 0.5)
    True
    """

    def __init__(
        self,
        n_factors: int = 100,
        *,
        reg: float = 0.05,
        reg_bias: float | None = None,
        reg_exponent: float = 1.0,
        feature_reg: float | None = None,
        use_bias: bool = True,
        learning_rate: float = 0.02,
        schedule: str = "exponential",
        decay: float = 0.05,
        max_iter: int = 50,
        tol: float = 0.0,
        init_std: float | None = None,
        patience: int | None = None,
        on_divergence: str = "raise",
        track_objective: bool = False,
        store_ratings: bool = True,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        dtype: str | np.dtype[Any] | type = "float32",
        verbose: bool = False,
    ) -> None:
        self.n_factors = n_factors
        self.reg = reg
        self.reg_bias = reg_bias
        self.reg_exponent = reg_exponent
        self.feature_reg = feature_reg
        self.use_bias = use_bias
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.decay = decay
        self.max_iter = max_iter
        self.tol = tol
        self.init_std = init_std
        self.patience = patience
        self.on_divergence = on_divergence
        self.track_objective = track_objective
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
        user_features: Any = None,
        item_features: Any = None,
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
            Where to start from. A model's rows are found by id.
        user_features, item_features : Features, table, or matrix with a row for each user or item, optional
            What is known of users and items beside their ratings, as `ALS.fit` takes it. Rows are pulled to what their
            features predict by the same objective, several times an epoch; what is learnt of features is solved for
            exactly after each. Not with the schedules of AdaGrad.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not what they should be.
        DivergenceError
            If errors explode and ``on_divergence="raise"``, or halving the learning rate does not help.
        """
        settings = self._settings()
        tol = check_number("tol", self.tol)
        rate = LearningRate.of(self)
        back_off = self._backs_off()
        features = FitFeatures.of(self, user_features, item_features)
        with (
            fitting(self, settings, X, y, sample_weight, validation, callback, features) as (
                problem,
                loop,
            ),
            single_threaded_blas() if features is not None else nullcontext(),
        ):
            epochs = Epochs(
                problem,
                settings.start(problem, init),
                rate,
                settings.generator,
                back_off=back_off,
            )
            self._run(settings, problem, loop, epochs, tol)
            factors = epochs.factors()
            problem.priors.finish(factors)
            extra = epochs.sums()
            if problem.priors:
                extra |= RowSolver(problem, "cholesky").solve_against_features(factors)
            self._publish(settings.state(problem, factors, loop, extra))
        return self

    predict_cold = _cold.predict_cold
    recommend_cold = _cold.recommend_cold
    user_feature_factors_ = _cold.user_feature_factors
    item_feature_factors_ = _cold.item_feature_factors

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

        Only the given ratings are visited. The factors grow by the rows of users and items that are new; these start
        as the exact solution for their ratings of what is known, all else fixed, and at random where new users have
        rated nothing but new items. μ stays what it was, and the penalty's n counts old
        and new ratings together; a model that keeps no ratings cannot tell a cell that is rated again from a new one,
        and counts it again. An unfitted model is fitted to the ratings.

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
            Its state is replaced at once; who reads it meanwhile sees the old one.

        Raises
        ------
        ValueError, TypeError, DivergenceError
            As in `fit`. The model is then what it was.
        """
        settings = replace(
            self._settings(), max_iter=check_integer("n_epochs", n_epochs, 1), patience=None
        )
        rate = LearningRate.of(self)
        back_off = self._backs_off()
        old = self._state
        growth = None
        if old is not None:
            if (
                old.n_factors != settings.n_factors
                or (old.user_bias is not None) != settings.use_bias
            ):
                raise ValueError(
                    f"the model was fitted with n_factors={old.n_factors} and "
                    f"use_bias={old.user_bias is not None}; expected the same parameters as then, or fit anew"
                )
            refuse_features(old, "partial_fit")
            growth = grow(old, training_ratings(X, y, sample_weight))
            X, y, sample_weight = growth.new, None, None
        with fitting(self, settings, X, y, sample_weight, None, None) as (problem, loop):
            start = settings.start(problem, None)
            if old is None or growth is None:
                epochs = Epochs(problem, start, rate, settings.generator, back_off=back_off)
            else:
                problem.mean = old.global_mean
                rate = rate.held_at(min(old.n_iter, self.max_iter) - 1)
                if learning_rate is not None:
                    rate.initial = check_number("learning_rate", learning_rate, positive=True)
                self._enter(old, growth, settings, start)
                epochs = Epochs(
                    problem,
                    start,
                    rate,
                    settings.generator,
                    back_off=back_off,
                    counts=(growth.user_counts, growth.item_counts),
                    sums=dict(old.extra),
                )
            self._run(settings, problem, loop, epochs, 0.0)
            state = settings.state(problem, epochs.factors(), loop, epochs.sums())
        if old is not None and growth is not None:
            low, high = old.rating_range
            state = replace(
                state,
                rating_mean=old.rating_mean,
                rating_range=(min(low, state.rating_range[0]), max(high, state.rating_range[1])),
                user_counts=growth.user_counts,
                item_counts=growth.item_counts,
                ratings=growth.all if settings.store_ratings else None,
                history={
                    name: [*old.history[name], *values] for name, values in state.history.items()
                },
                n_iter=old.n_iter + state.n_iter,
            )
        self._publish(state)
        return self

    def _enter(
        self, old: FittedState, growth: Growth, settings: FitSettings, start: Factors
    ) -> None:
        """Start from the model's rows; those of new users and items are solved for their ratings."""
        solve = row_solver(RowObjective.of(self, old), settings.n_threads)
        rows = GrownRows(old, growth, growth.new, solve, settings)
        rows.solve_new_from_known()
        k = old.n_factors
        start.user[:, :k], start.item[:, :k] = rows.factors["user"], rows.factors["item"]
        user_bias, item_bias = rows.bias["user"], rows.bias["item"]
        if user_bias is not None and item_bias is not None:
            start.user_bias[:], start.item_bias[:] = user_bias, item_bias

    def _settings(self) -> FitSettings:
        return FitSettings.of(self, default_init_std=0.005 if self.use_bias else 0.1)

    def _backs_off(self) -> bool:
        return (
            check_choice("on_divergence", self.on_divergence, ("raise", "back_off")) == "back_off"
        )

    def _run(
        self,
        settings: FitSettings,
        problem: Problem,
        loop: TrainingLoop,
        epochs: Epochs,
        tol: float,
    ) -> None:
        train_rmse = math.inf

        def step(iteration: int) -> bool:
            nonlocal train_rmse
            before, train_rmse = train_rmse, epochs.run()
            return tol > 0 and before - train_rmse <= tol * train_rmse

        def measure() -> tuple[float, float, float]:
            if not settings.track_objective and problem.validation is None:
                return math.nan, train_rmse, math.nan
            factors = problem.priors.filled(epochs.factors())
            objective, exact_rmse, validation_rmse = settings.measure(problem, factors)
            return (
                objective,
                exact_rmse if settings.track_objective else train_rmse,
                validation_rmse,
            )

        loop.run(step, measure, problem.iterate(epochs.working))
