import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from aioconcurrent import StateError
from aioconcurrent.databases.state import State
from tests.databases.conftest import PLAIN, TRIGGERS, content, fetch, fill, run, turn_over
from tests.project.databases import on
from tests.project.ledger.models import Category, Currency, Entry, Team

Open = Callable[..., State]
Make = Callable[..., None]
on_postgresql = pytest.mark.parametrize("database", on("postgresql"))
on_mysql = pytest.mark.parametrize("database", on("mysql"))
on_sqlite = pytest.mark.parametrize("database", on("file"))


@on_sqlite
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_the_file_keeps_its_journal_mode(database: str, opened: Open, made: Make, mode: str) -> None:
    made((f"PRAGMA journal_mode = {mode}", "PRAGMA journal_mode = delete"))
    fill(database)
    before = content(database)
    state = opened(database)
    turn_over(database)
    state.restore()
    assert content(database) == before
    assert before["journal"] == [(mode,)]


@on_sqlite
def test_a_locked_file_is_an_error_and_no_hang(database: str, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    state = opened(database)
    state._file.execute("PRAGMA busy_timeout = 0")  # type: ignore[attr-defined]
    monkeypatch.setattr("aioconcurrent.databases.state.sqlite.PATIENCE", 0.05)
    other = sqlite3.connect(connections[database].settings_dict["NAME"])
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError, match="database is locked"):
        state.restore({"shop_counter"})
    other.close()


@on_postgresql
def test_columns_of_every_kind_come_back(database: str, opened: Open, made: Make) -> None:
    made(
        ("CREATE TYPE mood AS ENUM ('sad', 'happy')", "DROP TYPE mood CASCADE"),
        (
            """CREATE TABLE "Odd ""One" (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, moods mood[], "T" jsonb,
            t timestamptz, half integer GENERATED ALWAYS AS (id / 2) STORED, r int4range, dropped integer)""",
            'DROP TABLE "Odd ""One"',
        ),
        ('ALTER TABLE "Odd ""One" DROP COLUMN dropped', "SELECT 1"),
        ("CREATE SEQUENCE loose START 5", "DROP SEQUENCE loose"),
    )
    row = """INSERT INTO "Odd ""One" (moods, "T", t, r) VALUES ('{sad,NULL,happy}', '{"a": [1]}', now(), '[1,3)')"""
    run(database, row, row, "SELECT nextval('loose')")
    before = content(database)
    state = opened(database)
    assert state.keys['odd "one'].automatic
    run(database, row, """UPDATE "Odd ""One" SET moods = '{}', t = NULL""", "SELECT nextval('loose')")
    assert state.changed() == {'odd "one', "loose"}
    state.restore()
    assert content(database) == before


@on_postgresql
def test_names_that_stand_for_other_tables_are_no_tables(database: str, opened: Open, made: Make) -> None:
    made(
        ("CREATE TABLE parted (id integer) PARTITION BY RANGE (id)", "DROP TABLE parted"),
        ("CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (0) TO (10)", "SELECT 1"),
        ("CREATE TABLE part2 PARTITION OF parted FOR VALUES FROM (10) TO (30)", "SELECT 1"),
        ("CREATE TABLE mother (id integer)", "DROP TABLE mother"),
        ("CREATE TABLE daughter () INHERITS (mother)", "DROP TABLE daughter"),
        ("CREATE SCHEMA elsewhere", "DROP SCHEMA elsewhere CASCADE"),
        ("CREATE TABLE elsewhere.shop_counter (id integer)", "SELECT 1"),
    )
    run(database, "INSERT INTO parted VALUES (1), (11)", "INSERT INTO daughter VALUES (1)")
    before = content(database)
    state = opened(database)
    assert state.catalogue.views["parted"] == {"part1", "part2"}
    assert not state.catalogue.tables & {"parted", "mother", "shop_counter"}
    assert "mother" not in state.catalogue.views
    run(database, "UPDATE parted SET id = id + 9", "UPDATE mother SET id = 2", "INSERT INTO mother VALUES (1)")
    run(database, "INSERT INTO elsewhere.shop_counter VALUES (1)")
    assert state.changed() == {"part1", "part2", "mother", "daughter", "shop_counter"}
    state.restore()
    assert content(database) == before


