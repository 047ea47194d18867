"""LogisticMF: what is particular to it."""

from __future__ import annotations

import numpy as np
import pytest
import reference_ranking as twin
from ranking_models import clusters, share_of_own_group

import cymf


@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
@pytest.mark.parametrize("schedule", ["exponential", "adagrad", "adagrad_row"])
def test_every_sampling_and_schedule_learns(sampling, schedule):
    train, _ = clusters()
    rate = 0.02 if schedule == "exponential" else 0.2
    model = cymf.LogisticMF(
        8, negative_sampling=sampling, schedule=schedule, learning_rate=rate, max_iter=60
    ).fit(train)
    assert share_of_own_group(model) > 0.95


@pytest.mark.parametrize("alpha", [None, 1.5])
def test_a_fit_is_that_of_the_twin(alpha):
    rng = np.random.default_rng(5)
    strengths = np.where(rng.random((12, 15)) < 0.4, rng.integers(1, 4, (12, 15)), 0).astype(float)
    train = cymf.Ratings.from_matrix(np.where(strengths > 0, strengths, np.nan))
    model = cymf.LogisticMF(
        3, alpha=alpha, n_negatives=2, reg_bias=0.1, max_iter=1, dtype="float64"
    ).fit(train)
    generator = np.random.default_rng(0)
    start = [0.1 * generator.standard_normal((n, 3)) for n in train.shape]
    for rows, counts in zip(start, (train.user_counts, train.item_counts), strict=True):
        rows[counts == 0] = 0
    state = twin.Model(*start, np.zeros(12), np.zeros(15), "plain", 0.02, 0.005, 0.1)
    seed = int(generator.integers(2**63))
    users = generator.permutation(12)
    rated = np.flatnonzero(train.item_counts)
    items, strata = rated[generator.permutation(len(rated))], generator.permutation(1)
    view = train.csr(np.float64)
    first, who, what, entries = twin.deal(
        view.indptr, view.indices, users, [0, 12], np.zeros(15, np.int64), seed, 0
    )
    confidences = () if alpha is None else alpha * view.values[entries]
    known = [set(np.flatnonzero(row)) for row in strengths]
    losses, _ = twin.epoch(
        state,
        "pointwise",
        2,
        (first, who, what, confidences),
        known,
        [items],
        strata,
        [np.ones(len(items))],
        seed,
        0,
    )
    assert model.history_["objective"] == [pytest.approx(losses.sum() / train.nnz, rel=1e-10)]
    np.testing.assert_allclose(model.user_factors_, state.users, atol=1e-12)
    np.testing.assert_allclose(model.item_factors_, state.items, atol=1e-12)
    np.testing.assert_allclose(model.user_bias_, state.user_bias, atol=1e-12)
    np.testing.assert_allclose(model.item_bias_, state.item_bias, atol=1e-12)


def test_scores_are_log_odds():
    """Where users take all of their group and nothing else, the odds are above even there and below elsewhere."""
    taken = np.arange(60)[:, None] % 4 == np.arange(80) % 4
    model = cymf.LogisticMF(8, n_negatives=3, max_iter=100).fit(np.where(taken, 1.0, np.nan))
    scores = model.user_factors_ @ model.item_factors_.T
    scores += model.user_bias_[:, None] + model.item_bias_
    assert scores[taken].min() > 0
    assert scores[~taken].max() < 0


def test_explosions_raise_in_their_epoch():
    with pytest.raises(cymf.DivergenceError, match="epoch 1"):
        cymf.LogisticMF(4, learning_rate=1e4, init_std=1).fit(clusters()[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("negative_sampling", "warp"), ("alpha", 0), ("reg", -1), ("popularity_exponent", 3)],
)
def test_bad_parameters(name, value):
    with pytest.raises(ValueError, match=name):
        cymf.LogisticMF(**{name: value}).fit(clusters()[0])
