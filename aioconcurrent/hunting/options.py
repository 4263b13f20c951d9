"""The options of a hunt, on the command line of `aioconcurrent hunt` and in pytest's option."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

FAIL_ON = ("new", "any", "never")


@dataclass(frozen=True)
class HuntOptions:
    """What is hunted, for how long, and what is shown.

    Attributes:
        seconds: For all explorations of a process.
        schedules: Of a pair.
        pair_seconds: For a pair.
        only: Patterns of the names of actions; a pair needs one of them.
        skip: Patterns of the names of actions that are left alone.
        target: Patterns of functions and methods, as "shop.services:*".
        ignore: Models and fields that are not compared, as `explore` takes them.
        bodies: Whether the bodies of answers are compared, and requests that only read are hunted.
        list: Whether to say what would be hunted, and no more.
        baseline: The file of known races.
        accept: Whether to write all races that are found into it.
        fail_on: One of `FAIL_ON`.
        folder: Where the report is written.
        junit: The file of a JUnit report.
        stories: Whether each race is told in full.
    """

    seconds: float = 300
    schedules: int = 60
    pair_seconds: float = 30
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    bodies: bool = False
    list: bool = False
    baseline: str = "hunt.toml"
    accept: bool = False
    fail_on: str = "new"
    folder: str = ".aioconcurrent"
    junit: str = ""
    stories: bool = False

    @classmethod
    def of(cls, given: argparse.Namespace | dict[str, Any]) -> HuntOptions:
        """From what was parsed, or what `as_dict` made."""
        values = vars(given) if isinstance(given, argparse.Namespace) else given
        names = {each.name for each in fields(cls)}
        kept: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list | tuple) else value
            for name, value in values.items()
            if name in names and value is not None
        }
        return cls(**kept)

    @classmethod
    def of_text(cls, text: str) -> HuntOptions:
        """From the text of one option, as "--seconds 60 --skip '*logout*'"; what is wrong with it is a ValueError."""
        parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
        add_arguments(parser)
        try:
            known, unknown = parser.parse_known_args(shlex.split(text))
        except argparse.ArgumentError as error:
            raise ValueError(str(error)) from None
        if unknown:
            raise ValueError(f"unknown: {' '.join(unknown)}")
        return cls.of(known)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for another process."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def is_wanted(self, *names: str) -> bool:
        """Whether actions of these names are to be explored together."""
        if any(fnmatchcase(name, f"*{pattern}*") for name in names for pattern in self.skip):
            return False
        return not self.only or any(fnmatchcase(name, f"*{pattern}*") for name in names for pattern in self.only)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a parser know the options of a hunt."""
    usual = HuntOptions()
    budget = parser.add_argument_group("budget")
    budget.add_argument(
        "--seconds",
        type=float,
        metavar="N",
        help=f"seconds for exploring, in each process (default: {usual.seconds:g})",
    )
    budget.add_argument("--schedules", type=int, metavar="N", help=f"runs for each pair (default: {usual.schedules})")
    budget.add_argument(
        "--pair-seconds", type=float, metavar="N", help=f"seconds for each pair (default: {usual.pair_seconds:g})"
    )
    what = parser.add_argument_group("what to explore")
    what.add_argument("--only", action="append", metavar="PATTERN", help="only pairs with an action of such a name")
    what.add_argument("--skip", action="append", metavar="PATTERN", help="leave actions of such names alone")
    what.add_argument(
        "--target",
        action="append",
        metavar="MODULE:NAME",
        help='also these functions and methods, such as "shop.services:*"',
    )
    what.add_argument("--ignore", action="append", metavar="MODEL", help="a model or field that is not compared")
    what.add_argument(
        "--bodies",
        action="store_true",
        default=None,
        help="compare the bodies of answers, not only their status, also of requests that only read",
    )
    what.add_argument("--list", action="store_true", default=None, help="say what would be hunted, and stop")
    told = parser.add_argument_group("results")
    told.add_argument("--stories", action="store_true", default=None, help="show each race in full")
    told.add_argument("--folder", metavar="DIR", help=f"where the report is written (default: {usual.folder})")
    told.add_argument("--junit", metavar="FILE", help="write a JUnit report, too")
    told.add_argument("--baseline", metavar="FILE", help=f"the file of known races (default: {usual.baseline})")
    told.add_argument("--accept", action="store_true", default=None, help="write all races into the baseline")
    told.add_argument("--fail-on", choices=FAIL_ON, help="which races make the run fail (default: new)")
