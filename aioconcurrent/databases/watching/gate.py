"""The gate in front of everything that a stepped wrapper does to shared data.

Each operation asks before it runs, unless it had leave ahead, and reports after it ran.  Where another call may have
waited for it, nothing else runs in this process between the report and its acknowledgement.  Threads and coroutines
pass one at a time.

A statement that is split, or committed at once, gets a transaction for which the application did not ask.  It is
run by the driver, on the statement's own connection, so that Django's `atomic`, `on_commit` and autocommit know
nothing of it.  It has what a statement in autocommit has: the isolation level that the server gives to whoever asks
for none.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from ...base import own_clock as time
from ...base import pickling, points
from ...base.sources import application_line
from ...base.trace import ROWS_KEPT, START, Operation
from ..guard import session_id
from ..sessions import MYSQL_ENDED
from .passage import Passage, told_columns, told_error, told_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper

    from ...base.trace import Kind, LockSite, Primitive
    from .passage import Tell


class Transaction:
    """PostgreSQL's."""

    def __init__(self, connection: Any) -> None:
        self._driver = connection.connection

    def begin(self) -> None:
        self._run("BEGIN")

    def commit(self) -> None:
        self._run("COMMIT")

    def rollback(self) -> None:
        self._run("ROLLBACK")

    def _run(self, sql: str) -> None:
        with self._driver.cursor() as cursor:
            cursor.execute(sql)


class _MysqlTransaction(Transaction):
    """MySQL's: a BEGIN would give back what LOCK TABLES has locked."""

    def begin(self) -> None:
        self._run("SET autocommit = 0")

    def commit(self) -> None:
        try:
            super().commit()
        finally:
            self._run("SET autocommit = 1")

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self._run("SET autocommit = 1")


def transaction_of(connection: Any) -> Transaction:
    """One for the next statement of this connection."""
    return (_MysqlTransaction if connection.vendor == "mysql" else Transaction)(connection)


class FetchedCursor:
    """A cursor of SQLite's driver with all rows of its statement; the next statement is the driver's again."""

    def __init__(self, cursor: Any) -> None:
        self._cursor: Any = cursor._cursor if isinstance(cursor, FetchedCursor) else cursor
        self._rows: Iterator[Any] = iter(self._cursor.fetchall())

    def execute(self, *args: Any) -> Any:
        self._rows = self._cursor
        return self._cursor.execute(*args)

    def executemany(self, *args: Any) -> Any:
        self._rows = self._cursor
        return self._cursor.executemany(*args)

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        return list(islice(self._rows, self._cursor.arraysize if size is None else size))

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


_QUERY_CANCELED = "57014"  # PostgreSQL; by the controller where it resolves a deadlock
_NOT_IN_TRANSACTION = frozenset({"25001", "2D000"})  # PostgreSQL: of VACUUM, or of a procedure that commits
_SQLITE_BUSY = 5
_TOLD_AT_ONCE = 16  # messages about operations that had leave ahead; more wait while the controller takes them in
_SILENCE = 0.1  # seconds, likewise


@dataclass(frozen=True, slots=True)
class Want(pickling.Fields):
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


class Leave(NamedTuple):
    """What lets an operation go.

    Attributes:
        manner: "go", "split", or "at once" with its COMMIT; "free" if it is no step.
        number: Of the step, from 1; 0 if it is none.
        goes_on: Whether the call goes on when the operation has ended, without leave.
        ahead: In which manners the next operations of the script may go, without asking, if the call comes to them.
    """

    manner: str
    number: int = 0
    goes_on: bool = False
    ahead: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Went(pickling.Fields):
    """An operation was let go that had leave ahead."""

    want: Want


@dataclass(frozen=True, slots=True)
class Busy:
    """SQLite found a lock for which it would have waited."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """PostgreSQL cancelled the statement: at our request, at somebody's, or when a limit of time was over."""


@dataclass(frozen=True, slots=True)
class Left:
    """The call is about to enqueue this task, which was tried before if it is a retry."""

    task: bytes
    is_retry: bool = False


@dataclass(frozen=True, slots=True)
class Fetch:
    """The wrapper of a task asks for it; the answer is None if it was not enqueued."""


@dataclass(frozen=True, slots=True)
class Unsplittable:
    """A statement that was to be split cannot run in a transaction."""


