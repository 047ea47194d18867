"""Predictions and recommendations for users and items of which features alone are known."""

from __future__ import annotations

import weakref
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cymf._base import MatrixFactorization
from cymf._feature_state import predicted_rows
from cymf._kernels import kernels
from cymf._queries import Axis, By, Unknown, rows_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from cymf._state import FittedState

__all__ = ["ColdAnswers"]


class ColdAnswers(MatrixFactorization):
    """A model that learns from features as well, and answers for users and items that have nothing else."""

    def predict_cold(
        self,
        user_features: Any = None,
        item_features: Any = None,
        users: ArrayLike | None = None,
        items: ArrayLike | None = None,
        *,
        by: By = "id",
        clip: bool = False,
    ) -> np.ndarray:
        r"""Predict ratings of users or items from their features, pair by pair.

        A row of features F stands for the factors F B and the bias F β. The other row of a pair is, if it has ratings,
        what solves its least-squares problem against the same of its ratings' rows: h_j and b_j in a new user's
        prediction μ + F β + b_j + (F B)·h_j are those that explain item j's ratings best by what features predict of
        its users. (`predict` takes what was learnt of whole rows. Who rates what is no accident, so that these are not
        the best guess for a row of which features alone are known. `ImplicitALS`, which looks at all cells, has one
        kind of rows.)

        Parameters
        ----------
        user_features : Features, table, mapping, or matrix of shape (n_pairs, n_features), optional
            The users: with the columns, or the width, that `fit` was given; ids in it do not matter. A mapping from
            column names to single values is one row. Give either this or `users`.
        item_features : the same of the items, optional
            Give either this or `items`.
        users, items : scalar or array-like of shape (n_pairs,), optional
            Users or items of the model. One row or scalar is paired with everything on the other side.
        by : {"id", "index"}, default "id"
            Whether `users` and `items` are ids or row numbers.
        clip : bool, default False
            Whether to limit predictions to the range of the training ratings.

        Returns
        -------
        ndarray of shape (n_pairs,), in the dtype of the model

        Raises
        ------
        ValueError
            If one side is given twice or not at all, the model was fitted without its features, columns or widths are
            not those of `fit`, or lengths differ.
        TypeError
            If features are neither Features, nor a matrix, nor a table.
        NotFittedError
            If `fit` has not been called.
        """
        state = self._fitted()
        given = []
        for what, features, ids, other in (
            ("user", user_features, users, item_features),
            ("item", item_features, items, user_features),
        ):
            if (features is None) == (ids is None):
                number = "both" if ids is not None else "neither"
                raise ValueError(f"{number} of {what}_features and {what}s is given; expected one")
            given.append(
                _known_rows(state, what, ids, by, other is not None)
                if features is None
                else _described_rows(state, what, features, type(self).__name__)
            )
        (user_index, *user), (item_index, *item) = given
        n_pairs = _pair_count(len(user_index), len(item_index))
        user_index, item_index = (
            np.ascontiguousarray(np.broadcast_to(index, n_pairs))
            for index in (user_index, item_index)
        )
        predicted = np.empty(n_pairs, state.dtype)
        kernels.predict_pairs(
            user_index, item_index, user[0], item[0], user[1], item[1], state.global_mean, predicted
        )
        if state.user_bias is None:
            predicted[(user_index < 0) | (item_index < 0)] = state.rating_mean
        if clip:
            np.clip(predicted, *state.rating_range, out=predicted)
        return predicted

    def recommend_cold(
        self,
        user_features: Any,
        n: int = 10,
        *,
        exclude: Any = None,
        candidates: ArrayLike | None = None,
        filter: ArrayLike | None = None,
        by: By = "id",
        unknown: Unknown = "fallback",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest predicted ratings for users given by their features.

        Parameters
        ----------
        user_features : Features, table, mapping, or matrix of shape (n_queries, n_features)
            The users; see `predict_cold`.
        n : int, default 10
            Items for each.
        exclude, candidates, filter, by, unknown
            As in `recommend_by_factors`.

        Returns
        -------
        items, scores : ndarray of shape (n_queries, n)
            As those of `recommend`. Items without training ratings are among them if the model knows their features.

        Raises
        ------
        ValueError, TypeError
            If the model was fitted without `user_features`, or they do not fit; and as `recommend_by_factors`.
        UnknownIdError
            If ``unknown="raise"`` and an item is not known.
        NotFittedError
            If `fit` has not been called.

        Examples
        --------
        >>> import cymf
        >>> people = {"user": ["ann", "bob", "cy"], "likes": ["hot", "cold", "hot"]}
        >>> pairs = [["ann", "tea"], ["ann", "ice"], ["bob", "tea"], ["bob", "ice"], ["cy", "tea"]]
        >>> model = cymf.ALS(n_factors=1, reg=0.1, feature_reg=0.1)
        >>> model = model.fit(pairs, [5.0, 1.0, 1.0, 5.0, 5.0], user_features=people)
        >>> items, scores = model.recommend_cold({"likes": ["cold", "hot"]}, n=1)
        >>> print(items[:, 0])
        ['ice' 'tea']
        """
        state = self._fitted()
        _, factors, bias = _described_rows(state, "user", user_features, type(self).__name__)
        offset: Any = bias if len(bias) else 0.0
        twin = copy(self)
        twin._publish(_cold_state(state, "item"))
        return twin.recommend_by_factors(
            factors, n, user_bias=offset, exclude=exclude, candidates=candidates, filter=filter, by=by,
            unknown=unknown,
        )  # fmt: skip

    @property
    def user_feature_factors_(self) -> np.ndarray | None:
        """B of the users, a read-only array of shape (n_features, n_factors); None if there were no features."""
        return self._fitted().extra.get("user_feature_factors")

    @property
    def item_feature_factors_(self) -> np.ndarray | None:
        """B of the items, a read-only array of shape (n_features, n_factors); None if there were no features."""
        return self._fitted().extra.get("item_feature_factors")


def _known_rows(
    state: FittedState, what: str, ids: Any, by: By, other_is_cold: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row numbers, -1 where nothing is known, and the factors and biases of the model's rows."""
    axis = Axis.users(state) if what == "user" else Axis.items(state)
    rows = rows_of(ids, axis, by=by)
    if other_is_cold:
        state = _cold_state(state, what)
    factors, bias = (
        (state.user_factors, state.user_bias)
        if what == "user"
        else (state.item_factors, state.item_bias)
    )
    return rows, factors, np.zeros(0, state.dtype) if bias is None else bias


def _cold_state(state: FittedState, what: str) -> FittedState:
    """Return the state with one side's rows as they are for a cold row of the other side; kept for the next call."""
    if f"cold_{what}_factors" not in state.extra:
        return state
    known = _cold_states.setdefault(state, {})
    if what not in known:
        names = [f"{what}_factors", *([f"{what}_bias"] if state.user_bias is not None else [])]
        rows: dict[str, Any] = {name: state.extra[f"cold_{name}"] for name in names}
        known[what] = replace(state, **rows)
    return known[what]


_cold_states: weakref.WeakKeyDictionary[FittedState, dict[str, FittedState]] = (
    weakref.WeakKeyDictionary()
)


def _described_rows(
    state: FittedState, what: str, features: Any, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the row numbers 0, 1, … and the factors and biases that features stand for."""
    factors, bias = predicted_rows(state, what, features, None, name)
    return np.arange(len(factors)), factors, bias if state.user_bias is not None else bias[:0]


def _pair_count(n_users: int, n_items: int) -> int:
    if n_users != n_items and 1 not in (n_users, n_items):
        raise ValueError(
            f"got {n_users} users and {n_items} items; expected equally many, pair by pair, or a single row on one side"
        )
    return n_items if n_users == 1 else n_users
