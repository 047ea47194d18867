"""One fit of a factorization machine: parameters and data checked, a solver chosen, the loop run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from cymf._descent_sweeps import Penalties
from cymf._errors import DivergenceError
from cymf._fit_log import LOGGER, TrainingSize
from cymf._fm_chains import Chains
from cymf._fm_inputs import (
    feature_names,
    group_penalties,
    read_column_groups,
    read_design,
    read_groups,
    read_labels,
    read_targets,
    read_weights,
)
from cymf._fm_state import FMState, Samples
from cymf._fm_training import Data, Descent, GradientSteps, HeldOut, Solver
from cymf._machine import Machine
from cymf._parallel import Workers
from cymf._training import TrainingLoop
from cymf._validation import (
    check_callback,
    check_choice,
    check_dtype,
    check_flag,
    check_integer,
    check_number,
    check_spread,
    check_threads,
    random_generator,
)
from cymf.design_matrix import DesignMatrix

if TYPE_CHECKING:
    from cymf.factorization_machine import FactorizationMachine

__all__ = ["train"]

_LOSSES = ("squared", "logistic", "bpr")
_SOLVERS = ("auto", "mcmc", "als", "sgd", "adagrad")
_RATES = {"sgd": 0.05, "adagrad": 0.2}


def train(
    model: FactorizationMachine,
    X: Any,
    y: Any,
    *,
    sample_weight: Any,
    groups: Any,
    column_groups: Any,
    validation: Any,
    callback: Callable[..., Any] | None,
) -> FMState:
    """Return what `model` learns; see `FactorizationMachine.fit`."""
    loss = check_choice("loss", model.loss, _LOSSES)
    solver = _solver(model, loss)
    n_factors = check_integer("n_factors", model.n_factors, 1)
    use_bias = check_flag("use_bias", model.use_bias)
    init_std = check_spread("init_std", model.init_std, check_dtype(model.dtype))
    max_iter = check_integer("max_iter", model.max_iter, 1)
    tol = check_number("tol", model.tol)
    dtype = check_dtype(model.dtype)
    verbose = check_flag("verbose", model.verbose)
    generator = random_generator(model.random_state)
    n_threads = check_threads(model.n_threads)
    patience = _patience(model, solver, validation)
    check_callback(callback)
    data, classes = _read(loss, dtype, X, y, sample_weight, groups)
    numbers = read_column_groups(column_groups, X, data.design.n_columns)
    held_out = _held_out(loss, dtype, validation, classes)
    if held_out is not None and held_out.design.n_columns != data.design.n_columns:
        raise ValueError(
            f"validation has {held_out.design.n_columns} columns, X has {data.design.n_columns}; expected the same"
        )
    machine = Machine(data.design.n_columns, n_factors, use_bias, dtype)
    machine = _start(machine, init_std, generator)
    loop = TrainingLoop(
        name=type(model).__name__,
        max_iter=max_iter,
        patience=patience,
        callback=callback,
        verbose=verbose,
        measured=("objective", "train_rmse", "validation_rmse")
        if loss == "squared"
        else ("objective", "validation_score"),
        size=TrainingSize(
            (data.design.n_rows, data.design.n_columns), len(data.targets), n_threads
        ),
    )
    with Workers(n_threads) as workers:
        running: Solver
        if solver == "mcmc":
            n_chains = check_integer("n_chains", model.n_chains, 1)
            keep = _kept_draws(model, max_iter, n_chains)
            machines, generators = [machine], [generator]
            if n_chains > 1:
                generators = generator.spawn(n_chains)
                machines = [_start(machine, init_std, own) for own in generators]
            running = Chains(data, machines, loss, numbers, keep, generators, workers)
        else:
            penalties = _penalties(model, data, numbers, machine)
            if solver == "als":
                running = Descent(data, machine, loss, penalties, workers)
            else:
                running = _gradient_steps(
                    model, solver, data, machine, loss, penalties, generator, workers
                )
        watched = None if held_out is None else HeldOut(held_out, loss, workers)
        _run(loop, running, machine, watched, tol)
        if isinstance(running, GradientSteps):
            running.check()
        _check_scores(running, machine, data, workers)
    return _state(loop, running, machine, classes, feature_names(X))


def _run(
    loop: TrainingLoop, solver: Solver, machine: Machine, held_out: HeldOut | None, tol: float
) -> None:
    def step(_: int) -> bool:
        before = solver.objective
        solver.step()
        fall = before - solver.objective
        return tol > 0 and fall <= tol * abs(solver.objective)  # NaN at first: not yet

    def measure() -> tuple[float, ...]:
        figure = math.nan
        if held_out is not None and isinstance(solver, Chains):
            figure = held_out.measure(solver.machines, solver.scale, average=solver.keeps)
        elif held_out is not None:
            figure = held_out.measure([machine])
        if len(loop.measured) == 3:
            return solver.objective, solver.train_rmse, figure
        return solver.objective, figure

    loop.run(step, measure, machine)


def _check_scores(solver: Solver, machine: Machine, data: Data, workers: Workers) -> None:
    """Raise if the scores of what was trained on do not fit in the dtype of predictions."""
    machines, scale = [machine], 1.0
    if isinstance(solver, Chains):
        machines, scale = solver.machines, solver.scale
    for one in machines:
        largest = scale * float(np.abs(one.scores(data.design, workers)).max())
        if not largest < float(np.finfo(machine.dtype).max):
            raise DivergenceError(
                f"training ended with scores of up to {largest:.3g}, which do not fit in {machine.dtype}: scale "
                "columns and targets down, or use dtype='float64'"
            )


def _start(machine: Machine, std: float, generator: np.random.Generator) -> Machine:
    """Return a machine of the same sizes with random factors."""
    random = Machine(len(machine.factors), machine.n_factors, machine.use_bias, machine.dtype)
    random.trimmed[:] = std * generator.standard_normal(random.trimmed.shape, dtype=random.dtype)
    return random


def _state(
    loop: TrainingLoop,
    solver: Solver,
    machine: Machine,
    classes: np.ndarray | None,
    names: np.ndarray | None,
) -> FMState:
    samples: Samples | None = None
    constant, weights, factors = float(machine.constant.sum()), machine.weights, machine.trimmed
    noise = math.nan
    if isinstance(solver, Chains):
        samples = solver.samples()
        noise = solver.noise
        constant = float(samples.constants.mean())
        weights, factors = samples.weights.mean(axis=0), samples.factors.mean(axis=0)
    return FMState(
        constant=constant,
        weights=weights.copy(),
        factors=np.ascontiguousarray(factors),
        samples=samples,
        noise=noise,
        classes=classes,
        names=names,
        history=loop.history,
        n_iter=loop.n_iter,
        stop_reason=loop.stop_reason,
    )


def _solver(model: FactorizationMachine, loss: str) -> str:
    solver = check_choice("solver", model.solver, _SOLVERS)
    if solver == "auto":
        solver = "adagrad" if loss == "bpr" else "mcmc"
        LOGGER.debug("FactorizationMachine: solver='auto' is %r for loss=%r", solver, loss)
    if loss == "bpr" and solver in ("mcmc", "als"):
        raise ValueError(
            f"solver={solver!r} does not know loss='bpr'; expected 'sgd', 'adagrad' or 'auto'"
        )
    return solver


def _patience(model: FactorizationMachine, solver: str, validation: Any) -> int | None:
    if model.patience is None:
        return None
    patience = check_integer("patience", model.patience, 1)
    if solver == "mcmc":
        raise ValueError(
            f"patience={patience} is given with solver='mcmc', which averages all draws; expected None: choose max_iter"
        )
    if validation is None:
        raise ValueError(
            f"patience={patience} needs a validation set; give fit(…, validation=…), or patience=None"
        )
    return patience


def _kept_draws(model: FactorizationMachine, max_iter: int, n_chains: int) -> list[int]:
    """Return the iterations whose draws are kept, evenly spread behind the burn-in; the last is among them."""
    burn_in = check_integer("burn_in", model.burn_in, 0)
    if burn_in >= max_iter:
        raise ValueError(
            f"burn_in={burn_in} leaves nothing of max_iter={max_iter}; expected less: more draws, or a shorter burn-in"
        )
    after = max_iter - burn_in
    wanted = after * n_chains
    if model.n_samples is not None:
        wanted = check_integer("n_samples", model.n_samples, 1)
    n_kept = min(max(wanted // n_chains, 1), after)
    return [burn_in + -(-after * (s + 1) // n_kept) for s in range(n_kept)]


def _penalties(
    model: FactorizationMachine, data: Data, groups: np.ndarray, machine: Machine
) -> Penalties:
    """Return λ n_j^ν of each column; the factors of columns that no row has are set to 0."""
    exponent = check_number("reg_exponent", model.reg_exponent, maximum=2)
    reg = group_penalties("reg", model.reg, groups)
    reg_bias = (
        reg if model.reg_bias is None else group_penalties("reg_bias", model.reg_bias, groups)
    )
    counts = data.design.column_counts(data.weights if len(data.weights) else None)
    machine.factors[counts == 0] = 0
    scale = counts**exponent
    return Penalties((reg_bias * scale).astype(machine.dtype), (reg * scale).astype(machine.dtype))


def _gradient_steps(
    model: FactorizationMachine,
    solver: str,
    data: Data,
    machine: Machine,
    loss: str,
    penalties: Penalties,
    generator: np.random.Generator,
    workers: Workers,
) -> GradientSteps:
    rate = model.learning_rate
    return GradientSteps(
        data,
        machine,
        loss,
        penalties,
        generator,
        workers,
        rate=_RATES[solver] if rate is None else check_number("learning_rate", rate, positive=True),
        decay=check_number("decay", model.decay, maximum=1),
        adagrad=solver == "adagrad",
        batch_size=check_integer("batch_size", model.batch_size, 1),
        n_negatives=check_integer("n_negatives", model.n_negatives, 1),
    )


def _read(
    loss: str,
    dtype: np.dtype[Any],
    X: Any,
    y: Any,
    sample_weight: Any,
    groups: Any,
    classes: np.ndarray | None = None,
) -> tuple[Data, np.ndarray | None]:
    """Return checked data, and the classes of a classifier."""
    if isinstance(X, DesignMatrix):
        y = X.target if y is None else y
        sample_weight = X.weights if sample_weight is None else sample_weight
        groups = X.users if groups is None else groups
    design = read_design(X, dtype)
    weights = read_weights(sample_weight, design.n_rows, dtype)
    if loss == "logistic":
        labels = read_labels(y, design.n_rows, classes)
        return Data(design, labels.signs, weights, None), labels.classes
    targets = read_targets(y, design.n_rows, dtype)
    return Data(
        design, targets, weights, read_groups(groups, design.n_rows) if loss == "bpr" else None
    ), None


def _held_out(
    loss: str, dtype: np.dtype[Any], validation: Any, classes: np.ndarray | None
) -> Data | None:
    if validation is None:
        return None
    if isinstance(validation, DesignMatrix):
        validation = (validation,)
    if not isinstance(validation, tuple) or len(validation) > 3:
        raise TypeError(
            f"validation is a {type(validation).__name__}; expected a pair (X, y), a triple (X, y, groups), or a "
            "DesignMatrix with a target"
        )
    X, y, groups = (*validation, None, None)[:3]
    return _read(loss, dtype, X, y, None, groups, classes)[0]
