"""What all models with sampled ranking losses do around their epochs."""

from __future__ import annotations

import math
import signal
from dataclasses import replace

import numpy as np
import pytest
from fitted_models import ThreadsEvenForLittle
from kernel_drivers import in_both_types
from ranking_models import ESTIMATORS, SUITED, bits_of, clusters, share_of_own_group
from scipy import sparse

import cymf

by_every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)


@pytest.fixture
def several_stripes(monkeypatch):
    """Grids of 4 × 4 blocks even for little data."""
    monkeypatch.setattr("cymf._ranking_strata._POSITIVES_PER_BLOCK", 20)
    monkeypatch.setattr("cymf._ranking_strata._ITEMS_PER_STRIPE", 20)


@by_every_estimator
def test_recommends_what_the_like_took(estimator):
    train, _ = clusters()
    suited = SUITED.get(estimator.__name__, {})
    model = estimator(8, max_iter=60, **suited).fit(train)
    assert share_of_own_group(model) > 0.95
    assert model.history_["objective"][-1] < model.history_["objective"][0]
    assert not model.user_factors_[-1].any()
    assert not model.item_factors_[0].any()


@by_every_estimator
@in_both_types
def test_threads_change_no_bit(monkeypatch, several_stripes, estimator, dtype):
    threads = ThreadsEvenForLittle(monkeypatch)
    train, held_out = clusters()
    seen = set()
    for n_threads in (1, 2, 3, 8):
        before = threads.calls
        model = estimator(9, max_iter=3, n_threads=n_threads, dtype=dtype)
        model.fit(train, validation=held_out)
        assert (threads.calls > before) == (n_threads > 1)
        assert model.user_factors_.dtype == dtype
        seen.add(bits_of(model))
    assert len(seen) == 1


@by_every_estimator
def test_the_seed_decides_all(estimator):
    train, _ = clusters()
    fits = [bits_of(estimator(4, max_iter=2, random_state=seed).fit(train)) for seed in (0, 0, 1)]
    assert fits[0] == fits[1]
    assert fits[0] != fits[2]


@by_every_estimator
def test_stripes_teach_as_well_as_one_block(several_stripes, monkeypatch, estimator):
    train, _ = clusters(200, 160)
    shares = []
    for most in (1, 4):
        monkeypatch.setattr("cymf._ranking_strata._MOST_STRIPES", most)
        shares.append(share_of_own_group(estimator(8, max_iter=40).fit(train)))
    assert min(shares) > 0.95


@by_every_estimator
def test_history_has_one_number_an_epoch(estimator):
    train, held_out = clusters()
    model = estimator(4, max_iter=5).fit(train, validation=held_out)
    history = model.history_
    assert set(history) == {"objective", "validation_score", "seconds"}
    assert {len(values) for values in history.values()} == {5}
    assert np.isfinite(history["objective"]).all()
    assert all(0 <= score <= 1 for score in history["validation_score"])
    without = estimator(4, max_iter=2).fit(train)
    assert all(math.isnan(score) for score in without.history_["validation_score"])


@by_every_estimator
def test_validation_score_is_that_of_the_recommendations(estimator):
    train, held_out = clusters()
    model = estimator(4, max_iter=3, validation_metric="hit_rate@3")
    model.fit(train, validation=held_out)
    users = np.arange(59)
    items, _ = model.recommend(users, n=3)
    hits = held_out.to_scipy().toarray()[users[:, None], items] > 0
    assert model.history_["validation_score"][-1] == pytest.approx(hits.any(axis=1).mean())


@by_every_estimator
def test_patience_keeps_the_best(estimator):
    train, held_out = clusters(share=0.3)
    model = estimator(16, max_iter=200, patience=5).fit(train, validation=held_out)
    scores = model.history_["validation_score"]
    assert model.stop_reason_ == "patience"
    best = int(np.argmax(scores))
    assert model.n_iter_ == best + 1 + 5
    again = estimator(16, max_iter=best + 1).fit(train, validation=held_out)
    assert again.user_factors_.tobytes() == model.user_factors_.tobytes()


@by_every_estimator
def test_a_callback_stops(estimator):
    train, held_out = clusters()
    seen = []

    def stop(record):
        seen.append(record)
        return record.iteration == 3

    model = estimator(4, max_iter=9).fit(train, validation=held_out, callback=stop)
    assert model.stop_reason_ == "callback"
    assert [r.iteration for r in seen] == [1, 2, 3]
    assert [r.validation_score for r in seen] == model.history_["validation_score"]


@by_every_estimator
def test_ctrl_c_ends_after_the_epoch(estimator):
    train, _ = clusters()

    def interrupt(record):
        if record.iteration == 2:
            signal.raise_signal(signal.SIGINT)

    model = estimator(4, max_iter=9)
    with pytest.warns(cymf.ConvergenceWarning, match="interrupted"):
        model.fit(train, callback=interrupt)
    assert model.n_iter_ == 2
    assert model.stop_reason_ == "interrupted"


@by_every_estimator
def test_saved_and_loaded(estimator, tmp_path):
    train, _ = clusters()
    model = estimator(4, max_iter=2).fit(train)
    model.save(tmp_path / "model")
    loaded = cymf.load(tmp_path / "model")
    assert type(loaded) is estimator
    assert loaded.get_params() == model.get_params()
    assert bits_of(loaded) == bits_of(model)
    assert bits_of(loaded.partial_fit(train)) == bits_of(model.partial_fit(train))


