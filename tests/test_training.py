"""What all estimators do around their iterations: history, early stopping, callbacks, Ctrl-C, warm start."""

from __future__ import annotations

import math
import pickle
import signal
import threading

import numpy as np
import pytest
import reference
from fitted_models import ESTIMATORS, bits_of, cells_of, factors_of, star_ratings

import cymf
from cymf._factors import Factors
from cymf._fit_log import TrainingSize
from cymf._training import TrainingLoop

by_every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)


def overfitting(estimator: type, **parameters):
    """A model with many factors and hardly any penalty, whose validation error soon rises."""
    own = {"init_std": 0.1, "reg": 0.001, "dtype": "float64", "max_iter": 60}
    if estimator is cymf.SGD:
        own |= {"learning_rate": 0.05, "schedule": "constant"}
    else:
        own |= {"tol": 0}
    return estimator(20, **{**own, **parameters})


def split() -> tuple[cymf.Ratings, cymf.Ratings]:
    return cymf.evaluation.random_split(star_ratings(density=0.5), random_state=3)


# ---- history -------------------------------------------------------------------------------------


@by_every_estimator
def test_history_has_one_number_an_iteration(estimator):
    train, test = split()
    model = estimator(3, max_iter=6).fit(train, validation=test)
    history = model.history_
    assert set(history) == {"objective", "train_rmse", "validation_rmse", "seconds"}
    assert {len(values) for values in history.values()} == {model.n_iter_}
    assert all(seconds > 0 for seconds in history["seconds"])
    assert history["validation_rmse"][-1] == pytest.approx(model.rmse(test), rel=1e-5)
    without = estimator(3, max_iter=2).fit(train)
    assert all(math.isnan(rmse) for rmse in without.history_["validation_rmse"])


@pytest.mark.parametrize("estimator", [cymf.ALS, cymf.SGD])
def test_tracking_is_optional_and_changes_nothing_else(estimator):
    ratings = star_ratings()
    on, off = (
        estimator(3, max_iter=3, track_objective=track).fit(ratings) for track in (True, False)
    )
    assert np.isfinite(on.history_["objective"]).all()
    assert np.isnan(off.history_["objective"]).all()
    assert on.user_factors_.tobytes() == off.user_factors_.tobytes()
    # without a pass of its own, SGD knows the errors before each update, ALS none
    assert np.isnan(off.history_["train_rmse"]).all() == (estimator is cymf.ALS)


@by_every_estimator
def test_history_is_a_copy(estimator):
    model = estimator(2, max_iter=2).fit(star_ratings())
    model.history_["seconds"].clear()
    assert len(model.history_["seconds"]) == model.n_iter_


@by_every_estimator
@pytest.mark.parametrize("use_bias", [True, False])
def test_validation_rmse_is_that_of_the_predictions(estimator, use_bias):
    """Unknown users and items included: they fall back in the same way."""
    train = cymf.Ratings.from_triplets(["a", "a", "b"], ["x", "y", "x"], [4.0, 2.0, 3.0])
    held_out = (np.array([["a", "x"], ["c", "x"], ["b", "z"], ["c", "z"]]), [3.0, 3.5, 1.0, 2.0])
    model = estimator(2, use_bias=use_bias, max_iter=3, dtype="float64")
    model.fit(train, validation=held_out)
    assert model.history_["validation_rmse"][-1] == pytest.approx(model.rmse(*held_out), rel=1e-12)


@by_every_estimator
def test_weights_of_the_validation_ratings_count(estimator):
    train, test = split()
    weights = np.random.default_rng(0).integers(0, 3, test.nnz).astype(float)
    weighted = cymf.Ratings.from_triplets(
        test.users, test.items, test.values, weights=weights, shape=test.shape
    )
    model = estimator(3, max_iter=2, dtype="float64").fit(train, validation=weighted)
    cells = cells_of(weighted)
    errors = reference.errors(cells, factors_of(model))
    expected = np.sqrt(np.average(errors**2, weights=weights))
    assert model.history_["validation_rmse"][-1] == pytest.approx(expected, rel=1e-10)


@by_every_estimator
def test_a_transposed_validation_matrix_is_an_error_that_names_both_shapes(estimator):
    ratings = star_ratings(12, 30)
    transposed = star_ratings(30, 12)
    with pytest.raises(ValueError, match=r"30.*12.*12.*30|12.*30.*30.*12"):
        estimator(2, max_iter=1).fit(ratings, validation=transposed)


