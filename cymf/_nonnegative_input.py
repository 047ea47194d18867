"""What may be factorized into non-negative factors: matrices, tables and ratings, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from cymf._arrays import as_array
from cymf._columns import plain_array
from cymf._ids import IdMap, id_of
from cymf._tables import open_table
from cymf.ratings import Ratings

__all__ = ["NonnegativeMatrix", "check_width", "looks_like_pairs", "read_nonnegative"]


@dataclass(frozen=True, eq=False)
class NonnegativeMatrix:
    """A matrix without negative cells.

    Attributes
    ----------
    ratings : Ratings or None
        The stored cells; None where the matrix is `dense`.
    dense : ndarray of shape (n_rows, n_columns) or None
        Every cell, float32 or float64.
    zeros : bool
        Whether cells that `ratings` does not store are zeros, rather than missing.
    names : IdMap or None
        Names of the columns of a table that is the matrix.
    """

    ratings: Ratings | None
    dense: np.ndarray | None
    zeros: bool
    names: IdMap | None

    @property
    def shape(self) -> tuple[int, int]:
        if self.ratings is not None:
            return self.ratings.shape
        assert self.dense is not None
        return self.dense.shape[0], self.dense.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        if self.ratings is not None:
            return self.ratings.values.dtype
        assert self.dense is not None
        return self.dense.dtype


def read_nonnegative(
    X: Any, sample_weight: Any, missing: str, *, may_be_empty: bool = False
) -> NonnegativeMatrix:
    """Return what is to be factorized; see `cymf.NMF.fit`.

    A matrix without any known cell is an error, or with `may_be_empty` one of zeros, whose rows have the same factors.

    Raises
    ------
    ValueError
        If a cell is negative or infinite, or NaN where ``missing="zero"``; if shapes do not fit; if all weights are 0.
    TypeError
        If cells are not numbers.
    """
    zeros = missing == "zero"
    if isinstance(X, Ratings):
        return _of_ratings(X, sample_weight, zeros)
    table = None if sparse.issparse(X) else open_table(X)
    if table is not None and {"user", "item"} <= set(table.columns):
        return _of_ratings(Ratings.from_table(X), sample_weight, zeros)
    if sparse.issparse(X):
        if may_be_empty and X.nnz == 0:
            return NonnegativeMatrix(None, np.zeros(X.shape), True, None)
        return _of_sparse(X, sample_weight, zeros)
    names = None
    if table is not None:
        X = table.to_numpy()
        if all(isinstance(name, str) for name in table.columns):
            names = IdMap(list(table.columns), what="columns")
    array = _numbers(X)
    if may_be_empty and not zeros and np.isnan(array).all():
        array = np.zeros_like(array)
    return _of_dense(array, names, sample_weight, zeros)


def check_width(n_columns: int, expected: int, estimator: str) -> None:
    """Refuse a matrix that has not the columns of the one that was factorized."""
    if n_columns != expected:
        raise ValueError(
            f"X has {n_columns} features, but {estimator} is expecting {expected} features as input"
        )


def looks_like_pairs(X: Any) -> bool:
    """Whether `X` is two columns of ids, integers or strings, rather than a matrix of numbers."""
    if isinstance(X, Ratings) or sparse.issparse(X):
        return False
    table = open_table(X)
    if table is not None:
        import narwhals.stable.v1 as nw

        words, floats = (nw.String, nw.Categorical, nw.Enum, nw.Object), (nw.Float32, nw.Float64)
        return len(table.columns) == 2 and all(
            kind in words or (kind.is_numeric() and kind not in floats)
            for kind in table.schema.values()
        )
    array = as_array(X, "X")
    return array.ndim == 2 and array.shape[1] == 2 and array.dtype.kind in "iuUSO"


def _of_ratings(ratings: Ratings, sample_weight: Any, zeros: bool) -> NonnegativeMatrix:
    if sample_weight is not None:
        raise ValueError(
            "sample_weight is given beside ratings with ids; expected the weights inside them: make the Ratings with "
            "weights=..."
        )
    if zeros and ratings.has_weights and np.any(ratings.weights != 1):
        raise ValueError(_NO_WEIGHTS)
    _check_not_negative(ratings)
    return NonnegativeMatrix(ratings, None, zeros, None)


def _of_sparse(X: Any, sample_weight: Any, zeros: bool) -> NonnegativeMatrix:
    if X.dtype.kind == "c":
        raise ValueError(_complex(X.dtype))
    if X.ndim != 2:
        raise ValueError(f"X has {X.ndim} dimensions, shape {X.shape}; expected a matrix")
    _check_shape(X.shape)
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    weights = _weights(sample_weight, X.shape)
    if zeros and weights is not None and np.any(_stored(weights) != 1):
        raise ValueError(_NO_WEIGHTS)
    if weights is not None and X.format not in ("csr", "csc", "coo"):
        X = X.tocsr()
    ratings = Ratings.from_matrix(X, weights=weights)
    _check_not_negative(ratings)
    return NonnegativeMatrix(ratings, None, zeros, None)


def _of_dense(
    array: np.ndarray, names: IdMap | None, sample_weight: Any, zeros: bool
) -> NonnegativeMatrix:
    lowest, highest = float(array.min()), float(array.max())  # a NaN comes through both
    weights = _weights(sample_weight, array.shape)
    if np.isnan(lowest):
        if zeros:
            row, column = np.argwhere(np.isnan(array))[0].tolist()
            raise ValueError(
                f"row {row}, column {_named(names, column)} is NaN, which missing='zero' has no meaning for; "
                "give missing='masked' if such cells are missing, or replace them by numbers"
            )
    elif lowest < 0:
        row, column = np.argwhere(array < 0)[0].tolist()
        raise ValueError(
            _negative(f"row {row}, column {_named(names, column)}", array[row, column])
        )
    elif not np.isfinite(highest):
        row, column = np.argwhere(np.isinf(array))[0].tolist()
        raise ValueError(
            f"row {row}, column {_named(names, column)} is infinite; expected finite numbers"
        )
    elif weights is None:
        return NonnegativeMatrix(None, array, True, names)
    ratings = Ratings.from_matrix(array, weights=weights, item_ids=names)
    _check_not_negative(ratings)
    return NonnegativeMatrix(ratings, None, False, names)


def _numbers(X: Any) -> np.ndarray:
    """Return a matrix of float32 or float64; masked cells become NaN."""
    if isinstance(X, np.ma.MaskedArray):
        X = np.where(np.ma.getmaskarray(X), np.nan, np.ma.getdata(X))
    array = np.asarray(as_array(X, "X"))
    if array.dtype.kind == "c":
        raise ValueError(_complex(array.dtype))
    if array.ndim != 2:
        raise ValueError(
            f"X has {array.ndim} dimensions, shape {array.shape}; expected a matrix. "
            "Reshape your data by X.reshape(1, -1) if it is a single row"
        )
    _check_shape(array.shape)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    return array


def _check_shape(shape: tuple[int, ...]) -> None:
    for size, what in zip(shape, ("sample(s)", "feature(s)"), strict=True):
        if size == 0:
            raise ValueError(
                f"X has 0 {what} (shape={tuple(shape)}) while a minimum of 1 is required."
            )


def _weights(sample_weight: Any, shape: tuple[int, ...]) -> Any:
    """Return weights of cells: None, a sparse matrix, or an array of the shape of the matrix."""
    if sample_weight is None or sparse.issparse(sample_weight):
        return sample_weight
    weights = np.asarray(plain_array(sample_weight, "sample_weight"), np.float64)
    if weights.shape != (shape[0],) and weights.shape != shape:
        raise ValueError(
            f"sample_weight has shape {weights.shape}; expected {(shape[0],)}, a weight for each row, or {shape}, "
            "one for each cell"
        )
    if not weights.any():
        raise ValueError("all sample weights are zero; expected some above")
    return weights if weights.ndim == 2 else np.broadcast_to(weights[:, np.newaxis], shape)


def _stored(weights: Any) -> np.ndarray:
    return np.asarray(weights.tocsr().data if sparse.issparse(weights) else weights)


def _check_not_negative(ratings: Ratings) -> None:
    if ratings.rating_range[0] >= 0:
        return
    at = int(np.flatnonzero(ratings.values < 0)[0])
    row, column = int(ratings.users[at]), int(ratings.items[at])
    if ratings.user_ids is None and ratings.item_ids is None:
        place = f"row {row}, column {column}"
    else:
        place = f"user {id_of(ratings.user_ids, row)!r}, item {_named(ratings.item_ids, column)}"
    raise ValueError(_negative(place, ratings.values[at]))


def _named(ids: IdMap | None, column: int) -> str:
    return repr(id_of(ids, column))


def _negative(place: str, value: float) -> str:
    return (
        f"Negative values in data: {place} has {value:g}; expected none below 0. Shift the data, or take a model "
        "whose factors may be negative, such as ALS"
    )


def _complex(dtype: np.dtype[Any]) -> str:
    return f"Complex data not supported: X has dtype {dtype}; expected real numbers"


_NO_WEIGHTS = (
    "weights are given, and missing='zero', where cells that are not stored have none; give a dense matrix, whose "
    "cells are all stored, or missing='masked'"
)
