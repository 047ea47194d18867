"""Columns of a table of features: numbers, flags, words, or lists of words, each possibly missing.

Tables are pandas, polars or Arrow tables, through narwhals, or mappings from names to sequences.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cymf._arrays import as_array, offers_array, type_name
from cymf._columns import as_series
from cymf._tables import open_table

__all__ = ["Kind", "Values", "is_missing", "label_of", "read_columns", "read_values"]

Kind = Literal["number", "flag", "word", "list"]


class Values(NamedTuple):
    """A column's values.

    Attributes
    ----------
    kind : {"number", "flag", "word", "list"}
        What they are.
    values : ndarray of float64, or list
        Numbers and flags as floats, NaN where missing; words as they come, None where missing; lists of such words.
    """

    kind: Kind
    values: Any


def read_columns(table: Any, what: str) -> dict[str, Any]:
    """Return a table's columns by name, as they are.

    Raises
    ------
    TypeError
        If `table` is no table in memory.
    ValueError
        If the columns of a mapping differ in length.
    """
    if isinstance(table, Mapping):
        return _columns_of_mapping(table, what)
    frame = open_table(table)
    if frame is None:
        raise TypeError(
            f"{what} is a {type_name(table)}; expected cymf.Features, a pandas, polars or Arrow table in memory, a "
            "mapping from names to columns, or a matrix"
        )
    return {str(name): frame.get_column(name) for name in frame.columns}


def read_values(column: Any, name: str) -> Values:
    """Return the values of one column of `read_columns`.

    Raises
    ------
    TypeError
        If it holds anything but numbers, flags, words, or lists of words, or a mixture of them.
    """
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "b":
            return Values("flag", column.astype(np.float64))
        if column.dtype.kind in "iuf":
            return Values("number", column.astype(np.float64))
        return _of_objects(column.tolist(), name)
    if isinstance(column, Sequence):
        return _of_objects(column, name)
    import narwhals.stable.v1 as nw

    dtype = column.dtype
    if dtype == nw.Boolean:
        return Values("flag", _floats(column))
    if dtype.is_numeric():
        return Values("number", _floats(column))
    if dtype in (nw.String, nw.Categorical, nw.Enum):
        return Values("word", [None if is_missing(v) else v for v in column.to_list()])
    if dtype in (nw.List, nw.Array, nw.Object, nw.Unknown):
        return _of_objects(column.to_list(), name)
    raise TypeError(
        f"column {name!r} holds {dtype}; expected numbers, booleans, words or lists of words: convert it, for instance "
        "dates to years"
    )


def is_missing(value: Any) -> bool:
    """Return whether a value stands for none: None, NaN, pandas' NA and NaT, and the empty word."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return (isinstance(value, (float, np.floating)) and math.isnan(value)) or value == ""


def label_of(value: Any) -> str:
    """Return a category's name: whole numbers without a fraction, whatever type held them."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _columns_of_mapping(table: Mapping[Any, Any], what: str) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, column in table.items():
        if isinstance(column, (str, bytes, numbers.Number, np.generic)) or column is None:
            column = [column]
        elif (series := as_series(column)) is not None:
            column = series
        elif not isinstance(column, (list, tuple)):
            if not offers_array(column):
                raise TypeError(
                    f"{what}: column {name!r} is a {type_name(column)}; expected a sequence of values"
                )
            column = as_array(column, f"{what}: column {name!r}")
        if isinstance(column, np.ndarray) and column.ndim != 1:
            raise ValueError(
                f"{what}: column {name!r} has shape {column.shape}; expected one dimension"
            )
        columns[str(name)] = column
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} {length}" for name, length in lengths.items())
        raise ValueError(f"{what}: columns differ in length: {listed}")
    return columns


def _floats(series: Any) -> NDArray[np.float64]:
    if series.null_count() == 0:
        return np.asarray(series.to_numpy(), np.float64)
    return np.array([np.nan if is_missing(v) else float(v) for v in series.to_list()])


_TESTS: tuple[tuple[Kind, Callable[[Any], bool]], ...] = (
    ("flag", lambda value: isinstance(value, (bool, np.bool_))),
    (
        "number",
        lambda value: isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_)),
    ),
    ("word", lambda value: isinstance(value, (str, bytes))),
    ("list", lambda value: isinstance(value, (list, tuple, set, frozenset, np.ndarray))),
)


def _of_objects(values: Sequence[Any], name: str) -> Values:
    """Tell objects apart by those that are there; of nothing but missing values, words."""
    present = [value for value in values if _is_list(value) or not is_missing(value)]
    fitting = [kind for kind, test in _TESTS if all(map(test, present))]
    if not fitting:
        types = sorted({type(value).__name__ for value in present})
        raise TypeError(
            f"column {name!r} holds {' and '.join(types)}; expected numbers, booleans, words, or lists of words, "
            "all of one kind"
        )
    kind = fitting[0] if present else "word"
    if kind in ("number", "flag"):
        return Values(kind, np.array([np.nan if is_missing(v) else float(v) for v in values]))
    if kind == "word":
        return Values(
            kind,
            [None if is_missing(v) else v.decode() if isinstance(v, bytes) else v for v in values],
        )
    return Values(kind, [list(v) if _is_list(v) else None for v in values])


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset, np.ndarray))
