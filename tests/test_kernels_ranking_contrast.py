"""Contrastive kernels: gradients of the twin, epochs against the twin, the same bits by any threads."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
import reference_ranking as twin
from kernel_drivers import at_every_level, in_both_types
from test_kernels_ranking import RULES, SEED, interactions

from cymf._factors import aligned_zeros
from cymf._kernels import load_level
from cymf._parallel import Workers
from cymf._ranking_contrast import to_unit_length
from cymf._ranking_problem import Positives
from cymf._ranking_strata import RankingStrata

KINDS = {"softmax": 0, "cosine_contrastive": 1}
SETTINGS = {"softmax": (1 / 0.2, 0.0), "cosine_contrastive": (0.15, 7.0)}
by_kind = pytest.mark.parametrize("kind", KINDS)


class Epoch:
    """The arguments of one epoch over a grid."""

    def __init__(self, n_stripes, *, dtype, alpha=None, k=5, n_users=70, n_items=100):
        self.dtype = np.dtype(dtype)
        ratings = interactions(n_users, n_items)
        self.positives = Positives.of(ratings, self.dtype, alpha)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cymf._ranking_strata.stripes_for", lambda *sizes: n_stripes)
            self.strata = RankingStrata(
                self.positives, ratings.item_counts, 0.0, np.random.default_rng(1)
            )
        with Workers(1) as workers:
            self.strata.deal(3, workers)
        rng = np.random.default_rng(2)
        self.k, self.width = k, -(-k * self.dtype.itemsize // 64) * 64 // self.dtype.itemsize
        self.start = [rng.normal(size=(n, k)) for n in ratings.shape]
        for rows in self.start:
            to_unit_length(rows)
        self.start = [rows.astype(dtype) for rows in self.start]

    def run(self, level, kind, rule, n_negatives, n_threads=1):
        kernels, strata, positives = load_level(level, "ranking"), self.strata, self.positives
        order, n = strata.item_order, strata.n_stripes
        users = aligned_zeros((len(self.start[0]), self.width), self.dtype)
        users[:, : self.k] = self.start[0]
        items = aligned_zeros((len(order), self.width), self.dtype)
        items[:, : self.k] = self.start[1][order]
        position = np.full(len(self.start[1]), -1, np.int32)
        position[order] = np.arange(len(order))
        columns = {"plain": 0, "adagrad_row": 2, "adagrad": self.k + 1}[rule]
        sums = [np.ones((len(a) if columns else 0, columns), self.dtype) for a in (users, items)]
        counter, diverged = np.zeros(1, np.int64), np.zeros(1, np.int64)
        clocks = np.zeros((2, 8 * n), np.int64)
        losses = np.full(n * n, np.nan)
        sharpness, weight = SETTINGS[kind]

        def work():
            size = kernels.contrast_scratch(n_negatives, self.width)
            scratch = aligned_zeros(size + 8, self.dtype)
            scratch[:] = 77
            kernels.contrast_epoch(
                strata.block_start, strata.users, strata.items, strata.confidences, positives.indptr,
                positives.indices, position, strata.item_start, strata.strata, KINDS[kind], n_negatives, sharpness,
                weight, SEED, 3, users, items, *sums, RULES[rule], 0.1, self.k, scratch[:size], counter, *clocks,
                diverged, losses,
            )  # fmt: skip
            assert (scratch[size:] == 77).all()

        threads = [threading.Thread(target=work) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        all_items = self.start[1].astype(self.dtype)
        all_items[order] = items[:, : self.k]
        assert diverged[0] or not users[:, self.k :].any()
        assert diverged[0] or not items[:, self.k :].any()
        return users[:, : self.k], all_items, sums, losses, int(diverged[0])

    def twin(self, kind, rule, n_negatives):
        strata = self.strata
        start = [a.astype(np.float64) for a in self.start]
        model = twin.Model(*start, None, None, rule, 0.1, 0.0, 0.0)
        indptr, indices = self.positives.indptr, self.positives.indices
        known = [set(indices[a:b]) for a, b in pairwise(indptr)]
        stripes = np.split(strata.item_order, strata.item_start[1:-1])
        blocks = strata.block_start, strata.users, strata.items, strata.confidences.astype(float)
        losses = twin.contrast_epoch(
            model, kind, n_negatives, blocks, known, stripes, strata.strata, SETTINGS[kind], SEED, 3
        )
        return model, losses


@by_kind
def test_gradients_are_those_of_the_loss(kind):
    """The twin's gradients by finite differences."""
    rng = np.random.default_rng(0)
    model = twin.Model(
        rng.normal(size=(3, 4)), rng.normal(size=(9, 4)), None, None, "plain", 0, 0, 0
    )
    who, what, pool = np.array([0, 2]), np.array([8, 7]), np.arange(6)
    masks = rng.random((2, 6)) < 0.3
    args = pool, masks, np.array([1.0, 2.5]), SETTINGS[kind]
    by_pool, by_item, by_user = twin.contrast_gradients(kind, model, who, what, *args)

    def loss():
        rows = model.users[who], model.items, model.items[what]
        return twin.contrast_loss(kind, *rows, *args)

    for rows, numbers, gradient in (
        (model.items, pool, by_pool),
        (model.items, what, by_item),
        (model.users, who, by_user),
    ):
        for row, expected in zip(numbers, gradient, strict=True):
            for f in range(4):
                values, old = [], rows[row, f]
                for step in (1e-6, -1e-6):
                    rows[row, f] = old + step
                    values.append(loss())
                rows[row, f] = old
                assert (values[0] - values[1]) / 2e-6 == pytest.approx(
                    expected[f], rel=1e-6, abs=1e-7
                )


