"""The examples of the documentation's pages run, from top to bottom; links and lists of pages are whole."""

from __future__ import annotations

import logging
import re
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from page_examples import REPOSITORY, python_blocks

import cymf
import cymf.compat.implicit

DOCS = REPOSITORY / "docs"
pytestmark = pytest.mark.skipif(
    not DOCS.is_dir(), reason="there is no documentation beside these tests"
)

PEOPLE = ["ann", "bob", "cy", "dan", "eve", "flo", "gus", "hal"]
FILMS = [f"film {number}" for number in range(12)]


def described() -> dict[str, object]:
    """Ratings of people for films, and tables that describe both."""
    generator = np.random.default_rng(0)
    pairs = [(u, i) for u in PEOPLE for i in FILMS if generator.random() < 0.6]
    values = generator.integers(1, 6, len(pairs)).astype(float)
    films = {
        "item": FILMS,
        "genres": ["War|Drama", "Drama", "Comedy"] * 4,
        "year": [1950 + 5 * number for number in range(12)],
    }
    return {
        "ratings": cymf.Ratings.from_triplets(*zip(*pairs, strict=True), values),
        "people": {"user": PEOPLE, "age": list(range(20, 28)), "gender": ["F", "M"] * 4},
        "films": films,
        "table": films | {"studio_code": [1, 2, 3] * 4},
    }


def explored() -> dict[str, object]:
    ratings: cymf.Ratings = described()["ratings"]  # type: ignore[assignment]
    model = cymf.ALS(2).fit(ratings)
    log = [(user, FILMS, FILMS[0], 1.0) for user in PEOPLE]
    return {
        "cymf": cymf,
        "model": model,
        "users": PEOPLE[:2],
        "items": FILMS[:2],
        "round_number": 3,
        "log": log,
    }


def described_cells() -> dict[str, object]:
    """What the page on factorization machines speaks of; its ratings are in a file."""
    generator = np.random.default_rng(0)
    pairs = [(u, i) for u in ("ann", "bob", "cy") for i in ("tea", "rum", "gin", "ale")]
    lines = [f"{u}\t{i}\t{generator.integers(1, 6)}\t{n}" for n, (u, i) in enumerate(pairs)]
    Path("u1.base").write_text("\n".join(lines) + "\n")
    X = generator.normal(size=(40, 5))
    clicked = [pairs[n] for n in (0, 1, 4, 6, 9, 11)]  # every item once or twice, and none by all
    clicks = cymf.Ratings.from_triplets(*zip(*clicked, strict=True))
    return {
        "users": cymf.Features(np.eye(3), ids=["ann", "bob", "cy"]),
        "items": cymf.Features(np.eye(4), ids=["tea", "rum", "gin", "ale"]),
        "X": X,
        "X_new": X[:3],
        "labels": np.where(X[:, 0] > 0, "yes", "no"),
        "clicks": clicks,
        "relevance": generator.integers(0, 3, 40),
        "query": np.repeat(np.arange(8), 5),
    }


def nothing() -> dict[str, object]:
    return {}


PAGES: dict[str, Callable[[], dict[str, object]]] = {
    "index": nothing,
    "getting-started": nothing,
    "migration": nothing,
    "explicit-ratings": nothing,
    "svdpp": nothing,
    "nmf": nothing,
    "factorization-machines": described_cells,
    "bayesian-mf": nothing,
    "implicit-feedback": nothing,
    "cold-start": described,
    "exploration": explored,
    "daily-updates": nothing,
    "evaluation": nothing,
    "serving": nothing,
    "tables-and-ids": nothing,
    "training-progress": nothing,
    "files-and-data-sets": nothing,
    "scikit-learn": nothing,
}


def test_every_page_with_examples_is_run():
    with_examples = {page.stem for page in DOCS.glob("*.md") if python_blocks(f"docs/{page.name}")}
    assert with_examples == set(PAGES)


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
    blocks = python_blocks(f"docs/{page}.md")
    for word, module in {"sklearn": "sklearn", "polars": "polars", ".parquet": "pyarrow"}.items():
        if any(word in block for block in blocks):
            pytest.importorskip(module)
    made = cymf.datasets.make_ratings(250, 300, 5000, rating_scale=(1, 5), random_state=0).ratings
    movielens = types.SimpleNamespace(ratings=made)  # as good for an example, and small
    monkeypatch.setattr(cymf.datasets, "load_movielens", lambda name: movielens)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="joblib")
        names = PAGES[page]()
        for block in blocks:
            if "surprise" not in block:  # which test_compat_surprise.py runs
                exec(compile(block, f"{page}.md", "exec"), names)


def test_nothing_links_to_a_page_that_is_not_there():
    """Links between pages; those to the reference are made and checked when the site is built."""
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text("utf-8")):
            if "reference/" in target or page.parent.name == "reference" or "://" in target:
                continue
            assert (page.parent / target).resolve().exists(), f"{page.name}: {target}"


def test_every_public_name_is_in_the_list_of_the_reference():
    """Each has a page; docs/site.py makes them, and tells when one of them lacks a name."""
    listed = re.findall(r"\]\(([\w.]+)\.md\)", (DOCS / "reference" / "index.md").read_text("utf-8"))
    drop_ins = {"cymf.compat.implicit", "cymf.compat.surprise", "cymf.kernels"}
    assert set(listed) == {name for name in cymf.__all__ if name[0] != "_"} | drop_ins


def test_decisions_are_listed_once_and_in_order():
    folder = DOCS / "decisions"
    listed = re.findall(r"\]\((0\d{3}-[\w-]+\.md)\)", (folder / "README.md").read_text("utf-8"))
    assert listed == sorted(page.name for page in folder.glob("0*.md"))
