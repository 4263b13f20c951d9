"""What a soak has left behind: processes, descriptors, threads, files, sessions, locks.

What takes a moment to go is waited for.
"""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from django.db import connections

from aioconcurrent.sync import call_concurrently, options
from tests.faults import calls
from tests.faults.processes import descriptors_of, marked, wait_until

PATIENCE = 10.0  # seconds
Found = dict[str, list[str]]  # what is left, by its kind

_KEPT = ("Trio thread", "ThreadPoolExecutor", "asyncio_", "AnyIO worker")  # for the next work
_SESSIONS = {
    "postgresql": "SELECT pid, state, query FROM pg_stat_activity WHERE datname = current_database() "
    "AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
    "mysql": "SELECT id, command, info FROM information_schema.processlist WHERE db = DATABASE() "
    "AND id <> CONNECTION_ID()",
}
_LOCKS = {
    "postgresql": "SELECT l.pid, l.locktype, l.mode FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
    "WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND l.pid <> pg_backend_pid()",
    "mysql": "SELECT t.trx_mysql_thread_id, t.trx_state, p.db FROM information_schema.innodb_trx t "
    "JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id "
    "WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()",
}


@dataclass(frozen=True)
class Use:
    """What this process and its template have open while nothing goes on."""

    descriptors: int
    template_descriptors: int
    threads: int

    @classmethod
    def now(cls) -> Use:
        template = template_of_race()
        connections.close_all()
        gc.collect()
        return cls(psutil.Process().num_fds(), descriptors_of(template), len(_threads()))


def template_of_race() -> int:
    """See to it that there is a template, and return its process id."""
    with options(start_method="fork", timeout=60):
        [(_, template)] = call_concurrently(1, calls.get_pids).values
    return template


def left(mark: str, before: Use) -> Found:
    """What is left that was not there before.

    Args:
        mark: Of all processes of the soak.
        before: What there was in use, after a race.
    """
    found: Found = {}
    template = template_of_race()
    connections.close_all()
    gc.collect()
    here = psutil.Process()
    _note(found, "descriptors", lambda: _surplus("here", here.num_fds(), before.descriptors))
    template_before = before.template_descriptors
    _note(found, "descriptors", lambda: _surplus("in the template", descriptors_of(template), template_before))
    _note(found, "threads", lambda: [repr(each) for each in _threads()] if len(_threads()) > before.threads else [])
    _note(found, "orphans", lambda: [_told(pid) for pid in strangers(mark, template)])
    _note(found, "files", lambda: [path.name for path in Path(tempfile.gettempdir()).iterdir()])
    for alias in connections:
        for kind, ask in (("sessions", sessions), ("locks", locks)):
            _note(found, kind, lambda alias=alias, ask=ask: [f"{alias}: {one}" for one in ask(alias)])  # type: ignore[misc]
    return found


def strangers(mark: str, template: int) -> list[int]:
    """Living processes of the soak that are neither this one, nor the template, nor what it has forked ahead."""
    with contextlib.suppress(psutil.Error):
        spares = psutil.Process(template).children()
        known = {os.getpid(), template, *(spare.pid for spare in spares[:8])}
        return [pid for pid in marked(mark) if pid not in known]
    return []


def sessions(alias: str) -> Iterable[object]:
    """The sessions of others in this database."""
    return _asked(alias, _SESSIONS)


def locks(alias: str) -> Iterable[object]:
    """The locks of others in this database."""
    connection: Any = connections[alias]
    if connection.vendor != "sqlite":
        return _asked(alias, _LOCKS)
    connection.ensure_connection()
    driver = connection.connection
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        driver.execute("BEGIN EXCLUSIVE")
        driver.execute("ROLLBACK")
    except connection.Database.OperationalError as problem:
        return [problem]
    finally:
        driver.execute("PRAGMA busy_timeout = 20000")
    return []


def _asked(alias: str, queries: dict[str, str]) -> list[object]:
    connection = connections[alias]
    if connection.vendor not in queries:
        return []
    with connection.cursor() as cursor:
        cursor.execute(queries[connection.vendor])
        return list(cursor.fetchall())


def _note(found: Found, kind: str, look: Callable[[], Collection[str]]) -> None:
    if not wait_until(lambda: not look(), PATIENCE):
        found.setdefault(kind, []).extend(look())


def _surplus(where: str, now: int, before: int) -> list[str]:
    return [f"{now} {where} in place of {before}"] if now > before else []


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if not thread.name.startswith(_KEPT)]


def _told(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"{pid} (child of {process.ppid()}): {' '.join(process.cmdline())[:200]}"
    except psutil.Error:
        return str(pid)
