"""Ratings drawn from a factor model, whose truth is known: all at once, or batch by batch."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cymf._column_choice import Columns
from cymf._drawing import draw_chunks, power_law, user_counts
from cymf._generated_truth import GeneratedTruth
from cymf._ratings_checks import index_dtype
from cymf.ratings import Ratings

__all__ = ["GeneratedRatings", "RatingStream", "make_ratings", "stream_ratings"]

Batch = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneratedRatings(GeneratedTruth):
    """Generated ratings and the truth behind them, which is that of `GeneratedTruth`.

    Attributes
    ----------
    ratings : Ratings
        The drawn ratings; ids are row numbers.
    """

    ratings: Ratings

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


@dataclass(frozen=True, eq=False, kw_only=True)
class RatingStream(GeneratedTruth):
    """Ratings that are drawn while they are asked for, and the truth behind them, which is that of `GeneratedTruth`.

    Made by `stream_ratings`. Every pass over it gives the same ratings, in the order of users, then items.

    Attributes
    ----------
    shape : (int, int)
        ``(n_users, n_items)``.
    n_ratings : int
        Number of ratings.
    user_counts : ndarray of int64, shape (n_users,)
        Number of ratings of each user.
    """

    user_counts: NDArray[np.int64]
    _popularity: NDArray[np.float64]
    _rng: np.random.Generator

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_users, n_items)``."""
        return len(self.user_bias), len(self.item_bias)

    @property
    def n_ratings(self) -> int:
        """Number of ratings."""
        return int(self.user_counts.sum())

    def batches(self, batch_size: int = 1 << 20) -> Iterator[Batch]:
        """Yield the ratings, some after the other.

        Parameters
        ----------
        batch_size : int, default=1048576
            Ratings in a batch; the last may have fewer. It does not change the ratings.

        Yields
        ------
        users, items : ndarray of int64, shape (n,)
            Row numbers.
        values : ndarray of float64, shape (n,)
            Ratings.

        Raises
        ------
        ValueError
            If `batch_size` is not positive.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        return _in_batches(self._chunks(copy.deepcopy(self._rng)), batch_size)

    def to_file(self, path: str | os.PathLike[str]) -> None:
        """Write the ratings to a file as they are drawn.

        Parameters
        ----------
        path : str or path-like
            A name as `Ratings.to_file` takes it; all formats but ``.npz`` need no more memory for more ratings.

        Raises
        ------
        ValueError, ImportError, OSError
            As `Ratings.to_file`.
        """
        from cymf._ratings_file import write_batches

        write_batches(lambda: (Columns(*batch, None, None) for batch in self.batches()), path)

    def noise_floor(self) -> float:
        """RMSE of the expected ratings over all ratings: no model can be expected to predict better.

        Returns
        -------
        float
        """
        squares = 0.0
        for users, items, values in self.batches():
            squares += float(np.square(values - self.expected(users, items)).sum())
        return float(np.sqrt(squares / self.n_ratings))

    def _chunks(self, rng: np.random.Generator) -> Iterator[Batch]:
        for users, items in draw_chunks(self.user_counts, self._popularity, rng):
            values = self._before_noise(users, items)
            values += rng.normal(0.0, self.noise, len(values))
            if self.rating_scale is not None:
                np.clip(np.rint(values, out=values), *self.rating_scale, out=values)
            yield users, items, values


def stream_ratings(
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
) -> RatingStream:
    """Generate the ratings of `make_ratings` batch by batch: what is in memory grows with users and items alone.

    Parameters
    ----------
    n_users, n_items, n_ratings, n_factors, noise, global_mean, bias_scale, factor_scale, activity_exponent, \
popularity_exponent, rating_scale, random_state
        As in `make_ratings`: the same arguments give the same truth and the same ratings. A Generator is copied, and
        stays as it is.

    Returns
    -------
    RatingStream

    Raises
    ------
    ValueError
        If an argument is out of range, or there are fewer cells than ratings.

    Examples
    --------
    >>> from cymf.datasets import stream_ratings
    >>> stream = stream_ratings(2000, 500, 30_000, noise=0.5)
    >>> for users, items, values in stream.batches(10_000):
    ...     print(users.shape, values.dtype)
    (10000,) float64
    (10000,) float64
    (10000,) float64
    >>> round(stream.noise_floor(), 1)
    0.5
    """
    # fmt: off
    return _stream(
        n_users, n_items, n_ratings, n_factors, noise, global_mean, bias_scale, factor_scale, activity_exponent,
        popularity_exponent, rating_scale, np.random.default_rng(copy.deepcopy(random_state)),
    )
    # fmt: on


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
    For more ratings than fit into memory see `stream_ratings`.

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
    # fmt: off
    stream = _stream(
        n_users, n_items, n_ratings, n_factors, noise, global_mean, bias_scale, factor_scale, activity_exponent,
        popularity_exponent, rating_scale, np.random.default_rng(random_state),
    )
    # fmt: on
    indptr = np.zeros(
        n_users + 1, index_dtype(n_ratings)
    )  # SciPy wants one type for both, and copies otherwise
    np.cumsum(stream.user_counts, out=indptr[1:])
    indices = np.empty(n_ratings, index_dtype(n_items))
    values = np.empty(n_ratings)
    done = 0
    for _, items, drawn in stream._chunks(stream._rng):
        part = slice(done, done + len(items))
        indices[part], values[part] = items, drawn
        done = part.stop
    matrix = sparse.csr_array((values, indices, indptr), shape=stream.shape)
    truth = {field.name: getattr(stream, field.name) for field in fields(GeneratedTruth)}
    return GeneratedRatings(ratings=Ratings.from_matrix(matrix), **truth)


def _stream(
    n_users: int,
    n_items: int,
    n_ratings: int,
    n_factors: int,
    noise: float,
    global_mean: float,
    bias_scale: float,
    factor_scale: float,
    activity_exponent: float,
    popularity_exponent: float,
    rating_scale: tuple[int, int] | None,
    rng: np.random.Generator,
) -> RatingStream:
    """Draw the truth; the ratings are what `rng` gives next."""
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
    counts = user_counts(n_users, n_items, n_ratings, activity_exponent, rng)
    popularity = power_law(n_items, popularity_exponent, rng)
    deviation = np.sqrt(factor_scale) / max(n_factors, 1) ** 0.25
    return RatingStream(
        user_factors=rng.normal(0.0, deviation, (n_users, n_factors)),
        item_factors=rng.normal(0.0, deviation, (n_items, n_factors)),
        user_bias=rng.normal(0.0, bias_scale, n_users),
        item_bias=rng.normal(0.0, bias_scale, n_items),
        global_mean=float(global_mean),
        noise=float(noise),
        rating_scale=rating_scale,
        user_counts=counts,
        _popularity=popularity,
        _rng=rng,
    )


def _in_batches(chunks: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Yield the same entries, so many at once."""
    waiting: list[Batch] = []
    count = 0
    for chunk in chunks:
        waiting.append(chunk)
        count += len(chunk[0])
        if count < size:
            continue
        users, items, values = (np.concatenate(columns) for columns in zip(*waiting, strict=True))
        whole = count - count % size
        for start in range(0, whole, size):
            part = slice(start, start + size)
            yield users[part], items[part], values[part]
        waiting, count = [(users[whole:], items[whole:], values[whole:])], count - whole
    if count:
        users, items, values = (np.concatenate(columns) for columns in zip(*waiting, strict=True))
        yield users, items, values


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
