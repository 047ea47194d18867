"""Columns of any library (NumPy, lists, pandas, polars, Arrow) as NumPy arrays.

Everything but NumPy arrays and plain sequences comes in through narwhals, imported only then.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cymf._arrays import as_array, offers_array
from cymf._id_columns import Coded, IdEncoder, chunks, encode_objects, object_array, reject_masked

if TYPE_CHECKING:
    import narwhals.stable.v1 as nw

__all__ = [
    "as_series",
    "id_column",
    "library_of",
    "number_column",
    "plain_array",
    "query_column",
    "written_column",
]


def id_column(values: Any, what: str) -> Any:
    """A column of ids, as something that `encode_ids` and `IdMap.to_index` take.

    Categorical and dictionary columns keep their codes, and strings are numbered chunk by chunk,
    so no column is ever expanded into one Python object per entry.
    """
    if isinstance(values, Coded):
        return values
    series = as_series(values)
    if series is None:
        return _sized(values, what)
    import narwhals.stable.v1 as nw

    _reject_nulls(series, what)
    dtype = series.dtype
    if dtype in (nw.Categorical, nw.Enum) and (coded := _codes(series)) is not None:
        return coded
    if dtype.is_numeric():
        return series.to_numpy()
    if dtype in (nw.Object, nw.Unknown):
        return Coded(*encode_objects(object_array(series.to_list()), what))
    if dtype not in (nw.String, nw.Categorical, nw.Enum):
        raise TypeError(
            f"{what} must be integers or strings; the column holds {dtype}: convert it to one of them"
        )
    encoder = IdEncoder()
    codes = np.empty(len(series), dtype=np.int32)
    for part in chunks(len(series)):
        codes[part] = encoder.encode(series[part].to_list())
    return Coded(codes, encoder.labels())


def query_column(values: Any, what: str) -> Any:
    """What is asked about: a scalar as it is, anything else as `id_column` makes it.

    A scalar is what holds nothing else: a string, a number, an array without dimensions.
    """
    if isinstance(values, (str, bytes, int, np.generic)):
        return values
    if getattr(values, "ndim", None) == 0 and offers_array(values):
        return as_array(values, what)[()]
    if not hasattr(values, "__iter__") and not offers_array(values):
        return values
    return id_column(values, what)


def written_column(values: Any, what: str) -> NDArray[Any]:
    """A column of ids as an array with an entry each, where there are few."""
    column = query_column(values, what)
    return column.expanded() if isinstance(column, Coded) else np.asarray(column)


def number_column(values: Any, what: str) -> NDArray[Any]:
    """A column of ratings, weights or timestamps as an array, its dtype still to be checked."""
    reject_masked(values, what)
    series = as_series(values)
    if series is None:
        array = np.asarray(_sized(values, what))
        if array.ndim != 1:
            raise ValueError(f"{what} must be 1-D, one per rating; given shape {array.shape}")
        return array
    _reject_nulls(series, what)
    return np.asarray(series.to_numpy())


def plain_array(values: Any, what: str) -> NDArray[Any]:
    """An array of what a column of a table, an array of any library, or a sequence holds, of any shape."""
    series = as_series(values)
    return as_array(values, what) if series is None else np.asarray(series.to_numpy())


def as_series(values: Any) -> nw.Series[Any] | None:
    """A column of a table library as narwhals sees it; None for what is none."""
    home = library_of(values)
    if home in ("array", "builtins", "numpy"):
        return None
    import narwhals.stable.v1 as nw

    found: nw.Series[Any]
    with suppress(TypeError):  # no column of a table library
        found = nw.from_native(values, series_only=True)
        return found
    if home == "pandas" and hasattr(values, "dtype") and getattr(values, "ndim", 0) == 1:
        import pandas as pd

        values = pd.Series(values)  # an Index, or the array within a column
    elif hasattr(values, "__arrow_c_array__"):
        try:
            import pyarrow as pa
        except ModuleNotFoundError:
            return None
        values = pa.chunked_array([pa.array(values)])
    else:
        return None
    found = nw.from_native(values, series_only=True)
    return found


def library_of(values: Any) -> str:
    """The package that an object's type comes from."""
    return type(values).__module__.partition(".")[0]


def _sized(values: Any, what: str) -> Any:
    """A sequence of the values: arrays of any library as NumPy's, iterators and the like run through once."""
    if isinstance(values, (list, tuple, str, bytes)):
        return values
    if offers_array(values):
        array = as_array(values, what)
        if array.ndim:
            return array
    try:
        return list(values)
    except TypeError:
        raise TypeError(
            f"{what} must be a sequence, one entry per rating; given {values!r}"
        ) from None


def _reject_nulls(series: nw.Series[Any], what: str) -> None:
    if missing := series.null_count():
        first = int(np.flatnonzero(series.is_null().to_numpy())[0])
        raise ValueError(
            f"{what}: entry {first} is missing ({missing} in all): drop these rows, "
            f"or fill them with a value"
        )


def _codes(series: nw.Series[Any]) -> Coded | None:
    """Codes and categories as the column's library keeps them; None for a library of which that is not known."""
    column = series.to_native()
    home = library_of(column)
    if home == "pandas" and not hasattr(
        column.dtype, "categories"
    ):  # Arrow's dictionary, in pandas
        import pyarrow as pa

        arrow = pa.array(column)
        return _arrow_codes(
            arrow if isinstance(arrow, pa.ChunkedArray) else pa.chunked_array([arrow])
        )
    return _CODED[home](column) if home in _CODED else None


def _pandas_codes(column: Any) -> Coded:
    return Coded(column.cat.codes.to_numpy(), column.cat.categories.to_numpy())


def _polars_codes(column: Any) -> Coded:
    distinct = column.unique()
    numbers = distinct.to_physical().to_numpy()  # may have gaps: categories are shared by columns
    labels = np.zeros(int(numbers.max()) + 1 if len(numbers) else 0, dtype=object)
    labels[numbers] = object_array(distinct.cast(str).to_list())
    return Coded(column.to_physical().to_numpy(), labels)


def _arrow_codes(column: Any) -> Coded:
    whole = column.unify_dictionaries().combine_chunks()
    return Coded(whole.indices.to_numpy(), whole.dictionary.to_numpy(zero_copy_only=False))


_CODED = {"pandas": _pandas_codes, "polars": _polars_codes, "pyarrow": _arrow_codes}
