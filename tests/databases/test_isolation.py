"""Which isolation level a statement runs at, asked of real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from aioconcurrent.databases.watching.isolation import IsolationLevels
from tests.databases.conftest import fetch, run
from tests.project.databases import on

Watched = Callable[..., str | None]
on_postgresql = pytest.mark.parametrize("database", on("postgresql"))
on_mysql = pytest.mark.parametrize("database", on("mysql"))
LEVELS = ["read committed", "repeatable read", "serializable"]


@contextmanager
def connected(alias: str, **options: Any) -> Iterator[Any]:
    """A connection of its own with these options besides, in the place of the thread's."""
    before = connections[alias]
    connection: BaseDatabaseWrapper = before.copy()
    connection.settings_dict["OPTIONS"] = {**connection.settings_dict["OPTIONS"], **options}
    connections[alias] = connection
    try:
        with closing(connection):
            connection.ensure_connection()
            yield connection
    finally:
        connections[alias] = before


class Watching:
    """Runs statements as a passage does, and tells the level of each."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.levels = IsolationLevels()

    def level(self) -> str | None:
        return self.levels.of(self.connection)

    def __call__(self, sql: str) -> str | None:
        level = self.level()
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
        self.levels.note(self.connection, sql, ended=False)
        return level

    @contextmanager
    def atomic(self) -> Iterator[None]:
        with transaction.atomic(self.connection.alias):
            yield
        self.levels.note(self.connection, "", ended=True)

    def asked(self) -> str:
        """What the server says from inside the transaction that is open."""
        with self.connection.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            return str(cursor.fetchone()[0])


@contextmanager
def set_for(what: str, level: str, database: str) -> Iterator[None]:
    run(database, f"ALTER {what} SET default_transaction_isolation = '{level}'")
    try:
        yield
    finally:
        run(database, f"ALTER {what} RESET default_transaction_isolation")


@on_postgresql
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("what", ["DATABASE", "ROLE"])
def test_the_defaults_of_role_and_database_count(database: str, level: str, what: str) -> None:
    ((name, role),) = fetch(database, "SELECT quote_ident(current_database()), quote_ident(current_user)")
    target = f"DATABASE {name}" if what == "DATABASE" else f"ROLE {role} IN DATABASE {name}"
    with set_for(target, level, database), connected(database) as connection:
        watching = Watching(connection)
        assert watching("SELECT 1") == level
        with watching.atomic():
            assert watching("SELECT 1") == level


@on_postgresql
@pytest.mark.parametrize("level", LEVELS)
def test_the_default_in_the_options_counts(database: str, level: str) -> None:
    options = "-c default_transaction_isolation=" + level.replace(" ", r"\ ")
    with connected(database, options=options) as connection:
        assert Watching(connection)("SELECT 1") == level


@on_postgresql
def test_the_level_that_django_is_told_is_that_of_transactions_alone(database: str) -> None:
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    with connected(database, isolation_level=IsolationLevel.SERIALIZABLE) as connection:
        watching = Watching(connection)
        assert watching("SELECT 1") == "read committed"
        with watching.atomic():
            assert watching("SELECT 1") == "serializable" == watching.asked()


@on_postgresql
@pytest.mark.parametrize(
    "statement",
    [
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
        "SET LOCAL transaction_isolation = 'serializable'",
    ],
)
def test_a_transaction_may_choose_its_own_level_first_of_all(database: str, statement: str) -> None:
    with connected(database) as connection:
        watching = Watching(connection)
        with watching.atomic():
            assert watching(statement) == "read committed"
            assert watching("SELECT 1") == watching.asked() != "read committed"
        with watching.atomic():
            assert watching("SELECT 1") == "read committed"
        watching("BEGIN ISOLATION LEVEL SERIALIZABLE")
        assert watching("SELECT 1") == "serializable"
        watching("COMMIT")
        assert watching("SELECT 1") == "read committed"


@on_postgresql
def test_what_a_rollback_takes_back_counts_no_more(database: str) -> None:
    characteristics = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"
    with connected(database) as connection:
        watching = Watching(connection)
        watching("BEGIN")
        watching(characteristics)
        assert watching("SELECT 1") == "read committed"
        watching("ROLLBACK")
        assert watching("SELECT 1") == "read committed"
        watching(characteristics)
        assert watching("SELECT 1") == "serializable"
        watching("SELECT set_config('default_transaction_isolation', 'repeatable read', false)")
        assert watching("SELECT 1") == "repeatable read"
        watching("RESET ALL")
        assert watching("SELECT 1") == "read committed"


@on_postgresql
def test_to_ask_opens_no_transaction_and_takes_no_snapshot(database: str) -> None:
    with connected(database) as connection, transaction.atomic(database):
        assert IsolationLevels().of(connection) == "read committed"
        assert connection.connection.info.transaction_status == 0
        assert connection.connection.autocommit is False
        run(database, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        assert IsolationLevels().of(connection) == "serializable"


@on_postgresql
def test_nobody_can_tell_in_a_transaction_that_has_failed(database: str) -> None:
    with connected(database) as connection:
        watching = Watching(connection)
        watching("BEGIN")
        with pytest.raises(Exception, match="nothing_there"):
            watching("SELECT * FROM nothing_there")
        assert Watching(connection).level() is None
        watching("ROLLBACK")
        assert watching.level() == "read committed"


@on_mysql
def test_the_session_of_mariadb_counts_whatever_has_set_it(database: str) -> None:
    init = "SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"
    with connected(database, isolation_level=None, init_command=init) as connection:
        watching = Watching(connection)
        assert watching("SELECT 1") == "read uncommitted"
        with watching.atomic():
            assert watching("SELECT 1") == "read uncommitted"
        watching("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        with watching.atomic():
            assert watching("SELECT 1") == "serializable"
    with connected(database) as connection:
        assert Watching(connection)("SELECT 1") == "read committed"
    with connected(database, isolation_level=None) as connection:
        ((default,),) = fetch(database, "SELECT @@GLOBAL.tx_isolation")
        assert Watching(connection)("SELECT 1") == default.replace("-", " ").lower()


@on_mysql
def test_the_level_of_one_transaction_alone_is_not_to_be_had_of_mariadb(database: str) -> None:
    with connected(database) as connection:
        watching = Watching(connection)
        watching("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        with watching.atomic():
            assert watching("SELECT 1") is None
        assert watching("SELECT 1") == "read committed"
        with watching.atomic():
            watching("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            assert watching("SELECT 1") is None
        assert watching("SELECT 1") == "repeatable read"
