"""Objects that are no NumPy arrays but offer one: by NumPy's protocols, by DLPack, as buffers, as tensors do."""

from __future__ import annotations

import array

import numpy as np
import pytest

import cymf
from cymf import Features, Ratings
from cymf._arrays import as_array, offers_array

rng = np.random.default_rng(0)
MATRIX = np.where(rng.random((8, 6)) < 0.7, rng.integers(1, 6, (8, 6)), np.nan)


class Holder:
    """Holds an array and shows nothing of it but what its subclass offers."""

    def __init__(self, values):
        self._values = np.array(values)


class Interface(Holder):
    @property
    def __array_interface__(self):
        return self._values.__array_interface__


class Struct(Holder):
    @property
    def __array_struct__(self):
        return self._values.__array_struct__


class Array(Holder):
    def __array__(self, dtype=None, copy=None):
        return self._values if dtype is None else self._values.astype(dtype)


class DLPack(Holder):
    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


class Tensor(DLPack, Array):
    """As torch has it: an array's attributes, both protocols, and a dtype that is none of NumPy's."""

    dtype = "torch.float64"

    @property
    def shape(self):
        return self._values.shape

    @property
    def ndim(self):
        return self._values.ndim

    def __len__(self):
        return len(self._values)

    def __iter__(self):
        return (Tensor(value) for value in self._values)


class RecordsGradients(Tensor):
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach()")


class OnDevice(Tensor):
    def __array__(self, dtype=None, copy=None):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")


def _buffer(values):
    return memoryview(np.array(values))


def _array(values):
    values = np.array(values)
    if values.ndim != 1:
        return memoryview(values)
    return array.array("d" if values.dtype.kind == "f" else "q", values.tolist())


KINDS = [Interface, Struct, Array, DLPack, Tensor, _buffer, _array]


def fitted(X, **options):
    return cymf.ALS(n_factors=2, max_iter=2, n_threads=1, random_state=0).fit(X, **options)


@pytest.mark.parametrize("make", KINDS)
def test_columns(make):
    users, items, values = np.array([1, 1, 2]), np.array([5, 7, 5]), np.array([1.0, 2.0, 3.0])
    ratings = Ratings.from_triplets(
        make(users), make(items), make(values), weights=make(values), timestamps=make(users)
    )
    expected = Ratings.from_triplets(users, items, values, weights=values, timestamps=users)
    for name in ("users", "items", "values", "weights", "timestamps"):
        np.testing.assert_array_equal(getattr(ratings, name), getattr(expected, name))
    assert ratings.user_ids.ids.tolist() == [1, 2]
    named = Ratings.from_matrix(make(MATRIX), user_ids=make(np.arange(8) + 3))
    assert named.user_ids.ids.tolist() == list(range(3, 11))
    np.testing.assert_array_equal(ratings.subset(make(np.array([0, 2]))).values, values[[0, 2]])
    by_number = Ratings.from_triplets(make(users), make(items), make(values), shape=(3, 8))
    assert by_number.shape == (3, 8)


@pytest.mark.parametrize("make", KINDS)
def test_floats_are_not_copied(make):
    held = make(np.array([1.0, 2.0, 3.0]))
    ratings = Ratings.from_triplets(make([1, 1, 2]), make([5, 7, 5]), held)
    assert np.shares_memory(ratings.values, as_array(held, ""))
    assert not ratings.values.flags.writeable


