"""A plain driver of the SGD kernels: stripes, blocks, strata, an epoch on several threads."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import reference
from generated import Compressed
from kernel_drivers import Guarded, in_threads, padded
from numpy.typing import NDArray

PLAIN, ADAGRAD_ROW, ADAGRAD = 0, 1, 2


@dataclass(frozen=True)
class Grid:
    """Users and items in a new order, cut into stripes; diagonals in the order they are taken."""

    user_order: NDArray[np.int64]  # user of each row in stripe order
    item_order: NDArray[np.int64]
    user_start: NDArray[np.int64]  # (stripes + 1,)
    item_start: NDArray[np.int64]
    strata: NDArray[np.int64]  # (stripes,)

    @classmethod
    def random(cls, shape: tuple[int, int], stripes: int, rng: np.random.Generator) -> Grid:
        def borders(n: int) -> NDArray[np.int64]:
            return np.concatenate([[0], np.sort(rng.integers(0, n + 1, stripes - 1)), [n]])

        return cls(
            rng.permutation(shape[0]),
            rng.permutation(shape[1]),
            borders(shape[0]),
            borders(shape[1]),
            rng.permutation(stripes),
        )

    @property
    def stripes(self) -> int:
        return len(self.strata)

    def stripe_of(self, order: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[np.int64]:
        """Stripe of every user or item, by its own number."""
        answer = np.empty(len(order), dtype=np.int64)
        answer[order] = np.repeat(np.arange(self.stripes), np.diff(start))
        return answer

    def blocks_in_turn(self) -> list[tuple[int, int]]:
        """Blocks (user stripe, item stripe), stratum by stratum."""
        return [(i, int(i + d) % self.stripes) for d in self.strata for i in range(self.stripes)]


@dataclass(frozen=True)
class Blocks:
    """Ratings dealt into the blocks of a grid."""

    start: NDArray[np.int64]
    users: NDArray[np.uint16]
    items: NDArray[np.uint16]
    values: NDArray[np.floating]
    weights: NDArray[np.floating]

    def of(self, grid: Grid, i: int, j: int) -> slice:
        block = i * grid.stripes + j
        return slice(int(self.start[block]), int(self.start[block + 1]))


def fill_blocks(module: ModuleType, ratings: Compressed, grid: Grid) -> Blocks:
    dtype = ratings.values.dtype.type
    nnz = len(ratings.values)
    guarded = Guarded()
    position = np.empty(ratings.n_columns, dtype=np.int64)
    position[grid.item_order] = np.arange(ratings.n_columns)
    counts = ratings.counts[grid.user_order]
    ends = np.concatenate([[0], np.cumsum(counts)])[grid.user_start]
    fullest = int(np.diff(ends).max())
    blocks = Blocks(
        guarded.array(grid.stripes**2 + 1, np.int64),
        guarded.array(nnz, np.uint16),
        guarded.array(nnz, np.uint16),
        guarded.array(nnz, dtype),
        guarded.array(len(ratings.weights), dtype),
    )
    module.sgd_fill_blocks(
        ratings.indptr,
        ratings.indices,
        ratings.values,
        ratings.weights,
        grid.user_order,
        position,
        grid.user_start,
        grid.item_start,
        grid.stripe_of(grid.item_order, grid.item_start).astype(np.int32),
        blocks.start,
        blocks.users,
        blocks.items,
        blocks.values,
        blocks.weights,
        guarded.array(grid.stripes + 1, np.int64),
        guarded.array(fullest, np.uint16),
        guarded.array(fullest, np.int64),
        guarded.array(fullest, np.int64),
    )
    guarded.check()
    return blocks


@dataclass(frozen=True)
class Outcome:
    """Model and AdaGrad's sums after an epoch, rows in their own order; what blocks reported."""

    model: reference.Factors
    sums: reference.Factors
    squared_error: NDArray[np.float64]
    diverged: bool
    bits: bytes  # everything above, to compare bit for bit


