"""The drop-ins for implicit: what its own tests leave open. (Those are run by drop_in/run_suite.py.)"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from cymf.compat.implicit import (
    AlternatingLeastSquares,
    BayesianPersonalizedRanking,
    ParameterWarning,
    bm25_weight,
    calculate_loss,
    tfidf_weight,
)

CLASSES = (AlternatingLeastSquares, BayesianPersonalizedRanking)


@pytest.fixture(scope="module")
def liked():
    generator = np.random.default_rng(0)
    dense = generator.random((30, 20)) < 0.3
    return sp.csr_array(dense * generator.integers(1, 9, dense.shape).astype(np.float32))


def fitted(kind, liked, **settings):
    model = kind(factors=4, iterations=5, random_state=0, **settings)
    model.fit(liked, show_progress=False)
    return model


def first_iteration(liked, factors, alpha, reg):
    """implicit's first iteration by its definition, in float64: users, then items, from the uniform start."""
    generator = np.random.default_rng(0)
    x = generator.random((liked.shape[0], factors)) * 0.01
    y = generator.random((liked.shape[1], factors)) * 0.01
    dense = liked.toarray()
    for own, fixed, values in ((x, y, dense), (y, x, dense.T)):
        for row in range(len(own)):
            stored = values[row] != 0
            weights = np.where(stored, alpha * np.abs(values[row]), 1)
            matrix = (fixed.T * weights) @ fixed + reg * np.eye(factors)
            own[row] = np.linalg.solve(matrix, fixed.T @ (weights * (values[row] > 0)))
            own[row] *= stored.any()
    return x, y


def test_first_iteration_by_definition(liked):
    signed = liked.copy()
    signed.data[::7] *= -1  # disliked
    x, y = first_iteration(signed, 3, 2.0, 0.5)
    model = AlternatingLeastSquares(
        3, 0.5, 2.0, dtype=np.float64, use_cg=False, iterations=1, random_state=0
    )
    model.fit(signed, show_progress=False)
    np.testing.assert_allclose(model.user_factors @ model.item_factors.T, x @ y.T, atol=1e-9)


def test_loss_by_definition(liked):
    signed = liked.copy()
    signed.data[::5] *= -1
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(30, 3)), generator.normal(size=(20, 3))
    dense = signed.toarray()
    weights = np.where(dense != 0, np.abs(dense), 1)
    squares = weights * ((dense > 0) - x @ y.T) ** 2
    expected = (squares.sum() + 0.3 * (np.sum(x**2) + np.sum(y**2))) / weights.sum()
    assert calculate_loss(signed, x, y, 0.3) == pytest.approx(expected)


