"""Batch gradient descent for explicit ratings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from cymf._estimator import FitSettings, fitting
from cymf._fold_in import ExplicitModel
from cymf._parallel import single_threaded_blas
from cymf._steps import RULES, Descent
from cymf._training import Iteration
from cymf._validation import check_choice, check_number

__all__ = ["GradientDescent"]


class GradientDescent(ExplicitModel):
    r"""Matrix factorization by gradient descent on all ratings at once.

    Minimizes the same objective as `ALS`. With the residuals E = R̂ − R on the observed cells, the gradient of
    ½‖E‖² is

        ∂L/∂U = E V,    ∂L/∂V = Eᵀ U,

    each computed by one fused pass over the ratings that never stores E; the penalty and the biases are added in the
    same pass.

    Parameters
    ----------
    n_factors : int, default 50
        Length of the factors w_i and h_j.
    reg : float, default 1.2
        λ, the penalty on factors.
    reg_bias : float or None, default None
        λ_b, the penalty on biases; None takes `reg`.
    reg_exponent : float, default 0.5
        ν: 0 is the textbook's penalty, 1 scales it by the number of ratings.
    use_bias : bool, default True
        Whether the model has the biases μ + b_i + b_j; without them it is A ≈ W H.
    step : {"lbfgs", "nesterov", "backtracking", "adam", "fixed"}, default "lbfgs"
        How the gradient becomes a step: SciPy's L-BFGS; accelerated with restart; steepest descent with a line
        search; Adam; or the textbook's x ← x − η ∇f(x) with one η.
    learning_rate : float or None, default None
        η. None lets "fixed" find the first rate that lowers the objective well, the line searches start at 1, and
        "adam" take 0.02; "lbfgs" has none.
    max_iter : int, default 100
        Most iterations.
    tol : float, default 1e-5
        Training stops when an iteration lowers the objective by at most ``tol`` times its value; 0 does all.
    init_std : float, default 0.1
        Standard deviation of the random factors that training starts from.
    patience : int or None, default None
        With a validation set: stop after so many iterations without a better validation RMSE, and keep the best.
    store_ratings : bool, default True
        Whether the model keeps the training ratings, which ``recommend(exclude_seen=True)`` needs.
    random_state : int, Generator or None, default 0
        Seed of the start. None draws a fresh one.
    n_threads : int or None, default None
        Threads; None means all processors. The result is the same bits for any number.
    dtype : {"float32", "float64"}, default "float32"
        Type of the factors and of the arithmetic; losses are summed in float64.
    verbose : bool, default False
        Whether to show a progress bar.

    References
    ----------
    Aggarwal 2016, "Recommender systems: the textbook", section 3.6.4. Liu and Nocedal 1989 (L-BFGS). Nesterov 1983;
    O'Donoghue and Candès 2015, "Adaptive restart for accelerated gradient schemes". Kingma and Ba 2015 (Adam).

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> nan = np.nan
    >>> A = np.array([[5, 4, 2, 3, 2], [nan, 5, 1, 4, nan], [4, nan, 1, 5, nan]])
    >>> model = cymf.GradientDescent(n_factors=2, reg=0.1).fit(A)
    >>> bool(abs(model.predict(0, 0) - 5) < 0.5)
    True
    """

    def __init__(
        self,
        n_factors: int = 50,
        *,
        reg: float = 1.2,
        reg_bias: float | None = None,
        reg_exponent: float = 0.5,
        use_bias: bool = True,
        step: str = "lbfgs",
        learning_rate: float | None = None,
        max_iter: int = 100,
        tol: float = 1e-5,
        init_std: float = 0.1,
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
        self.reg_exponent = reg_exponent
        self.use_bias = use_bias
        self.step = step
        self.learning_rate = learning_rate
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
            Held-out ratings, evaluated after every iteration.
        callback : callable, optional
            Called with an `Iteration` after every iteration; a true result stops training.
        init : fitted model, or (user_factors, item_factors), optional
            Where to start from. A model's rows are found by id.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not what they should be.
        DivergenceError
            If the objective explodes, as it does with a fixed learning rate that is too large.
        """
        settings = FitSettings.of(self)
        tol = check_number("tol", self.tol)
        rule = RULES[check_choice("step", self.step, tuple(RULES))]
        rate = self.learning_rate
        if rate is not None:
            rate = check_number("learning_rate", rate, positive=True)
        with (
            fitting(self, settings, X, y, sample_weight, validation, callback) as (problem, loop),
            single_threaded_blas(),
        ):
            factors = settings.start(problem, init)
            descent: Descent | None = None

            def solver(finished: Callable[[bool], bool]) -> None:
                nonlocal descent
                descent = Descent(problem, factors, rate, settings.max_iter, tol, finished)
                rule(descent)
                if descent.stalled and loop.stop_reason == "max_iter":
                    loop.stop_reason = "stalled"

            def measure() -> tuple[float, float, float]:
                assert descent is not None
                train_rmse = problem.rmse_of(descent.squared)
                return descent.value, train_rmse, problem.validation_rmse(factors)

            loop.drive(solver, measure, factors)
            self._publish(settings.state(problem, factors, loop))
        return self
