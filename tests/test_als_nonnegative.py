"""ALS with non-negative factors: objective, minimum, explanations, the same bits for any threads."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import reference_nonnegative as twin
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
from cymf._nonnegative_rows import ObservedRows, Penalty

with_or_without_bias = pytest.mark.parametrize("use_bias", [True, False])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@with_or_without_bias
@pytest.mark.parametrize("reg_exponent", [0.0, 0.5, 1.0])
def test_half_sweeps_never_raise_the_objective(dtype, use_bias, reg_exponent):
    ratings = star_ratings(weights="integer")
    model = cymf.ALS(
        12, reg=0.05, reg_bias=0.2, reg_exponent=reg_exponent, use_bias=use_bias, dtype=dtype
    )
    cells, penalty = cells_of(ratings), penalty_of(model)
    rounding = 1e-12 if dtype == "float64" else 1e-5
    with opened(model, ratings) as (problem, factors):
        np.abs(factors.user, out=factors.user)
        np.abs(factors.item, out=factors.item)
        rows = ObservedRows(problem, Penalty(0.05), Penalty(0.05))
        before = reference.objective(cells, trimmed(problem, factors), penalty)
        for _ in range(8):
            for half_sweep in (rows.solve_items, rows.solve_users):
                half_sweep(factors)
                after = reference.objective(cells, trimmed(problem, factors), penalty)
                assert after <= before * (1 + rounding)
                before = after


@with_or_without_bias
def test_factors_are_not_negative_and_users_are_solved_exactly(use_bias):
    ratings = star_ratings(weights="integer")
    model = cymf.ALS(
        6, reg=0.3, nonnegative=True, use_bias=use_bias, dtype="float64", max_iter=5
    ).fit(ratings)
    assert model.user_factors_.min() == 0
    assert model.item_factors_.min() == 0
    assert not use_bias or model.user_bias_.min() < 0 < model.user_bias_.max()
    got, cells = factors_of(model), cells_of(ratings)
    for i in np.flatnonzero(cells.user_counts):
        own = cells.users == i
        items, scale = cells.items[own], float(own.sum()) ** 0.5
        row = twin.Row(
            got.items[items],
            cells.values[own] - got.mean - got.item_bias[items],
            cells.weights[own],
            0.3 * scale,
            0.0,
            0.3 * scale if use_bias else None,
        )
        assert twin.optimality(*twin.system(row), got.users[i]) < 1e-4
        assert got.user_bias[i] == pytest.approx(twin.best_bias(row, got.users[i]), abs=1e-9)


def test_it_is_plain_als_where_that_is_not_negative():
    """Positive ratings of rank one: the factors of the unrestricted solution have one sign."""
    rng = np.random.default_rng(0)
    matrix = np.outer(rng.uniform(1, 2, 30), rng.uniform(1, 2, 20))
    matrix[rng.random(matrix.shape) < 0.4] = np.nan
    parameters = {"reg": 0.5, "use_bias": False, "max_iter": 200, "tol": 0, "dtype": "float64"}
    free = cymf.ALS(1, **parameters).fit(matrix)
    bound = cymf.ALS(1, nonnegative=True, **parameters).fit(matrix)
    pairs = np.argwhere(np.isnan(matrix))
    np.testing.assert_allclose(bound.predict(pairs), free.predict(pairs), rtol=1e-6)


def test_nmf_minimizes_the_same():
    ratings = star_ratings()
    als = cymf.ALS(
        4, reg=0.02, reg_exponent=1, use_bias=False, nonnegative=True, dtype="float64",
        max_iter=3000, tol=0,
    ).fit(ratings)  # fmt: skip
    start = als.user_factors_, als.item_factors_
    nmf = cymf.NMF(4, alpha_W=0.02, dtype="float64", max_iter=5, tol=0).fit(ratings, init=start)
    assert nmf.history_["objective"][0] == pytest.approx(als.history_["objective"][-1], rel=1e-6)
    np.testing.assert_allclose(nmf.item_factors_, als.item_factors_, atol=1e-3)


@with_or_without_bias
def test_threads_change_no_bit(monkeypatch, use_bias):
    ThreadsEvenForLittle(monkeypatch)
    ratings = star_ratings(150, 120)
    models = [
        cymf.ALS(13, nonnegative=True, use_bias=use_bias, n_threads=n, max_iter=4, tol=0)
        for n in (1, 2, 3, 7)
    ]
    assert len({bits_of(model.fit(ratings)) for model in models}) == 1


@with_or_without_bias
def test_contributions_add_up(use_bias):
    model = cymf.ALS(5, reg=0.2, nonnegative=True, use_bias=use_bias, dtype="float64")
    model.fit(star_ratings())
    found = model.explain(3, 7)
    assert found.score == pytest.approx(model.predict(3, 7), abs=1e-4)


def test_errors():
    with pytest.raises(ValueError, match="solver='cg' does not keep factors"):
        cymf.ALS(nonnegative=True, solver="cg").fit(star_ratings())
    with pytest.raises(TypeError, match="nonnegative"):
        cymf.ALS(nonnegative=1).fit(star_ratings())
