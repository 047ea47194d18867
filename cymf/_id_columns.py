"""Columns of ids as arrays: what is accepted as an id, and numbering ids without sorting them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from cymf._arrays import as_array, offers_array
from cymf._integer_encoder import IntegerEncoder
from cymf._ratings_checks import index_dtype

__all__ = [
    "Coded",
    "IdEncoder",
    "as_id_array",
    "check_labels",
    "chunks",
    "compact",
    "encode_integers",
    "encode_objects",
    "object_array",
    "reject_masked",
]

_CHUNK = 1 << 18  # elements handled at once: keeps temporary copies of long columns small
_MAX_INT64 = np.iinfo(np.int64).max
_EXACT_FLOAT = float(2**53)


@dataclass(frozen=True, eq=False, slots=True)
class Coded:
    """A dictionary-encoded column: entry e holds ``labels[codes[e]]``.

    To NumPy's ``ndim`` and ``size`` it is a column like others.
    """

    codes: NDArray[Any]  # integers, none negative
    labels: NDArray[Any]  # distinct; labels that no code names are allowed

    ndim: ClassVar[int] = 1

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, entry: int) -> Any:
        return self.labels[self.codes[entry]]

    @property
    def size(self) -> int:
        return len(self.codes)

    def expanded(self) -> NDArray[Any]:
        """The column written out, an entry each."""
        written: NDArray[Any] = self.labels[self.codes]
        return written


class IdEncoder:
    """Numbers ids in the order of their first appearance, chunk by chunk."""

    def __init__(self) -> None:
        self._codes: defaultdict[Any, int] = defaultdict(itertools.count().__next__)

    def encode(self, values: Sequence[Any]) -> NDArray[np.int32]:
        """Codes of a chunk of ids; new ids get the next numbers."""
        return np.fromiter(map(self._codes.__getitem__, values), np.int32, len(values))

    def labels(self) -> NDArray[Any]:
        """The ids met so far, in the order of their codes."""
        return object_array(self._codes)


def as_id_array(values: Any, what: str) -> NDArray[Any]:
    """Ids as a 1-D array of int64, or of Python objects still to be checked."""
    reject_masked(values, what)
    if isinstance(values, (str, bytes)):
        raise TypeError(f"{what} must be a sequence of ids; given the single id {values!r}")
    if not isinstance(values, (list, tuple)) and offers_array(values):
        array = np.asarray(as_array(values, what))
    else:
        values = list(values)
        array = np.asarray(values) if _all_numbers(values) else object_array(values)
    if array.ndim != 1:
        raise ValueError(f"{what} must be 1-D, one id per entry; given shape {array.shape}")
    kind = array.dtype.kind
    if array.size == 0 or kind == "O":
        return array if array.size else array.astype(np.int64)
    if kind == "i":
        return array.astype(np.int64, copy=False)
    if kind == "u":
        if int(array.max()) > _MAX_INT64:
            raise ValueError(
                f"{what}: {array.max()} does not fit in 64 signed bits: give such ids as strings"
            )
        return array.astype(np.int64)
    if kind == "f":
        return _integral(array, what)
    if kind == "S":
        return object_array([text.decode("utf-8") for text in array.tolist()])
    if kind in "UT":
        return array.astype(object)
    raise TypeError(f"{what} must be integers or strings; given dtype {array.dtype}")


def reject_masked(values: Any, what: str) -> None:
    """Refuse masked entries, which np.asarray would silently unmask."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        first = int(np.flatnonzero(np.ma.getmaskarray(values))[0])
        raise ValueError(f"{what}: entry {first} is masked: drop it, or fill it with a value")


