"""Plain drivers of the compiled kernels: pad, allocate with guards, run on several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pytest
import reference
from generated import Compressed
from numpy.typing import NDArray

import cymf._kernels
from cymf._kernels import _als_lapack

GUARD = 64  # elements before and after every output, that must stay as they were
SENTINEL = 12345.0

at_every_level = pytest.mark.parametrize("level", cymf._kernels.available_levels())
in_both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])
VECTOR_BYTES = {"baseline": 16, "v3": 32, "v4": 64}


def unit_roundoff(dtype: type[np.floating]) -> float:
    return float(np.finfo(dtype).eps) / 2


def kernels_and_width(
    level: str, k: int, dtype: type[np.floating], whole_line: bool
) -> tuple[ModuleType, int]:
    """Kernels of a level, and the row length: to a cache line, or as short as they take it."""
    itemsize = np.dtype(dtype).itemsize
    step = 64 // itemsize if whole_line else max(4, VECTOR_BYTES[level] // itemsize)
    return cymf._kernels.load_level(level), -(-k // step) * step


def padded(
    matrix: NDArray[np.floating], width: int, dtype: type[np.floating]
) -> NDArray[np.floating]:
    answer = np.zeros((matrix.shape[0], width), dtype=dtype)
    answer[:, : matrix.shape[1]] = matrix
    return answer


class Guarded:
    """Arrays filled with NaN inside larger ones, whose borders are checked afterwards."""

    def __init__(self) -> None:
        self._whole: list[NDArray[np.generic]] = []

    def array(
        self, shape: int | tuple[int, ...], dtype: type[np.generic], fill: float = np.nan
    ) -> NDArray:
        size = int(np.prod(shape))
        whole = np.full(
            size + 2 * GUARD, 77 if np.dtype(dtype).kind in "iu" else SENTINEL, dtype=dtype
        )
        self._whole.append(whole)
        inside = whole[GUARD : GUARD + size].reshape(shape)
        inside[...] = 0 if np.dtype(dtype).kind in "iu" else fill
        return inside

    def copy(self, values: NDArray[np.generic]) -> NDArray:
        inside = self.array(values.shape, values.dtype.type)
        inside[...] = values
        return inside

    def check(self) -> None:
        for whole in self._whole:
            expected = 77 if whole.dtype.kind in "iu" else SENTINEL
            border = np.concatenate([whole[:GUARD], whole[-GUARD:]])
            assert np.all(border == expected), "a kernel wrote outside its array"


def in_threads(work: Callable[[int], None], n_threads: int) -> None:
    """``work(worker)`` in n_threads threads at once; exceptions come through."""
    failures: list[BaseException] = []

    def guarded(worker: int) -> None:
        try:
            work(worker)
        except BaseException as failure:  # reported in the caller's thread
            failures.append(failure)

    if n_threads == 1:
        work(0)
        return
    workers = [threading.Thread(target=guarded, args=(w,)) for w in range(n_threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]


def row_chunks(n_rows: int, size: int = 3) -> NDArray[np.int64]:
    return np.unique(np.append(np.arange(0, n_rows, size), n_rows)).astype(np.int64)


# ---- ALS -----------------------------------------------------------------------------------------


def als_half_sweep(
    module: ModuleType,
    ratings: Compressed,
    model: reference.Factors,
    penalty: reference.Penalty,
    use_bias: bool,
    width: int,
    n_threads: int = 1,
) -> tuple[NDArray, NDArray, NDArray[np.int8]]:
    """Users from items by one module's kernel: factors (N, k), biases (N,), status (N,)."""
    dtype = ratings.values.dtype.type
    k = model.items.shape[1]
    guarded = Guarded()
    solved = guarded.array((ratings.n_rows, width), dtype)
    solved_bias = guarded.array(ratings.n_rows if use_bias else 0, dtype)
    status = guarded.array(ratings.n_rows, np.int8)
    status[:] = -1
    counter = np.zeros(1, dtype=np.int64)
    chunks = row_chunks(ratings.n_rows)
    scratch = [guarded.array(module.als_scratch_size(k, width), dtype) for _ in range(n_threads)]

    def work(worker: int) -> None:
        module.als_half_sweep(
            ratings.indptr,
            ratings.indices,
            ratings.values,
            ratings.weights,
            padded(model.items, width, dtype),
            model.item_bias.astype(dtype) if use_bias else np.empty(0, dtype),
            solved,
            solved_bias,
            k,
            model.mean,
            penalty.reg,
            penalty.reg_bias,
            penalty.exponent,
            chunks,
            counter,
            status,
            scratch[worker],
        )

    in_threads(work, n_threads)
    guarded.check()
    done = status == 0
    assert np.all(solved[done, k:] == 0), "padding must be zero"
    return solved[:, :k], solved_bias, status