@by_every_estimator
def test_a_warm_start_goes_on(estimator):
    train, _ = clusters()
    long = estimator(8, max_iter=40).fit(train)
    warm = estimator(8, max_iter=1).fit(train, init=long)
    assert share_of_own_group(warm) > 0.9
    again = estimator(8, max_iter=1).fit(train, init=(long.user_factors_, long.item_factors_))
    assert share_of_own_group(again) > 0.9


@by_every_estimator
def test_partial_fit_learns_new_users_and_items_by_id(estimator):
    pairs = [
        (f"u{u}", f"i{i}") for u in range(40) for i in range(40) if (u - i) % 4 == 0 and u != i
    ]
    model = estimator(8, max_iter=40).fit(np.array(pairs), np.ones(len(pairs)))
    known = dict(zip(model._fitted().user_ids.ids, model.user_factors_.copy(), strict=True))
    new = np.array([("new", f"i{i}") for i in range(0, 20, 4)] + [("u0", "fresh"), ("u4", "fresh")])
    state = model._fitted()
    model.partial_fit(new, np.ones(len(new)), n_epochs=30, learning_rate=model.learning_rate)
    assert model._fitted() is not state
    assert model.user_factors_.shape[0] == 41
    assert model.item_factors_.shape[0] == 41
    items, _ = model.recommend("new", n=4)
    assert {int(item[1:]) % 4 for item in items if item != "fresh"} == {0}
    assert not set(items) & set(new[:5, 1])  # what it took just now
    assert model.n_iter_ == 40
    assert {len(values) for values in model.history_.values()} == {40}
    untouched = model._fitted().user_ids.to_index(np.array(["u1"]))[0]
    np.testing.assert_array_equal(model.user_factors_[untouched], known["u1"])
    assert model._fitted().ratings.nnz == len(pairs) + len(new)


@by_every_estimator
def test_partial_fit_of_an_unfitted_model_fits(estimator):
    train, _ = clusters()
    model = estimator(4).partial_fit(train, n_epochs=2)
    assert bits_of(model) == bits_of(estimator(4, max_iter=2).fit(train))


@by_every_estimator
def test_without_stored_ratings(estimator):
    train, _ = clusters()
    model = estimator(4, max_iter=2, store_ratings=False).fit(train)
    with pytest.raises(ValueError, match="seen"):
        model.recommend(0)
    model.partial_fit(train)
    assert model._fitted().ratings is None


@by_every_estimator
def test_strength_says_what_is_positive(estimator):
    train, _ = clusters()
    matrix = train.to_scipy().toarray()
    disliked = matrix.copy()
    disliked[1, [2, 6, 10]] = -1
    disliked[1, 3] = 0.0  # as good as not there, but stored
    stored = np.where((disliked != 0) | (np.arange(80) == 3), disliked, np.nan)
    stored[:, 0] = np.nan
    model = estimator(4, max_iter=2).fit(stored)
    assert np.isfinite(model.user_factors_).all()
    with pytest.raises(ValueError, match="no interaction has a positive strength"):
        estimator(4).fit(sparse.csr_array(-matrix))


@by_every_estimator
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("n_factors", 0, ValueError),
        ("learning_rate", 0, ValueError),
        ("schedule", "linear", ValueError),
        ("decay", 2, ValueError),
        ("n_negatives", 0, ValueError),
        ("init_std", -1, ValueError),
        ("patience", 0, ValueError),
        ("validation_metric", "ndcg", ValueError),
        ("on_divergence", "hope", ValueError),
        ("dtype", "int8", ValueError),
        ("n_threads", 0, ValueError),
        ("verbose", 1, TypeError),
        ("max_iter", 1.5, TypeError),
    ],
)
def test_bad_parameters(estimator, name, value, error):
    if name not in estimator().get_params():
        pytest.skip(f"has no {name}")
    model = estimator(**{name: value})
    if name == "decay":
        model.set_params(schedule="exponential")
    with pytest.raises(error, match=name if name != "validation_metric" else "metric"):
        model.fit(clusters()[0])
    assert not hasattr(model, "user_factors_")


@by_every_estimator
def test_bad_arguments(estimator):
    train, held_out = clusters()
    with pytest.raises(ValueError, match="patience=2 needs a validation set"):
        estimator(patience=2).fit(train)
    with pytest.raises(TypeError, match="callback is a str"):
        estimator().fit(train, callback="stop")
    with pytest.raises(ValueError, match="tuple of 3"):
        estimator().fit(train, validation=(1, 2, 3))
    with pytest.raises(ValueError, match="holds no interaction of positive strength"):
        estimator().fit(train, validation=sparse.csr_array(-held_out.to_scipy()))
    model = estimator(4, max_iter=1).fit(train)
    state = model._fitted()
    with pytest.raises(ValueError, match="n_factors=4"):
        model.set_params(n_factors=5).partial_fit(train)
    assert model._fitted() is state


@by_every_estimator
def test_the_state_is_replaced_at_once(estimator):
    train, _ = clusters()
    model = estimator(4, max_iter=2).fit(train)
    state = model._fitted()
    assert replace(state) is not state
    with pytest.raises(ValueError, match="read-only"):
        model.user_factors_[0] = 0
