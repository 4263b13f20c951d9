"""What could not be seen is told, and "no race" is not said of all that can happen then."""

from __future__ import annotations

from typing import Any

import pytest

from aioconcurrent.base.trace import Operation
from aioconcurrent.databases.schema import Catalogue
from aioconcurrent.exploring.orders.footprint import footprint
from aioconcurrent.sync import explore, options
from tests.project.databases import on
from tests.project.shop import orders, unseen
from tests.project.shop.models import Account, Counter

SOME = on("file", "postgresql", "mysql")


@pytest.fixture
def account(database: str) -> Account:
    Counter.objects.using(database).bulk_create([Counter(name="before"), Counter(name="between")])
    return Account.objects.using(database).create(owner="ann", balance=1)


def call(account: Account, database: str, **more: Any) -> tuple[Any, dict[str, Any]]:
    return unseen.add_with_the_driver, {"pk": account.pk, "using": database, **more}


@pytest.mark.parametrize("database", SOME)
def test_what_a_cursor_of_the_driver_loses_is_a_race(database: str, account: Account) -> None:
    assert explore(call(account, database), call(account, database)).verdict == "race"


@pytest.mark.parametrize("database", SOME)
def test_tables_that_change_without_a_statement_are_named(database: str, account: Account) -> None:
    found = explore(*[call(account, database, at_once=True)] * 2)
    assert (found.verdict, found.exhaustive) == ("no race", False), found
    assert "rows of shop_account change without any statement that says so" in found.reason


@pytest.mark.parametrize("database", on("postgresql"))
def test_rows_that_flow_past_are_named(database: str, account: Account) -> None:
    found = explore(*[(unseen.copy_and_add, {"using": database})] * 2)
    assert (found.verdict, found.exhaustive) == ("no race", False), found
    assert "passes unseen" in found.reason


def test_what_a_catalogue_cannot_see_of_a_name_goes_with_the_statements_that_name_it() -> None:
    catalogue = Catalogue(frozenset({"a", "b"}), routines=frozenset({"f"}), unseen={"b": "b is odd", "f": "f is odd"})

    def of(sql: str) -> frozenset[str]:
        return footprint(Operation("sql", sql, (), vendor="postgresql", database="db"), catalogue).unseen

    assert of("SELECT * FROM a") == frozenset()
    assert of("UPDATE b SET x = 1") == {"b is odd"}
    assert of("SELECT f(b.x) FROM b") == {"b is odd", "f is odd"}
    assert Catalogue.merged([Catalogue(frozenset()), catalogue]).unseen == catalogue.unseen


@pytest.mark.parametrize("database", on("default"))
def test_work_that_is_left_in_a_table_is_told_and_no_race_is_not_said_of_it(database: str) -> None:
    call = (orders.place, {"using": database, "on_commit": True})
    found = explore(call)
    assert (found.exhaustive, found.notes) == (True, ())
    with options(queues=["shop_coup*"]):
        found = explore(call)
    told = "enqueued and not followed: what is put into shop_coupon, from which workers of a queue take it"
    assert (found.verdict, found.exhaustive, found.notes) == ("no race", False, (told,))
    assert told in found.reason
