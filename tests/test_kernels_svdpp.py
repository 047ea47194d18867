"""SVD++ kernels: epochs against the slow twin and against Surprise's order, the same bits by any threads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import reference_svdpp as twin
from generated import Compressed, compressed_ratings, examples
from hypothesis import given
from hypothesis import strategies as st
from kernel_drivers import (
    VECTOR_BYTES,
    Guarded,
    at_every_level,
    in_both_types,
    in_threads,
    padded,
    unit_roundoff,
)

from cymf._kernels import _surprise_order, load_level
from cymf._svdpp_epochs import Members, _places_in_batch

LENGTHS = (0, 1, 2, 3, 4, 5, 8, 13, 33)
FACTORS = (1, 3, 4, 8, 9, 16, 33)


@dataclass(frozen=True)
class Problem:
    """Ratings with an order of users and of each one's ratings, further members of N(u), and a start."""

    ratings: Compressed
    member_indptr: np.ndarray
    member_indices: np.ndarray
    stripe: np.ndarray
    n_stripes: int
    order: np.ndarray
    turns: np.ndarray
    batch: int
    model: twin.Model

    def users(self) -> list[twin.User]:
        """What the slow twin visits."""
        rated = Members.of(self.ratings.indptr, self.ratings.indices, self.stripe, self.n_stripes)
        answer = []
        for user, turn in zip(self.order.tolist(), self.turns.tolist(), strict=True):
            cells = rated.order[self.ratings.row(user)]
            cells = np.roll(cells, -turn)
            weights = (
                self.ratings.weights[cells] if len(self.ratings.weights) else np.ones(len(cells))
            )
            members = self.member_indices[self.member_indptr[user] : self.member_indptr[user + 1]]
            answer.append(
                twin.User(
                    user,
                    self.ratings.indices[cells].tolist(),
                    self.ratings.values[cells].astype(float).tolist(),
                    weights.astype(float).tolist(),
                    members.tolist(),
                )
            )
        return answer


