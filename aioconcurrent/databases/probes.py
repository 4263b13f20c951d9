"""What a database says about who waits for whose lock, which is all that the controller believes.

A session that sleeps or computes does not wait for a lock, however long it takes.
Each probe asks its server in the way that shows a wait at once and shows no wait
that is over: the handier `pg_stat_activity` and InnoDB's information schema do
neither.  While calls of a recorded race run freely, a `WaitRecorder` asks again and again.
SQLite says nothing: of the locks on its file the system is asked.
"""

from __future__ import annotations

import os
import re
import threading
import warnings
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base import own_clock as time
from ..base import pickling
from ..base.loops import outside_loop
from ..exceptions import ProbeNotPermittedError
from .handoff import database_identity
from .identity import sqlite_file
from .sessions import connect_directly, is_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from typing import Self

    from ..base.trace import Step

Session = tuple[str, int]  # the `Operation.database`, and what its server calls the connection
Waits = dict[int, frozenset[int]]

_SHOWN = 300  # characters of an outsider's statement
_PAUSE = 0.002  # seconds between two looks
_OPENING = 5.0  # seconds for connecting
_ENDING = 5.0  # seconds for the last look
_GET_LOCK = re.compile(r"""get_lock\s*\(\s*('(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")""", re.IGNORECASE | re.DOTALL)


class Probe(ABC):
    """Asks one database server about its sessions, on a connection of its own, and anew where the server ends that.

    The methods may be called from any thread, with or without a running event loop, by one thread at a time.

    Attributes:
        names_holders: Whether it always tells whose a lock is that is waited for.
    """

    names_holders = True

    def __init__(self, connection: Any) -> None:
        self._alias, self._settings = connection.alias, connection.settings_dict
        self._driver = connection.connection
        self._error: type[Exception] = connection.Database.Error
        self._cursor = self._driver.cursor()

    @abstractmethod
    def waiting(self, sessions: Collection[int]) -> Waits:
        """Tell which of these sessions wait for a lock now, and for which sessions each of them waits.

        Args:
            sessions: What the server calls them, as in `guard.session_id`.

        Returns:
            The waiting ones alone.  Those they wait for may be anybody's; where the
            server cannot tell whose the lock is, there is none.
        """

    @abstractmethod
    def describe(self, session: int) -> str:
        """Say for people who this session is, and what it did last."""

    @abstractmethod
    def is_busy(self, session: int) -> bool:
        """Tell whether this session runs a statement now."""

    @abstractmethod
    def cancel(self, session: int) -> None:
        """End the statement that this session runs, which its client sees as an error; the session goes on."""

    def close(self) -> None:
        """Close the probe's connection."""
        with suppress(self._error):  # it was closed
            self._driver.close()

    def _all(self, query: str) -> list[Any]:
        try:
            self._cursor.execute(query)
            return list(self._cursor.fetchall())
        except self._error:
            if not is_ended(self._driver):
                raise
        self.close()
        with outside_loop():  # in which Django would not connect
            self._driver = connect_directly(self._alias, self._settings).connection
        self._cursor = self._driver.cursor()
        self._cursor.execute(query)
        return list(self._cursor.fetchall())


def open_probe(alias: str, settings: Mapping[str, Any] | None = None) -> Probe | None:
    """Make the probe of a database, if sessions of its server can wait for each other unseen.

    Call it in a thread without a running event loop, and `close()` the result.

    Args:
        alias: Of the database.
        settings: Where it is, as in Django's DATABASES; by default where this thread's connection is.

    Returns:
        None for SQLite, whose statements never wait by themselves: they fail as busy.

    Raises:
        ProbeNotPermittedError: The database's user needs a right; the text says which.
    """
    connection = connect_directly(alias, settings)
    probes: dict[str, Callable[[Any], Probe]] = {"postgresql": PostgresProbe, "mysql": _mysql_probe}
    if connection.vendor not in probes:
        connection.connection.close()
        return None
    try:
        return probes[connection.vendor](connection)
    except BaseException:
        connection.connection.close()
        raise


