"""A virtual environment for each library, made when it is first needed and kept in the cache folder."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["interpreter", "process_variables"]


def interpreter(module: str, folder: Path) -> Path:
    """Return the Python that has an adapter's library, installed if it was not.

    Raises
    ------
    RuntimeError
        If the library cannot be installed here, with the reason.
    """
    adapter = importlib.import_module(f"adapters.{module}")
    if not adapter.REQUIREMENTS:
        return Path(sys.executable)
    program = getattr(adapter, "PROGRAM", None)
    if program is not None and shutil.which(program) is None:
        raise RuntimeError(f"there is no `{program}`")
    environment = folder / module
    python = environment / "bin" / "python"
    done = environment / "complete"
    wanted = repr(adapter.REQUIREMENTS)
    if not done.exists() or done.read_text() != wanted:
        print(f"making the environment of {module} …", file=sys.stderr, flush=True)
        shutil.rmtree(environment, ignore_errors=True)
        log = folder / f"{module}.log"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("w") as output:
                run = {"check": True, "stdout": output, "stderr": subprocess.STDOUT}
                subprocess.run([sys.executable, "-m", "venv", str(environment)], **run)
                for requirements in adapter.REQUIREMENTS:
                    subprocess.run(
                        [str(python), "-m", "pip", "install", "--quiet", *requirements], **run
                    )
                if hasattr(adapter, "build"):
                    adapter.build(environment)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"installation failed: {error}; see {log}") from error
        done.write_text(wanted)
    return python


def process_variables(n_threads: int, *, own: bool) -> dict[str, str]:
    """Return the environment of a worker: so many threads for whoever asks, one for BLAS inside them.

    A peer (not `own`) must not see the packages of the interpreter that runs the benchmark.
    """
    inherited = {
        name: value for name, value in os.environ.items() if own or not name.startswith("PYTHON")
    }
    threads = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "LK_NUM_THREADS", "MKL_NUM_THREADS")
    blas = ("OPENBLAS_NUM_THREADS", "LK_NUM_BACKEND_THREADS")
    return {**inherited, **dict.fromkeys(threads, str(n_threads)), **dict.fromkeys(blas, "1")}
