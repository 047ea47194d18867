"""The log: who writes to it, what, at which level, and what that costs where nobody reads."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from every_model import ESTIMATORS, ITERATING, UPDATED, data_for, small
from fitted_models import star_ratings

import cymf
from cymf import _fit_log

PACKAGE = Path(cymf.__file__).parent
PAGE = Path(__file__).resolve().parents[1] / "docs" / "training-progress.md"


def events(caplog) -> list[tuple[str, str]]:
    return [
        (record.levelname, record.cymf["event"])
        for record in caplog.records
        if hasattr(record, "cymf")
    ]


def loggers_in_the_source() -> set[str]:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        found |= set(re.findall(r"getLogger\(\"?([^)\"]+)", path.read_text(encoding="utf-8")))
    return found


def test_every_logger_is_below_cymf():
    """But for that of implicit's drop-in, which writes to implicit's log."""
    own = loggers_in_the_source() - {"__name__", "implicit"}
    assert own
    assert all(re.fullmatch(r"cymf\.[a-z]+", name) for name in own)


def test_the_page_names_every_logger():
    if not PAGE.is_file():
        pytest.skip("there is no documentation beside these tests")
    own = loggers_in_the_source() - {"__name__", "implicit"}
    assert set(re.findall(r"^\| `(cymf\.[a-z]+)` \|", PAGE.read_text("utf-8"), re.M)) == own


def test_nothing_is_configured():
    root = logging.getLogger("cymf")
    assert [type(handler) for handler in root.handlers] == [logging.NullHandler]
    for name in ("cymf", *(loggers_in_the_source() - {"__name__", "implicit"})):
        logger = logging.getLogger(name)
        assert (logger.level, logger.propagate, logger.filters) == (logging.NOTSET, True, [])
        assert name == "cymf" or not logger.handlers


# ---- a fit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_tells_when_it_begins_and_ends(name, caplog):
    data = data_for(name)
    with caplog.at_level("INFO", "cymf"):
        model = small(name, **({"n_threads": 2} if name in ITERATING else {}))
        model.fit(*data.train, validation=data.validation)
    assert events(caplog) == [("INFO", "begin"), ("INFO", "end")]
    begin, end = (record for record in caplog.records if hasattr(record, "cymf"))
    assert {begin.name, end.name} == {"cymf.fit"}
    assert begin.message.startswith(f"{name}.fit begins: ")
    assert end.message.startswith(f"{name}.fit ended")
    assert begin.cymf["model"] == end.cymf["model"] == name
    machine = name == "FactorizationMachine"
    assert begin.cymf["shape"] == data.train[0].shape
    assert begin.cymf["n_observed"] == (50 if machine else data.train[0].nnz)
    if name in ITERATING:
        assert (begin.cymf["max_iter"], begin.cymf["n_threads"]) == (4, 2)
    assert end.cymf["n_iter"] == model.n_iter_
    assert end.cymf["stop_reason"] == model.stop_reason_
    assert end.cymf["seconds"] >= sum(model.history_.get("seconds", [0]))
    for number, values in model.history_.items():
        if number != "seconds":
            np.testing.assert_array_equal(end.cymf[number], values[-1])
            assert np.isnan(values[-1]) or f"{number} {values[-1]:.6g}" in end.message


@pytest.mark.parametrize("name", ITERATING)
def test_iterations_are_told_at_debug(name, caplog):
    data = data_for(name)
    with caplog.at_level("DEBUG", "cymf.fit"):
        model = small(name).fit(*data.train, validation=data.validation)
    told = [record.cymf for record in caplog.records if hasattr(record, "cymf")]
    assert [entry["event"] for entry in told] == ["begin", *["iteration"] * 4, "end"]
    for number, values in model.history_.items():
        np.testing.assert_array_equal([entry[number] for entry in told[1:-1]], values)


@pytest.mark.parametrize("name", UPDATED)
def test_updates_are_told_at_debug(name, caplog):
    data = data_for(name)
    model = small(name).fit(*data.train)
    caplog.clear()
    with caplog.at_level("INFO", "cymf"):
        model.partial_fit(data.validation)
    assert not caplog.records
    with caplog.at_level("DEBUG", "cymf"):
        model.partial_fit(data.validation)
    told = [record for record in caplog.records if hasattr(record, "cymf")]
    assert told[0].message.startswith(f"{name}.partial_fit begins: ")
    assert told[0].cymf["n_observed"] == data.validation.nnz
    assert told[-1].message.startswith(f"{name}.partial_fit ended")


def test_a_kept_iteration_is_told_with_its_figures(caplog):
    train, test = cymf.evaluation.random_split(star_ratings(density=0.5), random_state=3)
    model = cymf.ALS(20, reg=0.001, tol=0, max_iter=60, patience=2)
    with caplog.at_level("INFO", "cymf.fit"):
        model.fit(train, validation=test)
    end = caplog.records[-1]
    best = int(np.argmin(model.history_["validation_rmse"]))
    assert end.cymf["kept_iteration"] == best + 1 == model.n_iter_ - 2
    assert end.cymf["validation_rmse"] == model.history_["validation_rmse"][best]
    assert (
        f"ended after iteration {best + 3} (patience) and keeps iteration {best + 1}" in end.message
    )


def test_a_stalled_descent_ends_with_that_reason(caplog):
    with caplog.at_level("INFO", "cymf.fit"):
        model = cymf.GradientDescent(1, tol=0, max_iter=10_000).fit(np.array([[3.0]]))
    assert model.stop_reason_ == caplog.records[-1].cymf["stop_reason"] == "stalled"


def test_an_interruption_is_told(caplog):
    def interrupt(record):
        raise KeyboardInterrupt

    with caplog.at_level("INFO", "cymf.fit"), pytest.warns(cymf.ConvergenceWarning):
        cymf.ALS(2).fit(star_ratings(), callback=interrupt)
    assert caplog.records[-1].cymf["stop_reason"] == "interrupted"


@pytest.mark.parametrize("name", ITERATING)
def test_where_nobody_reads_nothing_is_written(name, monkeypatch):
    """Levels are asked for a few times a fit, however many iterations there are."""
    asked = []
    enabled = logging.Logger.isEnabledFor

    def counted(logger, level):
        if logger.name.startswith("cymf"):
            asked.append(level)
        return enabled(logger, level)

    def refuse(*_, **__):
        raise AssertionError("something was written")

    data, counts = data_for(name), []
    monkeypatch.setattr(logging.Logger, "isEnabledFor", counted)
    monkeypatch.setattr(_fit_log.FitLog, "_tell", refuse)
    for n_iter in (2, 8):
        asked.clear()
        small(name, n_iter).fit(*data.train)
        counts.append(len(asked))
    assert counts[0] == counts[1] <= 3


# ---- what else is told -----------------------------------------------------------------------------


@pytest.mark.parametrize(("n_factors", "solver"), [(64, "cholesky"), (65, "cg")])
def test_the_solver_that_was_chosen_is_told(n_factors, solver, caplog):
    with caplog.at_level("DEBUG", "cymf.fit"):
        cymf.ALS(n_factors, max_iter=1).fit(star_ratings())
    assert f"ALS: solver='auto' is {solver!r} for {n_factors} factors" in caplog.messages


@pytest.mark.parametrize(("loss", "solver"), [("squared", "mcmc"), ("bpr", "adagrad")])
def test_the_solver_of_a_machine_is_told(loss, solver, caplog):
    (X, y), *_ = data_for("FactorizationMachine").train, None
    machine = small("FactorizationMachine", loss=loss)
    with caplog.at_level("DEBUG", "cymf.fit"):
        machine.fit(X, y, groups=np.arange(50) % 5 if loss == "bpr" else None)
    assert f"FactorizationMachine: solver='auto' is {solver!r} for loss={loss!r}" in caplog.messages


@pytest.mark.parametrize("estimator", [cymf.SGD, cymf.BPR])
def test_a_halved_learning_rate_is_told(estimator, caplog):
    model = estimator(3, learning_rate=1e4, max_iter=2, on_divergence="back_off")
    with caplog.at_level("INFO", "cymf.fit"), pytest.warns(cymf.ConvergenceWarning) as warned:
        model.fit(star_ratings())
    halved = [message for message in caplog.messages if "was halved" in message]
    assert halved == [str(warning.message) for warning in warned]


def test_joined_duplicates_are_told(caplog):
    with caplog.at_level("INFO", "cymf.ratings"):
        cymf.Ratings.from_triplets([0, 0, 1], [0, 0, 1], [1.0, 2.0, 3.0], duplicates="sum")
    assert caplog.messages == ["duplicates='sum': 3 ratings became 2"]


def test_files_are_told(tmp_path, caplog):
    pytest.importorskip("pyarrow")
    ratings = star_ratings()
    model = cymf.ALS(2, max_iter=1).fit(ratings)
    with caplog.at_level("INFO", "cymf.files"):
        ratings.to_file(tmp_path / "ratings.csv")
        cymf.Ratings.from_file(tmp_path / "ratings.csv")
        model.save(tmp_path / "model.cymf")
        cymf.load(tmp_path / "model.cymf")
        model.recommend_all(tmp_path / "lists.csv", 2)
        model.recommend_all(tmp_path / "lists.parquet", 2)
    names = ("ratings.csv", "ratings.csv", "model.cymf", "model.cymf", "lists.csv", "lists.parquet")
    words = ("wrote", "read", "wrote", "read", "wrote", "wrote")
    assert len(caplog.records) == len(names)
    for record, word, name in zip(caplog.records, words, names, strict=True):
        path = tmp_path / name
        assert record.name == "cymf.files"
        assert record.message.startswith(f"{word} {path}: ")
        if word == "wrote":
            assert record.message == f"wrote {path}: {path.stat().st_size} bytes"


def test_an_index_is_told(caplog):
    model = cymf.ALS(2, max_iter=1).fit(star_ratings())
    with caplog.at_level("DEBUG", "cymf.serving"):
        model.recommend([0, 1], 2)
        model.recommend([0, 1], 2)
    assert len(caplog.records) == 1
    assert "index for recommend of 29 rows" in caplog.messages[0]


def test_folds_and_candidates_are_told(caplog):
    ratings = star_ratings()
    with caplog.at_level("INFO", "cymf.evaluation"):
        cymf.evaluation.cross_validate(cymf.ALS(2, max_iter=1), ratings, folds=3)
        search = cymf.evaluation.GridSearch(cymf.ALS(2, max_iter=1), {"reg": [1, 2]}, folds=2)
        search.fit(ratings)
    assert [message.partition(",")[0] for message in caplog.messages] == [
        *["ALS"] * 3, *["ALS {'reg': 1}"] * 2, *["ALS {'reg': 2}"] * 2,
    ]  # fmt: skip
