"""Folders that data sets are looked for in, and archives fetched into them."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cymf._errors import DataTermsWarning, warn_caller
from cymf._extras import missing

__all__ = ["Archive", "data_folders", "fetch", "folders_of", "incomplete", "not_found"]

LOGGER = logging.getLogger("cymf.datasets")


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes
    ----------
    name : str
        What messages call the data.
    url : str
        Where it is.
    checksum : str
        Kind and digits, such as ``"md5:0e33…"``.
    folder : str
        Folder that it unpacks to, or is unpacked to if it has none of its own.
    has_folder : bool
        Whether the archive itself holds the folder.
    terms : str
        Under which conditions it may be used: said when it is fetched.
    """

    name: str
    url: str
    checksum: str
    folder: str
    has_folder: bool
    terms: str


def data_folders() -> list[Path]:
    """Folders to look for data sets in: that of CYMF_DATA if it is set, then the cache."""
    named = os.environ.get("CYMF_DATA")
    return ([Path(named)] if named else []) + [_cache_folder()]


def folders_of(data_home: str | os.PathLike[str] | None) -> list[Path]:
    """The one folder a user names, or those of `data_folders`."""
    return [Path(data_home)] if data_home is not None else data_folders()


def not_found(archive: Archive, folders: list[Path]) -> FileNotFoundError:
    """The error for data that are in no folder and may not be fetched."""
    looked = ", ".join(str(folder) for folder in folders)
    return FileNotFoundError(
        f"{archive.name} not found in {looked}: set CYMF_DATA to a folder that holds "
        f"{archive.folder}/ unpacked from {archive.url}, or allow the download (download=True)"
    )


def fetch(archive: Archive, folder: Path) -> None:
    """Fetch, check and unpack an archive, after a `DataTermsWarning` with its terms.

    Nothing is found under the name of the archive, or of its folder, before it is whole. The archive stays, so that
    unpacking anew needs no network.
    """
    try:
        import pooch
    except ModuleNotFoundError:
        raise missing(
            "pooch", "downloading", f", or unpack {archive.url} into {folder} by hand"
        ) from None
    warn_caller(f"{archive.name}: {archive.terms}", DataTermsWarning)
    LOGGER.info("downloading %s from %s to %s", archive.name, archive.url, folder)
    by_hand = f"unpack {archive.url} into {folder} by hand"
    try:
        with _quiet(pooch.get_logger()):
            path = pooch.retrieve(
                archive.url,
                known_hash=archive.checksum,
                fname=archive.url.rpartition("/")[2],
                path=folder,
            )
    except ValueError as mismatch:
        raise ValueError(
            f"what came from {archive.url} is not {archive.name} as it was published, whose hash is "
            f"{archive.checksum}; nothing of it was kept: try again, or {by_hand}"
        ) from mismatch
    except OSError as problem:
        if problem.errno is not None:  # of the disk, not of the network
            raise
        raise ConnectionError(
            f"{archive.name} could not be fetched ({problem}); nothing of it was kept: try again, or {by_hand}"
        ) from problem
    _unpack(Path(path), archive, folder)


def incomplete(archive: Archive, folder: Path) -> FileNotFoundError:
    """The error for a folder that should hold data, and does not."""
    return FileNotFoundError(
        f"{folder / archive.folder} is there, but lacks files of {archive.name}: remove it, and load the data again"
    )


def _unpack(path: Path, archive: Archive, folder: Path) -> None:
    """Unpack beside the place where the data belong, and move them there when they are whole."""
    unfinished = folder / f".{archive.folder}-{secrets.token_hex(4)}"
    target = folder / archive.folder
    try:
        with zipfile.ZipFile(path) as packed:
            packed.extractall(unfinished)
        whole = unfinished / archive.folder if archive.has_folder else unfinished
        try:
            whole.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise somebody else was faster
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Keep a logger to warnings: nothing is printed unasked."""
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def _cache_folder() -> Path:
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "cymf"
