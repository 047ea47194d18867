"""SpectralMF against its formula, written out with dense matrices; fold-in, determinism, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from fitted_models import ThreadsEvenForLittle
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

import cymf
from cymf._parallel import Workers
from cymf._truncated_svd import truncated_svd

in_both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])


def svd_of(matrix, n_vectors, *, tol=1e-3, n_threads=1):
    with Workers(n_threads) as workers:
        return truncated_svd(
            matrix, n_vectors, np.random.default_rng(0), tol=tol, max_iter=50, workers=workers
        )


def interactions(n_users=30, n_items=20, density=0.3, seed=0, weights=False):
    """Strengths without ties between singular values; the last user and the first item have none."""
    rng = np.random.default_rng(seed)
    observed = rng.random((n_users, n_items)) < density
    observed[0, -1] = True
    observed[-1] = observed[:, 0] = False
    users, items = np.nonzero(observed)
    strengths = rng.uniform(0.5, 2, len(users))
    return cymf.Ratings.from_triplets(
        users,
        items,
        strengths,
        weights=rng.uniform(0.5, 2, len(users)) if weights else None,
        shape=(n_users, n_items),
    )


def dense(ratings):
    matrix = np.zeros(ratings.shape)
    weights = 1 if ratings.weights is None else ratings.weights
    matrix[ratings.users, ratings.items] = ratings.values * weights
    return matrix


def power(degrees, exponent):
    return np.array([d**exponent if d > 0 else 0.0 for d in degrees])


def slow_twin(matrix, k, weight, a, b):
    """Scores by the class's formula: R D^b V g(Σ) Vᵀ D^−b; and the singular values."""
    user_degrees, item_degrees = matrix.sum(axis=1), matrix.sum(axis=0)
    scale = power(item_degrees, b)
    normalized = power(user_degrees, a)[:, None] * matrix * scale
    _, values, vectors = np.linalg.svd(normalized, full_matrices=False)
    values, vectors = values[:k], vectors[:k]
    kept = values > 1e-12
    gains = np.ones(len(values)) if weight is None else (values**2 + weight) / (1 + weight)
    scores = (matrix * scale) @ vectors.T @ np.diag(gains * kept) @ vectors
    return scores * power(item_degrees, -b), np.where(kept, values, 0)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    k=st.integers(1, 30),
    weight=st.sampled_from([None, 0, 0.3, 5.0]),
    exponents=st.tuples(st.sampled_from([-1, -0.5, -0.3, 0]), st.sampled_from([-1, -0.5, 0])),
    weights=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 1000),
)
def test_scores_are_those_of_the_formula(shape, k, weight, exponents, weights, dtype, seed):
    ratings = interactions(*(n + 1 for n in shape), seed=seed, weights=weights)
    model = cymf.SpectralMF(
        k, filter_weight=weight, user_exponent=exponents[0], item_exponent=exponents[1], dtype=dtype
    ).fit(ratings)
    scores, values = slow_twin(dense(ratings), k, weight, *exponents)
    rounding = 2e-4 if dtype == "float32" else 1e-9
    assert model.user_factors_.dtype == model.item_factors_.dtype == np.dtype(dtype)
    assert model.user_factors_.shape == (ratings.n_users, k)
    np.testing.assert_allclose(
        model.singular_values_, np.pad(values, (0, k - len(values))), atol=rounding
    )
    np.testing.assert_allclose(model.W_ @ model.H_, scores, atol=rounding * max(1, scores.max()))
    assert not model.user_factors_[-1].any()
    assert not model.item_factors_[0].any()


@in_both_types
def test_lanczos_finds_what_lapack_finds(dtype):
    matrix = interactions(420, 310, density=0.1).to_scipy().astype(dtype)
    left, values, right, n_iter, converged = svd_of(
        matrix, 25, tol=1e-5 if dtype == "float32" else 1e-10
    )
    assert converged
    assert n_iter > 1
    expected_left, expected, expected_right = np.linalg.svd(matrix.toarray(), full_matrices=False)
    rounding = 1e-4 if dtype == "float32" else 1e-9
    assert left.dtype == values.dtype == right.dtype == np.dtype(dtype)
    np.testing.assert_allclose(values, expected[:25], rtol=rounding)
    np.testing.assert_allclose(
        left * values @ right.T,
        expected_left[:, :25] * expected[:25] @ expected_right[:25],
        atol=rounding,
    )
    np.testing.assert_allclose(left.T @ left, np.eye(25), atol=rounding)
    np.testing.assert_allclose(right.T @ right, np.eye(25), atol=rounding)


