"""What the command line says: results, remarks and progress, to people and to programs.

Results go to stdout and everything else to stderr. With ``--json`` the result is one JSON
document, and stdout holds nothing else.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

__all__ = ["Console", "Progress", "table"]

_LINES_OF_PROGRESS = 20


class Console:
    """Where the words of one command go.

    Parameters
    ----------
    as_json : bool
        Print the result as JSON instead of text.
    quiet : bool
        Keep remarks and progress to oneself.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def say(self, text: str = "") -> None:
        """Print a piece of the result for people."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def remark(self, text: str) -> None:
        """Print something worth knowing that is no result."""
        if not self.quiet:
            print(text, file=sys.stderr)

    def document(self, content: dict[str, Any]) -> None:
        """Print the result for programs, if that was asked for."""
        if self.as_json:
            print(json.dumps(_plain(content), indent=2, allow_nan=False))

    def progress(self, label: str, total: int) -> Progress:
        """Callback for `fit` that shows the progress of training."""
        return Progress(self, label, total)


class Progress:
    """Callback for `fit`: a bar on a terminal, otherwise some twenty lines.

    A context manager: leaving it closes the bar, or prints the last iteration's line.
    """

    def __init__(self, console: Console, label: str, total: int) -> None:
        self._console = console
        self._label = label
        self._total = total
        self._every = -(-total // _LINES_OF_PROGRESS)
        self._bar: Any = None
        self._unsaid: str | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and not self._console.quiet:
            from tqdm import tqdm

            self._bar = tqdm(desc=self._label, total=self._total, unit="it", file=sys.stderr)
        return self

    def __call__(self, record: Any) -> None:
        measured = {
            "objective": f"{record.objective:.6g}",
            "train RMSE": f"{record.train_rmse:.4f}",
            "validation RMSE": f"{record.validation_rmse:.4f}",
            "validation score": f"{record.validation_score:.4f}",
        }
        known = {name: text for name, text in measured.items() if text != "nan"}
        if self._bar is not None:
            self._bar.set_postfix(known, refresh=False)
            self._bar.update()
            return
        words = "".join(f"  {name} {text}" for name, text in known.items())
        line = f"{self._label}  iteration {record.iteration}/{self._total}{words}"
        if record.iteration % self._every == 0 or record.iteration == 1:
            self._console.remark(line)
            self._unsaid = None
        else:
            self._unsaid = line

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._unsaid is not None:
            self._console.remark(self._unsaid)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns aligned with spaces: numbers and what stands for them right, text left."""
    rows = [list(row) for row in rows]
    texts = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    left = [any(isinstance(row[j], str) for row in rows) for j in range(len(headers))]
    lines = []
    for line in [list(headers), ["-" * width for width in widths], *texts]:
        cells = [
            text.ljust(width) if is_left else text.rjust(width)
            for text, width, is_left in zip(line, widths, left, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return ""
    return f"{value:.4f}" if isinstance(value, float | np.floating) else str(value)


def _plain(value: Any) -> Any:
    """The same in the types of JSON; what is not finite becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
