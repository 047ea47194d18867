"""Tables and columns of pandas, polars and Arrow: every type comes in, and comes out again as it was."""

from __future__ import annotations

import pickle
import sys
import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pytest
from native_tables import (
    NUMBER_KINDS,
    NUMBERS,
    WORD_KINDS,
    WORDS,
    Kind,
    dtype_of,
    installed,
    library_of,
    native,
    values_of,
)

import cymf
from cymf import Features, Ratings

# by user and item, as Ratings keep them
PAIRS = [(0, 0), (0, 1), (1, 1), (1, 3), (2, 0), (2, 2), (3, 2), (3, 3)]
STARS = [5, 1, 4, 2, 3, 5, 1, 4]


def columns_of(kind: Kind) -> dict[str, object]:
    """Users and items in columns of one type, ratings in a list."""
    ids = NUMBERS if kind in NUMBER_KINDS else WORDS
    return {
        "user": kind.column([ids[user] for user, _ in PAIRS]),
        "item": kind.column([ids[item] for _, item in PAIRS]),
        "rating": STARS,
    }


def table_of(kind: Kind) -> object:
    return kind.table(columns_of(kind))


def fitted(X) -> cymf.ALS:
    return cymf.ALS(n_factors=2, max_iter=2, n_threads=1, random_state=0).fit(X)


def plain_ids(kind: Kind) -> list[object]:
    return NUMBERS if kind in NUMBER_KINDS else WORDS


# ------------------------------------------------------------------ in, and out again


@pytest.mark.parametrize("kind", installed(WORD_KINDS + NUMBER_KINDS))
def test_a_table_comes_out_as_it_went_in(kind):
    table = table_of(kind)
    ratings = Ratings.from_table(table)
    again = ratings.to_table()
    assert type(again) is type(table)
    for name in ("user", "item", "rating"):
        assert dtype_of(native(again, name)) == dtype_of(native(table, name)), name
        assert values_of(native(again, name)) == values_of(native(table, name))
    ids = plain_ids(kind)
    assert ratings.user_ids.ids.tolist() == ratings.item_ids.ids.tolist() == ids
    for other in (pickle.loads(pickle.dumps(ratings)), ratings.subset(np.arange(4))):
        assert dtype_of(native(other.to_table(), "item")) == dtype_of(native(table, "item"))


@pytest.mark.parametrize("kind", installed(WORD_KINDS + NUMBER_KINDS))
def test_recommendations_are_of_the_type_of_the_training(kind, tmp_path):
    table = table_of(kind)
    model = fitted(table)
    plain = fitted(Ratings.from_triplets(*Ratings.from_table(table).to_triplets()))
    expected = plain.recommend_table(n=2)
    model.save(tmp_path / "model.cymf")
    for asked in (model, cymf.load(tmp_path / "model.cymf"), pickle.loads(pickle.dumps(model))):
        found = asked.recommend_table(n=2)
        assert type(found) is type(table)
        for name in ("user", "item"):
            assert dtype_of(native(found, name)) == dtype_of(native(table, name)), name
        for name in ("user", "rank", "item", "score"):
            assert values_of(native(found, name)) == expected[name].tolist()


