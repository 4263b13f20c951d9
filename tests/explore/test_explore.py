"""What exploring asks for and gives: rules, refusals, verdicts, and both APIs."""

from __future__ import annotations

import asyncio
import re
from functools import partial

import pytest
from django.db import IntegrityError
from django.db.models import F

import aioconcurrent
from aioconcurrent.exploring.orders.schedule import Serial
from aioconcurrent.exploring.stepping.controller import Attempt
from aioconcurrent.exploring.stepping.stage import Stage
from aioconcurrent.sync import InconclusiveError, Outcomes, RaceFound, explore
from tests.faults.races import at_once
from tests.project.databases import ThreadOfQueries, on, thorough
from tests.project.shop import kinds, races
from tests.project.shop.models import Account, Coupon, Voucher

from .catalogue import accounts


def additions(database: str, function: object = races.add) -> list[tuple[object, dict[str, object]]]:
    return [(function, {"pk": 1, "amount": amount, "using": database}) for amount in (1, 2)]


def test_a_rule_sees_the_rows_as_a_run_has_left_them(database: str) -> None:
    accounts(database)

    def both_were_added(outcomes: Outcomes) -> bool:
        outcomes.raise_errors()
        return Account.objects.using(database).get(pk=1).balance == 103

    found = explore(*additions(database), check=both_were_added)
    assert found.counterexample, found
    assert found.counterexample.anomaly == "lost update"
    assert "both_were_added returned False" in found.counterexample.explanation
    assert Account.objects.using(database).get(pk=1).balance == 100


@pytest.mark.parametrize("database", [*on("default", "postgresql"), *thorough(on("file", "mysql"))])
def test_a_rule_that_no_order_breaks_is_no_race(database: str) -> None:
    accounts(database)

    def both_were_added(outcomes: Outcomes) -> None:
        assert outcomes == [1, 1]
        assert Account.objects.using(database).get(pk=1).balance == 103

    found = explore(*additions(database, races.add_in_database), check=both_were_added)
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("database", on("file"))
def test_a_rule_alone_decides(database: str) -> None:
    accounts(database)
    found = explore(*additions(database), check=lambda outcomes: True)
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("database", on("file"))
def test_a_rule_that_serial_orders_break_is_broken_without_a_preemption(database: str) -> None:
    accounts(database)

    def nobody_adds(outcomes: Outcomes) -> None:
        assert Account.objects.using(database).get(pk=1).balance == 100, "somebody has added"

    found = explore(*additions(database, races.add_in_database), check=nobody_adds)
    assert found.counterexample, found
    assert (found.counterexample.anomaly, found.counterexample.preemptions) == ("broken rule", 0)
    assert "nobody_adds failed: somebody has added" in found.counterexample.explanation


@pytest.mark.parametrize("database", on("default", "postgresql"))
def test_an_error_in_a_rule_is_the_callers(database: str) -> None:
    accounts(database)

    def asks_for_what_is_not_there(outcomes: Outcomes) -> None:
        Account.objects.using(database).get(pk=99)

    with pytest.raises(Account.DoesNotExist):
        explore(*additions(database), check=asks_for_what_is_not_there)
    assert Account.objects.using(database).get(pk=1).balance == 100


@pytest.mark.parametrize("database", [*on("mysql"), *thorough(on("file", "postgresql"))])
def test_an_error_by_which_a_call_refuses_is_no_race(database: str) -> None:
    call = (races.claim_unique, {"code": "x", "using": database})
    found = explore(call, call, refusals=IntegrityError)
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("database", [*on("postgresql"), *thorough(on("file", "mysql"))])
def test_a_call_that_refuses_and_leaves_something_behind_is_a_race(database: str) -> None:
    call = (kinds.note_and_claim, {"code": "x", "using": database})
    found = explore(call, call, refusals=[kinds.TakenError])
    assert found.verdict == "race", found
    assert not Coupon.objects.using(database).exists()


@pytest.mark.parametrize("database", on("file"))
def test_a_race_fails_a_test_with_the_whole_story(database: str) -> None:
    accounts(database)
    found = explore(*additions(database))
    with pytest.raises(RaceFound) as failed:
        found.assert_no_race()
    assert found.counterexample
    told = str(failed.value)  # pytest shows the lanes in a section, and knows a line for the shell
    assert told.startswith(f"{found.headline}\n\n{found.counterexample.anomaly}: ")
    assert told.count(found.counterexample.token) == 1
    assert f" --aioconcurrent-replay {found.counterexample.token}" in told
    assert "│" not in told
    failed.value.is_drawn = False
    assert str(failed.value) == f"{told}\n\n{found.counterexample.lanes()}"
    assert failed.value.exploration is found


@pytest.mark.parametrize("database", on("file"))
def test_a_bound_on_preemptions_is_told_with_the_verdict(database: str) -> None:
    accounts(database)
    found = explore(*additions(database), preemptions=0)
    assert (found.verdict, found.exhaustive) == ("no race", False)
    assert found.reason == "no order with up to 0 preemptions goes wrong"


def add_thrice(pk: int, using: str) -> None:
    for _ in range(3):
        Account.objects.using(using).filter(pk=pk).update(balance=F("balance") + 1)


@pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql", "mysql"))])
def test_a_budget_that_is_spent_after_all_orders_with_one_preemption_says_that_none_goes_wrong(database: str) -> None:
    accounts(database)
    found = explore(*[partial(add_thrice, 1, database)] * 2, max_schedules=5)
    assert (found.verdict, found.exhaustive, found.preemptions) == ("no race", False, 1)
    assert re.fullmatch(
        r"no order with up to 1 preemption goes wrong \(\d+ orders\); "
        "the budget of 5 schedules ended among those with 2",
        found.reason,
    )
    found.assert_no_race()
    found.assert_no_race(preemptions=1)
    with pytest.raises(InconclusiveError, match="no order with up to 1 preemption"):
        found.assert_no_race(preemptions=2)


@pytest.mark.parametrize("database", on("file"))
def test_a_budget_that_is_spent_leaves_the_question_open(database: str) -> None:
    accounts(database)
    found = explore(*additions(database), max_schedules=3)
    assert (found.verdict, found.schedules_run) == ("inconclusive", 3)
    assert "the budget of 3 schedules is spent" in found.reason
    assert found.reason.endswith("one after the other, A returns 101, B returns 103")


@pytest.mark.parametrize("database", on("file"))
def test_time_that_is_over_in_a_serial_order_is_a_budget_that_is_spent(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts(database)
    perform = Stage.perform

    async def in_no_time(self: Stage, chooser: object, calls: object, deadline: float, limit: int) -> Attempt:
        return await perform(self, chooser, calls, 0 if isinstance(chooser, Serial) else deadline, limit)  # type: ignore[arg-type]

    monkeypatch.setattr(Stage, "perform", in_no_time)
    found = explore(*additions(database))
    assert found.verdict == "inconclusive"
    assert found.reason.startswith("the budget of 600 s is spent; no schedule so far goes wrong")


@pytest.mark.parametrize("database", on("file"))
def test_an_exception_is_told_with_the_lines_that_raised_it(database: str) -> None:
    Voucher.objects.using(database).create(code="y")
    call = (races.claim_unique, {"code": "x", "using": database})
    found = explore(call, call)
    assert found.counterexample, found
    lanes = str(found.counterexample)
    assert re.search(r"^ +│ raises IntegrityError.*(\n.*){1,3} races\.py:\d+", lanes, re.MULTILINE), lanes
    assert "backends" not in lanes


@pytest.mark.parametrize("database", on("file"))
def test_calls_that_share_nothing_leave_the_question_open(database: str) -> None:
    accounts(database)
    found = explore(
        (races.add, {"pk": 1, "amount": 1, "using": database}), (races.claim, {"code": "x", "using": database})
    )
    assert found.verdict == "inconclusive"
    assert "nothing overlapped" in found.reason
    assert found.reason.endswith("one after the other, A returns 101, B returns True")


@pytest.mark.parametrize("database", on("postgresql"))
def test_calls_of_which_one_takes_back_what_the_other_reads_are_no_race(database: str) -> None:
    accounts(database)
    calls = [(kinds.add_in_vain, {"pk": 1, "using": database}), (kinds.balance, {"pk": 1, "using": database})]
    found = explore(*calls)
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("database", on("default", "postgresql"))
async def test_the_async_api_takes_a_coroutine_as_rule(database: str, in_thread: ThreadOfQueries) -> None:
    await in_thread(accounts, database)

    async def both_were_added(outcomes: Outcomes) -> bool:
        account = await in_thread(Account.objects.using(database).get, pk=1)
        return bool(account.balance == 102)

    call = (races.add, {"pk": 1, "amount": 1, "using": database})
    found = await aioconcurrent.explore(call, call, check=both_were_added)
    assert found.counterexample, found
    assert found.counterexample.anomaly == "lost update"
    replayed = await aioconcurrent.replay(found.counterexample.token, call, call, check=both_were_added)
    assert replayed.verdict == "race", replayed


@pytest.mark.parametrize("database", on("file"))
async def test_the_async_api_finds_no_race_where_there_is_none(database: str, in_thread: ThreadOfQueries) -> None:
    await in_thread(accounts, database)
    call = (races.add_in_database, {"pk": 1, "amount": 1, "using": database})
    found = await aioconcurrent.explore(call, call)
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql"))])
def test_explorations_in_two_threads_come_one_after_the_other(database: str) -> None:
    accounts(database)
    found = at_once(lambda _: explore(*additions(database, races.add_in_database)))
    assert [each.verdict for each in found] == ["no race", "no race"]
    assert Account.objects.using(database).get(pk=1).balance == 100


@pytest.mark.parametrize("database", on("file"))
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_explorations_in_two_tasks_come_one_after_the_other(database: str, in_thread: ThreadOfQueries) -> None:
    await in_thread(accounts, database)
    calls = additions(database, races.add_in_database)
    found = await asyncio.gather(*(aioconcurrent.explore(*calls) for _ in range(2)))
    assert [each.verdict for each in found] == ["no race", "no race"]


@pytest.mark.parametrize("database", on("file"))
def test_an_exploration_in_the_rule_of_another_is_refused(database: str) -> None:
    accounts(database)

    def explore_again(_: Outcomes) -> bool:
        return explore(*additions(database)).verdict == "no race"

    with pytest.raises(RuntimeError, match="by the check of another exploration"):
        explore(*additions(database), check=explore_again)
