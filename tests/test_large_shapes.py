"""Sizes beyond 32 bits: rows far behind in memory that nobody touches, and cells that 32 bits do not number."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import reference
from kernel_drivers import at_every_level, padded

import cymf
from cymf._kernels import load_level
from cymf.evaluation import evaluate_ranking, leave_k_out, sample_negatives

FAR = 2**31
WIDTH = 16
rng = np.random.default_rng(0)
FIXED = padded(rng.normal(size=(6, 5)).astype(np.float32), WIDTH, np.float32)
INDPTR = np.array([0, 3, 7], np.int64)
INDICES = np.array([0, 2, 5, 1, 2, 3, 5], np.int32)
VALUES = rng.normal(size=7).astype(np.float32)
PENALTY = reference.Penalty(0.1, 0.1, 1.0)
NOTHING = np.empty(0, np.float32)


def far(shape, dtype):
    """Zeros that take address space alone until they are written."""
    if not sys.platform.startswith("linux") or sys.maxsize < FAR:
        pytest.skip("this system gives no memory that is not used")
    try:
        return np.zeros(shape, dtype)
    except MemoryError:
        pytest.skip("there is not so much address space")


def far_rows():
    fixed = far((FAR // WIDTH + 100, WIDTH), np.float32)
    fixed[-len(FIXED) :] = FIXED
    return fixed, (INDICES + (len(fixed) - len(FIXED))).astype(np.int32)


def far_ratings():
    """A first row of 2³¹ ratings that no chunk asks for, and two behind it."""
    indices, values = far(FAR + len(INDICES), np.int32), far(FAR + len(INDICES), np.float32)
    indices[FAR:], values[FAR:] = INDICES, VALUES
    return np.append(np.int64(0), INDPTR + FAR), indices, values


def solved(module, indptr, indices, values, fixed):
    n = len(indptr) - 1
    rows, status = np.zeros((n, WIDTH), np.float32), np.zeros(n, np.int8)
    module.als_half_sweep(
        indptr, indices, values, NOTHING, fixed, NOTHING, rows, NOTHING, 5, 0.0, PENALTY.reg,
        PENALTY.reg_bias, PENALTY.exponent, np.array([n - 2, n], np.int64), np.zeros(1, np.int64), status,
        np.zeros(module.als_scratch_size(5, WIDTH), np.float32),
    )  # fmt: skip
    assert not status[-2:].any()
    return rows[-2:]


def gradient(module, indptr, indices, values, fixed):
    n = len(indptr) - 1
    rows, total, penalty = np.zeros((n, WIDTH), np.float32), np.zeros(1), np.zeros(1)
    module.residual_gradient(
        indptr, indices, values, NOTHING, padded(np.ones((n, 5)), WIDTH, np.float32), NOTHING, fixed, NOTHING, 0.0,
        PENALTY.reg, PENALTY.reg_bias, PENALTY.exponent, rows, NOTHING, np.array([n - 2, n], np.int64),
        np.zeros(1, np.int64), total, penalty,
    )  # fmt: skip
    assert total[0] > 0
    return rows[-2:]


@at_every_level
@pytest.mark.parametrize("kernel", [solved, gradient])
def test_rows_and_ratings_behind_the_first_two_billion(level, kernel):
    module = load_level(level)
    expected = kernel(module, INDPTR, INDICES, VALUES, FIXED)
    assert np.any(expected)
    fixed, indices = far_rows()
    np.testing.assert_array_equal(kernel(module, INDPTR, indices, VALUES, fixed), expected)
    np.testing.assert_array_equal(kernel(module, *far_ratings(), FIXED), expected)


@at_every_level
def test_predictions_of_rows_behind_the_first_two_billion(level):
    fixed, indices = far_rows()
    users = np.zeros(len(indices), np.int64)
    found = np.zeros((2, len(indices)), np.float32)
    for out, places, factors in ((found[0], INDICES, FIXED), (found[1], indices, fixed)):
        load_level(level).predict_pairs(
            users, places.astype(np.int64), FIXED[:1], factors, NOTHING, NOTHING, 0.0, out
        )
    assert np.all(found[0] != 0)
    np.testing.assert_array_equal(found[1], found[0])


# ---- more cells than 32 bits number ----------------------------------------------------------------

SIDE = 70_000  # squared, more than 2³²
ROWS = np.array([0, 0, 0, 0, 1, 1, 1, 69_998, 69_998, 69_998, 69_999, 69_999, 69_999, 69_999])
COLUMNS = np.array([0, 1, 2, 69_999, 1, 2, 69_998, 2, 69_998, 69_999, 0, 1, 69_998, 69_999])


def wide_ratings():
    values = 1.0 + np.arange(len(ROWS)) % 5
    return cymf.Ratings.from_triplets(ROWS, COLUMNS, values, shape=(SIDE, SIDE))


@pytest.mark.parametrize(
    "model",
    [
        cymf.ALS(2, max_iter=2),
        cymf.SGD(2, max_iter=2),
        cymf.GradientDescent(2, max_iter=2),
        cymf.ImplicitALS(2, max_iter=2),
        cymf.BPR(2, max_iter=2),
        cymf.LogisticMF(2, max_iter=2),
        cymf.ContrastiveMF(2, max_iter=2),
        cymf.SVDpp(2, max_iter=2),
        cymf.NMF(2, max_iter=2, missing="masked"),
        cymf.BayesianMF(2, n_samples=2, burn_in=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_model_takes_more_cells_than_32_bits_number(model):
    model.fit(wide_ratings())
    assert len(model.user_factors_) == SIDE
    for user, unseen in (
        (0, 69_998),
        (SIDE - 1, 2),
    ):  # the one rated item that the user has not rated
        items, scores = model.recommend(user, n=1)
        assert items.tolist() == [unseen]
        assert np.isfinite(scores).all()
    assert np.isfinite(model.predict(ROWS, COLUMNS)).all()


def test_ratings_merged_and_split_among_more_cells_than_32_bits_number():
    ratings = wide_ratings()
    doubled = cymf.Ratings.from_triplets(
        np.tile(ROWS, 2), np.tile(COLUMNS, 2), np.ones(2 * len(ROWS)), shape=(SIDE, SIDE), duplicates="sum"
    )  # fmt: skip
    assert doubled.nnz == len(ROWS)
    assert set(doubled.values) == {2.0}
    grown = cymf.ALS(2, max_iter=1).fit(ratings)
    grown.partial_fit([[SIDE - 1, 2], [SIDE - 1, SIDE - 1]], [4.0, 5.0])
    assert grown._fitted().ratings.nnz == len(ROWS) + 1
    train, test = leave_k_out(ratings)
    assert train.nnz + test.nnz == len(ROWS)
    (users, items), negatives = sample_negatives(train, test, n=1)
    rated = set(zip(ROWS, COLUMNS, strict=True))
    assert len(users) == 4
    assert all((u, j) in rated for u, j in zip(users, items, strict=True))
    assert all((u, j) not in rated for u, j in zip(users, negatives[:, 0], strict=True))
    assert evaluate_ranking(cymf.Popularity().fit(train), test, train=train)["recall@20"] == 1
