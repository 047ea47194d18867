"""ALS kernels: every row against its own least squares, at every level and in both types."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference
from generated import Compressed, compressed_ratings, examples, factor_pair, penalties
from hypothesis import given
from hypothesis import strategies as st
from kernel_drivers import (
    als_half_sweep,
    als_minimum_norm_rows,
    at_every_level,
    in_both_types,
    kernels_and_width,
    unit_roundoff,
)

from cymf._kernels import _als_lapack

SOLVED, RANK_DEFICIENT, NOT_FINITE = 0, 1, 2
BATCH = 32  # samples that the Gram matrix sums before it adds them up


class Row:
    """One row's least-squares problem in float64, from the very numbers the kernel gets."""

    def __init__(
        self,
        ratings: Compressed,
        i: int,
        model: reference.Factors,
        penalty: reference.Penalty,
        use_bias: bool,
    ) -> None:
        cells, where = ratings.cells(), ratings.row(i)
        items = cells.items[where]
        self.n = len(items)
        scale = self.n**penalty.exponent
        self.arguments = (
            model.items[items],
            cells.values[where] - model.mean - model.item_bias[items],
            cells.weights[where],
            penalty.reg * scale,
            penalty.reg_bias * scale if use_bias else None,
        )
        self.matrix, self.right = reference.least_squares_rows(*self.arguments)
        self.size = self.matrix.shape[1]
        self.gram = self.matrix.T @ self.matrix
        # What is subtracted from a rating is rounded at its own size, not at the difference's.
        summands = np.abs(cells.values[where]) + abs(model.mean) + np.abs(model.item_bias[items])
        self.right_size = float(np.linalg.norm(np.sqrt(cells.weights[where]) * summands))

    def residual_bound(self, x: reference.Array, dtype: type[np.floating]) -> float:
        """Largest |G x - X'C y| that rounding explains.

        Backward error of the sums in batches and of Cholesky (Higham 2002, "Accuracy and stability
        of numerical algorithms", theorems 3.1 and 10.4), with n replaced by sqrt(n): rounding
        errors add up like random ones (Higham and Mary 2019, "A new approach to probabilistic
        rounding error analysis").
        """
        steps = np.sqrt(BATCH + self.n / BATCH + 3 * self.size) + 4
        size = np.linalg.norm(self.matrix, 2)
        return float(
            steps * unit_roundoff(dtype) * size * (size * np.linalg.norm(x) + self.right_size)
        )

    def dual_residual_bound(self, x: reference.Array, dtype: type[np.floating]) -> float:
        """The same where short rows are solved by z = (y - X w - b) / reg in place of w.

        The n equations K z = y - b, with K = XX' + reg, have the backward error of any Cholesky
        system; in the normal equations it appears times X'.
        """
        root = np.sqrt(self.arguments[2])
        columns = self.matrix[: self.n, : self.arguments[0].shape[1]]
        size = np.linalg.norm(columns, 2) ** 2 + self.arguments[3]
        z = (self.right[: self.n] - self.matrix[: self.n] @ x) / self.arguments[3]
        summands = self.right_size + abs(x[-1]) * np.linalg.norm(root)
        steps = np.sqrt(4 * self.size + 3 * self.n) + 4
        equations = steps * unit_roundoff(dtype) * (size * np.linalg.norm(z) + summands)
        return float(np.linalg.norm(self.matrix, 2) * equations)

    def residual(self, x: reference.Array) -> float:
        return float(np.linalg.norm(self.matrix.T @ (self.matrix @ x - self.right)))

    def smallest_scaled_eigenvalue(self) -> float:
        """Of the Gram matrix scaled to a unit diagonal: no relative pivot can be smaller."""
        diagonal = np.diag(self.gram)
        if np.any(diagonal == 0):
            return 0.0
        return float(np.linalg.eigvalsh(self.gram / np.sqrt(np.outer(diagonal, diagonal)))[0])


