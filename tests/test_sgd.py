"""SGD: every epoch against the slow twin, schedules, divergence, new ratings, the same bits."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
import reference
from fitted_models import (
    ThreadsEvenForLittle,
    bits_of,
    cells_of,
    factors_of,
    opened,
    penalty_of,
    star_ratings,
    trimmed,
)

import cymf
from cymf._epochs import Epochs, LearningRate
from cymf._estimator import FitSettings

in_both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])
with_or_without_bias = pytest.mark.parametrize("use_bias", [True, False])
SCHEDULES = ("constant", "inverse_scaling", "exponential", "adagrad", "adagrad_row")


def rate_of(model: cymf.SGD, epoch: int) -> float:
    """The documented learning rate of an epoch, counted from 0."""
    return {
        "constant": model.learning_rate,
        "inverse_scaling": model.learning_rate / (1 + epoch) ** model.decay,
        "exponential": model.learning_rate * (1 - model.decay) ** epoch,
    }.get(model.schedule, model.learning_rate)


def grid_order(epochs: Epochs, cells: reference.Cells, strata: np.ndarray) -> list[int]:
    """The ratings' positions in the order in which an epoch visits them, from the dealt grid."""
    grid = epochs._strata
    position = {pair: t for t, pair in enumerate(zip(cells.users, cells.items, strict=True))}
    order = []
    for diagonal in strata:
        for i in range(grid.n_stripes):
            j = (i + diagonal) % grid.n_stripes
            block = i * grid.n_stripes + j
            for s in range(grid.block_start[block], grid.block_start[block + 1]):
                user = grid.user_stripes.order[grid.user_stripes.start[i] + grid.users[s]]
                item = grid.item_stripes.order[grid.item_stripes.start[j] + grid.items[s]]
                order.append(position[user, item])
    return order


@with_or_without_bias
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("reg_exponent", [0.0, 0.5, 1.0])
def test_epochs_are_the_slow_twins(monkeypatch, schedule, use_bias, reg_exponent):
    """Three epochs over a grid of several stripes, the generator replayed from the same seed."""
    monkeypatch.setattr("cymf._strata._RATINGS_PER_BLOCK", 40)
    ratings = star_ratings(weights="integer")
    model = cymf.SGD(
        5, reg=0.1, reg_bias=0.02, reg_exponent=reg_exponent, use_bias=use_bias, schedule=schedule,
        decay=0.3, learning_rate=0.02, max_iter=3, random_state=11, dtype="float64",
    ).fit(ratings)  # fmt: skip
    cells, penalty = cells_of(ratings), penalty_of(model)
    generator = np.random.default_rng(11)
    with opened(cymf.SGD(**{**model.get_params(), "random_state": generator}), ratings) as (
        problem,
        start,
    ):
        expected = trimmed(problem, start)
        epochs = Epochs(problem, start, LearningRate.of(model), generator, back_off=False)
    assert epochs._strata.n_stripes > 2
    sums = reference.Factors(
        *(np.ones_like(a) for a in (expected.users, expected.items)),
        *(np.ones_like(a) for a in (expected.user_bias, expected.item_bias)),
    )
    for epoch in range(3):
        strata = generator.permutation(epochs._strata.n_stripes)
        order = grid_order(epochs, cells, strata)
        rate = rate_of(model, epoch)
        if schedule.startswith("adagrad"):
            expected, sums, errors = reference.adagrad_epoch(
                cells, expected, penalty, rate, order, use_bias, sums, schedule == "adagrad_row"
            )
        else:
            expected, errors = reference.sgd_epoch(cells, expected, penalty, rate, order, use_bias)
        train_rmse = np.sqrt(np.average(errors**2, weights=cells.weights))
        assert model.history_["train_rmse"][epoch] == pytest.approx(train_rmse, rel=1e-10)
    got = factors_of(model)
    for name in ("users", "items", "user_bias", "item_bias"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-11)


@in_both_types
@pytest.mark.parametrize("schedule", ["exponential", "adagrad", "adagrad_row"])
def test_threads_change_no_bit(monkeypatch, dtype, schedule):
    monkeypatch.setattr("cymf._strata._RATINGS_PER_BLOCK", 50)
    threads = ThreadsEvenForLittle(monkeypatch)
    ratings = star_ratings(150, 120, weights="integer")
    expected = None
    for n_threads in (1, 2, 3, 7):
        model = cymf.SGD(13, schedule=schedule, n_threads=n_threads, dtype=dtype, max_iter=4)
        bits = bits_of(model.fit(ratings, validation=star_ratings(150, 120, seed=1)))
        assert (threads.calls > 0) == (n_threads > 1)
        expected = expected or bits
        assert bits == expected


