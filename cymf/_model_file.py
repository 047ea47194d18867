"""A fitted model as one file: what of it goes into the header and what into arrays.

Nothing in the file names code to import: a model's class is looked up in `ESTIMATORS`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cymf._archive import Archive, open_archive, write_archive
from cymf._assembly import RatingArrays
from cymf._column_types import ColumnType
from cymf._compressed import is_canonical
from cymf._errors import ModelFileError
from cymf._ids import IdMap
from cymf._parameters import Parameterized
from cymf._state import FittedState
from cymf._version import __version__
from cymf.ratings import Ratings

if TYPE_CHECKING:
    from cymf._base import MatrixFactorization

__all__ = ["load", "save", "save_state"]

FORMAT = "cymf model"
FORMAT_VERSION = 1
ESTIMATORS: Mapping[str, str] = MappingProxyType(
    {
        "ALS": "cymf.als",
        "BPR": "cymf.bpr",
        "BayesianMF": "cymf.bayesian_mf",
        "ContrastiveMF": "cymf.contrastive_mf",
        "FactorizationMachine": "cymf.factorization_machine",
        "GradientDescent": "cymf.gradient_descent",
        "ImplicitALS": "cymf.implicit_als",
        "LogisticMF": "cymf.logistic_mf",
        "NMF": "cymf.nmf",
        "Popularity": "cymf.baselines",
        "Random": "cymf.baselines",
        "SGD": "cymf.sgd",
        "SVDpp": "cymf.svdpp",
        "SpectralMF": "cymf.spectral_mf",
    }
)

_ARRAYS = (
    "user_factors",
    "item_factors",
    "user_bias",
    "item_bias",
    "user_counts",
    "item_counts",
)
_MAPPED = ("user_factors", "item_factors")
_RATINGS = "ratings_"
_EXTRA = "extra_"


def save(
    model: MatrixFactorization,
    state: FittedState,
    path: str | os.PathLike[str],
    *,
    store_ratings: bool,
) -> None:
    """Write `model` with what it learnt, `state`; see `MatrixFactorization.save`."""
    ratings = state.ratings if store_ratings else None
    header = {
        "global_mean": float(state.global_mean),
        "rating_mean": float(state.rating_mean),
        "rating_range": [float(bound) for bound in state.rating_range],
        "n_iter": int(state.n_iter),
        "stop_reason": state.stop_reason,
        "history": {key: [float(v) for v in values] for key, values in state.history.items()},
        "user_ids": state.user_ids is not None,
        "item_ids": state.item_ids is not None,
        "ratings": ratings is not None,
    }
    arrays = {key: getattr(state, key) for key in _ARRAYS if getattr(state, key) is not None}
    for key, ids in (("user_ids", state.user_ids), ("item_ids", state.item_ids)):
        if ids is not None:
            arrays |= ids.to_arrays(key)
            header[f"{key}_column"], categories = _column_of(ids)
            if categories is not None:
                arrays |= categories.to_arrays(f"{key}_categories")
    if ratings is not None:
        arrays |= _ratings_arrays(ratings)
    arrays |= {_EXTRA + key: array for key, array in state.extra.items()}
    save_state(model, path, header, arrays)


def save_state(
    model: Parameterized,
    path: str | os.PathLike[str],
    state: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Write `model`'s class and parameters, and what it learnt: `state` into the header, and `arrays`."""
    name = type(model).__name__
    if ESTIMATORS.get(name) != type(model).__module__:
        raise TypeError(
            f"{type(model).__module__}.{name} is not a model that cymf.load knows; expected one "
            f"of {', '.join(ESTIMATORS)}. A subclass can be pickled"
        )
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "cymf_version": __version__,
        "estimator": name,
        "parameters": {
            key: _plain(f"{name}.{key}", value) for key, value in model.get_params().items()
        },
        **state,
    }
    write_archive(path, header, arrays)


def load(path: str | os.PathLike[str], *, mmap: bool = False) -> MatrixFactorization:
    """Read a model that ``model.save(path)`` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.
    mmap : bool, default False
        Whether to leave the factors in the file and map them into memory: opening takes no time
        whatever their size, processes on one machine share them, and pages are read when they are
        touched. Everything else, the training ratings included, is read. The file must not be
        changed in place afterwards (``save`` replaces it, which is safe; Windows refuses that as
        long as the model is in use).

    Returns
    -------
    fitted model, of the class that was saved
        Fitted, with the parameters, ids, history and, unless they were left out, the training
        ratings it was saved with. A ``random_state`` that was a generator is None.

    Raises
    ------
    ModelFileError
        If the file is damaged (a file read into memory is checked against its checksums; of mapped
        factors only place, shape and dtype are checked), is no model file, or was written by a
        newer cymf in a format that this one does not know.
    OSError
        If the file cannot be read.
    """
    with open_archive(path) as archive:
        header = _checked_header(archive.header, os.fspath(path))
        name, parameters = str(header["estimator"]), dict(header["parameters"])
        model = _estimator(name, parameters, os.fspath(path))
        own_state = getattr(model, "_STATE", None)
        read = _read_state if own_state is None else own_state.read
        model._publish(read(archive, header, mmap=mmap))
    return model


def _checked_header(header: dict[str, Any], path: str) -> dict[str, Any]:
    if header.get("format") != FORMAT:
        raise ModelFileError(
            f"{path} is not a cymf model: its format is {header.get('format')!r}; expected a "
            "file that model.save() wrote"
        )
    version = header.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has format version {version!r}, written by cymf "
            f"{header.get('cymf_version')}; this is cymf {__version__}, which reads versions up "
            f"to {FORMAT_VERSION}: upgrade cymf"
        )
    return header


