"""Alternating least squares for explicit ratings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf._als_growth import updated
from cymf._cold import ColdAnswers
from cymf._errors import DivergenceError
from cymf._estimator import FitFeatures, FitSettings, fitting
from cymf._explain import Explanation, explain_explicit
from cymf._factors import Factors, aligned_zeros, predicted_change
from cymf._feature_state import refuse_features
from cymf._fit_log import LOGGER
from cymf._fold_in import ExplicitModel
from cymf._inputs import training_ratings
from cymf._kernels import _als_lapack, kernels
from cymf._nonnegative_rows import ObservedRows, Penalty, exact_descent
from cymf._parallel import single_threaded_blas
from cymf._problem import Problem, Side
from cymf._queries import By
from cymf._training import Iteration
from cymf._validation import check_choice, check_flag, check_integer, check_number

if TYPE_CHECKING:
    from cymf._row_posterior import RowPosterior
    from cymf._state import FittedState

__all__ = ["ALS"]

_MOST_FACTORS_SOLVED_EXACTLY = 64  # by solver="auto": docs/decisions/0007
SOLVERS = ("auto", "cholesky", "lapack", "cg", "subspace")


class ALS(ExplicitModel, ColdAnswers):
    r"""Matrix factorization by alternating least squares.

    Minimizes, over the observed cells Ω,

        ½ Σ_Ω c_ij (a_ij − μ − b_i − b_j − w_i·h_j)²
          + ½ Σ_i n_i^ν (λ ‖w_i‖² + λ_b b_i²) + ½ Σ_j n_j^ν (λ ‖h_j‖² + λ_b b_j²)

    where n counts the ratings of a row. With one side fixed, every row of the other, its bias included, is a
    least-squares problem of its own and is solved exactly. An iteration solves all items, then all users; the
    objective never rises.

    Parameters
    ----------
    n_factors : int, default 50
        Length of the factors w_i and h_j.
    reg : float, default 1.2
        λ, the penalty on factors.
    reg_bias : float or None, default None
        λ_b, the penalty on biases; None takes `reg`.
    reg_exponent : float, default 0.5
        ν: 0 is the textbook's penalty, 1 scales it by the number of ratings (Zhou et al.).
    feature_reg : float or None, default None
        λ_B, the penalty on what is learnt of features, for `fit` with features: see Notes. None takes a thousandth of
        the number of ratings, or of their weight.
    use_bias : bool, default True
        Whether the model has the biases μ + b_i + b_j; without them it is A ≈ W H.
    nonnegative : bool, default False
        Whether w_i ≥ 0 and h_j ≥ 0, so that factors add up and can be read one by one. Biases stay free. Rows are
        solved by coordinate descent, with `solver` left at ``"auto"``; the users of the last iteration exactly.
    max_iter : int, default 15
        Most iterations.
    tol : float, default 1e-3
        Training stops at ‖Â⁽ᵗ⁾ − Â⁽ᵗ⁻¹⁾‖_F ≤ ``tol`` · ‖Â⁽ᵗ⁾‖_F, Â being the full matrix of predictions.
    tol_abs : float, default 0
        The same in absolute terms: or at ‖Â⁽ᵗ⁾ − Â⁽ᵗ⁻¹⁾‖_F ≤ ``tol_abs``. With both 0, all iterations are done.
    solver : {"auto", "cholesky", "lapack", "cg", "subspace"}, default "auto"
        How rows are solved; the objective falls with each.

        - ``"cholesky"``: exactly, by the vectorized kernel; ``"lapack"``: the same through LAPACK, for comparison.
        - ``"cg"``: by `cg_steps` conjugate gradient steps from where the row is. An iteration costs O(nnz · n_factors)
          instead of O(nnz · n_factors²).
        - ``"subspace"``: exactly over one block of factors after the other, from where the row is (iALS++).
        - ``"auto"``: Cholesky up to 64 factors, and where `reg` is 0, so that rows that leave freedom get their
          shortest solution; else conjugate gradients. In the measured curves (``bench/solver_curves.py``) three steps
          bring the objective down by as much an iteration as exact solutions do. They cost the same at 32 factors,
          half as much at 64, where exactness comes first, and a sixth at 256; blocks were never quickest.
    cg_steps : int, default 3
        Steps a row and half-sweep of ``solver="cg"``.
    block_size : int, default 32
        Factors in a block of ``solver="subspace"``, whose bias is solved for with each block; `n_factors` or more is
        the exact solution.
    init_std : float, default 0.1
        Standard deviation of the random factors that training starts from.
    patience : int or None, default None
        With a validation set: stop after so many iterations without a better validation RMSE, and keep the best.
    track_objective : bool, default True
        Whether ``history_`` gets the objective and the training RMSE, at the price of one pass over the ratings.
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
    With features F of users, of items, or of both, rows are drawn to what their features predict: the penalty on users
    is, and that on items likewise,

        ½ Σ_i n_i^ν (λ ‖w_i − F_i B‖² + λ_b (b_i − F_i β)²) + ½ λ_B (‖B‖² + ‖β‖²).

    B and β are learnt with the rest, by steps that never raise the objective. A row without ratings is F_i B and
    F_i β, and one with many ratings leaves them behind (Agarwal and Chen 2009, "Regression-based latent factor
    models").

    References
    ----------
    Zhou, Wilkinson, Schreiber and Pan 2008, "Large-scale parallel collaborative filtering for the Netflix prize",
    section 3. Koren, Bell and Volinsky 2009, "Matrix factorization techniques for recommender systems".

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> nan = np.nan
    >>> A = np.array([[5, 4, 2, 3, 2], [nan, 5, 1, 4, nan], [4, nan, 1, 5, nan]])
    >>> model = cymf.ALS(n_factors=2, reg=0.1).fit(A)
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
        feature_reg: float | None = None,
        use_bias: bool = True,
        nonnegative: bool = False,
        max_iter: int = 15,
        tol: float = 1e-3,
        tol_abs: float = 0.0,
        solver: str = "auto",
        cg_steps: int = 3,
        block_size: int = 32,
        init_std: float = 0.1,
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
        self.use_bias = use_bias
        self.nonnegative = nonnegative
        self.max_iter = max_iter
        self.tol = tol
        self.tol_abs = tol_abs
        self.solver = solver
        self.cg_steps = cg_steps
        self.block_size = block_size
        self.init_std = init_std
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
            Where to start from. A model's rows are found by id. The first solve is that of the items, from the users'
            factors and biases. With `nonnegative`, their absolute values are taken.
        user_features, item_features : Features, table, or matrix with a row for each user or item, optional
            What is known of users and items beside their ratings. Rows of `Features` and of tables are found by id
            (of a table, in the column ``"user"`` or ``"item"``, else in the first); those without ratings become users
            and items of the model, and those without features have no prior. Rows of a matrix stand in the order of
            the ratings' rows. Not with `nonnegative`, whose rows could not be drawn to negative ones.

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
        settings = FitSettings.of(self)
        tol = check_number("tol", self.tol)
        tol_abs = check_number("tol_abs", self.tol_abs)
        solver = check_choice("solver", self.solver, SOLVERS)
        nonnegative = check_flag("nonnegative", self.nonnegative)
        if nonnegative and solver != "auto":
            raise ValueError(
                f"solver={solver!r} does not keep factors from becoming negative; "
                "expected solver='auto' with nonnegative=True"
            )
        cg_steps = check_integer("cg_steps", self.cg_steps, 1)
        block_size = check_integer("block_size", self.block_size, 1)
        features = FitFeatures.of(self, user_features, item_features)
        if nonnegative and features is not None:
            raise ValueError(
                "nonnegative=True does not go with features, which draw rows to negative ones as well; leave out "
                "user_features and item_features, or set nonnegative=False"
            )
        with (
            fitting(self, settings, X, y, sample_weight, validation, callback, features) as (
                problem,
                loop,
            ),
            single_threaded_blas(),
        ):
            factors = settings.start(problem, init)
            if solver == "auto":
                exact = settings.n_factors <= _MOST_FACTORS_SOLVED_EXACTLY or settings.reg == 0
                solver = "cholesky" if exact else "cg"
                if not nonnegative:
                    LOGGER.debug(
                        "ALS: solver='auto' is %r for %d factors", solver, settings.n_factors
                    )
            rows: RowSolver | ObservedRows
            if nonnegative:
                np.abs(factors.user, out=factors.user)
                np.abs(factors.item, out=factors.item)
                rows = ObservedRows(problem, Penalty(settings.reg), Penalty(settings.reg))
            else:
                rows = RowSolver(problem, solver, cg_steps, block_size)
            before = factors.copy() if tol or tol_abs else None

            def step(iteration: int) -> bool:
                if before is not None:
                    before.assign(factors)
                rows.solve_items(factors)
                rows.solve_users(factors)
                if before is None:
                    return False
                change, size = predicted_change(before, factors, problem.mean, problem.workers.run)
                return change <= max(tol * size, tol_abs)

            loop.run(step, lambda: settings.measure(problem, factors), problem.iterate(factors))
            cold = None
            if isinstance(rows, ObservedRows):
                factors.user[:], factors.user_bias[:] = 0, 0  # where a fold-in starts from
                rows.solve_users(factors, exact_descent(problem.dtype))
            else:
                cold = rows.solve_against_features(factors)
            self._publish(settings.state(problem, factors, loop, cold))
        return self

    def partial_fit(
        self, X: Any, y: Any = None, *, sample_weight: Any = None, n_iter: int = 1
    ) -> Self:
        """Take in new ratings, of known and of new users and items, by solving the rows that they touch.

        The users in the new ratings are solved exactly from all their ratings, old and new; then, `n_iter` times, the
        items in them and the users again. Users and items that are both new have first been solved in turn, as nothing
        is known of either. All other rows stay as they are, as do μ, ``history_``, ``n_iter_`` and ``stop_reason_``,
        which tell how training over all ratings went. An unfitted model is fitted to the ratings.

        Parameters
        ----------
        X, y, sample_weight
            New ratings, as in `fit`. A cell that was rated before takes its new value.
        n_iter : int, default 1
            How often items and users are solved in turn.

        Returns
        -------
        self
            Its state is replaced at once; who reads it meanwhile in another thread sees the old one. Calls that change
            a model must come one after the other.

        Raises
        ------
        ValueError, TypeError, DivergenceError
            As in `fit`, and if the model keeps no ratings, of which exact solutions are made. The model is then what it
            was.

        Notes
        -----
        Every solution lowers the objective, but rows that the new ratings do not touch wait for the next `fit`, which
        ``fit(ratings, init=model)`` shortens. ``bench/updates.py`` measures what that costs: see docs/daily-updates.md.
        """
        n_iter = check_integer("n_iter", n_iter, 1)
        old = self._state
        if old is None:
            return self.fit(X, y, sample_weight=sample_weight)
        refuse_features(old, "partial_fit")
        ratings = training_ratings(X, y, sample_weight)
        self._publish(updated(self, old, FitSettings.of(self), ratings, n_iter))
        return self

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
        return explain_explicit(self._fitted(), self, user, item, by)

    def _posterior(self, state: FittedState) -> RowPosterior:
        from cymf._row_posterior import RowPosterior

        if self.nonnegative:
            raise ValueError(
                "nonnegative=True: rows at the border w ≥ 0 have no normal posterior, and so no standard deviation; "
                "fit with nonnegative=False"
            )
        return RowPosterior.of_explicit(state, self)


class RowSolver:
    """Half-sweeps: every row of one side solved, the other side fixed."""

    def __init__(
        self, problem: Problem, solver: str, cg_steps: int = 3, block_size: int = 32
    ) -> None:
        self.problem = problem
        self._solver = solver
        self._cg_steps = cg_steps
        self._block_size = min(block_size, problem.n_factors)
        width = problem.zeros().width
        if solver == "cg":
            size = 4 * width
        elif solver == "subspace":
            longest = max(int(side.counts.max()) for side in (problem.users, problem.items))
            size = kernels.als_subspace_scratch_size(self._block_size, longest)
        else:
            self._kernels = _als_lapack if solver == "lapack" else kernels
            size = self._kernels.als_scratch_size(problem.n_factors, width)
        self._scratch = [
            aligned_zeros(size, problem.dtype) for _ in range(problem.workers.n_threads)
        ]

    def solve_users(self, factors: Factors) -> None:
        """Solve all users, the items fixed."""
        fixed = factors.item, factors.item_bias
        solved = factors.user, factors.user_bias
        self._learn("user", self.problem.users, fixed, solved)
        self._half_sweep("user", self.problem.users, self.problem.items, fixed, solved)

    def solve_items(self, factors: Factors) -> None:
        """Solve all items, the users fixed."""
        fixed = factors.user, factors.user_bias
        solved = factors.item, factors.item_bias
        self._learn("item", self.problem.items, fixed, solved)
        self._half_sweep("item", self.problem.items, self.problem.users, fixed, solved)

    def solve_against_features(self, factors: Factors) -> dict[str, np.ndarray]:
        """Return users solved against what features predict of the items, and items against that of the users.

        Who rates what is no accident: users have rated items that they like beyond what features tell. For an item of
        which nothing but features is known, a row that was solved against whole items takes too much for granted.
        """
        problem, k, found = self.problem, self.problem.n_factors, {}
        for what, other, side, other_side, rows, bias in (
            ("user", "item", problem.users, problem.items, factors.user, factors.user_bias),
            ("item", "user", problem.items, problem.users, factors.item, factors.item_bias),
        ):
            prior = problem.priors.get(other)
            if prior is not None:
                solved = rows.copy(), bias.copy()
                self._half_sweep(what, side, other_side, (prior.mean, prior.bias_mean), solved)
                found[f"cold_{what}_factors"] = np.ascontiguousarray(solved[0][:, :k])
                if len(bias):
                    found[f"cold_{what}_bias"] = solved[1]
        return found

    def _learn(
        self,
        name: str,
        side: Side,
        fixed: tuple[np.ndarray, np.ndarray],
        solved: tuple[np.ndarray, np.ndarray],
    ) -> None:
        prior = self.problem.priors.get(name)
        if prior is not None:
            prior.learn(*solved)
            prior.follow(self.problem, side, fixed, *solved)

    def _half_sweep(
        self,
        name: str,
        side: Side,
        fixed_side: Side,
        fixed: tuple[np.ndarray, np.ndarray],
        solved: tuple[np.ndarray, np.ndarray],
    ) -> None:
        problem, k = self.problem, self.problem.n_factors
        settings = problem.mean, problem.reg, problem.reg_bias, problem.reg_exponent
        status = np.zeros(len(solved[0]), np.int8)
        prior = problem.priors.get(name)
        if prior is not None:
            side = prior.centred(side, fixed[0], *solved, problem.workers)
        inputs: tuple[Any, ...]
        if self._solver == "cg":
            inputs = *fixed, *solved, *settings, _mean_squares(fixed[0], fixed_side), self._cg_steps
            flops = 4.0 * k * (self._cg_steps + 1)
            problem.sweep(kernels.als_cg_half_sweep, side, inputs, (status,), flops, self._scratch)
            failed = np.flatnonzero(status)
        elif self._solver == "subspace":
            inputs = *fixed, *solved, k, *settings, self._block_size
            flops = float(k * (self._block_size + 7))
            problem.sweep(
                kernels.als_subspace_half_sweep, side, inputs, (status,), flops, self._scratch
            )
            failed = np.flatnonzero(status)
        else:
            inputs = *fixed, *solved, k, *settings
            half_sweep = self._kernels.als_half_sweep
            problem.sweep(half_sweep, side, inputs, (status,), k * (k + 1), self._scratch)
            failed = np.flatnonzero(status)
            if len(failed):
                _als_lapack.als_minimum_norm_rows(
                    failed, side.indptr, side.indices, side.values, side.weights, *inputs, status
                )
                failed = failed[status[failed] != 0]
        if len(failed):
            ids = problem.ratings.user_ids if name == "user" else problem.ratings.item_ids
            row = (failed if ids is None else ids.to_ids(failed[:1])).tolist()[0]
            raise DivergenceError(
                f"the solution of {name} {row!r} ({side.counts[failed[0]]} ratings) is not finite; "
                "raise reg, or scale the ratings down"
            )
        if prior is not None:
            prior.add_to(*solved)


def _mean_squares(factors: np.ndarray, side: Side) -> np.ndarray:
    """Return the mean square of each factor over a side's rated rows, a row counted once a rating."""
    total = np.zeros(factors.shape[1])
    for start in range(0, len(factors), 4096):
        block = slice(start, start + 4096)
        total += side.counts[block].astype(np.float64) @ np.square(factors[block], dtype=np.float64)
    return (total / len(side.indices)).astype(factors.dtype)
