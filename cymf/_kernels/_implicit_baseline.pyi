# Made from the source by .ci/stubs

from typing import Any

from numpy.typing import NDArray

def implicit_scratch_size(width: int, longest: int) -> Any: ...
def implicit_half_sweep(
    indptr: NDArray[Any],
    indices: NDArray[Any],
    confidence: NDArray[Any],
    base_row: NDArray[Any],
    base_fixed: NDArray[Any],
    replaces: bool,
    reg: NDArray[Any],
    fixed: NDArray[Any],
    offset: NDArray[Any],
    constant: NDArray[Any],
    eigenvalues: NDArray[Any],
    mean_squares: NDArray[Any],
    n_factors: int,
    method: int,
    setting: int,
    solved: NDArray[Any],
    chunks: NDArray[Any],
    counter: NDArray[Any],
    status: NDArray[Any],
    scratch: NDArray[Any],
) -> Any: ...
def implicit_observed_errors(
    indptr: NDArray[Any],
    indices: NDArray[Any],
    confidence: NDArray[Any],
    base_row: NDArray[Any],
    base_fixed: NDArray[Any],
    replaces: bool,
    rows: NDArray[Any],
    row_bias: NDArray[Any],
    fixed: NDArray[Any],
    fixed_bias: NDArray[Any],
    chunks: NDArray[Any],
    counter: NDArray[Any],
    sums: NDArray[Any],
) -> Any: ...
