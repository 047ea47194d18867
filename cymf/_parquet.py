"""Parquet files, and folders of them as Spark writes them, read batch by batch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np

from cymf._arrow_columns import BadEntryError, check_type, column_of, is_text
from cymf._column_choice import ColumnChoice, Columns, locate_columns
from cymf._extras import missing
from cymf._id_columns import Coded, object_array

__all__ = ["PARQUET_SUFFIXES", "ParquetPart", "parquet_parts", "read_parquet"]

PARQUET_SUFFIXES = (".parquet", ".pq")
_ROWS = 1 << 17  # read at once
_BUFFER = 1 << 20  # bytes of a column read at once
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


class ParquetPart(NamedTuple):
    """A file, and the columns that the names of its folders stand for, as in ``day=2024-05-01/part-0.parquet``."""

    path: Path
    keys: dict[str, str]


def parquet_parts(folder: Path) -> list[ParquetPart]:
    """The Parquet files of a folder and those in it, by name; without what begins with _ or a dot, which is no data."""
    parts = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.suffix in PARQUET_SUFFIXES and not any(name[0] in "_." for name in inside):
            pairs = (name.partition("=") for name in inside[:-1] if "=" in name)
            if path.is_file():
                parts.append(ParquetPart(path, {key: unquote(value) for key, _, value in pairs}))
    return parts


def read_parquet(
    parts: Sequence[ParquetPart], choice: ColumnChoice, source: Path
) -> Iterator[Columns]:
    """Yield the columns of some rows after the other, of one file after the other."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise missing("pyarrow", f"reading {source.name}") from None
    keys = list(parts[0].keys)
    for part in parts:
        if list(part.keys) != keys:
            raise ValueError(
                f"{part.path} lies in folders for the columns {list(part.keys)}, {parts[0].path} in those for "
                f"{keys}: read them one by one"
            )
    kinds = {key: _kind_of_key([part.keys[key] for part in parts]) for key in keys}
    names: list[str | None] | None = None
    for part in parts:
        try:
            with _file(pq, part.path, ()) as file:
                schema = file.schema_arrow
        except (pa.ArrowException, OSError) as damage:
            raise _damaged(part.path, damage) from damage
        if names is None:
            listed = [*schema.names, *(key for key in keys if key not in schema.names)]
            places = locate_columns(choice, listed, len(listed), part.path)
            names = [None if at is None else listed[at] for at in places]
        yield from _batches(
            pa, pq, part, schema, dict(zip(places._fields, names, strict=True)), kinds
        )
    pa.default_memory_pool().release_unused()  # sorting the ratings needs what Arrow keeps


def _batches(
    pa: Any,
    pq: Any,
    part: ParquetPart,
    schema: Any,
    names: dict[str, str | None],
    kinds: dict[str, str],
) -> Iterator[Columns]:
    """Yield the columns of one file."""
    stored = {}
    for role, name in names.items():
        if name is None or (name in part.keys and name not in schema.names):
            continue
        if name not in schema.names:
            raise ValueError(
                f"{part.path} has no column {name!r} for {role}, which the files before it have: its columns are "
                f"{', '.join(map(repr, schema.names))}"
            )
        kind = schema.field(name).type
        check_type(role, kind, f"{part.path}: the column {name!r}")
        stored[role] = name
    strings = [
        n for r, n in stored.items() if r in ("user", "item") and is_text(schema.field(n).type)
    ]
    done = 0
    try:
        with _file(pq, part.path, strings) as file:
            for batch in file.iter_batches(
                _ROWS, use_threads=False, columns=list(dict.fromkeys(stored.values()))
            ):
                if batch.num_rows == 0:
                    continue
                found = dict.fromkeys(names, None)
                for role, name in names.items():
                    if role in stored:
                        found[role] = column_of(role, batch.column(batch.schema.names.index(name)))
                    elif name is not None:
                        found[role] = _column_of_key(role, part, name, kinds[name], batch.num_rows)
                yield Columns(*found.values())
                done += batch.num_rows
                pa.default_memory_pool().release_unused()
    except BadEntryError as bad:
        row = done + bad.row
        raise ValueError(
            f"{part.path}, row {row} from 0 ({_row_group(pq, part.path, row)}): {bad.reason}: drop the row, or give it "
            "a value"
        ) from None
    except (pa.ArrowException, OSError) as damage:
        raise _damaged(part.path, damage, _row_group(pq, part.path, done)) from damage


def _file(pq: Any, path: Path, strings: Sequence[str]) -> Any:
    """An open file that reads some of a row group at a time, strings as codes."""
    return pq.ParquetFile(
        path,
        read_dictionary=list(strings),
        buffer_size=_BUFFER,
        pre_buffer=False,
        page_checksum_verification=True,  # where there are any: a changed number is as good as another
    )


def _row_group(pq: Any, path: Path, row: int) -> str:
    """Which row group holds a row."""
    metadata = pq.read_metadata(path)
    for number in range(metadata.num_row_groups):
        row -= metadata.row_group(number).num_rows
        if row < 0:
            break
    return f"row group {number} of {metadata.num_row_groups}"


def _kind_of_key(values: list[str]) -> str:
    return "int" if all(_INTEGER.fullmatch(value) for value in values) else "str"


def _column_of_key(role: str, part: ParquetPart, name: str, kind: str, n_rows: int) -> Any:
    """The column that the name of a folder stands for."""
    import pyarrow as pa

    text = part.keys[name]
    if text == _NO_VALUE:
        raise BadEntryError(0, f"the {role} is missing: the folder says {name}={text}")
    if role in ("user", "item"):
        if kind == "int":
            return np.full(n_rows, int(text), np.int64)
        return Coded(np.zeros(n_rows, np.int32), object_array([text]))
    if role == "timestamp" and kind == "str":
        return np.repeat(column_of(role, pa.array([text])), n_rows)
    try:
        number = int(text) if role == "timestamp" else float(text)
    except ValueError:
        raise BadEntryError(0, f"the {role} is {text!r}, not a number") from None
    return np.repeat(column_of(role, pa.array([number])), n_rows)


def _damaged(path: Path, damage: Exception, place: str = "") -> Exception:
    if getattr(damage, "errno", None) is not None:  # it cannot be opened, whatever it holds
        return damage
    return ValueError(
        f"{path} is damaged or not a Parquet file{place and f' ({place})'}: {damage}: copy it again from where it was "
        "whole"
    )
