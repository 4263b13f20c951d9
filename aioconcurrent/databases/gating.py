"""Closing the gate of a stepped wrapper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base import points
from . import tasks
from .gate import gate
from .guard import guard
from .sessions import make_patient

if TYPE_CHECKING:
    from collections.abc import Callable


def install(*, with_django: bool = True) -> None:
    """Have every operation of this process come by the gate."""
    points.watch_steps(gate.pass_step)
    points.watch_work(tasks.leave)
    if with_django:
        from ..base.sources import follow_coroutines
        from . import caches, hooks

        hooks.install(gate)
        caches.install(gate)
        tasks.install()
        follow_coroutines()
        guard.is_stepped = True
        _suit_connections(make_patient)


def close(talk: Callable[[bytes], bytes]) -> None:
    """Close the gate: from here on every operation of this process asks through `talk`."""
    if guard.is_stepped:
        _suit_connections(_report_locks)
    gate.talk = talk


def _suit_connections(suit: Callable[[Any], None]) -> None:
    """Have every connection of this process, of whatever thread, bear with standing still."""
    from django.db import Error
    from django.db.backends.signals import connection_created

    connection_created.connect(lambda connection, **_: suit(connection), weak=False)
    for connection in guard.opened:
        if connection.connection is not None:
            try:
                with connection.wrap_database_errors:
                    suit(connection)
            except Error:  # the server has ended it, for it was idle; the call opens another one
                connection.close()


def _report_locks(connection: Any) -> None:
    """A lock of SQLite is reported at once, and the gate waits for it; what a power cut loses is put back anyway.

    This reads the file, so that it may keep others from writing: it is a part of the run.
    """
    if connection.vendor == "sqlite":
        connection.connection.execute("PRAGMA busy_timeout = 0")
        connection.connection.execute("PRAGMA synchronous = OFF")
