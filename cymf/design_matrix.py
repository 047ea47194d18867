"""Design matrices of ratings: who, what, their features, what else they rated, and the circumstances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from cymf._arrays import as_array
from cymf._columns import query_column
from cymf._design import Block
from cymf._id_columns import Coded
from cymf._ids import IdMap
from cymf._tables import open_table
from cymf._validation import check_choice, check_integer, random_generator
from cymf.ratings import Ratings, as_ratings

__all__ = ["DesignMatrix", "design_matrix"]

_HISTORIES = ("user", "item", "both")


@dataclass(frozen=True, eq=False)
class _Side:
    """One side's columns, a block with one row for each user or item, and one of zeros for strangers."""

    block: sparse.csr_array
    ids: IdMap | None
    n_known: int
    names: list[str]
    groups: list[str]

    def rows_of(self, values: Any, what: str) -> np.ndarray:
        """Return the block's row of each id; strangers have the last."""
        if self.ids is None:
            numbers = np.asarray(values.expanded() if isinstance(values, Coded) else values)
            if numbers.dtype.kind not in "iu":
                raise TypeError(
                    f"{what}s have dtype {numbers.dtype}, but the ratings have no {what} ids; expected row numbers"
                )
            rows = np.where((numbers >= 0) & (numbers < self.n_known), numbers, -1)
        else:
            rows = self.ids.to_index(values, what)
        return np.where(rows < 0, self.block.shape[0] - 1, rows)


class DesignMatrix:
    """Ratings as rows of a design matrix, for `FactorizationMachine`; made by `design_matrix`.

    A row has the columns of its user, those of its item, and those of its circumstances. It is kept in blocks, each
    user's and each item's columns once, which is what makes training on long histories quick: `matrix` is only written
    out when it is asked for.

    Attributes
    ----------
    blocks : list of Block
        Of the users, of the items, and of the context where there is one: ``.matrix``, and ``.rows``, the block's row
        of each row of the design.
    target : ndarray of float64, shape (n_rows,), or None
        The ratings; None for pairs that `encode` was given.
    weights : ndarray of float64, shape (n_rows,), or None
        The ratings' weights.
    users : ndarray of int64, shape (n_rows,)
        The user of each row, as a row number: the groups that ranking compares within.
    names : list of str
        Names of the columns, such as ``"user=7"``, ``"item:genre=Drama"`` and ``"rated=12"``.
    groups : ndarray of int64, shape (n_columns,)
        The group of each column: users, items, one for each feature of each side, each history, the context.
    group_names : list of str
        Names of these groups.
    """

    def __init__(
        self,
        sides: tuple[_Side, _Side],
        rows: tuple[np.ndarray, np.ndarray],
        context: sparse.csr_array | None,
        context_names: list[str] | None,
        target: np.ndarray | None,
        weights: np.ndarray | None,
    ) -> None:
        self._sides = sides
        self._context_names = context_names
        self.blocks = [Block(side.block, r) for side, r in zip(sides, rows, strict=True)]
        self.users = rows[0].astype(np.int64)
        self.target = target
        self.weights = weights
        self.names = [name for side in sides for name in side.names]
        of_columns = [group for side in sides for group in side.groups]
        if context is not None and context_names is not None:
            self.blocks.append(Block(context, np.arange(context.shape[0])))
            self.names += context_names
            of_columns += ["context"] * len(context_names)
        self.group_names = list(dict.fromkeys(of_columns))
        number = {name: position for position, name in enumerate(self.group_names)}
        self.groups = np.array([number[name] for name in of_columns], np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_rows, n_columns)``."""
        return len(self.users), len(self.names)

    @property
    def matrix(self) -> sparse.csr_array:
        """The matrix, written out in full: a row has its user's, its item's and its context's entries."""
        parts = [block.matrix[block.rows] for block in self.blocks]
        return sparse.csr_array(sparse.hstack(parts, format="csr"))

    def __repr__(self) -> str:
        return (
            f"<DesignMatrix: {self.shape[0]} rows × {self.shape[1]} columns, groups "
            f"{', '.join(self.group_names)}>"
        )

    def encode(self, users: ArrayLike, items: ArrayLike, *, context: Any = None) -> DesignMatrix:
        """Return pairs of users and items with the same columns.

        Parameters
        ----------
        users, items : scalar or array-like of shape (n_pairs,)
            Ids, of the ratings or of the features. A scalar is paired with everything on the other side. A user or
            item known to neither has only zeros.
        context : array-like or sparse matrix of shape (n_pairs, n_context), optional
            Needed if the design has context columns.

        Returns
        -------
        DesignMatrix
            Without target.

        Raises
        ------
        ValueError, TypeError
            If lengths, widths or types do not fit.
        """
        sides = zip(self._sides, (users, items), ("user", "item"), strict=True)
        found = [side.rows_of(_column(ids, what), what) for side, ids, what in sides]
        both = np.broadcast_arrays(*found)
        rows = both[0], both[1]
        wanted = self._context_names
        if (context is None) != (wanted is None):
            raise ValueError(
                "context is given, but the design has no context columns"
                if wanted is None
                else f"context is missing: the design has the context columns {', '.join(wanted)}"
            )
        read = None
        if context is not None:
            read, names = _read_context(context, len(rows[0]))
            if names != wanted:
                raise ValueError(
                    f"context has the columns {', '.join(names)}; expected those of the design, "
                    f"{', '.join(wanted or [])}"
                )
        return DesignMatrix(self._sides, rows, read, wanted, None, None)

    def encode_ratings(self, ratings: Any, *, context: Any = None) -> DesignMatrix:
        """Return held-out ratings with the same columns, their values as target.

        Parameters
        ----------
        ratings : Ratings, or what they can be made of
            In their own order.
        context : array-like or sparse matrix of shape (n_ratings, n_context), optional
            Needed if the design has context columns, in the order of the ratings.

        Returns
        -------
        DesignMatrix
        """
        given = as_ratings(ratings)
        users, items, values = given.to_triplets()
        encoded = self.encode(users, items, context=context)
        encoded.target = values.astype(np.float64)
        encoded.weights = None if given.weights is None else given.weights.astype(np.float64)
        return encoded


