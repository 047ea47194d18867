"""A model class to save and load, models of it, and ways to look into their files."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np

from cymf import _model_file
from cymf._base import MatrixFactorization
from cymf._state import FittedState
from cymf.ratings import Ratings


class Sample(MatrixFactorization):
    """Takes its state from the test."""

    def __init__(self, n_factors=3, *, reg=0.1, dtype="float32", random_state=0, grid=None):
        self.n_factors = n_factors
        self.reg = reg
        self.dtype = dtype
        self.random_state = random_state
        self.grid = grid

    def fit(self, X, y=None, **_):
        raise NotImplementedError


def register(monkeypatch):
    """Let ``load`` know the class."""
    monkeypatch.setattr(_model_file, "ESTIMATORS", {"Sample": __name__})


def made_up(ids="str", *, bias=True, dtype=np.float32, n_factors=3, extra=None, **parameters):
    rng = np.random.default_rng(0)
    n_users, n_items = 5, 7
    users, items = np.nonzero(rng.random((n_users, n_items)) < 0.6)
    order = rng.permutation(len(users))
    columns = users[order], items[order], rng.integers(1, 6, len(order)).astype(float)
    rest = {"weights": rng.random(len(order)), "timestamps": 7 * order}
    if ids == "str":
        names = [
            np.array([f"{c}–{i}" for i in column], object)
            for c, column in zip("ui", columns[:2], strict=True)
        ]
        ratings = Ratings.from_triplets(*names, columns[2], **rest)
    elif ids == "int":
        ratings = Ratings.from_triplets(columns[0] * 10, columns[1] + 2**40, columns[2], **rest)
    else:
        ratings = Ratings.from_triplets(*columns, shape=(n_users, n_items))

    def array(*shape):
        return rng.standard_normal(shape).astype(dtype)

    model = Sample(n_factors, dtype=np.dtype(dtype).name, **parameters)
    model._publish(
        FittedState(
            user_factors=array(n_users, n_factors),
            item_factors=array(n_items, n_factors),
            user_bias=array(n_users) if bias else None,
            item_bias=array(n_items) if bias else None,
            global_mean=0.1 + 0.2,
            rating_mean=1 / 3,
            rating_range=ratings.rating_range,
            user_ids=ratings.user_ids,
            item_ids=ratings.item_ids,
            user_counts=ratings.user_counts,
            item_counts=ratings.item_counts,
            ratings=ratings,
            history={"objective": [3.0, 1 / 3], "validation_rmse": [np.nan, np.inf]},
            n_iter=2,
            stop_reason="patience",
            extra=extra or {},
        )
    )
    return model


def rewrite(path, change):
    """Write the file anew after `change(header, members)`: checksums right, contents not."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members.pop("header.json"))
    change(header, members)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        for name, data in members.items():
            archive.writestr(name, data)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def mapping_of(array):
    while not isinstance(array, np.memmap):
        array = getattr(array, "base", None)
        assert array is not None, "not memory-mapped"
    return array


def same(one, other):
    """Whether two states hold the same, bit by bit."""
    arrays = ("user_factors", "item_factors", "user_bias", "item_bias", "user_counts")
    return (
        all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)
        and one.user_ids.ids.tolist() == other.user_ids.ids.tolist()
        and one.item_ids.ids.tolist() == other.item_ids.ids.tolist()
        and np.array_equal(one.ratings.values, other.ratings.values)
        and one.global_mean == other.global_mean
        and str(one.history) == str(other.history)
    )
