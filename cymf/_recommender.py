"""What a fitted model recommends, and what it finds alike: arrays, tables, files, and an approximate index."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cymf._arrays import as_array
from cymf._column_types import LIBRARIES, column_type
from cymf._columns import plain_array, query_column, written_column
from cymf._exploration import Explore, explored_items
from cymf._fitted import Fitted
from cymf._queries import (
    Axis,
    By,
    Unknown,
    allowed_items,
    ids_of,
    own_candidates,
    row_of,
    rows_of,
    seen_exclusions,
    vector_exclusions,
)
from cymf._ranking_queries import best_items, best_items_of_one, most_similar
from cymf._validation import check_choice, check_integer, check_threads

if TYPE_CHECKING:
    import os

    from numpy.typing import ArrayLike

    from cymf._ann import AnnIndex
    from cymf._recommendation_file import AnswerTypes
    from cymf._state import FittedState

__all__ = ["Recommender"]

_BLOCK_ANSWERS = 1 << 18  # rows of a table that are made at a time


class Recommender(Fitted):
    """The part of a model that ranks: every answer is exact and the same for any number of threads."""

    def recommend(
        self,
        users: ArrayLike,
        n: int = 10,
        *,
        by: By = "id",
        exclude_seen: bool = True,
        seen: Any = None,
        candidates: Any = None,
        filter: ArrayLike | None = None,
        unknown: Unknown = "fallback",
        explore: Explore | None = None,
        explore_scale: float = 1.0,
        random_state: int | np.random.Generator | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest predicted ratings for each user.

        Parameters
        ----------
        users : scalar or array-like of shape (n_users,)
            Whom to recommend to.
        n : int, default 10
            Items for each user.
        by : {"id", "index"}, default "id"
            Whether users and items, given and returned, are ids or row numbers.
        exclude_seen : bool, default True
            Whether to leave out what a user has rated.
        seen : Ratings or scipy sparse matrix, optional
            What users have rated, in place of the training ratings. The ids of Ratings are
            matched with the model's; a sparse matrix has the model's rows and columns.
        candidates : array-like, Ratings, scipy sparse matrix, or a list of these items for each user, optional
            The only items to recommend: to everybody, if one-dimensional; else to each user their own, as a list
            of items for each entry of `users`, as Ratings (matched by ids), or as a sparse matrix with the model's
            rows and columns. Items that the model does not know are passed over.
        filter : array-like, optional
            Items not to recommend.
        unknown : {"fallback", "raise"}, default "fallback"
            What to do with users without training ratings: rank by the item biases, or by the items' numbers
            of training ratings in a model without biases; or raise. With ``"raise"``, unknown
            `candidates` and `filter` raise as well.
        explore : {"thompson", "ucb"} or None, default None
            Whether to try what the model is not sure about, for models that know their uncertainty (`ALS`,
            `ImplicitALS`, `BayesianMF`): rank by scores drawn from their distribution, or by the prediction plus
            `explore_scale` latent standard deviations; scores are then these. See ``docs/exploration.md``.
        explore_scale : float, default 1
            Times the standard deviation, of what is drawn or added.
        random_state : int, Generator or None, default None
            Seed of ``explore="thompson"``; None draws a fresh one at every call.

        Returns
        -------
        items : ndarray of shape (n_users, n), or (n,) for a scalar user
            Best first; equal scores in the order of the items' row numbers. Items without training
            ratings are never recommended. Where fewer than `n` items are left, the rest is -1, or
            "" among ids that are strings.
        scores : ndarray of the same shape, in the dtype of the model
            Predicted ratings, NaN in the rest and nowhere else: where an item's own id is -1 or "", its score tells it
            from an empty place.

        Raises
        ------
        ValueError
            If ``exclude_seen=True`` and there is nothing to tell what was seen: the model keeps
            no ratings and `seen` is not given.
        UnknownIdError
            If ``unknown="raise"`` and a user or item has no training ratings.
        IndexError
            If ``by="index"`` and a row number is not in the matrix.
        NotFittedError
            If `fit` has not been called.

        Notes
        -----
        The answer is exact and the same for any number of threads. The first call makes an index of the items
        (`n_factors` bytes an item), which is kept as long as the model is not trained again; then a query takes
        O(n_items n_factors) byte operations at most, and where norms of the item factors differ, far less: items
        are visited in the order of ‖h_j‖ and b_j, and ‖w_i‖ ‖h_j‖ + b_j bounds what is left. Memory beside index
        and answer does not grow with the number of users.
        """
        state = self._fitted()
        n = check_integer("n", n, 1)
        check_choice("unknown", unknown, ("fallback", "raise"))
        if seen is not None and not exclude_seen:
            raise ValueError("seen is given with exclude_seen=False; expected one or the other")
        users = query_column(users, "users")
        if seen is None and candidates is None and filter is None and explore is None:
            row = row_of(users, Axis.users(state), by)
            if row >= 0 and (state.ratings is not None or not exclude_seen):
                found = best_items_of_one(state, row, n, exclude_seen)
                return ids_of(found[0], Axis.items(state), by), found[1]
        rows = rows_of(users, Axis.users(state), by=by, unknown=unknown)
        excluded = seen_exclusions(state, seen, users, by) if exclude_seen else None
        offset = np.full(len(rows), state.global_mean, state.dtype)
        if state.user_bias is None:
            offset[rows < 0] = state.rating_mean
        else:
            offset += np.where(rows >= 0, state.user_bias[rows], 0)
        own = own_candidates(state, candidates, users, by, unknown)
        allowed = allowed_items(state, None if own else candidates, filter, by, unknown)
        if explore is not None:
            items, scores = explored_items(
                self, state, rows, n, explore, explore_scale, random_state, excluded, allowed, own
            )
        else:
            items, scores = best_items(
                state,
                state.user_factors,
                rows,
                offset,
                n,
                excluded=excluded,
                allowed=allowed,
                candidates=own,
                n_threads=self._query_threads(),
            )
        ids = ids_of(items, Axis.items(state), by)
        return (ids[0], scores[0]) if np.ndim(users) == 0 else (ids, scores)

    def recommend_by_factors(
        self,
        user_factors: ArrayLike,
        n: int = 10,
        *,
        user_bias: ArrayLike = 0.0,
        exclude: Any = None,
        candidates: ArrayLike | None = None,
        filter: ArrayLike | None = None,
        by: By = "id",
        unknown: Unknown = "fallback",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items with the highest predicted ratings for users given by their factors.

        For factors that were folded in, averaged over a group, or come from elsewhere. The prediction for factors w
        and a bias b is μ + b + b_j + w · h_j.

        Parameters
        ----------
        user_factors : array-like of shape (n_factors,) or (n_queries, n_factors)
            Converted to the dtype of the model.
        n : int, default 10
            Items for each.
        user_bias : float or array-like of shape (n_queries,), default 0
            The bias b.
        exclude : array-like, list of array-like, or sparse matrix of shape (n_queries, n_items), optional
            Items that are no answer: of one query as a list, of several as a list for each.
        candidates, filter : array-like, optional
            The only items to recommend; items not to recommend.
        by : {"id", "index"}, default "id"
            Whether items, given and returned, are ids or row numbers.
        unknown : {"fallback", "raise"}, default "fallback"
            Whether items that the model does not know are passed over or raise.

        Returns
        -------
        items, scores : ndarray of shape (n_queries, n), or (n,) for one-dimensional factors
            As those of `recommend`.

        Raises
        ------
        ValueError
            If the factors have another number of columns than the model, or are not finite, or shapes do not fit.
        UnknownIdError
            If ``unknown="raise"`` and an item has no training ratings.
        NotFittedError
            If `fit` has not been called.

        Examples
        --------
        >>> import cymf
        >>> pairs = [["ann", "tea"], ["ann", "rum"], ["bob", "tea"], ["cy", "rum"]]
        >>> model = cymf.ALS(n_factors=2).fit(pairs, [5.0, 1.0, 4.0, 2.0])
        >>> items, scores = model.recommend_by_factors(model.user_factors_.mean(axis=0), 1)
        >>> print(items)
        ['tea']
        """
        state = self._fitted()
        n = check_integer("n", n, 1)
        given = as_array(user_factors, "user_factors")
        queries = np.array(given, state.dtype, order="C", ndmin=2)
        scalar = given.ndim == 1
        if queries.ndim != 2 or queries.shape[1] != state.n_factors or given.ndim == 0:
            raise ValueError(
                f"user_factors has shape {given.shape}; expected (n_queries, {state.n_factors}), or "
                f"({state.n_factors},) for one query"
            )
        offset = np.asarray(plain_array(user_bias, "user_bias"), np.float64)
        if offset.ndim > 1 or (offset.ndim == 1 and len(offset) != len(queries)):
            raise ValueError(
                f"user_bias has shape {offset.shape}; expected a number, or {len(queries)}, one for each query"
            )
        if not (np.isfinite(queries).all() and np.isfinite(offset).all()):
            raise ValueError(
                "user_factors or user_bias hold NaN or infinity; expected finite numbers"
            )
        items, scores = best_items(
            state,
            queries,
            np.arange(len(queries)),
            np.full(len(queries), offset + state.global_mean, state.dtype),
            n,
            excluded=vector_exclusions(state, exclude, len(queries), scalar, by, unknown),
            allowed=allowed_items(state, candidates, filter, by, unknown),
            n_threads=self._query_threads(),
        )
        ids = ids_of(items, Axis.items(state), by)
        return (ids[0], scores[0]) if scalar else (ids, scores)

    def recommend_table(
        self,
        users: Any = None,
        n: int = 10,
        *,
        backend: Literal["pandas", "polars", "pyarrow"] | None = None,
        **options: Any,
    ) -> Any:
        """Return recommendations as a table with a row for each user and item.

        Parameters
        ----------
        users : array-like of shape (n_users,), optional
            Whom to recommend to; all users with training ratings if not given.
        n : int, default 10
            Items for each user, at most.
        backend : {"pandas", "polars", "pyarrow"}, default None
            The library whose table is returned; it must be installed. None: that of `users`, if they are a column of
            one; else that of the table the model was trained on, also after it was saved and loaded; else pandas.
        **options
            Those of `recommend`: by, exclude_seen, seen, candidates, filter, unknown.

        Returns
        -------
        pandas.DataFrame, polars.DataFrame or pyarrow.Table
            Columns user, rank (from 1), item, score; users in the order given, best items first. For a model trained on
            a table, users and items are in columns of the names and types that they had there: integers of their width,
            categories. Users that are given have the type they are given in.

        Raises
        ------
        ModuleNotFoundError
            If the library is not installed.
        ValueError, TypeError, IndexError, UnknownIdError, NotFittedError
            As `recommend`.
        """
        from cymf._recommendation_file import as_table, recommendation_rows

        if backend is not None:
            check_choice("backend", backend, LIBRARIES)
        model = copy(self)  # with the state of now, whoever trains the model meanwhile
        asked, types = model._asked(users, options)
        items, scores = model.recommend(asked, n, **options)
        return as_table(recommendation_rows(asked, items, scores), types, backend or types.library)

    def recommend_all(
        self,
        path: str | os.PathLike[str],
        n: int = 10,
        *,
        users: Any = None,
        verbose: bool = False,
        **options: Any,
    ) -> int:
        """Write recommendations for all users to a Parquet or CSV file, block by block.

        Parameters
        ----------
        path : str or path-like
            The file, by its suffix ``.parquet`` (needs pyarrow) or ``.csv``. It appears, or replaces what was
            there, when it is complete; nothing half-written is left.
        n : int, default 10
            Items for each user, at most.
        users : array-like of shape (n_users,), optional
            Whom to recommend to; all users with training ratings if not given.
        verbose : bool, default False
            Whether to show a progress bar.
        **options
            Those of `recommend`: by, exclude_seen, seen, candidates (for all users), filter, unknown.

        Returns
        -------
        int
            Rows written. They have the columns user, rank (from 1), item, score, or the names of `recommend_table`;
            those of a Parquet file have the types of `recommend_table` as well.

        Raises
        ------
        ModuleNotFoundError
            If pyarrow is needed and not installed.
        ValueError
            If the suffix is another; and as `recommend`.
        OSError
            If the file cannot be written.
        TypeError, IndexError, UnknownIdError, NotFittedError
            As `recommend`.

        Notes
        -----
        Memory does not grow with the number of users, but for their ids.
        """
        from tqdm.auto import tqdm

        from cymf._recommendation_file import SUFFIXES, RecommendationFile

        path, n = Path(path), check_integer("n", n, 1)
        if path.suffix not in SUFFIXES:
            raise ValueError(
                f"path={str(path)!r} ends in {path.suffix!r}; expected .parquet or .csv"
            )
        model = copy(self)  # with the state of now, whoever trains the model meanwhile
        asked, types = model._asked(users, options)
        height = max(1, _BLOCK_ANSWERS // n)
        n_written = 0
        with (
            RecommendationFile(path, types) as file,
            tqdm(total=len(asked), desc="recommend", unit="user", disable=not verbose) as bar,
        ):
            for start in range(0, max(1, len(asked)), height):
                block = asked[start : start + height]
                items, scores = model.recommend(block, n, **options)
                file.write(block, items, scores)
                n_written += int(np.count_nonzero(~np.isnan(scores)))
                bar.update(len(block))
        return n_written

    def _asked(self, users: Any, options: dict[str, Any]) -> tuple[np.ndarray, AnswerTypes]:
        """Return the given users as an array, all that are known if None; and of which types columns were."""
        from cymf._recommendation_file import AnswerTypes

        state = self._fitted()
        ids = state.user_ids, state.item_ids
        by_id = options.get("by", "id") == "id"
        of_users, of_items = (None if side is None else side.column for side in ids)
        types = AnswerTypes.of(of_users, of_items, column_type(users))
        types = types._replace(item=of_items if by_id else None)
        if users is None:
            known = np.flatnonzero(state.user_known)
            asked = ids_of(known, Axis.users(state), "id" if by_id else "index")
            return asked, types._replace(user=of_users if by_id else None)
        asked = written_column(users, "users")
        if asked.ndim != 1:
            raise ValueError(f"users has {asked.ndim} dimensions; expected one")
        asked = asked.astype(object) if asked.dtype.kind == "U" else asked
        return asked, types._replace(user=column_type(users))

    def export_ann_index(
        self,
        path: str | os.PathLike[str],
        *,
        connectivity: int = 16,
        expansion_add: int = 128,
        expansion_search: int = 128,
        n_sample: int = 1000,
        n: int = 10,
        random_state: int = 0,
    ) -> AnnIndex:
        """Write the items into an approximate nearest-neighbour index (HNSW, by usearch), and measure its recall.

        The largest w · h + b_j is found as the largest cosine: items become [h_j, b_j, √(M² − ‖h_j‖² − b_j²)], all of
        the length M of the longest, and users [w, 1, 0].

        Parameters
        ----------
        path : str or path-like
            The file of usearch; it appears when it is complete. Keys are the row numbers of the items.
        connectivity, expansion_add, expansion_search : int
            Parameters of HNSW: more is slower and finds more.
        n_sample : int, default 1000
            Users, drawn at random, to measure the recall with.
        n : int, default 10
            The recall is the share of the exact `n` best items that the index finds.
        random_state : int, default 0
            Seed of the sample.

        Returns
        -------
        AnnIndex
            Searches the index; its `recall` is the measured one.

        Raises
        ------
        ModuleNotFoundError
            If usearch is not installed.
        NotFittedError
            If `fit` has not been called.

        Notes
        -----
        `recommend` is exact and often as fast; an approximate index is for services that cannot call Python, or for
        catalogues of many millions. Source of the extra coordinate: Bachrach et al. 2014, "Speeding up the Xbox
        recommender system using a Euclidean transformation for inner-product spaces".
        """
        from cymf._ann import export

        return export(
            self._fitted(),
            path,
            (
                check_integer("connectivity", connectivity, 2),
                check_integer("expansion_add", expansion_add, 1),
                check_integer("expansion_search", expansion_search, 1),
            ),
            check_integer("n_sample", n_sample, 1),
            check_integer("n", n, 1),
            random_state,
            self._query_threads(),
        )

    def similar_items(
        self,
        items: ArrayLike,
        n: int = 10,
        *,
        by: By = "id",
        metric: Literal["cosine", "dot"] = "cosine",
        include_self: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the items whose factors are most like those of each given item.

        Parameters
        ----------
        items : scalar or array-like of shape (n_queries,)
            The items to compare with all others.
        n : int, default 10
            Answers for each item.
        by : {"id", "index"}, default "id"
            Whether items, given and returned, are ids or row numbers.
        metric : {"cosine", "dot"}, default "cosine"
            The cosine h_i·h_j / (‖h_i‖ ‖h_j‖), 0 where a norm is 0; or the product h_i·h_j.
        include_self : bool, default False
            Whether an item may be an answer to itself.

        Returns
        -------
        ids : ndarray of shape (n_queries, n), or (n,) for a scalar item
            Most similar first; equal ones in the order of their row numbers. Items without
            training ratings are no answer. Padded by -1, or "" among ids that are strings.
        scores : ndarray of the same shape, in the dtype of the model
            Padded by NaN.

        Raises
        ------
        UnknownIdError
            If an item has no training ratings: nothing is known that could be similar.
        IndexError
            If ``by="index"`` and a row number is not in the matrix.
        NotFittedError
            If `fit` has not been called.
        """
        state = self._fitted()
        return self._similar(state, Axis.items(state), items, n, by, metric, include_self)

    def similar_users(
        self,
        users: ArrayLike,
        n: int = 10,
        *,
        by: By = "id",
        metric: Literal["cosine", "dot"] = "cosine",
        include_self: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the users whose factors are most like those of each given user.

        Parameters, answers and errors are those of `similar_items`, with users for items.
        """
        state = self._fitted()
        return self._similar(state, Axis.users(state), users, n, by, metric, include_self)

    def _similar(
        self,
        state: FittedState,
        axis: Axis,
        values: ArrayLike,
        n: int,
        by: By,
        metric: str,
        include_self: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        values = query_column(values, f"{axis.what}s")
        rows = rows_of(values, axis, by=by, unknown="raise")
        found, scores = most_similar(
            state,
            axis.what,
            rows,
            check_integer("n", n, 1),
            metric=metric,
            include_self=include_self,
            n_threads=self._query_threads(),
        )
        ids = ids_of(found, axis, by)
        return (ids[0], scores[0]) if np.ndim(values) == 0 else (ids, scores)

    def _query_threads(self) -> int:
        return check_threads(getattr(self, "n_threads", 1))
