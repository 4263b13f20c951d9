"""Runs on several places at once: the same search as on one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random

import anyio
import anyio.lowlevel
import pytest

from aioconcurrent.exploring.orders.search import Search
from aioconcurrent.exploring.orders.walk import Walk
from aioconcurrent.exploring.stepping import crew as crew_module
from aioconcurrent.exploring.stepping.crew import crewed
from aioconcurrent.exploring.stepping.remote import LostError, UnprovedError
from tests.explore import scenarios as s
from tests.explore.workload import POSTGRESQL, Outcome, Scenario, Simulation

SCENARIO = s.twice(s.lost_update, calls=3)


class LeftError(Exception):
    pass


class Place:
    """Where one run at a time is made, which takes as many turns of the event loop as chance wants."""

    def __init__(self, number: int, scenario: Scenario = SCENARIO) -> None:
        self.number = number
        self.scenario = scenario
        self.random = Random(number)
        self.made = 0
        self.is_busy = False

    async def perform(self, run: Walk) -> Outcome:
        assert not self.is_busy
        self.is_busy = True
        for _ in range(self.random.randrange(9)):
            await anyio.lowlevel.checkpoint()
        simulation = Simulation(self.scenario, POSTGRESQL)
        while (worker := run.choose(simulation.decision())) is not None:
            simulation.step(worker)
        self.made += 1
        self.is_busy = False
        return simulation.end()


async def explored(places: list[Place]) -> list[Outcome]:
    search, outcomes, home = Search(range(3), SCENARIO.catalogue), [], anyio.Lock()
    async with crewed(search, places, Place.perform, home) as crew:
        while (run := search.next_run()) is not None:
            outcomes.append(await crew.result(run))
            async with home:
                assert not places[0].is_busy
    assert search.exhaustive
    assert sum(place.made for place in places) == search.runs + search.needless_runs
    return outcomes


async def test_the_same_runs_come_in_the_same_order_from_any_number_of_places() -> None:
    places = [Place(number) for number in range(4)]
    assert await explored(places) == await explored([Place(0)])
    assert all(place.made for place in places)


async def test_what_was_made_ahead_is_made_again_after_a_standstill() -> None:
    search, places = Search(range(3), SCENARIO.catalogue), [Place(number) for number in range(4)]
    outcomes, made = list[Outcome](), 0
    async with crewed(search, places, Place.perform, anyio.Lock()) as crew:
        while (run := search.next_run()) is not None:
            outcomes.append(await crew.result(run))
            if search.runs % 10 == 0:
                async with crew.standstill():
                    made = sum(place.made for place in places)
                    for _ in range(20):
                        await anyio.lowlevel.checkpoint()
                    assert made == sum(place.made for place in places)
    assert outcomes == await explored([Place(0)])
    assert search.needless_runs == sum(place.made for place in places) - search.runs > 0


async def test_what_a_run_raises_is_raised_when_its_turn_comes() -> None:
    plans = await asked_for(Place.perform, [Place(0)])

    async def perform(place: Place, run: Walk) -> Outcome:
        outcome = await place.perform(run)
        if run.plan == plans[9]:
            raise LeftError
        return outcome

    places, asked = [Place(number) for number in range(4)], list[tuple[int, ...]]()
    with pytest.raises(LeftError):
        await asked_for(perform, places, asked)
    assert asked == plans[:10]
    assert not any(place.is_busy for place in places)


async def test_runs_under_way_are_cancelled_with_the_search() -> None:
    search, under_way = Search(range(3), SCENARIO.catalogue), set[int]()

    async def perform(place: Place, run: Walk) -> Outcome:
        if search.runs < 4:
            return await place.perform(run)
        under_way.add(place.number)
        try:
            await anyio.sleep_forever()
        finally:
            under_way.remove(place.number)
        raise LeftError

    places = [Place(number) for number in range(4)]
    with anyio.move_on_after(0.1) as scope:
        async with crewed(search, places, perform, anyio.Lock()) as crew:
            while (run := search.next_run()) is not None:
                await crew.result(run)
    assert scope.cancelled_caught
    assert not under_way


async def asked_for(
    perform: Callable[[Place, Walk], Awaitable[Outcome]],
    places: list[Place],
    asked: list[tuple[int, ...]] | None = None,
) -> list[tuple[int, ...]]:
    """The plans of all runs, in the order of their turns."""
    search, plans = Search(range(3), SCENARIO.catalogue), asked if asked is not None else []
    async with crewed(search, places, perform, anyio.Lock()) as crew:
        while (run := search.next_run()) is not None:
            plans.append(run.plan)
            await crew.result(run)
    return plans


class Distant(Place):
    """A remote place, whose runs may come to nothing."""

    failure: LostError | None = None

    async def perform(self, run: Walk) -> Outcome:
        if self.failure is not None and self.made >= 3:
            raise self.failure
        return await super().perform(run)


async def performed(place: Place, run: Walk) -> Outcome:
    return await place.perform(run)


async def explored_with(
    others: list[Distant], perform: Callable[[Place, Walk], Awaitable[Outcome]] = performed
) -> list[Outcome]:
    search, outcomes, here = Search(range(3), SCENARIO.catalogue), [], [Place(0)]
    async with crewed(search, here, perform, anyio.Lock(), others) as crew:
        while (run := search.next_run()) is not None:
            outcomes.append(await crew.result(run))
    assert search.exhaustive
    return outcomes


async def test_remote_places_make_runs_too_and_the_same_come_in_the_same_order() -> None:
    others = [Distant(number) for number in range(1, 4)]
    assert await explored_with(others) == await explored([Place(0)])
    assert all(place.made for place in others)


async def test_no_remote_place_idles_while_the_search_has_a_run_for_it() -> None:
    search, here, others = Search(range(3), SCENARIO.catalogue), Place(0), [Distant(number) for number in range(1, 4)]
    looks = 0

    async def perform(place: Place, run: Walk) -> Outcome:
        nonlocal looks
        if place is here and search._pass is not None:
            for _ in range(200):  # more than remote ones need for all that there is for them
                await anyio.lowlevel.checkpoint()
            assert not any(other.is_busy for other in others)
            assert [plan for plan in search._pass.ahead() if plan not in search._early] == []
            looks += 1
        return await place.perform(run)

    async with crewed(search, [here], perform, anyio.Lock(), others) as crew:
        while (run := search.next_run()) is not None:
            await crew.result(run)
    assert search.exhaustive
    assert looks
    assert all(place.made for place in others)


@pytest.mark.parametrize("failure", [LostError("gone"), UnprovedError(False, "odd"), UnprovedError(True, "odd")])
async def test_what_a_remote_place_fails_to_make_is_made_elsewhere(failure: LostError) -> None:
    others = [Distant(number) for number in range(1, 4)]
    for place in others[:2]:
        place.failure = failure
    assert await explored_with(others) == await explored([Place(0)])
    assert all(place.made <= 3 for place in others[:2])


async def test_a_remote_place_that_never_answers_holds_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "_PATIENCE", 0.01)
    monkeypatch.setattr(crew_module, "_SLOW", 0)
    stuck: list[Walk] = []

    async def perform(place: Place, run: Walk) -> Outcome:
        if isinstance(place, Distant):
            stuck.append(run)
            await anyio.sleep_forever()
        return await place.perform(run)

    others = [Distant(number) for number in range(1, 4)]
    assert await explored_with(others, perform) == await explored([Place(0)])
    assert len(stuck) == 3


async def test_what_was_under_way_remotely_before_a_standstill_does_not_count_after_it() -> None:
    search, here, left = Search(range(3), SCENARIO.catalogue), [Place(0)], list[Walk]()
    go_on, outcomes = anyio.Event(), list[Outcome]()

    async def perform(place: Place, run: Walk) -> Outcome:
        if isinstance(place, Distant) and not left:
            left.append(run)
            await go_on.wait()
            run.moves.clear()  # as nobody would believe it
        return await place.perform(run)

    async with crewed(search, here, perform, anyio.Lock(), [Distant(1)]) as crew:
        while (run := search.next_run()) is not None:
            outcomes.append(await crew.result(run))
            if left and not go_on.is_set():
                async with crew.standstill():
                    go_on.set()
                    for _ in range(20):
                        await anyio.lowlevel.checkpoint()
    assert left
    assert outcomes == await explored([Place(0)])
