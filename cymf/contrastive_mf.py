"""Contrastive matrix factorization for implicit feedback: cosines, and many negatives for each positive."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cymf._base import MatrixFactorization
from cymf._epochs import LearningRate
from cymf._ranking_contrast import ContrastEpochs, ContrastiveLoss
from cymf._ranking_training import RankingSettings, fit_ranking, go_on_ranking
from cymf._training import Iteration
from cymf._validation import check_choice, check_integer, check_number

if TYPE_CHECKING:
    from cymf._factors import Factors
    from cymf._ranking_problem import RankingProblem
    from cymf._ranking_training import Growth, MakeTrainer

__all__ = ["ContrastiveMF"]


class ContrastiveMF(MatrixFactorization):
    r"""Matrix factorization whose scores are cosines, trained to tell a positive from many negatives at once.

    All rows of the factors have unit length, so that the score w_i·h_j is the cosine. For each positive interaction
    (i, j) of confidence c, and a pool L of `n_negatives` items less those that user i took, training takes steps down
    one of

    - ``"softmax"``: −c ln (e^(w_i·h_j / τ) / (e^(w_i·h_j / τ) + Σ_{l ∈ L} e^(w_i·h_l / τ))), the positive's share with
      temperature τ;
    - ``"cosine_contrastive"``: c (1 − w_i·h_j + (v / |L|) Σ_{l ∈ L} max(0, w_i·h_l − m)), with margin m and negative
      weight v: only negatives that come too close push back.

    A step goes along the sphere: the gradient less its part along the row is subtracted, and the row is brought back
    to unit length. There is no penalty. The fitted factors are the unit rows, so that `predict`, `recommend`,
    `similar_items` and any index of inner products work with them as they are.

    Users and items are dealt into a grid of blocks, the items anew every epoch. 32 positives of a block share a pool,
    a run of the block's own items in their random order; so the result is the same bits for any number of threads.

    Parameters
    ----------
    n_factors : int, default 64
        Length of the factors w_i and h_j.
    loss : {"softmax", "cosine_contrastive"}, default "softmax"
        What is minimized.
    temperature : float, default 0.1
        τ, for "softmax". The smaller, the more the closest negatives count.
    margin : float, default 0.4
        m, a cosine from 0 to 1, for "cosine_contrastive".
    negative_weight : float, default 100
        v, for "cosine_contrastive".
    n_negatives : int, default 256
        Items in a pool, at most all items of a block.
    learning_rate : float, default 0.1
        η of the first epoch.
    schedule : {"exponential", "constant", "inverse_scaling", "adagrad", "adagrad_row"}, default "adagrad_row"
        How η falls, as in `SGD`.
    decay : float, default 0.05
        The rate at which η falls, for "exponential" (at most 1) and "inverse_scaling".
    max_iter : int, default 20
        Epochs; in each, every positive is visited once.
    tol : float, default 0
        Training stops when an epoch lowers the mean loss by at most ``tol`` times its value; 0 does all epochs. The
        losses are those of random pools, so that a small `tol` stops by chance.
    patience : int or None, default None
        With a validation set: stop after so many epochs without a better validation score, and keep the best.
    validation_metric : str, default "ndcg@10"
        What is measured on held-out interactions after every epoch; any ranking metric of `cymf.evaluation`.
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
    ``history_["objective"]`` is the mean loss of the epoch's positives, each taken before its step: an estimate with
    the pools at hand.

    References
    ----------
    Mao, Zhu, Wang, Dai, Dong, Xiao and He 2021, "SimpleX: a simple and strong baseline for collaborative filtering"
    (cosine contrastive loss). Wu, Wang, Gao, Chen, Fu, Qiu and He 2022, "On the effectiveness of sampled softmax loss
    for item recommendation".

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> from scipy.sparse import csr_array
    >>> taken = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])
    >>> model = cymf.ContrastiveMF(n_factors=4, temperature=0.3, max_iter=100).fit(csr_array(taken))
    >>> items, cosines = model.recommend([2, 4], n=1)
    >>> items.ravel().tolist()
    [0, 2]
    """

    def __init__(
        self,
        n_factors: int = 64,
        *,
        loss: str = "softmax",
        temperature: float = 0.1,
        margin: float = 0.4,
        negative_weight: float = 100.0,
        n_negatives: int = 256,
        learning_rate: float = 0.1,
        schedule: str = "adagrad_row",
        decay: float = 0.05,
        max_iter: int = 20,
        tol: float = 0.0,
        patience: int | None = None,
        validation_metric: str = "ndcg@10",
        store_ratings: bool = True,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        dtype: str | np.dtype[Any] | type = "float32",
        verbose: bool = False,
    ) -> None:
        self.n_factors = n_factors
        self.loss = loss
        self.temperature = temperature
        self.margin = margin
        self.negative_weight = negative_weight
        self.n_negatives = n_negatives
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.decay = decay
        self.max_iter = max_iter
        self.tol = tol
        self.patience = patience
        self.validation_metric = validation_metric
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
        """Learn factors of unit length.

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
            Where to start from, brought to unit length. A model's rows are found by id.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not what they should be.
        DivergenceError
            If rows are no longer finite, as of a learning rate that is no sensible number.
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
        Users and items that are new start at random directions. An unfitted model is fitted.

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
        loss = ContrastiveLoss(
            kind=check_choice("loss", self.loss, ("softmax", "cosine_contrastive")),
            n_negatives=check_integer("n_negatives", self.n_negatives, 1),
            temperature=check_number("temperature", self.temperature, positive=True),
            margin=check_number("margin", self.margin, maximum=1),
            negative_weight=check_number("negative_weight", self.negative_weight),
        )

        def trainer(problem: RankingProblem, factors: Factors, growth: Growth) -> ContrastEpochs:
            return ContrastEpochs(
                problem,
                factors,
                loss,
                rate,
                settings.generator,
                item_counts=growth.item_counts,
                sums=growth.sums,
            )

        return trainer
