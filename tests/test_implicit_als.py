"""ImplicitALS: the objective over all cells, exact rows, all solvers, stopping, threads."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import reference_implicit as twin
from fitted_models import ThreadsEvenForLittle

import cymf
from cymf._implicit_problem import ImplicitProblem
from cymf._implicit_settings import Settings
from cymf._parallel import Workers

in_both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])
by_every_solver = pytest.mark.parametrize("solver", ["cholesky", "cg", "subspace"])
in_both_weightings = pytest.mark.parametrize("weighting", ["hu", "rendle"])
with_or_without_bias = pytest.mark.parametrize("use_bias", [False, True])


def strengths(n_users=30, n_items=24, density=0.25, seed=0, disliked=True):
    """A dense matrix, NaN where nothing happened; the last user and the first item have nothing."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(1, 6, (n_users, n_items)).astype(float)
    if disliked:
        dense[rng.random(dense.shape) < 0.1] = -2
        dense[rng.random(dense.shape) < 0.05] = 0
    dense[rng.random(dense.shape) >= density] = np.nan
    dense[-1] = np.nan
    dense[:, 0] = np.nan
    return dense


def cells_of(model, dense, weights=None):
    return twin.cells(
        dense,
        weighting=model.weighting,
        confidence=model.confidence,
        alpha=model.alpha,
        epsilon=model.epsilon,
        unobserved_weight=model.unobserved_weight,
        popularity_exponent=model.popularity_exponent,
        weights=weights,
    )


def learnt(model):
    users, items = model.user_factors_.astype(float), model.item_factors_.astype(float)
    if model.user_bias_ is None:
        return twin.Model(users, items, np.zeros(len(users)), np.zeros(len(items)))
    return twin.Model(users, items, model.user_bias_.astype(float), model.item_bias_.astype(float))


def reg_bias_of(model):
    return model.reg if model.reg_bias is None else model.reg_bias


def started(model, dense):
    """What the model's fit starts from."""
    settings = Settings.of(model)
    ratings = cymf.Ratings.from_matrix(dense)
    with Workers(1) as workers:
        problem = ImplicitProblem(ratings, settings.model, settings.dtype, workers)
        users, items, user_bias, item_bias = settings.start(problem, None).trimmed()
    if user_bias is None:
        user_bias, item_bias = np.zeros(len(users)), np.zeros(len(items))
    return twin.Model(*(a.astype(float) for a in (users, items, user_bias, item_bias)))


# ---- the objective, and what the rows are ----------------------------------------------------------


@in_both_weightings
@with_or_without_bias
@pytest.mark.parametrize("exponent", [0.0, 0.7])
@pytest.mark.parametrize("confidence", ["linear", "log", "given"])
def test_the_objective_is_the_sum_over_all_cells(weighting, use_bias, exponent, confidence):
    dense = strengths()
    model = cymf.ImplicitALS(
        5, weighting=weighting, use_bias=use_bias, popularity_exponent=exponent, confidence=confidence, alpha=2.5,
        epsilon=0.5, unobserved_weight=0.4, reg=0.1, reg_bias=0.3, reg_exponent=0.5, max_iter=3, dtype="float64",
    ).fit(dense)  # fmt: skip
    expected = twin.objective(cells_of(model, dense), learnt(model), 0.1, 0.3, 0.5)
    assert model.history_["objective"][-1] == pytest.approx(expected, rel=1e-12)


