"""The gate in front of every database round trip of a stepped wrapper.

Each asks before it runs and reports after it ran; between the report and its
acknowledgement nothing else runs in this process.  The patches are on Django's
classes, so that other threads, reconnects and the async ORM pass through the
same gate.  What opens a connection does not: it takes no locks, and would only
multiply the orders.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import _pickling
from ..explore.operation import Operation
from .guard import session_id
from .sources import application_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.backends.base.base import BaseDatabaseWrapper

    from ..explore.operation import Kind, Primitive

_ROWS = 20  # of a result set are kept for the picture
_QUERY_CANCELED = "57014"  # PostgreSQL; by the controller where it resolves a deadlock
_SQLITE_BUSY = 5


@dataclass(frozen=True, slots=True)
class Want:
    """A request to run one operation.

    Attributes:
        session: What the server calls the connection; None where it has no name.
        source: The application's line that asks.
        columns: Of what was fetched since the request before.
        rows: The first rows of it.
    """

    operation: Operation
    session: int | None
    source: str | None
    columns: tuple[str, ...]
    rows: tuple[tuple[Primitive, ...], ...]


@dataclass(frozen=True, slots=True)
class Busy:
    """SQLite found a lock for which it would have waited."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """PostgreSQL cancelled the statement at somebody's request."""


@dataclass(frozen=True, slots=True)
class Done:
    """The operation has ended; the acknowledgement lets the call go on."""

    rowcount: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The function has returned or raised; what it fetched last."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Primitive, ...], ...]


class Gate:
    """Keeps every operation of this process waiting for an answer, once it is closed.

    Attributes:
        talk: Sends a message and returns the answer; None while the gate is open.
    """

    def __init__(self) -> None:
        self.talk: Callable[[bytes], bytes] | None = None
        self._passing = threading.RLock()
        self._connecting = threading.local()
        self._connections: list[object] = []  # driver connections in the order in which they were first seen
        self._locked: set[int] = set()  # ids of SQLite connections whose transaction has a lock
        self.dirty: set[int] = set()  # ids of connections that ran something since their last COMMIT
        self._columns: tuple[str, ...] = ()
        self._rows: list[tuple[Primitive, ...]] = []

    def say(self, message: object) -> str:
        """Send a message to the controller, and wait for its answer."""
        assert self.talk is not None
        return str(_pickling.loads(self.talk(_pickling.dumps(message))))

    def is_closed(self) -> bool:
        """Whether operations of this thread have to ask now."""
        return self.talk is not None and not getattr(self._connecting, "now", False)

    def open(self) -> None:
        """Let everything pass, after a last word about what was read."""
        if self.talk is not None:
            self.say(Ended(self._columns, tuple(self._rows)))
            self.talk = None

    def while_connecting(self, connect: Callable[[], None]) -> None:
        """Leave open what opening a connection runs."""
        self._connecting.now = True
        try:
            connect()
        finally:
            self._connecting.now = False

    def pass_through(self, operation: Operation, session: int | None, run: Callable[[], Any]) -> Any:
        """Run something that is no database round trip: a step of the application, or an operation of a cache."""
        with self._passing:
            self._ask(operation, session)
            try:
                value = run()
            except Exception as error:
                self.say(Done(None, _tell(error)))
                raise
            self.say(Done(None, None))
            return value

    def pass_database(
        self, connection: Any, kind: Kind, sql: str, parameters: object, run: Callable[[], Any], cursor: Any = None
    ) -> Any:
        """Run one round trip of a connection."""
        with self._passing:
            self._ask(self._describe(connection, kind, sql, parameters), session_id(connection))
            while True:
                try:
                    value = run()
                except Exception as error:
                    if self._may_retry(connection, kind, error):
                        continue
                    raise
                self._track(connection, kind, sql)
                self.say(Done(getattr(cursor, "rowcount", None), None))
                return value

    def fetched(self, cursor: Any, rows: Iterable[Any]) -> None:
        """Take note of rows that the application has read."""
        if self.is_closed() and len(self._rows) < _ROWS:
            self._columns = tuple(str(column[0]) for column in cursor.description or ())
            self._rows += [tuple(map(_primitive, row)) for row in rows][: _ROWS - len(self._rows)]

    def _ask(self, operation: Operation, session: int | None) -> None:
        columns, rows, self._columns, self._rows = self._columns, tuple(self._rows), (), []
        self.say(Want(operation, session, application_line(), columns, rows))

    def _describe(self, connection: Any, kind: Kind, sql: str, parameters: object) -> Operation:
        settings = connection.settings_dict
        return Operation(
            kind,
            sql,
            _primitives(parameters),
            connection.vendor,
            database=f"{settings['NAME']}@{settings['HOST']}",
            connection=self._number(connection),
            in_transaction=connection.in_atomic_block or not connection.autocommit,
            isolation=_isolation(connection),
        )

    def _number(self, connection: Any) -> int:
        for number, known in enumerate(self._connections):
            if known is connection.connection:
                return number
        self._connections.append(connection.connection)
        return len(self._connections) - 1

    def _may_retry(self, connection: Any, kind: Kind, error: Exception) -> bool:
        """Report a failed round trip; True if it is to be tried again."""
        cause = error.__cause__ or error
        if _sqlstate(cause) == _QUERY_CANCELED and self.say(Cancelled()) == "deadlock":
            self.say(Done(None, "OperationalError: deadlock detected"))
            raise _deadlock(connection) from cause
        if self._would_wait(connection, kind, cause) and self.say(Busy()) == "retry":
            return True
        self.say(Done(None, _tell(error)))
        return False

    def _would_wait(self, connection: Any, kind: Kind, cause: BaseException) -> bool:
        """Whether SQLite's busy handler would run: never for a connection that has a lock, except at COMMIT."""
        code = getattr(cause, "sqlite_errorcode", None)
        if connection.vendor != "sqlite" or code is None or code & 0xFF != _SQLITE_BUSY:
            return False
        return kind == "commit" or id(connection.connection) not in self._locked

    def _track(self, connection: Any, kind: Kind, sql: str) -> None:
        ended = kind in ("commit", "rollback", "close")
        (self.dirty.discard if ended else self.dirty.add)(id(connection.connection))
        if connection.vendor != "sqlite" or connection.connection is None:
            return
        deferred = sql.lstrip()[:8].upper() in ("BEGIN", "SAVEPOIN", "RELEASE ", "PRAGMA F")
        if kind in ("commit", "rollback") or not connection.connection.in_transaction:
            self._locked.discard(id(connection.connection))
        elif not deferred:
            self._locked.add(id(connection.connection))


def _sqlstate(error: BaseException) -> str | None:
    """What psycopg and psycopg2 call by different names."""
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _isolation(connection: Any) -> str | None:
    level = getattr(connection, "isolation_level", None)
    if level is None:
        return None
    return str(getattr(level, "name", level)).replace("_", " ").lower()


def _primitives(parameters: object) -> tuple[Primitive, ...] | None:
    if parameters is None:
        return None
    values = parameters.values() if isinstance(parameters, dict) else parameters
    return tuple(_primitive(value) for value in values)  # type: ignore[attr-defined]  # a sequence, by the DB API


def _primitive(value: object) -> Primitive:
    """Drivers wrap plain values in classes of their own, whose repr would make equal values differ."""
    for kind in (bool, int, float, str, bytes):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)  # type: ignore[arg-type]  # each takes its own kind
    return None if value is None else repr(value)


def _tell(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _deadlock(connection: BaseDatabaseWrapper) -> Exception:
    from django.db.utils import OperationalError

    return OperationalError("deadlock detected")


gate = Gate()
