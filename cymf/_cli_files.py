"""Flags that say how a file of ratings is read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cymf._cli_console import Console
from cymf._column_choice import AUTO, ColumnChoice, Columns
from cymf._readers import read_batches
from cymf._text_reader import TextFormat
from cymf.ratings import Ratings

__all__ = ["add_file_flags", "read_pieces", "read_ratings"]

_ROLES = ("user", "item", "rating", "timestamp")


def add_file_flags(command: argparse.ArgumentParser, *, keeps_duplicates: bool = False) -> None:
    """Add the flags that `read_ratings` passes on to `Ratings.from_file`."""
    group = command.add_argument_group(
        "files of ratings",
        "Text with one rating a line (CSV, TSV, MovieLens' u.data and .dat), .npz, Parquet, or JSON with one object a "
        "line, text and JSON perhaps compressed (.gz, .bz2, .xz, .zst); a folder of such files as Spark writes it; a "
        "folder or .zip of MovieLens; files of the Netflix prize.",
    )
    group.add_argument(
        "--sep", type=_separator, help=r"what separates columns, such as ; or \t (default: found)"
    )
    group.add_argument(
        "--columns",
        type=_columns,
        metavar="USER,ITEM[,RATING[,TIMESTAMP]]",
        help="names or positions (from 0) of the columns (default: found); without RATING, or with "
        "none in its place, each line counts 1",
    )
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first line names the columns (default: found)",
    )
    group.add_argument(
        "--skip-lines", type=int, default=0, metavar="N", help="leave out the first N lines"
    )
    group.add_argument(
        "--encoding", default="utf-8", help="encoding of text (default: %(default)s)"
    )
    joined = ("raise", "last", "first", "mean", "sum")
    group.add_argument(
        "--duplicates",
        choices=("keep", *joined) if keeps_duplicates else joined,
        default="keep" if keeps_duplicates else "raise",
        help="several ratings of one cell: "
        + ("keep them, " if keeps_duplicates else "")
        + "fail, or how to join them (default: %(default)s)",
    )


def read_ratings(path: Path, arguments: argparse.Namespace, console: Console) -> Ratings:
    """Read one file as the flags say, and remark what was read."""
    ratings = Ratings.from_file(
        path,
        separator=arguments.sep,
        header=arguments.header,
        skip_lines=arguments.skip_lines,
        encoding=arguments.encoding,
        duplicates=arguments.duplicates,
        **(arguments.columns or {}),
    )
    console.remark(
        f"{path}: {ratings.nnz:,} ratings, {ratings.n_users:,} users, {ratings.n_items:,} items"
    )
    return ratings


def read_pieces(path: Path, arguments: argparse.Namespace) -> Iterator[Columns]:
    """Read one file piece by piece, as the flags say."""
    choice = ColumnChoice(AUTO, AUTO, AUTO, AUTO, AUTO)._replace(**(arguments.columns or {}))
    form = TextFormat(arguments.sep, arguments.header, arguments.skip_lines, arguments.encoding)
    return read_batches(path, choice, form)


def _separator(text: str) -> str:
    return "\t" if text == r"\t" else text  # what a shell makes of '\t'


def _columns(text: str) -> dict[str, Any]:
    names = [name.strip() for name in text.split(",")]
    if len(names) not in (2, 3, 4) or not all(names):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not two to four columns, separated by commas"
        )
    places: list[Any] = [int(name) if name.isdecimal() else name for name in names]
    chosen = dict(zip(_ROLES, places, strict=False))
    if chosen.get("rating", "none") == "none":
        chosen["rating"] = None
    return chosen
