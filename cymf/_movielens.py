"""The MovieLens data sets of 100,000 and of 1,000,000 ratings, from a folder or by download."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cymf.ratings import Ratings

__all__ = ["MovieLens", "data_folders", "load_movielens"]

_SITE = "https://files.grouplens.org/datasets/movielens/"
# GroupLens publishes MD5 sums (0e33842e... and c4d9eecf...); these are of the same two archives.
_SHA256 = {
    "ml-100k": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    "ml-1m": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
}


@dataclass(frozen=True, eq=False)
class MovieLens:
    """A MovieLens data set.

    Attributes
    ----------
    name : str
        ``"MovieLens 100K"`` or ``"MovieLens 1M"``.
    ratings : Ratings
        Ratings from 1 to 5 with GroupLens' ids, in the order of its file (timestamps where
        the source has them).
    titles : dict of int to str
        Title of every listed film, with its year: ``titles[1] == "Toy Story (1995)"``.
    genres : dict of int to tuple of str
        Genres of every listed film.
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
    """Load MovieLens 100K or 1M.

    The folders looked at are `data_home` or, without it, the one that the environment variable
    ``CYMF_DATA`` names and cymf's cache (``~/.cache/cymf`` on Linux). Each may hold the folder
    GroupLens' archive unpacks to (``ml-100k/``, ``ml-1m/``) or, for 1M, ``ml-1m.npz`` with arrays
    ``user`` (from 0), ``item``, ``rating`` and ``ml-1m-side.npz`` with ``movie_id``,
    ``movie_title``, ``movie_genre``, ``genre_names``.

    Parameters
    ----------
    name : {"100k", "1m"}
        Which data set: 943 users and 1,682 films, or 6,040 users and 3,706 rated films.
    data_home : path, optional
        The only folder to look at, and to download to.
    download : bool
        If no folder has the data, fetch the archive (5 or 6 MB) from GroupLens, check its SHA-256
        and unpack it. Needs the package pooch and the network.

    Returns
    -------
    MovieLens

    Raises
    ------
    ValueError
        If `name` is another one, or the downloaded archive is not the published one.
    FileNotFoundError
        If no folder has the data and `download` is False.
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
    readers = {"100k": ("ml-100k", _read_100k), "1m": ("ml-1m", _read_1m)}
    if name not in readers:
        raise ValueError(f'name must be "100k" or "1m", got {name!r}')
    archive, read = readers[name]
    folders = [Path(data_home)] if data_home is not None else data_folders()
    for folder in folders:
        found = read(folder)
        if found is not None:
            return found
    if not download:
        looked = ", ".join(str(folder) for folder in folders)
        raise FileNotFoundError(
            f"MovieLens {name} not found in {looked}: set CYMF_DATA to a folder that holds "
            f"{archive}/ unpacked from {_SITE}{archive}.zip, or allow the download "
            "(download=True)"
        )
    _download(archive, folders[-1])
    found = read(folders[-1])
    if found is None:
        raise FileNotFoundError(f"the archive unpacked to {folders[-1]} lacks {archive}/")
    return found


def data_folders() -> list[Path]:
    """Folders to look for data sets in: that of CYMF_DATA if it is set, then the cache."""
    named = os.environ.get("CYMF_DATA")
    return ([Path(named)] if named else []) + [_cache_folder()]


def _cache_folder() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "cymf"


def _download(archive: str, folder: Path) -> None:
    try:
        import pooch
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "downloading needs the package pooch: install it with `pip install pooch`, or unpack "
            f"{_SITE}{archive}.zip into {folder} by hand",
            name="pooch",
        ) from None
    pooch.retrieve(
        f"{_SITE}{archive}.zip",
        known_hash=f"sha256:{_SHA256[archive]}",
        fname=f"{archive}.zip",
        path=folder,
        processor=pooch.Unzip(extract_dir="."),
    )


def _read_100k(home: Path) -> MovieLens | None:
    folder = home / "ml-100k"
    if not (folder / "u.data").is_file():
        return None
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


def _read_1m(home: Path) -> MovieLens | None:
    if (home / "ml-1m" / "ratings.dat").is_file():
        return _read_1m_folder(home / "ml-1m")
    if not ((home / "ml-1m.npz").is_file() and (home / "ml-1m-side.npz").is_file()):
        return None
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


def _read_1m_folder(folder: Path) -> MovieLens:
    titles, genres = {}, {}
    for line in (folder / "movies.dat").read_text("latin-1").splitlines():
        item, title, names = line.split("::")
        titles[int(item)] = title
        genres[int(item)] = tuple(names.split("|"))
    return MovieLens(
        "MovieLens 1M", Ratings.from_file(folder / "ratings.dat"), titles, genres, folder
    )
