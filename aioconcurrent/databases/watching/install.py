"""Watching a wrapper: installs the recorder or the gate, so that every operation on shared data passes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...base import points
from ..guard import guard
from ..sessions import make_patient
from .gate import gate
from .recording import recorder

if TYPE_CHECKING:
    from .passage import Passage


def record(*, with_django: bool) -> None:
    """Get ready to record: `recorder.start` begins."""
    _watch(recorder, with_django=with_django)


def step(*, with_django: bool) -> None:
    """Get ready to step: `gate.close` begins."""
    from . import tasks

    _watch(gate, with_django=with_django)
    points.watch_work(tasks.leave)
    if with_django:
        tasks.install()
        guard.is_stepped = True
        _make_patient()


def _watch(passage: Passage, *, with_django: bool) -> None:
    points.watch_steps(passage.pass_step)
    if with_django:
        from ...base.sources import follow_coroutines
        from . import caches, hooks

        hooks.install(passage)
        caches.install(passage)
        follow_coroutines()


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
