"""A fitted model as one file: what comes back, and what is said about bad contents."""

from __future__ import annotations

import json
import os
import sys
import zipfile

import numpy as np
import pytest
from saved_models import Sample, made_up, mapping_of, npy, register, rewrite

from cymf import ModelFileError
from cymf._ids import IdMap
from cymf._model_file import load
from cymf._state import FittedState
from cymf.ratings import Ratings


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    register(monkeypatch)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.cymf"


# --- what comes back


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("ids", [None, "int", "str"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_comes_back(path, mmap, ids, bias, dtype):
    model = made_up(ids, bias=bias, dtype=dtype, reg=0.25)
    model.save(path)
    loaded = load(path, mmap=mmap)
    assert type(loaded) is Sample
    assert loaded.get_params() == model.get_params()
    ours, theirs = model._state, loaded._state
    for name in ("user_factors", "item_factors", "user_bias", "item_bias"):
        expected, found = getattr(ours, name), getattr(theirs, name)
        if expected is None:
            assert found is None
            continue
        np.testing.assert_array_equal(found, expected, strict=True)
        assert not found.flags.writeable
    np.testing.assert_array_equal(theirs.user_counts, ours.user_counts, strict=True)
    np.testing.assert_array_equal(theirs.item_counts, ours.item_counts, strict=True)
    assert theirs.global_mean == ours.global_mean
    assert theirs.rating_mean == ours.rating_mean
    assert theirs.rating_range == ours.rating_range
    assert (theirs.n_iter, theirs.stop_reason) == (2, "patience")
    assert theirs.history.keys() == ours.history.keys()
    for name, values in ours.history.items():
        np.testing.assert_array_equal(theirs.history[name], values)
    for side in ("user_ids", "item_ids"):
        if ids is None:
            assert getattr(theirs, side) is None
        else:
            assert getattr(theirs, side).ids.tolist() == getattr(ours, side).ids.tolist()
    user = 1 if ids is None else ours.user_ids.ids[1]
    for expected, found in zip(model.recommend(user), loaded.recommend(user), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("ids", [None, "str"])
def test_training_ratings_come_back(path, ids):
    model = made_up(ids)
    model.save(path)
    expected, found = model._state.ratings, load(path)._state.ratings
    for name in ("users", "items", "values", "weights", "timestamps", "input_order"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), strict=True)
    assert found.rating_range == expected.rating_range
    assert found.csr(np.float64).indptr.dtype == np.int64


def test_dates_come_back(path):
    model = made_up(None)
    when = np.array(["2024-01-01", "2024-05-06"], "datetime64[s]")
    ratings = Ratings.from_triplets([0, 1], [1, 0], [1, 2], timestamps=when, shape=(5, 7))
    parts = {name: getattr(model._state, name) for name in model._state.__dataclass_fields__}
    model._publish(FittedState(**parts | {"ratings": ratings}))
    model.save(path)
    np.testing.assert_array_equal(load(path)._state.ratings.timestamps, when, strict=True)


def test_without_ratings(path):
    model = made_up()
    model.save(path)
    with_ratings = path.stat().st_size
    model.save(path, store_ratings=False)
    assert path.stat().st_size < with_ratings
    loaded = load(path)
    assert loaded._state.ratings is None
    with pytest.raises(ValueError, match="seen="):
        loaded.recommend("u–1")
    loaded.save(path)  # there is nothing to store any more
    assert load(path)._state.ratings is None


def test_extra_arrays_come_back(path):
    extra = {"user_steps": np.arange(6.0).reshape(2, 3).T, "epoch": np.array(7)}
    made_up(extra=extra).save(path)
    found = load(path)._state.extra
    assert found.keys() == extra.keys()
    for name, array in extra.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert not found[name].flags.writeable


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (0.1 + 0.2, 0.1 + 0.2),
        (float("inf"), float("inf")),
        ("auto", "auto"),
        (np.float32(0.5), 0.5),
        (np.int64(4), 4),
        (np.float64, "float64"),
        (np.dtype("float32"), "float32"),
        ([1, (2.5, None)], [1, [2.5, None]]),
        (np.random.default_rng(0), None),
        (np.random.RandomState(0), None),
    ],
)
def test_parameters_come_back(path, value, expected):
    made_up(grid=value).save(path)
    found = load(path).grid
    assert found == expected
    assert type(found) is type(expected)


def test_a_parameter_that_cannot_be_stored(path):
    with pytest.raises(TypeError, match=r"parameter Sample\.grid is a ndarray, which"):
        made_up(grid=np.zeros(3)).save(path)
    assert not path.exists()


