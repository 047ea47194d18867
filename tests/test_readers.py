"""Files and tables: every format, and errors that name file and line."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from cymf import _text_reader
from cymf.ratings import Ratings


def rows(ratings):
    """The ratings as sorted (user, item, value) tuples."""
    return list(zip(*(column.tolist() for column in ratings.to_triplets()), strict=True))


@pytest.fixture
def write(tmp_path):
    """Writes a text file and gives its path."""

    def _write(name, text, encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return _write


# ------------------------------------------------------------------ text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("u.data", "7\t20\t4\t100\n3\t10\t2\t50\n"),
        ("ratings.dat", "7::20::4::100\n3::10::2::50\n"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n7,20,4.0,100\n3,10,2.0,50\n"),
        ("semicolons.csv", "timestamp;score;item id;UID\n100;4;20;7\n50;2;10;3\n"),
        ("spaced.csv", "user, item, rating, timestamp\n7, 20, 4, 100\n3, 10, 2, 50\n"),
        ("quoted.csv", '"user","item","rating","timestamp"\n"7","20","4","100"\n3,10,"2",50\n'),
        ("ratings.tsv", "user_id\titem_id\trating\ttimestamp\n7\t20\t4\t100\n3\t10\t2\t50\n"),
        ("pipes.txt", "7|20|4|100\n3|10|2|50\n"),
        ("blanks.txt", "  7  20 4\t100 \n\n3 10   2 50"),
        ("windows.csv", "7,20,4,100\r\n3,10,2,50\r\n"),
        ("holes.csv", "\n7,20,4,100\n\n   \n3,10,2,50\n\n"),
        ("mark.csv", "\ufeff7,20,4,100\n3,10,2,50\n"),
        ("exponents.csv", "7,20,.4e1,100\n3,10,+2.,50\n"),
    ],
)
def test_numbers_in_every_usual_format(write, name, text):
    ratings = Ratings.from_file(write(name, text))
    assert rows(ratings) == [(3, 10, 2.0), (7, 20, 4.0)]
    assert ratings.timestamps.tolist() == [50, 100]
    assert ratings.timestamps.dtype == np.int64
    assert ratings.input_order.tolist() == [1, 0]
    assert not ratings.has_weights


def test_strings_are_kept_without_surrounding_blanks(write):
    path = write("ratings.csv", 'user,item,rating\n anna ,"Alien, 1979",5\nÉva,"say ""no""",1\n')
    assert rows(Ratings.from_file(path)) == [("anna", "Alien, 1979", 5.0), ("Éva", 'say "no"', 1.0)]


@pytest.mark.parametrize("odd", ["\U000562c8", "١٢", "½"])
def test_only_ascii_digits_make_a_number(write, odd):
    ids = Ratings.from_file(write("ids.csv", f"1,2,3\n{odd},2,3\n")).user_ids.ids
    assert ids.tolist() == sorted(["1", odd])
    for line in (f"1,2,{odd}\n", f"1,2,3,{odd}\n"):
        with pytest.raises(ValueError, match=r"line 2: .* not a number"):
            Ratings.from_file(write("ratings.csv", f"7,7,7{',7' * (line.count(',') - 2)}\n{line}"))


def test_paths_may_be_strings(write):
    assert Ratings.from_file(str(write("ratings.csv", "1,2,3\n"))).nnz == 1


@pytest.mark.parametrize("odd", ["007", "+7", "-0", "x7", "7.0", "9223372036854775808", "1_0"])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_column_with_an_id_that_is_no_plain_integer_holds_strings(write, odd, place, monkeypatch):
    monkeypatch.setattr(_text_reader, "_LINES", 2)
    users = ["12", "-5", "0", "9223372036854775807", "8"]
    users.insert(place if place >= 0 else len(users), odd)
    text = "".join(f"{user}\t{k}\t1.5\n" for k, user in enumerate(users))
    ratings = Ratings.from_file(write("ratings.txt", text))
    by_item = sorted(rows(ratings), key=lambda row: row[1])
    assert [row[0] for row in by_item] == users
    assert ratings.item_ids.ids.dtype == np.int64