@pytest.mark.parametrize("kind", installed(WORD_KINDS + NUMBER_KINDS))
def test_columns_may_be_asked_about(kind):
    columns = columns_of(kind)
    ids = plain_ids(kind)
    model = fitted(Ratings.from_table(table_of(kind)))
    asked = kind.column([ids[2], ids[0], ids[2]])
    as_list = [ids[2], ids[0], ids[2]]
    items, scores = model.recommend(asked, 2)
    expected = model.recommend(as_list, 2)
    np.testing.assert_array_equal(items, expected[0])
    np.testing.assert_array_equal(scores, expected[1])
    np.testing.assert_array_equal(
        model.similar_items(asked, 2)[0], model.similar_items(as_list, 2)[0]
    )
    np.testing.assert_array_equal(
        model.similar_users(asked, 2)[0], model.similar_users(as_list, 2)[0]
    )
    few = {"exclude_seen": False}
    np.testing.assert_array_equal(
        model.recommend(ids[0], 2, candidates=asked, **few)[0],
        model.recommend(ids[0], 2, candidates=as_list, **few)[0],
    )
    np.testing.assert_array_equal(
        model.recommend(ids[0], 2, filter=asked, **few)[0],
        model.recommend(ids[0], 2, filter=as_list, **few)[0],
    )
    np.testing.assert_array_equal(
        model.recommend_by_factors(np.ones(2), 2, exclude=asked)[0],
        model.recommend_by_factors(np.ones(2), 2, exclude=as_list)[0],
    )
    np.testing.assert_array_equal(
        model.user_factors_for(
            kind.column(ids[:2]), kind.column(ids[:2]) if ids is NUMBERS else [1, 2]
        ),
        model.user_factors_for(ids[:2], ids[:2] if ids is NUMBERS else [1, 2]),
    )
    predicted = model.predict(columns["user"], columns["item"])
    pairs = [ids[u] for u, _ in PAIRS], [ids[i] for _, i in PAIRS]
    np.testing.assert_array_equal(predicted, model.predict(*pairs))
    np.testing.assert_array_equal(
        model.predict(columns["user"], ids[0]), model.predict(pairs[0], ids[0])
    )
    table = model.recommend_table(asked, 1)
    assert library_of(table) == kind.library
    assert dtype_of(native(table, "user")) == dtype_of(asked)
    assert values_of(native(table, "user")) == as_list


@pytest.mark.parametrize("kind", installed(WORD_KINDS + NUMBER_KINDS))
def test_a_table_of_pairs_is_told_apart_by_names(kind):
    table = table_of(kind)
    model = fitted(table)
    columns = columns_of(kind)
    expected = model.predict(columns["user"], columns["item"])
    pairs = kind.table({"item": columns["item"], "user": columns["user"]})
    for X in (table, pairs, kind.table({"who": columns["user"], "what": columns["item"]})):
        np.testing.assert_array_equal(model.predict(X), expected)
    assert model.rmse(table) == model.rmse(pairs, columns["rating"])
    assert model.score(table) == model.score(pairs, columns["rating"], [1.0] * len(PAIRS))
    again = cymf.ALS(n_factors=2, max_iter=2, n_threads=1, random_state=0)
    again.fit(pairs, native(table, "rating"))
    np.testing.assert_array_equal(again.user_factors_, model.user_factors_)
    assert type(again.recommend_table()) is type(table)
    three = kind.table({"a": columns["user"], "b": columns["item"], "c": columns["user"]})
    with pytest.raises(
        ValueError, match=r"columns 'a', 'b', 'c'; expected a column of users and one of"
    ):
        model.predict(three)


