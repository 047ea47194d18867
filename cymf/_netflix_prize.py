"""The data of the Netflix prize, from a folder: ratings, titles, and the probe set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cymf._downloads import folders_of
from cymf._netflix import netflix_files
from cymf.ratings import Ratings

__all__ = ["Netflix", "load_netflix"]

# What the archives in circulation unpack to; "" is the folder itself.
_FOLDERS = ("netflix-prize-data", "nf_prize_dataset", "netflix", "")
_TITLES = ("movie_titles.csv", "movie_titles.txt")


@dataclass(frozen=True, eq=False)
class Netflix:
    """The data of the Netflix prize.

    Attributes
    ----------
    ratings : Ratings
        Ratings from 1 to 5 with their days; the ids are those of the source.
    titles : dict of int to str
        Titles of the films.
    years : dict of int to int
        Years of the films, where they are known.
    probe : ndarray of int64, shape (n, 2), or None
        Users and films of the probe set, which are among the ratings; None if the folder has no ``probe.txt``.
    source : Path
        Folder the ratings were read from.
    """

    ratings: Ratings
    titles: dict[int, str]
    years: dict[int, int]
    probe: NDArray[np.int64] | None
    source: Path


def load_netflix(*, data_home: str | os.PathLike[str] | None = None) -> Netflix:
    """Load the data of the Netflix prize: 100,480,507 ratings of 17,770 films by 480,189 users.

    They are not downloaded: Netflix withdrew them, and no copy is published with a checksum to rely on. The folders
    looked at are `data_home` or, without it, the one that the environment variable ``CYMF_DATA`` names and cymf's cache
    (``~/.cache/cymf`` on Linux); there ``netflix-prize-data/``, ``nf_prize_dataset/``, ``netflix/``, and the folder
    itself. The ratings are ``combined_data_*.txt`` or ``training_set/mv_*.txt``, perhaps compressed.

    Parameters
    ----------
    data_home : path, optional
        The only folder to look at.

    Returns
    -------
    Netflix

    Raises
    ------
    FileNotFoundError
        If no folder has the data.
    ValueError
        If a file is malformed; the message names file and line.

    Notes
    -----
    For research: J. Bennett and S. Lanning, "The Netflix Prize", KDD Cup and Workshop 2007.

    Examples
    --------
    >>> from cymf.datasets import load_netflix
    >>> data = load_netflix(data_home="netflix-prize-data")  # doctest: +SKIP
    >>> data.ratings.nnz, data.titles[1]  # doctest: +SKIP
    (100480507, 'Dinosaur Planet')
    """
    folders = folders_of(data_home)
    for home in folders:
        for name in _FOLDERS:
            if (folder := home / name).is_dir() and netflix_files(folder):
                return _read(folder)
    looked = ", ".join(map(str, folders))
    raise FileNotFoundError(
        f"no data of the Netflix prize found in {looked}: give data_home=, the folder that holds combined_data_*.txt "
        "or training_set/"
    )


def _read(folder: Path) -> Netflix:
    titles, years = {}, {}
    for path in (folder / name for name in _TITLES):
        if path.is_file():
            for line in path.read_text("latin-1").splitlines():
                film, year, title = line.split(
                    ",", 2
                )  # titles have commas, and no quotes around them
                titles[int(film)] = title
                if year.isdecimal():
                    years[int(film)] = int(year)
            break
    return Netflix(
        Ratings.from_file(folder), titles, years, _read_probe(folder / "probe.txt"), folder
    )


def _read_probe(path: Path) -> NDArray[np.int64] | None:
    if not path.is_file():
        return None
    pairs = []
    film = 0
    for number, line in enumerate(path.read_text("ascii").splitlines(), 1):
        text = line.strip()
        try:
            if text.endswith(":"):
                film = int(text[:-1])
            elif text:
                pairs.append((int(text), film))
        except ValueError:
            raise ValueError(
                f"{path}, line {number}: {text[:80]!r} is neither a user nor a film with a colon"
            ) from None
    return np.array(pairs, np.int64).reshape(-1, 2)
