"""Files read batch by batch: the same ratings as from a table, folders, compressed text, damage, and memory."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cymf import _json_lines, _parquet, _text_reader
from cymf._integer_encoder import IntegerEncoder
from cymf.ratings import Ratings

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def rows(ratings):
    return list(zip(*(column.tolist() for column in ratings.to_triplets()), strict=True))


def assert_same(found, expected):
    """Every array of two `Ratings` is the same, dtypes included."""
    assert found.shape == expected.shape
    for name in ("users", "items", "values", "weights", "timestamps", "input_order"):
        one, other = getattr(found, name), getattr(expected, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, err_msg=name)
    for name in ("user_ids", "item_ids"):
        assert getattr(found, name).ids.tolist() == getattr(expected, name).ids.tolist()
        assert getattr(found, name).ids.dtype == getattr(expected, name).ids.dtype


# --- Parquet

ID_TYPES = (pa.string(), pa.large_string(), pa.int64(), pa.int16(), pa.uint32())
ID_TYPES += (pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int32(), pa.int64()))
RATING_TYPES = (pa.float64(), pa.float32(), pa.int64(), pa.int8(), pa.decimal128(12, 2))
TIME_TYPES = (None, pa.int64(), pa.float64(), pa.timestamp("us"), pa.timestamp("ms", "UTC"), pa.date32())  # fmt: skip


@settings(deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.integers(0, 99), st.integers(0, 50)), min_size=1, max_size=60, unique=True
    ),
    wide=st.booleans(),
    kinds=st.tuples(st.sampled_from(ID_TYPES), st.sampled_from(ID_TYPES)),
    rating=st.sampled_from(RATING_TYPES),
    large=st.booleans(),
    time=st.sampled_from(TIME_TYPES),
    batch=st.integers(1, 20),
    group=st.integers(1, 20),
    dictionary=st.booleans(),
)
def test_parquet_is_read_as_its_table(
    tmp_path_factory, cells, wide, kinds, rating, large, time, batch, group, dictionary
):
    def ids(numbers, kind):
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_integer(value):
            plain = pa.array([n * 300 if wide else n for n in numbers], value)
        else:
            plain = pa.array([f"é{n}" for n in numbers], value)
        return plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain

    count = len(cells)
    numbers = [k + (2**24 if large and k % 7 == 6 else 0) for k in range(count)]
    if rating == pa.int8() or pa.types.is_float32(rating):
        numbers = list(range(count))
    if pa.types.is_decimal(rating):
        numbers = [decimal.Decimal(k) / 4 for k in range(count)]
    columns = {
        "user": ids([u for u, _ in cells], kinds[0]),
        "item": ids([i for _, i in cells], kinds[1]),
        "rating": pa.array(numbers, rating),
        "weight": pa.array(np.linspace(0.5, 1, count)),
    }
    if time is not None:
        seconds = [k * 86_400_000 for k in range(count)]
        if pa.types.is_date(time):
            columns["timestamp"] = pa.array(
                [datetime.date(2020, 1, 1 + k % 28) for k in range(count)]
            )
        else:
            columns["timestamp"] = pa.array(seconds, pa.int64()).cast(time)
    table = pa.table(columns)
    path = tmp_path_factory.mktemp("parquet") / "ratings.parquet"
    pq.write_table(table, path, row_group_size=group, use_dictionary=dictionary)
    before, _parquet._ROWS = _parquet._ROWS, batch
    try:
        found = Ratings.from_file(path)
    finally:
        _parquet._ROWS = before
    given_time = "timestamp" if time is not None else None
    assert_same(found, Ratings.from_table(table, weight="weight", timestamp=given_time))


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-40, 40), min_size=1, max_size=80),
    st.integers(1, 9),
    st.sampled_from([1, 16, 1 << 22]),
)
def test_integers_keep_their_numbers(values, size, width):
    import cymf._integer_encoder as module

    before, module._ALWAYS = module._ALWAYS, width
    try:
        encoder = IntegerEncoder()
        array = np.array(values, np.int64)
        codes = [encoder.encode(array[k : k + size]) for k in range(0, len(array), size)]
    finally:
        module._ALWAYS = before
    assert encoder.labels()[np.concatenate(codes)].tolist() == values
    assert len(encoder) == len(set(values)) == len(encoder.labels())


def test_bytes_are_strings_and_text_may_be_a_time(tmp_path):
    path = tmp_path / "ratings.parquet"
    table = pa.table(
        {
            "user": pa.array([b"b", b"a"]),
            "item": [1.0, 2.0],
            "rating": [True, False],
            "time": ["2020-01-01T10:00:00+01:00", "2020-01-02"],
        }
    )
    pq.write_table(table, path)
    ratings = Ratings.from_file(path)
    assert rows(ratings) == [("a", 2, 0.0), ("b", 1, 1.0)]
    assert ratings.timestamps.astype("M8[h]").astype(str).tolist() == [
        "2020-01-02T00",
        "2020-01-01T09",
    ]


def test_events_without_ratings(tmp_path):
    path = tmp_path / "plays.parquet"
    pq.write_table(pa.table({"user": ["a", "a"], "item": [1, 1]}), path)
    assert rows(Ratings.from_file(path, rating=None, duplicates="sum")) == [("a", 1, 2.0)]


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("user", ["a", None, "c", "d"], "row 1 from 0 (row group 0 of 2): the user is missing"),
        ("user", ["a", "b", "", "d"], "row 2 from 0 (row group 1 of 2): the user is an empty string"),
        ("item", [1, 2, 3, None], "row 3 from 0 (row group 1 of 2): the item is missing"),
        ("item", [1.0, 2.0, 3.5, 4.0], "row 2 from 0 (row group 1 of 2): the item is 3.5; expected a whole"),
        ("item", pa.array([1, 2, 3, 2**63], pa.uint64()), "the item is 9223372036854775808; expected"),
        ("rating", [1.0, 2.0, float("nan"), 4.0], "row 2 from 0 (row group 1 of 2): the rating is nan"),
        ("rating", ["1", "2", "3", "4"], "the column 'rating', the rating, is of the type string; expected numbers"),
        ("rating", pa.nulls(4), "the column 'rating', the rating, holds nothing"),
        ("user", [True, False, True, False], "is of the type bool; expected integers or strings"),
        ("user", [[1], [2], [3], [4]], "is of the type list<"),
        ("time", ["2020", "soon", "2020-01-01", "1"], "the timestamp is '2020', not a date"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_parquet_is_named(tmp_path, column, values, reason):
    columns = {"user": list("abcd"), "item": [1, 2, 3, 4], "rating": [1.0] * 4}
    path = tmp_path / "ratings.parquet"
    pq.write_table(pa.table({**columns, column: values}), path, row_group_size=2)
    with pytest.raises(ValueError, match=r"ratings\.parquet") as caught:
        Ratings.from_file(path)
    assert str(caught.value).startswith(str(path))
    assert reason in str(caught.value)


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "ratings.parquet"
    users = pa.array([b"a", b"\xff\xfe"], pa.binary())
    pq.write_table(pa.table({"user": users, "item": [1, 2], "rating": [1.0, 2.0]}), path)
    with pytest.raises(ValueError, match=r"row 1 from 0 .* which is not UTF-8 text"):
        Ratings.from_file(path)


@pytest.mark.parametrize("cut", ["end", "middle", "noise"])
def test_damaged_parquet_is_said_to_be_so(tmp_path, cut):
    path = tmp_path / "ratings.parquet"
    count = 5000
    columns = {
        "user": np.arange(count),
        "item": np.arange(count),
        "rating": np.linspace(0, 1, count),
    }
    pq.write_table(pa.table(columns), path, row_group_size=1000, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    if cut == "end":
        data = data[:-100]
    elif cut == "middle":
        data = data[: len(data) // 2] + data[len(data) // 2 + 500 :]
    else:
        data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"ratings\.parquet is damaged or not a Parquet file"):
        Ratings.from_file(path)


def test_no_rows_are_no_ratings(tmp_path):
    path = tmp_path / "ratings.parquet"
    columns = {name: pa.array([], pa.int64()) for name in ("user", "item", "rating")}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ValueError, match=r"ratings\.parquet holds no ratings"):
        Ratings.from_file(path)


# --- folders


def spark_folder(folder, *, keys=("",)):
    """A folder as Spark leaves it; five ratings in three files, one of them empty."""
    schema = pa.schema([("user", pa.string()), ("item", pa.int32()), ("rating", pa.float32())])
    parts = [[("b", 1, 5.0), ("a", 2, 3.0)], [], [("c", 1, 1.0), ("a", 1, 2.0), ("c", 3, 4.0)]]
    for number, part in enumerate(parts):
        where = folder / keys[number % len(keys)]
        where.mkdir(parents=True, exist_ok=True)
        columns = list(zip(*part, strict=True)) or [[], [], []]
        table = pa.table(list(columns), schema=schema)
        pq.write_table(table, where / f"part-{number:05}-abc.snappy.parquet")
        (where / f".part-{number:05}-abc.snappy.parquet.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "part-9.parquet").write_bytes(b"half")
    return [row for part in parts for row in part]


@pytest.mark.parametrize("name", ["ratings", "ratings.parquet"])
def test_folders_of_spark(tmp_path, name):
    expected = spark_folder(tmp_path / name)
    ratings = Ratings.from_file(tmp_path / name)
    assert rows(ratings) == sorted(expected)
    assert [expected[k] for k in ratings.input_order] == sorted(expected)


def test_columns_in_the_names_of_folders(tmp_path):
    keys = ("day=2024-05-01/shop=7", "day=2024-05-01/shop=7", "day=2024-05-02/shop=12")
    expected = spark_folder(tmp_path, keys=keys)
    ratings = Ratings.from_file(tmp_path, timestamp="day")
    assert rows(ratings) == sorted(expected)
    days = dict(zip(rows(ratings), ratings.timestamps.astype("M8[D]").astype(str), strict=True))
    assert days["a", 2, 3.0] == "2024-05-01"
    assert days["a", 1, 2.0] == "2024-05-02"
    shops = Ratings.from_file(tmp_path, item="shop", duplicates="sum")
    assert shops.item_ids.ids.tolist() == [7, 12]
    assert rows(shops) == [("a", 7, 3), ("a", 12, 2), ("b", 7, 5), ("c", 12, 5)]
    with pytest.raises(ValueError, match=r"the rating is '2024-05-01', not a number"):
        Ratings.from_file(tmp_path, rating="day")


def test_folders_whose_files_differ_are_refused(tmp_path):
    spark_folder(tmp_path)
    pq.write_table(
        pa.table({"user": ["a"], "item": [9], "stars": [1.0]}), tmp_path / "part-00004.parquet"
    )
    with pytest.raises(ValueError, match=r"part-00004\.parquet has no column 'rating' for rating"):
        Ratings.from_file(tmp_path)
    spark_folder(tmp_path / "other", keys=("day=1", "day=1", ""))
    with pytest.raises(ValueError, match=r"lies in folders for the columns \['day'\]|\[\]"):
        Ratings.from_file(tmp_path / "other")


def test_ids_that_are_strings_in_one_file_are_strings_in_all(tmp_path):
    for number, user in enumerate([7, "x", 12]):
        table = pa.table({"user": [user], "item": [number], "rating": [1.0]})
        pq.write_table(table, tmp_path / f"part-{number}.parquet")
    assert Ratings.from_file(tmp_path).user_ids.ids.tolist() == ["12", "7", "x"]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".json", ""])
def test_folders_of_text(tmp_path, suffix):
    texts = ["user,item,rating\n1,2,3\n", "", "user,item,rating\n4,5,6\n"]
    if suffix == ".json":
        texts = ['{"user": 1, "item": 2, "rating": 3}\n', "", '{"user": 4, "item": 5, "rating": 6}']
    for number, text in enumerate(texts):
        data = gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode()
        (tmp_path / f"part-{number:05}{suffix}").write_bytes(data)
    (tmp_path / "_SUCCESS").touch()
    assert rows(Ratings.from_file(tmp_path)) == [(1, 2, 3.0), (4, 5, 6.0)]


# --- compressed text and JSON


def compressed(data, suffix):
    import bz2
    import lzma

    if suffix == ".zst":
        return pa.compress(data, "zstd", asbytes=True)
    pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix]
    return pack(data)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("name", ["r.csv", "u.data", "r.jsonl", "mv_1.txt"])
def test_compressed_files(tmp_path, name, suffix):
    text = {
        "r.csv": "user;item;rating\n1;2;3\n",
        "u.data": "1\t2\t3\t4\n",
        "r.jsonl": '{"user": 1, "item": 2, "rating": 3}\n',
        "mv_1.txt": "2:\n1,3,2005-09-06\n",
    }[name]
    path = tmp_path / (name + suffix)
    data = compressed(text.encode(), suffix)
    path.write_bytes(data)
    assert rows(Ratings.from_file(path)) == [(1, 2, 3.0)]
    for damaged in (data[: len(data) // 2], b"plain text\n"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"is damaged, or not compressed as its name says"):
            Ratings.from_file(path)


def test_several_members_of_gzip_are_one_file(tmp_path):
    path = tmp_path / "r.csv.gz"
    path.write_bytes(gzip.compress(b"1,2,3\n") + gzip.compress(b"4,5,6\n"))
    assert Ratings.from_file(path).nnz == 2


def test_the_line_in_another_encoding_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(_text_reader, "_LINES", 2)
    path = tmp_path / "r.csv"
    path.write_bytes(b"user,item,rating\n" + b"a,b,1\n" * 5 + b"\xe9va,x,1\n")
    with pytest.raises(ValueError, match=r"r\.csv is not utf-8 text \(line 7, byte 0xe9\)"):
        Ratings.from_file(path, duplicates="sum")


# --- JSON


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.text(min_size=1)), min_size=1, unique=True),
    st.integers(1, 200),
)
def test_json_is_the_same_however_it_is_cut(tmp_path_factory, cells, block):
    path = tmp_path_factory.mktemp("json") / "r.jsonl"
    objects = [
        {"user": u, "x": {"y": [1]}, "item": i, "rating": k / 2, "timestamp": k}
        for k, (u, i) in enumerate(cells)
    ]
    text = "\n\n".join(json.dumps(each, ensure_ascii=False) for each in objects)
    path.write_text(text, encoding="utf-8")
    before, _json_lines._BLOCK = _json_lines._BLOCK, block
    try:
        found = Ratings.from_file(path)
    finally:
        _json_lines._BLOCK = before
    users, items = zip(*cells, strict=True)
    count = len(cells)
    expected = Ratings.from_triplets(
        list(users), list(items), np.arange(count) / 2, timestamps=np.arange(count)
    )
    assert_same(found, expected)


GOOD = '{"user": 1, "item": "x", "rating": 1, "date": "2020-01-01"}'


@pytest.mark.parametrize("block", [1, 70, 1 << 22])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"user": "b", "item": "x", "rating": 1}', "line 4: 'user' is 'b'; expected a whole number"),
        ('{"user": 1, "item": 7, "rating": 1}', "line 4: 'item' is 7; expected a string"),
        ('{"user": 1, "item": "y", "rating": "5"}', "line 4: 'rating' is '5'; expected a number"),
        ('{"user": 1, "item": "y", "rating": 1, "date": "soon"}', "line 4: 'date' is 'soon'; expected a date"),
        ('{"user": 1, "item": "y", "date": "2020-01-01"}', "line 4: the rating is missing"),
        ('{"user": null, "item": "y", "rating": 1, "date": "2020-01-01"}', "line 4: the user is missing"),
        ('{"user": 1, "item": "y", "rating": 1', "line 4"),
        ("[1, 2]", "line 4 holds a list"),
    ],
)  # fmt: skip
def test_the_line_of_json_is_named(tmp_path, monkeypatch, block, line, reason):
    monkeypatch.setattr(_json_lines, "_BLOCK", block)
    path = tmp_path / "r.jsonl"
    path.write_text(f"{GOOD}\n\n{GOOD.replace('1', '2')}\n{line}\n{GOOD}\n")
    with pytest.raises(ValueError, match=r"r\.jsonl") as caught:
        Ratings.from_file(path)
    assert reason in str(caught.value)


def test_a_byte_order_mark_is_no_json(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert Ratings.from_file(path).nnz == 1


# --- memory

_MEASURED = """
import ctypes, gc, re, sys
from pathlib import Path
import numpy as np
import pyarrow.parquet as pq
from cymf.ratings import Ratings

def megabytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000

path, how = sys.argv[1:]
Ratings.from_file(Path(path).with_name("small" + Path(path).suffix))  # loads what is imported when used
gc.collect()
ctypes.CDLL(None).malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")
before = megabytes("VmRSS")
if how == "streamed":
    ratings = Ratings.from_file(path)
else:
    ratings = Ratings.from_table(pq.read_table(path), timestamp="timestamp")
arrays = [ratings._arrays.indptr, ratings.items, ratings.values, ratings.timestamps, ratings.input_order]
print(megabytes("VmHWM") - before, sum(array.nbytes for array in arrays) / 1e6)
"""


def growth(path, how):
    """Megabytes by which memory grew at most while a file was read, and those of the ratings."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, path, how], capture_output=True, text=True, check=True
    )
    return tuple(map(float, done.stdout.split()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_memory_is_little_more_than_the_ratings(tmp_path):
    count = 3_000_000
    generator = np.random.default_rng(0)
    cells = generator.choice(40_000 * 4_000, count, replace=False)  # distinct, in no order
    users, items = (
        pa.array([f"{what}-{k}" for k in range(size)]).take(pa.array(numbers))
        for what, size, numbers in (
            ("user", 40_000, cells // 4_000),
            ("item", 4_000, cells % 4_000),
        )
    )
    columns = {
        "user": users,
        "item": items,
        "rating": pa.array(generator.normal(size=count)),
        "timestamp": pa.array(np.arange(count)),
    }
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "large.parquet")
    pq.write_table(table.slice(0, 1000), tmp_path / "small.parquet")
    peak, size = growth(tmp_path / "large.parquet", "streamed")
    bound = 1.4 * size + 70  # what Arrow and Python need for a batch does not grow with the file
    assert peak < bound, (peak, size)
    in_memory, _ = growth(tmp_path / "large.parquet", "table")
    assert in_memory > bound, (in_memory, size)  # the bound tells the two apart