@on_postgresql
def test_what_runs_code_of_the_project_is_opaque(database: str, opened: Open, made: Make) -> None:
    made(
        ("CREATE FUNCTION Twice(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 2'", "DROP FUNCTION Twice"),
        ("CREATE TABLE a (v integer DEFAULT twice(1))", "DROP TABLE a"),
        ("CREATE TABLE b (v integer CHECK (twice(v) > 0))", "DROP TABLE b"),
        ("CREATE TABLE c (v integer)", "DROP TABLE c"),
        ("CREATE INDEX ON c (twice(v))", "SELECT 1"),
        ("CREATE DOMAIN even AS integer CHECK (twice(VALUE) > 0)", "DROP DOMAIN even"),
        ("CREATE TABLE d (v even)", "DROP TABLE d"),
        ("CREATE TABLE e (v integer)", "DROP TABLE e"),
        ("CREATE RULE silent AS ON INSERT TO e DO INSTEAD NOTHING", "SELECT 1"),
        ("CREATE TABLE f (v serial)", "DROP TABLE f"),
        ("CREATE TABLE g (v integer DEFAULT nextval('f_v_seq'))", "DROP TABLE g"),
        ("CREATE TABLE h (v serial, u uuid DEFAULT gen_random_uuid(), t text CHECK (lower(t) = t))", "DROP TABLE h"),
        ("CREATE VIEW calling AS SELECT twice(v) FROM c", "DROP VIEW calling"),
        ("CREATE OPERATOR @@ (FUNCTION = twice, RIGHTARG = integer)", "DROP OPERATOR @@ (NONE, integer)"),
    )
    catalogue = opened(database).catalogue
    assert catalogue.opaque == set("abcdefg")
    assert "h" in catalogue.tables
    assert catalogue.routines == {"twice", "@@"}
    assert "calling" not in catalogue.views


@on_postgresql
def test_a_role_that_is_no_superuser_puts_all_back(
    database: str, opened: Open, made: Make, plain_role: dict[str, Any]
) -> None:
    fill(database)
    made(*(pair for pair in TRIGGERS["postgresql"]))
    before = content(database)
    state = opened(database, plain_role)
    for _ in range(2):
        Team.objects.using(database).create(name="blue")
        Category.objects.using(database).all().delete()
        Entry.objects.using(database).all().delete()
        Currency.objects.using(database).all().delete()
        state.restore()
        assert content(database) == before


@on_postgresql
def test_without_rights_tables_bound_by_foreign_keys_come_back_together(
    database: str, opened: Open, made: Make, plain_role: dict[str, Any]
) -> None:
    made(
        ("CREATE TABLE top (id integer PRIMARY KEY, up integer REFERENCES top)", "DROP TABLE top CASCADE"),
        ("CREATE TABLE below (id integer PRIMARY KEY REFERENCES top ON DELETE CASCADE)", "DROP TABLE below CASCADE"),
        ("CREATE TABLE lowest (id integer PRIMARY KEY REFERENCES below ON DELETE RESTRICT)", "DROP TABLE lowest"),
    )
    run(
        database,
        "INSERT INTO top VALUES (2, 2), (1, 2)",
        "INSERT INTO below VALUES (1)",
        "INSERT INTO lowest VALUES (1)",
    )
    run(database, *(f"ALTER TABLE {table} OWNER TO {PLAIN}" for table in ("top", "below", "lowest")))
    before = content(database)
    state = opened(database, plain_role)
    run(database, "INSERT INTO top VALUES (3, 1)")
    state.restore({"top"})
    assert content(database) == before
    run(database, "ALTER TABLE top ADD FOREIGN KEY (id) REFERENCES below NOT VALID")  # some are not below
    before, state = content(database), opened(database, plain_role)
    run(database, "DELETE FROM lowest", "UPDATE top SET up = 1")
    state.restore()
    assert content(database) | {"triggers": []} == before | {"triggers": []}  # those of a key made again have new names


