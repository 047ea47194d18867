"""Drop-ins for Surprise's matrix factorizations: the same classes, several times faster.

    from cymf.compat.surprise import SVD, SVDpp, NMF      # instead of: from surprise import SVD, SVDpp, NMF

All else is still imported from Surprise, which must be installed: they are subclasses of its ``AlgoBase`` and work in
its ``cross_validate``, ``GridSearchCV``, ``train_test_split`` and ``dump``. Parameters, defaults, attributes and
meanings are Surprise's, with one parameter more: ``exact=True`` follows its order of work, so that results are the same
to the last digit.

Where training diverges, Surprise silently predicts a bound of the scale; these classes warn (`ConvergenceWarning`) and
predict the mean.
"""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

import numpy as np

from cymf._errors import ConvergenceWarning, DivergenceError, warn_caller
from cymf._kernels import _surprise_order, kernels
from cymf.ratings import Ratings
from cymf.sgd import SGD

if TYPE_CHECKING:  # Surprise has no types

    class AlgoBase:
        """What is used of Surprise's."""

        trainset: Any

        def __init__(self, **kwargs: Any) -> None: ...
        def fit(self, trainset: Any) -> Any: ...
        def test(self, testset: Any, verbose: bool = ...) -> list[Any]: ...
        def default_prediction(self) -> float: ...
        def predict(
            self, uid: Any, iid: Any, r_ui: Any = ..., clip: bool = ..., verbose: bool = ...
        ) -> Any: ...

    Prediction: Any
    PredictionImpossible: type[Exception]
else:
    try:
        from surprise import AlgoBase, Prediction, PredictionImpossible
    except ImportError as _problem:
        raise ImportError(
            'cymf.compat.surprise needs Surprise, which is not installed: pip install "scikit-surprise>=1.1.5"'
        ) from _problem

__all__ = ["NMF", "SVD", "SVDpp"]


_ITS_OWN = frozenset(
    [
        "AlgoBase",
        "BaselineOnly",
        "CoClustering",
        "Dataset",
        "KNNBaseline",
        "KNNBasic",
        "KNNWithMeans",
        "KNNWithZScore",
        "NormalPredictor",
        "Prediction",
        "PredictionImpossible",
        "Reader",
        "SlopeOne",
        "Trainset",
        "accuracy",
        "dump",
        "get_dataset_dir",
        "model_selection",
        "similarities",
    ]
)


def __getattr__(name: str) -> NoReturn:
    if name not in _ITS_OWN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise ImportError(
        f"{__name__} has no {name}, it has {', '.join(__all__)}; all else is Surprise's own: "
        f"from surprise import {name}",
        name=__name__,
    )


class _Runs(NamedTuple):
    """A trainset's ratings in the order of ``trainset.all_ratings()``: user after user."""

    users: np.ndarray  # (n_runs,) int32
    indptr: np.ndarray  # (n_runs + 1,) int64
    items: np.ndarray  # (nnz,) int32
    values: np.ndarray  # (nnz,) float64

    @classmethod
    def of(cls, trainset: Any) -> _Runs:
        rows = list(trainset.ur.values())
        indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        items, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1])
        _surprise_order.unpack_pairs(rows, items, values)
        if getattr(trainset, "_global_mean", 0.0) is None:
            trainset._global_mean = np.mean(values)  # what global_mean would make a list for
        return cls(np.fromiter(trainset.ur, np.int32, len(rows)), indptr, items, values)


