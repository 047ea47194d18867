"""implicit's BayesianPersonalizedRanking on cymf's kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from cymf._epochs import LearningRate
from cymf._errors import DivergenceError
from cymf._factors import Factors
from cymf._ranking_training import MakeTrainer, RankingSettings
from cymf._state import FittedState
from cymf._training import Iteration
from cymf.bpr import BPR
from cymf.compat._implicit_model import FactorModel, ModelFitError, as_csr, generator_of
from cymf.ratings import Ratings

__all__ = ["BayesianPersonalizedRanking"]

_SAMPLES = 100_000  # pairs that the share of well ranked ones is estimated from


class BayesianPersonalizedRanking(FactorModel):
    """Ranking by pairs of a liked and another item, as implicit has it.

    Steps down −ln σ(x_ui − x_uj) for liked items i and items j drawn by popularity, x_ui = p_u·q_i + b_i. The last
    column of the factors holds the item biases, and 1 for users.

    Parameters
    ----------
    factors : int, default 100
        Length of the factors, without the bias.
    learning_rate : float, default 0.01
        Rate of all epochs.
    regularization : float, default 0.01
        Penalty of each step, on factors and biases.
    dtype : dtype, default float32
        float32 or float64.
    iterations : int, default 100
        Epochs. Each visits every liked item once, where implicit draws as many at random.
    use_gpu : bool, default False
        cymf has no kernels for graphics cards; True is an error.
    num_threads : int, default 0
        Threads; 0 means all processors. The result is the same bits for any number, unlike implicit's.
    verify_negative_samples : bool, default True
        Without effect: an item that the user liked is never taken for a negative, but drawn again.
    random_state : int, RandomState, Generator or None
        Seed of start and draws.

    Attributes
    ----------
    user_factors, item_factors : ndarray of shape (n_users, factors + 1) and (n_items, factors + 1)
        None before `fit`; a second `fit` starts from them.

    References
    ----------
    Rendle, Freudenthaler, Gantner and Schmidt-Thieme 2009, "BPR: Bayesian personalized ranking from implicit
    feedback".
    """

    user_factors: Any
    item_factors: Any

    _SAVED = (
        "user_factors",
        "item_factors",
        "regularization",
        "factors",
        "learning_rate",
        "verify_negative_samples",
        "num_threads",
        "iterations",
        "dtype",
        "random_state",
    )

    def __init__(
        self,
        factors: int = 100,
        learning_rate: float = 0.01,
        regularization: float = 0.01,
        dtype: Any = np.float32,
        iterations: int = 100,
        use_gpu: bool = False,
        num_threads: int = 0,
        verify_negative_samples: bool = True,
        random_state: Any = None,
    ) -> None:
        if use_gpu:
            raise ValueError("use_gpu=True: cymf computes on processors only; leave use_gpu out")
        super().__init__(num_threads=num_threads)
        self.factors = factors
        self.learning_rate = learning_rate
        self.iterations = iterations
        self.regularization = regularization
        self.dtype: np.dtype[Any] = np.dtype(
            np.float64 if np.dtype(dtype) == np.float64 else np.float32
        )
        self.verify_negative_samples = verify_negative_samples
        self.random_state = random_state

    def fit(
        self,
        user_items: Any,
        show_progress: bool = True,
        callback: Callable[[int, float, int, int], object] | None = None,
    ) -> None:
        """Learn the factors of a users × items matrix whose stored values, whatever they are, say "liked".

        Parameters
        ----------
        user_items : CSR matrix or array of shape (n_users, n_items)
            Other sparse forms are converted, with a `ParameterWarning`.
        show_progress : bool, default True
            Whether to show a progress bar.
        callback : callable, optional
            Called with epoch, seconds, correct and skipped: how many of the pairs are ranked rightly, estimated from
            at most 100,000 of them, and 0, because no draw is skipped.

        Raises
        ------
        ModelFitError
            If factors are not finite.
        """
        generator = generator_of(self.random_state)
        matrix = as_csr(user_items)
        liked_by = np.diff(matrix.indptr)
        likes_of = np.bincount(matrix.indices, minlength=matrix.shape[1])
        if self.item_factors is None:
            self.item_factors = self._random(generator, likes_of)
        if self.user_factors is None:
            self.user_factors = self._random(generator, liked_by)
            self.user_factors[:, self.factors] = 1
        for name, size in (("user_factors", 0), ("item_factors", 1)):
            if getattr(self, name).shape != (matrix.shape[size], self.factors + 1):
                raise ValueError(
                    f"{name} from before have shape {getattr(self, name).shape}; expected "
                    f"{(matrix.shape[size], self.factors + 1)} to go on: make a new model for other data"
                )
        if matrix.nnz and self.iterations:
            self._train(matrix, generator, show_progress, callback)
        self._check_fit_errors()

    def _random(self, generator: np.random.Generator, counts: np.ndarray) -> np.ndarray:
        factors = generator.random((len(counts), self.factors + 1), dtype=self.dtype)
        factors = (factors - self.dtype.type(0.5)) / self.dtype.type(self.factors)
        factors[counts == 0] = 0
        return np.asarray(factors)

    def _train(
        self,
        matrix: Any,
        generator: np.random.Generator,
        show_progress: bool,
        callback: Callable[[int, float, int, int], object] | None,
    ) -> None:
        liked = matrix.copy()
        liked.data = np.ones(liked.nnz, self.dtype)
        ratings = Ratings.from_matrix(liked, duplicates="first")
        seed = int(generator.integers(2**63))
        model = _WatchedBPR(
            self.factors,
            reg=self.regularization,
            learning_rate=self.learning_rate,
            schedule="constant",
            max_iter=self.iterations,
            negative_sampling="popularity",
            popularity_exponent=1.0,
            store_ratings=False,
            random_state=seed,
            n_threads=self._n_threads,
            dtype=self.dtype,
            verbose=show_progress,
        )

        def report(record: Iteration) -> None:
            if callback is not None:
                share = _share_in_order(ratings, model.epochs.working, np.random.default_rng(seed))
                callback(record.iteration - 1, record.seconds, round(share * ratings.nnz), 0)

        try:
            model.fit(ratings, init=self._as_start(ratings), callback=report)
        except DivergenceError as reason:
            raise ModelFitError(str(reason)) from reason
        users, items = self.user_factors.copy(), self.item_factors.copy()
        users[:, : self.factors] = model.user_factors_
        items[:, : self.factors] = model.item_factors_
        items[:, self.factors] = model.item_bias_
        self.user_factors, self.item_factors = users, items

    def _as_start(self, ratings: Ratings) -> BPR:
        """Return these factors as a fitted model of cymf's, to start from."""
        start = BPR(self.factors)
        start._publish(
            FittedState(
                user_factors=np.ascontiguousarray(self.user_factors[:, : self.factors]),
                item_factors=np.ascontiguousarray(self.item_factors[:, : self.factors]),
                user_bias=np.zeros(ratings.n_users, self.dtype),
                item_bias=np.ascontiguousarray(self.item_factors[:, self.factors]),
                global_mean=0.0,
                rating_mean=1.0,
                rating_range=(1.0, 1.0),
                user_ids=None,
                item_ids=None,
                user_counts=np.diff(ratings.csr(self.dtype).indptr),
                item_counts=np.diff(ratings.csc(self.dtype).indptr),
                ratings=None,
                history={},
                n_iter=0,
                stop_reason="max_iter",
            )
        )
        return start


class _WatchedBPR(BPR):
    """A BPR whose factors can be looked at while it is trained."""

    epochs: Any  # with the factors as they are, `working`

    def _trainer(self, settings: RankingSettings, rate: LearningRate) -> MakeTrainer:
        make = super()._trainer(settings, rate)

        def trainer(*arguments: Any) -> Any:
            self.epochs = make(*arguments)
            return self.epochs

        return trainer


def _share_in_order(ratings: Ratings, factors: Factors, generator: np.random.Generator) -> float:
    """Return the share of sampled pairs whose liked item has the larger score."""
    picked = generator.integers(ratings.nnz, size=min(_SAMPLES, ratings.nnz))
    liked = ratings.items[picked]
    others = ratings.items[generator.integers(ratings.nnz, size=len(picked))]
    scores = np.einsum(
        "sf,sf->s", factors.user[ratings.users[picked]], factors.item[liked] - factors.item[others]
    )
    if len(factors.item_bias):
        scores += factors.item_bias[liked] - factors.item_bias[others]
    return float(np.mean(scores > 0))