def test_threads_change_no_bit_where_they_are_used_by_themselves():
    ratings = star_ratings(400, 300, density=0.4)
    models = [cymf.SGD(16, n_threads=n, max_iter=2).fit(ratings) for n in (1, 2, 3, 7)]
    assert len({bits_of(model) for model in models}) == 1


def test_the_seed_decides_start_and_order():
    ratings = star_ratings()
    fits = [cymf.SGD(4, max_iter=2, random_state=seed).fit(ratings) for seed in (0, 0, 1)]
    assert bits_of(fits[0]) == bits_of(fits[1])
    assert bits_of(fits[0]) != bits_of(fits[2])


def test_every_epoch_lowers_the_errors_of_easy_data():
    model = cymf.SGD(4, reg=0.01, init_std=0.1, max_iter=50).fit(star_ratings(density=0.8))
    train = model.history_["train_rmse"]
    assert train[-1] < 0.6 * train[0]
    assert np.all(np.isnan(model.history_["objective"]))


def test_tol_is_the_relative_fall_of_the_training_rmse():
    ratings = star_ratings()
    parameters = {"n_factors": 4, "max_iter": 40, "dtype": "float64"}
    train = np.array(cymf.SGD(**parameters).fit(ratings).history_["train_rmse"])
    falls = (train[:-1] - train[1:]) / train[1:]
    tol = 1.001 * falls[20]
    expected = int(np.flatnonzero(falls <= tol)[0]) + 2
    assert cymf.SGD(**parameters, tol=tol).fit(ratings).n_iter_ == expected
    assert cymf.SGD(**parameters).fit(ratings).n_iter_ == 40


# ---- divergence ----------------------------------------------------------------------------------


@in_both_types
def test_divergence_raises_within_the_epoch_and_suggests_a_rate(dtype):
    ratings = star_ratings(density=0.8)
    model = cymf.SGD(8, learning_rate=3.0, schedule="constant", dtype=dtype)
    with pytest.raises(cymf.DivergenceError, match=r"epoch 1\b.*rate 3") as raised:
        model.fit(ratings)
    assert not hasattr(model, "user_factors_")  # no factors that are not numbers are handed out
    suggested = float(re.search(r"learning_rate=([0-9.e-]+)", str(raised.value)).group(1))
    assert suggested < 3.0
    model.set_params(learning_rate=suggested).fit(ratings)
    assert np.isfinite(model.user_factors_).all()
    before = bits_of(model)
    with pytest.raises(cymf.DivergenceError):
        model.set_params(learning_rate=50.0).fit(ratings)
    assert bits_of(model) == before


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_suggested_rate_works_for_ratings_of_any_scale(scale):
    ratings = star_ratings(density=0.8)
    scaled = cymf.Ratings.from_triplets(
        ratings.users, ratings.items, scale * ratings.values, shape=ratings.shape
    )
    model = cymf.SGD(8, learning_rate=10.0)
    with pytest.raises(cymf.DivergenceError) as raised:
        model.fit(scaled)
    suggested = float(re.search(r"learning_rate=([0-9.e-]+)", str(raised.value)).group(1))
    assert np.isfinite(model.set_params(learning_rate=suggested).fit(scaled).rmse(scaled))


@pytest.mark.parametrize("schedule", SCHEDULES[:3])
def test_back_off_halves_the_rate_until_training_works(schedule):
    ratings = star_ratings(density=0.8)
    model = cymf.SGD(8, learning_rate=3.0, schedule=schedule, on_divergence="back_off", max_iter=10)
    with pytest.warns(cymf.ConvergenceWarning, match="halved"):
        model.fit(ratings)
    assert model.learning_rate == 3.0  # parameters are the user's
    assert model.n_iter_ == 10
    assert model.history_["train_rmse"][-1] < model.history_["train_rmse"][0]


def test_back_off_changes_nothing_where_nothing_diverges():
    ratings = star_ratings()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models = [
            cymf.SGD(4, max_iter=3, on_divergence=what).fit(ratings)
            for what in ("raise", "back_off")
        ]
    assert bits_of(models[0]) == bits_of(models[1])


# ---- new ratings ---------------------------------------------------------------------------------