@dataclass(frozen=True, slots=True)
class Done(pickling.Fields):
    """The operation has ended; an acknowledgement lets the call go on, unless it was told that it may.

    Attributes:
        rowcount: Of a cache operation: how many keys it found, added, touched or deleted.
        columns: Of a cache operation: its keys.
        rows: Of a cache operation: one row, the values found or stored.
        lost: Whether the server has ended the session.
    """

    rowcount: int | None
    error: str | None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Primitive, ...], ...] = ()
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Ended(pickling.Fields):
    """The function has returned or raised; what it fetched last.

    Attributes:
        unshared: Which caches it used that no other process sees, a sentence each.
        unseen: What it did that passes unseen, a sentence each.
        locks: That it took or left out, where that is noted.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Primitive, ...], ...]
    unshared: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    locks: frozenset[LockSite] = frozenset()


class Gate(Passage):
    """Keeps every operation of this process waiting for an answer, once it is closed.

    Attributes:
        talk: Sends a message and returns the answer; None while the gate is open.
        tell: Sends a message that is not answered; None likewise.
        locks: That the call took or left out, where that is noted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.talk: Callable[[bytes], bytes] | None = None
        self.tell: Callable[[bytes], None] | None = None
        self.locks: set[LockSite] = set()
        self._passing = threading.RLock()
        self._is_under_way = False  # an operation was let go and has not reported yet
        self._goes_on = False  # when it has
        self._script: tuple[Operation, ...] = ()  # what the call is expected to ask for
        self._asked = 0  # how many operations it has asked for
        self._ahead: deque[str] = deque()  # the manners of those that come next in the script and may go
        self._unsaid: list[object] = []  # what travels with the next message
        self._said = 0.0  # when there was one, in seconds of `time.monotonic`
        self._locked: set[int] = set()  # ids of SQLite connections whose transaction has a lock
        self._reporting: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # connections, Django's and the driver's
        self._columns: tuple[str, ...] = ()
        self._rows: list[tuple[Primitive, ...]] = []

    def start_anew(self, drivers: Collection[int]) -> None:
        super().start_anew(drivers)
        points.number = 0
        self.locks.clear()
        self._locked.clear()
        self._columns, self._rows, self._is_under_way = (), [], False
        self._script, self._asked = (), 0
        self._ahead.clear()
        self._unsaid.clear()

    def close(
        self, talk: Callable[[bytes], bytes], tell: Callable[[bytes], None], script: Sequence[Operation] = ()
    ) -> None:
        """Have every operation wait for leave from now on; the script is what the call is expected to ask for."""
        self.talk, self.tell, self._script = talk, tell, tuple(script)

    def say(self, message: object) -> Any:
        """Send a message to the controller, and wait for its answer."""
        assert self.talk is not None
        return pickling.loads(self.talk(self._packed(message)))

    def _packed(self, *messages: object) -> bytes:
        said, self._unsaid, self._said = (*self._unsaid, *messages), [], time.monotonic()
        return pickling.dumps(said)

    def is_closed(self) -> bool:
        """Whether operations of this thread have to ask now."""
        return self.talk is not None and not self._is_connecting()

    def begin(self) -> None:
        """Wait to be let go for the first time."""
        with self._passing:
            self.say(self._want(START, None))

    def open(self) -> None:
        """Let everything pass, after a last word about what was read."""
        with self._passing:
            if self.talk is not None:
                noted = tuple(self.unshared.values()), tuple(self.unseen), frozenset(self.locks)
                assert self.tell is not None
                self.tell(self._packed(Ended(self._columns, tuple(self._rows), *noted)))
                self.talk = self.tell = None

    def pass_through(self, operation: Operation, run: Callable[[], Any], tell: Tell | None = None) -> Any:
        with self._passing:
            if self.talk is None:  # opened while this thread waited for another's operation
                return run()
            self._ask(operation, None)
            try:
                value = run()
            except Exception as error:
                self._report(Done(None, told_error(error)))
                raise
            self._report(Done(None, None) if tell is None else _done(*tell(value)))
            return value

    def pass_database(
        self, connection: Any, kind: Kind, sql: str, parameters: object, run: Callable[[], Any], cursor: Any = None
    ) -> Any:
        with self._passing:
            if self.talk is None:
                return run()
            operation = self._describe(connection, kind, sql, parameters)
            match self._ask(operation, session_id(connection)):
                case "split":
                    return self._pass_split(connection, operation, run, cursor)
                case "free":
                    self._is_under_way = False
                    return run()
                case "at once":
                    return self._pass_at_once(connection, operation, run, cursor)
            value = self._attempt(connection, kind, run)
            self._track(connection, kind, sql)
            self._track_locks(connection, kind, sql)
            self._report(Done(getattr(cursor, "rowcount", None), None))
            return value

    def pass_fetch(self, connection: Any, sql: str, parameters: object, run: Callable[[], Any]) -> Any:
        return self.pass_database(connection, "fetch", sql, parameters, run)

    def _pass_split(self, connection: Any, operation: Operation, run: Callable[[], Any], cursor: Any) -> Any:
        """Run a statement in a transaction of its own, whose COMMIT asks as a step by itself."""
        transaction = transaction_of(connection)

        def run_in_transaction() -> Any:
            with connection.wrap_database_errors:
                transaction.begin()
            return run()

        def undo(error: Exception) -> None:
            with contextlib.suppress(Exception):  # the connection may be gone
                transaction.rollback()
            if _sqlstate(error.__cause__ or error) in _NOT_IN_TRANSACTION:
                self.say(Unsplittable())

        def commit() -> None:
            with connection.wrap_database_errors:
                transaction.commit()

        value = self._attempt(connection, operation.kind, run_in_transaction, undo)
        self._track(connection, operation.kind, operation.text)
        self._report(Done(getattr(cursor, "rowcount", None), None))
        end = replace(operation, kind="commit", text="", parameters=None, in_transaction=True, split=True)
        self._ask(end, session_id(connection))
        self._attempt(connection, "commit", commit)
        self._track(connection, "commit", "")
        self._report(Done(None, None))
        return value

    def _pass_at_once(self, connection: Any, operation: Operation, run: Callable[[], Any], cursor: Any) -> Any:
        """Run a statement of SQLite that writes, with its COMMIT, which in autocommit comes with the last row fetched.

        While that COMMIT waits for readers it keeps others from beginning to read, or to write.
        """
        link = connection.connection

        def run_and_fetch() -> Any:
            with connection.wrap_database_errors:
                link.execute("BEGIN")
            value = run()
            with connection.wrap_database_errors:
                cursor.cursor = FetchedCursor(cursor.cursor)
            return value

        def undo(_: Exception) -> None:
            if link.in_transaction:
                link.execute("ROLLBACK")

        def commit() -> None:
            with connection.wrap_database_errors:
                link.execute("COMMIT")

        value = self._attempt(connection, operation.kind, run_and_fetch, undo)
        self._attempt(connection, "commit", commit, undo)
        self._track(connection, operation.kind, operation.text)
        self._report(Done(cursor.rowcount, None))
        return value

    def _attempt(
        self,
        connection: Any,
        kind: Kind,
        run: Callable[[], Any],
        undo: Callable[[Exception], None] = lambda _: None,
    ) -> Any:
        """Run a round trip, again and again where it has to wait for a lock of SQLite."""
        while True:
            try:
                with connection.wrap_database_errors:
                    self.have_locks_reported(connection)
                return run()
            except Exception as error:
                if self._would_wait(connection, kind, error):
                    if kind != "commit":  # which keeps what it has while it waits
                        undo(error)
                    self._ahead.clear()
                    self._goes_on = False
                    if self.say(Busy()) == "retry":
                        continue
                undo(error)
                self._fail(connection, error)
                raise

    def enqueue(self, name: str, arguments: str, task: bytes, *, is_retry: bool = False) -> bool:
        """Leave a task to a wrapper of its own, if this process is stepped.

        Args:
            name: With its module.
            arguments: For people.
            is_retry: Whether it was tried before, and comes again after a while.
        """
        with self._passing:
            if not self.is_closed():
                return False
            self.say(Left(task, is_retry))
            self._ask(Operation("enqueue", name, (arguments,)), None)
            self._report(Done(None, None))
            return True

    def fetch_task(self) -> bytes | None:
        """The task that this process is to make."""
        task: bytes | None = self.say(Fetch())
        return task

    def fetched(self, cursor: Any, rows: Iterable[Any]) -> None:
        if self.is_closed() and len(self._rows) < ROWS_KEPT:
            self._columns = told_columns(cursor)
            self._rows += told_rows(rows, ROWS_KEPT - len(self._rows))

    def _ask(self, operation: Operation, session: int | None) -> str:
        # What an operation does elsewhere, as a cache in a database, comes after it as a step of its own.
        self._report(Done(None, None))
        want = self._want(operation, session)
        self._asked += 1
        leave = self._leave_ahead(want)
        if leave is None:
            leave = self.say(want)
            self._ahead = deque(leave.ahead)
        self._is_under_way, self._goes_on = True, leave.goes_on
        if leave.number:
            points.number = leave.number
        return leave.manner

    def _want(self, operation: Operation, session: int | None) -> Want:
        columns, rows, self._columns, self._rows = self._columns, tuple(self._rows), (), []
        return Want(operation, session, application_line(), columns, rows)

    def _leave_ahead(self, want: Want) -> Leave | None:
        """The leave that was given ahead, if what was expected is asked for."""
        if not self._ahead or self._script[self._asked - 1] != want.operation:
            return None
        manner = self._ahead.popleft()
        self._unsaid.append(Went(want))
        return Leave(manner, 0 if manner == "free" else points.number + 1, goes_on=True)

    def _report(self, done: Done) -> None:
        if not self._is_under_way:
            return
        self._is_under_way = False
        if not self._goes_on:
            self.say(done)
            return
        self._unsaid.append(done)
        if self._ahead and (len(self._unsaid) >= _TOLD_AT_ONCE or time.monotonic() - self._said > _SILENCE):
            assert self.tell is not None
            self.tell(self._packed())

    def _fail(self, connection: Any, error: Exception) -> None:
        """Report a failed round trip."""
        cause = error.__cause__ or error
        if _sqlstate(cause) == _QUERY_CANCELED and self.say(Cancelled()) == "deadlock":
            self._report(Done(None, "OperationalError: deadlock detected"))
            raise _deadlock(connection) from cause
        self._report(Done(None, told_error(error), lost=_is_lost(connection, cause)))

    def have_locks_reported(self, connection: Any) -> None:
        """Have SQLite report a lock at once, and the gate waits for it; what a power cut loses is put back anyway.

        This reads the file, so that it may find it locked, and keep others from writing: it is a part of a step.
        """
        driver = connection.connection
        if connection.vendor == "sqlite" and self._reporting.get(connection) is not driver:
            driver.execute("PRAGMA busy_timeout = 0")
            driver.execute("PRAGMA synchronous = OFF")
            self._reporting[connection] = driver

    def _would_wait(self, connection: Any, kind: Kind, error: BaseException) -> bool:
        """Whether SQLite's busy handler would run: never for a connection that has a lock, except at COMMIT."""
        code = getattr(error.__cause__ or error, "sqlite_errorcode", None)
        if connection.vendor != "sqlite" or code is None or code & 0xFF != _SQLITE_BUSY:
            return False
        return kind == "commit" or id(connection.connection) not in self._locked

    def _track_locks(self, connection: Any, kind: Kind, sql: str) -> None:
        if connection.vendor != "sqlite" or connection.connection is None:
            return
        deferred = sql.lstrip()[:8].upper() in ("BEGIN", "SAVEPOIN", "RELEASE ", "PRAGMA F")
        if kind in ("commit", "rollback") or not connection.connection.in_transaction:
            self._locked.discard(id(connection.connection))
        elif not deferred:
            self._locked.add(id(connection.connection))


def _done(rowcount: int | None, columns: tuple[str, ...], rows: tuple[tuple[Primitive, ...], ...]) -> Done:
    return Done(rowcount, None, columns, rows)


def _sqlstate(error: BaseException) -> str | None:
    """What psycopg and psycopg2 call by different names."""
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _is_lost(connection: Any, cause: BaseException) -> bool:
    """Whether the server has ended the session: psycopg keeps that in mind, drivers of MySQL say it in the error."""
    if connection.vendor == "mysql":
        return bool(cause.args) and cause.args[0] in MYSQL_ENDED
    return (
        connection.vendor == "postgresql" and connection.connection is not None and bool(connection.connection.closed)
    )


def _deadlock(connection: BaseDatabaseWrapper) -> Exception:
    from django.db.utils import OperationalError

    return OperationalError("deadlock detected")


gate = Gate()
