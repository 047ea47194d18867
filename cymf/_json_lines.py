"""Ratings as JSON, one object a line, such as Amazon's and Yelp's reviews, read by pyarrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cymf._column_choice import AUTO, ColumnChoice, Columns, locate_columns
from cymf._extras import missing

__all__ = ["JSON_SUFFIXES", "read_json_lines"]

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")

# What reviews call the columns, beside the names that all files share.
_OF_REVIEWS = {
    "user": ("reviewerID", "user_id"),
    "item": ("asin", "parent_asin", "business_id"),
    "rating": ("overall", "stars", "rating"),
    "timestamp": ("unixReviewTime", "timestamp", "date"),
}


def read_json_lines(path: Path, choice: ColumnChoice) -> Columns:
    """Columns of a file of JSON objects, compressed by gzip if its name says so; see `Ratings.from_file`."""
    try:
        import pyarrow as pa
        from pyarrow import json as reader
    except ModuleNotFoundError:
        raise missing("pyarrow", f"reading {path.name}") from None
    compression = "gzip" if path.suffix == ".gz" else None
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            first = _first_object(stream.read(1 << 20), path)
        names = list(first)
        places = locate_columns(_with_names_of_reviews(choice, first), names, len(names), path)
        chosen = [None if at is None else names[at] for at in places]
        types = {}
        for role, name in zip(places._fields, chosen, strict=True):
            if name is not None:
                types[name] = _type_of(role, first[name], path)
        options = reader.ParseOptions(
            explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
        )
        with pa.input_stream(str(path), compression=compression) as stream:
            table = reader.read_json(stream, parse_options=options)
    except pa.ArrowException as damage:
        raise ValueError(f"{path} is not a file of JSON objects, one a line: {damage}") from damage
    return Columns(*(None if name is None else table.column(name) for name in chosen))


def _first_object(opening: bytes, path: Path) -> dict[str, Any]:
    line = opening.lstrip().partition(b"\n")[0]
    try:
        first = json.loads(line)
    except ValueError as damage:
        raise ValueError(f"{path} is not a file of JSON objects, one a line: {damage}") from damage
    if not isinstance(first, dict):
        raise ValueError(
            f"{path} is not a file of JSON objects, one a line: it begins with a {type(first).__name__}"
        )
    return first


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
