"""What can be set on pytest's command line and in its configuration file.

The command line comes before the environment, and the environment before the file,
as with the options of pytest-django and pytest-timeout: what is said for one run
comes before what is written down for all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ..running.options import FLAGS, Flag, check, set_for_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Layer = Mapping[str, Any]

_OF_TESTS = {
    "rounds": Flag(
        "N",
        int,
        "run each test that makes concurrent calls N times, with fresh fixtures (default: as its mark `race` says)",
    ),
    "report": Flag("DIR", str, "write HTML pages of the races of failed tests into this folder, and the same as JSON"),
}
_ALL = {**FLAGS, **_OF_TESTS}
_UNFOLDED = "show all steps of a race, those that touch nothing of other calls too"
_TYPES_IN_FILE: Mapping[type, Literal["float", "int", "string"]] = {float: "float", int: "int", str: "string"}


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("aioconcurrent", "race conditions (aioconcurrent)")
    for name, flag in _ALL.items():
        group.addoption(_flag(name), metavar=flag.metavar, type=flag.kind, help=flag.help)
        if flag.in_file:
            parser.addini(_key(name), flag.help, type=_TYPES_IN_FILE[flag.kind], default=None)
    group.addoption(_flag("unfolded"), action="store_true", help=_UNFOLDED)


def read_options(config: pytest.Config) -> tuple[Layer, Layer]:
    """Return what is set in the configuration file and on the command line, by name.

    Raises:
        UsageError: A value is no good.
    """
    in_file = [name for name, flag in _ALL.items() if flag.in_file]
    from_file = {name: value for name in in_file if (value := _from_file(config, name)) is not None}
    from_command_line = {name: value for name in _ALL if (value := config.getoption(_key(name))) is not None}
    for name, value in from_file.items():
        _check(name, value, f"The ini option {_key(name)}")
    for name, value in from_command_line.items():
        _check(name, value, _flag(name))
    if "replay" in from_command_line and config.getoption("numprocesses", None):
        raise pytest.UsageError(f"{_flag('replay')} runs one test, in this process: add -n 0.")
    return from_file, from_command_line


def report_folder(config: pytest.Config, from_file: Layer, from_command_line: Layer) -> Path | None:
    """Where HTML pages are to be written; None if they are not."""
    if "report" in from_command_line:
        return config.invocation_params.dir / str(from_command_line["report"])
    return config.rootpath / str(from_file["report"]) if "report" in from_file else None


def named_here(config: pytest.Config, test: str) -> str:
    """The id of a test as the command line takes it, which may be given in another folder than the root."""
    path, colons, name = test.partition("::")
    return os.path.relpath(config.rootpath / path, config.invocation_params.dir) + colons + name


def shows_unfolded(config: pytest.Config) -> bool:
    """Whether all steps of a race are asked for."""
    return bool(config.getoption(_key("unfolded")))


def check_replayed(items: list[pytest.Item]) -> None:
    """Raise UsageError if a replay could be of another test than the one that is meant."""
    if len(items) > 1:
        raise pytest.UsageError(
            f"{_flag('replay')} replays the order of one test, and {len(items)} are selected: name one, as in "
            f"pytest {items[0].nodeid} {_flag('replay')} TOKEN."
        )


def apply_options(*layers: Layer) -> None:
    """Let the races of this process have the options of these layers, the last of which comes first."""
    of_races = [{name: value for name, value in layer.items() if name in FLAGS} for layer in layers]
    for layer, given in zip(of_races, layers, strict=True):
        if "report" in given:
            layer["record"] = True  # or there is nothing to write about
    if any(of_races):
        set_for_run(*of_races)


def check_rounds(rounds: object, where: str) -> None:
    """Raise UsageError if it is no number of rounds."""
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
        raise pytest.UsageError(f"{where} must be an integer of at least 1, not {rounds!r}.")


def _flag(name: str) -> str:
    return f"--aioconcurrent-{name.replace('_', '-')}"


def _key(name: str) -> str:
    return f"aioconcurrent_{name}"


def _from_file(config: pytest.Config, name: str) -> Any:
    try:
        return config.getini(_key(name))
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"The ini option {_key(name)}: {error}") from None


def _check(name: str, value: object, where: str) -> None:
    if name == "rounds":
        check_rounds(value, where)
    if name not in FLAGS:
        return
    try:
        check({name: value}, where)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(str(error)) from None
