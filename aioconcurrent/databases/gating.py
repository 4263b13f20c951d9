"""Closing the gate of a stepped wrapper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _step
from .gate import gate

if TYPE_CHECKING:
    from collections.abc import Callable


def install(talk: Callable[[bytes], bytes], *, with_django: bool = True) -> None:
    """Close the gate: from here on every operation of this process asks through `talk`."""
    _step.watch(gate.pass_step)
    if with_django:
        from . import caches, hooks
        from .sources import follow_coroutines

        hooks.install(gate)
        caches.install(gate)
        follow_coroutines()
        _quicken_sqlite()
    gate.talk = talk


def _quicken_sqlite() -> None:
    """Let SQLite report a lock at once, for which the gate waits in its place, and let no write wait for a disk."""
    from django.db import connections
    from django.db.backends.signals import connection_created

    def quicken(sender: object, connection: Any, **_: object) -> None:
        if connection.vendor == "sqlite":
            connection.connection.execute("PRAGMA busy_timeout = 0")
            connection.connection.execute("PRAGMA synchronous = OFF")  # what is lost in a power cut is put back anyway

    connection_created.connect(quicken, weak=False)
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            quicken(None, connection)
