"""Writes results: Markdown tables, JSON, pictures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from measure import Measurement, ratios

__all__ = ["peers_picture", "peers_table", "write_json", "write_text"]

_OWN_BEST = 1.001  # within 0.1 % of a library's own best error


def write_text(path: Path, text: str) -> str:
    """Write a text and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return text


def write_json(path: Path, content: Any) -> None:
    """Write JSON, with null for what is not a number."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(name): plain(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return [plain(part) for part in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    write_text(path, json.dumps(plain(content), indent=1) + "\n")


def _shown(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits and no exponent, or nothing for NaN."""
    if not math.isfinite(value):
        return ""
    if value == 0:
        return "0"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def common_error(results: list[Measurement]) -> float:
    """Return the smallest held-out error that all reach."""
    return max((result.best[2] for result in results if result.curve), default=math.nan)


def peers_table(
    results: list[Measurement],
    own: dict[str, Measurement | None],
    work: dict[str, float],
    error: str,
) -> str:
    """Return the Markdown table of one data set and number of factors.

    `own` are cymf's measurements and `work` the flops of an iteration, both by family; `error`
    names the held-out error.
    """
    target = common_error(results)
    lines = [
        "| library | kind | s/iteration | × cymf (range) | quickest | × cymf | GFLOP/s by the textbook "
        f"| best held-out {error} (iterations) | s to own best + 0.1 % | s to {error} {target:.4f} "
        "| peak MB (over data) |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        label, family = result.peer.label, result.peer.family
        if result.error:
            lines.append(
                f"| {label} | {family} | not measured: {result.error.split(';')[0]} | | | | | | | | |"
            )
            continue
        ratio = quickest = ""
        origin = own.get(family)
        if origin is result:
            ratio = quickest = "1"
        elif origin is not None:
            middle, least, largest = ratios(result, origin)
            ratio = f"**{_shown(middle)}** ({_shown(least)} – {_shown(largest)})"
            quickest = _shown(result.quickest / origin.quickest)
        n_iter, _, best = result.best
        memory = f"{result.megabytes:.0f} (+{result.megabytes - result.megabytes_before:.0f})"
        lines.append(
            f"| {label} | {family} | {_shown(result.seconds)} | {ratio} "
            f"| {_shown(result.quickest)} | {quickest} "
            f"| {_shown(work.get(family, math.nan) / result.quickest / 1e9)} "
            f"| {f'{best:.4f} ({n_iter})' if result.curve else ''} "
            f"| {_shown(result.seconds_to(best * _OWN_BEST))} | {_shown(result.seconds_to(target))} "
            f"| {memory if math.isfinite(result.megabytes) else ''} |"
        )
    return "\n".join(lines)


def peers_picture(results: list[Measurement], title: str, error: str, path: Path) -> None:
    """Draw seconds per iteration, and the held-out error over seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    measured = [result for result in results if result.rounds and not result.error]
    colors = {result.key: plt.cm.tab10.colors[i % 10] for i, result in enumerate(measured)}
    figure, (bars, curves) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    places = range(len(measured))
    bars.barh(places, [r.seconds for r in measured], color=[colors[r.key] for r in measured])
    bars.set_yticks(places, [r.peer.label for r in measured])
    bars.invert_yaxis()
    bars.set(xscale="log", xlabel="seconds per iteration")
    for result in measured:
        if result.curve:
            _, seconds, reached = zip(*result.curve, strict=True)
            curves.plot(
                seconds, reached, marker=".", color=colors[result.key], label=result.peer.label
            )
    target = common_error(measured)
    if math.isfinite(target):
        bests = [result.best[2] for result in measured if result.curve]
        curves.axhline(target, color="0.6", linewidth=1)
        spread = max(target - min(bests), 0.005 * target)
        curves.set_ylim(min(bests) - 0.2 * spread, target + 2 * spread)
        curves.set(xscale="log", xlabel="seconds from fit()", ylabel=f"held-out {error}")
        curves.legend(fontsize=8)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
