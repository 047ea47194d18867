"""Data sets fetched from a server of our own: checked, whole or not there, and from the cache from then on."""

from __future__ import annotations

import hashlib
import http.server
import io
import logging
import threading
import zipfile

import pytest

from cymf import DataTermsWarning, _downloads, _movielens
from cymf.datasets import load_movielens

pooch = pytest.importorskip("pooch", reason="downloads need pooch")
pytestmark = pytest.mark.filterwarnings("ignore::cymf.DataTermsWarning")

LINES = "userId,movieId,rating,timestamp\n" + "".join(
    f"{k},{k % 7},{k % 5 + 1},{k}\n" for k in range(2000)
)


def archive():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("ml-20m/movies.csv", 'movieId,title,genres\n1,"Some, The (1970)",Drama\n')
        file.writestr("ml-20m/ratings.csv", LINES)
        file.writestr("ml-20m/README.txt", "...")
    return packed.getvalue()


class Site(http.server.ThreadingHTTPServer):
    """Serves one archive, or part of it, or something else; counts what is asked of it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = archive()
        self.announced = len(self.data)
        self.asked = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.server.data is None:
            self.send_error(503)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.announced))
        self.end_headers()
        self.wfile.write(self.server.data)

    def log_message(self, *_):
        pass


@pytest.fixture
def site(monkeypatch):
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setattr(_movielens, "_SITE", f"http://127.0.0.1:{server.server_port}/")
        checksum = "md5:" + hashlib.md5(server.data).hexdigest()
        monkeypatch.setitem(_movielens._CHECKSUMS, "ml-20m", checksum)
        yield server
        server.shutdown()
        thread.join()


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_fetched_once_and_then_from_the_cache(site, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.delenv("CYMF_DATA", raising=False)
    monkeypatch.setattr(_downloads, "_cache_folder", lambda: tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match="download=True"):
        load_movielens("20m")
    assert site.asked == []
    caplog.set_level(logging.INFO, "cymf")
    with pytest.warns(DataTermsWarning, match="commercial use") as terms:
        found = [load_movielens("20m", download=True).ratings.nnz for _ in range(3)]
    assert found == [2000] * 3
    assert len(terms) == 1
    assert site.asked == ["/ml-20m.zip"]
    assert load_movielens("20m").titles == {1: "Some, The (1970)"}
    assert names(tmp_path / "cache") == ["ml-20m", "ml-20m.zip"]
    assert any("downloading" in each.getMessage() for each in caplog.records)
    assert capfd.readouterr() == ("", "")


def test_an_archive_that_is_there_is_only_unpacked(site, tmp_path):
    (tmp_path / "ml-20m.zip").write_bytes(site.data)
    assert load_movielens("20m", data_home=tmp_path, download=True).ratings.nnz == 2000
    assert site.asked == []


def test_another_archive_is_refused_and_not_kept(site, tmp_path):
    site.data = site.data[:-1] + b"?"
    with pytest.raises(
        ValueError, match=r"is not MovieLens 20m as it was published, whose hash is md5:"
    ):
        load_movielens("20m", data_home=tmp_path, download=True)
    assert names(tmp_path) == []


def test_a_download_that_breaks_off_leaves_nothing(site, tmp_path):
    whole, site.data = site.data, site.data[: len(site.data) // 2]
    with pytest.raises((ConnectionError, ValueError), match=r"ml-20m\.zip into .* by hand"):
        load_movielens("20m", data_home=tmp_path, download=True)
    assert names(tmp_path) == []
    site.data = whole
    assert load_movielens("20m", data_home=tmp_path, download=True).ratings.nnz == 2000


def test_a_site_that_does_not_answer_is_named(site, tmp_path, monkeypatch):
    site.data = None
    with pytest.raises(ConnectionError, match=r"MovieLens 20m could not be fetched \(.*503"):
        load_movielens("20m", data_home=tmp_path, download=True)
    monkeypatch.setattr(_movielens, "_SITE", "http://127.0.0.1:9/")  # nobody listens there
    with pytest.raises(ConnectionError, match="could not be fetched"):
        load_movielens("20m", data_home=tmp_path, download=True)
    assert names(tmp_path) == []


def test_unpacking_that_is_interrupted_leaves_no_data(site, tmp_path, monkeypatch):
    def interrupted(self, path):
        self.extract("ml-20m/movies.csv", path)
        (path / "ml-20m" / "ratings.csv").write_text(LINES[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "extractall", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_movielens("20m", data_home=tmp_path, download=True)
    assert names(tmp_path) == ["ml-20m.zip"]
    assert load_movielens("20m", data_home=tmp_path, download=True).ratings.nnz == 2000
    assert site.asked == ["/ml-20m.zip"]


def test_a_folder_without_its_files_is_named(site, tmp_path):
    (tmp_path / "ml-20m").mkdir()
    (tmp_path / "ml-20m" / "README.txt").write_text("...")
    with pytest.raises(FileNotFoundError, match=r"ml-20m is there, but lacks files .*: remove it"):
        load_movielens("20m", data_home=tmp_path, download=True)
    assert names(tmp_path / "ml-20m") == ["README.txt"]


def test_several_at_once(site, tmp_path):
    found = []

    def load():
        found.append(load_movielens("20m", data_home=tmp_path, download=True).ratings.nnz)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2000] * 4
    assert names(tmp_path) == ["ml-20m", "ml-20m.zip"]
