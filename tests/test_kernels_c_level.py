"""cymf.kernels at C level: a user's module that cimports it, and signatures that must not change."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import reference

import cymf.kernels

USER_MODULE = """
    # cython: language_level=3, boundscheck=False, freethreading_compatible=True
    import numpy as np
    from libc.stdint cimport int32_t, uint16_t
    from cymf.kernels cimport (als_scratch_size, als_solve_row_f64, dot_f32, rank_k_update_f64,
                               row_residual_gradient_f64, sgd_block_f64)

    def solve(int32_t[::1] items, double[::1] values, double[:, ::1] fixed, Py_ssize_t k, double reg):
        row, scratch = np.zeros(fixed.shape[1]), np.zeros(als_scratch_size(k, fixed.shape[1]))
        cdef double[::1] w = row, work = scratch
        cdef int status
        with nogil:
            status = als_solve_row_f64(items.shape[0], &items[0], &values[0], NULL, &fixed[0, 0], NULL, k,
                                       fixed.shape[1], 0, reg, 0, &w[0], NULL, &work[0])
        return status, row

    def product(float[::1] x, float[::1] y):
        return dot_f32(&x[0], &y[0], x.shape[0])

    def gram(double[:, ::1] rows):
        result = np.zeros((rows.shape[1], rows.shape[1]))
        cdef double[:, ::1] g = result
        rank_k_update_f64(False, &g[0, 0], &rows[0, 0], rows.shape[1], rows.shape[1], rows.shape[0])
        return np.triu(result)

    def gradient(int32_t[::1] items, double[::1] values, double[::1] row, double[:, ::1] other):
        result = np.zeros(row.shape[0])
        cdef double[::1] g = result
        cdef double bias = 0
        squared = row_residual_gradient_f64(items.shape[0], &items[0], &values[0], NULL, &row[0], 0.5,
                                            &other[0, 0], NULL, row.shape[0], &g[0], &bias)
        return squared, result, bias

    def step(double[:, ::1] w, double[:, ::1] h, double value, double rate):
        cdef uint16_t zero = 0
        cdef double[::1] shrink = np.ones(2)
        return sgd_block_f64(1, &zero, &zero, &value, NULL, &w[0, 0], &h[0, 0], NULL, NULL, &shrink[0],
                             &shrink[0], 0, rate, w.shape[1])
"""

SIGNATURES = {
    "als_scratch_size": "Py_ssize_t (Py_ssize_t, Py_ssize_t)",
    "dot": "R (R const *, R const *, Py_ssize_t)",
    "rank_k_update": "void (int, R *, R const *, Py_ssize_t, Py_ssize_t, Py_ssize_t)",
    "als_solve_row": "int (Py_ssize_t, int32_t const *, R const *, R const *, R const *, R const *, "
    "Py_ssize_t, Py_ssize_t, R, double, double, R *, R *, R *)",
    "sgd_block": "double (Py_ssize_t, uint16_t const *, uint16_t const *, R const *, R const *, "
    "R *, R *, R *, R *, R const *, R const *, R, R, Py_ssize_t)",
    "row_residual_gradient": "double (Py_ssize_t, int32_t const *, R const *, R const *, "
    "R const *, R, R const *, R const *, Py_ssize_t, R *, double *)",
}


def test_exported_signatures_are_those_promised():
    """New names may appear; these may not change."""
    exported = {
        name: re.search(r'"(.*)"', repr(capsule))[1]
        for name, capsule in cymf.kernels.__pyx_capi__.items()
    }
    for stem, signature in SIGNATURES.items():
        if "R" not in re.findall(r"\bR\b", signature):
            assert exported[stem] == signature
            continue
        for suffix, real in (("f32", "float"), ("f64", "double")):
            assert exported[f"{stem}_{suffix}"] == re.sub(r"\bR\b", real, signature)


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """A user's module, built against the package these tests import."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here")
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("user")
    source = folder / "user_module.pyx"
    source.write_text(textwrap.dedent(USER_MODULE))
    build = (
        "from setuptools import setup; from Cython.Build import cythonize; "
        "import cymf.kernels, sys; sys.argv[1:] = ['-q', 'build_ext', '--inplace']; "
        "setup(name='user', ext_modules=cythonize('user_module.pyx', "
        "include_path=[cymf.kernels.get_include()], quiet=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("user_module.*.so")
    spec = importlib.util.spec_from_file_location("user_module", built)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def padded(array):
    return np.ascontiguousarray(np.pad(array, ((0, 0), (0, -array.shape[1] % 8))))


def test_a_users_module_solves_a_row(user):
    rng = np.random.default_rng(0)
    fixed, items = rng.normal(size=(20, 5)), np.arange(3, 15, dtype=np.int32)
    values = rng.normal(size=len(items))
    status, row = user.solve(items, values, padded(fixed), 5, 0.3)
    expected = reference.als_row(fixed[items], values, np.ones(len(items)), 0.3, None)
    assert status == 0
    np.testing.assert_allclose(row[:5], expected, rtol=1e-10)
    assert not row[5:].any()


def test_a_users_module_calls_the_primitives(user):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 32)).astype(np.float32)
    assert user.product(x, y) == pytest.approx(float(x.astype(float) @ y), rel=1e-5)
    rows = rng.normal(size=(7, 16))
    np.testing.assert_allclose(user.gram(rows), np.triu(rows.T @ rows), rtol=1e-12)


def test_a_users_module_takes_gradients_and_steps(user):
    rng = np.random.default_rng(2)
    other, row = padded(rng.normal(size=(9, 6))), padded(rng.normal(size=(1, 6)))[0]
    items, values = np.array([1, 4, 8], np.int32), rng.normal(size=3)
    errors = 0.5 + other[items] @ row - values
    squared, gradient, bias = user.gradient(items, values, row, other)
    assert squared == pytest.approx(errors @ errors)
    assert bias == pytest.approx(errors.sum())
    np.testing.assert_allclose(gradient, errors @ other[items], rtol=1e-12)

    w, h = np.array([[0.4, 0.2, 0.3]]), np.array([[0.95, 0.10, 0.85]])
    new_w, new_h = padded(w), padded(h)
    assert user.step(new_w, new_h, 5.0, 0.01) == pytest.approx(4.345**2)
    np.testing.assert_allclose(new_w[:, :3], w + 0.01 * 4.345 * h, rtol=1e-12)
    np.testing.assert_allclose(new_h[:, :3], h + 0.01 * 4.345 * w, rtol=1e-12)
