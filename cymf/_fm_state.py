"""What a factorization machine has learnt, and how it stands in a model file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np

from cymf._archive import Archive
from cymf._machine import Machine

__all__ = ["FMState", "Samples"]


class Samples(NamedTuple):
    """Draws of the parameters from their posterior."""

    constants: np.ndarray  # (n_samples,)
    weights: np.ndarray  # (n_samples, n_columns), or (n_samples, 0) without biases
    factors: np.ndarray  # (n_samples, n_columns, n_factors)


@dataclass(frozen=True, eq=False, kw_only=True)
class FMState:
    """The result of training, swapped as a whole; arrays are read-only.

    Attributes
    ----------
    constant, weights, factors : float, ndarray of shape (n_columns,) or (0,), ndarray of shape (n_columns, n_factors)
        w0, w, V; of draws, their means.
    samples : Samples or None
        The draws that predictions are averaged over.
    noise : float
        Standard deviation of the targets around their scores, as drawn; NaN where it was not.
    classes : ndarray of shape (2,), or None
        Labels of a classifier.
    names : ndarray of str, shape (n_columns,), or None
        Names of the columns, where the training matrix had some.
    history, n_iter, stop_reason
        How training went.
    """

    constant: float
    weights: np.ndarray
    factors: np.ndarray
    samples: Samples | None
    noise: float
    classes: np.ndarray | None
    names: np.ndarray | None
    history: Mapping[str, list[float]]
    n_iter: int
    stop_reason: str

    def __post_init__(self) -> None:
        self._lock()

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        self._lock()  # NumPy does not pickle the read-only flag

    def _lock(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, entry.name, _read_only(value))
        if self.samples is not None:
            object.__setattr__(self, "samples", Samples(*map(_read_only, self.samples)))

    @property
    def n_columns(self) -> int:
        return len(self.factors)

    def machines(self) -> Iterator[Machine]:
        """Return the machines whose predictions are averaged, one after the other."""
        if self.samples is None:
            yield Machine.of(self.constant, self.weights, self.factors)
            return
        for constant, weights, factors in zip(*self.samples, strict=True):
            yield Machine.of(float(constant), weights, factors)

    def header(self) -> dict[str, Any]:
        """Return what of this goes into a file's header, in JSON's types."""
        return {
            "constant": float(self.constant),
            "noise": float(self.noise),
            "classes": None if self.classes is None else self.classes.tolist(),
            "names": None if self.names is None else self.names.tolist(),
            "history": {key: [float(v) for v in values] for key, values in self.history.items()},
            "n_iter": int(self.n_iter),
            "stop_reason": self.stop_reason,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what of this goes into a file's arrays."""
        arrays = {"weights": self.weights, "factors": self.factors}
        if self.samples is not None:
            arrays |= {f"sample_{name}": array for name, array in self.samples._asdict().items()}
        return arrays

    @classmethod
    def read(cls, archive: Archive, header: Mapping[str, Any], *, mmap: bool) -> Self:
        """Read what `header` and `arrays` have written."""

        def array(name: str) -> np.ndarray:
            mapped = mmap and name in ("factors", "sample_factors")
            return archive.map(name) if mapped else archive.read(name)

        samples = None
        if "sample_constants" in archive.names:
            samples = Samples(*(array(f"sample_{name}") for name in Samples._fields))
        state = cls(
            constant=float(header["constant"]),
            weights=array("weights"),
            factors=array("factors"),
            samples=samples,
            noise=float(header["noise"]),
            classes=None if header["classes"] is None else np.array(header["classes"]),
            names=None if header["names"] is None else np.array(header["names"], dtype=object),
            history={key: [float(v) for v in values] for key, values in header["history"].items()},
            n_iter=int(header["n_iter"]),
            stop_reason=str(header["stop_reason"]),
        )
        n_columns = state.n_columns
        shapes = {
            "weights": state.weights.shape in ((n_columns,), (0,)),
            "names": state.names is None or len(state.names) == n_columns,
            "classes": state.classes is None or state.classes.shape == (2,),
            "dtypes": state.factors.dtype in (np.float32, np.float64)
            and state.weights.dtype == state.factors.dtype,
            "samples": samples is None or _fit_together(samples, state),
        }
        if state.factors.ndim != 2 or not all(shapes.values()):
            raise ValueError("the parameters do not fit together")
        return state


def _fit_together(samples: Samples, state: FMState) -> bool:
    n = len(samples.constants)
    return (
        n > 0
        and samples.constants.ndim == 1
        and samples.weights.shape == (n, *state.weights.shape)
        and samples.factors.shape == (n, *state.factors.shape)
        and samples.weights.dtype == samples.factors.dtype == state.factors.dtype
    )


def _read_only(array: np.ndarray) -> np.ndarray:
    view = np.asarray(array, order="C").view()
    view.flags.writeable = False
    return view
