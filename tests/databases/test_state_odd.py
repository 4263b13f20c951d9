"""Rows that are hard to read, to compare or to put back."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections

from aioconcurrent import StateError
from aioconcurrent.databases.sessions import is_ended
from aioconcurrent.databases.state import State
from aioconcurrent.databases.state import mysql as mysql_state
from aioconcurrent.databases.state import postgresql as postgresql_state
from aioconcurrent.databases.state.mysql import Triggers
from aioconcurrent.databases.state.standby import Standby
from aioconcurrent.sync import explore
from tests.databases.conftest import PLAIN, content, fetch, fill, run
from tests.faults.processes import wait_until
from tests.project.databases import on
from tests.project.shop.models import Counter

Open = Callable[..., State]
Make = Callable[..., None]
on_postgresql = pytest.mark.parametrize("database", on("postgresql"))
on_mysql = pytest.mark.parametrize("database", on("mysql"))
on_sqlite = pytest.mark.parametrize("database", on("file"))
on_servers = pytest.mark.parametrize("database", on("postgresql", "mysql"))
everywhere = pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))

STRANGER = f"aioconcurrent_stranger_{os.getpid()}"


def make_many(database: str, made: Make) -> None:
    """Make a table with ten rows."""
    made(("CREATE TABLE many (id integer PRIMARY KEY, n integer)", "DROP TABLE many"))
    run(database, f"INSERT INTO many VALUES {', '.join(f'({number}, 0)' for number in range(10))}")


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables with 10 rows are left for later."""
    monkeypatch.setattr(mysql_state, "_LARGE", 9)
    monkeypatch.setattr(postgresql_state, "_LARGE", 0)


@pytest.fixture
def stranger(database: str) -> Iterator[dict[str, Any]]:
    """Settings of a user of MariaDB or MySQL that may do all in this database, and nothing else."""
    name = connections[database].settings_dict["NAME"]
    run(
        database,
        f"CREATE USER '{STRANGER}'@'%%'",
        f"GRANT ALL ON `{name}`.* TO '{STRANGER}'@'%%'",
        f"GRANT PROCESS ON *.* TO '{STRANGER}'@'%%'",
    )
    yield {**connections[database].settings_dict, "USER": STRANGER, "PASSWORD": ""}
    run(database, f"DROP USER '{STRANGER}'@'%%'")


@on_postgresql
def test_what_a_driver_cannot_load_is_the_text_of_the_server(database: str, opened: Open, made: Make) -> None:
    made(
        (
            """CREATE TABLE odd (id integer PRIMARY KEY, at timestamptz, day date, span interval, f float8, n numeric,
            many timestamptz[])""",
            "DROP TABLE odd",
        )
    )
    run(
        database,
        "INSERT INTO odd VALUES (1, 'infinity', '4713-01-01 BC', '10000000 years', 'NaN', 'NaN', '{infinity}')",
        "INSERT INTO odd VALUES (2, '2024-02-29 00:00+00', '2024-02-29', '1 day', 1.5, 2.5, '{}')",
    )
    state = opened(database)
    before = fetch(database, "SELECT odd::text FROM odd ORDER BY id")
    start = state.start_rows({"odd"})
    odd, even = start["odd"]
    assert (odd["at"], odd["day"], odd["f"], odd["n"]) == ("infinity", "4713-01-01 BC", "nan", "NaN")
    assert (even["day"].isoformat(), even["f"]) == ("2024-02-29", 1.5)
    assert state.rows({"odd"}) == start  # NaN is no change
    run(database, "UPDATE odd SET at = '-infinity', day = now(), f = 1")
    assert state.changed() == {"odd"}
    assert state.rows({"odd"})["odd"][0]["at"] == "-infinity"
    state.restore()
    assert fetch(database, "SELECT odd::text FROM odd ORDER BY id") == before


@on_mysql
def test_times_over_a_day_and_dates_that_are_none_are_texts(database: str, opened: Open, made: Make) -> None:
    made(("CREATE TABLE odd (id integer PRIMARY KEY, t time, d date)", "DROP TABLE odd"))
    run(database, "SET SESSION sql_mode = ''", "INSERT INTO odd VALUES (1, '838:59:59', '0000-00-00'), (2, NULL, NULL)")
    state = opened(database)
    odd, empty = state.start_rows({"odd"})["odd"]
    assert "838:59:59" in str(odd["t"])
    assert (odd["d"], empty["d"], empty["t"]) == ("0000-00-00", None, None)
    run(database, "UPDATE odd SET d = NULL")
    assert state.changed() == {"odd"}
    state.restore()
    assert state.rows({"odd"}) == state.start_rows({"odd"})


