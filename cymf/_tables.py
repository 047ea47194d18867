"""Tables of any library (pandas, polars, Arrow) through one door: narwhals, imported only when there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cymf._arrays import type_name
from cymf._column_choice import ColumnChoice, Columns, column_like, listed, locate_columns

if TYPE_CHECKING:
    import narwhals.stable.v1 as nw

__all__ = ["open_table", "pair_columns", "read_table"]

_NO_TABLES = ("array", "builtins", "numpy", "scipy")


def open_table(X: Any) -> nw.DataFrame[Any] | None:
    """A table in memory as narwhals sees it; None for what is none.

    Raises
    ------
    ValueError
        If two of its columns have the same name.
    """
    if type(X).__module__.partition(".")[0] in _NO_TABLES:
        return None
    import narwhals.stable.v1 as nw

    if type(X).__name__ == "RecordBatch" and hasattr(X, "__arrow_c_array__"):
        import pyarrow

        X = pyarrow.table(X)
    try:
        frame: nw.DataFrame[Any] = nw.from_native(X, eager_only=True)
    except TypeError:
        return None
    except ValueError as twice:
        raise ValueError(
            f"the table has several columns of a name; expected one of each: {' '.join(str(twice).split())}"
        ) from None
    return frame


def read_table(table: Any, choice: ColumnChoice) -> Columns:
    """Columns of a pandas, polars or Arrow table; see `Ratings.from_table`."""
    frame = open_table(table)
    if frame is None:
        raise TypeError(
            f"table must be a pandas, polars or Arrow table in memory; given {type_name(table)} (collect() a lazy "
            "one first; for columns that are no table use Ratings.from_triplets)"
        )
    names = frame.columns
    places = locate_columns(choice, names, len(names), "the table")
    return Columns(*(None if at is None else frame.get_column(names[at]) for at in places))


def pair_columns(frame: nw.DataFrame[Any]) -> tuple[Any, Any]:
    """The columns of users and of items: those so named, or the only two.

    Raises
    ------
    ValueError
        If it is not plain which they are.
    """
    names = frame.columns
    found = [column_like(role, names) for role in ("user", "item")]
    if None in found:
        if len(names) != 2:
            raise ValueError(
                f"got a table with the columns {listed(names)}; expected a column of users and one of items, such as "
                "'user' and 'item', or just two columns in this order"
            )
        found = [0, 1]
    user, item = (frame.get_column(names[at]) for at in found if at is not None)
    return user, item