@on_mysql
def test_zero_keys_generated_columns_and_odd_values_come_back(database: str, opened: Open, made: Make) -> None:
    made(
        (
            """CREATE TABLE `Odd ``One` (id integer AUTO_INCREMENT PRIMARY KEY, v integer DEFAULT 7, f float,
            g geometry, b bit(3), e enum('x', 'y'), ts timestamp(6) NULL, twice integer AS (v * 2) STORED, d date)
            AUTO_INCREMENT = 50""",
            "DROP TABLE `Odd ``One`",
        )
    )
    run(
        database,
        "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
        "INSERT INTO `Odd ``One` (id, f, g, b, e, ts, d) VALUES"
        " (0, 0.1, POINT(1, 2), 5, 'y', '2024-10-27 00:30:00.5', '0000-00-00')",
    )
    before = content(database)
    state = opened(database)
    run(database, "UPDATE `Odd ``One` SET f = 0.10000001")
    assert state.changed() == {"odd `one"}
    run(database, "DELETE FROM `Odd ``One`", "INSERT INTO `Odd ``One` (f) VALUES (1)")
    state.restore()
    assert content(database) == before


@on_postgresql
def test_a_view_locks_what_it_reads_also_through_another_view(database: str, opened: Open, made: Make) -> None:
    made(
        ("CREATE VIEW locking AS SELECT id, show_id FROM shop_ticket FOR UPDATE", "DROP VIEW locking"),
        ("CREATE VIEW inside AS SELECT * FROM (SELECT id FROM shop_show FOR SHARE) AS s", "DROP VIEW inside"),
        ("CREATE VIEW outer_one AS SELECT l.id FROM locking l JOIN shop_account USING (id)", "DROP VIEW outer_one"),
        ("CREATE VIEW plain AS SELECT id FROM shop_ticket", "DROP VIEW plain"),
    )
    catalogue = opened(database).catalogue
    assert catalogue.locking == {"locking": {"shop_ticket"}, "inside": {"shop_show"}, "outer_one": {"shop_ticket"}}
    assert catalogue.views["outer_one"] == {"shop_ticket", "shop_account"}


@on_postgresql
def test_functions_of_postgresql_that_do_more_than_compute_count(database: str, opened: Open, made: Make) -> None:
    made(
        ("CREATE VIEW lucky AS SELECT random(), gen_random_uuid(), clock_timestamp(), lower('A')", "DROP VIEW lucky"),
        ("CREATE VIEW advised AS SELECT pg_try_advisory_lock(id) FROM shop_show", "DROP VIEW advised"),
        ("CREATE SEQUENCE loose", "DROP SEQUENCE loose"),
        ("CREATE VIEW numbered AS SELECT nextval('loose')", "DROP VIEW numbered"),
        ("CREATE TABLE a (v text DEFAULT set_config('a.b', 'c', true))", "DROP TABLE a"),
        ("CREATE TABLE b (v serial, w text DEFAULT 'n' || nextval('loose'))", "DROP TABLE b"),
    )
    catalogue = opened(database).catalogue
    assert catalogue.views.keys() & {"lucky", "advised", "numbered"} == {"lucky"}
    assert catalogue.opaque == {"a"}


@on_postgresql
def test_columns_that_take_numbers_of_a_sequence_are_known_whatever_is_made_of_them(
    database: str, opened: Open, made: Make
) -> None:
    made(
        ("CREATE SEQUENCE ours", "DROP SEQUENCE ours"),
        ("CREATE SEQUENCE theirs", "DROP SEQUENCE theirs"),
        ("CREATE FUNCTION next_of() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION next_of"),
        ("CREATE DOMAIN numbers AS int DEFAULT nextval('theirs')", "DROP DOMAIN numbers"),
        ("CREATE DOMAIN called AS int DEFAULT next_of()", "DROP DOMAIN called"),
        ("CREATE TABLE a (id int PRIMARY KEY, b int, code text DEFAULT 'no. ' || nextval('ours'))", "DROP TABLE a"),
        ("CREATE TABLE b (id int PRIMARY KEY, number numbers)", "DROP TABLE b"),
        ("CREATE TABLE c (id int PRIMARY KEY, number called)", "DROP TABLE c"),
    )
    state = opened(database)
    assert {name: state.catalogue.keys[name].counted for name in "ab"} == {"a": {"code"}, "b": {"number"}}
    assert state.catalogue.opaque == {"c"}
    run(database, "INSERT INTO b VALUES (1)")
    state.restore({"b"})
    assert fetch(database, "SELECT nextval('theirs')") == [(1,)]


