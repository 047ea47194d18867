"""Writes results: Markdown tables, JSON, pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Measurement, ratios

__all__ = [
    "objective_table",
    "peers_picture",
    "peers_table",
    "quality_table",
    "write_json",
    "write_text",
]

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
    """Return the least held-out error that all reach whose curve is complete: the worst of their bests.

    A curve that was cut off for time tells only that its library needs longer.
    """
    bests = [r.best.error for r in results if r.curve and r.curve_complete]
    return max(bests or [r.best.error for r in results if r.curve], default=math.nan)


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
    lines = [
        "| library | kind | s/iteration | × cymf (range) | quickest | × cymf | GFLOP/s by the textbook "
        f"| best held-out {error} (iterations) | peak MB (over data) |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        label, family = result.peer.label, result.peer.family
        if result.error:
            lines.append(
                f"| {label} | {family} | not measured: {result.error.split(';')[0]} | | | | | | |"
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
        memory = f"{result.megabytes:.0f} (+{result.megabytes - result.megabytes_before:.0f})"
        lines.append(
            f"| {label} | {family} | {_shown(result.seconds)} | {ratio} "
            f"| {_shown(result.quickest)} | {quickest} "
            f"| {_shown(work.get(family, math.nan) / result.quickest / 1e9)} | {_best(result)} "
            f"| {memory if math.isfinite(result.megabytes) else ''} |"
        )
    return "\n".join(lines)


def _best(result: Measurement) -> str:
    """Return the least held-out error, where it was reached, and whether the curve was cut off."""
    if not result.curve:
        return ""
    cut = "" if result.curve_complete else ", cut off"
    return f"{result.best.error:.4f} ({result.best.iterations}{cut})"


def _is_own(result: Measurement) -> bool:
    return result.key.startswith("cymf-")


def _verdict(theirs: float, ours: float, *, complete: bool = True) -> str:
    """Return how many times earlier cymf is there, in words that leave no doubt who is first.

    What a library reaches is not known if its curve is not complete.
    """
    if not math.isfinite(ours):
        return "**cymf did not get there**" if math.isfinite(theirs) else ""
    if not math.isfinite(theirs):
        return "only cymf got there" if complete else "not known"
    ratio = theirs / ours
    return f"ahead {_shown(ratio)} ×" if ratio >= 1 else f"**behind** {_shown(1 / ratio)} ×"


def _first_there(
    own: list[Measurement], seconds: Callable[[Measurement], float]
) -> tuple[str, float]:
    """Return label and time of the cymf estimator that is first, or nothing."""
    times = [(seconds(r), r.peer.label) for r in own if math.isfinite(seconds(r))]
    if not times:
        return "", math.nan
    quickest, label = min(times)
    return f"{_shown(quickest)} ({label.removeprefix('cymf ')})", quickest


def quality_table(
    results: list[Measurement], own: dict[str, Measurement | None], error: str
) -> str:
    """Return the table of time to quality, in seconds from `fit()`.

    Three questions, each with who is ahead: to within 0.1 % of one's own best, against cymf's estimator of the same
    kind; to within 0.1 % of the library's best, and to the held-out error that all reach, against whichever of cymf's
    estimators is first.
    """
    measured = [r for r in results if r.curve and not r.error]
    ours = [r for r in measured if _is_own(r)]
    target = common_error(measured)
    lines = [
        f"| library | own best {error} | to own best + 0.1 %, s | cymf of its kind to its own, s | cymf is "
        f"| cymf to the library's best + 0.1 %, s | cymf is | to {error} {target:.4f}, s | cymf, s | cymf is |",
        "| --- | ---: | ---: | ---: | --- | ---: | --- | ---: | ---: | --- |",
    ]
    common_text, common_seconds = _first_there(ours, lambda r: r.seconds_to(target))
    for result in measured:
        best = result.best.error * _OWN_BEST
        to_best, to_target = result.seconds_to(best), result.seconds_to(target)
        head = f"| {result.peer.label} | {_best(result)} | {_shown(to_best)} "
        if _is_own(result):
            lines.append(f"{head}| | | | | {_shown(to_target)} | | |")
            continue
        like = own.get(result.peer.family)
        same_kind = [like] if like is not None and like in ours else []
        kind_text, kind_seconds = _first_there(
            same_kind, lambda r: r.seconds_to(r.best.error * _OWN_BEST)
        )
        first_text, first_seconds = _first_there(ours, lambda r, best=best: r.seconds_to(best))
        # a curve that was cut off does not tell the library's best, which takes longer still
        verdict = _verdict(to_best, kind_seconds) if result.curve_complete else "not known"
        common = _verdict(to_target, common_seconds, complete=result.curve_complete)
        lines.append(
            f"{head}| {kind_text} | {verdict if same_kind else ''} | {first_text} "
            f"| {_verdict(to_best, first_seconds)} "
            f"| {_shown(to_target)} | {common_text} | {common} |"
        )
    return "\n".join(lines)


def objective_table(results: list[Measurement]) -> str:
    """Return the table of time to the objective over all cells, which all libraries here minimize."""
    measured = [r for r in results if not r.error and r.curve and r.peer.family.startswith("iALS")]
    least = min((p.objective for r in measured for p in r.curve), default=math.nan)
    own = [r for r in measured if _is_own(r)]
    shares = 0.02, 0.005, 0.001
    columns = " | ".join(f"within {100 * share:g} %, s | cymf, s | cymf is" for share in shares)
    lines = [
        f"| library | least objective / {least:.6g} | {columns} |",
        "| --- | ---: " + "| ---: | ---: | --- " * len(shares) + "|",
    ]
    for result in measured:
        cells = []
        for share in shares:
            limit = least * (1 + share)
            theirs = result.seconds_to_objective(limit)
            text, ours = _first_there(own, lambda r, limit=limit: r.seconds_to_objective(limit))
            cells += [
                _shown(theirs),
                *(
                    ["", ""]
                    if _is_own(result)
                    else [text, _verdict(theirs, ours, complete=result.curve_complete)]
                ),
            ]
        reached = min(point.objective for point in result.curve) / least
        lines.append(f"| {result.peer.label} | {reached:.5f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def peers_picture(results: list[Measurement], title: str, error: str, path: Path) -> None:
    """Draw seconds per iteration, and the held-out error over seconds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    measured = [result for result in results if result.rounds and not result.error]
    colors = {
        result.key: plt.cm.tab20.colors[i * 2 % 20 + i // 10 % 2]
        for i, result in enumerate(measured)
    }
    figure, (bars, curves) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    places = range(len(measured))
    bars.barh(places, [r.seconds for r in measured], color=[colors[r.key] for r in measured])
    bars.set_yticks(places, [r.peer.label for r in measured])
    bars.invert_yaxis()
    bars.set(xscale="log", xlabel="seconds per iteration")
    for result in measured:
        if result.curve:
            curves.plot(
                [point.seconds for point in result.curve], [point.error for point in result.curve],
                marker=".", color=colors[result.key], label=result.peer.label,
                linestyle="-" if result.curve_complete else "--",
            )  # fmt: skip
    target = common_error(measured)
    if math.isfinite(target):
        bests = [result.best.error for result in measured if result.curve]
        curves.axhline(target, color="0.6", linewidth=1)
        spread = max(target - min(bests), 0.005 * target)
        curves.set_ylim(min(bests) - 0.2 * spread, target + 2 * spread)
        curves.set(xscale="log", xlabel="seconds from fit()", ylabel=f"held-out {error}")
        curves.legend(fontsize=8)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