@pytest.mark.parametrize("separator", [",", "\t", "::", "|", " ", ";"])
def test_zeros_before_numbers_are_seen_wherever_they_stand(write, separator):
    text = "".join(f"{separator.join(row)}\n" for row in [("1", "05", "3"), ("2", "6", "02")])
    ratings = Ratings.from_file(write("ratings.txt", text), separator=separator)
    assert rows(ratings) == [(1, "05", 3.0), (2, "6", 2.0)]


def test_quoted_zeros_are_seen(write):
    assert rows(Ratings.from_file(write("r.csv", '1,"05",3\n'))) == [(1, "05", 3.0)]


text_ids = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=5
)


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1) | text_ids,
            st.integers(0, 99),
            st.floats(-1e6, 1e6),
            st.integers(0, 2**40),
        ),
        min_size=1,
        unique_by=lambda row: (str(row[0]), row[1]),
    ),
    st.integers(1, 4),
)
def test_written_ratings_are_read_back(tmp_path_factory, records, lines):
    import csv

    path = tmp_path_factory.mktemp("text") / "ratings.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "rating", "timestamp"])
        writer.writerows(records)
    before, _text_reader._LINES = _text_reader._LINES, lines
    try:
        ratings = Ratings.from_file(path)
    finally:
        _text_reader._LINES = before
    users = [str(row[0]) for row in records]
    if all(re.fullmatch("0|-?[1-9][0-9]*", user) for user in users):
        users = [int(user) for user in users]
    expected = Ratings.from_triplets(
        users, *zip(*(row[1:3] for row in records), strict=True), timestamps=[r[3] for r in records]
    )
    assert rows(ratings) == rows(expected)
    assert ratings.timestamps.tolist() == expected.timestamps.tolist()


def test_columns_by_name_and_position(write):
    path = write("log.csv", "when,who,what,stars,trust\n5,a,x,1,0.5\n6,b,y,2,0.25\n")
    named = Ratings.from_file(
        path, user="who", item="what", rating="stars", weight="trust", timestamp="when"
    )
    placed = Ratings.from_file(path, user=1, item=2, rating=3, weight=4, timestamp=0)
    for ratings in (named, placed):
        assert rows(ratings) == [("a", "x", 1.0), ("b", "y", 2.0)]
        assert ratings.weights.tolist() == [0.5, 0.25]
        assert ratings.timestamps.tolist() == [5, 6]
    bare = Ratings.from_file(path, user="who", item="what", rating=3)
    assert not bare.has_weights
    assert not bare.has_timestamps


def test_weights_and_times_are_found_by_name_and_can_be_left_out(write):
    path = write("ratings.csv", "user,item,rating,weight,time\n1,2,3,0.5,9\n")
    ratings = Ratings.from_file(path)
    assert (ratings.weights.tolist(), ratings.timestamps.tolist()) == ([0.5], [9])
    ratings = Ratings.from_file(path, weight=None, timestamp=None)
    assert ratings.weights is ratings.timestamps is None


def test_the_fourth_column_without_header_is_the_time_unless_columns_are_chosen(write):
    path = write("ratings.txt", "1,2,3,4\n")
    assert Ratings.from_file(path).timestamps.tolist() == [4]
    assert Ratings.from_file(path, timestamp=None).timestamps is None
    assert Ratings.from_file(path, user=0, item=1, rating=3).timestamps is None
    assert Ratings.from_file(path, weight=3, timestamp=None).weights.tolist() == [4]


def test_headers_can_be_asserted_and_denied(write):
    path = write("ratings.csv", "1,2,3\n4,5,6\n")
    assert rows(Ratings.from_file(path, header=True, user="1", item="2", rating="3")) == [(4, 5, 6)]
    words = write("words.csv", "a,b,c\n")
    with pytest.raises(ValueError, match=r"words\.csv, line 1: the rating is 'c', not a number"):
        Ratings.from_file(words, header=False)


