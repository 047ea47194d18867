"""SciPy's sparse arrays and matrices, in every format and state, wherever a matrix is taken."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import cymf
from cymf import Features, Ratings

FORMATS = ("csr", "csc", "coo", "dok", "lil", "bsr", "dia")
rng = np.random.default_rng(1)
DENSE = np.where(rng.random((8, 6)) < 0.6, rng.integers(1, 6, (8, 6)), 0).astype(np.float64)
DENSE[3] = 0  # a user without ratings
DENSE[:, 4] = 0  # and an item


def of_format(dense, form, as_array=True):
    kind = sparse.coo_array if as_array else sparse.coo_matrix
    return kind(dense).asformat(form)


def states(dense=DENSE):
    """The same cells, stored in other ways."""
    for form in FORMATS:
        for as_array in (True, False):
            yield f"{form} {'array' if as_array else 'matrix'}", of_format(dense, form, as_array)
    for form in ("csr", "csc", "bsr"):
        wide = of_format(dense, form)
        wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
        yield f"{form} with wide indices", wide
    for form in ("csr", "csc"):
        turned = of_format(dense, form)
        for start, stop in zip(turned.indptr[:-1], turned.indptr[1:], strict=True):
            for stored in (turned.indices, turned.data):
                stored[start:stop] = stored[start:stop][::-1].copy()
        turned.has_sorted_indices = False
        yield f"{form} unsorted", turned
    coo = of_format(dense, "coo")
    wide = sparse.coo_array(coo)
    wide.coords = tuple(index.astype(np.int64) for index in wide.coords)
    yield "coo with wide indices", wide
    order = np.random.default_rng(0).permutation(coo.nnz)
    shuffled = (coo.data[order], (coo.coords[0][order], coo.coords[1][order]))
    yield "coo shuffled", sparse.coo_array(shuffled, shape=coo.shape)
    readonly = of_format(dense, "csr")
    for stored in (readonly.data, readonly.indices, readonly.indptr):
        stored.flags.writeable = False
    yield "csr, read-only", readonly
    yield "csr of float32", of_format(dense, "csr").astype(np.float32)
    yield "csr of int8", of_format(dense, "csr").astype(np.int8)


def fitted(X=None, **options):
    X = of_format(DENSE, "csr") if X is None else X
    return cymf.ALS(n_factors=2, max_iter=2, n_threads=1, random_state=0).fit(X, **options)


BASE = fitted()
SELF_LABELLED = [pytest.param(matrix, id=name) for name, matrix in states()]


@pytest.mark.parametrize("matrix", SELF_LABELLED)
def test_models_and_questions(matrix):
    """Training, validation, evaluation, what was seen, candidates, what is excluded, folding in."""
    plain = of_format(DENSE, "csr")
    before = matrix.copy()
    exact = {"n_factors": 2, "max_iter": 2, "n_threads": 1, "random_state": 0, "dtype": "float64"}
    for answer in (
        lambda X: cymf.ALS(**exact).fit(X).user_factors_,
        lambda X: cymf.ImplicitALS(**exact).fit(X).user_factors_,
        lambda X: cymf.BPR(2, max_iter=1, n_threads=1).fit(X).user_factors_,
        lambda X: cymf.SGD(2, max_iter=1, n_threads=1, dtype="float64").fit(X).user_factors_,
        lambda X: cymf.ALS(**exact).fit(plain, validation=X).history_["validation_rmse"],
        lambda X: cymf.ImplicitALS(**exact).fit(plain, validation=X).history_["validation_score"],
        lambda X: BASE.rmse(X),
        lambda X: BASE.score(X),
        lambda X: BASE.recommend(np.arange(8), 3, seen=X)[0],
        lambda X: BASE.recommend(np.arange(8), 3, candidates=X, exclude_seen=False)[0],
        lambda X: BASE.recommend_by_factors(np.ones((8, 2)), 6, exclude=X)[0],
        lambda X: BASE.user_factors_for(X),
        lambda X: BASE.item_factors_for(X),
        lambda X: BASE.transform(X),
        lambda X: cymf.ALS(**exact).fit(plain).partial_fit(X).user_factors_,
        lambda X: list(
            cymf.evaluation.evaluate_ranking(
                BASE, X, exclude_seen=False, metrics=("recall@2", "ndcg@3")
            ).values()
        ),
        lambda X: list(
            cymf.evaluation.evaluate_ranking(
                (np.ones((8, 2)), np.ones((6, 2))),
                plain,
                train=X,
                exclude_seen=False,
                metrics="mrr@2",
            ).values()
        ),
        lambda X: (
            cymf.evaluation.GridSearch(BASE, {"reg": [0.1]}, folds=2)
            .fit(plain, validation=X)
            .best_score_
        ),
    ):
        np.testing.assert_array_equal(answer(matrix), answer(plain))
    if matrix.format in ("csr", "csc", "coo") and matrix.dtype == np.float64:
        np.testing.assert_array_equal(
            fitted(matrix, sample_weight=matrix).user_factors_,
            fitted(plain, sample_weight=plain).user_factors_,
        )
    np.testing.assert_array_equal(before.toarray(), matrix.toarray())
    assert before.format == matrix.format


@pytest.mark.parametrize("matrix", SELF_LABELLED)
def test_features_designs_and_complete_matrices(matrix):
    narrow = matrix.dtype == np.float32  # which decides the precision of what is learnt
    plain = of_format(DENSE, "csr").astype(np.float32 if narrow else np.float64)
    people = np.asarray(DENSE)
    for answer in (
        lambda X: Features(X).matrix.toarray(),
        lambda X: fitted(user_features=X).user_factors_,
        lambda X: fitted(user_features=plain).predict_cold(user_features=X, items=1),
        lambda X: fitted(user_features=plain).recommend_cold(X, 2)[0],
        lambda X: cymf.NMF(2, max_iter=3).fit(X).components_,
        lambda X: cymf.NMF(2, max_iter=3, missing="zero").fit(X).components_,
        lambda X: cymf.NMF(2, max_iter=3, missing="zero").fit(plain).transform(X),
        lambda X: (
            cymf.FactorizationMachine(n_factors=1, max_iter=2, solver="als")
            .fit(X, np.arange(8.0))
            .predict(X)
        ),
        lambda X: cymf.design_matrix(sparse.eye_array(8), context=X).matrix.toarray(),
        lambda X: cymf.design_matrix(X, history="both").matrix.toarray(),
    ):
        np.testing.assert_array_equal(answer(matrix), answer(plain))
    np.testing.assert_array_equal(Features(matrix).matrix.toarray(), people)


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_a_stored_zero_was_observed(form):
    """In formats that store what they are given; the others forget zeros or pad with them."""
    coo = of_format(DENSE, "coo")
    rows, columns = coo.coords
    stored = sparse.coo_array(
        (np.append(coo.data, 0.0), (np.append(rows, 3), np.append(columns, 4))), shape=coo.shape
    ).asformat(form)
    assert stored.nnz == coo.nnz + 1
    assert Ratings.from_matrix(stored).nnz == stored.nnz
    found = BASE.recommend([3], 6, seen=stored)[0]
    assert 4 not in found
    model = fitted(stored)
    assert not np.isnan(model.recommend(3, 6)[1]).all()
    assert np.isnan(model.recommend(3, 1, candidates=[4])[1]).all()
    only = model.recommend([3], 6, candidates=stored, exclude_seen=False)[0]
    assert only[0].tolist() == [4, -1, -1, -1, -1, -1]


@pytest.mark.parametrize("form", ["bsr", "dia"])
def test_zeros_that_pad_were_not_seen(form):
    block = np.array([[1.0, 0, 0, 0], [0, 2.0, 0, 3.0], [4.0, 0, 5.0, 0], [0, 0, 0, 6.0]])
    if form == "bsr":
        padded = sparse.bsr_array(block, blocksize=(2, 2))
        assert padded.nnz > np.count_nonzero(block)
    else:
        padded = sparse.dia_array(block)
    model = fitted(sparse.csr_array(block))
    exact = sparse.csr_array(block)
    for options in ({"seen": True}, {"candidates": True, "exclude_seen": False}):
        name = next(iter(options))
        rest = {key: value for key, value in options.items() if key != name}
        found = model.recommend(np.arange(4), 4, **{name: padded}, **rest)[0]
        expected = model.recommend(np.arange(4), 4, **{name: exact}, **rest)[0]
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        model.recommend_by_factors(np.ones((4, 2)), 4, exclude=padded)[0],
        model.recommend_by_factors(np.ones((4, 2)), 4, exclude=exact)[0],
    )


def doubled(form):
    """A matrix that stores one cell twice."""
    coo = of_format(DENSE, "coo")
    rows, columns = coo.coords
    twice = sparse.coo_array(
        (np.append(coo.data, 1.0), (np.append(rows, rows[0]), np.append(columns, columns[0]))),
        shape=coo.shape,
    )
    if form == "coo":
        return twice
    order = np.argsort(np.append(rows, rows[0]), kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(np.append(rows, rows[0]), minlength=8))])
    return sparse.csr_array(
        (twice.data[order], np.append(columns, columns[0])[order], indptr), shape=coo.shape
    )


@pytest.mark.parametrize("form", ["coo", "csr"])
def test_cells_stored_twice(form):
    twice, plain = doubled(form), of_format(DENSE, "csr")
    user, item = (int(index[0]) for index in of_format(DENSE, "coo").coords)
    with pytest.raises(ValueError, match=rf"both rate user {user}, item {item}.*duplicates='last'"):
        fitted(twice)
    for answer in (
        lambda X: BASE.recommend(np.arange(8), 3, seen=X)[0],
        lambda X: BASE.recommend(np.arange(8), 3, candidates=X, exclude_seen=False)[0],
        lambda X: BASE.recommend_by_factors(np.ones((8, 2)), 6, exclude=X)[0],
    ):
        np.testing.assert_array_equal(answer(twice), answer(plain))
    total = twice.toarray()  # what is no observation is a sum, as everywhere in SciPy
    np.testing.assert_array_equal(Features(twice).matrix.toarray(), total)
    machine = cymf.FactorizationMachine(n_factors=1, max_iter=1, solver="als")
    np.testing.assert_array_equal(
        machine.fit(twice, np.arange(8.0)).predict(twice),
        machine.fit(total, np.arange(8.0)).predict(total),
    )


def test_sparse_arrays_of_one_dimension():
    row = sparse.coo_array(np.array([1.0, 0, 2.0]))
    for call in (
        fitted,
        Features,
        BASE.rmse,
        lambda X: cymf.NMF(1).fit(X),
        lambda X: cymf.FactorizationMachine().fit(X, [1.0]),
        lambda X: cymf.design_matrix(DENSE, context=X),
        lambda X: BASE.recommend(0, seen=X),
        lambda X: BASE.recommend(0, candidates=X),
        lambda X: BASE.recommend_by_factors(np.ones((1, 2)), exclude=X),
        lambda X: BASE.user_factors_for(X),
        lambda X: cymf.evaluation.evaluate_ranking(BASE, X),
        lambda X: fitted(user_features=X),
        lambda X: fitted(sample_weight=X),
    ):
        with pytest.raises(ValueError, match=r"shape \(3,\)|shape=\(3,\)"):
            call(row)


def test_damaged_indices_are_found():
    damaged = of_format(DENSE, "csr")
    damaged.indices[0] = 99
    for call in (
        fitted,
        lambda X: BASE.recommend(0, seen=X),
        lambda X: BASE.recommend([0], candidates=X),
        lambda X: BASE.recommend_by_factors(np.ones((8, 2)), exclude=X),
    ):
        with pytest.raises(ValueError, match=r"indices: entry 0 is 99, outside 0 to 5"):
            call(damaged)


class ForeignSparse:
    """As the package sparse has it: NumPy's protocol is there and refuses."""

    shape, ndim, nnz = (8, 6), 2, 3

    def todense(self):
        return DENSE

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Cannot convert a sparse array to dense automatically.")


class Densified(ForeignSparse):
    """One that would fill itself with zeros."""

    def __array__(self, dtype=None, copy=None):
        return DENSE


@pytest.mark.parametrize("kind", [ForeignSparse, Densified])
def test_sparse_arrays_of_other_libraries(kind):
    for call in (
        fitted,
        Features,
        BASE.rmse,
        lambda X: cymf.NMF(1).fit(X),
        lambda X: cymf.FactorizationMachine().fit(X, np.arange(8.0)),
        lambda X: cymf.design_matrix(DENSE, context=X),
        lambda X: cymf.evaluation.evaluate_ranking(BASE, X),
        lambda X: fitted(user_features=X),
        lambda X: fitted(sample_weight=X),
        lambda X: fitted(validation=X),
    ):
        with pytest.raises(TypeError, match=rf"{kind.__name__}, a sparse .*to_scipy_sparse"):
            call(kind())
    for call in (lambda X: BASE.recommend(0, seen=X),):
        with pytest.raises(
            TypeError, match=rf"{kind.__name__}; expected Ratings or a scipy sparse"
        ):
            call(kind())
