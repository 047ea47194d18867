"""Files as streams of bytes, compressed ones too."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from cymf._extras import missing

__all__ = ["COMPRESSED", "compressing", "inner_suffix", "opened"]

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


def inner_suffix(path: Any) -> str:
    """What a name ends in, without the suffix of a compression: ``.csv`` of ``ratings.csv.gz``."""
    suffixes = Path(path.name).suffixes
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@contextlib.contextmanager
def opened(path: Any) -> Iterator[IO[bytes]]:
    """Open a file, or a member of an archive, to read what it holds, decompressed by the suffix of its name."""
    suffix = Path(path.name).suffix
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        try:
            yield stack.enter_context(_unpacked(raw, suffix, path))
        except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as damage:
            raise _damaged(path, damage) from damage
        except OSError as damage:
            if damage.errno is not None or suffix not in COMPRESSED:
                raise
            raise _damaged(path, damage) from damage


@contextlib.contextmanager
def compressing(stream: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    """A stream whose contents arrive in `stream` compressed as the suffix of `name` says, or as they are."""
    with contextlib.ExitStack() as stack:
        packed = _packed(stream, Path(name))
        yield stream if packed is None else stack.enter_context(packed)


def _unpacked(raw: IO[bytes], suffix: str, path: Any) -> IO[bytes]:
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if suffix == ".bz2":
        return bz2.BZ2File(raw)
    if suffix == ".xz":
        return lzma.LZMAFile(raw)
    return _zstd(raw, "rb", path) if suffix == ".zst" else raw


def _packed(raw: IO[bytes], path: Path) -> IO[bytes] | None:
    if path.suffix == ".gz":  # no clock in the file: equal contents are equal bytes
        return cast("IO[bytes]", gzip.GzipFile("", "wb", 6, raw, mtime=0))
    if path.suffix == ".bz2":
        return bz2.BZ2File(raw, "wb")
    if path.suffix == ".xz":
        return lzma.LZMAFile(raw, "wb")
    return _zstd(raw, "wb", path) if path.suffix == ".zst" else None


def _zstd(stream: Any, mode: str, path: Any) -> IO[bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd

        return cast("IO[bytes]", zstd.ZstdFile(stream, mode))
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        raise missing("pyarrow", f"{path.name}, compressed by Zstandard,") from None
    if mode == "wb":
        return cast(
            "IO[bytes]", pa.CompressedOutputStream(pa.PythonFile(_LeftOpen(stream), "w"), "zstd")
        )
    unpacked = pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")
    return io.BufferedReader(unpacked)


class _LeftOpen(io.RawIOBase):
    """Writes to a stream of somebody else, and does not close it, as Arrow would."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._stream.write(data)


def _damaged(path: Any, damage: Exception) -> ValueError:
    return ValueError(
        f"{path} is damaged, or not compressed as its name says ({damage}): copy it again from where it was whole"
    )
