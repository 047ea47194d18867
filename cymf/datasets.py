"""Ratings to try things on: generated ones with a known truth, MovieLens, and Last.fm.

`make_ratings` draws from the very model that cymf fits, so that the best possible error is known
before anything is trained. `load_movielens` reads MovieLens sets from a folder, `load_lastfm` listening counts, or
fetches them when it is asked to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cymf._lastfm import LastFM, load_lastfm
from cymf._movielens import MovieLens, load_movielens
from cymf.ratings import Ratings

__all__ = [
    "GeneratedRatings",
    "LastFM",
    "MovieLens",
    "load_lastfm",
    "load_movielens",
    "make_ratings",
]

_CELLS_PER_CHUNK = 1 << 20  # bounds the temporary arrays of a chunk to some tens of megabytes
_REJECTION_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class GeneratedRatings:
    """Generated ratings and the truth behind them.

    The rating of user i for item j was drawn as ``t_ij + e_ij`` with
    ``t_ij = μ + b_i + b_j + w_i·h_j`` and independent ``e_ij ~ N(0, noise²)``, then, with a
    `rating_scale`, rounded to whole numbers and clipped to it.

    Attributes
    ----------
    ratings : Ratings
        The drawn ratings; ids are row numbers.
    user_factors, item_factors : ndarray of shape (n_users, n_factors), (n_items, n_factors)
        True factors w and h.
    user_bias, item_bias : ndarray of shape (n_users,), (n_items,)
        True biases.
    global_mean : float
        μ.
    noise : float
        Standard deviation of e.
    rating_scale : tuple of int, or None
        Lowest and highest rating if ratings were rounded, else None.
    """

    ratings: Ratings
    user_factors: NDArray[np.float64]
    item_factors: NDArray[np.float64]
    user_bias: NDArray[np.float64]
    item_bias: NDArray[np.float64]
    global_mean: float
    noise: float
    rating_scale: tuple[int, int] | None

    def expected(self, users: ArrayLike, items: ArrayLike) -> NDArray[np.float64]:
        """Expected ratings of cells: the prediction with the least squared error there is.

        Without rounding it is t. With rounding to lo..hi the expectation of the rounded, clipped
        value is ``lo + Σ_{s=lo}^{hi-1} Φ((t - s - ½) / noise)``.

        Parameters
        ----------
        users, items : array_like of int, shape (n,)
            Row numbers.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        ValueError
            If the shapes differ, or are not one-dimensional.
        IndexError
            If there is no such row.
        """
        rows, columns = np.asarray(users), np.asarray(items)
        if rows.ndim != 1 or rows.shape != columns.shape:
            raise ValueError(
                f"users has shape {rows.shape} and items {columns.shape}; expected one row number "
                "of each for every cell"
            )
        for what, numbers, total in (
            ("user", rows, len(self.user_bias)),
            ("item", columns, len(self.item_bias)),
        ):
            if numbers.size and not (numbers.min() >= 0 and numbers.max() < total):
                raise IndexError(
                    f"{what} row numbers go from {numbers.min()} to {numbers.max()}; "
                    f"expected 0 to {total - 1}"
                )
        out = np.empty(len(rows))
        for part in _chunks(len(rows)):
            i, j = rows[part], columns[part]
            out[part] = self.global_mean + self.user_bias[i] + self.item_bias[j]
            out[part] += _row_products(self.user_factors, i, self.item_factors, j)
            if self.rating_scale is not None:
                out[part] = _expected_after_rounding(out[part], self.noise, *self.rating_scale)
        return out

    def noise_floor(self, ratings: Ratings | None = None) -> float:
        """RMSE of the expected ratings: no model can be expected to predict better.

        Parameters
        ----------
        ratings : Ratings, optional
            Ratings to predict, such as the test part of a split. Default: all of them.

        Returns
        -------
        float
        """
        ratings = self.ratings if ratings is None else ratings
        errors = ratings.values - self.expected(ratings.users, ratings.items)
        return float(np.sqrt(np.mean(np.square(errors, dtype=np.float64))))


def make_ratings(
    n_users: int = 1000,
    n_items: int = 500,
    n_ratings: int = 50_000,
    *,
    n_factors: int = 8,
    noise: float = 0.5,
    global_mean: float = 3.5,
    bias_scale: float = 0.4,
    factor_scale: float = 0.6,
    activity_exponent: float = 0.8,
    popularity_exponent: float = 1.0,
    rating_scale: tuple[int, int] | None = None,
    random_state: int | np.random.Generator | None = 0,
) -> GeneratedRatings:
    """Generate ratings of distinct cells from a biased factor model with a known truth.

    Users differ in how much they rate, items in how often they are rated: both follow a
    Zipf–Mandelbrot law ``(1 + rank / (0.02 n))^-exponent``, in an order drawn at random. Every user
    draws items without replacement in proportion to their popularity (Plackett–Luce), exactly.

    Parameters
    ----------
    n_users, n_items : int
        Shape of the matrix.
    n_ratings : int
        Number of ratings, at most ``n_users * n_items``. With ``n_ratings >= n_users`` every user
        has at least one.
    n_factors : int
        Rank of the interaction between users and items; 0 for biases alone.
    noise : float
        Standard deviation of the noise, in units of rating.
    global_mean : float
        μ, in units of rating.
    bias_scale : float
        Standard deviation of the user biases, and of the item biases.
    factor_scale : float
        Standard deviation of w_i·h_j over all cells.
    activity_exponent, popularity_exponent : float
        Exponents of the laws of users and items; 0 makes all alike.
    rating_scale : tuple of int, optional
        Round ratings to whole numbers and clip them to this range, for instance ``(1, 5)``.
        Default: ratings are real numbers.
    random_state : int, numpy Generator or None
        Seed. The same seed and arguments give the same ratings; None draws afresh.

    Returns
    -------
    GeneratedRatings

    Raises
    ------
    ValueError
        If an argument is out of range, or there are fewer cells than ratings.

    Examples
    --------
    >>> from cymf.datasets import make_ratings
    >>> data = make_ratings(200, 100, 3000, noise=0.5)
    >>> data.ratings.shape, data.ratings.nnz
    ((200, 100), 3000)
    >>> round(data.noise_floor(), 1)
    0.5
    """
    _check_sizes(n_users, n_items, n_ratings, n_factors)
    _check_scale(rating_scale)
    for name, value in {
        "noise": noise,
        "bias_scale": bias_scale,
        "factor_scale": factor_scale,
        "activity_exponent": activity_exponent,
        "popularity_exponent": popularity_exponent,
    }.items():
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")
    rng = np.random.default_rng(random_state)

    counts = _user_counts(n_users, n_items, n_ratings, activity_exponent, rng)
    popularity = _power_law(n_items, popularity_exponent, rng)
    deviation = np.sqrt(factor_scale) / max(n_factors, 1) ** 0.25
    user_factors = rng.normal(0.0, deviation, (n_users, n_factors))
    item_factors = rng.normal(0.0, deviation, (n_items, n_factors))
    user_bias = rng.normal(0.0, bias_scale, n_users)
    item_bias = rng.normal(0.0, bias_scale, n_items)

    users = np.repeat(np.arange(n_users), counts)
    items = _draw_items(counts, popularity, rng)
    values = np.empty(n_ratings)
    for part in _chunks(n_ratings):
        values[part] = global_mean + user_bias[users[part]] + item_bias[items[part]]
        values[part] += _row_products(user_factors, users[part], item_factors, items[part])
        values[part] += rng.normal(0.0, noise, part.stop - part.start)
    if rating_scale is not None:
        np.clip(np.rint(values, out=values), *rating_scale, out=values)
    return GeneratedRatings(
        ratings=Ratings.from_triplets(users, items, values, shape=(n_users, n_items)),
        user_factors=user_factors,
        item_factors=item_factors,
        user_bias=user_bias,
        item_bias=item_bias,
        global_mean=float(global_mean),
        noise=float(noise),
        rating_scale=rating_scale,
    )


def _check_sizes(n_users: int, n_items: int, n_ratings: int, n_factors: int) -> None:
    for name, value, least in (
        ("n_users", n_users, 1),
        ("n_items", n_items, 1),
        ("n_ratings", n_ratings, 1),
        ("n_factors", n_factors, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{name} must be a whole number, got {value!r}")
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if n_ratings > n_users * n_items:
        raise ValueError(
            f"{n_ratings} ratings of distinct cells do not fit into {n_users} x {n_items} = "
            f"{n_users * n_items} cells: lower n_ratings, or raise n_users or n_items"
        )


def _check_scale(rating_scale: tuple[int, int] | None) -> None:
    if rating_scale is None:
        return
    low, high = rating_scale
    if not (float(low).is_integer() and float(high).is_integer() and low < high):
        raise ValueError(
            "rating_scale must be None or two whole numbers (lowest, highest), "
            f"got {rating_scale!r}"
        )


def _chunks(n: int) -> Iterator[slice]:
    for start in range(0, n, _CELLS_PER_CHUNK):
        yield slice(start, min(start + _CELLS_PER_CHUNK, n))


def _expected_after_rounding(
    truth: NDArray[np.float64], noise: float, low: int, high: int
) -> NDArray[np.float64]:
    if noise == 0:
        return np.clip(np.rint(truth), low, high)
    from scipy.special import ndtr  # imported where used: scipy.special is slow to import

    expected = np.full(len(truth), float(low))
    for step in range(low, high):
        expected += ndtr((truth - step - 0.5) / noise)
    return expected


def _row_products(
    left: NDArray[np.float64],
    left_rows: NDArray[np.intp],
    right: NDArray[np.float64],
    right_rows: NDArray[np.intp],
) -> NDArray[np.float64]:
    products: NDArray[np.float64] = np.einsum("ij,ij->i", left[left_rows], right[right_rows])
    return products


def _power_law(n: int, exponent: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Probabilities that fall with a rank drawn at random."""
    weights: NDArray[np.float64] = (1.0 + rng.permutation(n) / (0.02 * n)) ** -exponent
    weights /= weights.sum()
    return weights


