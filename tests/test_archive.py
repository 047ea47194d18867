"""Files that appear complete or not at all, and bytes that nobody wrote."""

from __future__ import annotations

import hashlib
import os
import stat
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from saved_models import made_up, mapping_of, register, same

from cymf import ModelFileError, _archive
from cymf._model_file import load


@pytest.fixture(autouse=True, scope="module")
def registered():
    with pytest.MonkeyPatch.context() as monkeypatch:
        register(monkeypatch)
        yield


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.cymf"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    model = made_up()
    path = tmp_path_factory.mktemp("whole") / "model"
    model.save(path)
    return model, path


# --- written at once or not at all


class DiskFullError(OSError):
    pass


@pytest.mark.parametrize("before", [None, b"what was there"])
@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_failure_leaves_nothing_behind(tmp_path, path, monkeypatch, before, where):
    if before is not None:
        path.write_bytes(before)

    def fail(*_, **__):
        raise DiskFullError("no space left")

    if where == "write":
        calls = iter([np.lib.format.write_array] * 3)
        monkeypatch.setattr(
            np.lib.format, "write_array", lambda *a, **k: next(calls, fail)(*a, **k)
        )
    else:
        monkeypatch.setattr(_archive.os, where, fail)
    with pytest.raises(DiskFullError):
        made_up().save(path)
    assert os.listdir(tmp_path) == ([] if before is None else [path.name])
    if before is not None:
        assert path.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is open")
def test_the_file_is_complete_when_it_appears(path, monkeypatch):
    """Whoever looks while a model is saved again and again sees a whole model."""
    made_up().save(path)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            made_up().save(path)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(30):
            assert load(path).n_iter_ == 2
    finally:
        stop.set()
        writer.join()


def test_the_same_bytes_on_every_platform(path, monkeypatch):
    """zipfile notes in an archive whether Windows made it."""
    arrays = {"three": np.arange(3), "none": np.zeros((0, 2), np.float32)}
    _archive.write_archive(path, {"n": 1.5}, arrays)
    expected = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("sys.platform", "win32")
        _archive.write_archive(path, {"n": 1.5}, arrays)
    assert path.read_bytes() == expected


def test_the_same_bytes_by_every_release_of_python(path):
    """They differ in the fields that zipfile writes for members of unknown or large size."""
    arrays = {"a": np.arange(10.0), "empty": np.zeros((3, 0)), "c": np.arange(1000, dtype=np.int32)}
    _archive.write_archive(path, {"k": 1, "reg": float("nan")}, arrays)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == "533292ec5fb90c1099dcc9bd27642841d41643bd721c0bcceecae00be8b2fbbc"


def test_members_with_the_fields_of_large_ones(path, monkeypatch):
    monkeypatch.setattr(_archive, "_LARGE", 1000)
    arrays = {"small": np.arange(10.0), "large": np.arange(1000.0), "small, too": np.arange(3.0)}
    _archive.write_archive(path, {}, arrays)
    with _archive.open_archive(path) as archive:
        for name, array in arrays.items():
            mapped = archive.map(name)
            assert mapped.offset % 64 == 0
            np.testing.assert_array_equal(mapped, array)
            np.testing.assert_array_equal(archive.read(name), array)


def test_missing_folder_and_folder_as_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder to save in does not exist"):
        made_up().save(tmp_path / "no" / "model")
    with pytest.raises(IsADirectoryError, match="expected the name of a file"):
        made_up().save(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="permission bits and links are POSIX's")
def test_permissions_and_links(tmp_path, path):
    previous = os.umask(0o027)
    try:
        made_up().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        made_up().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(previous)
    link = tmp_path / "latest"
    link.symlink_to(path.name)
    path.write_bytes(b"")
    made_up().save(link)
    assert link.is_symlink()
    assert load(path).n_iter_ == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no named pipes")
def test_a_pipe_or_device_is_not_replaced(path):
    """As root, saving to /dev/null put a file in its place."""
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a device or pipe"):
        made_up().save(path)
    assert stat.S_ISFIFO(os.stat(path).st_mode)
    assert os.listdir(path.parent) == [path.name]


# --- damaged


def check_flipped(path, model, position, bit, mmap=False):
    """Flip one bit: the file must be refused, or the bit lies where nothing is stored."""
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= 1 << bit
    other = path.with_name("damaged")
    other.write_bytes(damaged)
    try:
        loaded = load(other, mmap=mmap)
    except ModelFileError:
        return
    assert same(loaded._state, model._state)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_flipped_bit_goes_unnoticed(whole, data):
    model, path = whole
    position = data.draw(st.integers(0, path.stat().st_size - 1))
    check_flipped(path, model, position, data.draw(st.integers(0, 7)))


def test_flipped_bits_at_the_end_of_the_archive(whole):
    """There the directory is found; a wrong number there leads outside the file."""
    model, path = whole
    size = path.stat().st_size
    for position in range(size - 22, size):
        for bit in range(8):
            check_flipped(path, model, position, bit)


def test_flipped_bits_before_mapped_factors(whole):
    """No checksum is looked at, but the factors are where and what the header says, or refused."""
    model, path = whole
    offset = mapping_of(load(path, mmap=True).user_factors_).offset
    for position in range(offset - 128, offset):
        check_flipped(path, model, position, position % 8, mmap=True)


def test_flipped_byte_in_the_factors(path):
    made_up().save(path)
    offset = mapping_of(load(path, mmap=True).user_factors_).offset
    data = bytearray(path.read_bytes())
    data[offset + 5] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"is damaged: Bad CRC-32 for file 'user_factors"):
        load(path)
