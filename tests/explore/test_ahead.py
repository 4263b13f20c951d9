"""Calls that are told how far they may go: a search comes to the same with fewer messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from aioconcurrent.databases.gate import Leave
from aioconcurrent.exploring.controller import Controller
from aioconcurrent.exploring.place import Made, Maker
from aioconcurrent.sync import explore
from tests.project.databases import on
from tests.project.shop.calls import increment_after_looking_elsewhere
from tests.project.shop.models import Counter

from .catalogue import CATALOGUE
from .places import PLACES, Place, marks_of, thorough_but

_TURNS = ("file", "postgresql-RC", "mysql-RC", "memory", "postgresql-RR")
_HERE = [
    (name, place, number)
    for number, (name, case) in enumerate(CATALOGUE.items())
    for place in sorted(case.found)
    if place in _TURNS
]
EVERY = [pytest.param(name, PLACES[place], id=f"{name}-{place}", marks=marks_of(place)) for name, place, _ in _HERE]
_IN_TURN = {(name, place) for name, place, number in _HERE if place == _TURNS[number % 3]}


def runs_of(name: str, place: Place) -> tuple[list[Any], str]:
    """The steps of all runs of a search, and what came of it."""
    made: list[Made] = []
    make = Maker.make

    async def kept(self: Any, *args: Any, **options: Any) -> Made:
        made.append(await make(self, *args, **options))
        return made[-1]

    with patch.object(Maker, "make", kept):
        found = explore(*CATALOGUE[name].calls_at(place.alias))
    told = [
        [
            (step.call, step.operation.kind, step.operation.text, step.rowcount, step.enabled)
            for step in run.attempt.steps
        ]
        for run in made
    ]
    return told, str(found)


@pytest.mark.parametrize(
    ("name", "place"),
    thorough_but(EVERY, lambda name, place: (name, place.name) in _IN_TURN),
    indirect=["place"],
)
def test_a_search_makes_the_same_runs_as_if_each_operation_was_asked_for(name: str, place: Place) -> None:
    def nothing(_: Controller, __: object) -> Iterator[Any]:
        return iter(())

    CATALOGUE[name].rows(place.alias)
    ahead, verdict = runs_of(name, place)
    with patch.object(Controller, "_look_ahead", nothing):
        asked, other = runs_of(name, place)
    assert ahead == asked
    assert verdict.splitlines()[0] == other.splitlines()[0]


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
def test_a_call_that_nobody_waits_for_is_let_go_once_for_many_operations(database: str) -> None:
    Counter.objects.using(database).create(pk=1)
    answered: list[Leave] = []
    answer = Controller._answer

    async def noted(self: Any, process: Any, said: object) -> None:
        if isinstance(said, Leave):
            answered.append(said)
        await answer(self, process, said)

    with patch.object(Controller, "_answer", noted):
        call = increment_after_looking_elsewhere, {"pk": 1, "using": database}
        explore(call, call).assert_no_race()
    assert max(len(leave.ahead) for leave in answered) >= 20
