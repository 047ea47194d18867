"""What a policy would have earned, from a log of random recommendations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from cymf._arrays import offers_array
from cymf._columns import as_series, written_column

__all__ = ["ReplayReport", "replay"]


class ReplayReport(NamedTuple):
    """What a policy earned on the events at which it chose what was shown.

    Attributes
    ----------
    mean_reward : float
        Of the events that count; NaN if there are none.
    standard_error : float
        Of the mean, taking rewards for independent; NaN for fewer than two events.
    n_matched : int
        Events that count.
    n_events : int
        Events in the log.
    """

    mean_reward: float
    standard_error: float
    n_matched: int
    n_events: int


def replay(
    choose: Callable[[Any, Any], Any],
    events: Iterable[tuple[Any, Any, Any, float]],
    *,
    learn: Callable[[Any, Any, float], object] | None = None,
) -> ReplayReport:
    """Evaluate a policy on a log of recommendations that were drawn uniformly from candidates.

    An event counts where the policy chooses the item that was shown; all others are passed over. As what was shown does
    not depend on anything, what counts is what the policy would have met, and its mean reward has no bias
    (Li, Chu, Langford and Wang 2011, "Unbiased offline evaluation of contextual-bandit-based news article
    recommendation algorithms"). On logs of another policy, that is not so.

    Parameters
    ----------
    choose : callable
        ``choose(user, candidates)`` returns one of the candidates.
    events : iterable of (user, candidates, shown, reward)
        The log, in the order of time.
    learn : callable, optional
        ``learn(user, item, reward)``, called with every event that counts, so that the policy may learn from it; from
        others it must not.

    Returns
    -------
    ReplayReport

    Raises
    ------
    ValueError
        If `choose` returns what is no candidate, an item was shown that was none, or a reward is not finite.

    Examples
    --------
    >>> from cymf.evaluation import replay
    >>> drinks = ["tea", "rum"]
    >>> log = [("ann", drinks, "tea", 1.0), ("bob", drinks, "rum", 0.0), ("cy", drinks, "tea", 0.5)]
    >>> report = replay(lambda user, candidates: "tea", log)
    >>> report.mean_reward, report.n_matched
    (0.75, 2)
    """
    rewards, n_events = [], 0
    for user, candidates, shown, reward in events:
        n_events += 1
        if as_series(candidates) is not None or offers_array(candidates):
            listed = written_column(candidates, "candidates").tolist()
        else:
            listed = list(candidates)
        chosen = choose(user, candidates)
        for what, item in (("choose returned", chosen), ("the log has shown", shown)):
            if item not in listed:
                raise ValueError(
                    f"{what} {item!r} to user {user!r}, which is none of the {len(listed)} candidates of event "
                    f"{n_events}"
                )
        if chosen != shown:
            continue
        if not math.isfinite(reward):
            raise ValueError(
                f"the reward of event {n_events} is {reward!r}; expected a finite number"
            )
        rewards.append(float(reward))
        if learn is not None:
            learn(user, chosen, float(reward))
    n = len(rewards)
    return ReplayReport(
        float(np.mean(rewards)) if n else math.nan,
        float(np.std(rewards, ddof=1)) / math.sqrt(n) if n > 1 else math.nan,
        n,
        n_events,
    )
