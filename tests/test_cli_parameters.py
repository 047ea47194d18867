"""Flags made from an estimator's signature: names, types, choices, help, and nothing left out."""

from __future__ import annotations

import argparse
import inspect

import pytest

import cymf
from cymf import _cli_parameters
from cymf._cli_parameters import ESTIMATORS, add_parameter_flags, given_parameters


class Invented:
    """A model that is not there.

    Parameters
    ----------
    n_factors : int, default=4
        Number of `factors`.
    reg, reg_bias : float
        Penalty, 5 % of it.
    step : {"short", "long"}, default "short"
        How far
        to go.
    """

    def __init__(
        self,
        n_factors: int = 4,
        *,
        reg: float = 0.1,
        reg_bias: float | None = None,
        step: str = "short",
        patience: int | None = None,
        use_bias: bool = True,
        verbose: bool = False,
    ) -> None:
        """Nothing to do."""


@pytest.fixture
def invented(monkeypatch):
    monkeypatch.setattr(_cli_parameters, "estimator_class", lambda model: Invented)
    parser = argparse.ArgumentParser(prog="x", allow_abbrev=False)
    add_parameter_flags(parser, "als")
    return parser


def test_flags_of_a_signature(invented):
    text = "--n-factors 7 --reg 2 --reg-bias none --step long --patience 3 --no-use-bias"
    words = text.split()
    assert given_parameters(invented.parse_args(words)) == {
        "n_factors": 7,
        "reg": 2.0,
        "reg_bias": None,
        "step": "long",
        "patience": 3,
        "use_bias": False,
    }
    assert given_parameters(invented.parse_args([])) == {}


def test_flags_explain_themselves(invented):
    text = " ".join(invented.format_help().split())
    assert "--n-factors INT Number of factors (default: 4)" in text
    assert "--reg-bias NUMBER Penalty, 5 % of it (default: none)" in text
    assert "--step {short,long} How far to go (default: short)" in text
    assert "verbose" not in text


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--n-factors 2.5", "'2.5' is not a whole number"),
        ("--reg much", "'much' is not a number"),
        ("--patience soon", "'soon' is not a whole number or \"none\""),
        ("--step none", "argument --step: invalid choice"),
    ],
)
def test_values_of_the_wrong_kind(invented, capsys, words, complaint):
    with pytest.raises(SystemExit, match="2"):
        invented.parse_args(words.split())
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("model", ESTIMATORS)
def test_every_parameter_has_a_flag_and_every_default_passes(model):
    cls = getattr(cymf, ESTIMATORS[model])
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_parameter_flags(parser, model)
    parameters = {
        name: parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if name != "verbose"
    }
    words = []
    for name, default in parameters.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(default, bool):
            words.append(flag if default else flag.replace("--", "--no-", 1))
        else:
            words.append(f"{flag}={'none' if default is None else default}")
    given = given_parameters(parser.parse_args(words))
    assert given == parameters
    assert cls(**given).get_params() == cls().get_params()
    for action in parser._actions[1:]:
        assert not action.help.startswith("(default"), f"{action.dest} is not documented"
