"""Ids: what is accepted, and that they lead to rows and back."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cymf._id_columns import Coded, IdEncoder, encode_integers
from cymf._ids import IdMap, encode_ids, id_of

INT64 = np.iinfo(np.int64)
integers = st.integers(INT64.min, INT64.max)
small = st.integers(-5, 5)
id_lists = (
    st.lists(integers, min_size=1) | st.lists(small, min_size=1) | st.lists(st.text(), min_size=1)
)


@given(id_lists)
def test_encoding_numbers_the_sorted_ids(values):
    codes, ids = encode_ids(values, "users")
    assert ids.ids.tolist() == sorted(set(values))
    assert ids.ids[codes].tolist() == values
    assert codes.dtype == np.int32


@given(st.lists(integers, min_size=1, max_size=60), st.integers(1, 7))
def test_wide_integers_are_numbered_alike_however_they_are_cut(values, size):
    import cymf._id_columns as module

    array = np.array(values, dtype=np.int64)
    original, module._CHUNK = module._CHUNK, size
    try:
        codes, ids = module._encode_wide(array)
    finally:
        module._CHUNK = original
    assert ids.tolist() == sorted(set(values))
    assert ids[codes].tolist() == values


@given(st.lists(st.integers(10**6, 10**6 + 50), min_size=1))
def test_integers_in_a_narrow_range_are_numbered_by_table(values):
    codes, ids = encode_integers(np.array(values))
    assert ids.tolist() == sorted(set(values))
    assert ids[codes].tolist() == values


@given(id_lists, st.lists(integers | small, max_size=5), st.lists(st.text(), max_size=5))
def test_ids_lead_to_their_rows_and_unknown_ones_to_minus_one(values, more_integers, more_text):
    ids = list(dict.fromkeys(values))
    id_map = IdMap(ids)
    asked = ids + (more_text if isinstance(ids[0], str) else more_integers)
    expected = [ids.index(value) if value in ids else -1 for value in asked]
    assert id_map.to_index(asked).tolist() == expected
    rows = id_map.to_index(ids)
    assert rows.dtype == np.int64
    assert id_map.to_ids(rows).tolist() == ids


@given(id_lists)
def test_arrays_round_trip_without_objects(values):
    id_map = IdMap(list(dict.fromkeys(values)))
    arrays = id_map.to_arrays("user")
    assert all(array.dtype.kind in "iu" for array in arrays.values())
    back = IdMap.from_arrays("user", {**arrays, "other": np.zeros(3)})
    assert back.ids.tolist() == id_map.ids.tolist()
    assert back.ids.dtype == id_map.ids.dtype


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, 1, 3], dtype=np.uint16),
        np.array([3, 1, 3], dtype=np.int8),
        np.array([3.0, 1.0, 3.0]),
        np.array([3, 1, 3], dtype=object),
        [np.int64(3), 1, 3.0],
        range(3, 0, -1),
        (3, 1, 3),
    ],
)
def test_whole_numbers_of_any_dtype_are_integer_ids(values):
    codes, ids = encode_ids(values, "users")
    assert ids.ids.dtype == np.int64
    assert ids.ids[codes].tolist() == [int(value) for value in values]


@pytest.mark.parametrize(
    "values",
    [
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], dtype=object),
        np.array([b"b", b"a", b"b"]),
        ["b", np.str_("a"), "b"],
    ],
)
def test_strings_of_any_dtype_become_python_strings(values):
    codes, ids = encode_ids(values, "users")
    assert ids.ids.tolist() == ["a", "b"]
    assert all(type(value) is str for value in ids.ids)
    assert codes.tolist() == [1, 0, 1]


@pytest.mark.parametrize("values", [np.array(["b", "a"]), np.array([b"b", b"a"])])
def test_maps_take_strings_of_any_dtype(values):
    id_map = IdMap(values)
    assert id_map.ids.tolist() == ["b", "a"]
    assert id_map.to_index(values[::-1]).tolist() == [1, 0]


def test_numpy_string_dtype():
    dtypes = getattr(np, "dtypes", None)
    if not hasattr(dtypes, "StringDType"):
        pytest.skip("this NumPy has no StringDType")
    codes, ids = encode_ids(np.array(["b", "a"], dtype=dtypes.StringDType()), "users")
    assert (codes.tolist(), ids.ids.tolist()) == ([1, 0], ["a", "b"])


def test_dictionary_columns_drop_labels_that_do_not_occur():
    column = Coded(np.array([2, 0, 2]), np.array(["z", "unused", "a"], dtype=object))
    codes, ids = encode_ids(column, "items")
    assert ids.ids.tolist() == ["a", "z"]
    assert codes.tolist() == [0, 1, 0]
    assert ids.to_index(column).tolist() == [0, 1, 0]
    assert ids.to_index(Coded(np.array([1, 2]), column.labels)).tolist() == [-1, 0]


def test_the_encoder_numbers_by_first_appearance_over_chunks():
    encoder = IdEncoder()
    assert encoder.encode(["x", "y", "x"]).tolist() == [0, 1, 0]
    assert encoder.encode(["z", "y"]).tolist() == [2, 1]
    assert encoder.labels().tolist() == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ([1, "a"], TypeError, "mix integers and strings: entry 0 is 1, entry 1 is 'a'"),
        (["a", "b", 3], TypeError, "entry 0 is 'a', entry 2 is 3"),
        (["a", None], ValueError, "entry 1 is missing \\(None\\)"),
        ([1, float("nan")], ValueError, "entry 1 is missing \\(nan\\)"),
        ([1, 2.5], TypeError, "entry 1 is 2.5, a float"),
        ([1, 2.0**60], TypeError, "entry 1 is 1.15"),
        ([(1, 2)], TypeError, "entry 0 is \\(1, 2\\), a tuple"),
        (["a", [1]], TypeError, "entry 1 is \\[1\\], a list"),
        ([2**70], ValueError, "does not fit in 64 signed bits"),
        (np.array([2**63], dtype=np.uint64), ValueError, "does not fit in 64 signed bits"),
        ([True, False], TypeError, "a bool"),
        (np.array([True]), TypeError, "given dtype bool"),
        (np.array([1j]), TypeError, "given dtype complex128"),
        (np.array(["2020-01-01"], dtype="M8[D]"), TypeError, "given dtype datetime64"),
        (np.zeros((2, 2), dtype=int), ValueError, "must be 1-D.*shape \\(2, 2\\)"),
        (np.array([["a"]]), ValueError, "must be 1-D.*shape \\(1, 1\\)"),
        ("abc", TypeError, "the single id 'abc'"),
        (np.ma.masked_array([1, 2], mask=[False, True]), ValueError, "entry 1 is masked"),
        (np.ma.masked_array(["a", "b"], mask=[False, True]), ValueError, "entry 1 is masked"),
    ],
)
def test_what_is_no_id_is_named(values, error, text):
    with pytest.raises(error, match=text) as caught:
        encode_ids(values, "users")
    assert str(caught.value).startswith("users")


@pytest.mark.parametrize("ids", [[4, 1, 4], ["b", "a", "b"]])
def test_a_map_has_every_id_once(ids):
    with pytest.raises(ValueError, match="stands for both row 0 and row 2"):
        IdMap(ids, what="user_ids")


def test_lookups_of_the_wrong_kind_say_so():
    with pytest.raises(TypeError, match=r"given are strings.*'7'.*are integers, such as 1"):
        IdMap([1, 2]).to_index(["7"])
    with pytest.raises(TypeError, match=r"given are integers.*7.*are strings, such as 'a'"):
        IdMap(["a"]).to_index([7], what="item")
    with pytest.raises(TypeError, match="item ids must be integers or strings; entry 1"):
        IdMap(["a"]).to_index(np.array(["a", 2.5], dtype=object), what="item")


def test_nothing_may_be_looked_up():
    for id_map in (IdMap([1]), IdMap(["a"])):
        assert id_map.to_index([]).tolist() == []
        assert id_map.to_ids([]).tolist() == []
    assert IdMap([]).to_index([3]).tolist() == [-1]


@pytest.mark.parametrize(("ids", "empty"), [([10, 20], -1), (["a", "b"], "")])
def test_minus_one_marks_an_empty_place(ids, empty):
    id_map = IdMap(ids)
    found = id_map.to_ids(np.array([[1, -1], [0, 1]]))
    assert found.tolist() == [[ids[1], empty], [ids[0], ids[1]]]
    assert found.dtype == id_map.ids.dtype
    for row in (2, -2):
        with pytest.raises(IndexError, match=f"row number {row} is out of range"):
            id_map.to_ids([row])


def test_maps_are_immutable_and_copy_what_could_change():
    source = np.array([5, 6, 7])
    id_map = IdMap(source)
    source[0] = 99
    assert id_map.ids.tolist() == [5, 6, 7]
    with pytest.raises(ValueError, match="read-only"):
        id_map.ids[0] = 1
    frozen = np.array([5, 6, 7])
    frozen.flags.writeable = False
    assert np.shares_memory(IdMap(frozen).ids, frozen)


@pytest.mark.parametrize("ids", [[3, 1], ["x", "y"]])
def test_maps_can_be_copied_and_pickled(ids):
    id_map = IdMap(ids)
    id_map.to_index(ids)
    for twin in (pickle.loads(pickle.dumps(id_map)), copy.deepcopy(id_map)):
        assert twin.ids.tolist() == ids
        assert twin.to_index(ids).tolist() == [0, 1]
        assert not twin.ids.flags.writeable


def test_damaged_arrays_are_refused():
    arrays = IdMap(["é", "b"]).to_arrays("item")
    with pytest.raises(ValueError, match="no ids found under 'user'"):
        IdMap.from_arrays("user", arrays)
    for offsets in ([], [0, 2, 9], [0, 3, 2, 3], [1, 3]):
        broken = {**arrays, "item_offsets": np.array(offsets, dtype=np.int64)}
        with pytest.raises(ValueError, match="does not fit the 3 bytes"):
            IdMap.from_arrays("item", broken)
    with pytest.raises(ValueError, match="not UTF-8"):
        IdMap.from_arrays("item", {**arrays, "item_offsets": np.array([0, 1, 3])})
    with pytest.raises(ValueError, match="unique"):
        IdMap.from_arrays("item", {"item_int": np.array([1, 1])})


def test_a_map_says_what_it_holds():
    assert repr(IdMap([4, 5, 6, 7])) == "<IdMap of 4 integers: 4, 5, 6, …>"
    assert repr(IdMap(["a"])) == "<IdMap of 1 string: 'a'>"
    assert len(IdMap(["a", "b"])) == 2


def test_without_a_map_the_row_number_is_the_id():
    assert id_of(None, np.int32(3)) == 3
    assert id_of(IdMap(["a", "b"]), 1) == "b"
