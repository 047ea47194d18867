"""Bayesian personalized ranking, and WARP, for implicit feedback."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf._base import MatrixFactorization
from cymf._epochs import LearningRate
from cymf._ranking_epochs import RankingEpochs, SampledLoss
from cymf._ranking_training import RankingSettings, fit_ranking, go_on_ranking
from cymf._training import Iteration
from cymf._validation import check_choice, check_integer, check_number

if TYPE_CHECKING:
    from cymf._factors import Factors
    from cymf._ranking_problem import RankingProblem
    from cymf._ranking_training import Growth, MakeTrainer

__all__ = ["BPR"]


class BPR(MatrixFactorization):
    r"""Matrix factorization that ranks: what a user took above what the user did not take.

    A user's items are ordered by the scores x_ij = w_i·h_j + b_j. For each positive interaction (i, j) of confidence
    c, and items l drawn at random among those that user i did not take, training takes steps down

        −c ln σ(x_ij − x_il) + λ/2 (‖w_i‖² + ‖h_j‖² + ‖h_l‖²) + λ_b/2 (b_j² + b_l²),

    σ(x) = 1 / (1 + e^−x). With ``negative_sampling="warp"`` negatives are drawn until one comes within a margin of the
    positive, x_il > x_ij − 1, and the step goes down the hinge loss L(r) (1 − x_ij + x_il) instead: after N draws the
    rank of the positive is about r = max(1, (M − 1) // N) of the M items, and L(r) = Σ_{s ≤ r} 1/s, divided by
    L(M − 1), so that positives at the top of the list are left alone and buried ones move most.

    The result is the same bits for any number of threads: users and items are dealt into a grid of blocks, and the
    negatives of a block are drawn from its own items. The items are dealt anew every epoch, so that every item meets
    every other equally often.

    Parameters
    ----------
    n_factors : int, default 64
        Length of the factors w_i and h_j.
    reg : float, default 0.01
        λ, the penalty on the factors of each step.
    reg_bias : float or None, default None
        λ_b, the penalty on the item biases of each step; None takes `reg`.
    use_bias : bool, default True
        Whether items have biases b_j. User biases, which change no ranking, are zero.
    learning_rate : float, default 0.05
        η of the first epoch.
    schedule : {"exponential", "constant", "inverse_scaling", "adagrad", "adagrad_row"}, default "exponential"
        How η falls, as in `SGD`.
    decay : float, default 0.02
        The rate at which η falls, for "exponential" (at most 1) and "inverse_scaling".
    max_iter : int, default 60
        Epochs; in each, every positive is visited once.
    n_negatives : int or None, default None
        Negatives for each visit of a positive, each with a step of its own; None takes 1. For "warp" the most draws,
        after which the positive counts as well ranked; None takes 50.
    negative_sampling : {"uniform", "popularity", "warp"}, default "uniform"
        How negatives are drawn: all items alike, in proportion to a power of their number of interactions, or
        uniformly until one is ranked too high.
    popularity_exponent : float, default 0.75
        The power, for "popularity".
    tol : float, default 0
        Training stops when an epoch lowers the mean loss by at most ``tol`` times its value; 0 does all epochs. The
        losses are those of random samples, so that a small `tol` stops by chance.
    init_std : float, default 0.1
        Standard deviation of the random factors that training starts from.
    patience : int or None, default None
        With a validation set: stop after so many epochs without a better validation score, and keep the best.
    validation_metric : str, default "ndcg@10"
        What is measured on held-out interactions after every epoch; any ranking metric of `cymf.evaluation`.
    on_divergence : {"raise", "back_off"}, default "raise"
        What to do when scores explode: raise within the epoch, or go back to its start and halve the learning rate.
    store_ratings : bool, default True
        Whether the model keeps the interactions, which ``recommend(exclude_seen=True)`` needs.
    random_state : int, Generator or None, default 0
        Seed of the start and of all draws. None draws a fresh one.
    n_threads : int or None, default None
        Threads; None means all processors. The result is the same bits for any number.
    dtype : {"float32", "float64"}, default "float32"
        Type of the factors and of the arithmetic.
    verbose : bool, default False
        Whether to show a progress bar.

    Notes
    -----
    ``history_["objective"]`` is the mean loss of the epoch's samples, each taken before its step, without the penalty:
    an estimate, not the value of an objective over all pairs.

    References
    ----------
    Rendle, Freudenthaler, Gantner and Schmidt-Thieme 2009, "BPR: Bayesian personalized ranking from implicit
    feedback". Weston, Bengio and Usunier 2011, "WSABIE: scaling up to large vocabulary image annotation". Gemulla,
    Nijkamp, Haas and Sismanis 2011, "Large-scale matrix factorization with distributed stochastic gradient descent".

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> taken = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])
    >>> from scipy.sparse import csr_array
    >>> model = cymf.BPR(n_factors=4, max_iter=200).fit(csr_array(taken))
    >>> items, scores = model.recommend([2, 4], n=1)
    >>> items.ravel().tolist()
    [0, 2]
    """

    def __init__(
        self,
        n_factors: int = 64,
        *,
        reg: float = 0.01,
        reg_bias: float | None = None,
        use_bias: bool = True,
        learning_rate: float = 0.05,
        schedule: str = "exponential",
        decay: float = 0.02,
        max_iter: int = 60,
        n_negatives: int | None = None,
        negative_sampling: str = "uniform",
        popularity_exponent: float = 0.75,
        tol: float = 0.0,
        init_std: float = 0.1,
        patience: int | None = None,
        validation_metric: str = "ndcg@10",
        on_divergence: str = "raise",
        store_ratings: bool = True,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        dtype: str | np.dtype[Any] | type = "float32",
        verbose: bool = False,
    ) -> None:
        self.n_factors = n_factors
        self.reg = reg
        self.reg_bias = reg_bias
        self.use_bias = use_bias
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.decay = decay
        self.max_iter = max_iter
        self.n_negatives = n_negatives
        self.negative_sampling = negative_sampling
        self.popularity_exponent = popularity_exponent
        self.tol = tol
        self.init_std = init_std
        self.patience = patience
        self.validation_metric = validation_metric
        self.on_divergence = on_divergence
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
        """Learn factors and item biases.

        Parameters
        ----------
        X : Ratings, sparse matrix or array, dense array with NaN, or table; or array-like of shape (n_pairs, 2)
            Interactions, whose strength is the stored value; or, with `y`, pairs of a user and an item, by id. A
            strength above 0 is a positive, whatever its size. One of 0 or below, such as a dislike, is none, and may
            be drawn as a negative.
        y : array-like of shape (n_pairs,), optional
            The strengths of the pairs.
        sample_weight : array-like of shape (n_pairs,), optional
            Confidences c of the interactions, not negative. Ratings bring their own.
        validation : like `X`, or a tuple (X, y), optional
            Held-out interactions, on which `validation_metric` is measured after every epoch.
        callback : callable, optional
            Called with an `Iteration` after every epoch; a true result stops training.
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
            If scores explode and ``on_divergence="raise"``, or halving the learning rate does not help.
        """
        settings = RankingSettings.of(self)
        fit_ranking(
            self,
            settings,
            self._trainer(settings, LearningRate.of(self)),
            (X, y, sample_weight),
            validation=validation,
            callback=callback,
            init=init,
        )
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        n_epochs: int = 5,
        learning_rate: float | None = None,
    ) -> Self:
        """Go on training with new interactions, of known and of new users and items.

        Only the given interactions are visited; negatives are drawn from all items that the model knows, and are
        verified against old and new interactions where the model keeps the old ones, otherwise against the new ones.
        Users and items that are new start at random. An unfitted model is fitted.

        Parameters
        ----------
        X, y, sample_weight
            New interactions, as in `fit`. A pair that was given before takes its new value.
        n_epochs : int, default 5
            Passes over the new interactions.
        learning_rate : float or None, default None
            The rate of all of them. None takes the one that `fit` ended with, which moves known rows gently; users and
            items that are new want a larger one, or more passes.

        Returns
        -------
        self
            Its state is replaced at once; who reads it meanwhile sees the old one.

        Raises
        ------
        ValueError, TypeError, DivergenceError
            As in `fit`. The model is then what it was.
        """
        settings = RankingSettings.of(self)
        rate = LearningRate.of(self)
        old = self._state
        if old is not None:
            rate = rate.held_at(min(old.n_iter, settings.max_iter) - 1)
        if learning_rate is not None:
            rate.initial = check_number("learning_rate", learning_rate, positive=True)
        go_on_ranking(
            self, settings, self._trainer(settings, rate), (X, y, sample_weight), n_epochs
        )
        return self

    def _trainer(self, settings: RankingSettings, rate: LearningRate) -> MakeTrainer:
        reg = check_number("reg", self.reg)
        sampling = check_choice(
            "negative_sampling", self.negative_sampling, ("uniform", "popularity", "warp")
        )
        n_negatives = 50 if sampling == "warp" else 1
        if self.n_negatives is not None:
            n_negatives = check_integer("n_negatives", self.n_negatives, 1)
        exponent = check_number("popularity_exponent", self.popularity_exponent, maximum=2)
        loss = SampledLoss(
            kind="warp" if sampling == "warp" else "pairwise",
            n_negatives=n_negatives,
            popularity_exponent=exponent if sampling == "popularity" else 0.0,
            reg=reg,
            reg_bias=reg if self.reg_bias is None else check_number("reg_bias", self.reg_bias),
        )

        def trainer(problem: RankingProblem, factors: Factors, growth: Growth) -> RankingEpochs:
            return RankingEpochs(
                problem,
                factors,
                loss,
                rate,
                settings.generator,
                back_off=settings.back_off,
                item_counts=growth.item_counts,
                sums=growth.sums,
            )

        return trainer
