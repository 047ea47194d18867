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
from typing import Any, NamedTuple

from adapters import Peer, all_peers
from environments import interpreter, process_variables

__all__ = ["CurvePoint", "Measurement", "Plan", "ratios", "run"]

# Iterations of the fits that make a curve of quality; and how many must not be better before the curve is at its end
_CURVE = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 30, 35, 40, 50, 60, 80, 100), 4
_SLOW_CURVE = (1, 2, 3, 4, 6, 9, 13, 18, 25, 35, 50), 2  # where an iteration takes a second or more
_BETTER = 2e-4  # relatively: less is noise
_FEW = 2
_MOST = 60
_SLOW = 1.0  # seconds of an iteration
_VERY_SLOW = 4.0  # seconds of an iteration: T(1) and T(2) have to do


class CurvePoint(NamedTuple):
    """A fit from the start: its iterations, its seconds and what it reached."""

    iterations: int
    seconds: float
    error: float
    objective: float = float("nan")


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
    peer_seconds : float
        After so much time in the rounds a peer does no further one; each does one at least.
    """

    rounds: int
    seconds: float
    curve_seconds: float
    peer_seconds: float = float("inf")


@dataclass
class Measurement:
    """What was measured of one peer on one data set with one number of factors."""

    key: str
    peer: Peer
    version: str = ""
    error: str = ""
    few: int = _FEW
    many: int = 0
    times: list[tuple[float, float]] = field(default_factory=list)  # T(few), T(many) of each round
    megabytes: float = float("nan")
    megabytes_before: float = float("nan")
    curve: list[CurvePoint] = field(default_factory=list)
    curve_complete: bool = False  # it went on until it was no longer better

    @property
    def rounds(self) -> list[float]:
        """Seconds per iteration of each round."""
        return [(many - few) / (self.many - self.few) for few, many in self.times]

    @property
    def quickest(self) -> float:
        """Seconds per iteration from the least T(few) and T(many): what others slowed down least."""
        if not self.times:
            return float("nan")
        few, many = map(min, zip(*self.times, strict=True))
        return (many - few) / (self.many - self.few)

    @property
    def seconds(self) -> float:
        return statistics.median(self.rounds) if self.rounds else float("nan")

    @property
    def best(self) -> CurvePoint:
        """The point with the least held-out error."""
        nothing = CurvePoint(0, float("nan"), float("nan"))
        return min(self.curve, key=lambda point: point.error, default=nothing)

    def seconds_to(self, error: float) -> float:
        """Return the time of the quickest fit with no more held-out error."""
        times = (point.seconds for point in self.curve if point.error <= error)
        return min(times, default=float("nan"))

    def seconds_to_objective(self, objective: float) -> float:
        """Return the time of the quickest fit with no larger objective."""
        times = (point.seconds for point in self.curve if point.objective <= objective)
        return min(times, default=float("nan"))

    def as_dict(self) -> dict[str, Any]:
        names = (
            "key", "version", "error", "few", "many", "times", "rounds", "seconds", "quickest", "megabytes",
            "megabytes_before", "curve", "curve_complete",
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
        first = worker.ask(fit=1)  # warms up, and shows the peak of memory of one fit
        result.megabytes, result.megabytes_before = first["megabytes"], first["megabytes_before"]
        probe = worker.ask(fit=1)["seconds"]
        if probe > _VERY_SLOW:
            result.few, result.many = 1, 2
        else:
            probe = (worker.ask(fit=_FEW + 2)["seconds"] - worker.ask(fit=_FEW)["seconds"]) / 2
            result.many = _FEW + min(_MOST, max(2, round(plan.seconds / max(probe, 1e-4))))
        _say(f"  {result.peer.label} {result.version}: about {max(probe, 0):.4f} s an iteration")

    def one_round(key: str) -> None:
        worker, result = workers[key], results[key]
        if sum(map(sum, result.times)) < plan.peer_seconds:
            few, many = (worker.ask(fit=n)["seconds"] for n in (result.few, result.many))
            result.times.append((few, many))

    def curve(key: str) -> None:
        worker, result = workers[key], results[key]
        spent, since_best = 0.0, 0
        iterations, patience = _SLOW_CURVE if result.seconds > _SLOW else _CURVE
        for n_iter in iterations:
            expected = result.seconds * n_iter
            if spent + expected > plan.curve_seconds:
                return
            times = [worker.ask(fit=n_iter)["seconds"] for _ in range(2 if expected < 1 else 1)]
            spent += sum(times)
            point = CurvePoint(n_iter, min(times), **worker.ask(quality=True))
            limit = 1 - _BETTER
            better = not result.curve or (
                point.error < limit * result.best.error
                or point.objective < limit * min(known.objective for known in result.curve)
            )
            result.curve.append(point)
            since_best = 0 if better else since_best + 1
            if since_best == patience:
                break
        result.curve_complete = True

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
    """Return median, least and largest ratio, round by round, of a peer's seconds to cymf's.

    A peer that did fewer rounds is compared with the first ones.
    """
    pairs = list(zip(measurement.rounds, own.rounds, strict=False))
    if not pairs:
        return float("nan"), float("nan"), float("nan")
    each = [peer / ours for peer, ours in pairs]
    return statistics.median(each), min(each), max(each)
