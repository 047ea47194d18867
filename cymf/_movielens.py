"""The MovieLens data sets of 100 thousand to 32 million ratings, from a folder or by download."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cymf._downloads import Archive, fetch, folders_of, incomplete, not_found
from cymf.ratings import Ratings

__all__ = ["MovieLens", "load_movielens"]

_SITE = "https://files.grouplens.org/datasets/movielens/"
_TERMS = (
    "for research; neither redistribution nor commercial use without GroupLens' permission; cite Harper and Konstan "
    "2015, https://doi.org/10.1145/2827872"
)
# GroupLens publishes MD5 sums; those of the two small archives are the SHA-256 of the same files.
_CHECKSUMS = {
    "ml-100k": "sha256:50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    "ml-1m": "sha256:a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    "ml-10m": "md5:ce571fd55effeba0271552578f2648bd",
    "ml-20m": "md5:cd245b17a1ae2cc31bb14903e1204af3",
    "ml-25m": "md5:6b51fb2759a8657d3bfcbfc42b592ada",
    "ml-32m": "md5:d472be332d4daa821edc399621853b57",
}
_NAMES = tuple(name.removeprefix("ml-") for name in _CHECKSUMS)
_NO_GENRE = "(no genres listed)"


@dataclass(frozen=True, eq=False)
class MovieLens:
    """A MovieLens data set.

    Attributes
    ----------
    name : str
        ``"MovieLens 100K"`` to ``"MovieLens 32M"``.
    ratings : Ratings
        Ratings up to 5 with GroupLens' ids, in the order of its file (timestamps where
        the source has them).
    titles : dict of int to str
        Title of every listed film, with its year: ``titles[1] == "Toy Story (1995)"``.
    genres : dict of int to tuple of str
        Genres of every listed film; empty where GroupLens lists none.
    source : Path
        Folder or file the ratings were read from.
    """

    name: str
    ratings: Ratings
    titles: dict[int, str]
    genres: dict[int, tuple[str, ...]]
    source: Path


def load_movielens(
    name: str = "100k",
    *,
    data_home: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> MovieLens:
    """Load a MovieLens data set.

    The folders looked at are `data_home` or, without it, the one that the environment variable
    ``CYMF_DATA`` names and cymf's cache (``~/.cache/cymf`` on Linux). Each may hold the folder
    GroupLens' archive unpacks to (``ml-100k/``, ``ml-1m/``, ``ml-10M100K/``, ``ml-20m/``, …) or, for 1M,
    ``ml-1m.npz`` with arrays ``user`` (from 0), ``item``, ``rating`` and ``ml-1m-side.npz`` with
    ``movie_id``, ``movie_title``, ``movie_genre``, ``genre_names``.

    Parameters
    ----------
    name : {"100k", "1m", "10m", "20m", "25m", "32m"}
        Which data set, by its number of ratings: from 943 users and 1,682 films to 200,948 users and
        84,432 rated films.
    data_home : path, optional
        The only folder to look at, and to download to.
    download : bool
        If no folder has the data, fetch the archive (5 to 250 MB) from GroupLens, check its published checksum
        and unpack it. Needs the package pooch and the network. The terms of use come as a `DataTermsWarning`.

    Returns
    -------
    MovieLens

    Raises
    ------
    ValueError
        If `name` is another one, or the downloaded archive is not the published one.
    FileNotFoundError
        If no folder has the data and `download` is False.
    ConnectionError
        If the archive cannot be fetched.
    ModuleNotFoundError
        If a download is needed and pooch is not installed.

    Notes
    -----
    GroupLens allows research use and neither redistribution nor commercial use without its
    permission: F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM
    Transactions on Interactive Intelligent Systems 5 (2015), https://doi.org/10.1145/2827872.

    Examples
    --------
    >>> from cymf.datasets import load_movielens
    >>> data = load_movielens("100k", download=True)  # doctest: +SKIP
    >>> data.ratings.nnz, data.titles[50]  # doctest: +SKIP
    (100000, 'Star Wars (1977)')
    """
    if name not in _NAMES:
        known = ", ".join(f'"{known}"' for known in _NAMES)
        raise ValueError(f"name must be one of {known}, got {name!r}")
    archive = _archive(name)
    folders = folders_of(data_home)
    for folder in folders:
        found = _read(name, folder)
        if found is not None:
            return found
    if not download:
        raise not_found(archive, folders)
    fetch(archive, folders[-1])
    found = _read(name, folders[-1])
    if found is None:
        raise incomplete(archive, folders[-1])
    return found


def _archive(name: str) -> Archive:
    stem = f"ml-{name}"
    return Archive(
        name=f"MovieLens {name}",
        url=f"{_SITE}{stem}.zip",
        checksum=_CHECKSUMS[stem],
        folder="ml-10M100K" if name == "10m" else stem,
        has_folder=True,
        terms=_TERMS,
    )


def _read(name: str, home: Path) -> MovieLens | None:
    folder = home / _archive(name).folder
    if name == "100k":
        return _read_100k(folder) if (folder / "u.data").is_file() else None
    if (folder / "ratings.csv").is_file() and name not in ("1m", "10m"):
        return _read_csv(name, folder)
    if (folder / "ratings.dat").is_file() and name in ("1m", "10m"):
        return _read_dat(name, folder)
    if name == "1m" and all((home / file).is_file() for file in ("ml-1m.npz", "ml-1m-side.npz")):
        return _read_arrays(home)
    return None


def _read_100k(folder: Path) -> MovieLens:
    genre_lines = (folder / "u.genre").read_text("latin-1").split()
    genre_names = [line.rpartition("|")[0] for line in genre_lines]
    titles, genres = {}, {}
    for line in (folder / "u.item").read_text("latin-1").splitlines():
        item, title, *rest = line.split("|")
        flags = rest[-len(genre_names) :]
        titles[int(item)] = title
        genres[int(item)] = tuple(
            genre for genre, flag in zip(genre_names, flags, strict=True) if flag == "1"
        )
    ratings = Ratings.from_file(folder / "u.data")
    return MovieLens("MovieLens 100K", ratings, titles, genres, folder)


def _read_dat(name: str, folder: Path) -> MovieLens:
    encoding = "latin-1" if name == "1m" else "utf-8"
    lines = (folder / "movies.dat").read_text(encoding).splitlines()
    titles, genres = _films(line.split("::") for line in lines)
    ratings = Ratings.from_file(folder / "ratings.dat")
    return MovieLens(f"MovieLens {name.upper()}", ratings, titles, genres, folder)


def _read_csv(name: str, folder: Path) -> MovieLens:
    with open(folder / "movies.csv", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)  # the header
        titles, genres = _films(rows)
    ratings = Ratings.from_file(folder / "ratings.csv")
    return MovieLens(f"MovieLens {name.upper()}", ratings, titles, genres, folder)


def _films(
    rows: Iterable[list[str]],
) -> tuple[dict[int, str], dict[int, tuple[str, ...]]]:
    """Titles and genres of rows of a number, a title, and genres joined by "|"."""
    titles, genres = {}, {}
    for item, title, joined in rows:
        titles[int(item)] = title
        genres[int(item)] = () if joined == _NO_GENRE else tuple(joined.split("|"))
    return titles, genres


def _read_arrays(home: Path) -> MovieLens:
    with np.load(home / "ml-1m-side.npz") as side:
        films = side["movie_id"].tolist()
        titles = dict(zip(films, side["movie_title"].tolist(), strict=True))
        names = side["genre_names"].tolist()
        genres = {
            film: tuple(names[column] for column in np.flatnonzero(flags))
            for film, flags in zip(films, side["movie_genre"], strict=True)
        }
    with np.load(home / "ml-1m.npz") as arrays:
        users = arrays["user"].astype(np.int64) + 1  # GroupLens counts users from 1
        items = arrays["item"].astype(np.int64)
        values = arrays["rating"].astype(np.float64)
    ratings = Ratings.from_triplets(users, items, values)
    return MovieLens("MovieLens 1M", ratings, titles, genres, home / "ml-1m.npz")
