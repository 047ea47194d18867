"""Which instruction-set level is chosen, what CYMF_SIMD says about it, and that levels agree."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import reference
from generated import Compressed
from kernel_drivers import als_half_sweep, in_both_types, residual_gradient, unit_roundoff

import cymf._kernels
from cymf._kernels import _cpu, available_levels, load_level, simd_level

LEVELS = ("baseline", "v3", "v4")
KERNELS = (
    "als_half_sweep",
    "als_scratch_size",
    "predict_pairs",
    "residual_gradient",
    "sgd_epoch",
    "sgd_fill_blocks",
    "squared_errors",
)


def in_fresh_interpreter(code: str, simd: str | None) -> subprocess.CompletedProcess[str]:
    """Run code where the kernels are imported anew, with CYMF_SIMD set or not."""
    environment = {name: value for name, value in os.environ.items() if name != "CYMF_SIMD"}
    if simd is not None:
        environment["CYMF_SIMD"] = simd
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


PRINT_LEVEL = "from cymf._kernels import kernels, simd_level; print(simd_level(), kernels.__name__)"


def test_available_levels_are_ordered_and_start_at_the_baseline():
    available = available_levels()
    assert available[0] == "baseline"
    assert list(available) == [level for level in LEVELS if level in available]


@pytest.mark.parametrize("simd", [None, ""])
def test_the_highest_available_level_is_chosen(simd):
    result = in_fresh_interpreter(PRINT_LEVEL, simd)
    best = available_levels()[-1]
    assert result.stdout.split() == [best, f"cymf._kernels._{best}"], result.stderr


@pytest.mark.parametrize("level", available_levels())
def test_cymf_simd_forces_a_level(level):
    result = in_fresh_interpreter(PRINT_LEVEL, level)
    assert result.stdout.split() == [level, f"cymf._kernels._{level}"], result.stderr


@pytest.mark.parametrize("level", [*sorted(set(LEVELS) - set(available_levels())), "avx9"])
def test_a_level_that_is_not_available_is_an_error_with_a_remedy(level):
    result = in_fresh_interpreter(PRINT_LEVEL, level)
    assert result.returncode == 1  # an exception, not an illegal instruction
    assert "ImportError" in result.stderr
    assert f"CYMF_SIMD={level!r}" in result.stderr
    assert ", ".join(available_levels()) in result.stderr
    with pytest.raises(ImportError, match=f"{level!r}.*available here.*Unset CYMF_SIMD"):
        load_level(level)


@pytest.mark.parametrize(("cpu", "expected"), [(1, 1), (3, 2), (4, 3)])
def test_a_level_needs_its_processor(monkeypatch, cpu, expected):
    """A processor of level 3 is never offered level 4, whatever was built."""
    monkeypatch.setattr(cymf._kernels._cpu, "cpu_level", lambda: cpu)
    assert set(available_levels()) <= set(LEVELS[:expected])


def test_the_processor_is_asked_about_itself():
    """Agrees with what Linux reports, where it does."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((set(line.split()) for line in file if line.startswith("flags")), None)
    except OSError:
        flags = None
    if flags is None:
        pytest.skip("no x86 flags in /proc/cpuinfo")
    level = 1
    if {"avx2", "fma", "bmi1", "bmi2"} <= flags:
        level = 3
        if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags:
            level = 4
    assert _cpu.cpu_level() == level


def test_level_in_use_is_one_of_them():
    assert simd_level() in available_levels()
    assert cymf._kernels.kernels is load_level(simd_level())


@pytest.mark.parametrize("level", available_levels())
def test_every_level_has_every_kernel(level):
    module = load_level(level)
    for name in KERNELS:
        assert callable(getattr(module, name))


@in_both_types
def test_levels_agree(dtype):
    """Not bit for bit, lanes are summed in another order; to a small multiple of the rounding."""
    rng = np.random.default_rng(3)
    n_items, k = 200, 21
    ratings = Compressed(
        np.array([0, 150, 180], np.int64),
        np.concatenate([np.arange(150), np.arange(30)]).astype(np.int32),
        rng.integers(1, 6, 180).astype(dtype),
        np.empty(0, dtype),
        n_items,
    )
    users, items = rng.normal(size=(2, k)), rng.normal(size=(n_items, k))
    model = reference.Factors(users, items, np.zeros(2), rng.normal(size=n_items), 3.0)
    penalty = reference.Penalty(5.0, 5.0, 0.5)
    answers = []
    for level in available_levels():
        module = load_level(level)
        factors, bias, _ = als_half_sweep(module, ratings, model, penalty, True, 32)
        gradient = residual_gradient(module, ratings, model, penalty, True, 32)
        answers.append((factors, bias, gradient.gradient, gradient.bias_gradient))
    for other in answers[1:]:
        for a, b in zip(answers[0], other, strict=True):
            np.testing.assert_allclose(
                a, b, rtol=0, atol=200 * unit_roundoff(dtype) * (1 + np.abs(a).max())
            )