@pytest.mark.parametrize("kind", installed([WORD_KINDS[7], WORD_KINDS[10], WORD_KINDS[16]]))
def test_everything_else_that_takes_tables(kind):
    """Validation, evaluation, searches, new ratings, features, factorization."""
    table = table_of(kind)
    ratings = Ratings.from_table(table)
    columns = columns_of(kind)
    plain = Ratings.from_triplets(*ratings.to_triplets())
    model = cymf.ALS(n_factors=2, max_iter=2, n_threads=1, random_state=0)
    histories = [model.fit(plain, validation=held_out).history_ for held_out in (table, plain)]
    assert histories[0]["validation_rmse"] == histories[1]["validation_rmse"]
    report = cymf.evaluation.evaluate_ranking(model, table, exclude_seen=False, metrics="recall@2")
    assert (
        report["recall@2"]
        == cymf.evaluation.evaluate_ranking(model, plain, exclude_seen=False, metrics="recall@2")[
            "recall@2"
        ]
    )
    assert cymf.evaluation.rmse(native(table, "rating"), np.zeros(8)) == np.sqrt(
        np.mean(np.square(STARS))
    )
    search = cymf.evaluation.GridSearch(model, {"reg": [0.1, 1.0]}, folds=2).fit(table)
    assert set(search.best_params_) == {"reg"}
    new = kind.table({"user": kind.column(["ann"]), "item": kind.column(["dora"]), "rating": [3]})
    grown = fitted(table).partial_fit(new)
    assert dtype_of(native(grown.recommend_table(), "item")) == dtype_of(native(table, "item"))
    people = kind.table({"user": kind.column(WORDS), "age": [20, 30, 40, 50], "sex": list("fmfm")})
    features = Features.from_table(people)
    assert features.names == ("age", "sex=f", "sex=m")
    described = cymf.ALS(n_factors=2, max_iter=2, n_threads=1).fit(table, user_features=people)
    assert described.predict_cold(user_features=people, items="ann").shape == (4,)
    design = cymf.design_matrix(table, user_features=features, context=kind.table({"age": STARS}))
    assert design.names[-1] == "context:age"
    encoded = design.encode(columns["user"], columns["item"], context=kind.table({"age": STARS}))
    np.testing.assert_array_equal(encoded.matrix.toarray(), design.matrix.toarray())
    numbers = kind.table({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 1.0], "c": [0.0, 1.0, 0.0]})
    nmf = cymf.NMF(1, missing="zero", max_iter=5).fit(numbers)
    assert nmf.feature_names_in_.tolist() == ["a", "b", "c"]
    machine = cymf.FactorizationMachine(n_factors=1, max_iter=2, solver="als").fit(
        numbers, native(numbers, "a")
    )
    assert machine.predict(numbers).shape == (3,)
    log = [("ann", kind.column(WORDS), "bob", 1.0)]
    assert cymf.evaluation.replay(lambda user, listed: "bob", log).n_matched == 1


@pytest.mark.parametrize("kind", installed(WORD_KINDS[:1] + WORD_KINDS[9:10] + WORD_KINDS[12:13]))
def test_sampled_evaluation_takes_columns(kind):
    model = fitted(table_of(kind))
    columns = columns_of(kind)
    pairs = columns["user"], columns["item"]
    report = cymf.evaluation.evaluate_sampled(model, pairs, [["ann", "cy"]] * 8, metrics="auc")
    lists = ([WORDS[u] for u, _ in PAIRS], [WORDS[i] for _, i in PAIRS])
    expected = cymf.evaluation.evaluate_sampled(model, lists, [["ann", "cy"]] * 8, metrics="auc")
    assert report["auc"] == expected["auc"]


# ------------------------------------------------------------------ which columns, which names


def test_columns_are_found_by_their_usual_names():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame(
        {
            "timestamp": pd.to_datetime(["2020-01-02", "2020-01-01"]),
            "movieId": [1, 2],
            "userId": ["a", "b"],
            "weight": [2.0, 1.0],
            "rating": np.array([4, 5], "int8"),
            "title": ["x", "y"],
        }
    )
    ratings = Ratings.from_table(table)
    assert ratings.has_weights
    assert ratings.has_timestamps
    again = ratings.to_table()
    assert again.columns.tolist() == ["userId", "movieId", "rating", "weight", "timestamp"]
    pd.testing.assert_frame_equal(again, table[again.columns])
    alone = Ratings.from_table(table, weight=None, timestamp=None)
    assert not alone.has_weights
    assert not alone.has_timestamps
    assert fitted(table).recommend_table().columns.tolist() == [
        "userId",
        "rank",
        "movieId",
        "score",
    ]


def test_a_column_that_is_chosen_is_not_found_again():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"user": [1, 2], "item": [3, 4], "time": [60.0, 90.0]})
    watched = Ratings.from_table(table, rating="time")
    assert watched.values.tolist() == [60, 90]
    assert not watched.has_timestamps


