"""How one column of a table becomes columns of numbers: scaled, or an indicator for each category."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cymf._feature_columns import Values, is_missing, label_of

__all__ = ["Categories", "Numbers", "column_encoding_of", "fit_categories", "fit_numbers"]

NameRow = Callable[[int], str]


@dataclass(frozen=True)
class Numbers:
    """A number x as (x − shift) / scale; a missing one as `fill`, and marked where training had missing ones.

    Attributes
    ----------
    column : str
        Its name.
    shift, scale : float
        Mean and standard deviation of the table it was fitted to; 0 and 1 for flags.
    fill : float
        0, which is the mean; the share of true ones for flags.
    marks_missing : bool
        Whether there is an indicator ``"column is missing"``.
    """

    column: str
    shift: float
    scale: float
    fill: float
    marks_missing: bool

    @property
    def names(self) -> list[str]:
        return [self.column, *([f"{self.column} is missing"] if self.marks_missing else [])]

    def encode(self, given: Values, name_row: NameRow) -> sparse.csr_array:
        """Return the columns of numbers.

        Raises
        ------
        TypeError
            If the values are words or lists.
        ValueError
            If a number is infinite, or a word is no number.
        """
        numbers = as_numbers(given, self.column, name_row)
        missing = np.isnan(numbers)
        encoded = np.where(missing, self.fill, (numbers - self.shift) / self.scale)
        columns = [encoded, missing.astype(np.float64)] if self.marks_missing else [encoded]
        return sparse.csr_array(np.stack(columns, axis=1))

    def to_json(self) -> dict[str, Any]:
        return {"kind": "numbers", **asdict(self)}


@dataclass(frozen=True)
class Categories:
    """An indicator for each category of a word, or of each word in a list; what is unknown or missing has none.

    Attributes
    ----------
    column : str
        Its name.
    categories : tuple of str
        In the order of the indicators.
    multi_valued : bool
        Whether an entry holds any number of words.
    separator : str or None
        What separates them, where an entry is one text.
    """

    column: str
    categories: tuple[str, ...]
    multi_valued: bool = False
    separator: str | None = None

    @property
    def names(self) -> list[str]:
        return [f"{self.column}={category}" for category in self.categories]

    def encode(self, given: Values, name_row: NameRow) -> sparse.csr_array:
        """Return the indicators."""
        lists = self.lists_of(given)
        place = {category: number for number, category in enumerate(self.categories)}
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        flat = itertools.chain.from_iterable(lists)
        found = np.fromiter(
            map(place.get, flat, itertools.repeat(-1)), np.int64, int(lengths.sum())
        )
        rows = np.repeat(np.arange(len(lists)), lengths)[found >= 0]
        shape = len(lists), len(self.categories)
        return sparse.csr_array(
            (np.ones(len(rows)), (rows, found[found >= 0])), shape=shape, dtype=np.float64
        )

    def lists_of(self, given: Values) -> list[list[str]]:
        """Return the labels of each entry, each once.

        Raises
        ------
        TypeError
            If an entry is a list and the column is not multi-valued.
        """
        if given.kind == "list":
            if not self.multi_valued:
                raise TypeError(
                    f"column {self.column!r} holds lists; expected a single word an entry"
                )
            return [_labels(entry) if entry is not None else [] for entry in given.values]
        values = given.values
        if isinstance(values, np.ndarray):
            as_flag = given.kind == "flag"
            values = [None if np.isnan(v) else bool(v) if as_flag else float(v) for v in values]
        if self.separator is None:
            return [[] if value is None else [label_of(value)] for value in values]
        return [
            [] if value is None else _labels(label_of(value).split(self.separator))
            for value in values
        ]

    def to_json(self) -> dict[str, Any]:
        return {"kind": "categories", **asdict(self)}


def column_encoding_of(stored: dict[str, Any]) -> Numbers | Categories:
    """Return the encoding that ``to_json`` stored."""
    fields = dict(stored)
    if fields.pop("kind") == "numbers":
        return Numbers(**fields)
    return Categories(**{**fields, "categories": tuple(fields["categories"])})


def fit_numbers(column: str, given: Values, name_row: NameRow) -> Numbers:
    """Take mean and standard deviation of numbers, or the share of true flags."""
    numbers = as_numbers(given, column, name_row)
    present = numbers[~np.isnan(numbers)]
    marks = len(present) < len(numbers)
    mean = float(present.mean()) if len(present) else 0.0
    if given.kind == "flag":
        return Numbers(column, 0.0, 1.0, mean, marks)
    deviation = float(present.std()) if len(present) else 0.0
    if deviation <= 1e-12 * abs(mean):  # constant
        mean, deviation = (float(present[0]) if len(present) else 0.0), 1.0
    return Numbers(column, mean, deviation, 0.0, marks)


def fit_categories(
    column: str, given: Values, multi_valued: bool, separator: str | None
) -> Categories:
    """Collect the categories that occur: in alphabetical order, whole numbers by size."""
    unfitted = Categories(column, (), multi_valued, separator)
    labels = set(itertools.chain.from_iterable(unfitted.lists_of(given)))
    whole = all(label.removeprefix("-").isdecimal() for label in labels)
    ordered = sorted(labels, key=lambda label: (int(label) if whole else 0, label))
    return Categories(column, tuple(ordered), multi_valued, separator)


def as_numbers(given: Values, column: str, name_row: NameRow) -> NDArray[np.float64]:
    """Return numbers, NaN where missing; words are read as numbers."""
    if given.kind == "list":
        raise TypeError(
            f"column {column!r} holds lists; expected numbers: name it in multi_valued to encode their words"
        )
    values = given.values
    if given.kind == "word":
        values = np.empty(len(given.values))
        for row, value in enumerate(given.values):
            try:
                values[row] = np.nan if value is None else float(value)
            except ValueError:
                raise ValueError(
                    f"column {column!r} holds {value!r} at {name_row(row)}; expected numbers: "
                    "name the column in categorical, or mend the value"
                ) from None
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise ValueError(
            f"column {column!r} holds {values[row]} at {name_row(row)}; expected finite numbers, or none (NaN)"
        )
    return np.asarray(values, np.float64)


def _labels(words: Iterable[Any]) -> list[str]:
    labels = (label_of(word).strip() for word in words if not is_missing(word))
    return list(dict.fromkeys(label for label in labels if label))
