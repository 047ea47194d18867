"""`cymf convert`: every format into every other, piece by piece, whole or not at all."""

from __future__ import annotations

import json
import os
import threading

import numpy as np
import pytest

from cymf import _json_lines, _parquet, _text_reader
from cymf.cli import main
from cymf.ratings import Ratings

pytest.importorskip("pyarrow")

TARGETS = ("csv", "tsv", "dat", "jsonl", "parquet", "npz", "csv.gz", "tsv.bz2", "ndjson.zst", "dat.xz")  # fmt: skip
TRIPLETS = [(822109, 30, 5.0), (7, 1, 0.5), (1488844, 1, 3.0), (7, 30, 4.0), (8, 2, 1.25)]
NETFLIX = "1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n2:\n1488844,4,2005-01-19\n"


def in_order(path):
    """The ratings of a file as they stand in it."""
    ratings = Ratings.from_file(path)
    order = np.arange(ratings.nnz) if ratings.input_order is None else ratings.input_order
    columns = [column.tolist() for column in ratings.to_triplets()]
    columns.append(
        [None] * ratings.nnz if ratings.timestamps is None else ratings.timestamps.tolist()
    )
    listed = list(zip(*columns, strict=True))
    return [listed[k] for k in np.argsort(order)]


@pytest.fixture(params=[2, 100], autouse=True)
def piece(request, monkeypatch):
    """However many rows are read at once."""
    monkeypatch.setattr(_text_reader, "_LINES", request.param)
    monkeypatch.setattr(_parquet, "_ROWS", request.param)
    monkeypatch.setattr(_json_lines, "_BLOCK", 40 * request.param)


@pytest.mark.parametrize("ids", ["integers", "strings"])
@pytest.mark.parametrize("source", TARGETS)
def test_every_format_becomes_every_other(tmp_path, capsys, source, ids):
    rows = TRIPLETS
    if ids == "strings":
        rows = [(f"é{user}", f"{item} x", rating) for user, item, rating in TRIPLETS]
    first = tmp_path / "first.csv"
    lines = [f"{user},{item},{rating},{k}\n" for k, (user, item, rating) in enumerate(rows)]
    first.write_text("user,item,rating,timestamp\n" + "".join(lines), encoding="utf-8")
    expected = [(*row, k) for k, row in enumerate(rows)]
    assert main(["convert", str(first), str(tmp_path / f"source.{source}")]) == 0
    assert in_order(tmp_path / f"source.{source}") == expected
    for target in TARGETS:
        path = tmp_path / f"target.{target}"
        assert main(["convert", str(tmp_path / f"source.{source}"), str(path), "--json"]) == 0
        assert in_order(path) == expected
    assert '"n_ratings": 5' in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 2 + len(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_netflix_becomes_every_format(tmp_path, capsys, target):
    source, path = tmp_path / "mv_1.txt", tmp_path / f"ratings.{target}"
    source.write_text(NETFLIX)
    assert main(["convert", str(source), str(path)]) == 0
    assert "3 ratings written" in capsys.readouterr().out
    read, first = Ratings.from_file(path), Ratings.from_file(source)
    np.testing.assert_array_equal(read.users, first.users)
    np.testing.assert_array_equal(read.values, first.values)
    np.testing.assert_array_equal(read.timestamps.astype("M8[D]"), first.timestamps)


def test_columns_are_chosen_and_events_count_one(tmp_path):
    source = tmp_path / "plays.csv"
    source.write_text("when,who,what,n\n5,a,x,3\n6,b,y,4\n5,a,x,1\n")
    target = tmp_path / "plays.jsonl"
    assert main(["convert", str(source), str(target), "--columns", "who,what,n,when"]) == 0
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert lines[0] == {"user": "a", "item": "x", "rating": 3.0, "timestamp": 5}
    assert len(lines) == 3  # duplicates are kept
    assert main(["convert", str(source), str(target), "--columns", "who,what,none"]) == 0
    assert json.loads(target.read_text().splitlines()[0]) == {
        "user": "a",
        "item": "x",
        "rating": 1.0,
    }
    joined = ["--columns", "who,what,n", "--duplicates", "sum"]
    assert main(["convert", str(source), str(target), *joined]) == 0
    assert json.loads(target.read_text().splitlines()[0])["rating"] == 4.0
    assert main(["convert", str(source), str(target), *joined[:3], "raise"]) == 1


@pytest.mark.parametrize("target", ["parquet", "jsonl", "csv", "npz"])
def test_a_column_that_turns_out_to_hold_more_is_of_one_type(tmp_path, target):
    source, path = tmp_path / "r.csv", tmp_path / f"t.{target}"
    lines = ["1,1,5,7", "2,1,5,8", "3,2,5,9", "x4,2,5,10.5"]
    source.write_text("\n".join(lines))
    assert main(["convert", str(source), str(path)]) == 0
    assert [row[0] for row in in_order(path)] == ["1", "2", "3", "x4"]
    assert [row[3] for row in in_order(path)] == [7, 8, 9, 10.5]
    if target == "jsonl":
        assert json.loads(path.read_text().partition("\n")[0])["user"] == "1"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("last", ["9,1,5", "x9,1,5"])
def test_a_pipe_is_read_once(tmp_path, capsys, last, piece):
    source, target = tmp_path / "pipe", tmp_path / "t.csv"
    os.mkfifo(source)
    text = "1,1,5\n2,1,5\n3,2,5\n" + last + "\n"
    writer = threading.Thread(target=source.write_text, args=(text,))
    writer.start()
    code = main(["convert", str(source), str(target)])
    writer.join()
    if code:
        assert last[0] == "x"
        assert "the input cannot be read twice" in capsys.readouterr().err
        assert not target.exists()
    else:
        assert str(in_order(target)[-1][0]) == last.partition(",")[0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.csv", "1,2,3\n" * 4 + "4,5\n", "line 5: expected 3 fields"),
        ("r.csv", "user,item,stars\n1,2,3\n", "no column that is plainly the rating"),
        ("r.csv", "1,2,3\n" * 4 + "4,5,many\n", "line 5: the rating is 'many', not a number"),
        ("r.csv", b"1,2,3\n" * 4 + b"\xff,5,3\n", "is not utf-8 text (line 5, byte 0xff)"),
        ("r.jsonl", '{"user": 1, "item": 2, "rating": 3}\n' * 4 + "{\n", "line 5"),
        ("r.parquet", b"PAR1" * 5, "is damaged or not a Parquet file"),
        ("r.csv.gz", b"1,2,3\n", "is damaged, or not compressed as its name says"),
    ],
)
def test_what_cannot_be_read_leaves_the_old_file(tmp_path, capsys, name, text, message):
    source, target = tmp_path / name, tmp_path / "t.jsonl"
    source.write_bytes(text if isinstance(text, bytes) else text.encode())
    target.write_text("what was there")
    assert main(["convert", str(source), str(target)]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert str(source) in told
    assert target.read_text() == "what was there"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "t.jsonl"])


