"""What connections of calls may do: connect to the caller's test databases, and be closed at the end.

The guard is on the class, so that connections of other threads, reconnects and connections
that project code creates itself are guarded too.  Calls that run in the test's own process
have a guard on cursors instead: their connections are the caller's, and may be open already.
"""

from __future__ import annotations

import contextlib
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..base import own_clock as time
from ..base import pickling
from ..exceptions import NoConnectionLeftError, NotATestDatabaseError, UncommittedDataError
from .handoff import SessionState, enter_session, enter_tenant, is_in_memory, look, test_names
from .sessions import end_with_client, is_ended, make_patient, naming_full_servers, tells_of_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.db.backends.base.base import BaseDatabaseWrapper

    from .handoff import Handoff


_SERVERS = ("postgresql", "mysql")
_PATIENCE = 2.0  # seconds for a connection of a stepped call to be had
_PAUSE = 0.02  # seconds between two attempts


class Guard:
    """Watches over every connection of this process.

    Attributes:
        is_stepped: Whether the calls of this process are stepped.
        opened: The connections that were opened since they were last closed, of all threads.
        announce: Takes a pickled (alias, session id) for each session that is opened.
        blame: Takes each refusal, as `dump_error` makes it: the application may keep the error to itself.
        is_severed: Whether the server has ended a session that was not closed here; to be asked before the last are.
    """

    def __init__(self) -> None:
        self._handoff: Handoff | None = None
        self.opened: list[BaseDatabaseWrapper] = []
        self._warmed: set[str] = set()
        self._is_installed = False
        self._was_severed = False
        self.is_stepped = False
        self.announce: Callable[[bytes], None] = lambda _: None
        self.blame: Callable[[bytes], None] = lambda _: None

    def follow(self, handoff: Handoff) -> None:
        """Allow what `handoff` allows, from now on."""
        self._handoff = handoff
        if not self._is_installed:
            self._install()

    def refuse_all(self) -> list[object]:
        """Let no connection be opened any more; return a list that gets each that was to be."""
        refused: list[object] = []

        def refuse(connection: BaseDatabaseWrapper) -> Exception:
            refused.append(connection)
            return NotATestDatabaseError(connection.alias, str(connection.settings_dict["NAME"]))

        self._refusal = refuse  # type: ignore[method-assign]
        return refused

    def warm(self) -> None:
        """Open those connections of this thread that the caller uses and that may be opened; run a query on each.

        A database that cannot be reached is left to the call, which may not need it.
        """
        from django.db import connections

        assert self._handoff is not None
        self.enter_tenants()
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

    @property
    def is_severed(self) -> bool:
        return self._was_severed or any(map(_is_severed, self.opened))

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
                self.blame(pickling.dump_error(refusal))
                raise refusal
            self.opened.append(connection)
            try:
                if self.is_stepped:
                    self._connect_or_blame(lambda: connect(connection), connection)
                else:
                    connect(connection)
            except Exception as error:
                self._was_severed = self._was_severed or tells_of_end(error)
                raise
            if end_with_client(connection):
                self.announce(pickling.dumps((connection.alias, session_id(connection))))
                self._enter_session(connection)

        close = BaseDatabaseWrapper.close

        def watched_close(connection: BaseDatabaseWrapper) -> None:
            self._was_severed = self._was_severed or _is_severed(connection)
            close(connection)

        BaseDatabaseWrapper.connect = guarded_connect  # type: ignore[method-assign, assignment]
        BaseDatabaseWrapper.close = watched_close  # type: ignore[method-assign, assignment]
        self._is_installed = True

    def enter_tenants(self) -> None:
        """Let the connections of this thread be for the tenants of the test."""
        from django.db import connections

        assert self._handoff is not None
        for alias in self._handoff.pickled:
            enter_tenant(connections[alias], self._handoff.sessions.get(alias))

    def settings_of(self, alias: str) -> tuple[tuple[str, str], ...]:
        """What the test has set in the session of its connection, and calls have in theirs."""
        assert self._handoff is not None
        state = self._handoff.sessions.get(alias)
        found: SessionState = SessionState() if state is None else pickling.loads(state)
        return found.settings

    def _enter_session(self, connection: BaseDatabaseWrapper) -> None:
        """Before any statement of the call: one that ran without the test's settings might see another's rows."""
        assert self._handoff is not None
        state = self._handoff.sessions.get(connection.alias)
        if state is None:
            return
        try:
            enter_session(connection, state)
            if self.is_stepped:
                make_patient(connection)
        except BaseException:
            connection.close()
            raise

    def _connect_or_blame(self, connect: Callable[[], None], connection: BaseDatabaseWrapper) -> None:
        """A run in which a call could not connect for want of connections proves nothing.

        Those of the run before may be about to end, so that it is tried for a while.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                with naming_full_servers(connection):
                    return connect()
            except NoConnectionLeftError as error:
                if time.monotonic() > deadline:
                    self.blame(pickling.dump_error(error))
                    raise
                time.sleep(_PAUSE)

    def _refusal(self, connection: BaseDatabaseWrapper) -> BaseException | None:
        assert self._handoff is not None
        alias, name = connection.alias, str(connection.settings_dict["NAME"])
        if alias in self._handoff.uncommitted:
            return UncommittedDataError(alias)
        if alias in self._handoff.forbidden:
            return pickling.load_error(self._handoff.forbidden[alias])
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


def _is_severed(connection: BaseDatabaseWrapper) -> bool:
    return connection.connection is not None and connection.vendor in _SERVERS and is_ended(connection.connection)


def session_id(connection: BaseDatabaseWrapper) -> int | None:
    """What the server calls this open connection; None where there is no server."""
    driver: Any = connection.connection
    if connection.vendor == "postgresql":
        return int(driver.info.backend_pid)
    return int(driver.thread_id()) if connection.vendor == "mysql" else None


guard = Guard()


@contextmanager
def guarding_cursors(blame: Callable[[bytes], None]) -> Iterator[None]:
    """Refuse connections and cursors of anything but test databases in the block.

    Connections may be open already, for they are the caller's.

    Args:
        blame: Takes each refusal, as `dump_error` makes it: the application may keep the error to itself.
    """
    from django.db.backends.base.base import BaseDatabaseWrapper

    kind: Any = BaseDatabaseWrapper
    allowed = test_names(look().settings)

    def refusing(method: Any) -> Any:
        def refuse_or_call(connection: Any, *args: Any, **kwargs: Any) -> Any:
            name = str(connection.settings_dict["NAME"])
            if name not in allowed and not is_in_memory(connection.settings_dict):
                refusal = NotATestDatabaseError(connection.alias, name)
                blame(pickling.dump_error(refusal))
                raise refusal
            return method(connection, *args, **kwargs)

        return refuse_or_call

    before = kind.connect, kind._cursor
    kind.connect, kind._cursor = map(refusing, before)
    try:
        yield
    finally:
        kind.connect, kind._cursor = before
