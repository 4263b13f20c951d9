"""Orders drawn at random: how likely they meet a race, and that nothing is lost or claimed by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioconcurrent.base.trace import LATER, Operation
from aioconcurrent.exploring.orders.sampling import Draw, Lots, chance, chance_of_delays
from aioconcurrent.exploring.orders.schedule import Schedule
from aioconcurrent.exploring.orders.search import Search
from aioconcurrent.exploring.orders.standings import Standing
from tests.explore import random_programs
from tests.explore import scenarios as s
from tests.explore.workload import (
    MYSQL,
    POSTGRESQL,
    SQLITE,
    Client,
    Crowd,
    Engine,
    Outcome,
    Program,
    Scenario,
    Simulation,
    Steps,
    every_outcome,
    explore,
)
from tests.project.databases import thorough

from .test_search import TABLE, TASKS, told

Step = tuple[int, int]  # a call, and which of its steps
Before = tuple[Step, Step]

DRAWS = 1000


@cache
def undrawn(name: str) -> set[Outcome]:
    """The outcomes of a program of the table where nothing is drawn, which are all that there are."""
    scenario, engine, *_ = TABLE[name]
    return set(explore(scenario, engine).outcomes)


def drawn(sizes: Sequence[int], number: int, seed: int = 0) -> tuple[int, ...]:
    """The calls in the order of their steps, where each can always go on and every step matters."""
    lots, taken, left = Lots(Draw(seed, number, frozenset())), list[int](), Counter(dict(enumerate(sizes)))
    standings = {call: Standing(Operation("sql", "UPDATE counter SET n = n + 1")) for call in left}
    begun = {call: Standing(Operation("start")) for call in left}
    while candidates := [call for call in sorted(left) if left[call]]:
        at = {call: standings[call] if call in taken else begun[call] for call in candidates}
        call = lots.pick(candidates, at, taken)
        left[call] -= call in taken
        taken.append(call)
    firsts = {taken.index(call) for call in set(taken)}
    assert lots.drawn == Counter(dict(enumerate(sizes)))
    return tuple(call for index, call in enumerate(taken) if index not in firsts)


def is_possible(race: Sequence[Before], sizes: Sequence[int]) -> bool:
    before = {(call, step): {(call, step - 1)} for call, size in enumerate(sizes) for step in range(1, size)}
    for first, second in race:
        before.setdefault(second, set()).add(first)
    try:
        TopologicalSorter(before).prepare()
    except CycleError:
        return False
    return True


def meets(order: Sequence[int], race: Sequence[Before]) -> bool:
    counts, place = Counter[int](), dict[Step, int]()
    for index, call in enumerate(order):
        place[call, counts[call]] = index
        counts[call] += 1
    return all(place[first] < place[second] for first, second in race)


@pytest.mark.parametrize("sizes", [(2, 3), (4, 4), (8, 2), (1, 6), (2, 2, 2), (3, 1, 2)], ids=str)
def test_every_race_of_depth_2_is_met_as_often_as_is_said(sizes: tuple[int, ...]) -> None:
    orders = Counter(drawn(sizes, number) for number in range(DRAWS))
    steps = [(call, step) for call, size in enumerate(sizes) for step in range(size)]
    pairs = [(one, other) for one, other in permutations(steps, 2) if one[0] != other[0]]
    races = [race for race in combinations(pairs, 2) if is_possible(race, sizes)]
    said = chance(dict(enumerate(sizes)), 1)
    for race in races:
        met = sum(count for order, count in orders.items() if meets(order, race))
        assert met >= 0.6 * said * DRAWS, f"{race} in {met} of {DRAWS}"


def test_many_draws_meet_a_race_as_often_as_is_said() -> None:
    sizes, race = (4, 4), (((0, 3), (1, 3)), ((1, 2), (0, 0)))  # the rarest
    met = [meets(drawn(sizes, number), race) for number in range(DRAWS)]
    batches = [any(met[start : start + 30]) for start in range(0, DRAWS, 30)]
    said = chance({0: 4, 1: 4}, 30)
    assert 0.45 < said < 0.55
    assert sum(batches) / len(batches) > 0.8 * said


def test_the_chance_grows_with_the_draws_and_falls_with_the_steps() -> None:
    assert chance({}, 0) == 0
    assert chance({0: 1, 1: 1}, 1) == pytest.approx(1 / 6)
    assert chance({0: 10, 1: 10}, 100) == pytest.approx(0.35, abs=0.005)
    assert chance({0: 10, 1: 10, 2: 3}, 1000) == pytest.approx(0.987, abs=0.005)


def put_off(program: Program, late: Sequence[Step], number: int) -> bool:
    """Whether an order that is drawn makes steps of some calls only when no other call can go on."""
    scenario, lots = s.twice(program, s.SLOTS, calls=3), Lots(Draw(0, number, frozenset()))
    simulation, taken, begun = Simulation(scenario, POSTGRESQL, 0, lambda each: each), list[int](), Counter[int]()
    while ready := (decision := simulation.decision()).ready:
        standings = {call: Standing(operation) for call, operation in ready.items()}
        standings |= {call: Standing(LATER, blocked=True) for call in decision.blocked}
        call = lots.pick(sorted(ready), standings, taken)
        others = [each for each in ready if each != call and (each, begun[each]) not in late]
        if taken.count(call) and (call, begun[call]) in late and others:
            return False
        begun[call] += bool(taken.count(call))
        taken.append(call)
        simulation.step(call)
    return True


@pytest.mark.parametrize("late", [((0, 1), (1, 1)), ((0, 2), (1, 1)), ((2, 3), (0, 0)), ((1, 3), (2, 0))], ids=str)
def test_any_two_steps_are_put_off_as_often_as_is_said_where_calls_wait(late: Sequence[Step]) -> None:
    met = sum(put_off(s.locked_update, late, number) for number in range(DRAWS))
    assert met >= 0.6 * chance_of_delays({0: 4, 1: 4, 2: 4}, 1) * DRAWS


def test_where_calls_have_waited_in_an_order_that_was_drawn_what_is_said_is_of_delays() -> None:
    waiting, free = (explore(s.twice(each), POSTGRESQL, drawing_from=0).search for each in (s.locked_update, s.torn))
    assert (waiting.has_waited, free.has_waited) == (True, False)
    assert 0 < waiting.chance < 1
    assert chance_of_delays({0: 4, 1: 4}, 1) == pytest.approx(1 / 56)
    assert chance_of_delays({0: 1}, 1) == pytest.approx(1 / 2)


def test_the_same_seed_draws_the_same_orders_and_another_one_others() -> None:
    orders = [[drawn((4, 4), number, seed) for number in range(20)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


LONG = {"deadlock over three tables", "lost update in atomic, 3 calls", "select_for_update, 3 calls"}


@pytest.mark.parametrize(
    "name", [*(name for name in TABLE if name not in LONG), *thorough(map(pytest.param, sorted(LONG)))]
)
def test_drawing_first_takes_no_more_runs_and_loses_no_outcome(name: str) -> None:
    scenario, engine, _, most = TABLE[name]
    found = explore(scenario, engine, drawing_from=0)
    assert set(found.outcomes) == undrawn(name)
    assert found.runs <= most
    assert found.search.exhaustive


@pytest.mark.parametrize("name", TASKS)
def test_tasks_are_drawn_when_they_are_enqueued(name: str) -> None:
    calls, programs = TASKS[name]
    scenario = Scenario(s.counters(), programs, frozenset(range(calls, len(programs))))
    found = explore(scenario, POSTGRESQL, drawing_from=0)
    assert set(found.outcomes) == set(explore(scenario, POSTGRESQL).outcomes)
    assert found.search.exhaustive


@pytest.mark.parametrize("one_waiter", [True, False])
def test_whatever_order_waiters_are_woken_in_nothing_is_lost(one_waiter: bool) -> None:
    name = "select_for_update, 3 calls"
    found = explore(TABLE[name][0], Engine("postgresql", wake=7), one_waiter=one_waiter, drawing_from=0)
    assert set(found.outcomes) == undrawn(name)
    assert found.search.exhaustive


@given(seed=st.integers(0, 10**6), start=st.integers(0, 30))
@settings(max_examples=6, deadline=None)
def test_whenever_it_begins_what_is_drawn_changes_neither_outcomes_nor_what_is_said_at_the_end(
    seed: int, start: int
) -> None:
    scenario, engine = random_programs.scenario(seed)
    whole, mixed = explore(scenario, engine, limit=60), explore(scenario, engine, limit=90, drawing_from=start)
    if whole.runs < 60:
        assert set(mixed.outcomes) == set(whole.outcomes)
        assert mixed.search.exhaustive == whole.search.exhaustive


@given(seed=st.integers(0, 10**6), workers=st.sampled_from([2, 4, 16]), arrival=st.randoms(use_true_random=False))
@settings(max_examples=6, deadline=None)
def test_with_any_number_of_workers_the_same_orders_are_drawn(seed: int, workers: int, arrival: Random) -> None:
    scenario, engine = random_programs.scenario(seed)
    alone = explore(scenario, engine, limit=20, drawing_from=5)
    crowd = explore(scenario, engine, limit=20, drawing_from=5, crowd=Crowd(workers, arrival))
    assert told(crowd) == told(alone)
    assert (crowd.search.draws, crowd.search.chance) == (alone.search.draws, alone.search.chance)


def test_a_search_that_is_left_while_it_draws_is_not_exhaustive() -> None:
    scenario, engine, _, most = TABLE["lost update in atomic, 3 calls"]
    found = explore(scenario, engine, limit=40, drawing_from=0)
    assert 20 < found.search.drawn_runs < 40 < most
    assert not found.search.exhaustive
    assert found.search.completed == 0


def test_no_order_is_run_that_was_run_before() -> None:
    scenario, engine, *_ = TABLE["lost update, 3 calls"]
    found = explore(scenario, engine, drawing_from=5)
    assert len({Schedule.of(run.steps).choices for run in found.log}) == found.runs
    assert found.search.draws > found.search.drawn_runs > 0


def test_steps_that_nobody_else_can_notice_make_no_race_less_likely() -> None:
    near, far = (explore(s.twice(program, s.DOCTORS), POSTGRESQL, drawing_from=0) for program in (s.lost_update, late))
    assert near.search.chance == far.search.chance > 0


def late(c: Client) -> Steps:
    yield from s.lost_update(c)
    for number in range(5):
        yield c.select("doctor", id=number)


def test_what_was_drawn_does_not_count_when_a_step_proves_to_matter_to_others() -> None:
    def writes(c: Client) -> Steps:
        yield c.update("counter", s.put(1), id=1)
        yield c.select("log")
        yield c.update("counter", s.put(1), id=2)

    def logs_what_is_torn(c: Client) -> Steps:
        seen = []
        for pk in (1, 1, 2):
            rows = yield c.select("counter", id=pk)
            seen.append(rows[0]["n"])
        if seen == [0, 1, 0]:
            yield c.insert("log", n=1)

    scenario = Scenario(s.counters(), (writes, logs_what_is_torn))
    # with a bound, in which all orders are, the calls do not take turns before anything is drawn
    draws = [
        explore(scenario, POSTGRESQL, limit=limit, drawing_from=0, max_preemptions=9).search.draws
        for limit in range(3, 9)
    ]
    assert draws != sorted(draws)


@pytest.mark.parametrize("engine", [POSTGRESQL, MYSQL, SQLITE], ids=str)
def test_a_race_that_takes_two_preemptions_is_drawn(engine: Engine) -> None:
    found = explore(s.twice(s.torn), engine, drawing_from=0)
    failing = found.first(lambda outcome: "'torn'" in outcome[-1][1])
    assert failing is not None
    assert found.log[failing - 1].preemptions == 2


def test_a_call_that_polls_lets_the_others_go_on_where_orders_are_drawn() -> None:
    found = explore(s.twice(s.polls), POSTGRESQL, limit=20, longest=200, drawing_from=0)
    assert found.search.drawn_runs
    assert {outcome[-2][1] for outcome in found.outcomes} == {"'seen'"}


def test_a_drawn_run_that_is_given_up_does_not_keep_the_search_from_its_end() -> None:
    scenario = s.twice(s.lost_update_in_atomic)
    search, outcomes = Search(range(2), scenario.catalogue), set[Outcome]()
    while (run := search.next_run()) is not None:
        simulation = Simulation(scenario, POSTGRESQL)
        while (worker := run.choose(simulation.decision())) is not None:
            simulation.step(worker)
            if search.is_drawing and search.drawn_runs < 2 and len(run.steps) == 2:
                break
        else:
            outcomes.add(simulation.end())
        search.take_in()
        if search.preemptions and not search.drawn_runs:
            search.begin_drawing()
    assert search.drawn_runs > 2
    assert outcomes == set(every_outcome(scenario, POSTGRESQL)[0])
    assert search.exhaustive
