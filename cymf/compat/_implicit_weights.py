"""implicit's weightings of counts, by how rare a column and how long a row is."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["bm25_weight", "tfidf_weight"]


def tfidf_weight(X: Any) -> Any:
    r"""Weigh counts by TF-IDF: √x_rc · log(n / (1 + n_c)).

    Parameters
    ----------
    X : scipy sparse matrix or array of shape (n, n_columns)
        Counts; n_c of the n rows have an entry in column c.

    Returns
    -------
    coo_matrix of the same shape
        `X` stays as it is.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> from cymf.compat.implicit import tfidf_weight
    >>> plays = sp.csr_array(np.array([[4.0, 9.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]))
    >>> tfidf_weight(plays).toarray().round(2)
    array([[1.39, 0.86],
           [0.  , 0.29],
           [0.  , 0.  ],
           [0.  , 0.  ]])
    """
    counts = sp.coo_matrix(X)
    return _with_data(counts, np.sqrt(counts.data) * _rarity(counts))


def bm25_weight(X: Any, K1: float = 100, B: float = 0.8) -> Any:
    r"""Weigh counts by BM25: x_rc (K₁ + 1) / (K₁ L_r + x_rc) · log(n / (1 + n_c)), L_r = 1 − B + B x_r / mean(x_r).

    Parameters
    ----------
    X : scipy sparse matrix or array of shape (n, n_columns)
        Counts, with the sums x_r of its rows; n_c of the n rows have an entry in column c.
    K1 : float, default 100
        Up to which counts a weight grows.
    B : float, default 0.8
        How much long rows are discounted, from 0 to 1.

    Returns
    -------
    coo_matrix of the same shape
        `X` stays as it is.

    References
    ----------
    Robertson and Zaragoza 2009, "The probabilistic relevance framework: BM25 and beyond".

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.sparse as sp
    >>> from cymf.compat.implicit import bm25_weight
    >>> plays = sp.csr_array(np.array([[4.0, 9.0], [0.0, 1.0], [0.0, 1.0], [3.0, 0.0], [2.0, 0.0]]))
    >>> bm25_weight(plays, K1=10, B=0.5).toarray().round(2)
    array([[0.39, 0.73],
           [0.  , 0.34],
           [0.  , 0.34],
           [0.63, 0.  ],
           [0.52, 0.  ]])
    """
    counts = sp.coo_matrix(X)
    lengths = np.ravel(counts.sum(axis=1))
    length_norm = (1.0 - B) + B * lengths / lengths.mean()
    saturated = counts.data * (K1 + 1.0) / (K1 * length_norm[counts.row] + counts.data)
    return _with_data(counts, saturated * _rarity(counts))


def _rarity(counts: Any) -> np.ndarray:
    """Return log(n / (1 + n_c)) of each entry's column."""
    rarity = np.log(float(counts.shape[0])) - np.log1p(np.bincount(counts.col))
    return np.asarray(rarity[counts.col])


def _with_data(counts: Any, data: np.ndarray) -> Any:
    return sp.coo_matrix((data, (counts.row, counts.col)), shape=counts.shape)
