"""What a round trip may touch, read from its text."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal

import pytest

from aioconcurrent.base.trace import Operation
from aioconcurrent.databases.schema import Catalogue
from aioconcurrent.exploring.orders.footprint import EVERYTHING, Footprint, filled, footprint, overlap
from aioconcurrent.exploring.stepping.moments import Moments
from aioconcurrent.sql import accesses, statements
from aioconcurrent.sql.statements import Control

CATALOGUE = Catalogue(
    tables=frozenset({"a", "b", "parent", "child", "grandchild", "audited", "strict_child"}),
    views={"v": frozenset({"a", "b"})},
    parents={"child": frozenset({"parent"}), "grandchild": frozenset({"child"}), "strict_child": frozenset({"parent"})},
    cascades={"parent": frozenset({"child"}), "child": frozenset({"grandchild"})},
    opaque=frozenset({"audited"}),
    routines=frozenset({"settle", "soundex", "@@"}),
)


def of(sql: str, vendor: str = "postgresql", parameters: tuple[str, ...] | None = ()) -> Footprint:
    return footprint(Operation("sql", sql, parameters, vendor=vendor, database="db"), CATALOGUE)


def names(found: frozenset[str]) -> str:
    return " ".join(sorted(name.removeprefix("db.") for name in found))


READS = {
    'SELECT "a"."id" FROM "a" WHERE "a"."id" = %s LIMIT 21': "a",
    "SELECT COUNT(*) FROM (SELECT DISTINCT x FROM a WHERE y LIKE '%%s') subquery": "a",
    'SELECT a.x FROM a INNER JOIN "b" ON a.id = b.a_id WHERE EXISTS(SELECT 1 FROM parent)': "a b parent",
    "(SELECT id FROM a) UNION (SELECT id FROM b)": "a b",
    "WITH recent AS (SELECT * FROM a) SELECT * FROM recent": "a",
    "WITH a AS (SELECT * FROM b) SELECT * FROM a": "a b",
    "SELECT * FROM public.A": "a",
    "SELECT * FROM v": "a b",
    "-- who asks\n/* and why */ SELECT * FROM a": "a",
    "SELECT DATE_TRUNC(%s, a.d AT TIME ZONE %s), JSONB_BUILD_OBJECT(%s, a.x) FROM a": "a",
    "SELECT * FROM generate_series(1, 2)": "",
    "SELECT 1": "",
}


@pytest.mark.parametrize("sql", READS)
def test_a_query_reads_its_tables_and_locks_nothing(sql: str) -> None:
    found = of(sql)
    assert names(found.reads) == READS[sql]
    assert not found.everything
    assert not found.writes | found.locks | found.shares


WRITES = {
    'INSERT INTO "a" ("x", "y") VALUES (%s, %s), (%s, %s) RETURNING "a"."id"': ("a", "a", ""),
    "INSERT INTO a (x) SELECT x FROM b ON CONFLICT (x) DO UPDATE SET y = 1": ("a", "a b", ""),
    "UPDATE a SET x = (SELECT COUNT(*) FROM b) WHERE id IN (%s, %s, %s)": ("a", "a b", ""),
    "UPDATE a SET x = b.x FROM b WHERE a.id = b.id": ("a", "a b", ""),
    "DELETE FROM a USING b WHERE a.id = b.id": ("a", "a b", ""),
    "WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone": ("a b", "a b", ""),
    "INSERT INTO child (parent_id) VALUES (%s)": ("child", "child parent", "parent"),
    "UPDATE child SET x = 1": ("child grandchild", "child grandchild parent", "child grandchild parent"),
    "DELETE FROM grandchild": ("grandchild", "grandchild", ""),
    "DELETE FROM parent": (
        "child grandchild parent",
        "child grandchild parent strict_child",
        "child grandchild parent strict_child",
    ),
}


@pytest.mark.parametrize("sql", WRITES)
def test_a_change_writes_and_locks_its_tables_and_what_foreign_keys_add(sql: str) -> None:
    written, read, shared = WRITES[sql]
    found = of(sql)
    assert names(found.writes) == names(found.locks) == written
    assert names(found.reads) == read
    assert names(found.shares) == shared


LOCKS = {
    "SELECT * FROM a FOR UPDATE": ("a", ""),
    "SELECT * FROM a t JOIN b ON TRUE WHERE t.id = %s FOR NO KEY UPDATE OF t SKIP LOCKED": ("a b", ""),
    "SELECT * FROM a FOR KEY SHARE NOWAIT": ("", "a"),
    "SELECT * FROM (SELECT * FROM a FOR UPDATE) t, b": ("a", ""),
    "SELECT * FROM v FOR UPDATE": ("a b", ""),
}


@pytest.mark.parametrize("sql", LOCKS)
def test_a_locking_query_locks_the_tables_of_its_own_select(sql: str) -> None:
    found = of(sql)
    assert (names(found.locks), names(found.shares)) == LOCKS[sql]
    assert not found.writes


@pytest.mark.parametrize(
    ("sql", "written"),
    [
        ("UPDATE a, b SET a.x = b.x WHERE a.id = b.id", "a b"),
        ("UPDATE a JOIN b ON a.id = b.id SET a.x = b.x", "a b"),
        ("DELETE a FROM a JOIN b ON a.id = b.id", "a b"),
        ("INSERT IGNORE INTO `a` (`x`) VALUES (%s)", "a"),
        ("INSERT INTO a (x) VALUES (%s) ON DUPLICATE KEY UPDATE x = VALUES(x)", "a"),
    ],
)
def test_on_mysql_every_table_of_a_joint_change_counts_as_written(sql: str, written: str) -> None:
    assert names(of(sql, "mysql").writes) == written


def test_on_mysql_a_change_locks_the_rows_it_reads() -> None:
    assert names(of("INSERT INTO a (x) SELECT x FROM b", "mysql").shares) == "a b"
    assert names(of("SELECT * FROM b LOCK IN SHARE MODE", "mysql").shares) == "b"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT pg_advisory_lock(%s)",
        "SELECT nextval('s')",
        "UPDATE a SET x = nextval('s')",
        "SELECT own.lower(x) FROM a",
        "SELECT * FROM unheard_of(1)",
        "SELECT a.x, settle (a.id) FROM a",
        "SELECT SOUNDEX (a.x) FROM a",
        "SELECT * FROM unheard_of",
        "SELECT * INTO b FROM a",
        "SELECT 1; DELETE FROM a",
        "SELECT a.settle FROM a",
        "SELECT (a).settle FROM a",
        "SELECT * FROM a WHERE a.x @@ -1",
        "SELECT * FROM a WHERE a.x@@-1",
        "CALL settle(%s)",
        "DO $$ BEGIN DELETE FROM a; END $$",
        "LOCK TABLE a IN EXCLUSIVE MODE",
        "TRUNCATE a",
        "CREATE TABLE a2 AS SELECT * FROM a",
        "EXPLAIN ANALYZE DELETE FROM a",
        "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE",
        "COPY a FROM STDIN",
        "EXECUTE plan(1)",
        "NOTIFY channel",
        "UPDATE v SET x = 1",
        "UPDATE audited SET x = 1",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET x = (SELECT 1)",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "COMMIT PREPARED 'x'",
        "SELECT FROM WHERE",
        "",
    ],
)
def test_what_is_not_understood_touches_everything(sql: str) -> None:
    assert of(sql).everything


@pytest.mark.parametrize(
    ("vendor", "sql"),
    [
        ("mysql", "SELECT GET_LOCK(%s, 1)"),
        ("mysql", "SELECT /*! SQL_NO_CACHE */ * FROM a"),
        ("mysql", "SELECT * FROM elsewhere.a"),
        ("mysql", "SET autocommit = 1"),
        ("mysql", "REPLACE INTO a VALUES (1)"),
        ("sqlite", "BEGIN EXCLUSIVE"),
        ("sqlite", "PRAGMA foreign_keys"),
        ("sqlite", "ATTACH DATABASE 'x' AS y"),
        ("oracle", "SELECT * FROM a"),
    ],
)
def test_so_does_what_this_engine_makes_more_of(vendor: str, sql: str) -> None:
    assert of(sql, vendor).everything


def test_reading_a_table_with_triggers_is_only_reading() -> None:
    assert names(of("SELECT * FROM audited").reads) == "audited"


def test_a_cascade_into_a_table_with_triggers_touches_everything() -> None:
    catalogue = Catalogue(tables=frozenset({"a", "b"}), cascades={"a": frozenset({"b"})}, opaque=frozenset({"b"}))
    deletion = Operation("sql", "DELETE FROM a", vendor="postgresql")
    assert footprint(deletion, catalogue).everything


@pytest.mark.parametrize(
    ("sql", "control"),
    [
        ("BEGIN", Control.BEGIN),
        ("begin transaction;", Control.BEGIN),
        ("BEGIN IMMEDIATE", Control.BEGIN_LOCKED),
        ('SAVEPOINT "s140_x1"', Control.SAVEPOINT),
        ('RELEASE SAVEPOINT "s140_x1"', Control.RELEASE),
        ('ROLLBACK TO SAVEPOINT "s140_x1"', Control.ROLLBACK_TO),
        ("COMMIT", Control.COMMIT),
        ("ROLLBACK", Control.ROLLBACK),
        ("SET LOCAL lock_timeout = 10", Control.SETTING),
    ],
)
def test_transaction_control_is_told_apart(sql: str, control: Control) -> None:
    assert of(sql) == Footprint(control=control)
    assert footprint(Operation("many", sql, (), "postgresql"), CATALOGUE).control is control


def test_percent_signs_stand_for_themselves_without_parameters() -> None:
    assert names(of("SELECT 7 % 2 FROM a", parameters=None).reads) == "a"


def test_tables_of_two_databases_are_different_tables() -> None:
    one, other = (
        footprint(Operation("sql", "SELECT * FROM a", vendor="mysql", database=name), CATALOGUE)
        for name in ("one", "other")
    )
    assert not one.reads & other.reads


def test_a_cache_method_touches_its_keys() -> None:
    def keys(method: str) -> Footprint:
        return footprint(Operation("cache", method, ("k", "l"), database="cache"), CATALOGUE)

    assert keys("get_many").reads == keys("set_many").writes
    assert not keys("get").writes
    assert keys("clear") == EVERYTHING


@pytest.mark.parametrize("kind", ["step", "callproc"])
def test_a_named_step_and_a_procedure_touch_everything(kind: str) -> None:
    assert footprint(Operation(kind, "name"), CATALOGUE) == EVERYTHING  # type: ignore[arg-type]


def test_nothing_is_logged_about_what_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        of("CALL settle(1, 2)")
        of("VACUUM FULL a, b")
    assert not caplog.records


def test_a_statement_is_parsed_once_whoever_reads_it() -> None:
    sql, before = "UPDATE a SET parsed_once = %s WHERE id = %s", statements._kept_tree.cache_info()
    assert names(of(sql).writes) == "a"
    (part,) = accesses.parts("postgresql", sql, True)
    assert (part.verb, part.table, part.where) == ("update", "a", (("id", (statements.Given(1),)),))
    after = statements._kept_tree.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 1)


def test_a_thousand_rows_are_read_like_one() -> None:
    row = "(%s, %s)"
    found = of(f"INSERT INTO a (x, y) VALUES {', '.join([row] * 1000)}")
    assert names(found.writes) == "a"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("SELECT x FROM a", "SELECT x FROM a", False),
        ("SELECT x FROM a", "UPDATE a SET x = 1", True),
        ("SELECT x FROM a", "UPDATE b SET x = 1", False),
        ("SELECT x FROM a", "CALL settle()", True),
        ("SELECT x FROM a FOR UPDATE", "SELECT x FROM a", True),
        ("BEGIN", "CALL settle()", False),
    ],
)
def test_calls_overlap_where_one_changes_what_the_other_touches(one: str, other: str, expected: bool) -> None:
    texts = [(0, one), (1, other)]
    operations = [(call, Operation("sql", text, (), vendor="mysql", database="db")) for call, text in texts]
    assert overlap(operations, CATALOGUE) is expected


@pytest.mark.parametrize(
    ("sql", "is_told"),
    [
        ("INSERT INTO a (x) VALUES (%s)", True),
        ("INSERT INTO b (x) VALUES (%s)", False),
        ("SELECT * FROM a FOR UPDATE SKIP LOCKED", False),
        ("UPDATE a SET x = 1", False),
        ("DELETE FROM a", False),
    ],
)
def test_work_that_is_put_into_a_table_is_told_where_that_table_is_known_as_a_queue(sql: str, is_told: bool) -> None:
    found = [*filled(Operation("sql", sql, (), vendor="postgresql", database="db"), CATALOGUE, ["A", "*_job"])]
    told = "enqueued and not followed: what is put into a, from which workers of a queue take it"
    assert found == [told] * is_told


NAMED = replace(CATALOGUE, uniques={"a": frozenset({frozenset({"id"}), frozenset({"name"})})})


@pytest.mark.parametrize("vendor", ["postgresql", "mysql"])
@pytest.mark.parametrize(
    ("kind", "sql", "parameters", "is_told"),
    [
        ("sql", "INSERT INTO a (name, n) VALUES (%s, 1), (%s, DEFAULT)", ("x", "y"), True),
        ("sql", "INSERT INTO a VALUES (%s, %s, 1), (%s, %s, 2)", (1, "x", 2, "y"), True),
        ("sql", "INSERT INTO a (n) VALUES (1), (2)", (), False),
        ("sql", "INSERT INTO a (name) VALUES (%s)", ("x",), False),
        ("many", "INSERT INTO a (name) VALUES (%s)", ("x", "y"), True),
        ("many", "INSERT INTO a (n) VALUES (%s)", (1, 2), False),
        ("many", "UPDATE a SET n = n + 1 WHERE id = %s", (1, 2), True),
        ("many", "UPDATE a SET n = n + 1 WHERE id = %s", (1,), False),
        ("many", "UPDATE b SET n = (SELECT MAX(n) FROM a) WHERE id = %s", (1, 2), True),
    ],
)
def test_what_may_come_between_rows_that_two_calls_lock_in_turn_is_told(
    vendor: str, kind: Literal["sql", "many"], sql: str, parameters: tuple[str | int, ...], is_told: bool
) -> None:
    operation = Operation(kind, sql, parameters, vendor=vendor, database="db", in_transaction=True)
    other = Operation(
        kind, "UPDATE a SET n = 5 WHERE id = %s", (1, 2), vendor=vendor, database="db", in_transaction=True
    )
    operations = [(0, operation), (1, other if operation.text.startswith("UPDATE b") else operation)]
    assert bool(Moments().unseen_between(operations, NAMED)) is is_told


LOCKING = "SELECT a.n FROM a WHERE a.n > 1 ORDER BY a.id {} FOR UPDATE{}"


@pytest.mark.parametrize("vendor", ["postgresql", "mysql"])
@pytest.mark.parametrize(
    ("one", "other", "is_told"),
    [
        (LOCKING.format("ASC", ""), LOCKING.format("DESC", ""), True),
        (LOCKING.format("ASC", ""), LOCKING.format("ASC", ""), False),
        (LOCKING.format("ASC LIMIT 1", ""), LOCKING.format("DESC", ""), False),
        (LOCKING.format("ASC", ""), LOCKING.format("DESC", " SKIP LOCKED"), False),
        (LOCKING.format("ASC", ""), "SELECT b.n FROM b ORDER BY b.n FOR UPDATE", False),
    ],
)
def test_two_calls_that_lock_rows_in_other_orders_leave_a_doubt(
    vendor: str, one: str, other: str, is_told: bool
) -> None:
    operations = [(call, Operation("sql", sql, (), vendor, "db")) for call, sql in enumerate((one, other))]
    assert bool(Moments().unseen_between(operations, CATALOGUE)) is is_told


def test_what_changes_the_schema_is_told_for_it_is_not_put_back() -> None:
    texts = ("CREATE TABLE made (id int)", "ALTER TABLE a ADD x int", "DROP INDEX i")
    assert all(of(text, vendor).unseen for text in texts for vendor in ("postgresql", "mysql"))
    assert not any(of(text, "sqlite").unseen for text in texts)  # the whole file is
    assert not of("CREATE TEMPORARY TABLE made (id int)").unseen
