"""More than two calls: alike ones are one class, and serial orders do not come first where they are too many."""

from __future__ import annotations

import pytest

from aioconcurrent.exploring.orders.schedule import is_serial

from . import scenarios as s
from .workload import POSTGRESQL, SQLITE, Engine, Outcome, Scenario, every_outcome, explore


def unnamed(outcome: Outcome, calls: int) -> Outcome:
    """An outcome less which call it was that did what."""
    return (*outcome[:-calls], *sorted(outcome[-calls:]))


@pytest.mark.parametrize(
    ("engine", "scenario"),
    [
        (POSTGRESQL, s.twice(s.lost_update, calls=3)),
        (POSTGRESQL, s.twice(s.locked_update, calls=3)),
        (POSTGRESQL, s.twice(s.lost_update_in_atomic, calls=3)),
        (POSTGRESQL, s.twice(s.get_or_create, s.SLOTS)),
        (POSTGRESQL, s.twice(s.check_then_insert, s.UNIQUE_SLOTS, calls=3)),
        (POSTGRESQL, s.twice(s.lost_update, calls=4)),
        (SQLITE, s.twice(s.lost_update_in_atomic)),
    ],
)
def test_alike_calls_come_to_every_outcome_but_for_their_names(engine: Engine, scenario: Scenario) -> None:
    calls = len(scenario.programs)
    expected = {unnamed(outcome, calls) for outcome in every_outcome(scenario, engine)[0]}
    every, alike = explore(scenario, engine), explore(scenario, engine, classes=[0] * calls)
    assert {unnamed(outcome, calls) for outcome in alike.outcomes} == expected
    assert alike.search.exhaustive
    assert alike.runs <= every.runs


def test_three_alike_calls_take_less_than_half_of_the_runs() -> None:
    scenario = s.twice(s.lost_update, calls=3)
    assert explore(scenario, POSTGRESQL).runs >= 2 * explore(scenario, POSTGRESQL, classes=(0, 0, 0)).runs


def test_two_classes_of_alike_calls_are_told_apart() -> None:
    scenario = Scenario(s.counters(), (s.lost_update, s.f_update, s.lost_update, s.f_update))
    every, alike = explore(scenario, POSTGRESQL), explore(scenario, POSTGRESQL, classes=(0, 1, 0, 1))

    def unnamed_within_classes(outcome: Outcome) -> Outcome:
        return (*outcome[:-4], sorted(outcome[-4::2]), sorted(outcome[-3::2]))

    found = {str(unnamed_within_classes(outcome)) for outcome in alike.outcomes}
    assert found == {str(unnamed_within_classes(outcome)) for outcome in every.outcomes}


@pytest.mark.parametrize("calls", [4, 5, 20])
@pytest.mark.parametrize("are_alike", [True, False])
def test_the_second_run_of_many_calls_stops_one_in_its_middle(calls: int, are_alike: bool) -> None:
    scenario = s.twice(s.lost_update, calls=calls)
    log = explore(scenario, POSTGRESQL, limit=3, classes=[0] * calls if are_alike else None).log
    assert [is_serial(run.steps) for run in log[:2]] == [True, False]
    assert [step.call for step in log[1].steps[:4]] == [0, 1, 1, 0]


def test_four_calls_are_exhausted_without_losing_an_outcome() -> None:
    scenario = s.twice(s.lost_update, calls=4)
    found = explore(scenario, POSTGRESQL)
    assert found.search.exhaustive
    assert set(found.outcomes) == set(every_outcome(scenario, POSTGRESQL)[0])


@pytest.mark.parametrize("bound", [0, 1, 2])
def test_a_bound_on_preemptions_leaves_out_no_order_of_many_calls_that_begin_in_any_turn(bound: int) -> None:
    scenario = s.twice(s.lost_update, calls=4)
    expected = {outcome for outcome, fewest in every_outcome(scenario, POSTGRESQL)[0].items() if fewest <= bound}
    found = explore(scenario, POSTGRESQL, max_preemptions=bound)
    assert set(found.outcomes) == expected
    assert all(run.preemptions <= bound for run in found.log)
    assert not found.search.exhaustive