@st.composite
def problems(draw: st.DrawFn, dtype: type[np.floating]) -> Problem:
    ratings = draw(compressed_ratings(dtype, LENGTHS, max_rows=9).filter(lambda r: len(r.indices)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    k = draw(st.sampled_from(FACTORS), label="n_factors")
    n_users, n_items = ratings.n_rows, ratings.n_columns
    n_stripes = draw(st.sampled_from([1, 3, 16]), label="stripes")
    rows = [set(ratings.indices[ratings.row(u)].tolist()) for u in range(n_users)]
    if draw(st.booleans(), label="further members"):
        rows = [row | set(rng.integers(0, n_items, 3).tolist()) for row in rows]
    indices = [np.sort(np.array(list(row), np.int64)) for row in rows]
    order = rng.permutation(np.flatnonzero(ratings.counts))

    def rounded(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / 4).astype(dtype).astype(np.float64)

    return Problem(
        ratings,
        np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        np.concatenate(indices),
        rng.integers(0, n_stripes, n_items).astype(np.int32),
        n_stripes,
        order.astype(np.int64),
        rng.integers(0, ratings.counts[order]),
        draw(st.sampled_from([1, 2, 3, 8]), label="batch"),
        twin.Model(
            rounded(n_users, k),
            rounded(n_items, k),
            rounded(n_items, k),
            rounded(n_users),
            rounded(n_items),
            draw(st.sampled_from([0.0, 3.53])),
        ),
    )


@dataclass(frozen=True)
class Outcome:
    model: twin.Model
    squared: np.ndarray
    whole: np.ndarray
    diverged: bool
    bits: bytes


def epoch(
    level: str,
    problem: Problem,
    rate: float,
    reg: float,
    reg_bias: float,
    n_threads: int = 1,
    limit: float = 1e30,
) -> Outcome:
    """One epoch by the kernel, on arrays whose borders are watched."""
    ratings, model = problem.ratings, problem.model
    dtype = ratings.values.dtype.type
    module = load_level(level, "svdpp")
    k = model.p.shape[1]
    step = max(4, VECTOR_BYTES[level] // np.dtype(dtype).itemsize)
    width = -(-k // step) * step
    rated = Members.of(ratings.indptr, ratings.indices, problem.stripe, problem.n_stripes)
    members = Members.of(
        problem.member_indptr, problem.member_indices, problem.stripe, problem.n_stripes
    )
    kept_at, fullest = _places_in_batch(ratings.counts[problem.order], problem.batch)
    guarded = Guarded()
    users = guarded.copy(padded(model.p, width, dtype))
    items = guarded.copy(np.hstack([padded(model.q, width, dtype), padded(model.y, width, dtype)]))
    user_bias, item_bias = (
        guarded.copy(bias.astype(dtype)) for bias in (model.user_bias, model.item_bias)
    )
    changes, bias_changes = guarded.array((fullest, width), dtype), guarded.array(fullest, dtype)
    moves, shrinks = (
        guarded.array((problem.batch, width), dtype),
        guarded.array(problem.batch, dtype),
    )
    scratches = [guarded.array(width, dtype) for _ in range(n_threads)]
    counter, diverged = np.zeros(1, np.int64), np.zeros(1, np.int64)
    clocks = (
        guarded.array(8 * problem.batch, np.int64),
        guarded.array(8 * problem.n_stripes, np.int64),
    )
    squared = guarded.array(len(problem.order), np.float64)
    values = ratings.values[rated.order]
    weights = ratings.weights[rated.order] if len(ratings.weights) else ratings.weights

    def work(worker: int) -> None:
        module.svdpp_epoch(
            problem.order, problem.turns, kept_at, problem.batch,
            rated.border, rated.items, values, weights, members.border, members.items,
            users, items, user_bias, item_bias, model.mean, rate, reg, reg_bias,
            changes, bias_changes, moves, shrinks, scratches[worker],
            counter, *clocks, diverged, limit, squared,
        )  # fmt: skip

    in_threads(work, n_threads)
    whole = guarded.array(users.shape, dtype)
    chunks = np.arange(ratings.n_rows + 1, dtype=np.int64)
    module.svdpp_whole_users(
        members.border, members.items, problem.n_stripes, users, items, chunks, np.zeros(1, np.int64), whole
    )  # fmt: skip
    guarded.check()
    if not diverged[0]:
        for rows in (users, whole, items[:, :width], items[:, width:]):
            assert np.all(rows[:, k:] == 0), "padding must be zero"
    after = twin.Model(
        *(a.astype(np.float64) for a in (users[:, :k], items[:, :k], items[:, width : width + k])),
        user_bias.astype(np.float64),
        item_bias.astype(np.float64),
        model.mean,
    )
    arrays = (users, items, user_bias, item_bias, squared, whole)
    return Outcome(
        after, squared, whole[:, :k], bool(diverged[0]), b"".join(a.tobytes() for a in arrays)
    )


def assert_close(after: twin.Model, expected: twin.Model, atol: float) -> None:
    for name in ("p", "q", "y", "user_bias", "item_bias"):
        np.testing.assert_allclose(
            getattr(after, name), getattr(expected, name), rtol=0, atol=atol, err_msg=name
        )


@at_every_level
@in_both_types
@given(data=st.data())
@examples(25)
def test_an_epoch_is_the_slow_twin(level, dtype, data):
    problem = data.draw(problems(dtype))
    rate, reg, reg_bias = 0.02, data.draw(st.sampled_from([0.0, 0.3])), 0.1
    outcome = epoch(level, problem, rate, reg, reg_bias)
    expected, squared = twin.epoch(
        problem.users(), problem.batch, problem.model, rate, reg, reg_bias
    )
    assert not outcome.diverged
    atol = 3000 * unit_roundoff(dtype)
    assert_close(outcome.model, expected, atol)
    np.testing.assert_allclose(outcome.squared, squared, rtol=2 * atol, atol=2 * atol)
    whole = [
        expected.whole_user(
            user,
            problem.member_indices[problem.member_indptr[user] : problem.member_indptr[user + 1]],
        )
        for user in range(problem.ratings.n_rows)
    ]
    np.testing.assert_allclose(outcome.whole, whole, atol=atol)


@at_every_level
def test_a_batch_of_one_user_is_surprises_order(level):
    """With one user a batch nothing is seen late: the plain algorithm, by user."""
    rng = np.random.default_rng(0)
    n_users, n_items, k = 7, 12, 5
    counts = rng.integers(1, 9, n_users)
    indices = np.concatenate([np.sort(rng.permutation(n_items)[:n]) for n in counts])
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    values = rng.integers(1, 6, len(indices)).astype(np.float64)
    ratings = Compressed(indptr, indices.astype(np.int32), values, np.zeros(0), n_items)
    model = twin.Model(
        *(rng.normal(size=(n, k)) / 3 for n in (n_users, n_items, n_items)),
        rng.normal(size=n_users),
        rng.normal(size=n_items),
        3.0,
    )
    one_stripe = np.zeros(n_items, np.int32)
    order = np.arange(n_users)
    problem = Problem(
        ratings, indptr, indices, one_stripe, 1, order, np.zeros(n_users, np.int64), 1, model
    )
    outcome = epoch(level, problem, 0.03, 0.2, 0.1)
    own = model.copy()
    _surprise_order.svdpp_epoch(
        order.astype(np.int32), indptr, ratings.indices, values, own.p, own.q, own.y, own.user_bias,
        own.item_bias, model.mean, np.full(5, 0.03), np.array([0.1, 0.1, 0.2, 0.2, 0.2]), np.zeros(k),
    )  # fmt: skip
    assert_close(outcome.model, own, 1e-12)


@at_every_level
@in_both_types
@given(data=st.data())
@examples(10)
def test_the_same_bits_for_any_number_of_threads(level, dtype, data):
    problem = data.draw(problems(dtype))
    alone = epoch(level, problem, 0.02, 0.1, 0.1)
    for n_threads in (2, 5):
        assert epoch(level, problem, 0.02, 0.1, 0.1, n_threads).bits == alone.bits


@at_every_level
@pytest.mark.parametrize("n_threads", [1, 4])
def test_explosion_is_noticed_and_everyone_stops(level, n_threads):
    rng = np.random.default_rng(1)
    counts = np.full(40, 5)
    indices = np.concatenate([np.sort(rng.permutation(9)[:5]) for _ in counts]).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    values = np.full(len(indices), 1e3)
    ratings = Compressed(indptr, indices, values, np.zeros(0), 9)
    model = twin.Model(
        np.ones((40, 4)), np.ones((9, 4)), np.zeros((9, 4)), np.zeros(40), np.zeros(9)
    )
    stripe = (np.arange(9) % 3).astype(np.int32)
    problem = Problem(
        ratings, indptr, indices.astype(np.int64), stripe, 3, np.arange(40), np.zeros(40, np.int64), 4, model
    )  # fmt: skip
    assert epoch(level, problem, 0.5, 0.1, 0.1, n_threads, limit=1e8).diverged
    assert not epoch(level, problem, 1e-6, 0.1, 0.1, n_threads, limit=1e8).diverged