# ---- early stopping ------------------------------------------------------------------------------


@by_every_estimator
@pytest.mark.parametrize("patience", [1, 3])
def test_patience_stops_and_keeps_the_best_iterate(estimator, patience):
    train, test = split()
    model = overfitting(estimator, patience=patience).fit(train, validation=test)
    validation = np.array(model.history_["validation_rmse"])
    best = int(np.argmin(validation))
    assert model.n_iter_ == best + 1 + patience < 60
    assert model._state.stop_reason == "patience"
    assert model.rmse(test) == pytest.approx(validation[best], rel=1e-10)
    assert model.rmse(test) < validation[-1]
    # it is the very iterate that training so long gives
    same = overfitting(estimator, max_iter=best + 1).fit(train)
    assert same.user_factors_.tobytes() == model.user_factors_.tobytes()
    assert same.item_bias_.tobytes() == model.item_bias_.tobytes()


@by_every_estimator
def test_the_best_iterate_is_kept_when_iterations_run_out(estimator):
    train, test = split()
    worse = overfitting(estimator, patience=1).fit(train, validation=test).n_iter_
    model = overfitting(estimator, patience=1000, max_iter=worse).fit(train, validation=test)
    validation = model.history_["validation_rmse"]
    assert model.n_iter_ == worse
    assert model._state.stop_reason == "max_iter"
    assert validation[-1] > min(validation)
    assert model.rmse(test) == pytest.approx(min(validation), rel=1e-10)


@by_every_estimator
def test_without_patience_the_last_iterate_is_kept(estimator):
    train, test = split()
    model = overfitting(estimator).fit(train, validation=test)
    assert model.rmse(test) == pytest.approx(model.history_["validation_rmse"][-1], rel=1e-10)


@by_every_estimator
def test_patience_needs_validation_ratings(estimator):
    with pytest.raises(ValueError, match=r"patience=2.*validation"):
        estimator(2, patience=2).fit(star_ratings())


# ---- callbacks and Ctrl-C ------------------------------------------------------------------------


@by_every_estimator
def test_a_callback_sees_every_iteration_and_may_stop(estimator):
    train, test = split()
    seen: list[cymf.Iteration] = []

    def stop_after_three(record: cymf.Iteration) -> bool:
        seen.append(record)
        return record.iteration == 3

    model = overfitting(estimator).fit(train, validation=test, callback=stop_after_three)
    assert [record.iteration for record in seen] == [1, 2, 3]
    assert model.n_iter_ == 3
    assert model._state.stop_reason == "callback"
    for name, values in model.history_.items():
        np.testing.assert_array_equal(values, [getattr(record, name) for record in seen])
    same = overfitting(estimator, max_iter=3).fit(train)
    assert same.user_factors_.tobytes() == model.user_factors_.tobytes()


@by_every_estimator
def test_a_callbacks_error_comes_through_and_leaves_the_model_alone(estimator):
    model = estimator(2, max_iter=3).fit(star_ratings())
    before = bits_of(model)

    def fail(record: cymf.Iteration) -> None:
        raise LookupError("from the callback")

    with pytest.raises(LookupError, match="from the callback"):
        model.fit(star_ratings(seed=2), callback=fail)
    assert bits_of(model) == before


def raise_it(record: cymf.Iteration) -> None:
    if record.iteration == 2:
        raise KeyboardInterrupt


def signal_it(record: cymf.Iteration) -> None:
    if record.iteration == 2:
        signal.raise_signal(signal.SIGINT)


@by_every_estimator
@pytest.mark.parametrize("interrupt", [raise_it, signal_it])
def test_ctrl_c_leaves_the_model_of_the_last_finished_iteration(estimator, interrupt):
    ratings = star_ratings()
    parameters = {"max_iter": 40} | ({} if estimator is cymf.SGD else {"tol": 0})
    model = estimator(3, **parameters)
    with pytest.warns(cymf.ConvergenceWarning, match=r"interrupted.*iteration 2 of at most 40"):
        model.fit(ratings, callback=interrupt)
    assert model.n_iter_ == 2
    assert model._state.stop_reason == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    same = estimator(3, **{**parameters, "max_iter": 2}).fit(ratings)
    assert bits_of(same) == bits_of(model)
    assert np.isfinite(model.predict(0, 1))


