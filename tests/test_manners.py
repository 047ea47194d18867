"""What all estimators owe to the process they run in: silence, progress when asked, callbacks, Ctrl-C."""

from __future__ import annotations

import ast
import itertools
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from every_model import ESTIMATORS, ITERATING, UPDATED, WITHOUT_ITERATIONS, data_for, small, use

import cymf

PACKAGE = Path(cymf.__file__).parent
MEASURED = ("objective", "train_rmse", "validation_rmse", "validation_score")


# ---- silence ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_is_printed(name, tmp_path, capfd):
    use(name, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed_where_nobody_has_set_up_logging(tmp_path):
    """Not even by the handler of last resort, which pytest's own keep from coming in."""
    code = """
import logging, pathlib, sys
from every_model import ESTIMATORS, use
for name in ESTIMATORS:
    use(name, pathlib.Path(sys.argv[1]))
logging.getLogger("cymf.fit").error("as if something had gone wrong")
"""
    folders = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": folders},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_only_the_command_line_prints():
    """And Surprise's drop-in, with verbose=True, what Surprise prints."""
    printing = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Name) and node.id == "print"
            stream = isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr")
            if named or (stream and ast.unparse(node.value) == "sys"):
                printing.add(path.relative_to(PACKAGE).as_posix())
    assert printing == {"cli.py", "_cli_console.py", "compat/surprise.py"}


# ---- progress --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ITERATING)
def test_progress_is_a_bar_on_stderr(name, capfd):
    small(name, verbose=True).fit(*data_for(name).train)
    out, err = capfd.readouterr()
    assert out == ""
    assert name in err
    assert "4/4" in err


def test_all_that_show_progress_are_asked_alike():
    """By `verbose`, which is False if nothing is said; a model without iterations has none."""
    for name in ESTIMATORS:
        parameters = ESTIMATORS[name]().get_params()
        assert ("verbose" in parameters) == (name in ITERATING)
        assert parameters.get("verbose", False) is False


# ---- callbacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ITERATING)
def test_a_callback_is_told_what_the_history_keeps(name):
    data, told = data_for(name), []
    model = small(name).fit(*data.train, validation=data.validation, callback=told.append)
    assert [type(record) for record in told] == [cymf.Iteration] * 4
    assert [record.iteration for record in told] == [1, 2, 3, 4]
    assert (model.n_iter_, model.stop_reason_) == (4, "max_iter")
    assert set(model.history_) <= {*MEASURED, "seconds"}
    assert "seconds" in model.history_
    for number in (*MEASURED, "seconds"):
        said = [getattr(record, number) for record in told]
        np.testing.assert_array_equal(said, model.history_.get(number, [math.nan] * 4))
    assert all(record.seconds > 0 for record in told)
    validated = [r for r in told if np.isfinite([r.validation_rmse, r.validation_score]).any()]
    assert validated == told


@pytest.mark.parametrize("name", ITERATING)
def test_a_callback_may_stop(name):
    data = data_for(name)
    model = small(name, 6).fit(*data.train, callback=lambda record: record.iteration == 3)
    assert (model.n_iter_, model.stop_reason_) == (3, "callback")
    assert {len(values) for values in model.history_.values()} == {3}
    assert np.isfinite(model.predict(*data.asked)).all()


@pytest.mark.parametrize("name", ITERATING)
def test_a_callbacks_error_leaves_the_model_as_it_was(name):
    data = data_for(name)
    model = small(name).fit(*data.train)
    before = model.predict(*data.asked)

    def fail(record: cymf.Iteration) -> None:
        raise LookupError("from the callback")

    with pytest.raises(LookupError, match="from the callback"):
        model.set_params(random_state=5).fit(*data.train, callback=fail)
    np.testing.assert_array_equal(model.predict(*data.asked), before)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_callback_must_be_callable(name):
    with pytest.raises(TypeError, match="callback is a int; expected a function"):
        small(name).fit(*data_for(name).train, callback=3)


@pytest.mark.parametrize("name", WITHOUT_ITERATIONS)
def test_without_iterations_there_is_nothing_to_call_back_for(name):
    told = []
    small(name).fit(*data_for(name).train, callback=told.append)
    assert told == []


# ---- Ctrl-C ----------------------------------------------------------------------------------------


def raise_it(record: cymf.Iteration) -> None:
    if record.iteration == 2:
        raise KeyboardInterrupt


def signal_it(record: cymf.Iteration) -> None:
    if record.iteration == 2:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("name", "interrupt"), list(itertools.product(ITERATING, [raise_it, signal_it]))
)
def test_ctrl_c_leaves_a_model_that_can_be_used(name, interrupt, tmp_path):
    data = data_for(name)
    model = small(name, 6)
    text = f"{name} was interrupted; the model is that of iteration 2 of at most 6"
    with pytest.warns(cymf.ConvergenceWarning) as warned:
        model.fit(*data.train, callback=interrupt)
    assert [(str(w.message), w.filename) for w in warned] == [(text, __file__)]
    assert (model.n_iter_, model.stop_reason_) == (2, "interrupted")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model.save(tmp_path / "model.cymf")
    loaded = cymf.load(tmp_path / "model.cymf")
    assert (loaded.n_iter_, loaded.stop_reason_) == (2, "interrupted")
    np.testing.assert_array_equal(loaded.predict(*data.asked), model.predict(*data.asked))
    stopped = small(name, 6).fit(*data.train, callback=lambda record: record.iteration == 2)
    np.testing.assert_array_equal(stopped.predict(*data.asked), model.predict(*data.asked))


# ---- updates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UPDATED)
def test_updates_leave_the_history_of_the_fit(name):
    """So it does not grow with the number of updates."""
    data = data_for(name)
    model = small(name).fit(*data.train, validation=data.validation)
    history, scores = model.history_, model.predict(*data.asked)
    for _ in range(3):
        model.partial_fit(data.validation)
    assert str(model.history_) == str(history)
    assert (model.n_iter_, model.stop_reason_) == (4, "max_iter")
    assert not np.array_equal(model.predict(*data.asked), scores)


@pytest.mark.parametrize("name", UPDATED)
def test_the_first_update_of_an_unfitted_model_is_its_fit(name):
    data = data_for(name)
    model = small(name).partial_fit(*data.train)
    n_iter = model.n_iter_
    assert {len(values) for values in model.history_.values()} == {n_iter}
    assert model.partial_fit(data.validation).n_iter_ == n_iter
