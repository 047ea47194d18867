"""The area under each user's ROC curve, over all items: what the kernel needs, and how it is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cymf._kernels import top_n_kernels
from cymf._parallel import Workers, equal_work_chunks

if TYPE_CHECKING:
    from cymf._ranking_metrics import HeldOut

__all__ = ["areas_under_curve"]

_AUC_TILE = 128  # items of a tile, as ranking_metrics.pxi has it


@dataclass(frozen=True, eq=False)
class _Panels:
    """Item factors and biases as the kernel of the area wants them."""

    rows: NDArray[Any]
    tiles: NDArray[Any]
    bias: NDArray[Any]

    @classmethod
    def of(
        cls, factors: NDArray[Any], bias: NDArray[Any] | None, counts: NDArray[np.int64]
    ) -> _Panels:
        n_items = len(factors)
        n_tiles = -(-n_items // _AUC_TILE)
        rows = _four_columns(factors)
        filled = np.zeros((n_tiles * _AUC_TILE, rows.shape[1]), rows.dtype)
        filled[:n_items] = rows
        tiles = filled.reshape(n_tiles, _AUC_TILE, rows.shape[1]).transpose(0, 2, 1)
        offset = np.full(n_tiles * _AUC_TILE, np.nan, rows.dtype)
        listable = np.flatnonzero(counts)
        offset[listable] = 0 if bias is None else bias[listable]
        return cls(rows, np.ascontiguousarray(tiles), offset)


def _four_columns(factors: NDArray[Any]) -> NDArray[Any]:
    """Return factors with columns of zeros up to a multiple of four, at least four."""
    missing = -factors.shape[1] % 4 or (4 if factors.shape[1] == 0 else 0)
    return np.ascontiguousarray(np.pad(factors, ((0, 0), (0, missing))) if missing else factors)


def areas_under_curve(
    user_factors: NDArray[Any],
    user_rows: NDArray[np.int64],
    item_factors: NDArray[Any],
    item_bias: NDArray[Any] | None,
    held_out: HeldOut,
    n_threads: int,
) -> NDArray[np.float64]:
    """Return the area under the ROC curve of each user with held-out items, NaN where there is no other item.

    Parameters are those of `measure_factors`.
    """
    panels = _Panels.of(item_factors, item_bias, held_out.catalogue.item_counts)
    users = _four_columns(user_factors)
    n_users, width = len(held_out), users.shape[1]
    if held_out.excluded is None:
        seen_rows, seen_indptr, seen = (
            np.full(n_users, -1),
            np.zeros(1, np.int64),
            held_out.items[:0],
        )
    else:
        seen_rows, seen_indptr, seen = held_out.excluded
    index = np.result_type(held_out.items, seen) if len(seen) else held_out.items.dtype
    index = np.dtype(np.int32 if index.itemsize <= 4 else np.int64)
    items = held_out.items.astype(index, copy=False)
    seen = np.ascontiguousarray(seen, index) if len(seen) else np.zeros(1, index)
    values, wins = np.empty(n_users), np.empty(len(items))
    positive = np.empty(len(items), users.dtype)
    chunks, counter = equal_work_chunks(held_out.indptr, 2.0 * width), np.zeros(1, np.int64)

    def work(_: int) -> None:
        scratch = np.zeros((width + 2) * _AUC_TILE, users.dtype)
        top_n_kernels.areas_under_curve(
            np.ascontiguousarray(user_rows, np.int64), users, panels.rows, panels.tiles, panels.bias,
            held_out.indptr, items, np.ascontiguousarray(seen_rows, np.int64),
            np.ascontiguousarray(seen_indptr, np.int64), seen,
            chunks, counter, positive, wins, values, scratch,
        )  # fmt: skip

    with Workers(n_threads) as workers:
        workers.run(work, 2.0 * width * n_users * len(item_factors))
    return values