def design_matrix(
    ratings: Any,
    *,
    user_features: Any = None,
    item_features: Any = None,
    history: str | None = None,
    context: Any = None,
    n_negatives: int = 0,
    random_state: int | np.random.Generator | None = 0,
) -> DesignMatrix:
    r"""Encode ratings as the rows of a design matrix, one row a rating.

    The columns of a row are, in this order: its user (one-hot), the user's features, the items the user has rated, its
    item (one-hot), the item's features, the users who have rated the item, and the context. With users and items alone
    a factorization machine is biased matrix factorization; with histories it is SVD++.

    Parameters
    ----------
    ratings : Ratings, matrix or table
        What `ALS.fit` takes.
    user_features, item_features : Features, optional
        Features of users and items: anything with ``.matrix`` (n_ids × n_features), ``.ids`` (None: the rows are
        those of the ratings) and ``.names``. Ids without ratings can be encoded later, by their features alone; a
        rated id without features has zeros.
    history : {"user", "item", "both"}, optional
        Whether a row says which items its user has rated, which users have rated its item, or both: in the columns of
        the set N, each |N|^-½. The sets are those of `ratings`, the rating in question included.
    context : array-like or sparse matrix of shape (n_ratings, n_context), or table, optional
        Numbers that say how each rating came about, in the ratings' storage order: one-hot columns of weekdays, say.
    n_negatives : int, default 0
        For implicit feedback and ranking: so many rows of target 0 for each rating, of the same user and an item drawn
        uniformly from those the user has not rated. The ratings' own rows come first, with target 1. Not with context.
    random_state : int, Generator or None, default 0
        Seed of these draws.

    Returns
    -------
    DesignMatrix

    Raises
    ------
    ValueError, TypeError
        If features have other ids or widths than they say, numbers are not finite, or lengths do not fit.

    References
    ----------
    Rendle 2012, "Factorization machines with libFM" (TIST), section 3. Koren 2008, "Factorization meets the
    neighborhood" (SVD++).

    Examples
    --------
    >>> import cymf
    >>> ratings = cymf.Ratings.from_triplets(["ann", "ann", "bob"], ["tea", "rum", "tea"], [5, 1, 4])
    >>> design = cymf.design_matrix(ratings, history="user")
    >>> design.names
    ['user=ann', 'user=bob', 'rated=rum', 'rated=tea', 'item=rum', 'item=tea']
    >>> design.matrix.toarray().round(2).tolist()[2]
    [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    >>> model = cymf.FactorizationMachine(n_factors=2).fit(design)
    >>> model.predict(design.encode(["bob"], ["rum"])).shape
    (1,)
    """
    given = as_ratings(ratings)
    if history is not None:
        check_choice("history", history, _HISTORIES)
    n_negatives = check_integer("n_negatives", n_negatives, 0)
    if n_negatives and context is not None:
        raise ValueError(
            "n_negatives is given beside context; expected one of them: unrated pairs have no context"
        )
    rated = given.to_scipy()
    user_ids, item_ids = _ids(given.user_ids, given.n_users), _ids(given.item_ids, given.n_items)
    sides = (
        _side(
            "user", given.user_ids, user_ids, user_features,
            ("rated", rated, item_ids) if history in ("user", "both") else None,
        ),
        _side(
            "item", given.item_ids, item_ids, item_features,
            ("rated by", rated.T, user_ids) if history in ("item", "both") else None,
        ),
    )  # fmt: skip
    users, items = given.users.astype(np.int64), given.items.astype(np.int64)
    target = given.values.astype(np.float64)
    weights = None if given.weights is None else given.weights.astype(np.float64)
    if n_negatives:
        others = _unrated(given, np.repeat(users, n_negatives), random_generator(random_state))
        target = np.concatenate([np.ones(len(users)), np.zeros(len(others))])
        weights = None if weights is None else np.append(weights, np.repeat(weights, n_negatives))
        users, items = (
            np.concatenate([users, np.repeat(users, n_negatives)]),
            np.concatenate([items, others]),
        )
        kept = items >= 0  # users who have rated everything have no negatives
        users, items, target = users[kept], items[kept], target[kept]
        weights = None if weights is None else weights[kept]
    read, names = (None, None) if context is None else _read_context(context, given.nnz)
    return DesignMatrix(sides, (users, items), read, names, target, weights)


