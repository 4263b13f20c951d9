"""Run, on the server, what a killed wrapper was doing there.

A server notices that its client is gone only when it next talks to it: until
then the statement of a killed wrapper runs on and keeps its locks, so that the
test's own clean-up would hang.
"""

from __future__ import annotations

import contextlib
import re
import select
from typing import TYPE_CHECKING, Any

from .. import _clock as time
from .._text import printable, text_of
from .isolation import in_autocommit
from .poolers import is_pooled

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE = 5.0  # seconds for a connection to be had, and again for sessions to be gone
_LOOK = 500  # milliseconds between two looks of a server at its client
MYSQL_ENDED = frozenset({1053, 1927, 2006, 2013, 4031})  # shutdown, killed, gone away, lost, timed out
_POSTGRESQL_ENDED = frozenset({"57P01", "57P02", "57P05", "08003", "08006"})  # by word, crash, idleness; closed, lost
_ENDED = re.compile(r"connection (?:is|already|was) (?:closed|lost)|closed the connection|terminating connection")
_HUNG_UP = getattr(select, "POLLRDHUP", 0)  # on Linux; elsewhere, that both ends are closed, is always looked at
_PAUSE = 0.1  # seconds between two attempts to connect
_END = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
_LIST = {
    "postgresql": "SELECT pid FROM pg_stat_activity",
    "mysql": "SHOW PROCESSLIST",  # which needs no temporary table, as information_schema does, and so no room for one
}


def end_with_client(connection: Any) -> bool:
    """Let the server end what this session is doing soon after this process has gone, however it goes.

    MariaDB and MySQL look after their clients by themselves; PostgreSQL does from version 14 on, where it is told to.

    Returns:
        Whether it is this connection's own session: one that a pooler lends is for others to end, and to set.
    """
    if connection.vendor != "postgresql":
        return True
    driver = connection.connection
    if driver.info.server_version >= 140000:
        setting = (
            f"set_config('client_connection_check_interval', '{_LOOK}', pg_backend_pid() <> {driver.info.backend_pid})"
        )
        with contextlib.suppress(connection.Database.Error), in_autocommit(driver), driver.cursor() as cursor:
            cursor.execute(f"SELECT pg_backend_pid(), {setting}")
            return bool(cursor.fetchone()[0] == driver.info.backend_pid)
    return not is_pooled(connection)


def is_ended(driver: Any) -> bool:
    """Whether the server has ended the session of a driver's open connection: nothing is sent, its socket tells."""
    try:
        descriptor = (driver if hasattr(driver, "fileno") else driver._sock).fileno()
    except Exception:  # it was closed at this end
        return True
    poll = select.poll()
    poll.register(descriptor, _HUNG_UP)
    return bool(poll.poll(0))


def tells_of_end(error: BaseException | None) -> bool:
    """Whether an exception, or one that it came of, says that the server has ended the session."""
    while error is not None:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state in _POSTGRESQL_ENDED or (error.args and error.args[0] in MYSQL_ENDED):
            return True
        if state is None and "Error" in type(error).__name__ and _ENDED.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def end_sessions(sessions: Iterable[tuple[str, int | None]]) -> list[str]:
    """End these sessions and wait until they are gone.

    Args:
        sessions: Aliases, and what their servers call the connections.

    Returns:
        What could not be done, a sentence each.
    """
    by_alias: dict[str, list[int]] = {}
    for alias, session in sessions:
        if session is not None:
            by_alias.setdefault(alias, []).append(session)
    problems = []
    for alias, ids in by_alias.items():
        try:
            _end(alias, ids)
        except Exception as problem:
            told = f"{type(problem).__name__}: {printable(text_of(problem).strip())}"
            problems.append(
                f"What terminated calls were doing on database {alias!r} could not be ended there ({told}), "
                "so it may go on for a while and keep its locks."
            )
    return problems


def _end(alias: str, ids: list[int]) -> None:
    from django.db import connections

    connection: Any = connections[alias].copy()
    driver = _connect(connection)
    with contextlib.closing(driver):
        _commit_each(driver, connection.vendor)
        cursor = driver.cursor()
        for session in ids:
            with contextlib.suppress(connection.Database.Error):  # it ended by itself
                cursor.execute(_END[connection.vendor], [session])
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            cursor.execute(_LIST[connection.vendor])
            if not set(ids) & {row[0] for row in cursor.fetchall()}:
                return
            time.sleep(0.005)


def _connect(connection: Any) -> Any:
    """Connect, again and again for a while: the sessions that are to be ended may be all that the server allows."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            # through the driver, for the test may have told Django to open no connections
            return connection.get_new_connection(connection.get_connection_params())
        except connection.Database.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def _commit_each(driver: Any, vendor: str) -> None:
    if vendor == "postgresql":
        driver.autocommit = True
    else:
        driver.autocommit(True)
