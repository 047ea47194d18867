"""The Bayesian kernels against their slow twins: streams, draws of rows, variances of products, set vectors."""

from __future__ import annotations

import numpy as np
import pytest
import reference_bayesian as twin
from generated import Compressed, compressed_ratings, examples
from hypothesis import given
from hypothesis import strategies as st
from kernel_drivers import (
    VECTOR_BYTES,
    Guarded,
    at_every_level,
    in_both_types,
    in_threads,
    padded,
    row_chunks,
)
from scipy import stats

from cymf._kernels import load_level

SEED = 2**63 - 25  # a key that uses the high bits


def width_of(level, q, dtype, whole_line):
    itemsize = np.dtype(dtype).itemsize
    step = 64 // itemsize if whole_line else max(4, VECTOR_BYTES[level] // itemsize)
    return -(-q // step) * step


def random_precision(rng, q):
    root = rng.normal(size=(q, q + 3))
    return root @ root.T / q + 0.3 * np.eye(q)


@st.composite
def systems(draw, dtype):
    """Ratings, fixed rows with a last column of ones, offsets, a prior precision and pulls, exact in the dtype."""
    ratings = draw(compressed_ratings(dtype))
    q = draw(st.sampled_from([1, 2, 5, 8, 17, 33]), label="unknowns")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))

    def exact(array):
        return array.astype(dtype).astype(np.float64)

    fixed = exact(rng.normal(size=(ratings.n_columns, q)) / 2)
    fixed[:, -1] = 1
    n_pulls = draw(st.sampled_from([1, ratings.n_rows]), label="pulls")
    prior = exact(random_precision(rng, q))
    return (
        ratings,
        fixed,
        exact(rng.normal(size=ratings.n_columns)),
        prior,
        exact(rng.normal(size=(n_pulls, q))),
    )


def half_sweep(level, case, sigma, epoch, width, n_threads=1):
    ratings, fixed, offset, prior, pulls = case
    dtype = ratings.values.dtype.type
    module, q = load_level(level, "bayesian"), len(prior)
    guarded = Guarded()
    drawn = guarded.array((ratings.n_rows, width), dtype)
    status = guarded.array(ratings.n_rows, np.int8)
    status[:] = -1
    counter = np.zeros(1, np.int64)
    size = module.posterior_scratch_size(q, width)
    scratch = [guarded.array(size, dtype) for _ in range(n_threads)]

    def work(worker):
        module.bayesian_half_sweep(
            ratings.indptr, ratings.indices, ratings.values, ratings.weights, padded(fixed, width, dtype),
            offset.astype(dtype), padded(prior, width, dtype), padded(pulls, width, dtype), sigma, SEED, epoch,
            row_chunks(ratings.n_rows), counter, drawn, status, scratch[worker],
        )  # fmt: skip

    in_threads(work, n_threads)
    guarded.check()
    assert not drawn[:, q:].any(), "padding must be zero"
    return drawn[:, :q], status


@at_every_level
def test_normal_numbers_are_the_twins_and_normal(level):
    z = np.empty(5001)
    load_level(level, "bayesian").normal_numbers(SEED, 7, 3, z)
    np.testing.assert_allclose(z[:50], twin.normals(SEED, 7, 3, 50), rtol=1e-12, atol=1e-14)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    other = np.empty(5001)
    load_level(level, "bayesian").normal_numbers(SEED, 7, 4, other)
    assert abs(np.corrcoef(z, other)[0, 1]) < 0.06


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_drawn_rows_are_the_slow_twins(level, dtype, data):
    case = data.draw(systems(dtype))
    ratings, fixed, offset, prior, pulls = case
    width = width_of(level, len(prior), dtype, data.draw(st.booleans()))
    sigma = data.draw(st.sampled_from([0.0, 0.8]), label="sigma")
    drawn, status = half_sweep(level, case, sigma, 5, width)
    assert not status.any()
    expected = twin.half_sweep(ratings.cells(), fixed, offset, prior, pulls, sigma, SEED, 5)
    scale = 1 + np.abs(expected).max(initial=0)
    tolerance = 1e-9 if dtype is np.float64 else 1e-3
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=tolerance * scale)


