"""Alternating least squares for implicit feedback, over all cells."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np

from cymf._cold import ColdAnswers
from cymf._estimator import FitFeatures, aligned
from cymf._explain import Explanation, explain_implicit
from cymf._feature_state import predicted_rows, refuse_features
from cymf._fit_log import FitLog, TrainingSize
from cymf._fold_in import as_rows_of_users
from cymf._growth import grow
from cymf._implicit_fold_in import FoldIn, view_of
from cymf._implicit_growth import solve_chosen, take_over
from cymf._implicit_problem import ImplicitProblem
from cymf._implicit_settings import Settings, validation_score
from cymf._inputs import training_ratings
from cymf._parallel import Workers, single_threaded_blas
from cymf._queries import By
from cymf._training import Iteration
from cymf._validation import check_callback, check_integer, check_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cymf._row_posterior import RowPosterior
    from cymf._state import FittedState

__all__ = ["ImplicitALS"]


class ImplicitALS(ColdAnswers):
    r"""Matrix factorization of implicit feedback by alternating least squares over all cells.

    What is stored is how often something happened, the strength f; what is not stored did not happen, which says a
    little as well. With scores s_ij = b_i + b_j + w_i·h_j, confidences c ≥ 0, targets p = 1 where f > 0 and p = 0
    elsewhere, and the observed cells Ω,

    ``weighting="hu"`` (Hu, Koren and Volinsky: an observed cell has the weight c in place of the unobserved one)

        ½ Σ_Ω c_ij (p_ij − s_ij)² + ½ Σ_{not Ω} v_j s_ij² + R

    ``weighting="rendle"`` (Rendle et al.: beside its own term, an observed cell is pulled to 0 like all others)

        ½ Σ_Ω c_ij (p_ij − s_ij)² + ½ Σ_all v_j s_ij² + R

    with the penalty

        R = ½ Σ_i ρ_i (λ ‖w_i‖² + λ_b b_i²) + ½ Σ_j ρ_j (λ ‖h_j‖² + λ_b b_j²),
        ρ_i = (n_i + Σ_j v_j)^ν,    ρ_j = (n_j + v_j N)^ν

    where n counts the observed cells of a row, N users and M items have some, and those that have none take no part.
    The unobserved weight of an item is v_j = α₀ n_j^e / mean(n^e), which for e = 0 is α₀ (and ρ_i = (n_i + α₀ M)^ν).
    With one side fixed, every row of the other, its bias included, is a least-squares problem over all M or N cells of
    its own. An iteration solves all items, then all users; the objective never rises.

    Parameters
    ----------
    n_factors : int, default 64
        Length of the factors w_i and h_j.
    reg : float, default 0.01
        λ, the penalty on factors.
    reg_bias : float or None, default None
        λ_b, the penalty on biases; None takes `reg`. Zero if and only if `reg` is.
    reg_exponent : float, default 1
        ν: 0 is the plain penalty λ ‖w_i‖², 1 scales it by the weight that pulls at the row.
    feature_reg : float or None, default None
        λ_B, the penalty on what is learnt of features, for `fit` with features: see Notes. None takes 1.
    unobserved_weight : float, default 0.01
        α₀, the weight of a cell that was not observed. In proportion to the confidences of observed ones it says
        how much is concluded from nothing having happened.
    popularity_exponent : float, default 0
        e: above 0, not to have taken a popular item says more than not to have taken a rare one; the weights'
        mean over the items stays α₀.
    weighting : {"hu", "rendle"}, default "hu"
        Which of the two objectives. With a small α₀ they are nearly the same.
    confidence : {"linear", "log", "given"}, default "log"
        c = 1 + α |f|; c = 1 + α log(1 + |f| / ε); or c = α |f|. A negative f means disliked: its confidence counts,
        its target is 0. Weights of the ratings multiply c.
    alpha : float, default 0.3
        α.
    epsilon : float, default 1
        ε of ``confidence="log"``.
    use_bias : bool, default False
        Whether scores have the biases b_i + b_j, learnt jointly with the factors. They are part of the score of every
        cell, the unobserved ones included.
    max_iter : int, default 15
        Most iterations.
    tol : float, default 0
        Training stops when an iteration lowers the objective by at most ``tol`` times its value; 0 does all iterations.
    solver : {"auto", "cholesky", "cg", "subspace"}, default "auto"
        How rows are solved: exactly, as ``"auto"`` does; or inexactly from where the row is, by conjugate gradients or
        by blocks of factors (iALS++). Rows with few observed cells are solved exactly with each of them, as that is
        cheaper.
    cg_steps : int, default 3
        Steps a row and half-sweep of ``solver="cg"``.
    block_size : int, default 64
        Factors solved together by ``solver="subspace"``, rounded up to whole vectors.
    init_std : float, default 0.1
        Root mean square of the random factors that training starts from, times √n_factors.
    init_distribution : {"normal", "uniform"}, default "normal"
        Their distribution: normal around 0, or uniform from 0 up.
    validation_metric : str, default "ndcg@10"
        Ranking metric of the held-out interactions, by its name in `cymf.evaluation`.
    patience : int or None, default None
        With a validation set: stop after so many iterations without a better score, and keep the best.
    track_objective : bool, default True
        Whether ``history_`` gets the objective over all cells, at the price of one pass over the observed ones.
    store_ratings : bool, default True
        Whether the model keeps the training ratings, which ``recommend(exclude_seen=True)`` needs.
    random_state : int, Generator or None, default 0
        Seed of the start. None draws a fresh one.
    n_threads : int or None, default None
        Threads; None means all processors. The result is the same bits for any number.
    dtype : {"float32", "float64"}, default "float32"
        Type of the factors and of the arithmetic; long sums are float64 in any case.
    verbose : bool, default False
        Whether to show a progress bar.

    Notes
    -----
    Without biases the factors of a fitted model stand in the eigenbasis of Σ_j v_j h_j h_jᵀ: products w·h are what the
    objective knows, and they do not change when both sides are rotated alike.

    With features F of users, of items, or of both, rows are drawn to what their features predict: the penalty on users
    is, and that on items likewise,

        ½ Σ_i ρ_i (λ ‖w_i − F_i B‖² + λ_b (b_i − F_i β)²) + ½ λ_B (‖B‖² + ‖β‖²).

    B and β are learnt with the rest, by exact steps; the objective never rises. A row without observed cells, which
    takes no part in training, is F_i B and F_i β; one with many leaves them behind.

    References
    ----------
    Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets". Rendle, Krichene, Zhang and
    Koren 2021, "Revisiting the performance of iALS on item recommendation benchmarks", arXiv 2110.14037; "iALS++:
    speeding up matrix factorization with subspace optimization", arXiv 2110.14044. He, Zhang, Kan and Chua 2016, "Fast
    matrix factorization for online recommendation with implicit feedback" (weights by popularity). Takács, Pilászy and
    Tikk 2011, "Applications of the conjugate gradient method for implicit feedback collaborative filtering".

    Examples
    --------
    >>> import cymf
    >>> plays = cymf.Ratings.from_triplets(
    ...     ["ann", "ann", "bob", "bob", "cy"], ["jazz", "funk", "jazz", "soul", "funk"], [9, 4, 2, 7, 5]
    ... )
    >>> model = cymf.ImplicitALS(n_factors=2).fit(plays)
    >>> items, scores = model.recommend("cy", n=2)
    >>> print(items[0])
    jazz
    """

    def __init__(
        self,
        n_factors: int = 64,
        *,
        reg: float = 0.01,
        reg_bias: float | None = None,
        reg_exponent: float = 1.0,
        feature_reg: float | None = None,
        unobserved_weight: float = 0.01,
        popularity_exponent: float = 0.0,
        weighting: str = "hu",
        confidence: str = "log",
        alpha: float = 0.3,
        epsilon: float = 1.0,
        use_bias: bool = False,
        max_iter: int = 15,
        tol: float = 0.0,
        solver: str = "auto",
        cg_steps: int = 3,
        block_size: int = 64,
        init_std: float = 0.1,
        init_distribution: str = "normal",
        validation_metric: str = "ndcg@10",
        patience: int | None = None,
        track_objective: bool = True,
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
        self.unobserved_weight = unobserved_weight
        self.popularity_exponent = popularity_exponent
        self.weighting = weighting
        self.confidence = confidence
        self.alpha = alpha
        self.epsilon = epsilon
        self.use_bias = use_bias
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.cg_steps = cg_steps
        self.block_size = block_size
        self.init_std = init_std
        self.init_distribution = init_distribution
        self.validation_metric = validation_metric
        self.patience = patience
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
            Strengths f of what was observed; or, with `y`, pairs of a user and an item, by id.
        y : array-like of shape (n_pairs,), optional
            The strengths of the pairs.
        sample_weight : array-like of shape (n_pairs,), optional
            Factors of the confidences, not negative. Ratings bring their own.
        validation : like `X`, or a pair (X, y), optional
            Held-out interactions. After every iteration all items are ranked for their users, those of training left
            out, and `validation_metric` is taken.
        callback : callable, optional
            Called with an `Iteration` after every iteration; a true result stops training.
        init : fitted model, or (user_factors, item_factors), optional
            Where to start from. A model's rows are found by id. The first solve is that of the items, from the users'
            factors and biases.
        user_features, item_features : Features, table, or matrix with a row for each user or item, optional
            What is known of users and items beside what was observed. Rows of `Features` and of tables are found by id
            (of a table, in the column ``"user"`` or ``"item"``, else in the first); those without observed cells become
            users and items of the model, and those without features have no prior. Rows of a matrix stand in the order
            of the ratings' rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not what they should be.
        DivergenceError
            If a row's solution is not finite.
        """
        settings = Settings.of(self)
        check_callback(callback)
        if settings.patience is not None and validation is None:
            raise ValueError(
                f"patience={settings.patience} needs a validation set; give fit(…, validation=…), or patience=None"
            )
        features = FitFeatures.of(self, user_features, item_features)
        ratings, sides = aligned(training_ratings(X, y, sample_weight), features)
        score = validation_score(validation, ratings, settings, sides.described(ratings.shape))
        with Workers(settings.n_threads) as workers, single_threaded_blas():
            problem = ImplicitProblem(ratings, settings.model, settings.dtype, workers)
            if features is not None:
                problem.describe(sides, features.reg)
            loop = settings.loop(type(self).__name__, ratings, callback)
            factors = settings.start(problem, init)
            rows = settings.rows(problem)
            objective = math.nan

            def step(iteration: int) -> bool:
                nonlocal objective
                rows.solve_items(factors)
                rows.solve_users(factors)
                if settings.tol == 0:
                    return False
                before, objective = objective, problem.objective(factors, rows.all_cells(factors))
                return before - objective <= settings.tol * objective

            def measure() -> tuple[float, float]:
                now = objective
                if settings.track_objective and settings.tol == 0:
                    now = problem.objective(factors, rows.all_cells(factors))
                return now, score(problem.priors.filled(factors))

            loop.run(step, measure, problem.iterate(factors))
            problem.priors.finish(factors)
            self._publish(
                problem.state(
                    factors,
                    history=loop.history,
                    n_iter=loop.n_iter,
                    stop_reason=loop.stop_reason,
                    store_ratings=settings.store_ratings,
                )
            )
        return self

    def partial_fit(
        self, X: Any, y: Any = None, *, sample_weight: Any = None, n_iter: int = 1
    ) -> Self:
        """Take in new ratings, of known and of new users and items, by solving the rows that they touch.

        The users in the new ratings are solved exactly from all their ratings, old and new; then, `n_iter` times, the
        items in them and the users again. All other rows stay as they are, and so do ``history_``, ``n_iter_`` and
        ``stop_reason_``, which tell how training over all ratings went. An unfitted model is fitted to the ratings.

        Parameters
        ----------
        X, y, sample_weight
            New ratings, as in `fit`. A cell that was rated before takes its new value.
        n_iter : int, default 1
            How often items and users are solved in turn; new users with new items want two or three.

        Returns
        -------
        self
            Its state is replaced at once; who reads it meanwhile sees the old one.

        Raises
        ------
        ValueError, TypeError, DivergenceError
            As in `fit`, and if the model keeps no ratings, of which exact solutions are made. The model is then what it
            was.
        """
        n_iter = check_integer("n_iter", n_iter, 1)
        old = self._state
        if old is None:
            return self.fit(X, y, sample_weight=sample_weight)
        refuse_features(old, "partial_fit")
        settings = Settings.of(self)
        model = settings.model
        if (old.n_factors, old.user_bias is not None) != (model.n_factors, model.use_bias):
            raise ValueError(
                f"the model was fitted with n_factors={old.n_factors} and "
                f"use_bias={old.user_bias is not None}; expected the same parameters as then, or fit anew"
            )
        growth = grow(old, training_ratings(X, y, sample_weight))
        if growth.all is None:
            raise ValueError(
                "the model keeps no training ratings, which exact solutions need; fit it with store_ratings=True"
            )
        size = TrainingSize(growth.new.shape, growth.new.nnz, settings.n_threads)
        log = FitLog(type(self).__name__, "partial_fit", size, n_iter)
        users, items = (np.flatnonzero(c) for c in (growth.new.user_counts, growth.new.item_counts))
        with Workers(settings.n_threads) as workers, single_threaded_blas():
            problem = ImplicitProblem(growth.all, model, old.dtype, workers)
            factors = problem.zeros()
            take_over(old, factors)
            solve_chosen(problem, factors, "user", users)
            for _ in range(n_iter):
                solve_chosen(problem, factors, "item", items)
                solve_chosen(problem, factors, "user", users)
            self._publish(
                problem.state(
                    factors,
                    history=dict(old.history),
                    n_iter=old.n_iter,
                    stop_reason=old.stop_reason,
                    store_ratings=settings.store_ratings,
                )
            )
        log.end(n_iter, "max_iter")
        return self

    @overload
    def user_factors_for(
        self,
        ratings: Any,
        strengths: Any = ...,
        *,
        by: By = ...,
        return_bias: Literal[False] = ...,
        features: Any = ...,
    ) -> NDArray[Any]: ...

    @overload
    def user_factors_for(
        self,
        ratings: Any,
        strengths: Any = ...,
        *,
        by: By = ...,
        return_bias: Literal[True],
        features: Any = ...,
    ) -> tuple[NDArray[Any], Any]: ...

    @overload
    def user_factors_for(
        self,
        ratings: Any,
        strengths: Any = ...,
        *,
        by: By = ...,
        return_bias: bool,
        features: Any = ...,
    ) -> Any: ...

    def user_factors_for(
        self,
        ratings: Any,
        strengths: Any = None,
        *,
        by: By = "id",
        return_bias: bool = False,
        features: Any = None,
    ) -> Any:
        """Return factors of users as if they had these ratings and no others: the exact solution, items fixed.

        Parameters
        ----------
        ratings : Ratings, sparse matrix, dense array with NaN, or table; or array-like of shape (n_items,)
            The users' ratings, one row a user; or the items of a single user. Items that the model does not know are
            passed over.
        strengths : array-like of shape (n_items,), optional
            Strengths f of a single user's items; 1 each by default.
        by : {"id", "index"}, default "id"
            Whether a single user's items are ids or row numbers.
        return_bias : bool, default False
            Whether to return the users' biases as well.
        features : Features, table, mapping, or matrix with a row for each user, optional
            What the users are drawn to, for a model that was fitted with `user_features`; in the order of the rows,
            whatever their ids. Without them, rows are drawn to zero.

        Returns
        -------
        factors : ndarray of shape (n_users, n_factors), or (n_factors,) for a single user
            In the order of the ratings' rows. A user without known items has zeros, or what the features predict.
        bias : ndarray of shape (n_users,), or float
            Only with ``return_bias=True``; zero in a model without biases.

        Raises
        ------
        ValueError, TypeError
            If the ratings or features are not what they should be.
        NotFittedError
            If `fit` has not been called.

        Notes
        -----
        Of a user from training, with the same features, this is the row that `fit` ended with, if it solved rows
        exactly. The first call prepares the items, in time and memory like a half-sweep's; their factors are not
        changed.
        """
        return self._fold_in("user", ratings, strengths, by, return_bias, features)

    @overload
    def item_factors_for(
        self,
        ratings: Any,
        strengths: Any = ...,
        *,
        by: By = ...,
        return_bias: Literal[False] = ...,
        features: Any = ...,
    ) -> NDArray[Any]: ...

    @overload
    def item_factors_for(
        self,
        ratings: Any,
        strengths: Any = ...,
        *,
        by: By = ...,
        return_bias: Literal[True],
        features: Any = ...,
    ) -> tuple[NDArray[Any], Any]: ...

    @overload
    def item_factors_for(
        self,
        ratings: Any,
        strengths: Any = ...,
        *,
        by: By = ...,
        return_bias: bool,
        features: Any = ...,
    ) -> Any: ...

    def item_factors_for(
        self,
        ratings: Any,
        strengths: Any = None,
        *,
        by: By = "id",
        return_bias: bool = False,
        features: Any = None,
    ) -> Any:
        """Return factors of items as if they had these ratings and no others: the exact solution, users fixed.

        Parameters, answers and errors are those of `user_factors_for`, with items for users: columns of `ratings` are
        the items, or `ratings` are the users of a single item. An item's unobserved weight is that of its popularity.
        """
        return self._fold_in("item", ratings, strengths, by, return_bias, features)

    def transform(self, X: Any) -> np.ndarray:
        """Return the factors of users by their ratings, as scikit-learn's transformers do: `user_factors_for` of `X`.

        Parameters
        ----------
        X : Ratings, sparse matrix, dense array with NaN, or table
            Strengths of what users, known or new, took of the model's items.

        Returns
        -------
        ndarray of shape (n_users, n_factors)
            In the order of the rows of `X`, without biases, which `user_factors_for` returns on request.

        Raises
        ------
        ValueError, TypeError, NotFittedError
            As `user_factors_for`.
        """
        factors: np.ndarray = self.user_factors_for(as_rows_of_users(X))
        return factors

    def explain(self, user: Any, item: Any, *, by: By = "id") -> Explanation:
        """Return which of a user's ratings made the prediction for an item.

        A user's row solves a linear system whose right-hand side is a sum over the user's ratings, so that a prediction
        is a sum over them as well (Hu, Koren and Volinsky 2008, section 5).

        Parameters
        ----------
        user, item : id
            One user and one item, both with training ratings.
        by : {"id", "index"}, default "id"
            Whether `user` and `item`, and the items returned, are ids or row numbers.

        Returns
        -------
        Explanation
            ``(score, items, contributions, base)``: the items that the user rated, the largest contribution first, and
            what each adds to the score; ``base`` is the rest, 0 in a model without biases.

        Raises
        ------
        ValueError
            If the model keeps no training ratings.
        UnknownIdError
            If the user or the item has none.
        NotFittedError
            If `fit` has not been called.
        """
        return explain_implicit(self._fitted(), self, user, item, by)

    def _posterior(self, state: FittedState) -> RowPosterior:
        from cymf._row_posterior import RowPosterior

        return RowPosterior.of_implicit(state, self)

    def _fold_in(
        self, which: str, ratings: Any, strengths: Any, by: By, return_bias: bool, features: Any
    ) -> Any:
        state = self._fitted()
        fold_in = FoldIn.of(state, self, which)
        view, single = view_of(ratings, strengths, state, which, by)
        n_threads = 1 if single else check_threads(self.n_threads)
        side = fold_in.side(view)
        drawn_to = None
        if features is not None:
            drawn_to = predicted_rows(state, which, features, len(side.counts), type(self).__name__)
        factors, bias = fold_in.solve(side, n_threads, drawn_to)
        if not return_bias:
            return factors[0] if single else factors
        bias = np.zeros(len(factors), state.dtype) if bias is None else bias
        return (factors[0], float(bias[0])) if single else (factors, bias)
