"""Columns of Arrow, as files of Parquet and JSON give them, made into arrays of ids, ratings and timestamps."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cymf._id_columns import Coded, object_array
from cymf._ratings_checks import naive_utc

__all__ = ["BadEntryError", "check_type", "column_of", "is_text"]

_EXACT_FLOAT = float(2**53)
_VIEWS = {"string_view": "string", "binary_view": "binary"}


class BadEntryError(ValueError):
    """An entry of a column is not what it should be."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(f"row {row}: {reason}")
        self.row = row
        self.reason = reason


def is_text(kind: Any) -> bool:
    """Whether a type is one of strings, or of bytes that may be strings."""
    import pyarrow as pa

    name = str(kind)
    return name in _VIEWS or any(
        test(kind)
        for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    )  # fmt: skip


def check_type(role: str, kind: Any, place: str) -> None:
    """Refuse a column whose type cannot be that of its role; `place` names the column."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_null(kind):
        raise ValueError(f"{place}, the {role}, holds nothing: choose another column by {role}=…")
    if role in ("user", "item"):
        fits = types.is_integer(kind) or types.is_floating(kind) or is_text(kind)
        expected = "integers or strings"
    elif role == "timestamp":
        fits = types.is_timestamp(kind) or types.is_date(kind) or is_text(kind)
        fits = fits or types.is_integer(kind) or types.is_floating(kind)
        expected = "numbers or dates"
    else:
        fits = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
        fits = fits or types.is_decimal(kind)
        expected = "numbers"
    if not fits:
        raise ValueError(
            f"{place}, the {role}, is of the type {kind}; expected {expected}: convert it, or choose another column "
            f"by {role}=…"
        )


def column_of(role: str, column: Any) -> Any:
    """A batch's column as `gather` takes it; BadEntryError where an entry is missing or is no such thing."""
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise BadEntryError(row, f"the {role} is missing")
    if role in ("user", "item"):
        return _ids(role, column)
    if role == "timestamp":
        return _timestamps(column)
    return _numbers(role, column)


def _ids(role: str, column: Any) -> Any:
    import pyarrow as pa

    if str(column.type) in _VIEWS:
        column = column.cast(_VIEWS[str(column.type)])
    if is_text(column.type):
        column = column.dictionary_encode()
    if pa.types.is_dictionary(column.type):
        codes = column.indices.to_numpy(zero_copy_only=False)
        used = np.zeros(len(column.dictionary), bool)
        used[codes] = True
        places = np.flatnonzero(
            used
        )  # a dictionary may serve a whole file, a batch needs few of it
        table = np.cumsum(used, dtype=np.int32) - np.int32(1)
        labels = column.dictionary.take(pa.array(places))

        def row_of(label: int) -> int:
            return int(np.flatnonzero(codes == places[label])[0])

        if labels.null_count:
            missing = int(np.flatnonzero(labels.is_null().to_numpy(zero_copy_only=False))[0])
            raise BadEntryError(row_of(missing), f"the {role} is missing")
        if is_text(labels.type):
            return Coded(table[codes], _text(role, labels, row_of))
        return _integers(role, labels.to_numpy(zero_copy_only=False))[table[codes]]
    return _integers(role, column.to_numpy(zero_copy_only=False))


def _text(role: str, labels: Any, row_of: Any) -> NDArray[Any]:
    try:
        texts = labels.to_numpy(zero_copy_only=False).tolist()
        if isinstance(texts[0], bytes):
            texts = [text.decode("utf-8") for text in texts]
    except UnicodeDecodeError:
        for label in range(len(labels)):
            entry = labels[label].as_buffer().to_pybytes()
            try:
                entry.decode("utf-8")
            except UnicodeDecodeError:
                reason = f"the {role} is {entry!r}, which is not UTF-8 text"
                raise BadEntryError(row_of(label), reason) from None
        raise
    if "" in texts:
        raise BadEntryError(row_of(texts.index("")), f"the {role} is an empty string")
    return object_array(texts)


def _integers(role: str, values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind == "u":
        too_large = values > np.iinfo(np.int64).max
    elif values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            too_large = ~((np.abs(values) <= _EXACT_FLOAT) & (np.floor(values) == values))
    else:
        return values.astype(np.int64, copy=False)
    if too_large.any():
        row = int(np.flatnonzero(too_large)[0])
        raise BadEntryError(row, f"the {role} is {values[row]}; expected a whole number of 64 bits")
    return values.astype(np.int64)


def _numbers(role: str, column: Any) -> NDArray[Any]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    _check_finite(role, values)
    return values


def _timestamps(column: Any) -> NDArray[Any]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type):
        return _moments(column.to_pylist())
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind in "iu":
        return values.astype(np.int64, copy=False)
    if values.dtype.kind == "f":
        _check_finite("timestamp", values)
        return values.astype(np.float64, copy=False)
    return values


def _moments(texts: list[Any]) -> NDArray[Any]:
    moments = []
    for row, text in enumerate(texts):
        try:
            moments.append(naive_utc(datetime.fromisoformat(text.strip())))
        except (AttributeError, TypeError, ValueError):
            reason = f"the timestamp is {text!r}, not a date and time as ISO 8601 writes them"
            raise BadEntryError(row, reason) from None
    return np.array(moments, "M8[us]")


def _check_finite(role: str, values: NDArray[Any]) -> None:
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        row = int(np.flatnonzero(~finite)[0])
        raise BadEntryError(row, f"the {role} is {values[row]}; expected a finite number")