@on_sqlite
def test_a_text_that_is_no_utf_8_is_told_in_escapes(database: str, opened: Open, made: Make) -> None:
    made(("CREATE TABLE odd (id integer PRIMARY KEY, s text)", "DROP TABLE odd"))
    run(database, "INSERT INTO odd VALUES (1, CAST(x'ff61' AS TEXT))")
    state = opened(database)
    assert state.start_rows({"odd"})["odd"] == [{"id": 1, "s": "\\xffa"}]
    run(database, "UPDATE odd SET s = 'a'")
    assert state.changed() == {"odd"}
    state.restore()
    assert fetch(database, "SELECT hex(s) FROM odd") == [("FF61",)]


@everywhere
def test_names_may_have_any_character(database: str, opened: Open, made: Make) -> None:
    quote = connections[database].ops.quote_name("")[0]
    table, column = (f"{quote}{name}{quote}" for name in ("it's \\ 100 $1", 'n\'s "" x'))
    made((f"CREATE TABLE {table} (id integer PRIMARY KEY, {column} integer)", f"DROP TABLE {table}"))
    run(database, f"INSERT INTO {table} VALUES (1, 1)")
    state = opened(database)
    before = fetch(database, f"SELECT * FROM {table}")
    run(database, f"UPDATE {table} SET {column} = 2")
    assert state.changed() == {"it's \\ 100 $1"}
    state.restore()
    assert fetch(database, f"SELECT * FROM {table}") == before


@on_postgresql
@pytest.mark.parametrize("is_superuser", [True, False])
def test_rows_from_before_a_constraint_come_back(
    database: str, opened: Open, made: Make, plain_role: dict[str, Any], is_superuser: bool
) -> None:
    made(
        ("CREATE TABLE top (id integer PRIMARY KEY)", "DROP TABLE top CASCADE"),
        ("CREATE TABLE old (id integer PRIMARY KEY, n integer, up integer)", "DROP TABLE old"),
    )
    run(
        database,
        "INSERT INTO old VALUES (1, -1, 7)",
        "ALTER TABLE old ADD CONSTRAINT positive CHECK (n > 0) NOT VALID",
        "ALTER TABLE old ADD CONSTRAINT known FOREIGN KEY (up) REFERENCES top NOT VALID",
        *(f"ALTER TABLE {table} OWNER TO {PLAIN}" for table in ("top", "old")),
    )
    before = content(database)
    state = opened(database, None if is_superuser else plain_role)
    state.check({"old"})
    run(database, "INSERT INTO top VALUES (8)", "UPDATE old SET n = 1, up = 8")
    assert state.changed() == {"old", "top"}
    state.restore()
    assert content(database) | {"triggers": []} == before | {"triggers": []}  # those of a key made again have new names


@on_postgresql
def test_without_rights_circles_of_foreign_keys_are_made_to_wait(
    database: str, opened: Open, made: Make, plain_role: dict[str, Any]
) -> None:
    made(
        ("CREATE TABLE one (id integer PRIMARY KEY, other integer)", "DROP TABLE one CASCADE"),
        ("CREATE TABLE two (id integer PRIMARY KEY, other integer REFERENCES one)", "DROP TABLE two CASCADE"),
    )
    run(
        database,
        "INSERT INTO one VALUES (1, 1)",
        "INSERT INTO two VALUES (1, 1)",
        "ALTER TABLE one ADD FOREIGN KEY (other) REFERENCES two ON DELETE CASCADE",
        *(f"ALTER TABLE {table} OWNER TO {PLAIN}" for table in ("one", "two")),
    )
    before = content(database)
    state = opened(database, plain_role)
    state.check({"one", "two"})
    run(database, "INSERT INTO one VALUES (2, 1)", "UPDATE two SET other = 2")
    state.restore()
    assert content(database) == before


