"""Which pairs of actions are worth exploring, told from one recorded run of each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aioconcurrent.base.trace import Operation
from aioconcurrent.databases.schema import Catalogue
from aioconcurrent.hunting.pairs import MEETS, OVERWRITES, RELIES, Record, pairs, touches

TABLES = Catalogue(
    frozenset({"account", "log", "doctor", "session"}),
    uniques={name: frozenset({frozenset({"id"})}) for name in ("account", "log", "doctor", "session")},
)
READ = "SELECT balance FROM account WHERE id = %s"
LOCK = "SELECT balance FROM account WHERE id = %s FOR UPDATE"
WRITE = "UPDATE account SET balance = %s WHERE id = %s"
LOG = "INSERT INTO log (text) VALUES (%s)"


def record(*texts: str, name: str = "POST /", test: str = "test", number: int = 0) -> Record:
    operations = [Operation("sql", text, (1,), "postgresql", "shop") for text in texts]
    return Record(test, number, name, touches(operations, TABLES, {"session"}))


def dangers(*records: Record) -> list[int]:
    return [pair.danger for pair in pairs(records)]


def test_what_is_read_and_then_written_over_is_the_most_dangerous() -> None:
    assert dangers(record(READ, WRITE)) == [OVERWRITES]


def test_what_relies_on_a_read_that_the_other_decides_is_less_so() -> None:
    one = record("SELECT count(*) FROM doctor WHERE on_call", "UPDATE account SET balance = 0 WHERE id = %s")
    other = record("SELECT balance FROM account WHERE id = %s", "UPDATE doctor SET on_call = false WHERE id = %s")
    assert dangers(one, other) == [RELIES]


def test_a_read_that_locks_leaves_only_that_they_meet() -> None:
    assert dangers(record(LOCK, WRITE)) == [MEETS]


@pytest.mark.parametrize("texts", [(READ,), (LOG,), ("UPDATE account SET balance = balance + 1 WHERE id = %s",)])
def test_one_statement_that_is_a_moment_closes_no_cycle(texts: tuple[str, ...]) -> None:
    assert dangers(record(*texts)) == []


def test_one_statement_whose_read_and_write_others_can_come_between_does() -> None:
    claim = "UPDATE account SET balance = 0 WHERE id = (SELECT min(id) FROM account WHERE balance > 0)"
    assert dangers(record(claim)) == [MEETS]


def test_two_inserts_into_each_of_two_tables_do_not_meet() -> None:
    assert dangers(record(LOG, "INSERT INTO doctor (on_call) VALUES (%s)")) == []


def test_an_insert_meets_who_looks_for_the_row_first() -> None:
    assert dangers(record("SELECT 1 FROM log WHERE text = %s", LOG)) == [OVERWRITES]


def test_an_action_that_enqueues_anything_meets_that() -> None:
    enqueues = replace(record("INSERT INTO booking (seat) VALUES (%s)"), enqueues=True)
    assert [str(pair) for pair in pairs([enqueues])] == ["POST / beside what it enqueues"]


def test_actions_that_only_read_are_in_no_pair() -> None:
    assert [pair.is_twice for pair in pairs([record(READ, WRITE), record(READ, READ)])] == [True]


def test_tables_that_do_not_count_close_no_cycle() -> None:
    texts = ("SELECT data FROM session WHERE id = %s", "UPDATE session SET data = %s WHERE id = %s")
    assert dangers(record(*texts)) == []


def test_statements_have_one_shape_whatever_the_number_of_values_and_of_repetitions() -> None:
    one = record("SELECT balance FROM account WHERE id IN (%s, %s)", WRITE)
    other = record(*["SELECT balance FROM account WHERE id IN (%s, %s, %s)"] * 2, WRITE)
    assert one.shape == other.shape != record(READ, WRITE).shape


def test_a_pair_has_the_same_key_in_another_test_and_the_other_way_round() -> None:
    def both(first: str, second: str, test: str) -> list[tuple[str, ...]]:
        found = pairs([record(READ, WRITE, name=name, test=test) for name in (first, second)])
        return [pair.key for pair in found if not pair.is_twice]

    assert both("POST /a/", "POST /b/", "one") == both("POST /b/", "POST /a/", "other")


def test_an_action_twice_is_another_pair_than_two_actions_of_its_name() -> None:
    keys = [pair.key for pair in pairs([record(READ, WRITE), record(READ, WRITE, number=1)])]
    assert len(keys) == 3
    assert len(set(keys)) == 2
