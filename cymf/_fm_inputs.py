"""What a factorization machine is trained on: design matrices, targets, weights, groups, all checked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from cymf._arrays import as_array
from cymf._columns import plain_array
from cymf._design import Design, plain_design, stacked_design
from cymf._id_columns import object_array
from cymf._tables import open_table
from cymf.design_matrix import DesignMatrix
from cymf.ratings import Ratings

__all__ = [
    "Labels",
    "feature_names",
    "group_penalties",
    "read_column_groups",
    "read_design",
    "read_groups",
    "read_labels",
    "read_targets",
    "read_weights",
]


class Labels(NamedTuple):
    """Targets of two classes: -1 and 1, and what they stand for."""

    signs: np.ndarray
    classes: np.ndarray


def read_design(X: Any, dtype: np.dtype[Any]) -> Design:
    """Return a design of what `fit` and `predict` take."""
    if isinstance(X, DesignMatrix):
        design = stacked_design(X.blocks, dtype)
    else:
        matrix = _matrix(X)
        _check_numbers(matrix, dtype)
        design = plain_design(sparse.csr_array(matrix), dtype)
    if design.n_rows == 0:
        raise ValueError(
            "X has 0 sample(s) while a minimum of 1 is required; give at least one row"
        )
    if design.n_columns == 0:
        raise ValueError(
            f"X has 0 feature(s) (shape=({design.n_rows}, 0)) while a minimum of 1 is required."
        )
    return design


def _matrix(X: Any) -> Any:
    """Return a sparse matrix or a numeric array of two dimensions."""
    if sparse.issparse(X):
        matrix = sparse.csr_array(X) if X.ndim == 2 else X
    else:
        if X is None or isinstance(X, str):
            raise TypeError(
                f"X is {X!r}; expected a design matrix: sparse, an array, a table of numbers, or what "
                "cymf.design_matrix returns"
            )
        if isinstance(X, Ratings):
            raise TypeError(
                "X are Ratings; expected a design matrix: make one with cymf.design_matrix(ratings)"
            )
        table = open_table(X)
        matrix = as_array(X, "X") if table is None else table.to_numpy()
        if matrix.dtype.kind == "O":
            matrix = matrix.astype(np.float64)
    if matrix.ndim != 2:
        raise ValueError(
            f"X has shape {matrix.shape}. Expected 2D array, got {matrix.ndim}D array instead. Reshape your data "
            "to one row a sample and one column a feature"
        )
    if matrix.dtype.kind == "c":
        raise ValueError("Complex data not supported: X has complex numbers; give real ones")
    if matrix.dtype.kind not in "fiub":
        raise TypeError(
            f"X has dtype {matrix.dtype}; expected numbers: encode categories as columns of 0 and 1, for instance "
            "with cymf.design_matrix or scikit-learn's OneHotEncoder"
        )
    return matrix


def _check_numbers(matrix: Any, dtype: np.dtype[Any]) -> None:
    values = matrix.data if sparse.issparse(matrix) else matrix
    if not np.isfinite(values).all():
        rows = sparse.coo_array(matrix) if sparse.issparse(matrix) else None
        bad = (
            np.argwhere(~np.isfinite(matrix))[0]
            if rows is None
            else np.array([rows.row, rows.col])[:, ~np.isfinite(rows.data)][:, 0]
        )
        found = "NaN" if np.isnan(values).any() else "infinity (inf)"
        raise ValueError(
            f"X contains {found}, in row {bad[0]}, column {bad[1]}; expected finite numbers: leave out or fill in "
            "what is missing"
        )
    largest = float(np.abs(values).max(initial=0))
    if largest > float(np.sqrt(np.finfo(dtype).max)):
        raise ValueError(
            f"X has values up to {largest:.6g}, whose squares do not fit in {dtype}; scale its columns"
            + (", or use dtype='float64'" if dtype == np.float32 else "")
        )


def feature_names(X: Any) -> np.ndarray | None:
    """Return the column names of a table or design matrix, if all are strings; None otherwise."""
    if isinstance(X, DesignMatrix):
        return np.asarray(X.names, dtype=object)
    table = open_table(X)
    if table is None:
        return None
    names = object_array(table.columns)
    return names if len(names) and all(isinstance(name, str) for name in names) else None


def read_targets(y: Any, n_rows: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Return numeric targets as float64 of shape (n_rows,)."""
    targets = _one_dimension("y", y, n_rows)
    if targets.dtype.kind == "O":
        try:
            targets = targets.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"y holds {targets[:1].tolist()[0]!r}; expected numbers") from error
    if targets.dtype.kind not in "fiub":
        raise ValueError(
            f"y has dtype {targets.dtype}; expected numbers (labels want loss='logistic')"
        )
    targets = targets.astype(np.float64)
    _check_finite("y", targets)
    largest = float(np.abs(targets).max())
    if largest > float(np.sqrt(np.finfo(dtype).max)):
        raise ValueError(
            f"y has values up to {largest:.6g}, whose squares do not fit in {dtype}; scale it down"
            + (", or use dtype='float64'" if dtype == np.float32 else "")
        )
    return targets


