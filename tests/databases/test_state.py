import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction

from aioconcurrent import StateError
from aioconcurrent.databases.state import State
from tests.databases.conftest import TRIGGERS, content, fetch, fill, run, turn_over
from tests.project.databases import on
from tests.project.ledger.models import Category, Entry, Team
from tests.project.shop.models import Counter

Open = Callable[..., State]
Make = Callable[..., None]
everywhere = pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
on_servers = pytest.mark.parametrize("database", on("postgresql", "mysql"))

LEDGER = {"ledger_category", "ledger_team", "ledger_player", "ledger_currency", "ledger_entry"}


def number_of_sessions(using: str) -> int:
    if connections[using].vendor == "postgresql":
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    else:
        query = "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE()"
    return int(fetch(using, query)[0][0])


@everywhere
def test_all_rows_and_counters_come_back(database: str, opened: Open) -> None:
    fill(database)
    before = content(database)
    state = opened(database)
    turn_over(database)
    assert state.changed() == LEDGER
    state.restore(LEDGER)
    assert content(database) == before
    assert state.changed() == frozenset()


@everywhere
def test_without_names_all_that_differs_comes_back(database: str, opened: Open) -> None:
    fill(database)
    before = content(database)
    state = opened(database)
    for _ in range(3):
        turn_over(database)
        state.restore()
        assert content(database) == before


@everywhere
def test_the_next_row_gets_the_key_that_the_first_schedule_gave_it(database: str, opened: Open) -> None:
    Counter.objects.using(database).create(name="deleted").delete()
    state = opened(database)
    first = Counter.objects.using(database).create(name="new").pk
    state.restore({"shop_counter"})
    assert Counter.objects.using(database).create(name="new").pk == first


@everywhere
def test_a_counter_that_moved_over_no_rows_is_a_change(database: str, opened: Open) -> None:
    before = content(database)
    state = opened(database)
    Counter.objects.using(database).create(name="gone").delete()
    # Django makes the keys of SQLite AUTOINCREMENT, whose counters are rows
    assert state.changed() == {"shop_counter"}
    state.restore({"shop_counter"})
    assert content(database) == before


@everywhere
def test_counters_tell_how_far_a_run_has_moved_them(database: str, opened: Open) -> None:
    first = Counter.objects.using(database).create(name="a").pk + 1
    state = opened(database)
    assert state.advances() == []
    Counter.objects.using(database).create(name="b").delete()
    Counter.objects.using(database).create(name="c")
    (advance,) = state.advances()
    assert (advance.table, advance.first, advance.next) == ("shop_counter", first, first + 2)


@everywhere
def test_counters_that_were_moved_begin_there_after_every_restore(database: str, opened: Open) -> None:
    begin = Counter.objects.using(database).create(name="a").pk + 5000  # other tests may have moved the counter far
    before = content(database)
    state = opened(database)
    Counter.objects.using(database).create(name="b")
    (name,) = [advance.name for advance in state.advances()]
    state.restore({"shop_counter"})
    state.move_counters({name: begin})
    assert state.changed() == frozenset()
    for _ in range(2):
        assert Counter.objects.using(database).create(name="b").pk == begin
        state.restore({"shop_counter"})
    assert state.changed() == frozenset()
    state.move_counters({})
    assert content(database) == before
    assert state.changed() == frozenset()


@everywhere
def test_the_rows_of_the_start_are_those_of_every_table_that_has_any(database: str, opened: Open) -> None:
    fill(database)
    rows = opened(database).start_rows()
    assert {table for table, found in rows.items() if found} == LEDGER
    assert [row["name"] for row in rows["ledger_category"]] == ["root", "leaf"]


@on_servers
def test_tables_that_were_not_asked_for_stay(database: str, opened: Open) -> None:
    fill(database)
    state = opened(database)
    turn_over(database)
    names = Category.objects.using(database).values_list("name", flat=True)
    state.restore({"ledger_currency", "ledger_entry", "no_such_table"})
    assert set(names) == {"changed", "new"}
    assert state.changed() == {"ledger_category", "ledger_team", "ledger_player"}


@everywhere
def test_values_that_change_places_are_a_change(database: str, opened: Open) -> None:
    one = Counter.objects.using(database).create(name="a", value=100)
    two = Counter.objects.using(database).create(name="b", value=20)
    state = opened(database)
    for counter, value in ((one, 20), (two, 100)):
        counter.value = value
        counter.save()
    assert state.changed() == {"shop_counter"}


@everywhere
@pytest.mark.parametrize(("field", "value"), [("note", ""), ("weight", 0.3), ("receipt", b"\x00"), ("details", [])])
def test_the_smallest_difference_is_a_change(database: str, opened: Open, field: str, value: Any) -> None:
    fill(database)
    state = opened(database)
    number = 2 if field == "weight" else 1  # from 0.30000000000000004 to 0.3, from NULL to an empty text
    Entry.objects.using(database).filter(number=number).update(**{field: value})
    assert state.changed() == {"ledger_entry"}


@everywhere
def test_rows_come_by_key_and_as_the_driver_gives_them(database: str, opened: Open) -> None:
    fill(database)
    rows = opened(database).rows(["ledger_category", "ledger_entry", "no_such_table"])
    assert rows.keys() == {"ledger_category", "ledger_entry"}
    root, leaf = rows["ledger_category"]
    assert (root["name"], leaf["name"], leaf["parent_id"]) == ("root", "leaf", root["id"])
    first, second = rows["ledger_entry"]
    assert first["note"] is None
    assert bytes(second["receipt"]) == bytes(range(256))