def test_names_that_are_no_strings():
    pd = pytest.importorskip("pandas")
    numbered = pd.DataFrame(np.array([[7, 1, 5], [8, 2, 4]]))
    ratings = Ratings.from_table(numbered, user=0, item=1, rating=2)
    assert ratings.to_table().columns.tolist() == [0, 1, 2]
    swapped = Ratings.from_table(numbered[[2, 1, 0]], user=0, item=1, rating=2)
    assert swapped.user_ids.ids.tolist() == [7, 8]  # names, not positions
    with pytest.raises(ValueError, match="no column 9 for user: its columns are 0, 1, 2"):
        Ratings.from_table(numbered, user=9, item=1, rating=2)
    pairs = pd.MultiIndex.from_tuples([("who", ""), ("what", "film"), ("what", "stars")])
    nested = pd.DataFrame([[7, 1, 5]], columns=pairs)
    chosen = {"user": ("who", ""), "item": ("what", "film"), "rating": ("what", "stars")}
    assert Ratings.from_table(nested, **chosen).values.tolist() == [5]
    with pytest.raises(ValueError, match="several columns called 'a'; expected"):
        Ratings.from_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    pa = pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="several columns called 'a'; expected"):
        Ratings.from_table(pa.table([[1], [2]], names=["a", "a"]))
    by_place = Ratings.from_table(
        pd.DataFrame({"who": [1], "what": [2], "stars": [3]}), user=0, item=1, rating=2
    )
    assert by_place.user_ids.ids.tolist() == [1]
    features = Features.from_table(pd.DataFrame([[7, 1.0], [8, 3.0]]), id=0)
    assert features.names == ("1",)
    assert features.ids.ids.tolist() == [7, 8]


def test_names_survive_the_model_file(tmp_path):
    pd = pytest.importorskip("pandas")
    for names in ([0, 1, "rating"], [("a", 1), ("a", 2), "rating"], ["rank", "score", "rating"]):
        table = pd.DataFrame([[7, 1, 5.0], [8, 2, 4.0], [8, 1, 1.0]])
        table.columns = pd.Index(names, tupleize_cols=False)
        model = fitted(Ratings.from_table(table, user=names[0], item=names[1], rating=names[2]))
        model.save(tmp_path / "model.cymf")
        expected = [names[0], "rank", names[1], "score"]
        if "rank" in names:  # such a table would have two columns of a name
            expected = ["user", "rank", "item", "score"]
        for asked in (model, cymf.load(tmp_path / "model.cymf")):
            assert list(asked.recommend_table().columns) == expected


def test_index_order_and_memory_of_a_frame_do_not_matter():
    pd = pytest.importorskip("pandas")
    block = np.asfortranarray(np.arange(12).reshape(4, 3) % 5)
    frame = pd.DataFrame(block, columns=["user", "item", "rating"], index=list("wxyz"))
    frame = pd.concat([frame[::-1]])  # a strided block
    frame.index = pd.MultiIndex.from_arrays([list("aabb"), [4, 3, 2, 1]])
    ratings = Ratings.from_table(frame)
    expected = sorted(map(tuple, frame.to_numpy().tolist()))
    assert (
        sorted(zip(*(column.tolist() for column in ratings.to_triplets()), strict=True)) == expected
    )
    assert ratings.to_table().index.tolist() == [0, 1, 2, 3]


