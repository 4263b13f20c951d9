"""A rule does not hide an error that no order explains; and many calls are not many times the work."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import IntegrityError

from aioconcurrent.sync import Outcomes, explore
from tests.project.databases import on, thorough
from tests.project.office import starts, waits
from tests.project.office.models import Handle, Post
from tests.truth.cases import NO_RACE, RACE, SAFE, assert_verdict
from tests.truth.judge import fill

SOME = on("file", "postgresql", "mysql")


@pytest.mark.parametrize("database", SOME)
def test_an_error_that_no_order_explains_is_a_race_though_the_rule_holds(database: str) -> None:
    fill(database)

    def taken_once(_: object) -> bool:
        return Handle.objects.using(database).filter(name="x").count() == 1

    call = (waits.take_or_fail, {"using": database})
    assert_verdict(explore(call, call, check=taken_once), RACE)
    assert_verdict(explore(call, call, check=taken_once, refusals=IntegrityError), SAFE)


@pytest.mark.parametrize("database", [*on("postgresql"), *thorough(on("file", "mysql"))])
def test_an_error_of_the_application_that_no_order_explains_is_one_too(database: str) -> None:
    fill(database)
    call = (waits.withdraw, {"using": database})
    assert_verdict(explore(call, call, check=lambda outcomes: True), RACE)


@pytest.mark.parametrize("database", SOME)
def test_an_error_that_every_order_raises_is_none(database: str) -> None:
    fill(database)
    Handle.objects.using(database).create(name="y")
    call = (starts.take_name, {"name": "y", "using": database})
    assert_verdict(explore(call, call, check=lambda outcomes: True), NO_RACE)


@pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql", "mysql"))])
@pytest.mark.parametrize(("calls", "equal"), [(5, True), (5, False), (20, True)])
def test_a_lost_update_of_many_is_found_at_once(database: str, calls: int, equal: bool) -> None:
    fill(database)
    amounts = [1 if equal else 10**call for call in range(calls)]
    found = explore(*((starts.add, {"amount": amount, "using": database}) for amount in amounts))
    assert_verdict(found, RACE)
    assert found.schedules_run <= 8


@pytest.mark.parametrize("database", [*on("mysql"), *thorough(on("file", "postgresql"))])
def test_a_rule_finds_the_lost_update_of_many_at_once(database: str) -> None:
    fill(database)

    def all_were_added(_: object) -> bool:
        return Post.objects.using(database).get(pk=1).likes == 11111

    calls = [(starts.add, {"amount": 10**call, "using": database}) for call in range(5)]
    found = explore(*calls, check=all_were_added)
    assert_verdict(found, RACE)
    assert found.schedules_run <= 8


@pytest.mark.parametrize("database", SOME)
def test_four_calls_that_are_equal_and_safe_have_one_order(database: str) -> None:
    fill(database)
    found = explore(*[(starts.add_at_once, {"amount": 1, "using": database})] * 4)
    assert_verdict(found, SAFE)
    assert found.schedules_run <= 5


@pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql", "mysql"))])
def test_one_call_starts_after_another_where_they_are_serial(database: str, tmp_path: Path) -> None:
    """What a call does before its first statement comes after all that the call before it did."""
    fill(database)
    (tmp_path / "number").write_text("0")

    def differ(outcomes: Outcomes) -> bool:
        return outcomes[0] != outcomes[1]

    call = (starts.number_from_file, {"path": tmp_path / "number", "using": database})
    assert_verdict(explore(call, call, check=differ, preemptions=0), NO_RACE)