def test_lines_before_the_ratings_can_be_skipped(write):
    path = write("ratings.txt", "about\nthese, ratings\n\nu1 i1 4\nu2 i1 x\n")
    with pytest.raises(ValueError, match=r"ratings\.txt, line 5: the rating is 'x'"):
        Ratings.from_file(path, skip_lines=3)


def test_times_of_every_kind(write):
    iso = "1,1,5,2020-01-01T10:00:00Z\n1,2,5,2020-01-01 12:00:00+01:00\n1,3,5,2020-01-02\n"
    moments = Ratings.from_file(write("iso.csv", iso)).timestamps
    assert (
        moments.tolist()
        == np.array(["2020-01-01T10", "2020-01-01T11", "2020-01-02"], "M8[us]").tolist()
    )
    mixed = Ratings.from_file(write("mixed.csv", "1,1,5,7\n1,2,5,7.5\n"))
    assert mixed.timestamps.tolist() == [7.0, 7.5]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("1,2,3\n4,5\n", 2, "expected 3 fields separated by ',', found 2: '4,5'"),
        ("1,2,3\n\n4,5,6,7\n", 3, "expected 3 fields separated by ',', found 4"),
        ("user,item,rating\n1,2,bad\n", 2, "the rating is 'bad', not a number"),
        ("1,2,3\n1,3,\n", 2, "the rating is '', not a number"),
        ("1,2,3\n1,3,nan\n", 2, "the rating is 'nan', not a number"),
        ("1,2,3\n1,3,inf\n", 2, "the rating is 'inf', not a number"),
        ("1,2,3\n1,3,1e999\n", 2, "the rating is '1e999', not a number"),
        ("1,2,3\n1,3,1_0\n", 2, "the rating is '1_0', not a number"),
        ("1,2,3\n,3,1\n", 2, "the user id is missing"),
        ("1,a,3\n1, ,1\n", 2, "the item id is missing"),
        ("1,2,3,4\n1,3,1,\n", 2, "the timestamp is '', not a number"),
        ("1,2,3,2020-01-01\n1,3,1,yesterday\n", 2, "the timestamp is 'yesterday', not a date"),
        ("user,item,rating,time\n1,2,3\n", 2, "expected 4 fields separated by ',', found 3"),
        ("1,2,3,soon\n", 1, "'soon' is neither a number nor a date and time"),
        ('1,2,3\n1,"2,3\n', 2, "found 2"),
        ('1,2,3\n4,"5\n6",7\n', 2, "found 2"),
        ("1,2\n", 1, None),
    ],
)
def test_malformed_lines_are_named(write, text, line, reason, monkeypatch):
    path = write("ratings.csv", text)
    for size in (1, 2, 1000):
        monkeypatch.setattr(_text_reader, "_LINES", size)
        with pytest.raises(ValueError, match="ratings") as caught:
            Ratings.from_file(path)
        if reason is None:
            assert "expected at least user, item and rating" in str(caught.value)
        else:
            assert str(caught.value).startswith(f"{path}, line {line}: ")
            assert reason in str(caught.value)


def test_quoted_line_breaks_are_refused(write):
    path = write("ratings.csv", 'user,rating,item\n1,2,"a\nb,3,c"\n')
    with pytest.raises(ValueError, match=r"lines 2 to 3: a quoted field contains a line break"):
        Ratings.from_file(path)


def test_strings_are_numbered_over_chunks(write, monkeypatch):
    monkeypatch.setattr(_text_reader, "_LINES", 2)
    text = "".join(f"u{k % 3},i{k},{k}\n" for k in range(9))
    ratings = Ratings.from_file(write("ratings.csv", text))
    assert sorted(rows(ratings), key=lambda row: row[2]) == [
        (f"u{k % 3}", f"i{k}", k) for k in range(9)
    ]


