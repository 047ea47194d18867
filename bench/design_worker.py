"""The process of a peer that trains on design matrices: answers requests, one JSON line each, until its input ends.

    python design_worker.py MODULE

{"load": FILE} reads a fold's blocks (see `factorization_machines.write_fold`); {"fit": {…}} calls the adapter's `fit`
with these arguments and answers {"seconds": …, "cpu": …}; {"rmse": true} answers {"rmse": …} of the test rows by the
last fit. What the library prints goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time

import numpy as np
from scipy import sparse


def load(module: str, path: str) -> tuple[object, np.ndarray]:
    """Return the adapter's training object and the test ratings."""
    with np.load(path) as z:
        blocks = []
        for number in range(int(z["n_blocks"])):
            own = {
                name: z[f"{name}_{number}"]
                for name in ("data", "indices", "indptr", "shape", "train", "test")
            }
            matrix = sparse.csr_matrix(
                (own["data"], own["indices"], own["indptr"]), shape=tuple(own["shape"])
            )
            blocks.append((matrix, own["train"], own["test"]))
        adapter = importlib.import_module(f"adapters.{module}")
        return adapter.train(blocks, z["groups"], z["train_target"]), z["test_target"].copy()


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    training, target = None, np.zeros(0)
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, object] = {}
        if "load" in request:
            training, target = load(sys.argv[1], request["load"])
            answer["version"] = training.version
        elif "fit" in request:
            started, cpu = time.perf_counter(), time.process_time()
            training.fit(**request["fit"])
            answer = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
        else:
            answer["rmse"] = float(np.sqrt(np.mean((training.predict() - target) ** 2)))
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
