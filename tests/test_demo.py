"""`cymf demo` says what it trained on, compares its errors, and keeps its promises."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import cymf
from cymf import cli
from cymf._demo_catalogue import make_catalogue


@pytest.fixture
def no_movielens(tmp_path, monkeypatch):
    monkeypatch.setenv("CYMF_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr("cymf._downloads._cache_folder", lambda: tmp_path / "nothing")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The demo on the generated catalogue, run once: its output folder."""
    return tmp_path_factory.mktemp("demo") / "made" / "here"


@pytest.fixture(scope="module")
def shown(generated):
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["demo", "--generated", "--json", "--output", str(generated)])
    assert code == 0
    return json.loads(out.getvalue()), err.getvalue()


def test_titles_are_distinct_and_genres_are_the_truth():
    catalogue = make_catalogue()
    assert len(catalogue.titles) == 400
    assert len(set(catalogue.titles.values())) == 400
    factors = catalogue.data.item_factors
    comedies = [item for item, genres in catalogue.genres.items() if genres == ("Comedy",)]
    assert comedies
    np.testing.assert_array_equal(np.abs(factors[comedies]).argmax(axis=1), 0)
    assert (factors[comedies, 0] > 0).all()
    assert len(set(catalogue.genres.values())) == 12


def test_models_come_near_the_truth(shown):
    found, _ = shown
    mean, truth = (reference["rmse"] for reference in found["references"])
    assert [model["model"] for model in found["models"]] == ["ALS", "SGD", "GradientDescent"]
    for model in found["models"]:
        assert truth < model["rmse"] < truth + 0.5 * (mean - truth)
        assert len(model["history"]["validation_rmse"]) == model["n_iter"]


def test_recommendations_have_titles_and_falling_scores(shown):
    found, _ = shown
    catalogue = make_catalogue()
    assert len(found["recommendations"]) == 3
    for answer in found["recommendations"]:
        scores = [film["score"] for film in answer["recommended"]]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
        for film in answer["recommended"]:
            assert film["title"].startswith(catalogue.titles[film["item"]])
    assert len(found["similar"]["films"]) == 5


def test_similar_films_are_of_the_same_kind(shown):
    """Factors know nothing of genres: that neighbours share one shows that they found the truth."""
    found, _ = shown
    catalogue = make_catalogue()
    known = next(i for i, title in catalogue.titles.items() if title == found["similar"]["title"])
    true = catalogue.data.item_factors / np.linalg.norm(
        catalogue.data.item_factors, axis=1, keepdims=True
    )
    neighbours = [film["item"] for film in found["similar"]["films"]]
    assert (true[neighbours] @ true[known]).mean() > 0.6


def test_components_stand_for_kinds_of_films(shown):
    """Films of one component share a genre more often than films taken at random."""
    found, words = shown
    catalogue = make_catalogue()
    components = found["components"]["films"]
    assert len(components) == 12
    assert "What the components of NMF stand for" in words
    alike = []
    for films in components:
        weights = [film["weight"] for film in films]
        assert weights == sorted(weights, reverse=True)
        genres = [catalogue.genres[film["item"]] for film in films]
        alike += [a == b for i, a in enumerate(genres) for b in genres[:i]]
    assert np.mean(alike) > 0.3  # by chance: one in twelve


def test_files_and_words(generated, shown):
    pytest.importorskip("matplotlib", reason="without matplotlib there is no picture")
    found, words = shown
    assert "generated catalogue" in words
    assert "the truth itself" in words
    assert cymf.load(found["model_file"]).n_iter_ == found["models"][0]["n_iter"]
    assert sorted(path.name for path in generated.iterdir()) == ["als.cymf", "learning-curves.png"]
    assert (generated / "learning-curves.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_it_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(["demo", "--generated", "--output", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert 'pip install "cymf[plot]"' in err
    assert "cymf recommend" in out
    assert [path.name for path in tmp_path.iterdir()] == ["als.cymf"]


def test_without_movielens_it_generates_and_says_why(tmp_path, no_movielens, capsys):
    assert cli.main(["demo", "--output", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "MovieLens 100k not found" in err
    assert "a generated catalogue" in out


def test_movielens(data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CYMF_DATA", str(data_dir))
    assert cli.main(["demo", "--json", "--output", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "MovieLens 100K" in found["source"]
    published = [reference["rmse"] for reference in found["references"]]
    assert published == [0.934, 0.919]
    for model in found["models"]:
        assert model["rmse"] < 0.945, model["model"]
    titles = [film["title"] for film in found["similar"]["films"]]
    assert found["similar"]["title"] == "Star Wars (1977)"
    assert any(title.startswith("Empire Strikes Back, The (1980)") for title in titles)
    seconds = sum(model["seconds"] for model in found["models"])
    assert seconds < 40