def test_a_class_that_cannot_be_loaded(path):
    class Special(Sample):
        pass

    special = Special()
    special._publish(made_up()._state)
    with pytest.raises(TypeError, match=r"Special is not a model that cymf\.load knows"):
        special.save(path)
    impostor = type("Sample", (Sample,), {"__module__": "elsewhere"})()
    impostor._publish(special._state)
    with pytest.raises(TypeError, match=r"elsewhere\.Sample is not a model"):
        impostor.save(path)


def test_no_factors(path):
    model = made_up(n_factors=0)
    model.save(path)
    for mmap in (False, True):
        assert load(path, mmap=mmap).user_factors_.shape == (5, 0)


# --- the file


def test_equal_models_are_equal_files(tmp_path):
    for name in ("a", "b"):
        made_up().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_numpy_reads_the_file(path):
    model = made_up()
    model.save(path)
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["user_factors"], model.user_factors_)
        names = [name for name in arrays.files if name != "header.json"]
        assert all(arrays[name].dtype.kind in "iufM" for name in names)


def test_the_header_is_json(path):
    made_up().save(path)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"), parse_constant=refuse)
    assert header["format"] == "cymf model"
    assert header["format_version"] == 1
    assert header["estimator"] == "Sample"


@pytest.mark.parametrize("ids", [None, "int", "str"])
def test_arrays_begin_at_multiples_of_64(path, ids):
    made_up(ids).save(path)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_STORED
            if member.filename.endswith(".npy"):
                name, extra = np.frombuffer(data, "<u2", 2, member.header_offset + 26)
                start = member.header_offset + 30 + int(name) + int(extra)
                assert data[start : start + 6] == b"\x93NUMPY"
                assert start % 64 == 0


def test_mmap_maps(path):
    model = made_up()
    model.save(path)
    loaded = load(path, mmap=True)
    for name in ("user_factors_", "item_factors_"):
        mapped = mapping_of(getattr(loaded, name))
        assert mapped.mode == "r"
        assert mapped.offset % 64 == 0
        assert getattr(loaded, name).ctypes.data % 64 == 0
        assert not getattr(loaded, name).flags.writeable
    for name in ("user_factors_", "item_factors_"):
        with pytest.raises(AssertionError, match="not memory-mapped"):
            mapping_of(getattr(load(path), name))
    # What is written into the file shows in the array: nothing was copied.
    offset = mapping_of(loaded.user_factors_).offset
    with open(path, "r+b") as stream:
        stream.seek(offset)
        stream.write(np.float32(1234.5).tobytes())
    assert loaded.user_factors_[0, 0] == 1234.5


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is open")
def test_a_mapped_model_survives_saving_over_it(path):
    model = made_up()
    model.save(path)
    loaded = load(path, mmap=True)
    expected = loaded.user_factors_.copy()
    other = made_up(dtype=np.float64, n_factors=30)
    other.save(path)
    np.testing.assert_array_equal(loaded.user_factors_, expected)


@pytest.mark.skipif(os.name != "nt", reason="elsewhere a file that is open is replaced")
def test_windows_does_not_replace_a_mapped_model(tmp_path, path):
    made_up().save(path)
    loaded = load(path, mmap=True)
    with pytest.raises(PermissionError, match="save under another name"):
        made_up(n_factors=30).save(path)
    assert os.listdir(tmp_path) == [path.name]
    assert load(path).user_factors_.shape == loaded.user_factors_.shape


def test_the_path_may_be_a_string_with_any_name(tmp_path):
    name = str(tmp_path / "modèle")
    made_up().save(name)
    assert os.listdir(tmp_path) == ["modèle"]
    assert load(name).n_iter_ == 2


# --- bad files


def test_no_file(path):
    with pytest.raises(FileNotFoundError):
        load(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"user,item,rating\n1,2,3\n", r"not a cymf model: it begins with b'user'"),
        (b"PK\x03\x04", "is damaged"),
    ],
)
def test_foreign_files(path, data, message):
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_another_npz(path):
    with open(path, "wb") as stream:
        np.savez(stream, user_factors=np.zeros((3, 2)))
    with pytest.raises(ModelFileError, match=r"without header\.json, so it is not a cymf model"):
        load(path)


@pytest.mark.parametrize("header", [{}, {"format": "something else"}, [1], "text"])
def test_another_header(path, header):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
    with pytest.raises(ModelFileError, match="is not a cymf model"):
        load(path)


