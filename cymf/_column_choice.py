"""Which column of a file or table is which."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "AUTO",
    "ColumnChoice",
    "Columns",
    "Positions",
    "column_like",
    "listed",
    "locate_columns",
]

AUTO = "auto"

# Common names, compared without case and punctuation; the first that occurs is taken.
_NAMES = {
    "user": ("user", "userid", "uid"),
    "item": ("item", "itemid", "iid", "movie", "movieid"),
    "rating": ("rating", "ratings", "score"),
    "weight": ("weight", "weights"),
    "timestamp": ("timestamp", "timestamps", "time", "unixtime"),
}


class ColumnChoice(NamedTuple):
    """What the caller said about the columns: a name, a position, AUTO, or None for none."""

    user: Hashable
    item: Hashable
    rating: Hashable
    weight: Hashable
    timestamp: Hashable


class Positions(NamedTuple):
    """Where the columns were found."""

    user: int
    item: int
    rating: int | None
    weight: int | None
    timestamp: int | None


class Columns(NamedTuple):
    """What a reader found, named as `Ratings.from_triplets` names it."""

    users: Any
    items: Any
    values: Any
    weights: Any
    timestamps: Any


def locate_columns(
    choice: ColumnChoice, names: Sequence[Hashable] | None, count: int, source: object
) -> Positions:
    """Positions of the chosen columns among `count`, whose names are None if they have none."""
    found: dict[str, int | None] = {}
    for role, column in choice._asdict().items():
        if column is None:
            if role in ("user", "item"):
                raise ValueError(f"{role} must name a column or give its position; given None")
            found[role] = None
        elif column != AUTO:
            found[role] = _chosen(role, column, names, count, source)
    taken = [position for position in found.values() if position is not None]
    for role, column in choice._asdict().items():
        if column == AUTO:
            found[role] = _find(role, choice, names, count, taken, source)
    used = [position for position in found.values() if position is not None]
    if len(set(used)) < len(used):
        raise ValueError(f"{source}: the same column was chosen twice: {found}")
    return Positions(**found)  # type: ignore[arg-type]


def column_like(role: str, names: Sequence[Hashable], taken: Sequence[int] = ()) -> int | None:
    """The position of the column that is called like its role, or by a common variant; None if there is none.

    Positions in `taken` hold something else.
    """
    free = [place for place in range(len(names)) if place not in taken]
    for place in free:
        if names[place] == role:
            return place
    plain = {"".join(filter(str.isalnum, str(names[k]).lower())): k for k in reversed(free)}
    return next((plain[name] for name in _NAMES[role] if name in plain), None)


def _chosen(
    role: str, column: Hashable, names: Sequence[Hashable] | None, count: int, source: object
) -> int:
    if names is not None and column in names:
        return list(names).index(column)
    if isinstance(column, (int, np.integer)) and not (
        names is not None and any(isinstance(name, int) for name in names)
    ):
        if not 0 <= column < count:
            raise ValueError(
                f"{source} has {count} columns, positions 0 to {count - 1}: {role}={column} "
                f"is none of them"
            )
        return int(column)
    if names is None:
        raise ValueError(
            f"{source} has no header line in which to find {role}={column!r}: give the "
            f"column's position (from 0), or header=True if its first line is one"
        )
    raise ValueError(
        f"{source} has no column {column!r} for {role}: its columns are {listed(names)}"
    )


def _find(
    role: str,
    choice: ColumnChoice,
    names: Sequence[Hashable] | None,
    count: int,
    taken: Sequence[int],
    source: object,
) -> int | None:
    if names is None:
        if role in ("user", "item", "rating"):
            place = ("user", "item", "rating").index(role)
            if place >= count:
                raise ValueError(
                    f"{source} has {count} columns: expected at least user, item and rating. "
                    f"If they are separated by something else, give separator; if there is no "
                    f"column of ratings, give rating=None, and each line counts 1"
                )
            return place
        standard = (choice.user, choice.item) == (AUTO, AUTO) and choice.rating in (AUTO, None)
        place = 3 if choice.rating == AUTO else 2
        return place if role == "timestamp" and standard and count > place else None
    found = column_like(role, names, taken)
    if found is not None or role in ("weight", "timestamp"):
        return found
    raise ValueError(
        f"{source} has no column that is plainly the {role}: its columns are {listed(names)}; "
        f"say which one by {role}=…"
        + (", or rating=None if each row counts 1" if role == "rating" else "")
    )


def listed(names: Sequence[Hashable]) -> str:
    """Names of columns, for messages."""
    return ", ".join(repr(name) for name in names)
