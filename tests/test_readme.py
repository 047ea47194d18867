"""The README's examples run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from page_examples import REPOSITORY, python_blocks

import cymf


def test_the_first_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = ["196\t242\t3\t881250949", "196\t302\t4\t881250950", "186\t302\t3\t891717742"]
    Path("u.data").write_text("\n".join(lines) + "\n")
    names = {}
    exec(python_blocks("README.md")[0], names)
    assert names["items"].tolist()[0] == -1  # all that there is was rated
    assert cymf.load("model.cymf").predict(196, 242) == names["model"].predict(196, 242)


def test_the_example_of_plays_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    events = [f"user{u},{i}" for u in range(30) for i in generator.integers(0, 40, 12)]
    Path("plays.csv").write_text("\n".join(["user,item", *events]))
    names = {"cymf": cymf}
    exec(python_blocks("README.md")[1], names)
    assert names["items"].shape == (30, 10)
    assert 0 <= names["report"]["ndcg@20"] <= 1


def test_the_last_example_runs():
    ratings = cymf.datasets.make_ratings(60, 40, 800, random_state=0).ratings
    names = {"cymf": cymf, "ratings": ratings}
    exec(python_blocks("README.md")[2], names)
    assert names["model"].predict("cy", "tea") > 2


def test_the_example_of_new_users_runs():
    generator = np.random.default_rng(0)
    people = ["ann", "bob", "cy", "dan", "eve", "flo", "gus", "hal"]
    things = ["tea", "rum", "gin", "ale", "mud"]
    pairs = [(u, i) for u in people for i in things if generator.random() < 0.7]
    values = generator.integers(1, 6, len(pairs)).astype(float)
    train = cymf.Ratings.from_triplets(*zip(*pairs, strict=True), values)
    names = {
        "cymf": cymf,
        "train": train,
        "users": {"user": people, "age": list(range(20, 28))},
        "films": {"item": things, "kind": ["cold", "strong", "strong", "cold", "cold"]},
        "new_users": {"user": ["ivy"], "age": [30]},
        "todays_ratings": cymf.Ratings.from_triplets(["joe", "joe"], ["tea", "gin"], [5.0, 1.0]),
    }
    exec(python_blocks("README.md")[3], names)
    assert names["model"].predict("joe", "tea") > names["model"].predict("joe", "gin")
    assert names["deviation"] > 0


@pytest.mark.parametrize("page", ["README.md", "docs/migration.md"])
def test_the_imports_to_change_to_are_there(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    imports = set(re.findall(r"`(from cymf\.compat\.\w+ import [\w, ]+)`", text))
    assert len(imports) >= 4
    for line in imports:
        if "surprise" not in line or importlib.util.find_spec("surprise") is not None:
            exec(line, {})
