"""The models with sampled ranking losses, and interactions to fit them to."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

import cymf

ESTIMATORS = {
    "BPR": cymf.BPR,
    "ContrastiveMF": cymf.ContrastiveMF,
    "LogisticMF": cymf.LogisticMF,
}
SUITED = {"ContrastiveMF": {"temperature": 0.3}}  # to so few items; the others' defaults are


def clusters(
    n_users: int = 60, n_items: int = 80, n_groups: int = 4, seed: int = 0, share: float = 0.5
) -> tuple[cymf.Ratings, cymf.Ratings]:
    """Users who take items of their own group alone, some of them held out; the last user and first item have none."""
    rng = np.random.default_rng(seed)
    user_group, item_group = np.arange(n_users) % n_groups, np.arange(n_items) % n_groups
    same = user_group[:, None] == item_group[None, :]
    same[-1], same[:, 0] = False, False
    taken = same & (rng.random(same.shape) < share)
    held_out = same & ~taken
    return tuple(
        cymf.Ratings.from_matrix(sparse.csr_array(part.astype(float))) for part in (taken, held_out)
    )


def bits_of(model: Any) -> bytes:
    """All that was learnt, to compare bit for bit."""
    state = model._fitted()
    arrays = (state.user_factors, state.item_factors, state.user_bias, state.item_bias)
    numbers = [state.history[name] for name in ("objective", "validation_score")]
    extra = [state.extra[name] for name in sorted(state.extra)]
    return b"".join(np.asarray(a).tobytes() for a in (*arrays, *numbers, *extra) if a is not None)


def share_of_own_group(model: Any, n: int = 5, n_groups: int = 4) -> float:
    """The share of recommended items that are of the user's own group."""
    users = np.arange(model.user_factors_.shape[0] - 1)
    items, _ = model.recommend(users, n=n)
    return float(np.mean(items % n_groups == users[:, None] % n_groups))
