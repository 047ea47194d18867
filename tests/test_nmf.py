"""NMF: scikit-learn's checks and objective, missing cells, weights, new rows, ids, and errors."""

from __future__ import annotations

import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import reference_nonnegative as twin
import scipy.sparse as sp
from fitted_models import ThreadsEvenForLittle, star_ratings
from scipy.optimize import nnls
from table_libraries import of

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import sklearn.decomposition
import sklearn.exceptions
from every_check import by_checks_of
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import cymf

by_every_solver = pytest.mark.parametrize("solver", ["cd", "mu"])
in_both_types = pytest.mark.parametrize("dtype", ["float32", "float64"])

# Checks that ask for something else than what the estimator means; everything else passes.
_OTHER_MEANING = {
    "check_estimator_sparse_array": "predict of a matrix completes it; it does not return a vector",
    "check_estimator_sparse_matrix": "predict of a matrix completes it; it does not return a vector",
    "check_sample_weights_shape": "two columns of integers with y are pairs and ratings, here some of them twice",
    "check_sample_weight_equivalence_on_dense_data": "other rows are another start, and lead to another minimum",
    "check_sample_weight_equivalence_on_sparse_data": "other rows are another start, and lead to another minimum",
}


by_every_check = by_checks_of(
    [
        cymf.NMF(),
        cymf.NMF(n_components=2, missing="zero"),
        cymf.NMF(2, solver="mu", alpha_W=0.01),
    ],
    lambda estimator: _OTHER_MEANING,
)


@by_every_check
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def low_rank(n=40, m=30, rank=3, missing=0.0, seed=0):
    """A non-negative matrix of some rank, with zeros in the factors, and the share of missing cells."""
    rng = np.random.default_rng(seed)
    users, items = (np.maximum(rng.normal(size=(size, rank)), 0) for size in (n, m))
    matrix = users @ items.T
    matrix[rng.random(matrix.shape) < missing] = np.nan
    return matrix


def objective_of(model, matrix, weights=None):
    weights = np.ones(matrix.shape) if weights is None else weights
    alpha_H = model.alpha_W if model.alpha_H == "same" else model.alpha_H
    return twin.nmf_objective(
        matrix, weights, model.user_factors_.astype(float), model.item_factors_.astype(float),
        model.alpha_W, alpha_H, model.l1_ratio,
    )  # fmt: skip


# ---- the objective -------------------------------------------------------------------------------


@by_every_solver
@pytest.mark.parametrize("penalty", [{}, {"alpha_W": 0.01, "alpha_H": 0.03, "l1_ratio": 0.3}])
@pytest.mark.parametrize("kind", ["masked", "complete", "sparse"])
def test_objective_falls_in_every_iteration(solver, penalty, kind):
    rng = np.random.default_rng(1)
    matrix = low_rank(missing=0.5 if kind == "masked" else 0) + 0.1 * rng.random((40, 30))
    if kind == "sparse":
        matrix = sp.csr_array(np.where(rng.random(matrix.shape) < 0.3, matrix, 0))
    model = cymf.NMF(
        5, missing="zero" if kind == "sparse" else "masked", solver=solver, init="random", tol=0,
        max_iter=60, **penalty,
    ).fit(matrix)  # fmt: skip
    fall = np.array(model.history_["objective"])
    assert len(fall) == 60
    assert (np.diff(fall) <= 1e-12 * fall[0]).all()
    assert fall[-1] < 0.8 * fall[0]
    dense = matrix.toarray() if kind == "sparse" else matrix
    # the last solve of the users is exact, and lowers it once more
    assert objective_of(model, dense) <= fall[-1] * (1 + 1e-9)
    if solver == "cd":
        assert objective_of(model, dense) == pytest.approx(fall[-1], rel=2e-2)


