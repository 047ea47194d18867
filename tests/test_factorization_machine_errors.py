"""Factorization machines: what is refused and how, files, copies."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from planted_machines import machine, planted, ratings_of
from scipy import sparse

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import sklearn.base

import cymf
from cymf._model_file import save_state

X3 = np.array([[1.0, 0, 2], [0, 1, 1], [2, 2, 0], [1, 1, 1]])
Y3 = np.array([1.0, 2, 3, 4])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": "hinge"}, "loss='hinge' is unknown"),
        ({"solver": "newton"}, "solver='newton' is unknown"),
        ({"solver": "als", "loss": "bpr"}, "solver='als' does not know loss='bpr'"),
        ({"burn_in": 100}, "burn_in=100 leaves nothing of max_iter=100"),
        ({"patience": 2}, "patience=2 is given with solver='mcmc'"),
        ({"solver": "als", "patience": 2}, "patience=2 needs a validation set"),
        ({"solver": "als", "reg": [0.1, 0.2]}, "reg has 2 numbers; expected one, or 1"),
        ({"solver": "als", "reg": -1.0}, "reg=-1.0 is out of range"),
        ({"solver": "sgd", "learning_rate": 0.0}, "learning_rate=0.0 is out of range"),
        ({"solver": "sgd", "batch_size": 0}, "batch_size=0 is too small"),
        ({"n_factors": 0}, "n_factors=0 is too small"),
        ({"dtype": "int32"}, "dtype='int32' is not supported"),
    ],
)
def test_parameters_are_checked(parameters, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        cymf.FactorizationMachine(**parameters).fit(X3, Y3)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.where(X3 == 2, np.nan, X3), Y3, "X contains NaN, in row 0, column 2"),
        (
            sparse.csr_array(np.where(X3 == 2, np.inf, X3)),
            Y3,
            "X contains infinity .inf., in row 0, column 2",
        ),
        (X3 * 1e25, Y3, "squares do not fit in float32"),
        (X3, Y3 * 1e25, "squares do not fit in float32"),
        (X3, [1, 2, 3], "X has 4 rows, but y has 3"),
        (X3, [1, 2, np.nan, 3], "y contains NaN .row 2."),
        (X3, None, "the target y is None"),
        (X3, Y3[:, None], "y should be a 1d array"),
        (X3[0], Y3, "Reshape your data"),
        (X3[:0], Y3[:0], "0 sample"),
        (X3[:, :0], Y3, "0 feature"),
        (X3 + 1j, Y3, "Complex data not supported"),
        (X3, ["a", "b", "a", "b"], "expected numbers"),
    ],
)
def test_data_are_checked(X, y, message):
    with pytest.raises(ValueError, match=message):
        cymf.FactorizationMachine().fit(X, y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2, 1], "holds 3 classes"),
        ([1, 1, 1, 1], "only one class, .*1"),
        ([0.5, 1, 1, 0], "Unknown label type: continuous"),
    ],
)
def test_labels_are_checked(y, message):
    with pytest.raises(ValueError, match=message):
        cymf.FactorizationMachine(loss="logistic").fit(X3, y)


def test_more_that_is_wrong_is_said():
    model = cymf.FactorizationMachine(max_iter=12)
    with pytest.raises(TypeError, match="expected numbers: encode categories"):
        model.fit(np.array([["a"], ["b"]]), [1, 2])
    with pytest.raises(
        TypeError, match=r"X are Ratings; expected .* cymf\.design_matrix\(ratings\)"
    ):
        model.fit(ratings_of())
    with pytest.raises(ValueError, match="column_groups holds -1"):
        model.fit(X3, Y3, column_groups=[0, -1, 0])
    with pytest.raises(ValueError, match="no column of group 1, but of 2"):
        model.fit(X3, Y3, column_groups=[0, 2, 0])
    with pytest.raises(ValueError, match=r"column_groups has shape .2,."):
        model.fit(X3, Y3, column_groups=[0, 1])
    with pytest.raises(ValueError, match="sample_weight has a negative"):
        model.fit(X3, Y3, sample_weight=[1, -1, 1, 1])
    with pytest.raises(ValueError, match="zero everywhere"):
        model.fit(X3, Y3, sample_weight=np.zeros(4))
    with pytest.raises(ValueError, match="needs groups"):
        model.set_params(loss="bpr").fit(X3, Y3)
    with pytest.raises(ValueError, match="no group has rows of different targets"):
        model.fit(X3, np.ones(4), groups=np.zeros(4))
    model.set_params(loss="squared")
    with pytest.raises(cymf.NotFittedError, match="not fitted yet"):
        model.predict(X3)
    with pytest.raises(ValueError, match="validation has 2 columns, X has 3"):
        model.fit(X3, Y3, validation=(X3[:, :2], Y3))
    model.fit(X3, Y3)
    with pytest.raises(ValueError, match=r"X has 2 features, but .* expecting 3"):
        model.predict(X3[:, :2])
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "classes_")
    with pytest.raises(ValueError, match="needs draws"):
        model.set_params(solver="als").fit(X3, Y3).predict(X3, return_std=True)


def test_divergence_is_noticed_in_its_epoch():
    X, y, _ = planted(300)
    with pytest.raises(cymf.DivergenceError, match="diverged in epoch 1"):
        machine("sgd", learning_rate=50.0).fit(X, y)


def test_a_failed_fit_leaves_the_model_as_it_was():
    model = cymf.FactorizationMachine(max_iter=12).fit(X3, Y3)
    before = model.predict(X3)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X3, [1, 2, np.nan, 3])
    np.testing.assert_array_equal(model.predict(X3), before)


def test_names_of_columns_are_compared():
    table = pd.DataFrame(X3, columns=["a", "b", "c"])
    model = cymf.FactorizationMachine(max_iter=12).fit(table, Y3)
    with pytest.raises(ValueError, match="must be in the same order"):
        model.predict(table[["b", "a", "c"]])
    with pytest.raises(ValueError, match="unseen at fit time:\n- z"):
        model.predict(table.rename(columns={"a": "z"}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X3)


# ---- files, copies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("solver", ["mcmc", "als"])
def test_saved_and_loaded(tmp_path, loss, solver):
    X, y, _ = planted(100)
    labels = np.where(y > 1, "high", "low") if loss == "logistic" else y
    model = machine(solver, loss=loss, max_iter=15, reg=[0.1], dtype=np.float64).fit(X, labels)
    path = tmp_path / "machine.cymf"
    model.save(path)
    for mmap in (False, True):
        loaded = cymf.load(path, mmap=mmap)
        assert isinstance(loaded, cymf.FactorizationMachine)
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        assert loaded.get_params() == model.get_params() | {"dtype": "float64"}
        assert loaded.history_["seconds"] == model.history_["seconds"]
        assert (loaded.n_iter_, loaded.stop_reason_) == (model.n_iter_, model.stop_reason_)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "machine.cymf"
    model = cymf.FactorizationMachine(max_iter=12).fit(X3, Y3)
    model.save(path)
    content = bytearray(path.read_bytes())
    content[content.index(model.factors_.tobytes()) + 5] ^= 255
    path.write_bytes(content)
    with pytest.raises(cymf.ModelFileError):
        cymf.load(path)
    with pytest.raises(cymf.NotFittedError):
        cymf.FactorizationMachine().save(path)


def test_names_survive_a_file(tmp_path):
    design = cymf.design_matrix(ratings_of())
    model = cymf.FactorizationMachine(2, max_iter=12, n_threads=1).fit(design)
    model.save(tmp_path / "m")
    assert cymf.load(tmp_path / "m").feature_names_in_.tolist() == design.names


def test_pickled_and_cloned():
    model = cymf.FactorizationMachine(2, max_iter=12).fit(X3, Y3)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X3), model.predict(X3))
    with pytest.raises(ValueError, match="read-only"):
        again.factors_[0, 0] = 1
    fresh = sklearn.base.clone(model)
    assert fresh.get_params() == model.get_params()
    with pytest.raises(cymf.NotFittedError):
        fresh.predict(X3)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("sample_weights", np.zeros((3, 7), np.float32)),
        ("sample_constants", np.zeros((3, 1))),
        ("weights", np.zeros(4, np.float64)),
        ("factors", np.zeros((4, 2), np.int32)),
    ],
)
def test_a_file_whose_arrays_do_not_fit_together(tmp_path, name, array):
    X = np.random.default_rng(0).standard_normal((20, 4))
    model = cymf.FactorizationMachine(2, max_iter=4, burn_in=1, n_samples=3).fit(X, X[:, 0])
    model.save(tmp_path / "whole")
    state = model._fitted()
    arrays = {**state.arrays(), name: array}
    save_state(model, tmp_path / "other", state.header(), arrays)
    with pytest.raises(cymf.ModelFileError, match="do not fit together"):
        cymf.load(tmp_path / "other")
    cymf.load(tmp_path / "whole")


def test_targets_whose_scores_do_not_fit():
    """They were infinite predictions."""
    X = np.random.default_rng(0).standard_normal((30, 5))
    with np.errstate(all="ignore"), pytest.raises(cymf.DivergenceError):
        cymf.FactorizationMachine(3, max_iter=5, burn_in=1).fit(1e18 * X, 1e18 * X[:, 0])


def test_batches_and_penalties_of_no_sensible_size():
    X = np.random.default_rng(0).standard_normal((30, 5))
    whole = cymf.FactorizationMachine(2, solver="sgd", max_iter=3, batch_size=30).fit(X, X[:, 0])
    model = cymf.FactorizationMachine(2, solver="sgd", max_iter=3, batch_size=10**30)
    np.testing.assert_array_equal(model.fit(X, X[:, 0]).predict(X), whole.predict(X))
    with pytest.raises(TypeError, match="reg=array"):
        cymf.FactorizationMachine(2, solver="als", reg=np.array(1.0)).fit(X, X[:, 0])
