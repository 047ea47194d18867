# Made from the source by .ci/stubs

from typing import Any

from numpy.typing import NDArray

def als_scratch_size(n_factors: int, width: int) -> Any: ...
def als_half_sweep(
    indptr: NDArray[Any],
    indices: NDArray[Any],
    values: NDArray[Any],
    weights: NDArray[Any],
    fixed: NDArray[Any],
    fixed_bias: NDArray[Any],
    solved: NDArray[Any],
    solved_bias: NDArray[Any],
    n_factors: int,
    mean: float,
    reg: float,
    reg_bias: float,
    reg_exponent: float,
    chunks: NDArray[Any],
    counter: NDArray[Any],
    status: NDArray[Any],
    scratch: NDArray[Any],
) -> Any: ...
def als_minimum_norm_rows(
    rows: NDArray[Any],
    indptr: NDArray[Any],
    indices: NDArray[Any],
    values: NDArray[Any],
    weights: NDArray[Any],
    fixed: NDArray[Any],
    fixed_bias: NDArray[Any],
    solved: NDArray[Any],
    solved_bias: NDArray[Any],
    n_factors: int,
    mean: float,
    reg: float,
    reg_bias: float,
    reg_exponent: float,
    status: NDArray[Any],
) -> Any: ...