def als_minimum_norm_rows(
    rows: NDArray[np.int64],
    ratings: Compressed,
    model: reference.Factors,
    penalty: reference.Penalty,
    use_bias: bool,
    width: int,
) -> tuple[NDArray, NDArray, NDArray[np.int8]]:
    """The given user rows by the minimum-norm kernel; the other rows must stay untouched."""
    dtype = ratings.values.dtype.type
    k = model.items.shape[1]
    guarded = Guarded()
    solved = guarded.array((ratings.n_rows, width), dtype, fill=SENTINEL)
    solved_bias = guarded.array(ratings.n_rows if use_bias else 0, dtype, fill=SENTINEL)
    status = guarded.array(ratings.n_rows, np.int8)
    status[:] = -1
    _als_lapack.als_minimum_norm_rows(
        rows,
        ratings.indptr,
        ratings.indices,
        ratings.values,
        ratings.weights,
        padded(model.items, width, dtype),
        model.item_bias.astype(dtype) if use_bias else np.empty(0, dtype),
        solved,
        solved_bias,
        k,
        model.mean,
        penalty.reg,
        penalty.reg_bias,
        penalty.exponent,
        status,
    )
    guarded.check()
    others = np.setdiff1d(np.arange(ratings.n_rows), rows)
    assert np.all(solved[others] == SENTINEL)
    assert np.all(status[others] == -1)
    assert np.all(solved[rows][:, k:] == 0), "padding must be zero"
    return solved[:, :k], solved_bias, status


# ---- gradient descent ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Pass:
    """What one pass of the gradient kernel gives for one side."""

    gradient: NDArray
    bias_gradient: NDArray
    squared_error: float
    penalty: float


def residual_gradient(
    module: ModuleType,
    ratings: Compressed,
    model: reference.Factors,
    penalty: reference.Penalty,
    use_bias: bool,
    width: int,
    n_threads: int = 1,
) -> Pass:
    """Gradient in the users' factors and biases."""
    dtype = ratings.values.dtype.type
    k = model.users.shape[1]
    guarded = Guarded()
    gradient = guarded.array((ratings.n_rows, width), dtype)
    bias_gradient = guarded.array(ratings.n_rows if use_bias else 0, dtype)
    chunks = row_chunks(ratings.n_rows)
    squared_error = guarded.array(len(chunks) - 1, np.float64)
    shrinkage = guarded.array(len(chunks) - 1, np.float64)
    counter = np.zeros(1, dtype=np.int64)

    def work(worker: int) -> None:
        module.residual_gradient(
            ratings.indptr,
            ratings.indices,
            ratings.values,
            ratings.weights,
            padded(model.users, width, dtype),
            model.user_bias.astype(dtype) if use_bias else np.empty(0, dtype),
            padded(model.items, width, dtype),
            model.item_bias.astype(dtype) if use_bias else np.empty(0, dtype),
            model.mean,
            penalty.reg,
            penalty.reg_bias,
            penalty.exponent,
            gradient,
            bias_gradient,
            chunks,
            counter,
            squared_error,
            shrinkage,
        )

    in_threads(work, n_threads)
    guarded.check()
    assert np.all(gradient[:, k:] == 0), "padding must be zero"
    return Pass(gradient[:, :k], bias_gradient, float(squared_error.sum()), float(shrinkage.sum()))


def squared_error(
    module: ModuleType,
    ratings: Compressed,
    model: reference.Factors,
    use_bias: bool,
    width: int,
) -> float:
    """sum c e^2 of the evaluating pass."""
    dtype = ratings.values.dtype.type
    guarded = Guarded()
    chunks = row_chunks(ratings.n_rows)
    total = guarded.array(len(chunks) - 1, np.float64)
    module.squared_errors(
        ratings.indptr,
        ratings.indices,
        ratings.values,
        ratings.weights,
        padded(model.users, width, dtype),
        model.user_bias.astype(dtype) if use_bias else np.empty(0, dtype),
        padded(model.items, width, dtype),
        model.item_bias.astype(dtype) if use_bias else np.empty(0, dtype),
        model.mean,
        chunks,
        np.zeros(1, dtype=np.int64),
        total,
    )
    guarded.check()
    return float(total.sum())
