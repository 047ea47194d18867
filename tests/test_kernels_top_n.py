"""The compiled top-N search: the same answers to the bit in every mode, and those of sorting everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_drivers import at_every_level, in_both_types
from reference_top_n import all_scores, mask_out, sort_everything

import cymf._kernels
from cymf import _serving_index, _top_n
from cymf._top_n import Candidates, Exclusions, ServingIndex, top_n_of_lists


@pytest.fixture
def at_level(monkeypatch):
    """Makes the modules that call the kernels call those of a level."""

    def choose(level):
        kernels = cymf._kernels.load_level(level, "top_n")
        monkeypatch.setattr(_serving_index, "top_n_kernels", kernels)
        monkeypatch.setattr(_top_n, "top_n_kernels", kernels)

    return choose


def trained(rng, n_rows, n_factors):
    """Norms that fall off like those of popular and rare items."""
    return rng.standard_normal((n_rows, n_factors)) / (1 + np.arange(n_rows)[:, None]) ** 0.4


def shifted(rng, n_rows, n_factors):
    return rng.standard_normal((n_rows, n_factors)) + 30 * np.eye(1, n_factors)


def equal_norms(rng, n_rows, n_factors):
    rows = rng.standard_normal((n_rows, n_factors))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


KINDS = {
    "random": lambda rng, *shape: rng.standard_normal(shape),
    "trained": trained,
    "one dominant coordinate": shifted,
    "equal norms": equal_norms,
    "all zero": lambda rng, *shape: np.zeros(shape),
    "many ties": lambda rng, *shape: rng.integers(-1, 2, shape).astype(float),
    "all the same": lambda rng, *shape: np.ones(shape),
    "some rows huge": lambda rng, n, k: (
        rng.standard_normal((n, k)) * 10.0 ** rng.integers(-12, 12, (n, 1))
    ),
    "beyond single precision of the filter": lambda rng, *shape: rng.standard_normal(shape) * 1e-25,
    "subnormal products": lambda rng, *shape: rng.standard_normal(shape) * 1e-21,
    "overflowing": lambda rng, *shape: rng.standard_normal(shape) * 1e20,
}
OFFSETS = {
    "none": lambda rng, n: None,
    "small": lambda rng, n: 0.3 * rng.standard_normal(n),
    "huge": lambda rng, n: 1e6 * rng.standard_normal(n),
    "equal": lambda rng, n: np.full(n, -7.3),
}


@at_every_level
@in_both_types
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offsets", OFFSETS)
def test_every_mode_gives_the_same_bits(at_level, level, dtype, kind, offsets):
    at_level(level)
    rng = np.random.default_rng(7)
    for n_targets, n_factors, n in ((500, 16, 10), (133, 13, 3), (70, 1, 100), (150, 0, 5)):
        queries = KINDS[kind](rng, 30, n_factors).astype(dtype)
        targets = KINDS[kind](rng, n_targets, n_factors).astype(dtype)
        offset = OFFSETS[offsets](rng, n_targets)
        offset = None if offset is None else offset.astype(dtype)
        own = None if offset is None else OFFSETS[offsets](rng, 70).astype(dtype)
        rows = rng.integers(-1, 30, 70)
        mask = rng.random((70, n_targets)) < 0.1
        excluded = Exclusions(np.arange(70), np.r_[0, np.cumsum(mask.sum(1))], np.nonzero(mask)[1])
        everything = Candidates(
            np.zeros(70, np.int64), np.array([0, n_targets]), np.arange(n_targets)
        )
        options = {"query_offset": own, "excluded": excluded}

        ranking, scores = top_n_of_lists(
            queries, rows, targets, n_targets, everything, target_offset=offset, **options
        )
        for norm in (0.0, float(np.linalg.norm(queries.astype(float), axis=1).max())):
            index = ServingIndex.build(targets, offset, largest_norm=norm)
            found, values = index.search(queries, rows, n, **options)
            wanted = min(n, n_targets)
            np.testing.assert_array_equal(found[:, :wanted], ranking[:, :wanted])
            np.testing.assert_array_equal(values[:, :wanted], scores[:, :wanted])
            assert (found[:, wanted:] == -1).all()
            assert np.isnan(values[:, wanted:]).all()

        # and the ranking of lists is that of its own scores, which are those of the formula
        given = np.full((70, n_targets), -np.inf, dtype)
        there = ranking >= 0
        given[np.nonzero(there)[0], ranking[there]] = scores[there]
        by_score = np.lexsort((np.tile(np.arange(n_targets), (70, 1)), -given))
        np.testing.assert_array_equal(ranking, np.where(ranking >= 0, by_score, -1))
        assert (ranking >= 0).sum() == (given > -np.inf).sum()
        exact = mask_out(all_scores(queries, rows, targets, own, offset), excluded)
        finite = np.isfinite(given)
        assert finite.sum() > 0.5 * finite.size or kind == "overflowing"
        sizes = all_scores(
            abs(queries),
            rows,
            abs(targets),
            *(None if o is None else abs(o) for o in (own, offset)),
        )
        error = abs(given[finite] - exact[finite])
        tolerance = np.finfo(dtype).eps * (n_factors + 2) * sizes[finite]
        assert (error <= tolerance + (n_factors + 2) * np.finfo(dtype).smallest_subnormal).all()


@at_every_level
@in_both_types
def test_what_is_not_finite_hides_nothing(at_level, level, dtype):
    at_level(level)
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((500, 9)).astype(dtype)
    targets[17, 3], targets[80, 0], targets[81, 0], targets[400] = np.nan, np.inf, -np.inf, np.inf
    queries = rng.standard_normal((70, 9)).astype(dtype)
    queries[5, 2], queries[6, 1] = np.nan, np.inf
    rows = np.arange(70)
    listed = Candidates(np.zeros(70, np.int64), np.array([0, 500]), np.arange(500))
    expected = top_n_of_lists(queries, rows, targets, 10, listed)
    found = ServingIndex.build(targets).search(queries, rows, 10)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert (found[0][5] == -1).all()
    assert 17 not in found[0]
    assert found[0][queries[:, 0] > 0][0, 0] == 80  # plus infinity is the best score


@at_every_level
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_against_sorting_everything(level, data):
    n_targets, n_factors = data.draw(st.integers(1, 150)), data.draw(st.integers(0, 9))
    n, n_rows = data.draw(st.integers(1, 20)), data.draw(st.integers(0, 70))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 20)))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    # integers, so that sums are exact in every order and ties are the rule
    queries, targets = (
        rng.integers(-2, 3, (size, n_factors)).astype(dtype) for size in (5, n_targets)
    )
    rows = rng.integers(-1, 5, n_rows)
    own, offset = (rng.integers(-2, 3, size).astype(dtype) for size in (n_rows, n_targets))
    index_dtype = data.draw(st.sampled_from([np.int32, np.int64]))
    mask = rng.random((3, n_targets)) < data.draw(st.sampled_from([0, 0.1, 0.9, 1]))
    excluded = Exclusions(
        rng.integers(-1, 3, n_rows),
        np.r_[0, np.cumsum(mask.sum(1))],
        np.nonzero(mask)[1].astype(index_dtype),
    )
    allowed = np.flatnonzero(rng.random(n_targets) < data.draw(st.sampled_from([0, 0.2, 1])))
    exact = mask_out(all_scores(queries, rows, targets, own, offset), excluded, allowed)
    expected = sort_everything(exact.astype(dtype), n)
    n_threads = data.draw(st.integers(1, 3))

    kernels = cymf._kernels.load_level(level, "top_n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_serving_index, "top_n_kernels", kernels)
        patch.setattr(_top_n, "top_n_kernels", kernels)
        patch.setattr("cymf._parallel._SMALL_WORK", 0)
        options = {"query_offset": own, "excluded": excluded, "n_threads": n_threads}
        only = np.zeros(n_targets, np.uint8)
        only[allowed] = 1
        listed = Candidates(np.zeros(n_rows, np.int64), np.array([0, len(allowed)]), allowed)
        all_listed = Candidates(
            np.zeros(n_rows, np.int64), np.array([0, n_targets]), np.arange(n_targets)
        )
        answers = [
            ServingIndex.build(targets, offset, allowed, 3.0).search(queries, rows, n, **options),
            ServingIndex.build(targets, offset).search(queries, rows, n, allowed=only, **options),
            top_n_of_lists(queries, rows, targets, n, listed, target_offset=offset, **options),
            top_n_of_lists(
                queries, rows, targets, n, all_listed, target_offset=offset, allowed=only, **options
            ),
        ]
    for found in answers:
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
        assert found[0].dtype == np.int64
        assert found[1].dtype == dtype


@pytest.mark.parametrize("offset", [False, True])
def test_pruning_prunes(offset, monkeypatch):
    """Beyond the first panels nothing is looked at: targets that would be answers there are missed."""
    rng = np.random.default_rng(1)
    targets, queries = trained(rng, 5000, 8), rng.standard_normal((64, 8))
    bias = 0.5 * trained(rng, 5000, 1)[:, 0] if offset else None
    index = ServingIndex.build(
        targets, bias, largest_norm=float(np.linalg.norm(queries, axis=1).max())
    )
    rows = np.arange(64)
    expected = index.search(queries, rows, 5)
    n_looked_at = 5000 // 4 // 64
    cut = index._replace(
        panel_offset=np.where(
            np.arange(len(index.panel_offset))[:, None] < 4 * n_looked_at,
            index.panel_offset,
            np.inf,
        ).astype(np.float32),
        order=np.where(np.arange(5000) < 64 * n_looked_at, index.order, 0),
    )
    found = cut.search(queries, rows, 5)
    np.testing.assert_array_equal(found[0], expected[0])


def test_bits_do_not_depend_on_threads(monkeypatch):
    monkeypatch.setattr("cymf._parallel._SMALL_WORK", 0)
    rng = np.random.default_rng(2)
    targets, queries = trained(rng, 700, 24), rng.standard_normal((500, 24))
    index = ServingIndex.build(targets.astype(np.float32))
    one = index.search(queries.astype(np.float32), np.arange(500), 10)
    for n_threads in (2, 5):
        other = index.search(queries.astype(np.float32), np.arange(500), 10, n_threads=n_threads)
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