@everywhere
def test_rows_without_a_key_come_in_one_order(database: str, opened: Open, made: Make) -> None:
    made(("CREATE TABLE keyless (a integer, b varchar(9))", "DROP TABLE keyless"))
    run(database, "INSERT INTO keyless VALUES (2, 'x'), (NULL, 'y'), (1, NULL), (1, NULL)")
    state = opened(database)
    before = state.rows(["keyless"])
    run(database, "DELETE FROM keyless WHERE a = 2", "INSERT INTO keyless VALUES (2, 'x')")
    assert state.rows(["keyless"]) == before
    assert state.changed() == frozenset()
    run(database, "DELETE FROM keyless WHERE a = 1", "INSERT INTO keyless VALUES (1, NULL)")
    assert state.changed() == {"keyless"}  # there were two of these
    state.restore({"keyless"})
    assert state.rows(["keyless"]) == before


@everywhere
def test_keys_say_what_is_automatic_and_what_it_is_pointed_at_by(database: str, opened: Open, made: Make) -> None:
    made(("CREATE TABLE two (a integer, b integer, PRIMARY KEY (b, a))", "DROP TABLE two"))
    keys = opened(database).keys
    assert (keys["ledger_team"].columns, keys["ledger_team"].automatic) == (("id",), True)
    assert (keys["ledger_currency"].columns, keys["ledger_currency"].automatic) == (("code",), False)
    assert (keys["two"].columns, keys["two"].automatic) == (("b", "a"), False)
    assert keys["ledger_category"].references == {"parent_id": ("ledger_category", "id")}
    assert keys["ledger_team"].references == {"captain_id": ("ledger_player", "id")}
    assert keys["ledger_entry"].references == {"currency_id": ("ledger_currency", "code")}


@everywhere
def test_the_catalogue_has_tables_parents_and_views(database: str, opened: Open, made: Make) -> None:
    made(
        ("CREATE VIEW squad AS SELECT p.id FROM ledger_player p, ledger_team t", "DROP VIEW squad"),
        ("CREATE VIEW squads AS SELECT s.id FROM squad s, shop_counter", "DROP VIEW squads"),
    )
    catalogue = opened(database).catalogue
    assert catalogue.tables >= LEDGER
    assert "squad" not in catalogue.tables
    assert catalogue.parents["ledger_category"] == {"ledger_category"}
    assert catalogue.parents["ledger_player"] == {"ledger_team"}
    assert catalogue.cascades == {}  # Django deletes by itself
    assert catalogue.views["squad"] == {"ledger_player", "ledger_team"}
    assert catalogue.views["squads"] == {"ledger_player", "ledger_team", "shop_counter"}
    assert catalogue.opaque == frozenset()


@everywhere
def test_what_the_database_itself_deletes_is_in_the_catalogue_and_comes_back(
    database: str, opened: Open, made: Make
) -> None:
    key = "integer PRIMARY KEY"
    made(
        (f"CREATE TABLE top (id {key})", "DROP TABLE top"),
        (
            f"CREATE TABLE below (id {key}, up integer, FOREIGN KEY (up) REFERENCES top (id) ON DELETE CASCADE)",
            "DROP TABLE below",
        ),
        (
            f"CREATE TABLE beside (id {key}, up integer, FOREIGN KEY (up) REFERENCES top (id) ON UPDATE CASCADE)",
            "DROP TABLE beside",
        ),
    )
    run(database, "INSERT INTO top VALUES (1), (2)", "INSERT INTO below VALUES (1, 1)")
    run(database, "INSERT INTO beside VALUES (1, 2)")
    state = opened(database)
    before = content(database)
    assert state.catalogue.cascades == {"top": {"below", "beside"}}
    run(database, "DELETE FROM top WHERE id = 1", "UPDATE top SET id = 3")
    assert state.changed() >= {"top", "below"}
    state.restore({"top", "below", "beside"})
    assert content(database) == before


@everywhere
def test_triggers_do_not_fire_and_stay_as_they_are(database: str, opened: Open, made: Make) -> None:
    fill(database)
    made(*TRIGGERS[connections[database].vendor])
    before = content(database)
    state = opened(database)
    assert state.catalogue.opaque == {"ledger_team"}
    Team.objects.using(database).create(name="blue")
    assert state.changed() == {"ledger_team", "shop_counter"}
    state.restore()
    assert content(database) == before


@on_servers
def test_a_lock_that_stays_is_an_error_and_no_hang(
    database: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    Counter.objects.using(database).create(name="a")
    state = opened(database)
    impatient = {"postgresql": "SET lock_timeout = 50", "mysql": "SET innodb_lock_wait_timeout = 0"}
    state._cursor.execute(impatient[connections[database].vendor])  # type: ignore[attr-defined]
    with transaction.atomic(using=database):
        Counter.objects.using(database).update(value=1)
        with pytest.raises(StateError, match=f"(?s)rows of database '{database}'.*end the transaction"):
            state.restore({"shop_counter"})
    assert state.changed() == {"shop_counter"}
    state.restore()
    assert state.changed() == frozenset()


@everywhere
def test_another_thread_may_restore(database: str, opened: Open) -> None:
    state = opened(database)
    Counter.objects.using(database).create(name="a")
    thread = threading.Thread(target=state.restore)
    thread.start()
    thread.join()
    assert not Counter.objects.using(database).exists()


@everywhere
async def test_a_restore_works_under_a_running_event_loop(database: str, in_thread: Any, opened: Open) -> None:
    state = await in_thread(opened, database)
    await in_thread(Counter.objects.using(database).create, name="a")
    assert state.changed() == {"shop_counter"}
    state.restore()
    assert not await in_thread(Counter.objects.using(database).exists)


@on_servers
def test_closing_ends_the_session(database: str, opened: Open) -> None:
    before = number_of_sessions(database)
    state = opened(database)
    assert number_of_sessions(database) == before + 1
    state.close()
    while number_of_sessions(database) > before:
        pass
