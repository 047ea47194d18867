"""Recommendations as tables, as files, and as an approximate index."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from made_up_models import made_up

from cymf import _recommender


def expected_rows(model, users, n, **options):
    items, scores = model.recommend(users, n, **options)
    return [
        (user, rank + 1, items[r, rank], scores[r, rank])
        for r, user in enumerate(users)
        for rank in range(n)
        if not np.isnan(scores[r, rank])
    ]


@pytest.mark.parametrize("ids", [None, "int", "str"])
@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_table(ids, backend):
    library = pytest.importorskip(backend)
    model, _ = made_up(ids=ids)
    known = np.flatnonzero(model._state.user_counts)
    users = known if ids is None else model._state.user_ids.ids[known]
    table = model.recommend_table(n=6, backend=backend)
    assert type(table) is getattr(library, "Table" if backend == "pyarrow" else "DataFrame")
    frame = table if backend == "pandas" else table.to_pandas()
    assert list(frame.columns) == ["user", "rank", "item", "score"]
    assert list(frame.itertuples(index=False, name=None)) == expected_rows(model, users, 6)
    two = model.recommend_table(
        users[1:3], 2, backend=backend, exclude_seen=False, filter=users[:0]
    )
    assert len(two) == 4


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
def test_empty_table(backend):
    pytest.importorskip(backend)
    model, _ = made_up(ids="str")
    assert len(model.recommend_table([], backend=backend)) == 0


def test_table_refuses():
    model, _ = made_up()
    with pytest.raises(ValueError, match=r"backend='duckdb' .* 'pandas', 'polars', 'pyarrow'"):
        model.recommend_table(backend="duckdb")
    with pytest.raises(ValueError, match="users has 0 dimensions"):
        model.recommend_table(1)


@pytest.mark.parametrize("ids", [None, "str"])
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_file(tmp_path, monkeypatch, ids, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(_recommender, "_BLOCK_ANSWERS", 8)  # two users a block
    model, _ = made_up(ids=ids)
    path = tmp_path / f"all.{suffix}"
    n_rows = model.recommend_all(path, 4)
    frame = pd.read_parquet(path) if suffix == "parquet" else pd.read_csv(path)
    pd.testing.assert_frame_equal(frame, model.recommend_table(n=4), check_dtype=False)
    assert n_rows == len(frame) > 0
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_file_of_nobody(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    model, _ = made_up(ids="str")
    assert model.recommend_all(tmp_path / "none.parquet", users=[]) == 0
    table = pq.read_table(tmp_path / "none.parquet")
    assert table.num_rows == 0
    assert table.schema.field("item").type == pa.string()


def test_nothing_half_written(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(_recommender, "_BLOCK_ANSWERS", 1)
    model, _ = made_up()
    path = tmp_path / "all.parquet"
    path.write_text("what was there")
    answer, calls = model.recommend, []

    def fail_later(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answer(*arguments, **options)

    monkeypatch.setattr(model, "recommend", fail_later)
    with pytest.raises(KeyboardInterrupt):
        model.recommend_all(path)
    assert path.read_text() == "what was there"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_file_refuses(tmp_path):
    model, _ = made_up()
    with pytest.raises(ValueError, match=r"ends in '\.json'; expected \.parquet or \.csv"):
        model.recommend_all(tmp_path / "all.json")
    with pytest.raises(ValueError, match="n=0 is too small"):
        model.recommend_all(tmp_path / "all.csv", 0)
    assert list(tmp_path.iterdir()) == []


def test_progress_bar(tmp_path, capsys):
    made_up()[0].recommend_all(tmp_path / "all.csv", verbose=True)
    assert "recommend: 100%" in capsys.readouterr().err


def test_memory_stays_at_a_block(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(_recommender, "_BLOCK_ANSWERS", 1000)
    model, _ = made_up(8000, 50)
    model.recommend_all(tmp_path / "warm.parquet", users=[1])
    tracemalloc.start()
    model.recommend_all(tmp_path / "all.parquet", 20, exclude_seen=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8000 * 20 * 32 / 4


# --- approximate index


@pytest.mark.parametrize("bias", [True, False])
def test_ann_index_finds_what_the_kernel_finds(tmp_path, bias):
    usearch = pytest.importorskip("usearch.index")
    model, _ = made_up(300, 2000, 8, bias=bias, density=0.05)
    path = tmp_path / "items.usearch"
    made = model.export_ann_index(path, n_sample=200)
    assert made.path == path
    assert made.n_sample == 200
    assert 0.9 < made.recall <= 1
    users = np.arange(1, 60)
    exact = model.recommend(users, 10, exclude_seen=False)[0]
    found = made.search(model.W_[users], 10)
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)])
    assert share > 0.9
    restored = usearch.Index.restore(str(path))
    restored.expansion_search = 128  # not stored in the file
    keys = restored.search(made.queries(model.W_[users]), 10).keys
    assert np.mean(keys == found) > 0.99
    assert "recall@10" in repr(made)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    again = model.export_ann_index(path, n_sample=200)
    assert again.recall == made.recall


def test_ann_index_without_usearch():
    code = (
        "import sys; sys.modules['usearch'] = None; sys.modules['usearch.index'] = None\n"
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from made_up_models import made_up\n"
        "try: made_up()[0].export_ann_index('nowhere')\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *sys.path], capture_output=True, text=True, check=False
    )
    assert 'pip install "cymf[ann]"' in done.stdout, done.stderr


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_folder_in_the_place_of_the_file(tmp_path, suffix):
    """All was computed, and what was written stayed beside the folder under another name."""
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / f"all.{suffix}").mkdir()
    with pytest.raises(IsADirectoryError):
        made_up()[0].recommend_all(tmp_path / f"all.{suffix}")
    assert [file.name for file in tmp_path.iterdir()] == [f"all.{suffix}"]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX's")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_full_disk(tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"all.{suffix}"
    path.write_text("what was there")
    script = f"""
import resource, signal, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
from made_up_models import made_up
model, _ = made_up(300, 200)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    model.recommend_all({str(path)!r}, 50, exclude_seen=False)
except OSError as error:
    print("said", error)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "said [Errno 27] File too large" in done.stdout, done.stderr
    assert path.read_text() == "what was there"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
