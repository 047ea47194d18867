# Made from the source by .ci/stubs

from typing import Any

from numpy.typing import NDArray

def unpack_pairs(rows: Any, indices: NDArray[Any], values: NDArray[Any]) -> Any: ...
def svd_epoch(
    users: NDArray[Any],
    indptr: NDArray[Any],
    indices: NDArray[Any],
    values: NDArray[Any],
    p: NDArray[Any],
    q: NDArray[Any],
    bu: NDArray[Any],
    bi: NDArray[Any],
    mean: float,
    biased: bool,
    rates: NDArray[Any],
    regs: NDArray[Any],
) -> Any: ...
def svdpp_epoch(
    users: NDArray[Any],
    indptr: NDArray[Any],
    indices: NDArray[Any],
    values: NDArray[Any],
    p: NDArray[Any],
    q: NDArray[Any],
    y: NDArray[Any],
    bu: NDArray[Any],
    bi: NDArray[Any],
    mean: float,
    rates: NDArray[Any],
    regs: NDArray[Any],
    implied: NDArray[Any],
) -> Any: ...
def svdpp_epoch_by_user(
    users: NDArray[Any],
    indptr: NDArray[Any],
    indices: NDArray[Any],
    values: NDArray[Any],
    p: NDArray[Any],
    q: NDArray[Any],
    y: NDArray[Any],
    bu: NDArray[Any],
    bi: NDArray[Any],
    mean: float,
    rates: NDArray[Any],
    regs: NDArray[Any],
    implied: NDArray[Any],
) -> Any: ...
def nmf_sums(
    users: NDArray[Any],
    indptr: NDArray[Any],
    indices: NDArray[Any],
    values: NDArray[Any],
    p: NDArray[Any],
    q: NDArray[Any],
    bu: NDArray[Any],
    bi: NDArray[Any],
    mean: float,
    biased: bool,
    rates: NDArray[Any],
    regs: NDArray[Any],
    p_above: NDArray[Any],
    p_below: NDArray[Any],
    q_above: NDArray[Any],
    q_below: NDArray[Any],
) -> Any: ...
