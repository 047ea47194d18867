"""From what a caller asks about (ids, row numbers, pairs, tables of ratings) to row numbers.

A row number of -1 stands for an id that the model does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from cymf._arrays import as_array
from cymf._columns import as_series, number_column, query_column
from cymf._errors import UnknownIdError
from cymf._id_columns import Coded, as_id_array, check_labels
from cymf._matrices import read_matrix
from cymf._ratings_checks import as_numbers
from cymf._tables import open_table, pair_columns
from cymf._top_n import Candidates, Exclusions
from cymf._validation import check_choice
from cymf.ratings import Ratings, as_ratings

if TYPE_CHECKING:
    from cymf._ids import IdMap
    from cymf._state import FittedState

__all__ = [
    "Axis",
    "By",
    "Observations",
    "Unknown",
    "allowed_items",
    "broadcast_pairs",
    "observations",
    "own_candidates",
    "ids_of",
    "positions_of",
    "row_of",
    "rows_of",
    "seen_exclusions",
    "split_pairs",
    "vector_exclusions",
]

By = Literal["id", "index"]
Unknown = Literal["fallback", "raise"]


class Axis(NamedTuple):
    """One side of the matrix: its users or its items."""

    what: Literal["user", "item"]
    ids: IdMap | None
    known: np.ndarray  # of each row, whether anything is known of it: ratings, or features

    @classmethod
    def users(cls, state: FittedState) -> Axis:
        return cls("user", state.user_ids, state.user_known)

    @classmethod
    def items(cls, state: FittedState) -> Axis:
        return cls("item", state.item_ids, state.item_known)


class Observations(NamedTuple):
    """Ratings to compare predictions with, in row numbers of the model."""

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray  # float64
    weights: np.ndarray | None


def positions_of(values: Any, axis: Axis, by: By) -> np.ndarray:
    """Return the place in the matrix of each value, -1 for ids that do not occur.

    Raises
    ------
    IndexError
        If ``by="index"`` and a row number is not in the matrix.
    TypeError, ValueError
        If the values cannot be ids of this model, or are not a scalar or one-dimensional.
    """
    check_choice("by", by, ("id", "index"))
    values = query_column(values, f"{axis.what}s")
    n_dimensions = np.ndim(values)
    if n_dimensions > 1:
        raise ValueError(
            f"{axis.what}s has {n_dimensions} dimensions; expected a scalar or one dimension"
        )
    listed = values if n_dimensions == 1 else [values]
    if by == "id" and axis.ids is not None:
        return axis.ids.to_index(listed, axis.what)
    name = f"{axis.what}s"
    if isinstance(listed, Coded):
        listed = listed.expanded()
    rows = check_labels(as_id_array(listed, name), name, lambda position: position)
    if rows.dtype.kind != "i":
        reason = "by='index' takes" if by == "index" else "the model was fitted to a matrix, with"
        raise TypeError(f"{name} are strings, the first is {rows[0]!r}; {reason} row numbers")
    outside = (rows < 0) | (rows >= len(axis.known))
    if by == "index" and outside.any():
        raise IndexError(
            f"{axis.what} index {rows[outside][0]} is out of range; "
            f"expected 0 to {len(axis.known) - 1}"
        )
    return np.where(outside, -1, rows)


def rows_of(
    values: Any,
    axis: Axis,
    *,
    by: By = "id",
    unknown: Unknown = "fallback",
) -> np.ndarray:
    """Return the row number of each value, -1 where the model knows nothing of it.

    That is so where the value does not occur, and where its row had no training ratings.

    Raises
    ------
    UnknownIdError
        If ``unknown="raise"`` and there is such a value.
    IndexError, TypeError, ValueError
        As `positions_of`.
    """
    check_choice("unknown", unknown, ("fallback", "raise"))
    values = query_column(values, f"{axis.what}s")
    rows = positions_of(values, axis, by)
    rows[~axis.known[rows]] = -1
    missing = np.flatnonzero(rows < 0)
    if unknown == "raise" and len(missing):
        first = values if np.ndim(values) == 0 else values[int(missing[0])]
        first = first.item() if isinstance(first, np.generic) else first
        count = f" ({len(missing)} of the {len(rows)} {axis.what}s asked for)"
        raise UnknownIdError(
            f"{axis.what} {first!r} has no training ratings{count if len(missing) > 1 else ''}"
        )
    return rows


def row_of(value: Any, axis: Axis, by: By) -> int:
    """Return the row number of a single id or row number with training ratings, the quick way; -1 for anything else."""
    if isinstance(value, np.integer):
        value = int(value)
    if by not in ("id", "index"):
        return -1
    if axis.ids is None or by == "index":
        if type(value) is not int or not 0 <= value < len(axis.known):
            return -1
        row = value
    elif by == "id" and type(value) in (int, str):
        row = int(axis.ids.to_index([value], axis.what)[0])
    else:
        return -1
    return row if row >= 0 and axis.known[row] else -1


def ids_of(rows: np.ndarray, axis: Axis, by: By) -> np.ndarray:
    """Return the ids of rows; -1 stays -1, or becomes "" among ids that are strings."""
    return rows if by == "index" or axis.ids is None else axis.ids.to_ids(rows)


def split_pairs(pairs: Any) -> tuple[Any, Any]:
    """Return the two columns of an (n, 2) array, list or table of (user, item)."""
    table = open_table(pairs)
    if table is not None:
        return pair_columns(table)
    array = np.asarray(as_array(pairs, "pairs"))
    if array.dtype.kind in "US" and isinstance(pairs, (list, tuple)):
        array = np.asarray(pairs, dtype=object)  # NumPy has made (1, "x") two strings
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(
            f"got one argument of shape {array.shape}; expected users and items, or pairs of "
            "shape (n, 2) with one user and one item each"
        )
    return array[:, 0], array[:, 1]


def broadcast_pairs(
    users: np.ndarray, items: np.ndarray, users_ndim: int, items_ndim: int
) -> tuple[np.ndarray, np.ndarray]:
    """Repeat the scalar side of a query; two arrays must be equally long."""
    if users_ndim == items_ndim == 1 and len(users) != len(items):
        raise ValueError(
            f"got {len(users)} users and {len(items)} items; expected equally many, pair by "
            "pair, or a single user or item for all of the others"
        )
    n_pairs = len(items) if users_ndim == 0 else len(users)
    return np.broadcast_to(users, n_pairs), np.broadcast_to(items, n_pairs)


def observations(state: FittedState, X: Any, y: Any, sample_weight: Any) -> Observations:
    """Return what ``fit`` would take (`X`, or pairs and `y`) in row numbers of the model."""
    if y is None:
        if sample_weight is not None:
            raise ValueError(
                "sample_weight is given without y; expected pairs and y with it, or Ratings that "
                "were made with weights"
            )
        users, items, values, weights = as_ratings(X).align_to(
            state.user_ids, state.item_ids, (state.n_users, state.n_items)
        )
    else:
        user_ids, item_ids = split_pairs(X)
        users = rows_of(user_ids, Axis.users(state))
        items = rows_of(item_ids, Axis.items(state))
        values = as_numbers(number_column(y, "y"), "y").astype(np.float64)
        weights = None if sample_weight is None else number_column(sample_weight, "sample_weight")
        if values.shape != users.shape:
            raise ValueError(
                f"y has shape {values.shape}; expected {users.shape}, a rating for each pair"
            )
    return Observations(users, items, np.asarray(values, np.float64), weights)


def seen_exclusions(state: FittedState, seen: Any, users: Any, by: By) -> Exclusions:
    """Return the items each asked user has rated, by `seen` or else by the training ratings.

    Users and items of a Ratings `seen` are matched by their ids, so that it may know users whom
    the model does not know. A sparse matrix `seen` has the rows and columns of the model.
    """
    if seen is None:
        seen = state.ratings
        if seen is None:
            raise ValueError(
                "exclude_seen=True needs the training ratings, but this model was made or saved "
                "with store_ratings=False; give them as seen=, or set exclude_seen=False"
            )
    elif not (sp.issparse(seen) or isinstance(seen, Ratings)):
        raise TypeError(
            f"seen is a {type(seen).__name__}; expected Ratings or a scipy sparse matrix of the "
            "shape of the model"
        )
    return Exclusions(*_items_of_users(state, seen, "seen", users, by))


def _items_of_users(
    state: FittedState, pairs: Any, name: str, users: Any, by: By
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a row for each asked user, and rows of items, rising, in CSR form."""
    shape = (state.n_users, state.n_items)
    rows = positions_of(users, Axis.users(state), by)
    if sp.issparse(pairs):
        if pairs.shape != shape:
            raise ValueError(
                f"{name} has shape {pairs.shape}; expected {shape}, the users and items of the model"
            )
        return rows, *_stored_cells(pairs, name)
    view = pairs.csr(pairs.values.dtype)
    same_ids = pairs.user_ids is state.user_ids and pairs.item_ids is state.item_ids
    if same_ids and pairs.shape == shape:
        return rows, view.indptr, view.indices
    items = pairs.align_to(state.user_ids, state.item_ids, shape)[1]
    if by == "index":
        users = ids_of(rows, Axis.users(state), "id")
    own_rows = positions_of(users, Axis("user", pairs.user_ids, pairs.user_counts > 0), "id")
    known = items >= 0
    known_before = np.concatenate([[0], np.cumsum(known)])
    return own_rows, *_rising(known_before[view.indptr], items[known], state.n_items)