@in_both_weightings
@with_or_without_bias
@pytest.mark.parametrize("n_factors", [1, 3, 8, 15, 21])
@pytest.mark.parametrize("exponent", [0.0, 0.6])
def test_sweeps_are_the_slow_twins(weighting, use_bias, n_factors, exponent):
    """Scores are compared: factors stand in another basis."""
    dense = strengths()
    weights = np.random.default_rng(1).uniform(0.5, 2, np.count_nonzero(~np.isnan(dense)))
    model = cymf.ImplicitALS(
        n_factors, weighting=weighting, use_bias=use_bias, popularity_exponent=exponent, alpha=1.5,
        unobserved_weight=0.7, reg=0.05, reg_bias=0.2, reg_exponent=1.0, max_iter=3, dtype="float64",
        solver="cholesky",
    )  # fmt: skip
    expected = started(model, dense)
    ratings = cymf.Ratings.from_matrix(dense, weights=weights)
    model.fit(ratings)
    full = np.zeros(dense.shape)
    full[ratings.users, ratings.items] = ratings.weights
    cells = cells_of(model, dense, full)
    for _ in range(3):
        expected = twin.sweep(cells, expected, 0.05, 0.2 if use_bias else None, 1.0)
    np.testing.assert_allclose(learnt(model).scores, expected.scores, atol=1e-9)
    assert not model.user_factors_[-1].any()
    assert not model.item_factors_[0].any()


@in_both_types
@by_every_solver
@in_both_weightings
@with_or_without_bias
def test_the_objective_never_rises(dtype, solver, weighting, use_bias):
    dense = strengths(80, 60, density=0.4)
    model = cymf.ImplicitALS(
        12, weighting=weighting, use_bias=use_bias, solver=solver, dtype=dtype, reg=0.02, alpha=3.0,
        unobserved_weight=0.5, popularity_exponent=0.5, max_iter=12, block_size=4, cg_steps=2,
    ).fit(dense)  # fmt: skip
    values = model.history_["objective"]
    rounding = 1e-12 if dtype == "float64" else 2e-6
    assert all(after <= before * (1 + rounding) for before, after in pairwise(values))
    assert values[-1] < 0.9 * values[0]


@by_every_solver
@with_or_without_bias
def test_all_solvers_come_to_the_same_minimum(solver, use_bias):
    """Strong penalties leave one minimum (but for rotation), which inexact solvers reach as well."""
    dense = strengths(60, 50, density=0.5)
    model = cymf.ImplicitALS(
        8, use_bias=use_bias, solver=solver, dtype="float64", reg=0.6, alpha=2.0, max_iter=400, block_size=4,
    ).fit(dense)  # fmt: skip
    exact = cymf.ImplicitALS(
        8, use_bias=use_bias, solver="cholesky", dtype="float64", reg=0.6, alpha=2.0, max_iter=400
    ).fit(dense)
    np.testing.assert_allclose(learnt(model).scores, learnt(exact).scores, atol=1e-6)


@in_both_types
@in_both_weightings
def test_the_last_half_sweep_leaves_exact_users(dtype, weighting):
    dense = strengths(50, 90, density=0.4)
    model = cymf.ImplicitALS(
        16, weighting=weighting, dtype=dtype, reg=0.01, alpha=10.0, solver="cholesky"
    ).fit(dense)
    exact = twin.half_sweep(cells_of(model, dense), learnt(model), 0.01, None, 1.0)
    tolerance = 1e-9 if dtype == "float64" else 2e-4
    size = np.abs(exact.users).max()
    np.testing.assert_allclose(model.user_factors_, exact.users, atol=tolerance * size)


def test_confidences_equal_to_the_unobserved_weight():
    """Hu's convention with c = v: an observed cell differs by its target alone, and has no square root to take."""
    dense = strengths(disliked=False)
    dense[~np.isnan(dense)] = 1
    model = cymf.ImplicitALS(
        6, confidence="given", alpha=1.0, unobserved_weight=1.0, reg=0.1, max_iter=2, dtype="float64",
        solver="cholesky",
    )  # fmt: skip
    expected = started(model, dense)
    model.fit(dense)
    for _ in range(2):
        expected = twin.sweep(cells_of(model, dense), expected, 0.1, None, 1.0)
    np.testing.assert_allclose(learnt(model).scores, expected.scores, atol=1e-10)


