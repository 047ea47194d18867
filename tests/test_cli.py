"""The command line: what it accepts, what it prints where, and which code it ends with."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import cymf
from cymf import cli
from cymf.datasets import make_ratings


def run(*argv: object) -> int:
    return cli.main([str(argument) for argument in argv])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Ratings with ids that are words, as CSV: all of them, and 300 held out."""
    folder = tmp_path_factory.mktemp("cli")
    ratings = make_ratings(60, 40, 1200, n_factors=2, noise=0.3).ratings
    lines = [
        (f"user-{i:02}", f"item {j}", round(float(value), 3))
        for i, j, value in zip(ratings.users, ratings.items, ratings.values, strict=True)
    ]
    order = np.random.default_rng(0).permutation(len(lines))
    for name, part in (("train.csv", order[300:]), ("test.csv", order[:300])):
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["user", "item", "rating"])
            writer.writerows(lines[k] for k in part)
    return folder


@pytest.fixture(scope="module")
def model_file(files):
    path = files / "fitted.cymf"
    assert run("fit", files / "train.csv", "--n-factors", 3, "--output", path, "--quiet") == 0
    return path


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("", "required: COMMAND"),
        ("fitt x", "invalid choice: 'fitt'"),
        ("fit", "required: RATINGS"),
        ("fit x --model svd", "invalid choice: 'svd'"),
        ("fit x --schedule constant", "--schedule is no parameter of --model als, but of"),
        ("fit x --colour blue", "unrecognized arguments: --colour blue"),
        ("fit x --n-fac 3", "unrecognized arguments: --n-fac 3"),
        ("fit x --n-factors many", "'many' is not a whole number"),
        ("evaluate model.cymf", "give a model file and a file of ratings"),
        ("evaluate a b --n-factors 3", "a saved model has its parameters"),
        ("evaluate a b --cross-validate 5", "takes one file"),
        ("evaluate a --cross-validate 1", "at least 2, got 1"),
        ("recommend m", "one of the arguments --users --all-users --user-features is required"),
        ("recommend m --users 1 --all-users", "not allowed with"),
        ("recommend m --users 1 -n 0", "-n must be at least 1, got 0"),
        ("recommend m --all-users --output x.xls", "must end in .csv or .parquet, got x.xls"),
    ],
)
def test_wrong_command_lines_end_with_2(capsys, words, complaint):
    assert run(*words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert "usage: cymf" in err


@pytest.mark.parametrize("words", ["--help", "--version", "fit --help", "fit --model gd --help"])
def test_help_and_version_end_with_0(capsys, words):
    assert run(*words.split()) == 0
    assert "cymf" in capsys.readouterr().out


def test_help_lists_the_flags_of_the_named_model(capsys):
    run("fit", "--help")
    als = capsys.readouterr().out
    run("fit", "--model=sgd", "--help")
    sgd = capsys.readouterr().out
    assert "--learning-rate" in sgd
    assert "--learning-rate" not in als


def test_fit_saves_what_the_class_would_train(files, capsys):
    path = files / "sgd.cymf"
    words = ("--model", "sgd", "--n-factors", 3, "--max-iter", 4, "--random-state", 5)
    assert run("fit", files / "train.csv", *words, "--output", path) == 0
    out, err = capsys.readouterr()
    assert f"saved to {path}" in out
    assert "SGD(" in out
    assert "iteration 4/4" in err
    model = cymf.load(path)
    direct = cymf.SGD(n_factors=3, max_iter=4, random_state=5)
    direct.fit(cymf.Ratings.from_file(files / "train.csv"))
    np.testing.assert_array_equal(model.user_factors_, direct.user_factors_)


def test_fit_json_is_one_document(files, capsys):
    code = run(
        *("fit", files / "train.csv", "--validation", files / "test.csv", "--max-iter", 3),
        *("--n-factors", 2, "--tol", 0, "--json", "--output", files / "json.cymf"),
    )
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert code == 0
    assert found["model"] == "ALS"
    assert found["parameters"]["n_factors"] == 2
    assert found["ratings"] == {"n_ratings": 900, "n_users": 60, "n_items": 40}
    assert found["n_iter"] == 3
    assert len(found["history"]["validation_rmse"]) == 3
    assert all(isinstance(value, float) for value in found["history"]["validation_rmse"])
    assert "validation RMSE" in err


def test_quiet_leaves_stderr_empty(files, capsys):
    output = files / "quiet.cymf"
    assert run("fit", files / "train.csv", "--max-iter", 2, "--quiet", "--output", output) == 0
    assert capsys.readouterr().err == ""


def test_patience_stops_early(files, capsys):
    code = run(
        *("fit", files / "train.csv", "--validation", files / "test.csv", "--model", "gd"),
        *("--reg", 0, "--n-factors", 20, "--max-iter", 400, "--tol", 0, "--patience", 3),
        *("--json", "--output", files / "patient.cymf"),
    )
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert found["stop_reason"] == "patience"
    assert found["n_iter"] < 400


def test_evaluate_measures_as_the_model_does(files, model_file, capsys):
    assert run("evaluate", model_file, files / "test.csv", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    model, test = cymf.load(model_file), cymf.Ratings.from_file(files / "test.csv")
    assert found["rmse"] == model.rmse(test)
    assert found["mae"] == model.mae(test)
    assert found["r2"] == model.score(test)
    assert 0 < found["mae"] < found["rmse"] < 1
    assert run("evaluate", model_file, files / "test.csv") == 0
    assert f"{found['rmse']:.4f}" in capsys.readouterr().out


def test_cross_validate(files, capsys):
    words = ("--cross-validate", 3, "--model", "gd", "--max-iter", 20, "--json")
    assert run("evaluate", files / "train.csv", *words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "GradientDescent"
    assert len(found["folds"]) == 3
    folds = [fold["rmse"] for fold in found["folds"]]
    assert len(set(folds)) == 3
    assert found["mean"]["rmse"] == pytest.approx(np.mean(folds))
    assert run("evaluate", files / "train.csv", *words[:-1]) == 0
    assert f"{np.mean(folds):.4f}" in capsys.readouterr().out


def test_recommend_to_named_users(model_file, capsys):
    assert run("recommend", model_file, "--users", "user-03", "user-07", "-n", 4, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["recommendations"]
    model = cymf.load(model_file)
    items, scores = model.recommend(["user-03", "user-07"], n=4)
    assert [row["item"] for row in rows] == items.ravel().tolist()
    assert [row["score"] for row in rows] == pytest.approx(scores.ravel().tolist())
    assert [row["rank"] for row in rows] == [1, 2, 3, 4] * 2
    assert [row["user"] for row in rows] == ["user-03"] * 4 + ["user-07"] * 4
    assert run("recommend", model_file, "--users", "user-03", "-n", 1) == 0
    assert items[0, 0] in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_recommend_to_all_users_as_a_file(model_file, tmp_path, monkeypatch, capsys, suffix):
    if suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("cymf._cli_commands._USERS_PER_BLOCK", 7)
    path = tmp_path / f"best{suffix}"
    assert run("recommend", model_file, "--all-users", "-n", 3, "--output", path) == 0
    assert "60 users" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    if suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = parquet.read_table(path).to_pylist()
    assert list(rows[0]) == ["user", "rank", "item", "score"]
    model = cymf.load(model_file)
    users = model._state.user_ids.ids
    items, scores = model.recommend(users, n=3)
    assert [row["user"] for row in rows] == np.repeat(users, 3).tolist()
    assert [row["item"] for row in rows] == items.ravel().tolist()
    np.testing.assert_allclose([float(row["score"]) for row in rows], scores.ravel(), rtol=1e-6)


def test_recommend_to_a_folder_that_is_not_there(model_file, tmp_path, capsys):
    path = tmp_path / "none" / "best.csv"
    assert run("recommend", model_file, "--all-users", "--output", path) == 1
    assert f"{path.parent}: the folder to save in does not exist" in capsys.readouterr().err


def test_places_without_an_item_are_left_out(model_file, capsys):
    assert run("recommend", model_file, "--users", "user-03", "-n", 1000, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["recommendations"]
    rated = (cymf.load(model_file)._state.ratings.users == 3).sum()
    assert len(rows) == 40 - rated
    assert run("recommend", model_file, "--users", "user-03", "-n", 1000, "--include-seen") == 0
    assert len(capsys.readouterr().out.splitlines()) == 40 + 2


def test_a_model_without_ratings_takes_seen(files, tmp_path, capsys):
    path = tmp_path / "bare.cymf"
    assert run("fit", files / "train.csv", "--no-store-ratings", "--output", path) == 0
    assert run("recommend", path, "--users", "user-03") == 1
    assert "exclude_seen" in capsys.readouterr().err
    words = ("--users", "user-03", "-n", 1000, "--json")
    assert run("recommend", path, *words, "--seen", files / "train.csv") == 0
    rows = json.loads(capsys.readouterr().out)["recommendations"]
    assert 0 < len(rows) < 40


def test_unknown_users(model_file, capsys):
    assert run("recommend", model_file, "--users", "nobody", "user-01", "-n", 2) == 0
    assert capsys.readouterr().err.endswith("biases: nobody\n")
    assert run("recommend", model_file, "--users", "nobody", "--unknown", "raise", "--json") == 1
    out, err = capsys.readouterr()
    assert "'nobody'" in err
    assert json.loads(out)["error"]["type"] == "UnknownIdError"


def test_ids_that_are_numbers(tmp_path, capsys):
    path = tmp_path / "u.tsv"
    path.write_text("user\titem\trating\n5\t10\t3.5\n5\t20\t1\n900\t10\t4\n900\t30\t2\n7\t20\t2\n")
    model = tmp_path / "m.cymf"
    assert run("fit", path, "--n-factors", 1, "--output", model) == 0
    capsys.readouterr()
    assert run("recommend", model, "--users", 900, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["recommendations"]
    assert [(row["user"], row["item"]) for row in rows] == [(900, 20)]
    assert run("recommend", model, "--users", "ann") == 1
    assert "whole numbers of up to 64 bits, got --users ann" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("fit", "no-such.csv"), "no-such.csv"),
        (("evaluate", "no-such.cymf", "x.csv"), "no-such.cymf"),
        (("recommend", "no-such.cymf", "--users", "1"), "no-such.cymf"),
    ],
)
def test_failures_end_with_1_and_name_the_file(tmp_path, monkeypatch, capsys, words, complaint):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"cymf {words[0]}: error: ")
    assert complaint in err
    assert "Traceback" not in err
    assert run(*words, "--debug") == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_file_that_is_no_model(files, capsys):
    assert run("evaluate", files / "train.csv", files / "test.csv") == 1
    assert "train.csv" in capsys.readouterr().err


def test_wrong_parameter_values_are_failures_of_the_model(files, capsys):
    assert run("fit", files / "train.csv", "--n-factors", -3) == 1
    assert "n_factors" in capsys.readouterr().err


def test_errors_nobody_foresaw_say_how_to_see_more(monkeypatch, capsys):
    def fail(arguments, console):
        raise ZeroDivisionError

    monkeypatch.setattr("cymf._cli_info.run_info", fail)
    assert run("info") == 1
    assert "ZeroDivisionError: ; --debug shows where" in capsys.readouterr().err


def test_warnings_are_single_lines(monkeypatch, capsys):
    def warn(arguments, console):
        import warnings

        warnings.warn("mind the gap", cymf.ConvergenceWarning, stacklevel=2)
        return 0

    monkeypatch.setattr("cymf._cli_info.run_info", warn)
    assert run("info") == 0
    assert capsys.readouterr().err == "cymf: warning: mind the gap\n"


def test_interrupting_before_a_model_exists(monkeypatch, capsys):
    def interrupt(arguments, console):
        raise KeyboardInterrupt

    monkeypatch.setattr("cymf._cli_info.run_info", interrupt)
    assert run("info") == 130
    assert "interrupted" in capsys.readouterr().err


def test_interrupting_training_saves_the_last_iteration(files, tmp_path, monkeypatch, capsys):
    from cymf._cli_console import Progress

    def interrupt(self, record):
        if record.iteration == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "__call__", interrupt)
    path = tmp_path / "cut.cymf"
    words = ("--max-iter", 50, "--tol", 0, "--output", path)
    assert run("fit", files / "train.csv", *words) == 130
    assert f"saved to {path}" in capsys.readouterr().out
    assert cymf.load(path).n_iter_ == 3


def test_file_options(tmp_path, capsys):
    path = tmp_path / "odd.txt"
    path.write_text("4.0;b;a\n2.0;c;a\n1.0;c;a\n3.0;b;d\n5.0;c;d\n")
    words = ("--sep", ";", "--no-header", "--columns", "2,1,0", "--output", tmp_path / "m.cymf")
    assert run("fit", path, *words, "--n-factors", 1) == 1
    assert "duplicates" in capsys.readouterr().err
    assert run("fit", path, *words, "--n-factors", 1, "--duplicates", "last", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ratings"] == {"n_ratings": 4, "n_users": 2, "n_items": 2}


def test_info(capsys):
    assert run("info", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cymf"] == cymf.__version__
    assert found["numpy"] == np.__version__
    assert found["simd_level"] in found["simd_levels_available"]
    assert found["threads"] >= 1
    assert run("info") == 0
    out = capsys.readouterr().out
    assert f"cymf        {cymf.__version__}" in out
    for word in ("Python", "SciPy", "SIMD level", "BLAS", "threads", "data"):
        assert word in out


def test_module_and_closed_pipe(model_file):
    """`python -m cymf` in a process of its own, whose reader goes away early."""
    command = [sys.executable, "-m", "cymf", "recommend", model_file, "--all-users", "-n", "40"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read().decode()
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("model", ["implicit-als", "bpr", "popularity"])
def test_models_of_rankings(files, tmp_path, capsys, model):
    path = tmp_path / "ranks.cymf"
    command = ["fit", files / "train.csv", "--model", model, "--output", path, "--quiet"]
    if model != "popularity":
        command += ["--n-factors", 4, "--max-iter", 3, "--validation", files / "test.csv"]
    assert run(*command) == 0
    if model != "popularity":
        assert "validation ndcg@10 0." in capsys.readouterr().out
    capsys.readouterr()
    assert run("evaluate", path, files / "test.csv", "--json", "--metrics", "map@5,auc") == 0
    measured = json.loads(capsys.readouterr().out)
    test = cymf.Ratings.from_file(files / "test.csv")
    report = cymf.evaluation.evaluate_ranking(cymf.load(path), test, metrics=("map@5", "auc"))
    assert {name: measured[name] for name in report} == dict(report)
    assert run("evaluate", path, files / "test.csv", "--quiet") == 0
    assert capsys.readouterr().out.split()[:2] == ["recall@20", "ndcg@20"]
    assert run("recommend", path, "--users", "user-01", "-n", 2, "--quiet") == 0


def test_cross_validation_of_rankings(files, capsys):
    command = ["evaluate", files / "train.csv", "--cross-validate", 2, "--model", "popularity"]
    assert run(*command, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["mean"]) == {"recall@20", "ndcg@20", "fit_seconds"}
    assert run("evaluate", files / "train.csv", "--cross-validate", 2, "--metrics", "none@3") == 1


def test_events_without_ratings(tmp_path, capsys):
    path = tmp_path / "clicks.csv"
    path.write_text("user,item\na,1\nb,2\na,1\nb,1\n")
    options = ["--columns", "user,item", "--duplicates", "sum", "--model", "popularity"]
    assert run("fit", path, *options, "--output", tmp_path / "m.cymf", "--json", "--quiet") == 0
    assert json.loads(capsys.readouterr().out)["ratings"]["n_ratings"] == 3


@pytest.mark.parametrize("place", ["folder", "none/model.cymf"])
def test_a_model_that_cannot_be_saved_is_not_trained(files, tmp_path, monkeypatch, capsys, place):
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(cymf.ALS, "fit", lambda *_, **__: pytest.fail("trained"))
    assert run("fit", files / "train.csv", "--output", tmp_path / place) == 1
    err = capsys.readouterr().err
    assert "the folder to save in does not exist" in err or "expected the name of a file" in err


def test_a_model_without_users_and_items(files, tmp_path, capsys):
    path = tmp_path / "machine.cymf"
    X = np.random.default_rng(0).standard_normal((20, 3))
    cymf.FactorizationMachine(2, max_iter=3, burn_in=1).fit(X, X[:, 0]).save(path)
    for words in (("recommend", path, "--all-users"), ("evaluate", path, files / "test.csv")):
        assert run(*words) == 1
        err = capsys.readouterr().err
        assert f"{path} holds a FactorizationMachine" in err
        assert "expected a model of users and items" in err


@pytest.mark.parametrize("given", ["99999999999999999999", "1_0", "1.0", ""])
def test_ids_that_are_no_numbers_of_64_bits(tmp_path, capsys, given):
    (tmp_path / "u.csv").write_text("user,item,rating\n1,1,3\n10,2,4\n1,2,1\n")
    model = tmp_path / "m.cymf"
    assert run("fit", tmp_path / "u.csv", "--n-factors", 1, "--output", model) == 0
    assert run("recommend", model, "--users", given) == 1
    assert f"whole numbers of up to 64 bits, got --users {given}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ("--sep=", 1, "separator='' separates nothing"),
        ("--skip-lines -1", 1, "skip_lines=-1 is too small"),
        ("--encoding nope", 1, "encoding='nope' is unknown"),
        ("--user-features model.bin", 1, "model.bin is not UTF-8 text (byte 0x93)"),
    ],
)
def test_wrong_ways_to_read_a_file(files, tmp_path, monkeypatch, capsys, words, code, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"\x93NUMPY")
    assert run("fit", files / "train.csv", *words.split()) == code
    assert complaint in capsys.readouterr().err


def test_metrics_that_name_nothing_or_too_much(files, model_file, capsys):
    assert run("evaluate", model_file, files / "test.csv", "--metrics", " , ") == 2
    assert "' , ' names nothing" in capsys.readouterr().err
    for cutoff in (10**7, 10**30, "9" * 5000):
        assert run("evaluate", model_file, files / "test.csv", "--metrics", f"recall@{cutoff}") == 1
        assert "has a cutoff beyond 1000000" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device here")
@pytest.mark.parametrize("json", [[], ["--json"]])
def test_output_that_cannot_be_written(model_file, json):
    command = [sys.executable, "-m", "cymf", "recommend", model_file, "--all-users", *json]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "cymf recommend: error: No space left on device\n"


@pytest.mark.skipif(os.name == "nt", reason="there, closed streams are opened again")
def test_closed_streams(model_file):
    """Without an stderr the errors were written among the results."""
    command = f"{sys.executable} -m cymf recommend"
    for words, code, out in (
        (f"{model_file} --users nobody >&-", 0, ""),
        ("no-such-file --all-users 2>&-", 1, ""),
    ):
        done = subprocess.run(
            f"{command} {words}", shell=True, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (code, out)
        assert "Traceback" not in done.stderr
        assert "AttributeError" not in done.stderr
