"""The best n of blocks of scores, against sorting everything."""

from __future__ import annotations

import tracemalloc

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cymf import _top_n
from cymf._top_n import Exclusions, top_n, top_n_of_products


def sort_everything(scores, n):
    """Slow twin of ``top_n``: sort each row by (-score, column), drop what is excluded."""
    columns = np.full((len(scores), n), -1)
    values = np.full((len(scores), n), np.nan, scores.dtype)
    for r, row in enumerate(scores):
        ranked = sorted((-s, c) for c, s in enumerate(row.tolist()) if s != -np.inf)[:n]
        for rank, (_, c) in enumerate(ranked):
            columns[r, rank], values[r, rank] = c, row[c]
    return columns, values


@given(
    scores=hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        st.tuples(st.integers(0, 4), st.integers(0, 90)),
        # few distinct values, so that ties are the rule
        elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0, 3.0]),
    ),
    n=st.integers(1, 12),
)
def test_ties_go_to_the_lower_column(scores, n):
    columns, values = top_n(scores, n)
    expected_columns, expected_values = sort_everything(scores, n)
    np.testing.assert_array_equal(columns, expected_columns)
    np.testing.assert_array_equal(values, expected_values)
    assert values.dtype == scores.dtype
    assert columns.dtype == np.int64


@pytest.mark.parametrize("n_columns", [1, 16, 17, 255, 1000, 3706])
@pytest.mark.parametrize("n", [1, 10, 100])
def test_distinct_scores(n_columns, n):
    scores = np.random.default_rng(n_columns).standard_normal((20, n_columns))
    columns, values = top_n(scores, n)
    expected_columns, expected_values = sort_everything(scores, n)
    np.testing.assert_array_equal(columns, expected_columns)
    np.testing.assert_array_equal(values, expected_values)


def test_all_equal_scores_are_answered_in_order():
    columns, values = top_n(np.zeros((3, 1000), np.float32), 5)
    np.testing.assert_array_equal(columns, np.tile(np.arange(5), (3, 1)))
    np.testing.assert_array_equal(values, np.zeros((3, 5)))


def test_nothing_but_exclusions_gives_padding_only():
    columns, values = top_n(np.full((2, 500), -np.inf), 3)
    assert (columns == -1).all()
    assert np.isnan(values).all()


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

    scores = np.zeros((len(rows), n_targets), np.float32)
    for r, q in enumerate(rows):
        if q >= 0:
            scores[r] = targets @ queries[q]
        scores[r] += query_offset[r] + target_offset
        if excluded_rows[r] >= 0:
            scores[r, mask[excluded_rows[r]]] = -np.inf
    if allowed is not None:
        scores[:, np.setdiff1d(np.arange(n_targets), allowed)] = -np.inf
    expected = sort_everything(scores, n)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_top_n, "_BLOCK_SCORES", data.draw(st.sampled_from([1, 40, 1 << 20])))
        found = top_n_of_products(
            queries,
            rows,
            targets,
            n,
            query_offset=query_offset,
            target_offset=target_offset,
            excluded=excluded,
            allowed=allowed,
        )
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_memory_stays_at_a_block():
    rng = np.random.default_rng(0)
    users = rng.standard_normal((20_000, 4), np.float32)
    items = rng.standard_normal((3_000, 4), np.float32)
    tracemalloc.start()
    top_n_of_products(users, np.arange(len(users)), items, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    all_scores = 4 * len(users) * len(items)
    assert peak < all_scores / 8