def _stored_cells(matrix: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells that a sparse matrix stores, which are those that `Ratings.from_matrix` finds, in CSR form."""
    cells = read_matrix(matrix, name).compressed()
    return _rising(cells.indptr, cells.indices, matrix.shape[1])


def _rising(
    indptr: np.ndarray, indices: np.ndarray, n_columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows with their indices in order and each once, and int64 row borders."""
    csr = sp.csr_array(
        (np.ones(len(indices), bool), indices, indptr),
        shape=(len(indptr) - 1, n_columns),
        copy=True,
    )
    csr.sum_duplicates()
    return csr.indptr.astype(np.int64), csr.indices


def allowed_items(
    state: FittedState, candidates: Any, forbidden: Any, by: By, unknown: Unknown
) -> np.ndarray | None:
    """Return the items that may be recommended, rising, or None for all with training ratings.

    Never those without training ratings, of which nothing is known.
    """
    if candidates is None and forbidden is None:
        return None
    axis = Axis.items(state)
    if candidates is None:
        allowed = axis.known.copy()
    else:
        rows = rows_of(candidates, axis, by=by, unknown=unknown)
        allowed = np.zeros(state.n_items, bool)
        allowed[rows[rows >= 0]] = True
    if forbidden is not None:
        rows = rows_of(forbidden, axis, by=by, unknown=unknown)
        allowed[rows[rows >= 0]] = False
    return np.flatnonzero(allowed)


def own_candidates(
    state: FittedState, candidates: Any, users: Any, by: By, unknown: Unknown
) -> Candidates | None:
    """Return each user's own candidates, or None if `candidates` are meant for all users.

    Own ones are Ratings (matched by ids), a sparse matrix of the model's shape, or for each user a list of items. Items
    without training ratings are left out.
    """
    n_users = np.size(users)
    candidates = _written_lists(candidates)
    if sp.issparse(candidates) or isinstance(candidates, Ratings):
        rows, indptr, items = _items_of_users(state, candidates, "candidates", users, by)
    elif _is_list_of_lists(candidates):
        if len(candidates) != n_users or np.ndim(users) == 0:
            asked = "a scalar user" if np.ndim(users) == 0 else f"{n_users} users"
            raise ValueError(
                f"candidates holds {len(candidates)} lists, but {asked} were asked for; expected a list of items "
                "for all users, or one such list for each user"
            )
        lists = [rows_of(one, Axis.items(state), by=by, unknown=unknown) for one in candidates]
        indptr = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
        items = np.concatenate([np.zeros(0, np.int64), *lists])
        known = items >= 0
        known_before = np.concatenate([[0], np.cumsum(known)])
        indptr, items = _rising(known_before[indptr], items[known], state.n_items)
        return Candidates(np.arange(n_users), indptr, items.astype(np.int64))
    else:
        return None
    known = state.item_known[items]
    known_before = np.concatenate([[0], np.cumsum(known)])
    return Candidates(rows, known_before[indptr], items[known].astype(np.int64))


def vector_exclusions(
    state: FittedState, exclude: Any, n_queries: int, scalar: bool, by: By, unknown: Unknown
) -> Exclusions | None:
    """Return the items to leave out for queries that are no users: a list, one for each, or a sparse matrix."""
    if exclude is None:
        return None
    rows = np.arange(n_queries)
    if sp.issparse(exclude):
        if exclude.shape != (n_queries, state.n_items):
            raise ValueError(
                f"exclude has shape {exclude.shape}; expected {(n_queries, state.n_items)}, a row for each query and "
                "the items of the model"
            )
        return Exclusions(rows, *_stored_cells(exclude, "exclude"))
    lists = [exclude] if scalar else list(_written_lists(exclude))
    if len(lists) != n_queries:
        raise ValueError(
            f"exclude holds {len(lists)} lists; expected {n_queries}, one for each query"
        )
    found = [rows_of(one, Axis.items(state), by=by, unknown=unknown) for one in lists]
    found = [np.unique(one[one >= 0]) for one in found]
    indptr = np.concatenate([[0], np.cumsum([len(one) for one in found])])
    return Exclusions(rows, indptr, np.concatenate([np.zeros(0, np.int64), *found]))


def _written_lists(values: Any) -> Any:
    """Return a column of lists as a list of lists, anything else as it is."""
    if values is None or isinstance(values, Ratings) or sp.issparse(values):
        return values
    series = as_series(values)
    if series is None:
        return values
    import narwhals.stable.v1 as nw

    return series.to_list() if series.dtype in (nw.List, nw.Array, nw.Object) else values


def _is_list_of_lists(candidates: Any) -> bool:
    if isinstance(candidates, np.ndarray):
        return candidates.ndim == 2
    return (
        isinstance(candidates, (list, tuple))
        and len(candidates) > 0
        and all(np.ndim(one) == 1 for one in candidates)
    )
