"""What implicit's models do after training: recommend, compare, save and load.

The names, defaults and meanings are those of implicit 0.7, so that code written for it runs unchanged.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Any, Self

import numpy as np
import scipy.sparse as sp

from cymf._archive import replacing
from cymf._errors import CymfWarning, warn_caller
from cymf._parallel import available_threads, useful_threads
from cymf._top_n import Exclusions, top_n_of_products

__all__ = [
    "FactorModel",
    "ModelFitError",
    "ParameterWarning",
    "as_csr",
    "generator_of",
    "kept_with",
]

_LOWEST = np.finfo(np.float32).min  # the score of a candidate that the user has already liked


class ModelFitError(Exception):
    """Training gave factors that are not finite."""


class ParameterWarning(CymfWarning):
    """An argument is not of the kind that is fastest."""


def as_csr(matrix: Any) -> Any:
    """Return a sparse matrix by rows; anything but CSR is converted, with a `ParameterWarning`."""
    if sp.issparse(matrix) and matrix.format == "csr":
        return matrix
    if not sp.issparse(matrix):
        raise TypeError(
            f"got a {type(matrix).__name__}; expected a scipy sparse matrix of users × items, "
            "best in CSR form"
        )
    warn_caller(
        f"got a sparse matrix in {matrix.format.upper()} form, which is converted each time; "
        "call tocsr() once",
        ParameterWarning,
    )
    return matrix.tocsr()


def generator_of(random_state: Any) -> np.random.Generator:
    """Return a generator for a seed, None, a RandomState or a Generator."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31 - 1))
    return np.random.default_rng(random_state)