class _Factorization(AlgoBase, ABC):
    """What the three have in common."""

    pu: np.ndarray
    qi: np.ndarray
    bu: np.ndarray
    bi: np.ndarray
    biased: bool = True
    exact: bool
    n_factors: int
    n_epochs: int
    random_state: Any
    verbose: bool

    def fit(self, trainset: Any) -> Self:
        """Train on a Surprise ``Trainset``."""
        AlgoBase.fit(self, trainset)
        with np.errstate(all="ignore"):
            self._train(trainset, _generator(self.random_state))
        self._diverged = not all(
            np.isfinite(array).all() for array in (self.pu, self.qi, self.bu, self.bi)
        )
        if self._diverged:
            warn_caller(
                f"{type(self).__name__} diverged: all predictions are the mean; lower the learning rates",
                ConvergenceWarning,
            )
        return self

    @abstractmethod
    def _train(self, trainset: Any, generator: np.random.RandomState) -> None:
        """Set pu, qi, bu and bi."""

    def _repeat(self, epoch: Callable[[], object]) -> None:
        for number in range(self.n_epochs):
            if self.verbose:
                print(f"Processing epoch {number}")
            epoch()

    def _user_vector(self, u: int) -> np.ndarray:
        return np.asarray(self.pu[u])

    def estimate(self, u: Any, i: Any) -> float:
        """Predict the rating of inner ids; unknown ones are strings."""
        if self._diverged:
            raise PredictionImpossible("Training has diverged.")
        known_user, known_item = self.trainset.knows_user(u), self.trainset.knows_item(i)
        if not self.biased:
            if not (known_user and known_item):
                raise PredictionImpossible("User and item are unknown.")
            return float(np.dot(self.qi[i], self._user_vector(u)))
        estimate = self.trainset.global_mean
        if known_user:
            estimate += self.bu[u]
        if known_item:
            estimate += self.bi[i]
        if known_user and known_item:
            estimate += np.dot(self.qi[i], self._user_vector(u))
        return float(estimate)

    def test(self, testset: Any, verbose: bool = False) -> list[Any]:
        """Predict a test set, a list of (raw user id, raw item id, rating)."""
        if self.exact or verbose or self._diverged or not testset:
            predictions: list[Any] = AlgoBase.test(self, testset, verbose=verbose)
            return predictions
        trainset = self.trainset
        raw_users, raw_items, truth = zip(*testset, strict=True)
        users = _inner(raw_users, trainset._raw2inner_id_users)
        items = _inner(raw_items, trainset._raw2inner_id_items)
        asked, rows = np.unique(users, return_inverse=True)
        if asked[0] < 0:  # unknown users, who stay -1
            asked, rows = asked[1:], rows - 1
        none = np.zeros(0)
        user_bias, item_bias = (self.bu[asked], self.bi) if self.biased else (none, none)
        mean = trainset.global_mean if self.biased else 0.0
        estimates = np.empty(len(users))
        kernels.predict_pairs(
            rows, items, self._user_vectors(asked), self.qi, user_bias, item_bias, mean, estimates
        )
        both = (users >= 0) & (items >= 0)
        impossible = ~both if not self.biased else np.zeros(len(both), bool)
        estimates[impossible] = self.default_prediction()
        estimates = np.clip(estimates, *trainset.rating_scale)
        possible = {"was_impossible": False}
        failure = {"was_impossible": True, "reason": "User and item are unknown."}
        with _without_collection():
            return [
                Prediction(user, item, rating, estimate, dict(failure if failed else possible))
                for user, item, rating, estimate, failed in zip(
                    raw_users,
                    raw_items,
                    truth,
                    estimates.tolist(),
                    impossible.tolist(),
                    strict=True,
                )
            ]

    def _user_vectors(self, users: np.ndarray) -> np.ndarray:
        return np.asarray(self.pu[users])


