"""The command `cymf`: parsing, exit codes, and what a failure looks like.

Exit codes: 0 fine; 1 the work failed; 2 the command line was wrong; 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import cymf
from cymf._cli_console import Console
from cymf._cli_features import add_feature_flags
from cymf._cli_files import add_file_flags
from cymf._cli_parameters import ESTIMATORS, add_parameter_flags, flag_owners, given_parameters
from cymf._recommendation_file import SUFFIXES

__all__ = ["main"]

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name. Default: those of the process.

    Returns
    -------
    int
        Exit code: 0 fine, 1 the work failed, 2 the command line was wrong, 130 interrupted.

    Examples
    --------
    >>> from cymf.cli import main
    >>> main(["--version"])  # doctest: +ELLIPSIS
    cymf ...
    0
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    for name in ("stdout", "stderr"):  # None where closed, and then print() takes the other one
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # a title a terminal cannot show is no reason to fail
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        arguments = _parse(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    console = Console(as_json=arguments.json, quiet=arguments.quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("always", cymf.ConvergenceWarning)
        warnings.showwarning = _show_warning
        try:
            code: int = arguments.run(arguments, console)
            sys.stdout.flush()
            return code
        except KeyboardInterrupt:
            print("cymf: interrupted", file=sys.stderr)
            return _INTERRUPTED
        except Exception as error:
            if _reader_has_gone(error):
                _forget_output()
                return 0
            if arguments.debug:
                traceback.print_exc()
            message = _message(error, arguments.debug)
            print(f"cymf {arguments.command}: error: {message}", file=sys.stderr)
            try:
                console.document({"error": {"type": type(error).__name__, "message": message}})
                sys.stdout.flush()
            except OSError:  # that it cannot be written may be what is the matter
                _forget_output()
            return 1


def _reader_has_gone(error: Exception) -> bool:
    """Whether the reader of our output, such as `head`, has had enough; Windows calls that an invalid argument."""
    if os.name == "nt" and isinstance(error, OSError) and error.filename is None:
        return error.errno in (errno.EPIPE, errno.EINVAL)
    return isinstance(error, BrokenPipeError)


def _forget_output() -> None:
    """Let go of what could not be written, so that Python does not try again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"cymf: warning: {message}", file=sys.stderr)


def _message(error: Exception, debug: bool) -> str:
    """What went wrong, in words; errors that nobody foresaw say how to see more."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    expected = ValueError | TypeError | ArithmeticError | OSError | ImportError | MemoryError
    if isinstance(error, expected | cymf.UnknownIdError) and str(error):
        return str(error)
    more = "" if debug else "; --debug shows where"
    return f"{type(error).__name__}: {error}{more}"


def _parse(argv: list[str]) -> argparse.Namespace:
    parser, commands = _build_parser(_model_named_in(argv))
    arguments, unknown = parser.parse_known_args(argv)
    command = commands[arguments.command]
    flags = [text for text in unknown if text.startswith("--")]
    for flag in flags:
        owners = flag_owners(flag)
        if owners and hasattr(arguments, "model"):
            command.error(
                f"{flag.partition('=')[0]} is no parameter of --model {arguments.model}, "
                f"but of {' and '.join(f'--model {owner}' for owner in owners)}"
            )
    if unknown:
        command.error(f"unrecognized arguments: {' '.join(unknown)}")
    arguments.check(arguments, command)
    return arguments


def _model_named_in(argv: list[str]) -> str:
    """The value of --model, which decides what other flags there are."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--model", nargs="?")
    try:
        named = finder.parse_known_args(argv)[0].model
    except (argparse.ArgumentError, SystemExit):
        named = None
    return named if named in ESTIMATORS else "als"


def _build_parser(
    model: str,
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="cymf",
        description="Matrix factorization of ratings: A ≈ W H, learnt from the observed cells.",
        epilog="Exit codes: 0 fine, 1 the work failed, 2 wrong command line, 130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cymf {cymf.__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands: dict[str, argparse.ArgumentParser] = {}
    for name, (text, add_arguments) in _COMMANDS.items():
        command = subparsers.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False
        )
        command.set_defaults(check=_nothing_to_check)
        add_arguments(command, model)
        group = command.add_argument_group("output")
        group.add_argument("--json", action="store_true", help="print one JSON document on stdout")
        group.add_argument("--quiet", action="store_true", help="no progress, no remarks")
        group.add_argument("--debug", action="store_true", help="show the traceback of an error")
        commands[name] = command
    return parser, commands


def _add_fit(command: argparse.ArgumentParser, model: str) -> None:
    from cymf._cli_commands import run_fit

    command.add_argument("ratings", type=Path, metavar="RATINGS", help="file of ratings")
    add_file_flags(command)
    command.add_argument(
        "--output", type=Path, default=Path("model.cymf"), help="model file (default: %(default)s)"
    )
    command.add_argument(
        "--validation",
        type=Path,
        metavar="FILE",
        help="held-out ratings to watch the error, or the ranking, on",
    )
    add_feature_flags(command)
    _add_model(command, model)
    command.set_defaults(run=run_fit)


