"""Recommendations as a file: one row for each user and rank, written block by block."""

from __future__ import annotations

import contextlib
import csv
import io
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cymf._archive import replacing

__all__ = ["SUFFIXES", "RecommendationFile", "as_frame", "recommendation_rows"]

SUFFIXES = (".csv", ".parquet")
_COLUMNS = ("user", "rank", "item", "score")


def recommendation_rows(
    users: NDArray[Any], items: NDArray[Any], scores: NDArray[np.floating]
) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[np.floating]]:
    """Columns user, rank (from 1), item, score; places that no item fills are left out.

    `items` and `scores` have the shape (n_users, n) of `recommend`.
    """
    rows, ranks = np.nonzero(~np.isnan(scores))
    return users[rows], ranks + 1, items[rows, ranks], scores[rows, ranks]


def as_frame(columns: tuple[NDArray[Any], ...], backend: str) -> Any:
    """Columns of `recommendation_rows` as a table of pandas, polars or pyarrow."""
    try:
        if backend == "pandas":
            import pandas

            return pandas.DataFrame(dict(zip(_COLUMNS, columns, strict=True)))
        if backend == "polars":
            import polars

            lists = (c.tolist() if c.dtype == object else c for c in columns)
            named = zip(_COLUMNS, lists, columns, strict=True)
            return polars.DataFrame(
                [
                    polars.Series(name, values, polars.String if column.dtype == object else None)
                    for name, values, column in named
                ]
            )
        return as_arrow(columns)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"backend={backend!r} needs {backend}: pip install {backend}, or choose another backend",
            name=backend,
        ) from None


def as_arrow(columns: tuple[NDArray[Any], ...]) -> Any:
    """Columns of `recommendation_rows` as an Arrow table, of the same schema however many rows there are."""
    import pyarrow

    arrays = [pyarrow.array(c, pyarrow.string() if c.dtype == object else None) for c in columns]
    return pyarrow.table(dict(zip(_COLUMNS, arrays, strict=True)))


class RecommendationFile:
    """A CSV or Parquet file that appears under its name when it is complete, or not at all.

    A context manager. Parquet needs pyarrow.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parquet: Any = None
        self._opened = contextlib.ExitStack()
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
        self._stream = self._opened.enter_context(replacing(self._path))
        if self._path.suffix == ".csv":
            text = io.TextIOWrapper(self._stream, encoding="utf-8", newline="")
            self._opened.callback(text.detach)
            self._csv = csv.writer(text)
            self._csv.writerow(_COLUMNS)
        return self

    def write(self, users: NDArray[Any], items: NDArray[Any], scores: NDArray[np.floating]) -> None:
        """Append the answer of `recommend` for some users."""
        columns = recommendation_rows(users, items, scores)
        if self._path.suffix == ".csv":
            self._csv.writerows(zip(*(column.tolist() for column in columns), strict=True))
            return
        import pyarrow.parquet

        block = as_arrow(columns)
        if self._parquet is None:
            self._parquet = pyarrow.parquet.ParquetWriter(self._stream, block.schema)
            self._opened.callback(self._parquet.close)
        self._parquet.write_table(block)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.__exit__(kind, error, trace)