class SVD(_Factorization):
    """Biased matrix factorization by SGD; see Surprise's ``SVD`` for all parameters but the last.

    Parameters
    ----------
    exact : bool, default False
        Whether to go through the ratings one after the other in float64 as Surprise does, with its results to the
        last digit. Otherwise `cymf.SGD` does the work, in float32 on all processors, reproducibly; learning rates or
        penalties that differ between users and items need the sequential order in any case.

    Attributes
    ----------
    pu, qi : ndarray of shape (n_users, n_factors) and (n_items, n_factors)
        Factors by Surprise's inner ids.
    bu, bi : ndarray of shape (n_users,) and (n_items,)
        Biases.
    """

    pu: np.ndarray
    qi: np.ndarray
    bu: np.ndarray
    bi: np.ndarray
    lr_bu: float
    lr_bi: float
    reg_bu: float
    reg_bi: float
    reg_pu: float
    reg_qi: float
    lr_pu: float
    lr_qi: float

    def __init__(
        self,
        n_factors: int = 100,
        n_epochs: int = 20,
        biased: bool = True,
        init_mean: float = 0,
        init_std_dev: float = 0.1,
        lr_all: float = 0.005,
        reg_all: float = 0.02,
        lr_bu: float | None = None,
        lr_bi: float | None = None,
        lr_pu: float | None = None,
        lr_qi: float | None = None,
        reg_bu: float | None = None,
        reg_bi: float | None = None,
        reg_pu: float | None = None,
        reg_qi: float | None = None,
        random_state: Any = None,
        verbose: bool = False,
        exact: bool = False,
    ) -> None:
        self.n_factors = n_factors
        self.n_epochs = n_epochs
        self.biased = biased
        self.init_mean = init_mean
        self.init_std_dev = init_std_dev
        self.lr_bu, self.lr_bi = _or(lr_bu, lr_all), _or(lr_bi, lr_all)
        self.lr_pu, self.lr_qi = _or(lr_pu, lr_all), _or(lr_qi, lr_all)
        self.reg_bu, self.reg_bi = _or(reg_bu, reg_all), _or(reg_bi, reg_all)
        self.reg_pu, self.reg_qi = _or(reg_pu, reg_all), _or(reg_qi, reg_all)
        self.random_state = random_state
        self.verbose = verbose
        self.exact = exact
        AlgoBase.__init__(self)

    def _train(self, trainset: Any, generator: np.random.RandomState) -> None:
        rates = np.array([self.lr_bu, self.lr_bi, self.lr_pu, self.lr_qi], float)
        regs = np.array([self.reg_bu, self.reg_bi, self.reg_pu, self.reg_qi], float)
        runs = _Runs.of(trainset)
        alike = np.all(rates == rates[0]) and regs[0] == regs[1] and regs[2] == regs[3]
        usual = self.init_mean == 0 and min(self.init_std_dev, rates[0], self.n_epochs) > 0
        if alike and usual and not self.exact:
            self._train_in_parallel(trainset, runs, generator)
            return
        shape = self.n_factors
        self.pu = generator.normal(self.init_mean, self.init_std_dev, (trainset.n_users, shape))
        self.qi = generator.normal(self.init_mean, self.init_std_dev, (trainset.n_items, shape))
        self.bu, self.bi = np.zeros(trainset.n_users), np.zeros(trainset.n_items)
        mean = trainset.global_mean if self.biased else 0.0
        self._repeat(
            lambda: _surprise_order.svd_epoch(
                *runs, self.pu, self.qi, self.bu, self.bi, mean, self.biased, rates, regs
            )
        )

    def _train_in_parallel(
        self, trainset: Any, runs: _Runs, generator: np.random.RandomState
    ) -> None:
        users = np.repeat(runs.users, np.diff(runs.indptr))
        ratings = Ratings.from_triplets(
            users, runs.items, runs.values, shape=(trainset.n_users, trainset.n_items)
        )
        model = SGD(
            self.n_factors,
            reg=self.reg_pu,
            reg_bias=self.reg_bu,
            reg_exponent=1,  # a share of the penalty at every rating, as Surprise has it
            use_bias=self.biased,
            learning_rate=self.lr_pu,
            schedule="constant",
            max_iter=self.n_epochs,
            tol=0,
            init_std=self.init_std_dev,
            random_state=int(generator.randint(2**31 - 1)),
            store_ratings=False,
            verbose=self.verbose,
        )
        try:
            model.fit(ratings)
        except DivergenceError:
            self.pu = np.full((trainset.n_users, self.n_factors), np.nan)
            self.qi = np.full((trainset.n_items, self.n_factors), np.nan)
            self.bu, self.bi = np.zeros(trainset.n_users), np.zeros(trainset.n_items)
            return
        self.pu = model.user_factors_.astype(np.float64)
        self.qi = model.item_factors_.astype(np.float64)
        if self.biased:
            assert model.user_bias_ is not None
            assert model.item_bias_ is not None
            self.bu = model.user_bias_.astype(np.float64)
            self.bi = model.item_bias_.astype(np.float64)
        else:
            self.bu, self.bi = np.zeros(trainset.n_users), np.zeros(trainset.n_items)