def solution(factors: np.ndarray, bias: np.ndarray, i: int) -> reference.Array:
    x = factors[i].astype(np.float64)
    return np.append(x, np.float64(bias[i])) if len(bias) else x


def kernel_modules(level: str, k: int, dtype: type[np.floating], whole_line: bool):
    kernels, width = kernels_and_width(level, k, dtype, whole_line)
    return [kernels, _als_lapack], width


@st.composite
def problems(draw: st.DrawFn, dtype: type[np.floating], positive: bool):
    ratings = draw(compressed_ratings(dtype))
    model, use_bias = draw(factor_pair(ratings, dtype))
    return (
        ratings,
        model,
        draw(penalties(positive)),
        use_bias,
        draw(st.booleans(), label="whole line"),
    )


@at_every_level
@in_both_types
@given(data=st.data())
@examples(60)
def test_regularized_rows_solve_their_least_squares(level, dtype, data):
    ratings, model, penalty, use_bias, whole_line = data.draw(problems(dtype, positive=True))
    k = model.items.shape[1]
    modules, width = kernel_modules(level, k, dtype, whole_line)
    answers = [als_half_sweep(m, ratings, model, penalty, use_bias, width) for m in modules]
    for i in range(ratings.n_rows):
        if ratings.counts[i] == 0:
            for factors, bias, status in answers:
                assert status[i] == SOLVED
                assert not solution(factors, bias, i).any()
            continue
        row = Row(ratings, i, model, penalty, use_bias)
        expected = reference.als_row(*row.arguments)
        np.testing.assert_allclose(
            expected,
            reference.minimum_norm_row(*row.arguments),
            rtol=0,
            atol=1e-9 * np.linalg.norm(expected),
        )
        inverse_size = 1 / np.linalg.eigvalsh(row.gram)[0]
        for factors, bias, status in answers:
            if status[i] == RANK_DEFICIENT:
                assert row.smallest_scaled_eigenvalue() < 1.5 * 16 * row.size * np.finfo(dtype).eps
                continue
            assert status[i] == SOLVED
            x = solution(factors, bias, i)
            bound = max(row.residual_bound(x, dtype), row.dual_residual_bound(x, dtype))
            assert row.residual(x) <= bound
            assert np.linalg.norm(x - expected) <= 2 * inverse_size * bound


@in_both_types
@given(data=st.data())
@examples(40)
def test_well_posed_rows_are_solved_to_working_precision(dtype, data):
    """With penalty 3 n the condition is small, so the tolerance is plain."""
    ratings, model, _, use_bias, _ = data.draw(problems(dtype, positive=True))
    penalty = reference.Penalty(3.0, 3.0, 1.0)
    modules, width = kernel_modules("baseline", model.items.shape[1], dtype, True)
    cells = ratings.cells()
    expected = reference.als_half_sweep(cells, model, penalty, use_bias)
    tolerance = 1e-10 if dtype is np.float64 else 1e-4
    for module in modules:
        factors, bias, status = als_half_sweep(module, ratings, model, penalty, use_bias, width)
        assert np.all(status == SOLVED)
        scale = 1 + np.abs(expected.users).max()
        np.testing.assert_allclose(factors, expected.users, rtol=0, atol=tolerance * scale)
        if use_bias:
            scale = 1 + np.abs(expected.user_bias).max()
            np.testing.assert_allclose(bias, expected.user_bias, rtol=0, atol=tolerance * scale)


