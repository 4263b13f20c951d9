"""Calls of every kind are explored: what Django and the databases have besides plain reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from aioconcurrent.sync import Exploration, explore, replay
from tests.project.databases import on
from tests.project.shop import kinds
from tests.project.shop.models import Account, Show, Stamp

from .catalogue import accounts
from .places import Place, at


def twice(function: Callable[..., Any], using: str, **kwargs: Any) -> Exploration:
    call = (function, {**kwargs, "using": using})
    return explore(call, call)


def assert_race(found: Exploration, anomaly: str) -> None:
    assert found.counterexample, found
    assert found.counterexample.anomaly == anomaly, found


def assert_none(found: Exploration) -> None:
    assert (found.verdict, found.exhaustive) == ("no race", True), found


SERVERS = on("postgresql", "mysql")
SOME = on("file", "postgresql", "mysql")


@pytest.mark.parametrize("database", SERVERS)
def test_jobs_are_taken_by_one_each_where_locked_ones_are_skipped(database: str) -> None:
    Account.objects.using(database).bulk_create(Account(owner="") for _ in range(2))
    assert_none(twice(kinds.take, database, skip_locked=True))


@pytest.mark.parametrize("database", SERVERS)
def test_a_lock_that_is_not_waited_for_is_an_unhandled_conflict(database: str) -> None:
    Account.objects.using(database).create(owner="")
    assert_race(twice(kinds.take, database, nowait=True), "unhandled conflict")


@pytest.mark.parametrize("database", SERVERS)
def test_to_refuse_what_is_locked_is_no_race(database: str) -> None:
    Account.objects.using(database).create(owner="")
    call = (kinds.take_or_refuse, {"using": database})
    assert_none(explore(call, call, refusals=[kinds.TakenError]))


@pytest.mark.parametrize("database", SERVERS)
def test_a_lock_that_belongs_to_no_row_keeps_calls_apart(database: str) -> None:
    assert_none(twice(kinds.claim_alone, database, code="x"))


@pytest.mark.parametrize("database", SERVERS)
def test_raw_sql_is_read_like_the_orms(database: str) -> None:
    accounts(database)
    assert_race(twice(kinds.add_raw, database, pk=1), "lost update")
    assert_none(twice(kinds.add_raw_at_once, database, pk=1))


@pytest.mark.parametrize("place", at("postgresql-RC", "mysql-RC"), indirect=True)
def test_rolling_back_to_a_savepoint_lets_go_of_rows(place: Place) -> None:
    accounts(place.alias)
    found = twice(kinds.add_after_rollback, place.alias, pk=1)
    assert_race(found, "lost update")
    assert found.counterexample
    assert "update to 101 was committed and wrote 101 over it" in found.counterexample.explanation


@pytest.mark.parametrize("place", at("file"), indirect=True)
def test_rolling_back_to_a_savepoint_keeps_the_lock_of_sqlite(place: Place) -> None:
    accounts(place.alias)
    assert_none(twice(kinds.add_after_rollback, place.alias, pk=1))


@pytest.mark.parametrize("place", at("file-immediate", "postgresql-RC", "mysql-RC"), indirect=True)
def test_a_wait_is_told_with_whom_it_was_for_and_what_ended_it(place: Place) -> None:
    accounts(place.alias)
    call = (kinds.first_account, {"using": place.alias})
    replayed = replay("aioc1:1*2.0", call, call, check=lambda outcomes: False)
    assert replayed.counterexample, replayed
    waits = [step for step in replayed.counterexample.steps if step.waited_for]
    assert [(step.call, set(step.waited_for)) for step in waits] == [(0, {1})]
    ended = replayed.counterexample.steps[waits[0].resumed_after or 0]
    assert (ended.call, ended.operation.kind) == (1, "commit")


@pytest.mark.parametrize("database", on("file", "postgresql"))
def test_what_runs_on_commit_is_outside_of_the_transaction(database: str) -> None:
    accounts(database)
    assert_race(twice(kinds.claim_on_commit, database, code="x"), "double insert")
    assert_none(twice(kinds.claim_before_commit, database, code="x"))


@pytest.mark.parametrize("database", SOME)
def test_a_row_that_is_deleted_while_another_refers_to_it_is_a_conflict(database: str) -> None:
    Show.objects.using(database).create(pk=1, title="Hamlet", seats_left=1)
    found = explore((kinds.close_show, {"pk": 1, "using": database}), (kinds.sell, {"pk": 1, "using": database}))
    assert_race(found, "unhandled conflict")


@pytest.mark.parametrize("place", at("postgresql-RC", "mysql-RC", "file-immediate"), indirect=True)
def test_a_row_that_both_lock_can_be_deleted(place: Place) -> None:
    Show.objects.using(place.alias).create(pk=1, title="Hamlet", seats_left=1)
    arguments = {"pk": 1, "using": place.alias}
    assert_none(explore((kinds.close_show_locked, arguments), (kinds.sell_locked, arguments)))


TRIGGER = {
    "sqlite": ["CREATE TRIGGER paying AFTER INSERT ON shop_coupon BEGIN {change}; END"],
    "mysql": ["CREATE TRIGGER paying AFTER INSERT ON shop_coupon FOR EACH ROW {change}"],
    "postgresql": [
        "CREATE FUNCTION pay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {change}; RETURN NEW; END $$",
        "CREATE TRIGGER paying AFTER INSERT ON shop_coupon FOR EACH ROW EXECUTE FUNCTION pay()",
    ],
}
NO_TRIGGER = {
    "sqlite": ["DROP TRIGGER paying"],
    "mysql": ["DROP TRIGGER paying"],
    "postgresql": ["DROP TRIGGER paying ON shop_coupon", "DROP FUNCTION pay"],
}


PAYS = "UPDATE shop_account SET balance = balance + 1 WHERE id = 1"


@contextmanager
def trigger(using: str, change: str = PAYS) -> Iterator[None]:
    """Have every new coupon pay into the first account, or do something else."""
    connection = connections[using]
    with connection.cursor() as cursor:
        for statement in TRIGGER[connection.vendor]:
            cursor.execute(statement.format(change=change))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for statement in NO_TRIGGER[connection.vendor]:
                cursor.execute(statement)


@pytest.mark.parametrize("database", SOME)
def test_what_a_trigger_writes_can_be_lost(database: str) -> None:
    accounts(database)
    with trigger(database):
        found = explore((kinds.add_coupon, {"using": database}), (kinds.add_raw, {"pk": 1, "using": database}))
        assert found.verdict == "race", found


@pytest.mark.parametrize("database", on("file", "postgresql"))  # MariaDB has no trigger that inserts beside its row
def test_a_row_that_a_trigger_adds_beside_another_is_of_the_calls(database: str) -> None:
    accounts(database)
    twin = "INSERT INTO shop_coupon (code) SELECT 'twin' WHERE NEW.code <> 'twin'"
    with trigger(database, twin):
        found = explore(*[(kinds.add_coupon, {"using": database})] * 2)
        assert found.verdict == "no race", found


@pytest.mark.parametrize("database", SOME)
def test_rows_of_many_parameters_are_of_the_calls(database: str) -> None:
    found = explore(*[(kinds.add_many_coupons, {"using": database})] * 2)
    assert found.verdict == "no race", found


@pytest.mark.parametrize("database", SOME)
def test_what_a_trigger_writes_at_once_is_not_lost(database: str) -> None:
    accounts(database)
    with trigger(database):
        found = explore((kinds.add_coupon, {"using": database}), (kinds.add_raw_at_once, {"pk": 1, "using": database}))
        assert_none(found)


@pytest.mark.parametrize("database", on("file"))
def test_values_that_are_never_the_same_are_no_race(database: str) -> None:
    assert_none(twice(kinds.stamp, database))


@pytest.mark.parametrize("database", on("file", "postgresql"))
def test_values_that_are_never_the_same_hide_no_race(database: str) -> None:
    Stamp.objects.using(database).create()
    assert_race(twice(kinds.count_stamp, database), "lost update")


@pytest.mark.parametrize("place", at("postgresql-RC", "file-immediate"), indirect=True)
def test_instances_are_compared_by_their_fields(place: Place) -> None:
    accounts(place.alias)
    assert_none(twice(kinds.first_account, place.alias))


@pytest.mark.parametrize("database", on("file", "mysql"))
def test_coroutines_and_the_async_orm_are_stepped_too(database: str) -> None:
    accounts(database)
    assert_race(twice(kinds.add_async, database, pk=1), "lost update")
    assert_none(twice(kinds.add_async_at_once, database, pk=1))
