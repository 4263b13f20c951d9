"""Which steps touch nothing of other calls."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aioconcurrent.base.trace import Operation, Step
from aioconcurrent.databases.schema import Catalogue, Keys
from aioconcurrent.exploring.orders.private_steps import private_steps
from tests.explore.traces import READ, SAVE, Tracer, cached

TABLES = frozenset({"account", "customer", "note", "user"})
KEYS = Keys(kinds={"id": "integer"}, uniques=frozenset({frozenset({"id"})}), is_closed=True)
CATALOGUE = Catalogue(
    tables=TABLES,
    parents={"note": frozenset({"account"})},
    uniques=dict.fromkeys(TABLES, frozenset({frozenset({"id"})})),
    keys=dict.fromkeys(TABLES, KEYS),
)
NO_KEYS = replace(CATALOGUE, keys={})
SHOWN = "SELECT * FROM user"
NOTED = "INSERT INTO note (account_id) VALUES (%s)"
WRITTEN = "UPDATE customer SET seen = 1"

T, FREE = Tracer(atomic=True), Tracer()


def private(*steps: Step, catalogue: Catalogue = CATALOGUE) -> list[int]:
    return sorted(private_steps(steps, catalogue))


def test_what_only_one_call_touches_is_private() -> None:
    assert private(T.sql(0, WRITTEN), T.read(0, 100), T.read(1, 100), T.save(1, 20)) == [0]


def test_what_all_calls_only_read_is_private() -> None:
    assert private(FREE.sql(0, SHOWN), FREE.sql(1, SHOWN)) == [0, 1]


def test_a_change_is_noticed_by_who_reads_the_row_and_a_read_by_who_changes_it() -> None:
    assert private(FREE.read(0, 100), FREE.save(1, 20)) == []


def test_rows_are_told_apart_where_their_keys_do() -> None:
    steps = FREE.sql(0, READ, (1,), rowcount=1), FREE.sql(1, SAVE, ("ann", 20, 2), rowcount=1)
    assert private(*steps) == [0, 1]
    assert private(*steps, catalogue=NO_KEYS) == []


def test_rows_are_not_told_apart_under_serializable_where_ranges_are_locked() -> None:
    strict = Tracer(atomic=True, isolation="serializable")
    assert private(strict.read(0, 1, pk=1), strict.save(1, 20, pk=2)) == []


def test_a_row_to_which_a_new_one_refers_is_noticed_by_who_changes_it() -> None:
    assert private(FREE.sql(0, NOTED, (1,)), FREE.save(1, 20)) == []
    assert private(FREE.sql(0, NOTED, (1,)), FREE.read(1, 20)) == [0, 1]


@pytest.mark.parametrize("kind", ["commit", "rollback"])
def test_the_end_of_a_transaction_is_as_private_as_what_was_done_in_it(kind: str) -> None:
    assert private(T.sql(0, WRITTEN), T.end(0, kind), T.read(0, 1), T.end(0, kind), T.save(1, 20)) == [0, 1]


@pytest.mark.parametrize("isolation", ["repeatable read", None])
def test_the_statement_that_settles_what_a_transaction_sees_is_noticed_with_what_it_sees(isolation: str) -> None:
    stable = Tracer(atomic=True, isolation=isolation)
    seen = stable.sql(0, SHOWN), stable.sql(0, SHOWN), stable.read(0, 100), stable.end(0)
    assert private(*seen, FREE.save(1, 20)) == [1]
    assert private(*seen, FREE.sql(1, WRITTEN)) == [0, 1, 2, 3, 4]


def test_on_sqlite_it_is_the_data_that_counts_and_not_the_lock_on_the_file() -> None:
    lite = Tracer("sqlite", atomic=True, isolation="serializable")
    assert private(lite.sql(0, SHOWN), lite.read(0, 100), lite.save(1, 20), lite.end(1)) == [0]


def test_a_transaction_that_locks_the_file_at_its_beginning_is_noticed() -> None:
    lite = Tracer("sqlite")
    assert private(lite.sql(0, "BEGIN IMMEDIATE"), lite.sql(0, WRITTEN), lite.sql(0, "COMMIT"), lite.read(1, 1)) == [
        1,
        3,
    ]


def test_what_is_not_understood_is_noticed_and_notices_all_data() -> None:
    unclear = T.sql(0, "CALL settle()")
    assert private(unclear, T.read(1, 100), T.sql(1, "SELECT 1")) == [2]


def test_a_place_that_the_application_has_marked_is_noticed_and_leaves_the_others_alone() -> None:
    assert private(Step(0, Operation("step", "charge")), T.read(1, 100)) == [1]


def test_keys_of_a_cache_are_told_apart() -> None:
    assert private(cached(0, "set", "a", 1), cached(1, "get", "b"), cached(1, "get", "c")) == [0, 1, 2]
    assert private(cached(0, "set", "a", 1), cached(1, "get", "a"), cached(1, "get", "b")) == [2]
