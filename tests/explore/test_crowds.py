"""More than three calls: what goes wrong is found, told and replayed with as few of them as show it."""

from __future__ import annotations

from typing import Any

import pytest

from aioconcurrent.sync import Outcomes, TokenError, explore, replay
from tests.project.databases import on, taking_turns, thorough
from tests.project.shop import crowds
from tests.project.shop.models import Account

from .catalogue import accounts


def alike(database: str, function: object, calls: int) -> list[Any]:
    return [(function, {"pk": 1, "using": database})] * calls


def different(database: str, function: object, calls: int) -> list[Any]:
    return [(function, {"pk": 1, "using": database, "by": 10**number}) for number in range(calls)]


@pytest.mark.parametrize(("database", "make"), taking_turns(on("file", "postgresql"), [alike, different]))
def test_five_increments_are_a_race_of_two_in_eight_schedules(database: str, make: Any) -> None:
    accounts(database)
    calls = make(database, crowds.increment, 5)
    found = explore(*calls)
    assert found.counterexample, found
    assert found.counterexample.anomaly == "lost update"
    assert found.schedules_run <= 8
    assert found.reason.endswith("; 2 of the 5 calls are enough")
    assert len(found.counterexample.calls) == len(found.counterexample.outcomes) == 2
    again = replay(found.counterexample.token, *calls)
    assert again.counterexample, again
    assert [str(each) for each in (again.counterexample, again.reason)] == [
        str(each) for each in (found.counterexample, found.reason)
    ]


@pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql"))])
def test_twenty_alike_increments_are_a_race_in_eight_schedules(database: str) -> None:
    accounts(database)
    found = explore(*alike(database, crowds.increment, 20))
    assert found.counterexample, found
    assert (found.counterexample.anomaly, len(found.counterexample.calls)) == ("lost update", 2)
    assert found.schedules_run <= 8


@pytest.mark.parametrize("database", on("file"))
@pytest.mark.parametrize("make", [alike, different])
def test_a_rule_on_five_calls_is_seen_to_be_broken_at_once(database: str, make: Any) -> None:
    accounts(database)

    def all_were_added(outcomes: Outcomes) -> bool:
        return Account.objects.using(database).get(pk=1).balance == (105 if make is alike else 11211)

    found = explore(*make(database, crowds.increment, 5), check=all_were_added)
    assert found.counterexample, found
    assert found.counterexample.preemptions == 1
    assert found.schedules_run <= 4


@pytest.mark.parametrize("database", on("file"))
@pytest.mark.parametrize("make", [alike, different])
def test_four_increments_of_the_database_are_no_race(database: str, make: Any) -> None:
    accounts(database)
    found = explore(*make(database, crowds.increment_in_database, 4))
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("database", [*on("postgresql"), *thorough(on("mysql"))])
def test_who_of_four_alike_calls_draws_which_number_does_not_matter(database: str) -> None:
    accounts(database)
    found = explore(*alike(database, crowds.draw_number, 4), preemptions=1)
    assert found.verdict == "no race", found
    assert found.schedules_run <= 30


@pytest.mark.parametrize("database", on("postgresql"))
def test_two_calls_wait_for_a_third_and_both_have_counted_before_it_ends(database: str) -> None:
    accounts(database)

    def at_most_one_is_stale(outcomes: Outcomes) -> bool:
        return not Account.objects.using(database).get(pk=1).owner.endswith(";0:101;0:101")

    kwargs = {"pk": 1, "using": database}
    calls = [(crowds.add_and_note, kwargs), *[(crowds.count_into_owner, kwargs)] * 2]
    found = explore(*calls, check=at_most_one_is_stale)
    assert found.verdict == "race", found


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.parametrize("function", [crowds.draw_number, crowds.lock_then_count_into_owner])
def test_three_calls_that_lock_first_are_exhausted(database: str, function: object) -> None:
    accounts(database)
    found = explore(*alike(database, function, 3))
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("database", on("file"))
def test_a_token_of_calls_that_are_not_given_is_refused(database: str) -> None:
    accounts(database)
    with pytest.raises(TokenError, match="an order of at least 5 calls, and 3 were passed"):
        replay("aioc1:0.4::0.4", *alike(database, crowds.increment, 3))
