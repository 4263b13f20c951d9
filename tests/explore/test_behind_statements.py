"""What the database does behind a statement: views that lock, policies that read, functions that run statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from aioconcurrent.sync import Exploration, explore
from tests.project.databases import on
from tests.project.shop import scripts
from tests.project.shop.models import Account

on_postgresql = pytest.mark.parametrize("database", on("postgresql"))
on_servers = pytest.mark.parametrize("database", on("postgresql", "mysql"))
SKIPPING = "SELECT id FROM shop_account WHERE id = 1 FOR UPDATE SKIP LOCKED"
COUNT = "SELECT count(*) FROM shop_counter"


@pytest.fixture
def made(database: str) -> Iterator[Callable[[str, str], None]]:
    """Makes something in the database, and drops it in the end."""
    Account.objects.using(database).create(pk=1, balance=100)
    with ExitStack() as stack:

        def make(statement: str, drop: str) -> None:
            scripts.run(statement, using=database)
            stack.callback(scripts.run, drop, using=database)

        yield make


def both(database: str, *calls: tuple[Any, ...]) -> Exploration:
    """Explore calls, each a function and the SQL texts that it runs."""
    return explore(*((function, list(texts), {"using": database}) for function, *texts in calls))


@on_postgresql
@pytest.mark.parametrize("depth", [1, 2])
def test_rows_that_a_view_locks_are_skipped_by_others(
    database: str, made: Callable[[str, str], None], depth: int
) -> None:
    made("CREATE VIEW v1 AS SELECT id, balance FROM shop_account FOR UPDATE", "DROP VIEW v1")
    made("CREATE VIEW v2 AS SELECT id FROM v1", "DROP VIEW v2")
    held = (scripts.run_in_atomic, f"SELECT id FROM v{depth} WHERE id = 1", COUNT)
    found = both(database, held, (scripts.run_in_atomic, SKIPPING))
    assert found.verdict == "race", found


@on_postgresql
def test_rows_that_a_view_only_reads_are_not(database: str, made: Callable[[str, str], None]) -> None:
    made("CREATE VIEW v1 AS SELECT id, balance FROM shop_account", "DROP VIEW v1")
    reading = (scripts.run_in_atomic, "SELECT id FROM v1 WHERE id = 1", COUNT)
    found = both(database, reading, (scripts.run_in_atomic, SKIPPING))
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.fixture
def policy(made: Callable[[str, str], None]) -> None:
    """Whoever is "reader" sees accounts as long as a counter says so."""
    made("CREATE ROLE aioconcurrent_reader", "DROP ROLE aioconcurrent_reader")
    made("GRANT ALL ON ALL TABLES IN SCHEMA public TO aioconcurrent_reader", "DROP OWNED BY aioconcurrent_reader")
    made("ALTER TABLE shop_account ENABLE ROW LEVEL SECURITY", "ALTER TABLE shop_account DISABLE ROW LEVEL SECURITY")
    made(
        "CREATE POLICY p ON shop_account USING (EXISTS (SELECT FROM shop_counter WHERE value > 0))",
        "DROP POLICY p ON shop_account",
    )


READ_AS_OTHER = ["SET ROLE aioconcurrent_reader", *["SELECT id FROM shop_account ORDER BY id"] * 2, "RESET ROLE"]


@on_postgresql
@pytest.mark.usefixtures("policy")
def test_a_policy_reads_the_tables_that_it_names(database: str) -> None:
    scripts.run("INSERT INTO shop_counter (name, value) VALUES ('open', 1)", using=database)
    found = both(database, (scripts.run, *READ_AS_OTHER), (scripts.run, "UPDATE shop_counter SET value = 0"))
    assert found.verdict == "race", found


@on_postgresql
@pytest.mark.usefixtures("policy")
def test_a_policy_reads_no_other_tables(database: str) -> None:
    scripts.run("INSERT INTO shop_counter (name, value) VALUES ('open', 1)", using=database)
    found = both(
        database,
        (scripts.run, *READ_AS_OTHER[:3], "UPDATE shop_doctor SET on_call = true"),
        (scripts.run, "UPDATE shop_doctor SET on_call = true"),
    )
    assert (found.verdict, found.exhaustive) == ("no race", True), found


TWICE = {
    "postgresql": (
        "CREATE FUNCTION twice() RETURNS text LANGUAGE plpgsql AS $$ DECLARE a integer; b integer; BEGIN "
        "SELECT sum(balance) INTO a FROM shop_account; SELECT sum(balance) INTO b FROM shop_account; "
        "RETURN a || ' ' || b; END $$"
    ),
    "mysql": (
        "CREATE FUNCTION twice() RETURNS text BEGIN DECLARE a, b integer; "
        "SELECT sum(balance) INTO a FROM shop_account; SELECT sum(balance) INTO b FROM shop_account; "
        "RETURN concat(a, ' ', b); END"
    ),
}
ADD = "UPDATE shop_account SET balance = balance + 1 WHERE id = 1"


@on_servers
def test_between_two_statements_of_a_function_nobody_is_seen(database: str, made: Callable[[str, str], None]) -> None:
    made(TWICE[database], "DROP FUNCTION twice")
    found = both(database, (scripts.run, "SELECT twice()"), (scripts.run, ADD))
    assert (found.verdict, found.exhaustive) == ("no race", False), found
    assert "twice() runs statements of its own" in found.reason


@on_postgresql
def test_a_function_that_keeps_to_the_snapshot_of_its_query_is_seen_whole(
    database: str, made: Callable[[str, str], None]
) -> None:
    made(TWICE[database].replace("LANGUAGE", "STABLE LANGUAGE"), "DROP FUNCTION twice")
    found = both(database, (scripts.run, "SELECT twice()"), (scripts.run, ADD))
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@on_servers
def test_a_view_that_calls_such_a_function_is_told_as_well(database: str, made: Callable[[str, str], None]) -> None:
    made(TWICE[database], "DROP FUNCTION twice")
    made("CREATE VIEW calling AS SELECT twice() AS sums", "DROP VIEW calling")
    found = both(database, (scripts.run, "SELECT sums FROM calling"), (scripts.run, ADD))
    assert (found.verdict, found.exhaustive) == ("no race", False), found
    assert "calling calls what runs statements of its own" in found.reason