class PostgresProbe(Probe):
    """Asks the lock manager itself (postgresql.org/docs/current/functions-info.html, `pg_blocking_pids`).

    It knows of waits for rows, tables, unique keys, foreign keys and advisory locks.  A
    SERIALIZABLE READ ONLY DEFERRABLE transaction waits for a snapshot instead.
    """

    def waiting(self, sessions: Collection[int]) -> Waits:
        if not sessions:
            return {}
        rows = self._all(
            "SELECT pid, pg_blocking_pids(pid) || pg_safe_snapshot_blocking_pids(pid) "
            f"FROM unnest(ARRAY[{_numbers(sessions)}]) pid"
        )
        return {session: frozenset(blocking) for session, blocking in rows if blocking}

    def describe(self, session: int) -> str:
        if session == 0:
            return "a prepared transaction (see pg_prepared_xacts)"
        rows = self._all(
            f"""SELECT coalesce(usename, backend_type), coalesce(state, 'active'),
            extract(epoch FROM clock_timestamp() - xact_start)::float8, query
            FROM pg_stat_activity WHERE pid = {int(session)}"""
        )
        return _described(session, rows)

    def is_busy(self, session: int) -> bool:
        return bool(self._all(f"SELECT FROM pg_stat_activity WHERE pid = {int(session)} AND state = 'active'"))

    def cancel(self, session: int) -> None:
        self._all(f"SELECT pg_cancel_backend({int(session)})")


class MysqlProbe(Probe):
    """What MariaDB and MySQL have in common."""

    def describe(self, session: int) -> str:
        rows = self._all(
            f"""SELECT p.user, CONCAT_WS(', ', p.command, NULLIF(p.state, '')),
            TIMESTAMPDIFF(MICROSECOND, t.trx_started, NOW(6)) / 1e6, p.info
            FROM information_schema.processlist p
            LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id WHERE p.id = {int(session)}"""
        )
        return _described(session, rows)

    def is_busy(self, session: int) -> bool:
        rows = self._all(f"SELECT command FROM information_schema.processlist WHERE id = {int(session)}")
        return bool(rows) and rows[0][0] != "Sleep"

    def cancel(self, session: int) -> None:
        with suppress(self._error):  # it ended by itself
            self._cursor.execute(f"KILL QUERY {int(session)}")


class MariadbProbe(MysqlProbe):
    """Reads InnoDB's status for waits for rows, and the list of processes for all others.

    The status does not say whose the lock is; information_schema.innodb_lock_waits does,
    but from a copy that is made anew only if nobody has read it for 100 ms
    (CACHE_MIN_IDLE_TIME in InnoDB's trx0i_s.cc).  So it is read that seldom, and most waits
    come without those they wait for; one that lasts has them within 0.12 s, unless somebody
    else reads that copy all the time.

    A wait for a metadata lock or a table lock ends a moment before its session says so: it
    may be reported once more after the statement that ended it has returned.  Whose that
    lock is, MariaDB does not tell.
    """

    names_holders = False
    _IDLE = 0.12  # seconds

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._asked_at = -self._IDLE
        try:
            self._status()
        except self._error as error:
            raise ProbeNotPermittedError(connection.alias, f"GRANT PROCESS ON *.* TO {_user(self._cursor)}") from error

    def waiting(self, sessions: Collection[int]) -> Waits:
        rows = waiting_for_rows(self._status()) & frozenset(sessions)
        left = frozenset(sessions) - rows
        return self._with_blocking(rows) | (self._waiting_elsewhere(left) if left else {})

    def describe(self, session: int) -> str:
        """Say who this session is, after the time that InnoDB's copy needs to be made anew."""
        time.sleep(self._IDLE)
        text = super().describe(session)
        self._asked_at = time.monotonic()
        return text

    def _status(self) -> str:
        ((_, _, status),) = self._all("SHOW ENGINE INNODB STATUS")
        return str(status)

    def _with_blocking(self, sessions: Collection[int]) -> Waits:
        blocking: dict[int, set[int]] = {}
        if sessions and time.monotonic() - self._asked_at >= self._IDLE:
            blocking = _grouped(
                self._all(
                    """SELECT r.trx_mysql_thread_id, b.trx_mysql_thread_id FROM information_schema.innodb_lock_waits w
                    JOIN information_schema.innodb_trx r ON r.trx_id = w.requesting_trx_id
                    JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id"""
                )
            )
            self._asked_at = time.monotonic()
        return {session: frozenset(blocking.get(session, ())) for session in sessions}

    def _waiting_elsewhere(self, sessions: Collection[int]) -> Waits:
        listed = self._all(
            "SELECT id, state, info FROM information_schema.processlist WHERE (state = 'User lock' "
            f"OR state LIKE 'Waiting for%lock' OR state LIKE 'Waiting for%flush') AND id IN ({_numbers(sessions)})"
        )
        found: Waits = {}
        for session, state, statement in listed:
            owners = self._owners(statement or "") if state == "User lock" else None
            if owners != frozenset({session}):
                found[session] = owners or frozenset()
        return found

    def _owners(self, statement: str) -> frozenset[int] | None:
        """Whose the lock of a GET_LOCK is: the session's own, if it has got it and does not say so yet."""
        name = _GET_LOCK.search(statement)
        if name is None:
            return None
        ((owner,),) = self._all(f"SELECT IS_USED_LOCK({name[1]})")
        return frozenset() if owner is None else frozenset({owner})