@at_every_level
@in_both_types
@pytest.mark.parametrize("rule", RULES)
@by_kind
@pytest.mark.parametrize(
    "options",
    [
        {"n_stripes": 3, "n_negatives": 7},
        {"n_stripes": 1, "n_negatives": 80, "k": 16},
        {"n_stripes": 2, "n_negatives": 1000, "alpha": 0.7, "k": 33},
    ],
    ids=["small pool", "wide pool", "whole stripes, weights"],
)
def test_epoch_is_that_of_the_twin(level, dtype, rule, kind, options):
    options = dict(options)
    n_negatives = options.pop("n_negatives")
    case = Epoch(**options, dtype=dtype)
    users, items, _, losses, diverged = case.run(level, kind, rule, n_negatives)
    model, expected = case.twin(kind, rule, n_negatives)
    tolerance = 1e-10 if dtype == np.float64 else 2e-4
    assert not diverged
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    np.testing.assert_allclose(users, model.users, atol=tolerance)
    np.testing.assert_allclose(items, model.items, atol=tolerance)
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, rtol=1e-6)


@at_every_level
@in_both_types
@by_kind
def test_threads_change_no_bit(level, dtype, kind):
    case = Epoch(5, dtype=dtype, alpha=1.0, k=17)
    seen = set()
    for n_threads in (1, 2, 3, 8):
        users, items, sums, losses, _ = case.run(level, kind, "adagrad_row", 9, n_threads)
        seen.add(b"".join(a.tobytes() for a in (users, items, *sums, losses)))
    assert len(seen) == 1


@at_every_level
@in_both_types
def test_nan_is_reported(level, dtype):
    case = Epoch(3, dtype=dtype)
    case.start[0][6] = np.nan
    for n_threads in (1, 3):
        assert case.run(level, "softmax", "plain", 9, n_threads)[-1] == 1


@at_every_level
@in_both_types
def test_exponentials_are_exact(level, dtype):
    x = -np.concatenate([[0.0, 1e-20, 0.5, np.log(2)], np.geomspace(1e-3, 2000, 2000)])
    x = np.resize(np.append(x, [-np.inf]), 2016).astype(dtype)
    exact = np.exp(x.astype(np.longdouble))
    normal = exact > 2 * np.finfo(dtype).tiny
    by_vectors, one_by_one = np.empty((2, len(x)), dtype)
    load_level(level, "ranking").contrast_exponentials(x, by_vectors, one_by_one)
    for got in (by_vectors, one_by_one):
        np.testing.assert_allclose(
            got[normal], exact[normal].astype(np.float64), rtol=2 * np.finfo(dtype).eps
        )
        assert (got[exact < np.finfo(dtype).tiny / 4] == 0).all()
        assert (got >= 0).all()