# ------------------------------------------------------------------ values and moments


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize(
    "dtype", ["int8", "int64", "uint16", "float32", "float64", "bool", "Int32"]
)
def test_ratings_keep_their_type(library, dtype):
    module = pytest.importorskip(library)
    values = [1, 0, 1]
    if library == "pandas":
        column = module.Series(values, dtype=dtype)
    elif dtype == "Int32":
        return
    elif library == "polars":
        names = {"bool": "Boolean", "int8": "Int8", "int64": "Int64", "uint16": "UInt16"}
        kind = getattr(module, names.get(dtype, dtype.title()))
        column = module.Series(values).cast(kind)
    else:
        column = module.chunked_array([module.array(values).cast(dtype)])
    table = Kind(library, "", list).table({"user": [1, 2, 3], "item": [1, 1, 2], "rating": column})
    ratings = Ratings.from_table(table)
    found = native(ratings.to_table(), "rating")
    assert dtype_of(found) == dtype_of(native(table, "rating"))
    assert values_of(found) == values
    joined = Ratings.from_table(table, duplicates="mean").to_table()
    words = str(dtype_of(native(joined, "rating"))).lower()
    assert words in ("float32", "float64", "float", "double")


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_moments_keep_their_unit_and_zone_in_pandas(zone, unit):
    pd = pytest.importorskip("pandas")
    at = pd.Series(pd.to_datetime(["2020-01-02T03:04:05", "2021-06-07T00:00:00"])).dt.as_unit(unit)
    if zone is not None:
        at = at.dt.tz_localize("UTC").dt.tz_convert(zone)
    table = pd.DataFrame({"user": [1, 2], "item": [1, 1], "rating": [1.0, 2.0], "timestamp": at})
    ratings = Ratings.from_table(table)
    assert ratings.timestamps.dtype == f"M8[{unit}]"
    assert (
        ratings.timestamps.tolist()[:1] == np.array(["2020-01-02T03:04:05"], f"M8[{unit}]").tolist()
    )
    pd.testing.assert_frame_equal(ratings.to_table(), table)


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_moments_keep_their_unit_and_zone_in_polars_and_arrow(zone):
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    naive = [datetime(2020, 1, 2, 3, 4, 5), datetime(2021, 6, 7)]
    aware = [moment.replace(tzinfo=UTC) for moment in naive]
    dates = [moment.date() for moment in naive]
    for column in (
        pl.Series(naive if zone is None else aware, dtype=pl.Datetime("ms", zone)),
        pl.Series(dates),
    ):
        table = pl.DataFrame(
            {"user": [1, 2], "item": [1, 1], "rating": [1.0, 2.0], "timestamp": column}
        )
        ratings = Ratings.from_table(table)
        assert ratings.to_table().equals(table)
        assert ratings.timestamps.astype("M8[D]").tolist() == dates
        assert ratings.to_table().schema == table.schema
        as_arrow = table.to_arrow().cast(
            pa.schema([pa.field(f.name, f.type) for f in table.to_arrow().schema])
        )
        assert Ratings.from_table(as_arrow).to_table().schema == as_arrow.schema
        assert Ratings.from_table(as_arrow).to_table().equals(as_arrow)


def test_timestamps_that_are_none_can_be_left_out():
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"user": [1], "item": [2], "rating": [3], "timestamp": ["yesterday"]})
    with pytest.raises(TypeError, match=r"entry 0 is 'yesterday'.*leave timestamps out"):
        Ratings.from_table(table)
    assert Ratings.from_table(table, timestamp=None).nnz == 1


# ------------------------------------------------------------------ from one library to another


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("kind", installed(WORD_KINDS + NUMBER_KINDS))
def test_tables_of_another_library_have_the_type_most_alike(kind, library):
    pytest.importorskip(library)
    ratings = Ratings.from_table(table_of(kind))
    table = ratings.to_table(library)
    assert library_of(table) == library
    column = native(table, "user")
    assert values_of(column) == values_of(columns_of(kind)["user"])
    words = str(dtype_of(column)).lower()
    if "int" in kind.name.lower() and "dict" not in kind.name:
        bits = "".join(filter(str.isdigit, kind.name))
        assert bits in words
        assert ("uint" in words) == ("uint" in kind.name.lower())
    elif kind in WORD_KINDS and any(w in kind.name.lower() for w in ("categ", "enum", "dict")):
        assert any(w in words for w in ("categ", "enum", "dict"))