@in_both_types
def test_history_is_the_objective(dtype):
    matrix = low_rank(missing=0.4) + 0.2
    weights = np.random.default_rng(0).uniform(0.5, 2, matrix.shape)
    parameters = {"alpha_W": 0.02, "l1_ratio": 0.5, "tol": 0, "dtype": dtype}
    kept = []
    model = cymf.NMF(4, max_iter=400, **parameters)
    model.fit(matrix, sample_weight=weights, callback=kept.append)
    own = objective_of(model, matrix, weights)
    assert own == pytest.approx(kept[-1].objective, rel=1e-4)
    errors = np.where(np.isnan(matrix), 0, matrix - model.user_factors_ @ model.components_)
    assert model.reconstruction_err_ == pytest.approx(
        np.sqrt(np.sum(weights * errors**2)), rel=1e-4
    )


@pytest.mark.parametrize("penalty", [{}, {"alpha_W": 0.002, "alpha_H": 0.004, "l1_ratio": 0.5}])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("solver", ["cd", "mu"])
def test_objective_is_not_above_that_of_scikit_learn(penalty, sparse, solver):
    rng = np.random.default_rng(0)
    matrix = low_rank(200, 80, 6) + 0.3 * rng.random((200, 80))
    if sparse:
        matrix[rng.random(matrix.shape) < 0.8] = 0
    users, items = rng.random((200, 6)), rng.random((80, 6))
    theirs = sklearn.decomposition.NMF(
        6, init="custom", solver=solver, tol=1e-7, max_iter=3000, **penalty
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        W = theirs.fit_transform(matrix, W=users.copy(), H=np.ascontiguousarray(items.T))
    ours = cymf.NMF(6, missing="zero", solver=solver, tol=0, max_iter=3000, **penalty)
    ours.fit(sp.csr_array(matrix) if sparse else matrix, init=(users, items))
    given = {"alpha_W": 0.0, "alpha_H": 0.0, "l1_ratio": 0.0, **penalty}
    expected = twin.nmf_objective(
        matrix, np.ones(matrix.shape), W, theirs.components_.T, *given.values()
    )
    assert objective_of(ours, matrix) <= 1.001 * expected


# ---- missing cells -------------------------------------------------------------------------------


@by_every_solver
def test_missing_cells_are_found_again(solver):
    truth = low_rank(60, 50, 3)
    matrix = low_rank(60, 50, 3, missing=0.4)
    model = cymf.NMF(
        3, solver=solver, init="random", tol=0, max_iter=2000 if solver == "cd" else 20000
    )
    completed = model.fit(matrix).predict(matrix)
    hidden = np.isnan(matrix)
    assert np.abs(completed - truth)[hidden].max() < 0.05
    pairs = np.argwhere(hidden)
    np.testing.assert_allclose(model.predict(pairs), completed[hidden], atol=1e-9)


def test_all_ways_to_say_complete_agree():
    """Through shared Gram matrices and through those of each row."""
    matrix = low_rank() + 0.1
    start = np.random.default_rng(0).random((40, 4)), np.random.default_rng(1).random((30, 4))
    parameters = {"alpha_W": 0.01, "l1_ratio": 0.5, "max_iter": 20, "tol": 0}
    stored = sp.csr_array(matrix)
    models = [
        cymf.NMF(4, **parameters).fit(matrix, init=start),
        cymf.NMF(4, **parameters).fit(stored, init=start),
        cymf.NMF(4, missing="zero", **parameters).fit(matrix, init=start),
        cymf.NMF(4, missing="zero", **parameters).fit(stored, init=start),
        cymf.NMF(4, **parameters).fit(matrix, init=start, sample_weight=np.ones(40)),
        cymf.NMF(4, **parameters).fit(cymf.Ratings.from_matrix(matrix), init=start),
    ]
    for model in models[1:]:
        np.testing.assert_allclose(model.user_factors_, models[0].user_factors_, atol=1e-6)
        np.testing.assert_allclose(model.components_, models[0].components_, atol=1e-6)
        np.testing.assert_allclose(
            model.history_["objective"], models[0].history_["objective"], rtol=1e-7
        )
        assert model.reconstruction_err_ == pytest.approx(models[0].reconstruction_err_, rel=1e-6)


def test_a_weight_of_zero_is_missing_and_two_is_twice():
    matrix = low_rank() + 0.1
    rng = np.random.default_rng(0)
    hidden = rng.random(matrix.shape) < 0.3
    start = rng.random((40, 3)), rng.random((30, 3))
    parameters = {"tol": 0, "max_iter": 20}
    weighted = cymf.NMF(3, **parameters).fit(matrix, sample_weight=1.0 - hidden, init=start)
    masked = cymf.NMF(3, **parameters).fit(np.where(hidden, np.nan, matrix), init=start)
    np.testing.assert_allclose(weighted.components_, masked.components_, atol=1e-9)
    twice = cymf.NMF(3, **parameters)
    twice.fit(np.vstack([matrix, matrix]), init=(np.vstack([start[0]] * 2), start[1]))
    doubled = cymf.NMF(3, **parameters).fit(matrix, sample_weight=np.full(40, 2.0), init=start)
    np.testing.assert_allclose(doubled.components_, twice.components_, atol=1e-9)


def test_zero_mode_reads_what_is_not_stored_as_zero():
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((50, 40)) < 0.2, rng.random((50, 40)), 0)
    start = rng.random((50, 4)), rng.random((40, 4))
    dense = cymf.NMF(4, missing="zero", tol=0, max_iter=30).fit(matrix, init=start)
    sparse = cymf.NMF(4, missing="zero", tol=0, max_iter=30).fit(sp.csc_array(matrix), init=start)
    masked = cymf.NMF(4, tol=0, max_iter=30).fit(sp.csr_array(matrix), init=start)
    np.testing.assert_allclose(sparse.components_, dense.components_, atol=1e-7)
    assert masked.predict(sp.csr_array(matrix)).mean() > 2 * dense.predict(matrix).mean()
    assert masked.reconstruction_err_ < sparse.reconstruction_err_


