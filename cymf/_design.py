"""Design matrices as the kernels take them: plain, or stacked from blocks whose rows many data rows share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from cymf._parallel import equal_work_chunks

__all__ = ["Block", "Design", "Members", "plain_design", "stacked_design"]


class Members(NamedTuple):
    """The data rows behind each row of a block.

    Attributes
    ----------
    start : ndarray of int64, shape (block rows + 1,)
    rows : ndarray of shape (n,)
        Data rows, ``rows[start[b]:start[b + 1]]`` those of the block's row b, rising.
    chunks : ndarray of int64
        Borders of the block's rows, of about equal work.
    """

    start: np.ndarray
    rows: np.ndarray
    chunks: np.ndarray


@dataclass(frozen=True, eq=False)
class Block:
    """Columns that depend on something many data rows share, such as their user.

    Attributes
    ----------
    matrix : scipy.sparse.csr_array of shape (n_block_rows, n_block_columns)
    rows : ndarray of int, shape (n_rows,)
        The block's row of each data row.
    """

    matrix: sparse.csr_array
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class Design:
    """A design matrix of shape (n_rows, n_columns), in the dtype of the model.

    Attributes
    ----------
    indptr, indices, values : ndarray
        Compressed rows: the design's own, or the stacked rows of all blocks.
    rows : ndarray of shape (n_rows, n_blocks), or None
        The stacked row of each data row in each block; None where every data row is a row of its own.
    row_borders, column_borders : ndarray of int64, shape (n_blocks + 1,)
        The blocks' first stacked rows and first columns.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    n_columns: int
    rows: np.ndarray | None
    row_borders: np.ndarray
    column_borders: np.ndarray

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1 if self.rows is None else len(self.rows)

    @property
    def n_stacked(self) -> int:
        return len(self.indptr) - 1

    @cached_property
    def stacked_chunks(self) -> np.ndarray:
        """Borders of the stacked rows, of about equal work."""
        return equal_work_chunks(self.indptr, 1)

    @cached_property
    def row_chunks(self) -> np.ndarray:
        """Borders of the data rows, of about equal work."""
        if self.rows is None:
            return self.stacked_chunks
        return equal_work_chunks(np.arange(self.n_rows + 1), 0)

    @cached_property
    def by_column(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Compressed columns of the same entries: int64 borders, rows counted from the block's first, values."""
        turned = self._matrix().tocsc()
        rows = turned.indices.astype(self.indices.dtype, copy=False)
        if self.rows is not None:
            first = np.repeat(self.row_borders[:-1], np.diff(self.column_borders))
            rows = rows - np.repeat(first, np.diff(turned.indptr)).astype(rows.dtype)
        return turned.indptr.astype(np.int64), rows, turned.data

    @cached_property
    def members(self) -> list[Members]:
        """The data rows behind each row, block by block."""
        if self.rows is None:
            return []
        result = []
        for number, first in enumerate(self.row_borders[:-1]):
            own = self.rows[:, number].astype(np.int64) - first
            counts = np.bincount(own, minlength=int(self.row_borders[number + 1] - first))
            start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            order = np.argsort(own, kind="stable").astype(self.rows.dtype)
            result.append(Members(start, order, equal_work_chunks(start, 4)))
        return result

    def column_counts(self, weights: np.ndarray | None) -> np.ndarray:
        """Return n_j, how many data rows have each column, each counted by its weight."""
        each = np.ones(self.n_rows) if weights is None else weights.astype(np.float64)
        per_row = each
        if self.rows is not None:
            per_row = np.zeros(self.n_stacked)
            for own in self.rows.T:
                per_row += np.bincount(own, each, minlength=self.n_stacked)
        repeated = np.repeat(per_row, np.diff(self.indptr))
        return np.bincount(self.indices, repeated, minlength=self.n_columns)

    def expanded(self) -> Design:
        """Return the same design with every data row as a row of its own."""
        if self.rows is None:
            return self
        stacked = self._matrix()
        parts = [
            stacked[self.rows[:, number], first:end]
            for number, (first, end) in enumerate(
                zip(self.column_borders[:-1], self.column_borders[1:], strict=True)
            )
        ]
        return plain_design(sparse.hstack(parts, format="csr"), self.values.dtype)

    def _matrix(self) -> sparse.csr_array:
        shape = self.n_stacked, self.n_columns
        return sparse.csr_array((self.values, self.indices, self.indptr), shape=shape)


def plain_design(matrix: sparse.csr_array, dtype: np.dtype[Any]) -> Design:
    """Return a design of compressed rows without doubles; stored zeros are left out."""
    clean = _clean(matrix, dtype)
    return Design(
        indptr=clean.indptr.astype(np.int64),
        indices=clean.indices,
        values=clean.data,
        n_columns=clean.shape[1],
        rows=None,
        row_borders=np.array([0, clean.shape[0]]),
        column_borders=np.array([0, clean.shape[1]]),
    )


def stacked_design(blocks: Sequence[Block], dtype: np.dtype[Any]) -> Design:
    """Return the design of blocks beside each other."""
    stacked = _clean(sparse.block_diag([block.matrix for block in blocks], format="csr"), dtype)
    row_borders, column_borders = (
        np.concatenate([[0], np.cumsum([block.matrix.shape[axis] for block in blocks])])
        for axis in (0, 1)
    )
    rows = np.column_stack(
        [block.rows + first for block, first in zip(blocks, row_borders[:-1], strict=True)]
    )
    return Design(
        indptr=stacked.indptr.astype(np.int64),
        indices=stacked.indices,
        values=stacked.data,
        n_columns=stacked.shape[1],
        rows=np.ascontiguousarray(rows.astype(stacked.indices.dtype)),
        row_borders=row_borders.astype(np.int64),
        column_borders=column_borders.astype(np.int64),
    )


def _clean(matrix: Any, dtype: np.dtype[Any]) -> sparse.csr_array:
    """Return compressed rows of a dtype: sorted, no doubles, no stored zeros, nobody else's memory changed."""
    clean = sparse.csr_array(matrix)
    if not clean.has_canonical_format or (clean.data == 0).any():
        clean = clean.copy() if clean is matrix or clean.data is matrix.data else clean
        clean.sum_duplicates()
        clean.eliminate_zeros()
    clean = clean.astype(dtype, copy=False)
    if clean.indices.dtype not in (np.int32, np.int64):
        clean.indices = clean.indices.astype(np.int64)
    return clean
