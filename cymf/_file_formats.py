"""How each kind of file is written: batches of named columns in, bytes out.

Batches hold int64 or strings as ids, strings perhaps `Coded` with labels that occur in the batch, float32 or float64,
and timestamps of one dtype kind.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cymf._extras import missing
from cymf._gathering import expand
from cymf._id_columns import Coded

__all__ = ["WRITERS"]

_ROW_GROUP = 1 << 20
Batches = Iterable[dict[str, Any]]


def _write_csv(batches: Batches, stream: IO[bytes]) -> None:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    for number, columns in enumerate(batches):
        if number == 0:
            writer.writerow(columns)
        writer.writerows(zip(*map(_listed, columns.values()), strict=True))
    text.detach()


def _write_tsv(batches: Batches, stream: IO[bytes]) -> None:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="\n")
    for number, columns in enumerate(batches):
        if number == 0:
            text.write("\t".join(columns) + "\n")
        _write_unquoted(columns, text, "\t", ".tsv")
    text.detach()


def _write_dat(batches: Batches, stream: IO[bytes]) -> None:
    """MovieLens' ``ratings.dat``: user::item::rating::timestamp, without names."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="\n")
    for columns in batches:
        if "weight" in columns:
            raise ValueError(
                "a .dat file has no column for weights: write .csv, .jsonl or .parquet, or leave them out"
            )
        whole = [int(v) if v.is_integer() else v for v in columns["rating"].tolist()]
        _write_unquoted({**columns, "rating": whole}, text, "::", ".dat")
    text.detach()


def _write_unquoted(columns: dict[str, Any], text: IO[str], separator: str, kind: str) -> None:
    """Write the lines of a file in which nothing is quoted."""
    for role in ("user", "item"):
        for label in _labels(columns[role]):
            if isinstance(label, str) and (
                separator in label or label != label.strip() or "\n" in label or "\r" in label
            ):
                raise ValueError(
                    f"the {role} {label!r} cannot be written to a {kind} file, whose columns are separated by "
                    f"{separator!r} and not quoted, one rating a line: write .csv, .jsonl or .parquet"
                )
    rows = zip(*map(_listed, columns.values()), strict=True)
    text.writelines(separator.join(map(str, row)) + "\n" for row in rows)


def _write_json(batches: Batches, stream: IO[bytes]) -> None:
    """An object a line."""
    for columns in batches:
        row = ", ".join(f'"{name}": %s' for name in columns)
        template = "{" + row + "}"
        texts = [_as_json(column) for column in columns.values()]
        lines = "\n".join(template % row for row in zip(*texts, strict=True))
        stream.write(lines.encode() + b"\n")


def _as_json(column: Any) -> Iterable[Any]:
    if isinstance(column, Coded):
        texts = np.array([json.dumps(label) for label in column.labels.tolist()], dtype=object)
        written: list[Any] = texts[column.codes].tolist()
        return written
    if column.dtype == object:
        return map(json.dumps, column.tolist())
    if column.dtype.kind == "M":
        return (f'"{text}"' for text in np.datetime_as_string(column.astype("M8[us]")).tolist())
    return map(repr, column.tolist())


def _write_parquet(batches: Batches, stream: IO[bytes]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise missing("pyarrow", "writing Parquet", ", or name a .csv file") from None
    writer = None
    try:
        for tables in _row_groups(_as_arrow(pa, columns) for columns in batches):
            if writer is None:
                writer = pq.ParquetWriter(stream, tables[0].schema, write_page_checksum=True)
            writer.write_table(pa.concat_tables(tables), row_group_size=_ROW_GROUP)
    finally:
        if writer is not None:
            writer.close()


def _row_groups(tables: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield as many tables as fill a row group."""
    found: list[Any] = []
    for table in tables:
        found.append(table)
        if sum(map(len, found)) >= _ROW_GROUP:
            yield found
            found = []
    if found:
        yield found


def _as_arrow(pa: Any, columns: dict[str, Any]) -> Any:
    arrays = {}
    for name, column in columns.items():
        if isinstance(column, Coded):
            arrays[name] = pa.array(column.labels, pa.string()).take(pa.array(column.codes))
        elif column.dtype.kind == "M":  # Parquet has no days or seconds
            arrays[name] = pa.array(column.astype("M8[us]"))
        else:
            arrays[name] = pa.array(column, pa.string() if column.dtype == object else None)
    return pa.table(arrays)


def _write_npz(batches: Batches, stream: IO[bytes]) -> None:
    """Plain arrays, which have to be whole."""
    parts: dict[str, list[NDArray[Any]]] = {}
    for columns in batches:
        for name, column in columns.items():
            parts.setdefault(name, []).append(_plain(expand(column)))
    whole: dict[str, Any] = {name: np.concatenate(found) for name, found in parts.items()}
    np.savez_compressed(stream, **whole)


def _plain(column: NDArray[Any]) -> NDArray[Any]:
    """A column that `numpy.load` reads without pickle."""
    return column.astype(str) if column.dtype == object else column


def _labels(column: Any) -> Iterable[Any]:
    labels: list[Any] = (column.labels if isinstance(column, Coded) else column).tolist()
    return labels


def _listed(column: Any) -> Iterable[Any]:
    if isinstance(column, list):
        return column
    if isinstance(column, Coded):
        column = expand(column)
    elif column.dtype.kind == "M":
        column = np.datetime_as_string(column)
    listed: list[Any] = column.tolist()
    return listed


WRITERS: Mapping[str, Callable[[Batches, IO[bytes]], None]] = MappingProxyType(
    {
        ".csv": _write_csv,
        ".tsv": _write_tsv,
        ".dat": _write_dat,
        ".jsonl": _write_json,
        ".ndjson": _write_json,
        ".json": _write_json,
        ".parquet": _write_parquet,
        ".npz": _write_npz,
    }
)