def _read_state(archive: Archive, header: dict[str, Any], mmap: bool) -> FittedState:
    arrays = {
        name: archive.map(name) if mmap and name in _MAPPED else archive.read(name)
        for name in archive.names
    }
    user_ids, item_ids = (
        _read_ids(arrays, key, header.get(f"{key}_column")) if header[key] else None
        for key in ("user_ids", "item_ids")
    )
    shape = (len(arrays["user_factors"]), len(arrays["item_factors"]))
    ratings = None
    if header["ratings"]:
        ratings = _read_ratings(arrays, shape, user_ids, item_ids)
    low, high = map(float, header["rating_range"])
    return FittedState(
        user_factors=arrays["user_factors"],
        item_factors=arrays["item_factors"],
        user_bias=arrays.get("user_bias"),
        item_bias=arrays.get("item_bias"),
        user_counts=arrays["user_counts"],
        item_counts=arrays["item_counts"],
        user_ids=user_ids,
        item_ids=item_ids,
        global_mean=float(header["global_mean"]),
        rating_mean=float(header["rating_mean"]),
        rating_range=(low, high),
        ratings=ratings,
        history={key: [float(v) for v in values] for key, values in header["history"].items()},
        n_iter=int(header["n_iter"]),
        stop_reason=str(header["stop_reason"]),
        extra={
            name.removeprefix(_EXTRA): array
            for name, array in arrays.items()
            if name.startswith(_EXTRA)
        },
    )


def _column_of(ids: IdMap) -> tuple[dict[str, Any] | None, IdMap | None]:
    """The type of the column that ids came from, and its categories where they are not the ids themselves."""
    column = ids.column
    if column is None:
        return None, None
    if column.categories is None or np.array_equal(column.categories, ids.ids):
        return column.to_json(), None
    try:
        return column.to_json(), IdMap(column.categories)
    except (TypeError, ValueError):  # some that no id is: the column will be a plain one
        return replace(column, words="").to_json(), None


def _read_ids(arrays: Mapping[str, np.ndarray], key: str, stored: Any) -> IdMap:
    ids = IdMap.from_arrays(key, arrays)
    if stored is None:
        return ids
    own = f"{key}_categories"
    listed = any(name.startswith(own) for name in arrays)
    categories = IdMap.from_arrays(own, arrays).ids if listed else ids.ids
    return ids.of_column(ColumnType.from_json(stored, categories))


def _ratings_arrays(ratings: Ratings) -> dict[str, np.ndarray]:
    arrays = {
        "indptr": ratings.csr(ratings.values.dtype).indptr,
        "indices": ratings.items,
        "values": ratings.values,
        "weights": ratings.weights,
        "timestamps": ratings.timestamps,
        "input_order": ratings.input_order,
    }
    return {_RATINGS + key: array for key, array in arrays.items() if array is not None}


def _read_ratings(
    arrays: Mapping[str, np.ndarray],
    shape: tuple[int, int],
    user_ids: IdMap | None,
    item_ids: IdMap | None,
) -> Ratings:
    """Make training ratings again; kernels will trust them, so that indices are checked here."""
    indptr, indices, values = (arrays[_RATINGS + key] for key in ("indptr", "indices", "values"))
    optional: dict[str, Any] = {
        key: arrays.get(_RATINGS + key) for key in ("weights", "timestamps", "input_order")
    }
    columns = [values, *(column for column in optional.values() if column is not None)]
    if (
        len(indptr) != shape[0] + 1
        or (indptr[0], indptr[-1]) != (0, len(indices))
        or (np.diff(indptr) < 0).any()
        or not is_canonical(indptr, indices)
        or not 0 <= indices.min() <= indices.max() < shape[1]
        or any(column.shape != indices.shape for column in columns)
    ):
        raise ValueError("the training ratings do not fit together")
    return Ratings._of(
        RatingArrays(
            indptr=indptr,
            indices=indices,
            values=values,
            **optional,
            shape=shape,
            user_ids=user_ids,
            item_ids=item_ids,
            value_range=(float(values.min()), float(values.max())),
        )
    )


def _estimator(name: str, parameters: dict[str, Any], path: str) -> MatrixFactorization:
    if name not in ESTIMATORS:
        raise ModelFileError(
            f"{path} holds a {name}, which cymf {__version__} does not know; it knows "
            f"{', '.join(ESTIMATORS)}: upgrade cymf"
        )
    kind: type[MatrixFactorization] = getattr(importlib.import_module(ESTIMATORS[name]), name)
    known = kind._parameter_defaults()
    foreign = [key for key in parameters if key not in known]
    if foreign:
        raise ModelFileError(
            f"{path} holds a {name} with parameters that cymf {__version__} does not know: "
            f"{', '.join(foreign)}; upgrade cymf"
        )
    return kind(**parameters)


def _plain(name: str, value: Any) -> Any:
    """Return a parameter in JSON's types; generators, which have none, as None."""
    if isinstance(value, (np.random.Generator, np.random.RandomState)):
        return None
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    if isinstance(value, np.generic):
        return _plain(name, value.item())
    if isinstance(value, (list, tuple)):
        return [_plain(name, entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"parameter {name} is a {type(value).__name__}, which a model file cannot hold; expected "
        "a number, a string, a bool, None, a dtype, a list of these, or a random generator"
    )
