"""The kernels with inputs that never change: what bench_kernels.py times and instruction_counts.py counts.

A case runs its kernel so many times in C, by a function of kernel_runner.pxi. Flops are those of the textbook, whatever
is executed; bytes are the rows of factors that must be read (and, in SGD, written).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from runner import load_runner

import cymf._kernels
from cymf._serving_index import ServingIndex

__all__ = ["Case", "cases_of_rows", "cases_of_systems", "cases_of_top_n", "padded"]

_BATCH = 32  # rows of one rank-k update, as in ALS
_CG_STEPS = 3
_BLOCK = 64  # factors of a subspace
_IMPLICIT = (
    ("exact", 0, 0),
    ("CG", 1, _CG_STEPS),
    ("subspace", 2, _BLOCK),
)  # as the kernel numbers them
_TOP = 10
_QUERIES = 256

Run = Callable[[int, np.ndarray], Any]  # (repetitions, samples to fill with seconds)


@dataclass(frozen=True)
class Case:
    """One kernel at one instruction-set level on one input.

    Attributes
    ----------
    kernel, level, n_factors, length, table_rows
        What it is: `length` ratings a row, that point to so many rows of the fixed side; 0 where neither matters.
    run : callable
        ``run(repetitions, seconds)``.
    units : int
        Ratings, or systems, of one repetition.
    flops, bytes : float
        Of one unit.
    overhead : callable or None
        The same without the kernel, to be taken off.
    """

    kernel: str
    level: str
    n_factors: int
    length: int
    table_rows: int
    run: Run
    units: int
    flops: float
    bytes: float
    overhead: Run | None = None

    @property
    def name(self) -> str:
        length = [f"{self.length} ratings a row"] if self.length else []
        return ", ".join([self.kernel, f"k = {self.n_factors}", *length])


def padded(n_factors: int) -> int:
    return -(-n_factors // 16) * 16


def _random_rows(n_rows: int, n_factors: int, generator: np.random.Generator) -> np.ndarray:
    """Return small random factors, padded by zeros, that start a cache line."""
    width = padded(n_factors)
    raw = np.zeros(n_rows * width + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    rows = raw[start : start + n_rows * width].reshape(n_rows, width)
    rows[:, :n_factors] = 0.1 * generator.standard_normal((n_rows, n_factors), dtype=np.float32)
    return rows


def cases_of_systems(level: str, n_factors: int) -> Iterator[Case]:
    """Return what has no row length: the rank-k update of a batch in the L1 cache, and one system."""
    runner, generator = load_runner(level), np.random.default_rng(0)
    k, width, n_rows = n_factors, padded(n_factors), -(-n_factors // 4) * 4
    batch = _random_rows(_BATCH, k, generator)
    gram = _random_rows(n_rows, k, generator)
    yield Case(
        "rank-k update", level, k, 0, _BATCH, lambda n, s: runner.time_rank_k(gram, batch, n, s),
        _BATCH, k * (k + 1), 4 * k,
    )  # fmt: skip

    samples = _random_rows(2 * k, k, generator)
    system = np.zeros_like(gram)
    system[:k] = samples[:, :k].T @ samples
    system[np.arange(n_rows), np.arange(n_rows)] += 1
    given, right = _random_rows(2, k, generator), np.zeros((2, width), np.float32)
    inverse = np.zeros(n_rows, np.float32)

    def run(solve: bool, n: int, s: np.ndarray) -> None:
        runner.time_cholesky(solve, system, gram, given, right, inverse, n, s)

    yield Case(
        "Cholesky, per system", level, k, 0, 0, lambda n, s: run(True, n, s), 1,
        k**3 / 3 + 2 * k * k, 4 * k * width, overhead=lambda n, s: run(False, n, s),
    )  # fmt: skip


def cases_of_rows(
    level: str, n_factors: int, length: int, table_rows: int, n_ratings: int = 20_000
) -> Iterator[Case]:
    """Return what goes over rows of ratings: `length` each, about `n_ratings` in all."""
    runner, generator = load_runner(level), np.random.default_rng(0)
    k, width = n_factors, padded(n_factors)
    n_rows = max(1, n_ratings // length)
    n = n_rows * length
    table = _random_rows(table_rows, k, generator)
    bias = np.zeros(table_rows, np.float32)
    rows, row_bias = _random_rows(n_rows, k, generator), np.zeros(n_rows, np.float32)
    indices = generator.integers(0, table_rows, n).astype(np.int32)
    values = generator.standard_normal(n).astype(np.float32)
    ratings = length, indices, values

    def case(kernel: str, run: Run, flops: float, n_bytes: float) -> Case:
        return Case(kernel, level, k, length, table_rows, run, n, flops, n_bytes)

    yield case("gather", lambda r, s: runner.time_gather(table, indices, r, s), 0, 4 * k)
    yield case("dot", lambda r, s: runner.time_dot(table, indices, r, s), 2 * k, 4 * k)

    everyone = np.repeat(np.arange(n_rows), length), indices.astype(np.int64)
    unpadded = np.ascontiguousarray(rows[:, :k]), np.ascontiguousarray(table[:, :k])
    predictions = np.zeros(n, np.float32)
    yield case(
        "predict",
        lambda r, s: runner.time_predict(*everyone, *unpadded, row_bias, bias, predictions, r, s),
        2 * k, 8 * k,
    )  # fmt: skip

    scratch = _random_rows(1, runner.als_scratch_size(k, width), generator)[0]
    solved, solved_bias = np.zeros_like(rows), row_bias.copy()
    yield case(
        "ALS row",
        lambda r, s: runner.time_als_rows(
            *ratings, table, bias, k, solved, solved_bias, scratch, r, s
        ),
        k * (k + 1) + 2 * k + (k**3 / 3 + 2 * k * k) / length,
        4 * k,
    )

    squares = np.mean(table**2, axis=0)
    work = _random_rows(4, k, generator)
    yield case(
        "ALS row, CG",
        lambda r, s: runner.time_als_cg_rows(
            *ratings, table, bias, squares, _CG_STEPS, solved, solved_bias, work[0], r, s
        ),
        (_CG_STEPS + 1) * 4 * k,
        (_CG_STEPS + 1) * 4 * k,
    )

    m = min(table_rows, 1 << 16)
    sorted_users = np.repeat(np.arange(n_rows), length).astype(np.uint16)
    items = (indices % m).astype(np.uint16)
    factors = rows.copy(), table[:m].copy()
    shrinks = np.ones((n_rows, 2), np.float32), np.ones((m, 2), np.float32)
    biases = row_bias.copy(), bias[:m].copy()
    spare = np.zeros((2, n), np.uint16)
    order = np.zeros(n, np.int64)
    yield case(
        "SGD block",
        lambda r, s: runner.time_sgd_block(
            sorted_users, items, values, *factors, *biases, *shrinks, *spare, order, r, s
        ),
        8 * k,
        16 * k,
    )

    gradient = np.zeros_like(rows)
    yield case(
        "residual gradient",
        lambda r, s: runner.time_residual_gradient(*ratings, rows, table, bias, gradient, r, s),
        4 * k,
        4 * k,
    )

    yield from _implicit_cases(level, k, n_rows, indices.reshape(n_rows, length), table)


def _implicit_cases(
    level: str, n_factors: int, n_rows: int, indices: np.ndarray, table: np.ndarray
) -> Iterator[Case]:
    """Return the rows of implicit ALS, by each of its methods; the fixed side stands in its eigenbasis already."""
    kernels, runner = cymf._kernels.load_level(level, "implicit"), load_runner(level)
    k, length, width = n_factors, indices.shape[1], table.shape[1]
    indptr = np.arange(0, indices.size + 1, length, dtype=np.int64)
    nothing = np.zeros(0, np.float32)
    spectrum = np.zeros(width, np.float32)
    spectrum[:k] = len(table) / (1.0 + np.arange(k))
    counter, status = np.zeros(1, np.int64), np.zeros(n_rows, np.int8)
    scratch = _random_rows(
        1, kernels.implicit_scratch_size(width, length), np.random.default_rng(0)
    )[0]
    solved = np.zeros((n_rows, width), np.float32)
    side = (
        indptr, indices.ravel(), np.full(indices.size, 21, np.float32), np.ones(n_rows), nothing, True,
        np.full(n_rows, 20.0), table, nothing, nothing, spectrum, spectrum / len(table), k,
    )  # fmt: skip
    exact = k * (k + 1) + 2 * k + (k**3 / 3 + 2 * k * k) / length
    block = min(_BLOCK, k)
    flops = {
        "exact": exact,
        "CG": (_CG_STEPS + 1) * 4 * k + (_CG_STEPS + 1) * 2 * k * k / length,
        "subspace": k * (block + 1) + 6 * k + (k * block**2 / 3 + 2 * k * block) / length,
    }
    for name, method, setting in _IMPLICIT:
        rest = method, setting, solved, np.array([0, n_rows]), counter, status, scratch

        def work(rest: tuple[Any, ...] = rest) -> None:
            kernels.implicit_half_sweep(*side, *rest)

        yield Case(
            f"implicit ALS row, {name}", level, k, length, len(table),
            lambda r, s, work=work: runner.time_call(work, counter, solved, r, s),
            indices.size, flops[name], 4 * k,
        )  # fmt: skip


def cases_of_top_n(n_factors: int, n_targets: int) -> Iterator[Case]:
    """Return exact top-10 search, a unit being one query against one target; at the level that is in use.

    With random factors nothing can be skipped; the others fall off in norm, as trained ones do.
    """
    level = cymf._kernels.simd_level()
    runner, generator = load_runner(level), np.random.default_rng(0)
    counter, unused = np.zeros(1, np.int64), np.zeros((1, 1), np.float32)
    queries = generator.standard_normal((_QUERIES, n_factors), dtype=np.float32)
    targets = generator.standard_normal((n_targets, n_factors), dtype=np.float32)
    norms = 1 / np.sqrt(1 + np.arange(n_targets, dtype=np.float32))
    for name, factors in (("random", targets), ("falling norms", targets * norms[:, None])):
        index = ServingIndex.build(factors)

        def work(index: ServingIndex = index) -> None:
            index.search(queries, np.arange(_QUERIES), _TOP, n_threads=1)

        yield Case(
            f"top-{_TOP}, {name}", level, n_factors, 0, n_targets,
            lambda r, s, work=work: runner.time_call(work, counter, unused, r, s),
            _QUERIES * n_targets, 2 * n_factors, n_factors,
        )  # fmt: skip
