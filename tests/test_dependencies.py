"""What cymf needs: its declared dependencies alone, in releases that are tested; how it names one that is missing."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from made_up_models import made_up

import cymf
from cymf._cli_features import read_table
from cymf._extras import EXTRAS, missing
from cymf.evaluation import GridSearch

REPOSITORY = Path(__file__).resolve().parents[1]
TOOLS = {"Cython", "hypothesis", "pytest-xdist", "setuptools"}  # newer ones do as well
OF_THEIR_TIME = {"pyparsing"}  # what the oldest releases use of it is deprecated by now


def project():
    path = REPOSITORY / "pyproject.toml"
    return tomllib.loads(path.read_text("utf-8"))


def floors(requirements):
    """Name and lower bound of each requirement, without its marker; those of cymf's own extras are left out."""
    found = [re.match(r"([\w.-]+)>=([\d.]+)", text.partition(";")[0]) for text in requirements]
    own = [text for text, match in zip(requirements, found, strict=True) if match is None]
    assert all(text.startswith("cymf[") for text in own), own
    return [match.groups() for match in found if match is not None]


def pins(name):
    path = REPOSITORY / ".ci" / name
    if not path.exists():
        pytest.skip(f"there is no {path.name} beside these tests")
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def agree(floor, pin):
    """Whether a release is of the series that a lower bound names: 1.26.4 of 1.26."""
    parts = floor.split(".")
    return pin.split(".")[: len(parts)] == parts


def test_the_oldest_releases_are_tested():
    declared = project()["project"]
    extras = declared["optional-dependencies"]
    needed = declared["dependencies"] + [
        text for name, texts in extras.items() if name != "docs" for text in texts
    ]
    listed = pins("oldest.txt")
    bounds = [(name, floor) for name, floor in floors(needed) if name not in TOOLS]
    for name in {name for name, _ in bounds}:
        oldest = min((floor for other, floor in bounds if other == name), key=_numbers)
        assert agree(oldest, listed[name]), f"{name}>={oldest} but tested with {listed[name]}"
    assert set(listed) - OF_THEIR_TIME == {name for name, _ in bounds}


def test_the_oldest_tools_build_it():
    listed = pins("oldest-build.txt")
    bounds = dict(floors(project()["build-system"]["requires"]))
    assert set(listed) == set(bounds)
    for name, floor in bounds.items():
        assert agree(floor, listed[name]), f"{name}>={floor} but built with {listed[name]}"


def _numbers(version):
    return [int(part) for part in version.split(".")]


# Refuses everything but the standard library, cymf and what it declares (and what that declares in turn).
ALONE = """
import sys
from importlib import util
from importlib.abc import MetaPathFinder

ALLOWED = {"cymf", "numpy", "scipy", "threadpoolctl", "narwhals", "tqdm", "colorama"} | sys.stdlib_module_names

class Refusing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and not top.startswith(("_distutils", "__editable__", "_sysconfigdata")):
            raise ModuleNotFoundError(f"No module named {name!r}, which cymf does not declare", name=name)

sys.meta_path.insert(0, Refusing())

import pkgutil, tempfile
from pathlib import Path
import numpy as np
import cymf, cymf.cli
for module in pkgutil.walk_packages(cymf.__path__, "cymf."):
    if module.name in ("cymf.__main__", "cymf.compat.surprise") or module.name.startswith("cymf._kernels."):
        continue
    __import__(module.name)

ratings = cymf.Ratings.from_matrix(np.add.outer(np.arange(6.0), np.arange(1.0, 6.0)))
with tempfile.TemporaryDirectory() as folder:
    ratings.to_file(Path(folder) / "ratings.csv")
    ratings = cymf.Ratings.from_file(Path(folder) / "ratings.csv")
    for estimator in (cymf.ALS, cymf.SGD, cymf.ImplicitALS, cymf.BPR, cymf.SVDpp):
        model = estimator(2, max_iter=2).fit(ratings)
        assert np.isfinite(model.recommend([0, 1], n=2, exclude_seen=False)[1]).all()
        model.save(Path(folder) / "model")
        cymf.load(Path(folder) / "model")
    assert cymf.NMF(2, max_iter=2).fit(ratings).user_factors_.shape == (6, 2)
    assert cymf.cli.main(["fit", folder + "/ratings.csv", "--output", folder + "/m", "--max-iter", "2"]) == 0
    assert cymf.cli.main(["info"]) == 0
"""


def test_it_runs_with_nothing_but_its_dependencies():
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_extras_are_those_declared():
    extras = project()["project"]["optional-dependencies"]
    for library, extra in EXTRAS.items():
        assert [name for name, _ in floors(extras[extra])] == [library]
    every = {name for name in extras if name not in ("all", "test", "docs")}
    assert set(EXTRAS.values()) == every
    assert extras["all"] == [f"cymf[{','.join(extras_in_order(extras))}]"]


def extras_in_order(extras):
    return [name for name in extras if name not in ("all", "test", "docs")]


def searched():
    search = GridSearch(cymf.ALS(1, max_iter=1), {"reg": [0.1]}, folds=2, refit=False)
    return search.fit(cymf.Ratings.from_matrix(np.add.outer(np.arange(6.0), np.arange(1.0, 6.0))))


USES = [
    ("pyarrow", lambda folder: cymf.Ratings.from_file(folder / "r.parquet")),
    ("pyarrow", lambda folder: cymf.Ratings.from_file(folder / "r.jsonl")),
    ("pyarrow", lambda folder: cymf.Ratings.from_triplets([1], [1], [1.0]).to_file(folder / "r.parquet")),
    ("pyarrow", lambda folder: read_table(folder / "r.parquet")),
    ("pyarrow", lambda folder: made_up()[0].recommend_all(folder / "r.parquet")),
    ("pyarrow", lambda folder: made_up()[0].recommend_table(backend="pyarrow")),
    ("polars", lambda folder: made_up()[0].recommend_table(backend="polars")),
    ("pandas", lambda folder: made_up()[0].recommend_table(backend="pandas")),
    ("pandas", lambda folder: searched().results_frame()),
    ("pooch", lambda folder: cymf.datasets.load_movielens("100k", data_home=folder, download=True)),
    ("usearch", lambda folder: made_up()[0].export_ann_index(folder / "index")),
]  # fmt: skip


@pytest.mark.parametrize(("library", "use"), USES)
def test_what_is_missing_is_named(tmp_path, monkeypatch, library, use):
    for name in ("r.parquet", "r.jsonl"):
        (tmp_path / name).write_bytes(b"PAR1")
    for name in [library, *(name for name in sys.modules if name.startswith(f"{library}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    wanted = f'"cymf[{EXTRAS[library]}]"' if library in EXTRAS else library
    with pytest.raises(ModuleNotFoundError, match=re.escape(f"pip install {wanted}")) as caught:
        use(tmp_path)
    assert caught.value.name == library
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.jsonl", "r.parquet"]
    assert (tmp_path / "r.parquet").read_bytes() == b"PAR1"


def test_the_error_says_what_for():
    error = missing("pyarrow", "reading x.parquet", ", or name a .csv file")
    assert str(error) == (
        "reading x.parquet needs pyarrow, which is not installed: "
        'pip install "cymf[parquet]", or name a .csv file'
    )
    assert "pip install polars" in str(missing("polars", "this"))