@by_every_estimator
def test_ctrl_c_with_patience_keeps_the_best_iterate(estimator):
    train, test = split()

    def interrupt(record: cymf.Iteration) -> None:
        if record.iteration == 30:
            raise KeyboardInterrupt

    model = overfitting(estimator, patience=1000)
    with pytest.warns(cymf.ConvergenceWarning) as warned:
        model.fit(train, validation=test, callback=interrupt)
    validation = model.history_["validation_rmse"]
    best = int(np.argmin(validation)) + 1
    assert f"iteration {best} of" in str(warned[0].message)
    assert model.rmse(test) == pytest.approx(min(validation), rel=1e-10)


@by_every_estimator
def test_fit_works_in_threads_where_signals_are_not_its_business(estimator):
    models = [estimator(3, max_iter=3) for _ in range(3)]
    ratings = star_ratings()
    threads = [threading.Thread(target=model.fit, args=(ratings,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({bits_of(model) for model in models}) == 1


@by_every_estimator
def test_progress_is_shown_when_asked(estimator, capsys):
    estimator(2, max_iter=3, verbose=True).fit(star_ratings())
    shown = capsys.readouterr().err
    assert estimator.__name__ in shown
    assert "3/3" in shown
    estimator(2, max_iter=3).fit(star_ratings())
    assert capsys.readouterr().err == ""


# ---- warm start ----------------------------------------------------------------------------------


@by_every_estimator
def test_a_fitted_model_is_a_start(estimator):
    ratings = star_ratings()
    first = cymf.ALS(4, max_iter=3, dtype="float64").fit(ratings)
    small = {"learning_rate": 1e-12, "schedule": "constant"}
    parameters = small if estimator is cymf.SGD else {}
    if estimator is cymf.GradientDescent:
        parameters = {"step": "fixed", "learning_rate": 1e-12}
    model = estimator(4, max_iter=1, dtype="float64", **parameters).fit(ratings, init=first)
    if estimator is cymf.ALS:  # the fourth iteration
        more = cymf.ALS(4, max_iter=4, tol=0, dtype="float64").fit(ratings)
        assert model.user_factors_.tobytes() == more.user_factors_.tobytes()
        assert model.item_bias_.tobytes() == more.item_bias_.tobytes()
    else:
        np.testing.assert_allclose(model.user_factors_, first.user_factors_, atol=1e-9)
        np.testing.assert_allclose(model.item_factors_, first.item_factors_, atol=1e-9)
        np.testing.assert_allclose(model.user_bias_, first.user_bias_, atol=1e-9)
        np.testing.assert_allclose(model.item_bias_, first.item_bias_, atol=1e-9)


@by_every_estimator
def test_a_start_finds_its_rows_by_id(estimator):
    """Users in another order, one gone, one new: the rows that are known are taken over."""
    first = cymf.ALS(3, max_iter=3, dtype="float64").fit(
        np.array([["ann", "tea"], ["bob", "rum"], ["cy", "gin"], ["ann", "gin"]]),
        [5.0, 3.0, 1.0, 2.0],
    )
    pairs = np.array([["dan", "gin"], ["cy", "tea"], ["ann", "gin"], ["ann", "ale"]])
    model = cymf.GradientDescent(
        3, step="fixed", learning_rate=1e-12, max_iter=1, dtype="float64"
    ).fit(pairs, [4.0, 2.0, 5.0, 3.0], init=first)  # fmt: skip
    assert model.predict("cy", "tea") - model.global_mean_ == pytest.approx(
        first.predict("cy", "tea") - first.global_mean_, abs=1e-9
    )
    warm = estimator(3, max_iter=1).fit(pairs, [4.0, 2.0, 5.0, 3.0], init=first)
    assert np.isfinite(warm.predict(pairs)).all()


@by_every_estimator
def test_a_start_must_fit(estimator):
    ratings = star_ratings()
    model = estimator(4, max_iter=1)
    fitted = cymf.ALS(3, max_iter=1).fit(ratings)
    with pytest.raises(ValueError, match=r"3 factors.*n_factors=4"):
        model.fit(ratings, init=fitted)
    with pytest.raises(ValueError, match=r"\(30, 4\).*\(40, 4\)"):
        model.fit(ratings, init=(np.ones((30, 4)), np.ones((40, 4))))
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.fit(ratings, init=(np.full((40, 4), np.nan), np.ones((30, 4))))
    with pytest.raises(TypeError, match=r"init is a str.*fitted model"):
        model.fit(ratings, init="random")
    with pytest.raises(cymf.NotFittedError):
        model.fit(ratings, init=estimator(4))


@by_every_estimator
def test_the_start_is_not_changed(estimator):
    ratings = star_ratings()
    users, items = np.full((40, 4), 0.1), np.full((30, 4), 0.2)
    estimator(4, max_iter=2, dtype="float64").fit(ratings, init=(users, items))
    assert (users == 0.1).all()
    assert (items == 0.2).all()


# ---- the scikit-learn protocol, pickles ----------------------------------------------------------


@by_every_estimator
def test_clone_and_repr_make_the_same_model(estimator):
    clone = pytest.importorskip("sklearn.base").clone

    ratings = star_ratings()
    model = estimator(5, reg=0.3, max_iter=3, random_state=7, dtype="float64").fit(ratings)
    for copy in (clone(model), eval(repr(model), vars(cymf).copy())):
        assert copy.get_params() == model.get_params()
        assert not hasattr(copy, "user_factors_")
        assert bits_of(copy.fit(ratings)) == bits_of(model)


@by_every_estimator
def test_a_pickle_is_the_same_model(estimator):
    ratings = star_ratings()
    model = estimator(5, max_iter=3).fit(ratings)
    copy = pickle.loads(pickle.dumps(model))
    assert bits_of(copy) == bits_of(model)
    assert repr(copy) == repr(model)
    np.testing.assert_array_equal(copy.recommend(3, 5)[0], model.recommend(3, 5)[0])
    unfitted = pickle.loads(pickle.dumps(estimator(5)))
    with pytest.raises(cymf.NotFittedError):
        _ = unfitted.user_factors_


@by_every_estimator
def test_a_generator_is_drawn_from_and_a_seed_is_repeated(estimator):
    ratings = star_ratings()
    model = estimator(3, max_iter=2, random_state=np.random.default_rng(5))
    first, second = bits_of(model.fit(ratings)), bits_of(model.fit(ratings))
    assert first != second
    assert bits_of(estimator(3, max_iter=2, random_state=5).fit(ratings)) == first


@by_every_estimator
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("n_factors", 0, ValueError),
        ("n_factors", 2.5, TypeError),
        ("reg", -1, ValueError),
        ("reg", math.nan, ValueError),
        ("reg_bias", "much", TypeError),
        ("reg_exponent", 3, ValueError),
        ("use_bias", 1, TypeError),
        ("max_iter", 0, ValueError),
        ("tol", -1e-3, ValueError),
        ("init_std", 0, ValueError),
        ("n_threads", 0, ValueError),
        ("n_threads", True, TypeError),
        ("dtype", "float16", ValueError),
        ("dtype", None, ValueError),
        ("random_state", -1, ValueError),
        ("verbose", "yes", TypeError),
        ("patience", 0, ValueError),
    ],
)
def test_a_bad_parameter_is_named_with_what_was_given(estimator, name, value, error):
    model = estimator(**{name: value})  # stored as given, checked by fit
    with pytest.raises(error, match=rf"{name}={value!r}".replace("(", r"\(")):
        model.fit(star_ratings(), validation=star_ratings())
    assert not hasattr(model, "user_factors_")


@pytest.mark.parametrize(
    "model",
    [
        cymf.ALS(solver="qr"),
        cymf.SGD(schedule="cosine"),
        cymf.SGD(on_divergence="ignore"),
        cymf.SGD(learning_rate=0),
        cymf.SGD(decay=1.5),
        cymf.GradientDescent(step="newton"),
        cymf.GradientDescent(learning_rate=-1),
        cymf.ALS(tol_abs=-1),
    ],
    ids=repr,
)
def test_a_bad_choice_says_what_there_is(model):
    with pytest.raises(ValueError, match="expected"):
        model.fit(star_ratings())


# ---- at the edges --------------------------------------------------------------------------------


@by_every_estimator
def test_the_warning_of_an_interruption_points_at_the_callers_line(estimator):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.warns(cymf.ConvergenceWarning) as warned:
        estimator(3).fit(star_ratings(), callback=interrupt)
    assert [warning.filename for warning in warned] == [__file__]


def test_ctrl_c_after_the_last_iteration_is_told():
    loop = TrainingLoop("SGD", 1, None, None, False, size=TrainingSize((1, 1), 1, 1))

    def solver(finished):
        finished(False)
        signal.raise_signal(signal.SIGINT)

    with pytest.warns(cymf.ConvergenceWarning, match="iteration 1 of at most 1"):
        loop.drive(solver, lambda: (math.nan, 1.0, math.nan), factors=None)
    assert loop.stop_reason == "interrupted"


@by_every_estimator
def test_a_start_without_ratings_is_random_rather_than_zero(estimator):
    """Where a user's and an item's factors are both zero, so is every gradient: nothing would be learnt."""
    first = np.full((6, 5), np.nan)
    first[:3, :3] = [[1, 2, 3], [3, 1, 2], [2, 3, 1]]
    second = np.full((6, 5), np.nan)
    second[4, 4] = 5.0
    own = {"learning_rate": 0.1, "schedule": "constant"} if estimator is cymf.SGD else {}
    model = estimator(3, reg=0.001, use_bias=False, max_iter=100, init_std=0.1, **own)
    old = cymf.ALS(3, use_bias=False).fit(first)
    assert model.fit(second, init=old).predict(4, 4) == pytest.approx(5, abs=0.05)


@by_every_estimator
def test_a_start_of_row_numbers_serves_integer_ids(estimator):
    """As everywhere: the ids of a matrix are its row numbers, but bare rows are nobody's ids."""
    rows = star_ratings(density=0.5)
    pairs = cymf.Ratings.from_triplets(rows.users, rows.items, rows.values)
    model = estimator(3, max_iter=1)
    by_number, by_id = model.fit(rows).user_factors_, model.fit(rows, init=model)
    assert np.array_equal(by_number, estimator(3, max_iter=1).fit(rows).user_factors_)
    started = estimator(3, max_iter=1).fit(pairs, init=by_id)
    expected = estimator(3, max_iter=1).fit(rows, init=by_id)
    known = np.flatnonzero(rows.user_counts)
    assert np.allclose(started.user_factors_, expected.user_factors_[known], atol=0.05)
    with pytest.raises(ValueError, match="trained with user ids"):
        estimator(3, max_iter=1).fit(rows, init=started)


@by_every_estimator
def test_a_validation_tuple_is_a_pair(estimator):
    with pytest.raises(ValueError, match=r"tuple of 3; expected .* a pair"):
        estimator(3).fit(star_ratings(), validation=([[0, 0]], [1.0], [1.0]))


@by_every_estimator
@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e25), ("float64", 1e200)])
def test_ratings_whose_squares_overflow_are_refused(estimator, dtype, size):
    with pytest.raises(ValueError, match=f"too large: their squares do not fit in {dtype}"):
        estimator(2, dtype=dtype).fit([[size, -size], [1, 2]])


