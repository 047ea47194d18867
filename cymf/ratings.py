"""Ratings: the observed entries of a users × items matrix, the one data type models train on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import sparse

from cymf._alignment import align_index, check_same_shape
from cymf._assembly import RatingArrays, assemble_columns, assemble_matrix, assemble_triplets
from cymf._compressed import row_numbers, scipy_rows
from cymf._id_columns import chunks
from cymf._ids import IdMap
from cymf._ratings_checks import check_positions, index_dtype
from cymf._readers import read_file, read_table
from cymf._sparse_view import SparseView, column_view, read_only, row_view

__all__ = ["Ratings", "SparseView", "as_ratings"]

Duplicates = Literal["raise", "last", "first", "mean", "sum"]


class Ratings:
    """Observed ratings of users for items, with their ids; immutable.

    Made by `from_triplets`, `from_matrix`, `from_table` and `from_file`. What is stored was
    observed: a stored 0 is a rating of 0, and everything not stored is unknown.

    Ratings are kept sorted by user, then item (*storage order*), whatever order they came in. The
    attributes `users`, `items`, `values`, `weights`, `timestamps` and `input_order` all follow it.

    Notes
    -----
    All arrays are read-only, and those given are not copied where they can be used as they are:
    the indices and the float values of a SciPy CSR matrix with sorted, unique 32-bit indices, or
    float columns that came sorted. Do not change such input while its ratings are in use.

    Examples
    --------
    >>> from cymf.ratings import Ratings
    >>> ratings = Ratings.from_triplets(["ann", "bob", "ann"], [7, 7, 30], [4.0, 2.5, 1.0])
    >>> ratings
    <Ratings: 2 users × 2 items, 3 ratings from 1 to 4 (75 % of the cells)>
    >>> ratings.user_ids.ids.tolist(), ratings.item_ids.ids.tolist()
    (['ann', 'bob'], [7, 30])
    >>> ratings.to_scipy().toarray()
    array([[4. , 1. ],
           [2.5, 0. ]])
    """

    __slots__ = ("_arrays", "_users", "_views")

    _arrays: RatingArrays
    _users: NDArray[Any] | None
    _views: dict[tuple[str, str], SparseView]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            "Ratings are made by Ratings.from_triplets, from_matrix, from_table or from_file"
        )

    # ------------------------------------------------------------------ construction

    @classmethod
    def from_triplets(
        cls,
        users: Any,
        items: Any,
        values: Any = None,
        *,
        weights: Any = None,
        timestamps: Any = None,
        shape: tuple[int, int] | None = None,
        duplicates: Duplicates = "raise",
    ) -> Ratings:
        """Ratings from three columns: who, what, how much.

        Parameters
        ----------
        users, items : array-like of shape (n_ratings,)
            Ids: integers or strings of any kind, in NumPy arrays, lists, pandas, polars or Arrow
            columns; categorical and dictionary columns are used through their codes.
            Rows and columns are numbered by sorted id.
        values : array-like of shape (n_ratings,), default=None
            The ratings: finite real numbers; booleans count as 0 and 1. None: each is 1, for
            events such as clicks, which ``duplicates="sum"`` counts.
        weights : array-like of shape (n_ratings,), default=None
            How much each rating counts: finite, not negative, not all 0. None: each counts 1.
        timestamps : array-like of shape (n_ratings,), default=None
            When each was given: numbers or datetimes. Only their order matters.
        shape : (int, int), default=None
            ``(n_users, n_items)``. Given, `users` and `items` are row numbers from 0, and the
            ratings have no ids.
        duplicates : {"raise", "last", "first", "mean", "sum"}, default="raise"
            What to do with several ratings of one cell: raise an error, keep the last or the first
            of the input, or join them into one of their mean (by weight) or sum, the mean of their
            weights and their latest timestamp.

        Returns
        -------
        Ratings

        Raises
        ------
        ValueError
            If there are no ratings, columns differ in length, a value or weight is not finite, a
            weight is negative, an id is missing, a row number does not fit `shape`, or a cell is
            rated twice and `duplicates` is "raise".
        TypeError
            If ids are neither integers nor strings, or values not real numbers.

        Examples
        --------
        >>> from cymf.ratings import Ratings
        >>> Ratings.from_triplets([0, 2, 0], [1, 0, 1], [5, 3, 1], shape=(3, 2), duplicates="last")
        <Ratings: 3 users × 2 items, 2 ratings from 1 to 3 (33.3 % of the cells)>
        """
        return cls._of(
            assemble_triplets(users, items, values, weights, timestamps, shape, duplicates)
        )

    @classmethod
    def from_matrix(
        cls,
        X: Any,
        *,
        weights: Any = None,
        timestamps: Any = None,
        user_ids: ArrayLike | IdMap | None = None,
        item_ids: ArrayLike | IdMap | None = None,
        duplicates: Duplicates = "raise",
    ) -> Ratings:
        """Ratings from a users × items matrix.

        Parameters
        ----------
        X : SciPy sparse matrix or array, ndarray or masked array, shape (n_users, n_items)
            Sparse: what is stored was observed, a stored 0 too (except in the padded formats BSR
            and DIA, where zeros are padding). Dense: NaN is missing. Masked: what is masked is
            missing.
        weights, timestamps : default=None
            As in `from_triplets`, for the entries of `X`: a sparse matrix with the same entries, a
            dense array of the same shape, or a 1-D array in the order of ``X.data`` (of a dense
            `X`: row by row).
        user_ids, item_ids : array-like of shape (n_users,) and (n_items,), or IdMap, default=None
            Ids of the rows and columns. None: the row numbers are the ids.
        duplicates : {"raise", "last", "first", "mean", "sum"}, default="raise"
            As in `from_triplets`, for a matrix that stores a cell several times.

        Returns
        -------
        Ratings

        Raises
        ------
        ValueError
            As in `from_triplets`; also if `X` is not 2-D, or ids do not fit its shape.
        TypeError
            If `X` is no matrix or its entries are not real numbers.

        Examples
        --------
        >>> import numpy as np
        >>> from cymf.ratings import Ratings
        >>> Ratings.from_matrix(np.array([[5.0, np.nan, 0.0], [np.nan, 3.0, np.nan]]))
        <Ratings: 2 users × 3 items, 3 ratings from 0 to 5 (50 % of the cells)>
        """
        return cls._of(assemble_matrix(X, weights, timestamps, user_ids, item_ids, duplicates))

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        user: str = "user",
        item: str = "item",
        rating: str | None = "rating",
        weight: str | None = None,
        timestamp: str | None = None,
        duplicates: Duplicates = "raise",
    ) -> Ratings:
        """Ratings from a table with one rating a row.

        Parameters
        ----------
        table : pandas.DataFrame, polars.DataFrame, pyarrow.Table, or another that narwhals reads
            The table.
        user, item, rating : str
            Names of the columns; defaults "user", "item" and "rating". ``rating=None``: there are
            no ratings, each row counts 1.
        weight, timestamp : str, default=None
            Names of further columns, see `from_triplets`. None: there are none.
        duplicates : {"raise", "last", "first", "mean", "sum"}, default="raise"
            As in `from_triplets`.

        Returns
        -------
        Ratings

        Raises
        ------
        TypeError
            If `table` is no table in memory.
        ValueError
            If a column is not there, and as in `from_triplets`.

        Examples
        --------
        >>> import pandas as pd
        >>> from cymf.ratings import Ratings
        >>> table = pd.DataFrame({"who": ["a", "b"], "what": [1, 1], "stars": [4, 5]})
        >>> Ratings.from_table(table, user="who", item="what", rating="stars")
        <Ratings: 2 users × 1 item, 2 ratings from 4 to 5 (100 % of the cells)>
        """
        columns = read_table(table, user, item, rating, weight, timestamp)
        return cls.from_triplets(**columns._asdict(), duplicates=duplicates)

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        user: str | int = "auto",
        item: str | int = "auto",
        rating: str | int | None = "auto",
        weight: str | int | None = "auto",
        timestamp: str | int | None = "auto",
        separator: str | None = None,
        header: bool | None = None,
        skip_lines: int = 0,
        encoding: str = "utf-8",
        duplicates: Duplicates = "raise",
    ) -> Ratings:
        """Ratings from a file: delimited text, ``.npz``, Parquet or JSON, or from a folder of such files.

        Parameters
        ----------
        path : str or Path
            ``.npz``: a matrix written by `scipy.sparse.save_npz`, or plain arrays ``user``,
            ``item``, ``rating`` and perhaps ``weight`` and ``timestamp``. ``.parquet``: a table;
            ``.json``, ``.jsonl``, ``.ndjson``: an object a line, such as Amazon's
            and Yelp's reviews; these need pyarrow. A folder of Parquet files, or of ``part-*`` files of text or
            JSON, as Spark writes them. A folder, or ``.zip``, of MovieLens: its
            ratings. A file of the Netflix prize, or the folder that holds them. Everything else is
            text with one rating a line, such as CSV, TSV, and MovieLens' ``u.data``, ``ratings.csv`` and
            ``ratings.dat``. Text and JSON may be compressed: ``.gz``, ``.bz2``, ``.xz``, ``.zst``. All but
            ``.npz`` is read piece by piece.
        user, item, rating : str or int, default="auto"
            Columns, by name or by position from 0. "auto": in text without header line the first
            three; otherwise the columns so named, or by a common variant such as ``userId``.
            ``rating=None``: there are no ratings, each line counts 1.
        weight, timestamp : str, int or None, default="auto"
            Further columns; None leaves one out. "auto": the columns so named, where there are
            any; in text without header the fourth, if there is one, is the timestamp.
        separator : str, default=None
            What separates the columns of text; ``" "`` stands for any white space.
            None: found out from the first line.
        header : bool, default=None
            Whether text begins with a line of column names. None: it does if no field of its first
            line is a number.
        skip_lines : int, default=0
            Lines of text to leave out at the beginning.
        encoding : str, default="utf-8"
            How text is encoded.
        duplicates : {"raise", "last", "first", "mean", "sum"}, default="raise"
            As in `from_triplets`.

        Returns
        -------
        Ratings
            Ids are integers where all ids of the column are, otherwise strings. A column with an
            id like ``007`` holds strings, because a number would lose the zeros.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If a line of text is malformed (the message names file and line) or the file is
            damaged; also as in `from_triplets`.
        ImportError
            If the file is Parquet or JSON and pyarrow is not installed.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from cymf.ratings import Ratings
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "ratings.csv")
        ...     _ = path.write_text("userId,movieId,rating,timestamp\\n1,31,2.5,1260759144\\n")
        ...     Ratings.from_file(path)
        <Ratings: 1 user × 1 item, 1 rating from 2.5 to 2.5 (100 % of the cells), with timestamps>
        """
        found = read_file(
            Path(path),
            user=user, item=item, rating=rating, weight=weight, timestamp=timestamp,
            separator=separator, header=header, skip_lines=skip_lines, encoding=encoding,
        )  # fmt: skip
        if sparse.issparse(found):
            return cls.from_matrix(found, duplicates=duplicates)
        return cls._of(assemble_columns(found, None, duplicates))

    @classmethod
    def _of(cls, arrays: RatingArrays) -> Ratings:
        self = object.__new__(cls)
        self._arrays = RatingArrays._make(
            read_only(part) if isinstance(part, np.ndarray) else part for part in arrays
        )
        self._users = None
        self._views = {}
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, tuple(self._arrays)

    # ------------------------------------------------------------------ what it holds

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_users, n_items)``."""
        return self._arrays.shape

    @property
    def n_users(self) -> int:
        """Number of rows, those without ratings included."""
        return self._arrays.shape[0]

    @property
    def n_items(self) -> int:
        """Number of columns, those without ratings included."""
        return self._arrays.shape[1]

    @property
    def nnz(self) -> int:
        """Number of ratings."""
        return len(self._arrays.values)

    @property
    def user_ids(self) -> IdMap | None:
        """Ids of the rows; None: the row numbers are the ids."""
        return self._arrays.user_ids

    @property
    def item_ids(self) -> IdMap | None:
        """Ids of the columns; None: the column numbers are the ids."""
        return self._arrays.item_ids

    @property
    def has_weights(self) -> bool:
        """Whether the ratings are weighted."""
        return self._arrays.weights is not None

    @property
    def has_timestamps(self) -> bool:
        """Whether it is known when each rating was given."""
        return self._arrays.timestamps is not None

    @property
    def rating_range(self) -> tuple[float, float]:
        """The least and the greatest rating."""
        return self._arrays.value_range

    @property
    def users(self) -> NDArray[Any]:
        """Row number of each rating, shape (nnz,), in storage order."""
        if self._users is None:
            users = row_numbers(self._arrays.indptr, index_dtype(self.n_users))
            self._users = read_only(users)
        return self._users

    @property
    def items(self) -> NDArray[Any]:
        """Column number of each rating, shape (nnz,), in storage order."""
        return self._arrays.indices

    @property
    def values(self) -> NDArray[Any]:
        """The ratings, shape (nnz,), in storage order; float32 or float64."""
        return self._arrays.values

    @property
    def weights(self) -> NDArray[Any] | None:
        """The weights, shape (nnz,), in storage order; None without weights."""
        return self._arrays.weights

    @property
    def timestamps(self) -> NDArray[Any] | None:
        """int64, float64 or datetime64, shape (nnz,), in storage order; None without timestamps."""
        return self._arrays.timestamps

    @property
    def input_order(self) -> NDArray[Any] | None:
        """Position in the input of each stored rating, shape (nnz,).

        None if that is the storage order. Matrices other than COO have no order of their own:
        theirs is the storage order.
        """
        return self._arrays.input_order

    @property
    def user_counts(self) -> NDArray[np.int64]:
        """Number of ratings of each user, shape (n_users,)."""
        return np.diff(self._arrays.indptr)

    @property
    def item_counts(self) -> NDArray[np.int64]:
        """Number of ratings of each item, shape (n_items,)."""
        counts = np.zeros(self.n_items, np.int64)
        for part in chunks(self.nnz):  # bincount casts what it counts to int64
            counts += np.bincount(self._arrays.indices[part], minlength=self.n_items)
        return counts

    def __repr__(self) -> str:
        low, high = self._arrays.value_range
        share = 100.0 * self.nnz / (self.n_users * self.n_items)
        extras = [name for name in ("weights", "timestamps") if getattr(self, name) is not None]
        return (
            f"<Ratings: {_counted(self.n_users, 'user')} × {_counted(self.n_items, 'item')}, "
            f"{_counted(self.nnz, 'rating')} from {low:.6g} to {high:.6g} "
            f"({share:.3g} % of the cells)"
            + (f", with {' and '.join(extras)}" if extras else "")
            + ">"
        )

    # ------------------------------------------------------------------ views and conversions

    def csr(self, dtype: DTypeLike = np.float32) -> SparseView:
        """Compressed rows: rows are users, indices are items; kept for the next call.

        Parameters
        ----------
        dtype : float32 or float64, default=float32
            Of values and weights.

        Returns
        -------
        SparseView
            ``indptr`` int64 of shape (n_users + 1,); ``indices`` int32, or int64 from 2³¹ items on.

        Raises
        ------
        ValueError
            If `dtype` is another, or float32 cannot hold a value.
        """
        return self._view("csr", dtype)

    def csc(self, dtype: DTypeLike = np.float32) -> SparseView:
        """Compressed columns: rows are items, indices are users; otherwise as `csr`."""
        return self._view("csc", dtype)

    def _view(self, kind: str, dtype: DTypeLike) -> SparseView:
        wanted = np.dtype(dtype)
        if wanted not in (np.float32, np.float64):
            raise ValueError(f"dtype must be float32 or float64; given {wanted}")
        if (kind, wanted.name) not in self._views:
            if kind == "csr":
                view = row_view(self._arrays, wanted)
            else:
                other = "float32" if wanted == np.float64 else "float64"
                view = column_view(self._arrays, wanted, self._views.get((kind, other)))
            self._views[kind, wanted.name] = view
        return self._views[kind, wanted.name]

    def to_scipy(self) -> sparse.csr_array:
        """The ratings as a SciPy CSR array of shape (n_users, n_items).

        Returns
        -------
        scipy.sparse.csr_array
            It shares this object's read-only arrays where it can: copy it to change it.
        """
        own = self._arrays
        matrix = scipy_rows(own.indptr, own.indices, own.values, own.shape)
        matrix.has_canonical_format = True
        return matrix

    def to_file(self, path: str | os.PathLike[str]) -> None:
        """Write the ratings to a file that `from_file` reads.

        Parameters
        ----------
        path : str or path-like
            ``.csv``, ``.tsv``, ``.dat`` (MovieLens') or ``.jsonl``, perhaps with ``.gz``, ``.bz2``, ``.xz`` or
            ``.zst``; ``.parquet`` (needs pyarrow); or ``.npz``. It appears, or replaces what was there, when it is
            complete.

        Raises
        ------
        ValueError
            If the suffix is another.
        ImportError
            If pyarrow is needed and not installed.
        OSError
            If the file cannot be written.

        Notes
        -----
        The columns are user, item, rating, and weight and timestamp where there are any, in storage order.
        All but ``.npz`` is written in pieces. Users and items without ratings are not written.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> from cymf.ratings import Ratings
        >>> ratings = Ratings.from_triplets(["ann", "bob"], ["tea", "rum"], [5.0, 2.5])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "ratings.csv")
        ...     ratings.to_file(path)
        ...     print(path.read_text(), end="")
        user,item,rating
        ann,tea,5.0
        bob,rum,2.5
        """
        from cymf._ratings_file import write_ratings

        write_ratings(self, path)

    def to_triplets(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """User ids, item ids and values of all ratings, each of shape (nnz,), in storage order."""
        users = (
            self.users
            if self._arrays.user_ids is None
            else self._arrays.user_ids.to_ids(self.users)
        )
        items = (
            self.items
            if self._arrays.item_ids is None
            else self._arrays.item_ids.to_ids(self.items)
        )
        return users, items, self._arrays.values

    def subset(self, selection: ArrayLike) -> Ratings:
        """Some of the ratings, with the same shape and ids.

        Parameters
        ----------
        selection : array-like of bool, shape (nnz,), or of int
            A mask over the ratings in storage order, or their positions there, each once.

        Returns
        -------
        Ratings
            In storage order, whatever the order of the positions.

        Raises
        ------
        ValueError
            If the mask has another length, a position is out of range or repeated, or nothing is
            selected.
        """
        arrays = self._arrays
        positions = check_positions(np.asarray(selection), self.nnz)
        order = positions if arrays.input_order is None else arrays.input_order[positions]
        values = arrays.values[positions]
        return self._of(
            arrays._replace(
                indptr=np.searchsorted(positions, arrays.indptr).astype(np.int64, copy=False),
                indices=arrays.indices[positions],
                values=values,
                weights=None if arrays.weights is None else arrays.weights[positions],
                timestamps=None if arrays.timestamps is None else arrays.timestamps[positions],
                input_order=order.astype(index_dtype(int(order.max()) + 1), copy=False),
                value_range=(float(values.min()), float(values.max())),
            )
        )

    def align_to(
        self, user_ids: IdMap | None, item_ids: IdMap | None, shape: tuple[int, int]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any], NDArray[Any] | None]:
        """These ratings in the rows and columns of others, to evaluate a model on them.

        Parameters
        ----------
        user_ids, item_ids : IdMap or None
            Ids of the others' rows and columns; None: their row numbers are the ids.
        shape : (int, int)
            The others' ``(n_users, n_items)``.

        Returns
        -------
        users, items : ndarray of int64, shape (nnz,)
            Row and column numbers there, -1 for ids unknown there.
        values : ndarray of shape (nnz,)
        weights : ndarray of shape (nnz,) or None

        Raises
        ------
        ValueError
            If neither side has ids and the shapes differ (a transposed matrix, for instance), or
            only the others have ids, so that nobody can tell which row is which.
        TypeError
            If ids are strings on one side and integers on the other.
        """
        own = self._arrays
        by_number = (
            own.user_ids is None and user_ids is None,
            own.item_ids is None and item_ids is None,
        )
        check_same_shape(own.shape, shape, by_number)
        return (
            align_index(self.users, own.user_ids, user_ids, shape[0], "user"),
            align_index(own.indices, own.item_ids, item_ids, shape[1], "item"),
            own.values,
            own.weights,
        )


def as_ratings(X: Any) -> Ratings:
    """Ratings of whatever a model may be trained on.

    Parameters
    ----------
    X : Ratings, sparse matrix, dense array with NaN, masked array, or table
        `Ratings` come back as they are, matrices go through `Ratings.from_matrix`, tables with the
        columns user, item and rating through `Ratings.from_table`.

    Returns
    -------
    Ratings
    """
    if isinstance(X, Ratings):
        return X
    if X is None or isinstance(X, str):
        raise TypeError(
            f"got {X!r}; expected Ratings, a sparse matrix, an array with NaN, or a table "
            "(for a file: Ratings.from_file)"
        )
    return Ratings.from_matrix(X) if is_matrix(X) else Ratings.from_table(X)


def is_matrix(X: Any) -> bool:
    """Whether `X` goes through `Ratings.from_matrix`, rather than being a table or Ratings."""
    return sparse.issparse(X) or isinstance(X, (np.ndarray, list, tuple))


def _restore(*arrays: Any) -> Ratings:
    return Ratings._of(RatingArrays(*arrays))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