@on_postgresql
def test_policies_read_what_they_name(database: str, opened: Open, made: Make) -> None:
    made(
        ("CREATE FUNCTION may(integer) RETURNS boolean LANGUAGE sql AS 'SELECT true'", "DROP FUNCTION may"),
        *((f"CREATE TABLE {name} (id integer)", f"DROP TABLE {name} CASCADE") for name in "abcdef"),
        ("CREATE VIEW seen AS SELECT id FROM c", "SELECT 1"),
        *((f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY", "SELECT 1") for name in "abce"),
        ("CREATE POLICY p ON a USING (EXISTS (SELECT FROM b WHERE b.id = a.id))", "SELECT 1"),
        ("CREATE POLICY p ON b USING (id IN (SELECT seen.id FROM seen))", "SELECT 1"),
        ("CREATE POLICY p ON c USING (id > 0)", "SELECT 1"),
        ("CREATE POLICY p ON d USING (id IN (SELECT f.id FROM f))", "SELECT 1"),  # not in force
        ("CREATE POLICY p ON e WITH CHECK (may(id))", "SELECT 1"),
    )
    catalogue = opened(database).catalogue
    assert {name: tables for name, tables in catalogue.consulted.items() if tables} == {"a": {"b", "c"}, "b": {"c"}}
    assert catalogue.tables & set("abcdef") == set("abcdf")


@on_postgresql
def test_what_runs_statements_of_its_own_is_known(database: str, opened: Open, made: Make) -> None:
    body = "LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'"
    two = "BEGIN PERFORM 1 FROM shop_show; UPDATE shop_show SET title = NULL; RETURN NULL; END"
    made(
        (f"CREATE FUNCTION two() RETURNS integer LANGUAGE plpgsql AS '{two}'", "DROP FUNCTION two"),
        (f"CREATE FUNCTION steady() RETURNS integer STABLE LANGUAGE plpgsql AS '{two}'", "DROP FUNCTION steady"),
        ("CREATE FUNCTION one() RETURNS integer BEGIN ATOMIC SELECT 1 FROM shop_show; END", "DROP FUNCTION one"),
        (f"CREATE FUNCTION nothing() RETURNS integer {body}", "DROP FUNCTION nothing"),
        ("CREATE PROCEDURE doing() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'", "DROP PROCEDURE doing"),
        ("CREATE VIEW calling AS SELECT two() AS t, nothing() AS n", "DROP VIEW calling"),
        ("CREATE FUNCTION of(integer) RETURNS integer LANGUAGE sql AS 'SELECT 1 FROM shop_show'", "DROP FUNCTION of"),
        ("CREATE OPERATOR @@ (FUNCTION = of, RIGHTARG = integer)", "DROP OPERATOR @@ (NONE, integer)"),
        (f"CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS '{two}'", "DROP FUNCTION fired"),
        (
            "CREATE TRIGGER t BEFORE INSERT ON shop_account EXECUTE FUNCTION fired()",
            "DROP TRIGGER t ON shop_account",
        ),
        ("CREATE TABLE a (v integer DEFAULT one())", "DROP TABLE a"),
    )
    catalogue = opened(database).catalogue
    assert catalogue.moments == {"two": 2, "one": 1, "doing": 2, "calling": 2, "fired": 2, "of": 1, "@@": 1}
    assert catalogue.fires == {"shop_account": 2, "a": 1}


@on_postgresql
def test_what_is_not_put_back_is_known(database: str, opened: Open, made: Make) -> None:
    made(("CREATE MATERIALIZED VIEW kept AS SELECT 1 AS one", "DROP MATERIALIZED VIEW kept"))
    unseen = opened(database).catalogue.unseen
    assert unseen["kept"] == "rows of the materialized view kept are not put back"
    assert unseen["lo_create"] == "large objects are not put back"


@on_mysql
def test_views_that_do_more_than_read_are_left_out(database: str, opened: Open, made: Make) -> None:
    made(
        ("CREATE VIEW plain AS SELECT id, title FROM shop_show", "DROP VIEW plain"),
        ("CREATE VIEW locking AS SELECT id FROM shop_show FOR UPDATE", "DROP VIEW locking"),
        ("CREATE VIEW advised AS SELECT GET_LOCK('a', id) FROM shop_show", "DROP VIEW advised"),
    )
    catalogue = opened(database).catalogue
    assert catalogue.views.keys() == {"plain", "locking"}
    assert catalogue.locking == {"locking": {"shop_show"}}


@on_mysql
def test_what_runs_statements_of_its_own_is_known_on_mariadb(database: str, opened: Open, made: Make) -> None:
    two = "BEGIN DECLARE n int; SELECT count(*) INTO n FROM shop_show; UPDATE shop_show SET title = n; RETURN n; END"
    made(
        (f"CREATE FUNCTION two() RETURNS integer {two}", "DROP FUNCTION two"),
        ("CREATE FUNCTION nothing(v integer) RETURNS integer RETURN v * 2", "DROP FUNCTION nothing"),
        ("CREATE PROCEDURE doing() SELECT 1", "DROP PROCEDURE doing"),
        ("CREATE VIEW calling AS SELECT two() AS t", "DROP VIEW calling"),
        ("CREATE TRIGGER t BEFORE INSERT ON shop_account FOR EACH ROW SET NEW.balance = two()", "DROP TRIGGER t"),
        (
            "CREATE TRIGGER u AFTER INSERT ON shop_ticket FOR EACH ROW INSERT INTO shop_coupon (code) VALUES ('a')",
            "DROP TRIGGER u",
        ),
    )
    catalogue = opened(database).catalogue
    assert catalogue.moments == {"two": 2, "doing": 2, "calling": 2}
    assert catalogue.fires == {"shop_account": 2}


@on_mysql
def test_views_that_call_functions_are_left_out(database: str, opened: Open, made: Make) -> None:
    made(
        ("CREATE FUNCTION Twice(v integer) RETURNS integer DETERMINISTIC RETURN v * 2", "DROP FUNCTION Twice"),
        ("CREATE VIEW calling AS SELECT twice(id) FROM shop_counter", "DROP VIEW calling"),
    )
    catalogue = opened(database).catalogue
    assert catalogue.routines == {"twice"}
    assert not {"calling"} & (catalogue.views.keys() | catalogue.tables)


@on_mysql
@pytest.mark.parametrize("engine", ["InnoDB", "MyISAM", "Aria", "MEMORY"])
def test_rows_and_counters_of_every_engine_come_back(database: str, opened: Open, made: Make, engine: str) -> None:
    made((f"CREATE TABLE plain (id integer AUTO_INCREMENT PRIMARY KEY, n integer) ENGINE={engine}", "DROP TABLE plain"))
    run(database, "INSERT INTO plain VALUES (3, 1), (7, 2)", "DELETE FROM plain WHERE id = 7")
    before = content(database)
    state = opened(database)
    assert ("plain" in state.catalogue.immediate) is (engine != "InnoDB")
    run(database, "INSERT INTO plain (n) VALUES (5), (6)", "UPDATE plain SET n = 0")
    assert state.changed() == {"plain"}
    state.restore()
    assert content(database) == before


@on_mysql
def test_a_table_that_somebody_else_reads_is_put_back_and_that_is_told(
    database: str, opened: Open, made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aioconcurrent.databases.state.mysql.PATIENCE", 1)
    monkeypatch.setattr("aioconcurrent.databases.state.mysql._SESSION", "SET SESSION lock_wait_timeout = 1")
    made(("CREATE TABLE plain (id integer PRIMARY KEY, n integer)", "DROP TABLE plain"))
    run(database, "INSERT INTO plain VALUES (1, 1)")
    before = content(database)
    state = opened(database)
    reader = connections[database].copy()
    with reader.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute("SELECT * FROM plain")
        run(database, "UPDATE plain SET n = 2")
        state.restore()
        assert [remark for remark in state.remarks if "could not be rebuilt" in remark]
    reader.close()
    assert content(database) == before


@on_mysql
def test_tables_of_an_engine_that_reads_others_are_no_tables(database: str, opened: Open, made: Make) -> None:
    made(
        ("CREATE TABLE one (id integer) ENGINE=MyISAM", "DROP TABLE one"),
        ("CREATE TABLE merged (id integer) ENGINE=MERGE UNION=(one) INSERT_METHOD=LAST", "DROP TABLE merged"),
    )
    before = content(database)
    state = opened(database)
    assert "merged" not in state.catalogue.tables | state.catalogue.views.keys()
    run(database, "INSERT INTO merged VALUES (1)")
    state.restore()
    assert content(database) == before
