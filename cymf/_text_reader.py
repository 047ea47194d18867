"""Delimited text, read by NumPy's compiled reader in chunks of lines.

A chunk that the compiled reader refuses is examined line by line in Python, either to find that an
id column holds strings after all, or to say which line is malformed and why.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from cymf._column_choice import ColumnChoice, Columns, Positions, locate_columns
from cymf._id_columns import object_array
from cymf._ratings_checks import naive_utc
from cymf._streams import inner_suffix, opened
from cymf._validation import check_integer

__all__ = ["EmptyFileError", "TextFormat", "read_text"]

_LINES = 1 << 16  # read at once
_QUOTING = (",", ";")  # separators whose fields may be quoted, as in CSV
_STAND_IN = "\x1f"  # for separators of several characters, which the compiled reader lacks
_NUMPY_TYPES = {"int": "i8", "float": "f8", "str": "O", "datetime": "O", "unused": "U1"}
_MAX_INT64 = 2**63 - 1
_INTEGER = re.compile(r"\s*(?:0|-?[1-9][0-9]{0,18})\s*")  # as str(int) writes it: nothing is lost
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")


class EmptyFileError(ValueError):
    """A file holds no ratings."""


class TextFormat(NamedTuple):
    """How text is to be read; see `Ratings.from_file`."""

    separator: str | None = None
    header: bool | None = None
    skip_lines: int = 0
    encoding: str = "utf-8"


def read_text(path: Any, choice: ColumnChoice, form: TextFormat) -> Iterator[Columns]:
    """Yield the columns of some lines after the other of a text file with one rating a line.

    Ids are integers until an id that is none turns up, and strings from then on; timestamps are integers until a
    fraction turns up.
    """
    check_integer("skip_lines", form.skip_lines, 0)
    separator, encoding = form.separator, form.encoding
    if separator is not None and (not isinstance(separator, str) or not separator):
        raise ValueError(
            f"separator={separator!r} separates nothing; expected text such as ',', or None"
        )
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ValueError(
            f"encoding={encoding!r} is unknown; expected one that Python knows, such as 'utf-8'"
        ) from None
    if encoding.lower().replace("-", "") == "utf8":
        encoding = "utf-8-sig"  # the same, and does without a byte order mark
    with opened(path) as stream, io.TextIOWrapper(stream, encoding=encoding) as text:
        try:
            yield from _read_lines(text, path, choice, form)
        except UnicodeDecodeError as problem:
            line = _line_not_in(encoding, path)
            place = f"{line}byte {problem.object[problem.start]:#04x}"
            raise ValueError(
                f"{path} is not {problem.encoding} text ({place}): "
                f"give its encoding, for instance encoding='latin-1'"
            ) from problem


def _line_not_in(encoding: str, path: Any) -> str:
    """Which line of a file is in another encoding, as far as that can be told."""
    if not path.is_file():  # a pipe, which is read once
        return ""
    with opened(path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError:
                return f"line {number}, "
    return ""


def _read_lines(
    file: Iterator[str], path: Any, choice: ColumnChoice, form: TextFormat
) -> Iterator[Columns]:
    separator, header, number = form.separator, form.header, form.skip_lines
    for opening in itertools.islice(file, form.skip_lines, None):
        number += 1
        if not opening.isspace():
            break
    else:
        raise EmptyFileError(f"{path} holds no ratings: there is nothing to read")
    if separator is None:
        separator = _find_separator(opening, path)
    fields = _split(opening, separator)
    if header is None:
        header = not any(_NUMBER.fullmatch(field) for field in fields)
    names = [field.strip() for field in fields] if header else None
    reader = _LineReader(
        path, separator, len(fields), locate_columns(choice, names, len(fields), path)
    )
    lines = file if header else itertools.chain([opening], file)
    first = number + 1 if header else number
    empty = True
    while chunk := list(itertools.islice(lines, _LINES)):
        batch = reader.read(chunk, first)
        first += len(chunk)
        if batch is not None:
            yield batch
            empty = False
    if empty:
        raise EmptyFileError(f"{path} holds no ratings: there is no line after the header")


class _LineReader:
    """Takes chunks of lines and gives columns; knows what kind of thing each column holds."""

    def __init__(self, path: Any, separator: str, n_fields: int, places: Positions) -> None:
        self.path = path
        self.separator = separator
        self.n_fields = n_fields
        self.places = {role: at for role, at in places._asdict().items() if at is not None}
        self.kinds = {"user": "int", "item": "int", "rating": "float", "weight": "float"}

    def read(self, lines: list[str], first: int) -> Columns | None:
        """The columns of a chunk whose first line has the number `first`; None if its lines are blank."""
        filled = [line for line in lines if not line.isspace()]
        if not filled:
            return None
        if "timestamp" in self.places and "timestamp" not in self.kinds:
            self._meet_timestamp(lines, first)
        careful = self._may_misread(filled)
        while True:
            try:
                found = self._parse(filled, careful)
                break
            except ValueError as refusal:
                if not self._examine(lines, first):
                    last = first + len(lines) - 1
                    raise ValueError(f"{self.path}, lines {first} to {last}: {refusal}") from None
        return Columns(*(found.get(role) for role in Positions._fields))

    def _parse(self, lines: list[str], careful: bool) -> dict[str, Any]:
        """Columns of lines that are not blank; ValueError if anything is wrong with them."""
        types = [_NUMPY_TYPES["unused"]] * self.n_fields
        for role, at in self.places.items():
            kind = self.kinds[role]
            types[at] = _NUMPY_TYPES["str" if careful and kind == "int" else kind]
        separator: str | None = self.separator
        if separator == " ":
            separator = None
        elif len(self.separator) > 1:
            lines = [line.replace(self.separator, _STAND_IN) for line in lines]
            separator = _STAND_IN
        records = np.loadtxt(
            lines,
            dtype=[(f"{k}", kind) for k, kind in enumerate(types)],
            delimiter=separator,
            comments=None,
            quotechar='"' if separator in _QUOTING else None,
            ndmin=1,
        )
        if len(records) != len(lines):
            raise ValueError("a quoted field contains a line break")
        found: dict[str, Any] = {}
        for role, at in self.places.items():
            column, kind = records[f"{at}"], self.kinds[role]
            if kind == "str":
                ids = [text.strip() for text in column.tolist()]
                if "" in ids:
                    raise ValueError(f"a {role} id is missing")
                column = object_array(ids)
            elif kind == "int" and careful:
                column = _plain_integers(column.tolist())
            elif kind == "datetime":
                column = np.array([_moment(text) for text in column.tolist()], "datetime64[us]")
            elif kind == "float" and not np.isfinite(column).all():
                raise ValueError(f"a {role} is not finite")
            found[role] = np.array(column)  # not a view that keeps the whole record alive
        return found

    def _may_misread(self, lines: list[str]) -> bool:
        """Whether the compiled reader may take for an integer what is none, or loses a zero.

        It reads 007 and +7 as 7, which as an id they are not, and takes some characters beyond
        ASCII for digits.
        """
        if "int" not in self.kinds.values():
            return False
        text = "".join(("\n", *lines))
        if not text.isascii():
            return True
        leads = {"\n", self.separator, " ", "\t", '"'}
        return any(
            lead in text
            and (lead + "+" in text or re.search(re.escape(lead) + "(?:-?0[0-9]|-0)", text))
            for lead in leads
        )

    def _examine(self, lines: list[str], first: int) -> bool:
        """Whether a column holds something else than thought so far; raises at a malformed line."""
        kinds = dict(self.kinds)
        for number, line in enumerate(lines, first):
            if line.isspace():
                continue
            fields = _split(line, self.separator)
            if len(fields) != self.n_fields:
                self._refuse(
                    number,
                    line,
                    f"expected {self.n_fields} fields separated by {self.separator!r}, "
                    f"found {len(fields)}",
                )
            for role, at in self.places.items():
                field, kind = fields[at], self.kinds[role]
                if role in ("user", "item"):
                    if not field.strip():
                        self._refuse(number, line, f"the {role} id is missing")
                    if kind == "int" and not _is_integer(field):
                        kinds[role] = "str"
                elif kind == "float" and not _is_finite(field):
                    self._refuse(number, line, f"the {role} is {field.strip()!r}, not a number")
                elif kind == "int" and not _is_integer(field):
                    if not _is_finite(field):
                        self._refuse(number, line, f"the {role} is {field.strip()!r}, not a number")
                    kinds[role] = "float"
                elif kind == "datetime" and not _is_moment(field):
                    self._refuse(number, line, f"the {role} is {field.strip()!r}, not a date")
        changed = kinds != self.kinds
        self.kinds = kinds
        return changed

    def _meet_timestamp(self, lines: list[str], first: int) -> None:
        """Learn from the first record how timestamps are written."""
        number, line = next((n, line) for n, line in enumerate(lines, first) if not line.isspace())
        fields = _split(line, self.separator)
        self.kinds["timestamp"] = "int"
        if len(fields) != self.n_fields:
            return
        field = fields[self.places["timestamp"]]
        if _is_moment(field) and not _is_finite(field):
            self.kinds["timestamp"] = "datetime"
        elif not _is_finite(field):
            self._refuse(
                number,
                line,
                f"{field.strip()!r} is neither a number nor a date and time as ISO 8601 writes "
                f"them; timestamp=None leaves that column out",
            )

    def _refuse(self, number: int, line: str, reason: str) -> NoReturn:
        shown = line.strip("\r\n")
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        raise ValueError(f"{self.path}, line {number}: {reason}: {shown!r}")


def _find_separator(line: str, path: Any) -> str:
    usual = {".csv": (",", ";", "\t"), ".tsv": ("\t",)}.get(inner_suffix(path), ())
    present = [sep for sep in (*usual, "::", "\t", ",", ";", "|", " ") if sep in line.strip()]
    for separator in present:
        if len(_split(line, separator)) >= 3:
            return separator
    if present:
        return present[0]
    raise ValueError(
        f"{path}: cannot tell what separates the columns of {line.strip()[:80]!r}: give separator"
    )


def _split(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    if separator in _QUOTING and '"' in line:
        return next(csv.reader([line], delimiter=separator))
    return line.rstrip("\r\n").split(separator)


def _is_integer(field: str) -> bool:
    return bool(_INTEGER.fullmatch(field)) and -_MAX_INT64 <= int(field) <= _MAX_INT64


def _plain_integers(fields: list[str]) -> NDArray[np.int64]:
    """Integers of fields that all are written as Python writes them; ValueError otherwise."""
    numbers = list(map(int, fields))
    if list(map(str, numbers)) != list(map(str.strip, fields)):
        raise ValueError("an integer is written in an unusual way")
    try:
        return np.array(numbers, dtype=np.int64)
    except OverflowError:
        raise ValueError("an integer does not fit in 64 bits") from None


def _is_finite(field: str) -> bool:
    return bool(_NUMBER.fullmatch(field)) and math.isfinite(float(field))


def _moment(field: str) -> datetime:
    return naive_utc(datetime.fromisoformat(field.strip()))


def _is_moment(field: str) -> bool:
    try:
        _moment(field)
    except ValueError:
        return False
    return True