def test_a_library_that_is_not_installed(monkeypatch, tmp_path):
    pl = pytest.importorskip("polars")
    table = pl.DataFrame({"user": ["a", "b"], "item": [1, 1], "rating": [1.0, 2.0]})
    fitted(table).save(tmp_path / "model.cymf")
    monkeypatch.setitem(sys.modules, "polars", None)
    model = cymf.load(tmp_path / "model.cymf")
    assert model.recommend("a", 1)[0].tolist() == [-1]
    with pytest.raises(
        ModuleNotFoundError,
        match="backend='polars' needs polars, which is not installed: pip install polars, or",
    ):
        model.recommend_table()
    assert len(model.recommend_table(backend="pandas", exclude_seen=False)) == 2


def test_what_no_backend_is():
    with pytest.raises(ValueError, match="backend='duckdb'"):
        Ratings.from_triplets([1], [1]).to_table("duckdb")


def test_without_a_table_pandas_is_the_library():
    pd = pytest.importorskip("pandas")
    ratings = Ratings.from_triplets([3, 1], ["x", "y"], [1.0, 2.0], timestamps=[7, 8])
    table = ratings.to_table()
    expected = {"user": [1, 3], "item": ["y", "x"], "rating": [2.0, 1.0], "timestamp": [8, 7]}
    pd.testing.assert_frame_equal(table, pd.DataFrame(expected))
    rows = Ratings.from_matrix(np.array([[np.nan, 2.0]])).to_table()
    pd.testing.assert_frame_equal(
        rows, pd.DataFrame({"user": [0], "item": [1], "rating": [2.0]}), check_dtype=False
    )


def test_ids_of_a_matrix_may_be_columns():
    pl = pytest.importorskip("polars")
    ratings = Ratings.from_matrix(
        np.ones((2, 2)), user_ids=pl.Series("who", ["a", "b"], pl.Categorical), item_ids=[5, 6]
    )
    table = ratings.to_table()
    names = {"who": pl.Categorical(), "item": pl.Int64(), "rating": pl.Float64()}
    assert table.schema == pl.Schema(names)


def test_files_are_no_tables(tmp_path):
    """What a file was read with says nothing of the libraries its reader works with."""
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"user": ["a", "b"], "item": [1, 1], "rating": [1.0, 2.0]})
    table.to_parquet(tmp_path / "ratings.parquet")
    ratings = Ratings.from_file(tmp_path / "ratings.parquet")
    assert library_of(ratings.to_table()) == "pandas"


def test_ids_that_do_not_fit_their_column_any_more(tmp_path):
    pd = pytest.importorskip("pandas")
    kind = pd.CategoricalDtype(["b", "a"], ordered=True)
    small = {"user": np.array([1, 2], "int8"), "item": pd.Series(["a", "b"], dtype=kind)}
    model = fitted(pd.DataFrame(small | {"rating": [1.0, 2.0]}))
    new = pd.DataFrame({"user": [1000], "item": ["z"], "rating": [3.0]})
    table = model.partial_fit(new).recommend_table(exclude_seen=False)
    assert table["user"].dtype == "int64"
    assert set(table["user"]) == {1, 2, 1000}
    assert table["item"].dtype == pd.CategoricalDtype(["b", "a", "z"], ordered=True)


def test_recommendations_in_a_file_have_the_types_of_the_training(tmp_path):
    pl = pytest.importorskip("polars")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pl.DataFrame(
        {
            "userId": pl.Series([1, 1, 2], dtype=pl.Int16),
            "movieId": pl.Series(["x", "y", "x"], dtype=pl.Categorical),
            "rating": [5.0, 1.0, 4.0],
        }
    )
    fitted(table).recommend_all(tmp_path / "all.parquet", 2)
    schema = pq.read_table(tmp_path / "all.parquet").schema
    assert schema.names == ["userId", "rank", "movieId", "score"]
    assert str(schema.field("userId").type) == "int16"
    assert "dictionary" in str(schema.field("movieId").type)


# ------------------------------------------------------------------ what is no table, or no id