@pytest.mark.parametrize("make", KINDS)
def test_matrices_and_queries(make):
    model, expected = fitted(make(MATRIX)), fitted(MATRIX)
    np.testing.assert_array_equal(model.user_factors_, expected.user_factors_)
    few = np.array([2, 0])
    for answer in (
        lambda model, of: model.predict(of(few), of(few)),
        lambda model, of: model.predict(of(np.array([[2, 0], [1, 1]]))),
        lambda model, of: model.recommend(of(few), 2)[0],
        lambda model, of: model.recommend(0, 2, candidates=of(few), exclude_seen=False)[0],
        lambda model, of: model.recommend(0, 2, filter=of(few), exclude_seen=False)[0],
        lambda model, of: model.recommend_by_factors(of(np.ones((2, 2))), 2)[0],
        lambda model, of: model.recommend_by_factors(of(np.ones(2)), 2, exclude=of(few))[0],
        lambda model, of: model.similar_items(of(few), 2)[0],
        lambda model, of: model.recommend_table(of(few), 2).to_numpy(),
        lambda model, of: model.user_factors_for(of(few), of(np.array([3.0, 4.0]))),
        lambda model, of: model.user_factors_for(of(MATRIX)),
        lambda model, of: model.transform(of(MATRIX)),
        lambda model, of: model.rmse(of(MATRIX)),
        lambda model, of: model.score(of(np.array([[2, 0], [1, 1]])), of(np.array([3.0, 4.0]))),
        lambda model, of: fitted(MATRIX, validation=of(MATRIX)).history_["validation_rmse"],
        lambda model, of: fitted(MATRIX, sample_weight=of(np.ones_like(MATRIX))).item_factors_,
        lambda model, of: (
            fitted(
                of(np.array([[2, 0], [1, 1]])),
                y=of(np.array([3.0, 4.0])),
                sample_weight=of(np.array([1.0, 2.0])),
            ).item_factors_
        ),
        lambda model, of: (
            fitted(MATRIX, init=(of(np.ones((8, 2))), of(np.ones((6, 2))))).item_factors_
        ),
        lambda model, of: cymf.evaluation.rmse(of(np.ones(3)), of(np.zeros(3)), of(np.ones(3))),
        lambda model, of: cymf.evaluation.evaluate_ranking(
            model, of(MATRIX), metrics="recall@2", exclude_seen=False
        )["recall@2"],
        lambda model, of: cymf.evaluation.evaluate_ranking(
            (of(np.ones((8, 2))), of(np.ones((6, 2)))),
            MATRIX,
            metrics="recall@2",
            exclude_seen=False,
        )["recall@2"],
        lambda model, of: cymf.NMF(2, max_iter=3).fit(of(MATRIX)).components_,
        lambda model, of: (
            cymf.NMF(2, max_iter=3).fit(MATRIX, sample_weight=of(np.ones(8))).components_
        ),
        lambda model, of: (
            cymf.FactorizationMachine(n_factors=1, max_iter=2, solver="als")
            .fit(of(np.ones((4, 2))), of(np.arange(4.0)), sample_weight=of(np.arange(1.0, 5.0)))
            .predict(of(np.ones((4, 2))))
        ),
        lambda model, of: Features(of(np.ones((2, 3))), ids=of(few)).ids.ids,
        lambda model, of: Features.from_table({"user": of(few), "age": of(np.ones(2))}).names,
        lambda model, of: fitted(MATRIX, user_features=of(np.eye(8))).user_factors_,
        lambda model, of: cymf.design_matrix(MATRIX).encode(of(few), of(few)).matrix.toarray(),
        lambda model, of: (
            cymf.evaluation.replay(lambda user, listed: 2, [(0, of(few), 2, 1.0)]).n_matched
        ),
    ):
        np.testing.assert_array_equal(answer(model, make), answer(expected, lambda values: values))


def test_scalars_of_any_library_are_scalars():
    model = fitted(MATRIX)
    for user in (2, np.int32(2), np.array(2), Tensor(2), Array(np.array(2))):
        if hasattr(user, "ndim"):
            assert model.recommend(user, 2)[0].shape == (2,)
            assert model.predict(user, 1) == model.predict(2, 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [(RecordsGradients, r"tensor\.detach\(\)"), (OnDevice, r"Tensor\.cpu\(\)")],
)
def test_tensors_that_refuse_say_why(make, words):
    with pytest.raises(TypeError, match=rf"{make.__name__}, which gives no NumPy array.*{words}"):
        fitted(make(MATRIX))
    with pytest.raises(TypeError, match=rf"users is a .*{make.__name__}.*{words}"):
        fitted(MATRIX).recommend(make([1, 2]))
    with pytest.raises(TypeError, match=rf"values is a .*{make.__name__}.*{words}"):
        Ratings.from_triplets([1, 2], [1, 2], make([1.0, 2.0]))


def test_strings_offer_no_array():
    for values in ("abc", b"abc", 5, None, object(), [1, 2], {1, 2}):
        assert not offers_array(values)
    for values in (np.ones(2), np.float64(1), bytearray(2)):
        assert offers_array(values)


def test_missing_and_masked_entries_are_not_unmasked():
    masked = np.ma.masked_array([1, 2], [False, True])
    with pytest.raises(ValueError, match="entry 1 is masked"):
        fitted(MATRIX).recommend(masked)
    np.testing.assert_array_equal(
        fitted(np.ma.masked_invalid(MATRIX)).user_factors_, fitted(MATRIX).user_factors_
    )
