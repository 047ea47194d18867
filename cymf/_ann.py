"""Items in an approximate index (HNSW), for inner products: https://github.com/unum-cloud/usearch."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cymf._archive import replaceable, replacing
from cymf._extras import missing
from cymf._ranking_queries import best_items

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cymf._state import FittedState

__all__ = ["AnnIndex", "export"]


class AnnIndex:
    """An approximate index of a model's items.

    Attributes
    ----------
    path : pathlib.Path
        The file of usearch, to be loaded anywhere with ``usearch.index.Index.restore(path)``.
    recall : float
        Share of the exact best items that were found for a sample of users, among `n` each.
    n : int
        That many.
    n_sample : int
        Users in the sample.
    """

    def __init__(self, path: Path, index: Any) -> None:
        self.path = path
        self.recall: float = math.nan
        self.n: int = 0
        self.n_sample: int = 0
        self._index = index

    def __repr__(self) -> str:
        return (
            f"<AnnIndex of {len(self._index)} items in {self.path}: "
            f"recall@{self.n} {self.recall:.4f} of {self.n_sample} users>"
        )

    @staticmethod
    def queries(user_factors: NDArray[Any]) -> NDArray[np.float32]:
        """Return the vectors [w, 1, 0] that the index is asked with, of shape (n_queries, n_factors + 2)."""
        factors = np.atleast_2d(np.asarray(user_factors, np.float32))
        ends = np.tile(np.array([1, 0], np.float32), (len(factors), 1))
        return np.concatenate([factors, ends], axis=1)

    def search(self, user_factors: NDArray[Any], n: int = 10) -> NDArray[np.int64]:
        """Return row numbers of about the `n` best items for each row of factors, of shape (n_queries, n).

        Nothing is left out that a user has seen. Padded by -1.
        """
        queries = self.queries(user_factors)
        found = np.full((len(queries), n), -1, np.int64)
        matches = self._index.search(queries, min(n, len(self._index)), threads=1)
        keys = np.asarray(matches.keys).astype(np.int64).reshape(len(queries), -1)
        found[:, : keys.shape[1]] = keys
        return found


def export(
    state: FittedState,
    path: str | os.PathLike[str],
    parameters: tuple[int, int, int],
    n_sample: int,
    n: int,
    random_state: int,
    n_threads: int,
) -> AnnIndex:
    """Make, write and measure an index; `parameters` are connectivity, expansion_add and expansion_search."""
    try:
        from usearch.index import Index
    except ModuleNotFoundError:
        raise missing("usearch", "an approximate index") from None
    replaceable(path)
    path = Path(path)
    known = np.flatnonzero(state.item_known)
    connectivity, expansion_add, expansion_search = parameters
    index = Index(
        ndim=state.n_factors + 2, metric="cos", dtype="f32", connectivity=connectivity,
        expansion_add=expansion_add, expansion_search=expansion_search,
    )  # fmt: skip
    if len(known):
        # One thread: the graph, and with it the recall, is the same every time.
        index.add(known.astype(np.uint64), _items(state)[known], threads=1)
    with replacing(path) as stream:
        index.save(stream.name)
    made = AnnIndex(path, index)
    users = np.flatnonzero(state.user_known)
    if len(users) > n_sample:
        users = np.sort(np.random.default_rng(random_state).choice(users, n_sample, replace=False))
    exact = best_items(
        state, state.user_factors, users, np.zeros(len(users), state.dtype), n, n_threads=n_threads
    )[0]
    found = made.search(state.user_factors[users], n)
    hits = (exact[:, :, None] == found[:, None, :]) & (exact >= 0)[:, :, None]
    made.recall = float(hits.any(axis=2).sum() / max(1, (exact >= 0).sum()))
    made.n, made.n_sample = n, len(users)
    return made


def _items(state: FittedState) -> NDArray[np.float32]:
    """Return the vectors [h, b, √(M² − ‖h‖² − b²)]."""
    bias = np.zeros(state.n_items) if state.item_bias is None else state.item_bias
    rows = np.concatenate([state.item_factors, bias[:, None]], axis=1).astype(np.float64)
    squares = np.einsum("if,if->i", rows, rows)
    rest = np.sqrt(np.maximum(squares.max(initial=0) - squares, 0))
    return np.concatenate([rows, rest[:, None]], axis=1).astype(np.float32)
