"""What is made when it is first asked for, asked for by many threads at the same moment.

Ratings make their views, id maps their tables, fitted models their indexes, folded-in sides, posteriors and cold rows
only when needed. Here all of that is new, and eight threads come for it at once, each in another order; every answer
must be, bit for bit, that of one thread. Without a global lock nothing keeps them apart but the code itself.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from described_ratings import made_up

import cymf
from cymf._ids import IdMap
from cymf.compat import _implicit_model
from cymf.compat import implicit as implicit_drop_in

N_THREADS, N_ROUNDS = 8, 3


@pytest.fixture(autouse=True)
def _switch_often():
    """A global lock, if there is one, changes hands as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def described():
    """Ratings with ids that are words, and the features of both sides."""
    cells, people, films = made_up(n_users=120, n_items=60)
    return cymf.Ratings.from_table(cells), people, films


def at_once(work: Callable[[int], Any]) -> list[Any]:
    barrier = threading.Barrier(N_THREADS)

    def started(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(started, range(N_THREADS)))


def bits(answer: Any) -> bytes:
    if isinstance(answer, (tuple, list)):
        return b"".join(map(bits, answer))
    array = np.asarray(answer)
    return repr(array.tolist()).encode() if array.dtype == object else array.tobytes()


def assert_all_get_what_one_gets(fresh: Callable[[], Any], questions: dict[str, Any]) -> None:
    """Ask something fresh by one thread, and again by many, each of which begins with another question."""
    names = list(questions)
    subject = fresh()
    expected = {name: bits(questions[name](subject)) for name in names}

    def ask(subject: Any, number: int) -> dict[str, bytes]:
        begin = number % len(names)
        return {name: bits(questions[name](subject)) for name in names[begin:] + names[:begin]}

    for _ in range(N_ROUNDS):
        subject = fresh()
        for found in at_once(lambda number, subject=subject: ask(subject, number)):
            for name in names:
                assert found[name] == expected[name], name


def test_views_of_ratings(described):
    given = described[0]
    assert_all_get_what_one_gets(
        lambda: given.subset(np.arange(given.nnz)),
        {
            "users": lambda ratings: ratings.users,
            "csr": lambda ratings: ratings.csr(np.float32)[:3],
            "csc": lambda ratings: ratings.csc(np.float64)[:3],
            "csc, single": lambda ratings: ratings.csc(np.float32)[:3],
            "counts": lambda ratings: ratings.item_counts,
        },
    )


@pytest.mark.parametrize(
    "ids",
    [np.arange(0, 4000, 2), np.arange(2000) * 2**40, np.array([f"id {i}" for i in range(2000)])],
    ids=["close together", "far apart", "words"],
)
def test_tables_of_ids(ids):
    assert_all_get_what_one_gets(
        lambda: IdMap(ids),
        {
            "known": lambda known: known.to_index(ids[::-3]),
            "some": lambda known: known.to_index(ids[100:130]),
        },
    )


RANKING = {
    "predict": lambda model: model.predict([["u1", "i2"], ["nobody", "i3"], ["u7", "nothing"]]),
    "recommend": lambda model: model.recommend(["u1", "u2", "nobody"], 5),
    "recommend to one": lambda model: model.recommend("u3", 5),
    "popularity": lambda model: model.recommend(["nobody"], 5),
    "similar items": lambda model: model.similar_items(["i1", "i2"], 4),
    "similar users": lambda model: model.similar_users("u5", 4, metric="dot"),
}
DESCRIBED = {
    "cold": lambda model: model.predict_cold(
        user_features={"town": ["t1"], "age": [30.0]}, items=["i1"]
    ),
    "cold items": lambda model: model.recommend_cold(
        {"town": ["t1", "t2"], "age": [30.0, 50.0]}, 4
    ),
    "fold in": lambda model: model.user_factors_for(["i1", "i4"], [5.0, 1.0]),
    "deviations": lambda model: model.predict("u1", ["i1", "i2"], return_std=True),
    "thompson": lambda model: model.recommend("u1", 4, explore="thompson", random_state=0),
    "explain": lambda model: model.explain("u2", "i3").contributions,
}


@pytest.mark.parametrize("kind", [cymf.ALS, cymf.ImplicitALS], ids=lambda kind: kind.__name__)
def test_indexes_posteriors_and_cold_rows_of_models(kind, described, tmp_path):
    ratings, people, films = described
    model = kind(4, max_iter=3, n_threads=2)
    model.fit(ratings, user_features=people, item_features=films).save(tmp_path / "model.cymf")
    assert_all_get_what_one_gets(lambda: cymf.load(tmp_path / "model.cymf"), RANKING | DESCRIBED)


@pytest.mark.parametrize("mmap", [False, True], ids=["read", "mapped"])
def test_draws_of_a_gibbs_sampler(described, tmp_path, mmap):
    model = cymf.BayesianMF(4, n_samples=5, burn_in=2, n_threads=2, random_state=0)
    model.fit(described[0]).save(tmp_path / "model.cymf")
    questions = RANKING | {name: DESCRIBED[name] for name in ("deviations", "thompson")}
    assert_all_get_what_one_gets(lambda: cymf.load(tmp_path / "model.cymf", mmap=mmap), questions)


