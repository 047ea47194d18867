"""Building the sorted, checked arrays that a `Ratings` consists of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cymf._column_types import ColumnType, column_type
from cymf._columns import id_column, number_column
from cymf._compressed import CompressedRows, compress, join_duplicates, repeats, row_of
from cymf._id_columns import Coded, as_id_array
from cymf._ids import IdMap, encode_ids, id_of
from cymf._matrices import extra_column, read_matrix
from cymf._ratings_checks import (
    as_numbers,
    as_timestamps,
    check_duplicates_policy,
    check_finite,
    check_row_numbers,
    check_same_length,
    check_shape,
    check_weights,
)

__all__ = ["RatingArrays", "ValueTypes", "assemble_columns", "assemble_matrix", "assemble_triplets"]


ValueTypes = tuple[ColumnType | None, ColumnType | None, ColumnType | None]


_LOGGER = logging.getLogger("cymf.ratings")


class RatingArrays(NamedTuple):
    """Everything a `Ratings` is; the arrays are in storage order."""

    indptr: NDArray[np.int64]
    indices: NDArray[Any]
    values: NDArray[Any]
    weights: NDArray[Any] | None
    timestamps: NDArray[Any] | None
    input_order: NDArray[Any] | None
    shape: tuple[int, int]
    user_ids: IdMap | None
    item_ids: IdMap | None
    value_range: tuple[float, float]
    types: ValueTypes = (None, None, None)  # of the columns of values, weights and timestamps


def assemble_triplets(
    users: Any,
    items: Any,
    values: Any,
    weights: Any,
    timestamps: Any,
    shape: tuple[int, int] | None,
    duplicates: str,
) -> RatingArrays:
    """Arrays of ratings given as columns; see `Ratings.from_triplets`."""
    columns = [users, items, values, weights, timestamps]
    return assemble_columns(columns, shape, duplicates, keep_types=True)


def assemble_columns(
    given: list[Any], shape: tuple[int, int] | None, duplicates: str, *, keep_types: bool
) -> RatingArrays:
    """The same, of a list of columns that is emptied: columns nobody else holds go as soon as they are used up.

    With `keep_types` it is remembered of which types the columns of tables were.
    """
    check_duplicates_policy(duplicates)
    types = [column_type(column) if keep_types else None for column in given]
    if duplicates in ("mean", "sum"):
        types[2:4] = None, None  # a mean of integers is none
    users, items, values, weights, timestamps = given
    given.clear()
    users, items = id_column(users, "users"), id_column(items, "items")
    if values is not None:
        values = as_numbers(number_column(values, "values"), "values")
    if weights is not None:
        weights = as_numbers(number_column(weights, "weights"), "weights")
    if timestamps is not None:
        timestamps = number_column(timestamps, "timestamps")
    count = check_same_length(
        users=users,
        items=items,
        values=values,
        weights=weights,
        timestamps=timestamps,
    )
    if count == 0:
        raise ValueError("there are no ratings: users, items and values are empty")
    if values is None:
        values = np.ones(count, np.float32)
    user_ids = item_ids = None
    if shape is None:
        users, user_ids = encode_ids(users, "users", types[0])
        items, item_ids = encode_ids(items, "items", types[1])
        shape = (len(user_ids), len(item_ids))
    else:
        shape = check_shape(shape)
        users = _row_numbers(users, shape[0], "users")
        items = _row_numbers(items, shape[1], "items")

    entries = [users, items]

    def name_entry(k: int) -> str:
        user, item = id_of(user_ids, entries[0][k]), id_of(item_ids, entries[1][k])
        return f"entry {k} (user {user!r}, item {item!r})"

    columns, value_range = _checked(values, weights, timestamps, name_entry)
    del users, items, values, weights, timestamps
    rows = compress(entries, shape)
    ids = (user_ids, item_ids)
    arrays = _in_storage_order(rows, columns, value_range, shape, ids, duplicates)
    return arrays._replace(types=(types[2], types[3], types[4]))


def assemble_matrix(
    X: Any,
    weights: Any,
    timestamps: Any,
    user_ids: ArrayLike | IdMap | None,
    item_ids: ArrayLike | IdMap | None,
    duplicates: str,
) -> RatingArrays:
    """Arrays of ratings given as a matrix; see `Ratings.from_matrix`."""
    check_duplicates_policy(duplicates)
    entries = read_matrix(X)
    if len(entries.values) == 0:
        raise ValueError(
            f"there are no ratings: the matrix of shape {entries.shape} has no observed entry"
        )
    if weights is not None:
        weights = as_numbers(extra_column(weights, X, entries, "weights"), "weights")
    if timestamps is not None:
        timestamps = extra_column(timestamps, X, entries, "timestamps")

    def name_entry(k: int) -> str:
        return "the entry at row {}, column {}".format(*entries.cell(k))

    columns, value_range = _checked(entries.values, weights, timestamps, name_entry)
    ids = (
        _axis_ids(user_ids, entries.shape[0], "user"),
        _axis_ids(item_ids, entries.shape[1], "item"),
    )
    rows = entries.compressed()
    arrays = _in_storage_order(rows, columns, value_range, entries.shape, ids, duplicates)
    return arrays if entries.keeps_order else arrays._replace(input_order=None)


def _checked(
    values: NDArray[Any],
    weights: NDArray[Any] | None,
    timestamps: NDArray[Any] | None,
    name_entry: Callable[[int], str],
) -> tuple[list[Any], tuple[float, float]]:
    """The three columns, sound, and the least and the greatest value."""
    value_range = check_finite(values, "ratings", name_entry)
    if weights is not None:
        check_weights(weights, name_entry)
    if timestamps is not None:
        timestamps = as_timestamps(timestamps, name_entry)
    return [values, weights, timestamps], value_range


def _in_storage_order(
    rows: CompressedRows,
    columns: list[Any],
    value_range: tuple[float, float],
    shape: tuple[int, int],
    ids: tuple[IdMap | None, IdMap | None],
    duplicates: str,
) -> RatingArrays:
    """Sort `columns`, values, weights and timestamps, like `rows`; the list is emptied."""
    values, weights, timestamps = columns
    columns.clear()
    if rows.order is not None:
        values = values[rows.order]
        weights = None if weights is None else weights[rows.order]
        timestamps = None if timestamps is None else timestamps[rows.order]
    repeated = repeats(rows.indptr, rows.indices)
    if repeated is not None:
        if duplicates == "raise":
            raise ValueError(_duplicates_text(rows, repeated, ids))
        given = len(values)
        rows, values, weights, timestamps = join_duplicates(
            rows, repeated, values, weights, timestamps, duplicates
        )
        _LOGGER.info("duplicates=%r: %d ratings became %d", duplicates, given, len(values))
        value_range = check_finite(values, "ratings", lambda k: f"the {duplicates} of duplicates")
    return RatingArrays(
        rows.indptr,
        np.ascontiguousarray(rows.indices),
        np.ascontiguousarray(values),
        None if weights is None else np.ascontiguousarray(weights),
        None if timestamps is None else np.ascontiguousarray(timestamps),
        rows.order,
        shape,
        *ids,
        value_range,
    )


def _duplicates_text(
    rows: CompressedRows, repeated: NDArray[np.bool_], ids: tuple[IdMap | None, IdMap | None]
) -> str:
    second = int(np.flatnonzero(repeated)[0])
    first, again = second - 1, second
    if rows.order is not None:
        first, again = rows.order[[first, again]].tolist()
    user = id_of(ids[0], row_of(rows.indptr, second))
    item = id_of(ids[1], rows.indices[second])
    return (
        f"entries {first} and {again} both rate user {user!r}, item {item!r} "
        f"(duplicates in all: {int(repeated.sum())}): say what to do with them by "
        f"duplicates='last', 'first', 'mean' or 'sum'"
    )


def _row_numbers(values: Any, size: int, what: str) -> NDArray[np.int64]:
    if isinstance(values, Coded):
        values = values.expanded()
    numbers = as_id_array(values, what)
    if numbers.dtype.kind != "i":
        raise TypeError(
            f"{what} must be row numbers because shape is given; entry 0 is {numbers[0]!r}. "
            f"For ids of another kind leave shape out"
        )
    check_row_numbers(numbers, size, what)
    return numbers


def _axis_ids(ids: ArrayLike | IdMap | None, size: int, what: str) -> IdMap | None:
    if ids is None:
        return None
    found = (
        ids if isinstance(ids, IdMap) else IdMap(ids, what=f"{what}_ids", column=column_type(ids))
    )
    if len(found) != size:
        raise ValueError(f"{what}_ids has {len(found)} ids, but the matrix has {size} {what}s")
    return found
