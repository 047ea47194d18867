"""Command-line flags of an estimator, made from its signature and its docstring.

Nothing about a parameter is written down twice: names, defaults and types come from the signature,
choices and help from the numpydoc section *Parameters*.
"""

from __future__ import annotations

import argparse
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "ESTIMATORS",
    "RATING_MODELS",
    "add_parameter_flags",
    "estimator_class",
    "flag_owners",
    "given_parameters",
    "parameters_of",
    "ranks",
]

ESTIMATORS: Mapping[str, str] = {
    "als": "ALS",
    "sgd": "SGD",
    "gd": "GradientDescent",
    "svdpp": "SVDpp",
    "nmf": "NMF",
    "bayesian-mf": "BayesianMF",
    "implicit-als": "ImplicitALS",
    "bpr": "BPR",
    "logistic-mf": "LogisticMF",
    "contrastive-mf": "ContrastiveMF",
    "spectral-mf": "SpectralMF",
    "popularity": "Popularity",
}
RATING_MODELS = ("als", "sgd", "gd", "svdpp", "nmf", "bayesian-mf")  # the others are for rankings
_SHOWN_BY_THE_COMMAND_LINE = frozenset({"verbose"})  # progress: see --quiet
_DESTINATION = "parameter_"


def estimator_class(model: str) -> type[Any]:
    """Class of a model's short name."""
    import cymf

    return typing.cast("type[Any]", getattr(cymf, ESTIMATORS[model]))


def ranks(model: object) -> bool:
    """Whether a model is for rankings, rather than for predicted ratings."""
    return type(model).__name__ not in {ESTIMATORS[name] for name in RATING_MODELS}


def parameters_of(model: str) -> dict[str, inspect.Parameter]:
    """Parameters of the constructor that flags are made of, in order."""
    signature = inspect.signature(estimator_class(model))
    return {
        name: parameter
        for name, parameter in signature.parameters.items()
        if name not in _SHOWN_BY_THE_COMMAND_LINE
    }


def add_parameter_flags(parser: argparse.ArgumentParser, model: str) -> None:
    """Add one flag for every parameter of the model's constructor."""
    cls = estimator_class(model)
    group = parser.add_argument_group(
        f"parameters of {cls.__name__} (--model {model})",
        "Other models have other parameters: --model "
        + "|".join(ESTIMATORS)
        + " with --help lists them.",
    )
    hints = typing.get_type_hints(cls.__init__)
    documented = _documented_parameters(cls)
    for name, parameter in parameters_of(model).items():
        documented_type, text = documented.get(name, ("", ""))
        options: dict[str, Any] = {
            "dest": _DESTINATION + name,
            "default": argparse.SUPPRESS,
            "help": f"{text} (default: {_shown(parameter.default)})".strip().replace("%", "%%"),
        }
        kinds = _kinds(hints.get(name), parameter.default)
        if kinds == {bool}:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = _converter(kinds)
            options["choices"] = _choices(documented_type)
            options["metavar"] = None if options["choices"] else _metavar(kinds)
        group.add_argument(_flag(name), **options)


def given_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """The parameters that were given on the command line, by name."""
    return {
        name.removeprefix(_DESTINATION): value
        for name, value in vars(arguments).items()
        if name.startswith(_DESTINATION)
    }


def flag_owners(flag: str) -> list[str]:
    """Short names of the models that have a flag."""
    name = re.sub(r"^--(no-)?", "", flag.partition("=")[0])
    return [model for model in ESTIMATORS if name in {_flag(p)[2:] for p in parameters_of(model)}]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: object) -> str:
    return "none" if value is None else str(value)


def _kinds(hint: object, default: object) -> set[type]:
    """Types a value may have."""
    options = typing.get_args(hint) if _is_union(hint) else (hint,)
    kinds = {option for option in options if option in (bool, int, float, str, type(None))}
    return typing.cast("set[type]", kinds) or {type(default)}


def _choices(documented_type: str) -> list[str] | None:
    """The words of a documented type such as ``{"raise", "back_off"}, default "raise"``."""
    braces = re.search(r"\{([^}]*)\}", documented_type)
    return None if braces is None else re.findall(r"[\"']([^\"']*)[\"']", braces.group(1))


def _is_union(hint: object) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _metavar(kinds: set[type]) -> str:
    return "NUMBER" if float in kinds else "INT" if int in kinds else "TEXT"


def _converter(kinds: set[type]) -> Callable[[str], object]:
    """Function from a flag's text to the value, for argparse's `type`."""

    def convert(text: str) -> object:
        if type(None) in kinds and text.lower() == "none":
            return None
        if int in kinds:
            try:
                return int(text)
            except ValueError:
                pass
        if float in kinds:
            try:
                return float(text)
            except ValueError:
                pass
        if bool in kinds and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if str in kinds:
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is not {_wanted(kinds)}")

    return convert


def _wanted(kinds: set[type]) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", type(None): '"none"'}
    if float in kinds:
        kinds = kinds - {int}
    return " or ".join(text for kind, text in names.items() if kind in kinds)


def _documented_parameters(cls: type[Any]) -> dict[str, tuple[str, str]]:
    """Type and explanation of every parameter in a numpydoc docstring."""
    doc = inspect.getdoc(cls) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}\n|\Z)", doc, re.M | re.S)
    found: dict[str, tuple[str, str]] = {}
    if section is None:
        return found
    for names, kind, body in re.findall(
        r"^(\w+(?:, \w+)*) *:([^\n]*)\n((?:[ \t]+[^\n]*\n?|\n)*)", section.group(1), re.M
    ):
        text = " ".join(body.replace("`", "").split()).rstrip(".")
        found.update(dict.fromkeys(names.split(", "), (kind, text)))
    return found