@by_every_solver
def test_confidences_below_the_unobserved_weight(solver):
    dense = strengths(disliked=True)
    model = cymf.ImplicitALS(
        6, confidence="given", alpha=0.2, unobserved_weight=2.0, reg=0.1, max_iter=400, dtype="float64",
        solver=solver, block_size=3,
    ).fit(dense)  # fmt: skip
    exact = twin.half_sweep(cells_of(model, dense), learnt(model), 0.1, None, 1.0)
    np.testing.assert_allclose(model.user_factors_, exact.users, atol=1e-6)
    assert np.isfinite(model.history_["objective"]).all()


def test_empty_rows_change_nothing():
    dense = strengths()
    wider = np.full((dense.shape[0] + 3, dense.shape[1] + 5), np.nan)
    wider[: dense.shape[0], : dense.shape[1]] = dense
    parameters = {
        "n_factors": 4,
        "popularity_exponent": 0.5,
        "use_bias": True,
        "dtype": "float64",
        "max_iter": 100,
        "reg": 0.1,
    }
    some = cymf.ImplicitALS(**parameters).fit(dense)
    more = cymf.ImplicitALS(**parameters).fit(wider)
    assert more.history_["objective"][-1] == pytest.approx(some.history_["objective"][-1], rel=1e-6)


# ---- nothing penalized -----------------------------------------------------------------------------


@in_both_types
@by_every_solver
@with_or_without_bias
def test_no_penalty_and_more_factors_than_rank(dtype, solver, use_bias):
    """A checkerboard has rank 2: most directions are empty, and the model must still reproduce it."""
    n = 20
    board = np.where((np.add.outer(np.arange(n), np.arange(n)) % 2) == 0, 1.0, np.nan)
    model = cymf.ImplicitALS(
        32, reg=0.0, solver=solver, use_bias=use_bias, dtype=dtype, alpha=1.0, max_iter=10
    ).fit(board)
    scores = learnt(model).scores
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, np.nan_to_num(board), atol=2e-3)


def test_nothing_to_hold_the_factors_is_refused():
    with pytest.raises(ValueError, match="reg and unobserved_weight are both 0"):
        cymf.ImplicitALS(2, reg=0, unobserved_weight=0).fit(strengths())
    with pytest.raises(ValueError, match="both > 0 or both 0"):
        cymf.ImplicitALS(2, reg=0, reg_bias=1, use_bias=True).fit(strengths())


@by_every_solver
def test_without_unobserved_weight_only_observed_cells_count(solver):
    dense = strengths()
    model = cymf.ImplicitALS(
        4, unobserved_weight=0.0, reg=0.1, solver=solver, dtype="float64", max_iter=300, alpha=1.0
    ).fit(dense)
    exact = twin.half_sweep(cells_of(model, dense), learnt(model), 0.1, None, 1.0)
    np.testing.assert_allclose(model.user_factors_, exact.users, atol=1e-7)


# ---- threads, seeds, starts ------------------------------------------------------------------------


def bits_of(model):
    arrays = (model.user_factors_, model.item_factors_, model.user_bias_, model.item_bias_)
    values = (*arrays, model.history_["objective"])
    return b"".join(np.asarray(a).tobytes() for a in values if a is not None)


@in_both_types
@by_every_solver
@with_or_without_bias
def test_threads_change_no_bit(monkeypatch, dtype, solver, use_bias):
    threads = ThreadsEvenForLittle(monkeypatch)
    dense = strengths(3000, 40, density=0.2)
    expected = None
    for n_threads in (1, 2, 3, 7):
        model = cymf.ImplicitALS(
            13,
            solver=solver,
            n_threads=n_threads,
            dtype=dtype,
            max_iter=2,
            use_bias=use_bias,
            block_size=8,
        ).fit(dense)
        assert (threads.calls > 0) == (n_threads > 1)
        expected = expected or bits_of(model)
        assert bits_of(model) == expected


def test_starts_from_a_model_or_arrays():
    dense = strengths()
    parameters = {"n_factors": 5, "dtype": "float64", "alpha": 3.0}
    long = cymf.ImplicitALS(max_iter=6, **parameters).fit(dense)
    short = cymf.ImplicitALS(max_iter=4, **parameters).fit(dense)
    for start in (short, (short.user_factors_, short.item_factors_)):
        again = cymf.ImplicitALS(max_iter=2, **parameters).fit(dense, init=start)
        np.testing.assert_allclose(learnt(again).scores, learnt(long).scores, atol=1e-10)


