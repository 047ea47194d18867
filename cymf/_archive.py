"""A file of named arrays and a JSON header: written at once or not at all, and memory-mappable.

The file is a zip archive whose members are stored uncompressed: ``header.json`` and one ``.npy``
array each. An array's data begin at a multiple of 64 bytes, so that they can be memory-mapped,
and `numpy.load` reads the file as well. Nothing in it is pickled.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import math
import os
import secrets
import stat
import struct
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np

from cymf._errors import ModelFileError

__all__ = ["Archive", "open_archive", "replaceable", "replacing", "write_archive"]

_LOGGER = logging.getLogger("cymf.files")
_HEADER = "header.json"
_ALIGNMENT = 64
_EPOCH = (1980, 1, 1, 0, 0, 0)  # no clock in the file: equal contents are equal bytes
_ZIP_MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_ZIP64_EXTRA = 20
_LARGE = 2**30  # bytes; well below what needs that extra field
_PADDING_ID = 0xD935  # what zipalign calls its extra field


def write_archive(
    path: str | os.PathLike[str], header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write `header`, made of JSON's types and any floats, and `arrays` to the file `path`.

    The file appears under its name only when it is complete and on the disk.
    """
    contents = {name: _portable(array) for name, array in arrays.items()}
    manifest = {
        name: {"dtype": array.dtype.str, "shape": list(array.shape)}
        for name, array in contents.items()
    }
    text = json.dumps(_encoded({**header, "arrays": manifest}), allow_nan=False, indent=1)
    with replacing(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(_new_member(_HEADER), text.encode())
        for name, array in contents.items():
            member = _new_member(f"{name}.npy")
            # Releases of Python write the extra field for large members differently: only those that need it have it.
            large = array.nbytes > _LARGE
            fixed = _LOCAL_HEADER.size + len(member.filename.encode()) + 4 + large * _ZIP64_EXTRA
            padding = -(stream.tell() + fixed) % _ALIGNMENT
            member.extra = struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
            with archive.open(member, "w", force_zip64=large) as target:
                np.lib.format.write_array(target, array, version=(1, 0), allow_pickle=False)


def _new_member(filename: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(filename, _EPOCH)
    member.create_system = 3  # on Windows, too: equal contents are equal bytes
    return member


def _portable(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def replaceable(path: str | os.PathLike[str]) -> str:
    """Return the place of a file that may be written or replaced.

    Raises
    ------
    OSError
        If its folder does not exist, or if it is a folder, or a device or pipe, which a file would take the place of.
    """
    target = os.path.realpath(os.fsdecode(path))  # a link goes on pointing to the file
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "the folder to save in does not exist", folder)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "expected the name of a file to save to", target)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(
            errno.EINVAL, "expected the name of a file to save to, not a device or pipe", target
        )
    return target


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a new file beside `path` that takes its place when the block ends without error."""
    target = replaceable(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".cymf-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "x+b") as stream:  # permissions by the umask, as for any new file
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            size = os.fstat(stream.fileno()).st_size
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
        _take_place_of(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        with contextlib.suppress(OSError):  # not every file system can sync a folder
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    _LOGGER.info("wrote %s: %d bytes", target, size)


def _take_place_of(temporary: str, target: str) -> None:
    try:
        os.replace(temporary, target)
    except PermissionError as error:
        if os.name != "nt":
            raise
        raise PermissionError(
            errno.EACCES,
            "Windows does not replace a file that is in use, such as that of a model loaded with mmap=True; close what "
            "uses it, or save under another name",
            target,
        ) from error


def _encoded(value: Any) -> Any:
    """Return `value` with floats that JSON has no word for as {"float": "nan"}."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if isinstance(value, Mapping):
        return {key: _encoded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encoded(entry) for entry in value]
    return value


def _decoded(mapping: dict[str, Any]) -> Any:
    return float(mapping["float"]) if set(mapping) == {"float"} else mapping


class Archive:
    """An open file of arrays; made by `open_archive`, in whose block it can be read.

    Attributes
    ----------
    header : dict
        What `write_archive` was given.
    """

    def __init__(self, stream: IO[bytes], path: str) -> None:
        self._stream = stream
        self._path = path
        self._size = os.fstat(stream.fileno()).st_size
        self._zip = zipfile.ZipFile(stream)
        if _HEADER not in self._zip.namelist():
            raise ModelFileError(
                f"{path} is a zip archive without {_HEADER}, so it is not a cymf model; expected "
                "a file that model.save() wrote"
            )
        header = json.loads(self._zip.read(self._member(_HEADER)), object_hook=_decoded)
        if not isinstance(header, dict):
            raise ModelFileError(f"{path} is not a cymf model: its {_HEADER} is not an object")
        self._manifest = header.pop("arrays", {})
        self.header: dict[str, Any] = header

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays that the file should hold."""
        return tuple(self._manifest)

    def read(self, name: str) -> np.ndarray:
        """Return an array, read into memory and checked against its checksum; read-only."""
        member, dtype, shape = self._entry(name)
        data = self._zip.read(member)
        start = self._data_start(io.BytesIO(data), name, dtype, shape, member.file_size)
        if 0 in shape:
            array = np.empty(shape, dtype)
        else:
            array = np.frombuffer(data, dtype, offset=start).reshape(shape)
        native = array.astype(dtype.newbyteorder("="), copy=False)
        native.flags.writeable = False
        return native

    def map(self, name: str) -> np.ndarray:
        """Return an array that stays in the file, read-only; its checksum is not looked at."""
        member, dtype, shape = self._entry(name)
        if 0 in shape:
            return self.read(name)
        begin = self._member_start(member)
        self._stream.seek(begin)
        start = self._data_start(self._stream, name, dtype, shape, member.file_size)
        return np.memmap(self._stream, dtype, "r", begin + start, shape)

    def _entry(self, name: str) -> tuple[zipfile.ZipInfo, np.dtype[Any], tuple[int, ...]]:
        """Return the member of an array with the dtype and shape that the header announces."""
        entry = self._manifest[name]
        dtype = np.dtype(entry["dtype"])
        if dtype.kind not in "biufM":
            raise self._damaged(f"array {name} has dtype {dtype}, which no model has")
        return self._member(f"{name}.npy"), dtype, tuple(map(int, entry["shape"]))

    def _member(self, filename: str) -> zipfile.ZipInfo:
        if filename not in self._zip.namelist():
            raise self._damaged(f"{filename} is missing")
        member = self._zip.getinfo(filename)
        if member.compress_type != zipfile.ZIP_STORED:
            raise self._damaged(f"{filename} is not stored as it was written")
        if member.header_offset < 0 or member.header_offset + member.file_size > self._size:
            raise self._damaged(f"{filename} is not where the archive says")
        return member

    def _member_start(self, member: zipfile.ZipInfo) -> int:
        self._stream.seek(member.header_offset)
        fields = _LOCAL_HEADER.unpack(self._stream.read(_LOCAL_HEADER.size))
        name = self._stream.read(fields[9])
        start = member.header_offset + _LOCAL_HEADER.size + fields[9] + fields[10]
        if (
            fields[0] != _ZIP_MAGIC
            or name != member.filename.encode()
            or start + member.file_size > self._size
        ):
            raise self._damaged(f"{member.filename} is not where the archive says")
        return int(start)

    def _data_start(
        self,
        stream: IO[bytes],
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        size: int,
    ) -> int:
        """Return the length of the array's own header, if that agrees with ours."""
        begin = stream.tell()
        if np.lib.format.read_magic(stream) != (1, 0):
            raise self._damaged(f"array {name} is in a version of npy that was not written")
        found_shape, fortran_order, found_dtype = np.lib.format.read_array_header_1_0(stream)
        length = stream.tell() - begin
        if (found_shape, found_dtype, fortran_order and len(shape) > 1) != (shape, dtype, False):
            raise self._damaged(
                f"array {name} has shape {found_shape} and dtype {found_dtype}; the header "
                f"announces {shape} and {dtype}"
            )
        if length + math.prod(shape) * dtype.itemsize != size:
            raise self._damaged(f"array {name} takes {size} bytes, which does not fit {shape}")
        return length

    def _damaged(self, what: str) -> ModelFileError:
        return _damaged(self._path, what)


def _damaged(path: str, what: object) -> ModelFileError:
    return ModelFileError(
        f"{path} is damaged: {what}; copy it again from where it was whole, or save the model anew"
    )


@contextlib.contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[Archive]:
    """Open a file that `write_archive` wrote.

    Raises
    ------
    ModelFileError
        If the file is not such an archive, or anything in the block finds it damaged.
    OSError
        If the file cannot be read.
    """
    name = os.fspath(path)
    with open(path, "rb") as stream:
        magic = stream.read(len(_ZIP_MAGIC))
        if magic != _ZIP_MAGIC:
            found = f"begins with {magic!r}" if magic else "is empty"
            raise ModelFileError(
                f"{name} is not a cymf model: it {found}; expected a file that model.save() wrote"
            )
        try:
            yield Archive(stream, name)
        except ModelFileError:
            raise
        # What zipfile, json and NumPy raise on bytes that nobody wrote
        except (
            ArithmeticError,
            AttributeError,
            EOFError,
            LookupError,
            NotImplementedError,
            RuntimeError,
            SyntaxError,
            TypeError,
            ValueError,
            struct.error,
            tokenize.TokenError,
            zipfile.BadZipFile,
        ) as error:
            raise _damaged(name, error) from error