def test_long_lines_are_shown_in_part(write):
    with pytest.raises(ValueError, match=r"line 2.*xxx\.\.\.'$") as caught:
        Ratings.from_file(write("ratings.csv", "1,2,3\n" + "x" * 500 + "\n"))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("", {}, "holds no ratings: there is nothing to read"),
        ("\n \n", {}, "holds no ratings: there is nothing to read"),
        ("user,item,rating\n", {}, "no line after the header"),
        ("1,2,3\n", {"skip_lines": 1}, "there is nothing to read"),
        ("12\n", {}, "cannot tell what separates the columns of '12'"),
        ("a,b\n", {}, "no column that is plainly the user: its columns are 'a', 'b'"),
        ("user,item,stars\nx,y,3\n", {}, "plainly the rating.*say which one by rating=…"),
        ("user,item,stars\n", {"rating": "r"}, "has no column 'r' for rating: its columns are"),
        ("1,2,3\n", {"user": "user"}, "has no header line in which to find user='user'"),
        ("1,2,3\n", {"rating": 3}, "has 3 columns, positions 0 to 2: rating=3 is none of them"),
        ("1,2,3\n", {"rating": 1}, "the same column was chosen twice"),
        ("1,2,3\n", {"user": None}, "user must name a column"),
        ("1,2,3\n1,2,4\n", {}, "entries 0 and 1 both rate user 1, item 2"),
        ("1,2,3,-1\n", {"weight": 3, "timestamp": None}, "has weight -1"),
    ],
)
def test_files_that_hold_no_ratings_are_refused(write, text, options, reason):
    with pytest.raises(ValueError, match=reason):
        Ratings.from_file(write("ratings.csv", text), **options)


def test_other_encodings(write):
    path = write("ratings.csv", "user,item,rating\nÉva,x,1\n", encoding="latin-1")
    with pytest.raises(
        ValueError, match=r"ratings.csv is not utf-8 text \(line 2, byte 0xc9\).*encoding='latin-1'"
    ):
        Ratings.from_file(path)
    assert rows(Ratings.from_file(path, encoding="latin-1")) == [("Éva", "x", 1.0)]


@pytest.mark.parametrize("name", ["ml-latest.zip", "ratings.tar.gz", "ratings.parquet.gz", "r.7z"])
def test_what_must_be_unpacked_first_is_said(write, name):
    with pytest.raises(ValueError, match=rf"{name} is of a kind that is not read: unpack it first"):
        Ratings.from_file(write(name, "PK"))


def test_a_file_that_is_not_there(tmp_path):
    for name in ("none.csv", "none.npz", "none.parquet"):
        with pytest.raises(FileNotFoundError, match=r"no such file: .*none"):
            Ratings.from_file(tmp_path / name)