@at_every_level
@in_both_types
def test_threads_change_no_bit_of_drawn_rows(level, dtype):
    rng = np.random.default_rng(0)
    ratings = compressed(rng, 40, 60, dtype)
    case = (
        ratings, rng.normal(size=(60, 17)), rng.normal(size=60), random_precision(rng, 17), rng.normal(size=(40, 17))
    )  # fmt: skip
    one, _ = half_sweep(level, case, 1.0, 2, 32)
    for n_threads in (2, 5):
        assert np.array_equal(half_sweep(level, case, 1.0, 2, 32, n_threads)[0], one)
    assert not np.array_equal(half_sweep(level, case, 1.0, 3, 32)[0], one)


def compressed(rng, n_rows, n_columns, dtype, density=0.4, empty=()):
    there = rng.random((n_rows, n_columns)) < density
    there[list(empty)] = False
    return Compressed(
        np.concatenate([[0], np.cumsum(there.sum(1))]).astype(np.int64),
        np.nonzero(there)[1].astype(np.int32),
        rng.normal(3, 1, there.sum()).astype(dtype),
        np.zeros(0, dtype),
        n_columns,
    )


@at_every_level
def test_draws_have_the_mean_and_the_covariance_of_the_formula(level):
    rng = np.random.default_rng(1)
    ratings = compressed(rng, 1, 12, np.float64)
    q, sigma = 3, 0.7
    case = (
        ratings, rng.normal(size=(12, q)), rng.normal(size=12), random_precision(rng, q), rng.normal(size=(1, q))
    )  # fmt: skip
    draws = np.array([half_sweep(level, case, sigma, epoch, 8)[0][0] for epoch in range(4000)])
    _, fixed, offset, prior, pulls = case
    g = fixed[ratings.indices]
    inverse = np.linalg.inv(twin.system(g, np.ones(len(g)), prior))
    mean = inverse @ (g.T @ (ratings.values - offset[ratings.indices]) + pulls[0])
    spread = np.sqrt(np.diag(inverse)) * sigma
    assert np.all(np.abs(draws.mean(0) - mean) < 4 * spread / np.sqrt(4000))
    np.testing.assert_allclose(np.cov(draws.T) / sigma**2, inverse, atol=0.1 * inverse.max())


def posterior_rows(level, arguments, products, streams, width, dtype, n_threads=1):
    ratings, weights, fixed, base, base_scale, diagonal, diagonal_scale, asked = arguments
    module, q = load_level(level, "bayesian"), len(diagonal)
    guarded = Guarded()
    variances = guarded.array(len(products[1]), np.float64)
    deviations = guarded.array((len(streams), width), dtype)
    status = guarded.array(len(asked), np.int8)
    size = module.posterior_scratch_size(q, width)
    scratch = [guarded.array(size, dtype) for _ in range(n_threads)]
    counter = np.zeros(1, np.int64)

    def work(worker):
        module.posterior_rows(
            ratings.indptr, ratings.indices, weights.astype(dtype), padded(fixed, width, dtype),
            padded(base, width, dtype), base_scale, diagonal.astype(dtype), diagonal_scale, asked, *products, SEED,
            streams, counter, variances, deviations, status, scratch[worker],
        )  # fmt: skip

    in_threads(work, n_threads)
    guarded.check()
    return variances, deviations[:, :q], status


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_variances_and_deviations_are_the_slow_twins(level, dtype, data):
    ratings, fixed, _, base, _ = data.draw(systems(dtype))
    q = len(base)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), label="seed of the rest"))
    kind = data.draw(st.sampled_from(["none", "positive", "some negative"]), label="weights")
    nnz = len(ratings.indices)
    weights = {
        "none": np.zeros(0),
        "positive": rng.uniform(0, 3, nnz),
        "some negative": rng.uniform(-1e-3, 3, nnz),
    }[kind]
    weights = weights.astype(dtype).astype(np.float64)
    if data.draw(st.booleans(), label="no base"):
        base = np.zeros((0, q))
    diagonal = rng.uniform(0.5, 2, q).astype(dtype).astype(np.float64)
    base_scale, diagonal_scale = rng.uniform(0.5, 2, (2, ratings.n_rows + 1))
    base_scale[-1] = 0
    asked = rng.integers(-1, ratings.n_rows, 6)
    indptr = np.concatenate([[0], np.cumsum(rng.integers(0, 4, 6))])
    columns = rng.integers(0, ratings.n_columns, indptr[-1])
    streams = rng.integers(-9, 9, 6)
    width = width_of(level, q, dtype, data.draw(st.booleans()))
    arguments = (ratings, weights, fixed, base, base_scale, diagonal, diagonal_scale, asked)
    variances, deviations, status = posterior_rows(
        level, arguments, (indptr, columns), streams, width, dtype
    )
    assert not status.any()
    tolerance = 1e-9 if dtype is np.float64 else 1e-3
    for turn, row in enumerate(asked):
        where = ratings.row(row) if row >= 0 else slice(0)
        g = fixed[ratings.indices[where]]
        d = weights[where] if len(weights) else np.ones(len(g))
        prior = diagonal_scale[row] * np.diag(diagonal)
        prior = prior + (base_scale[row] * base if len(base) else 0)
        matrix = twin.system(g, d, prior)
        for t in range(indptr[turn], indptr[turn + 1]):
            h = fixed[columns[t]]
            expected = h @ np.linalg.solve(matrix, h)
            assert variances[t] == pytest.approx(expected, rel=tolerance)
        z = twin.normals(SEED, 0, int(streams[turn]) % 2**64, q)
        upper = np.linalg.cholesky(matrix).T
        expected = np.linalg.solve(upper, z)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(deviations[turn], expected, rtol=0, atol=tolerance * scale)