def test_weights_beside_a_table_name_the_column_they_could_be():
    table = pytest.importorskip("pandas").DataFrame({"user": [1], "item": [2], "rating": [3.0]})
    with pytest.raises(ValueError, match=r"from_table\(X, weight="):
        cymf.ALS(2).fit(table, sample_weight=[1.0])


@pytest.mark.parametrize("nothing", [None, "u.data"])
def test_fit_says_what_it_takes(nothing):
    with pytest.raises(TypeError, match=r"expected Ratings, a SciPy sparse matrix"):
        cymf.ALS().fit(nothing)


def test_a_callback_must_be_callable():
    with pytest.raises(TypeError, match="callback is a int"):
        cymf.ALS(2).fit(np.ones((3, 3)), callback=3)


# ---- what a loop measures ------------------------------------------------------------------------


def test_a_score_is_better_when_it_is_higher():
    factors = Factors(1, 1, 1, False, np.dtype(np.float64))
    scores = iter([0.1, 0.4, 0.3, 0.2, 0.9])
    seen = []
    loop = TrainingLoop(
        "Model", 5, 2, seen.append, False, ("objective", "validation_score"),
        size=TrainingSize((1, 1), 1, 1),
    )  # fmt: skip

    def step(iteration: int) -> bool:
        factors.flat[:] = iteration
        return False

    loop.run(step, lambda: (math.nan, next(scores)), factors)
    assert loop.stop_reason == "patience"
    assert set(loop.history) == {"objective", "validation_score", "seconds"}
    assert loop.history["validation_score"] == [0.1, 0.4, 0.3, 0.2]
    assert [record.validation_score for record in seen] == loop.history["validation_score"]
    assert factors.flat[0] == 2  # the best iterate
    assert all(math.isnan(record.validation_rmse) for record in seen)
