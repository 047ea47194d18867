"""The files of the Netflix prize: a line with a film's number and a colon, then its ratings, one a line.

1:
1488844,3,2005-09-06
822109,5,2005-05-13
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from cymf._column_choice import AUTO, ColumnChoice, Columns
from cymf._streams import COMPRESSED, opened

__all__ = ["netflix_files", "read_netflix"]

_LINES = 1 << 17  # read at once
_FILM = re.compile(rb"\s*\d{1,9}:\s*")
_RATING = re.compile(r"\s*\d{1,18},\d+(\.\d+)?,\d{4}-\d\d-\d\d\s*")
_RECORD = [("user", "i8"), ("rating", "f4"), ("date", "U10")]


def netflix_files(path: Path) -> list[Path]:
    """Return the files of the prize that `path` is or holds, by name; none if it is something else."""
    if path.is_dir():
        for pattern in ("mv_*.txt", "training_set/mv_*.txt", "combined_data_*.txt"):
            if found := sorted(path.glob(pattern)) or sorted(path.glob(pattern + ".*")):
                return [file for file in found if file.suffix in (".txt", *COMPRESSED)]
        return []
    if not path.is_file():  # a pipe, of which nothing must be read beforehand
        return []
    with opened(path) as file:
        return [path] if _FILM.fullmatch(file.readline(64)) else []


def read_netflix(files: list[Path], choice: ColumnChoice) -> Iterator[Columns]:
    """Yield the columns of some lines after the other, of one file after the other."""
    fixed = choice._replace(rating=AUTO, weight=AUTO, timestamp=AUTO)
    if set(fixed) != {AUTO} or choice.weight not in (AUTO, None):
        raise ValueError(
            f"{files[0]} is a file of the Netflix prize, whose columns are known: leave user, item and weight out"
        )
    for role, column in (("rating", choice.rating), ("timestamp", choice.timestamp)):
        if column not in (AUTO, None):
            raise ValueError(
                f"{files[0]} is a file of the Netflix prize: {role}={column!r} is none of its columns"
            )
    empty = True
    for path in files:
        for films, records in _parts(path):
            yield Columns(
                users=np.ascontiguousarray(records["user"]),
                items=films,
                values=None if choice.rating is None else np.ascontiguousarray(records["rating"]),
                weights=None,
                timestamps=None
                if choice.timestamp is None
                else np.ascontiguousarray(records["date"]),
            )
            empty = False
    if empty:
        raise ValueError(f"{files[0]} holds no ratings: there is no line after a film's number")


def _parts(path: Path) -> Iterator[tuple[NDArray[np.int64], NDArray[np.void]]]:
    """Yield the film of each rating, and the ratings, chunk by chunk."""
    film = None
    with opened(path) as stream:
        file = io.TextIOWrapper(stream, encoding="ascii", errors="replace")
        for first in itertools.count(1, _LINES):
            lines = list(itertools.islice(file, _LINES))
            if not lines:
                return
            heads = [number for number, line in enumerate(lines) if line.rstrip().endswith(":")]
            numbers = np.array(
                [_film_of(lines[number], path, first + number) for number in heads], np.int64
            )
            before = heads[0] if heads else len(lines)
            if film is None and before:
                _refuse(path, first, lines[0], "expected the number of a film and a colon")
            lengths = np.diff([*heads, len(lines)]) - 1
            films = np.concatenate(
                [np.full(before, film or 0, np.int64), np.repeat(numbers, lengths)]
            )
            film = int(numbers[-1]) if heads else film
            if len(films):
                yield films, _records(lines, set(heads), path, first)


def _records(lines: list[str], heads: set[int], path: Path, first: int) -> NDArray[np.void]:
    """The ratings of lines that are no heads."""
    rows = [line for number, line in enumerate(lines) if number not in heads] if heads else lines
    try:
        records = np.loadtxt(rows, dtype=_RECORD, delimiter=",", comments=None, ndmin=1)
        if len(records) != len(rows):
            raise ValueError("a line is empty")
        dates = records["date"].astype("M8[D]")
    except ValueError:
        for number, line in enumerate(lines):
            if number not in heads and not _RATING.fullmatch(line):
                _refuse(path, first + number, line, "expected user,rating,date")
        raise ValueError(
            f"{path}, lines {first} to {first + len(lines) - 1}: a date is none"
        ) from None
    dated = np.empty(len(records), [("user", "i8"), ("rating", "f4"), ("date", "M8[D]")])
    dated["user"], dated["rating"], dated["date"] = records["user"], records["rating"], dates
    return dated


def _film_of(line: str, path: Path, number: int) -> int:
    text = line.strip()[:-1]
    if not (text.isascii() and text.isdigit()):
        _refuse(path, number, line, "expected the number of a film and a colon")
    return int(text)


def _refuse(path: Path, number: int, line: str, reason: str) -> NoReturn:
    raise ValueError(f"{path}, line {number}: {reason}: {line.strip()[:80]!r}")