def test_record_batches_are_tables():
    pa = pytest.importorskip("pyarrow")
    [batch] = pa.table({"user": ["a", "b"], "item": [1, 1], "rating": [1.0, 2.0]}).to_batches()
    ratings = Ratings.from_table(batch)
    assert type(ratings.to_table()) is pa.Table
    model = fitted(batch)
    assert model.predict(batch).shape == (2,)
    assert Ratings.from_triplets(batch.column("user"), batch.column("item")).nnz == 2


def test_lazy_tables_are_refused():
    pl = pytest.importorskip("polars")
    lazy = pl.LazyFrame({"user": [1], "item": [1], "rating": [1.0]})
    with pytest.raises(TypeError, match=r"collect\(\) a lazy one"):
        Ratings.from_table(lazy)
    for call in (
        fitted,
        lambda X: cymf.NMF(1).fit(X),
        lambda X: cymf.evaluation.evaluate_ranking(None, X),
    ):
        with pytest.raises(TypeError, match=r"LazyFrame"):
            call(lazy)


@pytest.mark.parametrize("kind", installed(WORD_KINDS))
def test_missing_ids_are_named(kind):
    ids = kind.column(["ann", "bob", None])
    with pytest.raises(ValueError, match=r"users: entry 2 is missing \(1 in all\)"):
        Ratings.from_triplets(ids, [1, 2, 3])
    model = fitted(table_of(kind))
    with pytest.raises(ValueError, match="users: entry 2 is missing"):
        model.recommend(ids)
    with pytest.raises(ValueError, match="items: entry 2 is missing"):
        model.predict(kind.column(["ann"] * 3), ids)


def test_columns_that_are_no_ids():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for column, words in (
        (pd.Series(pd.to_datetime(["2020-01-01"])), "holds Datetime"),
        (pd.Series([True]), "holds Boolean"),
        (pd.Series([1.5]), "entry 0 is 1.5"),
        (pd.Series([[1]], dtype=object), "a list"),
        (pd.Series(pd.Categorical([1.5])), "entry 0 is 1.5"),
        (pl.Series([[1]]), "holds List"),
        (pl.Series([{"a": 1}]), "holds Struct"),
        (pl.Series([b"a"]), "holds Binary|a bytes"),
    ):
        with pytest.raises(TypeError, match=words):
            Ratings.from_triplets(column, [1])
    mixed = pd.Series([1, "a"], dtype=object)
    with pytest.raises(TypeError, match="users mix integers and strings"):
        Ratings.from_triplets(mixed, [1, 2])


def test_the_first_unknown_is_named_whatever_the_column():
    pd = pytest.importorskip("pandas")
    model = fitted(pd.DataFrame({"user": ["a", "b"], "item": [1, 1], "rating": [1.0, 2.0]}))
    for column in (["a", "x", "y"], pd.Series(["a", "x", "y"], index=[5, 6, 7], dtype="category")):
        with pytest.raises(
            cymf.UnknownIdError, match=r"user 'x' has no training ratings \(2 of the 3"
        ):
            model.predict(column, 1, unknown="raise")


def test_candidates_may_be_a_column_of_lists():
    pl = pytest.importorskip("polars")
    model = fitted(table_of(WORD_KINDS[9]))
    lists = [["ann", "bob"], ["cy"]]
    for column in (pl.Series(lists), pl.Series(lists).to_arrow()):
        found = model.recommend(["ann", "bob"], 2, candidates=column, exclude_seen=False)[0]
        assert (
            found.tolist()
            == model.recommend(["ann", "bob"], 2, candidates=lists, exclude_seen=False)[0].tolist()
        )
        found = model.recommend_by_factors(np.ones((2, 2)), 2, exclude=column)[0]
        assert (
            found.tolist()
            == model.recommend_by_factors(np.ones((2, 2)), 2, exclude=lists)[0].tolist()
        )


# ------------------------------------------------------------------ an id that looks like an empty place


