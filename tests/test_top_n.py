"""The best n of products, against sorting everything, and how much memory that takes."""

from __future__ import annotations

import tracemalloc

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_top_n import all_scores, mask_out, sort_everything

from cymf import _top_n
from cymf._top_n import Candidates, Exclusions, top_n_of_lists, top_n_of_products


@settings(deadline=None)
@given(data=st.data())
def test_products_against_the_full_matrix(data):
    n_queries = data.draw(st.integers(1, 6))
    n_targets = data.draw(st.integers(1, 30))
    n_factors = data.draw(st.integers(0, 3))
    n = data.draw(st.integers(1, 8))
    small = st.integers(-2, 2).map(float)  # exact in every order of summation
    queries = data.draw(hnp.arrays(np.float32, (n_queries, n_factors), elements=small))
    targets = data.draw(hnp.arrays(np.float32, (n_targets, n_factors), elements=small))
    rows = data.draw(
        hnp.arrays(np.int64, st.integers(0, 8), elements=st.integers(-1, n_queries - 1))
    )
    query_offset = data.draw(hnp.arrays(np.float32, len(rows), elements=small))
    target_offset = data.draw(hnp.arrays(np.float32, n_targets, elements=small))
    excluded_rows = data.draw(hnp.arrays(np.int64, len(rows), elements=st.integers(-1, 2)))
    mask = data.draw(hnp.arrays(bool, (3, n_targets)))
    allowed = np.flatnonzero(data.draw(hnp.arrays(bool, n_targets)))
    allowed = data.draw(st.sampled_from([None, allowed]))
    excluded = Exclusions(excluded_rows, np.r_[0, np.cumsum(mask.sum(1))], np.nonzero(mask)[1])

    scores = all_scores(queries, rows, targets, query_offset, target_offset)
    expected = sort_everything(mask_out(scores, excluded, allowed).astype(np.float32), n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_top_n, "_WORTH_AN_INDEX", data.draw(st.sampled_from([0, 32])))
        found = top_n_of_products(
            queries,
            rows,
            targets,
            n,
            query_offset=query_offset,
            target_offset=target_offset,
            excluded=excluded,
            allowed=allowed,
            n_threads=data.draw(st.integers(1, 2)),
        )
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("n_queries", [3, 100])
def test_all_equal_scores_are_answered_in_order(n_queries):
    rows = np.full(n_queries, -1)
    targets, values = top_n_of_products(np.zeros((1, 4)), rows, np.ones((1000, 4)), 5)
    np.testing.assert_array_equal(targets, np.tile(np.arange(5), (n_queries, 1)))
    np.testing.assert_array_equal(values, np.zeros((n_queries, 5)))


@pytest.mark.parametrize("n_queries", [3, 100])
def test_nothing_allowed_gives_padding_only(n_queries):
    rows = np.zeros(n_queries, np.int64)
    targets, values = top_n_of_products(
        np.ones((1, 4), np.float32), rows, np.ones((9, 4), np.float32), 2, allowed=rows[:0]
    )
    assert (targets == -1).all()
    assert np.isnan(values).all()
    assert values.dtype == np.float32


@pytest.mark.parametrize("n_queries", [3, 100])
def test_exclusions_and_types_as_they_come(n_queries):
    """Exclusions in any order and twice; queries and offsets of another type; factors that are not contiguous."""
    rows = np.zeros(n_queries, np.int64)
    excluded = Exclusions(rows, np.array([0, 5]), np.array([7, 2, 9, 2, 8], np.int32))
    targets, values = top_n_of_products(
        np.ones((1, 2)),
        rows,
        np.asfortranarray(np.tile(np.arange(10, dtype=np.float32)[:, None], 2)),
        3,
        query_offset=np.ones(n_queries),
        target_offset=np.ones(10),
        excluded=excluded,
    )
    np.testing.assert_array_equal(targets, np.tile([6, 5, 4], (n_queries, 1)))
    np.testing.assert_array_equal(values, np.tile(np.float32([14, 12, 10]), (n_queries, 1)))


def test_own_lists():
    factors = np.arange(12.0)[:, None]
    candidates = Candidates(
        np.array([0, -1, 2, 1]), np.array([0, 3, 3, 8]), np.array([5, 2, 9, 1, 3, 11, 0, 4])
    )
    targets, values = top_n_of_lists(np.ones((1, 1)), np.zeros(4, np.int64), factors, 4, candidates)
    assert targets.tolist() == [[9, 5, 2, -1], [-1] * 4, [11, 4, 3, 1], [-1] * 4]
    np.testing.assert_array_equal(values, np.where(targets >= 0, targets, np.nan))


def test_memory_does_not_hold_all_scores():
    rng = np.random.default_rng(0)
    users = rng.standard_normal((20_000, 4), np.float32)
    items = rng.standard_normal((3_000, 4), np.float32)
    tracemalloc.start()
    top_n_of_products(users, np.arange(len(users)), items, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    answers = 12 * len(users) * 5
    assert peak < answers + 150 * len(items)
