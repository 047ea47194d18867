"""Recommendations as a file: one row for each user and rank, written block by block."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cymf._column_types import ColumnType, column_names, library_among, make_table

__all__ = ["SUFFIXES", "AnswerTypes", "RecommendationFile", "as_table", "recommendation_rows"]

SUFFIXES = (".csv", ".parquet")


class AnswerTypes(NamedTuple):
    """What a table of recommendations takes after: the table of the training, or the column of users asked about.

    Attributes
    ----------
    names : sequence
        Of the columns of users, ranks, items and scores.
    user, item : ColumnType or None
        Types of their columns; None for plain ones.
    library : str
        Whose table it is, unless another is asked for.
    """

    names: Sequence[Any] = ("user", "rank", "item", "score")
    user: ColumnType | None = None
    item: ColumnType | None = None
    library: str = "pandas"

    @classmethod
    def of(
        cls, user: ColumnType | None, item: ColumnType | None, asked: ColumnType | None
    ) -> AnswerTypes:
        """Return those of a model's columns of ids, and of a column of users asked about, where there is one."""
        names = column_names({"user": user, "rank": None, "item": item, "score": None})
        return cls(names, user, item, library_among(asked, user, item))


def recommendation_rows(
    users: NDArray[Any], items: NDArray[Any], scores: NDArray[np.floating]
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[np.floating]]:
    """Columns user, rank (from 1), item, score; places that no item fills are left out.

    `items` and `scores` have the shape (n_users, n) of `recommend`.
    """
    rows, ranks = np.nonzero(~np.isnan(scores))
    return users[rows], ranks + 1, items[rows, ranks], scores[rows, ranks]


def as_table(columns: tuple[NDArray[Any], ...], types: AnswerTypes, library: str) -> Any:
    """Columns of `recommendation_rows` as a table of pandas, polars or pyarrow."""
    named = zip(types.names, columns, (types.user, None, types.item, None), strict=True)
    return make_table({name: (column, kind) for name, column, kind in named}, library)


class RecommendationFile:
    """A CSV or Parquet file that appears under its name when it is complete.

    A context manager. Parquet needs pyarrow.
    """

    def __init__(self, path: Path, types: AnswerTypes | None = None) -> None:
        self._path = path
        self._types = AnswerTypes() if types is None else types
        self._unfinished = path.with_name(path.name + ".part")
        self._parquet: Any = None
        if path.suffix == ".parquet":
            try:
                import pyarrow.parquet  # noqa: F401
            except ModuleNotFoundError:
                raise ModuleNotFoundError(
                    "writing Parquet needs pyarrow: pip install 'cymf[parquet]', or name a .csv "
                    "file",
                    name="pyarrow",
                ) from None

    def __enter__(self) -> RecommendationFile:
        if self._path.suffix == ".csv":
            self._text = open(self._unfinished, "w", newline="", encoding="utf-8")
            self._csv = csv.writer(self._text)
            self._csv.writerow(self._types.names)
        return self

    def write(self, users: NDArray[Any], items: NDArray[Any], scores: NDArray[np.floating]) -> None:
        """Append the answer of `recommend` for some users."""
        columns = recommendation_rows(users, items, scores)
        if self._path.suffix == ".csv":
            self._csv.writerows(zip(*(column.tolist() for column in columns), strict=True))
            return
        import pyarrow.parquet

        block = as_table(columns, self._types, "pyarrow")
        if self._parquet is None:
            self._parquet = pyarrow.parquet.ParquetWriter(self._unfinished, block.schema)
        self._parquet.write_table(block)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._path.suffix == ".csv":
            self._text.close()
        elif self._parquet is not None:
            self._parquet.close()
        if kind is None:
            os.replace(self._unfinished, self._path)
        else:
            self._unfinished.unlink(missing_ok=True)