@at_every_level
@in_both_types
@given(data=st.data())
@examples(60)
def test_unregularized_rows_are_solved_or_flagged(level, dtype, data):
    ratings, model, penalty, use_bias, whole_line = data.draw(problems(dtype, positive=False))
    modules, width = kernel_modules(level, model.items.shape[1], dtype, whole_line)
    for module in modules:
        factors, bias, status = als_half_sweep(module, ratings, model, penalty, use_bias, width)
        for i in np.flatnonzero(ratings.counts):
            row = Row(ratings, i, model, penalty, use_bias)
            if np.linalg.matrix_rank(row.matrix) < row.size:
                assert status[i] == RANK_DEFICIENT
            if status[i] == RANK_DEFICIENT:
                threshold = 16 * row.size * np.finfo(dtype).eps
                if penalty.reg == 0:
                    threshold = np.sqrt(threshold)
                assert row.smallest_scaled_eigenvalue() < 1.5 * threshold
            else:
                assert status[i] == SOLVED
                x = solution(factors, bias, i)
                bound = row.residual_bound(x, dtype)
                if penalty.reg > 0:
                    bound = max(bound, row.dual_residual_bound(x, dtype))
                assert row.residual(x) <= bound


@in_both_types
@given(data=st.data())
@examples(60)
def test_minimum_norm_rows_are_the_shortest_least_squares_solutions(dtype, data):
    ratings, model, penalty, use_bias, _ = data.draw(problems(dtype, positive=False))
    rows = np.flatnonzero(ratings.counts)
    if len(rows) == 0:
        return
    width = model.items.shape[1] + 3
    factors, bias, status = als_minimum_norm_rows(rows, ratings, model, penalty, use_bias, width)
    assert np.all(status[rows] == SOLVED)
    for i in rows:
        row = Row(ratings, i, model, penalty, use_bias)
        # Unregularized, directions within the rounding of the factors are none.
        epsilon = np.finfo(dtype).eps if penalty.reg == 0 else np.finfo(np.float64).eps
        cut = float(epsilon) * len(row.matrix)
        expected = reference.minimum_norm_row(*row.arguments, rcond=cut)
        pseudo = np.linalg.pinv(row.matrix, rcond=cut) @ row.right
        singular = np.linalg.svd(row.matrix, compute_uv=False)
        if singular[0] == 0:
            assert not solution(factors, bias, i).any()
            continue
        condition = singular[0] / singular[singular > cut * singular[0]][-1]
        double = 1e-14 * condition**2 * (1 + np.linalg.norm(expected))
        np.testing.assert_allclose(expected, pseudo, rtol=0, atol=double)
        # Solved in double precision, rounded once into the factors' type.
        rounding = double + unit_roundoff(dtype) * np.linalg.norm(expected)
        np.testing.assert_allclose(solution(factors, bias, i), expected, rtol=0, atol=rounding)


@in_both_types
def test_a_regularized_direction_counts_however_weak_it_is(dtype):
    """Singular values of 87 and 2e-3: exact ridge regression takes both, where only the bias is free."""
    signs = np.where(np.arange(300) % 2 == 0, 1.0, -1.0)
    items = np.column_stack([np.full(300, 5.0), signs * 2.0**-13])
    ratings = Compressed(
        np.array([0, 300], np.int64),
        np.arange(300, dtype=np.int32),
        (3 + signs).astype(dtype),
        np.empty(0, dtype),
        300,
    )
    model = reference.Factors.without_bias(np.zeros((1, 2)), items)
    penalty = reference.Penalty(1e-6, 0.0)
    factors, bias, _ = als_minimum_norm_rows(np.array([0]), ratings, model, penalty, True, 16)
    expected = reference.als_row(*Row(ratings, 0, model, penalty, True).arguments)
    assert abs(expected[1]) > 1000  # the penalty takes its part, but the direction is there
    np.testing.assert_allclose(
        solution(factors, bias, 0), expected, rtol=1e-6, atol=1e-6 * abs(expected[1])
    )


