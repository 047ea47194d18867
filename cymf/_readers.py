"""Files, read into columns of users, items and ratings."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from cymf._column_choice import AUTO, ColumnChoice, Columns, locate_columns
from cymf._gathering import gather
from cymf._id_columns import as_id_array, chunks
from cymf._json_lines import JSON_SUFFIXES, read_json_lines
from cymf._netflix import netflix_files, read_netflix
from cymf._parquet import PARQUET_SUFFIXES, ParquetPart, parquet_parts, read_parquet
from cymf._ratings_checks import as_numbers, as_timestamps, check_finite, check_same_length
from cymf._streams import inner_suffix
from cymf._text_reader import EmptyFileError, TextFormat, read_text

__all__ = ["read_batches", "read_file"]

_OF_MOVIELENS = ("ratings.csv", "ratings.dat", "u.data")  # in the folders of its archives
_NOT_READ = (".tar", ".tgz", ".7z", ".rar", ".zip", ".lz4", ".orc", ".avro", ".xls", ".xlsx")


def read_file(
    path: Path,
    *,
    user: str | int,
    item: str | int,
    rating: str | int | None,
    weight: str | int | None,
    timestamp: str | int | None,
    separator: str | None,
    header: bool | None,
    skip_lines: int,
    encoding: str,
) -> Any:
    """A list of columns, or a sparse matrix, read from a file; see `Ratings.from_file`."""
    choice = ColumnChoice(user, item, rating, weight, timestamp)
    if path.suffix == ".npz" and path.exists():
        found = _read_npz(path, choice)
        return list(found) if isinstance(found, Columns) else found
    form = TextFormat(separator, header, skip_lines, encoding)
    return gather(read_batches(path, choice, form), path)


def read_batches(path: Path, choice: ColumnChoice, form: TextFormat) -> Iterator[Columns]:
    """The columns of a file that is read piece by piece, or of the files of a folder; at least one batch.

    What they hold is said in `cymf._gathering`.
    """
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.is_dir():
        return _read_folder(path, choice, form)
    if path.suffix == ".zip" and zipfile.is_zipfile(path):
        return _read_archive(path, choice, form)
    if path.suffix == ".npz":
        return _cut(_read_npz(path, choice))
    if path.suffix in PARQUET_SUFFIXES:
        return _filled(read_parquet([ParquetPart(path, {})], choice, path), path)
    if path.suffix in _NOT_READ or inner_suffix(path) in (*_NOT_READ, *PARQUET_SUFFIXES, ".npz"):
        raise ValueError(
            f"{path} is of a kind that is not read: unpack it first, or save it as CSV or Parquet"
        )
    if inner_suffix(path) not in JSON_SUFFIXES and (files := netflix_files(path)):
        return read_netflix(files, choice)
    return _read_lines(path, choice, form)


def _read_lines(path: Any, choice: ColumnChoice, form: TextFormat) -> Iterator[Columns]:
    if inner_suffix(path) in JSON_SUFFIXES:
        return read_json_lines(path, choice)
    return read_text(path, choice, form)


def _read_folder(folder: Path, choice: ColumnChoice, form: TextFormat) -> Iterator[Columns]:
    """Yield what the files of a folder hold: of the Netflix prize, of MovieLens, or as Spark writes them."""
    if files := netflix_files(folder):
        return read_netflix(files, choice)
    if (ratings := _ratings_in(folder)) is not None:
        return read_text(ratings, choice, form)
    if parts := parquet_parts(folder):
        return _filled(read_parquet(parts, choice, folder), folder)
    if lines := sorted(path for path in folder.glob("part-*") if path.is_file()):
        return _filled(_one_after_the_other(lines, choice, form), folder)
    raise ValueError(
        f"{folder} holds none of {', '.join(_OF_MOVIELENS)}, no files of the Netflix prize, no Parquet files and no "
        "part-* of Spark: name the file of ratings itself"
    )


def _read_archive(path: Path, choice: ColumnChoice, form: TextFormat) -> Iterator[Columns]:
    """Yield what MovieLens' file in a .zip holds, or the only file in it."""
    with zipfile.ZipFile(path) as archive:
        member = _ratings_in(zipfile.Path(archive))
        if member is None:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1 or Path(names[0]).suffix in (*_NOT_READ, *PARQUET_SUFFIXES, ".npz"):
                raise ValueError(
                    f"{path} holds none of {', '.join(_OF_MOVIELENS)}, and is no single file of text or JSON: unpack "
                    "it, and name the file of ratings itself"
                )
            member = zipfile.Path(archive, names[0])
        try:
            yield from _read_lines(member, choice, form)
        except zipfile.BadZipFile as damage:
            raise ValueError(
                f"{path} is damaged: {damage}: copy it again from where it was whole"
            ) from damage