def test_random_starts():
    dense = strengths(400, 300, density=0.05)
    for distribution in ("normal", "uniform"):
        model = cymf.ImplicitALS(
            25, init_std=0.5, init_distribution=distribution, dtype="float64", random_state=3
        )
        users = started(model, dense).users[:-1]
        assert np.sqrt(np.mean(users**2)) == pytest.approx(0.1, rel=0.05)
        assert (users.min() >= 0) == (distribution == "uniform")
        assert np.array_equal(users, started(model, dense).users[:-1])


def test_it_stops_when_the_objective_falls_no_more():
    dense = strengths()
    all_values = cymf.ImplicitALS(4, max_iter=40, dtype="float64").fit(dense).history_["objective"]
    falls = [(a - b) / b for a, b in pairwise(all_values)]
    tol = falls[9] * 1.0001
    expected = next(t for t, fall in enumerate(falls) if fall <= tol) + 2
    model = cymf.ImplicitALS(4, max_iter=40, tol=tol, dtype="float64").fit(dense)
    assert (model.n_iter_, model.stop_reason_) == (expected, "tol")
    assert model.history_["objective"] == all_values[:expected]


def test_history_without_objective():
    model = cymf.ImplicitALS(3, track_objective=False, max_iter=2).fit(strengths())
    assert set(model.history_) == {"objective", "validation_score", "seconds"}
    assert all(map(math.isnan, model.history_["objective"]))


# ---- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"weighting": "both"}, "weighting='both' is unknown"),
        ({"confidence": "exp"}, "confidence='exp' is unknown"),
        ({"solver": "lapack"}, "solver='lapack' is unknown"),
        ({"unobserved_weight": -1}, "unobserved_weight=-1"),
        ({"epsilon": 0}, "epsilon=0"),
        ({"popularity_exponent": 3}, "popularity_exponent=3"),
        ({"init_distribution": "cauchy"}, "init_distribution='cauchy'"),
        ({"patience": 3}, "patience=3 needs a validation set"),
    ],
)
def test_parameters_are_checked(parameters, message):
    with pytest.raises(ValueError, match=message):
        cymf.ImplicitALS(**parameters).fit(strengths())


def test_what_overflows_raises():
    dense = strengths()
    dense[3, 4] = 1e30
    with pytest.raises(ValueError, match="too large for float32"):
        cymf.ImplicitALS(2, confidence="linear", alpha=40.0).fit(dense)
    model = cymf.ImplicitALS(2, confidence="log").fit(dense)
    assert np.isfinite(model.user_factors_).all()


def test_saved_and_loaded(tmp_path):
    model = cymf.ImplicitALS(4, use_bias=True).fit(strengths())
    model.save(tmp_path / "model")
    again = cymf.load(tmp_path / "model")
    assert again.get_params() == model.get_params()
    assert bits_of(again) == bits_of(model)


# ---- fold-in ---------------------------------------------------------------------------------------


@in_both_types
@in_both_weightings
@with_or_without_bias
@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_folding_in_a_training_user_gives_its_row(dtype, weighting, use_bias, exponent):
    ratings = cymf.Ratings.from_matrix(strengths(60, 50))
    model = cymf.ImplicitALS(
        9, weighting=weighting, use_bias=use_bias, popularity_exponent=exponent, dtype=dtype, solver="cholesky",
        reg=0.01, alpha=3.0,
    ).fit(ratings)  # fmt: skip
    tolerance = {"rtol": 0, "atol": 1e-9 if dtype == "float64" else 2e-4}
    factors, bias = model.user_factors_for(ratings, return_bias=True)
    np.testing.assert_allclose(factors, model.user_factors_, **tolerance)
    if use_bias:
        np.testing.assert_allclose(bias, model.user_bias_, **tolerance)
    view = ratings.csr(dtype)
    for i in (0, 3, 17):
        cells = slice(view.indptr[i], view.indptr[i + 1])
        one, own = model.user_factors_for(
            view.indices[cells], view.values[cells], return_bias=True, by="index"
        )
        np.testing.assert_allclose(one, model.user_factors_[i], **tolerance)
        if use_bias:
            assert own == pytest.approx(model.user_bias_[i], abs=tolerance["atol"])