def test_reading_numbers_imports_no_table_library(tmp_path):
    import subprocess

    path = tmp_path / "ratings.csv"
    path.write_text("1,2,3\n")
    script = (
        "import sys; from cymf.ratings import Ratings; Ratings.from_file(sys.argv[1]); "
        "print(sorted({'narwhals', 'pandas', 'polars', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------ npz


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("kind", [sparse.coo_array, sparse.coo_matrix])
def test_sparse_matrices_on_disk(tmp_path, form, kind):
    matrix = kind(np.array([[0.0, 2.0], [3.0, 0.0]])).asformat(form)
    sparse.save_npz(tmp_path / "matrix.npz", matrix)
    ratings = Ratings.from_file(tmp_path / "matrix.npz")
    assert rows(ratings) == [(0, 1, 2.0), (1, 0, 3.0)]
    with pytest.raises(ValueError, match="sparse matrix, which has no columns to choose"):
        Ratings.from_file(tmp_path / "matrix.npz", user="row")


def test_arrays_on_disk(tmp_path):
    path = tmp_path / "arrays.npz"
    columns = {
        "user": np.array(["b", "a"]),
        "item": np.array([300, 7], dtype=np.uint16),
        "rating": np.array([1, 5], dtype=np.uint8),
        "weight": np.array([0.5, 2.0]),
        "timestamp": np.array([10, 20]),
    }
    np.savez(path, **columns)
    ratings = Ratings.from_file(path)
    assert rows(ratings) == [("a", 7, 5.0), ("b", 300, 1.0)]
    assert ratings.weights.tolist() == [2.0, 0.5]
    assert ratings.timestamps.tolist() == [20, 10]
    assert Ratings.from_file(path, weight=None).weights is None
    chosen = Ratings.from_file(path, rating="weight", weight=None)
    assert chosen.values.tolist() == [2.0, 0.5]
    np.savez(path, users=columns["user"], item=columns["item"])
    with pytest.raises(ValueError, match=r"arrays.npz has no column that is plainly the user"):
        Ratings.from_file(path)


def test_damaged_and_foreign_archives_are_refused(tmp_path):
    path = tmp_path / "file.npz"
    path.write_bytes(b"not a zip file")
    with pytest.raises(ValueError, match=r"file\.npz: it is not an \.npz file"):
        Ratings.from_file(path)
    np.savez(path, user=np.arange(50), item=np.arange(50), rating=np.arange(50.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"file\.npz is damaged or not an \.npz file"):
        Ratings.from_file(path)
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ValueError, match=r"file\.npz: it holds a single array"):
        Ratings.from_file(path)
    np.savez(path, user=np.array(["a", "b"], dtype=object), item=np.arange(2), rating=np.ones(2))
    with pytest.raises(ValueError, match=r"file\.npz: it holds Python objects"):
        Ratings.from_file(path)


# ------------------------------------------------------------------ tables


def table_makers():
    """Functions that make a table of named columns, by library."""
    found = []
    for name in ("pandas", "polars", "pyarrow"):
        try:
            library = __import__(name)
        except ImportError:
            continue
        found.append(
            pytest.param(library.table if name == "pyarrow" else library.DataFrame, id=name)
        )
    return found


@pytest.mark.parametrize("make", table_makers())
def test_tables_of_every_library(make):
    table = make({"who": ["b", "a"], "what": [300, 7], "stars": [1.0, 5.0], "at": [1, 2]})
    ratings = Ratings.from_table(table, user="who", item="what", rating="stars", timestamp="at")
    assert rows(ratings) == [("a", 7, 5.0), ("b", 300, 1.0)]
    assert ratings.timestamps.tolist() == [2, 1]
    assert ratings.input_order.tolist() == [1, 0]
    weighted = Ratings.from_table(table, user="who", item="what", rating="stars", weight="at")
    assert weighted.weights.tolist() == [2.0, 1.0]
    with pytest.raises(
        ValueError, match="no column that is plainly the user: its columns are 'who'"
    ):
        Ratings.from_table(table)
    with pytest.raises(
        ValueError, match="the table has no column 'whom' for user: its columns are"
    ):
        Ratings.from_table(table, user="whom")


@pytest.mark.parametrize("make", table_makers())
def test_missing_entries_of_a_table_are_named(make):
    whole = {"user": ["a", "b"], "item": ["x", "y"], "rating": [1.0, 2.0], "when": [3, 4]}
    for name, what in (("user", "users"), ("item", "items"), ("rating", "values")):
        holes = whole | {name: [whole[name][0], None]}
        with pytest.raises(ValueError, match=f"{what}: entry 1 is missing \\(1 in all\\)"):
            Ratings.from_table(make(holes))
    with pytest.raises(ValueError, match="timestamps: entry 0 is missing"):
        Ratings.from_table(make(whole | {"when": [None, 4]}), timestamp="when")


def test_what_is_no_table():
    for thing in ({"user": [1]}, np.ones((2, 3)), [1, 2]):
        with pytest.raises(TypeError, match="table must be a pandas, polars or Arrow table"):
            Ratings.from_table(thing)
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"collect\(\) a lazy one"):
        Ratings.from_table(polars.LazyFrame({"user": [1]}))