def test_a_factorization_machine(described, tmp_path):
    features = cymf.Features.from_table(described[1], id="user")
    design = cymf.design_matrix(described[0], user_features=features, history="user")
    model = cymf.FactorizationMachine(3, max_iter=3, burn_in=1, n_threads=2).fit(design)
    model.save(tmp_path / "machine.cymf")
    assert_all_get_what_one_gets(
        lambda: cymf.load(tmp_path / "machine.cymf"),
        {
            "predict": lambda machine: machine.predict(design),
            "new rows": lambda machine: machine.predict(design.encode(["u1", "u3"], ["i2", "i4"])),
        },
    )


def test_norms_and_gram_matrices_of_the_drop_in(described):
    likes = described[0].to_scipy()
    trained = implicit_drop_in.AlternatingLeastSquares(factors=4, iterations=2, random_state=0)
    trained.fit(likes, show_progress=False)

    def fresh() -> Any:
        model = implicit_drop_in.AlternatingLeastSquares(factors=4)
        model.user_factors, model.item_factors = trained.user_factors, trained.item_factors
        return model

    assert_all_get_what_one_gets(
        fresh,
        {
            "similar items": lambda model: model.similar_items(3, 5),
            "similar users": lambda model: model.similar_users([1, 2], 5),
            "fold in": lambda model: model.recalculate_user(4, likes[[4]]),
            "recommend": lambda model: model.recommend(4, likes[[4]], N=5),
        },
    )


def test_what_the_drop_in_keeps_is_of_the_factors_it_has(described, monkeypatch):
    """Whoever replaces rows while norms and Gram matrices are made, or makes them while a model is trained."""
    likes = described[0].to_scipy()
    model = implicit_drop_in.AlternatingLeastSquares(factors=4, iterations=3, random_state=0)
    model.fit(
        likes,
        show_progress=False,
        callback=lambda *_: (model.similar_users(0), model.similar_items(0), model.YtY),
    )

    def assert_up_to_date() -> None:
        users, items = model.user_factors, model.item_factors
        np.testing.assert_array_equal(model.user_norms, np.linalg.norm(users, axis=1))
        np.testing.assert_array_equal(model.item_norms, np.linalg.norm(items, axis=1))
        np.testing.assert_array_equal(model.XtX, users.T @ users)
        np.testing.assert_array_equal(model.YtY, items.T @ items)

    assert_up_to_date()

    norms = _implicit_model._norms
    grown = iter([120, 121])

    def disturbed(factors: np.ndarray) -> np.ndarray:
        made = norms(factors)
        for user in grown:
            model.partial_fit_users([user], likes[[user % 7]])
        return made

    model.partial_fit_users([0], likes[[1]])
    monkeypatch.setattr(_implicit_model, "_norms", disturbed)
    assert len(model.similar_users(3, 200)[0]) == 120  # all of the factors it began with
    assert len(model.user_factors) == 122
    assert_up_to_date()


def test_everything_at_once(described, tmp_path):
    """Estimators of many threads on the same ratings: fits with callbacks, searches, updates, files, evaluations."""
    ratings, people, films = described
    train, test = cymf.evaluation.random_split(ratings, random_state=0)
    shared = cymf.ALS(4, max_iter=3, n_threads=2).fit(train)
    shared.save(tmp_path / "shared.cymf")

    def als(_: int) -> Any:
        asked = []

        def ask(record: cymf.Iteration) -> None:
            asked.append(shared.recommend("u1", 3)[1])

        model = cymf.ALS(4, max_iter=3, n_threads=2).fit(train, validation=test, callback=ask)
        return (
            model.predict(test.users, test.items, by="index"),
            asked,
            model.history_["train_rmse"],
        )

    def updates(number: int) -> Any:
        model = cymf.load(tmp_path / "shared.cymf")
        for version in range(3):
            model.partial_fit([[f"u{version}", "i1"], [f"new {version}", "i2"]], [4.0, 2.0])
        model.save(tmp_path / f"updated {number}.cymf")
        again = cymf.load(tmp_path / f"updated {number}.cymf", mmap=True)
        return again.user_factors_, again.recommend("new 1", 3)

    def search(_: int) -> Any:
        model = cymf.SGD(4, max_iter=3, random_state=0, n_threads=1)
        grid = cymf.evaluation.GridSearch(model, {"reg": [0.05, 0.2]}, folds=2, n_jobs=2)
        return [result["score"] for result in grid.fit(train).results_]

    def ranking(_: int) -> Any:
        model = cymf.ImplicitALS(4, max_iter=2, n_threads=2).fit(
            train, user_features=people, item_features=films
        )
        report = cymf.evaluation.evaluate_ranking(model, test, train=train, n_threads=2)
        return [report[name] for name in sorted(report)]

    works = [als, updates, search, ranking]
    expected = [bits(work(100)) for work in works]
    for _ in range(2):
        found = at_once(lambda number: bits(works[number % len(works)](number)))
        for number, answer in enumerate(found):
            assert answer == expected[number % len(works)], works[number % len(works)].__name__