@on_postgresql
def test_circles_that_restrict_are_refused_before_anything_is_changed(
    database: str, opened: Open, made: Make, plain_role: dict[str, Any]
) -> None:
    made(
        ("CREATE TABLE one (id integer PRIMARY KEY, other integer)", "DROP TABLE one CASCADE"),
        (
            "CREATE TABLE two (id integer PRIMARY KEY, other integer REFERENCES one ON DELETE RESTRICT)",
            "DROP TABLE two CASCADE",
        ),
        ("CREATE TABLE apart (id integer PRIMARY KEY)", "DROP TABLE apart"),
    )
    run(
        database,
        "ALTER TABLE one ADD FOREIGN KEY (other) REFERENCES two ON DELETE RESTRICT",
        *(f"ALTER TABLE {table} OWNER TO {PLAIN}" for table in ("one", "two", "apart")),
    )
    state = opened(database, plain_role)
    state.check({"apart"})
    with pytest.raises(StateError, match="GRANT SET ON PARAMETER session_replication_role"):
        state.check({"two"})


@on_mysql
def test_rows_that_no_packet_holds_are_seen_and_put_back(database: str, opened: Open, made: Make) -> None:
    ((packet,),) = fetch(database, "SELECT @@max_allowed_packet")
    made(("CREATE TABLE big (id integer PRIMARY KEY, v longblob, w longtext)", "DROP TABLE big"))
    run(database, f"INSERT INTO big VALUES (1, REPEAT('''', {packet * 6 // 10}), REPEAT('x', {packet * 6 // 10}))")
    state = opened(database)
    run(database, "UPDATE big SET v = CONCAT('lost', v)")
    assert state.changed() == {"big"}
    assert state.rows({"big"}) != state.start_rows({"big"})
    state.restore()
    assert state.rows({"big"}) == state.start_rows({"big"})
    assert fetch(database, "SELECT LENGTH(v) FROM big") == [(packet * 6 // 10,)]


@on_servers
@pytest.mark.usefixtures("small_is_large")
def test_a_large_table_is_copied_when_something_in_it_moves(database: str, opened: Open, made: Make) -> None:
    make_many(database, made)
    state = opened(database)
    everything = fetch(database, "SELECT * FROM many ORDER BY id")
    assert not state.is_kept({"many"})
    assert state.changed() == frozenset()
    assert "many" not in state.rows({"many"}) | state.start_rows({"many"})
    assert not state.is_kept({"many"})
    for statement in ("UPDATE many SET n = 1 WHERE id = 3", "DELETE FROM many WHERE id = 9", "DELETE FROM many"):
        run(database, statement)
        assert state.changed() == {"many"}
        assert len(state.start_rows({"many"})["many"]) == 10
        state.restore()
        assert fetch(database, "SELECT * FROM many ORDER BY id") == everything
        assert state.changed() == frozenset()
    assert state.is_kept({"many"})


@on_servers
@pytest.mark.usefixtures("small_is_large")
def test_a_large_table_that_was_copied_beforehand_may_be_emptied(database: str, opened: Open, made: Make) -> None:
    make_many(database, made)
    state = opened(database)
    state.keep()
    run(database, "TRUNCATE TABLE many")
    state.restore({"many"})
    assert fetch(database, "SELECT count(*) FROM many") == [(10,)]


@on_postgresql
@pytest.mark.usefixtures("small_is_large")
def test_a_large_table_that_is_emptied_unseen_is_told(database: str, opened: Open, made: Make) -> None:
    make_many(database, made)
    state = opened(database)
    run(database, "TRUNCATE TABLE many")
    with pytest.raises(StateError, match="many was emptied or rebuilt by a statement that was not seen"):
        state.restore()


@on_servers
@pytest.mark.usefixtures("small_is_large")
def test_a_large_table_comes_back_though_the_server_ends_the_sessions_that_keep_it(database: str, made: Make) -> None:
    make_many(database, made)
    everything = fetch(database, "SELECT * FROM many ORDER BY id")
    standby = Standby(database, connections[database].settings_dict)
    state: Any = standby._state
    driver = state._driver if database == "mysql" else state._snapshot.driver
    if database == "mysql":
        run(database, f"KILL {driver.thread_id()}")
    else:
        fetch(database, f"SELECT pg_terminate_backend({driver.info.backend_pid})")
    assert wait_until(lambda: is_ended(driver))
    run(database, "UPDATE many SET n = 1 WHERE id = 3")
    standby.restore()
    assert fetch(database, "SELECT * FROM many ORDER BY id") == everything
    standby.close()


TRIGGERS = (
    ("CREATE TRIGGER first_one BEFORE INSERT ON ledger_team FOR EACH ROW SET NEW.name = 'a'", "DROP TRIGGER first_one"),
    (
        "CREATE TRIGGER second_one BEFORE INSERT ON ledger_team FOR EACH ROW BEGIN SET NEW.name = 'b'; END",
        "DROP TRIGGER second_one",
    ),
)


@on_mysql
def test_triggers_are_there_all_the_time(database: str, opened: Open, made: Make) -> None:
    fill(database)
    made(*TRIGGERS)
    before = content(database)["triggers"]
    state: Any = opened(database)
    with state._triggers.silent(list(state.schema.triggers.values())):
        assert [trigger[:2] for trigger in content(database)["triggers"]] == [trigger[:2] for trigger in before]
        run(database, "INSERT INTO ledger_team (name) VALUES ('c')")
        assert fetch(database, "SELECT name FROM ledger_team ORDER BY id DESC LIMIT 1") == [("b",)]  # they fire here
    assert content(database)["triggers"] == before


@on_mysql
def test_triggers_that_a_killed_process_has_left_get_their_own_texts(database: str, opened: Open, made: Make) -> None:
    made(*TRIGGERS)
    before = content(database)["triggers"]
    state: Any = opened(database)
    with pytest.raises(state._error), state._triggers.silent(list(state.schema.triggers.values())):
        state.close()
    assert content(database)["triggers"] != before
    opened(database)
    assert content(database)["triggers"] == before


@on_mysql
def test_a_trigger_of_somebody_else_is_refused_before_anything_is_changed(
    database: str, opened: Open, made: Make, stranger: dict[str, Any]
) -> None:
    made(*TRIGGERS)
    before = content(database)["triggers"]
    state = opened(database, stranger)
    state.check({"shop_counter"})
    with pytest.raises(StateError, match=r"(?s)the trigger first_one belongs to .*GRANT SET USER"):
        state.check({"ledger_team"})
    assert content(database)["triggers"] == before
    opened(database).check()


@on_mysql
def test_a_server_that_replaces_no_triggers_has_them_dropped_and_made_again(
    database: str, opened: Open, made: Make
) -> None:
    fill(database)
    made(*TRIGGERS)
    before = content(database)
    state: Any = opened(database)
    state._triggers = Triggers(database, state._all, replaces=False)
    run(database, "UPDATE ledger_team SET name = 'x'")
    state.restore()
    assert content(database) == before


def rename(using: str, name: str) -> None:
    run(using, "UPDATE shop_counter SET value = value + 1", f"UPDATE ledger_team SET name = '{name}'")


@on_mysql
def test_explore_changes_nothing_that_could_not_be_put_back(
    database: str, made: Make, stranger: dict[str, Any]
) -> None:
    fill(database)
    Counter.objects.using(database).create(name="a")
    made(*TRIGGERS)
    before = content(database)
    connection = connections[database]
    user = connection.settings_dict["USER"]
    connection.close()
    connection.settings_dict["USER"] = stranger["USER"]
    try:
        with pytest.raises(StateError, match="the trigger first_one belongs to"):
            explore((rename, {"using": database, "name": "a"}), (rename, {"using": database, "name": "b"}))
    finally:
        connection.close()
        connection.settings_dict["USER"] = user
    assert content(database) == before


@on_servers
@pytest.mark.usefixtures("small_is_large")
def test_explore_reads_no_rows_that_no_call_touches(database: str, made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make_many(database, made)
    Counter.objects.using(database).create(name="a")
    read: set[str] = set()
    for kind in (mysql_state.MysqlState, postgresql_state.PostgresState):
        monkeypatch.setattr(kind, "_select", _noting(kind._select, read))
    call = (increment, {"using": database})
    assert explore(call, call).verdict == "no race"
    assert read - {"django_migrations"} == {"shop_counter"}  # the former tells of which run of the tests a database is


def increment(using: str) -> None:
    run(using, "UPDATE shop_counter SET value = value + 1")


def _noting(select: Callable[..., Any], read: set[str]) -> Callable[..., Any]:
    def selecting(state: State, table: Any, source: str) -> Any:
        read.add(table.name)
        return select(state, table, source)

    return selecting