@pytest.mark.parametrize(("ids", "empty"), [(["", "b"], ""), ([-1, 7], -1)])
def test_an_id_like_the_mark_of_an_empty_place(ids, empty):
    ratings = Ratings.from_triplets(["u", "u", "v"], [*ids, ids[1]], [5.0, 1.0, 4.0])
    model = fitted(ratings)
    items, scores = model.recommend("u", 3, exclude_seen=False)
    assert (items == empty).sum() == 2  # one of them is an item
    assert np.isnan(scores).tolist() == [False, False, True]
    assert (
        model.recommend_table(["u"], 3, exclude_seen=False)["item"].tolist() == items[:2].tolist()
    )
    held_out = Ratings.from_triplets(["v"], [ids[0]], [5.0])
    expected = cymf.evaluation.evaluate_ranking(model, held_out, metrics="recall@2", train=ratings)

    class Elsewhere:
        def recommend(self, users, n, *, exclude_seen, seen):
            return model.recommend(users, n, exclude_seen=exclude_seen, seen=seen)

    class Listed(Elsewhere):
        def recommend(self, users, n, **options):
            return super().recommend(users, n, **options)[0]

    assert expected["recall@2"] == 1
    found = cymf.evaluation.evaluate_ranking(
        Elsewhere(), held_out, metrics="recall@2", train=ratings
    )
    assert found["recall@2"] == 1
    seen_both = Ratings.from_triplets(["u"], [ids[0]], [5.0])  # nothing is left to recommend
    for model_of_lists in (Elsewhere(), Listed()):
        found = cymf.evaluation.evaluate_ranking(
            model_of_lists, seen_both, metrics="recall@2", train=ratings
        )
        assert found["recall@2"] == 0


# ------------------------------------------------------------------ categories are used through their codes


class Counted(str):
    """A string that counts how often it is hashed."""

    __slots__ = ()
    hashed = 0

    def __hash__(self):
        Counted.hashed += 1
        return str.__hash__(self)

    __eq__ = str.__eq__


def test_pandas_categories_are_hashed_but_not_their_entries():
    pd = pytest.importorskip("pandas")
    n = 50_000
    labels = np.fromiter((Counted(f"user {k:03d}") for k in range(200)), object)
    codes = np.random.default_rng(0).integers(0, 200, n)
    users = pd.Series(pd.Categorical.from_codes(codes, pd.Index(labels, dtype=object)))
    Counted.hashed = 0
    ratings = Ratings.from_triplets(users, np.arange(n), np.ones(n))
    assert Counted.hashed < 10 * 200
    model = cymf.Popularity().fit(ratings)
    Counted.hashed = 0
    assert len(model.predict(users, 0)) == n
    assert Counted.hashed < 10 * 200


@pytest.mark.parametrize(
    "kind", installed([WORD_KINDS[7], WORD_KINDS[10], WORD_KINDS[11], WORD_KINDS[16]])
)
def test_no_string_is_made_of_an_entry_of_a_category(kind):
    """With long names, strings of all entries would take 25 times the memory of their codes."""
    n = 100_000
    names = [word + 400 * "." for word in WORDS]
    columns = {}
    if kind.library == "pandas":
        pytest.importorskip("pyarrow")
        import pandas as pd

        # the strings behind an object column are shared: only a library that makes them anew can waste them
        columns["user"] = pd.Series(
            pd.Categorical.from_codes(np.arange(n) % 4, pd.Index(names, dtype="string[pyarrow]"))
        )
    elif kind.library == "polars":
        import polars as pl

        dtype = pl.Categorical if kind.name == "Categorical" else pl.Enum(names)
        columns["user"] = pl.Series(names, dtype=dtype).gather(np.arange(n) % 4)
    else:
        import pyarrow as pa

        columns["user"] = pa.DictionaryArray.from_arrays(np.arange(n, dtype=np.int32) % 4, names)
    columns["item"], columns["rating"] = np.arange(n), np.ones(n, np.float32)
    table = kind.table(columns)
    Ratings.from_table(table)  # imports
    tracemalloc.start()
    Ratings.from_table(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / n < 60
