"""ALS: exact half-sweeps, stopping rule, shortest solutions, the same bits for any threads."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

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
from hypothesis import given, settings
from hypothesis import strategies as st

import cymf
from cymf._factors import Factors, predicted_change
from cymf._kernels import _als_lapack
from cymf._parallel import Workers
from cymf.als import RowSolver

in_both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])
by_every_solver = pytest.mark.parametrize("solver", ["cholesky", "lapack"])
with_or_without_bias = pytest.mark.parametrize("use_bias", [True, False])


@in_both_types
@pytest.mark.parametrize("solver", ["cholesky", "lapack", "cg", "subspace"])
@with_or_without_bias
@pytest.mark.parametrize("reg_exponent", [0.0, 0.5, 1.0])
def test_half_sweeps_never_raise_the_objective(dtype, solver, use_bias, reg_exponent):
    ratings = star_ratings(weights="integer")
    model = cymf.ALS(
        12, reg=0.05, reg_bias=0.2, reg_exponent=reg_exponent, use_bias=use_bias, dtype=dtype
    )
    cells, penalty = cells_of(ratings), penalty_of(model)
    rounding = 1e-12 if dtype == "float64" else 1e-5
    with opened(model, ratings) as (problem, factors):
        rows = RowSolver(problem, solver)
        before = reference.objective(cells, trimmed(problem, factors), penalty)
        for _ in range(8):
            for half_sweep in (rows.solve_items, rows.solve_users):
                half_sweep(factors)
                after = reference.objective(cells, trimmed(problem, factors), penalty)
                assert after <= before * (1 + rounding)
                before = after


@by_every_solver
@with_or_without_bias
def test_sweeps_are_the_slow_twins(solver, use_bias):
    ratings = star_ratings(weights="integer")
    model = cymf.ALS(
        5, reg=0.3, reg_exponent=0.5, use_bias=use_bias, solver=solver, dtype="float64",
        max_iter=3, tol=0,
    ).fit(ratings)  # fmt: skip
    with opened(model, ratings) as (problem, start):
        expected = trimmed(problem, start)
    cells = cells_of(ratings)
    for _ in range(3):  # items first, from the users
        transposed = reference.als_half_sweep(
            cells.transposed(), expected.transposed(), penalty_of(model), use_bias
        )
        expected = reference.als_half_sweep(
            cells, transposed.transposed(), penalty_of(model), use_bias
        )
    got = factors_of(model)
    assert got.mean == pytest.approx(cells.mean if use_bias else 0, rel=1e-14)
    for name in ("users", "items", "user_bias", "item_bias"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-9)


@in_both_types
def test_solvers_agree(dtype):
    ratings = star_ratings()
    parameters = {"reg": 0.5, "max_iter": 5, "tol": 0, "dtype": dtype}
    default, cholesky, lapack = (
        cymf.ALS(8, solver=solver, **parameters).fit(ratings)
        for solver in ("auto", "cholesky", "lapack")
    )
    assert bits_of(default) == bits_of(cholesky)
    tolerance = 1e-9 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(cholesky.user_factors_, lapack.user_factors_, atol=tolerance)
    np.testing.assert_allclose(
        cholesky.history_["objective"], lapack.history_["objective"], rtol=tolerance
    )


@pytest.mark.parametrize(
    ("k", "reg", "solver"), [(64, 0.5, "cholesky"), (65, 0.5, "cg"), (65, 0.0, "cholesky")]
)
def test_auto_is_exact_up_to_64_factors_and_without_penalty(k, reg, solver):
    ratings = star_ratings()
    parameters = {"reg": reg, "max_iter": 2, "tol": 0}
    auto = cymf.ALS(k, **parameters).fit(ratings)
    assert bits_of(auto) == bits_of(cymf.ALS(k, solver=solver, **parameters).fit(ratings))


def test_subspaces_of_all_factors_are_the_exact_solver():
    ratings = star_ratings()
    parameters = {"reg": 0.5, "max_iter": 4, "tol": 0, "dtype": "float64"}
    exact = cymf.ALS(9, solver="cholesky", **parameters).fit(ratings)
    whole = cymf.ALS(9, solver="subspace", block_size=100, **parameters).fit(ratings)
    np.testing.assert_allclose(whole.user_factors_, exact.user_factors_, atol=1e-9)
    with pytest.raises(ValueError, match="block_size"):
        cymf.ALS(9, solver="subspace", block_size=0).fit(ratings)


@in_both_types
@pytest.mark.parametrize("solver", ["cholesky", "lapack", "subspace"])
def test_threads_change_no_bit(monkeypatch, dtype, solver):
    threads = ThreadsEvenForLittle(monkeypatch)
    ratings = star_ratings(150, 120, weights="integer")
    expected = None
    for n_threads in (1, 2, 3, 7):
        model = cymf.ALS(
            13, solver=solver, block_size=5, n_threads=n_threads, dtype=dtype, max_iter=4, tol=0
        )
        bits = bits_of(model.fit(ratings, validation=star_ratings(150, 120, seed=1)))
        assert (threads.calls > 0) == (n_threads > 1)
        expected = expected or bits
        assert bits == expected


def test_threads_change_no_bit_where_they_are_used_by_themselves():
    ratings = star_ratings(400, 300, density=0.4)
    models = [cymf.ALS(20, n_threads=n, max_iter=2).fit(ratings) for n in (1, 2, 3, 7)]
    assert len({bits_of(model) for model in models}) == 1


# ---- when it stops -------------------------------------------------------------------------------


@st.composite
def changing_factors(draw: st.DrawFn) -> tuple[Factors, Factors, float]:
    n_users, n_items, k = (draw(st.integers(1, 12)) for _ in range(3))
    use_bias = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = np.dtype(draw(st.sampled_from(["float32", "float64"])))
    before = Factors(n_users, n_items, k, use_bias, dtype)
    for array in (before.user[:, :k], before.item[:, :k], before.user_bias, before.item_bias):
        array[...] = rng.normal(size=array.shape)
    after = before.copy()
    step = draw(st.sampled_from([1.0, 1e-3, 1e-6]))
    after.user[:, :k] *= 1 + step * rng.normal(size=(n_users, k))
    after.item[:, :k] *= 1 + step * rng.normal(size=(n_items, k))
    after.user_bias += step * rng.normal(size=after.user_bias.shape)
    return before, after, draw(st.sampled_from([0.0, 3.53]))


def as_reference(factors: Factors, mean: float) -> reference.Factors:
    users, items, *biases = (None if a is None else a.astype(np.float64) for a in factors.trimmed())
    if biases[0] is None:
        return reference.Factors.without_bias(users, items, mean)
    return reference.Factors(users, items, *biases, mean)


@given(changing_factors())
@settings(max_examples=200, deadline=None)
def test_change_of_predictions_is_that_of_the_full_matrices(drawn):
    before, after, mean = drawn
    change, size = predicted_change(before, after, mean)
    with Workers(3) as workers:
        assert predicted_change(before, after, mean, workers.run) == (change, size)
    old, new = (reference.full_matrix(as_reference(f, mean)) for f in (before, after))
    assert size == pytest.approx(np.linalg.norm(new), rel=1e-12)
    # the difference of full matrices cancels; that of the factors does not
    rounding = 1e-14 * np.linalg.norm(new)
    assert change == pytest.approx(np.linalg.norm(new - old), rel=1e-7, abs=rounding)


def test_long_sums_are_the_same_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    before = Factors(9000, 700, 40, True, np.dtype(np.float32))
    before.user[:, :40], before.item[:, :40] = (
        rng.normal(size=(9000, 40)),
        rng.normal(size=(700, 40)),
    )
    after = before.copy()
    after.user[:, :40] += 0.1 * rng.normal(size=(9000, 40))
    after.item_bias += 0.1
    with Workers(3) as workers:
        threaded = predicted_change(before, after, 3.5, workers.run)
    assert threaded == predicted_change(before, after, 3.5)
    old, new = (reference.full_matrix(as_reference(f, 3.5)) for f in (before, after))
    assert threaded == pytest.approx((np.linalg.norm(new - old), np.linalg.norm(new)), rel=1e-10)


def test_small_changes_are_not_lost_among_large_traces():
    """A change of 1e-9 of the predictions: its square is below the rounding of ‖Â‖²."""
    rng = np.random.default_rng(0)
    before = Factors(50, 40, 6, True, np.dtype(np.float64))
    for array in (before.user[:, :6], before.item[:, :6], before.user_bias, before.item_bias):
        array[...] = rng.normal(size=array.shape)
    after = before.copy()
    after.user[3, 2] += 1e-9
    change, size = predicted_change(before, after, 3.5)
    expected = (after.user[3, 2] - before.user[3, 2]) * np.linalg.norm(before.item[:, 2])
    assert change == pytest.approx(expected, rel=1e-6)
    assert change < 1e-9 * size


def iterates(ratings: cymf.Ratings, n: int, **parameters) -> list[reference.Factors]:
    """The start and the first n iterations."""
    model = cymf.ALS(6, tol=0, max_iter=1, **parameters)
    with opened(model, ratings) as (problem, start):
        answer = [trimmed(problem, start)]
    for t in range(1, n + 1):
        answer.append(factors_of(model.set_params(max_iter=t).fit(ratings)))
    return answer


@with_or_without_bias
def test_it_stops_at_the_first_iteration_whose_relative_change_is_tol(use_bias):
    ratings = star_ratings()
    parameters = {"reg": 0.5, "use_bias": use_bias, "dtype": "float64"}
    steps = iterates(ratings, 8, **parameters)
    changes = [reference.relative_change(a, b) for a, b in pairwise(steps)]
    for t in (3, 5, 8):
        tol = changes[t - 1]
        assert all(change > 1.001 * tol for change in changes[: t - 1])
        model = cymf.ALS(6, tol=1.001 * tol, max_iter=20, **parameters).fit(ratings)
        assert model.n_iter_ == t
        longer = cymf.ALS(6, tol=0.999 * tol, max_iter=20, **parameters).fit(ratings)
        assert longer.n_iter_ > t


def test_the_absolute_tolerance():
    ratings = star_ratings()
    steps = iterates(ratings, 5, reg=0.5, dtype="float64")
    change = np.linalg.norm(reference.full_matrix(steps[5]) - reference.full_matrix(steps[4]))
    parameters = {"reg": 0.5, "dtype": "float64", "tol": 0}
    model = cymf.ALS(6, tol_abs=1.001 * change, **parameters).fit(ratings)
    assert model.n_iter_ == 5
    assert cymf.ALS(6, tol_abs=0.999 * change, **parameters).fit(ratings).n_iter_ > 5


def test_without_tolerance_all_iterations_are_done():
    model = cymf.ALS(3, tol=0, max_iter=60, dtype="float64").fit(star_ratings(8, 7))
    assert model.n_iter_ == 60
    assert cymf.ALS(3, max_iter=60).fit(star_ratings(8, 7)).n_iter_ < 60


# ---- rows that leave freedom ---------------------------------------------------------------------


@in_both_types
@by_every_solver
@with_or_without_bias
def test_unregularized_rows_get_the_shortest_solution(dtype, solver, use_bias):
    """More factors than ratings in every row: exact fits, of which the shortest is taken."""
    ratings = star_ratings(12, 9, density=0.5)
    model = cymf.ALS(
        15, reg=0, use_bias=use_bias, solver=solver, dtype=dtype, max_iter=2, tol=0
    ).fit(ratings)
    got = factors_of(model)
    epsilon = float(np.finfo(dtype).eps)
    expected = reference.als_half_sweep(
        cells_of(ratings), got, penalty_of(model), use_bias, epsilon
    )
    tolerance = 1e-8 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(got.users, expected.users, atol=tolerance)
    np.testing.assert_allclose(got.user_bias, expected.user_bias, atol=tolerance)
    assert model.history_["train_rmse"][-1] < tolerance


@in_both_types
@with_or_without_bias
@pytest.mark.parametrize("reg", [0, 0.1])
@pytest.mark.parametrize(
    "matrix",
    [
        np.array([[4.0]]),
        np.array([[4.0, np.nan], [np.nan, np.nan]]),
        np.full((4, 3), 3.0),
        np.zeros((3, 3)),
        np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]),
        np.array([[1.0], [2.0], [3.0]]),
    ],
    ids=["one", "one of four", "all equal", "all zero", "one user", "one item"],
)
def test_little_data_gives_finite_exact_rows(matrix, reg, use_bias, dtype):
    model = cymf.ALS(5, reg=reg, use_bias=use_bias, dtype=dtype, max_iter=3, tol=0).fit(matrix)
    got = factors_of(model)
    assert all(np.isfinite(a).all() for a in (got.users, got.items, got.user_bias, got.item_bias))
    ratings = cymf.Ratings.from_matrix(matrix)
    epsilon = float(np.finfo(dtype).eps)
    expected = reference.als_half_sweep(
        cells_of(ratings), got, penalty_of(model), use_bias, epsilon
    )
    np.testing.assert_allclose(got.users, expected.users, atol=1e-3 if dtype == "float32" else 1e-9)
    unrated = np.asarray(ratings.user_counts) == 0
    assert not got.users[unrated].any()
    assert not got.user_bias[unrated].any()


def test_a_row_that_is_not_finite_is_named():
    """Ratings so large that the squares of the factors overflow even in double precision."""
    ratings = cymf.Ratings.from_triplets(["ann", "bob"], ["tea", "rum"], [1.0, 2.0])
    model = cymf.ALS(1, use_bias=False, reg=0, dtype="float64")
    huge = np.full((2, 1), 1e200)
    with pytest.raises(cymf.DivergenceError, match=r"item '(tea|rum)' \(1 ratings\).*reg"):
        model.fit(ratings, init=(huge * 1e-308 * 1e-200, huge))


def test_minimum_norm_rows_are_only_asked_for_where_needed(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a regularized row was solved twice")

    monkeypatch.setattr(_als_lapack, "als_minimum_norm_rows", refuse)
    cymf.ALS(6, reg=0.5).fit(star_ratings())
    with pytest.raises(AssertionError, match="solved twice"):
        cymf.ALS(40, reg=0).fit(star_ratings())


def test_weights_of_two_are_cells_seen_twice():
    """The slow twin repeats the cells; with nu = 0 nothing counts them."""
    ratings = star_ratings(weights="integer")
    model = cymf.ALS(
        4, reg=0.7, reg_exponent=0, dtype="float64", max_iter=2000, tol=1e-14
    ).fit(ratings)  # fmt: skip
    cells = cells_of(ratings)
    times = cells.weights.astype(int)
    repeated = replace(
        cells,
        users=np.repeat(cells.users, times),
        items=np.repeat(cells.items, times),
        values=np.repeat(cells.values, times),
        weights=np.ones(times.sum()),
    )
    assert model.global_mean_ == pytest.approx(repeated.mean, rel=1e-12)
    objective = reference.objective(repeated, factors_of(model), penalty_of(model))
    assert model.history_["objective"][-1] == pytest.approx(objective, rel=1e-12)
    gradient = reference.gradient(repeated, factors_of(model), penalty_of(model))
    assert max(np.abs(a).max() for a in (gradient.users, gradient.items)) < 1e-6
    assert max(np.abs(a).max() for a in (gradient.user_bias, gradient.item_bias)) < 1e-6


def test_a_solution_beyond_float32_raises():
    """A minimum-norm solution is computed in double precision, where it still is finite."""
    tiny = np.full((3, 2), 1e-30), np.full((3, 2), 1e-30)
    model = cymf.ALS(2, reg=0, use_bias=False)
    with pytest.raises(cymf.DivergenceError, match=r"item 0 \(3 ratings\) is not finite"):
        model.fit(np.full((3, 3), 1e12), init=tiny)


def test_conjugate_gradients_that_overflow_raise():
    """A direction that is not finite is no reason to hand out the start as the solution."""
    far = np.full((5, 2), 1e25), np.full((4, 2), 1e25)
    model = cymf.ALS(2, solver="cg", tol=0)
    with np.errstate(over="ignore"), pytest.raises(cymf.DivergenceError, match="item 0"):
        model.fit(np.arange(20.0).reshape(5, 4), init=far)