def encode_integers(values: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Codes, and the sorted distinct integers; by a table where their range allows."""
    low, high = int(values.min()), int(values.max())
    span = high - low + 1
    if span > max(4 * len(values), 1 << 16):
        return _encode_wide(values)
    seen = np.zeros(span, dtype=bool)
    for part in chunks(len(values)):
        seen[values[part] - low] = True
    offsets = np.flatnonzero(seen)
    dtype = index_dtype(len(offsets))
    table = np.zeros(span, dtype=dtype)
    table[offsets] = np.arange(len(offsets), dtype=dtype)
    codes = np.empty(len(values), dtype=dtype)
    for part in chunks(len(values)):
        codes[part] = table[values[part] - low]
    return codes, offsets + low


def _encode_wide(values: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The same for any range: sorts only inside chunks, numbering ids as they are met."""
    encoder = IntegerEncoder()
    codes = np.empty(len(values), dtype=np.int32)
    for part in chunks(len(values)):
        codes[part] = encoder.encode(values[part])
    labels = encoder.labels()
    order = np.argsort(labels, kind="stable")
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[codes], labels[order]


def encode_objects(values: NDArray[Any], what: str) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Codes and labels in the order of first appearance, through one dictionary."""
    if values.ndim != 1:
        raise ValueError(f"{what} must be 1-D, one id per entry; given shape {values.shape}")
    encoder = IdEncoder()
    codes = np.empty(len(values), dtype=np.int32)
    for part in chunks(len(values)):
        chunk = values[part].tolist()
        if values.dtype.kind == "S":
            chunk = [text.decode("utf-8") for text in chunk]
        try:
            codes[part] = encoder.encode(chunk)
        except TypeError:
            at = next(k for k, value in enumerate(chunk) if not _hashable(value))
            raise _bad_id(what, part.start + at, chunk[at]) from None
    return codes, encoder.labels()


def compact(column: Coded) -> tuple[NDArray[Any], NDArray[Any]]:
    """The same column with labels that all occur."""
    used = np.zeros(len(column.labels), dtype=bool)
    used[column.codes] = True
    if used.all():
        return column.codes, column.labels
    table = np.cumsum(used, dtype=np.int64).astype(np.int32) - np.int32(1)
    return table[column.codes], column.labels[used]


def check_labels(labels: NDArray[Any], what: str, position: Callable[[int], int]) -> NDArray[Any]:
    """Object labels as an array of str or of int64; `position` leads from a label to its entry."""
    if labels.dtype.kind == "i":
        return labels
    kinds = set(map(type, labels.tolist()))
    if kinds == {str}:
        return labels
    if not all(_is_integer_type(kind) for kind in kinds) and not all(
        issubclass(kind, str) for kind in kinds
    ):
        _raise_mixed(labels, what, position)
    if not issubclass(kinds.pop(), str):
        try:
            return np.array([int(label) for label in labels], dtype=np.int64)
        except OverflowError:
            k = next(k for k, label in enumerate(labels) if not -_MAX_INT64 <= label <= _MAX_INT64)
            raise ValueError(
                f"{what}: entry {position(k)}, {labels[k]}, does not fit in 64 signed bits: "
                f"give such ids as strings"
            ) from None
    return object_array([str(label) for label in labels.tolist()])


def _raise_mixed(labels: NDArray[Any], what: str, position: Callable[[int], int]) -> NoReturn:
    for k, label in enumerate(labels.tolist()):
        if not (_is_integer_type(type(label)) or isinstance(label, str)):
            raise _bad_id(what, position(k), label)
    first_is_str = isinstance(labels[0], str)
    k = next(k for k, label in enumerate(labels) if isinstance(label, str) != first_is_str)
    raise TypeError(
        f"{what} mix integers and strings: entry {position(0)} is {labels[0]!r}, "
        f"entry {position(k)} is {labels[k]!r}; convert all of them to one kind"
    )


def _bad_id(what: str, entry: int, value: object) -> Exception:
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return ValueError(
            f"{what}: entry {entry} is missing ({value!r}): drop the rating or give it an id"
        )
    return TypeError(
        f"{what} must be integers or strings; entry {entry} is {value!r}, "
        f"a {type(value).__name__}: convert the ids to integers or strings first"
    )


def _integral(array: NDArray[Any], what: str) -> NDArray[np.int64]:
    with np.errstate(invalid="ignore"):
        whole = (np.abs(array) <= _EXACT_FLOAT) & (np.floor(array) == array)
    if not whole.all():
        k = int(np.flatnonzero(~whole)[0])
        raise _bad_id(what, k, float(array[k]))
    return array.astype(np.int64)


def _all_numbers(values: list[Any]) -> bool:
    return all(
        _is_integer_type(kind) or issubclass(kind, (float, np.floating))
        for kind in set(map(type, values))
    )


def object_array(values: Iterable[Any]) -> NDArray[Any]:
    """A 1-D array of the objects themselves, however array-like they are."""
    return np.fromiter(values, dtype=object)


def _is_integer_type(kind: type) -> bool:
    return issubclass(kind, (int, np.integer)) and kind is not bool


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def chunks(length: int) -> Iterable[slice]:
    """Slices that cut 0 to length into pieces of bounded size."""
    return (slice(begin, min(begin + _CHUNK, length)) for begin in range(0, length, _CHUNK))
