"""What an evaluation of rankings found: means, values of single users, intervals, and comparisons of two models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cymf._validation import check_choice, check_integer, random_generator

__all__ = ["Comparison", "RankingReport", "compare"]

_BATCH_DRAWS = 1 << 21  # numbers drawn at a time by resampling

RandomState = int | np.random.Generator | None


class RankingReport(Mapping[str, float]):
    """Ranking metrics of a model: a mapping from each metric's name to its mean over users.

    Made by `cymf.evaluation.evaluate_ranking` and `evaluate_sampled`.

    Attributes
    ----------
    per_user : dict of str to ndarray of shape (n_users,)
        The metric of each user, NaN where it is not defined for the user, who is then left out of the mean. Coverage,
        which is a property of all lists together, has none.
    users : ndarray of shape (n_users,)
        Ids of the users measured.

    Examples
    --------
    >>> import numpy as np
    >>> from cymf.evaluation import RankingReport
    >>> report = RankingReport({"mrr@3": 0.5}, {"mrr@3": np.array([1.0, 0.0])}, np.array(["ann", "bob"]))
    >>> report["mrr@3"], len(report.users)
    (0.5, 2)
    >>> report
    RankingReport of 2 users
      mrr@3    0.5000 ± 0.5000
    """

    def __init__(
        self,
        means: Mapping[str, float],
        per_user: Mapping[str, NDArray[np.float64]],
        users: NDArray[Any],
    ) -> None:
        self._means = dict(means)
        self.per_user: dict[str, NDArray[np.float64]] = dict(per_user)
        self.users = users

    def __getitem__(self, metric: str) -> float:
        return self._means[metric]

    def __iter__(self) -> Iterator[str]:
        return iter(self._means)

    def __len__(self) -> int:
        return len(self._means)

    def __repr__(self) -> str:
        """Return a table of the means, with the standard errors of those that are means over users."""
        width = max((len(name) for name in self), default=0)
        lines = [f"RankingReport of {len(self.users)} user{'' if len(self.users) == 1 else 's'}"]
        for name, mean in self.items():
            error = self.standard_error(name) if name in self.per_user else np.nan
            shown = f"  {name:<{width}}  {mean:8.4f}"
            lines.append(shown if np.isnan(error) else f"{shown} ± {error:.4f}")
        return "\n".join(lines)

    def standard_error(self, metric: str) -> float:
        """Return s / √n, the standard error of the mean over n users; NaN for a single user."""
        values = self._defined(metric)
        return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")

    def interval(
        self,
        metric: str,
        level: float = 0.95,
        method: Literal["bootstrap", "normal"] = "bootstrap",
        *,
        n_resamples: int = 2000,
        random_state: RandomState = 0,
    ) -> tuple[float, float]:
        """Return a confidence interval of a metric's mean, the users being drawn from many alike.

        Parameters
        ----------
        metric : str
            One of `per_user`.
        level : float, default 0.95
            Between 0 and 1.
        method : {"bootstrap", "normal"}, default "bootstrap"
            Percentiles of the means of resampled users (Efron and Tibshirani 1993, chapter 13), or
            mean ± z · standard error. At thousands of users there is hardly a difference.
        n_resamples : int, default 2000
            For the bootstrap.
        random_state : int, Generator or None, default 0
            For the bootstrap.

        Returns
        -------
        low, high : float

        Raises
        ------
        ValueError
            If the metric has no values of single users, or fewer than two.

        Notes
        -----
        The interval covers the choice of users. It does not cover that of the split, nor the random start of the model.
        """
        from scipy import stats

        check_choice("method", method, ("bootstrap", "normal"))
        level = _check_level(level)
        values = self._defined(metric)
        if len(values) < 2:
            raise ValueError(
                f"{metric} has values of {len(values)} users; an interval needs two or more"
            )
        if method == "normal" or np.ptp(values) == 0:
            reach = float(stats.norm.ppf(0.5 + level / 2)) * self.standard_error(metric)
            return float(self[metric] - reach), float(self[metric] + reach)
        return _percentiles(_bootstrap_means(values, n_resamples, random_state), level)

    def _defined(self, metric: str) -> NDArray[np.float64]:
        if metric not in self.per_user:
            if metric in self:
                raise ValueError(
                    f"{metric} is a property of all lists together; single users have no value"
                )
            raise ValueError(f"{metric!r} was not measured; measured: {', '.join(self)}")
        values = self.per_user[metric]
        return values[~np.isnan(values)]


@dataclass(frozen=True)
class Comparison:
    """Two models measured on the same users: mean difference, its interval, and how likely so much is by chance.

    Attributes
    ----------
    metric : str
    difference : float
        Mean over users of the first model's value less the second's.
    interval : tuple of two floats
        Confidence interval of the difference.
    level : float
        Of the interval.
    p_value : float
        Two-sided, under the hypothesis that there is no difference.
    n_users : int
    wins, losses : int
        Users for whom the first model is better, and worse.
    method : str
    """

    metric: str
    difference: float
    interval: tuple[float, float]
    level: float
    p_value: float
    n_users: int
    wins: int
    losses: int
    method: str

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.metric}: {self.difference:+.4f} [{low:+.4f}, {high:+.4f}] (p = {self.p_value:.3g}, "
            f"{self.n_users} users: {self.wins} better, {self.losses} worse)"
        )


def compare(
    first: RankingReport,
    second: RankingReport,
    metric: str,
    *,
    method: Literal["t", "bootstrap", "randomization"] = "t",
    level: float = 0.95,
    n_resamples: int = 2000,
    random_state: RandomState = 0,
) -> Comparison:
    """Compare two models user by user.

    Parameters
    ----------
    first, second : RankingReport
        Of the same test users, in any order.
    metric : str
        One that both reports hold for single users.
    method : {"t", "bootstrap", "randomization"}, default "t"
        The paired t test; the percentile bootstrap of the differences; or Fisher's randomization test, which swaps the
        two models at random for each user (Smucker, Allan and Carterette 2007). The interval is the bootstrap's for
        "bootstrap", else that of the t test.
    level : float, default 0.95
        Of the interval.
    n_resamples : int, default 2000
        For "bootstrap" and "randomization"; a p-value is never less than about 1 / n_resamples.
    random_state : int, Generator or None, default 0

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If the users differ, the metric is not in both, or fewer than two users have it.

    Examples
    --------
    >>> import numpy as np
    >>> from cymf.evaluation import RankingReport, compare
    >>> users, values = np.arange(4), np.array([0.5, 0.0, 1.0, 0.5])
    >>> one = RankingReport({"ndcg@5": 0.5}, {"ndcg@5": values}, users)
    >>> other = RankingReport({"ndcg@5": 0.25}, {"ndcg@5": values / 2}, users)
    >>> print(compare(one, other, "ndcg@5"))
    ndcg@5: +0.2500 [-0.0748, +0.5748] (p = 0.0917, 4 users: 3 better, 0 worse)
    """
    from scipy import stats

    check_choice("method", method, ("t", "bootstrap", "randomization"))
    level = _check_level(level)
    n_resamples = check_integer("n_resamples", n_resamples, 1)
    differences = _paired(first, second, metric)
    if len(differences) < 2:
        raise ValueError(
            f"{metric} has values of {len(differences)} users in both reports; expected two or more"
        )
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        interval, p_value = (mean, mean), 1.0 if mean == 0 else 0.0
    elif method == "bootstrap":
        means = _bootstrap_means(differences, n_resamples, random_state)
        interval = _percentiles(means, level)
        beyond = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
        p_value = min(1.0, 2 * (beyond + 1) / (n_resamples + 1))
    else:
        test = stats.ttest_1samp(differences, 0.0)
        low, high = test.confidence_interval(level)
        interval, p_value = (float(low), float(high)), float(test.pvalue)
        if method == "randomization":
            p_value = _randomization_p_value(differences, n_resamples, random_state)
    return Comparison(
        metric=metric,
        difference=mean,
        interval=interval,
        level=level,
        p_value=p_value,
        n_users=len(differences),
        wins=int(np.count_nonzero(differences > 0)),
        losses=int(np.count_nonzero(differences < 0)),
        method=method,
    )


def _paired(first: RankingReport, second: RankingReport, metric: str) -> NDArray[np.float64]:
    for report in (first, second):
        report._defined(metric)  # says what is missing
    order, other = np.argsort(first.users, kind="stable"), np.argsort(second.users, kind="stable")
    if not np.array_equal(first.users[order], second.users[other]):
        raise ValueError(
            f"the reports are of different users ({len(first.users)} and {len(second.users)}); "
            "evaluate both models on the same test"
        )
    differences = first.per_user[metric][order] - second.per_user[metric][other]
    found: NDArray[np.float64] = differences[~np.isnan(differences)]
    return found


def _mean_of_last_axis(values: NDArray[np.float64], axis: int = -1) -> Any:
    return np.mean(values, axis=axis)


def _bootstrap_means(
    values: NDArray[np.float64], n_resamples: int, random_state: RandomState
) -> NDArray[np.float64]:
    from scipy import stats

    result = stats.bootstrap(
        (values,),
        _mean_of_last_axis,
        vectorized=True,
        n_resamples=check_integer("n_resamples", n_resamples, 1),
        batch=max(1, _BATCH_DRAWS // len(values)),
        method="percentile",
        random_state=random_generator(random_state),
    )
    means: NDArray[np.float64] = result.bootstrap_distribution
    return means


def _percentiles(means: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def _randomization_p_value(
    differences: NDArray[np.float64], n_resamples: int, random_state: RandomState
) -> float:
    """Return how often a mean of the differences under random signs is as far from 0 as theirs.

    `scipy.stats.permutation_test` does the same with ``permutation_type="samples"``, and takes ten times as long.
    """
    generator = random_generator(random_state)
    total = differences.sum()
    beyond, left = 0, n_resamples
    while left:
        size = min(left, max(1, _BATCH_DRAWS // len(differences)))
        turned = generator.integers(0, 2, (size, len(differences)), np.int8)
        totals = total - 2 * (turned @ differences)
        beyond += int(np.count_nonzero(abs(totals) >= abs(total) * (1 - 1e-12)))
        left -= size
    return float((beyond + 1) / (n_resamples + 1))


def _check_level(level: Any) -> float:
    if (
        isinstance(level, bool)
        or not isinstance(level, (int, float, np.floating))
        or not 0 < level < 1
    ):
        raise ValueError(
            f"level={level!r} is out of range; expected a number between 0 and 1, such as 0.95"
        )
    return float(level)