@pytest.mark.parametrize("mmap", [False, True])
def test_cut_short(path, mmap):
    made_up().save(path)
    data = path.read_bytes()
    for length in {*range(5, len(data), 97), len(data) - 1}:
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match=r"is damaged.*copy it again"):
            load(path, mmap=mmap)


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, m: m.pop("item_factors.npy"), r"damaged: item_factors\.npy is missing"),
        (lambda h, m: h["arrays"].pop("user_counts"), "damaged.*user_counts"),
        (lambda h, m: h.pop("n_iter"), "damaged.*n_iter"),
        (
            lambda h, m: h["arrays"]["user_factors"].update(shape=[4, 3]),
            r"user_factors has shape \(5, 3\).*announces \(4, 3\)",
        ),
        (
            lambda h, m: h["arrays"]["user_factors"].update(dtype="<f8"),
            "user_factors has shape .* and dtype float32.*announces .*float64",
        ),
        (
            lambda h, m: h["arrays"]["user_factors"].update(dtype="|O"),
            "user_factors has dtype object",
        ),
        (
            lambda h, m: m.update({"user_factors.npy": m["user_factors.npy"][:-4]}),
            "user_factors takes",
        ),
        (
            lambda h, m: m.update({"user_factors.npy": m["user_factors.npy"] + b"more"}),
            "user_factors takes",
        ),
        (lambda h, m: m.update({"user_factors.npy": b"?" * 200}), "damaged.*magic"),
        (
            lambda h, m: (
                m.update({"user_bias.npy": npy(np.zeros(2, np.float32))}),
                h["arrays"]["user_bias"].update(shape=[2]),
            ),
            r"user_bias has shape \(2,\)",
        ),
        (
            lambda h, m: m.update(
                {"ratings_indices.npy": npy(np.full(h["arrays"]["ratings_indices"]["shape"], 9,
                                                    h["arrays"]["ratings_indices"]["dtype"]))}
            ),
            "training ratings do not fit together",
        ),
    ],
)  # fmt: skip
def test_contents_that_do_not_fit(path, change, message, mmap):
    made_up().save(path)
    rewrite(path, change)
    with pytest.raises(ModelFileError, match=message):
        load(path, mmap=mmap)


def test_a_newer_format(path):
    made_up().save(path)
    rewrite(path, lambda h, m: h.update(format_version=2, cymf_version="9.0"))
    with pytest.raises(ModelFileError, match=r"format version 2, written by cymf 9\.0.*upgrade"):
        load(path)


def test_an_unknown_class_is_not_imported(path):
    made_up().save(path)
    rewrite(path, lambda h, m: h.update(estimator="antigravity"))
    with pytest.raises(ModelFileError, match="holds a antigravity, which"):
        load(path)
    assert "antigravity" not in sys.modules


def test_unknown_parameters(path):
    made_up().save(path)
    rewrite(path, lambda h, m: h["parameters"].update(power=3))
    with pytest.raises(ModelFileError, match=r"does not know: power; upgrade cymf"):
        load(path)


def test_compressed_members(path):
    made_up().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ModelFileError, match="not stored as it was written"):
        load(path)


def test_ids_of_a_loaded_model_are_the_ratings_ids(path):
    made_up("str").save(path)
    state = load(path)._state
    assert state.ratings.user_ids is state.user_ids
    assert isinstance(state.item_ids, IdMap)


@pytest.mark.parametrize(
    "change",
    [
        lambda h, m: h.update(history=[1.0]),
        lambda h, m: h.update(history=None),
        lambda h, m: h.update(parameters=[1]),
        lambda h, m: h.update(rating_range=3),
        lambda h, m: h["arrays"].update(user_factors=None),
        lambda h, m: h["arrays"]["user_factors"].update(shape=[10**30, 10**30]),
        lambda h, m: h["arrays"]["user_factors"].update(shape=[-5, -3]),
    ],
)
def test_headers_of_other_types(path, change):
    """Some were an AttributeError."""
    made_up().save(path)
    rewrite(path, change)
    with pytest.raises(ModelFileError):
        load(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("user_feature_factors", (2, 9)),
        ("implicit_item_factors", (7, 9)),
        ("own_user_factors", (5, 9)),
        ("draws_item_bias", (2, 3)),
        ("item_described", (3,)),
    ],
)
def test_further_arrays_that_kernels_would_trust(path, name, shape):
    """A row longer than the other side's was read beyond its end."""
    made_up().save(path)

    def change(header, members):
        array = np.zeros(shape, np.float32)
        members[f"extra_{name}.npy"] = npy(array)
        header["arrays"][f"extra_{name}"] = {"dtype": array.dtype.str, "shape": list(shape)}

    rewrite(path, change)
    with pytest.raises(ModelFileError, match=f"{name} has shape"):
        load(path)
