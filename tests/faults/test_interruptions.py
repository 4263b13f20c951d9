"""Explorations whose callers are cancelled in the ways that anyio's shield does not keep off: all is put back."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from django.db import connections

from aioconcurrent import explore as aexplore
from aioconcurrent.base import own_clock as time
from aioconcurrent.sync import explore
from tests.faults import misbehaviour
from tests.faults.processes import signed_in, until, wait_until
from tests.faults.sessions import sessions_of
from tests.project.databases import ThreadOfQueries, on, taking_turns
from tests.project.scripts import output_of
from tests.project.shop.models import Counter

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

EVERY = on("default", "file", "postgresql", "mysql")
ONCE_OR_AGAIN = pytest.mark.parametrize(("database", "times"), taking_turns(EVERY, [3, 1]))


@pytest.fixture
def counter(database: str) -> Iterator[Counter]:
    """A row that has to be as it was as soon as the caller goes on, and without a session or a thread of ours."""
    counter = Counter.objects.using(database).create(name="clicks")
    sessions = sessions_of(database)
    yield counter
    assert list(Counter.objects.using(database).values_list("name", "value")) == [("clicks", 0)]
    assert not [thread for thread in threading.enumerate() if thread.name == "aioconcurrent"]
    assert wait_until(lambda: sessions_of(database) == sessions)


def deaf(counter: Counter, folder: Path) -> list[Any]:
    """Calls that change the row, and are hard to end: the clean-up lasts a second."""
    return [partial(misbehaviour.write_and_tell_of_termination, counter.pk, str(counter._state.db), folder)] * 2


def in_the_middle(folder: Path) -> bool:
    return bool(signed_in(folder))


def in_the_clean_up(folder: Path) -> bool:
    return (folder / "terminated").exists()


@contextmanager
def pressing(folder: Path, times: int) -> Iterator[None]:
    """Press Ctrl-C in the middle of the exploration, and again, as often, while it cleans up."""

    def press() -> None:
        wait_until(lambda: in_the_middle(folder))
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: in_the_clean_up(folder))
        for _ in range(times - 1):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)  # two signals that come at once are one

    thread = threading.Thread(target=press)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@ONCE_OR_AGAIN
def test_ctrl_c_leaves_the_rows_as_they_were(counter: Counter, folder: Path, times: int) -> None:
    with pytest.raises(KeyboardInterrupt), pressing(folder, times):
        explore(*deaf(counter, folder))


@pytest.mark.parametrize("database", on("default", "postgresql"))
@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_in_a_loop_of_asyncio_leaves_the_rows_as_they_were(counter: Counter, folder: Path, times: int) -> None:
    """It cancels the main task at first, then leaves the loop, and then does not wait for its tasks."""
    with pytest.raises(KeyboardInterrupt), pressing(folder, times):
        asyncio.run(aexplore(*deaf(counter, folder)))


@pytest.mark.parametrize("database", on("default", "postgresql"))
def test_ctrl_c_in_a_loop_of_trio_leaves_the_rows_as_they_were(counter: Counter, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), pressing(folder, 3):
        anyio.run(partial(aexplore, *deaf(counter, folder)), backend="trio")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@ONCE_OR_AGAIN
async def test_a_task_of_asyncio_that_is_cancelled_leaves_the_rows_as_they_were(
    database: str, times: int, folder: Path, in_thread: ThreadOfQueries
) -> None:
    counter = await in_thread(Counter.objects.using(database).create, name="clicks")
    before = await in_thread(sessions_of, database)
    task = asyncio.ensure_future(aexplore(*deaf(counter, folder)))
    await until(lambda: in_the_middle(folder))
    task.cancel()
    await until(lambda: in_the_clean_up(folder))
    for _ in range(times - 1):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    await in_thread(counter.refresh_from_db)
    assert counter.value == 0
    assert await in_thread(wait_until, lambda: sessions_of(database) == before)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("database", on("postgresql"))
async def test_no_thread_reads_rows_for_a_caller_that_was_cancelled(
    database: str, in_thread: ThreadOfQueries, folder: Path
) -> None:
    """The connection would be closed under it."""
    counter = await in_thread(Counter.objects.using(database).create, name="clicks")
    locking = await in_thread(_driver_of, database)
    locking.cursor().execute("LOCK shop_counter IN ACCESS EXCLUSIVE MODE")
    task = asyncio.ensure_future(aexplore(*deaf(counter, folder)))
    await until(lambda: _waiting(locking) > 0)
    task.cancel()
    locking.rollback()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [thread for thread in threading.enumerate() if thread.name == "aioconcurrent"]
    left = _waiting(locking)
    locking.close()
    assert left == 0


def _driver_of(database: str) -> Any:
    return connections[database].get_new_connection(connections[database].get_connection_params())


def _waiting(driver: Any) -> int:
    cursor = driver.cursor()
    cursor.execute(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE datname = current_database() AND NOT granted"
    )
    return int(cursor.fetchone()[0])


@pytest.mark.parametrize("database", on("default"))
def test_nobody_who_is_interrupted_waits_for_processes_that_hang_before_their_calls(
    counter: Counter, folder: Path
) -> None:
    call = partial(misbehaviour.write_and_sleep, counter.pk, "default", misbehaviour.HangingArgument(folder, 2))

    pressed: list[float] = []

    def press() -> None:
        wait_until(lambda: len(signed_in(folder)) == 4)
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        explore(call, call)
    thread.join()
    assert time.monotonic() - pressed[0] < 20  # a start may take 30 s


# Python hands Ctrl-C to the main thread alone, also in the middle of an import.
IMPORTS = """
import sys, threading
from importlib.abc import MetaPathFinder
import django
django.setup()
from aioconcurrent.sync import call_concurrently, explore

class Watching(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is threading.main_thread():
            print(name)

sys.meta_path.insert(0, Watching())
call_concurrently(1, len, [])
assert explore((len, [[]]), (len, [[]])).verdict
"""


def test_what_a_core_runs_is_imported_where_no_interruption_breaks_it_off(tmp_path: Path) -> None:
    told = output_of(IMPORTS, tmp_path, DJANGO_SETTINGS_MODULE="tests.project.settings").split()
    assert "aioconcurrent.running.own_loop" in told
    assert not {
        "aioconcurrent.running.race",
        "aioconcurrent.running.explore",
        "sqlglot",
        "aioconcurrent.report.lanes",
    } & set(told)