def categorical_columns():
    """Columns that hold z, a, z, with a category that does not occur."""
    found = []
    try:
        import pandas as pd

        both = pd.Categorical(["z", "a", "z"], categories=["z", "unused", "a"])
        found += [pd.Series(both), both, pd.Series(["z", "a", "z"]), pd.Index(["z", "a", "z"])]
        found += [pd.Series(["z", "a", "z"], dtype="string"), pd.Series(["z", "a", "z"], dtype="O")]
    except ImportError:
        pass
    try:
        import polars as pl

        pl.Series(["unrelated", "other"]).cast(pl.Categorical)
        column = pl.Series(["z", "a", "z"])
        found += [column, column.cast(pl.Categorical), column.cast(pl.Enum(["z", "unused", "a"]))]
        found += [pl.Series(["q", "z", "a", "z"]).cast(pl.Categorical)[1:]]
    except ImportError:
        pass
    try:
        import pyarrow as pa

        column = pa.array(["z", "a", "z"])
        pieces = [pa.array(["z"]).dictionary_encode(), pa.array(["a", "z"]).dictionary_encode()]
        found += [column, column.dictionary_encode(), pa.chunked_array(pieces)]
        found += [pa.chunked_array([column]), pa.array(["z", "a", "z"], pa.large_string())]
    except ImportError:
        pass
    return found


@pytest.mark.parametrize(
    "column", categorical_columns(), ids=lambda c: f"{type(c).__module__}-{getattr(c, 'dtype', '')}"
)
def test_columns_of_strings_and_categories(column):
    ratings = Ratings.from_triplets(column, [1, 2, 3], [1.0, 2.0, 3.0])
    assert rows(ratings) == [("a", 2, 2.0), ("z", 1, 1.0), ("z", 3, 3.0)]
    with pytest.raises(TypeError, match="users must be row numbers because shape is given"):
        Ratings.from_triplets(column, [1, 2, 3], [1.0, 2.0, 3.0], shape=(9, 9))


def test_categories_are_never_expanded(monkeypatch):
    pandas = pytest.importorskip("pandas")
    column = pandas.Series(pandas.Categorical.from_codes([1, 0] * 50_000, ["b", "a"]))

    def refuse(*_):
        raise AssertionError("one Python object was made for every entry")

    for name in ("__array__", "to_list", "to_numpy", "astype", "__iter__"):
        monkeypatch.setattr(pandas.Series, name, refuse)
    monkeypatch.setattr("cymf._id_columns.IdEncoder.encode", refuse)
    monkeypatch.setattr(pandas.Series, "to_numpy", lambda s: s._values.astype(np.int8))
    ratings = Ratings.from_triplets(column, np.arange(100_000), np.ones(100_000))
    assert ratings.user_ids.ids.tolist() == ["a", "b"]
    assert ratings.user_counts.tolist() == [50_000, 50_000]


def test_categories_of_numbers_and_number_columns():
    pandas = pytest.importorskip("pandas")
    users = pandas.Series([30, 4, 30], dtype="category")
    values = pandas.Series([1, 2, 3], dtype="Int64")
    ratings = Ratings.from_triplets(users, pandas.Series([1, 2, 3], dtype="Int64"), values)
    assert rows(ratings) == [(4, 2, 2.0), (30, 1, 1.0), (30, 3, 3.0)]
    row_numbers = Ratings.from_triplets(users, [0, 1, 2], values, shape=(31, 3))
    assert row_numbers.users.tolist() == [4, 30, 30]


def test_moments_of_every_library():
    pandas, polars, pyarrow = (
        pytest.importorskip(name) for name in ("pandas", "polars", "pyarrow")
    )
    zoned = pandas.Series(pandas.to_datetime(["2020-01-01 01:00", "2020-01-01 02:00"]))
    zoned = zoned.dt.tz_localize("Europe/Berlin")
    for column in (zoned, polars.from_pandas(zoned), pyarrow.Array.from_pandas(zoned)):
        ratings = Ratings.from_triplets([1, 2], [1, 2], [1, 2], timestamps=column)
        expected = np.array(["2020-01-01T00", "2020-01-01T01"], "M8[s]")
        np.testing.assert_array_equal(ratings.timestamps, expected)
    gap = pandas.Series([pandas.Timestamp("2020-01-01"), None])
    with pytest.raises(ValueError, match="timestamps: entry 1 is missing"):
        Ratings.from_triplets([1, 2], [1, 2], [1, 2], timestamps=gap)


# ------------------------------------------------------------------ Parquet


