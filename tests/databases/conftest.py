"""What the tests of a database's state share: rows to put back, and a look at all that there is."""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections

from aioconcurrent.databases.state import State, open_state
from tests.project.ledger.models import Category, Currency, Entry, Player, Team

PLAIN = f"aioconcurrent_plain_{os.getpid()}"
FIRE = "INSERT INTO shop_counter (name, value) VALUES ('fired', 0);"
TRIGGERS = {
    "postgresql": [
        (
            f"CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {FIRE} RETURN NEW; END $$",
            "DROP FUNCTION note",
        ),
        (
            "CREATE TRIGGER noting BEFORE INSERT ON ledger_team FOR EACH ROW EXECUTE FUNCTION note()",
            "DROP TRIGGER noting ON ledger_team",
        ),
        (
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never delete'; END $$",
            "DROP FUNCTION refuse",
        ),
        (
            "CREATE TRIGGER refusing BEFORE DELETE ON ledger_team FOR EACH ROW EXECUTE FUNCTION refuse()",
            "DROP TRIGGER refusing ON ledger_team",
        ),
        ("ALTER TABLE ledger_team ENABLE ALWAYS TRIGGER refusing", "SELECT 1"),
    ],
    "mysql": [
        (
            f"CREATE TRIGGER noting BEFORE INSERT ON ledger_team FOR EACH ROW BEGIN {FIRE} END",
            "DROP TRIGGER noting",
        ),
        (
            "CREATE TRIGGER last_of_two BEFORE INSERT ON ledger_team FOR EACH ROW SET NEW.name = 'b\u20ac'",
            "DROP TRIGGER last_of_two",
        ),
        (
            "CREATE TRIGGER refusing BEFORE DELETE ON ledger_team FOR EACH ROW SIGNAL SQLSTATE '45000'",
            "DROP TRIGGER refusing",
        ),
    ],
    "sqlite": [
        (
            f"CREATE TRIGGER noting AFTER INSERT ON ledger_team BEGIN {FIRE} END",
            "DROP TRIGGER noting",
        ),
        (
            "CREATE TRIGGER refusing BEFORE DELETE ON ledger_team BEGIN SELECT RAISE(ABORT, 'never delete'); END",
            "DROP TRIGGER refusing",
        ),
    ],
}


def fill(using: str) -> None:
    """Make rows in every table of the ledger."""
    root = Category.objects.using(using).create(name="root")
    Category.objects.using(using).create(name="leaf", parent=root)
    team = Team.objects.using(using).create(name="red")
    team.captain = Player.objects.using(using).create(name="Ann", team=team)
    team.save(using=using)
    euro = Currency.objects.using(using).create(code="EUR", rate=Decimal("1.0001"))
    Entry.objects.using(using).create(currency=euro, number=1)
    Entry.objects.using(using).create(
        currency=euro,
        number=2,
        note="it's\n50 % \\ \N{EURO SIGN}",
        details={"b": [1, None], "a": {"c": 0.1}},
        receipt=bytes(range(256)),
        weight=0.1 + 0.2,
        is_open=False,
        booked_on=date(2024, 2, 29),
        booked_at=datetime(2024, 10, 27, 0, 30, 0, 123456, tzinfo=UTC),
    )


def turn_over(using: str) -> None:
    """Change, add and delete rows in every table of the ledger."""
    Category.objects.using(using).update(name="changed")
    Category.objects.using(using).create(name="new", parent=Category.objects.using(using).last())
    Team.objects.using(using).all().delete()
    Player.objects.using(using).create(name="Bob", team=Team.objects.using(using).create(name="blue"))
    Entry.objects.using(using).filter(number=2).delete()
    Entry.objects.using(using).update(note="", weight=1.5, details=[], receipt=b"\x00")
    Currency.objects.using(using).create(code="USD", rate=2)


def run(using: str, *statements: str) -> None:
    with connections[using].cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def fetch(using: str, query: str) -> list[Any]:
    with connections[using].cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def content(using: str) -> dict[str, Any]:
    """All rows, counters and triggers of a database, read by other means than the state's own."""
    connection = connections[using]
    mark = connection.ops.quote_name("")[0]
    found: dict[str, Any] = {
        name: sorted(fetch(using, f"SELECT * FROM {mark}{name.replace(mark, mark * 2)}{mark}"), key=repr)
        for name in connection.introspection.table_names()
    }
    return found | {name: fetch(using, query) for name, query in _BESIDES[connection.vendor].items()}


_BESIDES = {
    "postgresql": {
        "sequences": "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2",
        "triggers": "SELECT tgrelid, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2",
        "relations": "SELECT relname FROM pg_class WHERE relpersistence <> 't' AND relkind <> 't' ORDER BY 1",
        "constraints": "SELECT conname, condeferrable, convalidated FROM pg_constraint ORDER BY 1",
    },
    "mysql": {
        "counters": "SELECT table_name, auto_increment FROM information_schema.tables"
        " WHERE table_schema = DATABASE() ORDER BY 1",
        "triggers": "SELECT trigger_name, action_order, action_statement, definer, sql_mode, character_set_client,"
        " collation_connection FROM information_schema.triggers WHERE trigger_schema = DATABASE() ORDER BY 1",
    },
    "sqlite": {
        "counters": "SELECT * FROM sqlite_sequence ORDER BY 1",
        "objects": "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2",
        "journal": "PRAGMA journal_mode",
    },
}


@pytest.fixture
def opened(made: Callable[..., None]) -> Iterator[Callable[[str], State]]:
    """Opens states, and closes them before what was made is dropped, and the database emptied."""
    with contextlib.ExitStack() as stack:

        def open_one(alias: str, settings: dict[str, Any] | None = None) -> State:
            return stack.enter_context(contextlib.closing(open_state(alias, settings)))

        yield open_one


@pytest.fixture
def made(database: str) -> Iterator[Callable[..., None]]:
    """Runs statements that make something, and after the test those that drop it."""
    undo: list[str] = []

    def make(*pairs: tuple[str, str]) -> None:
        for statement, drop in pairs:
            run(database, statement)
            undo.append(drop)

    yield make
    run(database, *reversed(undo))


@pytest.fixture
def plain_role(database: str) -> Iterator[dict[str, Any]]:
    """Settings of a role that owns the tables and may do nothing else."""
    tables = connections[database].introspection.table_names()
    run(database, f"CREATE ROLE {PLAIN} LOGIN", f"GRANT CREATE ON SCHEMA public TO {PLAIN}")
    run(database, *(f"ALTER TABLE {table} OWNER TO {PLAIN}" for table in tables))
    yield {**connections[database].settings_dict, "USER": PLAIN, "PASSWORD": ""}
    run(database, f"REASSIGN OWNED BY {PLAIN} TO CURRENT_USER", f"DROP OWNED BY {PLAIN}", f"DROP ROLE {PLAIN}")