def read_labels(y: Any, n_rows: int, classes: np.ndarray | None = None) -> Labels:
    """Return labels of two classes as -1 and 1; with `classes`, those that training has seen."""
    labels = _one_dimension("y", y, n_rows)
    if labels.dtype.kind == "f":
        _check_finite("y", labels)
        if (labels != np.round(labels)).any():
            raise ValueError(
                f"Unknown label type: continuous. y holds {labels[labels != np.round(labels)][0]!r}; expected "
                "labels of two classes, or loss='squared' for numbers"
            )
    found = np.unique(labels)
    if classes is not None:
        unknown = np.setdiff1d(found, classes)
        if len(unknown):
            raise ValueError(
                f"y holds {unknown[0]!r}, which is none of the classes of training, {classes.tolist()}"
            )
        return Labels(np.where(labels == classes[1], 1.0, -1.0), classes)
    if len(found) > 2:
        raise ValueError(
            f"Only binary classification is supported. y holds {len(found)} classes, such as {found[:3].tolist()}; "
            "expected two: train one machine a class, for instance with scikit-learn's OneVsRestClassifier"
        )
    if len(found) < 2:
        raise ValueError(f"y holds only one class, {found[0]!r}; expected labels of two classes")
    return Labels(np.where(labels == found[1], 1.0, -1.0), found)


def read_groups(groups: Any, n_rows: int) -> np.ndarray:
    """Return whose row each is, numbered from 0."""
    if groups is None:
        raise ValueError(
            "loss='bpr' compares rows of one group and needs groups=…, the user or query of each row; without groups "
            "give zeros"
        )
    given = _one_dimension("groups", groups, n_rows)
    if given.dtype.kind == "f":
        _check_finite("groups", given)
    return np.unique(given, return_inverse=True)[1].reshape(-1).astype(np.int64)


def read_weights(weights: Any, n_rows: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Return weights in the dtype of the model; empty where all are 1."""
    if weights is None:
        return np.zeros(0, dtype)
    given = plain_array(weights, "sample_weight")
    if given.ndim == 0:
        given = np.full(n_rows, given)
    if given.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar; given shape {given.shape}")
    given = _one_dimension("sample_weight", given, n_rows)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"sample_weight has dtype {given.dtype}; expected numbers ≥ 0")
    given = given.astype(np.float64)
    _check_finite("sample_weight", given)
    if (given < 0).any() or not given.any():
        raise ValueError(
            "sample_weight has a negative number; expected numbers ≥ 0"
            if (given < 0).any()
            else "sample_weight is zero everywhere; expected a positive number somewhere"
        )
    return np.zeros(0, dtype) if (given == 1).all() else given.astype(dtype)


def read_column_groups(groups: Any, X: Any, n_columns: int) -> np.ndarray:
    """Return the group of each column, int64 from 0; one group where nothing is said."""
    if groups is None:
        if isinstance(X, DesignMatrix):
            return np.asarray(X.groups, np.int64)
        return np.zeros(n_columns, np.int64)
    given = plain_array(groups, "column_groups")
    if given.shape != (n_columns,) or given.dtype.kind not in "iu":
        raise ValueError(
            f"column_groups has shape {given.shape} and dtype {given.dtype}; expected {n_columns} integers, the group "
            "of each column"
        )
    if len(given) and given.min() < 0:
        raise ValueError(
            f"column_groups holds {given.min()}; expected numbers of groups, 0 and more"
        )
    numbers = given.astype(np.int64)
    missing = np.setdiff1d(np.arange(numbers.max() + 1), numbers)
    if len(missing):
        raise ValueError(
            f"column_groups has no column of group {missing[0]}, but of {numbers.max()}; number the groups from 0 "
            "without gaps"
        )
    return numbers


def group_penalties(name: str, value: Any, groups: np.ndarray) -> np.ndarray:
    """Return λ of each column, of one number or of one a group."""
    from cymf._validation import check_number

    if not isinstance(value, (list, tuple, np.ndarray)):
        return np.full(len(groups), check_number(name, value))
    n_groups = int(groups.max()) + 1
    if len(value) != n_groups:
        raise ValueError(
            f"{name} has {len(value)} numbers; expected one, or {n_groups}, one for each group of columns"
        )
    each = np.array([check_number(f"{name}[{g}]", v) for g, v in enumerate(value)])
    penalties: np.ndarray = each[groups]
    return penalties


def _one_dimension(name: str, values: Any, n_rows: int) -> np.ndarray:
    if values is None:
        raise ValueError(
            f"requires {name} to be passed, but the target {name} is None: give one value a row of X"
        )
    array = plain_array(values, name)
    if array.ndim != 1:
        raise ValueError(
            f"{name} should be a 1d array, got an array of shape {array.shape} instead"
        )
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} has complex numbers")
    if len(array) != n_rows:
        raise ValueError(
            f"X has {n_rows} rows, but {name} has {len(array)}: inconsistent numbers of samples; expected one "
            "value a row"
        )
    return array


def _check_finite(name: str, values: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        found = "NaN" if np.isnan(values).any() else "infinity"
        raise ValueError(f"Input {name} contains {found} (row {bad[0]}); expected finite numbers")
