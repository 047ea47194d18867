"""Ratings as they are kept: what they hold, their views for the kernels, and what they are turned into."""

from __future__ import annotations

import os
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy import sparse

from cymf._alignment import align_index, check_same_shape
from cymf._assembly import RatingArrays
from cymf._column_types import LIBRARIES, column_names, library_among, make_table
from cymf._columns import plain_array
from cymf._compressed import row_numbers, scipy_rows
from cymf._id_columns import chunks
from cymf._ids import IdMap
from cymf._ratings_checks import check_positions, index_dtype
from cymf._sparse_view import SparseView, column_view, read_only, row_view
from cymf._validation import check_choice

__all__ = ["StoredRatings"]


class StoredRatings:
    """The part of `Ratings` that does not know where they came from: `RatingArrays`, and views made of them."""

    __slots__ = ("_arrays", "_users", "_views")

    _arrays: RatingArrays
    _users: NDArray[Any] | None
    _views: dict[tuple[str, str], SparseView]

    @classmethod
    def _of(cls, arrays: RatingArrays) -> Self:
        self = object.__new__(cls)
        self._arrays = RatingArrays._make(
            read_only(part) if isinstance(part, np.ndarray) else part for part in arrays
        )
        self._users = None
        self._views = {}
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._of, (self._arrays,)

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
        own = self._arrays
        users = self.users if own.user_ids is None else own.user_ids.to_ids(self.users)
        items = self.items if own.item_ids is None else own.item_ids.to_ids(self.items)
        return users, items, own.values

    def to_table(self, backend: Literal["pandas", "polars", "pyarrow"] | None = None) -> Any:
        """The ratings as a table with a row each.

        Parameters
        ----------
        backend : {"pandas", "polars", "pyarrow"}, default=None
            The library whose table is returned; it must be installed. None: that of the table, or of the column of
            users, they were made from; pandas for ratings that were made from something else.

        Returns
        -------
        pandas.DataFrame, polars.DataFrame or pyarrow.Table
            Users, items, ratings, and weights and timestamps where there are any, in storage order. Columns of the
            table they were made from have their names and types again; in a table of another library, the types most
            like these. Others are called user, item, rating, weight and timestamp.

        Raises
        ------
        ValueError
            If `backend` is another.
        ModuleNotFoundError
            If the library is not installed.

        Notes
        -----
        Ratings that duplicates were joined to, by mean or sum, are floats.

        Examples
        --------
        >>> import pandas as pd
        >>> from cymf.ratings import Ratings
        >>> table = pd.DataFrame({"userId": [7, 3], "movieId": [1, 2], "rating": [4, 5]}, dtype="int16")
        >>> Ratings.from_table(table).to_table()
           userId  movieId  rating
        0       3        2       5
        1       7        1       4
        """
        if backend is not None:
            check_choice("backend", backend, LIBRARIES)
        own = self._arrays
        users, items, values = self.to_triplets()
        of_ids = [None if ids is None else ids.column for ids in (own.user_ids, own.item_ids)]
        named = {
            "user": (users, of_ids[0]),
            "item": (items, of_ids[1]),
            "rating": (values, own.types[0]),
            "weight": (own.weights, own.types[1]),
            "timestamp": (own.timestamps, own.types[2]),
        }
        columns = {name: pair for name, pair in named.items() if pair[0] is not None}
        names = column_names({name: kind for name, (_, kind) in columns.items()})
        library = backend or library_among(*of_ids)
        return make_table(dict(zip(names, columns.values(), strict=True)), library)  # type: ignore[arg-type]

    def subset(self, selection: ArrayLike) -> Self:
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
        positions = check_positions(plain_array(selection, "the selection"), self.nnz)
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


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
