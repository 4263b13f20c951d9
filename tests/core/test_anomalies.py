"""What a race is called and how it is told, from traces that are written down here."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from aioconcurrent.base.trace import Precedence, Step
from aioconcurrent.exploring.anomalies.naming import Anomaly, name_anomaly
from aioconcurrent.exploring.judging.evidence import Difference, Violation
from aioconcurrent.exploring.judging.values import ABSENT
from aioconcurrent.sql.accesses import accesses
from tests.explore.traces import READ, Tracer, cached, waited

BALANCE = Difference("row", 20, -60, "account", "id=1", name="balance", unique=True)


def named(steps: list[Step], *differences: Difference, kind: Any = "no serial order", **more: Any) -> Anomaly:
    return name_anomaly(steps, Violation(kind, more.pop("detail", "it is so"), (0, 1), differences, **more))


def row(found: object, expected: object, table: str = "slot") -> Difference:
    return Difference("row", found, expected, table, unique=True)


@pytest.mark.parametrize("atomic", [False, True])
def test_a_lost_update_is_told_with_the_values(atomic: bool) -> None:
    t = Tracer(atomic=atomic)
    held: dict[str, Any] = waited(0, until=4) if atomic else {}
    steps = [t.read(0, 100), t.read(1, 100), t.save(0, 20), t.save(1, 20, **held), t.end(0), t.end(1)]
    anomaly = named(steps, BALANCE)
    assert anomaly.name == "lost update"
    assert anomaly.explanation == (
        "B read balance=100 in account id=1 before A's update to 20 and wrote 20 over it; "
        "no serial order ends at balance=20."
    )
    assert "F('balance')" in anomaly.hint
    assert "select_for_update()" in anomaly.hint
    assert anomaly.steps == (1, 2, 3)
    assert anomaly.cycle == (Precedence(1, 2, "read"), Precedence(2, 3, "write"))


def test_a_read_of_what_is_not_committed_yet_is_stale_too() -> None:
    t = Tracer(atomic=True)
    steps = [t.read(0, 100), t.save(0, 20), t.read(1, 100), t.end(0), t.save(1, 30), t.end(1)]
    assert named(steps, BALANCE).explanation.startswith("B read balance=100 in account id=1 before A's update")


def test_what_was_rolled_back_is_no_lost_update() -> None:
    t = Tracer(atomic=True)
    steps = [t.read(0, 100), t.read(1, 100), t.save(0, 20), t.end(0, "rollback"), t.save(1, 20), t.end(1)]
    assert named(steps, BALANCE).name == "no serial order"


def test_a_row_that_was_read_again_before_it_was_written_is_not_lost() -> None:
    t = Tracer()
    steps = [t.read(1, 100), t.read(0, 100), t.save(0, 20), t.read(1, 20), t.save(1, -60)]
    assert named(steps, BALANCE).name != "lost update"


def test_a_second_read_of_an_old_snapshot_does_not_make_an_update_less_lost() -> None:
    t = Tracer("mysql", atomic=True, isolation="repeatable read")
    steps = [t.read(1, 100), t.save(0, 20), t.end(0), t.read(1, 100), t.save(1, 20), t.end(1)]
    assert named(steps, BALANCE).name == "lost update"


def test_under_snapshots_a_late_read_is_as_old_as_the_first() -> None:
    t = Tracer("postgresql", atomic=True, isolation="repeatable read")
    steps = [t.sql(1, LOOK, "x"), t.save(0, 20), t.end(0), t.read(1, 100), t.save(1, 20), t.end(1)]
    assert named(steps, BALANCE).name == "lost update"
    t.isolation = "read committed"
    steps = [t.sql(1, LOOK, "x"), t.save(0, 20), t.end(0), t.read(1, 20), t.save(1, 0), t.end(1)]
    assert named(steps, BALANCE).name != "lost update"


def test_rows_are_told_apart_by_what_was_read_of_them() -> None:
    t = Tracer()
    by_owner = 'SELECT "account"."id", "account"."balance" FROM "account" WHERE "account"."owner" = %s'
    steps = [t.sql(1, by_owner, ("bob",), rows=[{"id": 2, "balance": 5}]), t.save(0, 20, 1), t.save(1, 6, 2)]
    assert named(steps, BALANCE).name == "no serial order"


def test_different_rows_are_no_lost_update() -> None:
    t = Tracer()
    steps = [t.read(0, 100, 1), t.read(1, 100, 2), t.save(0, 20, 1), t.save(1, 20, 2)]
    assert named(steps, BALANCE).name == "no serial order"


def test_sqlite_is_not_told_to_lock_rows() -> None:
    t = Tracer("sqlite")
    looks = [t.sql(call, SOLD, (1,), rows=[{"__count": 0}]) for call in (0, 1)]
    sales = [t.sql(call, SELL, (1, "ab"[call])) for call in (0, 1)]
    assert "lock the row" not in named([*looks, *sales], row({"show_id": 1}, ABSENT, "ticket")).hint
    hint = named([t.read(0, 100), t.read(1, 100), t.save(0, 20), t.save(1, 20)], BALANCE).hint
    assert "IMMEDIATE" in hint


LOOK = 'SELECT 1 AS "a" FROM "slot" WHERE "slot"."name" = %s LIMIT 1'
ADD = 'INSERT INTO "slot" ("name") VALUES (%s) RETURNING "slot"."id"'


def test_a_double_insert_is_told_by_what_was_looked_for() -> None:
    t = Tracer()
    steps = [t.sql(0, LOOK, "x"), t.sql(1, LOOK, "x"), t.sql(0, ADD, "x"), t.sql(1, ADD, "x")]
    anomaly = named(steps, row({"name": "x"}, ABSENT))
    assert anomaly.name == "double insert"
    assert anomaly.explanation == (
        "B found no slot with name='x' before A inserted it, and inserted one as well; "
        "no serial order ends with the row slot (name='x')."
    )
    assert "UniqueConstraint on name" in anomaly.hint


def test_a_number_counted_twice_is_a_double_insert() -> None:
    t = Tracer()
    top, add = 'SELECT MAX("item"."order") AS "top" FROM "item"', 'INSERT INTO "item" ("name", "order") VALUES (%s, %s)'
    look = [t.sql(call, top, rows=[{"top": 0}]) for call in (0, 1)]
    anomaly = named([*look, t.sql(0, add, ("a", 1)), t.sql(1, add, ("b", 1))], row({"order": 1}, ABSENT, "item"))
    assert anomaly.name == "double insert"
    assert "B read top=0 from item before A inserted order=1, and inserted the same as well" in anomaly.explanation


def test_too_many_rows_for_what_was_counted_are_a_phantom() -> None:
    t = Tracer()
    count = 'SELECT COUNT(*) AS "__count" FROM "ticket" WHERE "ticket"."show_id" = %s'
    add = 'INSERT INTO "ticket" ("show_id", "buyer") VALUES (%s, %s)'
    look = [t.sql(call, count, (1,), rows=[{"__count": 0}]) for call in (0, 1)]
    steps = [*look, t.sql(0, add, (1, "a")), t.sql(1, add, (1, "b"))]
    assert named(steps, row({"show_id": 1}, ABSENT, "ticket")).name == "phantom"


ON_CALL = 'SELECT COUNT(*) AS "__count" FROM "doctor" WHERE "doctor"."on_call"'
LEAVE = 'UPDATE "doctor" SET "on_call" = %s WHERE "doctor"."name" = %s'


def test_write_skew_is_two_decisions_on_what_the_other_changes() -> None:
    t = Tracer(atomic=True)
    count = [t.sql(call, ON_CALL, rows=[{"__count": 2}]) for call in (0, 1)]
    leave = [t.sql(call, LEAVE, (False, name), rowcount=1) for call, name in enumerate("xy")]
    anomaly = named([*count, *leave, t.end(0), t.end(1)], row({"on_call": False}, ABSENT, "doctor"))
    assert anomaly.name == "write skew"
    assert "A read count=2 before B's update of doctor name='y' to on_call=False" in anomaly.explanation
    assert "SERIALIZABLE" in anomaly.hint
    assert anomaly.cycle == (Precedence(0, 3, "read"), Precedence(1, 2, "read"))


def test_rows_that_appear_after_a_count_are_a_phantom() -> None:
    t = Tracer()
    count, add = 'SELECT COUNT(*) AS "__count" FROM "slot"', 'INSERT INTO "slot" ("name") VALUES (%s)'
    steps = [t.sql(call, count, rows=[{"__count": 1}]) for call in (0, 1)]
    anomaly = named([*steps, t.sql(0, add, "x"), t.sql(1, add, "y")], row({"name": "y"}, ABSENT))
    assert anomaly.name == "phantom"
    assert "A read count=1 before B inserted a row of slot (name='y')" in anomaly.explanation


def test_one_row_with_two_values_is_a_non_repeatable_read() -> None:
    t = Tracer()
    returned = Difference("outcome", (100, 20), (100, 100), call=1)
    anomaly = named([t.read(1, 100), t.save(0, 20), t.read(1, 20)], returned)
    assert anomaly.name == "non-repeatable read"
    assert "B read balance=100 in account id=1 before A's update to 20 and balance=20 after it" in anomaly.explanation


def test_one_range_with_two_sizes_is_a_phantom() -> None:
    t = Tracer()
    every = 'SELECT "slot"."id", "slot"."name" FROM "slot"'
    steps = [t.sql(1, every), t.sql(0, ADD, "x"), t.sql(1, every, rows=[{"id": 1, "name": "x"}])]
    assert named(steps, Difference("outcome", (0, 1), (0, 0), call=1)).name == "phantom"


def test_two_rows_read_on_both_sides_of_a_change_are_read_skew() -> None:
    t = Tracer()
    steps = [t.read(1, 100, 1), t.save(0, 20, 1), t.save(0, 180, 2), t.read(1, 180, 2)]
    anomaly = named(steps, Difference("outcome", 280, 200, call=1))
    assert anomaly.name == "read skew"
    assert "but balance=180 after A's update of account" in anomaly.explanation
    assert anomaly.cycle == (Precedence(0, 1, "read"), Precedence(2, 3, "seen"))


def test_a_check_that_no_longer_holds_when_it_is_acted_on_is_a_stale_read() -> None:
    t = Tracer()
    take = 'UPDATE "show" SET "left" = ("show"."left" - %s) WHERE "show"."id" = %s'
    look = 'SELECT "show"."id", "show"."left" FROM "show" WHERE "show"."id" = %s'
    sell = 'INSERT INTO "ticket" ("buyer") VALUES (%s)'
    seen = {"rows": [{"id": 7, "left": 1}]}
    steps = [t.sql(0, look, (7,), **seen), t.sql(1, look, (7,), **seen), t.sql(0, take, (1, 7)), t.sql(1, sell, ("b",))]
    anomaly = named(steps, row({"buyer": "b"}, ABSENT, "ticket"))
    assert anomaly.name == "stale read"
    assert (
        "B read left=1 in show id=7 before A's update to left - 1, and went on to insert ticket" in anomaly.explanation
    )


def test_a_check_on_a_value_that_is_then_written_over_is_a_lost_update() -> None:
    t = Tracer()
    log = 'INSERT INTO "transfer" ("amount") VALUES (%s)'
    steps = [t.read(0, 100), t.read(1, 100), t.save(0, 20), t.sql(0, log, (-80,)), t.save(1, 20), t.sql(1, log, (-80,))]
    assert named(steps, row({"amount": -80}, ABSENT, "transfer")).name == "lost update"


def test_a_statement_that_read_before_it_waited_has_a_stale_snapshot() -> None:
    t = Tracer(atomic=True)
    count = 'UPDATE "counter" SET "n" = (SELECT COUNT(*) FROM "slot") WHERE "counter"."name" = %s'
    bump = 'UPDATE "counter" SET "n" = ("counter"."n" + 1) WHERE "counter"."name" = %s'
    steps = [t.sql(0, bump, "a"), t.sql(0, ADD, "x"), t.sql(1, count, "a", **waited(0, until=3)), t.end(0), t.end(1)]
    anomaly = named(steps, Difference("row", 0, 1, "counter", "id=1", name="n", unique=True))
    assert anomaly.name == "stale snapshot"


def test_a_value_taken_through_the_cache_is_a_lost_update() -> None:
    steps = [cached(0, "get", "hits", 7), cached(1, "get", "hits", 7), cached(0, "set", "hits", 8)]
    anomaly = named([*steps, cached(1, "set", "hits", 8)], Difference("outcome", 8, 9, call=1))
    assert anomaly.name == "lost update"
    assert "B read hits=7 from the cache before A set it to 8, and then put hits=8" in anomaly.explanation
    assert "cache.incr()" in anomaly.hint


def test_a_value_that_add_did_not_put_into_the_cache_is_no_write() -> None:
    steps = [cached(0, "get", "hits", 7), cached(1, "add", "hits", 8, count=0), cached(0, "set", "hits", 9)]
    assert [access.verb for access in accesses(steps)] == ["get", "get", "set"]
    assert accesses(steps)[1].rows == ()


def test_a_row_put_into_the_cache_after_it_changed_is_a_stale_cache() -> None:
    t = Tracer()
    steps = [cached(1, "get", "account-1", None), t.read(1, 100), t.save(0, 20), cached(0, "delete", "account-1")]
    assert named([*steps, cached(1, "set", "account-1", 100)]).name == "stale cache"


def deadlocked() -> list[Step]:
    t = Tracer(atomic=True)
    return [
        t.save(0, 1, 1),
        t.save(1, 1, 2),
        t.save(0, 1, 2, **waited(1, until=4)),
        t.sql(1, LEAVE, (True, "x"), waited_for=frozenset({0}), error="OperationalError: deadlock detected"),
        t.end(1, "rollback"),
        t.end(0),
    ]


def test_a_deadlock_is_told_by_who_waited_for_whom() -> None:
    anomaly = named(deadlocked(), kind="unhandled conflict", calls=(1,))
    assert anomaly.name == "deadlock"
    assert anomaly.explanation == (
        "A waited for B in step 3 while B waited for A in step 4; "
        "the database ended the circle with an error in B."
    )  # fmt: skip
    assert "same order" in anomaly.hint


def test_a_deadlock_that_the_program_survived_does_not_hide_another_race() -> None:
    assert named(deadlocked(), BALANCE).name != "deadlock"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("IntegrityError: UNIQUE constraint failed: slot.name", "get_or_create()"),
        ("OperationalError: database is locked", "IMMEDIATE"),
        ("OperationalError: could not serialize access due to concurrent update", "repeat the whole transaction"),
        ("OperationalError: (1205, 'Lock wait timeout exceeded; try restarting transaction')", "nowait=True"),
        ("OperationalError: could not obtain lock on row in relation", "nowait=True"),
        ("IntegrityError: conflicting key value violates exclusion constraint", "say that it is taken"),
        ('IntegrityError: new row for relation "slot" violates check constraint "few"', "in the write itself"),
        ("OperationalError: (4025, 'CONSTRAINT `few` failed for `test`.`slot`')", "in the write itself"),
        ("IntegrityError: insert or update violates foreign key constraint", "went meanwhile"),
        ("ValueError: 7", "refusals"),
    ],
)
def test_an_unhandled_conflict_has_the_hint_for_its_error(error: str, hint: str) -> None:
    t = Tracer()
    steps = [t.sql(0, LOOK, "x"), t.sql(1, LOOK, "x"), t.sql(0, ADD, "x"), t.sql(1, ADD, "x", error=error)]
    anomaly = named(steps, kind="unhandled conflict", detail=f"B raised {error}", calls=(1,))
    assert anomaly.name == "unhandled conflict"
    assert "B found no slot with name='x' before A inserted it, and tried to insert one" in anomaly.explanation
    assert error in anomaly.explanation
    assert hint in anomaly.hint
    assert 3 in anomaly.steps


def test_an_insert_that_was_refused_is_not_told_as_a_second_read() -> None:
    t = Tracer()
    error = "IntegrityError: UNIQUE constraint failed: slot.name"
    look = 'SELECT "slot"."id", "slot"."name", "slot"."uses" FROM "slot" WHERE "slot"."name" = %s LIMIT 21'
    add = 'INSERT INTO "slot" ("name", "uses") VALUES (%s, %s) RETURNING "slot"."id"'
    use = 'UPDATE "slot" SET "uses" = ("slot"."uses" + %s) WHERE "slot"."id" = %s'
    added = t.sql(0, add, ("x", 0), rows=[{"id": 7}], rowcount=1)
    used = t.sql(0, use, (1, 7), rowcount=1)
    steps = [t.sql(1, look, "x"), t.sql(0, look, "x"), added, used, t.sql(1, add, ("x", 0), error=error)]
    uses = Difference("row", 1, 2, "slot", "id=7", name="uses", unique=True)
    anomaly = named(steps, uses, kind="unhandled conflict", detail=f"B raised {error}", calls=(1,))
    assert anomaly.explanation.startswith("B found no slot with name='x' before A inserted it, and tried to insert one")


def test_what_was_handed_on_before_it_was_committed_is_said_to_be_so() -> None:
    t = Tracer(atomic=True)
    look = 'SELECT "slot"."id", "slot"."name" FROM "slot" WHERE "slot"."id" = %s LIMIT 21'
    steps = [t.sql(0, ADD, "x", rows=[{"id": 7}]), t.sql(1, look, (7,)), t.end(0)]
    anomaly = named(steps, kind="unhandled conflict", detail="B raised DoesNotExist", calls=(1,))
    assert anomaly.explanation == (
        "B looked for slot with id=7, which A had inserted and not committed yet; B raised DoesNotExist."
    )
    assert "transaction.on_commit" in anomaly.hint


def test_a_broken_rule_has_the_name_of_its_pattern_or_its_own() -> None:
    t = Tracer()
    steps = [t.read(0, 100), t.read(1, 100), t.save(0, 20), t.save(1, 20)]
    anomaly = named(steps, kind="broken rule", detail="solvent returned False")
    assert anomaly.name == "lost update"
    assert anomaly.explanation.endswith("; solvent returned False.")
    assert named(steps[:1], kind="broken rule").name == "broken rule"


def test_a_trace_that_tells_nothing_is_not_given_a_name_by_guess() -> None:
    anomaly = named([Tracer().sql(0, "SELECT weird(", ()), Tracer().read(1, 100)], BALANCE)
    assert anomaly.name == "no serial order"
    assert "none of the usual patterns; no serial order ends at balance=20" in anomaly.explanation


def test_of_two_patterns_the_one_that_explains_the_difference_is_named() -> None:
    t = Tracer()
    noise = [t.sql(0, LOOK, "x"), t.sql(1, LOOK, "x"), t.sql(0, ADD, "x"), t.sql(1, ADD, "x")]
    steps = [t.read(0, 100), t.read(1, 100), *noise, t.save(0, 20), t.save(1, 20)]
    assert named(steps, BALANCE).name == "lost update"
    assert named(steps, row({"name": "x"}, ABSENT)).name == "double insert"


def test_a_name_that_an_update_takes_is_not_to_be_got_or_created() -> None:
    t = Tracer()
    steps = [t.sql(0, ADD, "x"), t.sql(1, RENAME, ("x", 7), error="IntegrityError: UNIQUE constraint failed")]
    anomaly = named(steps, kind="unhandled conflict", detail="B raised IntegrityError", calls=(1,))
    assert "get_or_create" not in anomaly.hint
    assert "say that the value is taken" in anomaly.hint


def test_a_write_that_has_looked_again_is_not_told_to() -> None:
    t = Tracer()
    steps = [t.read(0, 100), t.read(1, 100), t.save(0, 20), t.sql(1, GUARDED, (20, 1, 100), rowcount=0)]
    anomaly = named(steps, kind="unhandled conflict", detail="B raised ValueError: taken", calls=(1,))
    assert "updating it afterwards found no row" in anomaly.explanation
    assert anomaly.hint.startswith("Handle the error")


RENAME = 'UPDATE "slot" SET "name" = %s WHERE "slot"."id" = %s'
GUARDED = 'UPDATE "account" SET "balance" = %s WHERE ("account"."id" = %s AND "account"."balance" = %s)'
FLAG = 'SELECT "slot"."id", "slot"."name", "slot"."free" FROM "slot" WHERE "slot"."id" = %s'
TAKE = 'UPDATE "slot" SET "name" = %s, "free" = %s WHERE "slot"."id" = %s'
COPY = 'INSERT INTO "slot" ("name", "free") VALUES (%s, %s) RETURNING "slot"."id"'


@pytest.mark.parametrize("made", [{"id": 8}, None])
def test_a_row_with_another_key_is_not_one_that_was_looked_for(made: dict[str, int] | None) -> None:
    """Without what the database has made of it, it may be."""
    t = Tracer()
    free, taken = {"rows": [{"id": 7, "name": "x", "free": True}]}, {"rows": [{"id": 7, "name": "x", "free": False}]}
    copied = [t.sql(call, COPY, ("y", True), rows=[made] if made else ()) for call in (0, 1)]
    steps = [t.sql(0, FLAG, (7,), **free), t.sql(1, FLAG, (7,), **free), t.sql(0, TAKE, ("x", False, 7), rowcount=1)]
    steps += [copied[0], t.sql(1, f"{FLAG} FOR UPDATE", (7,), **taken), t.sql(1, TAKE, ("x", False, 7), rowcount=1)]
    anomaly = named([*steps, copied[1]], row({"name": "y"}, ABSENT))
    assert anomaly.name == ("lost update" if made else "write skew")
    if made:
        assert "B read free=True in slot id=7 before A's update to False, locked the row only" in anomaly.explanation


def test_an_update_to_what_was_read_changes_nothing() -> None:
    t = Tracer()
    every = 'UPDATE "slot" SET "free" = %s'
    one = 'UPDATE "slot" SET "free" = %s WHERE "slot"."id" = %s'
    seen = [t.sql(1, FLAG, (7,), rows=[{"id": 7, "name": "x", "free": False}])]
    cleared = [t.sql(call, every, (False,), rowcount=2) for call in (0, 1)]
    chosen = [t.sql(call, one, (True, pk), rowcount=1) for call, pk in ((0, 6), (1, 7))]
    both = Difference("row", True, False, "slot", "id=6", name="free", unique=True)
    assert named([*seen, *cleared, *chosen], both).name == "write cycle"
    assert named([*cleared[:1], *seen, *chosen], both).name == "no serial order"


def test_the_row_is_told_by_its_key_whatever_the_conditions() -> None:
    t = Tracer()
    look = 'SELECT "item"."id", "item"."list", "item"."place" FROM "item" WHERE "item"."id" = %s'
    close = 'UPDATE "item" SET "place" = ("item"."place" - %s) WHERE ("item"."list" = %s AND "item"."place" > %s)'
    steps = [t.sql(1, look, (2,), rows=[{"id": 2, "list": 1, "place": 2}]), t.sql(0, close, (1, 1, 1), rowcount=1)]
    anomaly = named([*steps, t.sql(1, close, (1, 1, 2), rowcount=1)], row({"place": 2}, ABSENT, "item"))
    assert "B read place=2 in item id=2 before A's update to place - 1" in anomaly.explanation
    assert "place__gte" not in anomaly.hint


def test_a_row_that_its_maker_reads_no_more_is_known_to_it_as_it_was_made() -> None:
    t = Tracer()
    steps = [t.sql(0, COPY, ("x", True), rows=[{"id": 7}]), t.sql(1, TAKE, ("y", False, 7), rowcount=1)]
    anomaly = named([*steps, t.sql(0, TAKE, ("z", True, 7), rowcount=1)], row("z", "y"))
    assert anomaly.name == "lost update"
    assert "A inserted name='x', free=True in slot id=7 before B's update to name='y'" in anomaly.explanation
    assert anomaly.cycle == (Precedence(0, 1, "write"), Precedence(1, 2, "write"))
    other = [steps[0], t.sql(1, TAKE, ("y", False, 8), rowcount=1), t.sql(0, TAKE, ("z", True, 7), rowcount=1)]
    assert named(other, row("z", "y")).name == "no serial order"


@pytest.mark.parametrize(("vendor", "name"), [("postgresql", "stale snapshot"), ("mysql", "no serial order")])
def test_a_lock_that_was_waited_for_is_of_the_rows_that_were_chosen_before(vendor: str, name: str) -> None:
    """InnoDB goes on to the rows that were added meanwhile."""
    t = Tracer(vendor, atomic=True)
    lock = 'SELECT "slot"."id", "slot"."name" FROM "slot" FOR UPDATE'
    seen = {"rows": [{"id": 7, "name": "x"}]}
    steps = [t.sql(0, lock, **seen), t.sql(0, ADD, "y", rows=[{"id": 8}]), t.sql(1, lock, **seen, **waited(0, until=3))]
    steps += [t.end(0), t.sql(1, ADD, "z"), t.end(1)]
    assert named(steps, row({"name": "z"}, ABSENT)).name == name
    both = t.sql(1, lock, rows=[*seen["rows"], {"id": 8, "name": "y"}], **waited(0, until=3))
    assert named([*steps[:2], both, *steps[3:]], row({"name": "z"}, ABSENT)).name == "no serial order"


def test_an_insert_that_was_refused_and_caught_is_no_double_insert() -> None:
    """What was read instead of it is what tells the race: get_or_create() met a row of which one half was written."""
    t = Tracer()
    look = 'SELECT "slot"."id", "slot"."name", "slot"."free" FROM "slot" WHERE "slot"."name" = %s LIMIT 21'
    refused = t.sql(1, COPY, ("x", True), error="IntegrityError: UNIQUE constraint failed: slot.name")
    steps = [t.sql(0, look, "x"), t.sql(1, look, "x"), t.sql(0, COPY, ("x", True), rows=[{"id": 7}]), refused]
    steps += [t.sql(1, look, "x", rows=[{"id": 7, "name": "x", "free": True}])]
    steps += [t.sql(0, TAKE, ("x", False, 7), rowcount=1)]
    returned = Difference("outcome", True, False, call=1)
    anomaly = named(steps, returned)
    assert anomaly.name == "intermediate read"
    assert "B read free=True in slot id=7, as A had written it first, before A's update to False" in anomaly.explanation
    assert "get_or_create" not in anomaly.hint
    assert anomaly.cycle == (Precedence(2, 4, "seen"), Precedence(4, 5, "read"))
    waiting = Tracer(atomic=True)
    held = [waiting.sql(0, COPY, ("x", True), rows=[{"id": 7}]), steps[1], waiting.end(0), *steps[3:]]
    assert named([steps[0], *held], returned).name == "intermediate read"
    assert named(steps[:4], row({"name": "x"}, ABSENT), kind="unhandled conflict", calls=(1,)).explanation.startswith(
        "B found no slot with name='x' before A inserted it, and tried to insert one as well"
    )


PARENT = 'SELECT "show"."id" FROM "show" WHERE "show"."id" = %s FOR UPDATE'
SOLD = 'SELECT COUNT(*) AS "__count" FROM "ticket" WHERE "ticket"."show_id" = %s'
SELL = 'INSERT INTO "ticket" ("show_id", "buyer") VALUES (%s, %s)'


def selling_behind_a_lock(t: Tracer, found: int) -> list[Step]:
    """Each locks the row that the tickets belong to, and then counts them."""
    lock = {"rows": [{"id": 1}]}
    steps = [t.sql(0, PARENT, (1,), **lock), t.sql(0, SOLD, (1,), rows=[{"__count": 0}]), t.sql(0, SELL, (1, "a"))]
    steps += [t.sql(1, PARENT, (1,), **lock, **waited(0, until=4)), t.end(0)]
    return [*steps, t.sql(1, SOLD, (1,), rows=[{"__count": found}]), t.sql(1, SELL, (1, "b")), t.end(1)]


def test_a_snapshot_that_is_older_than_the_lock_is_told_by_the_step_that_chose_it() -> None:
    t = Tracer(atomic=True, isolation="repeatable read")
    anomaly = named(selling_behind_a_lock(t, 0), row({"show_id": 1}, ABSENT, "ticket"))
    assert anomaly.name == "phantom"
    assert "B read count=0 (as of step 4) before A's insert of a row of ticket" in anomaly.explanation
    assert "before B inserted" in anomaly.explanation
    assert "A read count=0 before" in anomaly.explanation
    assert "at isolation level READ COMMITTED (at REPEATABLE READ whoever" in anomaly.hint


@pytest.mark.parametrize(("vendor", "isolation"), [("postgresql", "read committed"), ("mysql", "repeatable read")])
def test_a_lock_is_enough_where_it_comes_before_the_snapshot(vendor: str, isolation: str) -> None:
    t = Tracer(vendor, atomic=True, isolation=isolation)
    assert named(selling_behind_a_lock(t, 1), row({"show_id": 1}, ABSENT, "ticket")).name == "no serial order"
    look = [t.sql(call, SOLD, (1,), rows=[{"__count": 0}]) for call in (0, 1)]
    steps = [*look, t.sql(0, SELL, (1, "a")), t.sql(1, SELL, (1, "b")), t.end(0), t.end(1)]
    hint = named(steps, row({"show_id": 1}, ABSENT, "ticket")).hint
    assert "lock the row that they belong to (show_id=1) with select_for_update() inside atomic(), before" in hint


@pytest.mark.parametrize("lock", ["FOR UPDATE", "LOCK IN SHARE MODE", "FOR SHARE"])
def test_a_locking_read_of_innodb_sees_what_is_committed(lock: str) -> None:
    t = Tracer("mysql", atomic=True, isolation="repeatable read")
    plain = t.sql(1, 'SELECT "show"."id" FROM "show"', rows=[{"id": 1}])
    steps = [plain, t.save(0, 20), t.end(0), t.sql(1, f"SELECT balance FROM account {lock}", rows=[{"balance": 20}])]
    seen = [each.seen for each in accesses(steps) if each.call == 1]
    assert seen == [0, 3]
    assert [each.seen for each in accesses([*steps[:3], t.read(1, 100)]) if each.call == 1] == [0, 0]


@pytest.mark.parametrize("look", [LOOK, 'SELECT MAX("slot"."name") AS "top" FROM "slot"'])
def test_what_was_inserted_and_not_committed_is_told_as_such(look: str) -> None:
    t = Tracer(atomic=True)
    add = 'INSERT INTO "slot" ("name") VALUES (%s)'
    given, made = (("x",), ("x",)) if look == LOOK else ((), ("x1",))
    steps = [t.sql(0, look, given), t.sql(0, add, made), t.sql(1, look, given), t.end(0), t.sql(1, add, made), t.end(1)]
    anomaly = named(steps, row({"name": "x"}, ABSENT))
    assert anomaly.name == "double insert"
    assert re.search(r"before A's insert of (it|name='x1') was committed, and inserted", anomaly.explanation)


def test_what_was_deleted_and_not_committed_is_told_as_such() -> None:
    t = Tracer(atomic=True)
    gone = t.sql(0, 'DELETE FROM "account" WHERE "account"."id" = %s', (1,), rowcount=1)
    steps = [t.read(0, 100), gone, t.read(1, 100), t.end(0), t.sql(1, ADD, ("x",)), t.end(1)]
    anomaly = named(steps, row({"name": "x"}, ABSENT))
    assert "B read account id=1 before A's deletion of it was committed, and went on" in anomaly.explanation


def test_an_insert_that_was_refused_has_read_nothing() -> None:
    """get_or_create() inside a transaction at REPEATABLE READ never sees the row that has refused its own."""
    t = Tracer(atomic=True, isolation="repeatable read")
    look = 'SELECT "slot"."id", "slot"."name" FROM "slot" WHERE "slot"."name" = %s LIMIT 21 FOR UPDATE'
    refused = t.sql(1, ADD, "x", error="IntegrityError: duplicate key", **waited(0, until=4))
    steps = [t.sql(0, look, "x"), t.sql(0, ADD, "x", rows=[{"id": 7}]), t.sql(1, look, "x"), refused, t.end(0)]
    anomaly = named([*steps, t.sql(1, look, "x"), t.end(1, "rollback")], kind="unhandled conflict")
    assert anomaly.explanation.startswith(
        "B found no slot with name='x' before A's insert of it was committed, and tried to insert one as well; "
    )


@pytest.mark.parametrize(
    ("isolation", "hint"), [("repeatable read", "Call get_or_c"), ("read committed", "Use get_or_c")]
)
def test_what_a_snapshot_never_shows_is_not_to_be_read_in_it(isolation: str, hint: str) -> None:
    t = Tracer(atomic=True, isolation=isolation)
    said = "IntegrityError: duplicate key value violates unique constraint"
    steps = [t.sql(0, LOOK, "x"), t.sql(1, LOOK, "x"), t.sql(0, ADD, "x", rows=[{"id": 7}])]
    steps += [t.sql(1, ADD, "x", error=said, **waited(0, until=4)), t.end(0), t.end(1, "rollback")]
    anomaly = named(steps, kind="unhandled conflict", detail=f"B raised {said}", calls=(1,))
    assert anomaly.hint.startswith(hint)


def test_locking_a_table_takes_no_snapshot() -> None:
    t = Tracer(atomic=True, isolation="repeatable read")
    lock = t.sql(1, 'LOCK TABLE "account" IN SHARE ROW EXCLUSIVE MODE')
    steps = [lock, t.save(0, 20), t.end(0), t.read(1, 20), t.read(1, 20)]
    assert [each.seen for each in accesses(steps) if each.call == 1] == [3, 3]


@pytest.mark.parametrize(("vendor", "is_of_gap"), [("mysql", True), ("postgresql", False)])
@pytest.mark.parametrize("found", [(), ({"id": 7, "name": "x"},)])
def test_a_deadlock_of_inserts_where_nothing_was_to_lock_is_not_one_of_order(
    vendor: str, is_of_gap: bool, found: tuple[Any, ...]
) -> None:
    t = Tracer(vendor, atomic=True, isolation="repeatable read")
    look = 'SELECT "slot"."id", "slot"."name" FROM "slot" WHERE "slot"."name" = %s LIMIT 21 FOR UPDATE'
    steps = [t.sql(call, look, "x", rows=found) for call in (0, 1)]
    steps += [t.sql(1, ADD, "x", **waited(0, until=3)), t.sql(0, ADD, "x", error="OperationalError: Deadlock found")]
    hint = named([*steps, t.end(0, "rollback"), t.end(1)], kind="unhandled conflict").hint
    assert ("lock a row first that is there" in hint) == (is_of_gap and not found)
    assert ("in the same order" in hint) != (is_of_gap and not found)


def test_a_deadlock_after_an_update_of_nothing_is_of_the_gap() -> None:
    t = Tracer("mysql", atomic=True, isolation="repeatable read")
    steps = [t.sql(call, 'UPDATE "slot" SET "free" = 1 WHERE "name" = %s', "x", rowcount=0) for call in (0, 1)]
    steps += [t.sql(1, ADD, "x", **waited(0, until=3)), t.sql(0, ADD, "x", error="OperationalError: Deadlock found")]
    hint = named([*steps, t.end(0, "rollback"), t.end(1)], kind="unhandled conflict").hint
    assert "lock a row first that is there" in hint


def balances(found: int, expected: int) -> Difference:
    return Difference("row", found, expected, "account", "id=1", name="balance", unique=True)


@pytest.mark.parametrize(
    ("before", "theirs", "ours", "expected", "hint"),
    [
        (10, 15, 20, 25, "update(balance=F('balance') + 10)"),  # one adds 5, the other 10
        (None, 15, 20, 35, "update(balance=Coalesce(F('balance'), 0) + 20)"),
        (10, 20, 15, 20, "filter(pk=..., balance=10).update(balance=15)"),  # whoever bids more
        (10, 20, 9, 18, "filter(pk=..., balance=10).update(balance=9)"),  # a price is changed, the other is a discount
        (None, 20, 15, 20, "filter(pk=..., balance__isnull=True).update(balance=15)"),
    ],
)
def test_only_what_adds_up_is_to_be_added_by_the_database(
    before: Any, theirs: int, ours: int, expected: int, hint: str
) -> None:
    t = Tracer()
    steps = [t.read(0, before), t.read(1, before), t.save(0, theirs), t.save(1, ours)]
    told = named(steps, balances(ours, expected)).hint
    assert hint in told
    assert ("F(" in hint) != ("is 1 (else look again)" in told)


def test_a_total_of_other_rows_is_added_to_whatever_it_has_counted() -> None:
    t = Tracer()
    total = t.sql(1, 'SELECT SUM("piece"."price") AS "s" FROM "piece"', rows=[{"s": 10}])
    steps = [t.read(0, 0), t.read(1, 0), total, t.save(0, 15), t.save(1, 10)]
    assert "update(balance=F('balance') + 10)" in named(steps, balances(10, 15)).hint


def test_a_lock_that_was_let_go_is_to_be_kept() -> None:
    t = Tracer(atomic=True)
    lock = f"{READ} FOR UPDATE"
    steps = [t.sql(call, lock, (1,), rows=[{"id": 1, "owner": "ann", "balance": 100}]) for call in (0, 1)]
    steps = [steps[0], t.end(0), steps[1], t.end(1)]
    t = Tracer()
    anomaly = named([*steps, t.save(0, 20), t.save(1, 30)], balances(30, -50))
    assert "select_for_update() inside an atomic() that ends only after the write" in anomaly.hint


def test_rows_that_were_counted_are_to_be_locked_themselves() -> None:
    """Django leaves FOR UPDATE out of a count()."""
    t = Tracer(atomic=True)
    count, take = 'SELECT COUNT(*) AS "__count" FROM "slot" WHERE "slot"."free"', 'UPDATE "slot" SET "free" = %s'
    steps = [t.sql(call, count, rows=[{"__count": 1}]) for call in (0, 1)]
    steps += [t.sql(0, take, (False,), rowcount=1), t.end(0), t.sql(1, take, (False,), rowcount=1), t.end(1)]
    anomaly = named(steps, Difference("outcome", True, False, call=1))
    assert anomaly.name == "stale read"
    assert "list(queryset.select_for_update()) inside atomic(), in place of count() or exists()" in anomaly.hint


def test_a_row_that_is_not_there_yet_is_locked_by_the_one_that_both_calls_look_at() -> None:
    t = Tracer()
    poll = t.sql(
        0,
        'SELECT "poll"."id", "poll"."closed" FROM "poll" WHERE "poll"."id" = %s',
        (1,),
        rows=[{"id": 1, "closed": False}],
    )
    count = t.sql(
        1, 'SELECT COUNT(*) AS "__count" FROM "ballot" WHERE "ballot"."poll_id" = %s', (1,), rows=[{"__count": 0}]
    )
    vote = t.sql(0, 'INSERT INTO "ballot" ("poll_id") VALUES (%s)', (1,))
    close = t.sql(1, 'UPDATE "poll" SET "closed" = %s WHERE "poll"."id" = %s', (True, 1), rowcount=1)
    anomaly = named([poll, count, vote, close], row({"poll_id": 1}, ABSENT, "ballot"))
    assert anomaly.name == "write skew"
    assert "lock the row that they belong to (poll id=1) with select_for_update()" in anomaly.hint


def test_a_row_that_an_update_did_not_find_is_inserted_twice() -> None:
    t = Tracer()
    count = 'UPDATE "page" SET "views" = ("page"."views" + %s) WHERE "page"."path" = %s'
    add = 'INSERT INTO "page" ("path", "views") VALUES (%s, %s)'
    steps = [t.sql(call, count, (1, "/"), rowcount=0) for call in (0, 1)]
    anomaly = named([*steps, t.sql(0, add, ("/", 1)), t.sql(1, add, ("/", 1))], row({"path": "/"}, ABSENT, "page"))
    assert anomaly.name == "double insert"
    assert anomaly.explanation.startswith("B found no page with path='/' before A inserted it, and inserted one as")


def test_secrets_are_no_condition() -> None:
    t = Tracer()
    look = 'SELECT "link"."id", "link"."token" FROM "link" WHERE "link"."id" = %s'
    steps = [t.sql(call, look, (1,), rows=[{"id": 1, "token": "****1"}]) for call in (0, 1)]
    save = 'UPDATE "link" SET "token" = %s WHERE "link"."id" = %s'
    steps += [t.sql(call, save, (f"****{call + 2}", 1), rowcount=1) for call in (0, 1)]
    assert "****" not in named(steps, row("****3", "****2", "link")).hint
    sessions = [
        replace(each, operation=replace(each.operation, text=each.operation.text.replace("token", "session_data")))
        for each in steps
    ]
    sessions = [replace(each, columns=("id", "session_data")) if each.columns else each for each in sessions]
    assert "a model of its own" in named(sessions, row("****3", "****2", "link")).hint


@pytest.mark.parametrize("handled", [False, True])
def test_an_error_that_the_last_statement_of_a_call_ran_into_is_told(handled: bool) -> None:
    t = Tracer()
    error = "IntegrityError: UNIQUE constraint failed: slot.name"
    steps = [t.sql(0, LOOK, "x"), t.sql(1, LOOK, "x"), t.sql(0, ADD, "x"), t.sql(1, ADD, "x", error=error)]
    steps += [t.sql(1, LOOK, "x", rows=[{"a": 1}])] if handled else []
    anomaly = named(steps, Difference("outcome", 500, 400, call=1))
    assert (anomaly.name == "unhandled conflict") is not handled
    if not handled:
        assert "and tried to insert one as well: IntegrityError: UNIQUE constraint failed" in anomaly.explanation
        assert "get_or_create()" in anomaly.hint


def test_a_row_and_its_copy_in_the_cache_written_in_two_orders_make_a_stale_cache() -> None:
    t = Tracer()
    steps = [t.save(0, 1), t.save(1, 2), cached(1, "set", "account", 2), cached(0, "set", "account", 1)]
    anomaly = named(steps, Difference("row", 1, 2, "cache redis", "key='account'", name="value", unique=True))
    assert anomaly.name == "stale cache"
    assert anomaly.explanation == (
        "A's update of account id=1 to 1 came before B's of account id=1 to 2, but A put account=1 into the cache "
        "after B had put there 2; no serial order leaves 1 under 'account' in the cache."
    )
    assert anomaly.cycle == (Precedence(0, 1, "write"), Precedence(2, 3, "write"))
    assert "inside the atomic() that writes the row" in anomaly.hint


@pytest.mark.parametrize("look", [cached(1, "get", "lock", "a"), cached(1, "add", "lock", "b", count=0)])
def test_what_stood_in_the_cache_for_a_while_is_told(look: Step) -> None:
    steps = [cached(0, "set", "lock", "a"), look, cached(0, "delete", "lock")]
    anomaly = named(steps, Difference("outcome", "busy", None, call=1))
    assert anomaly.name == "intermediate read"
    assert "B found lock='a' in the cache, as A had put it there, before A dropped it" in anomaly.explanation
    assert "refusals" in anomaly.hint


def test_rows_that_were_looked_for_while_they_moved_are_an_intermediate_read() -> None:
    t = Tracer()
    move = 'UPDATE "item" SET "place" = %s WHERE "item"."id" = %s'
    look = 'SELECT "item"."id", "item"."place" FROM "item" WHERE ("item"."list" = %s AND "item"."place" = %s)'
    save = 'UPDATE "item" SET "list" = %s, "place" = %s WHERE "item"."id" = %s'
    steps = [t.sql(0, move, (1, 2), rowcount=1), t.sql(1, look, (1, 2)), t.sql(0, save, (1, 2, 1), rowcount=1)]
    anomaly = named(steps, Difference("row", 2, 3, "item", "id=1", name="place", unique=True))
    assert anomaly.name == "intermediate read"
    assert anomaly.explanation.startswith(
        "B read no row of item with place=2, list=1 after A's update of item id=2 to place=1, and before A's update"
    )
    assert "Make both writes in one atomic()" in anomaly.hint


def test_a_row_that_a_condition_did_not_meet_yet_is_a_phantom() -> None:
    t = Tracer()
    clear = 'UPDATE "mail" SET "main" = %s WHERE ("mail"."owner_id" = %s AND "mail"."main")'
    choose = 'UPDATE "mail" SET "main" = %s WHERE "mail"."id" = %s'
    steps = [t.sql(call, clear, (False, 1), rowcount=1 - call) for call in (0, 1)]
    steps += [t.sql(call, choose, (True, call + 2), rowcount=1) for call in (1, 0)]
    anomaly = named(steps, Difference("row", True, False, "mail", "id=2", name="main"))
    assert anomaly.name == "phantom"
    assert "B updated the rows of mail with main=True, owner_id=1 before A's update" in anomaly.explanation
    assert "lock the row that they belong to (owner_id=1)" in anomaly.hint
