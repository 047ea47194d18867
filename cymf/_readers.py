"""Files, read into columns of users, items and ratings."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from cymf._column_choice import AUTO, ColumnChoice, Columns, locate_columns
from cymf._json_lines import JSON_SUFFIXES, read_json_lines
from cymf._netflix import netflix_files, read_netflix
from cymf._text_reader import read_text

__all__ = ["read_file"]

_OF_MOVIELENS = ("ratings.csv", "ratings.dat", "u.data")  # in the folders of its archives


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
    """Columns, or a sparse matrix, read from a file; see `Ratings.from_file`."""
    choice = ColumnChoice(user, item, rating, weight, timestamp)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if path.name.endswith(JSON_SUFFIXES):
        return read_json_lines(path, choice)
    if path.suffix == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = _ratings_in(zipfile.Path(archive))
            return read_text(member, choice, separator, header, skip_lines, encoding)
    if path.suffix in (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z"):
        raise ValueError(f"{path} is compressed: unpack it first")
    if path.suffix == ".npz":
        return _read_npz(path, choice)
    if path.suffix in (".parquet", ".pq"):
        return _read_parquet(path, choice)
    if files := netflix_files(path):
        return read_netflix(files, choice)
    text = _ratings_in(path) if path.is_dir() else path
    return read_text(text, choice, separator, header, skip_lines, encoding)


def _ratings_in(folder: Any) -> Any:
    """The file of ratings in a folder of MovieLens, unpacked or within its archive."""
    for inner in (folder, *(entry for entry in folder.iterdir() if entry.is_dir())):
        for name in _OF_MOVIELENS:
            if (inner / name).is_file():
                return inner / name
    raise ValueError(
        f"{folder} holds none of {', '.join(_OF_MOVIELENS)} and no files of the Netflix prize: name the file of "
        "ratings itself"
    )


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


def _read_parquet(path: Path, choice: ColumnChoice) -> Columns:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ImportError(
            f"reading {path.name} needs pyarrow, which is not installed: "
            f'pip install "cymf[parquet]"'
        ) from None
    try:
        schema = pq.read_schema(path)
        places = locate_columns(choice, schema.names, len(schema.names), path)
        names = [None if at is None else schema.names[at] for at in places]
        strings = [
            name
            for name in names[:2]
            if pa.types.is_string(schema.field(name).type)
            or pa.types.is_large_string(schema.field(name).type)
        ]
        chosen = [name for name in names if name is not None]
        table = pq.read_table(path, columns=chosen, read_dictionary=strings)
    except pa.ArrowException as damage:
        raise ValueError(f"{path} is damaged or not a Parquet file: {damage}") from damage
    return Columns(*(None if name is None else table.column(name) for name in names))
