"""The examples of the documentation's pages run, from top to bottom."""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = tuple(
    sorted(page.stem for page in DOCS.glob("*.md") if "```python" in page.read_text("utf-8"))
)


def test_the_pages_are_found():
    if not DOCS.is_dir():
        pytest.skip("there is no documentation beside these tests")
    assert {"index", "getting-started", "training-progress"} <= set(PAGES)


def blocks_of(page: str) -> list[str]:
    text = (DOCS / f"{page}.md").read_text("utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def logging_as_it_was():
    """Examples may listen to the log; the tests after them do not."""
    yield
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("cymf")]:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("logging_as_it_was")
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if any("sklearn" in block for block in blocks_of(page)):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="joblib")
        for block in blocks_of(page):
            exec(block, names)


def test_nothing_links_to_a_page_that_is_not_there():
    """Links between pages; those to the reference are made and checked when the site is built."""
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text("utf-8")):
            if "reference/" in target or page.parent.name == "reference" or "://" in target:
                continue
            assert (page.parent / target).resolve().exists(), f"{page.name}: {target}"
