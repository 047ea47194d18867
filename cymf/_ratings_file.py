"""Ratings written to a file: CSV, Parquet or ``.npz``, in pieces, and under its name when it is complete."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cymf._archive import replacing

if TYPE_CHECKING:
    from cymf._stored_ratings import StoredRatings

__all__ = ["write_ratings"]

_PIECE = 1 << 20  # ratings written at once
SUFFIXES = (".csv", ".tsv", ".parquet", ".npz")


def write_ratings(ratings: StoredRatings, path: str | os.PathLike[str]) -> None:
    """Write ratings; see `Ratings.to_file`."""
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise ValueError(
            f"path={os.fspath(path)!r} ends in {suffix!r}; expected one of {', '.join(SUFFIXES)}"
        )
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise ImportError(
                'writing Parquet needs pyarrow, which is not installed: pip install "cymf[parquet]"'
            ) from None
    with replacing(path) as stream:
        if suffix == ".npz":
            (columns,) = _pieces(ratings, max(1, ratings.nnz))
            plain: dict[str, Any] = {name: _plain(part) for name, part in columns.items()}
            np.savez_compressed(stream, **plain)
        elif suffix == ".parquet":
            _write_parquet(ratings, stream)
        else:
            _write_text(ratings, stream, "," if suffix == ".csv" else "\t")


def _pieces(ratings: StoredRatings, size: int) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the columns of some ratings after the other, in storage order, with ids for row numbers."""
    for start in range(0, max(1, ratings.nnz), size):
        part = slice(start, start + size)
        columns = {"user": ratings.users[part], "item": ratings.items[part]}
        for name, ids in (("user", ratings.user_ids), ("item", ratings.item_ids)):
            if ids is not None:
                columns[name] = np.asarray(ids.ids)[columns[name]]
        columns["rating"] = ratings.values[part]
        if ratings.weights is not None:
            columns["weight"] = ratings.weights[part]
        if ratings.timestamps is not None:
            columns["timestamp"] = ratings.timestamps[part]
        yield columns


def _plain(column: NDArray[Any]) -> NDArray[Any]:
    """A column that `numpy.load` reads without pickle."""
    return column.astype(str) if column.dtype == object else column


def _write_text(ratings: StoredRatings, stream: IO[bytes], separator: str) -> None:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, delimiter=separator, lineterminator="\n")
    for number, columns in enumerate(_pieces(ratings, _PIECE)):
        if number == 0:
            writer.writerow(columns)
        if "timestamp" in columns and columns["timestamp"].dtype.kind == "M":
            columns["timestamp"] = np.datetime_as_string(columns["timestamp"])
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    text.detach()


def _write_parquet(ratings: StoredRatings, stream: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    try:
        for columns in _pieces(ratings, _PIECE):
            arrays = {}
            for name, column in columns.items():
                if column.dtype.kind == "M":  # Parquet has no days or seconds
                    column = column.astype("M8[us]")
                arrays[name] = pa.array(column, pa.string() if column.dtype == object else None)
            table = pa.table(arrays)
            if writer is None:
                writer = pq.ParquetWriter(stream, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
