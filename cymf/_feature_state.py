"""What a fitted model keeps of its features: plain arrays beside its factors, and the way back."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from cymf._feature_prior import FeaturePrior
from cymf._feature_rows import check_names
from cymf.features import FeatureEncoder, Features
from cymf.ratings import is_matrix

if TYPE_CHECKING:
    from cymf._state import FittedState

__all__ = [
    "LearntSide",
    "feature_arrays",
    "learnt_side",
    "predicted_rows",
    "prior_row",
    "refuse_features",
]


class LearntSide(NamedTuple):
    """How one side's rows follow from features.

    Attributes
    ----------
    what : {"user", "item"}
        The side.
    factors : ndarray of shape (n_features, n_factors)
        B.
    bias : ndarray of shape (n_features,)
        β, zero in a model without biases.
    names : tuple of str
        Names of the features.
    encoder : FeatureEncoder or None
        How a table is encoded.
    matrix : csr_array or None
        The features of the model's rows, where it keeps what it was trained on.
    """

    what: str
    factors: np.ndarray
    bias: np.ndarray
    names: tuple[str, ...]
    encoder: FeatureEncoder | None
    matrix: sparse.csr_array | None

    def features(self, given: Any) -> Features:
        """Return features that were given to a fitted model, encoded as in training.

        Raises
        ------
        ValueError, TypeError
            If they have another width, other names or columns, or are a table where training had a matrix.
        """
        if not isinstance(given, Features) and not is_matrix(given):
            if self.encoder is None:
                raise TypeError(
                    f"{self.what}_features is a {type(given).__name__}; expected a matrix with {len(self.names)} "
                    "columns, as the model was fitted with"
                )
            given = self.encoder.transform_rows(given)
        found = given if isinstance(given, Features) else Features(given)
        check_names(found, self.names, self.what)
        return found

    def rows(self, matrix: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
        """Return F B and F β in the dtype of the model."""
        factors = matrix @ self.factors.astype(np.float64)
        bias = matrix @ self.bias.astype(np.float64)
        return np.asarray(factors, self.factors.dtype), np.asarray(bias, self.factors.dtype)


def feature_arrays(
    priors: Mapping[str, FeaturePrior], dtype: np.dtype[Any], *, keep_matrix: bool
) -> dict[str, np.ndarray]:
    """Return what a state keeps as further arrays."""
    arrays: dict[str, np.ndarray] = {}
    for what, prior in priors.items():
        features = prior.features
        encoder = features.encoder
        description = {
            "names": list(features.names) if encoder is None else None,
            "encoder": None if encoder is None else encoder.to_json(),
        }
        arrays[f"{what}_feature_factors"] = prior.factors.astype(dtype)
        arrays[f"{what}_feature_bias"] = prior.bias.astype(dtype)
        arrays[f"{what}_described"] = features.described
        text = json.dumps(description).encode("utf-8", "surrogatepass")
        arrays[f"{what}_feature_names"] = np.frombuffer(text, np.uint8)
        if keep_matrix:
            matrix = features.matrix
            arrays[f"{what}_features_indptr"] = matrix.indptr.astype(np.int64)
            arrays[f"{what}_features_indices"] = matrix.indices
            arrays[f"{what}_features_values"] = matrix.data
    return arrays


def learnt_side(state: FittedState, what: str) -> LearntSide | None:
    """Return how one side's rows follow from features; None for a model that was fitted without them."""
    if f"{what}_feature_factors" not in state.extra:
        return None
    known = _made.setdefault(state, {})
    if what not in known:
        known[what] = _read(state.extra, what)
    return known[what]


def predicted_rows(
    state: FittedState, what: str, features: Any, n_rows: int | None, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the factors and biases that features stand for; `n_rows` of them, where that is not None.

    Raises
    ------
    ValueError, TypeError
        If the model, a `name`, was fitted without features of this side, or they do not fit.
    """
    learnt = learnt_side(state, what)
    if learnt is None:
        raise ValueError(
            f"this {name} was fitted without {what}_features, so that it learnt nothing of them; "
            f"fit ALS, SGD or ImplicitALS with {what}_features=…"
        )
    found = learnt.features(features)
    if n_rows is not None and len(found) != n_rows:
        raise ValueError(
            f"features has {len(found)} rows; expected {n_rows}, one for each {what} in the order of the ratings"
        )
    return learnt.rows(found.matrix)


def refuse_features(state: FittedState, method: str) -> None:
    """Refuse to go on training a model whose rows are drawn to features that new rows do not bring."""
    if any(f"{what}_feature_factors" in state.extra for what in ("user", "item")):
        raise ValueError(
            f"the model was fitted with features, which {method} does not take; fit it anew with all ratings"
        )


def prior_row(state: FittedState, what: str, row: int) -> tuple[np.ndarray, float] | None:
    """Return the factors and the bias, in float64, that features draw a row to; None without features."""
    learnt = learnt_side(state, what)
    if learnt is None or learnt.matrix is None:
        return None
    factors, bias = learnt.rows(learnt.matrix[[row]])
    return factors[0].astype(np.float64), float(bias[0])


_made: weakref.WeakKeyDictionary[FittedState, dict[str, LearntSide]] = weakref.WeakKeyDictionary()


def _read(extra: Mapping[str, np.ndarray], what: str) -> LearntSide:
    factors = extra[f"{what}_feature_factors"]
    text = extra[f"{what}_feature_names"].tobytes().decode("utf-8", "surrogatepass")
    description = json.loads(text)
    encoder = None
    if description["encoder"] is not None:
        encoder = FeatureEncoder.from_json(description["encoder"])
    matrix = None
    if f"{what}_features_indptr" in extra:
        parts = [extra[f"{what}_features_{part}"] for part in ("values", "indices", "indptr")]
        matrix = sparse.csr_array(tuple(parts), shape=(len(parts[2]) - 1, len(factors)))
    return LearntSide(
        what,
        factors,
        extra[f"{what}_feature_bias"],
        tuple(description["names"]) if encoder is None else encoder.names,
        encoder,
        matrix,
    )
