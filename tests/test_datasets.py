"""Generated ratings have the truth and the sizes they claim; MovieLens is read whole."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cymf import _downloads, _drawing, _lastfm, _movielens
from cymf.datasets import (
    GeneratedTruth,
    load_gowalla,
    load_lastfm,
    load_movielens,
    load_netflix,
    make_ratings,
    stream_ratings,
)
from cymf.ratings import Ratings


@settings(max_examples=60, deadline=None)
@given(
    n_users=st.integers(1, 30),
    n_items=st.integers(1, 30),
    fill=st.floats(0.0, 1.0),
    n_factors=st.integers(0, 4),
    exponents=st.tuples(st.floats(0, 4), st.floats(0, 4)),
    seed=st.integers(0, 2**31),
)
def test_sizes_and_distinct_cells(n_users, n_items, fill, n_factors, exponents, seed):
    n_ratings = max(1, round(fill * n_users * n_items))
    data = make_ratings(
        n_users,
        n_items,
        n_ratings,
        n_factors=n_factors,
        activity_exponent=exponents[0],
        popularity_exponent=exponents[1],
        random_state=seed,
    )
    ratings = data.ratings
    assert ratings.shape == (n_users, n_items)
    assert ratings.nnz == n_ratings
    cells = ratings.users.astype(np.int64) * n_items + ratings.items
    assert len(np.unique(cells)) == n_ratings
    assert np.isfinite(ratings.values).all()
    if n_ratings >= n_users:
        assert np.bincount(ratings.users, minlength=n_users).min() >= 1
    assert data.user_factors.shape == (n_users, n_factors)
    assert data.item_factors.shape == (n_items, n_factors)


def test_chunks_do_not_change_which_cells_are_possible(monkeypatch):
    monkeypatch.setattr(_drawing, "_CELLS_PER_CHUNK", 50)
    data = make_ratings(40, 30, 700, random_state=3)
    cells = data.ratings.users.astype(np.int64) * 30 + data.ratings.items
    assert len(np.unique(cells)) == 700
    assert data.expected(data.ratings.users, data.ratings.items).shape == (700,)


@settings(max_examples=40, deadline=None)
@given(
    n_users=st.integers(1, 30),
    n_items=st.integers(1, 30),
    fill=st.floats(0.0, 1.0),
    scale=st.sampled_from([None, (1, 5)]),
    chunk=st.sampled_from([7, 50, 1 << 20]),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_streamed_ratings_are_those_of_make_ratings(n_users, n_items, fill, scale, chunk, sizes):
    n_ratings = max(1, round(fill * n_users * n_items))
    before, _drawing._CELLS_PER_CHUNK = _drawing._CELLS_PER_CHUNK, chunk
    try:
        arguments = {"n_factors": 3, "rating_scale": scale, "random_state": 5}
        whole = make_ratings(n_users, n_items, n_ratings, **arguments)
        stream = stream_ratings(n_users, n_items, n_ratings, **arguments)
        passes = [list(stream.batches(size)) for size in sizes]
    finally:
        _drawing._CELLS_PER_CHUNK = before
    assert (stream.shape, stream.n_ratings) == (whole.ratings.shape, n_ratings)
    for field in dataclasses.fields(GeneratedTruth):
        np.testing.assert_array_equal(getattr(stream, field.name), getattr(whole, field.name))
    for size, batches in zip(sizes, passes, strict=True):
        assert {len(values) for _, _, values in batches[:-1]} <= {size}
        assert 1 <= len(batches[-1][2]) <= size
        users, items, values = map(np.concatenate, zip(*batches, strict=True))
        np.testing.assert_array_equal(users, whole.ratings.users)
        np.testing.assert_array_equal(items, whole.ratings.items)
        np.testing.assert_array_equal(values, whole.ratings.values)
        assert (users.dtype, items.dtype, values.dtype) == (np.int64, np.int64, np.float64)


def test_generated_ratings_are_those_of_their_triplets():
    made = make_ratings(50, 40, 600, random_state=1).ratings
    again = Ratings.from_triplets(made.users, made.items, made.values, shape=made.shape)
    for name in ("users", "items", "values", "input_order", "user_ids", "item_ids", "rating_range"):
        one, other = getattr(made, name), getattr(again, name)
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
        np.testing.assert_array_equal(one, other)


def test_known_draws_stay_the_same():
    """The figures of documentation and tests hang on them."""
    data = make_ratings(50, 40, 600, random_state=1)
    assert data.ratings.items[:8].tolist() == [1, 2, 9, 10, 12, 18, 20, 21]
    known = [3.148864432075944, 3.9700253827119663, 3.825444787430938]
    np.testing.assert_allclose(data.ratings.values[:3], known, rtol=1e-12)


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.parquet", "ratings.jsonl.gz"])
def test_streams_are_written(tmp_path, name):
    if not name.endswith(".csv"):
        pytest.importorskip("pyarrow")
    stream = stream_ratings(50, 40, 600)
    stream.to_file(tmp_path / name)
    found = Ratings.from_file(tmp_path / name)
    made = make_ratings(50, 40, 600).ratings
    np.testing.assert_array_equal(found.user_ids.ids[found.users], made.users)
    np.testing.assert_array_equal(found.item_ids.ids[found.items], made.items)
    np.testing.assert_array_equal(found.values, made.values)
    assert stream.noise_floor() == pytest.approx(make_ratings(50, 40, 600).noise_floor())


_MEASURED = """
import re, sys
from pathlib import Path
from cymf.datasets import stream_ratings

def megabytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000

stream = stream_ratings(20_000, 1_000, int(sys.argv[1]))
before = megabytes("VmRSS")
kept = [batch for batch in stream.batches() if len(sys.argv) > 2]
print(megabytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_streams_take_no_memory_for_more_ratings():
    def peak(*arguments):
        command = [sys.executable, "-c", _MEASURED, *arguments]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    few, many = peak("2500000"), peak("5000000")
    assert many < few + 60  # two chunks wait at most
    assert peak("5000000", "kept") > few + 60  # as 24 bytes each would have it


def test_batches_hold_something():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        stream_ratings(5, 5, 5).batches(0)


def test_same_seed_same_ratings_other_seed_others():
    first, again, other = (make_ratings(50, 40, 600, random_state=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.ratings.items, again.ratings.items)
    np.testing.assert_array_equal(first.ratings.values, again.ratings.values)
    assert not np.array_equal(first.ratings.values, other.ratings.values)


def test_without_noise_ratings_are_the_formula():
    data = make_ratings(20, 15, 100, n_factors=3, noise=0.0)
    users, items = data.ratings.users, data.ratings.items
    formula = [
        data.global_mean
        + data.user_bias[i]
        + data.item_bias[j]
        + data.user_factors[i] @ data.item_factors[j]
        for i, j in zip(users, items, strict=True)
    ]
    np.testing.assert_allclose(data.ratings.values, formula, rtol=0, atol=1e-12)
    assert data.noise_floor() < 1e-12


def test_noise_floor_is_the_noise():
    data = make_ratings(500, 300, 40_000, noise=0.7)
    assert data.noise_floor() == pytest.approx(0.7, rel=0.02)


def test_scales_are_standard_deviations():
    data = make_ratings(2000, 2000, 2000, n_factors=5, bias_scale=0.3, factor_scale=0.9)
    assert np.std(data.user_bias) == pytest.approx(0.3, rel=0.1)
    assert np.std(data.item_bias) == pytest.approx(0.3, rel=0.1)
    assert np.std(data.user_factors @ data.item_factors.T) == pytest.approx(0.9, rel=0.1)


def test_expected_of_cells_that_are_not_there():
    data = make_ratings(5, 4, 10)
    with pytest.raises(IndexError, match="item row numbers go from -1 to 2; expected 0 to 3"):
        data.expected([0, 1], [2, -1])
    with pytest.raises(ValueError, match=r"users has shape \(2,\) and items \(1,\)"):
        data.expected([0, 1], [2])


@pytest.mark.parametrize("noise", [0.0, 0.4, 1.5])
def test_expected_rounded_rating_is_the_mean_of_many_draws(noise):
    data = make_ratings(30, 20, 400, noise=noise, rating_scale=(1, 5))
    assert set(np.unique(data.ratings.values)) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    truth = (
        data.global_mean
        + data.user_bias[:, None]
        + data.item_bias
        + data.user_factors @ data.item_factors.T
    )[:5, :5]
    draws = np.random.default_rng(0).normal(0, noise, (20_000, 5, 5)) + truth
    users, items = np.divmod(np.arange(25), 5)
    np.testing.assert_allclose(
        data.expected(users, items),
        np.clip(np.rint(draws), 1, 5).mean(axis=0).ravel(),
        atol=4 * 1.6 / np.sqrt(20_000),
    )


def test_activity_and_popularity_fall_as_they_should():
    data = make_ratings(2000, 1000, 40_000, activity_exponent=1.0, popularity_exponent=1.2)
    items = np.sort(np.bincount(data.ratings.items, minlength=1000))[::-1]
    users = np.sort(np.bincount(data.ratings.users, minlength=2000))[::-1]
    assert items[0] > 20 * np.median(items)
    assert users[0] > 10 * np.median(users)
    even = make_ratings(2000, 1000, 40_000, activity_exponent=0.0, popularity_exponent=0.0)
    np.testing.assert_array_equal(np.bincount(even.ratings.users), 20)
    assert np.bincount(even.ratings.items).max() < 80


@pytest.mark.parametrize("dense", [False, True], ids=["rejection", "gumbel"])
def test_draws_are_plackett_luce(dense, monkeypatch):
    """Two of three items: P({a, b}) = p_a p_b / (1 - p_a) + p_b p_a / (1 - p_b)."""
    if dense:
        monkeypatch.setattr(_drawing, "_REJECTION_ROUNDS", 0)
    p = np.array([0.6, 0.3, 0.1] + [0.0] * 13) + 1e-12  # 16 items: two of them count as few
    rows = 20_000
    counts = np.full(rows, 2)
    cells = _drawing.draw_cells(counts, p, np.random.default_rng(0))
    pairs = (cells % 16).reshape(rows, 2)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        wanted = p[a] * p[b] / (1 - p[a]) + p[a] * p[b] / (1 - p[b])
        seen = np.mean((pairs == (a, b)).all(axis=1))
        assert seen == pytest.approx(wanted, abs=4 * np.sqrt(0.25 / rows))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_ratings": 101}, "101 ratings .* 10 x 10 = 100 cells"),
        ({"n_users": 0}, "n_users must be at least 1, got 0"),
        ({"noise": -1.0}, "noise must be a finite number of at least 0"),
        ({"popularity_exponent": float("nan")}, "popularity_exponent"),
        ({"rating_scale": (5, 1)}, "rating_scale must be None or two whole numbers"),
        ({"rating_scale": (0.5, 5)}, "rating_scale must be None or two whole numbers"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_ratings(**{"n_users": 10, "n_items": 10, "n_ratings": 50, **arguments})


def test_a_size_that_is_no_whole_number():
    with pytest.raises(TypeError, match=r"n_items must be a whole number, got 2\.5"):
        make_ratings(10, 2.5, 5)


def test_movielens_100k(data_dir):
    data = load_movielens("100k", data_home=data_dir)
    assert data.ratings.shape == (943, 1682)
    assert data.ratings.nnz == 100_000
    values, counts = np.unique(data.ratings.values, return_counts=True)
    assert dict(zip(values, counts, strict=True)) == {
        1: 6110,
        2: 11370,
        3: 27145,
        4: 34174,
        5: 21201,
    }
    assert data.ratings.has_timestamps
    assert len(data.titles) == 1682
    assert data.titles[50] == "Star Wars (1977)"
    assert data.genres[1] == ("Animation", "Children's", "Comedy")


def test_movielens_1m(data_dir):
    data = load_movielens("1m", data_home=data_dir)
    assert data.ratings.shape == (6040, 3706)
    assert data.ratings.nnz == 1_000_209
    assert data.titles[1] == "Toy Story (1995)"
    assert data.genres[1] == ("Animation", "Children's", "Comedy")
    first_user, first_item = data.ratings.user_ids.ids[0], data.ratings.item_ids.ids[0]
    assert (first_user, first_item) == (1, 1)


def write_small_100k(folder: Path) -> None:
    """A few lines in the format of MovieLens 100K, invented."""
    folder.mkdir(parents=True)
    (folder / "u.data").write_text("7\t3\t4\t880000001\n7\t9\t1\t880000002\n8\t3\t5\t880000003\n")
    (folder / "u.genre").write_text("unknown|0\nDrama|1\nFilm-Noir|2\n\n")
    lines = "3|Caf\xe9 Nowhere (1971)|x||y|0|1|1\n9|Second One (1972)|x||y|1|0|0\n"
    (folder / "u.item").write_bytes(lines.encode("latin-1"))


def test_small_100k_folder(tmp_path):
    write_small_100k(tmp_path / "ml-100k")
    data = load_movielens("100k", data_home=tmp_path)
    assert data.ratings.nnz == 3
    assert data.titles == {3: "Café Nowhere (1971)", 9: "Second One (1972)"}
    assert data.genres == {3: ("Drama", "Film-Noir"), 9: ("unknown",)}


def test_small_1m_folder(tmp_path):
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    (folder / "ratings.dat").write_text("1::10::5::978300760\n2::20::3::978300761\n")
    (folder / "movies.dat").write_bytes("10::Caf\xe9 (1971)::Drama|War\n".encode("latin-1"))
    data = load_movielens("1m", data_home=tmp_path)
    assert data.ratings.nnz == 2
    assert data.titles == {10: "Café (1971)"}
    assert data.genres == {10: ("Drama", "War")}


def test_small_10m_folder(tmp_path):
    folder = tmp_path / "ml-10M100K"
    folder.mkdir()
    (folder / "ratings.dat").write_text("1::10::4.5::978300760\n2::20::3::978300761\n")
    (folder / "movies.dat").write_text("10::Café (1971)::Drama|War\n", "utf-8")
    data = load_movielens("10m", data_home=tmp_path)
    assert (data.name, data.ratings.nnz, data.ratings.values[0]) == ("MovieLens 10M", 2, 4.5)
    assert data.titles == {10: "Café (1971)"}


@pytest.mark.parametrize("name", ["20m", "25m", "32m"])
def test_small_csv_folder(tmp_path, name):
    folder = tmp_path / f"ml-{name}"
    folder.mkdir()
    (folder / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,10,0.5,978300760\n2,10,5.0,9\n"
    )
    films = 'movieId,title,genres\n10,"Café, The (1971)",Drama|War\n11,Second (1972),(no genres listed)\n'
    (folder / "movies.csv").write_text(films, "utf-8")
    data = load_movielens(name, data_home=tmp_path)
    assert data.ratings.nnz == 2
    assert data.ratings.has_timestamps
    assert data.titles[10] == "Café, The (1971)"
    assert data.genres == {10: ("Drama", "War"), 11: ()}


def test_lastfm(data_dir):
    data = load_lastfm(data_home=data_dir)
    assert (data.ratings.shape, data.ratings.nnz) == ((1892, 17632), 92_834)
    assert (len(data.artists), len(data.tags)) == (17_632, 11_946)
    assert data.artists[2] == "Diary of Dreams"
    assert (data.friends.shape, data.taggings.shape) == ((25_434, 2), (186_479, 3))


def test_small_lastfm_archive(tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch", reason="downloads need pooch")
    archive = tmp_path / "made.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("user_artists.dat", "userID\tartistID\tweight\n2\t51\t13883\n3\t51\t228\n")
        file.writestr(
            "artists.dat", 'id\tname\turl\tpictureURL\n51\tDuran "D" Duran\thttp://x\thttp://y\n'
        )
        file.writestr("tags.dat", "tagID\ttagValue\n1\tcaf\xe9\n".encode("latin-1"))
        file.writestr("user_friends.dat", "userID\tfriendID\n2\t3\n3\t2\n")
        file.writestr(
            "user_taggedartists.dat",
            "userID\tartistID\ttagID\tday\tmonth\tyear\n2\t51\t1\t1\t4\t2009\n",
        )

    def copy(self, url, output_file, *_):
        Path(output_file).write_bytes(archive.read_bytes())

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", copy)
    published = dataclasses.replace(_lastfm._ARCHIVE, checksum=pooch.file_hash(str(archive)))
    monkeypatch.setattr(_lastfm, "_ARCHIVE", published)
    with pytest.raises(FileNotFoundError, match=r"hetrec2011-lastfm-2k/ unpacked from"):
        load_lastfm(data_home=tmp_path / "home")
    data = load_lastfm(data_home=tmp_path / "home", download=True)
    assert data.source == tmp_path / "home" / "hetrec2011-lastfm-2k"
    assert data.ratings.values.tolist() == [13883, 228]
    assert (data.artists, data.tags) == ({51: 'Duran "D" Duran'}, {1: "café"})
    assert (data.friends.tolist(), data.taggings.tolist()) == ([[2, 3], [3, 2]], [[2, 51, 1]])


def test_named_folder_before_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CYMF_DATA", str(tmp_path / "named"))
    monkeypatch.setattr(_downloads, "_cache_folder", lambda: tmp_path / "cache")
    write_small_100k(tmp_path / "cache" / "ml-100k")
    assert load_movielens("100k").source == tmp_path / "cache" / "ml-100k"
    write_small_100k(tmp_path / "named" / "ml-100k")
    assert load_movielens("100k").source == tmp_path / "named" / "ml-100k"


def test_missing_movielens_says_where_it_looked(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ml-100k/ unpacked from https://files\.grouplens"):
        load_movielens("100k", data_home=tmp_path)
    with pytest.raises(ValueError, match=r'one of "100k", "1m", "10m", .* got \'20\''):
        load_movielens("20")


def test_download_unpacks_and_checks(tmp_path, monkeypatch, caplog):
    pooch = pytest.importorskip("pooch", reason="downloads need pooch")
    write_small_100k(tmp_path / "made" / "ml-100k")
    archive = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (tmp_path / "made").rglob("u.*"):
            file.write(path, path.relative_to(tmp_path / "made"))

    def copy(self, url, output_file, *_):
        assert url == "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
        Path(output_file).write_bytes(archive.read_bytes())

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", copy)
    home = tmp_path / "home"
    with pytest.raises(ValueError, match=r"is not MovieLens 100k as it was published, whose hash"):
        load_movielens("100k", data_home=home, download=True)
    monkeypatch.setitem(_movielens._CHECKSUMS, "ml-100k", pooch.file_hash(str(archive)))
    with caplog.at_level("WARNING", "cymf"):
        data = load_movielens("100k", data_home=home, download=True)
        assert data.ratings.nnz == 3
        assert data.source == home / "ml-100k"
        load_movielens("100k", data_home=home, download=True)  # is there now
    assert [record.message.split(":")[0] for record in caplog.records] == ["MovieLens 100k"]
    assert "research" in caplog.records[0].message


def test_download_without_pooch(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "cymf\[download\]"'):
        load_movielens("100k", data_home=tmp_path, download=True)


def test_netflix_folder(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no data of the Netflix prize found in .*data_home="
    ):
        load_netflix(data_home=tmp_path)
    folder = tmp_path / "netflix-prize-data"
    folder.mkdir()
    (folder / "combined_data_1.txt").write_text("1:\n7,3,2005-09-06\n2:\n7,4,2005-09-07\n")
    (folder / "movie_titles.csv").write_bytes(
        "1,2003,Caf\xe9, The\n2,NULL,Second\n".encode("latin-1")
    )
    (folder / "probe.txt").write_text("2:\n7\n")
    for home in (tmp_path, folder):
        data = load_netflix(data_home=home)
        assert (data.source, data.ratings.nnz) == (folder, 2)
        assert data.titles == {1: "Café, The", 2: "Second"}
        assert data.years == {1: 2003}
        assert data.probe.tolist() == [[7, 2]]
    (folder / "probe.txt").write_text("2:\nx\n")
    with pytest.raises(ValueError, match=r"probe\.txt, line 2: 'x' is neither"):
        load_netflix(data_home=folder)


def test_gowalla(data_dir):
    data = load_gowalla(data_home=data_dir)
    assert data.train.shape == data.test.shape == (29_858, 40_981)
    assert (data.train.nnz, data.test.nnz) == (810_128, 217_242)


def test_gowalla_as_text(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Gowalla not found in .*: put train\.txt"):
        load_gowalla(data_home=tmp_path)
    folder = tmp_path / "gowalla"
    folder.mkdir()
    (folder / "train.txt").write_text("0 2 1\n1 0\n2\n")
    (folder / "test.txt").write_text("0 0\n1 3\n")
    data = load_gowalla(data_home=tmp_path)
    assert data.train.shape == data.test.shape == (2, 4)
    assert data.train.items.tolist() == [1, 2, 0]
    (folder / "test.txt").write_text("0 zero\n")
    with pytest.raises(ValueError, match=r"test\.txt, line 1: expected a user and its items"):
        load_gowalla(data_home=tmp_path)
