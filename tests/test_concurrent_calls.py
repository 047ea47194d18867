"""Many threads at once: queries, fits, saves, and a fit beside queries give what one thread gives.

With a global lock the kernels overlap, as they run without it; on free-threaded Python everything does.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import cymf
from cymf._base import MatrixFactorization

N_THREADS = 8
MODELS = [
    value
    for value in (getattr(cymf, name) for name in cymf.__all__)
    if isinstance(value, type) and issubclass(value, MatrixFactorization)
]
every_model = pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)


@pytest.fixture(scope="module")
def ratings():
    return cymf.datasets.make_ratings(300, 200, 6000, random_state=0).ratings


def small(kind, **changes):
    wanted = {"n_factors": 8, "max_iter": 3, "n_threads": 2, **changes}
    return kind(**{name: wanted[name] for name in kind().get_params() if name in wanted})


def bits(model):
    state = model._fitted()
    arrays = (state.user_factors, state.item_factors, state.user_bias, state.item_bias)
    return b"".join(array.tobytes() for array in arrays if array is not None)


def at_once(work, n_threads=N_THREADS):
    """``[work(0), work(1), …]``, all started at the same moment."""
    barrier = threading.Barrier(n_threads)

    def started(number):
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(started, range(n_threads)))


@every_model
def test_fits_at_once_give_the_bits_of_one(kind, ratings):
    alone = [bits(small(kind, random_state=seed).fit(ratings)) for seed in range(2)]
    together = at_once(lambda number: bits(small(kind, random_state=number % 2).fit(ratings)))
    for number, found in enumerate(together):
        assert found == alone[number % 2]


@every_model
def test_queries_at_once_give_the_answers_of_one(kind, ratings):
    """The first queries of a model race for its index, which is made when it is first needed."""

    def answers(model, number):
        users = np.roll(np.arange(60), number)
        return [
            array.tobytes()
            for array in (
                *model.recommend(users, n=7),
                *model.recommend(int(users[0]), n=3),
                *model.similar_items(np.arange(5) + number, n=4),
                *model.similar_users(users[:5], n=4, metric="dot"),
                model.predict(users, np.arange(60)),
            )
        ]

    model = small(kind).fit(ratings)
    together = at_once(lambda number: answers(model, number))
    fresh = small(kind).fit(ratings)
    for number, found in enumerate(together):
        assert found == answers(fresh, number)


@every_model
def test_a_reader_sees_one_model_or_the_other(kind, ratings):
    """One thread trains on two sets of ratings by turns; the others' answers are of one of them, never of a mixture."""
    sides = [ratings.subset(np.arange(ratings.nnz) % 3 != left_out) for left_out in range(2)]
    model = small(kind, n_threads=1)
    users = np.arange(40)

    def answer():
        items, scores = model.recommend(users, n=5, exclude_seen=False)
        return items.tobytes() + scores.tobytes()

    expected = set()
    for side in sides:
        model.fit(side)
        expected.add(answer())
    done = threading.Event()

    def work(number):
        if number == 0:
            try:
                for turn in range(12):
                    model.fit(sides[turn % 2])
            finally:
                done.set()
            return set()
        found = set()
        while not done.is_set():
            found.add(answer())
        return found

    for found in at_once(work, 4):
        assert found <= expected


def test_models_are_saved_while_others_train(ratings, tmp_path):
    model = small(cymf.ALS).fit(ratings)
    expected = bits(model)

    def work(number):
        if number % 2:
            return bits(small(cymf.SGD, random_state=number).fit(ratings)) != expected
        path = tmp_path / f"{number % 4}.cymf"  # two threads write each file
        for _ in range(5):
            model.save(path)
            assert bits(cymf.load(path)) == expected
        return True

    assert all(at_once(work))


def test_blas_threads_are_restored_after_the_last_fit(ratings):
    def threads():
        return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}

    with threadpool_limits(2, "blas"):
        before = threads()
        assert 2 in before.values()
        at_once(lambda number: small((cymf.ALS, cymf.SpectralMF)[number % 2]).fit(ratings))
        assert {path: n for path, n in threads().items() if path in before} == before


def test_the_first_use_of_all_kernels_may_be_in_many_threads():
    """In a fresh process, where nothing has been imported or chosen yet."""
    code = """
import threading, numpy as np
found, barrier = [], threading.Barrier(6)
def work(number):
    barrier.wait()
    import cymf
    ratings = cymf.Ratings.from_matrix(np.arange(1.0, 31.0).reshape(6, 5))
    kind = (cymf.ALS, cymf.ImplicitALS, cymf.BPR)[number % 3]
    model = kind(2, max_iter=2, n_threads=1).fit(ratings)
    found.append((number % 3, model.recommend(0, n=2, exclude_seen=False)[1].tobytes()))
threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(found) == 6 and len(set(found)) == 3, found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a global lock"
)
def test_all_modules_leave_the_global_lock_off():
    code = """
import importlib, pathlib, sys, cymf
from cymf._kernels import _cpu
found = list(pathlib.Path(cymf.__file__).parent.rglob("*" + pathlib.Path(_cpu.__file__).suffix))
assert len(found) > 10
for module in found:
    parts = module.relative_to(pathlib.Path(cymf.__file__).parents[1]).with_suffix("").parts
    name = ".".join((*parts[:-1], parts[-1].partition(".")[0]))
    if not name.endswith("_v4"):
        importlib.import_module(name)
assert not sys._is_gil_enabled()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
