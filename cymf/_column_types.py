"""The type of a column as its library calls it, so that what comes out of a model can be of that type again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cymf._columns import as_series, library_of

__all__ = [
    "LIBRARIES",
    "ColumnType",
    "column_names",
    "column_type",
    "library_among",
    "make_table",
]

LIBRARIES = ("pandas", "polars", "pyarrow")

_INTEGER = re.compile(r"u?int(8|16|32|64)", re.IGNORECASE)
_DICTIONARY = re.compile(r"dictionary<values=(\w+), indices=(\w+), ordered=([01])>")


@dataclass(frozen=True, eq=False)
class ColumnType:
    """The name and type of a column of a table.

    Attributes
    ----------
    library : {"pandas", "polars", "pyarrow"}
        Whose column it was.
    name : hashable
        What it was called; None if it had no name.
    words : str
        Its dtype, much as the library writes it: ``"Int64"``, ``"category<str>"``, ``"String"``,
        ``"dictionary<values=string, …>"``. Empty: whatever the library makes of such values.
    categories : ndarray or None
        All categories in their order, also those without entries, where they are part of the dtype: pandas' categories
        and polars' Enum.
    ordered : bool
        Whether pandas' categories are ordered.
    time_zone : str or None
        That of a column of datetimes.

    Notes
    -----
    It holds no object of the library, so that a model can be loaded, and pickles opened, where that is not installed.
    """

    library: str
    name: Any
    words: str
    categories: NDArray[Any] | None = None
    ordered: bool = False
    time_zone: str | None = None

    @property
    def is_categorical(self) -> bool:
        """Whether entries are kept as codes."""
        return (
            self.words.startswith(("category<", "Categorical", "Enum"))
            or "dictionary<" in self.words
        )

    def to_json(self) -> dict[str, Any]:
        """Everything but the categories, in JSON's types."""
        name = list(self.name) if isinstance(self.name, tuple) else self.name
        plain = name is None or isinstance(name, (str, int, list))
        return {
            "library": self.library,
            "name": name if plain else str(name),
            "words": self.words,
            "ordered": self.ordered,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], categories: NDArray[Any]) -> ColumnType:
        """The type that `to_json` wrote, with these categories if it has any."""
        name = tuple(stored["name"]) if isinstance(stored["name"], list) else stored["name"]
        words = str(stored["words"])
        has_categories = words == "Enum" or words.startswith("category<")
        return cls(
            str(stored["library"]), name, words, categories if has_categories else None,
            bool(stored["ordered"]),
        )  # fmt: skip

    def holds(self, values: NDArray[Any]) -> bool:
        """Whether no value is too large for it: a model may have met ids since that are."""
        whole = _INTEGER.search(self.words)
        if self.is_categorical or whole is None or values.dtype.kind != "i" or not len(values):
            return True
        bounds = np.iinfo(whole[0].lower())
        return bool(bounds.min <= values.min() and values.max() <= bounds.max)

    def translated(self, library: str) -> ColumnType | None:
        """The type of another library that is most like it; None for the plain one."""
        if library == self.library:
            return self
        if self.is_categorical:
            words = {
                "pandas": "category<>",
                "polars": "Categorical" if self.categories is None else "Enum",
                "pyarrow": f"dictionary<values=string, indices=int32, ordered={int(self.ordered)}>",
            }[library]
            return replace(self, library=library, words=words)
        if whole := _INTEGER.search(self.words):
            words = whole[0].lower()
            if library == "polars":
                words = words.replace("uint", "UInt").replace("int", "Int")
            return replace(self, library=library, words=words)
        return None


def column_type(values: Any) -> ColumnType | None:
    """The type of a column of ids, numbers or datetimes; None for what is no column of a known library."""
    series = as_series(values)
    if series is None or library_of(series.to_native()) not in LIBRARIES:
        return None
    import narwhals.stable.v1 as nw

    column, dtype = series.to_native(), series.dtype
    name: Any = series.name.item() if isinstance(series.name, np.generic) else series.name
    found = ColumnType(library_of(column), None if name == "" else name, "")
    if isinstance(dtype, nw.Datetime):
        return replace(found, time_zone=dtype.time_zone)
    if dtype.is_numeric() or dtype in (nw.Boolean, nw.String, nw.Categorical, nw.Enum):
        return _DESCRIBED[found.library](column, found)
    return found


def library_among(*columns: ColumnType | None) -> str:
    """The library of the first column that came from one; pandas, if none did."""
    return next((column.library for column in columns if column is not None), "pandas")


def column_names(columns: Mapping[str, ColumnType | None]) -> list[Any]:
    """What columns are called: as they were in their tables, or as here if that would name two alike."""
    names = [
        name if kind is None or kind.name is None else kind.name for name, kind in columns.items()
    ]
    return names if len(set(map(str, names))) == len(names) else list(columns)


def make_table(columns: Mapping[Any, tuple[NDArray[Any], ColumnType | None]], library: str) -> Any:
    """A table of pandas, polars or pyarrow of columns by name, each of its type or of one most like it.

    Raises
    ------
    ModuleNotFoundError
        If the library is not installed.
    """
    try:
        return _MADE[library](
            {
                name: (values, kind.translated(library) if kind and kind.holds(values) else None)
                for name, (values, kind) in columns.items()
            }
        )
    except ModuleNotFoundError as missing:
        if missing.name != library:
            raise
        raise ModuleNotFoundError(
            f"backend={library!r} needs {library}: pip install {library}, or choose another backend",
            name=library,
        ) from None


# ------------------------------------------------------------------ pandas


