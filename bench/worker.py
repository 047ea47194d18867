"""The process of one peer: answers requests, one JSON line each, until its input ends.

    python worker.py KEY FILE N_FACTORS N_THREADS SETTINGS

SETTINGS are JSON that goes before the peer's own. It answers {"ready": …} once the data are converted; then
{"fit": n_iter} with {"seconds": …}, and {"quality": true} with the held-out error of the last fit: RMSE, or, for
implicit feedback, 1 - recall@20 with the objective over all cells beside it. What the library prints goes to standard
error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters import all_peers
from data import Split


def resident_megabytes() -> tuple[float, float]:
    """Return resident memory now and its peak, NaN where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan"), float("nan")
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status.read_text(), re.MULTILINE))
    return int(found["VmRSS"]) / 1000, int(found["VmHWM"]) / 1000


def forget_peak() -> None:
    """Let the peak start anew from the memory in use."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def quality(training: Any, split: Split, *, implicit: bool) -> dict[str, float]:
    """Return what the last fit reached."""
    if not implicit:
        return {"error": split.rmse(training.predict(split.test_users, split.test_items))}
    factors = training.factors()
    return {"error": split.missed(*factors), "objective": split.implicit_objective(*factors)}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    key, path, n_factors, n_threads, settings = sys.argv[1:]
    module, peer = all_peers()[key]
    peer = replace(peer, settings={**peer.settings, **json.loads(settings)})
    split = Split.load(path)
    training = importlib.import_module(f"adapters.{module}").train(
        split, peer, int(n_factors), int(n_threads)
    )
    print(json.dumps({"ready": True, "version": training.version}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        if "fit" in request:
            forget_peak()
            before, _ = resident_megabytes()
            started = time.perf_counter()
            training.fit(request["fit"])
            seconds = time.perf_counter() - started
            _, peak = resident_megabytes()
            answer = {"seconds": seconds, "megabytes": peak, "megabytes_before": before}
        else:
            answer = quality(training, split, implicit=peer.implicit)
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
