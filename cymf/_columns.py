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
    series = _as_series(values)
    if series is None:
        return values
    import narwhals.stable.v1 as nw

    _reject_nulls(series, what)
    if series.dtype in (nw.Categorical, nw.Enum):
        return _coded(series)
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
        if not hasattr(values, "__array__") and not isinstance(values, (list, tuple)):
            values = list(values)
        return np.asarray(values)
    _reject_nulls(series, what)
    return np.asarray(series.to_numpy())


def _as_series(values: Any) -> nw.Series[Any] | None:
    home = type(values).__module__.partition(".")[0]
    if home in ("numpy", "builtins"):
        return None
    import narwhals.stable.v1 as nw

    if home == "pyarrow" and type(values).__name__ != "ChunkedArray":
        import pyarrow as pa

        if isinstance(values, pa.Array):
            values = pa.chunked_array([values])
    series = nw.from_native(values, series_only=True, pass_through=True)
    return series if isinstance(series, nw.Series) else None


def _reject_nulls(series: nw.Series[Any], what: str) -> None:
    if missing := series.null_count():
        first = int(np.flatnonzero(series.is_null().to_numpy())[0])
        raise ValueError(
            f"{what}: entry {first} is missing ({missing} in all): drop these rows, "
            f"or fill them with a value"
        )


def _coded(series: nw.Series[Any]) -> Coded:
    native = series.to_native()
    if series.implementation.is_pandas():
        return Coded(native.cat.codes.to_numpy(), native.cat.categories.to_numpy())
    if series.implementation.is_pyarrow():
        column = native.unify_dictionaries().combine_chunks()
        return Coded(column.indices.to_numpy(), column.dictionary.to_numpy(zero_copy_only=False))
    if series.implementation.is_polars():
        codes = native.to_physical().to_numpy()
        distinct = native.unique()
        labels = object_array([""]).repeat(int(codes.max(initial=-1)) + 1)
        labels[distinct.to_physical().to_numpy()] = object_array(distinct.cast(str).to_list())
        return Coded(codes, labels)
    encoder = IdEncoder()
    return Coded(encoder.encode(series.to_list()), encoder.labels())
