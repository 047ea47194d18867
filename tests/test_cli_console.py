"""Progress, tables and JSON of the command line."""

from __future__ import annotations

import io
import json
import sys

import numpy as np

import cymf
from cymf._cli_console import Console, table


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    record = cymf.Iteration(1, 0.1, train_rmse=0.5)
    with Console().progress("ALS", 2) as progress:
        progress(record)
    shown = terminal.getvalue()
    assert "ALS" in shown
    assert "1/2" in shown
    assert "train RMSE=0.5000" in shown
    assert "validation" not in shown


def test_lines_elsewhere_are_few_and_the_last_is_among_them(capsys):
    with Console().progress("GD", 1000) as progress:
        for iteration in range(1, 778):
            progress(cymf.Iteration(iteration, 0.1, validation_rmse=0.25))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "GD  iteration 1/1000  validation RMSE 0.2500"
    assert lines[-1].startswith("GD  iteration 777/1000")
    assert len(lines) < 25


def test_a_ranking_score_is_shown(capsys):
    with Console().progress("BPR", 1) as progress:
        progress(cymf.Iteration(1, 0.1, objective=0.693147, validation_score=0.25))
    line = "BPR  iteration 1/1  objective 0.693147  validation score 0.2500\n"
    assert capsys.readouterr().err == line


def test_json_has_no_nan(capsys):
    Console(as_json=True).document(
        {"a": np.float32(0.5), "b": [float("nan"), np.inf], "c": np.arange(2), "d": None}
    )
    assert json.loads(capsys.readouterr().out) == {
        "a": 0.5,
        "b": [None, None],
        "c": [0, 1],
        "d": None,
    }


def test_tables_align():
    text = table(["name", "RMSE"], [["a", 0.5], ["longer", None], ["b", 12.34567]])
    assert text.splitlines() == [
        "name       RMSE",
        "------  -------",
        "a        0.5000",
        "longer",
        "b       12.3457",
    ]
