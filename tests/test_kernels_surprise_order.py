"""Surprise's solvers: the same digits as the formulas done one by one in Python's float64."""

from __future__ import annotations

import numpy as np
import pytest

from cymf._kernels import _surprise_order as kernels

N_USERS, N_ITEMS, K, MEAN = 5, 6, 3, 3.1
RATES = np.array([0.01, 0.02, 0.03, 0.04, 0.05])
REGS = np.array([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.fixture
def problem():
    """Users in an order of their own, one of them without ratings, and starts for all parameters."""
    generator = np.random.default_rng(0)
    users = np.array([3, 0, 4, 1], np.int32)
    rows = [generator.permutation(N_ITEMS)[:n] for n in (4, 1, 6, 2)]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    items = np.concatenate(rows).astype(np.int32)
    values = generator.integers(1, 6, len(items)).astype(float)
    start = {
        name: generator.normal(0, 0.5, (n, K))
        for name, n in (("p", N_USERS), ("q", N_ITEMS), ("y", N_ITEMS))
    }
    start |= {"bu": generator.normal(0, 0.1, N_USERS), "bi": generator.normal(0, 0.1, N_ITEMS)}
    return (users, indptr, items, values), start


def triplets(runs):
    users, indptr, items, values = runs
    for run, user in enumerate(users):
        for s in range(indptr[run], indptr[run + 1]):
            yield user, items[s], values[s], items[indptr[run] : indptr[run + 1]]


def in_order(x, y):
    """x . y, added from the first term to the last."""
    total = 0.0
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        total += a * b
    return total


@pytest.mark.parametrize("biased", [True, False])
def test_svd_has_the_same_digits(problem, biased):
    runs, start = problem
    p, q, bu, bi = (start[name].copy() for name in ("p", "q", "bu", "bi"))
    for u, i, r, _ in triplets(runs):
        error = r - (MEAN + bu[u] + bi[i] + in_order(q[i], p[u]))
        if biased:
            bu[u] += RATES[0] * (error - REGS[0] * bu[u])
            bi[i] += RATES[1] * (error - REGS[1] * bi[i])
        old_p, old_q = p[u].copy(), q[i].copy()
        p[u] += RATES[2] * (error * old_q - REGS[2] * old_p)
        q[i] += RATES[3] * (error * old_p - REGS[3] * old_q)
    own = {name: start[name].copy() for name in ("p", "q", "bu", "bi")}
    kernels.svd_epoch(*runs, *own.values(), MEAN, biased, RATES, REGS)
    for expected, array in zip((p, q, bu, bi), own.values(), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_svdpp_has_the_same_digits_and_its_short_form_the_same_results(problem):
    runs, start = problem
    p, q, y, bu, bi = (start[name].copy() for name in ("p", "q", "y", "bu", "bi"))
    for _ in range(3):
        for u, i, r, rated in triplets(runs):
            root = np.sqrt(len(rated))
            implied = np.zeros(K)
            for j in rated:
                implied += y[j] / root
            error = r - (MEAN + bu[u] + bi[i] + in_order(q[i], p[u] + implied))
            bu[u] += RATES[0] * (error - REGS[0] * bu[u])
            bi[i] += RATES[1] * (error - REGS[1] * bi[i])
            old_p, old_q = p[u].copy(), q[i].copy()
            p[u] += RATES[2] * (error * old_q - REGS[2] * old_p)
            q[i] += RATES[3] * (error * (old_p + implied) - REGS[3] * old_q)
            for j in rated:
                y[j] += RATES[4] * (error * old_q / root - REGS[4] * y[j])
    for kernel, exact in ((kernels.svdpp_epoch, True), (kernels.svdpp_epoch_by_user, False)):
        own = {name: start[name].copy() for name in ("p", "q", "y", "bu", "bi")}
        for _ in range(3):
            kernel(*runs, *own.values(), MEAN, RATES, REGS, np.zeros(2 * K))
        for expected, array in zip((p, q, y, bu, bi), own.values(), strict=True):
            if exact:
                np.testing.assert_array_equal(array, expected)
            else:
                np.testing.assert_allclose(array, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("biased", [True, False])
def test_nmf_sums_have_the_same_digits(problem, biased):
    runs, start = problem
    p, q, bu, bi = (np.abs(start[name]) for name in ("p", "q", "bu", "bi"))
    own_bu, own_bi = bu.copy(), bi.copy()
    sums = [np.zeros((n, K)) for n in (N_USERS, N_USERS, N_ITEMS, N_ITEMS)]
    for u, i, r, _ in triplets(runs):
        estimate = MEAN + bu[u] + bi[i] + in_order(q[i], p[u])
        if biased:
            bu[u] += RATES[0] * (r - estimate - REGS[0] * bu[u])
            bi[i] += RATES[1] * (r - estimate - REGS[1] * bi[i])
        for total, term in zip(
            sums, (q[i] * r, q[i] * estimate, p[u] * r, p[u] * estimate), strict=True
        ):
            total[u if total is sums[0] or total is sums[1] else i] += term
    own = [np.zeros_like(total) for total in sums]
    kernels.nmf_sums(*runs, p, q, own_bu, own_bi, MEAN, biased, RATES[:2], REGS[:2], *own)
    for expected, array in zip((*sums, bu, bi), (*own, own_bu, own_bi), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_pairs_are_unpacked_in_order():
    rows = [[(3, 4.5), (0, 1)], [], [(2, 2.25)]]
    items, values = np.zeros(3, np.int32), np.zeros(3)
    kernels.unpack_pairs(rows, items, values)
    np.testing.assert_array_equal(items, [3, 0, 2])
    np.testing.assert_array_equal(values, [4.5, 1, 2.25])
