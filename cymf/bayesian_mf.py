"""Bayesian matrix factorization by Gibbs sampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from cymf._base import MatrixFactorization
from cymf._draws import KeptDraws, RunningMean
from cymf._fit_log import TrainingSize
from cymf._gibbs import GibbsSampler
from cymf._inputs import as_validation, start_from, training_ratings
from cymf._parallel import Workers, single_threaded_blas
from cymf._problem import Problem
from cymf._queries import By, Id, Unknown
from cymf._training import Iteration, TrainingLoop
from cymf._uncertainty import interval
from cymf._validation import (
    check_callback,
    check_choice,
    check_dtype,
    check_flag,
    check_integer,
    check_spread,
    check_threads,
    random_generator,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from cymf._draws import DrawsPosterior
    from cymf._state import FittedState

__all__ = ["BayesianMF"]


class BayesianMF(MatrixFactorization):
    r"""Matrix factorization as a distribution: draws of factors and biases instead of one best value.

    Ratings are a_ij ~ N(μ + b_i + b_j + w_i·h_j, σ² / c_ij). The rows [w_i, b_i] of users are N(m, Λ⁻¹), those of items
    N(m', Λ'⁻¹), with Normal–Wishart distributions of means and precisions and a gamma distribution of 1 / σ². So there
    is no penalty to tune: everything is drawn in turn from its distribution given all else (Gibbs sampling). A row's is

        x ~ N(A⁻¹ (Σ_j c_j y_j g_j / σ² + Λ m), A⁻¹),    A = Λ + Σ_j c_j g_j g_jᵀ / σ²,    g_j = [h_j, 1],
        y_j = a_ij − μ − b_j

    Predictions are means over `n_samples` draws that are kept.

    Parameters
    ----------
    n_factors : int, default 16
        Length of the factors w_i and h_j of a draw.
    burn_in : int, default 50
        First sweeps, of which nothing is kept.
    n_samples : int, default 50
        Draws that are kept.
    thinning : int, default 5
        Sweeps from one kept draw to the next; neighbouring sweeps are alike.
    implicit_sets : str or None, default None
        ``"user"`` or ``"both"``: what a user has rated, whatever the ratings are, says something about the user, and
        for ``"both"`` likewise who has rated an item about the item. The mean m of a row becomes
        m + |S|^−½ Σ_{j ∈ S} v_j, S being the row's rated cells and v_j further vectors to be drawn (SVD++ with whole
        rows).
    init_std : float, default 0.1
        Standard deviation of the random factors of the start.
    store_ratings : bool, default True
        Whether the model keeps the training ratings, which ``recommend(exclude_seen=True)`` needs.
    random_state : int, Generator or None, default 0
        Seed of everything that is drawn. None draws a fresh one.
    n_threads : int or None, default None
        Threads; None means all processors. The result is the same bits for any number: random numbers depend on the
        seed, the sweep and the row alone.
    dtype : {"float32", "float64"}, default "float32"
        Type of the factors and of the arithmetic; means, precisions and long sums are float64 in any case.
    verbose : bool, default False
        Whether to show a progress bar.

    Attributes
    ----------
    user_factors_, item_factors_ : ndarray of shape (n_users, n_samples · n_factors), of items alike
        The kept draws side by side, divided by √n_samples: their products are the means of the draws' products. Each
        draw is moved around the means m of its rows, so that an unknown user or item, at its mean, adds nothing.

    Notes
    -----
    Memory: (n_users + n_items) · n_samples · (n_factors + 1) numbers for the kept draws, and as much to train as `ALS`.
    With 50 draws of 16 factors, 10,000 users and items take 34 MB. A recommendation costs as much as one of `ALS` with
    n_samples · n_factors factors.

    ``history_["validation_rmse"]`` is that of the single draw during `burn_in`, and afterwards that of the mean over
    all sweeps since, the kept ones and those between. ``history_["train_rmse"]`` is that of each draw.

    References
    ----------
    Salakhutdinov and Mnih 2008, "Bayesian probabilistic matrix factorization using Markov chain Monte Carlo". Rendle
    2012, "Factorization machines with libFM" (biases, implicit sets). Koren 2008, "Factorization meets the
    neighborhood" (SVD++). Simm et al. 2017, "Macau: scalable Bayesian factorization with high-dimensional side
    information using MCMC" (means that are linear in what is known of a row).

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> nan = np.nan
    >>> A = np.array([[5, 4, 2, 3, 2], [nan, 5, 1, 4, nan], [4, nan, 1, 5, nan]])
    >>> model = cymf.BayesianMF(n_factors=2, n_samples=100, n_threads=1).fit(A)
    >>> rating, deviation = model.predict(1, 0, return_std=True)
    >>> bool(3 < rating < 5.5 and 0.2 < deviation < 3)
    True
    """

    def __init__(
        self,
        n_factors: int = 16,
        *,
        burn_in: int = 50,
        n_samples: int = 50,
        thinning: int = 5,
        implicit_sets: str | None = None,
        init_std: float = 0.1,
        store_ratings: bool = True,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        dtype: str | np.dtype[Any] | type = "float32",
        verbose: bool = False,
    ) -> None:
        self.n_factors = n_factors
        self.burn_in = burn_in
        self.n_samples = n_samples
        self.thinning = thinning
        self.implicit_sets = implicit_sets
        self.init_std = init_std
        self.store_ratings = store_ratings
        self.random_state = random_state
        self.n_threads = n_threads
        self.dtype = dtype
        self.verbose = verbose

    @property
    def max_iter(self) -> int:
        """Sweeps of a fit: ``burn_in + n_samples * thinning``."""
        return self.burn_in + self.n_samples * self.thinning

    @property
    def noise_std_(self) -> float:
        """σ: standard deviation of a rating around its expected value, by the mean of σ² over the draws."""
        return math.sqrt(self._posterior(self._fitted()).noise_variance)

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
        """Draw factors and biases, sweep after sweep.

        Parameters
        ----------
        X : Ratings, sparse matrix or array, dense array with NaN, or table; or array-like of shape (n_pairs, 2)
            Ratings; or, with `y`, pairs of a user and an item, by id.
        y : array-like of shape (n_pairs,), optional
            The ratings of the pairs.
        sample_weight : array-like of shape (n_pairs,), optional
            Weights c of the ratings, not negative: a rating's variance is σ² / c. Ratings bring their own.
        validation : like `X`, or a pair (X, y), optional
            Held-out ratings, evaluated after every sweep.
        callback : callable, optional
            Called with an `Iteration` after every sweep; a true result stops. A model that is stopped before the first
            draw is kept has the last one.
        init : fitted model, or (user_factors, item_factors), optional
            Where to start from, of `n_factors` factors. A model's rows are found by id.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not what they should be.
        DivergenceError
            If a draw is not finite.
        """
        n_factors = check_integer("n_factors", self.n_factors, 1)
        burn_in = check_integer("burn_in", self.burn_in, 0)
        n_samples = check_integer("n_samples", self.n_samples, 1)
        thinning = check_integer("thinning", self.thinning, 1)
        sets = self.implicit_sets
        sets = None if sets is None else check_choice("implicit_sets", sets, ("user", "both"))
        init_std = check_spread("init_std", self.init_std, check_dtype(self.dtype))
        keep = check_flag("store_ratings", self.store_ratings)
        generator = random_generator(self.random_state)
        n_threads, dtype = check_threads(self.n_threads), check_dtype(self.dtype)
        check_callback(callback)
        ratings = training_ratings(X, y, sample_weight)
        with Workers(n_threads) as workers, single_threaded_blas():
            problem = Problem(
                ratings,
                n_factors=n_factors,
                dtype=dtype,
                reg=0.0,
                reg_bias=0.0,
                reg_exponent=0.0,
                use_bias=True,
                validation=as_validation(validation, ratings),
                workers=workers,
            )
            start = problem.random(generator, init_std)
            if init is not None:
                start_from(init, start, problem)
            sampler = GibbsSampler(problem, start, generator, sets)
            kept, average = KeptDraws(n_samples, problem), RunningMean(problem)
            loop = TrainingLoop(
                name=type(self).__name__,
                max_iter=burn_in + n_samples * thinning,
                patience=None,
                callback=callback,
                verbose=check_flag("verbose", self.verbose),
                measured=("train_rmse", "validation_rmse"),
                size=TrainingSize(ratings.shape, ratings.nnz, n_threads),
            )

            def step(sweep: int) -> bool:
                sampler.sweep()
                since = sweep - burn_in
                if since > 0 and since % thinning == 0:
                    kept.add(sampler.draw())
                return False

            def measure() -> tuple[float, float]:
                rmse = average.rmse_with(sampler.factors, forget=loop.n_iter <= burn_in)
                return problem.rmse_of(sampler.squared_error), rmse

            loop.run(step, measure, sampler.factors)
            if not len(kept):
                kept.add(sampler.draw())
            self._publish(kept.state(problem, loop, keep))
        return self

    @overload
    def predict_interval(  # type: ignore[overload-overlap]
        self,
        users: Id,
        items: Id,
        *,
        level: float = ...,
        std: str = ...,
        by: By = ...,
        clip: bool = ...,
        unknown: Unknown = ...,
    ) -> tuple[float, float]: ...

    @overload
    def predict_interval(
        self,
        users: ArrayLike,
        items: ArrayLike | None = ...,
        *,
        level: float = ...,
        std: str = ...,
        by: By = ...,
        clip: bool = ...,
        unknown: Unknown = ...,
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...

    def predict_interval(
        self,
        users: ArrayLike,
        items: ArrayLike | None = None,
        *,
        level: float = 0.9,
        std: str = "predictive",
        by: By = "id",
        clip: bool = False,
        unknown: Unknown = "fallback",
    ) -> tuple[Any, Any]:
        """Return intervals that hold ratings with a given probability.

        They are the prediction ± z deviations, z being the quantile of the normal distribution.

        Parameters
        ----------
        users, items, by, clip, unknown
            As in `predict`.
        level : float, default 0.9
            The probability, above 0 and below 1.
        std : {"predictive", "latent"}, default "predictive"
            Whether the interval is for a new rating, or for the expected rating without its noise (a credible
            interval); see `predict`.

        Returns
        -------
        low, high : ndarray of shape (n_pairs,), or floats for two scalars
            In the dtype of the model; with ``clip=True`` within the range of the training ratings.

        Raises
        ------
        ValueError
            If `level` is out of range; and as `predict`.
        UnknownIdError, IndexError, TypeError, NotFittedError
            As `predict`.

        Examples
        --------
        >>> import cymf
        >>> data = cymf.Ratings.from_triplets([0, 0, 1, 1, 2], [0, 1, 0, 2, 1], [5, 3, 4, 2, 3])
        >>> model = cymf.BayesianMF(n_factors=2).fit(data)
        >>> low, high = model.predict_interval(0, 2)
        >>> low < model.predict(0, 2) < high
        True
        """
        prediction, deviation = self.predict(
            users, items, by=by, unknown=unknown, return_std=True, std=std
        )
        return interval(self._fitted(), prediction, deviation, level, clip)

    def _posterior(self, state: FittedState) -> DrawsPosterior:
        from cymf._draws import DrawsPosterior

        return DrawsPosterior(state)
