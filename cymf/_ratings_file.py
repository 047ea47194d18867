"""Ratings written to a file, batch by batch, that appears under its name when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cymf._archive import replacing
from cymf._column_choice import Columns
from cymf._file_formats import WRITERS
from cymf._gathering import expand
from cymf._id_columns import Coded, compact, object_array
from cymf._streams import COMPRESSED, compressing, inner_suffix

if TYPE_CHECKING:
    from cymf._stored_ratings import StoredRatings

__all__ = ["check_target", "write_batches", "write_ratings"]

_PIECE = 1 << 17  # ratings written at once
_ROLES = ("user", "item", "rating", "weight", "timestamp")
_PACKED = (".parquet", ".npz")  # compressed inside
# What a column turns out to hold, and what it has to be written as from the beginning.
_WIDER = {"int": 0, "float": 1, "str": 2, "float32": 0, "float64": 1}


class _WiderColumnError(Exception):
    """A column turned out to hold more than the batches before it showed."""

    def __init__(self, role: str, kind: str) -> None:
        super().__init__(role, kind)
        self.role, self.kind = role, kind


def write_ratings(ratings: StoredRatings, path: str | os.PathLike[str]) -> None:
    """Write ratings; see `Ratings.to_file`."""
    write_batches(lambda: _pieces(ratings), path)


def check_target(path: str | os.PathLike[str]) -> None:
    """Refuse a name that says no format, before anything is read."""
    suffix = inner_suffix(Path(path))
    last = Path(path).suffix
    if suffix not in WRITERS or (last in COMPRESSED and suffix in _PACKED):
        raise ValueError(
            f"path={os.fspath(path)!r} ends in {last!r}; expected one of {', '.join(WRITERS)}, those of text and JSON "
            f"perhaps with {', '.join(COMPRESSED)} behind"
        )


def write_batches(
    batches: Callable[[], Iterable[Columns]],
    path: str | os.PathLike[str],
    *,
    again: bool = True,
) -> int:
    """Write what `batches()` gives, batch after batch, and return the number of ratings.

    It is called once more, if `again` allows, when a column turns out to hold strings after integers, or fractions
    after whole numbers: a file has one type a column.
    """
    check_target(path)
    write = WRITERS[inner_suffix(Path(path))]
    kinds: dict[str, str] = {}
    while True:
        counted = _Counted(_alike(batches(), kinds, path))
        try:
            with replacing(path) as stream, compressing(stream, Path(path).name) as target:
                write(counted, target)
            return counted.count
        except _WiderColumnError as wider:
            if not again:
                raise ValueError(
                    f"{os.fspath(path)}: a {wider.role} of another kind ({wider.kind}) came after others had been "
                    "written, and the input cannot be read twice: save it as a file first"
                ) from None
            kinds[wider.role] = wider.kind


class _Counted:
    """Batches, whose ratings are counted as they pass."""

    def __init__(self, batches: Iterator[dict[str, Any]]) -> None:
        self._batches = batches
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._batches:
            self.count += len(batch["rating"])
            yield batch


def _alike(
    batches: Iterable[Columns], kinds: dict[str, str], path: Any
) -> Iterator[dict[str, Any]]:
    """Yield the batches as named columns of one kind each: what `kinds` says, or that of the first batch."""
    names: list[str] | None = None
    for batch in batches:
        columns = dict(zip(_ROLES, batch, strict=True))
        if columns["rating"] is None:
            columns["rating"] = np.ones(len(batch.users), np.float32)
        columns = {role: column for role, column in columns.items() if column is not None}
        if names is None:
            names = list(columns)
        if list(columns) != names:
            raise ValueError(
                f"{os.fspath(path)}: some files hold the columns {names}, others {list(columns)}: leave one out by "
                "weight=None or timestamp=None"
            )
        for role, column in columns.items():
            kind = _kind(role, column)
            wanted = kinds.setdefault(role, kind)
            if kind != wanted and (kind == "datetime") != (wanted == "datetime"):
                raise ValueError(
                    f"{os.fspath(path)}: timestamps are numbers in some files and dates in others: write them alike"
                )
            if kind != wanted and _WIDER[kind] > _WIDER[wanted]:
                raise _WiderColumnError(role, kind)
            columns[role] = _as_kind(column, wanted)
        yield columns


def _kind(role: str, column: Any) -> str:
    if role in ("user", "item"):
        labels = column.labels if isinstance(column, Coded) else column
        return "int" if labels.dtype.kind == "i" else "str"
    if role == "timestamp":
        return {"i": "int", "f": "float", "M": "datetime"}[column.dtype.kind]
    small = column.dtype.kind in "biu" and column.dtype.itemsize <= 2
    return "float32" if small or column.dtype in (np.float16, np.float32) else "float64"


def _as_kind(column: Any, kind: str) -> Any:
    if kind == "str":
        labels = column.labels if isinstance(column, Coded) else column
        if labels.dtype.kind == "i":
            labels = object_array(map(str, labels.tolist()))
        return Coded(column.codes, labels) if isinstance(column, Coded) else labels
    if kind == "int":
        return expand(column)
    if kind == "datetime":
        return column
    return column.astype("float64" if kind == "float" else kind, copy=False)


def _pieces(ratings: StoredRatings) -> Iterator[Columns]:
    """Yield the columns of some ratings after the other, in storage order, with ids for row numbers."""
    maps = (ratings.user_ids, ratings.item_ids)
    labels = [None if ids is None else np.asarray(ids.ids) for ids in maps]
    for start in range(0, ratings.nnz, _PIECE):
        part = slice(start, start + _PIECE)
        users, items = (
            rows[part].astype(np.int64)
            if names is None
            else Coded(*compact(Coded(rows[part], names)))
            for rows, names in zip((ratings.users, ratings.items), labels, strict=True)
        )
        yield Columns(
            users,
            items,
            ratings.values[part],
            None if ratings.weights is None else ratings.weights[part],
            None if ratings.timestamps is None else ratings.timestamps[part],
        )