@at_every_level
def test_a_system_that_is_not_positive_has_a_status(level):
    rng = np.random.default_rng(2)
    ratings = compressed(rng, 2, 9, np.float64)
    weights = np.full(len(ratings.indices), -1.0)
    arguments = (
        ratings, weights, rng.normal(size=(9, 4)), np.zeros((0, 4)), np.zeros(3), np.full(4, 0.1), np.ones(3),
        np.array([0, -1]),
    )  # fmt: skip
    products = np.array([0, 1, 2]), np.array([3, 3])
    _, _, status = posterior_rows(level, arguments, products, np.zeros(0, np.int64), 8, np.float64)
    assert status[0] != 0
    assert status[1] == 0


@at_every_level
@in_both_types
@pytest.mark.parametrize("q", [1, 17])
def test_set_vectors_are_the_slow_twins_and_threads_change_no_bit(level, dtype, q):
    rng = np.random.default_rng(3)
    by_member = compressed(
        rng, 25, 30, dtype, density=0.2, empty=[2]
    )  # 25 vectors, sets of 30 rows
    counts = np.maximum(1, np.bincount(by_member.indices, minlength=30))
    scales = (1 / np.sqrt(counts)).astype(dtype)
    members = [by_member.indices[by_member.row(j)] for j in range(25)]
    sums = np.array([np.sum(scales[rows].astype(float) ** 2) for rows in members])
    lanes = 64 // np.dtype(dtype).itemsize
    width = -(-q // lanes) * lanes
    precision = np.full(width, np.inf)
    precision[:q] = rng.uniform(0.5, 20, q)
    start = [padded(rng.normal(size=(n, q)), width, dtype) for n in (30, 25)]

    def swept(n_threads):
        guarded = Guarded()
        residuals, vectors = (guarded.copy(array) for array in start)
        counter = np.zeros(1, np.int64)
        in_threads(
            lambda _: load_level(level, "bayesian").bayesian_set_sweep(
                by_member.indptr, by_member.indices, scales, sums, precision, SEED, 6, counter, residuals, vectors
            ),
            n_threads,
        )  # fmt: skip
        guarded.check()
        return residuals, vectors

    residuals, vectors = swept(1)
    assert not vectors[:, q:].any()
    expected = twin.set_sweep(
        members, scales.astype(float), precision[:q], *(a[:, :q].astype(float) for a in start), SEED, 6, lanes
    )  # fmt: skip
    tolerance = 1e-10 if dtype is np.float64 else 1e-4
    np.testing.assert_allclose(residuals[:, :q], expected[0], atol=tolerance)
    np.testing.assert_allclose(vectors[:, :q], expected[1], atol=tolerance)
    for n_threads in (2, 3):
        assert all(
            np.array_equal(a, b)
            for a, b in zip(swept(n_threads), (residuals, vectors), strict=True)
        )