@pytest.mark.parametrize("init", ["nndsvd", "nndsvda", "nndsvdar", "random", None])
@pytest.mark.parametrize("kind", ["masked", "complete", "sparse"])
def test_every_start_leads_somewhere(init, kind):
    matrix = low_rank(missing=0.3 if kind == "masked" else 0)
    if kind == "sparse":
        matrix = sp.csr_array(matrix)
    model = cymf.NMF(3, init=init, missing="zero" if kind == "sparse" else "masked", max_iter=500)
    model.fit(matrix)
    values = matrix.toarray() if kind == "sparse" else matrix
    assert model.reconstruction_err_ < 0.1 * np.sqrt(np.nansum(values**2))


def test_nndsvd_is_that_of_scikit_learn():
    from sklearn.decomposition._nmf import _initialize_nmf

    from cymf._factors import Factors
    from cymf._nonnegative_start import start_factors

    matrix = low_rank(60, 50, 8) + 0.05
    expected = _initialize_nmf(matrix, 4, init="nndsvda", random_state=0)
    factors = Factors(60, 50, 4, False, np.dtype(np.float64))
    start_factors(factors, matrix, matrix.mean(), "nndsvda", np.random.default_rng(0))
    np.testing.assert_allclose(factors.user[:, :4], expected[0], atol=1e-3)
    np.testing.assert_allclose(factors.item[:, :4].T, expected[1], atol=1e-3)


# ---- new rows ------------------------------------------------------------------------------------


@in_both_types
@pytest.mark.parametrize("kind", ["masked", "complete", "sparse", "weighted"])
def test_fit_ends_with_the_rows_that_transform_finds(dtype, kind):
    rng = np.random.default_rng(0)
    matrix = low_rank(missing=0.4 if kind == "masked" else 0).astype(dtype) + np.asarray(0.1, dtype)
    weights = np.full(matrix.shape, 1.0) if kind == "weighted" else None
    if kind == "sparse":
        matrix = sp.csr_array(np.where(rng.random(matrix.shape) < 0.3, matrix, 0))
    model = cymf.NMF(4, missing="zero" if kind == "sparse" else "masked", alpha_W=0.01, max_iter=10)
    W = model.fit_transform(matrix, sample_weight=weights)
    assert W.dtype == dtype
    W[0] = 7  # the caller's own
    again = model.transform(matrix)
    if kind == "weighted":
        np.testing.assert_allclose(again, model.user_factors_, atol=1e-4)
    else:
        assert np.array_equal(again, model.user_factors_)


