"""What calls leave to others in the background is a call of its own, from the moment at which it is enqueued."""

from __future__ import annotations

import django
import pytest
from pytest_django import Settings

from aioconcurrent.sync import Outcomes, background, explore, options, replay
from tests.project import plain
from tests.project.databases import on, thorough
from tests.project.shop import orders
from tests.project.shop.models import Account, Coupon

IN_MEMORY = pytest.mark.parametrize("database", on("default"))


@pytest.mark.parametrize("database", [*on("default", "postgresql"), *thorough(on("file", "mysql"))])
def test_a_task_that_is_enqueued_before_the_commit_may_come_before_it(database: str) -> None:
    call = (orders.place, {"using": database})
    found = explore(call)
    counterexample = found.counterexample
    assert counterexample, found
    assert "which A had inserted and not committed yet; B raised DoesNotExist" in counterexample.explanation
    assert "transaction.on_commit(" in counterexample.hint
    assert counterexample.calls[1].startswith("send_receipt(")
    assert "enqueue send_receipt(" in str(counterexample)
    again = replay(counterexample.token, call).counterexample
    assert again
    assert again.explanation == counterexample.explanation
    assert not Coupon.objects.using(database).exists()


@pytest.mark.parametrize("database", [*on("file", "mysql"), *thorough(on("default", "postgresql"))])
def test_a_task_that_is_enqueued_on_commit_comes_after_it(database: str) -> None:
    found = explore((orders.place, {"using": database, "on_commit": True}))
    assert (found.verdict, found.exhaustive) == ("no race", True), found
    assert [call.partition("(")[0] for call in found.calls] == ["place", "send_receipt"]


@IN_MEMORY
def test_two_calls_and_the_tasks_of_both_are_a_question_of_four(database: str) -> None:
    Account.objects.using(database).create(pk=1)
    found = explore(*[(orders.announce, {"using": database})] * 2)
    assert found.counterexample, found
    assert found.counterexample.anomaly == "lost update"
    assert len(found.calls) == 4


@IN_MEMORY
def test_a_task_comes_as_often_as_it_is_delivered(database: str) -> None:
    Account.objects.using(database).create(pk=1)
    call = (orders.announce, {"using": database})
    assert explore(call).verdict == "inconclusive"  # it meets nobody
    with options(deliveries=2):
        found = explore(call)
        assert found.counterexample, found
        assert found.counterexample.anomaly == "lost update"
        assert replay(found.counterexample.token, call).verdict == "race"


@IN_MEMORY
def test_a_task_that_is_enqueued_in_some_orders_only_is_made_in_those(database: str) -> None:
    Account.objects.using(database).create(pk=1)
    found = explore(*[(orders.pay, {"using": database})] * 2)
    assert found.counterexample, found
    assert len(found.calls) == 4  # the second task where both find nothing


@IN_MEMORY
def test_a_rule_is_asked_of_the_calls_that_were_given(database: str) -> None:
    seen: set[int] = set()

    def rule(outcomes: Outcomes) -> None:
        seen.add(len(outcomes))
        outcomes.raise_errors()
        assert Coupon.objects.using(database).get().code == "sent"

    found = explore((orders.place, {"using": database, "on_commit": True}), check=rule)
    assert (found.verdict, seen) == ("no race", {1}), found


@IN_MEMORY
def test_tasks_without_end_are_made_up_to_a_number_and_that_is_said(database: str) -> None:
    found = explore((orders.repeat, {"using": database}), max_schedules=10)
    assert not found.exhaustive
    assert "more than 8 tasks were enqueued, and no more are made" in found.reason


def test_one_call_that_enqueues_nothing_meets_nobody() -> None:
    found = explore((plain.add, {"first": 1, "second": 1}))
    assert found.reason.startswith("there is only one call, and it enqueues no task")


def test_outside_of_an_exploration_nothing_is_taken_over() -> None:
    assert background(orders.send_receipt, 1, using="default") is False


@IN_MEMORY
@pytest.mark.skipif(django.VERSION < (6, 0), reason="Django has tasks from 6.0 on")
@pytest.mark.parametrize("backend", ["immediate.ImmediateBackend", "dummy.DummyBackend"])
def test_tasks_of_django_are_made_by_nobody_who_enqueues_them(database: str, backend: str, settings: Settings) -> None:
    from tests.project.shop import django_tasks

    settings.TASKS = {"default": {"BACKEND": f"django.tasks.backends.{backend}"}}
    found = explore((django_tasks.place, {"using": database}))
    assert found.counterexample, found
    assert "B raised DoesNotExist" in found.counterexample.explanation
    assert found.counterexample.outcomes[0] == "READY"
    assert explore((django_tasks.place_asynchronously, {"using": database})).exhaustive
