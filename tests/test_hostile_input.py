"""What a careless or hostile user gives: an error that says so, or a model whose every number is finite."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

import cymf
from cymf import evaluation
from cymf._state import FittedState

EXPLICIT = {
    "ALS": cymf.ALS,
    "SGD": cymf.SGD,
    "GradientDescent": cymf.GradientDescent,
    "SVDpp": cymf.SVDpp,
    "NMF": cymf.NMF,
    "BayesianMF": cymf.BayesianMF,
}
IMPLICIT = {
    "ImplicitALS": cymf.ImplicitALS,
    "BPR": cymf.BPR,
    "LogisticMF": cymf.LogisticMF,
    "ContrastiveMF": cymf.ContrastiveMF,
    "SpectralMF": cymf.SpectralMF,
    "Popularity": cymf.Popularity,
    "Random": cymf.Random,
}
MODELS = EXPLICIT | IMPLICIT


def made(name, **parameters):
    """A model of four factors that trains for a moment; None if it has not all of the parameters."""
    known = MODELS[name]._parameter_defaults()
    size = "n_components" if name == "NMF" else "n_factors"
    small = {size: 4, "max_iter": 3, "n_threads": 1, "burn_in": 2, "n_samples": 2, "thinning": 1}
    if not set(parameters) <= set(known):
        return None
    return MODELS[name](**{key: small[key] for key in small if key in known} | parameters)


def stars(n_users=12, n_items=9, seed=0):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(1, 6, (n_users, n_items)).astype(np.float64)
    matrix[rng.random(matrix.shape) < 0.4] = np.nan
    matrix[0, 0] = 3
    return matrix


def check_finite(model):
    """All that a model has learnt and says is finite."""
    state = model._fitted()
    for array in (state.user_factors, state.item_factors, state.user_bias, state.item_bias):
        assert array is None or np.isfinite(array).all()
    users, items = np.indices((state.n_users, state.n_items)).reshape(2, -1)
    assert np.isfinite(model.predict(users, items, by="index")).all()
    rows = np.arange(state.n_users)
    found, scores = model.recommend(rows, n=3, by="index", exclude_seen=False)
    np.testing.assert_array_equal(np.isnan(scores), found == -1)
    assert not np.isinf(scores).any()


def fit_or_refuse(model, data):
    """A fit ends with finite numbers or with an error of the kinds that are promised."""
    with np.errstate(all="ignore"):
        try:
            model.fit(data)
        except np.linalg.LinAlgError:  # a ValueError, but none that says what to do
            raise
        except (ValueError, TypeError, cymf.DivergenceError):
            return
        check_finite(model)


# --- data at the ends of what numbers can be


def scaled(factor):
    with np.errstate(over="ignore", under="ignore"):
        return stars() * factor


def weighted(*weights):
    return cymf.Ratings.from_triplets(
        [0, 0, 1, 1], [0, 1, 0, 1], [1.0, 2.0, 3.0, 4.0], weights=np.array(weights)
    )


DATA = {
    "one rating": lambda: cymf.Ratings.from_triplets([0], [0], [3.0]),
    "one rating of zero": lambda: cymf.Ratings.from_triplets([0], [0], [0.0]),
    "one user": lambda: np.array([[1.0, 2.0, np.nan, 4.0]]),
    "one item": lambda: np.array([[1.0], [2.0], [np.nan], [4.0]]),
    "all equal": lambda: np.full((5, 4), 3.0),
    "all zero": lambda: np.zeros((5, 4)),
    "empty rows": lambda: cymf.Ratings.from_triplets([1, 3], [1, 3], [2.0, 4.0], shape=(6, 7)),
    "negative": lambda: -stars(),
    "of both signs": lambda: stars() - 3,
    **{f"times {factor:g}": lambda f=factor: scaled(f)
       for factor in (1e-310, 1e-42, 1e-30, 1e18, 3e18, 1e30, 1e150, 1e300)},
    "of all sizes": lambda: np.array([[1e-300, 1e18, np.nan], [1e18, np.nan, 1], [np.nan, 1, 1e-30]]),
    **{f"weights {w:g}": lambda w=w: weighted(w, w, w, w)
       for w in (1e-300, 1e-44, 1e-30, 1e37, 1e300)},
    "weights of all sizes": lambda: weighted(1e-30, 1e30, 0, 1),
    "a user without weight": lambda: weighted(0, 0, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_any_data_is_finite_or_refused(name, data):
    for parameters in ({}, {"dtype": "float64"}, {"reg": 0.0}, {"n_factors": 40}, {"n_factors": 1}):
        model = made(name, **parameters)
        if model is not None:
            fit_or_refuse(model, DATA[data]())


@pytest.mark.parametrize("name", EXPLICIT)
def test_weights_that_vanish_in_single_precision(name):
    """They were divided by: a ZeroDivisionError, or NaN."""
    with pytest.raises(ValueError, match=r"1e-300 are 0 in float32, .* dtype='float64'"):
        made(name, dtype="float32").fit(weighted(*[1e-300] * 4))


@pytest.mark.parametrize("name", ["ALS", "SGD", "GradientDescent", "SVDpp", "ImplicitALS"])
def test_penalties_that_do_not_fit(name):
    """An infinite penalty made NaN, and the advice was to raise reg."""
    with pytest.raises(ValueError, match=r"reg=1e\+300 is too large: .* in float32"):
        made(name, reg=1e300).fit(stars())
    model = made(name).fit(stars())
    if name in ("ALS", "SGD", "SVDpp"):
        model.set_params(reg=1e300)
        with pytest.raises(ValueError, match=r"reg=1e\+300 is too large"):
            model.user_factors_for([0, 1], [3.0, 4.0])


# --- steps that explode


STEPS = [
    (name, parameters)
    for name in ("SGD", "SVDpp", "BPR", "LogisticMF", "ContrastiveMF", "GradientDescent")
    for parameters in (
        *({"learning_rate": rate} for rate in (10.0, 1e4, 1e10, 1e20, 1e38, 1e300)),
        *({"init_std": std} for std in (1e5, 1e10, 1e18, 1e20, 1e38, 1e300)),
    )
    if made(name, **parameters) is not None
]


@pytest.mark.filterwarnings("ignore::cymf.ConvergenceWarning")
@pytest.mark.parametrize(("name", "parameters"), STEPS)
def test_steps_that_explode_leave_nothing_that_is_not_finite(name, parameters):
    """The last steps of a fit are followed by no epoch that could notice."""
    one = cymf.Ratings.from_triplets([0], [0], [3.0])
    for data in (one, stars()):
        for more in (
            {}, {"dtype": "float64"}, {"max_iter": 1}, {"on_divergence": "back_off"},
            {"schedule": "adagrad"}, {"schedule": "adagrad_row"},
            *({"step": step} for step in ("fixed", "adam", "nesterov", "backtracking")),
        ):  # fmt: skip
            model = made(name, **parameters, **more)
            if model is not None:
                fit_or_refuse(model, data)


def test_an_explosion_in_the_last_steps_is_told():
    one = cymf.Ratings.from_triplets([0], [0], [3.0])
    for model in (
        cymf.SGD(2, learning_rate=1e6, max_iter=1, use_bias=False, init_std=1.0),
        cymf.SVDpp(2, learning_rate=1e6, max_iter=1, init_std=1.0),
    ):
        data = one if isinstance(model, cymf.SGD) else stars()
        with pytest.raises(cymf.DivergenceError, match="diverged in epoch 1"):
            model.fit(data)


@pytest.mark.filterwarnings("ignore::cymf.ConvergenceWarning")
def test_backing_off_finds_a_rate_for_the_last_epoch_as_well():
    one = cymf.Ratings.from_triplets([0], [0], [3.0])
    model = cymf.SGD(
        2, learning_rate=1e6, max_iter=1, use_bias=False, init_std=1.0, on_divergence="back_off"
    )
    check_finite(model.fit(one))
    assert model.rmse(one) < 100


def test_a_decay_beyond_all_numbers():
    """It was an OverflowError of math.pow."""
    model = cymf.SGD(2, schedule="inverse_scaling", decay=1e300, max_iter=4)
    check_finite(model.fit(stars()))


def test_a_state_whose_predictions_overflow_is_no_result():
    def state(**changed):
        parts = {
            "user_factors": np.ones((2, 2), np.float32),
            "item_factors": np.ones((3, 2), np.float32),
            "user_bias": None, "item_bias": None, "global_mean": 0.0, "rating_mean": 0.0,
            "rating_range": (0.0, 1.0), "user_ids": None, "item_ids": None,
            "user_counts": np.ones(2, np.int64), "item_counts": np.ones(3, np.int64),
            "ratings": None, "history": {}, "n_iter": 1, "stop_reason": "max_iter",
        }  # fmt: skip
        return FittedState(**parts | changed)

    assert state().finite() is not None
    large = np.full((2, 2), 1e20, np.float32)
    for changed in (
        {"user_factors": np.full((2, 2), np.nan, np.float32)},
        {"item_factors": np.full((3, 2), -np.inf, np.float32)},
        {"user_factors": large, "item_factors": np.full((3, 2), 1e20, np.float32)},
        {"user_bias": np.array([0, np.nan], np.float32), "item_bias": np.zeros(3, np.float32)},
        {"global_mean": np.nan},
    ):
        with pytest.raises(cymf.DivergenceError, match="too large"):
            state(**changed).finite()
    state(user_factors=large).finite()


# --- parameters that change after the fit


def test_a_fold_in_has_the_factors_that_were_fitted():
    """It cut them off at, or padded them to, the new n_factors."""
    model = made("ImplicitALS").fit(stars())
    expected = model.user_factors_for([0, 3])
    for changed in ({"n_factors": 2}, {"n_factors": 9}, {"use_bias": True}):
        other = made("ImplicitALS").fit(stars()).set_params(**changed)
        np.testing.assert_array_equal(other.user_factors_for([0, 3]), expected)
        assert other.predict(0, 0, return_std=True)[1] > 0
        assert np.isfinite(other.explain(0, 0).score)
    model.set_params(reg=[1.0])
    with pytest.raises(TypeError, match=r"reg=\[1.0\] is a list"):
        model.user_factors_for([0, 3])


def test_a_machine_that_was_fitted_to_numbers_has_no_probabilities():
    X = np.random.default_rng(0).standard_normal((20, 3))
    model = cymf.FactorizationMachine(2, max_iter=3, burn_in=1).fit(X, X[:, 0])
    model.set_params(loss="logistic")
    with pytest.raises(AttributeError, match="fitted with another"):
        model.predict_proba(X)


# --- numbers of threads


@pytest.mark.parametrize("name", ["ALS", "ImplicitALS", "NMF", "BPR"])
def test_as_many_threads_as_are_of_use(name):
    """Each has its memory: 10⁹ of them had more than there is."""
    few, many = made(name).fit(stars()), made(name, n_threads=10**9).fit(stars())
    np.testing.assert_array_equal(few.user_factors_, many.user_factors_)
    np.testing.assert_array_equal(few.recommend([1, 2])[0], many.recommend([1, 2])[0])


# --- queries


def test_sparse_matrices_with_columns_that_are_not_there():
    """SciPy makes them without a look at their indices."""
    model = made("ALS").fit(stars())
    for column in (-1, 9, 10**6):
        wrong = sp.csr_array(
            (np.ones(1), np.array([column]), np.minimum(np.arange(13), 1)), shape=(12, 9)
        )
        for options in ({"seen": wrong}, {"candidates": wrong}):
            with pytest.raises(ValueError, match=r"indices: entry 0 is .*, outside 0 to 8"):
                model.recommend([0, 1], **options)
        with pytest.raises(ValueError, match=r"exclude.indices: entry 0 is .*, outside 0 to 8"):
            model.recommend_by_factors(model.user_factors_, exclude=wrong)


def test_a_table_for_ids_of_both_kinds():
    """NumPy made two strings of them, of which one was somebody else's."""
    ratings = cymf.Ratings.from_triplets(["1", "1", "x"], ["a", "b", "a"], [1.0, 2.0, 3.0])
    model = made("ALS").fit(ratings)
    with pytest.raises(TypeError, match="user ids mix integers and strings"):
        model.recommend_table([1, "x"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("factor", [1e-25, 1e-30, 1e18])
def test_cosines_of_very_small_and_very_large_factors(dtype, factor):
    """Their squares are 0, or infinite."""
    model = made("ALS", dtype=dtype).fit(stars())
    expected = model.similar_items([0, 1], 4)
    state = model._state
    parts = {name: getattr(state, name) for name in state.__dataclass_fields__}
    scale = np.dtype(dtype).type(factor)
    model._publish(FittedState(**parts | {"item_factors": state.item_factors * scale}))
    found = model.similar_items([0, 1], 4)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


def test_features_of_a_row_far_behind_all_others():
    features = cymf.Features(np.eye(2), ids=[0, 10**9])
    with pytest.raises(
        ValueError, match=r"user 1000000000 is a row number .* 999999987 rows empty"
    ):
        made("ALS").fit(stars(), user_features=features)


def test_errors_of_ratings_whose_squares_overflow():
    assert evaluation.rmse([1e200, 0.0], [0.0, 0.0]) == pytest.approx(1e200 / np.sqrt(2))
    assert evaluation.rmse([1e-200, 0.0], [0.0, 0.0]) == pytest.approx(1e-200 / np.sqrt(2))


@pytest.mark.parametrize("metric", [[], {}, np.ones(1), 3, None])
def test_metrics_that_are_no_names(metric):
    """Those that cannot be hashed were a TypeError about that."""
    with pytest.raises((ValueError, TypeError), match="metric"):
        made("ImplicitALS", validation_metric=metric).fit(stars())
