# Made from the source by .ci/stubs

from typing import Any

from numpy.typing import NDArray

def svdpp_epoch(
    order: NDArray[Any],
    turns: NDArray[Any],
    kept_at: NDArray[Any],
    batch: int,
    rated_border: NDArray[Any],
    rated: NDArray[Any],
    values: NDArray[Any],
    weights: NDArray[Any],
    member_border: NDArray[Any],
    members: NDArray[Any],
    users: NDArray[Any],
    items: NDArray[Any],
    user_bias: NDArray[Any],
    item_bias: NDArray[Any],
    mean: float,
    rate: float,
    reg: float,
    reg_bias: float,
    changes: NDArray[Any],
    bias_changes: NDArray[Any],
    moves: NDArray[Any],
    shrinks: NDArray[Any],
    scratch: NDArray[Any],
    counter: NDArray[Any],
    user_clock: NDArray[Any],
    stripe_clock: NDArray[Any],
    diverged: NDArray[Any],
    limit: float,
    squared_error: NDArray[Any],
) -> Any: ...
def svdpp_whole_users(
    member_border: NDArray[Any],
    members: NDArray[Any],
    stripes: int,
    users: NDArray[Any],
    items: NDArray[Any],
    chunks: NDArray[Any],
    counter: NDArray[Any],
    whole: NDArray[Any],
) -> Any: ...
