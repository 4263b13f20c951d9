"""Cases: calls, and what is true of them in each place."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from aioconcurrent.sync import Exploration, explore
from tests.explore.places import PLACES, Place, in_turn, marks_of
from tests.project.office import programs
from tests.project.office.programs import Block, Operation
from tests.truth.judge import fill

RACE = "race"  # "race: lost update" asks for the name, too
SAFE = "no race, exhaustive"
NO_RACE = "no race"  # exhaustive or not
NOT_ALL_SEEN = "not exhaustive"  # a race, or an honest word on what could not be seen

USUAL = ("file", "postgresql-RC", "mysql-RC")

Call = tuple[Callable[..., Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """Some calls, each of which is told its database by `using`.

    Attributes:
        verdicts: By place; "*" stands for the usual ones that are not named. One text is for all of those.
        start: Puts the first rows into a database.
        options: Of `explore`.
    """

    calls: Sequence[Call]
    verdicts: Mapping[str, str] | str
    start: Callable[[str], object] = fill
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def by_place(self) -> dict[str, str]:
        given = {"*": self.verdicts} if isinstance(self.verdicts, str) else dict(self.verdicts)
        usual = given.pop("*", None)
        return {**({} if usual is None else dict.fromkeys(USUAL, usual)), **given}

    def explore(self, place: Place) -> Exploration:
        self.start(place.alias)
        calls = ((function, {**given, "using": place.alias}) for function, given in self.calls)
        return explore(*calls, **self.options)

    def check(self, place: Place) -> Exploration:
        """Explore, and compare the verdict with the true one."""
        found = self.explore(place)
        assert_verdict(found, self.by_place[place.name])
        return found


def assert_verdict(found: Exploration, expected: str) -> None:
    verdict, _, anomaly = expected.partition(": ")
    if verdict == NOT_ALL_SEEN:
        assert found.verdict != "no race" or not found.exhaustive, found
    elif verdict == SAFE:
        assert (found.verdict, found.exhaustive) == ("no race", True), found
    else:
        assert found.verdict == verdict, found
        assert not anomaly or (found.counterexample and found.counterexample.anomaly == anomaly), found


def twice(function: Callable[..., Any], **given: Any) -> list[Call]:
    return [(function, given)] * 2


def each(function: Callable[..., Any], **given: Sequence[Any]) -> list[Call]:
    """One call for each of the values."""
    return [(function, dict(zip(given, values, strict=True))) for values in zip(*given.values(), strict=True)]


def does(*texts: str) -> list[Call]:
    """Calls by the names of what clerks do, one after another: "claim", "read add:2", "atomic: read put"."""
    return [(programs.run, {"program": _program(text), "name": "abcde"[call]}) for call, text in enumerate(texts)]


def same(text: str, calls: int = 2) -> list[Call]:
    """Calls that are equal in all."""
    return [(programs.run, {"program": _program(text), "name": "a"})] * calls


def _program(text: str) -> list[Block]:
    words = text.split()
    atomic = words[0] == "atomic:"
    return [Block(tuple(_operation(word) for word in words[atomic:]), atomic)]


def _operation(word: str) -> Operation:
    verb, _, pk = word.partition(":")
    return verb, int(pk or 1)


def at_places(cases: Mapping[str, Case], core: Container[str] = USUAL) -> list[Any]:
    """The values of (case, place): each case where it has a verdict.

    Places of `core` with one verdict take turns from case to case; all others run only thoroughly.
    """
    return [
        pytest.param(
            case,
            PLACES[name],
            id=f"{told} at {name}",
            marks=[*marks_of(name), *([] if name in in_turn(case.by_place, number, core) else [pytest.mark.thorough])],
        )
        for number, (told, case) in enumerate(cases.items())
        for name in case.by_place
    ]