PAIRS = [["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["bob", "gin"], ["cy", "rum"]]
STARS = [5.0, 1.0, 4.0, 2.0, 3.0]


def fitted_to_pairs(**parameters) -> cymf.SGD:
    parameters = {"max_iter": 5, "init_std": 0.1, "dtype": "float64", **parameters}
    return cymf.SGD(3, **parameters).fit(PAIRS, STARS)


@with_or_without_bias
def test_partial_fit_of_a_known_pair_is_one_step(use_bias):
    """One new rating, one epoch: the slow twin's step, n counting old and new ratings together."""
    model = fitted_to_pairs(use_bias=use_bias, reg=0.3, reg_exponent=0.5, decay=0.1)
    before = factors_of(model)
    rate = model.learning_rate * (1 - model.decay) ** 4  # that of the last epoch
    model.partial_fit([["cy", "tea"]], [5.0], n_epochs=1)
    assert model.n_iter_ == 6
    after = factors_of(model)
    all_cells = cells_of(model._state.ratings)
    user, item = (
        int(ids.to_index([name])[0])
        for ids, name in ((model._state.user_ids, "cy"), (model._state.item_ids, "tea"))
    )
    t = int(np.flatnonzero((all_cells.users == user) & (all_cells.items == item))[0])
    expected, _ = reference.sgd_epoch(all_cells, before, penalty_of(model), rate, [t], use_bias)
    for name in ("users", "items", "user_bias", "item_bias"):
        np.testing.assert_allclose(getattr(after, name), getattr(expected, name), atol=1e-14)


def test_partial_fit_learns_new_users_and_items():
    model = fitted_to_pairs(schedule="constant")
    old = {pair: model.predict(*pair) for pair in map(tuple, PAIRS)}
    mean = model.global_mean_
    model.partial_fit([["dan", "tea"], ["ann", "ale"], ["dan", "ale"]], [1.0, 5.0, 2.0])
    assert model.user_factors_.shape == (4, 3)
    assert model.item_factors_.shape == (4, 3)
    assert model.global_mean_ == mean
    assert model.predict("cy", "rum") == old["cy", "rum"]  # neither was rated anew
    ids, scores = model.recommend("dan", 4)
    assert set(ids[:2]) == {"rum", "gin"}
    assert np.isnan(scores[2:]).all()
    errors = [abs(model.predict("dan", "tea") - 1.0)]
    for _ in range(5):
        model.partial_fit([["dan", "tea"]], [1.0], n_epochs=10)
        errors.append(abs(model.predict("dan", "tea") - 1.0))
    assert errors[-1] < 0.5 * errors[0]


def test_partial_fit_of_row_numbers_grows_the_matrix():
    matrix = np.array([[5.0, np.nan], [3.0, 1.0]])
    model = cymf.SGD(2, max_iter=3).fit(matrix)
    new = np.full((4, 3), np.nan)
    new[3, 2] = 4.0
    model.partial_fit(new)
    assert model.user_factors_.shape == (4, 2)
    assert model.item_factors_.shape == (3, 2)
    assert not model.user_factors_[2].any()  # still without ratings
    assert np.isfinite(model.predict([0, 3, 2], [2, 2, 0])).all()


def test_a_rating_given_again_takes_its_new_value():
    model = fitted_to_pairs(schedule="constant", reg=0.01)
    for _ in range(20):
        model.partial_fit([["ann", "tea"]], [1.0], n_epochs=20)
    assert model.predict("ann", "tea") < 2
    assert model._state.ratings.nnz == len(PAIRS)
    assert model._state.user_counts.sum() == len(PAIRS)


def test_partial_fit_of_an_unfitted_model_is_fit():
    ratings = star_ratings()
    one = cymf.SGD(4, max_iter=3).fit(ratings)
    other = cymf.SGD(4, max_iter=100).partial_fit(ratings, n_epochs=3)
    assert bits_of(one) == bits_of(other)


@pytest.mark.parametrize("schedule", ["adagrad", "adagrad_row"])
def test_partial_fit_goes_on_with_adagrads_sums(schedule):
    """Sums only grow; rows that are not rated anew keep theirs."""
    model = fitted_to_pairs(schedule=schedule, learning_rate=0.1)
    before = model._state.extra["user_gradient_sums"]
    model.partial_fit([["ann", "gin"], ["eve", "gin"]], [3.0, 4.0])
    after = model._state.extra["user_gradient_sums"]
    assert after.shape[0] == before.shape[0] + 1
    assert np.all(after[: len(before)] >= before)
    assert np.array_equal(after[2], before[2])  # cy rated nothing new
    assert np.any(after[0] > before[0])


def test_partial_fit_that_diverges_leaves_the_model_as_it_was():
    model = fitted_to_pairs(schedule="constant")
    before = bits_of(model)
    with pytest.raises(cymf.DivergenceError):
        model.set_params(learning_rate=1e6).partial_fit(PAIRS, STARS, n_epochs=50)
    assert bits_of(model) == before
    assert FitSettings.of(model, 0.005).n_factors == 3


def test_partial_fit_needs_the_same_model():
    model = fitted_to_pairs()
    with pytest.raises(ValueError, match="n_factors=3"):
        model.set_params(n_factors=4).partial_fit(PAIRS, STARS)
    model.set_params(n_factors=3)
    with pytest.raises(ValueError, match="have none"):
        model.partial_fit(np.ones((2, 2)))
    by_row_number = cymf.SGD(2, max_iter=1).fit(np.ones((2, 2)))
    with pytest.raises(ValueError, match="row numbers"):
        by_row_number.partial_fit(PAIRS, STARS)


@with_or_without_bias
@pytest.mark.parametrize(
    "matrix",
    [np.array([[4.0]]), np.full((4, 3), 3.0), np.zeros((3, 3)), np.array([[1.0, 2.0, 3.0]])],
    ids=["one", "all equal", "all zero", "one user"],
)
def test_little_data_is_learnt(matrix, use_bias):
    for schedule in SCHEDULES:
        model = cymf.SGD(5, use_bias=use_bias, schedule=schedule, max_iter=3).fit(matrix)
        assert np.isfinite(model.predict(0, 0))
        assert np.isfinite(model.user_factors_).all()


def test_back_off_leaves_a_state_that_an_epochs_last_steps_have_blown_up():
    """Of few ratings, an epoch can end far off although no error in it was: going back to its end helps nobody."""
    pairs = np.array([["a", "x"], ["b", "y"], ["a", "y"], ["b", "x"]])
    model = cymf.SGD(4, max_iter=20, learning_rate=50.0, on_divergence="back_off")
    with pytest.warns(cymf.ConvergenceWarning) as warned:
        model.fit(pairs, [1.0, 2.0, 3.0, 4.0])
    assert any("the start of training" in str(warning.message) for warning in warned)
    assert all(warning.filename == __file__ for warning in warned)
    assert len(warned) < 20
    assert model.rmse(pairs, [1.0, 2.0, 3.0, 4.0]) < 2


def test_partial_fit_learns_a_pair_of_rows_that_had_no_ratings():
    first = np.full((6, 5), np.nan)
    first[:3, :3] = [[1, 2, 3], [3, 1, 2], [2, 3, 1]]
    second = np.full((6, 5), np.nan)
    second[4, 4] = 5.0
    model = cymf.SGD(
        3, use_bias=False, reg=0.001, init_std=0.1, learning_rate=0.1, schedule="constant"
    )
    model.fit(first).partial_fit(second, n_epochs=100)
    assert model.predict(4, 4) == pytest.approx(5, abs=0.05)


def test_without_biases_the_default_start_is_not_the_saddle():
    table = np.array([[5, 4, 2, 3, 2], [np.nan, 5, 1, 4, np.nan], [4, np.nan, 1, 5, np.nan]])
    model = cymf.SGD(3, use_bias=False, schedule="constant", max_iter=200).fit(table)
    assert model.history_["train_rmse"][-1] < 0.5
    assert 1 < model.predict(1, 0) < 7


def test_partial_fit_keeps_the_learning_rate_of_the_last_epoch():
    model = cymf.SGD(2, decay=0.5, max_iter=3, random_state=0).fit(PAIRS, STARS)
    steps = []
    for _ in range(2):
        before = model.predict("ann", "tea")
        model.partial_fit([["ann", "tea"]], [5.0], n_epochs=1)
        steps.append(model.predict("ann", "tea") - before)
    assert steps[0] > 0
    assert steps[1] == pytest.approx(steps[0], rel=0.05)


@pytest.mark.parametrize(("scale", "weight"), [(1.0, 1e6), (1e150, 1.0)])
def test_the_suggested_rate_helps_for_ratings_and_weights_of_any_size(scale, weight):
    stars = np.asarray(STARS, float) * scale
    model = cymf.SGD(2, dtype="float64", learning_rate=50.0 * scale, init_std=0.1)
    with pytest.raises(cymf.DivergenceError) as error:
        model.fit(PAIRS, stars, sample_weight=np.full(len(stars), weight))
    suggested = float(re.search(r"learning_rate=([\d.e+-]+)", str(error.value))[1])
    assert suggested > 0
    model.set_params(learning_rate=suggested)
    assert np.isfinite(
        model.fit(PAIRS, stars, sample_weight=np.full(len(stars), weight)).user_factors_
    ).all()


def test_partial_fit_takes_a_rate_of_its_own():
    slow, fast = (cymf.SGD(2, max_iter=20).fit(PAIRS, STARS) for _ in range(2))
    slow.partial_fit([["new", "tea"]], [1.0], n_epochs=5)
    fast.partial_fit([["new", "tea"]], [1.0], n_epochs=5, learning_rate=0.1)
    assert fast.predict("new", "tea") < slow.predict("new", "tea")
    with pytest.raises(ValueError, match="learning_rate=-1"):
        fast.partial_fit([["new", "tea"]], [1.0], learning_rate=-1)
