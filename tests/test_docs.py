"""The examples of the documentation's pages run, from top to bottom."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = (
    "index",
    "getting-started",
    "explicit-ratings",
    "implicit-feedback",
    "evaluation",
    "serving",
    "tables-and-ids",
    "migration",
    "scikit-learn",
    "files-and-data-sets",
)


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    if not DOCS.is_dir():
        pytest.skip("there is no documentation beside these tests")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text("utf-8"), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="joblib")
        for block in blocks:
            exec(block, names)


def test_nothing_links_to_a_page_that_is_not_there():
    """Links between pages; those to the reference are made and checked when the site is built."""
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text("utf-8")):
            if "reference/" in target or page.parent.name == "reference" or "://" in target:
                continue
            assert (page.parent / target).resolve().exists(), f"{page.name}: {target}"