@in_both_types
def test_a_basis_beyond_the_rank_is_filled_with_zeros(dtype):
    """Blocks of ones: five singular values, two of them equal, and the iteration finds nothing new after them."""
    matrix = scipy.sparse.block_diag(
        [np.ones((rows, 70)) for rows in (80, 60, 90, 50, 90)], format="csr", dtype=dtype
    )
    left, values, right, n_iter, converged = svd_of(matrix, 12)
    assert (n_iter, converged) == (1, True)
    expected = np.sqrt(70.0 * np.array([90, 90, 80, 60, 50]))
    np.testing.assert_allclose(values, np.r_[expected, np.zeros(7)], rtol=1e-5)
    np.testing.assert_allclose(left * values @ right.T, matrix.toarray(), atol=1e-4)
    assert not left[:, 5:].any()
    assert not right[:, 5:].any()


def test_small_singular_values_do_not_drown_in_the_largest():
    """Single precision, and values that fall to a thousandth of the largest."""
    rng = np.random.default_rng(0)
    sides = [np.linalg.qr(rng.standard_normal((n, 40)))[0] for n in (320, 300)]
    expected = 1000 * np.logspace(0, -3, 40)
    matrix = scipy.sparse.csr_array((sides[0] * expected @ sides[1].T).astype(np.float32))
    svd = svd_of(matrix, 30, tol=1e-4)
    np.testing.assert_allclose(svd.values, expected[:30], rtol=1e-3)
    np.testing.assert_allclose(svd.right.T @ svd.right, np.eye(30), atol=1e-3)


@pytest.mark.parametrize("shape", [(420, 310), (12, 9)], ids=["lanczos", "lapack"])
def test_signs_are_fixed(shape):
    matrix = interactions(*shape).to_scipy()
    right = svd_of(matrix, 8).right
    assert np.all(np.take_along_axis(right, np.abs(right).argmax(axis=0)[None], 0) > 0)


def test_all_singular_vectors_without_a_filter_give_the_matrix_back():
    ratings = interactions()
    model = cymf.SpectralMF(20, filter_weight=None, dtype="float64").fit(ratings)
    np.testing.assert_allclose(model.W_ @ model.H_, dense(ratings), atol=1e-12)
    assert model.history_["objective"][0] == pytest.approx(0, abs=1e-12)


def test_objective_is_half_of_what_the_truncation_drops():
    ratings = interactions()
    model = cymf.SpectralMF(5, dtype="float64").fit(ratings)
    _, values = slow_twin(dense(ratings), 20, None, -0.5, -0.5)
    assert model.history_["objective"] == [pytest.approx(0.5 * np.sum(values[5:] ** 2))]
    assert (model.n_iter_, model.stop_reason_) == (0, "tol")


def bits(model):
    return model.user_factors_.tobytes() + model.item_factors_.tobytes()


@pytest.mark.parametrize("shape", [(420, 310), (30, 20)], ids=["lanczos", "lapack"])
def test_no_thread_changes_a_bit(shape, monkeypatch):
    threads = ThreadsEvenForLittle(monkeypatch)
    ratings = interactions(*shape, density=0.1)
    expected = bits(cymf.SpectralMF(16, n_threads=1).fit(ratings))
    assert threads.calls == 0
    for n_threads in (1, 2, 5):
        with threadpool_limits(n_threads, "blas"):
            assert bits(cymf.SpectralMF(16, n_threads=n_threads).fit(ratings)) == expected
    assert (threads.calls > 0) == (shape == (420, 310))


def test_the_seed_changes_rounding_alone():
    ratings = interactions(420, 310, density=0.1)
    models = [cymf.SpectralMF(16, random_state=seed).fit(ratings) for seed in (0, 1)]
    assert bits(models[0]) != bits(models[1])
    np.testing.assert_allclose(models[0].W_ @ models[0].H_, models[1].W_ @ models[1].H_, atol=2e-3)


@in_both_types
def test_factors_for_the_users_of_the_training_are_their_own(dtype):
    ratings = interactions(weights=True)
    model = cymf.SpectralMF(6, dtype=dtype, item_exponent=-0.4).fit(ratings)
    factors = model.user_factors_for(ratings)
    assert factors.dtype == np.dtype(dtype)
    np.testing.assert_allclose(
        factors, model.user_factors_, atol=1e-5 if dtype == "float32" else 1e-12
    )


def test_factors_for_new_users_find_items_by_their_ids():
    users, items = np.array([0, 0, 1, 1, 2]), np.array(["tea", "rum", "tea", "gin", "gin"])
    model = cymf.SpectralMF(2, dtype="float64").fit(np.c_[users.astype(object), items], np.ones(5))
    factors = model.user_factors_for(
        cymf.Ratings.from_triplets(["a", "a", "a", "b"], ["rum", "ale", "tea", "ale"], np.ones(4))
    )
    np.testing.assert_allclose(factors, [model.user_factors_[0], [0, 0]], atol=1e-12)
    single = model.user_factors_for(["gin", "ale"], [2.0, 5.0])
    np.testing.assert_allclose(single, 2 * model.user_factors_[2], atol=1e-12)
    np.testing.assert_allclose(model.user_factors_for([0], by="index"), single / 2, atol=1e-12)
    with pytest.raises(ValueError, match="item ids"):
        model.user_factors_for(np.ones((1, 3)))
    matrix = cymf.SpectralMF(2).fit(np.ones((4, 3)))
    with pytest.raises(ValueError, match="the shapes must agree"):
        matrix.user_factors_for(np.ones((4, 2)))


