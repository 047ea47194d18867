"""BPR and WARP: what is particular to them."""

from __future__ import annotations

import numpy as np
import pytest
import reference_ranking as twin
from ranking_models import clusters, share_of_own_group
from scipy import sparse

import cymf
from cymf._parallel import Workers
from cymf._ranking_problem import Positives
from cymf._ranking_strata import RankingStrata, stripes_for

SAMPLINGS = ("uniform", "popularity", "warp")


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("schedule", ["exponential", "adagrad", "adagrad_row"])
def test_every_sampling_and_schedule_learns(sampling, schedule):
    train, _ = clusters()
    rate = 0.05 if schedule == "exponential" else 0.3
    model = cymf.BPR(
        3 if sampling == "warp" else 8,  # with more, WARP soon has all positives above the margin
        negative_sampling=sampling,
        schedule=schedule,
        learning_rate=rate,
        max_iter=60,
    ).fit(train)
    assert share_of_own_group(model) > 0.95


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_fit_is_that_of_the_twin(sampling):
    """Two epochs of a small fit, from its own start and dealing, without a kernel."""
    train, _ = clusters(20, 24)
    model = cymf.BPR(
        3, negative_sampling=sampling, reg_bias=0.2, max_iter=2, dtype="float64", decay=0.1
    ).fit(train)
    generator = np.random.default_rng(0)
    start = [0.1 * generator.standard_normal((n, 3)) for n in train.shape]
    for rows, counts in zip(start, (train.user_counts, train.item_counts), strict=True):
        rows[counts == 0] = 0
    state = twin.Model(*start, np.zeros(20), np.zeros(24), "plain", 0.05, 0.01, 0.2)
    seed = int(generator.integers(2**63))
    rated = np.flatnonzero(train.item_counts)
    users = generator.permutation(20)
    view = train.csr()
    rows = [set(view.indices[view.indptr[u] : view.indptr[u + 1]]) for u in range(20)]
    kind, n_negatives = ("warp", 50) if sampling == "warp" else ("pairwise", 1)
    for epoch in range(2):
        items, strata = rated[generator.permutation(len(rated))], generator.permutation(1)
        state.rate = 0.05 * 0.9**epoch
        one_stripe = np.zeros(24, np.int64)
        first, who, what, _ = twin.deal(
            view.indptr, view.indices, users, [0, 20], one_stripe, seed, epoch
        )
        counts = train.item_counts[items].astype(float)
        weights = counts**0.75 if sampling == "popularity" else np.ones(len(items))
        blocks = first, who, what, ()
        losses, drawn = twin.epoch(
            state, kind, n_negatives, blocks, rows, [items], strata, [weights], seed, epoch
        )
        terms = drawn.sum() if kind == "pairwise" else train.nnz
        assert model.history_["objective"][epoch] == pytest.approx(losses.sum() / terms, rel=1e-10)
    np.testing.assert_allclose(model.user_factors_, state.users, atol=1e-12)
    np.testing.assert_allclose(model.item_factors_, state.items, atol=1e-12)
    np.testing.assert_allclose(model.item_bias_, state.item_bias, atol=1e-12)


def test_biases():
    train, _ = clusters()
    with_bias = cymf.BPR(4, max_iter=3).fit(train)
    assert with_bias.item_bias_.any()
    assert not with_bias.user_bias_.any()
    assert with_bias.global_mean_ == 0
    without = cymf.BPR(4, max_iter=3, use_bias=False).fit(train)
    assert without.item_bias_ is None


def test_item_bias_ranks_for_strangers():
    rng = np.random.default_rng(0)
    taken = rng.random((200, 30)) < np.linspace(0.6, 0.05, 30)
    model = cymf.BPR(2, max_iter=30, reg=0.05).fit(sparse.csr_array(taken.astype(float)))
    items, _ = model.recommend(10_000, n=5)
    assert set(items) <= set(range(9))


def test_explosions_raise_in_their_epoch():
    train, _ = clusters()
    with pytest.raises(cymf.DivergenceError, match=r"epoch 1: .*learning rate 1e"):
        cymf.BPR(4, learning_rate=1e4, use_bias=False, init_std=1).fit(train)


def test_backing_off_finds_a_rate():
    train, _ = clusters()
    model = cymf.BPR(8, learning_rate=1e4, init_std=1, max_iter=60, on_divergence="back_off")
    with pytest.warns(cymf.ConvergenceWarning, match="halved"):
        model.fit(train)
    assert np.isfinite(model.user_factors_).all()
    assert model.history_["objective"][-1] < 1


def test_confidence_scales_the_step():
    train, _ = clusters()
    weights = np.full(train.nnz, 2.0)
    heavy = cymf.Ratings.from_matrix(train.to_scipy(), weights=weights)
    parameters = {"reg": 0.0, "max_iter": 1, "dtype": "float64", "use_bias": False}
    one = cymf.BPR(4, learning_rate=0.02, **parameters).fit(train)
    two = cymf.BPR(4, learning_rate=0.01, **parameters).fit(heavy)
    np.testing.assert_allclose(one.item_factors_, two.item_factors_, rtol=1e-12)


def test_every_pair_of_items_meets_equally_often():
    """The share of epochs in which two items share a stripe is that of a uniform partition."""
    train, _ = clusters(200, 64, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cymf._ranking_strata.stripes_for", lambda *sizes: 4)
        positives = Positives.of(train, np.dtype(np.float32))
        strata = RankingStrata(positives, train.item_counts, 0.0, np.random.default_rng(0))
    met = np.zeros((64, 64))
    n_epochs = 600
    with Workers(1) as workers:
        for epoch in range(n_epochs):
            strata.deal(epoch, workers)
            stripe = strata._item_stripe
            met += stripe[:, None] == stripe[None, :]
    pairs = met[1:, 1:][np.triu_indices(63, 1)] / n_epochs
    sizes = np.diff(strata.item_start)
    expected = np.sum(sizes * (sizes - 1)) / (63 * 62)
    spread = np.sqrt(expected * (1 - expected) / n_epochs)
    assert abs(pairs.mean() - expected) < 1e-12
    assert np.abs(pairs - expected).max() < 5 * spread


def test_stripes_depend_on_the_data_alone():
    assert stripes_for(100, 10, 10) == 1
    assert stripes_for(810_128, 29_858, 40_981) == 16
    assert stripes_for(994_169, 6040, 3706) == 16
    assert stripes_for(49_171, 1797, 1507) == 9


@pytest.mark.parametrize(
    ("name", "value"),
    [("negative_sampling", "hard"), ("popularity_exponent", -1), ("reg", -1), ("reg_bias", np.nan)],
)
def test_bad_parameters(name, value):
    with pytest.raises(ValueError, match=name):
        cymf.BPR(**{name: value}).fit(clusters()[0])
