"""Ratings: the observed entries of a users × items matrix, the one data type models train on."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal

from numpy.typing import ArrayLike
from scipy import sparse

from cymf._arrays import offers_array, type_name
from cymf._assembly import assemble_columns, assemble_matrix, assemble_triplets
from cymf._column_choice import ColumnChoice
from cymf._ids import IdMap
from cymf._readers import read_file
from cymf._sparse_view import SparseView
from cymf._stored_ratings import StoredRatings
from cymf._tables import open_table, read_table

__all__ = ["Ratings", "SparseView", "as_ratings"]

_LOGGER = logging.getLogger("cymf.files")

Duplicates = Literal["raise", "last", "first", "mean", "sum"]


class Ratings(StoredRatings):
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

    __slots__ = ()

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
            Ids: integers or strings of any kind, in lists, in columns of pandas, polars or Arrow, or in anything that
            offers an array (by NumPy's protocols, DLPack, or as a buffer); categorical and dictionary columns are used
            through their codes. Rows and columns are numbered by sorted id.
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
        X : SciPy sparse matrix or array, array-like or masked array, shape (n_users, n_items)
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
        user: Hashable = "auto",
        item: Hashable = "auto",
        rating: Hashable = "auto",
        weight: Hashable = "auto",
        timestamp: Hashable = "auto",
        duplicates: Duplicates = "raise",
    ) -> Ratings:
        """Ratings from a table with one rating a row.

        Parameters
        ----------
        table : pandas.DataFrame, polars.DataFrame, pyarrow.Table or RecordBatch, or another that narwhals reads
            The table, in memory.
        user, item, rating : str, int or another name, default="auto"
            Columns, by name, or by position from 0 where no name is a number. "auto": the columns so named, or by a
            common variant such as ``userId``. ``rating=None``: there are no ratings, each row counts 1.
        weight, timestamp : str, int or another name, or None, default="auto"
            Further columns, see `from_triplets`; None leaves one out. "auto": the columns so named, where there are
            any.
        duplicates : {"raise", "last", "first", "mean", "sum"}, default="raise"
            As in `from_triplets`.

        Returns
        -------
        Ratings
            They remember the table's library and the names and types of these columns: `to_table` and a model's
            ``recommend_table`` give the same again.

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
        >>> table = pd.DataFrame({"who": ["a", "b"], "movieId": [1, 1], "rating": [4, 5]})
        >>> Ratings.from_table(table, user="who")
        <Ratings: 2 users × 1 item, 2 ratings from 4 to 5 (100 % of the cells)>
        """
        columns = read_table(table, ColumnChoice(user, item, rating, weight, timestamp))
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
            ratings = cls.from_matrix(found, duplicates=duplicates)
        else:
            ratings = cls._of(assemble_columns(found, None, duplicates, keep_types=False))
        _LOGGER.info("read %s: %r", path, ratings)
        return ratings


def as_ratings(X: Any) -> Ratings:
    """Ratings of whatever a model may be trained on.

    Parameters
    ----------
    X : Ratings, sparse matrix, dense array with NaN, masked array, or table
        `Ratings` come back as they are, matrices go through `Ratings.from_matrix`, tables with columns that are called
        user, item and rating, or by a common variant, through `Ratings.from_table`.

    Returns
    -------
    Ratings
    """
    if isinstance(X, Ratings):
        return X
    if is_matrix(X):
        return Ratings.from_matrix(X)
    table = open_table(X)
    if table is not None:
        return Ratings.from_table(table)
    given = repr(X) if X is None or isinstance(X, str) else f"a {type_name(X)}"
    raise TypeError(
        f"got {given}; expected Ratings, a SciPy sparse matrix, an array with NaN, or a table in memory "
        "(for a file: Ratings.from_file; a lazy table: collect it first)"
    )


def is_matrix(X: Any) -> bool:
    """Whether `X` goes through `Ratings.from_matrix`, rather than being a table or Ratings."""
    if sparse.issparse(X) or isinstance(X, (list, tuple)):
        return True
    return offers_array(X) and open_table(X) is None
