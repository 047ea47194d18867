"""Features: what is known of users or items beside their ratings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from cymf._arrays import as_array
from cymf._columns import id_column
from cymf._feature_columns import read_columns, read_values
from cymf._feature_encoding import (
    Categories,
    Numbers,
    column_encoding_of,
    fit_categories,
    fit_numbers,
)
from cymf._id_columns import Coded
from cymf._ids import IdMap

__all__ = ["FeatureEncoder", "Features"]


class Features:
    """Features of the users or of the items, one row each; immutable.

    Made of a matrix, or by `from_table` of a table with columns of any kind, whose encoding is kept.

    Parameters
    ----------
    matrix : array-like or SciPy sparse matrix of shape (n_rows, n_features)
        Finite numbers.
    ids : array-like of shape (n_rows,), optional
        Ids of the rows, integers or strings, each once. None: rows stand in the order of the ratings' rows.
    names : sequence of str, optional
        Names of the features. None: their numbers.

    Raises
    ------
    ValueError
        If the matrix is not two-dimensional, has no columns, or is not finite; or ids or names do not fit it.
    TypeError
        If its entries are not real numbers, or ids are neither integers nor strings.

    Examples
    --------
    >>> import cymf
    >>> cymf.Features([[1, 0, 0.5], [0, 1, -0.5]], ids=["ann", "bob"])
    <Features: 2 rows × 3 features, with ids>
    """

    __slots__ = ("_encoder", "_ids", "_matrix", "_names")

    def __init__(
        self,
        matrix: Any,
        ids: ArrayLike | IdMap | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        csr = _checked(matrix)
        n_rows, n_features = csr.shape
        id_map = ids if isinstance(ids, IdMap) or ids is None else IdMap(ids, what="feature ids")
        if id_map is not None and len(id_map) != n_rows:
            raise ValueError(
                f"ids holds {len(id_map)} ids; expected {n_rows}, one for each row of features"
            )
        listed = list(map(str, range(n_features))) if names is None else [str(n) for n in names]
        if len(listed) != n_features or len(set(listed)) != n_features:
            raise ValueError(
                f"names holds {len(listed)} names, {len(set(listed))} of them different; expected {n_features}, a name "
                "of its own for each feature"
            )
        self._fill(csr, id_map, tuple(listed), None)

    def _fill(
        self,
        matrix: sparse.csr_array,
        ids: IdMap | None,
        names: tuple[str, ...],
        encoder: FeatureEncoder | None,
    ) -> None:
        for array in (matrix.data, matrix.indices, matrix.indptr):
            array.flags.writeable = False
        self._matrix = matrix
        self._ids = ids
        self._names = names
        self._encoder = encoder

    @classmethod
    def from_table(
        cls,
        table: Any,
        id: str | None = "user",
        *,
        categorical: Sequence[str] | None = None,
        multi_valued: Mapping[str, str | None] | Sequence[str] | None = None,
        numeric: Sequence[str] | None = None,
    ) -> Features:
        """Encode a table with one user or item a row.

        Columns that are not named below are told apart by their type: numbers, booleans, words and categories, lists.

        Parameters
        ----------
        table : pandas.DataFrame, polars.DataFrame, pyarrow.Table or another that narwhals reads; or mapping
            The table; a mapping leads from names to columns of equal length, or to the values of a single row.
        id : str or None, default "user"
            The column of ids, for instance ``"item"``. None: there is none.
        categorical : sequence of str, optional
            Columns with an indicator for each value, ``"gender=F"``: numbers that are codes, for instance.
        multi_valued : mapping of str to str, or sequence of str, optional
            Columns with any number of values an entry, with an indicator each: ``{"genres": "|"}`` says what separates
            them. Columns of lists need no separator, and are found by their type.
        numeric : sequence of str, optional
            Columns of numbers, if they are kept as words.

        Returns
        -------
        Features
            A number enters as (x − mean) / standard deviation, a boolean as 0 or 1, a category by its indicator. A
            missing number counts as the mean, a missing boolean as the share of true ones, each with an indicator
            ``"age is missing"`` if the column misses any; a missing category has no indicator.

        Raises
        ------
        ValueError
            If a column is not there or named twice, an id is missing or occurs twice, a number is infinite or is none,
            or no feature is left.
        TypeError
            If `table` is no table, or a column holds something else.

        Notes
        -----
        The encoding (`encoder`) is part of a model that is fitted with the features, and of its file. Tables that the
        model is asked about later are encoded by it: a category that it does not know has no indicator.

        Examples
        --------
        >>> import cymf
        >>> table = {"film": [1, 2, 3], "year": [1990, 1996, None], "genres": ["War|Drama", "Drama", ""]}
        >>> features = cymf.Features.from_table(table, id="film", multi_valued={"genres": "|"})
        >>> features.names
        ('year', 'year is missing', 'genres=Drama', 'genres=War')
        >>> features.matrix.toarray().round(1)
        array([[-1.,  0.,  1.,  1.],
               [ 1.,  0.,  1.,  0.],
               [ 0.,  1.,  0.,  0.]])
        """
        columns = read_columns(table, "the table of features")
        id = None if id is None else str(id)
        ids = _id_column(columns, id)
        encoder = FeatureEncoder._fit(columns, id, ids, categorical, multi_valued, numeric)
        return encoder._encode(columns, ids)

    @property
    def matrix(self) -> sparse.csr_array:
        """The encoded features, float64, of shape (n_rows, n_features); read-only."""
        return self._matrix

    @property
    def ids(self) -> IdMap | None:
        """Ids of the rows; None: rows stand in the order of the ratings' rows."""
        return self._ids

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features: ``"column=value"`` or ``"column"``."""
        return self._names

    @property
    def encoder(self) -> FeatureEncoder | None:
        """How a table was encoded; None for features that came as a matrix."""
        return self._encoder

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_rows, n_features)``."""
        return int(self._matrix.shape[0]), int(self._matrix.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        rows, columns = self.shape
        return (
            f"<Features: {rows} row{'' if rows == 1 else 's'} × {columns} "
            f"feature{'' if columns == 1 else 's'}{'' if self._ids is None else ', with ids'}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._matrix, self._ids, self._names, self._encoder)


class FeatureEncoder:
    """How the columns of a table become features, as `Features.from_table` found it; immutable.

    Attributes
    ----------
    names : tuple of str
        Names of the features.
    columns : tuple of str
        The table's columns that it reads, the one of ids left out.
    """

    __slots__ = ("_encodings", "_id", "names")

    def __init__(self, encodings: Sequence[Numbers | Categories], id: str | None) -> None:
        self._encodings = tuple(encodings)
        self._id = id
        self.names = tuple(name for encoding in self._encodings for name in encoding.names)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(encoding.column for encoding in self._encodings)

    def transform(self, table: Any) -> Features:
        """Encode another table in the same way.

        Parameters
        ----------
        table : table or mapping
            As for `Features.from_table`, with the same columns; the one of ids may be missing.

        Returns
        -------
        Features
            With the same names. What is unknown or missing: see `Features.from_table`. A missing number in a column
            that had none when it was encoded counts as the mean.

        Raises
        ------
        ValueError
            If columns are missing, or there are columns that were not there when it was encoded.
        TypeError
            If a column holds something else than then.
        """
        columns = self._read(table)
        return self._encode(columns, _id_column(columns, self._id) if self._id in columns else None)

    def transform_rows(self, table: Any) -> Features:
        """Encode another table in the same way, whatever its ids: they may be missing, or occur twice."""
        return self._encode(self._read(table), None)

    def _read(self, table: Any) -> dict[str, Any]:
        columns = read_columns(table, "the table of features")
        own = set(self.columns)
        lacking = [name for name in self.columns if name not in columns]
        foreign = [name for name in columns if name not in own and name != self._id]
        if lacking or foreign:
            parts = [
                f"{word} {', '.join(map(repr, names))}"
                for word, names in (("lacks", lacking), ("has the unseen", foreign))
                if names
            ]
            raise ValueError(
                f"the table of features {' and '.join(parts)}; expected the columns that the model was fitted with: "
                f"{', '.join(map(repr, self.columns))}"
            )
        return columns

    def to_json(self) -> str:
        """Return the encoding as text."""
        return json.dumps(
            {"id": self._id, "columns": [encoding.to_json() for encoding in self._encodings]}
        )

    @classmethod
    def from_json(cls, text: str) -> FeatureEncoder:
        """Return the encoding that `to_json` wrote."""
        stored = json.loads(text)
        return cls([column_encoding_of(entry) for entry in stored["columns"]], stored["id"])

    def __repr__(self) -> str:
        return f"<FeatureEncoder: {', '.join(self.columns)} → {len(self.names)} features>"

    def __reduce__(self) -> tuple[Any, ...]:
        return FeatureEncoder.from_json, (self.to_json(),)

    @classmethod
    def _fit(
        cls,
        columns: Mapping[str, Any],
        id: str | None,
        ids: IdMap | None,
        categorical: Sequence[str] | None,
        multi_valued: Mapping[str, str | None] | Sequence[str] | None,
        numeric: Sequence[str] | None,
    ) -> FeatureEncoder:
        lists = _separators(multi_valued)
        kinds = {
            "categorical": list(_names("categorical", categorical)),
            "multi_valued": list(lists),
            "numeric": list(_names("numeric", numeric)),
        }
        _check_named(kinds, columns, id)
        name_row = _row_names(ids)
        encodings: list[Numbers | Categories] = []
        for name, column in columns.items():
            if name == id:
                continue
            given = read_values(column, name)
            if name in lists:
                if lists[name] is None and given.kind != "list":
                    raise TypeError(
                        f"multi_valued column {name!r} holds {given.kind}s; expected lists, or what separates its "
                        f"words: multi_valued={{{name!r}: '|'}}"
                    )
                encodings.append(fit_categories(name, given, True, lists[name]))
            elif name in kinds["categorical"]:
                encodings.append(fit_categories(name, given, False, None))
            elif name not in kinds["numeric"] and given.kind in ("word", "list"):
                encodings.append(fit_categories(name, given, given.kind == "list", None))
            else:
                encodings.append(fit_numbers(name, given, name_row))
        encoder = cls(encodings, id)
        if not encoder.names:
            raise ValueError(
                f"the table of features has no feature: its columns are {', '.join(map(repr, columns)) or 'none'}"
                + (f", of which {id!r} holds the ids" if id is not None else "")
            )
        return encoder

    def _encode(self, columns: Mapping[str, Any], ids: IdMap | None) -> Features:
        name_row = _row_names(ids)
        blocks = [
            encoding.encode(read_values(columns[encoding.column], encoding.column), name_row)
            for encoding in self._encodings
        ]
        features = object.__new__(Features)
        matrix = sparse.csr_array(sparse.hstack(blocks, format="csr", dtype=np.float64))
        matrix.sum_duplicates()
        features._fill(matrix, ids, self.names, self)
        return features


def _checked(matrix: Any) -> sparse.csr_array:
    if sparse.issparse(matrix):
        if matrix.ndim != 2:
            raise ValueError(
                f"features have shape {matrix.shape}; expected two dimensions, a row for each user or item"
            )
        csr = sparse.csr_array(matrix)
    else:
        array = as_array(matrix, "the matrix of features")
        if array.ndim != 2:
            raise ValueError(
                f"features have shape {array.shape}; expected two dimensions, a row for each user or item"
            )
        if array.dtype.kind not in "biuf":
            raise TypeError(
                f"features have dtype {array.dtype}; expected numbers (for a table: cymf.Features.from_table)"
            )
        csr = sparse.csr_array(array)
    if csr.shape[1] == 0:
        raise ValueError(f"features have shape {csr.shape}; expected one column or more")
    if csr.dtype.kind not in "biuf":
        raise TypeError(f"features have dtype {csr.dtype}; expected real numbers")
    csr = sparse.csr_array(csr, dtype=np.float64, copy=True)
    csr.sum_duplicates()
    if not np.isfinite(csr.data).all():
        row = (
            int(np.searchsorted(csr.indptr, np.flatnonzero(~np.isfinite(csr.data))[0], "right")) - 1
        )
        raise ValueError(
            f"features of row {row} hold NaN or infinity; expected finite numbers: fill in what is missing, or give a "
            "table (cymf.Features.from_table), where it may be"
        )
    return csr


def _id_column(columns: Mapping[str, Any], id: str | None) -> IdMap | None:
    if id is None:
        return None
    if id not in columns:
        raise ValueError(
            f"the table of features has no column {id!r}: its columns are {', '.join(map(repr, columns))}; say which "
            "one holds the ids by id=…, or id=None if rows stand in the order of the ratings' rows"
        )
    values = id_column(columns[id], f"feature ids in column {id!r}")
    if isinstance(values, Coded):
        values = values.expanded()
    return IdMap(values, what=f"feature ids in column {id!r}")


def _row_names(ids: IdMap | None) -> Callable[[int], str]:
    if ids is None:
        return lambda row: f"row {row}"
    return lambda row: f"id {ids.ids[[row]].tolist()[0]!r}"


def _names(parameter: str, given: Sequence[str] | None) -> Sequence[str]:
    if isinstance(given, str):
        raise TypeError(
            f"{parameter}={given!r} is one word; expected a list of columns: [{given!r}]"
        )
    return [str(name) for name in given or ()]


def _separators(
    multi_valued: Mapping[str, str | None] | Sequence[str] | None,
) -> dict[str, str | None]:
    if isinstance(multi_valued, Mapping):
        return {str(name): separator for name, separator in multi_valued.items()}
    return dict.fromkeys(_names("multi_valued", multi_valued))


def _check_named(kinds: dict[str, list[str]], columns: Mapping[str, Any], id: str | None) -> None:
    seen: dict[str, str] = {}
    for kind, names in kinds.items():
        for name in names:
            if name not in columns:
                raise ValueError(
                    f"{kind} names the column {name!r}, which the table of features has not: its columns are "
                    f"{', '.join(map(repr, columns))}"
                )
            if name == id or name in seen:
                other = "id" if name == id else seen[name]
                raise ValueError(f"column {name!r} is named in {other} and in {kind}; expected one")
            seen[name] = kind


def _restore(
    matrix: sparse.csr_array,
    ids: IdMap | None,
    names: tuple[str, ...],
    encoder: FeatureEncoder | None,
) -> Features:
    features = object.__new__(Features)
    features._fill(matrix, ids, names, encoder)
    return features