def epoch(
    module: ModuleType,
    ratings: Compressed,
    blocks: Blocks,
    grid: Grid,
    model: reference.Factors,
    penalty: reference.Penalty,
    use_bias: bool,
    rate: float,
    width: int,
    step: int = PLAIN,
    sums: reference.Factors | None = None,
    limit: float = 1e30,
    n_threads: int = 1,
) -> Outcome:
    """One epoch from ``model``; ``sums`` are AdaGrad's, of the model's shape."""
    dtype = ratings.values.dtype.type
    cells = ratings.cells()
    k = model.users.shape[1]
    guarded = Guarded()
    by_row = step == ADAGRAD_ROW

    def side(
        order: NDArray, counts: reference.Array, factors: reference.Array, bias: reference.Array
    ) -> tuple[NDArray, NDArray, NDArray]:
        share = penalty.share(counts)[order, np.newaxis] * [penalty.reg, penalty.reg_bias]
        return (
            guarded.copy(padded(factors[order], width, dtype)),
            guarded.copy(bias[order].astype(dtype)) if use_bias else np.empty(0, dtype),
            (1 - rate * share if step == PLAIN else share).astype(dtype),
        )

    def side_of_sums(order: NDArray, factors: reference.Array, bias: reference.Array) -> NDArray:
        columns = factors[:, :1] if by_row else factors
        return guarded.copy(np.column_stack([columns, bias])[order].astype(dtype))

    users, user_bias, user_share = side(
        grid.user_order, cells.user_counts, model.users, model.user_bias
    )
    items, item_bias, item_share = side(
        grid.item_order, cells.item_counts, model.items, model.item_bias
    )
    if sums is None:
        user_sums = item_sums = np.empty((0, 0), dtype)
    else:
        user_sums = side_of_sums(grid.user_order, sums.users, sums.user_bias)
        item_sums = side_of_sums(grid.item_order, sums.items, sums.item_bias)
    counter = np.zeros(1, np.int64)
    user_clock, item_clock = (guarded.array(8 * grid.stripes, np.int64) for _ in range(2))
    diverged = np.zeros(1, np.int64)
    squared_error = guarded.array(grid.stripes**2, np.float64)

    def work(worker: int) -> None:
        module.sgd_epoch(
            blocks.start,
            blocks.users,
            blocks.items,
            blocks.values,
            blocks.weights,
            grid.user_start,
            grid.item_start,
            grid.strata,
            users,
            items,
            user_bias,
            item_bias,
            user_share,
            item_share,
            user_sums,
            item_sums,
            step,
            model.mean,
            rate,
            k,
            counter,
            user_clock,
            item_clock,
            diverged,
            limit,
            squared_error,
        )

    in_threads(work, n_threads)
    guarded.check()
    if not diverged[0]:
        assert np.all(users[:, k:] == 0), "padding must be zero"
        assert np.all(items[:, k:] == 0), "padding must be zero"

    def back(rows: NDArray, order: NDArray, like: reference.Array) -> reference.Array:
        answer = np.array(like, dtype=np.float64)
        if len(rows):
            answer[order] = rows
        return answer

    after = reference.Factors(
        back(users[:, :k], grid.user_order, model.users),
        back(items[:, :k], grid.item_order, model.items),
        back(user_bias, grid.user_order, model.user_bias),
        back(item_bias, grid.item_order, model.item_bias),
        model.mean,
    )
    sums_after = after
    if sums is not None:
        sums_after = reference.Factors(
            back(user_sums[:, :-1], grid.user_order, sums.users),
            back(item_sums[:, :-1], grid.item_order, sums.items),
            back(user_sums[:, -1], grid.user_order, sums.user_bias),
            back(item_sums[:, -1], grid.item_order, sums.item_bias),
        )
    arrays = (users, items, user_bias, item_bias, user_sums, item_sums, squared_error)
    return Outcome(
        after, sums_after, squared_error, bool(diverged[0]), b"".join(a.tobytes() for a in arrays)
    )
