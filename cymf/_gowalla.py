"""Check-ins of Gowalla, in the split that NGCF and LightGCN are measured on, from a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cymf._downloads import folders_of
from cymf.ratings import Ratings

__all__ = ["Gowalla", "load_gowalla"]


@dataclass(frozen=True, eq=False)
class Gowalla:
    """Where users checked in, in two parts with the same rows and columns.

    Attributes
    ----------
    train, test : Ratings
        Check-ins, each counted 1; ids are row numbers.
    source : Path
        Folder or file they were read from.
    """

    train: Ratings
    test: Ratings
    source: Path


def load_gowalla(*, data_home: str | os.PathLike[str] | None = None) -> Gowalla:
    """Load the check-ins of 29,858 users at 40,981 places: 810,128 to train on and 217,242 to test.

    They are not downloaded: their authors publish no archive with a checksum. The folders looked at are `data_home` or,
    without it, the one that the environment variable ``CYMF_DATA`` names and cymf's cache (``~/.cache/cymf`` on Linux).
    Each may hold ``gowalla/train.txt`` and ``gowalla/test.txt`` as LightGCN's repository has them, a user a line with
    the places behind, or ``gowalla-lightgcn.npz`` with arrays ``train_user``, ``train_item``, ``test_user``,
    ``test_item`` and ``shape``.

    Parameters
    ----------
    data_home : path, optional
        The only folder to look at.

    Returns
    -------
    Gowalla

    Raises
    ------
    FileNotFoundError
        If no folder has the data.
    ValueError
        If a line is malformed.

    Notes
    -----
    For research: E. Cho, S. Myers and J. Leskovec, "Friendship and mobility", KDD 2011; the split is that of X. Wang et
    al., "Neural graph collaborative filtering", SIGIR 2019.

    Examples
    --------
    >>> from cymf.datasets import load_gowalla
    >>> data = load_gowalla()  # doctest: +SKIP
    >>> data.train.nnz, data.test.nnz  # doctest: +SKIP
    (810128, 217242)
    """
    folders = folders_of(data_home)
    for home in folders:
        texts = [home / "gowalla" / f"{part}.txt" for part in ("train", "test")]
        if all(path.is_file() for path in texts):
            train, test = (_pairs(path) for path in texts)
            n_users, n_items = (int(max(train[k].max(), test[k].max())) + 1 for k in (0, 1))
            return _split(train, test, (n_users, n_items), home / "gowalla")
        if (path := home / "gowalla-lightgcn.npz").is_file():
            with np.load(path) as arrays:
                train, test = (
                    (arrays[f"{part}_user"], arrays[f"{part}_item"]) for part in ("train", "test")
                )
                n_users, n_items = map(int, arrays["shape"])
            return _split(train, test, (n_users, n_items), path)
    looked = ", ".join(map(str, folders))
    raise FileNotFoundError(
        f"Gowalla not found in {looked}: put train.txt and test.txt of LightGCN's data/gowalla/ into gowalla/ there"
    )


def _split(
    train: tuple[NDArray[np.int64], NDArray[np.int64]],
    test: tuple[NDArray[np.int64], NDArray[np.int64]],
    shape: tuple[int, int],
    source: Path,
) -> Gowalla:
    first, second = (
        Ratings.from_triplets(*part, shape=shape, duplicates="first") for part in (train, test)
    )
    return Gowalla(first, second, source)


def _pairs(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users and items of lines that hold a user and then its items."""
    users, items = [], []
    with path.open(encoding="ascii", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                row = np.array(line.split(), np.int64)
            except ValueError:
                raise ValueError(
                    f"{path}, line {number}: expected a user and its items, all of them numbers: {line.strip()[:80]!r}"
                ) from None
            if len(row):
                users.append(np.full(len(row) - 1, row[0]))
                items.append(row[1:])
    if not items or not sum(map(len, items)):
        raise ValueError(f"{path} holds no pairs: there is nothing to read")
    return np.concatenate(users), np.concatenate(items)
