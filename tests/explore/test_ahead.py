"""Calls that are told how far they may go: a search comes to the same with fewer messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from aioconcurrent.databases.watching.gate import Leave
from aioconcurrent.exploring.stepping.controller import Controller, Scripts
from aioconcurrent.exploring.stepping.maker import Made, Maker
from aioconcurrent.sync import explore
from tests.project.databases import on
from tests.project.shop import scripts
from tests.project.shop.calls import increment_after_looking_elsewhere, increment_in_turn
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
# What is told ahead depends on how calls wait, of which every second case has enough.
_IN_TURN = {(name, place) for name, place, number in _HERE if number % 2 and place == _TURNS[number % 3]}


def runs_of(name: str, place: Place) -> tuple[list[Any], str]:
    """The steps of all runs of a search, and what came of it."""
    made: list[Made] = []
    make = Maker.make

    async def kept(self: Any, *args: Any, **options: Any) -> Made:
        made.append(await make(self, *args, **options))
        return made[-1]

    with patch.object(Maker, "make", kept):
        found = explore(*CATALOGUE[name].calls_at(place.alias))
    return [told(run) for run in made if not run.attempt.is_void], str(found)


def told(made: Made) -> Any:
    steps = [
        (step.call, step.operation.kind, step.operation.text, step.rowcount, step.error, step.enabled)
        for step in made.attempt.steps
    ]
    return made.problems, steps


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


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_call_that_waits_on_its_way_for_a_lock_that_no_statement_names_is_made_again_step_by_step(
    database: str,
) -> None:
    Counter.objects.using(database).create(pk=1)
    scripts.run("CREATE FUNCTION take_turn() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(7)'", using=database)
    scripts.run(
        "CREATE FUNCTION give_turn() RETURNS bool LANGUAGE sql AS 'SELECT pg_advisory_unlock(7)'", using=database
    )
    distrusted: list[Scripts] = []
    block = Controller._block

    async def noted(self: Any, *args: Any) -> None:
        try:
            await block(self, *args)
        finally:
            distrusted.extend([self._scripts] * (not self._scripts.is_trusted))

    try:
        call = increment_in_turn, {"pk": 1, "using": database}
        with patch.object(Controller, "_block", noted):
            found = explore(call, call)
    finally:
        scripts.run("DROP FUNCTION take_turn", "DROP FUNCTION give_turn", using=database)
    assert found.verdict == "no race"
    assert distrusted
