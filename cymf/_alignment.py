"""Ratings of one set of rows and columns, brought into those of another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cymf._ids import IdMap

__all__ = ["align_index", "check_same_shape"]


def check_same_shape(own: tuple[int, int], other: tuple[int, int], axes: tuple[bool, bool]) -> None:
    """Refuse sizes that differ on an axis that is compared by row number."""
    if all(a == b for a, b, compared in zip(own, other, axes, strict=True) if compared):
        return
    turned = own == (other[1], other[0])
    raise ValueError(
        f"these ratings have shape {own}, but the model was trained on {other}, users × items: "
        + ("they look transposed, pass their .T" if turned else "the shapes must agree")
    )


def align_index(
    index: NDArray[Any], own: IdMap | None, other: IdMap | None, size: int, what: str
) -> NDArray[np.int64]:
    """Row numbers among the others of the rows `index`; -1 where the id is unknown there."""
    if own is None and other is not None:
        raise ValueError(
            f"the model was trained with {what} ids, but these ratings have none, so it is unknown "
            f"which {what} is which: make them with ids (Ratings.from_triplets, or from_matrix "
            f"with {what}_ids)"
        )
    if own is None or own is other:
        return index.astype(np.int64)
    if other is not None:
        return other.to_index(own.ids, what).take(index)
    if own.ids.dtype.kind != "i":
        raise TypeError(
            f"the model was trained on row numbers, without {what} ids, but the {what} ids of "
            f"these ratings are strings, such as {own.ids[0]!r}"
        )
    rows: NDArray[np.int64] = np.where((own.ids >= 0) & (own.ids < size), own.ids, -1)
    return rows.take(index)
