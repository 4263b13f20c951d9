"""What a wrapper's connections may do: connect to the caller's test databases, and be closed in the end.

The guard is on the class, so that connections of other threads, reconnects and
connections that project code makes for itself are guarded too.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from .. import _pickling
from ..exceptions import NotATestDatabaseError, UncommittedDataError
from .handoff import is_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.backends.base.base import BaseDatabaseWrapper

    from .handoff import Handoff


class Guard:
    """Watches over every connection of this process.

    Attributes:
        opened: The connections that were opened since they were last closed, of all threads.
        announce: Takes a pickled (alias, session id) for each session that is opened.
    """

    def __init__(self) -> None:
        self._handoff: Handoff | None = None
        self.opened: list[BaseDatabaseWrapper] = []
        self._warmed: set[str] = set()
        self._is_installed = False
        self.announce: Callable[[bytes], None] = lambda _: None

    def follow(self, handoff: Handoff) -> None:
        """Allow what `handoff` allows, from now on."""
        self._handoff = handoff
        if not self._is_installed:
            self._install()

    def warm(self) -> None:
        """Open those connections of this thread that the caller uses and that may be opened; run a query on each.

        A database that cannot be reached is left to the call, which may not need it.
        """
        from django.db import connections

        assert self._handoff is not None
        for alias in self._handoff.in_use:
            connection = connections[alias]
            if self._refusal(connection) is None:
                with contextlib.suppress(Exception), connection.cursor() as cursor:
                    cursor.execute("SELECT 1" + connection.features.bare_select_suffix)
                self._warmed.add(alias)

    def rehearse_in_memory(self) -> None:
        """Do what connecting costs this process, without any database of anybody's; SQLite alone can do that."""
        from django.db import connections

        assert self._handoff is not None
        for connection in map(connections.__getitem__, self._handoff.in_use):
            if connection.vendor == "sqlite":
                with contextlib.suppress(Exception):
                    parameters = {**connection.get_connection_params(), "database": ":memory:"}
                    connection.get_new_connection(parameters).close()

    def rehearse(self) -> None:
        """Do once what a first connection takes long for, so that forks of this process have it done."""
        assert self._handoff is not None
        if not self._handoff.in_use <= self._warmed:
            self.warm()
        self.close_all()

    def close_all(self) -> None:
        """Close every connection of every thread of this process."""
        from django.db import connections
        from django.db.backends.base.base import BaseDatabaseWrapper

        connections.close_all()
        while self.opened:
            connection = self.opened.pop()
            if connection.connection is not None and not _is_busy(connection):
                connection.inc_thread_sharing()  # its own thread may be gone, or busy for ever
                with contextlib.suppress(Exception):
                    BaseDatabaseWrapper.close(connection)  # SQLite's own close() keeps databases in memory open
            if hasattr(connection, "close_pool"):
                connection.close_pool()

    def _install(self) -> None:
        from django.db.backends.base.base import BaseDatabaseWrapper

        connect = BaseDatabaseWrapper.connect

        def guarded_connect(connection: BaseDatabaseWrapper) -> None:
            refusal = self._refusal(connection)
            if refusal is not None:
                raise refusal
            connect(connection)
            self.opened.append(connection)
            self.announce(_pickling.dumps((connection.alias, session_id(connection))))

        BaseDatabaseWrapper.connect = guarded_connect  # type: ignore[method-assign, assignment]
        self._is_installed = True

    def _refusal(self, connection: BaseDatabaseWrapper) -> Exception | None:
        assert self._handoff is not None
        alias, name = connection.alias, str(connection.settings_dict["NAME"])
        if alias in self._handoff.uncommitted:
            return UncommittedDataError(alias)
        if self._handoff.allowed is None or name in self._handoff.allowed or is_in_memory(connection.settings_dict):
            return None
        return NotATestDatabaseError(alias, name)


def _is_busy(connection: BaseDatabaseWrapper) -> bool:
    """Whether closing it might crash: SQLite's library does, where another thread is in the midst of a statement.

    The end of the process closes it as well.
    """
    owner = getattr(connection, "_thread_ident", None)
    others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
    return connection.vendor == "sqlite" and owner in others


def session_id(connection: BaseDatabaseWrapper) -> int | None:
    """What the server calls this open connection; None where there is no server."""
    driver: Any = connection.connection
    if connection.vendor == "postgresql":
        return int(driver.info.backend_pid)
    return int(driver.thread_id()) if connection.vendor == "mysql" else None


guard = Guard()
