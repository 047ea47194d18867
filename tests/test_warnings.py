"""Warnings and errors: of which class, and at whose line."""

from __future__ import annotations

import ast
import inspect
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fitted_models import star_ratings
from scipy import sparse

import cymf
from cymf import _downloads, _errors
from cymf._errors import warn_caller
from cymf.compat import implicit

PACKAGE = Path(cymf.__file__).parent
DOCS = Path(__file__).resolve().parents[1] / "docs"
CLASSES = [name for name in _errors.__all__ if isinstance(getattr(_errors, name), type)]


def interrupt(record: cymf.Iteration) -> None:
    raise KeyboardInterrupt


def names_of_columns() -> None:
    X = np.random.default_rng(0).normal(size=(9, 2))
    model = cymf.FactorizationMachine(2, max_iter=2, burn_in=0)
    model.fit(pd.DataFrame(X, columns=["a", "b"]), X[:, 0])
    model.predict(X)


CASES = {
    "interrupted": (
        lambda: cymf.ALS(2).fit(star_ratings(), callback=interrupt),
        cymf.ConvergenceWarning,
    ),
    "SGD goes back": (
        lambda: cymf.SGD(2, learning_rate=50, max_iter=1, on_divergence="back_off").fit(
            star_ratings()
        ),
        cymf.ConvergenceWarning,
    ),
    "BPR goes back": (
        lambda: cymf.BPR(2, learning_rate=1e4, max_iter=1, on_divergence="back_off").fit(
            star_ratings()
        ),
        cymf.ConvergenceWarning,
    ),
    "names of columns": (names_of_columns, cymf.FeatureNamesWarning),
    "not CSR": (
        lambda: implicit.AlternatingLeastSquares(iterations=1).fit(
            sparse.eye_array(3).tocoo(), show_progress=False
        ),
        implicit.ParameterWarning,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_warning_points_at_the_callers_line(case):
    provoke, category = CASES[case]
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        provoke()
    assert warned
    assert {(warning.category, warning.filename) for warning in warned} == {(category, __file__)}


@pytest.mark.parametrize("case", CASES)
def test_one_filter_is_enough_for_all_of_them(case):
    provoke, _ = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", cymf.CymfWarning)
        provoke()


def an_archive(folder):
    path = folder / "y.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("y/ratings.csv", "")
    return path


def test_terms_are_said_before_a_download(tmp_path, monkeypatch, capfd):
    pooch = pytest.importorskip("pooch", reason="downloads need pooch")
    fetched = []

    def retrieve(url, **_):
        fetched.append(url)
        return an_archive(tmp_path)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    archive = _downloads.Archive("Made up", "https://x/y.zip", "md5:0", "y", True, "for nobody")
    with pytest.warns(cymf.DataTermsWarning, match="Made up: for nobody") as warned:
        _downloads.fetch(archive, tmp_path)
    assert [warning.filename for warning in warned] == [__file__]
    assert fetched == ["https://x/y.zip"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", cymf.DataTermsWarning)
        with pytest.raises(cymf.DataTermsWarning):
            _downloads.fetch(archive, tmp_path)
    assert len(fetched) == 1  # who turns terms into errors gets no data
    assert capfd.readouterr() == ("", "")


def test_pooch_keeps_quiet(tmp_path, monkeypatch, capfd):
    pooch = pytest.importorskip("pooch", reason="downloads need pooch")
    logger = pooch.get_logger()
    level = logger.level

    def retrieve(*_, **__):
        logger.info("as it does, to stderr")
        return an_archive(tmp_path)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    archive = _downloads.Archive("Made up", "https://x/y.zip", "md5:0", "y", True, "for nobody")
    with pytest.warns(cymf.DataTermsWarning):
        _downloads.fetch(archive, tmp_path)
    assert capfd.readouterr() == ("", "")
    assert logger.level == level


def test_deprecated_names_of_implicit_are_deprecated_at_the_callers_line():
    model = implicit.AlternatingLeastSquares(2, iterations=1, random_state=0)
    liked = sparse.csr_array(np.ones((3, 4)))
    model.fit(liked, show_progress=False)
    with pytest.warns(DeprecationWarning, match="recommend_all is deprecated") as warned:
        model.recommend_all(liked, 2)
    assert {warning.filename for warning in warned} == {__file__}


def test_a_caller_may_be_code_without_a_module():
    names = {"warn_caller": warn_caller, "category": cymf.ConvergenceWarning}
    with pytest.warns(cymf.ConvergenceWarning) as warned:
        exec(compile("warn_caller('text', category)", "<made up>", "exec"), names)
    assert [warning.filename for warning in warned] == ["<made up>"]


def test_a_package_with_a_similar_name_is_a_caller():
    names = {"__name__": "cymf_tools", "warn_caller": warn_caller, "category": cymf.CymfWarning}
    with pytest.warns(cymf.CymfWarning) as warned:
        exec(compile("warn_caller('text', category)", "<tools>", "exec"), names)
    assert [warning.filename for warning in warned] == ["<tools>"]


def test_every_warning_goes_through_one_function():
    """Which finds the caller's line; and each has a class of cymf's own, or is a DeprecationWarning."""
    categories = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called == "warn_caller":
                categories.add(ast.unparse(node.args[1]))
            elif called.endswith((".warn", "showwarning", "warn_explicit")):
                assert path.name == "_errors.py", f"{path}:{node.lineno} calls {called}"
    known = {
        name: getattr(cymf, name, None) or getattr(implicit, name, None) for name in categories
    }
    known["DeprecationWarning"] = DeprecationWarning
    for name in categories - {"DeprecationWarning"}:
        assert issubclass(known[name], cymf.CymfWarning), name
        assert known[name] is not cymf.CymfWarning, f"{name} could not be told from others"
    assert issubclass(cymf.CymfWarning, UserWarning)


# ---- what is public --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_is_public_and_documented(name):
    assert getattr(cymf, name) is getattr(_errors, name)
    assert name in cymf.__all__
    assert (inspect.getdoc(getattr(cymf, name)) or "").strip()
    if DOCS.is_dir():
        for page in ("training-progress.md", "reference/index.md"):
            text = (DOCS / page).read_text("utf-8")
            assert f"[{name}]" in text or f"[`{name}`]" in text, f"{page} does not link to {name}"


def test_the_bases_are_those_that_callers_may_know():
    assert issubclass(cymf.NotFittedError, (ValueError, AttributeError))
    assert issubclass(cymf.UnknownIdError, KeyError)
    assert issubclass(cymf.DivergenceError, ArithmeticError)
    assert issubclass(cymf.ModelFileError, ValueError)
