"""Ratings in files of other kinds: JSON lines, Netflix's, MovieLens' folders and archives; and written to files."""

from __future__ import annotations

import gzip
import json
import zipfile

import numpy as np
import pytest

import cymf
from cymf import _netflix, _ratings_file
from cymf.ratings import Ratings


def rows(ratings):
    return list(zip(*(column.tolist() for column in ratings.to_triplets()), strict=True))


# --- JSON

AMAZON = [
    {"reviewerID": "A2", "asin": "B01", "overall": 5.0, "unixReviewTime": 1400000000, "summary": "ok"},
    {"reviewerID": "A1", "asin": "B02", "overall": 2, "unixReviewTime": 1300000000, "vote": {"up": 3}},
]  # fmt: skip
YELP = [
    {"review_id": "r1", "user_id": "u2", "business_id": "b1", "stars": 4.0, "date": "2018-07-07 22:09:11"},
    {"review_id": "r2", "user_id": "u1", "business_id": "b1", "stars": 1.0, "date": "2017-01-01 00:00:00"},
]  # fmt: skip


def written(path, objects):
    text = "".join(json.dumps(each) + "\n" for each in objects)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["reviews.json", "reviews.jsonl", "reviews.json.gz"])
def test_reviews_of_amazon(tmp_path, name):
    pytest.importorskip("pyarrow")
    ratings = Ratings.from_file(written(tmp_path / name, AMAZON))
    assert rows(ratings) == [("A1", "B02", 2.0), ("A2", "B01", 5.0)]
    assert ratings.timestamps.tolist() == [1300000000, 1400000000]


def test_reviews_of_yelp(tmp_path):
    pytest.importorskip("pyarrow")
    ratings = Ratings.from_file(written(tmp_path / "yelp.json", YELP))
    assert rows(ratings) == [("u1", "b1", 1.0), ("u2", "b1", 4.0)]
    assert ratings.timestamps.astype("M8[s]").astype(str).tolist() == [
        "2017-01-01T00:00:00",
        "2018-07-07T22:09:11",
    ]


def test_json_with_names_of_ones_own(tmp_path):
    pytest.importorskip("pyarrow")
    objects = [{"who": 7, "what": "x", "n": 3}, {"who": 8, "what": "y", "n": 1}]
    path = written(tmp_path / "events.ndjson", objects)
    ratings = Ratings.from_file(path, user="who", item="what", rating=None)
    assert rows(ratings) == [(7, "x", 1.0), (8, "y", 1.0)]
    with pytest.raises(ValueError, match="no column that is plainly the user"):
        Ratings.from_file(path)
    with pytest.raises(ValueError, match="has no column 'whom' for user"):
        Ratings.from_file(path, user="whom", item="what", rating="n")


@pytest.mark.parametrize(
    "text",
    ["", "[1, 2]\n", "{'user': 1}\n", '{"user": 1, "item": 2, "rating": 3}\nnonsense\n'],
)
def test_what_is_no_json_is_said_to_be_none(tmp_path, text):
    pytest.importorskip("pyarrow")
    path = tmp_path / "ratings.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"ratings\.json is not a file of JSON objects"):
        Ratings.from_file(path)


@pytest.mark.parametrize("user", [None, True, 1.5, ["a"]])
def test_json_ids_are_strings_or_whole_numbers(tmp_path, user):
    pytest.importorskip("pyarrow")
    path = written(tmp_path / "ratings.json", [{"user": user, "item": 1, "rating": 2}])
    with pytest.raises(ValueError, match="the user of the first object is"):
        Ratings.from_file(path)


# --- Netflix

NETFLIX = "1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n2:\n1488844,4,2005-01-19\n"


@pytest.mark.parametrize("lines", [1, 2, 3, 100])
def test_netflix(tmp_path, monkeypatch, lines):
    monkeypatch.setattr(_netflix, "_LINES", lines)  # films go on over the borders of chunks
    path = tmp_path / "combined_data_1.txt"
    path.write_text(NETFLIX)
    expected = [(822109, 1, 5.0), (1488844, 1, 3.0), (1488844, 2, 4.0)]
    for given in (path, tmp_path):
        ratings = Ratings.from_file(given)
        assert rows(ratings) == expected
        assert ratings.timestamps.astype(str).tolist() == ["2005-05-13", "2005-09-06", "2005-01-19"]
    without = Ratings.from_file(path, rating=None, timestamp=None)
    assert [rating for _, _, rating in rows(without)] == [1, 1, 1]
    assert not without.has_timestamps


def test_netflix_one_file_a_film(tmp_path):
    folder = tmp_path / "training_set"
    folder.mkdir()
    for film, text in ((1, "7,3,2005-09-06\n"), (2, "7,4,2005-09-07\n8,1,2005-09-07")):
        (folder / f"mv_{film:07}.txt").write_text(f"{film}:\n{text}")
    expected = [(7, 1, 3.0), (7, 2, 4.0), (8, 2, 1.0)]
    assert rows(Ratings.from_file(folder)) == expected
    assert rows(Ratings.from_file(tmp_path)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1:\n7,3\n", "line 2: expected user,rating,date: '7,3'"),
        ("1:\n7,3,2005-09-06\n\n", "line 3: expected user,rating,date"),
        ("1:\n7,three,2005-09-06\n", "line 2: expected user,rating,date"),
        ("1:\n7,3,2005-19-06\n", "lines 1 to 2: a date is none"),
        ("1:\nx:\n", "line 2: expected the number of a film"),
        ("1:\n2:\n", "holds no ratings"),
    ],
)
def test_netflix_refuses(tmp_path, text, message):
    path = tmp_path / "mv_1.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Ratings.from_file(path)