def _one_after_the_other(
    files: list[Path], choice: ColumnChoice, form: TextFormat
) -> Iterator[Columns]:
    """Yield what files of text or JSON hold; some may be empty."""
    for path in files:
        try:
            yield from _read_lines(path, choice, form)
        except EmptyFileError:
            continue


def _cut(whole: Any) -> Iterator[Columns]:
    """Yield the columns of an ``.npz`` piece by piece, row numbers for the ids of a matrix."""
    if not isinstance(whole, Columns):
        matrix = whole.tocoo()
        whole = Columns(matrix.row, matrix.col, matrix.data, None, None)
    users, items = as_id_array(whole.users, "users"), as_id_array(whole.items, "items")
    values, weights = (
        None if column is None else as_numbers(column, what)
        for column, what in ((whole.values, "values"), (whole.weights, "weights"))
    )
    entry = "entry {}".format
    timestamps = None if whole.timestamps is None else as_timestamps(whole.timestamps, entry)
    columns = (users, items, values, weights, timestamps)
    if not check_same_length(**dict(zip(Columns._fields, columns, strict=True))):
        raise ValueError("there are no ratings: users, items and values are empty")
    for column, what in ((values, "ratings"), (weights, "weights")):
        if column is not None:
            check_finite(column, what, entry)
    for part in chunks(len(users)):
        yield Columns(*(None if column is None else column[part] for column in columns))


def _filled(batches: Iterable[Columns], source: Path) -> Iterator[Columns]:
    """The batches, of which there must be one."""
    found = iter(batches)
    for first in found:
        return itertools.chain([first], found)
    raise ValueError(f"{source} holds no ratings: there is nothing to read")


def _ratings_in(folder: Any) -> Any:
    """The file of ratings in a folder of MovieLens, unpacked or within its archive; None without one."""
    for inner in (folder, *(entry for entry in folder.iterdir() if entry.is_dir())):
        for name in _OF_MOVIELENS:
            if (inner / name).is_file():
                return inner / name
    return None


def _read_npz(path: Path, choice: ColumnChoice) -> Any:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            names = archive.files
            if {"format", "shape", "data"} <= set(names):
                if choice != ColumnChoice(AUTO, AUTO, AUTO, AUTO, AUTO):
                    raise ValueError("it holds a sparse matrix, which has no columns to choose")
                return sparse.load_npz(path)
            places = locate_columns(choice, names, len(names), path)
            return Columns(*(None if at is None else archive[names[at]] for at in places))
    except (zipfile.BadZipFile, EOFError, OSError, KeyError) as damage:
        raise ValueError(f"{path} is damaged or not an .npz file: {damage}") from damage
    except ValueError as problem:
        if str(path) in str(problem):
            raise
        reason = str(problem)
        if "allow_pickle" in reason and not zipfile.is_zipfile(path):
            reason = "it is not an .npz file"
        elif "allow_pickle" in reason:
            reason = "it holds Python objects: save strings as arrays of dtype 'U' instead"
        raise ValueError(f"{path}: {reason}") from problem