def test_parquet(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "ratings.parquet"
    table = pa.table(
        {"userId": ["b", "a"], "movieId": [300, 7], "rating": [1.0, 5.0], "time": [1, 2]}
    )
    pq.write_table(table, path)
    ratings = Ratings.from_file(path)
    assert rows(ratings) == [("a", 7, 5.0), ("b", 300, 1.0)]
    assert ratings.timestamps.tolist() == [2, 1]
    turned = Ratings.from_file(path, user="movieId", item=0, timestamp=None)
    assert rows(turned) == [(7, "a", 5.0), (300, "b", 1.0)]
    with pytest.raises(ValueError, match=r"ratings.parquet has no column 'stars' for rating"):
        Ratings.from_file(path, rating="stars")
    path.write_bytes(b"PAR1 this is none")
    with pytest.raises(ValueError, match=r"ratings\.parquet is damaged or not a Parquet file"):
        Ratings.from_file(path)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "ratings.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r'pip install "cymf\[parquet\]"'):
        Ratings.from_file(path)


# ------------------------------------------------------------------ real data


def test_movielens(data_dir):
    ratings = Ratings.from_file(data_dir / "ml-100k" / "u.data")
    assert (ratings.n_users, ratings.n_items, ratings.nnz) == (943, 1682, 100_000)
    assert np.bincount(ratings.values.astype(int)).tolist() == [0, 6110, 11370, 27145, 34174, 21201]
    first = int(np.flatnonzero(ratings.input_order == 0)[0])
    assert ratings.user_ids.ids[ratings.users[first]] == 196
    assert ratings.item_ids.ids[ratings.items[first]] == 242
    assert (ratings.values[first], ratings.timestamps[first]) == (3, 881250949)
    base, test = (
        Ratings.from_file(data_dir / "ml-100k" / f"u1.{part}") for part in ("base", "test")
    )
    assert base.nnz + test.nnz == ratings.nnz
    million = Ratings.from_file(data_dir / "ml-1m.npz")
    assert (million.n_users, million.n_items, million.nnz) == (6040, 3706, 1_000_209)
    assert int(million.item_ids.ids.max()) == 3952


def test_a_file_with_three_lines_to_skip(data_dir):
    ratings = Ratings.from_file(data_dir / "surprise-suite" / "custom_dataset", skip_lines=3)
    assert ratings.user_ids.ids.tolist() == [f"user{k}" for k in range(5)]
    assert ratings.rating_range == (1, 5)


class TestEventsWithoutRatings:
    """``rating=None``: clicks and plays, each of which counts 1."""

    @pytest.mark.parametrize(
        ("text", "has_timestamps"),
        [
            ("user,item\na,1\nb,2\na,1\n", False),
            ("1 2\n3 4\n1 2\n", False),
            ("1 2 99\n3 4 98\n1 2 97\n", True),
            ("userId,movieId,timestamp\n1,2,3\n3,4,4\n1,2,5\n", True),
        ],
    )
    def test_text_counts_events(self, tmp_path, text, has_timestamps):
        path = tmp_path / "events.csv"
        path.write_text(text)
        events = Ratings.from_file(path, rating=None, duplicates="sum")
        assert events.values.tolist() == [2, 1]
        assert events.has_timestamps == has_timestamps

    def test_tables_archives_and_triplets(self, tmp_path):
        table = pd.DataFrame({"user": ["a", "b"], "item": [1, 2]})
        np.savez(tmp_path / "events.npz", user=[1, 2], item=[3, 4])
        for events in (
            Ratings.from_table(table, rating=None),
            Ratings.from_file(tmp_path / "events.npz", rating=None),
            Ratings.from_triplets(["a", "b"], ["x", "y"]),
        ):
            assert events.values.tolist() == [1, 1]

    def test_errors_offer_it(self, tmp_path):
        path = tmp_path / "events.csv"
        path.write_text("1 2\n3 4\n")
        with pytest.raises(ValueError, match="rating=None"):
            Ratings.from_file(path)
        with pytest.raises(ValueError, match="rating=None"):
            Ratings.from_table(pd.DataFrame({"user": ["a"], "item": [1]}))