def _ids(ids: IdMap | None, n_rows: int) -> np.ndarray:
    return np.arange(n_rows) if ids is None else ids.ids


def _side(
    what: str,
    ids: IdMap | None,
    rated_ids: np.ndarray,
    features: Any,
    history: tuple[str, Any, np.ndarray] | None,
) -> _Side:
    """Return one side's block: one-hot, features, history; the row behind the last is a stranger's."""
    n_rated = len(rated_ids)
    n_rows = n_rated
    all_ids = ids
    names = [f"{what}={name}" for name in rated_ids.tolist()]
    groups = [what] * n_rated
    feature_rows = None
    if features is not None:
        feature_rows, all_ids, feature_names = _feature_rows(what, features, ids, n_rated)
        n_rows = feature_rows.shape[0]
        names += [f"{what}:{name}" for name in feature_names]
        groups += [
            f"{what}:{name.partition('=')[0].partition(' is missing')[0]}" for name in feature_names
        ]
    parts = [sparse.eye_array(n_rows, n_rated, format="csr")]
    if feature_rows is not None:
        parts.append(feature_rows)
    if history is not None:
        label, rated, other_ids = history
        parts.append(_histories(rated, n_rows))
        names += [f"{label}={name}" for name in other_ids.tolist()]
        groups += [label] * len(other_ids)
    stranger = sparse.csr_array((1, len(names)))
    block = sparse.vstack([sparse.hstack(parts, format="csr"), stranger], format="csr")
    return _Side(sparse.csr_array(block), all_ids, n_rows, names, groups)


def _histories(rated: Any, n_rows: int) -> sparse.csr_array:
    """Return |N|^-½ in the columns of each row's set N; rows behind the last have none."""
    matrix = sparse.csr_array(rated)
    counts = np.diff(matrix.indptr)
    values = np.repeat(1 / np.sqrt(np.maximum(counts, 1)), counts)
    indptr = np.append(matrix.indptr, np.full(n_rows - len(counts), matrix.indptr[-1]))
    return sparse.csr_array((values, matrix.indices, indptr), shape=(n_rows, matrix.shape[1]))


