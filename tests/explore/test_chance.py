"""In a stepped call nothing is left to chance."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from aioconcurrent import options
from aioconcurrent.sync import explore
from tests.project.databases import on
from tests.project.shop import chance
from tests.project.shop.models import Counter

from .catalogue import CATALOGUE

pytestmark = pytest.mark.parametrize("database", on("file"))


def outcomes_of_all_runs(function: Any, using: str, explorations: int = 1) -> list[list[Any]]:
    """What two calls return in each run of so many explorations."""
    counter = Counter.objects.using(using).create(name="met")
    calls = [(function, {"pk": counter.pk, "who": who, "using": using}) for who in "ab"]
    found: list[list[Any]] = []

    def take_note(outcomes: Any) -> None:
        outcomes.raise_errors()
        found.append(list(outcomes))

    for _ in range(explorations):
        explore(*calls, check=take_note).assert_no_race()
    assert len(found) >= 2 * explorations
    return found


@time_machine.travel(datetime(2020, 2, 29, 23, 59, 59, 900_000, tzinfo=UTC), tick=False)
def test_all_that_a_call_draws_is_the_same_in_every_run_and_another_call_draws_other_things(database: str) -> None:
    first, *others = outcomes_of_all_runs(chance.draw, database, explorations=2)
    assert all(other == first for other in others)
    one, other = first
    assert not [name for name in one if one[name] == other[name]]


def test_the_wall_clock_stands_at_the_time_of_the_exploration_in_one_second_and_the_monotonic_one_runs(
    database: str,
) -> None:
    begun = time.time()
    runs = outcomes_of_all_runs(chance.wait, database)
    for before, after, waited in (call for run in runs for call in run):
        assert before == after
        assert waited >= 0.02
    one, other = (before.timestamp() for before, _, _ in runs[0])
    assert begun <= one < time.time()
    assert int(one) == int(other)
    assert round(other - one, 3) == 0.01


def test_a_clock_that_the_test_has_set_is_the_one_of_the_calls(database: str) -> None:
    moment = datetime(2020, 2, 29, 12, tzinfo=UTC)
    with time_machine.travel(moment, tick=False):
        (first, _, _), (second, _, _) = outcomes_of_all_runs(chance.wait, database)[0]
    assert (first, second) == (moment, moment + timedelta(milliseconds=10))


def test_a_call_may_have_the_real_clock_and_randomness(database: str) -> None:
    with options(real_time=True):
        first, second, *_ = outcomes_of_all_runs(chance.draw, database)
        (before, after, _), _ = outcomes_of_all_runs(chance.wait, database)[0]
    assert not [name for name in first[0] if first[0][name] == second[0][name]]
    assert before < after


def test_interpreters_of_their_own_draw_the_same_in_every_run(database: str) -> None:
    with options(start_method="spawn"):
        runs = outcomes_of_all_runs(chance.draw_in_order, database)
    assert all(run == runs[0] for run in runs)


def test_how_far_a_call_has_drawn_does_not_depend_on_its_process(database: str) -> None:
    """Else each serial order that a violation is compared with would be run once more, with other random numbers."""
    CATALOGUE["phantom"].rows(database)
    runs = []
    for start_method in ("fork", "spawn"):
        with options(start_method=start_method):
            found = explore(*CATALOGUE["phantom"].calls_at(database))
        runs.append((found.verdict, found.schedules_run))
    assert runs[0] == runs[1]
