"""Kernels of factorization machines against their slow twins, at every level, in both types, plain and stacked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import reference_fm
from generated import examples
from hypothesis import given
from hypothesis import strategies as st
from kernel_drivers import at_every_level, in_both_types
from reference_fm import Parameters, Pull
from scipy import sparse

import cymf._batches
import cymf._descent_sweeps
import cymf._machine
from cymf._batches import Batches, Steps
from cymf._descent_sweeps import Penalties, Pulls, Sweeps
from cymf._design import Block, Design, plain_design, stacked_design
from cymf._errors import DivergenceError
from cymf._kernels import load_level
from cymf._machine import Machine
from cymf._parallel import Workers

TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}


@pytest.fixture
def use_level(level, monkeypatch):
    for module in (cymf._batches, cymf._descent_sweeps, cymf._machine):
        monkeypatch.setattr(module, "fm_kernels", load_level(level, "fm"))


@dataclass(frozen=True)
class Case:
    design: Design
    dense: np.ndarray
    model: Parameters
    use_bias: bool
    c: np.ndarray
    rng: np.random.Generator

    def machine(self, dtype) -> Machine:
        machine = Machine(
            len(self.model.factors), self.model.factors.shape[1], self.use_bias, np.dtype(dtype)
        )
        machine.constant[:] = self.model.constant
        if self.use_bias:
            machine.weights[:] = self.model.weights
        machine.trimmed[:] = self.model.factors
        return machine

    def __repr__(self) -> str:
        return f"Case({self.dense.shape}, k={self.model.factors.shape[1]}, blocks={self.design.rows is not None})"


@st.composite
def cases(draw: st.DrawFn, dtype, max_rows: int = 40):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    n = draw(st.integers(1, max_rows), label="rows")
    k = draw(st.sampled_from([1, 2, 3, 5, 8, 17]), label="factors")
    values = draw(st.sampled_from(["one-hot", "normal"]), label="values")

    def part(rows: int, columns: int) -> np.ndarray:
        matrix = np.where(rng.random((rows, columns)) < 0.6, rng.normal(size=(rows, columns)), 0)
        if values == "one-hot":
            matrix = np.zeros((rows, columns))
            matrix[np.arange(rows), rng.integers(0, columns, rows)] = 1
        return matrix.astype(dtype).astype(np.float64)

    n_blocks = draw(st.sampled_from([0, 1, 2, 3]), label="blocks")
    if n_blocks:
        blocks = []
        for _ in range(n_blocks):
            n_rows = int(rng.integers(1, 6))
            blocks.append(
                Block(
                    sparse.csr_array(part(n_rows, int(rng.integers(1, 5)))),
                    rng.integers(0, n_rows, n),
                )
            )
        design = stacked_design(blocks, np.dtype(dtype))
        dense = np.hstack([block.matrix.toarray()[block.rows] for block in blocks])
    else:
        dense = part(n, draw(st.integers(1, 7), label="columns"))
        design = plain_design(sparse.csr_array(dense), np.dtype(dtype))
    use_bias = draw(st.booleans(), label="use_bias")

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / 2).astype(dtype).astype(np.float64)

    d = dense.shape[1]
    model = Parameters(float(normal(1)[0]) * use_bias, normal(d) * use_bias, normal(d, k))
    weighted = draw(st.booleans(), label="weighted")
    c = rng.integers(0, 3, n).astype(np.float64) if weighted else np.ones(n)
    c[0] = 1
    return Case(design, dense, model, use_bias, c, rng)


def close(dtype, got, expected, scale=1.0):
    np.testing.assert_allclose(
        got, expected, rtol=0, atol=TOLERANCE[dtype] * scale * (1 + np.abs(expected).max(initial=0))
    )


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_scores_are_the_sum_over_all_pairs(level, dtype, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cymf._machine, "fm_kernels", load_level(level, "fm"))
        case = data.draw(cases(dtype))
        with Workers(1) as workers:
            got = case.machine(dtype).scores(case.design, workers)
    close(dtype, got, reference_fm.scores(case.dense, case.model))


@at_every_level
@in_both_types
@given(data=st.data())
@examples(40)
def test_sweeps_are_the_slow_twins(level, dtype, data):
    """Two sweeps, descent or with means and noise, weighted or not, of plain and of stacked designs."""
    case = data.draw(cases(dtype, max_rows=25))
    n, d = case.dense.shape
    k = case.model.factors.shape[1]
    rng = case.rng
    draws = data.draw(st.booleans(), label="means and noise")
    alpha = data.draw(st.sampled_from([1.0, 2.5]), label="alpha")
    y = rng.normal(size=n).astype(dtype).astype(np.float64)
    pulls = [
        Pull(
            rng.uniform(0.5, 2, d).astype(dtype).astype(np.float64),
            rng.normal(size=d).astype(dtype).astype(np.float64) * draws,
            rng.normal(size=d).astype(dtype).astype(np.float64) * draws,
        )
        for _ in range(k + 1)
    ]

    nothing = np.zeros((0, 0), dtype)
    both = Pulls(
        *(
            np.array([getattr(p, name) for p in pulls], dtype)
            for name in ("penalty", "mean", "noise")
        )
    )
    given_ = both if draws else Pulls(both.penalty, nothing, nothing)

    machine = case.machine(dtype)
    expected = case.model
    with pytest.MonkeyPatch.context() as patch, Workers(1) as workers:
        for module in (cymf._descent_sweeps, cymf._machine):
            patch.setattr(module, "fm_kernels", load_level(level, "fm"))
        sweeps = Sweeps(case.design, machine, workers)
        if (case.c != 1).any():
            sweeps.row_weights = case.c.astype(dtype)
        for _ in range(2):
            sweeps.aim(y, sweeps.scores())
            sweeps.run(given_, lambda pulled, total: pulled / total, alpha)
            borders = case.design.column_borders
            blocks = [range(*borders[b : b + 2]) for b in range(len(borders) - 1)]
            expected = reference_fm.sweep(
                case.dense, y, case.c, expected, pulls, alpha, case.use_bias, blocks
            )
        residuals = sweeps.residuals.copy()
    scale = 50 * (1 + np.abs(expected.factors).max() ** 2)
    close(dtype, machine.trimmed, expected.factors, scale)
    if case.use_bias:
        close(dtype, machine.weights, expected.weights, scale)
        close(dtype, machine.constant, np.array([expected.constant]), scale)
    close(dtype, residuals, y - reference_fm.scores(case.dense, expected), scale)


def one_batch(case: Case, dtype, loss: str, y, *, adagrad: bool, shares, workers):
    machine = case.machine(dtype)
    design = case.design.expanded()
    steps = Steps(
        design,
        machine,
        loss,
        y.astype(dtype),
        case.c.astype(dtype) if (case.c != 1).any() else np.zeros(0, dtype),
        shares.astype(dtype),
        adagrad=adagrad,
        limit=1e30,
        workers=workers,
    )
    return machine, steps, design


@at_every_level
@in_both_types
@given(data=st.data())
@examples(50)
def test_a_batch_is_one_step_along_the_mean_gradients(level, dtype, data):
    case = data.draw(cases(dtype))
    n, d = case.dense.shape
    loss = data.draw(st.sampled_from(["squared", "logistic", "bpr"]), label="loss")
    adagrad = data.draw(st.booleans(), label="adagrad")
    rng = case.rng
    y = rng.normal(size=n) if loss == "squared" else rng.choice([-1.0, 1.0], n)
    y = y.astype(dtype).astype(np.float64)
    shares = rng.uniform(0, 0.2, (d, 2)).astype(dtype).astype(np.float64)
    order = rng.permutation(n)
    order = order if loss != "bpr" or n % 2 == 0 else np.append(order, order[:1])
    with pytest.MonkeyPatch.context() as patch, Workers(1) as workers:
        for module in (cymf._batches, cymf._machine):
            patch.setattr(module, "fm_kernels", load_level(level, "fm"))
        machine, steps, design = one_batch(
            case, dtype, loss, y, adagrad=adagrad, shares=shares, workers=workers
        )
        batches = Batches.of(design, order, 12)
        visited = rng.permutation(len(batches.start) - 1)
        total = steps.run(batches, visited, 0.1)
    expected, sums, losses = case.model, None, 0.0
    if adagrad:
        sums = Parameters(1.0, np.ones(d), np.ones(case.model.factors.shape))
    for batch in visited:
        rows = order[12 * batch : 12 * batch + 12]
        expected, sums, part = reference_fm.batch_step(
            case.dense[rows],
            loss,
            y[rows],
            case.c[rows],
            expected,
            shares,
            0.1,
            case.use_bias,
            sums,
        )
        losses += part
    close(dtype, machine.trimmed, expected.factors, 20)
    if case.use_bias:
        close(dtype, machine.weights, expected.weights, 20)
        close(dtype, machine.constant, np.array([expected.constant]), 20)
    assert np.all(machine.factors[:, machine.n_factors :] == 0)
    assert total == pytest.approx(losses, rel=50 * TOLERANCE[dtype], abs=50 * TOLERANCE[dtype])


@at_every_level
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@given(data=st.data())
@examples(15)
def test_a_step_goes_along_the_objectives_slope(level, loss, data):
    """One batch of all rows, against central differences of the penalized loss."""
    case = data.draw(cases(np.float64, max_rows=12))
    n, d = case.dense.shape
    y = case.rng.choice([-1.0, 1.0], n)
    penalties = case.rng.uniform(0, 1, (d, 2))
    counts = np.maximum((case.dense != 0).sum(axis=0), 1)
    has = (case.dense != 0).any(axis=0)

    def objective(model: Parameters) -> float:
        total, _ = reference_fm.loss_and_slopes(
            loss, reference_fm.scores(case.dense, model), y, case.c
        )
        total *= 0.5 if loss == "squared" else 1.0
        total += 0.5 * penalties[has, 0] @ model.weights[has] ** 2
        return float(total + 0.5 * penalties[has, 1] @ (model.factors[has] ** 2).sum(axis=1))

    with pytest.MonkeyPatch.context() as patch, Workers(1) as workers:
        for module in (cymf._batches, cymf._machine):
            patch.setattr(module, "fm_kernels", load_level(level, "fm"))
        shares = penalties / counts[:, None]
        machine, steps, design = one_batch(
            case, np.float64, loss, y, adagrad=False, shares=shares, workers=workers
        )
        steps.run(Batches.of(design, np.arange(n), n), np.arange(1), 1.0)
    factor_slope = (case.model.factors - machine.trimmed) * counts[:, None]
    j, f = case.rng.integers(0, d), case.rng.integers(0, case.model.factors.shape[1])
    h = 1e-5

    def moved(t: float) -> Parameters:
        factors = case.model.factors.copy()
        factors[j, f] += t
        return Parameters(case.model.constant, case.model.weights, factors)

    numeric = (objective(moved(h)) - objective(moved(-h))) / (2 * h)
    assert factor_slope[j, f] == pytest.approx(numeric, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data(), n_threads=st.sampled_from([2, 3, 7]))
@examples(10)
def test_threads_change_no_bit(dtype, data, n_threads):
    case = data.draw(cases(dtype, max_rows=200))
    n, d = case.dense.shape
    y = case.rng.normal(size=n)
    shares = np.full((d, 2), 0.01)
    order = case.rng.permutation(n)

    def results(threads: int) -> list[bytes]:
        with Workers(threads) as workers:
            machine, steps, design = one_batch(
                case, dtype, "squared", y, adagrad=True, shares=shares, workers=workers
            )
            batches = Batches.of(design, order, 64)
            total = steps.run(batches, np.arange(len(batches.start) - 1), 0.1)
            moved = case.machine(dtype)
            sweeps = Sweeps(case.design, moved, workers)
            sweeps.aim(y, sweeps.scores())
            pulls = Penalties(np.ones(d, dtype), np.ones(d, dtype)).pulls(moved.n_factors)
            sweeps.run(pulls, lambda pulled, count: pulled / count)
            scores = moved.scores(case.design, workers)
        return [a.tobytes() for a in (machine.factors, moved.factors, sweeps.residuals, scores)] + [
            total
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cymf._parallel._SMALL_WORK", -1)
        assert results(1) == results(n_threads)


@at_every_level
def test_an_epoch_that_explodes_stops(level, use_level, monkeypatch):
    monkeypatch.setattr("cymf._parallel._SMALL_WORK", -1)
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(60, 4))
    design = plain_design(sparse.csr_array(dense), np.dtype(np.float64))
    machine = Machine(4, 3, True, np.dtype(np.float64))
    machine.trimmed[:] = rng.normal(size=(4, 3))
    with Workers(2) as workers:
        steps = Steps(
            design, machine, "squared", rng.normal(size=60), np.zeros(0), np.zeros((4, 2)),
            adagrad=False, limit=1e4, workers=workers,
        )  # fmt: skip
        batches = Batches.of(design, np.arange(60), 10)
        with pytest.raises(DivergenceError, match=r"diverged in epoch 1.*learning rate 50"):
            steps.run(batches, np.arange(6), 50.0)
