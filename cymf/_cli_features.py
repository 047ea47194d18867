"""Tables of features on the command line: flags that say how they are encoded, and reading them."""

from __future__ import annotations

import argparse
import csv
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cymf._cli_console import Console
from cymf._extras import missing

if TYPE_CHECKING:
    from scipy import sparse

    from cymf.features import Features

__all__ = ["add_feature_flags", "given_features", "read_new_users"]

_SEPARATORS = ("\t", ";", ",", "|")


def add_feature_flags(command: argparse.ArgumentParser) -> None:
    """Add the flags of `cymf fit` for features."""
    group = command.add_argument_group(
        "features of users and items",
        "Text that begins with a line of column names, separated by tabs, semicolons, commas or |, or Parquet. The ids "
        "are in the column user (or item), else in the first. Columns of numbers and of words tell themselves apart.",
    )
    group.add_argument("--user-features", type=Path, metavar="FILE", help="table of users")
    group.add_argument("--item-features", type=Path, metavar="FILE", help="table of items")
    group.add_argument(
        "--categorical",
        type=lambda text: [name.strip() for name in text.split(",")],
        metavar="NAME,…",
        default=[],
        help="columns of either table whose numbers are codes",
    )
    group.add_argument(
        "--multi-valued",
        type=_multi_valued,
        action="append",
        metavar="NAME=SEPARATOR",
        default=[],
        help="a column of either table with several values an entry, such as 'genres=|'; may be repeated",
    )


def given_features(
    arguments: argparse.Namespace, model: Any, console: Console
) -> dict[str, Features]:
    """Return the tables that were given, encoded, as arguments of ``fit``."""
    paths: dict[str, Path] = {
        name: getattr(arguments, name)
        for name in ("user_features", "item_features")
        if getattr(arguments, name) is not None
    }
    if not paths:
        return {}
    if "user_features" not in inspect.signature(type(model).fit).parameters:
        raise ValueError(
            f"--{'-'.join(next(iter(paths)).split('_'))}: {type(model).__name__} takes no features; "
            "expected --model als, sgd or implicit-als"
        )
    tables = {name: read_table(path) for name, path in paths.items()}
    known = set().union(*(table for table in tables.values()))
    named = {*arguments.categorical, *(name for name, _ in arguments.multi_valued)}
    if unknown := sorted(named - known):
        raise ValueError(
            f"no table of features has a column {', '.join(map(repr, unknown))}; "
            f"expected some of {', '.join(map(repr, sorted(known)))}"
        )
    found = {
        name: _encoded(table, name.partition("_")[0], arguments) for name, table in tables.items()
    }
    for name, features in found.items():
        console.remark(f"{paths[name]}: {features!r}")
    return found


def read_new_users(
    arguments: argparse.Namespace, model: Any, console: Console
) -> tuple[NDArray[Any], sparse.csr_array]:
    """Return the ids, or else the row numbers, and the encoded features of users whom a model does not know."""
    from cymf._feature_state import learnt_side

    learnt = learnt_side(model._fitted(), "user")
    if learnt is None or learnt.encoder is None:
        how = "features of users" if learnt is None else "a table of users, but with a matrix"
        raise ValueError(
            f"the model was not fitted with {how}; expected one of cymf fit --user-features"
        )
    features = learnt.encoder.transform(read_table(arguments.user_features))
    console.remark(f"{arguments.user_features}: {features!r}")
    users = np.arange(len(features)) if features.ids is None else features.ids.ids
    return users, features.matrix


def read_table(path: Path) -> Mapping[str, Any]:
    """Return the columns of a file.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is damaged, or a line has another number of fields than the first.
    """
    if path.suffix in (".parquet", ".pq"):
        return _read_parquet(path)
    try:
        return _read_text(path)
    except UnicodeDecodeError as problem:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {problem.object[problem.start]:#04x}); expected text, or a .parquet file"
        ) from None


def _read_text(path: Path) -> Mapping[str, Any]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        separator = max(_SEPARATORS, key=first.count)
        names = next(csv.reader([first], delimiter=separator), [])
        if len(set(names)) < len(names) or not names:
            raise ValueError(
                f"{path} begins with {first.strip()!r}; expected a line of column names, each once"
            )
        columns: list[list[str]] = [[] for _ in names]
        for row in (reader := csv.reader(file, delimiter=separator)):
            if not row:
                continue
            if len(row) != len(names):
                raise ValueError(
                    f"{path}, line {reader.line_num + 1}: {len(row)} fields; expected {len(names)} as in the first"
                )
            for column, field in zip(columns, row, strict=True):
                column.append(field.strip())
    return {name: _typed(column) for name, column in zip(names, columns, strict=True)}


def _read_parquet(path: Path) -> Mapping[str, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise missing("pyarrow", f"reading {path.name}") from None
    try:
        table = pq.read_table(path)
    except pa.ArrowException as damage:
        raise ValueError(f"{path} is damaged or not a Parquet file: {damage}") from damage
    return {name: table.column(name) for name in table.column_names}


def _typed(column: list[str]) -> Any:
    """Return numbers where all fields are numbers or empty; words like 007 would lose something, and stay."""
    present = [field for field in column if field]
    if not present or any(len(f) > 1 and f[0] == "0" and f[1].isdecimal() for f in present):
        return column
    try:
        return [int(field) for field in column]
    except ValueError:
        pass
    try:
        return [float(field) if field else None for field in column]
    except ValueError:
        return column


def _encoded(table: Mapping[str, Any], what: str, arguments: argparse.Namespace) -> Features:
    from cymf._feature_rows import id_column_of
    from cymf.features import Features

    return Features.from_table(
        table,
        id_column_of(table, "user" if what == "user" else "item"),
        categorical=[name for name in arguments.categorical if name in table],
        multi_valued={name: mark for name, mark in arguments.multi_valued if name in table},
    )


def _multi_valued(text: str) -> tuple[str, str]:
    name, equals, separator = text.partition("=")
    if not (name and equals and separator):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=SEPARATOR, such as 'genres=|'")
    return name, separator
