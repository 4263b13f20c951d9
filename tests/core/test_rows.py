"""Which rows are told apart, and which must not be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aioconcurrent.base.trace import Operation, Step
from aioconcurrent.databases.schema import Catalogue, KeyKind, Keys
from aioconcurrent.exploring.orders.dependence import Act, Ledger, StatementResult, Status, dependent
from aioconcurrent.exploring.orders.footprint import blurred_by, footprint, rows
from aioconcurrent.exploring.orders.rows import Fresh, Row, made_keys, meet, numbers_of, said_numbers
from aioconcurrent.sql.statements import statement_of

ID = frozenset({"id"})
INTEGER: dict[str, KeyKind] = {"id": "integer"}


def keyed(*uniques: frozenset[str], kinds: dict[str, KeyKind] | None = None, **more: Any) -> Keys:
    return Keys(
        **{"kinds": kinds or INTEGER, "uniques": frozenset(uniques or (ID,)), "is_closed": True, **more},
    )


CATALOGUE = Catalogue(
    tables=frozenset(
        {"a", "slot", "pair", "text", "uuid", "parent", "child", "odd", "tree", "owner", "owned", "other"}
        | {"ticket", "named", "counted"}
    ),
    views={"view": frozenset({"a"}), "parts": frozenset({"a"})},
    parents={
        "ticket": frozenset({"a"}),
        "child": frozenset({"parent"}),
        "tree": frozenset({"tree"}),
        "owned": frozenset({"owner"}),
    },
    cascades={"owner": frozenset({"owned"})},
    keys={
        "a": keyed(automatic="id"),
        "slot": keyed(ID, frozenset({"name"}), kinds={"id": "integer", "name": "text"}),
        "pair": keyed(frozenset({"x", "y"}), kinds={"x": "integer", "y": "integer"}),
        "text": keyed(frozenset({"name"}), kinds={"name": "text"}),
        "uuid": keyed(kinds={"id": "uuid"}),
        "parent": keyed(),
        "child": keyed(kinds={"id": "integer", "parent": "integer"}, references=(("parent", "parent", "id"),)),
        "odd": keyed(is_closed=False),
        "tree": keyed(kinds={"id": "integer", "up": "integer"}, references=(("up", "tree", "id"),)),
        "owner": keyed(),
        "owned": keyed(references=(("owner", "owner", "id"),)),
        "other": Keys(uniques=frozenset({ID})),
        "ticket": keyed(automatic="id", references=(("a", "a", "id"),)),
        "named": keyed(ID, frozenset({"name"}), kinds={"id": "integer", "name": "text"}, automatic="id"),
        "counted": keyed(counted=frozenset({"number"})),
    },
)


def sql(text: str, *parameters: Any, vendor: str = "postgresql", **more: Any) -> Operation:
    more = {"isolation": "read committed", "in_transaction": True, **more}
    return Operation("sql", text, parameters, vendor=vendor, database="d", **more)


def effects(operation: Operation, rowcount: int | None = 1) -> list[Any]:
    """What the statement touches, and what the COMMIT does after it."""
    act = Act(operation, footprint(operation, CATALOGUE), Ledger(), rows=rows(operation, CATALOGUE))
    result = StatementResult(rowcount)
    end = replace(operation, kind="commit", text="", parameters=None)
    commit = Act(end, footprint(end, CATALOGUE), act.after(Status.DONE, result))
    return [act.effect(Status.DONE, result), commit.effect(Status.DONE)]


def apart(one: Operation, other: Operation, rowcount: int | None = 1) -> bool:
    """Whether no step of the one depends on a step of the other."""
    return not any(dependent(mine, theirs) for mine in effects(one, rowcount) for theirs in effects(other, rowcount))


READ = sql('SELECT * FROM "a" WHERE "a"."id" = %s LIMIT 21', 1)
LOCK = sql('SELECT * FROM "a" WHERE "id" = %s FOR UPDATE', 1)
UPDATE = sql('UPDATE "a" SET "n" = %s WHERE "a"."id" = %s', 5, 1)
DELETE = sql('DELETE FROM "a" WHERE "id" IN (%s)', 1)
INSERT = sql('INSERT INTO "a" ("id", "n") VALUES (%s, %s)', 1, 5)


def of_row(operation: Operation, number: Any) -> Operation:
    """The same for another row."""
    values = operation.parameters or ()
    is_last = not operation.text.startswith("INSERT")
    return replace(operation, parameters=(*values[:-1], number) if is_last else (number, *values[1:]))


@pytest.mark.parametrize("one", [READ, LOCK, UPDATE, DELETE, INSERT])
@pytest.mark.parametrize("other", [LOCK, UPDATE, DELETE, INSERT])
def test_statements_of_other_rows_do_not_depend_and_of_one_row_do(one: Operation, other: Operation) -> None:
    assert apart(one, of_row(other, 2))
    assert not apart(one, other) or (one, other) == (READ, LOCK)  # which a plain read does not wait for


def test_rows_of_a_list_are_told_apart_from_others_only() -> None:
    some = sql('SELECT * FROM "a" WHERE "id" IN (%s, %s) FOR UPDATE', 1, 2)
    assert apart(some, of_row(UPDATE, 3))
    assert not apart(some, of_row(UPDATE, 2))


def test_a_read_by_key_that_joins_another_table_is_of_one_row_of_its_own() -> None:
    joined = sql('SELECT * FROM "a" INNER JOIN "parent" ON "a"."p" = "parent"."id" WHERE "a"."id" = %s', 1)
    assert apart(joined, of_row(UPDATE, 2))
    assert not apart(joined, UPDATE)
    assert not apart(joined, sql('UPDATE "parent" SET "n" = 1 WHERE "id" = %s', 7))


def test_rows_of_a_key_of_two_columns_are_told_apart_by_any_of_them() -> None:
    one = sql('UPDATE "pair" SET "n" = 1 WHERE "x" = %s AND "y" = %s', 1, 1)
    assert apart(one, sql('UPDATE "pair" SET "n" = 1 WHERE "y" = %s AND "x" = %s', 2, 1))
    assert not apart(one, sql('UPDATE "pair" SET "n" = 1 WHERE "y" = %s AND "x" = %s', 1, 1))
    assert not apart(one, sql('UPDATE "pair" SET "n" = 1 WHERE "x" = %s', 2))


def test_a_new_child_locks_its_parent_and_no_other() -> None:
    child = sql('INSERT INTO "child" ("id", "parent") VALUES (%s, %s)', 1, 1)
    assert apart(child, sql('DELETE FROM "a" WHERE "id" = %s', 1))
    assert apart(child, sql('UPDATE "parent" SET "n" = %s WHERE "id" = %s', 1, 2))
    assert not apart(child, sql('UPDATE "parent" SET "n" = %s WHERE "id" = %s', 1, 1))
    assert apart(child, sql('INSERT INTO "child" ("id", "parent") VALUES (%s, %s)', 2, 1))


WHOLE = {
    "a condition": sql('SELECT * FROM "a" WHERE "n" = %s', 1),
    "one of two conditions": sql('SELECT * FROM "a" WHERE "id" = %s OR "n" = %s', 1, 1),
    "anything but": sql('SELECT * FROM "a" WHERE NOT ("id" = %s)', 1),
    "a range": sql('SELECT * FROM "a" WHERE "id" > %s', 1),
    "another table's column": sql('SELECT * FROM "a" INNER JOIN "parent" ON "id" = "p" WHERE "parent"."id" = %s', 1),
    "a table named twice": sql('SELECT * FROM "a" "x" JOIN "a" "y" ON "x"."p" = "y"."id" WHERE "x"."id" = %s', 1),
    "a table named twice, by its second name": sql(
        'SELECT * FROM "a" "x" JOIN "a" "y" ON "x"."p" = "y"."id" WHERE "y"."id" = %s', 1
    ),
    "a column of one of two tables": sql(
        'SELECT * FROM "a" JOIN "parent" ON "a"."p" = "parent"."pk" WHERE "id" = %s', 1
    ),
    "more parameters than places": sql('UPDATE "a" SET "n" = 1 WHERE "id" = %s', 1, 1),
    "a column": sql('SELECT * FROM "a" WHERE "id" = "n" AND "n" = %s', 1),
    "a subquery": sql('SELECT * FROM "a" WHERE "id" = %s AND "n" = (SELECT MAX("n") FROM "a")', 1),
    "an exists": sql('SELECT EXISTS(SELECT 1 FROM "a" WHERE "id" = %s) FROM "a"', 1),
    "a value that is cast": sql('SELECT * FROM "a" WHERE "id" = %s::int', "1"),
    "a text for a number": sql('SELECT * FROM "a" WHERE "id" = %s', "1"),
    "a truth value": sql('SELECT * FROM "a" WHERE "id" = %s', True),
    "no value": sql('SELECT * FROM "a" WHERE "id" = %s', None),
    "a decimal": sql('SELECT * FROM "a" WHERE "id" = %s', 1.0),
    "another schema": sql('SELECT * FROM "s"."a" WHERE "id" = %s', 1),
    "a view": sql('SELECT * FROM "view" WHERE "id" = %s', 1),
    "a table in parts": sql('UPDATE "parts" SET "n" = 1 WHERE "id" = %s', 1),
    "named parameters": sql('SELECT * FROM "a" WHERE "id" = %(id)s', 1),
    "fewer parameters than places": sql('UPDATE "a" SET "n" = %s WHERE "id" = %s', 1),
    "a key that changes": sql('UPDATE "a" SET "id" = %s WHERE "id" = %s', 9, 1),
    "an INSERT without its key": sql('INSERT INTO "a" ("n") VALUES (%s)', 1),
    "an INSERT with a key that is worked out": sql('INSERT INTO "a" ("id") VALUES (%s + 1)', 1),
    "ON CONFLICT": sql('INSERT INTO "a" ("id") VALUES (%s) ON CONFLICT ("id") DO UPDATE SET "n" = 1', 1),
    "an INSERT of what it reads": sql('INSERT INTO "a" ("id") SELECT "id" FROM "parent" WHERE "id" = %s', 1),
    "SERIALIZABLE": replace(UPDATE, isolation="serializable"),
    "an isolation that is not known": replace(UPDATE, isolation=None),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_doubt_makes_it_the_whole_table(name: str) -> None:
    assert not apart(WHOLE[name], sql('UPDATE "a" SET "n" = %s WHERE "a"."id" = %s', 5, 1000))


def test_a_key_that_another_row_may_have_keeps_a_new_row_from_commuting() -> None:
    def new(number: int, name: str) -> Operation:
        return sql('INSERT INTO "slot" ("id", "name") VALUES (%s, %s)', number, name)

    assert apart(new(1, "x"), new(2, "y"))
    assert not apart(new(1, "x"), new(2, "x"))
    assert not apart(new(1, "x"), new(1, "y"))
    assert not apart(new(1, "x"), sql('DELETE FROM "slot" WHERE "id" = %s', 2))
    assert not apart(new(1, "x"), sql('UPDATE "slot" SET "name" = %s WHERE "id" = %s', "x", 2))
    assert not apart(new(1, "x"), sql('INSERT INTO "slot" ("id") VALUES (%s)', 2))


def test_a_new_row_is_no_row_that_was_there_and_meets_one_that_goes_unless_all_their_keys_differ() -> None:
    """Had a row one of its keys, the INSERT would have failed, or waited for whoever changes that row."""
    new = sql('INSERT INTO "slot" ("id", "name") VALUES (%s, %s)', 1, "x")
    for text in (
        'UPDATE "slot" SET "n" = 1 WHERE "{}" = %s',
        'SELECT "n" FROM "slot" WHERE "{}" = %s FOR UPDATE',
        'SELECT "n" FROM "slot" WHERE "{}" = %s',
    ):
        assert apart(new, sql(text.format("id"), 2))
        assert apart(new, sql(text.format("name"), "y"))
        assert not apart(new, sql(text.format("id"), 1))
    gone = sql('DELETE FROM "slot" WHERE "id" = %s', 2)
    assert not apart(new, gone)  # it may have been called x
    assert apart(gone, sql('UPDATE "slot" SET "n" = 1 WHERE "id" = %s', 1))
    for status, waited in ((Status.DONE, True), (Status.FAILED, False), (Status.WAITING, False)):
        act = Act(new, footprint(new, CATALOGUE), Ledger(), waited, rows(new, CATALOGUE))
        (update, _) = effects(sql('UPDATE "slot" SET "n" = 1 WHERE "id" = %s', 2))
        assert dependent(act.effect(status, StatementResult(1)), update)


CHILDREN = 'SELECT "n" FROM "child" WHERE "parent" = %s AND "n" > 1'


@pytest.mark.parametrize(
    ("text", "values", "is_apart"),
    [
        ('INSERT INTO "child" ("id", "parent") VALUES (%s, %s)', (1, 2), True),
        ('INSERT INTO "child" ("id", "parent") VALUES (%s, %s)', (1, 1), False),
        ('INSERT INTO "child" ("id", "parent") VALUES (%s, %s)', (1, None), False),
        ('INSERT INTO "child" ("id", "parent") VALUES (%s, %s + 1)', (1, 1), False),
        ('INSERT INTO "child" ("id") VALUES (%s)', (1,), False),
        ('UPDATE "child" SET "n" = 1 WHERE "id" = %s', (1,), False),
        ('UPDATE "child" SET "parent" = %s WHERE "id" = %s', (1, 1), False),
        ('DELETE FROM "child" WHERE "id" = %s', (1,), False),
    ],
)
def test_rows_that_are_read_by_other_columns_are_told_apart_from_new_ones_alone(
    text: str, values: tuple[Any, ...], is_apart: bool
) -> None:
    change = sql(text, *values)
    for read in (CHILDREN, 'SELECT COUNT(*) FROM "child" WHERE "parent" IN (%s, 7)'):
        assert apart(sql(read, 1), change) is is_apart
    assert not apart(sql(f"{CHILDREN} FOR UPDATE", 1), change)


def test_a_row_that_moves_after_it_was_inserted_is_met_by_who_reads_what_it_moves_to() -> None:
    new, move = (
        sql('INSERT INTO "child" ("id", "parent") VALUES (%s, %s)', 1, 2),
        sql('UPDATE "child" SET "parent" = %s WHERE "id" = %s', 1, 1),
    )
    one = StatementResult(1)
    ledger = Act(new, footprint(new, CATALOGUE), Ledger(), rows=rows(new, CATALOGUE)).after(Status.DONE, one)
    moved = Act(move, footprint(move, CATALOGUE), ledger, rows=rows(move, CATALOGUE)).after(Status.DONE, one)
    (read, _) = effects(sql(CHILDREN, 1))
    assert not meet(read.reads, ledger.writes)
    assert meet(read.reads, moved.writes)


def locking(text: str, rowcount: int, *, waited: bool = False, vendor: str = "postgresql", **more: Any) -> bool:
    """Whether a statement has locked anything."""
    operation = sql(text, vendor=vendor, **more)
    act = Act(operation, footprint(operation, CATALOGUE), Ledger(), waited, rows(operation, CATALOGUE))
    effect = act.effect(Status.DONE, StatementResult(rowcount))
    held = act.after(Status.DONE, StatementResult(rowcount))
    return bool(effect.locks or effect.shares or held.locks or held.shares)


@pytest.mark.parametrize("lock", ["FOR UPDATE", "FOR NO KEY UPDATE", "FOR SHARE", "FOR UPDATE NOWAIT"])
def test_a_read_that_locks_and_finds_nothing_has_locked_nothing(lock: str) -> None:
    text = f'SELECT "a"."n", 1 AS "one" FROM "a" INNER JOIN "other" ON "a"."id" = "other"."id" WHERE "a"."n" > 1 {lock}'
    assert locking(text, 0) is lock.endswith("NOWAIT")
    assert locking(text, 1)
    assert locking(text, -1)
    assert locking(text, 0, waited=True)  # of a row that has changed it keeps the lock
    assert locking(text, 0, vendor="mysql")  # which locks gaps
    assert locking(text, 0, isolation="serializable")


@pytest.mark.parametrize(
    "text",
    [
        'SELECT "n" FROM "a" OFFSET 1 FOR UPDATE',
        'SELECT "n" FROM "a" FOR UPDATE SKIP LOCKED',
        'SELECT unnest(ARRAY[]::int[]) FROM "a" FOR UPDATE',
        'SELECT * FROM (SELECT "n" FROM "a" FOR UPDATE) AS "inner" WHERE false',
        'WITH "found" AS (SELECT "n" FROM "a" FOR UPDATE) SELECT * FROM "found" WHERE false',
        'SELECT "n" FROM "view" FOR UPDATE',
        'UPDATE "a" SET "n" = 1 WHERE "n" = 2',
    ],
)
def test_what_may_lock_rows_that_it_does_not_return_has_locked_its_tables(text: str) -> None:
    assert locking(text, 0)


def test_a_read_that_finds_nothing_to_lock_depends_on_who_makes_it_find_something() -> None:
    read = sql('SELECT "n" FROM "a" WHERE "n" = %s FOR UPDATE', 5)
    (mine, _), (theirs, commit) = effects(read, 0), effects(UPDATE)
    assert not dependent(mine, theirs)
    assert dependent(mine, commit)


def test_rows_by_other_keys_may_be_the_same() -> None:
    by_name = sql('UPDATE "slot" SET "n" = %s WHERE "name" = %s', 1, "x")
    assert apart(by_name, sql('UPDATE "slot" SET "n" = %s WHERE "name" = %s', 1, "y"))
    assert not apart(by_name, sql('UPDATE "slot" SET "n" = %s WHERE "id" = %s', 1, 2))


def test_an_update_that_moves_a_row_into_a_condition_depends_on_who_asks_for_it() -> None:
    assert not apart(UPDATE, sql('SELECT * FROM "a" WHERE "n" = %s FOR UPDATE', 5))


def test_tables_that_other_things_keep_rows_out_of_are_whole_where_they_change() -> None:
    change = sql('UPDATE "odd" SET "n" = %s WHERE "id" = %s', 1, 1)
    assert not apart(change, sql('UPDATE "odd" SET "n" = %s WHERE "id" = %s', 1, 2))


def test_values_are_told_apart_only_where_the_database_does() -> None:
    def upper(name: str) -> Operation:
        return sql('SELECT * FROM "text" WHERE "name" = %s FOR UPDATE', name)

    def by(number: str) -> Operation:
        return sql('SELECT * FROM "uuid" WHERE "id" = %s FOR UPDATE', number)

    assert apart(upper("x"), upper("X"))
    assert not apart(upper("Jsonb('x')"), upper("Jsonb('y')"))  # how a value is told that is no text
    first = "0b9d2cf5-9e6c-4f0c-8b0f-0d7c1c2b3a4d"
    assert not apart(by(first), by(first.upper().replace("-", "")))
    assert apart(by(first), by(first.replace("0b", "1b")))
    other = sql('UPDATE "other" SET "n" = %s WHERE "id" = %s', 1, 1)  # of a type of which nothing is known
    assert not apart(other, sql('UPDATE "other" SET "n" = %s WHERE "id" = %s', 1, 2))


def test_what_a_delete_takes_along_is_whole() -> None:
    def owner(number: int) -> Operation:
        return sql('DELETE FROM "owner" WHERE "id" = %s', number)

    assert not apart(owner(1), owner(2))
    assert not apart(
        sql('DELETE FROM "parent" WHERE "id" = %s', 1), sql('SELECT * FROM "child" WHERE "id" = 1 FOR UPDATE')
    )


def test_a_row_that_points_at_its_own_table_is_with_the_row_that_it_points_at() -> None:
    move = sql('UPDATE "tree" SET "up" = %s WHERE "id" = %s', 3, 1)
    assert apart(move, sql('UPDATE "tree" SET "n" = %s WHERE "id" = %s', 1, 2))
    assert not apart(move, sql('UPDATE "tree" SET "n" = %s WHERE "id" = %s', 1, 3))
    assert not apart(
        sql('UPDATE "tree" SET "up" = "up" + %s WHERE "id" = %s', 3, 1), sql("DELETE FROM tree WHERE id = 5")
    )


def test_a_delete_looks_at_rows_of_its_own_table_that_may_point_at_it() -> None:
    delete = sql('DELETE FROM "tree" WHERE "id" = %s', 1)
    assert not apart(delete, sql('UPDATE "tree" SET "up" = %s WHERE "id" = %s', 3, 2))


@pytest.mark.parametrize("isolation", ["serializable", None])
def test_where_transactions_are_serialised_locks_are_on_tables(isolation: str | None) -> None:
    assert effects(replace(UPDATE, isolation=isolation))[0].locks == {"d.a"}


def test_a_table_whose_reference_is_not_said_may_point_at_any_row() -> None:
    child = sql('INSERT INTO "child" ("id") VALUES (%s)', 1)
    assert not apart(child, sql('UPDATE "parent" SET "n" = %s WHERE "id" = %s', 1, 2))


class TestInnodb:
    @staticmethod
    def on_mysql(operation: Operation) -> Operation:
        return replace(operation, text=operation.text.replace('"', "`"), vendor="mysql")

    @pytest.mark.parametrize("one", [LOCK, UPDATE])
    def test_a_row_that_was_found_is_told_apart(self, one: Operation) -> None:
        assert apart(self.on_mysql(one), self.on_mysql(of_row(UPDATE, 2)))

    @pytest.mark.parametrize("one", [LOCK, UPDATE])
    @pytest.mark.parametrize("rowcount", [0, None])
    def test_where_none_was_found_the_gap_is_locked(self, one: Operation, rowcount: int | None) -> None:
        assert not apart(self.on_mysql(one), self.on_mysql(of_row(UPDATE, 2)), rowcount)

    @pytest.mark.parametrize(
        "text",
        [
            "SELECT * FROM `a` WHERE `id` = %s AND `n` = 1 FOR UPDATE",
            "SELECT * FROM `a` WHERE `id` = %s AND `n` > 1 FOR UPDATE",
            "SELECT * FROM `a` WHERE `id` IN (%s, 7) FOR UPDATE",
            "DELETE FROM `a` WHERE `id` = %s",
            "INSERT INTO `a` (`id`) VALUES (%s)",
        ],
    )
    def test_locks_that_may_be_on_more_are_on_the_table(self, text: str) -> None:
        assert not apart(sql(text, 1, vendor="mysql"), self.on_mysql(of_row(UPDATE, 2)))

    def test_plain_reads_take_no_locks(self) -> None:
        read = sql("SELECT * FROM `a` WHERE `id` IN (%s, 7) AND `n` = 1", 1, vendor="mysql")
        assert apart(read, self.on_mysql(of_row(UPDATE, 2)), rowcount=None) is False  # of which none was found
        assert not any(
            dependent(each, late) for each in effects(read, 0) for late in effects(self.on_mysql(of_row(UPDATE, 2)))
        )


TICKET = sql('INSERT INTO "ticket" ("n") VALUES (%s) RETURNING "id"', 5)


@pytest.mark.parametrize("vendor", ["postgresql", "mysql"])
class TestRowsThatTheDatabaseNumbers:
    """A new row is apart from all that were there and from those of others, but who is first gets the lower number."""

    @staticmethod
    def in_text(text: str, *values: Any, vendor: str, number: int | None = None, **more: Any) -> list[Any]:
        """The effects of an INSERT that was given a number, and of its COMMIT; or of a statement of another row."""
        operation = sql(text if vendor == "postgresql" else text.replace('"', "`"), *values, vendor=vendor, **more)
        place = None if number is None else Fresh(number)
        act = Act(
            operation, footprint(operation, CATALOGUE), Ledger(), rows=rows(operation, CATALOGUE, {("d.ticket", 9)})
        )
        result = StatementResult(1, number=place)
        end = replace(operation, kind="commit", text="", parameters=None)
        commit = Act(end, footprint(end, CATALOGUE), act.after(Status.DONE, result))
        return [act.effect(Status.DONE, result), commit.effect(Status.DONE)]

    def inserted(self, vendor: str, number: int | None, text: str = TICKET.text, **more: Any) -> list[Any]:
        return self.in_text(text, 5, vendor=vendor, number=number, **more)

    def test_only_who_inserts_first_matters(self, vendor: str) -> None:
        (insert, commit), (other, others_commit) = self.inserted(vendor, 0), self.inserted(vendor, 1)
        assert dependent(insert, other)
        assert not any(dependent(*pair) for pair in ((insert, others_commit), (commit, other), (commit, others_commit)))

    @pytest.mark.parametrize(
        ("text", "key", "meets"),
        [
            ('SELECT * FROM "ticket" WHERE "id" = %s', 3, False),
            ('UPDATE "ticket" SET "n" = 1 WHERE "id" = %s', 3, False),
            ('UPDATE "ticket" SET "n" = 1 WHERE "id" = %s', 10, False),  # of another new one
            ('SELECT * FROM "ticket" WHERE "id" = %s', 9, True),
            ('UPDATE "ticket" SET "n" = 1 WHERE "id" = %s', 9, True),
            ('SELECT COUNT(*) FROM "ticket" WHERE "n" = %s', 1, True),
            ('SELECT MAX("id") FROM "ticket" WHERE "n" < %s', 1, True),
            ('SELECT * FROM "ticket" WHERE "n" = %s ORDER BY "id" DESC LIMIT 1', 1, True),
            ('UPDATE "ticket" SET "n" = 1 WHERE "id" > %s', 3, True),
            ('INSERT INTO "ticket" ("n") SELECT COUNT(*) FROM "ticket" WHERE "n" = %s', 3, True),
        ],
    )
    def test_whatever_looks_at_more_than_other_rows_meets_it(
        self, vendor: str, text: str, key: int, meets: bool
    ) -> None:
        inserts, others = self.inserted(vendor, 0), self.in_text(text, key, vendor=vendor)
        assert any(dependent(one, other) for one in inserts for other in others) is meets

    def test_a_number_that_was_not_told_may_be_of_any_row(self, vendor: str) -> None:
        other = self.in_text('UPDATE "ticket" SET "n" = 1 WHERE "id" = %s', 3, vendor=vendor)
        assert any(dependent(one, each) for one in self.inserted(vendor, None) for each in other)

    def test_an_insert_that_waits_or_fails_has_met_some_row(self, vendor: str) -> None:
        operation = replace(
            TICKET, vendor=vendor, text=TICKET.text if vendor == "postgresql" else TICKET.text.replace('"', "`")
        )
        act = Act(operation, footprint(operation, CATALOGUE), Ledger(), rows=rows(operation, CATALOGUE))
        told = StatementResult(1, number=Fresh(0))
        assert "d.ticket" not in act.effect(Status.DONE, told).locks
        assert "d.ticket" in act.effect(Status.FAILED, told).locks
        assert "d.ticket" in act.effect(Status.WAITING, told).locks
        assert "d.ticket" in replace(act, waited=True).effect(Status.DONE, told).locks

    def test_where_transactions_are_serialised_it_is_the_table(self, vendor: str) -> None:
        assert "d.ticket" in self.inserted(vendor, 0, isolation="serializable")[0].locks

    def test_several_rows_of_one_statement_are_the_table(self, vendor: str) -> None:
        text = 'INSERT INTO "ticket" ("n") VALUES (%s), (6) RETURNING "id"'
        assert "d.ticket" in self.inserted(vendor, 0, text)[0].locks


def test_a_new_row_with_a_name_of_its_own_meets_whoever_may_have_that() -> None:
    named = sql('INSERT INTO "named" ("name") VALUES (%s) RETURNING "id"', "x")

    def met(name: str, vendor: str = "postgresql") -> bool:
        one, other = (replace(each, vendor=vendor) for each in (named, replace(named, parameters=(name,))))
        acts = [Act(each, footprint(each, CATALOGUE), Ledger(), rows=rows(each, CATALOGUE)) for each in (one, other)]
        ends = [act.after(Status.DONE, StatementResult(1, number=Fresh(index))) for index, act in enumerate(acts)]
        return meet(ends[0].locks, ends[1].locks)

    assert met("x")
    assert not met("y")
    assert met("y", vendor="mysql")  # InnoDB locks the gap beside a name that a deleted row had


@pytest.mark.parametrize(
    ("text", "is_apart"),
    [
        ('INSERT INTO "counted" ("id") VALUES (%s)', False),
        ('INSERT INTO "counted" ("id", "number") VALUES (%s, DEFAULT)', False),
        ('UPDATE "counted" SET "number" = DEFAULT WHERE "id" = %s', False),
        ('UPDATE "counted" SET "n" = 1 WHERE "id" = %s', True),
        ('SELECT * FROM "counted" WHERE "id" = %s', True),
    ],
)
def test_who_takes_a_number_for_another_column_meets_all_who_do(text: str, is_apart: bool) -> None:
    assert apart(sql(text, 1), sql(text, 2)) is is_apart


class TestNumbersThatTheDatabaseGives:
    @pytest.mark.parametrize(
        "statement",
        [
            sql('SELECT 1 FROM "pair" WHERE "x" = %s AND "y" = %s', 1, 7),
            sql('SELECT 1 FROM "text" WHERE "name" = %s', "order 7"),
        ],
    )
    def test_a_key_that_looks_like_the_number_of_a_new_row_is_a_key_all_the_same(self, statement: Operation) -> None:
        """Numbers are the same in all runs that are compared, and so is what programs make of them."""
        assert rows(statement, CATALOGUE, {("d.a", 7)}) == rows(statement, CATALOGUE) != {}

    def test_a_row_that_the_run_has_made_is_known_by_its_place_among_those(self) -> None:
        def row(new: set[tuple[str, object]], statement: Operation = UPDATE) -> Row:
            (found,) = rows(statement, CATALOGUE, new)["d.a"]
            return found

        assert row(set()).keys == {(("id",), (1,))}
        assert row({("d.a", 1)}).keys == {(("id",), (Fresh(0),))}
        assert row({("d.a", 4158)}, of_row(UPDATE, 4158)) == row({("d.a", 1)})  # with the counter moved
        assert row({("d.a", 1), ("d.a", 2)}, of_row(UPDATE, 2)).keys == {(("id",), (Fresh(1),))}
        assert row({("d.a", 1)}, of_row(UPDATE, 5)).keys == {(("id",), (Fresh(4),))}  # which may be made later
        assert row({("d.a", 7)}) == row({("d.parent", 1)}) == row(set())

    def test_a_key_that_is_said_is_no_number_where_it_moves_no_counter(self) -> None:
        def numbers(values: str, vendor: str = "postgresql", *parameters: Any) -> set[Any]:
            text = f'INSERT INTO "a" ("id", "n") VALUES {values} RETURNING "id"'
            statement = sql(text if vendor == "postgresql" else text.replace('"', "`"), *parameters, vendor=vendor)
            return numbers_of(statement, ("id",), [(7,)], CATALOGUE)

        assert numbers("(7, 1)") == numbers("(%s, 1)", "postgresql", 7) == numbers("(7, 1), (8, 1)") == set()
        assert numbers("(DEFAULT, 1)") == numbers("(7, 1), (DEFAULT, 1)") == {("d.a", 7)}
        assert numbers("(7, 1)", "mysql") == {("d.a", 7)}  # from which InnoDB counts on
        said = Step(
            0, sql('INSERT INTO "a" ("id") VALUES (7) RETURNING "id"'), rowcount=1, columns=("id",), rows=((7,),)
        )
        assert made_keys(said, statement_of(said.operation), ("id",), CATALOGUE) == {(7,)}

    def test_what_points_at_a_row_that_the_run_has_made_is_known_by_its_place_too(self) -> None:
        ticket = sql('INSERT INTO "ticket" ("a") VALUES (%s) RETURNING "id"', 7)
        told = rows(ticket, CATALOGUE, {("d.a", 7)})
        assert told["d.a"] == rows(of_row(UPDATE, 7), CATALOGUE, {("d.a", 7)})["d.a"]

    @pytest.mark.parametrize(
        ("step", "tables"),
        [
            (Step(0, sql('INSERT INTO "a" ("n") VALUES (%s)', 1), rowcount=1), {"a"}),
            (Step(0, sql('INSERT INTO "a" ("n") VALUES (%s) RETURNING "a"."id"', 1), rowcount=1), {"a"}),
            (
                Step(
                    0, sql('INSERT INTO "a" ("n") VALUES (1) RETURNING "id"'), rowcount=1, columns=("id",), rows=((7,),)
                ),
                set(),
            ),
            (Step(0, INSERT, rowcount=1), set()),
            (Step(0, replace(INSERT, parameters=(None, 5)), rowcount=1), {"a"}),
            (Step(0, replace(INSERT, parameters=(0, 5)), rowcount=1), set()),
            (
                Step(
                    0,
                    replace(INSERT, parameters=(0, 5), vendor="mysql", text=INSERT.text.replace('"', "`")),
                    rowcount=1,
                ),
                {"a"},
            ),
            (Step(0, sql('INSERT INTO "a" ("id", "n") VALUES (DEFAULT, %s)', 5), rowcount=1), {"a"}),
            (Step(0, sql('INSERT INTO "a" ("n") VALUES (%s)', 1)), set()),  # it has not ended
            (Step(0, sql('INSERT INTO "slot" ("name") VALUES (%s)', 1), rowcount=1), set()),
            (Step(0, sql("SELECT make_rows()")), {"a", "ticket", "named"}),
            (Step(0, sql("COPY a FROM STDIN")), {"a", "ticket", "named"}),
            (Step(0, sql("SELECT pg_advisory_lock(1)")), set()),
            (Step(0, sql('INSERT INTO "a" ("n") VALUES (1)'), error="IntegrityError: no"), set()),
        ],
    )
    def test_numbers_that_are_not_told_blur_their_table(self, step: Step, tables: set[str]) -> None:
        assert blurred_by(step, CATALOGUE) == tables


@pytest.mark.parametrize(
    "text", ["1E+2", "-0.00", "2026-11-28", "2026-11-28 08:00:00.100000", "08:00:00.1+00:00", "2026-11-28T08:00"]
)
def test_a_text_that_may_be_another_kind_of_value_tells_no_rows_apart(text: str) -> None:
    insert = 'INSERT INTO "slot" ("id", "name") VALUES (%s, %s)'
    assert not apart(sql(insert, 1, text), sql(insert, 2, "b"))
    assert apart(sql(insert, 1, f"note of {text}"), sql(insert, 2, "b"))


@pytest.mark.parametrize(("column", "largest"), [("small", 127), ("wide", 2**31 - 1)])
def test_a_number_that_mariadb_may_have_no_room_for_tells_no_new_row_apart(column: str, largest: int) -> None:
    keys = keyed(kinds={"id": "integer", "small": "small integer", "wide": "integer"}, automatic="id")
    catalogue = replace(CATALOGUE, keys={**CATALOGUE.keys, "a": keys})

    def is_told(vendor: str, value: int) -> bool:
        insert = f'INSERT INTO a ("{column}") VALUES (%s) RETURNING id'.replace('"', "")
        (rows_made,) = rows(sql(insert, value, vendor=vendor), catalogue).values()
        return any((column,) in dict(row.values) for row in rows_made)

    assert [is_told("mysql", value) for value in (-1, 0, largest, largest + 1)] == [False, True, True, False]
    assert [is_told("postgresql", value) for value in (-1, 0, largest, largest + 1)] == [True] * 4


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Step(0, sql("INSERT INTO a (id, n) VALUES (%s, 5), (7, 5)", 6)), {6, 7}),
        (Step(0, replace(sql("INSERT INTO a (n, id) VALUES (%s, %s)", 1, 6, 2, 7), kind="many")), {6, 7}),
        (Step(0, sql("INSERT INTO a (id, n) VALUES (DEFAULT, %s)", 5)), set()),
        (Step(0, sql("INSERT INTO a (n) VALUES (%s) RETURNING ID", 5), columns=("ID",), rows=((8,),)), {8}),
        (Step(0, sql("INSERT INTO a (id) VALUES (%s) RETURNING n", 6), columns=("n",), rows=((8,),)), {6}),
    ],
    ids=["given", "given to many", "left to the database", "returned", "of another column"],
)
def test_the_numbers_that_an_insert_says_or_returns(step: Step, said: set[int]) -> None:
    assert said_numbers(step, "id", or_returned=True) == said
    assert said_numbers(step, "id", or_returned=False) == (
        said if not step.columns or step.columns == ("n",) else set()
    )
