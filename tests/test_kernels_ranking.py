"""Ranking kernels: streams, dealing, epochs against the slow twin, the same bits by any threads."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
import reference_ranking as twin
from kernel_drivers import at_every_level, in_both_types
from scipy import sparse

import cymf
from cymf._factors import aligned_zeros
from cymf._kernels import load_level
from cymf._parallel import Workers
from cymf._ranking_problem import Positives
from cymf._ranking_strata import RankingStrata

RULES = {"plain": 0, "adagrad_row": 1, "adagrad": 2}
KINDS = {"pairwise": 0, "warp": 1, "pointwise": 2}
SEED = 2**63 - 25  # a key that uses the high bits


def interactions(n_users=23, n_items=40, density=0.2, seed=0) -> cymf.Ratings:
    rng = np.random.default_rng(seed)
    taken = rng.random((n_users, n_items)) < density
    taken[3] = True  # takes all, so that there is no negative
    taken[4] = True
    taken[4, 7] = False  # a single negative
    taken[5] = False
    taken[:, 9] = False  # never taken, and never drawn
    strengths = np.where(taken, rng.integers(1, 4, taken.shape), 0).astype(float)
    return cymf.Ratings.from_matrix(sparse.csr_array(strengths))


class Epoch:
    """The arguments of one epoch over a grid."""

    def __init__(self, n_stripes, *, dtype, alpha=None, popularity_exponent=0.0, k=5, bias=True):
        self.dtype = np.dtype(dtype)
        ratings = interactions()
        self.positives = Positives.of(ratings, self.dtype, alpha)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cymf._ranking_strata.stripes_for", lambda *sizes: n_stripes)
            self.strata = RankingStrata(
                self.positives, ratings.item_counts, popularity_exponent, np.random.default_rng(1)
            )
        with Workers(1) as workers:
            self.strata.deal(3, workers)
        rng = np.random.default_rng(2)
        self.k, self.width = k, -(-k * self.dtype.itemsize // 64) * 64 // self.dtype.itemsize
        shape = ratings.shape
        self.start = [rng.normal(0, 0.6, (n, k)).astype(dtype) for n in shape]
        self.bias = [rng.normal(0, 0.3, n * bias).astype(dtype) for n in shape]

    def run(self, level, kind, rule, n_negatives=2, n_threads=1, rate=0.1, limit=1e6):
        strata, positives = self.strata, self.positives
        n = strata.n_stripes
        factors = [aligned_zeros((len(a), self.width), self.dtype) for a in self.start]
        for padded, a in zip(factors, self.start, strict=True):
            padded[:, : self.k] = a
        bias = [b.copy() for b in self.bias]
        columns = {"plain": 0, "adagrad_row": 2, "adagrad": self.k + 1}[rule]
        sums = [np.ones((len(a) if columns else 0, columns), self.dtype) for a in self.start]
        counter, diverged = np.zeros(1, np.int64), np.zeros(1, np.int64)
        clocks = np.zeros((2, 8 * n), np.int64)
        losses, drawn = np.full(n * n, np.nan), np.full(n * n, -1, np.int64)
        drawn[np.diff(strata.block_start) == 0] = 0
        harmonic = np.cumsum(1 / np.maximum(np.arange(len(strata.item_order)), 1)) - 1

        def work():
            load_level(level, "ranking").ranking_epoch(
                strata.block_start, strata.users, strata.items, strata.confidences, positives.indptr,
                positives.indices, strata.item_order, strata.item_start, strata.cumulative, strata.strata,
                KINDS[kind], n_negatives, harmonic / harmonic[-1], SEED, 3, *factors, *bias, *sums, RULES[rule],
                rate, 0.02, 0.05, self.k, aligned_zeros((3, self.width), self.dtype), counter, *clocks, diverged,
                limit, losses, drawn,
            )  # fmt: skip

        threads = [threading.Thread(target=work) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return factors, bias, sums, losses, drawn, int(diverged[0])

    def twin(self, kind, rule, n_negatives=2, rate=0.1):
        strata = self.strata
        start, bias = ([a.astype(np.float64) for a in side] for side in (self.start, self.bias))
        if len(bias[1]) == 0:
            bias = [None, None]
        model = twin.Model(*start, *bias, rule, rate, 0.02, 0.05)
        indptr, indices = self.positives.indptr, self.positives.indices
        known = [set(indices[a:b]) for a, b in pairwise(indptr)]
        borders = strata.item_start[1:-1]
        stripes = np.split(strata.item_order, borders)
        weights = [np.ones(len(stripe)) for stripe in stripes]
        if len(strata.cumulative):
            weights = [np.diff(c, prepend=0) for c in np.split(strata.cumulative, borders)]
        blocks = strata.block_start, strata.users, strata.items, strata.confidences.astype(float)
        losses, drawn = twin.epoch(
            model, kind, n_negatives, blocks, known, stripes, strata.strata, weights, SEED, 3
        )
        return model, losses, drawn


@at_every_level
def test_streams_are_splitmix(level):
    draws = np.empty(50, np.int64)
    load_level(level, "ranking").ranking_draws(SEED, 7, 3, 1000, draws)
    stream = twin.Stream(SEED, 7, 3)
    assert draws.tolist() == [stream.below(1000) for _ in draws]


@at_every_level
@in_both_types
@pytest.mark.parametrize("n_stripes", [1, 2, 5])
def test_dealing(level, dtype, n_stripes):
    case = Epoch(n_stripes, dtype=dtype, alpha=2.0)
    strata, positives = case.strata, case.positives
    item_stripe = np.full(40, 99)
    sizes = np.diff(strata.item_start)
    item_stripe[strata.item_order] = np.repeat(np.arange(n_stripes), sizes)
    stripes = strata.user_stripes
    users, items = np.full((2, len(positives.indices)), -1, np.int32)
    confidences = np.full(len(positives.indices), np.nan, dtype)
    block_start = np.full(n_stripes**2 + 1, -1, np.int64)
    block_start[-1] = len(positives.indices)
    load_level(level, "ranking").ranking_deal(
        positives.indptr, positives.indices, positives.confidences, stripes.order, stripes.start,
        strata._stripe_begin, item_stripe.astype(np.int32), SEED, 5, np.zeros(1, np.int64), block_start, users,
        items, confidences, np.empty(n_stripes + 1, np.int64),
    )  # fmt: skip
    expected = twin.deal(
        positives.indptr, positives.indices, stripes.order, stripes.start, item_stripe, SEED, 5
    )
    assert block_start.tolist() == expected[0].tolist()
    assert users.tolist() == expected[1].tolist()
    assert items.tolist() == expected[2].tolist()
    assert confidences.tolist() == positives.confidences[expected[3]].tolist()
    assert sorted(expected[3]) == list(range(len(positives.indices)))


@at_every_level
@in_both_types
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {"n_stripes": 3},
        {"n_stripes": 1, "bias": False, "k": 16},
        {"n_stripes": 4, "alpha": 0.7, "popularity_exponent": 0.5, "k": 33},
    ],
    ids=["plain", "no bias", "weights, popularity"],
)
def test_epoch_is_that_of_the_twin(level, dtype, rule, kind, options):
    case = Epoch(**options, dtype=dtype)
    factors, bias, sums, losses, drawn, diverged = case.run(level, kind, rule)
    model, expected_losses, expected_drawn = case.twin(kind, rule)
    tolerance = 1e-11 if dtype == np.float64 else 3e-5
    assert not diverged
    np.testing.assert_array_equal(drawn, expected_drawn)
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance * 10, atol=tolerance * 10)
    for got, expected in zip(factors, (model.users, model.items), strict=True):
        np.testing.assert_allclose(got[:, : case.k], expected, atol=tolerance)
        assert not got[:, case.k :].any()
    if len(bias[1]):
        np.testing.assert_allclose(bias[0], model.user_bias, atol=tolerance)
        np.testing.assert_allclose(bias[1], model.item_bias, atol=tolerance)
    if rule == "adagrad":
        for (name, row), value in model.sums.items():
            side = sums[name in ("items", "item_bias")]
            columns = slice(case.k, None) if name.endswith("bias") else slice(case.k)
            np.testing.assert_allclose(side[row, columns], value, rtol=tolerance * 10)


@at_every_level
@in_both_types
@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_no_bit(level, dtype, kind):
    case = Epoch(5, dtype=dtype, alpha=1.0, k=17)
    seen = set()
    for n_threads in (1, 2, 3, 8):
        factors, bias, sums, losses, drawn, _ = case.run(
            level, kind, "adagrad", n_threads=n_threads
        )
        seen.add(b"".join(a.tobytes() for a in (*factors, *bias, *sums, losses, drawn)))
    assert len(seen) == 1


@at_every_level
def test_a_user_who_took_everything_teaches_nothing(level):
    case = Epoch(1, dtype=np.float64)
    factors, *_ = case.run(level, "pairwise", "plain", rate=0.1)
    np.testing.assert_array_equal(factors[0][3, : case.k], case.start[0][3])
    assert (factors[0][4, : case.k] != case.start[0][4]).all()
    np.testing.assert_array_equal(factors[0][5, : case.k], case.start[0][5])  # has no positive
    np.testing.assert_array_equal(factors[1][9, : case.k], case.start[1][9])  # is never drawn


@at_every_level
@in_both_types
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e18])
def test_an_explosion_is_reported(level, dtype, bad):
    case = Epoch(3, dtype=dtype)
    case.start[0][6] = bad
    for n_threads in (1, 3):
        assert case.run(level, "pairwise", "plain", n_threads=n_threads, limit=100)[-1] == 1


@at_every_level
def test_the_loss_of_large_scores_is_exact(level):
    case = Epoch(2, dtype=np.float64, k=1, bias=False)
    case.start[0][:] *= 30
    _, _, _, losses, _, diverged = case.run(level, "pairwise", "plain", rate=1e-12)
    _, expected, _ = case.twin("pairwise", "plain", rate=1e-12)
    assert not diverged
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
