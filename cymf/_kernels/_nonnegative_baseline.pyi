# Made from the source by .ci/stubs

from typing import Any

from numpy.typing import NDArray

def nonnegative_scratch_size(n_factors: int, width: int) -> Any: ...
def nonnegative_half_sweep(
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
    reg_l1: float,
    reg_bias: float,
    reg_exponent: float,
    max_passes: int,
    precision: float,
    chunks: NDArray[Any],
    counter: NDArray[Any],
    status: NDArray[Any],
    scratch: NDArray[Any],
) -> Any: ...
def nonnegative_products(
    indptr: NDArray[Any],
    indices: NDArray[Any],
    values: NDArray[Any],
    fixed: NDArray[Any],
    chunks: NDArray[Any],
    counter: NDArray[Any],
    products: NDArray[Any],
) -> Any: ...
def nonnegative_shared_scratch_size(n_factors: int, itemsize: int) -> Any: ...
def nonnegative_shared_rows(
    products: NDArray[Any],
    gram: NDArray[Any],
    reg_l1: float,
    max_passes: int,
    precision: float,
    solved: NDArray[Any],
    chunks: NDArray[Any],
    counter: NDArray[Any],
    sums: NDArray[Any],
    scratch: NDArray[Any],
) -> Any: ...
