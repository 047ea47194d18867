"""Features brought into the rows of the ratings; users and items that have features alone become rows as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy import sparse

from cymf._feature_columns import read_columns
from cymf._ids import IdMap
from cymf.features import FeatureEncoder, Features
from cymf.ratings import Ratings, is_matrix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "RowFeatures",
    "Sides",
    "align_features",
    "as_features",
    "check_names",
    "id_column_of",
]

What = Literal["user", "item"]
_ID_NAMES = {
    "user": ("user", "userid", "uid"),
    "item": ("item", "itemid", "iid", "movie", "movieid"),
}


@dataclass(frozen=True, eq=False)
class RowFeatures:
    """One side's features in the rows of the ratings.

    Attributes
    ----------
    matrix : csr_array of float64, shape (n_rows, n_features)
        Zero in rows without features.
    described : ndarray of bool, shape (n_rows,)
        Which rows have features.
    names : tuple of str
        Names of the features.
    encoder : FeatureEncoder or None
        How a table was encoded.
    """

    matrix: sparse.csr_array
    described: np.ndarray
    names: tuple[str, ...]
    encoder: FeatureEncoder | None


class Sides(NamedTuple):
    """The features of both sides, None where there are none."""

    user: RowFeatures | None
    item: RowFeatures | None

    def described(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return which users and which items have features."""
        none = (np.zeros(n, bool) for n in shape)
        user, item = (
            empty if side is None else side.described
            for side, empty in zip(self, none, strict=True)
        )
        return user, item


def as_features(given: Any, what: What) -> Features:
    """Return what ``fit`` takes as features: a table's ids are in the column named like that, or in the first.

    Raises
    ------
    TypeError, ValueError
        If it is neither Features, nor a matrix, nor a table.
    """
    if isinstance(given, Features):
        return given
    if is_matrix(given):
        return Features(given)
    columns = read_columns(given, f"{what}_features")
    return Features.from_table(given, id=id_column_of(columns, what))


def id_column_of(columns: Mapping[str, Any], what: What) -> str:
    """Return the name of a table's column of ids: ``"user"`` or ``"item"`` or the like, else the first."""
    plain = {
        "".join(filter(str.isalnum, str(name).lower())): name for name in reversed(list(columns))
    }
    named = [plain[name] for name in _ID_NAMES[what] if name in plain]
    return (named or list(columns) or [what])[0]


def align_features(
    ratings: Ratings, user_features: Any, item_features: Any
) -> tuple[Ratings, Sides]:
    """Return ratings and features under one numbering of users and items, the ratings' rows first.

    Raises
    ------
    ValueError
        If features do not fit the ratings: another number of rows, without ids to tell which is which; or none of the
        ratings' ids.
    TypeError
        If ids are strings on one side and integers on the other.
    """
    sides: list[RowFeatures | None] = []
    shape, ids = list(ratings.shape), [ratings.user_ids, ratings.item_ids]
    counts: Sequence[Any] = (ratings.user_counts, ratings.item_counts)
    for number, (what, given) in enumerate((("user", user_features), ("item", item_features))):
        if given is None:
            sides.append(None)
            continue
        features = as_features(given, what)  # type: ignore[arg-type]
        rows, ids[number], shape[number] = _rows_of(
            features, ids[number], shape[number], counts[number], what
        )
        described = np.zeros(shape[number], bool)
        described[rows] = True
        sides.append(
            RowFeatures(
                _placed(features.matrix, rows, shape[number]),
                described,
                features.names,
                features.encoder,
            )
        )
    return _widened(ratings, (shape[0], shape[1]), ids[0], ids[1]), Sides(*sides)


def check_names(features: Features, names: Sequence[str], what: str) -> None:
    """Refuse features of another width, or with other names, than those that a model was fitted with."""
    if len(features.names) != len(names):
        raise ValueError(
            f"{what}_features has {len(features.names)} features; expected {len(names)}, as the model was fitted with"
        )
    plain = tuple(map(str, range(len(names))))
    if features.names in (tuple(names), plain) or tuple(names) == plain:
        return
    foreign = [name for name in features.names if name not in set(names)]
    lacking = [name for name in names if name not in set(features.names)]
    if foreign:
        unseen, lost = (", ".join(map(repr, listed[:5])) for listed in (foreign, lacking))
        text = f"has the unseen features {unseen} and lacks {lost}"
    else:
        text = "has its features in another order"
    raise ValueError(
        f"{what}_features {text}; expected those that the model was fitted with, in their order: encode a table by the "
        "encoder of the first features, Features.encoder.transform"
    )


def _rows_of(
    features: Features, known: IdMap | None, n_rows: int, counts: np.ndarray, what: str
) -> tuple[np.ndarray, IdMap | None, int]:
    """Return the row of each row of features, the ids with those that are new, and the number of rows."""
    if features.ids is None:
        if len(features) != n_rows:
            raise ValueError(
                f"{what}_features has {len(features)} rows without ids, but the ratings have {n_rows} {what}s; "
                f"expected a row for each {what} in their order, or features with ids: cymf.Features(matrix, ids=…)"
            )
        return np.arange(n_rows), known, n_rows
    given = features.ids.ids
    if known is None:
        if given.dtype.kind != "i" or (len(given) and given.min() < 0):
            raise ValueError(
                f"the ratings are a matrix, whose {what} ids are row numbers, but {what}_features has ids such as "
                f"{given.tolist()[0]!r}; expected row numbers, or ratings with ids"
            )
        _check_overlap(given[given < n_rows], given, counts, what)
        return given, None, max(n_rows, int(given.max(initial=-1)) + 1)
    rows = known.to_index(given, what)
    new = rows < 0
    _check_overlap(rows[~new], given, counts, what)
    if not new.any():
        return rows, known, n_rows
    rows[new] = n_rows + np.arange(np.count_nonzero(new))
    return rows, known.extended(given[new]), n_rows + int(new.sum())


def _check_overlap(rows: np.ndarray, given: np.ndarray, counts: np.ndarray, what: str) -> None:
    if len(given) and not counts[rows].any():
        raise ValueError(
            f"none of the {len(given)} {what}s of {what}_features has ratings (the first is {given.tolist()[0]!r}), so "
            f"that nothing can be learnt from them; expected ids of the ratings' {what}s among them"
        )


def _placed(matrix: sparse.csr_array, rows: np.ndarray, n_rows: int) -> sparse.csr_array:
    """Return the matrix with its rows at other places, all others empty."""
    if np.array_equal(rows, np.arange(n_rows)):
        return matrix
    source = np.full(n_rows, -1, np.int64)
    source[rows] = np.arange(len(rows))
    present = source >= 0
    lengths = np.zeros(n_rows, np.int64)
    lengths[present] = np.diff(matrix.indptr)[source[present]]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    moved = matrix[source[present]]
    return sparse.csr_array((moved.data, moved.indices, indptr), shape=(n_rows, matrix.shape[1]))


def _widened(
    ratings: Ratings, shape: tuple[int, int], user_ids: IdMap | None, item_ids: IdMap | None
) -> Ratings:
    """Return the same ratings with further users and items, who have none."""
    if shape == ratings.shape:
        return ratings
    arrays = ratings._arrays
    indptr = np.pad(arrays.indptr, (0, shape[0] - ratings.n_users), mode="edge")
    return Ratings._of(
        arrays._replace(indptr=indptr, shape=shape, user_ids=user_ids, item_ids=item_ids)
    )