@pytest.mark.parametrize("penalty", [0.0, 0.05])
def test_new_rows_are_solved_exactly(penalty):
    train, new = low_rank(seed=0), low_rank(missing=0.3, seed=5) + 0.05
    model = cymf.NMF(3, alpha_W=penalty, max_iter=50).fit(train)
    H = model.components_
    for row, w in zip(new, model.transform(new), strict=True):
        known = ~np.isnan(row)
        ridge = np.sqrt(penalty * known.sum()) * np.eye(3)
        expected, _ = nnls(np.vstack([H[:, known].T, ridge]), np.append(row[known], np.zeros(3)))
        np.testing.assert_allclose(w, expected, atol=1e-4)


def test_rows_without_known_cells_are_zero():
    model = cymf.NMF(3).fit(low_rank())
    new = np.full((2, 30), np.nan)
    assert not model.transform(np.vstack([new, np.ones((1, 30))]))[:2].any()
    assert not model.transform(new).any()
    assert not model.transform(sp.csr_array((2, 30))).any()


def test_one_user_by_ids():
    ratings = cymf.Ratings.from_triplets(
        ["ann", "ann", "bob", "bob", "cy"], ["tea", "rum", "tea", "gin", "gin"], [5, 1, 4, 2, 3.0]
    )
    model = cymf.NMF(2, alpha_W=0.1).fit(ratings)
    bob = model.user_factors_for(["tea", "gin", "ale"], [4, 2, 1])
    np.testing.assert_allclose(bob, model.user_factors_[1], atol=1e-6)
    assert np.array_equal(model.transform(ratings), model.user_factors_)
    new = cymf.Ratings.from_triplets(["x", "x"], ["gin", "ale"], [3.0, 5.0])
    np.testing.assert_allclose(model.transform(new)[0], model.user_factors_[2], atol=1e-6)
    with pytest.raises(ValueError, match="none below 0"):
        model.user_factors_for(["tea"], [-1])


# ---- as a model of ratings, as a transformer -------------------------------------------------------


def test_it_is_a_model_of_ratings(tmp_path):
    ratings = star_ratings(60, 40)
    model = cymf.NMF(4, alpha_W=0.05).fit(ratings, validation=star_ratings(60, 40, seed=1))
    assert len(model.history_["validation_rmse"]) == model.n_iter_
    assert model.rmse(ratings) == pytest.approx(model.history_["train_rmse"][-1], rel=1e-2)
    items, scores = model.recommend(3, n=5)
    assert not set(items) & set(ratings.items[ratings.users == 3])
    assert (np.diff(scores) <= 0).all()
    model.save(tmp_path / "model")
    loaded = cymf.load(tmp_path / "model")
    for twin_model in (loaded, pickle.loads(pickle.dumps(model))):
        assert np.array_equal(twin_model.transform(ratings), model.user_factors_)
        assert twin_model.reconstruction_err_ == model.reconstruction_err_
    unknown = model.predict(59, 0)
    assert unknown == pytest.approx(float(ratings.values.mean()), rel=1e-5)


def test_patience_keeps_the_best():
    rng = np.random.default_rng(0)
    train, held_out = star_ratings(60, 40, seed=0), star_ratings(60, 40, seed=3)
    model = cymf.NMF(20, patience=3, max_iter=300, tol=0, random_state=rng)
    model.fit(train, validation=held_out)
    curve = model.history_["validation_rmse"]
    assert model.stop_reason_ == "patience"
    assert len(curve) == int(np.argmin(curve)) + 4


@by_every_solver
@pytest.mark.parametrize("kind", ["masked", "complete", "sparse"])
def test_threads_change_no_bit(monkeypatch, solver, kind):
    threads = ThreadsEvenForLittle(monkeypatch)
    matrix = low_rank(300, 120, missing=0.5 if kind == "masked" else 0)
    if kind == "sparse":
        matrix = sp.csr_array(np.where(matrix > 0.5, matrix, 0))
    results = set()
    for n_threads in (1, 2, 3, 7):
        model = cymf.NMF(
            5, missing="zero" if kind == "sparse" else "masked", solver=solver, max_iter=5, tol=0,
            n_threads=n_threads,
        ).fit(matrix)  # fmt: skip
        new = model.transform(matrix)
        results.add(
            b"".join(a.tobytes() for a in (model.user_factors_, model.components_, new))
            + np.array(model.history_["objective"]).tobytes()
        )
    assert threads.calls > 0
    assert len(results) == 1


