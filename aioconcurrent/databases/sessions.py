"""Ending, on the server, what a killed wrapper was doing there.

A server notices that its client is gone only when it next talks to it: until
then the statement of a killed wrapper runs on and keeps its locks, so that the
test's own clean-up would hang.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE = 5.0  # seconds for sessions to be gone
_END = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
_COUNT = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE id IN %s",
}


def end_sessions(sessions: Iterable[tuple[str, int | None]]) -> None:
    """End these sessions and wait until they are gone.

    Args:
        sessions: Aliases, and what their servers call the connections.
    """
    by_alias: dict[str, list[int]] = {}
    for alias, session in sessions:
        if session is not None:
            by_alias.setdefault(alias, []).append(session)
    for alias, ids in by_alias.items():
        _end(alias, ids)


def _end(alias: str, ids: list[int]) -> None:
    from django.db import connections

    connection: Any = connections[alias].copy()
    # through the driver, for the test may have told Django to open no connections
    driver = connection.get_new_connection(connection.get_connection_params())
    with contextlib.closing(driver):
        _commit_each(driver, connection.vendor)
        cursor = driver.cursor()
        for session in ids:
            with contextlib.suppress(connection.Database.Error):  # it ended by itself
                cursor.execute(_END[connection.vendor], [session])
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            cursor.execute(_COUNT[connection.vendor], [ids])
            if not cursor.fetchone()[0]:
                return
            time.sleep(0.005)


def _commit_each(driver: Any, vendor: str) -> None:
    if vendor == "postgresql":
        driver.autocommit = True
    else:
        driver.autocommit(True)