class Mysql8Probe(MysqlProbe):
    """Reads MySQL's performance schema (dev.mysql.com/doc/refman/8.4/en/performance-schema-lock-tables.html).

    It has never run in our own tests, for want of such a server.
    """

    _WAITS = """
    SELECT r.processlist_id, b.processlist_id FROM performance_schema.data_lock_waits w
    JOIN performance_schema.threads r ON r.thread_id = w.requesting_thread_id
    JOIN performance_schema.threads b ON b.thread_id = w.blocking_thread_id
    UNION
    SELECT r.processlist_id, b.processlist_id FROM performance_schema.metadata_locks w
    JOIN performance_schema.threads r ON r.thread_id = w.owner_thread_id
    LEFT JOIN performance_schema.metadata_locks g ON g.lock_status = 'GRANTED' AND g.object_type = w.object_type
        AND g.object_schema <=> w.object_schema AND g.object_name <=> w.object_name
        AND g.owner_thread_id <> w.owner_thread_id
    LEFT JOIN performance_schema.threads b ON b.thread_id = g.owner_thread_id
    WHERE w.lock_status = 'PENDING'
    """

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        try:
            self._all(self._WAITS)
        except self._error as error:
            grant = f"GRANT SELECT ON performance_schema.* TO {_user(self._cursor)}"
            raise ProbeNotPermittedError(connection.alias, grant) from error

    def waiting(self, sessions: Collection[int]) -> Waits:
        if not sessions:
            return {}
        waits = _grouped(self._all(self._WAITS))
        return {session: frozenset(waits[session]) for session in sessions if session in waits}


def waiting_for_rows(status: str) -> frozenset[int]:
    """Read the ids of the sessions that wait from what SHOW ENGINE INNODB STATUS says.

    A transaction's own lines come before the text of its statement, which may say anything.
    """
    found = set()
    for transaction in re.split(r"^---TRANSACTION ", status, flags=re.MULTILINE)[1:]:
        session = re.search(r"^(?:MariaDB|MySQL) thread id (\d+), OS thread handle", transaction, re.MULTILINE)
        if session and re.search(r"^LOCK WAIT ", transaction[: session.start()], re.MULTILINE):
            found.add(int(session[1]))
    return frozenset(found)


def _mysql_probe(connection: Any) -> Probe:
    cursor = connection.connection.cursor()
    cursor.execute("SELECT VERSION()")
    return (MariadbProbe if "MariaDB" in cursor.fetchone()[0] else Mysql8Probe)(connection)


def _user(cursor: Any) -> str:
    cursor.execute("SELECT CURRENT_USER()")
    name, _, host = cursor.fetchone()[0].rpartition("@")
    return f"'{name}'@'{host}'"


def _grouped(rows: Iterable[tuple[int, int | None]]) -> dict[int, set[int]]:
    groups: dict[int, set[int]] = {}
    for session, other in rows:
        groups.setdefault(session, set()).update(() if other is None else (other,))
    return groups


def _numbers(sessions: Iterable[int]) -> str:
    return ", ".join(str(int(session)) for session in sessions)


def _described(session: int, rows: list[Any]) -> str:
    if not rows:
        return f"session {session}, which has ended"
    user, state, seconds, statement = rows[0]
    opened = "no transaction open" if seconds is None else f"a transaction open for {seconds:.1f} s"
    text = " ".join((statement or "none that the server knows of").split())
    return f"session {session} of {user} ({state}, {opened}); its statement: {text[:_SHOWN]}"


_read = lru_cache(maxsize=1024)(pickling.loads)


@dataclass
class Wait:
    """A wait for a lock, as it was seen: first, last, and no more."""

    session: Session
    begun: float
    seen: float
    ended: float
    waited_for: set[Session] = field(default_factory=set)


