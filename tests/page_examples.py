"""The Python examples of README and documentation."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def python_blocks(page: str) -> list[str]:
    """The blocks of a page, by its path in the repository."""
    return re.findall(
        r"```python\n(.*?)```", (REPOSITORY / page).read_text(encoding="utf-8"), re.DOTALL
    )


def run_page(page: str, names: dict[str, object]) -> int:
    """Run a page's blocks from top to bottom; return how many were left out, as they need Surprise."""
    left_out = 0
    for block in python_blocks(page):
        if "surprise" in block and importlib.util.find_spec("surprise") is None:
            left_out += 1
            continue
        exec(compile(block, page, "exec"), names)
    return left_out
