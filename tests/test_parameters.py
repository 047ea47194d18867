"""Reading, setting, printing and cloning the parameters of an estimator."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import sklearn.base
from sklearn.utils import get_tags

from cymf._parameters import Parameterized


class Sample(Parameterized):
    def __init__(self, n_factors=10, *, reg=0.1, dtype="float32", random_state=0, tol=1e-4):
        self.n_factors = n_factors
        self.reg = reg
        self.dtype = dtype
        self.random_state = random_state
        self.tol = tol


def test_get_params_follows_the_signature():
    assert list(Sample(3).get_params().items()) == [
        ("n_factors", 3),
        ("reg", 0.1),
        ("dtype", "float32"),
        ("random_state", 0),
        ("tol", 1e-4),
    ]


def test_set_params_returns_self():
    model = Sample()
    assert model.set_params(reg=2.0, n_factors=5) is model
    assert (model.reg, model.n_factors) == (2.0, 5)


def test_set_params_with_an_unknown_name_changes_nothing():
    model = Sample()
    with pytest.raises(ValueError, match=r"Sample has no parameter 'depth'; it has n_factors"):
        model.set_params(reg=2.0, depth=1)
    assert model.reg == 0.1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"depth": 3}, "Sample has no parameter 'depth'; it has n_factors, reg"),
        ({"factors": 3}, r"cymf calls it n_factors \(it has n_factors, reg"),
        ({"reg": 1, "regParam": 0.1}, "'regParam'; cymf calls it reg "),
        ({"implicitPrefs": True}, "cymf.ImplicitALS"),
        ({"lr_all": 0.1}, "no parameter 'lr_all'; it has"),  # nor has it one under our name
    ],
)
def test_the_constructor_names_what_other_libraries_call_otherwise(given, message):
    with pytest.raises(TypeError, match=message):
        Sample(**given)
    with pytest.raises(ValueError, match=message):
        Sample().set_params(**given)


def test_a_constructor_that_takes_any_name_gets_it():
    class Open(Parameterized):
        def __init__(self, **others):
            self.others = others

    assert Open(factors=3).others == {"factors": 3}


@pytest.mark.parametrize(
    "model",
    [
        Sample(),
        Sample(3),
        Sample(reg=0.25, tol=0.0),
        Sample(dtype=np.float64),
        Sample(dtype=np.dtype("float64")),
        Sample(n_factors=np.int64(7), reg=np.float32(0.5)),
        Sample(tol=float("inf"), random_state=None),
    ],
)
def test_repr_can_be_pasted(model):
    pasted = eval(repr(model), {"Sample": Sample, "float": float})
    for name, value in model.get_params().items():
        found = getattr(pasted, name)
        assert found == value or np.dtype(found) == np.dtype(value)


def test_repr_names_what_differs_from_the_defaults():
    assert repr(Sample()) == "Sample()"
    assert repr(Sample(3, reg=0.1, dtype=np.float64)) == "Sample(n_factors=3, dtype='float64')"
    assert repr(Sample(random_state=False)) == "Sample(random_state=False)"  # False == 0


def test_repr_of_nan_and_of_generators():
    assert repr(Sample(tol=float("nan"))) == "Sample(tol=float('nan'))"
    assert "random_state=Generator(PCG64)" in repr(Sample(random_state=np.random.default_rng(0)))


def test_scikit_learn_clones():
    rng = np.random.default_rng(0)
    for model in (Sample(), Sample(4, dtype=np.float64), Sample(reg=np.float64(3))):
        clone = sklearn.base.clone(model)
        assert clone is not model
        assert clone.get_params() == model.get_params()
    assert sklearn.base.clone(Sample(random_state=rng)).random_state is not rng


def test_scikit_learn_takes_it_for_a_regressor():
    assert sklearn.base.is_regressor(Sample())
    assert get_tags(Sample()).input_tags.sparse


def test_scikit_learn_is_not_imported():
    code = (
        "import sys, cymf._parameters as p; "
        "repr(p.Parameterized()), p.Parameterized().get_params(); "
        "sys.exit('sklearn' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
