"""Listening counts, friends and tags of Last.fm's users (HetRec 2011), from a folder or by download."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cymf._downloads import Archive, fetch, folders_of, incomplete, not_found
from cymf.ratings import Ratings

__all__ = ["LastFM", "load_lastfm"]

_ARCHIVE = Archive(
    name="Last.fm (HetRec 2011)",
    url="https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",
    checksum="md5:296d61afe4e8632b173fc2dd3be20ce2",
    folder="hetrec2011-lastfm-2k",
    has_folder=False,
    terms="not for commercial use; cite Cantador, Brusilovsky and Kuflik, HetRec 2011, and Last.fm, http://www.last.fm",
)


@dataclass(frozen=True, eq=False)
class LastFM:
    """What some users of Last.fm listened to.

    Attributes
    ----------
    ratings : Ratings
        How often each user listened to each artist, by the ids of the source.
    artists : dict of int to str
        Names of the artists.
    tags : dict of int to str
        Texts of the tags.
    friends : ndarray of int64, shape (n, 2)
        Pairs of users who are friends; each friendship is there in both directions.
    taggings : ndarray of int64, shape (n, 3)
        User, artist and tag of each assignment of a tag.
    source : Path
        Folder or file the counts were read from.
    """

    ratings: Ratings
    artists: dict[int, str]
    tags: dict[int, str]
    friends: NDArray[np.int64]
    taggings: NDArray[np.int64]
    source: Path


def load_lastfm(
    *, data_home: str | os.PathLike[str] | None = None, download: bool = False
) -> LastFM:
    """Load the listening counts of 1,892 users and 17,632 artists: 92,834 of them.

    The folders looked at are `data_home` or, without it, the one that the environment variable
    ``CYMF_DATA`` names and cymf's cache (``~/.cache/cymf`` on Linux). Each may hold the unpacked archive in
    ``hetrec2011-lastfm-2k/``, or ``lastfm-2k.npz`` with arrays ``user``, ``artist``, ``weight``, ``friend``,
    ``tagged_user``, ``tagged_artist`` and ``tagged_tag`` beside ``lastfm-2k-artists.csv`` and ``lastfm-2k-tags.csv``.

    Parameters
    ----------
    data_home : path, optional
        The only folder to look at, and to download to.
    download : bool
        If no folder has the data, fetch the archive (3 MB) from GroupLens, check its checksum and unpack it.
        Needs the package pooch and the network. The terms of use come as a `DataTermsWarning`.

    Returns
    -------
    LastFM

    Raises
    ------
    FileNotFoundError
        If no folder has the data and `download` is False.
    ValueError
        If the downloaded archive is not the published one.
    ConnectionError
        If it cannot be fetched.
    ModuleNotFoundError
        If a download is needed and pooch is not installed.

    Notes
    -----
    For non-commercial use: I. Cantador, P. Brusilovsky and T. Kuflik, "Second workshop on information heterogeneity
    and fusion in recommender systems (HetRec 2011)", RecSys 2011; and Last.fm, http://www.last.fm.

    Examples
    --------
    >>> from cymf.datasets import load_lastfm
    >>> data = load_lastfm(download=True)  # doctest: +SKIP
    >>> data.ratings.nnz, data.artists[2]  # doctest: +SKIP
    (92834, 'Diary of Dreams')
    """
    folders = folders_of(data_home)
    for folder in folders:
        found = _read(folder)
        if found is not None:
            return found
    if not download:
        raise not_found(_ARCHIVE, folders)
    fetch(_ARCHIVE, folders[-1])
    found = _read(folders[-1])
    if found is None:
        raise incomplete(_ARCHIVE, folders[-1])
    return found


def _read(home: Path) -> LastFM | None:
    folder = home / _ARCHIVE.folder
    if (folder / "user_artists.dat").is_file():
        return LastFM(
            Ratings.from_file(
                folder / "user_artists.dat",
                user="userID",
                item="artistID",
                rating="weight",
                weight=None,
                separator="\t",
                header=True,
            ),
            _names(folder / "artists.dat", "utf-8", "\t"),
            _names(folder / "tags.dat", "latin-1", "\t"),
            _numbers(folder / "user_friends.dat", 2),
            _numbers(folder / "user_taggedartists.dat", 3),
            folder,
        )
    names = home / "lastfm-2k-artists.csv", home / "lastfm-2k-tags.csv"
    arrays = home / "lastfm-2k.npz"
    if not all(path.is_file() for path in (arrays, *names)):
        return None
    with np.load(arrays) as found:
        users, items = found["user"].astype(np.int64), found["artist"].astype(np.int64)
        ratings = Ratings.from_triplets(users, items, found["weight"].astype(np.float64))
        friends = found["friend"].astype(np.int64)
        columns = [found[f"tagged_{name}"].astype(np.int64) for name in ("user", "artist", "tag")]
    artists, tags = (_names(path, "utf-8", ",") for path in names)
    return LastFM(ratings, artists, tags, friends, np.stack(columns, axis=1), arrays)


def _names(path: Path, encoding: str, separator: str) -> dict[int, str]:
    with open(path, encoding=encoding, newline="") as file:
        rows = (
            csv.reader(file)
            if separator == ","
            else csv.reader(file, delimiter=separator, quoting=csv.QUOTE_NONE)
        )
        next(rows)  # the header
        return {int(row[0]): row[1] for row in rows}


def _numbers(path: Path, n_columns: int) -> NDArray[np.int64]:
    return np.loadtxt(path, np.int64, delimiter="\t", skiprows=1, usecols=range(n_columns), ndmin=2)
