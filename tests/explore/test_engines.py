"""What MariaDB's storage engines do to an exploration: tables without transactions, and rows that are deleted later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import connections

from aioconcurrent.sync import Exploration, explore
from tests.project.databases import on, thorough
from tests.project.shop import kinds, scripts
from tests.project.shop.models import Voucher

on_mysql = pytest.mark.parametrize("database", on("mysql"))
WITHOUT_TRANSACTIONS = [pytest.param(name) for name in ("MyISAM", "Aria", "MEMORY")]


def script(using: str, *texts: str, atomic: bool = False) -> tuple[Callable[..., Any], list[str], dict[str, Any]]:
    return (scripts.run_in_atomic if atomic else scripts.run), list(texts), {"using": using}


def both(using: str, engine: str, *calls: Any) -> Exploration:
    """Explore two calls on a table of this engine, with the rows (1, 10) and (2, 0)."""
    scripts.run(
        f"CREATE TABLE plain (id integer PRIMARY KEY AUTO_INCREMENT, n integer) ENGINE={engine}",
        "INSERT INTO plain VALUES (1, 10), (2, 0)",
        using=using,
    )
    try:
        found = explore(*calls)
        assert scripts.run("SELECT id, n FROM plain ORDER BY id", using=using) == [[(1, 10), (2, 0)]]
        return found
    finally:
        scripts.run("DROP TABLE plain", using=using)


def transfer(using: str) -> Any:
    taken, given = "UPDATE plain SET n = n - 10 WHERE id = 1", "UPDATE plain SET n = n + 10 WHERE id = 2"
    return script(using, taken, given, atomic=True)


@on_mysql
@pytest.mark.parametrize("engine", [*WITHOUT_TRANSACTIONS[:2], *thorough(WITHOUT_TRANSACTIONS[2:])])
def test_half_a_transaction_is_seen_in_a_table_that_knows_none(database: str, engine: str) -> None:
    found = both(database, engine, transfer(database), script(database, "SELECT SUM(n) FROM plain"))
    assert found.verdict == "race", found


@on_mysql
@pytest.mark.parametrize("engine", [*WITHOUT_TRANSACTIONS[2:], *thorough(WITHOUT_TRANSACTIONS[:2])])
def test_a_rollback_takes_nothing_back_there(database: str, engine: str) -> None:
    undone = script(database, "UPDATE plain SET n = 11 WHERE id = 1", "ROLLBACK", atomic=True)
    read_twice = script(database, *["SELECT n FROM plain WHERE id = 1"] * 2)
    found = both(database, engine, undone, read_twice)
    assert found.verdict == "race", found


@on_mysql
def test_a_transaction_is_seen_whole_in_a_table_of_innodb(database: str) -> None:
    found = both(database, "InnoDB", transfer(database), script(database, "SELECT SUM(n) FROM plain"))
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.fixture
def old_view(database: str) -> Iterator[None]:
    """A session that reads elsewhere in an old snapshot, for which InnoDB keeps all that is deleted meanwhile."""
    connection = connections[database].copy()
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        cursor.execute("SELECT * FROM shop_counter")
        yield


@on_mysql
@pytest.mark.usefixtures("old_view")
def test_calls_that_insert_other_rows_do_not_meet_at_those_of_earlier_runs(database: str) -> None:
    Voucher.objects.using(database).create(pk=900, code="other")
    found = explore(*((kinds.insert_two, {"pks": pks, "using": database}) for pks in ([1, 4], [3, 2])))
    assert (found.verdict, found.exhaustive) == ("no race", True), found
