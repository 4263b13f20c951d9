"""What an exploration finds depends on the isolation level that the server says, whatever has set it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from aioconcurrent.sync import explore
from tests.project.databases import changed_options, on
from tests.project.shop import scripts
from tests.project.shop.models import Account

ADD = "UPDATE shop_account SET balance = balance + 1 WHERE id = 1"
WAYS = ["options", "role", "database", "statement"]
on_postgresql = pytest.mark.parametrize("database", on("postgresql"))
on_mysql = pytest.mark.parametrize("database", on("mysql"))


@contextmanager
def default_level(alias: str, way: str, level: str) -> Iterator[str]:
    """Make this level the usual one in one of the ways; returns what a transaction has to run first."""
    if way == "options":
        with changed_options(alias, options="-c default_transaction_isolation=" + level.replace(" ", r"\ ")):
            yield ""
    elif way == "statement":
        yield f"SET TRANSACTION ISOLATION LEVEL {level}"
    else:
        query = "SELECT quote_ident(current_database()), quote_ident(current_user)"
        (((name, role),),) = scripts.run(query, using=alias)
        target = f"DATABASE {name}" if way == "database" else f"ROLE {role} IN DATABASE {name}"
        scripts.run(f"ALTER {target} SET default_transaction_isolation = '{level}'", using=alias)
        try:
            yield ""
        finally:
            scripts.run(f"ALTER {target} RESET default_transaction_isolation", using=alias)


def look_then_add(using: str, first: str) -> Any:
    texts = [first, "SELECT count(*) FROM shop_counter", ADD]
    return scripts.run_in_atomic, [text for text in texts if text], {"using": using}


@pytest.fixture(autouse=True)
def account(database: str) -> None:
    Account.objects.using(database).create(pk=1)


@on_postgresql
@pytest.mark.parametrize("way", WAYS)
def test_an_update_of_what_was_changed_since_the_snapshot_fails(database: str, way: str) -> None:
    with default_level(database, way, "repeatable read") as first:
        found = explore(look_then_add(database, first), (scripts.run_patiently, [ADD], {"using": database}))
    assert found.counterexample, found
    assert found.counterexample.anomaly == "unhandled conflict"


@on_postgresql
@pytest.mark.parametrize("way", WAYS)
def test_the_same_waits_and_succeeds_where_each_statement_has_its_snapshot(database: str, way: str) -> None:
    with default_level(database, way, "read committed") as first:
        found = explore(look_then_add(database, first), (scripts.run_patiently, [ADD], {"using": database}))
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@on_mysql
@pytest.mark.parametrize(("level", "verdict"), [("READ COMMITTED", "race"), ("REPEATABLE READ", "no race")])
def test_mariadb_repeats_a_read_where_its_session_says_so(database: str, level: str, verdict: str) -> None:
    query = "SELECT balance FROM shop_account WHERE id = 1"
    command = f"SET SESSION TRANSACTION ISOLATION LEVEL {level}"
    with changed_options(database, isolation_level=None, init_command=command):
        found = explore(
            (scripts.run_in_atomic, [query, query], {"using": database}),
            (scripts.run, [ADD], {"using": database}),
        )
    assert found.verdict == verdict, found
    if found.counterexample:
        assert {step.operation.isolation for step in found.counterexample.steps} == {level.lower()}
