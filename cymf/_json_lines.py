"""Ratings as JSON, one object a line, such as Amazon's and Yelp's reviews, parsed by pyarrow block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from cymf._arrow_columns import BadEntryError, column_of
from cymf._column_choice import AUTO, ColumnChoice, Columns, locate_columns
from cymf._extras import missing
from cymf._streams import opened
from cymf._text_reader import EmptyFileError

__all__ = ["JSON_SUFFIXES", "read_json_lines"]

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
_BLOCK = 1 << 22  # bytes read at once
_MARK = b"\xef\xbb\xbf"  # of UTF-8, which some programs write first

# What reviews call the columns, beside the names that all files share.
_OF_REVIEWS = {
    "user": ("reviewerID", "user_id"),
    "item": ("asin", "parent_asin", "business_id"),
    "rating": ("overall", "stars", "rating"),
    "timestamp": ("unixReviewTime", "timestamp", "date"),
}


def read_json_lines(path: Any, choice: ColumnChoice) -> Iterator[Columns]:
    """Yield the columns of some objects after the other; see `Ratings.from_file`."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError:
        raise missing("pyarrow", f"reading {path.name}") from None
    names: dict[str, str | None] = {}
    types: dict[str, Any] = {}
    with opened(path) as stream:
        for first_line, block in _blocks(stream):
            if not types:
                first = _first_object(block, path)
                listed = list(first)
                wanted = _with_names_of_reviews(choice, first)
                places = locate_columns(wanted, listed, len(listed), path)._asdict()
                names = {role: None if at is None else listed[at] for role, at in places.items()}
                types = {
                    name: _type_of(role, first[name], path)
                    for role, name in names.items()
                    if name is not None
                }
            table = _parsed(pa, block, types, path, first_line)
            try:
                yield Columns(
                    *(
                        None
                        if name is None
                        else column_of(role, pa.concat_arrays(table.column(name).chunks))
                        for role, name in names.items()
                    )
                )
            except BadEntryError as bad:
                line = _line_of_row(block, bad.row, first_line)
                raise ValueError(
                    f"{path}, line {line}: {bad.reason}: drop it, or give it a value"
                ) from None
    pa.default_memory_pool().release_unused()  # sorting the ratings needs what Arrow keeps
    if not types:
        raise EmptyFileError(f"{path} is not a file of JSON objects, one a line: it is empty")


def _blocks(stream: Any) -> Iterator[tuple[int, bytes]]:
    """Yield whole lines that are not all blank, and the number of the first."""
    line, rest = 1, b""
    while True:
        read = stream.read(_BLOCK)
        block = rest + read
        if line == 1 and block.startswith(_MARK):
            block = block[len(_MARK) :]
        if read:
            end = block.rfind(b"\n") + 1
            block, rest = block[:end], block[end:]
        if block.strip():
            yield line, block
        if not read:
            return
        line += block.count(b"\n")


def _parsed(pa: Any, block: bytes, types: dict[str, Any], path: Any, first_line: int) -> Any:
    from pyarrow import json as reader

    try:
        return reader.read_json(
            pa.BufferReader(block),
            read_options=reader.ReadOptions(block_size=len(block)),
            parse_options=reader.ParseOptions(
                explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowException as damage:
        _refuse(block, types, path, first_line, damage)


def _refuse(
    block: bytes, types: dict[str, Any], path: Any, first_line: int, damage: Exception
) -> NoReturn:
    """Say which line of a block is malformed."""
    for number, line in enumerate(block.split(b"\n"), first_line):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as problem:
            raise ValueError(
                f"{path} is not a file of JSON objects, one a line: line {number}: {problem}: {_shown(line)}"
            ) from damage
        if not isinstance(entry, dict):
            raise ValueError(
                f"{path} is not a file of JSON objects, one a line: line {number} holds a {type(entry).__name__}"
            ) from damage
        for name, kind in types.items():
            value = entry.get(name)
            if value is not None and not _fits(value, str(kind)):
                raise ValueError(
                    f"{path}, line {number}: {name!r} is {value!r}; expected {_EXPECTED[str(kind)]}, as in the first "
                    "line"
                ) from damage
    raise ValueError(f"{path} is not a file of JSON objects, one a line: {damage}") from damage


_EXPECTED = {
    "double": "a number",
    "int64": "a whole number of 64 bits",
    "string": "a string",
    "timestamp[us]": "a date and time",
}


def _fits(value: Any, kind: str) -> bool:
    if kind == "string":
        return isinstance(value, str)
    if kind == "timestamp[us]":
        return isinstance(value, str) and _is_moment(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return kind == "double" or (isinstance(value, int) and -(2**63) <= value < 2**63)


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _line_of_row(block: bytes, row: int, first_line: int) -> int:
    lines = [n for n, line in enumerate(block.split(b"\n"), first_line) if line.strip()]
    return lines[row]


def _first_object(block: bytes, path: Any) -> dict[str, Any]:
    line = block.lstrip().partition(b"\n")[0]
    try:
        first = json.loads(line)
    except ValueError as damage:
        raise ValueError(
            f"{path} is not a file of JSON objects, one a line: {damage}: it begins with {_shown(line)}"
        ) from damage
    if not isinstance(first, dict):
        raise ValueError(
            f"{path} is not a file of JSON objects, one a line: it begins with a {type(first).__name__}"
        )
    return first


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _with_names_of_reviews(choice: ColumnChoice, first: dict[str, Any]) -> ColumnChoice:
    found = {
        role: next((name for name in names if name in first), AUTO)
        for role, names in _OF_REVIEWS.items()
        if getattr(choice, role) == AUTO
    }
    return choice._replace(**found)


def _type_of(role: str, value: Any, path: Path) -> Any:
    """The Arrow type of a column, by its role and its first value."""
    import pyarrow as pa

    if role in ("rating", "weight"):
        return pa.float64()
    if isinstance(value, str):
        return pa.timestamp("us") if role == "timestamp" else pa.string()
    if isinstance(value, int) and not isinstance(value, bool):
        return pa.int64()
    if isinstance(value, float) and role == "timestamp":
        return pa.float64()
    raise ValueError(
        f"{path}: the {role} of the first object is {value!r}; expected a string or a whole number"
    )
