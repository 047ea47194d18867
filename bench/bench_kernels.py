"""Time the kernels alone, one core, float32: ns per rating, GFLOP/s, GB/s, and percent of this machine's peaks.

    python bench/bench_kernels.py --quick
    python bench/bench_kernels.py --levels baseline v3 --factors 32 64 128 --lengths 10 100 1000

Flops are those of the textbook, whatever was executed; bytes are the rows of factors that must be read (and, in SGD,
written) once per rating. "% FMA" is of the multiply-add peak of the best level; "% read" is of what reading an array of
the same size in order reaches, "% gather" of what reading the same rows in the same order reaches: both are small where
arithmetic binds. Above 100 % stand kernels that do less than the textbook: dual systems of short rows, and the top-N
search, which compares 8-bit numbers and skips what cannot be an answer.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from kernel_cases import Case, cases_of_rows, cases_of_systems, cases_of_top_n, padded
from machine import describe, heading
from report import write_json, write_text
from runner import best_level, load_runner, peaks, time_kernel

import cymf._kernels


@dataclass
class Timing:
    """A case and the seconds of each of its samples, per rating or per system."""

    case: Case
    seconds: np.ndarray

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """Half the distance of the quartiles, relatively."""
        low, high = np.quantile(self.seconds, [0.25, 0.75])
        return float((high - low) / 2 / self.median)


def timed(case: Case) -> Timing:
    seconds = time_kernel(case.run)
    if case.overhead is not None:
        seconds = seconds - np.median(time_kernel(case.overhead))
    return Timing(case, seconds / case.units)


def read_bandwidth(level: str, n_bytes: int, known: dict[int, float]) -> float:
    """Return GB/s of reading so many bytes in order, over and over."""
    n = -(-max(n_bytes, 4096) // 1024) * 256
    if n not in known:
        x = np.zeros(n, np.float32)
        runner = load_runner(level)
        known[n] = float(x.nbytes / time_kernel(lambda r, s: runner.time_read(x, r, s)).min() / 1e9)
    return known[n]


def _same_rows(case: Case) -> tuple[str, int, int, int]:
    """Return what a case shares with the case that only gathers its rows."""
    return case.level, case.n_factors, case.length, case.table_rows


def table(timings: list[Timing], roofs: dict[str, float]) -> tuple[str, list[dict[str, Any]]]:
    """Return Markdown, and the same as records."""
    lines = [
        "| kernel | level | k | row length | table, rows | ns | ± % | GFLOP/s | % FMA | GB/s | % read | % gather |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    records: list[dict[str, Any]] = []
    known: dict[int, float] = {}
    gathered = {
        _same_rows(timing.case): timing.case.bytes / timing.median / 1e9
        for timing in timings
        if timing.case.kernel == "gather"
    }
    for timing in timings:
        t, median, spread = timing.case, timing.median, timing.spread
        gflops, gbytes = t.flops / median / 1e9, t.bytes / median / 1e9
        reads = read_bandwidth(
            best_level(), 4 * padded(t.n_factors) * max(t.table_rows, t.n_factors), known
        )
        record = {
            "kernel": t.kernel, "level": t.level, "n_factors": t.n_factors, "length": t.length,
            "table_rows": t.table_rows, "nanoseconds": median * 1e9, "spread": spread, "gflops": gflops,
            "share_of_fma": gflops / roofs["fma_f32"], "gigabytes": gbytes, "share_of_read": gbytes / reads,
            "share_of_gather": gbytes / gathered.get(_same_rows(t), float("nan")),
        }  # fmt: skip
        records.append(record)
        lines.append(
            f"| {t.kernel} | {t.level} | {t.n_factors} | {t.length or ''} | {t.table_rows or ''} "
            f"| {median * 1e9:.4g} | {100 * spread:.1f} | {gflops:.1f} | {100 * gflops / roofs['fma_f32']:.0f} "
            f"| {gbytes:.1f} | {100 * gbytes / reads:.0f} "
            f"| {100 * record['share_of_gather']:.0f} |".replace(" nan ", " ")
        )
    return "\n".join(lines), records


def picture(records: list[dict[str, Any]], roofs: dict[str, float], path: Path) -> None:
    """Draw the roofline: GFLOP/s over flops per byte of factors."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawn = [r for r in records if r["gflops"] > 0]
    intensities = [r["gflops"] / r["gigabytes"] for r in drawn]
    x = np.geomspace(min(intensities) / 2, max(intensities) * 2, 200)
    figure, axes = plt.subplots(figsize=(11, 6), layout="constrained")
    roof = roofs["fma_f32"]
    for name in ("L1", "L2", "L3", "memory"):
        bandwidth = roofs[f"read_{name}"]
        axes.plot(x, np.minimum(roof, bandwidth * x), color="0.7", linewidth=1, zorder=0)
        text, place = f"{name} {bandwidth:.0f} GB/s", (x[0], bandwidth * x[0])
        axes.annotate(text, place, xytext=(4, 0), textcoords="offset points", fontsize=8, color="0.35")  # fmt: skip
    axes.annotate(
        f"FMA {roof:.0f} GFLOP/s", (x[-1], roof), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8
    )  # fmt: skip
    levels = dict(zip(dict.fromkeys(r["level"] for r in drawn), "osD^", strict=False))
    kernels = list(dict.fromkeys(r["kernel"] for r in drawn))
    looks = {
        kernel: (plt.cm.tab10.colors[i % 10], "none" if i >= 10 else "full")
        for i, kernel in enumerate(kernels)
    }
    for r, intensity in zip(drawn, intensities, strict=True):
        color, filled = looks[r["kernel"]]
        axes.plot(
            intensity, r["gflops"], levels[r["level"]], color=color, fillstyle=filled, alpha=0.8,
            markersize=3 + r["n_factors"] ** 0.5 / 2,
        )  # fmt: skip
    for kernel, (color, filled) in looks.items():
        axes.plot([], [], "o", color=color, fillstyle=filled, label=kernel)
    for level, marker in levels.items():
        axes.plot([], [], marker, color="0.5", label=f"level {level}")
    axes.set(xscale="log", yscale="log", xlim=(x[0], x[-1]))
    axes.set(
        xlabel="flops per byte of factors, by the textbook", ylabel="GFLOP/s, one core, float32"
    )
    axes.set_title("Kernels under this machine's roofs; larger marks: more factors")
    axes.grid(alpha=0.2)
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    levels = cymf._kernels.available_levels()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 and 128 factors at the best level")
    parser.add_argument(
        "--levels", nargs="+", choices=levels, help="default: all that this processor has"
    )
    parser.add_argument("--factors", nargs="+", type=int)
    parser.add_argument("--lengths", nargs="+", type=int, help="ratings of a row")
    parser.add_argument("--tables", nargs="+", type=int, help="rows of the fixed side")
    parser.add_argument("--targets", type=int, default=40_000, help="of the top-N search")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results", help="folder"
    )
    given = parser.parse_args()
    chosen_levels = given.levels or (levels[-1:] if given.quick else levels)
    factors = given.factors or ([64, 128] if given.quick else [16, 32, 50, 64, 128, 256])
    lengths = given.lengths or ([10, 100, 1000] if given.quick else [5, 20, 100, 1000])
    tables = given.tables or ([4000] if given.quick else [4000, 200_000])

    description = describe()
    roofs = peaks(best_level())
    timings: list[Timing] = []
    for level in chosen_levels:
        for k in factors:
            timings += map(timed, cases_of_systems(level, k))
            for table_rows in tables:
                for length in lengths:
                    timings += map(timed, cases_of_rows(level, k, length, table_rows))
    for k in factors:
        timings += map(timed, cases_of_top_n(k, given.targets))
    timings.sort(
        key=lambda t: (
            t.case.kernel,
            t.case.level,
            t.case.n_factors,
            t.case.table_rows,
            t.case.length,
        )
    )
    text, records = table(timings, roofs)
    limits = ", ".join(f"{name} {value:.0f}" for name, value in roofs.items())
    head = heading(
        description, **{f"peaks of one core at level {best_level()} (GFLOP/s, GB/s)": limits}
    )
    print(write_text(given.output / "kernels.md", f"## Kernels\n\n{head}\n\n{text}\n"))
    write_json(
        given.output / "kernels.json", {"machine": description, "peaks": roofs, "timings": records}
    )
    picture(records, roofs, given.output / "kernels.png")


if __name__ == "__main__":
    main()
