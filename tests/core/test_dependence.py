"""When the order of two steps matters: each rule with its engine and isolation level."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aioconcurrent.base.trace import Operation
from aioconcurrent.databases.schema import Catalogue
from aioconcurrent.exploring.orders.dependence import LOCAL, Act, Effect, Ledger, Status, contend, dependent
from aioconcurrent.exploring.orders.footprint import footprint
from aioconcurrent.exploring.orders.standings import Decision, Standing, observe

CATALOGUE = Catalogue(tables=frozenset({"a", "b", "parent", "child"}), parents={"child": frozenset({"parent"})})
PG = Operation("sql", vendor="postgresql", database="db", isolation="read committed")
MY = replace(PG, vendor="mysql")
LITE = replace(PG, vendor="sqlite", isolation=None)


def at(kind: Operation, isolation: str) -> Operation:
    return replace(kind, isolation=isolation)


def steps(kind: Operation, *texts: str, last: Status = Status.DONE, waited: bool = False, raw: bool = False) -> Effect:
    """The effect of the last of these statements; from BEGIN on in a transaction, and Django knows unless raw."""
    ledger, inside, effect = Ledger(), False, LOCAL
    for number, text in enumerate(texts):
        inside = inside or text.startswith("BEGIN")
        operation = replace(kind, text=text, in_transaction=inside and not raw)
        if text in ("commit", "rollback", "close"):
            operation = replace(operation, kind=text, text="")  # type: ignore[arg-type]
            inside = False
        status = last if number == len(texts) - 1 else Status.DONE
        act = Act(operation, footprint(operation, CATALOGUE), ledger, waited)
        effect, ledger = act.effect(status), act.after(status)
    return effect


READ, READ_B, ADD, ADD_B, LOCK = (
    "SELECT * FROM a",
    "SELECT * FROM b",
    "UPDATE a SET n = n + 1",
    "UPDATE b SET n = n + 1",
    "SELECT * FROM a FOR UPDATE",
)


@pytest.mark.parametrize("kind", [PG, MY, LITE])
class TestOnEveryEngine:
    def test_two_reads_are_independent(self, kind: Operation) -> None:
        assert not dependent(steps(kind, READ), steps(kind, READ))

    def test_two_writes_of_a_table_are_dependent(self, kind: Operation) -> None:
        assert dependent(steps(kind, ADD), steps(kind, ADD))
        assert dependent(steps(kind, "BEGIN", ADD), steps(kind, "BEGIN", ADD))

    def test_a_read_depends_on_a_write_that_shows_at_once(self, kind: Operation) -> None:
        assert dependent(steps(kind, READ), steps(kind, ADD))

    def test_a_read_does_not_depend_on_a_write_that_nobody_sees_yet(self, kind: Operation) -> None:
        assert not dependent(steps(kind, READ), steps(kind, "BEGIN", ADD))

    def test_a_read_depends_on_the_commit_of_its_table(self, kind: Operation) -> None:
        assert dependent(steps(kind, READ), steps(kind, "BEGIN", ADD, "commit"))

    def test_a_read_does_not_depend_on_a_rollback(self, kind: Operation) -> None:
        assert not dependent(steps(kind, READ), steps(kind, "BEGIN", ADD, "rollback"))

    def test_a_read_does_not_depend_on_another_table(self, kind: Operation) -> None:
        assert not dependent(steps(kind, READ_B), steps(kind, ADD))
        assert not dependent(steps(kind, READ_B), steps(kind, "BEGIN", ADD, "commit"))

    def test_a_write_depends_on_whatever_frees_its_lock(self, kind: Operation) -> None:
        write = steps(kind, ADD)
        assert dependent(write, steps(kind, "BEGIN", ADD, "commit"))
        assert dependent(write, steps(kind, "BEGIN", ADD, "rollback"))
        assert dependent(write, steps(kind, "BEGIN", ADD, "close"))
        assert dependent(write, steps(kind, "BEGIN", 'SAVEPOINT "s"', ADD, 'ROLLBACK TO SAVEPOINT "s"'))

    def test_an_error_frees_locks_too(self, kind: Operation) -> None:
        assert dependent(steps(kind, ADD), steps(kind, "BEGIN", ADD, ADD_B, last=Status.FAILED))

    def test_savepoints_and_settings_are_independent_of_everything(self, kind: Operation) -> None:
        unknown = steps(kind, "CALL anything()")
        for text in ("BEGIN", 'SAVEPOINT "s"', "SET LOCAL x = 1"):
            assert not dependent(steps(kind, text), unknown)
        assert not dependent(steps(kind, "BEGIN", ADD, 'RELEASE SAVEPOINT "s"'), unknown)
        assert not dependent(steps(kind, "BEGIN", "commit"), unknown)

    def test_the_unknown_depends_on_everything_else(self, kind: Operation) -> None:
        unknown = steps(kind, "CALL anything()")
        for other in (READ, ADD, "SELECT 1", "CALL other()"):
            assert dependent(unknown, steps(kind, other))
        assert dependent(unknown, steps(kind, "BEGIN", READ, "commit"))


@pytest.mark.parametrize("kind", [PG, MY])
class TestOnServers:
    def test_writes_of_two_tables_are_independent(self, kind: Operation) -> None:
        assert not dependent(steps(kind, "BEGIN", ADD), steps(kind, "BEGIN", ADD_B))
        assert not dependent(steps(kind, ADD), steps(kind, ADD_B))

    def test_locking_reads_depend_on_each_other(self, kind: Operation) -> None:
        assert dependent(steps(kind, "BEGIN", LOCK), steps(kind, "BEGIN", LOCK))

    def test_shared_locks_do_not(self, kind: Operation) -> None:
        share = "SELECT * FROM a FOR SHARE"
        assert not dependent(steps(kind, "BEGIN", share), steps(kind, "BEGIN", share))
        assert dependent(steps(kind, "BEGIN", share), steps(kind, "BEGIN", LOCK))

    def test_a_child_depends_on_its_parent(self, kind: Operation) -> None:
        insert = steps(kind, "BEGIN", "INSERT INTO child (n) VALUES (1)")
        assert dependent(insert, steps(kind, "BEGIN", "DELETE FROM parent"))
        assert dependent(insert, steps(kind, "BEGIN", "UPDATE parent SET n = 1"))

    def test_the_commit_of_a_child_looks_at_its_parent_again(self, kind: Operation) -> None:
        commit = steps(kind, "BEGIN", "INSERT INTO child (n) VALUES (1)", "commit")
        assert dependent(commit, steps(kind, "DELETE FROM parent"))
        assert dependent(commit, steps(kind, "BEGIN", "DELETE FROM parent", "commit"))

    def test_the_first_statement_of_a_repeatable_read_depends_on_every_commit(self, kind: Operation) -> None:
        first = steps(at(kind, "repeatable read"), "BEGIN", READ_B)
        assert dependent(first, steps(kind, "BEGIN", ADD, "commit"))
        assert dependent(first, steps(kind, ADD))
        assert not dependent(first, steps(kind, "BEGIN", ADD))

    def test_later_statements_do_not(self, kind: Operation) -> None:
        later = steps(at(kind, "repeatable read"), "BEGIN", READ_B, READ_B)
        assert not dependent(later, steps(kind, ADD))

    def test_a_serializable_read_depends_on_a_write_that_nobody_sees_yet(self, kind: Operation) -> None:
        kind = at(kind, "serializable")
        assert dependent(steps(kind, "BEGIN", READ_B, READ), steps(kind, "BEGIN", READ_B, ADD))

    def test_a_serializable_commit_depends_on_everything(self, kind: Operation) -> None:
        kind = at(kind, "serializable")
        commit = steps(kind, "BEGIN", READ, "commit")
        assert dependent(commit, steps(kind, "BEGIN", READ_B, READ_B))
        assert dependent(commit, steps(kind, "BEGIN", READ_B, "commit"))

    def test_an_isolation_level_that_is_not_known_is_taken_for_serializable(self, kind: Operation) -> None:
        kind = replace(kind, isolation=None)
        assert dependent(steps(kind, "BEGIN", READ_B, READ), steps(kind, "BEGIN", READ_B, ADD))

    def test_after_an_unknown_statement_every_commit_depends_on_everything(self, kind: Operation) -> None:
        commit = steps(kind, "BEGIN", "CALL anything()", "commit")
        assert dependent(commit, steps(kind, READ))

    def test_a_statement_that_waits_shows_nothing(self, kind: Operation) -> None:
        waiting = steps(kind, ADD, last=Status.WAITING)
        assert not dependent(waiting, steps(kind, READ))
        assert dependent(waiting, steps(kind, "BEGIN", ADD, "commit"))

    def test_two_that_wait_are_dependent_whatever_for(self, kind: Operation) -> None:
        waiting = steps(kind, "BEGIN", ADD, last=Status.WAITING)
        assert dependent(waiting, steps(kind, "BEGIN", ADD_B, last=Status.WAITING))
        assert dependent(waiting, steps(kind, "BEGIN", ADD_B, last=Status.FAILED))

    def test_a_commit_that_fails_shows_nothing(self, kind: Operation) -> None:
        assert not dependent(steps(kind, "BEGIN", ADD, "commit", last=Status.FAILED), steps(kind, READ))

    def test_raw_transaction_control_counts(self, kind: Operation) -> None:
        assert dependent(steps(kind, "BEGIN", ADD, "COMMIT", raw=True), steps(kind, READ))
        assert dependent(steps(kind, "BEGIN", ADD, "ROLLBACK", raw=True), steps(kind, ADD))
        assert not dependent(steps(kind, "BEGIN", ADD, raw=True), steps(kind, READ))

    def test_a_commit_shows_all_that_was_written_and_frees_all_that_was_locked(self, kind: Operation) -> None:
        assert dependent(steps(kind, "BEGIN", ADD, ADD_B, "commit"), steps(kind, READ))
        assert dependent(steps(kind, "BEGIN", LOCK, READ_B, "commit"), steps(kind, "BEGIN", LOCK))
        assert dependent(
            steps(kind, "BEGIN", "SELECT * FROM a FOR SHARE", READ_B, "commit"), steps(kind, "BEGIN", LOCK)
        )

    def test_a_serializable_write_that_shows_at_once_depends_on_everything(self, kind: Operation) -> None:
        assert dependent(steps(at(kind, "serializable"), ADD), steps(kind, "BEGIN", READ_B))

    def test_after_an_unknown_statement_the_isolation_level_is_not_known(self, kind: Operation) -> None:
        read = steps(kind, "BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", READ)
        assert dependent(read, steps(kind, "BEGIN", ADD))


class TestOnPostgreSQL:
    def test_a_repeatable_read_sees_its_snapshot_whatever_is_committed(self) -> None:
        later = steps(at(PG, "repeatable read"), "BEGIN", READ_B, READ)
        assert not dependent(later, steps(PG, ADD))
        assert dependent(later, steps(PG, "TRUNCATE a"))

    def test_a_failed_first_statement_may_have_left_no_snapshot(self) -> None:
        operation = replace(at(PG, "repeatable read"), text=READ, in_transaction=True)
        act = Act(operation, footprint(operation, CATALOGUE), Ledger())
        assert not act.after(Status.FAILED).viewed

    def test_read_uncommitted_is_read_committed(self) -> None:
        kind = at(PG, "read uncommitted")
        assert not dependent(steps(kind, READ), steps(kind, "BEGIN", ADD))


class TestOnMySQL:
    def test_the_snapshot_is_taken_at_the_first_plain_read(self) -> None:
        read = steps(at(MY, "repeatable read"), "BEGIN", ADD, READ)
        assert dependent(read, steps(MY, ADD_B))

    def test_read_uncommitted_sees_what_is_not_committed(self) -> None:
        assert dependent(steps(at(MY, "read uncommitted"), READ), steps(MY, "BEGIN", ADD))

    def test_a_serializable_read_locks(self) -> None:
        assert contend(steps(at(MY, "serializable"), "BEGIN", READ), steps(MY, "BEGIN", ADD))

    def test_begin_inside_a_transaction_commits(self) -> None:
        assert dependent(steps(MY, "BEGIN", ADD, "BEGIN"), steps(MY, READ))


class TestOnSQLite:
    def test_two_transactions_that_write_are_dependent_whatever_they_write(self) -> None:
        assert dependent(steps(LITE, "BEGIN", ADD), steps(LITE, "BEGIN", ADD_B))
        assert dependent(steps(LITE, "BEGIN IMMEDIATE"), steps(LITE, "BEGIN IMMEDIATE"))
        assert dependent(steps(LITE, "BEGIN IMMEDIATE"), steps(LITE, "BEGIN IMMEDIATE", "commit"))

    def test_a_reading_transaction_keeps_writers_of_any_table_from_showing(self) -> None:
        reading = steps(LITE, "BEGIN", READ_B)
        assert dependent(reading, steps(LITE, ADD))
        assert dependent(reading, steps(LITE, "BEGIN", ADD, "commit"))
        assert dependent(steps(LITE, "BEGIN", READ_B, "commit"), steps(LITE, "BEGIN", ADD, "commit"))

    def test_once_it_reads_reading_more_changes_nothing(self) -> None:
        more = steps(LITE, "BEGIN", READ_B, READ_B)
        assert not dependent(more, steps(LITE, ADD))

    def test_a_commit_that_waits_keeps_readers_out(self) -> None:
        waiting = steps(LITE, "BEGIN", ADD, "commit", last=Status.WAITING)
        assert dependent(waiting, steps(LITE, READ_B))
        assert dependent(steps(LITE, "BEGIN", ADD, "commit", waited=True), steps(LITE, READ_B))
        assert not dependent(steps(LITE, "BEGIN", ADD, "commit"), steps(LITE, READ_B))

    def test_a_first_read_that_waited_is_still_the_first(self) -> None:
        operation = replace(LITE, text=READ_B, in_transaction=True)
        waiting = Act(operation, footprint(operation, CATALOGUE), Ledger()).after(Status.WAITING)
        read = Act(operation, footprint(operation, CATALOGUE), waiting, waited=True).effect(Status.DONE)
        assert read == steps(LITE, "BEGIN", READ_B)

    def test_after_an_unknown_statement_it_is_not_known_who_keeps_whom_out(self) -> None:
        for text in (READ_B, ADD_B):
            unsure = steps(LITE, "BEGIN", "PRAGMA anything", "commit", text)
            assert dependent(unsure, steps(LITE, "BEGIN", ADD, "commit", last=Status.WAITING))
            assert dependent(unsure, steps(LITE, "BEGIN", READ)) is (text == ADD_B)

    def test_the_rollback_after_a_commit_that_failed_lets_them_in(self) -> None:
        ledger = Ledger()
        for operation, status in (
            (replace(LITE, text=ADD, in_transaction=True), Status.DONE),
            (replace(LITE, kind="commit", in_transaction=True), Status.FAILED),
        ):
            ledger = Act(operation, footprint(operation, CATALOGUE), ledger).after(status)
        assert dependent(ledger.release(), steps(LITE, READ_B))

    def test_a_savepoint_outside_a_transaction_may_commit_when_released(self) -> None:
        manual = replace(LITE, in_transaction=True)
        ledger, effect = Ledger(), LOCAL
        for text in ('SAVEPOINT "s"', ADD, 'RELEASE SAVEPOINT "s"'):
            operation = replace(manual, text=text)
            act = Act(operation, footprint(operation, CATALOGUE), ledger)
            effect, ledger = act.effect(Status.DONE), act.after(Status.DONE)
        assert dependent(effect, steps(LITE, READ))
        assert dependent(ledger.release(), steps(LITE, ADD))


CACHE = Operation("cache", "get", ("k",), database="cache")


def test_cache_methods_depend_on_the_same_key_only() -> None:
    get, put, other = (
        steps(replace(CACHE, parameters=(key,)), method) for key, method in (("k", "get"), ("k", "set"), ("l", "set"))
    )
    assert dependent(get, put)
    assert not dependent(get, get)
    assert not dependent(get, other)
    assert dependent(other, steps(CACHE, "clear"))


def standing(*texts: str, kind: Operation = PG, blocked: bool = False, inside: bool = True) -> Standing:
    """A call that has run these statements in a transaction, but for the last, with which it stands."""
    ledger = Ledger()
    *done, now = [replace(kind, text=text, in_transaction=inside) for text in texts]
    for operation in done:
        ledger = Act(operation, footprint(operation, CATALOGUE), ledger).after(Status.DONE)
    return Standing(now, blocked, {("db", 0): ledger})


NEXT = replace(PG, text=READ)


class TestStepsOfSeveral:
    def test_a_step_that_wakes_another_carries_what_that_one_does(self) -> None:
        before = {
            0: standing(ADD, "COMMIT"),
            1: standing("UPDATE a SET n = (SELECT 1 FROM b)", blocked=True, inside=False),
        }
        effect, moved = observe(before, 0, Decision({0: NEXT, 1: NEXT}), CATALOGUE)
        assert set(moved) == {0, 1}
        assert dependent(effect, steps(PG, ADD_B))
        assert dependent(effect, steps(PG, READ))

    def test_it_carries_the_transaction_of_a_woken_one_that_fails(self) -> None:
        before = {0: standing(ADD, "COMMIT"), 1: standing(ADD_B, ADD, blocked=True)}
        effect, _ = observe(before, 0, Decision({0: NEXT, 1: NEXT}, failed=frozenset({1})), CATALOGUE)
        assert dependent(effect, steps(PG, ADD_B))

    def test_it_depends_on_what_keeps_another_waiting_for_the_same(self) -> None:
        waiting = standing("UPDATE a SET n = (SELECT 1 FROM b FOR UPDATE)", blocked=True)
        effect, moved = observe(
            {0: standing(ADD, "COMMIT"), 1: waiting}, 0, Decision({0: NEXT}, frozenset({1})), CATALOGUE
        )
        assert set(moved) == {0}
        assert dependent(effect, steps(PG, "BEGIN", ADD_B))

    def test_a_chain_of_waiters_is_followed(self) -> None:
        first = standing("UPDATE a SET n = (SELECT 1 FROM b FOR UPDATE)", blocked=True)
        second = standing("UPDATE b SET n = (SELECT 1 FROM child FOR UPDATE)", blocked=True)
        before = {0: standing(ADD, "COMMIT"), 1: second, 2: first}
        effect, _ = observe(before, 0, Decision({0: NEXT}, frozenset({1, 2})), CATALOGUE)
        assert dependent(effect, steps(PG, "BEGIN", "UPDATE child SET n = 1"))

    def test_who_waits_for_something_else_is_left_out(self) -> None:
        before = {0: standing(ADD, "COMMIT"), 1: standing(ADD_B, blocked=True)}
        effect, _ = observe(before, 0, Decision({0: NEXT}, frozenset({1})), CATALOGUE)
        assert not dependent(effect, steps(PG, ADD_B))

    def test_the_end_of_a_call_ends_its_transaction(self) -> None:
        effect, moved = observe({0: standing(ADD, READ_B)}, 0, Decision({}), CATALOGUE)
        assert moved[0].operation is None
        assert dependent(effect, steps(PG, ADD))

    def test_the_end_of_a_call_frees_locks_that_nobody_understood(self) -> None:
        effect, _ = observe({0: standing("SELECT pg_advisory_lock(1)", READ, inside=False)}, 0, Decision({}), CATALOGUE)
        assert effect.everything
