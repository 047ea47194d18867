"""Splitting ratings into train and test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cymf._compressed import compress
from cymf.ratings import Ratings

__all__ = [
    "RandomState",
    "check_ratings",
    "cold_item_split",
    "cold_user_split",
    "input_sequence",
    "kfold",
    "leave_k_out",
    "leave_latest_out",
    "random_split",
    "temporal_split",
]

RandomState = int | np.random.Generator | None


def random_split(
    ratings: Ratings, test_size: float = 0.2, random_state: RandomState = 0
) -> tuple[Ratings, Ratings]:
    """Draw test ratings at random from all of them.

    The draw is made over the ratings in storage order, so it does not depend on the order in which
    they came.

    Parameters
    ----------
    ratings : Ratings
        What to split.
    test_size : float or int, default=0.2
        Share of the ratings (between 0 and 1, rounded to whole ratings), or their number.
    random_state : int, numpy.random.Generator or None, default=0
        Seed, or source of random numbers; None: different at every call.

    Returns
    -------
    train, test : Ratings
        Both with the shape and ids of `ratings`.

    Raises
    ------
    ValueError
        If either part would be empty.

    Examples
    --------
    >>> import numpy as np
    >>> from cymf.ratings import Ratings
    >>> from cymf.evaluation import random_split
    >>> train, test = random_split(Ratings.from_matrix(np.ones((5, 4))), test_size=0.25)
    >>> train.nnz, test.nnz, test.shape
    (15, 5, (5, 4))
    """
    check_ratings(ratings)
    count = _test_count(test_size, ratings.nnz)
    drawn = _generator(random_state).choice(ratings.nnz, count, replace=False, shuffle=False)
    mask = np.zeros(ratings.nnz, dtype=bool)
    mask[drawn] = True
    return _parts(ratings, mask)


def leave_k_out(
    ratings: Ratings, k: int = 1, random_state: RandomState = 0
) -> tuple[Ratings, Ratings]:
    """Draw k test ratings of every user who has more than k.

    Users with k ratings or fewer keep all of them in train. Every set of k of a user's ratings is
    equally likely; the draw does not depend on the order in which the ratings came.

    Parameters
    ----------
    ratings : Ratings
        What to split.
    k : int, default=1
        Test ratings per user.
    random_state : int, numpy.random.Generator or None, default=0
        Seed, or source of random numbers; None: different at every call.

    Returns
    -------
    train, test : Ratings
        Both with the shape and ids of `ratings`.

    Raises
    ------
    ValueError
        If no user has more than k ratings.

    Notes
    -----
    Floyd's algorithm (Bentley and Floyd, "Programming pearls: a sample of brilliance", 1987), for
    all users at once: O(n_users k²) and no sorting.

    Examples
    --------
    >>> import numpy as np
    >>> from cymf.ratings import Ratings
    >>> from cymf.evaluation import leave_k_out
    >>> train, test = leave_k_out(Ratings.from_matrix(np.ones((3, 4))), k=2)
    >>> train.user_counts.tolist(), test.user_counts.tolist()
    ([2, 2, 2], [2, 2, 2])
    """
    check_ratings(ratings)
    starts, counts = _eligible_users(ratings, k)
    generator = _generator(random_state)
    drawn = np.full((k, len(starts)), -1, dtype=np.int64)
    for step in range(k):
        last = counts - k + step
        pick = generator.integers(0, last, endpoint=True)
        drawn[step] = np.where((drawn[:step] == pick).any(axis=0), last, pick)
    mask = np.zeros(ratings.nnz, dtype=bool)
    mask[(drawn + starts).ravel()] = True
    return _parts(ratings, mask)


def leave_latest_out(ratings: Ratings, k: int = 1) -> tuple[Ratings, Ratings]:
    """Keep the k latest ratings of every user who has more than k for the test.

    Users with k ratings or fewer keep all of them in train. Of ratings with the same timestamp, one
    that came later in the input counts as later.

    Parameters
    ----------
    ratings : Ratings
        What to split; with timestamps.
    k : int, default=1
        Test ratings per user.

    Returns
    -------
    train, test : Ratings
        Both with the shape and ids of `ratings`.

    Raises
    ------
    ValueError
        If there are no timestamps, or no user has more than k ratings.

    Examples
    --------
    >>> from cymf.ratings import Ratings
    >>> from cymf.evaluation import leave_latest_out
    >>> users, items, times = [1, 1, 2], [7, 8, 7], [20, 10, 30]
    >>> ratings = Ratings.from_triplets(users, items, [5, 4, 3], timestamps=times)
    >>> train, test = leave_latest_out(ratings)
    >>> test.to_triplets()[1].tolist()
    [7]
    """
    check_ratings(ratings)
    timestamps = _timestamps(ratings, "leave_latest_out")
    starts, counts = _eligible_users(ratings, k)
    by_input = input_sequence(ratings)
    in_time = by_input[np.argsort(timestamps[by_input], kind="stable")]
    users = ratings.users[in_time]
    grouped = compress([users, np.zeros_like(users)], (ratings.n_users, 1)).order
    if grouped is not None:
        in_time = in_time[grouped]
    latest = (starts + counts)[:, None] - np.arange(1, k + 1)
    mask = np.zeros(ratings.nnz, dtype=bool)
    mask[in_time[latest.ravel()]] = True
    return _parts(ratings, mask)


def temporal_split(ratings: Ratings, test_size: float = 0.2) -> tuple[Ratings, Ratings]:
    """Train on the past, test on the future: cut all ratings at one moment.

    No test rating is older than any training rating. Of ratings with the timestamp of the cut,
    those that came later in the input go into the test, so that its size is exact.

    Parameters
    ----------
    ratings : Ratings
        What to split; with timestamps.
    test_size : float or int, default=0.2
        Share of the ratings (between 0 and 1, rounded to whole ratings), or their number.

    Returns
    -------
    train, test : Ratings
        Both with the shape and ids of `ratings`.

    Raises
    ------
    ValueError
        If there are no timestamps, or either part would be empty.

    Examples
    --------
    >>> from cymf.ratings import Ratings
    >>> from cymf.evaluation import temporal_split
    >>> users, items, times = [1, 2, 3, 4], [5, 6, 5, 6], [70, 30, 90, 50]
    >>> ratings = Ratings.from_triplets(users, items, [4, 4, 4, 4], timestamps=times)
    >>> train, test = temporal_split(ratings, test_size=0.5)
    >>> test.to_triplets()[0].tolist()
    [1, 3]
    """
    check_ratings(ratings)
    timestamps = _timestamps(ratings, "temporal_split")
    count = _test_count(test_size, ratings.nnz)
    cut = np.partition(timestamps, ratings.nnz - count)[ratings.nnz - count]
    mask = timestamps > cut
    ties = np.flatnonzero(timestamps == cut)
    if ratings.input_order is not None:
        ties = ties[np.argsort(ratings.input_order[ties])]
    mask[ties[len(ties) - (count - int(mask.sum())) :]] = True
    return _parts(ratings, mask)


def kfold(
    ratings: Ratings, n_splits: int = 5, random_state: RandomState = 0
) -> Iterator[tuple[Ratings, Ratings]]:
    """Cut the ratings into folds; each is the test once, the others are train.

    The folds are those of Surprise's ``KFold``: the positions of the input are shuffled and cut
    into consecutive slices, the first ``n % n_splits`` of which hold one rating more. Over the same
    file in the same order, the same seed makes the same folds there and here.

    Parameters
    ----------
    ratings : Ratings
        What to split. Its input order is used, see `Ratings.input_order`.
    n_splits : int, default=5
        Number of folds, at least 2.
    random_state : int, numpy.random.Generator or None, default=0
        An int seeds NumPy's older ``RandomState``, as Surprise does; None: different at every call.

    Yields
    ------
    train, test : Ratings
        Both with the shape and ids of `ratings`.

    Raises
    ------
    ValueError
        If there are fewer than 2 folds, or more than ratings.

    References
    ----------
    N. Hug, "Surprise: a Python library for recommender systems", Journal of Open Source Software
    5(52), 2020, doi:10.21105/joss.02174.

    Examples
    --------
    >>> import numpy as np
    >>> from cymf.ratings import Ratings
    >>> from cymf.evaluation import kfold
    >>> [test.nnz for train, test in kfold(Ratings.from_matrix(np.ones((3, 4))))]
    [3, 3, 2, 2, 2]
    """
    check_ratings(ratings)
    if not isinstance(n_splits, (int, np.integer)) or not 2 <= n_splits <= ratings.nnz:
        raise ValueError(
            f"n_splits must be an integer from 2 to the number of ratings, {ratings.nnz}; "
            f"given {n_splits!r}"
        )
    return _folds(ratings, n_splits, random_state)


def _folds(
    ratings: Ratings, n_splits: int, random_state: RandomState
) -> Iterator[tuple[Ratings, Ratings]]:
    shuffled = np.arange(ratings.nnz)
    if isinstance(random_state, (int, np.integer)):
        np.random.RandomState(random_state).shuffle(shuffled)
    else:
        _generator(random_state).shuffle(shuffled)
    shuffled = input_sequence(ratings)[shuffled]
    for fold in np.array_split(shuffled, n_splits):
        mask = np.zeros(ratings.nnz, dtype=bool)
        mask[fold] = True
        yield _parts(ratings, mask)


def cold_user_split(
    ratings: Ratings, test_size: float = 0.2, random_state: RandomState = 0
) -> tuple[Ratings, Ratings]:
    """Draw test users at random; all their ratings are the test, and the model knows nothing of them.

    To measure what a model makes of a little that is known of a new user, split the test again, for instance by
    `leave_k_out`, and fold the first part in.

    Parameters
    ----------
    ratings : Ratings
        What to split.
    test_size : float or int, default=0.2
        Share of the users who have ratings (between 0 and 1, rounded to whole users), or their number.
    random_state : int, numpy.random.Generator or None, default=0
        Seed, or source of random numbers; None: different at every call.

    Returns
    -------
    train, test : Ratings
        Both with the shape and ids of `ratings`.

    Raises
    ------
    ValueError
        If either part would be empty.

    Examples
    --------
    >>> import numpy as np
    >>> from cymf.ratings import Ratings
    >>> from cymf.evaluation import cold_user_split
    >>> train, test = cold_user_split(Ratings.from_matrix(np.ones((4, 3))), test_size=0.25)
    >>> sorted(train.user_counts.tolist()), sorted(test.user_counts.tolist())
    ([0, 3, 3, 3], [0, 0, 0, 3])
    """
    check_ratings(ratings)
    cold = _cold_rows(ratings.user_counts, test_size, random_state, "users")
    return _parts(ratings, cold[ratings.users])


def cold_item_split(
    ratings: Ratings, test_size: float = 0.2, random_state: RandomState = 0
) -> tuple[Ratings, Ratings]:
    """Draw test items at random; all their ratings are the test, and the model knows nothing of them.

    Parameters, answers and errors are those of `cold_user_split`, with items for users.

    Examples
    --------
    >>> import numpy as np
    >>> from cymf.ratings import Ratings
    >>> from cymf.evaluation import cold_item_split
    >>> train, test = cold_item_split(Ratings.from_matrix(np.ones((4, 3))), test_size=1)
    >>> sorted(train.item_counts.tolist()), sorted(test.item_counts.tolist())
    ([0, 4, 4], [0, 0, 4])
    """
    check_ratings(ratings)
    cold = _cold_rows(ratings.item_counts, test_size, random_state, "items")
    return _parts(ratings, cold[ratings.items])


def _cold_rows(
    counts: NDArray[np.int64], test_size: float, random_state: RandomState, what: str
) -> NDArray[np.bool_]:
    active = np.flatnonzero(counts)
    count = _test_count(test_size, len(active), what)
    cold = np.zeros(len(counts), dtype=bool)
    cold[_generator(random_state).choice(active, count, replace=False, shuffle=False)] = True
    return cold


def _parts(ratings: Ratings, in_test: NDArray[np.bool_]) -> tuple[Ratings, Ratings]:
    return ratings.subset(~in_test), ratings.subset(in_test)


def check_ratings(ratings: Any) -> None:
    if not isinstance(ratings, Ratings):
        raise TypeError(
            f"expected cymf.Ratings, given {type(ratings).__name__}: make them with "
            f"Ratings.from_matrix, from_triplets, from_table or from_file"
        )


def _generator(random_state: RandomState) -> np.random.Generator:
    return np.random.default_rng(random_state)


def _test_count(test_size: float, total: int, what: str = "ratings") -> int:
    if isinstance(test_size, (int, np.integer)) and not isinstance(test_size, bool):
        count = int(test_size)
    elif isinstance(test_size, (float, np.floating)) and 0 < test_size < 1:
        count = round(float(test_size) * total)
    else:
        raise ValueError(
            f"test_size must be a share between 0 and 1 or a number of {what}; given {test_size!r}"
        )
    if not 0 < count < total:
        raise ValueError(
            f"test_size={test_size!r} puts {count} of {total} {what} into the test: "
            f"at least one must be there, and one in train"
        )
    return count


def _eligible_users(ratings: Ratings, k: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First position and number of the ratings of users who have more than k."""
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be a positive integer, test ratings per user; given {k!r}")
    counts = ratings.user_counts
    starts = np.cumsum(counts) - counts
    if not (counts > k).any():
        raise ValueError(
            f"no user has more than k={k} ratings, so none can be left out (the most active has "
            f"{counts.max()}): choose a smaller k"
        )
    return starts[counts > k], counts[counts > k]


def _timestamps(ratings: Ratings, what: str) -> NDArray[Any]:
    if ratings.timestamps is None:
        raise ValueError(
            f"{what} needs timestamps, which these ratings lack: give them when making the Ratings"
        )
    return ratings.timestamps


def input_sequence(ratings: Ratings) -> NDArray[Any]:
    """Positions in storage order of the ratings in the order in which they came."""
    if ratings.input_order is None:
        return np.arange(ratings.nnz)
    order = ratings.input_order
    place = np.full(int(order.max()) + 1, -1, dtype=order.dtype)
    place[order] = np.arange(len(order), dtype=order.dtype)
    return place[place >= 0]
