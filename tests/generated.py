"""Generated ratings and factors: ragged shapes, row lengths around the kernels' batch borders."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import reference
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

# Gathered batches hold 32 rated rows (128 in the LAPACK path), gradients take four at a time.
ROW_LENGTHS = (0, 0, 1, 1, 2, 3, 4, 5, 8, 13, 31, 32, 33, 64, 65, 100, 128, 129, 300)
FACTOR_COUNTS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 24, 31, 32, 33, 40, 47, 48, 49, 64, 65, 70)


def examples(count: int) -> settings:
    """So many examples of a test; where processors are emulated, CYMF_FEWER_EXAMPLES divides their number."""
    divisor = int(os.environ.get("CYMF_FEWER_EXAMPLES", "1"))
    return settings(max_examples=max(1, count // divisor), deadline=None)


@dataclass(frozen=True, repr=False)
class Compressed:
    """Ratings by row, as the kernels take them; ``weights`` empty where all are one."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.integer]
    values: NDArray[np.floating]
    weights: NDArray[np.floating]
    n_columns: int

    def __repr__(self) -> str:
        weights = "weighted" if len(self.weights) else "unweighted"
        return f"Compressed(rows of {self.counts.tolist()}, {self.n_columns} columns, {weights})"

    def _repr_pretty_(
        self, printer: object, cycle: bool
    ) -> None:  # hypothesis would print every array
        printer.text(repr(self))  # type: ignore[attr-defined]

    @property
    def n_rows(self) -> int:
        return len(self.indptr) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        return np.diff(self.indptr)

    def row(self, i: int) -> slice:
        return slice(int(self.indptr[i]), int(self.indptr[i + 1]))

    def cells(self) -> reference.Cells:
        """The same ratings for the slow twins."""
        values = self.values.astype(np.float64)
        return reference.Cells(
            np.repeat(np.arange(self.n_rows), self.counts),
            self.indices.astype(np.int64),
            values,
            self.weights.astype(np.float64) if len(self.weights) else np.ones_like(values),
            (self.n_rows, self.n_columns),
        )

    def by_column(self) -> Compressed:
        """The transposed ratings."""
        rows = np.repeat(np.arange(self.n_rows), self.counts)
        order = np.lexsort((rows, self.indices))
        starts = np.bincount(self.indices, minlength=self.n_columns).cumsum()
        return Compressed(
            np.concatenate([[0], starts]).astype(np.int64),
            rows[order].astype(self.indices.dtype),
            self.values[order],
            self.weights[order] if len(self.weights) else self.weights,
            self.n_rows,
        )


@st.composite
def compressed_ratings(
    draw: st.DrawFn,
    dtype: type[np.floating],
    lengths: tuple[int, ...] = ROW_LENGTHS,
    max_rows: int = 8,
) -> Compressed:
    """Rows of the given lengths; now and then some columns stay empty."""
    counts = draw(st.lists(st.sampled_from(lengths), min_size=1, max_size=max_rows), label="counts")
    n_columns = max(*counts, 1, 1) + draw(st.sampled_from([0, 1, 7]), label="spare columns")
    index = draw(st.sampled_from([np.int32, np.int64]), label="index type")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed of ratings"))
    nnz = sum(counts)
    values = {
        "stars": rng.integers(1, 11, nnz) / 2,
        "all equal": np.full(nnz, 3.5),
        "normal": rng.normal(size=nnz),
    }[draw(st.sampled_from(["stars", "all equal", "normal"]), label="values")]
    weights = {
        "none": np.empty(0),
        "uniform": rng.uniform(0.1, 4, nnz),
        "some zero": rng.integers(0, 3, nnz).astype(np.float64),
    }[draw(st.sampled_from(["none", "uniform", "some zero"]), label="weights")]
    return Compressed(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([np.sort(rng.permutation(n_columns)[:n]) for n in counts]).astype(index),
        values.astype(dtype),
        weights.astype(dtype),
        n_columns,
    )


@st.composite
def factor_pair(
    draw: st.DrawFn, ratings: Compressed, dtype: type[np.floating]
) -> tuple[reference.Factors, bool]:
    """Factors and biases, exactly representable in ``dtype``; whether there are biases."""
    k = draw(st.sampled_from(FACTOR_COUNTS), label="n_factors")
    use_bias = draw(st.booleans(), label="use_bias")
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed of factors"))
    mean = draw(st.sampled_from([0.0, 3.53]), label="mean")

    def rounded(*shape: int) -> reference.Array:
        return rng.normal(size=shape).astype(dtype).astype(np.float64)

    model = reference.Factors(
        rounded(ratings.n_rows, k) / 4,
        rounded(ratings.n_columns, k) / 4,
        rounded(ratings.n_rows),
        rounded(ratings.n_columns),
        mean,
    )
    if not use_bias:
        model = replace(
            model,
            user_bias=np.zeros_like(model.user_bias),
            item_bias=np.zeros_like(model.item_bias),
        )
    return model, use_bias


def penalties(positive: bool = True) -> st.SearchStrategy[reference.Penalty]:
    """Regularization with nu in {0, 1/2, 1}; where ``positive``, never zero."""
    amounts = st.sampled_from([0.01, 0.1, 3.0] if positive else [0.0, 0.0, 0.1])
    return st.builds(reference.Penalty, amounts, amounts, st.sampled_from([0.0, 0.5, 1.0]))
