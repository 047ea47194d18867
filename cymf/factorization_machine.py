"""Factorization machines: any features, all their pairwise interactions, few parameters."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from cymf._errors import FeatureNamesWarning, NotFittedError, warn_caller
from cymf._fm_fit import train
from cymf._fm_inputs import (
    feature_names,
    read_design,
    read_groups,
    read_labels,
    read_targets,
    read_weights,
)
from cymf._fm_state import FMState
from cymf._losses import concordance, probabilities
from cymf._parallel import Workers
from cymf._parameters import Parameterized
from cymf._training import Iteration
from cymf._validation import check_dtype, check_threads
from cymf.design_matrix import DesignMatrix

if TYPE_CHECKING:
    from sklearn.utils import Tags

__all__ = ["FactorizationMachine"]


class FactorizationMachine(Parameterized):
    r"""Regression, classification and ranking on design matrices, with all pairwise interactions.

    The score of a row x is

        ŷ(x) = w₀ + Σ_j w_j x_j + Σ_{j<l} (v_j · v_l) x_j x_l,

    computed in O(k) an entry. With one-hot columns of users and items this is biased matrix factorization; further
    columns (features, histories, circumstances) join in without a new model. `cymf.design_matrix` makes such rows of
    ratings. The score is a number (``loss="squared"``), log-odds of the second class (``"logistic"``), or a preference
    among the rows of a group (``"bpr"``).

    ``solver="mcmc"`` draws the parameters and their hyper-parameters from the posterior (Gibbs sampling), and predicts
    by the mean over draws: nothing but `n_factors` is left to choose, and it is mostly the most accurate.
    ``"als"`` descends one coordinate after the other on

        Σ_i c_i l(y_i, ŷ(x_i)) + ½ Σ_j n_j^ν (λ_b w_j² + λ ‖v_j‖²),

    with n_j the (weighted) number of rows that have column j, and l = ½ (y − ŷ)² or log(1 + exp(−y ŷ)). ``"sgd"`` and
    ``"adagrad"`` take steps along the mean gradients of mini-batches. Every solver gives the same bits for any number
    of threads.

    Parameters
    ----------
    n_factors : int, default 16
        Length k of the factors v_j.
    loss : {"squared", "logistic", "bpr"}, default "squared"
        Regression, classification with two classes, or ranking: pairs of rows of a group, of which the one with the
        higher target should have the higher score.
    solver : {"auto", "mcmc", "als", "sgd", "adagrad"}, default "auto"
        "auto" is "mcmc", and "adagrad" for ``loss="bpr"``, for which there is only "sgd" and "adagrad".
    reg : float or list of float, default 0.05
        λ, one for all columns or one for each group of columns. Not used by "mcmc".
    reg_bias : float, list of float or None, default None
        λ_b, likewise; None takes `reg`.
    reg_exponent : float, default 1
        ν: 0 is the textbook's penalty, 1 scales it by the number of rows.
    use_bias : bool, default True
        Whether there are w₀ and w.
    learning_rate : float or None, default None
        Of "sgd" and "adagrad"; None takes 0.05 and 0.2.
    decay : float, default 0.02
        "sgd" and "adagrad" lower the rate by this share after each epoch.
    batch_size : int, default 128
        Rows, or pairs, of a mini-batch. 1 is plain SGD.
    max_iter : int, default 100
        Sweeps, draws or epochs.
    burn_in : int, default 10
        First draws of each chain that "mcmc" leaves out.
    n_chains : int, default 1
        Chains of draws from starts of their own, side by side on several threads. Several explore more than one that
        is as long as all of them together, if each is long enough.
    n_samples : int or None, default 100
        Most draws that "mcmc" keeps, of all chains, evenly spread over those after `burn_in`; they take n_samples
        n_columns n_factors numbers of memory. None keeps all.
    n_negatives : int, default 1
        For ``loss="bpr"``: rows drawn in each epoch for each row that is preferred to some of its group.
    init_std : float, default 0.1
        Standard deviation of the random factors that training starts from.
    tol : float, default 0
        "als", "sgd" and "adagrad" stop when an iteration lowers the objective by at most ``tol`` times its value.
    patience : int or None, default None
        With a validation set: stop after so many iterations without a better validation figure, and keep the best. Not
        with "mcmc".
    random_state : int, Generator or None, default 0
        Seed of everything random. None draws a fresh one.
    n_threads : int or None, default None
        Threads; None means all processors. The result is the same bits for any number.
    dtype : {"float32", "float64"}, default "float32"
        Type of the parameters and of the arithmetic.
    verbose : bool, default False
        Whether to show a progress bar.

    Attributes
    ----------
    intercept_ : float
        w₀. With "mcmc" this, `weights_` and `factors_` are means over draws; predictions are not made of them.
    weights_ : ndarray of shape (n_columns,), or (0,) without biases
        w.
    factors_ : ndarray of shape (n_columns, n_factors)
        V.
    classes_ : ndarray of shape (2,)
        The labels; only with ``loss="logistic"``.
    n_features_in_ : int
        Columns of the training matrix.
    feature_names_in_ : ndarray of str, shape (n_columns,)
        Their names, if it was a table with names or a `DesignMatrix`.
    history_ : dict of str to list of float
        An entry an iteration: "seconds"; "objective" (of "sgd" and "adagrad" with the losses before each step; NaN with
        "mcmc"); "train_rmse" and "validation_rmse" with the squared loss, otherwise "validation_score": minus the mean
        logistic loss, or the share of pairs in order. With "mcmc" the validation figure is that of the mean
        prediction so far.
    n_iter_, stop_reason_ : int and str
        Finished iterations, and why training ended.

    References
    ----------
    Rendle 2010, "Factorization machines" (ICDM). Rendle et al. 2011, "Fast context-aware recommendations with
    factorization machines" (SIGIR). Freudenthaler, Schmidt-Thieme and Rendle 2011, "Bayesian factorization machines".
    Rendle 2013, "Scaling factorization machines to relational data" (VLDB). Rendle et al. 2009, "BPR" (UAI).

    Examples
    --------
    >>> import numpy as np
    >>> import cymf
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> model = cymf.FactorizationMachine(n_factors=2).fit(X, 1 + X[:, 0] + X[:, 1] * X[:, 2])
    >>> model.score(X, 1 + X[:, 0] + X[:, 1] * X[:, 2]) > 0.99
    True
    """

    _STATE = FMState  # how `cymf.load` reads one
    _state: FMState | None = None

    def __init__(
        self,
        n_factors: int = 16,
        *,
        loss: str = "squared",
        solver: str = "auto",
        reg: float | list[float] = 0.05,
        reg_bias: float | list[float] | None = None,
        reg_exponent: float = 1.0,
        use_bias: bool = True,
        learning_rate: float | None = None,
        decay: float = 0.02,
        batch_size: int = 128,
        max_iter: int = 100,
        burn_in: int = 10,
        n_chains: int = 1,
        n_samples: int | None = 100,
        n_negatives: int = 1,
        init_std: float = 0.1,
        tol: float = 0.0,
        patience: int | None = None,
        random_state: int | np.random.Generator | None = 0,
        n_threads: int | None = None,
        dtype: str | np.dtype[Any] | type = "float32",
        verbose: bool = False,
    ) -> None:
        self.n_factors = n_factors
        self.loss = loss
        self.solver = solver
        self.reg = reg
        self.reg_bias = reg_bias
        self.reg_exponent = reg_exponent
        self.use_bias = use_bias
        self.learning_rate = learning_rate
        self.decay = decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.burn_in = burn_in
        self.n_chains = n_chains
        self.n_samples = n_samples
        self.n_negatives = n_negatives
        self.init_std = init_std
        self.tol = tol
        self.patience = patience
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
        groups: Any = None,
        column_groups: ArrayLike | None = None,
        validation: Any = None,
        callback: Callable[[Iteration], Any] | None = None,
    ) -> Self:
        """Learn the parameters.

        Parameters
        ----------
        X : DesignMatrix, or sparse matrix, array or table of shape (n_rows, n_columns)
            Rows of finite numbers. A `DesignMatrix` is trained in blocks: rows of one user share what they have in
            common.
        y : array-like of shape (n_rows,)
            Numbers, labels of two classes, or relevances, whose order counts. A `DesignMatrix` brings its own.
        sample_weight : array-like of shape (n_rows,), optional
            Weights c of the rows, not negative. A `DesignMatrix` brings its ratings' own.
        groups : array-like of shape (n_rows,), optional
            With ``loss="bpr"``: whose row each is, such as a user or query. A `DesignMatrix` brings its users.
        column_groups : array-like of int, shape (n_columns,), optional
            The group of each column, from 0: columns of a group share hyper-parameters in "mcmc", or a `reg`. A
            `DesignMatrix` brings its own; otherwise all columns are one group.
        validation : DesignMatrix with a target, or tuple (X, y) or (X, y, groups), optional
            Held-out rows, evaluated after every iteration.
        callback : callable, optional
            Called with an `Iteration` after every iteration; a true result stops training.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If parameters or data are not what they should be.
        DivergenceError
            If training produces values that are not finite or losses that explode.
        """
        self._state = train(
            self,
            X,
            y,
            sample_weight=sample_weight,
            groups=groups,
            column_groups=column_groups,
            validation=validation,
            callback=callback,
        )
        return self

    @overload
    def predict(self, X: Any, *, return_std: Literal[False] = ...) -> NDArray[Any]: ...

    @overload
    def predict(
        self, X: Any, *, return_std: Literal[True]
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...

    @overload
    def predict(self, X: Any, *, return_std: bool) -> Any: ...

    def predict(self, X: Any, *, return_std: bool = False) -> Any:
        """Predict the target of each row.

        Parameters
        ----------
        X : DesignMatrix, sparse matrix, array or table of shape (n_rows, n_columns)
            Rows with the columns of training.
        return_std : bool, default False
            With ``solver="mcmc"`` and a score that is a number: also return the deviation of the scores between draws.
            It is latent, that of ŷ; the targets scatter around it with `noise_std_`.

        Returns
        -------
        ndarray of shape (n_rows,), or a pair of them
            Numbers in the dtype of the model; labels with ``loss="logistic"``; scores with ``loss="bpr"``.

        Raises
        ------
        ValueError
            If the number of columns is another, values are not finite, or there are no draws for `return_std`.
        NotFittedError
            If `fit` has not been called.
        """
        state = self._fitted()
        if return_std and (state.samples is None or state.classes is not None):
            raise ValueError(
                "return_std=True needs draws of a score that is a number; expected solver='mcmc' and loss='squared'"
            )
        mean, deviation = self._mean_prediction(state, X)
        if state.classes is not None:
            return state.classes[(mean > 0.5).astype(np.int64)]
        dtype = state.factors.dtype
        return (mean.astype(dtype), deviation.astype(dtype)) if return_std else mean.astype(dtype)

    def score(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None, groups: Any = None
    ) -> float:
        """Return R², the accuracy, or the share of pairs of a group in order, by the loss.

        Parameters
        ----------
        X, y, sample_weight, groups
            As in `fit`. Weights do not count for pairs.

        Returns
        -------
        float
            At most 1.
        """
        state = self._fitted()
        if isinstance(X, DesignMatrix):
            y = X.target if y is None else y
            groups = X.users if groups is None else groups
            sample_weight = X.weights if sample_weight is None else sample_weight
        mean, _ = self._mean_prediction(state, X)
        given = read_weights(sample_weight, len(mean), np.dtype(np.float64))
        weights = given if len(given) else np.ones(len(mean))
        if state.classes is not None:
            signs = read_labels(y, len(mean), state.classes).signs
            return float(np.average((mean > 0.5) == (signs > 0), weights=weights))
        targets = read_targets(y, len(mean), np.dtype(np.float64))
        if self.loss == "bpr":
            return concordance(mean, targets, read_groups(groups, len(mean)))
        if len(targets) < 2:
            raise ValueError("R² of one row is not defined; give two rows or more")
        spread = float(weights @ (targets - np.average(targets, weights=weights)) ** 2)
        error = float(weights @ (targets - mean) ** 2)
        return 1 - error / spread if spread > 0 else float(error == 0)

    @property
    def predict_proba(self) -> Callable[[Any], np.ndarray]:
        """Probabilities of both classes, ``predict_proba(X)`` of shape (n_rows, 2); only with ``loss="logistic"``."""
        self._check_classifier("predict_proba")
        return self._probabilities

    @property
    def decision_function(self) -> Callable[[Any], np.ndarray]:
        """Log-odds of the second class, ``decision_function(X)`` of shape (n_rows,); only with ``loss="logistic"``."""
        self._check_classifier("decision_function")
        return self._log_odds

    def _probabilities(self, X: Any) -> np.ndarray:
        mean, _ = self._mean_prediction(self._fitted(), X)
        return np.column_stack([1 - mean, mean])

    def _log_odds(self, X: Any) -> np.ndarray:
        mean, _ = self._mean_prediction(self._fitted(), X)
        tiny = np.finfo(np.float64).tiny
        odds: np.ndarray = np.log(np.maximum(mean, tiny)) - np.log(np.maximum(1 - mean, tiny))
        return odds

    def _check_classifier(self, name: str) -> None:
        if self.loss != "logistic":
            raise AttributeError(
                f"{name} is there with loss='logistic' only; this machine has loss={self.loss!r}"
            )
        if self._state is not None and self._state.classes is None:
            raise AttributeError(
                f"{name} is there with loss='logistic' only, and this machine was fitted with another; fit it again"
            )

    def _mean_prediction(self, state: FMState, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation over draws of the scores, or of the second class's probabilities, in float64."""
        self._check_names(state, X)
        design = read_design(X, check_dtype(state.factors.dtype))
        if design.n_columns != state.n_columns:
            raise ValueError(
                f"X has {design.n_columns} features, but FactorizationMachine is expecting {state.n_columns} features "
                "as input; encode the rows with the columns of training, for instance with DesignMatrix.encode"
            )
        mean = np.zeros(design.n_rows)
        squares = np.zeros(design.n_rows)
        with Workers(check_threads(self.n_threads)) as workers:
            for number, machine in enumerate(state.machines()):
                scores = machine.scores(design, workers)
                if state.classes is not None:
                    scores = probabilities(scores)
                change = scores - mean
                mean += change / (number + 1)
                squares += change * (scores - mean)
        return mean, np.sqrt(squares / max(number, 1))

    def _check_names(self, state: FMState, X: Any) -> None:
        given, own = feature_names(X), state.names
        if given is None or own is None:
            unnamed = (
                X if own is not None else given
            )  # a design's matrix has no names, and needs none
            if unnamed is not None and not sparse.issparse(X) and not isinstance(X, DesignMatrix):
                self._warn_of_names(given is not None)
            return
        if len(given) != len(own):
            return  # the number of columns is checked with the rest
        wrong = np.flatnonzero(given != own)
        if len(wrong):
            unseen, missing = sorted(set(given) - set(own)), sorted(set(own) - set(given))
            text = "The feature names should match those that were passed during fit.\n"
            if unseen:
                text += "Feature names unseen at fit time:\n" + _listed(unseen)
            if missing:
                text += "Feature names seen at fit time, yet now missing:\n" + _listed(missing)
            if not unseen and not missing:
                text += "Feature names must be in the same order as they were in fit.\n"
            raise ValueError(text)

    def _warn_of_names(self, given: bool) -> None:
        name = type(self).__name__
        text = (
            f"X has feature names, but {name} was fitted without feature names"
            if given
            else f"X does not have valid feature names, but {name} was fitted with feature names"
        )
        warn_caller(text, FeatureNamesWarning)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted machine to one file, which `cymf.load` reads.

        Parameters
        ----------
        path : str or path-like
            The file; an existing one is replaced at once when the new one is complete.

        Raises
        ------
        NotFittedError
            If `fit` has not been called.
        TypeError
            If a parameter is not a number, a string, a bool, None, a dtype, a list of these, or a random generator
            (which is stored as None).
        OSError
            If the file cannot be written. What stood there before is still there.
        """
        from cymf._model_file import save_state

        state = self._fitted()
        save_state(self, path, state.header(), state.arrays())

    def _publish(self, state: FMState) -> None:
        self._state = state

    def _fitted(self) -> FMState:
        if self._state is None:
            raise NotFittedError(
                "this FactorizationMachine instance is not fitted yet; call fit(X, y) first"
            )
        return self._state

    def __sklearn_is_fitted__(self) -> bool:
        return self._state is not None

    def __sklearn_tags__(self) -> Tags:
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        kind = {"squared": "regressor", "logistic": "classifier"}.get(self.loss)
        return Tags(
            estimator_type=kind,
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(multi_class=False) if kind == "classifier" else None,
            regressor_tags=RegressorTags() if kind == "regressor" else None,
            input_tags=InputTags(sparse=True),
        )

    @property
    def intercept_(self) -> float:
        return self._fitted().constant

    @property
    def weights_(self) -> np.ndarray:
        return self._fitted().weights

    @property
    def factors_(self) -> np.ndarray:
        return self._fitted().factors

    @property
    def noise_std_(self) -> float:
        """Deviation of the targets around their scores, its mean over draws; NaN without draws."""
        return self._fitted().noise

    @property
    def classes_(self) -> np.ndarray:
        classes = self._fitted().classes
        if classes is None:
            raise AttributeError("classes_ is there with loss='logistic' only")
        return classes

    @property
    def n_features_in_(self) -> int:
        return self._fitted().n_columns

    @property
    def feature_names_in_(self) -> np.ndarray:
        names = self._fitted().names
        if names is None:
            raise AttributeError("the training matrix had no names of columns")
        return names

    @property
    def history_(self) -> dict[str, list[float]]:
        return {name: list(values) for name, values in self._fitted().history.items()}

    @property
    def n_iter_(self) -> int:
        return self._fitted().n_iter

    @property
    def stop_reason_(self) -> str:
        return self._fitted().stop_reason


def _listed(names: list[str]) -> str:
    return "".join(f"- {name}\n" for name in names[:5]) + ("- ...\n" if len(names) > 5 else "")
