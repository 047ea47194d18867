"""Run the scripts of this folder one after the other, and put what they found into one report.

    python bench/run_all.py --quick          # every script, small: about an hour on two quiet cores
    python bench/run_all.py                  # everything at its full size: most of a day
    python bench/run_all.py --only als peers # some of them
    python bench/run_all.py --list

Writes report.md: the machine once, then for each script the command, how long it took and the tables it wrote; a script
that fails is reported with the end of its output, and the others go on. Each script writes its own files too.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from machine import describe, heading
from report import write_text

__all__ = ["STEPS", "Step"]

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Step:
    """One script: its name in `--only`, what it answers, and its arguments, quick and whole."""

    name: str
    question: str
    script: str
    quick: str
    whole: str


STEPS = (
    Step(
        "counts", "Do the kernels need more instructions than they did?", "instruction_counts.py", "", ""
    ),
    Step(
        "kernels", "How near to the machine's limits are the kernels?", "bench_kernels.py", "--quick", ""
    ),
    Step("als", "What does an ALS iteration cost, as a share of the peak?", "bench_als.py", "--factors 64", ""),
    Step("sgd", "What does an SGD epoch cost?", "bench_sgd.py", "--factors 64", ""),
    Step("gradient", "What does a full gradient cost?", "bench_gradient_descent.py", "--factors 64", ""),
    Step("solvers", "Which solver is first at which objective?", "solver_curves.py", "--factors 64", ""),
    Step("ranking", "What does an epoch of a ranking loss cost?", "bench_ranking.py", "--rounds 2", ""),
    Step("svdpp", "What does an epoch of SVD++ cost?", "bench_svdpp.py", "--quick", ""),
    Step("updates", "What do updates cost, and how far do they drift?", "updates.py", "--quick", ""),
    Step("top-n", "How fast are exact recommendations?", "bench_top_n.py", "--rounds 2", ""),
    Step("scaling", "What do more threads gain?", "scaling.py", "--factors 64", ""),
    Step("memory", "How much memory does fit take?", "memory.py", "--ratings 1e6", ""),
    Step("files", "What does reading a file take?", "files.py", "--ratings 1e6 --drawn 1e6", ""),
    Step("traps", "Do thread settings, small inputs or imports cost time?", "traps.py", "--rounds 5", ""),
    Step("tables", "What does reading a table cost?", "tables.py", "--rounds 1", ""),
    Step("growth", "How do time and memory grow?", "growth.py", "--largest 1e6 --minutes 8", "--minutes 90"),
    Step("peers", "Is it faster than other libraries?", "peers.py", "--quick", "--task explicit --factors 64 128"),
    Step(
        "peers-20m", "Is it faster on 20 million ratings?", "peers.py",
        "--name peers-20m --data synthetic-20m --rounds 2 --peer-seconds 60 --curve-seconds 0 "
        "--peers cymf-als cymf-als-cg cymf-sgd lenskit cmfrec-cg libmf",
        "--name peers-20m --data synthetic-20m --rounds 3 --peer-seconds 180 --curve-seconds 500 "
        "--peers cymf-als cymf-als-cg cymf-sgd lenskit cmfrec-cholesky cmfrec-cg libmf cornac",
    ),
    Step(
        "peers-implicit", "And on implicit feedback?", "peers.py",
        "--name peers-implicit --task implicit --data ml1m-seen --curve-seconds 60",
        "--name peers-implicit --task implicit --factors 64 128 256",
    ),
    Step("accuracy", "Are predictions as good as published ones?", "accuracy.py", "", ""),
    Step("published", "Are published rankings reached?", "published.py", "--quick", ""),
    Step("machines", "Are factorization machines as good, and faster?", "factorization_machines.py", "--quick", ""),
    Step("bayesian", "How good are draws, and their intervals?", "bayesian.py", "--quick", ""),
    Step("exploration", "Does exploring pay?", "exploration.py", "--quick", ""),
    Step("nonnegative", "How fast is non-negative factorization?", "nonnegative.py", "--quick --rounds 1", ""),
    Step("cold", "And for users and items without ratings?", "cold_start.py", "--quick", ""),
)  # fmt: skip


def run(step: Step, given: argparse.Namespace) -> str:
    """Run a script and return its section of the report."""
    arguments = shlex.split(step.quick if given.quick else step.whole)
    output = given.output / step.name
    command = [sys.executable, str(_HERE / step.script), *arguments]
    takes = subprocess.run([*command[:2], "--help"], capture_output=True, text=True).stdout
    if "--output" in takes:
        command += ["--output", str(output)]
    shown = shlex.join(["python", f"bench/{step.script}", *arguments])
    print(f"{step.name}: {shown}", file=sys.stderr, flush=True)
    started = time.perf_counter()
    log = given.output / f"{step.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        process = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    minutes = (time.perf_counter() - started) / 60
    head = f"## {step.question}\n\n`{shown}`, {minutes:.1f} minutes\n\n"
    if process.returncode:
        end = "\n".join((process.stdout + log.read_text()).strip().splitlines()[-15:])
        return f"{head}**It ended with {process.returncode}:**\n\n```\n{end}\n```\n"
    pictures = "\n".join(
        f"![{path.stem}]({path.relative_to(given.output)})\n"
        for path in sorted(output.glob("*.png"))
    )
    return head + _below(process.stdout) + ("\n" + pictures if pictures else "")


def _below(text: str) -> str:
    """Return Markdown with its headings two levels lower."""
    return re.sub(r"^(#+) ", r"##\1 ", text.strip(), flags=re.MULTILINE) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the steps, run none")
    parser.add_argument("--output", type=Path, default=_HERE / "results")
    given = parser.parse_args()
    steps = [
        step
        for step in STEPS
        if step.name in (given.only or [step.name]) and (_HERE / step.script).exists()
    ]
    if given.list:
        print("\n".join(f"{step.name:16} {step.script:28} {step.question}" for step in steps))
        return 0
    parts = [f"# Benchmarks\n\n{heading(describe())}\n"]
    failed = 0
    for step in steps:
        parts.append(run(step, given))
        failed += "**It ended with" in parts[-1]
        write_text(given.output / "report.md", "\n".join(parts))  # so that what is done is kept
    print(f"{given.output / 'report.md'}: {len(steps)} scripts, {failed} failed", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
