"""Reading while a model is trained: every answer is of one version of the model, never of two.

All versions are made once in one thread, with their answers. Then readers ask while a writer goes through the same
versions; each answer must be, bit for bit, that of some version, and a reader must never be led back to an older one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cymf

N_USERS, N_ITEMS, N_VERSIONS = 30, 12, 25
QUESTIONS: dict[str, Callable[[Any], tuple[np.ndarray, ...]]] = {
    "predict": lambda model: (model.predict(*np.divmod(np.arange(N_USERS * N_ITEMS), N_ITEMS)),),
    "recommend": lambda model: model.recommend(np.arange(N_USERS), 50, exclude_seen=False),
    "recommend unseen": lambda model: model.recommend(np.arange(N_USERS), 50),
    "recommend to one": lambda model: model.recommend(3, 50),
    "similar items": lambda model: model.similar_items(np.arange(N_ITEMS), 5, metric="dot"),
    "recommend by factors": lambda model: model.recommend_by_factors(np.ones(3), 5),
}  # fmt: skip
FOLD_INS: dict[str, Callable[[Any], tuple[np.ndarray, ...]]] = {
    "fold in": lambda model: model.user_factors_for(np.arange(5), np.arange(1.0, 6.0), return_bias=True),
}  # fmt: skip


def world() -> np.ndarray:
    """Every user has rated every item but one, all alike."""
    ratings = np.full((N_USERS, N_ITEMS), 4.0)
    ratings[np.arange(N_USERS), np.arange(N_USERS) % N_ITEMS] = np.nan
    return ratings


def update(model: Any, version: int) -> None:
    """Turn all ratings over, and add a user and an item: both sides' factors change by half of their size."""
    size = N_USERS + version, N_ITEMS + version
    turned = np.full((size[0] + 1, size[1] + 1), np.nan)
    turned[:N_USERS, :N_ITEMS] = np.where(
        np.isnan(world()), np.nan, 1.0 if version % 2 == 0 else 4.0
    )
    turned[size[0], : size[1]] = 3.0
    turned[: size[0], size[1]] = 2.0
    model.partial_fit(turned)


def made(estimator: type, **parameters: Any) -> Any:
    return estimator(3, max_iter=3, n_threads=1, random_state=0, **parameters).fit(world())


def bits(answer: tuple[np.ndarray, ...]) -> bytes:
    return b"".join(np.asarray(part).tobytes() for part in answer)


MODELS = {
    "ALS": (cymf.ALS, {"reg": 0.1, "use_bias": False}),
    "ImplicitALS": (cymf.ImplicitALS, {}),
    "SGD": (cymf.SGD, {"learning_rate": 0.1, "schedule": "constant", "use_bias": False}),
}


@pytest.mark.parametrize(("estimator", "parameters"), MODELS.values(), ids=MODELS)
def test_a_reader_sees_the_old_model_or_the_new_one(estimator, parameters):
    questions = QUESTIONS | ({} if estimator is cymf.ImplicitALS else FOLD_INS)
    model = made(estimator, **parameters)
    versions: dict[str, dict[bytes, list[int]]] = {name: {} for name in questions}
    for version in range(N_VERSIONS + 1):
        for name, ask in questions.items():
            versions[name].setdefault(bits(ask(model)), []).append(version)
        if version < N_VERSIONS:
            update(model, version)
    assert all(len(answers) > N_VERSIONS // 2 for answers in versions.values()), "they differ"

    model = made(estimator, **parameters)
    finished = threading.Event()
    strange: list[str] = []
    seen: dict[str, set[int]] = {name: set() for name in questions}

    def read(name: str) -> None:
        latest = 0
        while not strange:
            last_round = finished.is_set()
            possible = versions[name].get(bits(questions[name](model)), [])
            later = [version for version in possible if version >= latest]
            if not later:
                strange.append(f"{name}: an answer of {possible} after {latest}")
                return
            latest = later[0]
            seen[name].add(latest)
            if last_round:
                return

    readers = [threading.Thread(target=read, args=(name,)) for name in questions]
    for reader in readers:
        reader.start()
    for version in range(N_VERSIONS):
        update(model, version)
        time.sleep(0.002)
    finished.set()
    for reader in readers:
        reader.join()
    assert not strange
    assert max(len(versions_seen) for versions_seen in seen.values()) > 2, "nobody read meanwhile"


def test_a_mixture_would_be_noticed():
    """Factors of two versions predict what no version does."""
    model = made(cymf.ALS, reg=0.1, use_bias=False)
    before = model.user_factors_ @ model.item_factors_.T
    users = model.user_factors_
    update(model, 0)
    after = model.user_factors_ @ model.item_factors_.T
    mixed = users @ model.item_factors_.T
    close = {"rtol": 0, "atol": 0.3}
    assert not np.allclose(mixed, before[:, :1], **close)
    assert not np.allclose(mixed[:, :N_ITEMS], after[:N_USERS, :N_ITEMS], **close)


def test_a_file_of_recommendations_is_of_one_version(tmp_path, monkeypatch):
    """It is made block by block; a model that is trained in between changes nothing of it."""
    monkeypatch.setattr("cymf._recommender._BLOCK_ANSWERS", 8)
    model = made(cymf.ALS, reg=0.1, use_bias=False)
    model.recommend_all(tmp_path / "undisturbed.csv", 4)
    recommend = cymf.ALS.recommend
    versions = iter(range(100))

    def disturbed(self, *arguments, **options):
        update(model, next(versions))
        return recommend(self, *arguments, **options)

    monkeypatch.setattr(cymf.ALS, "recommend", disturbed)
    model.recommend_all(tmp_path / "disturbed.csv", 4)
    assert next(versions) > 3
    assert (tmp_path / "disturbed.csv").read_bytes() == (tmp_path / "undisturbed.csv").read_bytes()
