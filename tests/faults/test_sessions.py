"""Calls that are killed in the middle of a statement, which leave no session on the server."""

import warnings
from pathlib import Path

import anyio
import pytest
from django.db import connections

from aioconcurrent import ProcessDiedError, TerminatedProcessError, call_concurrently, make_concurrent_calls, options
from aioconcurrent.databases import sessions
from tests.faults import calls
from tests.faults.processes import PATIENCE, signed_in
from tests.project.databases import ThreadOfQueries, on

pytestmark = pytest.mark.parametrize("database", on("postgresql", "mysql"))

RUNNING = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(%%' AND datname = %s",
    "mysql": "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(%%' AND db = %s",
}


def in_statement(using: str) -> list[int]:
    """The sessions that are in the statement of `calls.wait_for_database`, in the test's own database."""
    connection = connections[using]
    with connection.cursor() as cursor:
        cursor.execute(RUNNING[connection.vendor], [connection.settings_dict["NAME"]])
        return [row[0] for row in cursor.fetchall()]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it is another thread that ends them
async def test_a_call_past_its_deadline_leaves_no_session(
    database: str, method: str, in_thread: ThreadOfQueries
) -> None:
    with options(timeout=1, start_method=method):
        outcomes = await make_concurrent_calls((calls.wait_for_database, {"using": database}), (calls.answer, {}))
    assert not await in_thread(in_statement, database)
    assert isinstance(outcomes.errors[0].error, TerminatedProcessError)
    assert outcomes[1] == 42


async def test_a_call_that_is_killed_leaves_no_session(database: str, folder: Path, in_thread: ThreadOfQueries) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(kill_when_waiting, database, folder, in_thread)
        outcomes = await call_concurrently(1, calls.sign_in_and_wait_for_database, folder, database)
    assert not await in_thread(in_statement, database)
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
    assert not await in_thread(in_statement, database)


async def until_waiting(database: str, in_thread: ThreadOfQueries) -> None:
    with anyio.fail_after(PATIENCE):
        while not await in_thread(in_statement, database):  # noqa: ASYNC110 - the server makes it true
            await anyio.sleep(0.01)


async def test_sessions_that_cannot_be_ended_are_told_and_take_no_outcome_along(
    database: str, folder: Path, in_thread: ThreadOfQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_PATIENCE", 0.2)
    waits = (calls.sign_in_and_wait_for_database, {"folder": folder, "using": database})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with anyio.create_task_group() as group:
            group.start_soon(kill_where_no_way_leads, database, folder, in_thread, monkeypatch)
            outcomes = await make_concurrent_calls(waits, (calls.answer, {}))
    assert isinstance(outcomes.errors[0].error, ProcessDiedError)
    assert outcomes[1] == 42
    [told] = [str(warning.message) for warning in warned if warning.category is RuntimeWarning]
    assert f"terminated calls were doing on database {database!r} could not be ended there (OperationalError: " in told
    monkeypatch.undo()
    assert not await in_thread(end_what_is_left, database)


def end_what_is_left(using: str) -> list[str]:
    return sessions.end_sessions((using, session) for session in in_statement(using))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # it is the server that ends it, which takes MariaDB 5 s
async def test_what_a_call_was_doing_ends_with_its_process_even_if_nobody_ends_it(
    database: str, in_thread: ThreadOfQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "end_sessions", lambda _: [])
    with options(timeout=0.5):
        [terminated] = (await call_concurrently(1, calls.wait_for_database, database)).errors
    assert isinstance(terminated.error, TerminatedProcessError)
    with anyio.fail_after(PATIENCE):
        while await in_thread(in_statement, database):  # noqa: ASYNC110 - the server makes it end
            await anyio.sleep(0.01)


async def kill_where_no_way_leads(
    database: str, folder: Path, in_thread: ThreadOfQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let no new connection come about any more, once a call is in its statement, and kill that."""
    await until_waiting(database, in_thread)
    monkeypatch.setitem(connections.settings[database], "PORT", 1)
    for pid in signed_in(folder):
        calls.kill(pid)