@in_both_weightings
@with_or_without_bias
def test_folded_in_items_are_the_slow_twins(weighting, use_bias):
    dense = strengths(60, 50)
    model = cymf.ImplicitALS(
        7, weighting=weighting, use_bias=use_bias, popularity_exponent=0.5, dtype="float64", reg=0.01, reg_bias=0.05,
    ).fit(dense)  # fmt: skip
    reg_bias = 0.05 if use_bias else None
    cells = cells_of(model, dense).transposed()
    expected = twin.half_sweep(cells, learnt(model).transposed(), 0.01, reg_bias, 1.0)
    factors, bias = model.item_factors_for(dense, return_bias=True)
    np.testing.assert_allclose(factors, expected.users, atol=1e-9)
    np.testing.assert_allclose(bias, expected.user_bias, atol=1e-9)
    users = np.flatnonzero(~np.isnan(dense[:, 4]))
    one = model.item_factors_for(users, dense[users, 4])
    np.testing.assert_allclose(one, expected.users[4], atol=1e-9)


def test_fold_in_by_id():
    rng = np.random.default_rng(0)
    users = [f"u{i}" for i in rng.integers(0, 30, 200)]
    items = [f"i{i}" for i in rng.integers(0, 20, 200)]
    ratings = cymf.Ratings.from_triplets(users, items, np.ones(200), duplicates="sum")
    model = cymf.ImplicitALS(4).fit(ratings)
    known = model.user_factors_for(["i3", "i5"])
    np.testing.assert_array_equal(model.user_factors_for(["i3", "new", "i5"]), known)
    assert not model.user_factors_for(["new"]).any()
    table = cymf.Ratings.from_triplets(["x", "x", "y"], ["i3", "i5", "new"], [1.0, 1.0, 1.0])
    np.testing.assert_allclose(model.user_factors_for(table), [known, np.zeros(4)], atol=1e-6)
    with pytest.raises(ValueError, match="given twice"):
        model.user_factors_for(["i3", "i3"])
    with pytest.raises(ValueError, match=r"strengths has shape \(1,\)"):
        model.user_factors_for(["i3", "i5"], [1.0])
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.user_factors_for(["i3"], [np.nan])
    with pytest.raises(ValueError, match="belong to a list of ids"):
        model.user_factors_for(table, [1.0])


def test_fold_in_knows_the_state_it_was_made_for():
    dense = strengths()
    model = cymf.ImplicitALS(4).fit(dense)
    before = model.user_factors_for([3, 5])
    model.fit(dense[:, ::-1].copy())
    assert not np.allclose(model.user_factors_for([3, 5]), before)
    with pytest.raises(ValueError, match="shape"):
        model.user_factors_for(np.full((2, 7), 1.0))
    with pytest.raises(cymf.NotFittedError):
        cymf.ImplicitALS().user_factors_for([1])


# ---- new ratings -----------------------------------------------------------------------------------