class SVDpp(_Factorization):
    """SVD++; see Surprise's ``SVDpp`` for all parameters but the last.

    Parameters
    ----------
    cache_ratings : bool, default False
        Accepted and without effect: ratings are always in arrays.
    exact : bool, default False
        Whether to do the steps in Surprise's order, with its results to the last digit, O(Σ_u |I_u|² k) an epoch.
        Otherwise all y_j of a user, which take the same steps, take them at once: the same but for rounding, in
        O(nnz k).

    Attributes
    ----------
    pu, qi, yj, bu, bi : ndarray
        Factors, implicit factors and biases by Surprise's inner ids.

    References
    ----------
    Koren 2008, "Factorization meets the neighborhood: a multifaceted collaborative filtering model", section 4.
    """

    pu: np.ndarray
    qi: np.ndarray
    bu: np.ndarray
    bi: np.ndarray
    lr_bu: float
    lr_bi: float
    reg_bu: float
    reg_bi: float
    reg_pu: float
    reg_qi: float
    lr_pu: float
    lr_qi: float
    lr_yj: float
    reg_yj: float
    yj: np.ndarray

    def __init__(
        self,
        n_factors: int = 20,
        n_epochs: int = 20,
        init_mean: float = 0,
        init_std_dev: float = 0.1,
        lr_all: float = 0.007,
        reg_all: float = 0.02,
        lr_bu: float | None = None,
        lr_bi: float | None = None,
        lr_pu: float | None = None,
        lr_qi: float | None = None,
        lr_yj: float | None = None,
        reg_bu: float | None = None,
        reg_bi: float | None = None,
        reg_pu: float | None = None,
        reg_qi: float | None = None,
        reg_yj: float | None = None,
        random_state: Any = None,
        verbose: bool = False,
        cache_ratings: bool = False,
        exact: bool = False,
    ) -> None:
        self.n_factors = n_factors
        self.n_epochs = n_epochs
        self.init_mean = init_mean
        self.init_std_dev = init_std_dev
        self.lr_bu, self.lr_bi = _or(lr_bu, lr_all), _or(lr_bi, lr_all)
        self.lr_pu, self.lr_qi = _or(lr_pu, lr_all), _or(lr_qi, lr_all)
        self.lr_yj = _or(lr_yj, lr_all)
        self.reg_bu, self.reg_bi = _or(reg_bu, reg_all), _or(reg_bi, reg_all)
        self.reg_pu, self.reg_qi = _or(reg_pu, reg_all), _or(reg_qi, reg_all)
        self.reg_yj = _or(reg_yj, reg_all)
        self.random_state = random_state
        self.verbose = verbose
        self.cache_ratings = cache_ratings
        self.exact = exact
        AlgoBase.__init__(self)

    def _train(self, trainset: Any, generator: np.random.RandomState) -> None:
        rates = np.array([self.lr_bu, self.lr_bi, self.lr_pu, self.lr_qi, self.lr_yj], float)
        regs = np.array([self.reg_bu, self.reg_bi, self.reg_pu, self.reg_qi, self.reg_yj], float)
        runs = _Runs.of(trainset)
        start, size = (self.init_mean, self.init_std_dev), self.n_factors
        self.pu = generator.normal(*start, (trainset.n_users, size))
        self.qi = generator.normal(*start, (trainset.n_items, size))
        self.yj = generator.normal(*start, (trainset.n_items, size))
        self.bu, self.bi = np.zeros(trainset.n_users), np.zeros(trainset.n_items)
        epoch = _surprise_order.svdpp_epoch if self.exact else _surprise_order.svdpp_epoch_by_user
        scratch = np.zeros(2 * size)
        self._repeat(
            lambda: epoch(
                *runs,
                self.pu,
                self.qi,
                self.yj,
                self.bu,
                self.bi,
                trainset.global_mean,
                rates,
                regs,
                scratch,
            )
        )
        self._whole: dict[int, np.ndarray] = {}

    def _user_vector(self, u: int) -> np.ndarray:
        if u not in self._whole:
            rated = self.trainset.ur[u]
            implied = sum(self.yj[j] for j, _ in rated) / np.sqrt(len(rated))
            self._whole[u] = self.pu[u] + implied
        return self._whole[u]

    def _user_vectors(self, users: np.ndarray) -> np.ndarray:
        vectors = self.pu[users]
        for vector, u in zip(vectors, users.tolist(), strict=True):
            rated = np.fromiter((j for j, _ in self.trainset.ur[u]), np.int64)
            vector += self.yj[rated].sum(axis=0) / np.sqrt(len(rated))
        return np.asarray(vectors)


