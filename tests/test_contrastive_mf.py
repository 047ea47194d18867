"""ContrastiveMF: what is particular to it."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_drivers import in_both_types
from ranking_models import clusters, share_of_own_group

import cymf

LOSSES = {
    "softmax": {"temperature": 0.3},
    "cosine_contrastive": {"margin": 0.4, "negative_weight": 5.0},
}
by_loss = pytest.mark.parametrize("loss", LOSSES)


@by_loss
@pytest.mark.parametrize("schedule", ["exponential", "adagrad", "adagrad_row"])
def test_every_loss_and_schedule_learns(loss, schedule):
    train, _ = clusters()
    rate = {"exponential": 0.05, "adagrad": 0.2, "adagrad_row": 0.1}[schedule]
    model = cymf.ContrastiveMF(
        8, loss=loss, schedule=schedule, learning_rate=rate, max_iter=60, **LOSSES[loss]
    ).fit(train)
    assert share_of_own_group(model) > 0.95


@by_loss
@in_both_types
def test_rows_have_unit_length_and_scores_are_cosines(loss, dtype):
    train, _ = clusters()
    model = cymf.ContrastiveMF(5, loss=loss, max_iter=3, dtype=dtype).fit(train)
    for rows, counts in (
        (model.user_factors_, train.user_counts),
        (model.item_factors_, train.item_counts),
    ):
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        np.testing.assert_allclose(norms[counts > 0], 1, rtol=4 * np.finfo(dtype).eps)
        assert not norms[counts == 0].any()
    w, h = model.user_factors_[3], model.item_factors_[7]
    assert model.predict(3, 7) == pytest.approx(float(w @ h), abs=1e-6)
    dot, cosine = (model.similar_items(7, n=3, metric=metric) for metric in ("dot", "cosine"))
    assert dot[0].tolist() == cosine[0].tolist()
    np.testing.assert_allclose(dot[1], cosine[1], rtol=1e-5)


def test_a_pool_is_at_most_all_items():
    train, _ = clusters()
    models = [cymf.ContrastiveMF(4, n_negatives=n, max_iter=2).fit(train) for n in (79, 5000)]
    assert models[0].user_factors_.tobytes() == models[1].user_factors_.tobytes()


def test_confidence_scales_the_step():
    train, _ = clusters()
    heavy = cymf.Ratings.from_matrix(train.to_scipy(), weights=np.full(train.nnz, 2.0))
    parameters = {"max_iter": 1, "dtype": "float64", "schedule": "constant"}
    one = cymf.ContrastiveMF(4, learning_rate=0.02, **parameters).fit(train)
    two = cymf.ContrastiveMF(4, learning_rate=0.01, **parameters).fit(heavy)
    np.testing.assert_allclose(one.item_factors_, two.item_factors_, rtol=1e-10)
    assert two.history_["objective"][0] == pytest.approx(2 * one.history_["objective"][0])


def test_init_is_brought_to_unit_length():
    train, _ = clusters()
    rng = np.random.default_rng(0)
    start = [rng.normal(size=(n, 4)) for n in train.shape]
    parameters = {"max_iter": 1, "dtype": "float64"}
    one = cymf.ContrastiveMF(4, **parameters).fit(train, init=tuple(start))
    two = cymf.ContrastiveMF(4, **parameters).fit(train, init=tuple(9 * rows for rows in start))
    np.testing.assert_allclose(one.user_factors_, two.user_factors_, atol=1e-12)


def test_an_absurd_rate_raises_in_its_epoch():
    with pytest.raises(cymf.DivergenceError, match="epoch 1"):
        cymf.ContrastiveMF(4, learning_rate=1e300).fit(clusters()[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("loss", "hinge"), ("temperature", 0), ("margin", 2), ("negative_weight", -1)],
)
def test_bad_parameters(name, value):
    with pytest.raises(ValueError, match=name):
        cymf.ContrastiveMF(**{name: value}).fit(clusters()[0])
