"""A statement in autocommit is stepped as what it is: a transaction, wherever something can come between its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from aioconcurrent.base.trace import Operation
from aioconcurrent.databases.schema import Catalogue
from aioconcurrent.exploring.orders.footprint import footprint
from aioconcurrent.exploring.stepping.moments import Moments
from aioconcurrent.sync import Exploration, explore
from tests.databases.stepping import Stepped, stepped
from tests.project.databases import on, taking_turns
from tests.project.shop import moments
from tests.project.shop.models import Account, Counter, Doctor, Voucher

from .places import Place, at

SERVERS = on("postgresql", "mysql")
FIRST = 1_000_000  # no key that the databases come to
EVERYWHERE = at("file", "file-wal", "postgresql-RC", "postgresql-RR", "mysql-RC", "mysql-RR")
CATALOGUE = Catalogue(
    tables=frozenset({"a", "b", "child", "audited"}),
    cascades={"a": frozenset({"child"})},
    opaque=frozenset({"audited"}),
    routines=frozenset({"settle"}),
    uniques={
        "a": frozenset({frozenset({"id"}), frozenset({"x", "y"})}),
        "b": frozenset({frozenset({"id"})}),
        "child": frozenset({frozenset({"id"})}),
    },
)

MOMENTS = [
    "SELECT * FROM a JOIN b ON a.id = b.id",
    "UPDATE a SET z = %s WHERE a.id = %s",
    "UPDATE a SET z = a.z + %s WHERE (a.id = %s AND a.z >= %s)",
    "UPDATE a SET z = %s WHERE x = %s AND Y = %s",
    "DELETE FROM b WHERE id IN (%s)",
    "INSERT INTO a (x, y) VALUES (%s, %s), (%s, %s)",
    "INSERT INTO b (x) VALUES (%s) ON CONFLICT (x) DO UPDATE SET x = excluded.x",
    "SELECT * FROM a WHERE id = %s LIMIT 21 FOR UPDATE",
    "SELECT pg_advisory_lock(%s)",
    "LISTEN news",
    "SET work_mem = 1",
    "COMMIT",
]
SPLIT = [
    "UPDATE a SET z = %s",
    "UPDATE a SET z = %s WHERE z = %s",
    "UPDATE a SET z = %s WHERE x = %s",
    "UPDATE a SET z = %s WHERE id = %s OR z = %s",
    "UPDATE a SET z = %s WHERE id IN (%s, %s)",
    "UPDATE a SET z = %s WHERE id = z",
    "UPDATE a SET z = (SELECT max(x) FROM b) WHERE id = %s",
    "UPDATE a SET z = b.x FROM b WHERE a.id = %s",
    "DELETE FROM b USING a WHERE a.id = b.id",
    "DELETE FROM b WHERE id IN (SELECT id FROM a)",
    "DELETE FROM a WHERE id = %s",  # and of child by the database
    "INSERT INTO a (x) SELECT x FROM b",
    "INSERT INTO a (x) VALUES ((SELECT max(x) FROM a))",
    "WITH old AS (SELECT id FROM b) DELETE FROM b USING old WHERE b.id = old.id",
    "SELECT * FROM a WHERE z = %s FOR UPDATE",
    "INSERT INTO audited (x) VALUES (%s)",
    "UPDATE a SET x = settle(x) WHERE id = %s",
    "SELECT settle(%s)",
    "SELECT unheard_of(%s)",
    "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE",
    "VACUUM a",  # until it says that it cannot be
]


def operation(sql: str, vendor: str = "postgresql", **more: Any) -> Operation:
    return Operation("sql", sql, (), **{"vendor": vendor, "database": "db", "isolation": "read committed", **more})


def is_split(sql: str, vendor: str = "postgresql", *, known: Moments | None = None, **more: Any) -> bool:
    return (known or Moments()).split(operation(sql, vendor, **more), CATALOGUE).split


@pytest.mark.parametrize("sql", MOMENTS)
def test_what_changes_a_row_found_by_its_key_is_a_moment(sql: str) -> None:
    assert not is_split(sql)


@pytest.mark.parametrize("sql", SPLIT)
def test_what_sees_more_than_it_locks_is_split(sql: str) -> None:
    assert is_split(sql)
    assert not is_split(sql, in_transaction=True)
    assert not is_split(sql, "sqlite")


def test_what_is_split_is_stepped_as_in_a_transaction() -> None:
    found = Moments().split(operation(SPLIT[0]), CATALOGUE)
    assert (found.in_transaction, found.split) == (True, True)


def test_mysql_is_not_given_a_transaction_for_what_commits_by_itself() -> None:
    assert is_split("REPLACE INTO a (x) VALUES (%s)", "mysql")
    known = Moments()
    for sql in ("CALL settle()", "UPDATE a SET z = 1; UPDATE a SET z = 2"):
        assert not is_split(sql, "mysql", known=known)
        assert known.unseen(operation(sql, "mysql"), CATALOGUE)
        assert not known.unseen(operation(sql, "mysql", in_transaction=True), CATALOGUE)
    assert not known.unseen(operation("CREATE TEMPORARY TABLE c (x int)", "mysql"), CATALOGUE)


PLAIN = "UPDATE a SET z = %s WHERE id = %s"


@pytest.mark.parametrize(
    ("other", "matters"),
    [
        ("SELECT * FROM a WHERE z = %s FOR UPDATE SKIP LOCKED", True),
        ("SELECT * FROM a WHERE z = %s FOR UPDATE NOWAIT", True),
        ("SELECT * FROM a WHERE z = %s ORDER BY z LIMIT 1 FOR UPDATE", True),
        ("UPDATE a SET z = %s WHERE id = (SELECT id FROM a ORDER BY z LIMIT 1)", True),
        ("UPDATE a SET z = %s WHERE z = %s", False),
        ("UPDATE a SET z = (SELECT max(x) FROM b) WHERE id = %s", False),
        ("SELECT * FROM a WHERE id = %s FOR UPDATE", False),
        ("SELECT * FROM a", False),
    ],
)
def test_a_moment_lasts_where_another_statement_meets_its_lock_with_an_old_view(other: str, *, matters: bool) -> None:
    known = Moments()
    assert not known.learn([operation(PLAIN)], CATALOGUE)
    assert known.learn([operation(other, in_transaction=True)], CATALOGUE) is matters
    assert is_split(PLAIN, known=known) is matters
    assert not known.learn([operation(sql, in_transaction=True) for sql in (PLAIN, other)], CATALOGUE)  # once is enough


@pytest.mark.parametrize(("vendor", "matters"), [("postgresql", True), ("mysql", False)])
def test_a_moment_lasts_where_another_transaction_is_refused_what_is_newer_than_itself(
    vendor: str, *, matters: bool
) -> None:
    known = Moments()
    known.learn([operation(PLAIN, vendor, in_transaction=True, isolation="repeatable read")], CATALOGUE)
    assert is_split(PLAIN, vendor, known=known) is matters


def test_what_cannot_be_split_is_not_learnt_of_again_and_again() -> None:
    known = Moments()
    many = replace(operation(PLAIN), kind="many")
    skipping = operation("SELECT * FROM a WHERE z = %s FOR UPDATE SKIP LOCKED", in_transaction=True)
    assert not known.learn([many, skipping], CATALOGUE)


def test_what_cannot_run_in_a_transaction_is_named() -> None:
    known = Moments()
    known.keep_whole(operation("VACUUM a"))
    assert not is_split("VACUUM a", known=known)
    assert known.unseen(operation("VACUUM a"), CATALOGUE) == {
        "VACUUM a cannot run in a transaction, and is one step from its start to its end"
    }


def test_a_key_counts_only_where_every_database_has_it() -> None:
    other = Catalogue(frozenset({"a", "c"}), uniques={"c": frozenset({frozenset({"id"})})})
    both = Catalogue.merged([CATALOGUE, other])
    assert footprint(operation("DELETE FROM c WHERE id = %s"), both).moment
    assert footprint(operation("DELETE FROM b WHERE id = %s"), both).moment
    assert not footprint(operation(PLAIN), both).moment


# On databases


@pytest.fixture
def rows(request: pytest.FixtureRequest, transactional_db: None) -> str:
    place = request.getfixturevalue("place") if "place" in request.fixturenames else None
    alias: str = place.alias if place else request.getfixturevalue("database")
    for number, balance in enumerate((9, 10)):
        Account.objects.using(alias).create(pk=FIRST + number, owner="", balance=balance)
    Doctor.objects.using(alias).bulk_create([Doctor(pk=1, name="ann"), Doctor(pk=2, name="bob")])
    Counter.objects.using(alias).create(name="old", value=1)
    return alias


Call = tuple[Callable[..., Any], dict[str, Any]]


def call(function: Callable[..., Any], using: str, **kwargs: Any) -> Call:
    return function, {**kwargs, "using": using}


def is_race(found: Exploration) -> None:
    assert found.verdict == "race", found


def is_safe(found: Exploration) -> None:
    assert (found.verdict, found.exhaustive) == ("no race", True), found


READ_COMMITTED = at("postgresql-RC", "mysql-RC")


@pytest.mark.parametrize(
    ("place", "function"),
    taking_turns(READ_COMMITTED, [moments.claim, moments.claim_in_transaction]),
    indirect=["place"],
)
def test_one_statement_claims_what_another_has_claimed(place: Place, rows: str, function: Callable[..., Any]) -> None:
    is_race(explore(call(function, rows, owner="ann"), call(function, rows, owner="bob")))


@pytest.mark.parametrize("place", READ_COMMITTED, indirect=True)
def test_one_statement_claims_what_was_given_to_another(place: Place, rows: str) -> None:
    """What gives it is found by a key, and a moment elsewhere."""
    is_race(explore(call(moments.claim, rows, owner="ann"), call(moments.assign, rows, owner="bob", pk=FIRST)))


@pytest.mark.parametrize("place", READ_COMMITTED, indirect=True)
def test_one_statement_numbers_a_row_like_another(place: Place, rows: str) -> None:
    is_race(explore(call(moments.insert_next, rows), call(moments.insert_next, rows)))


@pytest.mark.parametrize("place", READ_COMMITTED, indirect=True)
def test_one_statement_inserts_what_another_has_inserted(place: Place, rows: str) -> None:
    is_race(explore(call(moments.insert_if_missing, rows, code="x"), call(moments.insert_if_missing, rows, code="x")))


@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)  # MariaDB locks what this one counts
def test_one_statement_counts_who_leaves_in_another(place: Place, rows: str) -> None:
    is_race(explore(call(moments.leave, rows, pk=1), call(moments.leave, rows, pk=2)))


@pytest.mark.parametrize("place", at("postgresql-RC"), indirect=True)
def test_one_statement_finds_rows_that_another_is_changing(place: Place, rows: str) -> None:
    is_race(explore(call(moments.hit_all, rows), call(moments.flag_tens, rows)))


@pytest.mark.parametrize("database", SERVERS)
def test_a_lock_of_one_statement_is_passed_by(database: str, rows: str) -> None:
    is_race(explore(call(moments.add, database, pk=FIRST), call(moments.take_unlocked, database)))


@pytest.mark.parametrize("place", EVERYWHERE, indirect=True)
def test_one_statement_with_a_unique_key_is_safe(place: Place, rows: str) -> None:
    if place.alias == "file":
        Voucher.objects.using(rows).create(code="x")
    twice = [call(moments.insert_unless_taken, rows, code="x")] * 2
    is_safe(explore(*twice, check=lambda _: Voucher.objects.using(rows).count() == 1))


@pytest.mark.parametrize("place", at("file", "file-wal"), indirect=True)
def test_on_sqlite_one_statement_is_one_moment(place: Place, rows: str) -> None:
    is_safe(explore(call(moments.claim, rows, owner="ann"), call(moments.claim, rows, owner="bob")))
    is_safe(explore(call(moments.leave, rows, pk=1), call(moments.leave, rows, pk=2)))


@pytest.mark.parametrize("database", SERVERS)
def test_changes_of_rows_found_by_their_keys_take_no_step_more(database: str, rows: str) -> None:
    done = stepped(call(moments.add, database, pk=FIRST), call(moments.hit_all, database), database=database)
    assert done.texts() == ["UPDATE", "UPDATE", "commit"]


@contextmanager
def executed(using: str, statement: str, undoing: str) -> Iterator[None]:
    moments.run(using, statement)
    try:
        yield
    finally:
        moments.run(using, undoing)


@pytest.mark.parametrize("database", on("postgresql"))
def test_what_a_trigger_reads_may_be_older_than_what_it_writes(database: str, rows: str) -> None:
    body = "BEGIN NEW.value := (SELECT max(value) + 1 FROM shop_counter); RETURN NEW; END"
    function = f"CREATE FUNCTION number() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$;"
    trigger = "CREATE TRIGGER number BEFORE INSERT ON shop_counter FOR EACH ROW EXECUTE FUNCTION number()"
    with executed(database, function + trigger, "DROP TRIGGER number ON shop_counter; DROP FUNCTION number()"):
        is_race(explore(call(moments.number_by_trigger, database), call(moments.number_by_trigger, database)))


@pytest.mark.parametrize("database", on("postgresql"))
def test_what_a_function_reads_may_be_older_than_what_it_writes(database: str, rows: str) -> None:
    body = "INSERT INTO shop_counter (name, value) SELECT 'new', max(value) + 1 FROM shop_counter RETURNING value"
    function = f"CREATE FUNCTION insert_numbered() RETURNS int LANGUAGE sql AS '{body.replace(chr(39), chr(39) * 2)}'"
    with executed(database, function, "DROP FUNCTION insert_numbered()"):
        is_race(explore(call(moments.number_by_function, database), call(moments.number_by_function, database)))


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_statement_that_cannot_run_in_a_transaction_runs_as_it_is(database: str, rows: str) -> None:
    found = explore(call(moments.vacuum, database), call(moments.vacuum, database))
    assert (found.verdict, found.exhaustive) == ("no race", False), found
    assert "VACUUM shop_counter cannot run in a transaction" in found.reason


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_procedure_that_commits_runs_as_it_is(database: str, rows: str) -> None:
    add = f"UPDATE shop_account SET balance = balance + 1 WHERE id = {FIRST}"
    procedure = f"CREATE PROCEDURE add_twice() LANGUAGE plpgsql AS $$ BEGIN {add}; COMMIT; {add}; END $$"
    with executed(database, procedure, "DROP PROCEDURE add_twice"):
        found = explore(call(moments.call_procedure, database), call(moments.call_procedure, database))
    assert (found.verdict, found.exhaustive) == ("no race", False), found
    assert "CALL add_twice() cannot run in a transaction" in found.reason


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
def test_many_statements_sent_at_once_are_not_called_exhaustive(database: str, rows: str) -> None:
    found = explore(call(moments.add_to_many, database), call(moments.add_to_many, database))
    assert (found.verdict, found.exhaustive) == ("no race", False), found
    assert "executemany() of UPDATE" in found.reason


@pytest.mark.parametrize("database", on("mysql"))
def test_several_statements_in_one_text_are_not_called_exhaustive(database: str, rows: str) -> None:
    found = explore(call(moments.add_twice_in_one_text, database), call(moments.add_twice_in_one_text, database))
    assert (found.verdict, found.exhaustive) == ("no race", False), found
    assert "commits more than once" in found.reason


@pytest.mark.parametrize("database", SERVERS)
def test_a_statement_that_is_split_shows_what_it_shows_otherwise(database: str) -> None:
    def outcome(run: Callable[[], Any]) -> Any:
        Account.objects.using(database).all().delete()
        Account.objects.using(database).bulk_create([Account(owner="a", balance=1), Account(owner="b", balance=2)])
        return run()

    def step() -> Any:
        done: Stepped = stepped(call(moments.all_that_shows, database), database=database)
        assert done.texts()[:4] == ["UPDATE", "commit", "INSERT", "commit"]
        return done.outcomes[0]

    expected = outcome(lambda: moments.all_that_shows(database))
    assert len(expected) > 8
    assert outcome(step) == expected


# SQLite


@pytest.mark.parametrize("place", at("file", "file-wal"), indirect=True)
def test_a_writer_of_sqlite_waits_for_a_reader(place: Place, rows: str) -> None:
    is_safe(explore(call(moments.take_and_note, rows, pk=FIRST), call(moments.look_slowly, rows, pk=FIRST)))


@pytest.mark.parametrize("place", at("file"), indirect=True)
def test_a_reader_of_sqlite_that_begins_to_write_meets_a_writer_in_autocommit(place: Place, rows: str) -> None:
    found = explore(call(moments.look_and_add, rows, pk=FIRST), call(moments.add, rows, pk=FIRST))
    is_race(found)
    assert "database is locked" in str(found)


@pytest.mark.parametrize("database", on("file"))
def test_rows_that_were_fetched_before_their_commit_are_read_like_others(database: str) -> None:
    (outcome,) = stepped(call(moments.fetch_all_ways, database), database=database).outcomes
    assert outcome == moments.fetch_all_ways(database)


# Rows that stay on the server

IN_ORDER = {"source": FIRST, "target": FIRST + 1}
AGAINST_IT = {"source": FIRST + 1, "target": FIRST}


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_fetch_that_locks_is_a_step_and_waits(database: str, rows: str) -> None:
    calls = call(moments.move, database, **IN_ORDER), call(moments.add_up_locked, database)
    done = stepped(*calls, order=[0, 1, 0, 1, 1, 1], database=database)
    fetches = [step for step in done.steps if step.operation.kind == "fetch"]
    assert [step.waited_for for step in fetches] == [frozenset({0}), frozenset(), frozenset()]
    assert [step.rows for step in fetches] == [((FIRST, "", 8),), ((FIRST + 1, "", 11),), ()]
    assert done.outcomes == [None, 19]


@pytest.mark.parametrize("database", on("postgresql"))
def test_fetches_that_lock_are_explored_one_by_one(database: str, rows: str) -> None:
    is_safe(explore(call(moments.add_up_locked, database), call(moments.move, database, **IN_ORDER)))
    found = explore(call(moments.add_up_locked, database), call(moments.move, database, **AGAINST_IT))
    is_race(found)
    assert "deadlock" in found.reason


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_fetch_that_locks_nothing_is_no_step(database: str, rows: str) -> None:
    done = stepped(call(moments.add_up, database), database=database)
    assert done.texts() == ["SELECT", "commit"]
    assert [len(step.rows) for step in done.steps] == [2, 0]
    is_safe(explore(call(moments.add_up, database), call(moments.move, database, **IN_ORDER)))


@pytest.mark.parametrize("database", on("postgresql"))
def test_who_iterates_over_a_cursor_on_the_server_fetches(database: str, rows: str) -> None:
    done = stepped(call(moments.lock_by_iterating, database), database=database)
    assert [step.operation.kind for step in done.steps] == ["sql", "fetch", "fetch", "commit"]
    assert done.outcomes == [[(FIRST,), (FIRST + 1,)]]