def test_recommendations_leave_out_what_was_seen():
    ratings = interactions()
    model = cymf.SpectralMF(6).fit(ratings)
    items, scores = model.recommend(np.arange(29), n=5)
    seen = set(zip(ratings.users.tolist(), ratings.items.tolist(), strict=True))
    assert not any((user, item) in seen for user in range(29) for item in items[user].tolist())
    known = np.flatnonzero(ratings.user_counts)
    expected = np.take_along_axis(model.W_ @ model.H_, np.r_[items, items[:1]], axis=1)
    np.testing.assert_allclose(scores[known], expected[known], atol=1e-5)
    forgetful = cymf.SpectralMF(6, store_ratings=False).fit(ratings)
    with pytest.raises(ValueError, match="seen"):
        forgetful.recommend(0)
    np.testing.assert_array_equal(forgetful.recommend(0, n=5, seen=ratings.to_scipy())[0], items[0])


def test_a_loaded_model_is_the_same(tmp_path):
    pairs = np.array([["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["cy", "gin"]])
    model = cymf.SpectralMF(3, filter_weight=None, dtype="float64").fit(pairs, [1.0, 2.0, 1.0, 3.0])
    model.save(tmp_path / "model")
    again = cymf.load(tmp_path / "model")
    assert isinstance(again, cymf.SpectralMF)
    assert (again.get_params(), bits(again)) == (model.get_params(), bits(model))
    np.testing.assert_array_equal(again.singular_values_, model.singular_values_)
    new = cymf.Ratings.from_triplets(["x"], ["rum"], [1.0])
    np.testing.assert_array_equal(again.user_factors_for(new), model.user_factors_for(new))
    items, scores = again.recommend("bob", n=2)
    assert set(items) == {"rum", "gin"}  # not the tea that bob has had; in which order is rounding
    for loaded, saved in zip((items, scores), model.recommend("bob", n=2), strict=True):
        np.testing.assert_array_equal(loaded, saved)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"n_factors": 0}, ValueError, "n_factors=0"),
        ({"n_factors": 2.0}, TypeError, "n_factors=2.0"),
        ({"filter_weight": -1}, ValueError, "filter_weight=-1"),
        ({"filter_weight": np.inf}, ValueError, "filter_weight=inf"),
        ({"user_exponent": 0.5}, ValueError, r"user_exponent=0\.5.*-2 to 0"),
        ({"item_exponent": np.nan}, ValueError, "item_exponent=nan"),
        ({"item_exponent": None}, TypeError, "item_exponent=None"),
        ({"max_iter": 0}, ValueError, "max_iter=0"),
        ({"n_threads": 0}, ValueError, "n_threads=0"),
        ({"tol": -1e-3}, ValueError, "tol=-0.001"),
        ({"store_ratings": 1}, TypeError, "store_ratings=1"),
        ({"random_state": -1}, ValueError, "random_state=-1"),
        ({"dtype": "float16"}, ValueError, "dtype='float16'"),
    ],
)
def test_wrong_parameters_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        cymf.SpectralMF(**parameters).fit(interactions())


def test_strengths_below_zero_or_all_zero_are_refused():
    with pytest.raises(ValueError, match="down to -2"):
        cymf.SpectralMF(1).fit(np.array([[1.0, -2.0]]))
    with pytest.raises(ValueError, match="all strengths are 0"):
        cymf.SpectralMF(1).fit(np.zeros((2, 2)))
    model = cymf.SpectralMF(1).fit(np.ones((2, 2)))
    with pytest.raises(ValueError, match="down to -1"):
        model.user_factors_for(np.array([[1.0, -1.0]]))


def test_what_is_not_finite_is_not_handed_out():
    with pytest.raises(cymf.DivergenceError, match="scale the strengths down"):
        cymf.SpectralMF(2, user_exponent=-2, item_exponent=-2).fit(
            np.array([[1e30, 1.0], [1.0, 1e30]])
        )


@pytest.mark.parametrize("matrix", [[[4.0]], [[1.0, 2.0, 3.0]], np.ones((5, 4))])
def test_little_or_dull_data_is_learnt(matrix):
    model = cymf.SpectralMF(7, filter_weight=None).fit(np.array(matrix))
    np.testing.assert_allclose(model.W_ @ model.H_, matrix, rtol=1e-5)
    assert np.count_nonzero(model.singular_values_) == 1


def test_not_fitted():
    model = cymf.SpectralMF()
    for ask in (lambda: model.singular_values_, lambda: model.user_factors_for(np.ones((1, 1)))):
        with pytest.raises(cymf.NotFittedError):
            ask()
