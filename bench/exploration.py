"""What exploring earns in a made-up world: regret of UCB, Thompson sampling, ε-greedy and greedy recommendations.

    python bench/exploration.py [--quick] [--seeds N] [--rounds N] [--output FOLDER]

The truth of the world is known: expected ratings are those of a factor model, ratings are the expected ones plus noise.
Every round recommends one new item to every user, is told the rating, and fits the model again. Regret is what the best
item that the user has not had would have been expected to give, minus what the chosen one is expected to give, summed over
rounds and averaged over users. Writes exploration.md, exploration.json and exploration-regret.png into the output folder
(default: bench/results).
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

N_USERS, N_ITEMS, N_FACTORS = 80, 150, 3
NOISE, ITEM_SPREAD, START_RATINGS = 0.5, 0.3, 2


class Policy(NamedTuple):
    """How items are chosen."""

    estimator: str
    options: dict[str, Any] = {}
    epsilon: float = 0.0


POLICIES = {
    "greedy, ALS": Policy("als"),
    "ε-greedy 0.05, ALS": Policy("als", epsilon=0.05),
    "ε-greedy 0.1, ALS": Policy("als", epsilon=0.1),
    "UCB 0.5, ALS": Policy("als", {"explore": "ucb", "explore_scale": 0.5}),
    "UCB 1, ALS": Policy("als", {"explore": "ucb"}),
    "Thompson 1, ALS": Policy("als", {"explore": "thompson"}),
    "greedy, BayesianMF": Policy("bayesian"),
    "UCB 1, BayesianMF": Policy("bayesian", {"explore": "ucb"}),
    "Thompson 1, BayesianMF": Policy("bayesian", {"explore": "thompson"}),
}


def estimator(kind: str, turn: int) -> Any:
    if kind == "als":
        return cymf.ALS(
            N_FACTORS,
            reg=NOISE**2,
            reg_bias=(NOISE / ITEM_SPREAD) ** 2,
            reg_exponent=0.0,
            max_iter=8,
            n_threads=1,
        )
    return cymf.BayesianMF(
        N_FACTORS, burn_in=15, n_samples=15, thinning=1, random_state=turn, n_threads=1
    )


def regret(policy: Policy, seed: int, n_rounds: int) -> np.ndarray:
    """Return the mean regret of a user, summed up to each round."""
    rng = np.random.default_rng(seed)
    truth = (
        3
        + rng.normal(0, ITEM_SPREAD, N_ITEMS)
        + np.matmul(rng.normal(size=(N_USERS, N_FACTORS)), rng.normal(size=(N_FACTORS, N_ITEMS)))
    )
    everybody = np.arange(N_USERS)
    seen = np.zeros(truth.shape, bool)
    seen[rng.integers(0, N_USERS, N_ITEMS), np.arange(N_ITEMS)] = True  # no item without a rating
    for _ in range(START_RATINGS):
        seen[everybody, rng.integers(0, N_ITEMS, N_USERS)] = True
    values = np.where(seen, truth + rng.normal(0, NOISE, truth.shape), np.nan)
    lost = np.empty(n_rounds)
    for turn in range(n_rounds):
        model = estimator(policy.estimator, turn).fit(values)
        seeded = {"random_state": turn} if policy.options else {}
        chosen = model.recommend(everybody, 1, **policy.options, **seeded)[0][:, 0]
        if policy.epsilon:
            random = np.array([rng.choice(np.flatnonzero(~row)) for row in seen])
            chosen = np.where(rng.random(N_USERS) < policy.epsilon, random, chosen)
        left = np.where(seen, -np.inf, truth)
        lost[turn] = np.mean(left.max(axis=1) - truth[everybody, chosen])
        seen[everybody, chosen] = True
        values[everybody, chosen] = truth[everybody, chosen] + rng.normal(0, NOISE, N_USERS)
    return np.cumsum(lost)


def table(curves: dict[str, list[np.ndarray]]) -> str:
    greedy = np.array([curve[-1] for curve in curves["greedy, ALS"]])
    lines = [
        "| policy | regret a user | ± | of greedy ALS's, same worlds |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, runs in curves.items():
        last = np.array([curve[-1] for curve in runs])
        error = statistics.stdev(last) / len(last) ** 0.5 if len(last) > 1 else float("nan")
        lines.append(f"| {name} | {last.mean():.2f} | {error:.2f} | {np.mean(last / greedy):.0%} |")
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
    parser.add_argument("--quick", action="store_true", help="two worlds, 20 rounds")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    seeds, rounds = (2, 20) if arguments.quick else (arguments.seeds, arguments.rounds)
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
