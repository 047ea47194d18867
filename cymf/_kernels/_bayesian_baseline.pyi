# Made from the source by .ci/stubs

from typing import Any

from numpy.typing import NDArray

def posterior_scratch_size(n_unknowns: int, width: int) -> Any: ...
def bayesian_half_sweep(
    indptr: NDArray[Any],
    indices: NDArray[Any],
    values: NDArray[Any],
    weights: NDArray[Any],
    fixed: NDArray[Any],
    offset: NDArray[Any],
    precision: NDArray[Any],
    pulls: NDArray[Any],
    sigma: float,
    seed: int,
    epoch: int,
    chunks: NDArray[Any],
    counter: NDArray[Any],
    drawn: NDArray[Any],
    status: NDArray[Any],
    scratch: NDArray[Any],
) -> Any: ...
def posterior_rows(
    indptr: NDArray[Any],
    indices: NDArray[Any],
    weights: NDArray[Any],
    fixed: NDArray[Any],
    base: NDArray[Any],
    base_scale: NDArray[Any],
    diagonal: NDArray[Any],
    diagonal_scale: NDArray[Any],
    asked: NDArray[Any],
    asked_indptr: NDArray[Any],
    asked_indices: NDArray[Any],
    seed: int,
    streams: NDArray[Any],
    counter: NDArray[Any],
    variances: NDArray[Any],
    deviations: NDArray[Any],
    status: NDArray[Any],
    scratch: NDArray[Any],
) -> Any: ...
def normal_numbers(seed: int, epoch: int, block: int, z: NDArray[Any]) -> Any: ...
def bayesian_set_sweep(
    indptr: NDArray[Any],
    members: NDArray[Any],
    scales: NDArray[Any],
    sums: NDArray[Any],
    precision: NDArray[Any],
    seed: int,
    epoch: int,
    counter: NDArray[Any],
    residuals: NDArray[Any],
    vectors: NDArray[Any],
) -> Any: ...