class FactorModel:
    """Factors, and the queries that implicit's models answer with them.

    Attributes
    ----------
    user_factors : ndarray of shape (n_users, n_factors) or None
    item_factors : ndarray of shape (n_items, n_factors) or None
        None before `fit`.
    num_threads : int
        Threads; 0 means all processors.
    """

    _SAVED: tuple[str, ...] = ("user_factors", "item_factors")

    user_factors: Any
    item_factors: Any
    factors: int
    dtype: np.dtype[Any]

    def __init__(self, num_threads: int = 0) -> None:
        self.user_factors = None
        self.item_factors = None
        self._user_norms: Any = None
        self._item_norms: Any = None
        self.num_threads = num_threads

    @property
    def _n_threads(self) -> int:
        wanted = self.num_threads
        return useful_threads(wanted) if wanted and wanted > 0 else available_threads()

    @property
    def user_norms(self) -> np.ndarray:
        """Lengths of the users' factors, a tiny number in place of 0; shape (n_users,)."""
        return self._users_with_norms()[1]

    @property
    def item_norms(self) -> np.ndarray:
        """Lengths of the items' factors, a tiny number in place of 0; shape (n_items,)."""
        return self._items_with_norms()[1]

    def _users_with_norms(self) -> tuple[np.ndarray, np.ndarray]:
        self._user_norms = kept = kept_with(self._user_norms, self.user_factors, _norms)
        return kept

    def _items_with_norms(self) -> tuple[np.ndarray, np.ndarray]:
        self._item_norms = kept = kept_with(self._item_norms, self.item_factors, _norms)
        return kept

    def recommend(
        self,
        userid: Any,
        user_items: Any,
        N: int = 10,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        recalculate_user: bool = False,
        items: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the best `N` items for one user or several.

        Parameters
        ----------
        userid : int or array-like of shape (n_users_asked,)
            Row numbers of users.
        user_items : CSR matrix or array with one row for each user in `userid`
            What they liked: left out of the answer, and the basis of `recalculate_user`.
        N : int, default 10
            Answers a user.
        filter_already_liked_items : bool, default True
            Whether to leave out what is in `user_items`.
        filter_items : array-like, optional
            Further items to leave out.
        recalculate_user : bool, default False
            Whether to compute the users' factors from `user_items` instead of taking the stored ones.
        items : array-like, optional
            Rank these items only. They come back whole: those already liked last, with the lowest
            float32 as score.

        Returns
        -------
        ids, scores : ndarray of shape (N,), or (n_users_asked, N)
            For one user fewer where fewer are left. In a batch, missing answers are -1 with score NaN (implicit
            pads by item 0).

        Raises
        ------
        ValueError
            If `user_items` is not in CSR form or has another number of rows, or `items` and `filter_items` are
            both given.
        IndexError
            If an item or user is not in the model.
        """
        self._check_fitted()
        users = np.atleast_1d(np.asarray(userid))
        if filter_already_liked_items or recalculate_user:
            if not sp.issparse(user_items) or user_items.format != "csr":
                raise ValueError(
                    "user_items needs to be a CSR sparse matrix; got "
                    f"{type(user_items).__name__}: call tocsr() first"
                )
            if user_items.shape[0] != len(users):
                raise ValueError(
                    "user_items must contain 1 row for every user in userids; got "
                    f"{user_items.shape[0]} rows for {len(users)} users: pass user_items[userids]"
                )
        if recalculate_user:
            queries = np.atleast_2d(self.recalculate_user(users, user_items))
        else:
            user_factors = self.user_factors
            queries = user_factors[_rows("userid", users, len(user_factors))]
        item_factors = self.item_factors
        n_items = len(item_factors)
        allowed = _candidates("items", items, "filter_items", filter_items, n_items)
        excluded = (
            _exclusions(user_items, len(users), n_items) if filter_already_liked_items else None
        )
        n = min(N, n_items if allowed is None else len(allowed))
        ids, scores = top_n_of_products(
            queries,
            np.arange(len(users)),
            item_factors,
            max(n, 1),
            excluded=excluded,
            allowed=allowed,
            n_threads=self._n_threads,
        )
        if items is not None and allowed is not None:
            _append_missing(ids, scores, allowed)
        return _answers(ids[:, :n], scores[:, :n], n_items, np.ndim(userid) == 0)

    def similar_users(
        self, userid: Any, N: int = 10, filter_users: Any = None, users: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the `N` users whose factors have the largest cosine with those of a user or of several.

        `filter_users` are left out; `users`, if given, are the only ones to be ranked. The user itself comes first.
        """
        self._check_fitted()
        factors, norms = self._users_with_norms()
        queries = factors[_rows("userid", userid, len(factors))]
        allowed = _candidates("users", users, "filter_users", filter_users, len(factors))
        return _most_similar(queries, factors, norms, N, allowed, userid, self._n_threads)

    def similar_items(
        self,
        itemid: Any,
        N: int = 10,
        recalculate_item: bool = False,
        item_users: Any = None,
        filter_items: Any = None,
        items: Any = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the `N` items whose factors have the largest cosine with those of an item or of several.

        With `recalculate_item` the items' factors are computed from the rows of `item_users`. `filter_items` are left
        out; `items`, if given, are the only ones to be ranked. The item itself comes first.
        """
        self._check_fitted()
        factors, norms = self._items_with_norms()
        if recalculate_item:
            queries = np.atleast_2d(
                self.recalculate_item(np.atleast_1d(np.asarray(itemid)), item_users)
            )
        else:
            queries = factors[_rows("itemid", itemid, len(factors))]
        allowed = _candidates("items", items, "filter_items", filter_items, len(factors))
        return _most_similar(queries, factors, norms, N, allowed, itemid, self._n_threads)

    def recalculate_user(self, userid: Any, user_items: Any) -> np.ndarray:
        """Compute factors of users from what they liked; not every model can."""
        raise NotImplementedError(
            f"{type(self).__name__} cannot compute factors of users from what they liked; leave out "
            "recalculate_user, or use AlternatingLeastSquares, which can"
        )

    def recalculate_item(self, itemid: Any, item_users: Any) -> np.ndarray:
        """Compute factors of items from who liked them; not every model can."""
        raise NotImplementedError(
            f"{type(self).__name__} cannot compute factors of items from who liked them; leave out "
            "recalculate_item, or use AlternatingLeastSquares, which can"
        )

    def rank_items(
        self, userid: Any, user_items: Any, selected_items: Any, recalculate_user: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rank the items given; deprecated, use ``recommend(..., items=...)``."""
        _deprecated("rank_items", "recommend with items=")
        return self.recommend(
            userid,
            user_items,
            filter_already_liked_items=False,
            recalculate_user=recalculate_user,
            items=selected_items,
        )

    def recommend_all(
        self,
        user_items: Any,
        N: int = 10,
        recalculate_user: bool = False,
        filter_already_liked_items: bool = True,
        filter_items: Any = None,
        users_items_offset: int = 0,
    ) -> np.ndarray:
        """Recommend to all users; deprecated, use ``recommend`` with an array of users."""
        _deprecated("recommend_all", "recommend with an array of users")
        users = np.arange(user_items.shape[0]) + users_items_offset
        return self.recommend(
            users,
            user_items,
            N,
            filter_already_liked_items,
            filter_items,
            recalculate_user,
        )[0]

    def save(self, fileobj_or_path: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write the model to an ``.npz`` file, which implicit reads too.

        A name without that ending gets it. A ``random_state`` that is no integer is not saved.
        """
        entries = {name: getattr(self, name) for name in self._SAVED}
        entries["dtype"] = self.dtype.name
        if not isinstance(entries["random_state"], (int, np.integer)):
            del entries["random_state"]
        entries = {name: value for name, value in entries.items() if value is not None}
        if hasattr(fileobj_or_path, "write"):
            np.savez(fileobj_or_path, **entries)
            return
        with replacing(_with_ending(fileobj_or_path)) as stream:
            np.savez(stream, **entries)

    @classmethod
    def load(cls, fileobj_or_path: str | os.PathLike[str] | IO[bytes]) -> Self:
        """Read a model that `save`, or implicit's ``save``, has written."""
        source: Any = fileobj_or_path
        if not hasattr(source, "read"):
            source = _with_ending(source)
        model = cls()
        with np.load(source, allow_pickle=False) as archive:
            unknown = set(archive.files) - set(cls._SAVED)
            if unknown:
                raise ValueError(
                    f"the file holds {', '.join(sorted(unknown))}, which is no part of a "
                    f"{cls.__name__}; expected a file written by {cls.__name__}.save"
                )
            for name in archive.files:
                value = archive[name]
                if name == "dtype":
                    model.dtype = np.dtype(str(value))
                else:
                    setattr(model, name, value.item() if value.shape == () else value)
        return model

    def _check_fitted(self) -> None:
        if self.user_factors is None or self.item_factors is None:
            raise ValueError(f"this {type(self).__name__} is not fitted yet; call fit first")

    def _check_fit_errors(self) -> None:
        if not (np.isfinite(self.user_factors).all() and np.isfinite(self.item_factors).all()):
            raise ModelFitError(
                "factors are not finite after training; raise the regularization or lower the learning rate"
            )


def kept_with(
    kept: Any, factors: np.ndarray, make: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return factors with what is made of them: `kept`, where that is of the very same factors.

    Whoever replaces factors, in this thread or another, leaves nothing behind that is of the old ones.
    """
    return kept if kept is not None and kept[0] is factors else (factors, make(factors))


def _norms(factors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(factors, axis=-1)
    norms[norms == 0] = 1e-10
    return np.asarray(norms)


def _rows(name: str, values: Any, size: int) -> np.ndarray:
    rows = np.atleast_1d(np.asarray(values))
    outside = (rows < 0) | (rows >= size)
    if outside.any():
        raise IndexError(f"{name} {rows[outside][0]} is not in the model; expected 0 to {size - 1}")
    return rows


def _candidates(
    name: str, wanted: Any, forbidden_name: str, forbidden: Any, size: int
) -> np.ndarray | None:
    """Return the rows that may be an answer, rising, or None for all."""
    if wanted is not None:
        if forbidden is not None and len(forbidden):
            raise ValueError(
                f"{name} and {forbidden_name} are both given; expected one: leave the unwanted out of {name}"
            )
        rows = np.asarray(wanted)
        outside = (rows < 0) | (rows >= size)
        if outside.any():
            raise IndexError(
                f"some of {name} are not in the model: {rows[outside][0]}; expected 0 to {size - 1}"
            )
        return np.asarray(np.unique(rows))
    if forbidden is None or len(forbidden) == 0:
        return None
    rows = np.asarray(forbidden)
    allowed = np.ones(size, bool)
    allowed[rows[(rows >= 0) & (rows < size)]] = False
    return np.flatnonzero(allowed)


def _exclusions(user_items: Any, n_users: int, n_items: int) -> Exclusions:
    if len(user_items.indices) and user_items.indices.max() >= n_items:
        raise ValueError(
            f"user_items has an entry in column {user_items.indices.max()}; the model has {n_items} items"
        )
    return Exclusions(np.arange(n_users), user_items.indptr.astype(np.int64), user_items.indices)


def _append_missing(ids: np.ndarray, scores: np.ndarray, candidates: np.ndarray) -> None:
    """Put the candidates that were left out behind the others, in place."""
    for row in np.flatnonzero((ids < 0).any(axis=1)):
        free = ids[row] < 0
        left = np.setdiff1d(candidates, ids[row])[: np.count_nonzero(free)]
        ids[row, free] = left
        scores[row, free] = _LOWEST


def _answers(
    ids: np.ndarray, scores: np.ndarray, size: int, single: bool
) -> tuple[np.ndarray, np.ndarray]:
    if size <= np.iinfo(np.int32).max:
        ids = ids.astype(np.int32)
    if not single:
        return ids, scores
    found = ids[0] >= 0
    return ids[0, found], scores[0, found]


def _most_similar(
    queries: np.ndarray,
    factors: np.ndarray,
    norms: np.ndarray,
    n: int,
    allowed: np.ndarray | None,
    asked: Any,
    n_threads: int,
) -> tuple[np.ndarray, np.ndarray]:
    n = min(n, len(factors) if allowed is None else len(allowed))
    units = factors / norms[:, None]
    ids, scores = top_n_of_products(
        queries / _norms(queries)[:, None],
        np.arange(len(queries)),
        units,
        max(n, 1),
        allowed=allowed,
        n_threads=n_threads,
    )
    return _answers(ids[:, :n], scores[:, :n], len(factors), np.ndim(asked) == 0)


def _with_ending(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    return name if name.endswith(".npz") else f"{name}.npz"


def _deprecated(name: str, instead: str) -> None:
    warn_caller(f"{name} is deprecated: use {instead}", DeprecationWarning)
