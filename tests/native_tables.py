"""Columns and tables of pandas, polars and Arrow in all their types, as far as these are installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import pytest


class Kind(NamedTuple):
    """One type of column.

    Attributes
    ----------
    library : str
    name : str
    column : callable
        Makes a column of a list.
    """

    library: str
    name: str
    column: Callable[[list[Any]], Any]

    def table(self, columns: dict[str, Any]) -> Any:
        """Make a table of columns of the library; lists among them are made so."""
        if self.library == "pandas":
            import pandas as pd

            return pd.DataFrame({name: pd.Series(column) for name, column in columns.items()})
        if self.library == "polars":
            import polars as pl

            return pl.DataFrame(
                [
                    (column if isinstance(column, pl.Series) else pl.Series(column)).alias(name)
                    for name, column in columns.items()
                ]
            )
        import pyarrow as pa

        return pa.table(columns)


def native(table: Any, name: str) -> Any:
    """A column of a table."""
    return table.column(name) if hasattr(table, "schema") and is_arrow(table) else table[name]


def is_arrow(table: Any) -> bool:
    return type(table).__module__.startswith("pyarrow")


def dtype_of(column: Any) -> Any:
    """A column's own dtype."""
    return column.type if is_arrow(column) else column.dtype


def library_of(table: Any) -> str:
    return type(table).__module__.partition(".")[0]


def values_of(column: Any) -> list[Any]:
    return column.to_pylist() if is_arrow(column) else list(column)


def _pandas(dtype: Any) -> Callable[[list[Any]], Any]:
    def column(values: list[Any]) -> Any:
        import pandas as pd

        return pd.Series(values, dtype=dtype() if callable(dtype) else dtype)

    return column


def _polars(dtype: Callable[[Any], Any]) -> Callable[[list[Any]], Any]:
    def column(values: list[Any]) -> Any:
        import polars as pl

        return pl.Series(values, dtype=dtype(pl))

    return column


def _arrow(dtype: Callable[[Any], Any], pieces: int = 1) -> Callable[[list[Any]], Any]:
    def column(values: list[Any]) -> Any:
        import pyarrow as pa

        size = -(-len(values) // pieces)
        parts = [values[start : start + size] for start in range(0, len(values), size)]
        return pa.chunked_array([pa.array(part, dtype(pa)) for part in parts], dtype(pa))

    return column


def _category(categories: list[Any], ordered: bool) -> Callable[[], Any]:
    def dtype() -> Any:
        import pandas as pd

        return pd.CategoricalDtype(categories, ordered)

    return dtype


def _of_arrow(name: str) -> Callable[[], Any]:
    def dtype() -> Any:
        import pandas as pd
        import pyarrow as pa

        kinds = {"dictionary": pa.dictionary(pa.int32(), pa.string()), "string": pa.string()}
        return pd.ArrowDtype(kinds.get(name) or getattr(pa, name)())

    return dtype


WORDS = ["ann", "bob", "cy", "dora"]  # what columns of words hold; categories know more
_LISTED = ["zoe", "dora", "ann", "cy", "bob", "never"]

WORD_KINDS = [
    Kind("pandas", "object", _pandas("object")),
    Kind("pandas", "str", _pandas("str")),
    Kind("pandas", "string[python]", _pandas("string[python]")),
    Kind("pandas", "string[pyarrow]", _pandas("string[pyarrow]")),
    Kind("pandas", "ArrowDtype(string)", _pandas(_of_arrow("string"))),
    Kind("pandas", "ArrowDtype(large_string)", _pandas(_of_arrow("large_string"))),
    Kind("pandas", "ArrowDtype(dictionary)", _pandas(_of_arrow("dictionary"))),
    Kind("pandas", "category", _pandas(_category(_LISTED, False))),
    Kind("pandas", "ordered category", _pandas(_category(_LISTED, True))),
    Kind("polars", "String", _polars(lambda pl: pl.String)),
    Kind("polars", "Categorical", _polars(lambda pl: pl.Categorical)),
    Kind("polars", "Enum", _polars(lambda pl: pl.Enum(_LISTED))),
    Kind("pyarrow", "string", _arrow(lambda pa: pa.string())),
    Kind("pyarrow", "large_string", _arrow(lambda pa: pa.large_string())),
    Kind("pyarrow", "string_view", _arrow(lambda pa: pa.string_view())),
    Kind("pyarrow", "chunks", _arrow(lambda pa: pa.string(), 3)),
    Kind("pyarrow", "dictionary", _arrow(lambda pa: pa.dictionary(pa.int32(), pa.string()))),
    Kind(
        "pyarrow",
        "ordered small dictionary of large_string",
        _arrow(lambda pa: pa.dictionary(pa.int8(), pa.large_string(), ordered=True)),
    ),
    Kind(
        "pyarrow",
        "dictionaries in chunks",
        _arrow(lambda pa: pa.dictionary(pa.int32(), pa.string()), 3),
    ),
]

_WIDTHS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
NUMBER_KINDS = [
    *[Kind("pandas", width, _pandas(width)) for width in _WIDTHS],
    Kind("pandas", "Int16", _pandas("Int16")),
    Kind("pandas", "Int64", _pandas("Int64")),
    Kind("pandas", "ArrowDtype(int32)", _pandas(_of_arrow("int32"))),
    Kind("pandas", "float64", _pandas("float64")),
    Kind("pandas", "category of numbers", _pandas(_category([90, 30, 10, 20, 0, 40], True))),
    *[
        Kind("polars", width, _polars(lambda pl, w=width: getattr(pl, w)))
        for width in ("Int8", "Int32", "Int64", "UInt8", "UInt64")
    ],
    *[
        Kind("pyarrow", width, _arrow(lambda pa, w=width: getattr(pa, w)()))
        for width in ("int8", "int32", "int64", "uint16")
    ],
    Kind(
        "pyarrow", "dictionary of numbers", _arrow(lambda pa: pa.dictionary(pa.int8(), pa.int64()))
    ),
]
NUMBERS = [10, 20, 30, 40]


def installed(kinds: list[Kind]) -> list[Any]:
    """Those kinds as parameters of tests; skipped where their library is not installed."""
    arrow = find_spec("pyarrow") is not None
    return [
        pytest.param(
            kind,
            id=f"{kind.library} {kind.name}",
            marks=pytest.mark.skipif(
                find_spec(kind.library) is None
                or (not arrow and ("Arrow" in kind.name or "pyarrow" in kind.name)),
                reason="its library is not installed",
            ),
        )
        for kind in kinds
    ]