def _user_counts(
    n_users: int, n_items: int, n_ratings: int, exponent: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Ratings of each user: in proportion to activity, at most n_items, at least one if enough."""
    activity = _power_law(n_users, exponent, rng)
    counts = np.full(n_users, int(n_ratings >= n_users), dtype=np.int64)
    remaining = n_ratings - int(counts.sum())
    while remaining:
        open_users = np.flatnonzero(counts < n_items)
        share = activity[open_users] / activity[open_users].sum() * remaining
        more = np.minimum(share.astype(np.int64), n_items - counts[open_users])
        if not more.any():  # every share is below one rating: the largest get one each
            more[np.argsort(-share, kind="stable")[:remaining]] = 1
        counts[open_users] += more
        remaining -= int(more.sum())
    return counts


def _draw_items(
    counts: NDArray[np.int64], popularity: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Items of each user, ascending, drawn without replacement in proportion to popularity."""
    n_items = len(popularity)
    bounds = np.concatenate(([0], np.cumsum(counts)))
    items = np.empty(bounds[-1], dtype=np.int64)
    first = 0
    while first < len(counts):
        last = int(np.searchsorted(bounds, bounds[first] + _CELLS_PER_CHUNK, side="right")) - 1
        last = max(last, first + 1)
        chosen = _draw_cells(counts[first:last], popularity, rng)
        np.remainder(chosen, n_items, out=items[bounds[first] : bounds[last]])
        first = last
    return items


def _draw_cells(
    counts: NDArray[np.int64], popularity: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Sorted cells ``row * n_items + item``, counts[row] of each row, by Plackett–Luce.

    Rows that take a small part of all items draw with replacement and keep the first of every
    item, which is the same distribution. The rest, and rows that popular items keep filling,
    take the largest of ``log popularity + Gumbel noise`` over the items not chosen yet.
    """
    n_items = len(popularity)
    cumulative = np.cumsum(popularity)
    cumulative /= cumulative[-1]
    chosen = np.empty(0, dtype=np.int64)
    missing = counts.copy()
    thin = counts * 8 <= n_items
    for _ in range(_REJECTION_ROUNDS):
        draws = np.where(thin & (missing > 0), missing + missing // 4 + 2, 0)
        if not draws.any():
            break
        rows = np.repeat(np.arange(len(counts)), draws)
        cells = rows * n_items + np.searchsorted(cumulative, rng.random(len(rows)), side="right")
        firsts = np.sort(np.unique(cells, return_index=True)[1])
        cells = cells[firsts][~np.isin(cells[firsts], chosen, assume_unique=True)]
        rows = cells // n_items
        order_in_row = np.arange(len(rows)) - np.searchsorted(rows, rows)
        kept = cells[order_in_row < missing[rows]]
        chosen = np.sort(np.concatenate((chosen, kept)))
        missing -= np.bincount(kept // n_items, minlength=len(counts))

    parts = [chosen]
    unfinished = np.flatnonzero(missing)
    rows_per_block = max(1, _CELLS_PER_CHUNK // n_items)
    for start in range(0, len(unfinished), rows_per_block):
        rows = unfinished[start : start + rows_per_block]
        keys = np.log(popularity) + rng.gumbel(size=(len(rows), n_items))
        taken = chosen[np.isin(chosen // n_items, rows)]
        keys[np.searchsorted(rows, taken // n_items), taken % n_items] = -np.inf
        best = np.argsort(-keys, axis=1)
        wanted = np.arange(n_items) < missing[rows][:, None]
        parts.append((rows[:, None] * n_items + best)[wanted])
    return np.sort(np.concatenate(parts))