class WaitRecorder:
    """Looks at the sessions of a race from a thread of its own, in a `with` block.

    Args:
        settings: Of the databases, by alias, as in Django's DATABASES.
        in_use: The aliases of those that the calls will probably use.
        announced: Tells the sessions there are so far, each a pickled (alias, session).

    Attributes:
        waits: What was seen, when the block is left.
    """

    def __init__(
        self,
        settings: Mapping[str, Mapping[str, Any]],
        in_use: Iterable[str],
        announced: Callable[[], Iterable[bytes]],
    ) -> None:
        self._settings = settings
        self._in_use = in_use
        self._ready = threading.Event()
        self._announced = announced
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="aioconcurrent-waits", daemon=True)
        self._probes: dict[str, Probe | None] = {}
        self._problems: list[Exception] = []
        self._open: dict[Session, Wait] = {}
        self.waits: list[Wait] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_ENDING)
        for problem in self._problems:
            text = f"No waits for locks are recorded on one database: {type(problem).__name__}: {problem}"
            warnings.warn(text, RuntimeWarning, stacklevel=4)

    def wait_until_ready(self) -> None:
        """Wait until the databases in use can be asked."""
        self._ready.wait(_OPENING)

    def _look(self) -> None:
        try:
            for alias in self._in_use:
                with suppress(Exception):  # if a call does connect to it, it is tried again
                    self._probes[alias] = open_probe(alias, self._settings[alias])
            self._ready.set()
            while not self._over.wait(_PAUSE):
                for alias, sessions in self._sessions().items():
                    self._look_at(alias, sessions)
        finally:
            for probe in self._probes.values():
                if probe is not None:
                    probe.close()

    def _sessions(self) -> dict[str, set[int]]:
        found: dict[str, set[int]] = {}
        for announced in list(self._announced()):
            alias, session = _read(announced)
            if session is not None:
                found.setdefault(alias, set()).add(session)
        return found

    def _look_at(self, alias: str, sessions: set[int]) -> None:
        asked = time.monotonic()
        try:
            if alias not in self._probes:
                self._probes[alias] = None
                self._probes[alias] = open_probe(alias, self._settings[alias])
            probe = self._probes[alias]
            waiting = probe.waiting(sessions) if probe is not None else {}
        except ProbeNotPermittedError as problem:
            self._probes[alias] = None
            self._problems.append(problem)
            return
        except Exception:  # the test may not connect, or the server is gone: fewer waits to tell of
            self._probes[alias] = None
            return
        database = database_identity(self._settings[alias])
        for number in sessions:
            if number in waiting:
                others = {(database, other) for other in waiting[number]}
                self._note((database, number), others, asked, time.monotonic())
            elif (wait := self._open.pop((database, number), None)) is not None:
                wait.ended = asked

    def _note(self, session: Session, others: set[Session], asked: float, answered: float) -> None:
        wait = self._open.get(session)
        if wait is None:
            wait = self._open[session] = Wait(session, begun=asked, seen=answered, ended=answered)
            self.waits.append(wait)
        else:
            wait.seen, wait.ended = asked, answered
        wait.waited_for |= others


def with_waits(calls: Sequence[Sequence[Step]], waits: Sequence[Wait]) -> list[tuple[Step, ...]]:
    """Tell each step of each call for how long it waited, and for which calls."""
    whose = {_session(step): step.call for steps in calls for step in steps}
    return [tuple(_with_wait(step, waits, whose) for step in steps) for steps in calls]


def _with_wait(step: Step, waits: Sequence[Wait], whose: Mapping[tuple[str, int | None], int]) -> Step:
    waited, others = 0.0, set()
    for wait in waits:
        is_under_way = step.started <= wait.seen and (step.ended is None or step.ended >= wait.begun)
        if wait.session == _session(step) and is_under_way:
            ended = wait.ended if step.ended is None else min(step.ended, wait.ended)
            waited += max(ended - max(step.started, wait.begun), 0.0)
            others |= {whose[other] for other in wait.waited_for if other in whose}
    return replace(step, waited=waited, waited_for=frozenset(others)) if waited else step


def _session(step: Step) -> tuple[str, int | None]:
    return step.operation.database, step.session


def lock_holders(identity: str) -> frozenset[int]:
    """The processes that have a write lock on the file of a database, or on what SQLite keeps beside it.

    Linux alone tells (proc(5), /proc/locks); elsewhere none is known.

    Args:
        identity: As `database_identity` has it.
    """
    file, found = sqlite_file(identity.rpartition("@")[0]), set()
    inodes = set()
    for suffix in ("", "-wal", "-shm"):
        with suppress(OSError):
            inodes.add(os.stat(f"{file}{suffix}").st_ino)
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            if " -> " not in line:  # a lock that is waited for
                _, _, _, mode, pid, place, *_ = line.split()
                if mode == "WRITE" and int(place.rpartition(":")[2]) in inodes:
                    found.add(int(pid))
    return frozenset(found)


def describe_process(pid: int) -> str:
    """Say for people which process this is."""
    if pid == os.getpid():
        return f"process {pid}, the one that explores, has a transaction open on it"
    command = ""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return f"process {pid}{f' ({command[:80]})' if command else ''} has a transaction open on it"