class NMF(_Factorization):
    """Non-negative factorization of the observed ratings; see Surprise's ``NMF`` for all parameters but the last.

    Parameters
    ----------
    exact : bool, default False
        Without effect on training, which follows Surprise's order in any case; ``test`` predicts all pairs at once
        without it.

    Attributes
    ----------
    pu, qi, bu, bi : ndarray
        Factors and biases by Surprise's inner ids.

    References
    ----------
    Luo et al. 2014, "An efficient non-negative matrix-factorization-based approach to collaborative filtering for
    recommender systems".
    """

    pu: np.ndarray
    qi: np.ndarray
    bu: np.ndarray
    bi: np.ndarray
    lr_bu: float
    lr_bi: float
    reg_bu: float
    reg_bi: float
    reg_pu: float
    reg_qi: float

    def __init__(
        self,
        n_factors: int = 15,
        n_epochs: int = 50,
        biased: bool = False,
        reg_pu: float = 0.06,
        reg_qi: float = 0.06,
        reg_bu: float = 0.02,
        reg_bi: float = 0.02,
        lr_bu: float = 0.005,
        lr_bi: float = 0.005,
        init_low: float = 0,
        init_high: float = 1,
        random_state: Any = None,
        verbose: bool = False,
        exact: bool = False,
    ) -> None:
        if init_low < 0:
            raise ValueError(f"init_low={init_low!r} is negative; expected a number ≥ 0")
        self.n_factors = n_factors
        self.n_epochs = n_epochs
        self.biased = biased
        self.reg_pu, self.reg_qi, self.reg_bu, self.reg_bi = reg_pu, reg_qi, reg_bu, reg_bi
        self.lr_bu, self.lr_bi = lr_bu, lr_bi
        self.init_low = init_low
        self.init_high = init_high
        self.random_state = random_state
        self.verbose = verbose
        self.exact = exact
        AlgoBase.__init__(self)

    def _train(self, trainset: Any, generator: np.random.RandomState) -> None:
        runs = _Runs.of(trainset)
        shapes = (trainset.n_users, self.n_factors), (trainset.n_items, self.n_factors)
        self.pu, self.qi = (
            generator.uniform(self.init_low, self.init_high, shape) for shape in shapes
        )
        self.bu, self.bi = np.zeros(trainset.n_users), np.zeros(trainset.n_items)
        mean = trainset.global_mean if self.biased else 0.0
        rates, regs = np.array([self.lr_bu, self.lr_bi]), np.array([self.reg_bu, self.reg_bi])
        counts = (
            np.bincount(runs.users, np.diff(runs.indptr), trainset.n_users)[:, None],
            np.bincount(runs.items, minlength=trainset.n_items)[:, None],
        )

        def epoch() -> None:
            sums = [np.zeros(shape) for shape in shapes for _ in range(2)]
            _surprise_order.nmf_sums(
                *runs, self.pu, self.qi, self.bu, self.bi, mean, self.biased, rates, regs, *sums
            )
            for factors, above, below, count, reg in (
                (self.pu, sums[0], sums[1], counts[0], self.reg_pu),
                (self.qi, sums[2], sums[3], counts[1], self.reg_qi),
            ):
                below += count * reg * factors
                factors[:] = np.where(factors != 0, factors * (above / below), 0)

        self._repeat(epoch)


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _generator(random_state: Any) -> np.random.RandomState:
    """Return what draws the start: of a seed a new one, of None NumPy's global one, as Surprise has it."""
    if random_state is None:
        return np.random.mtrand._rand
    if isinstance(random_state, (int, np.integer)):
        return np.random.RandomState(int(random_state))
    if isinstance(random_state, np.random.RandomState):
        return random_state
    raise ValueError(
        f"random_state is a {type(random_state).__name__}; expected None, an integer or a "
        "numpy.random.RandomState"
    )


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector from visiting a trainset's millions of tuples while others are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _inner(raw: tuple[Any, ...], numbers: dict[Any, int]) -> np.ndarray:
    return np.fromiter((numbers.get(identity, -1) for identity in raw), np.int64, len(raw))
