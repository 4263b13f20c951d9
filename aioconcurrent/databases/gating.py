"""Installing the gate in a stepped wrapper."""

from __future__ import annotations

from ..base import points
from . import tasks
from .gate import gate
from .guard import guard
from .sessions import make_patient


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
        _make_patient()


def _make_patient() -> None:
    """Have every connection of this process, of whatever thread, bear with standing still."""
    from django.db import Error
    from django.db.backends.signals import connection_created

    connection_created.connect(lambda connection, **_: make_patient(connection), weak=False)
    for connection in guard.opened:
        if connection.connection is not None:
            try:
                with connection.wrap_database_errors:
                    make_patient(connection)
            except Error:  # the server has ended it, for it was idle; the call opens another one
                connection.close()
