"""The command line with features: fitting, new users by their features, and what is refused."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest

import cymf
from cymf import cli
from cymf._cli_features import read_table


def run(*argv: object) -> int:
    return cli.main([str(argument) for argument in argv])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ratings by town and genre, and tables of users and items with ids that are numbers and words."""
    folder = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    liking = rng.normal(size=(3, 4))
    with open(folder / "ratings.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "rating"])
        for i, j in zip(*np.nonzero(rng.random((60, 40)) < 0.4), strict=True):
            if i % 10 and j % 10:  # the others are known by their features alone
                writer.writerow([i + 1, f"film {j}", round(3 + liking[i % 3, j % 4], 2)])
    with open(folder / "users.tsv", "w") as file:
        file.write("userId\ttown\tage\n")
        file.writelines(f"{i + 1}\t{i % 3}\t{20 + i if i % 7 else ''}\n" for i in range(60))
    with open(folder / "items.csv", "w") as file:
        file.write("name,genres\n")
        file.writelines(f"film {j},g{j % 4}|all\n" for j in range(40))
    (folder / "new.tsv").write_text("userId\ttown\tage\n901\t0\t30\n902\t2\t\n903\t7\t50\n")
    return folder


@pytest.fixture(scope="module")
def model_file(folder):
    path = folder / "model.cymf"
    tables = ["--user-features", folder / "users.tsv", "--item-features", folder / "items.csv"]
    kinds = ["--categorical", "town", "--multi-valued", "genres=|"]
    strengths = ["--n-factors", 4, "--reg", 0.1, "--feature-reg", 0.1]
    given = ["fit", folder / "ratings.csv", *tables, *kinds, *strengths, "--output", path]
    assert run(*given, "--quiet") == 0
    return path


def test_the_model_knows_the_tables(model_file):
    model = cymf.load(model_file)
    state = model._fitted()
    assert (state.n_users, state.n_items) == (60, 40)
    assert model.user_feature_factors_.shape == (5, 4)  # three towns, age, age is missing
    assert model.item_feature_factors_.shape == (5, 4)  # four genres, all
    assert model.predict(1, "film 0") != pytest.approx(state.global_mean)


def test_new_users_get_recommendations(model_file, folder, capsys):
    given = ["recommend", model_file, "--user-features", folder / "new.tsv", "-n", 3]
    assert run(*given, "--json") == 0
    answers = json.loads(capsys.readouterr().out)["recommendations"]
    model = cymf.load(model_file)
    table = {"town": [0, 2, 7], "age": [30, None, 50]}
    items, scores = model.recommend_cold(table, 3)
    assert [answer["user"] for answer in answers] == [901] * 3 + [902] * 3 + [903] * 3
    assert [answer["item"] for answer in answers] == items.ravel().tolist()
    np.testing.assert_allclose([answer["score"] for answer in answers], scores.ravel(), rtol=1e-6)
    assert run(*given) == 0
    assert "901" in capsys.readouterr().out
    assert run(*given, "--output", folder / "best.csv", "--quiet") == 0
    assert len(pd.read_csv(folder / "best.csv")) == 9


def test_users_of_the_model_may_be_known_by_features_alone(model_file, capsys):
    assert (
        run("recommend", model_file, "--users", 1, "-n", 2, "--json") == 0
    )  # user 1 has no ratings
    found = json.loads(capsys.readouterr().out)["recommendations"]
    assert [answer["user"] for answer in found] == [1, 1]


@pytest.mark.parametrize("model", ["sgd", "implicit-als"])
def test_other_models_take_features(model, folder, capsys):
    path = folder / f"{model}.cymf"
    tables = ["--user-features", folder / "users.tsv"]
    given = ["fit", folder / "ratings.csv", "--model", model, *tables, "--n-factors", 2]
    assert run(*given, "--max-iter", 2, "--output", path, "--quiet") == 0
    assert cymf.load(path).user_feature_factors_.shape == (3, 2)


@pytest.mark.parametrize("model", ["gd", "bpr"])
def test_models_without_features_say_so(model, folder, capsys):
    given = [
        "fit",
        folder / "ratings.csv",
        "--model",
        model,
        "--item-features",
        folder / "items.csv",
    ]
    assert run(*given, "--output", folder / "none.cymf") == 1
    assert "--item-features: " in (err := capsys.readouterr().err)
    assert "takes no features; expected --model als, sgd or implicit-als" in err
    assert not (folder / "none.cymf").exists()


@pytest.mark.parametrize(
    ("flags", "code", "complaint"),
    [
        (["--categorical", "colour"], 1, "no table of features has a column 'colour'"),
        (["--multi-valued", "genres"], 2, "'genres' is not NAME=SEPARATOR"),
        (["--user-features", "nowhere.csv"], 1, "nowhere.csv: No such file"),
    ],
)
def test_flags_that_are_refused(flags, code, complaint, folder, capsys):
    given = ["fit", folder / "ratings.csv", "--item-features", folder / "items.csv", *flags]
    assert run(*given, "--output", folder / "none.cymf") == code
    assert complaint in capsys.readouterr().err


def test_a_model_without_features_recommends_nothing_to_new_users(folder, capsys):
    path = folder / "plain.cymf"
    assert run("fit", folder / "ratings.csv", "--n-factors", 2, "--output", path, "--quiet") == 0
    assert run("recommend", path, "--user-features", folder / "new.tsv") == 1
    assert "was not fitted with features of users" in capsys.readouterr().err
    given = ["--user-features", folder / "new.tsv", "--seen", folder / "ratings.csv"]
    assert run("recommend", path, *given) == 2


def test_columns_of_new_users_must_be_those_of_the_fit(model_file, folder, capsys):
    (folder / "odd.csv").write_text("userId,town,shoes\n1,2,44\n")
    assert run("recommend", model_file, "--user-features", folder / "odd.csv") == 1
    assert "lacks 'age' and has the unseen 'shoes'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,b\n1,x\n2,\n", {"a": [1, 2], "b": ["x", ""]}),
        ("a;b\n1.5;007\n;01\n", {"a": [1.5, None], "b": ["007", "01"]}),
        ('a|b\n"x|y"|0\n\nz|0.5\n', {"a": ["x|y", "z"], "b": [0.0, 0.5]}),
        ("\ufeffa\n3\n", {"a": [3]}),
        ("a\tb\n", {"a": [], "b": []}),
    ],
)
def test_text_tables(text, columns, tmp_path):
    path = tmp_path / "table.txt"
    path.write_text(text, encoding="utf-8")
    assert read_table(path) == columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3: 1 fields; expected 2"),
        ("a,a\n1,2\n", "expected a line of column names"),
        ("", "expected a line of column names"),
    ],
)
def test_text_tables_that_are_refused(text, message, tmp_path):
    path = tmp_path / "table.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(path)


def test_parquet_tables(folder, tmp_path):
    pytest.importorskip("pyarrow")
    pd.DataFrame({"item": ["film 1", "film 2"], "tags": [["a"], ["a", "b"]]}).to_parquet(
        tmp_path / "t.parquet"
    )
    table = read_table(tmp_path / "t.parquet")
    assert cymf.Features.from_table(table, "item").names == ("tags=a", "tags=b")
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(ValueError, match="damaged or not a Parquet file"):
        read_table(tmp_path / "bad.parquet")