@in_both_types
def test_minimum_norm_of_dependent_items_shares_the_load(dtype):
    """Two equal items and one rating each: many exact answers, the shortest halves the factor."""
    ratings = Compressed(
        np.array([0, 2], np.int64),
        np.array([0, 1], np.int32),
        np.full(2, 4, dtype),
        np.empty(0, dtype),
        2,
    )
    model = reference.Factors.without_bias(np.zeros((1, 2)), np.ones((2, 2)))
    free = reference.Penalty(0.0, 0.0)
    for module in kernel_modules("baseline", 2, dtype, True)[0]:
        assert als_half_sweep(module, ratings, model, free, False, 16)[2][0] == RANK_DEFICIENT
    factors, _, status = als_minimum_norm_rows(np.array([0]), ratings, model, free, False, 16)
    assert status[0] == SOLVED
    np.testing.assert_allclose(factors, [[2, 2]], rtol=4 * unit_roundoff(dtype))


@at_every_level
@in_both_types
@pytest.mark.parametrize("reg_bias", [0.0, 1e-6, 1e-3, 1.0, 1e3])
@pytest.mark.parametrize("n_ratings", [2, 5, 19, 20, 21])
def test_bias_and_factors_may_be_penalized_as_unequally_as_one_likes(
    level, dtype, reg_bias, n_ratings
):
    """Rows with fewer ratings than factors, up to those that are just not short any more."""
    k = 20
    rng = np.random.default_rng(7)
    items = rng.normal(size=(n_ratings, k)).astype(dtype).astype(np.float64)
    model = reference.Factors.without_bias(np.zeros((1, k)), items)
    ratings = Compressed(
        np.array([0, n_ratings], np.int64),
        np.arange(n_ratings, dtype=np.int32),
        (rng.integers(1, 11, n_ratings) / 2).astype(dtype),
        np.empty(0, dtype),
        n_ratings,
    )
    penalty = reference.Penalty(3.0, reg_bias)
    expected = reference.als_row(*Row(ratings, 0, model, penalty, True).arguments)
    modules, width = kernel_modules(level, k, dtype, False)
    for module in modules:
        factors, bias, status = als_half_sweep(module, ratings, model, penalty, True, width)
        assert status[0] == SOLVED
        error = np.linalg.norm(solution(factors, bias, 0) - expected)
        # XX' + 3 has a condition below 40 for factors of unit variance
        assert error <= 400 * unit_roundoff(dtype) * np.linalg.norm(expected)


@at_every_level
@in_both_types
@pytest.mark.parametrize("n_ratings", [1, 31, 32, 33, 100, 127, 128, 129, 300])
def test_batches_join_without_a_seam(level, dtype, n_ratings):
    """Integers are summed exactly, so the Gram matrix must be exact whatever the batches."""
    k = 5
    rng = np.random.default_rng(n_ratings)
    model = reference.Factors(
        np.zeros((1, k)),
        rng.integers(-3, 4, (n_ratings, k)).astype(np.float64),
        np.zeros(1),
        rng.integers(-2, 3, n_ratings).astype(np.float64),
    )
    ratings = Compressed(
        np.array([0, n_ratings], np.int64),
        np.arange(n_ratings, dtype=np.int32),
        rng.integers(1, 6, n_ratings).astype(dtype),
        np.full(n_ratings, 4, dtype),
        n_ratings,
    )
    penalty = reference.Penalty(100.0, 100.0)
    row = Row(ratings, 0, model, penalty, True)
    expected = reference.als_row(*row.arguments)
    modules, width = kernel_modules(level, k, dtype, False)
    for module in modules:
        factors, bias, _ = als_half_sweep(module, ratings, model, penalty, True, width)
        error = np.linalg.norm(solution(factors, bias, 0) - expected)
        condition = np.linalg.cond(row.gram)
        assert error <= 4 * row.size * unit_roundoff(dtype) * condition * np.linalg.norm(expected)