@pytest.mark.parametrize("kind", CLASSES)
def test_same_bits_for_any_number_of_threads(kind, liked):
    one, three = (fitted(kind, liked, num_threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.user_factors, three.user_factors)
    np.testing.assert_array_equal(one.item_factors, three.item_factors)


@pytest.mark.parametrize("kind", CLASSES)
def test_missing_answers_are_minus_one_and_nan(kind, liked):
    model = fitted(kind, liked)
    ids, scores = model.recommend(np.arange(30), liked, N=20)
    n_left = 20 - np.diff(liked.indptr)
    np.testing.assert_array_equal((ids >= 0).sum(axis=1), n_left)
    np.testing.assert_array_equal(np.isnan(scores), ids < 0)
    alone, _ = model.recommend(3, liked[[3]], N=20)
    np.testing.assert_array_equal(alone, ids[3, : n_left[3]])
    assert alone.dtype == np.int32


def test_candidates_come_back_whole(liked):
    model = fitted(AlternatingLeastSquares, liked)
    wanted = np.array([7, 3, 11, 5, 0])
    ids, scores = model.recommend(2, liked[[2]], items=wanted, N=99)
    assert sorted(ids.tolist()) == sorted(wanted.tolist())
    seen = np.isin(ids, liked[[2]].indices)
    assert (scores[seen] == np.finfo(np.float32).min).all()
    assert not seen[: np.count_nonzero(~seen)].any()


@pytest.mark.parametrize("kind", CLASSES)
def test_a_second_fit_goes_on(kind, liked):
    model = fitted(kind, liked)
    before = model.item_factors.copy()
    model.iterations = 1
    model.fit(liked, show_progress=False)
    scores = before @ before.T, model.item_factors @ model.item_factors.T
    assert not np.array_equal(*scores)
    assert np.abs(scores[0] - scores[1]).max() < 0.5 * np.abs(scores[0]).max()
    with pytest.raises(ValueError, match="from before have shape"):
        model.fit(liked[:10], show_progress=False)


@pytest.mark.parametrize("kind", CLASSES)
def test_files_have_implicits_names(kind, liked, tmp_path):
    model = fitted(kind, liked)
    model.save(tmp_path / "model")
    with np.load(tmp_path / "model.npz") as archive:
        assert {"user_factors", "item_factors", "factors", "dtype"} <= set(archive.files)
    again = kind.load(tmp_path / "model")
    np.testing.assert_array_equal(again.item_factors, model.item_factors)
    assert again.dtype == model.dtype
    np.savez(tmp_path / "other.npz", something=1)
    with pytest.raises(ValueError, match="something"):
        kind.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        kind.load(tmp_path / "none.npz")


def test_explanation_adds_up(liked):
    model = fitted(AlternatingLeastSquares, liked)
    ids, scores = model.recommend(4, liked[[4]], N=1, recalculate_user=True)
    total, parts, _ = model.explain(4, liked, ids[0], N=99)
    assert total == pytest.approx(scores[0], abs=1e-5)
    assert sum(part for _, part in parts) == pytest.approx(total)


@pytest.mark.parametrize("state", [None, 3, np.random.RandomState(3), np.random.default_rng(3)])
def test_every_random_state(liked, state, tmp_path):
    model = AlternatingLeastSquares(factors=2, iterations=1, random_state=state)
    model.fit(liked, show_progress=False)
    model.save(tmp_path / "model.npz")
    AlternatingLeastSquares.load(tmp_path / "model.npz")


def test_refusals(liked):
    model = fitted(AlternatingLeastSquares, liked)
    with pytest.raises(ValueError, match="CSR"):
        model.recommend(0, liked.tocsc()[[0]])
    with pytest.raises(ValueError, match="1 row for every user"):
        model.recommend(0, liked)
    with pytest.raises(ValueError, match="both given"):
        model.recommend(0, liked[[0]], items=np.array([1]), filter_items=np.array([2]))
    with pytest.raises(IndexError, match="-1"):
        model.recommend(0, liked[[0]], items=[0, -1])
    with pytest.raises(IndexError, match="99"):
        model.recommend(99, liked[[0]])
    wide = sp.csr_array((np.ones(1), ([0], [40])), shape=(1, 41))
    with pytest.raises(ValueError, match="column 40"):
        model.recommend(0, wide)
    with pytest.raises(ValueError, match="not fitted"):
        AlternatingLeastSquares().recommend(0, liked[[0]])
    with pytest.raises(ValueError, match="processors"):
        AlternatingLeastSquares(use_gpu=True)
    with pytest.warns(ParameterWarning, match="COO"):
        AlternatingLeastSquares(iterations=1).fit(liked.tocoo(), show_progress=False)
    with pytest.raises(TypeError, match="ndarray"):
        AlternatingLeastSquares().fit(liked.toarray())


def test_bpr_tells_how_many_pairs_are_in_order(liked):
    told = []
    model = BayesianPersonalizedRanking(4, 0.1, iterations=30, random_state=0)
    model.fit(liked, False, lambda epoch, seconds, correct, skipped: told.append((epoch, correct)))
    assert [epoch for epoch, _ in told] == list(range(30))
    assert told[0][1] < told[-1][1] <= liked.nnz


def test_weights_by_definition(liked):
    counts, before = liked.toarray(), liked.data.copy()
    n_rows, lengths = len(counts), counts.sum(axis=1)
    tfidf, bm25 = np.zeros(counts.shape), np.zeros(counts.shape)
    for row, column in zip(*counts.nonzero(), strict=True):
        rarity = np.log(n_rows / (1 + np.count_nonzero(counts[:, column])))
        count, length = counts[row, column], 1 - 0.3 + 0.3 * lengths[row] / lengths.mean()
        tfidf[row, column] = np.sqrt(count) * rarity
        bm25[row, column] = count * (7 + 1) / (7 * length + count) * rarity
    np.testing.assert_allclose(tfidf_weight(liked).toarray(), tfidf, rtol=1e-5)
    np.testing.assert_allclose(bm25_weight(liked, K1=7, B=0.3).toarray(), bm25, rtol=1e-5)
    np.testing.assert_array_equal(liked.data, before)


@pytest.mark.parametrize(
    ("name", "instead"),
    [("LogisticMatrixFactorization", "cymf.LogisticMF"), ("CosineRecommender", "from implicit")],
)
def test_names_that_are_not_here_say_where(name, instead):
    with pytest.raises(ImportError, match=f"has no {name}: .*{instead}"):
        exec(f"from cymf.compat.implicit import {name}")
