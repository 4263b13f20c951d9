"""Rows that come back alone where all that was changed is known."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aioconcurrent.base.trace import Operation, Step
from aioconcurrent.databases.handoff import hand_over, look
from aioconcurrent.databases.schema import Changes
from aioconcurrent.databases.state import State
from aioconcurrent.databases.state.base import LARGE
from aioconcurrent.exploring.stepping.stepped_databases import ExploredDatabases
from tests.databases.conftest import content, fetch, run
from tests.project.databases import on
from tests.project.shop.models import Counter

Open = Callable[..., State]
Make = Callable[..., None]
everywhere = pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
on_servers = pytest.mark.parametrize("database", on("postgresql", "mysql"))
on_postgresql = pytest.mark.parametrize("database", on("postgresql"))
on_mysql = pytest.mark.parametrize("database", on("mysql"))

COUNTERS = "shop_counter"


@pytest.fixture
def keys(database: str) -> list[int]:
    """Of some of the rows of a large table."""
    Counter.objects.using(database).bulk_create(Counter(name="one of many") for _ in range(LARGE + 1))
    return list(Counter.objects.using(database).order_by("pk").values_list("pk", flat=True)[:3])


@pytest.fixture
def explored(database: str) -> Iterator[ExploredDatabases]:
    with ExploredDatabases(hand_over([look()], {}, allow_real_databases=False)) as databases:
        databases.identify()
        yield databases


def of_rows(*keys: int, assigned: set[str] | None = None) -> dict[str, Changes]:
    return {COUNTERS: Changes(frozenset((key,) for key in keys), None if assigned is None else frozenset(assigned))}


def values(database: str) -> list[int]:
    return list(Counter.objects.using(database).order_by("pk").values_list("value", flat=True))


@on_servers
def test_rows_that_were_changed_come_back_alone(database: str, opened: Open, keys: list[int]) -> None:
    state = opened(database)
    Counter.objects.using(database).update(value=5)
    state.restore({COUNTERS}, of_rows(*keys[:2], assigned={"value"}))
    assert values(database)[:3] == [0, 0, 5]
    assert state.changed() == {COUNTERS}
    state.restore({COUNTERS})
    assert state.changed() == frozenset()


@everywhere
def test_rows_that_were_made_and_deleted_come_back_too(database: str, opened: Open, keys: list[int]) -> None:
    before = content(database)
    state = opened(database)
    Counter.objects.using(database).filter(pk=keys[0]).delete()
    new = Counter.objects.using(database).create(name="new").pk
    state.restore({COUNTERS}, of_rows(keys[0], new))
    assert content(database) == before
    assert state.changed() == frozenset()


@on_mysql
def test_a_table_of_which_no_indexed_column_was_set_is_not_built_anew(database: str, opened: Open, made: Make) -> None:
    made(("CREATE TABLE plain (id integer PRIMARY KEY, n integer, x integer, INDEX (x))", "DROP TABLE plain"))
    run(database, "INSERT INTO plain VALUES (1, 1, 1), (2, 2, 2)")
    state = opened(database)

    def is_the_same_after(assigned: str) -> bool:
        query = "SELECT table_id FROM information_schema.innodb_sys_tables WHERE name LIKE '%%/plain'"
        before = fetch(database, query)
        run(database, "UPDATE plain SET n = 5, x = 5")
        state.restore({"plain"}, {"plain": Changes(frozenset({(1,)}), frozenset({assigned}))})
        return fetch(database, query) == before

    assert is_the_same_after("n")
    assert fetch(database, "SELECT * FROM plain") == [(1, 1, 1), (2, 5, 5)]
    assert not is_the_same_after("x")
    assert state.changed() == frozenset()


@on_postgresql
def test_where_foreign_keys_are_looked_at_tables_come_back_whole(database: str, opened: Open, keys: list[int]) -> None:
    state = opened(database)
    state._is_replica = False  # type: ignore[attr-defined]  # as where the role is no superuser
    Counter.objects.using(database).update(value=5)
    state.restore({COUNTERS}, of_rows(keys[0], assigned={"value"}))
    assert set(values(database)) == {0}


def opened_table(explored: ExploredDatabases, database: str) -> str:
    """Open a database; return what the table of the counters is called in it."""
    explored.open(next(each for each, (alias, _) in explored._candidates.items() if alias == database))
    return next(name for name in explored.keys if name.endswith(COUNTERS))


@on_servers
def test_after_the_first_run_a_query_without_an_order_finds_one_order(
    database: str, explored: ExploredDatabases, keys: list[int]
) -> None:
    """PostgreSQL puts a row that comes back elsewhere: where that is new, the runs before do not count."""
    table = opened_table(explored, database)
    counters = Counter.objects.using(database)

    def order_after(*changed: int) -> tuple[list[int], bool]:
        counters.filter(pk__in=changed).update(value=1)
        changes = {table: of_rows(*changed, assigned={"value"})[COUNTERS]}
        explored.rows(changes)
        explored.restore({table: None} if table in explored.order.whole else changes)
        return list(counters.order_by().values_list("pk", flat=True)), explored.has_moved()

    explored.rows({table: None})
    at_start = list(counters.order_by().values_list("pk", flat=True))
    first, has_moved = order_after(*keys[:2])
    assert has_moved is (database == "postgresql") is (first != at_start)
    assert order_after(keys[1]) == order_after(keys[0]) == order_after(*keys[:2]) == (first, False)
    explored.restore()
    whole, has_moved = order_after(keys[2], keys[0])
    assert has_moved is (database == "postgresql")
    assert order_after(keys[0]) == (whole, False)
    assert order_after(keys[1])[1] is (database == "postgresql")  # too many: all come back from now on
    assert order_after(keys[1]) == order_after(keys[2]) == order_after(keys[0])


@on_servers
def test_where_runs_are_made_on_copies_too_each_row_is_at_its_place(
    database: str, explored: ExploredDatabases, keys: list[int]
) -> None:
    table = opened_table(explored, database)
    explored.order.matters = False
    explored.rows({table: None})
    counters = Counter.objects.using(database)
    at_start = list(counters.order_by().values_list("pk", flat=True))
    counters.filter(pk=keys[0]).update(value=1)
    explored.restore(of_rows(keys[0], assigned={"value"}))
    assert list(counters.order_by().values_list("pk", flat=True)) == at_start
    assert not explored.has_moved()


@everywhere
def test_of_a_large_table_the_rows_that_others_wrote_are_read_all_the_same(
    database: str, explored: ExploredDatabases, keys: list[int]
) -> None:
    counters = Counter.objects.using(database)
    first, second, _ = keys
    table = opened_table(explored, database)

    def read(*keys: int) -> list[dict[str, Any]]:
        return explored.rows({table: Changes(frozenset((key,) for key in keys), None)})[table]

    assert len(read(first)) == LARGE + 1  # all are read, and known from then on
    assert {id(row) for row in read(first)[1:]} == {id(row) for row in explored.start[table][1:]}
    counters.filter(pk=first).update(value=1)
    counters.filter(pk=second).delete()
    told = [(row["id"], row["value"]) for row in read(first, second) if row["id"] <= second or row["value"]]
    assert told == [(first, 1)]
    stranger = counters.create(name="of somebody else").pk
    assert stranger in {row["id"] for row in read(first, second)}
    explored.restore()
    assert len(read(first)) == LARGE + 1


@on_servers
def test_what_steps_may_have_changed_is_told_by_row_where_all_of_them_tell(
    database: str, explored: ExploredDatabases
) -> None:
    table = opened_table(explored, database)
    (identity,) = [each.identity for each in explored._databases]
    vendor = "mysql" if database == "mysql" else "postgresql"

    def step(text: str, *parameters: int) -> Step:
        return Step(0, Operation("sql", text, parameters, vendor=vendor, database=identity))

    one = step("UPDATE shop_counter SET value = %s WHERE id = %s", 5, 7)
    other = step("UPDATE shop_counter SET name = 'x' WHERE id = %s", 8)
    several = step("UPDATE shop_counter SET value = 5")
    unknown = step("VACUUM")
    assert explored.changes([one, other]) == {table: of_rows(7, 8, assigned={"value", "name"})[COUNTERS]}
    assert explored.changes([one, several]) == {table: None}
    assert set(explored.changes([one, unknown]).values()) == {None}
    explored.widened.add(table)
    assert explored.changes([one])[table] is None