@pytest.mark.parametrize("library", [pd.DataFrame, of("polars", lambda pl: pl.DataFrame)])
def test_tables_with_named_columns(library):
    matrix = low_rank(20, 4)
    names = ["tea", "rum", "gin", "ale"]
    table = library({name: matrix[:, j] for j, name in enumerate(names)})
    model = cymf.NMF(2).fit(table)
    assert model.feature_names_in_.tolist() == names
    assert model.n_features_in_ == 4
    assert model.get_feature_names_out().tolist() == ["nmf0", "nmf1"]
    turned = library({name: matrix[:, names.index(name)] for name in reversed(names)})
    np.testing.assert_allclose(model.transform(turned), model.user_factors_, atol=1e-6)
    np.testing.assert_allclose(model.transform(matrix), model.user_factors_, atol=1e-6)
    assert model.recommend(0, n=4, exclude_seen=False)[0].tolist()[0] in names
    other = library(dict.fromkeys(["tea", "rum", "gin", "oat"], matrix[:, 0]))
    with pytest.raises(ValueError, match=r"has the columns 'oat'"):
        model.transform(other)
    with pytest.raises(ValueError, match=r"lacks the columns 'ale'"):
        model.transform(library(dict.fromkeys(["tea", "rum", "gin"], matrix[:, 0])))
    assert not hasattr(cymf.NMF(2).fit(matrix), "feature_names_in_")


def test_tables_of_ratings():
    table = pd.DataFrame({"user": ["a", "a", "b"], "item": [1, 2, 1], "rating": [4.0, 2, 2]})
    model = cymf.NMF(1).fit(table)
    assert model.user_factors_.shape == (2, 1)
    assert model.predict("b", 2) == pytest.approx(1, abs=1e-2)


def test_in_a_pipeline_and_a_grid_search():
    rng = np.random.default_rng(0)
    X = np.vstack(
        [rng.random((40, 6)) * [3, 3, 3, 1, 1, 1], rng.random((40, 6)) * [1, 1, 1, 3, 3, 3]]
    )
    X[rng.random(X.shape) < 0.2] = np.nan
    y = np.repeat([0, 1], 40)
    pipeline = make_pipeline(cymf.NMF(random_state=0), LogisticRegression())
    search = GridSearchCV(pipeline, {"nmf__n_components": [1, 2]}, cv=3).fit(X, y)
    assert search.best_params_ == {"nmf__n_components": 2}
    assert search.best_score_ > 0.9
    assert clone(cymf.NMF(3, alpha_H=0.5)).alpha_H == 0.5


def test_masked_arrays_and_lists_and_integers():
    matrix = low_rank(10, 8)
    hidden = np.zeros(matrix.shape, bool)
    hidden[2, 3] = True
    masked = cymf.NMF(2).fit(np.ma.MaskedArray(matrix, hidden))
    expected = cymf.NMF(2).fit(np.where(hidden, np.nan, matrix))
    assert np.array_equal(masked.components_, expected.components_)
    counts = np.round(10 * matrix).astype(int)
    assert cymf.NMF(2).fit(counts).components_.dtype == np.float64
    assert np.array_equal(
        cymf.NMF(2).fit(counts.tolist()).components_, cymf.NMF(2).fit(counts).components_
    )
    assert cymf.NMF(2, dtype="float32").fit(counts).components_.dtype == np.float32