def _describe_pandas(column: Any, found: ColumnType) -> ColumnType:
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        categories = column.dtype.categories
        return replace(
            found,
            words=f"category<{_pandas_words(categories.dtype)}>",
            categories=categories.to_numpy(),
            ordered=bool(column.dtype.ordered),
        )
    return replace(found, words=_pandas_words(column.dtype))


def _pandas_words(dtype: Any) -> str:
    import pandas as pd

    if isinstance(dtype, pd.ArrowDtype):
        words = _arrow_words(dtype.pyarrow_dtype)
        return f"arrow:{words}" if words else ""
    if isinstance(dtype, pd.StringDtype) and dtype.na_value is pd.NA:
        return f"string[{dtype.storage}]"
    return str(dtype)


def _pandas_dtype(words: str) -> Any:
    import pandas as pd

    if words.startswith("arrow:"):
        return pd.ArrowDtype(_arrow_type(words.removeprefix("arrow:")))
    return words or None


def _pandas_column(values: NDArray[Any], kind: ColumnType | None) -> Any:
    import pandas as pd

    if kind is None:
        return pd.Series(values)
    if kind.words.startswith("category<"):
        return pd.Series(_pandas_categories(values, kind))
    series = pd.Series(values, dtype=_pandas_dtype(kind.words))
    if kind.time_zone is not None:
        series = series.dt.tz_localize("UTC").dt.tz_convert(kind.time_zone)
    return series


def _pandas_categories(values: NDArray[Any], kind: ColumnType) -> Any:
    import pandas as pd

    if kind.categories is None:
        return pd.Categorical(values)
    inner = _pandas_dtype(kind.words[len("category<") : -1])
    categories = pd.Index(kind.categories, dtype=inner)
    codes = categories.get_indexer(values)
    if (unlisted := codes < 0).any():
        categories = categories.append(pd.Index(pd.unique(values[unlisted]), dtype=inner))
        codes = categories.get_indexer(values)
    return pd.Categorical.from_codes(codes, categories=categories, ordered=kind.ordered)


def _pandas_table(columns: Mapping[Any, tuple[NDArray[Any], ColumnType | None]]) -> Any:
    import pandas as pd

    return pd.DataFrame({name: _pandas_column(*column) for name, column in columns.items()})


# ------------------------------------------------------------------ polars


def _describe_polars(column: Any, found: ColumnType) -> ColumnType:
    import polars as pl

    if isinstance(column.dtype, pl.Enum):
        categories = np.array(column.dtype.categories.to_list(), dtype=object)
        return replace(found, words="Enum", categories=categories)
    if isinstance(column.dtype, pl.Categorical):
        return replace(found, words="Categorical")
    words = str(column.dtype)
    return replace(found, words=words if hasattr(pl, words) else "")


def _polars_column(values: NDArray[Any], kind: ColumnType | None) -> Any:
    import polars as pl

    if values.dtype == object:
        series = pl.Series(values.tolist(), dtype=pl.String)
    else:
        series = pl.Series(values)
    if kind is None or not kind.words:
        if kind is not None and kind.time_zone is not None:
            return series.dt.replace_time_zone("UTC").dt.convert_time_zone(kind.time_zone)
        return series
    if not kind.is_categorical:
        return series.cast(getattr(pl, kind.words))
    if values.dtype != object:  # polars has no categories but strings
        return series
    if kind.categories is None:
        return series.cast(pl.Categorical)
    listed = list(dict.fromkeys([*kind.categories.tolist(), *series.unique(maintain_order=True)]))
    return series.cast(pl.Enum(listed))


def _polars_table(columns: Mapping[Any, tuple[NDArray[Any], ColumnType | None]]) -> Any:
    import polars as pl

    return pl.DataFrame(
        [_polars_column(*column).alias(str(name)) for name, column in columns.items()]
    )


# ------------------------------------------------------------------ Arrow


def _describe_arrow(column: Any, found: ColumnType) -> ColumnType:
    return replace(found, words=_arrow_words(column.type))


def _arrow_words(kind: Any) -> str:
    """A type's name, if that leads back to it; else nothing."""
    try:
        return str(kind) if _arrow_type(str(kind)) == kind else ""
    except ValueError:
        return ""


def _arrow_type(words: str) -> Any:
    import pyarrow as pa

    if of_codes := _DICTIONARY.fullmatch(words):
        values, indices, ordered = of_codes.groups()
        return pa.dictionary(_arrow_type(indices), _arrow_type(values), ordered=ordered == "1")
    return pa.type_for_alias(words)


def _arrow_column(values: NDArray[Any], kind: ColumnType | None) -> Any:
    import pyarrow as pa

    if kind is None or not kind.words:
        plain = pa.array(values, pa.string() if values.dtype == object else None)
        if kind is not None and kind.time_zone is not None:
            return plain.cast(pa.timestamp(plain.type.unit, "UTC")).cast(
                pa.timestamp(plain.type.unit, kind.time_zone)
            )
        return plain
    wanted = _arrow_type(kind.words)
    if values.dtype == object:
        return pa.array(values.tolist(), wanted)
    plain = pa.array(values)
    if kind.is_categorical:
        indices = plain.dictionary_encode()
        return (
            pa.DictionaryArray.from_arrays(
                indices.indices.cast(wanted.index_type), indices.dictionary, ordered=wanted.ordered
            )
            if wanted.value_type == plain.type
            else plain
        )
    return plain.cast(wanted)


def _arrow_table(columns: Mapping[Any, tuple[NDArray[Any], ColumnType | None]]) -> Any:
    import pyarrow as pa

    return pa.table({str(name): _arrow_column(*column) for name, column in columns.items()})


_DESCRIBED = {"pandas": _describe_pandas, "polars": _describe_polars, "pyarrow": _describe_arrow}
_MADE = {"pandas": _pandas_table, "polars": _polars_table, "pyarrow": _arrow_table}