@at_every_level
@in_both_types
@pytest.mark.parametrize("k", [10, 20, 50, 100, 127, 256, 1024])
def test_any_number_of_factors(level, dtype, k):
    """Rows solved in the dual, and one longer than the factors are many, whole lines of padding or none."""
    rng = np.random.default_rng(k)
    counts = np.array([1, k // 2, k, k + 1])
    model = reference.Factors(
        np.zeros((4, k)),
        0.3 * rng.normal(size=(k + 1, k)).astype(dtype).astype(np.float64),
        np.zeros(4),
        rng.normal(size=k + 1).astype(dtype).astype(np.float64),
    )
    ratings = Compressed(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([np.arange(n) for n in counts]).astype(np.int32),
        (rng.integers(1, 11, counts.sum()) / 2).astype(dtype),
        rng.integers(1, 4, counts.sum()).astype(dtype),
        k + 1,
    )
    penalty = reference.Penalty(1.0, 2.0, 0.5)
    kernels, width = kernels_and_width(level, k, dtype, True)
    factors, bias, status = als_half_sweep(kernels, ratings, model, penalty, True, width)
    assert not status.any()
    for i in range(4):
        row = Row(ratings, i, model, penalty, True)
        expected = reference.als_row(*row.arguments)
        error = np.linalg.norm(solution(factors, bias, i) - expected)
        eigenvalues = np.linalg.eigvalsh(row.gram)
        condition = eigenvalues[-1] / eigenvalues[0]
        assert error <= 8 * unit_roundoff(dtype) * condition * np.linalg.norm(expected)


@at_every_level
@in_both_types
@given(data=st.data(), n_threads=st.sampled_from([2, 3, 7]))
@examples(15)
def test_threads_change_no_bit(level, dtype, data, n_threads):
    ratings, model, penalty, use_bias, whole_line = data.draw(problems(dtype, positive=True))
    modules, width = kernel_modules(level, model.items.shape[1], dtype, whole_line)
    for module in modules:
        one = als_half_sweep(module, ratings, model, penalty, use_bias, width)
        many = als_half_sweep(module, ratings, model, penalty, use_bias, width, n_threads)
        for a, b in zip(one, many, strict=True):
            assert a.tobytes() == b.tobytes()


@in_both_types
@given(data=st.data())
@examples(20)
def test_a_half_sweep_never_raises_the_objective(dtype, data):
    ratings, model, penalty, use_bias, _ = data.draw(problems(dtype, positive=True))
    kernels, width = kernels_and_width("baseline", model.items.shape[1], dtype, True)
    cells = ratings.cells()
    empty = ratings.counts == 0
    model = replace(
        model,
        users=np.where(empty[:, np.newaxis], 0, model.users),
        user_bias=np.where(empty, 0, model.user_bias),
    )
    factors, bias, _ = als_half_sweep(kernels, ratings, model, penalty, use_bias, width)
    after = replace(
        model,
        users=factors.astype(np.float64),
        user_bias=bias.astype(np.float64) if use_bias else model.user_bias,
    )
    before = reference.objective(cells, model, penalty)
    assert reference.objective(cells, after, penalty) <= before * (1 + 1e-5)


@at_every_level
@in_both_types
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_values_that_are_not_finite_are_reported(level, dtype, poison):
    """Only the row with the bad rating is not solved, and its minimum norm does not exist."""
    ratings = Compressed(
        np.array([0, 2, 4], np.int64),
        np.array([0, 1, 0, 1], np.int32),
        np.array([1, 2, poison, 3], dtype),
        np.empty(0, dtype),
        2,
    )
    model = reference.Factors.without_bias(np.zeros((2, 2)), np.array([[1.0, 0.5], [0.25, 1.0]]))
    penalty = reference.Penalty(0.1, 0.1)
    modules, width = kernel_modules(level, 2, dtype, False)
    for module in modules:
        _, _, status = als_half_sweep(module, ratings, model, penalty, False, width)
        assert status[0] == SOLVED
        assert status[1] != SOLVED
    _, _, status = als_minimum_norm_rows(np.array([1]), ratings, model, penalty, False, width)
    assert status[1] == NOT_FINITE