def test_nothing_but_zeros():
    for matrix, missing in itertools.product((np.zeros((4, 3)),), ("masked", "zero")):
        model = cymf.NMF(2, missing=missing).fit(matrix)
        assert model.reconstruction_err_ == 0
        assert not model.predict(matrix).any()


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        ([[1.0, -2.0]], {}, r"Negative values in data: row 0, column 1 has -2; expected none below"),
        ([[1.0, np.nan], [3, -2.0]], {}, r"Negative values in data: row 1, column 1 has -2"),
        ([[1.0, np.nan]], {"missing": "zero"}, r"row 0, column 1 is NaN, .* missing='masked'"),
        ([[1.0, np.inf]], {}, r"row 0, column 1 is infinite"),
        ([[np.nan, np.nan]], {}, r"no ratings"),
        ([[1.0, 2.0]], {"n_components": 0}, r"n_components=0 is too small"),
        ([[1.0, 2.0]], {"init": "svd"}, r"init='svd' is unknown"),
        ([[1.0, 2.0]], {"init": "nndsvd", "n_components": 2}, r"n_components ≤ the smaller side .* 1"),
        ([[1.0, 2.0]], {"alpha_H": "other"}, r"alpha_H='other' is unknown"),
        ([[1.0, 2.0]], {"l1_ratio": 2.0}, r"l1_ratio=2.0 is out of range"),
        ([[1.0, 2.0]], {"missing": "nan"}, r"missing='nan' is unknown"),
        ([[1.0, 2.0]], {"patience": 2}, r"patience=2 needs a validation set"),
    ],
)  # fmt: skip
def test_errors(X, parameters, message):
    with pytest.raises(ValueError, match=message):
        cymf.NMF(**parameters).fit(np.array(X))


def test_errors_name_ids():
    ratings = cymf.Ratings.from_triplets(["ann", "bob"], ["tea", "rum"], [1.0, -3.0])
    with pytest.raises(ValueError, match=r"user 'bob', item 'rum' has -3"):
        cymf.NMF().fit(ratings)
    with pytest.raises(ValueError, match=r"row 0, column 'rum' has -1"):
        cymf.NMF().fit(pd.DataFrame({"tea": [1.0], "rum": [-1.0]}))


def test_errors_of_shapes_and_weights():
    model = cymf.NMF(2).fit(low_rank())
    for ask in (model.transform, model.predict, model.score):
        with pytest.raises(ValueError, match="X has 7 features, but NMF is expecting 30"):
            ask(np.ones((3, 7)))
    with pytest.raises(ValueError, match="X has 7 features"):
        model.transform(sp.csr_array(np.ones((3, 7))))
    with pytest.raises(ValueError, match=r"expected \(n_samples, 2\)"):
        model.inverse_transform(np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"sample_weight has shape \(3,\)"):
        cymf.NMF().fit(low_rank(), sample_weight=np.ones(3))
    with pytest.raises(ValueError, match="weights are given, and missing='zero'"):
        cymf.NMF(missing="zero").fit(sp.csr_array(low_rank()), sample_weight=np.full(40, 2))
    with pytest.raises(ValueError, match="init holds negative factors"):
        cymf.NMF(2).fit(low_rank(), init=(-np.ones((40, 2)), np.ones((30, 2))))
    with pytest.raises(ValueError, match="weights inside them"):
        cymf.NMF().fit(star_ratings(), sample_weight=np.ones(40))


def test_two_columns_of_ids_with_ratings_are_pairs_and_floats_a_matrix():
    pairs, ratings = [["ann", "tea"], ["ann", "rum"], ["bob", "tea"]], [4.0, 2.0, 2.0]
    model = cymf.NMF(1).fit(pairs, ratings)
    assert model.predict("bob", "rum") == pytest.approx(1, abs=1e-2)
    numbers = cymf.NMF(1).fit(np.array([[0, 1], [0, 0], [1, 1]]), ratings, sample_weight=[1, 1, 2])
    assert numbers.predict([[1, 0]])[0] == pytest.approx(1, abs=1e-2)
    assert numbers.score([[0, 1], [0, 0]], [4.0, 2.0]) > 0.99
    matrix = cymf.NMF(1).fit(np.array([[0.0, 1], [0, 2], [0, 3]]), ratings)
    assert matrix.n_features_in_ == 2
    assert matrix.predict(np.array([[0.0, 6]])).shape == (1, 2)


def test_too_large_numbers_raise():
    matrix = low_rank().astype(np.float32) * np.float32(1e25)
    with pytest.raises((ValueError, ArithmeticError), match=r"float64|finite"):
        cymf.NMF(2, init="random").fit(matrix)