def _feature_rows(
    what: str, features: Any, ids: IdMap | None, n_rated: int
) -> tuple[sparse.csr_array, IdMap | None, list[str]]:
    """Return features in the order of the ratings' ids, then of the ids that only they have."""
    if not hasattr(features, "matrix"):
        raise TypeError(
            f"{what}_features is a {type(features).__name__}; expected cymf.Features, or anything with .matrix, .ids "
            "and .names"
        )
    matrix = sparse.csr_array(features.matrix, dtype=np.float64)
    names = getattr(features, "names", None)
    names = [str(number) for number in range(matrix.shape[1])] if names is None else list(names)
    if len(names) != matrix.shape[1]:
        raise ValueError(
            f"{what}_features has {matrix.shape[1]} columns and {len(names)} names; expected one name a column"
        )
    bad = np.flatnonzero(~np.isfinite(matrix.data))
    if len(bad):
        raise ValueError(
            f"{what}_features has {matrix.data[bad[0]]} in column {names[matrix.indices[bad[0]]]!r}; expected finite "
            "numbers"
        )
    own = getattr(features, "ids", None)
    if own is None:
        if matrix.shape[0] < n_rated or (ids is not None and matrix.shape[0] != n_rated):
            raise ValueError(
                f"{what}_features has {matrix.shape[0]} rows and no ids; the ratings have {n_rated} {what}s: give ids, "
                "or one row for each in their order"
            )
        return matrix, ids, names
    feature_ids = own if isinstance(own, IdMap) else IdMap(own, what=f"{what}_features.ids")
    if len(feature_ids) != matrix.shape[0]:
        raise ValueError(
            f"{what}_features has {matrix.shape[0]} rows and {len(feature_ids)} ids; expected one id a row"
        )
    known = ids if ids is not None else IdMap(np.arange(n_rated))
    places = known.to_index(feature_ids.ids, what)
    extra = np.flatnonzero(places < 0)
    all_ids = known.extended(feature_ids.ids[extra]) if len(extra) else ids
    rows = feature_ids.to_index(known.ids, what)
    with_none = sparse.vstack([matrix, sparse.csr_array((1, matrix.shape[1]))], format="csr")
    order = np.concatenate([np.where(rows < 0, matrix.shape[0], rows), extra])
    return sparse.csr_array(with_none[order]), all_ids, names


def _read_context(context: Any, n_rows: int) -> tuple[sparse.csr_array, list[str]]:
    table = None
    if sparse.issparse(context):
        if context.ndim != 2:
            raise ValueError(f"context has shape {context.shape}; expected ({n_rows}, n_context)")
        matrix = sparse.csr_array(context)
    else:
        table = open_table(context)
        array = as_array(context, "context") if table is None else table.to_numpy()
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise ValueError(
                f"context has shape {array.shape} and dtype {array.dtype}; expected numbers of shape "
                f"({n_rows}, n_context): encode categories as columns of 0 and 1"
            )
        matrix = sparse.csr_array(array)
    if matrix.shape[0] != n_rows:
        raise ValueError(f"context has {matrix.shape[0]} rows; expected {n_rows}, one a rating")
    if not np.isfinite(matrix.data).all():
        raise ValueError("context has NaN or infinity; expected finite numbers")
    names = range(matrix.shape[1]) if table is None else table.columns
    return matrix.astype(np.float64), [f"context:{name}" for name in names]


def _unrated(ratings: Ratings, users: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return for each user an item drawn from those not rated; -1 for users who have rated all."""
    view = ratings.csr(ratings.values.dtype)
    counts = ratings.user_counts[users]
    free = ratings.n_items - counts
    rank = (generator.random(len(users)) * free).astype(np.int64)  # among the unrated items
    # the r-th unrated item is r + (rated items before it): search each user's rated items, less their positions
    shifted = view.indices - (
        np.arange(ratings.nnz) - np.repeat(view.indptr[:-1], ratings.user_counts)
    )
    key = ratings.users.astype(np.int64) * (ratings.n_items + 1) + shifted
    before = np.searchsorted(key, users * (ratings.n_items + 1) + rank, side="right")
    items = rank + before - view.indptr[users]
    return np.where(free > 0, items, -1)


def _column(values: ArrayLike, what: str) -> Any:
    """Return ids as a column; a scalar as one of length 1."""
    column = query_column(values, f"{what}s")
    if isinstance(column, Coded):
        return column
    column = [column] if np.ndim(column) == 0 else column
    if np.ndim(column) != 1:
        raise ValueError(f"{what}s have shape {np.shape(column)}; expected (n_pairs,)")
    return column