def test_netflix_has_no_columns_to_choose(tmp_path):
    path = tmp_path / "mv_1.txt"
    path.write_text(NETFLIX)
    for choice in ({"user": 0}, {"weight": "w"}, {"rating": 1}):
        with pytest.raises(ValueError, match="Netflix prize"):
            Ratings.from_file(path, **choice)


# --- MovieLens


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.dat", "u.data"])
def test_folders_and_archives_of_movielens(tmp_path, name):
    line = {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,31,2.5,12\n",
        "ratings.dat": "1::31::2.5::12\n",
        "u.data": "1\t31\t2.5\t12\n",
    }[name]
    folder = tmp_path / "ml-some"
    folder.mkdir()
    (folder / name).write_text(line)
    (folder / "README").write_text("...")
    with zipfile.ZipFile(tmp_path / "ml-some.zip", "w") as archive:
        archive.write(folder / "README", "ml-some/README")
        archive.write(folder / name, f"ml-some/{name}")
    for given in (folder, tmp_path / "ml-some.zip", folder / name):
        ratings = Ratings.from_file(given)
        assert rows(ratings) == [(1, 31, 2.5)]
        assert ratings.timestamps.tolist() == [12]


def test_other_folders_and_archives_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds none of ratings\.csv, ratings\.dat, u\.data"):
        Ratings.from_file(tmp_path)
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("a.txt", "1,2,3")
    assert rows(Ratings.from_file(tmp_path / "some.zip")) == [(1, 2, 3)]  # what else could be meant
    with zipfile.ZipFile(tmp_path / "some.zip", "a") as archive:
        archive.writestr("b.txt", "1,2,3")
    with pytest.raises(ValueError, match="holds none of"):
        Ratings.from_file(tmp_path / "some.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.parquet", "PAR1")
    with pytest.raises(ValueError, match="no single file of text or JSON: unpack it"):
        Ratings.from_file(tmp_path / "other.zip")


# --- written


@pytest.fixture(params=["plain", "weights and times", "dates", "row numbers"])
def ratings(request):
    users, items, values = ["b", "a", "b", "c"], [30, 7, 7, 7], [4.0, 0.5, -1.25, 1 / 3]
    if request.param == "row numbers":
        return Ratings.from_triplets([1, 0, 1, 2], [3, 0, 0, 0], values, shape=(4, 5))
    if request.param == "weights and times":
        return Ratings.from_triplets(
            users, items, values, weights=[1, 0.5, 2, 0], timestamps=[5, 6, 7, 2**40]
        )
    if request.param == "dates":
        dates = np.array(["2020-01-01", "2021-01-01", "1969-01-01", "2000-02-29"], "M8[D]")
        return Ratings.from_triplets(users, items, values, timestamps=dates)
    return Ratings.from_triplets(users, items, values)


@pytest.mark.parametrize(
    "suffix", [".csv", ".tsv", ".parquet", ".npz", ".jsonl", ".dat", ".csv.gz", ".json.zst"]
)
@pytest.mark.parametrize("piece", [1, 3, 100])
def test_what_was_written_is_read(tmp_path, monkeypatch, ratings, suffix, piece):
    if suffix.startswith((".parquet", ".json")):
        pytest.importorskip("pyarrow")
    if suffix == ".dat" and ratings.has_weights:
        with pytest.raises(ValueError, match=r"a \.dat file has no column for weights"):
            ratings.to_file(tmp_path / "ratings.dat")
        assert not list(tmp_path.iterdir())
        return
    monkeypatch.setattr(_ratings_file, "_PIECE", piece)
    path = tmp_path / f"ratings{suffix}"
    ratings.to_file(path)
    again = Ratings.from_file(path)
    assert rows(again) == rows(ratings)
    assert (again.has_weights, again.has_timestamps) == (
        ratings.has_weights,
        ratings.has_timestamps,
    )
    if ratings.has_weights:
        np.testing.assert_array_equal(again.weights, ratings.weights)
    if ratings.has_timestamps:
        same = ratings.timestamps.astype(again.timestamps.dtype)
        np.testing.assert_array_equal(again.timestamps, same)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    path = tmp_path / "ratings.csv"
    path.write_text("what was there")
    made = cymf.datasets.make_ratings(20, 10, 50).ratings
    pieces = _ratings_file._pieces

    def failing(*arguments):
        yield from list(pieces(*arguments))[:1]
        raise KeyboardInterrupt

    monkeypatch.setattr(_ratings_file, "_pieces", failing)
    with pytest.raises(KeyboardInterrupt):
        made.to_file(path)
    assert path.read_text() == "what was there"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_other_suffixes_are_refused(tmp_path):
    for name, suffix in (("ratings.xls", ".xls"), ("ratings.parquet.gz", ".gz"), ("ratings", "")):
        with pytest.raises(ValueError, match=rf"ends in '{suffix}'; expected one of \.csv, \.tsv"):
            cymf.datasets.make_ratings(5, 5, 9).ratings.to_file(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_equal_ratings_are_equal_bytes(tmp_path):
    made = cymf.datasets.make_ratings(20, 10, 50).ratings
    for name in ("a.csv.gz", "b.csv.gz"):
        made.to_file(tmp_path / name)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
