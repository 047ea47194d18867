"""Measures peers that stand ready in processes of their own, by turns, so that drift of the machine cancels.

Seconds per iteration are (T(many) - T(few)) / (many - few): whatever happens once a fit is left out. All peers do
one round, then all do the next; ratios are taken within a round.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters import Peer, all_peers
from environments import interpreter, process_variables

__all__ = ["Measurement", "Plan", "ratios", "run"]

_CURVE = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 30, 35, 40, 50, 60, 80, 100)
_PATIENCE = 4  # points of the curve that must not be better before it is at its end
_BETTER = 2e-4  # relatively: less is noise
_FEW = 2
_MOST = 60


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes
    ----------
    rounds : int
        Repetitions of T(few) and T(many).
    seconds : float
        About what T(many) - T(few) should take; fast peers do more iterations.
    curve_seconds : float
        Most time a peer's curve of quality takes; 0 leaves it out.
    """

    rounds: int
    seconds: float
    curve_seconds: float


@dataclass
class Measurement:
    """What was measured of one peer on one data set with one number of factors."""

    key: str
    peer: Peer
    version: str = ""
    error: str = ""
    many: int = 0
    times: list[tuple[float, float]] = field(default_factory=list)  # T(few), T(many) of each round
    megabytes: float = float("nan")
    megabytes_before: float = float("nan")
    curve: list[tuple[int, float, float]] = field(
        default_factory=list
    )  # iterations, seconds, held-out error

    @property
    def rounds(self) -> list[float]:
        """Seconds per iteration of each round."""
        return [(many - few) / (self.many - _FEW) for few, many in self.times]

    @property
    def quickest(self) -> float:
        """Seconds per iteration from the least T(few) and T(many): what others slowed down least."""
        if not self.times:
            return float("nan")
        few, many = map(min, zip(*self.times, strict=True))
        return (many - few) / (self.many - _FEW)

    @property
    def seconds(self) -> float:
        return statistics.median(self.rounds) if self.rounds else float("nan")

    @property
    def best(self) -> tuple[int, float, float]:
        return min(self.curve, key=lambda point: point[2], default=(0, float("nan"), float("nan")))

    def seconds_to(self, error: float) -> float:
        """Return the time of the first point of the curve at or below a held-out error."""
        return next(
            (seconds for _, seconds, reached in self.curve if reached <= error), float("nan")
        )

    def as_dict(self) -> dict[str, Any]:
        names = (
            "key", "version", "error", "many", "times", "rounds", "seconds", "quickest", "megabytes",
            "megabytes_before", "curve",
        )  # fmt: skip
        return {
            "label": self.peer.label,
            "family": self.peer.family,
            "settings": self.peer.settings,
            **{name: getattr(self, name) for name in names},
        }


class Worker:
    """A peer's process."""

    def __init__(
        self,
        key: str,
        path: Path,
        n_factors: int,
        n_threads: int,
        environments: Path,
        settings: dict[str, Any],
    ) -> None:
        module, _ = all_peers()[key]
        python = interpreter(module, environments)
        own = python == Path(sys.executable)
        self.log = environments.parent / "logs" / f"{key}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as log:
            script = str(Path(__file__).with_name("worker.py"))
            sizes = str(n_factors), str(n_threads)
            self.process = subprocess.Popen(
                [str(python), script, key, str(path), *sizes, json.dumps(settings)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1,
                env=process_variables(n_threads, own=own), cwd=None if own else environments,
            )  # fmt: skip

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            last = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise RuntimeError(f"its process ended: {last[0][:200]}; see {self.log}")
        return json.loads(line)

    def ask(self, **request: Any) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # the process ended, which the answer reports
            self.process.stdin.write(json.dumps(request) + "\n")
        return self.answer()

    def end(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(
    keys: list[str],
    path: Path,
    n_factors: int,
    n_threads: int,
    plan: Plan,
    environments: Path,
    settings: dict[str, Any] | None = None,
) -> list[Measurement]:
    """Measure peers on one data set with one number of factors; `settings` go before their own."""
    peers = all_peers()
    results = {key: Measurement(key, peers[key][1]) for key in keys}
    workers: dict[str, Worker] = {}

    def attempt(key: str, work: Any) -> None:
        """Do something with one worker; a peer that fails is reported, and not asked again."""
        try:
            work()
        except (RuntimeError, OSError, ValueError) as error:
            results[key].error = str(error)
            _say(f"  {results[key].peer.label}: {error}")
            if key in workers:
                workers.pop(key).end()

    def start(key: str) -> None:
        workers[key] = Worker(key, path, n_factors, n_threads, environments, settings or {})
        result, worker = results[key], workers[key]
        result.version = worker.answer()["version"]
        first = worker.ask(fit=_FEW)  # warms up, and shows the peak of memory of one fit
        result.megabytes, result.megabytes_before = first["megabytes"], first["megabytes_before"]
        probe = (worker.ask(fit=_FEW + 2)["seconds"] - worker.ask(fit=_FEW)["seconds"]) / 2
        result.many = _FEW + min(_MOST, max(2, round(plan.seconds / max(probe, 1e-4))))
        _say(f"  {result.peer.label} {result.version}: about {max(probe, 0):.4f} s an iteration")

    def one_round(key: str) -> None:
        worker, result = workers[key], results[key]
        few, many = (worker.ask(fit=n)["seconds"] for n in (_FEW, result.many))
        result.times.append((few, many))

    def curve(key: str) -> None:
        worker, result = workers[key], results[key]
        spent, since_best = 0.0, 0
        for n_iter in _CURVE:
            expected = result.seconds * n_iter
            if spent + expected > plan.curve_seconds:
                break
            seconds = min(
                worker.ask(fit=n_iter)["seconds"] for _ in range(2 if expected < 1 else 1)
            )
            spent += 2 * seconds if expected < 1 else seconds
            error = worker.ask(error=True)["error"]
            since_best = (
                0 if error < result.best[2] * (1 - _BETTER) or not result.curve else since_best + 1
            )
            result.curve.append((n_iter, seconds, error))
            if since_best == _PATIENCE:
                break

    try:
        for key in keys:
            attempt(key, lambda key=key: start(key))
        for number in range(plan.rounds):
            _say(f"  round {number + 1} of {plan.rounds}")
            for key in list(workers):
                attempt(key, lambda key=key: one_round(key))
        if plan.curve_seconds:
            for key in list(workers):
                _say(f"  curve of {results[key].peer.label}")
                attempt(key, lambda key=key: curve(key))
    finally:
        for worker in workers.values():
            worker.end()
    return list(results.values())


def ratios(measurement: Measurement, own: Measurement) -> tuple[float, float, float]:
    """Return median, least and largest ratio, round by round, of a peer's seconds to cymf's."""
    pairs = list(zip(measurement.rounds, own.rounds, strict=False))
    if not pairs:
        return float("nan"), float("nan"), float("nan")
    each = [peer / ours for peer, ours in pairs]
    return statistics.median(each), min(each), max(each)
