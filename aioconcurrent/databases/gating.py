"""Closing the gate of a stepped wrapper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import _background, _step
from . import background
from .gate import gate
from .guard import guard
from .sessions import make_patient

if TYPE_CHECKING:
    from collections.abc import Callable


def install(talk: Callable[[bytes], bytes], *, with_django: bool = True) -> None:
    """Close the gate: from here on every operation of this process asks through `talk`."""
    _step.watch(gate.pass_step)
    _background.watch(background.leave)
    if with_django:
        from .._sources import follow_coroutines
        from . import brokers, caches, hooks

        hooks.install(gate)
        caches.install(gate)
        brokers.install()
        follow_coroutines()
        guard.is_stepped = True
        _suit_connections()
    gate.talk = talk


def _suit_connections() -> None:
    """Have every connection of this process, of whatever thread, bear with standing still."""
    from django.db import Error
    from django.db.backends.signals import connection_created

    def suit(sender: object, connection: Any, **_: object) -> None:
        if connection.vendor == "sqlite":
            # a lock is reported at once, and the gate waits for it; what is lost in a power cut is put back anyway
            connection.connection.execute("PRAGMA busy_timeout = 0")
            connection.connection.execute("PRAGMA synchronous = OFF")
        make_patient(connection)

    connection_created.connect(suit, weak=False)
    for connection in guard.opened:
        if connection.connection is not None:
            try:
                with connection.wrap_database_errors:
                    suit(None, connection)
            except Error:  # the server has ended it, for it was idle; the call opens another one
                connection.close()
