"""What exploring earns in a made-up world: regret of UCB, Thompson sampling, ε-greedy and greedy recommendations.

    python bench/exploration.py [--quick] [--seeds N] [--rounds N] [--output FOLDER]

The truth of the world is known: expected ratings are those of a factor model, ratings are the expected ones plus noise.
Every round recommends one item to every user, who may have had it before, is told a rating, and fits the model again
to the mean rating of every cell, weighted by how many there are. Regret is what the user's best item is expected to
give, minus what the chosen one is, summed over rounds and averaged over users. Writes exploration.md, exploration.json
and exploration-regret.png into the output folder (default: bench/results).
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from machine import describe, heading
from report import write_json, write_text

import cymf

N_USERS, N_ITEMS, N_FACTORS = 40, 60, 3
NOISE, ITEM_SPREAD, PRODUCT_SPREAD = 1.0, 0.3, 0.7


class Policy(NamedTuple):
    """How items are chosen."""

    estimator: str
    explore: str | None = None
    scale: float = 1.0
    epsilon: float = 0.0


POLICIES = {
    "greedy, ALS": Policy("als"),
    "ε-greedy 0.05, ALS": Policy("als", epsilon=0.05),
    "ε-greedy 0.1, ALS": Policy("als", epsilon=0.1),
    "UCB 0.5, ALS": Policy("als", "ucb", 0.5),
    "UCB 1, ALS": Policy("als", "ucb"),
    "Thompson 0.5, ALS": Policy("als", "thompson", 0.5),
    "Thompson 1, ALS": Policy("als", "thompson"),
    "greedy, BayesianMF": Policy("bayesian"),
    "UCB 1, BayesianMF": Policy("bayesian", "ucb"),
    "Thompson 0.5, BayesianMF": Policy("bayesian", "thompson", 0.5),
}


def estimator(kind: str, turn: int) -> Any:
    if kind == "als":
        return cymf.ALS(
            N_FACTORS,
            reg=NOISE**2 / PRODUCT_SPREAD,
            reg_bias=(NOISE / ITEM_SPREAD) ** 2,
            reg_exponent=0.0,
            max_iter=8,
            tol=0,
            track_objective=False,
            n_threads=1,
        )
    return cymf.BayesianMF(
        N_FACTORS, burn_in=15, n_samples=15, thinning=1, random_state=turn, n_threads=1
    )


class World:
    """Users who rate what they are given, around expected ratings that are known here."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        shape = N_USERS, N_ITEMS
        spread = PRODUCT_SPREAD**0.5
        users, items = (self._rng.normal(0, spread, (n, N_FACTORS)) for n in shape)
        self.truth = 3 + self._rng.normal(0, ITEM_SPREAD, N_ITEMS) + users @ items.T
        self._counts, self._sums = np.zeros(shape), np.zeros(shape)
        self.rate(self._rng.integers(0, N_USERS, N_ITEMS), np.arange(N_ITEMS))
        self.rate(np.arange(N_USERS), self._rng.integers(0, N_ITEMS, N_USERS))

    def rate(self, users: np.ndarray, items: np.ndarray) -> None:
        """Let users rate an item each."""
        ratings = self.truth[users, items] + self._rng.normal(0, NOISE, len(users))
        np.add.at(self._counts, (users, items), 1)
        np.add.at(self._sums, (users, items), ratings)

    def ratings(self) -> cymf.Ratings:
        """Return what has been rated so far."""
        users, items = np.nonzero(self._counts)
        weights = self._counts[users, items]
        means = self._sums[users, items] / weights
        return cymf.Ratings.from_triplets(
            users, items, means, weights=weights, shape=self.truth.shape
        )


def regret(policy: Policy, seed: int, n_rounds: int) -> np.ndarray:
    """Return the mean regret of a user, summed up to each round."""
    world, everybody = World(seed), np.arange(N_USERS)
    rng = np.random.default_rng((seed, 1))
    lost = np.empty(n_rounds)
    for turn in range(n_rounds):
        model = estimator(policy.estimator, turn).fit(world.ratings())
        chosen = model.recommend(
            everybody,
            1,
            exclude_seen=False,
            explore=policy.explore,
            explore_scale=policy.scale,
            random_state=turn,
        )[0][:, 0]
        anything = rng.integers(0, N_ITEMS, N_USERS)
        chosen = np.where(rng.random(N_USERS) < policy.epsilon, anything, chosen)
        lost[turn] = np.mean(world.truth.max(axis=1) - world.truth[everybody, chosen])
        world.rate(everybody, chosen)
    return np.cumsum(lost)


def table(curves: dict[str, list[np.ndarray]]) -> str:
    """Return the last regrets, and their differences to greedy recommendations of the same estimator and worlds."""
    lines = [
        "| policy | regret a user | worst world | less than greedy by |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, runs in curves.items():
        last = np.array([curve[-1] for curve in runs])
        greedy = np.array([curve[-1] for curve in curves[f"greedy, {name.split(', ')[1]}"]])
        saved = greedy - last
        error = statistics.stdev(saved) / len(saved) ** 0.5 if len(saved) > 1 else float("nan")
        gain = "" if name.startswith("greedy") else f"{saved.mean():.1f} ± {error:.1f}"
        lines.append(f"| {name} | {last.mean():.1f} | {last.max():.1f} | {gain} |")
    return "\n".join(lines)


def picture(curves: dict[str, list[np.ndarray]], path: Path) -> None:
    """Draw regret over rounds, the mean over worlds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, runs in curves.items():
        style = "--" if "greedy" in name else "-"
        axis.plot(np.mean(runs, axis=0), style, label=name, linewidth=1.2)
    axis.set(xlabel="round", ylabel="regret of a user, summed up")
    axis.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two worlds, 100 rounds")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=250)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    seeds, rounds = (2, 100) if arguments.quick else (arguments.seeds, arguments.rounds)
    machine = describe()
    curves = {}
    for name, policy in POLICIES.items():
        curves[name] = [regret(policy, seed, rounds) for seed in range(seeds)]
        print(f"{name}: {np.mean([curve[-1] for curve in curves[name]]):.2f}", flush=True)
    world = f"{N_USERS} users, {N_ITEMS} items, {N_FACTORS} factors, noise {NOISE}; {rounds} rounds, {seeds} worlds"
    text = heading(machine, world=world) + "\n\n" + table(curves)
    print(text)
    write_text(arguments.output / "exploration.md", text + "\n")
    write_json(
        arguments.output / "exploration.json",
        {
            "machine": machine,
            "curves": {n: [c.tolist() for c in runs] for n, runs in curves.items()},
        },
    )
    picture(curves, arguments.output / "exploration-regret.png")


if __name__ == "__main__":
    main()