def test_a_target_of_no_format_is_refused_before_anything_is_read(tmp_path, capsys):
    assert main(["convert", str(tmp_path / "none.csv"), str(tmp_path / "t.xls")]) == 1
    assert "expected one of" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none.csv"), str(tmp_path / "t.csv")]) == 1
    assert "no such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "user"),
    [
        ("dat", "a::b"),
        ("dat", " a"),
        ("dat", "a\nb"),
        ("tsv", "a\tb"),
        ("tsv", "a "),
        ("tsv", "\r"),
    ],
)
def test_ids_that_unquoted_text_cannot_hold_are_refused(tmp_path, kind, user):
    ratings = Ratings.from_triplets([user], ["x"], [1.0])
    with pytest.raises(ValueError, match=rf"cannot be written to a \.{kind} file"):
        ratings.to_file(tmp_path / f"r.{kind}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", TARGETS)
def test_quotes_and_separators_come_through(tmp_path, target):
    odd = ['say "no"', '"', "a,b", "a;b", "a|b", "a:b", "'", "\\n", "ü"]
    ratings = Ratings.from_triplets(odd, odd[::-1], np.arange(len(odd)) / 4)
    path = tmp_path / f"r.{target}"
    ratings.to_file(path)
    found = Ratings.from_file(path)
    assert found.user_ids.ids.tolist() == ratings.user_ids.ids.tolist()
    np.testing.assert_array_equal(found.items, ratings.items)
    np.testing.assert_array_equal(found.values, ratings.values)


def test_dat_is_that_of_movielens(tmp_path):
    ratings = Ratings.from_triplets([1, 2], [10, 20], [5.0, 3.5], timestamps=[978300760, 9])
    ratings.to_file(tmp_path / "ratings.dat")
    assert (tmp_path / "ratings.dat").read_text() == "1::10::5::978300760\n2::20::3.5::9\n"
