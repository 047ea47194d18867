"""Flags that say how a file of ratings is read."""

from __future__ import annotations

import argparse
from pathlib import Path

from cymf._cli_console import Console
from cymf.ratings import Ratings

__all__ = ["add_file_flags", "read_ratings"]


def add_file_flags(command: argparse.ArgumentParser) -> None:
    """Add the flags that `read_ratings` passes on to `Ratings.from_file`."""
    group = command.add_argument_group("files of ratings")
    group.add_argument("--sep", help="separator of columns (default: by the file's name)")
    group.add_argument(
        "--columns",
        metavar="USER,ITEM,RATING[,TIMESTAMP]",
        help="names or positions of the columns",
    )
    group.add_argument("--no-header", action="store_true", help="the first line is a rating")
    group.add_argument(
        "--duplicates",
        choices=("raise", "last", "first", "mean", "sum"),
        default="raise",
        help="several ratings of one cell: fail, or how to join them (default: %(default)s)",
    )


def read_ratings(path: Path, arguments: argparse.Namespace, console: Console) -> Ratings:
    """Read one file as the flags say, and remark what was read."""
    ratings = Ratings.from_file(path, duplicates=arguments.duplicates)
    console.remark(
        f"{path}: {ratings.nnz:,} ratings, {ratings.n_users:,} users, {ratings.n_items:,} items"
    )
    return ratings
