"""SQLite in memory, Django's default for tests: lent to the calls as a file, and taken back."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection, connections
from django.db.utils import IntegrityError

import aioconcurrent
from aioconcurrent import DatabaseInMemoryChangedError, DatabaseInMemoryLockedError
from aioconcurrent.databases import in_memory
from aioconcurrent.sync import call_concurrently, make_concurrent_calls
from tests.faults.processes import wait_until
from tests.project.databases import ThreadOfQueries
from tests.project.echoes import database_name
from tests.project.queries import count, create, names, rename_all
from tests.project.shop.models import Counter, Ticket

pytest_plugins = ["tests.project.start_methods"]
pytestmark = pytest.mark.django_db(transaction=True)
both_start_methods = pytest.mark.usefixtures("start_method")


def create_and_die(name: str) -> None:
    create(name)
    os._exit(3)


def sell(show: int) -> None:
    Ticket.objects.create(show_id=show, buyer="Ann")


def add_a_column() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE shop_counter ADD COLUMN colour varchar(10) DEFAULT 'red'")


@both_start_methods
def test_calls_see_the_rows_of_the_test_and_the_test_sees_theirs() -> None:
    Counter.objects.create(name="the test's")
    assert call_concurrently(1, names) == [["the test's"]]
    call_concurrently(1, create, "the call's").raise_errors()
    assert names() == ["the test's", "the call's"]


async def test_the_same_in_a_coroutine(in_thread: ThreadOfQueries) -> None:
    await in_thread(Counter.objects.create, name="the test's")
    assert await aioconcurrent.call_concurrently(1, names) == [["the test's"]]
    (await aioconcurrent.call_concurrently(1, create, "the call's")).raise_errors()
    assert await in_thread(names) == ["the test's", "the call's"]


def test_the_test_and_the_calls_change_the_table_in_turns() -> None:
    Counter.objects.create(name="one")
    assert call_concurrently(1, rename_all, "two") == [1]
    assert names() == ["two"]
    Counter.objects.update(name="three")
    Counter.objects.create(name="four")
    assert call_concurrently(1, names) == [["three", "four"]]
    Counter.objects.all().delete()
    assert call_concurrently(2, count) == [0, 0]


def test_calls_that_write_at_the_same_moment_lose_nothing() -> None:
    call_concurrently(4, create, "clicks").raise_errors()
    assert Counter.objects.count() == 4


def test_keys_go_on_where_the_calls_left_off() -> None:
    [key] = call_concurrently(1, create, "the call's").values
    Counter.objects.all().delete()
    assert create("the test's") == key + 1


def test_constraints_hold_in_the_calls() -> None:
    [wrapped] = call_concurrently(1, sell, show=12345).errors
    assert isinstance(wrapped.error, IntegrityError), wrapped
    assert not Ticket.objects.exists()


def test_a_table_that_a_call_changes_is_changed_for_the_test() -> None:
    call_concurrently(1, add_a_column).raise_errors()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT colour FROM shop_counter")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE shop_counter DROP COLUMN colour")


def test_the_connection_of_the_test_stays_the_same() -> None:
    Counter.objects.create(name="clicks")
    before = connection.connection
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE mine (id)")
        call_concurrently(1, count).raise_errors()
        assert connection.connection is before
        cursor.execute("DROP TABLE temp.mine")


@both_start_methods
def test_what_a_call_committed_before_it_died_is_there() -> None:
    outcomes = make_concurrent_calls((create_and_die, {"name": "dead"}), (create, {"name": "alive"}))
    assert len(outcomes.errors) == 1
    assert {*names()} == {"dead", "alive"}


@both_start_methods
@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_two_databases_in_memory_stay_two() -> None:
    Counter.objects.create(name="first")
    Counter.objects.using("other").create(name="second")
    assert make_concurrent_calls((names, {}), (names, {"using": "other"})) == [["first"], ["second"]]
    make_concurrent_calls((create, {"name": "third"}), (create, {"name": "fourth", "using": "other"})).raise_errors()
    assert (names(), names("other")) == (["first", "third"], ["second", "fourth"])


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_mirror_in_memory_is_the_database_that_it_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["other"].settings_dict, "NAME", connections["default"].settings_dict["NAME"])
    Counter.objects.create(name="clicks")
    assert call_concurrently(1, names, "other") == [["clicks"]]
    call_concurrently(1, create, "from the mirror", using="other").raise_errors()
    assert names() == ["clicks", "from the mirror"]


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    [name] = call_concurrently(1, database_name).values
    assert Path(name).is_relative_to(tmp_path)
    assert not list(tmp_path.glob("aioconcurrent-*"))


def test_a_statement_that_has_not_ended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_memory, "_PATIENCE", 0.1)
    create("one")
    create("two")
    rows = Counter.objects.iterator(chunk_size=1)
    next(rows)
    with pytest.raises(DatabaseInMemoryLockedError, match="a query that is still being iterated over"):
        call_concurrently(1, create, "three")
    assert len(list(rows)) == 1
    assert call_concurrently(1, count) == [2]


def create_beside(rows: Path) -> None:
    """Let the test's process create a row, as its live server would, and wait until it has."""
    (rows / "asked").touch()
    assert wait_until((rows / "created").exists)


def create_beside_and_here(rows: Path) -> None:
    create_beside(rows)
    create("the call's")


@contextmanager
def creating_on_demand(rows: Path) -> Iterator[None]:
    """Create a row in another thread of this process, on the test's own connection, when a call asks for it."""

    def create_row() -> None:
        assert wait_until((rows / "asked").exists)
        connections["default"] = shared
        create("the server's")
        (rows / "created").touch()

    shared = connections["default"]
    shared.inc_thread_sharing()
    thread = threading.Thread(target=create_row)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        shared.dec_thread_sharing()


def test_what_a_thread_of_the_test_changes_meanwhile_stays_if_the_calls_change_nothing(tmp_path: Path) -> None:
    with creating_on_demand(tmp_path):
        call_concurrently(1, create_beside, tmp_path).raise_errors()
    assert names() == ["the server's"]


def test_changes_on_both_sides_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with creating_on_demand(tmp_path), pytest.raises(DatabaseInMemoryChangedError, match="of one would be lost"):
        call_concurrently(1, create_beside_and_here, tmp_path)
