"""Columns of any library (NumPy, lists, pandas, polars, Arrow) as NumPy arrays.

Everything but NumPy arrays and plain sequences comes in through narwhals, imported only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cymf._id_columns import Coded, IdEncoder, chunks, object_array, reject_masked

if TYPE_CHECKING:
    import narwhals.stable.v1 as nw

__all__ = ["id_column", "number_column"]


def id_column(values: Any, what: str) -> Any:
    """A column of ids, as something that `encode_ids` takes.

    Categorical and dictionary columns keep their codes, and strings are numbered chunk by chunk,
    so no column is ever expanded into one Python object per entry.
    """
    if isinstance(values, Coded):
        return values
    series = _as_series(values)
    if series is None:
        return _sized(values, what)
    import narwhals.stable.v1 as nw

    _reject_nulls(series, what)
    library = type(series.to_native()).__module__.partition(".")[0]
    if series.dtype in (nw.Categorical, nw.Enum) and library in _CODED:
        return _CODED[library](series.to_native())
    if series.dtype.is_numeric():
        return series.to_numpy()
    encoder = IdEncoder()
    codes = np.empty(len(series), dtype=np.int32)
    for part in chunks(len(series)):
        codes[part] = encoder.encode(series[part].to_list())
    return Coded(codes, encoder.labels())


def number_column(values: Any, what: str) -> NDArray[Any]:
    """A column of ratings, weights or timestamps as an array, its dtype still to be checked."""
    reject_masked(values, what)
    series = _as_series(values)
    if series is None:
        array = np.asarray(_sized(values, what))
        if array.ndim != 1:
            raise ValueError(f"{what} must be 1-D, one per rating; given shape {array.shape}")
        return array
    _reject_nulls(series, what)
    return np.asarray(series.to_numpy())


def _sized(values: Any, what: str) -> Any:
    """A sequence of the values: iterators and the like are run through once."""
    if isinstance(values, (list, tuple, str, bytes)) or getattr(values, "ndim", False):
        return values
    try:
        return list(values)
    except TypeError:
        raise TypeError(
            f"{what} must be a sequence, one entry per rating; given {values!r}"
        ) from None


def _as_series(values: Any) -> nw.Series[Any] | None:
    home = type(values).__module__.partition(".")[0]
    if home in ("numpy", "builtins"):
        return None
    import narwhals.stable.v1 as nw

    if home == "pyarrow" and type(values).__name__ != "ChunkedArray":
        import pyarrow as pa

        if isinstance(values, pa.Array):
            values = pa.chunked_array([values])
    try:
        series: nw.Series[Any] = nw.from_native(values, series_only=True)
    except TypeError:  # no column of a table library
        return None
    return series


def _reject_nulls(series: nw.Series[Any], what: str) -> None:
    if missing := series.null_count():
        first = int(np.flatnonzero(series.is_null().to_numpy())[0])
        raise ValueError(
            f"{what}: entry {first} is missing ({missing} in all): drop these rows, "
            f"or fill them with a value"
        )


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
