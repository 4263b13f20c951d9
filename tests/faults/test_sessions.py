"""Calls that are killed in the middle of a statement, which leave no session on the server."""

from pathlib import Path

import anyio
import pytest
from django.db import connections

from aioconcurrent import ProcessDiedError, TerminatedProcessError, call_concurrently, make_concurrent_calls, options
from tests.faults import calls
from tests.faults.processes import PATIENCE, signed_in
from tests.project.databases import ThreadOfQueries, on

pytestmark = pytest.mark.parametrize("database", on("postgresql", "mysql"))

RUNNING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(%%' AND datname = %s",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(%%' AND db = %s",
}


def count_statements(using: str) -> int:
    """How many sessions are in the statement of `calls.wait_for_database`, in the test's own database."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(RUNNING[connection.vendor], [connection.settings_dict["NAME"]])
        return int(cursor.fetchone()[0])


async def test_a_call_past_its_deadline_leaves_no_session(
    database: str, start_method: str, in_thread: ThreadOfQueries
) -> None:
    with options(timeout=0.5):
        outcomes = await make_concurrent_calls((calls.wait_for_database, {"using": database}), (calls.answer, {}))
    assert await in_thread(count_statements, database) == 0
    assert isinstance(outcomes.errors[0].error, TerminatedProcessError)
    assert outcomes[1] == 42


async def test_a_call_that_is_killed_leaves_no_session(database: str, folder: Path, in_thread: ThreadOfQueries) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(kill_when_waiting, database, folder, in_thread)
        outcomes = await call_concurrently(1, calls.sign_in_and_wait_for_database, folder, database)
    assert await in_thread(count_statements, database) == 0
    assert isinstance(outcomes.errors[0].error, ProcessDiedError)


async def kill_when_waiting(database: str, folder: Path, in_thread: ThreadOfQueries) -> None:
    await until_waiting(database, in_thread)
    for pid in signed_in(folder):
        calls.kill(pid)


async def test_a_call_whose_caller_is_cancelled_leaves_no_session(database: str, in_thread: ThreadOfQueries) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(call_concurrently, 1, calls.wait_for_database, database)
        await until_waiting(database, in_thread)
        group.cancel_scope.cancel()
    assert await in_thread(count_statements, database) == 0


async def until_waiting(database: str, in_thread: ThreadOfQueries) -> None:
    with anyio.fail_after(PATIENCE):
        while not await in_thread(count_statements, database):  # noqa: ASYNC110 - the server makes it true
            await anyio.sleep(0.01)