@with_or_without_bias
def test_partial_fit_solves_what_it_touches(use_bias):
    dense = strengths(40, 30, density=0.4)
    known = dense[:36, :28]
    model = cymf.ImplicitALS(
        5, use_bias=use_bias, dtype="float64", reg=0.05, alpha=2.0, popularity_exponent=0.3
    ).fit(known)
    before = learnt(model)
    new = np.full(dense.shape, np.nan)
    new[36:, :] = dense[36:, :]
    new[4, 27] = 3.0
    new[4, 29] = 3.0
    model.partial_fit(new, n_iter=2)
    after = learnt(model)
    everything = np.full(dense.shape, np.nan)
    everything[:36, :28] = known
    everything = np.where(np.isnan(new), everything, new)
    cells, reg_bias = cells_of(model, everything), 0.05 if use_bias else None
    touched = np.flatnonzero(~np.isnan(new).all(axis=1))
    expected = twin.half_sweep(cells, after, 0.05, reg_bias, 1.0)
    np.testing.assert_allclose(after.users[touched], expected.users[touched], atol=1e-9)
    untouched = np.setdiff1d(np.arange(36), touched)
    np.testing.assert_array_equal(after.users[untouched], before.users[untouched])
    same_items = np.flatnonzero(np.isnan(new).all(axis=0))[:-1]
    np.testing.assert_array_equal(after.items[same_items], before.items[same_items])
    assert after.items[29].any() == (~np.isnan(everything[:, 29])).any()
    assert model._fitted().ratings.nnz == np.count_nonzero(~np.isnan(everything))
    assert (model.n_iter_, len(model.history_["objective"])) == (15, 15)


def test_partial_fit_with_ids_and_refusals():
    users, items = ["a", "a", "b", "c"], ["x", "y", "x", "z"]
    model = cymf.ImplicitALS(3).fit(cymf.Ratings.from_triplets(users, items, np.ones(4)))
    model.partial_fit(cymf.Ratings.from_triplets(["d", "a"], ["y", "new"], np.ones(2)), n_iter=3)
    assert np.isfinite(model.predict("d", "new"))
    assert model.user_factors_.shape == (4, 3)
    state = model._state
    with pytest.raises(ValueError, match="the same parameters as then"):
        model.set_params(n_factors=4).partial_fit(cymf.Ratings.from_triplets(["d"], ["x"], [1.0]))
    assert model._state is state
    forgetful = cymf.ImplicitALS(3, store_ratings=False).fit(strengths())
    with pytest.raises(ValueError, match="keeps no training ratings"):
        forgetful.partial_fit(strengths())
    fresh = cymf.ImplicitALS(3).partial_fit(strengths())
    assert fresh.n_iter_ == 15


# ---- held-out interactions -------------------------------------------------------------------------


@with_or_without_bias
def test_validation_scores_are_those_of_evaluation(use_bias):
    rng = np.random.default_rng(0)
    dense = strengths(60, 40, density=0.5, disliked=False)
    held_out = np.where(rng.random(dense.shape) < 0.2, dense, np.nan)
    dense[~np.isnan(held_out)] = np.nan
    train, test = cymf.Ratings.from_matrix(dense), cymf.Ratings.from_matrix(held_out)
    seen = []
    model = cymf.ImplicitALS(6, use_bias=use_bias, validation_metric="recall@5", max_iter=4)
    model.fit(train, validation=test, callback=lambda record: seen.append(record.validation_score))
    report = cymf.evaluation.evaluate_ranking(model, test, metrics=("recall@5",))
    assert model.history_["validation_score"] == seen
    assert seen[-1] == pytest.approx(report["recall@5"], abs=1e-12)


def test_patience_keeps_the_best():
    dense = strengths(60, 40, density=0.5, disliked=False)
    held_out = np.where(np.random.default_rng(0).random(dense.shape) < 0.2, dense, np.nan)
    dense[~np.isnan(held_out)] = np.nan
    parameters = {"validation_metric": "ndcg@5", "reg": 1e-4, "alpha": 100.0}
    model = cymf.ImplicitALS(20, max_iter=60, patience=3, **parameters).fit(
        dense, validation=held_out
    )
    assert model.stop_reason_ == "patience"
    scores = model.history_["validation_score"]
    best = int(np.argmax(scores)) + 1
    assert len(scores) == best + 3
    short = cymf.ImplicitALS(20, max_iter=best, **parameters).fit(dense)
    np.testing.assert_array_equal(model.user_factors_, short.user_factors_)


def test_an_unknown_metric_is_refused_before_training():
    with pytest.raises(ValueError, match="'speed@3' is unknown"):
        cymf.ImplicitALS(2, validation_metric="speed@3").fit(
            strengths(), validation=strengths(seed=1)
        )