def _add_evaluate(command: argparse.ArgumentParser, model: str) -> None:
    from cymf._cli_commands import run_evaluate

    command.usage = (
        "cymf evaluate [options] MODEL RATINGS\n"
        "       cymf evaluate [options] --cross-validate K RATINGS [--model NAME ...]"
    )
    command.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="model file and file of ratings; with --cross-validate, file of ratings alone",
    )
    add_file_flags(command)
    command.add_argument(
        "--metrics",
        type=_listed,
        metavar="NAME,…",
        help="what to measure: rmse, mae, or rankings such as recall@20,ndcg@20 "
        "(default: errors of models of ratings, recall@20 and ndcg@20 of the others)",
    )
    command.add_argument(
        "--cross-validate", type=int, metavar="K", help="train and test on K folds of the ratings"
    )
    command.add_argument(
        "--folds-seed", type=int, default=0, help="seed of the folds (default: %(default)s)"
    )
    _add_model(command, model)
    command.set_defaults(run=run_evaluate, check=_check_evaluate)


def _check_evaluate(arguments: argparse.Namespace, command: argparse.ArgumentParser) -> None:
    if arguments.cross_validate is None:
        if len(arguments.files) != 2:
            command.error("give a model file and a file of ratings, or --cross-validate K")
        if given_parameters(arguments):
            command.error("a saved model has its parameters: they are for --cross-validate")
    elif len(arguments.files) != 1:
        command.error("--cross-validate takes one file, of ratings")
    elif arguments.cross_validate < 2:
        command.error(f"--cross-validate must be at least 2, got {arguments.cross_validate}")


def _add_recommend(command: argparse.ArgumentParser, model: str) -> None:
    from cymf._cli_commands import run_recommend

    command.add_argument("model_file", type=Path, metavar="MODEL", help="model file")
    users = command.add_mutually_exclusive_group(required=True)
    users.add_argument("--users", nargs="+", metavar="ID", help="ids of users")
    users.add_argument("--all-users", action="store_true", help="every user of the model")
    users.add_argument(
        "--user-features",
        type=Path,
        metavar="FILE",
        help="table of new users, with the columns that the model was fitted with",
    )
    command.add_argument("-n", type=int, default=10, help="items a user (default: %(default)s)")
    seen = command.add_mutually_exclusive_group()
    seen.add_argument(
        "--include-seen", action="store_true", help="also items that the user has rated"
    )
    seen.add_argument(
        "--seen",
        type=Path,
        metavar="FILE",
        help="ratings whose items are left out, for a model that was saved without its ratings",
    )
    add_file_flags(command)
    command.add_argument(
        "--unknown",
        choices=("fallback", "raise"),
        default="fallback",
        help="for a user without ratings the items that are best or most popular on the whole, or an "
        "error (default: %(default)s)",
    )
    command.add_argument(
        "--output", type=Path, metavar="FILE", help="write a .csv or .parquet file instead"
    )
    command.set_defaults(run=run_recommend, check=_check_recommend)


def _check_recommend(arguments: argparse.Namespace, command: argparse.ArgumentParser) -> None:
    if arguments.n < 1:
        command.error(f"-n must be at least 1, got {arguments.n}")
    if arguments.user_features is not None and arguments.seen is not None:
        command.error(
            "--seen is for users of the model; those of --user-features have seen nothing"
        )
    if arguments.output is not None and arguments.output.suffix not in SUFFIXES:
        command.error(f"--output must end in {' or '.join(SUFFIXES)}, got {arguments.output}")


def _add_convert(command: argparse.ArgumentParser, model: str) -> None:
    from cymf._cli_commands import run_convert

    command.add_argument("ratings", type=Path, metavar="RATINGS", help="file or folder of ratings")
    command.add_argument(
        "output",
        type=Path,
        metavar="OUTPUT",
        help="the new file: .csv, .tsv, .dat or .jsonl, perhaps with .gz, .bz2, .xz or .zst; .parquet; .npz",
    )
    add_file_flags(command, keeps_duplicates=True)
    command.set_defaults(run=run_convert)


def _add_info(command: argparse.ArgumentParser, model: str) -> None:
    from cymf._cli_info import run_info

    command.set_defaults(run=run_info)


def _add_demo(command: argparse.ArgumentParser, model: str) -> None:
    from cymf._demo import run_demo

    command.add_argument(
        "--output",
        type=Path,
        default=Path("cymf-demo"),
        metavar="FOLDER",
        help="where the model and the picture go (default: %(default)s)",
    )
    source = command.add_mutually_exclusive_group()
    source.add_argument(
        "--generated", action="store_true", help="do not look for MovieLens: generate a catalogue"
    )
    source.add_argument(
        "--download", action="store_true", help="fetch MovieLens 100K if no folder has it"
    )
    command.set_defaults(run=run_demo)


def _add_model(command: argparse.ArgumentParser, model: str) -> None:
    command.add_argument(
        "--model", choices=ESTIMATORS, default="als", help="which solver (default: %(default)s)"
    )
    add_parameter_flags(command, model)


def _listed(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing")
    return names


def _nothing_to_check(arguments: argparse.Namespace, command: argparse.ArgumentParser) -> None:
    """Most command lines are right as soon as they are parsed."""


_COMMANDS = {
    "fit": ("train a model on a file of ratings", _add_fit),
    "evaluate": ("measure the error of a model, or cross-validate", _add_evaluate),
    "recommend": ("list the best items of users", _add_recommend),
    "convert": ("write a file of ratings in another format", _add_convert),
    "info": ("show versions, instruction sets, BLAS and threads", _add_info),
    "demo": ("train the three solvers on films and show what comes out", _add_demo),
}
