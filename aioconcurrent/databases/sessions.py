"""Sessions on servers, our own and those of calls: opening them, keeping them alive, ending them.

Once open, our own connections do not go through Django: pytest-django may have blocked its
cursors, and Django refuses to query in a thread with a running event loop.  The driver's
cursors do neither.

A call's session is idle until it is the call's turn, and no limit of the server may end it
for that.  Limits of statements and of waits for locks belong to the application and stay.

A server notices that its client is gone only when it next talks to it.  Until then the
statement of a killed wrapper keeps running and holds its locks, which would block the test's
own clean-up.

A pooler such as PgBouncer may run each transaction of a connection in another session.  It
invents process ids for its clients, so the server reports another id than the driver has.
That holds in every pooling mode; a client cannot find out which mode it is.
"""

from __future__ import annotations

import contextlib
import copy
import re
import select
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._text import printable, text_of
from ..base import own_clock as time
from ..exceptions import NoConnectionLeftError, PooledSessionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def unopened(alias: str, settings: Mapping[str, Any]) -> Any:
    """Make a connection with settings of its own, as a `BaseDatabaseWrapper`; it is opened when it is used."""
    from django.db.utils import load_backend

    own = copy.deepcopy(dict(settings))
    return load_backend(own["ENGINE"]).DatabaseWrapper(own, alias)


def connect_directly(alias: str, settings: Mapping[str, Any] | None = None) -> Any:
    """Open a connection in autocommit; use `.connection`, the driver's, from then on.

    Call it in a thread without a running event loop.  Any thread may use the result,
    one at a time.  It is a `BaseDatabaseWrapper`, whose attributes differ by vendor.

    Args:
        alias: Of the database.
        settings: Where to connect to, as in Django's DATABASES; by default where this thread's connection does.

    Raises:
        NoConnectionLeftError: The server has too many.
    """
    from django.db import connections

    connection = unopened(alias, connections[alias].settings_dict if settings is None else settings)
    live = connection.settings_dict
    live["AUTOCOMMIT"] = True
    live.get("OPTIONS", {}).pop("pool", None)  # or the next user of the pool would find our settings and tables
    try:
        with naming_full_servers(connection):
            connection.connect()
        make_patient(connection)
    except BaseException:
        if connection.connection is not None:  # it was made, and could not be set up
            connection.connection.close()
        raise
    return connection


_YEAR = 31_536_000  # seconds


def make_patient(connection: Any) -> None:
    """Let an open connection be idle, in a transaction or not, for as long as it takes; only its driver is asked."""
    driver = connection.connection
    if connection.vendor == "postgresql":
        with in_autocommit(driver), driver.cursor() as cursor:
            cursor.execute("; ".join(f"SET {name} = 0" for name in _postgresql_limits(driver.info.server_version)))
    elif connection.vendor == "mysql":
        kinds = ("", "readonly_", "write_") if "MariaDB" in driver.get_server_info() else ()
        settings = [f"idle_{kind}transaction_timeout = 0" for kind in kinds]
        with driver.cursor() as cursor:
            cursor.execute("SET SESSION " + ", ".join([*settings, f"wait_timeout = {_YEAR}"]))


def _postgresql_limits(version: int) -> list[str]:
    names = ["idle_in_transaction_session_timeout"]
    names += ["idle_session_timeout"] if version >= 140000 else []
    return names + (["transaction_timeout"] if version >= 170000 else [])


@contextmanager
def in_autocommit(driver: Any) -> Iterator[None]:
    """Keep the driver from sending BEGIN; none of this is a round trip."""
    autocommit = driver.autocommit
    driver.autocommit = True
    try:
        yield
    finally:
        driver.autocommit = autocommit


_FULL_MYSQL = (1040, 1203, 1226)  # ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED
# psycopg knows of no code where a connection fails: these are the texts of SQLSTATE 53300 in English
_FULL_POSTGRESQL = ("too many connections for", "too many clients already", "connection slots are reserved")


@contextmanager
def naming_full_servers(connection: Any) -> Iterator[None]:
    """Where a server has no connection left for the block, say so and what to do.

    Raises:
        NoConnectionLeftError: It has none.
    """
    try:
        yield
    except Exception as error:
        if not _is_full(connection.vendor, error):
            raise
        raise NoConnectionLeftError(connection.alias, " ".join(text_of(error).split())) from error


def _is_full(vendor: str, error: Exception) -> bool:
    if vendor == "mysql":
        return bool(error.args) and error.args[0] in _FULL_MYSQL
    return vendor == "postgresql" and any(text in str(error) for text in _FULL_POSTGRESQL)


_ASKING = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}


def refuse_pooler(alias: str, connection: Any) -> None:
    """Check an open connection.

    Raises:
        PooledSessionError: It has no session of its own.
    """
    if connection.vendor in _ASKING and is_pooled(connection):
        settings: Mapping[str, Any] = connection.settings_dict
        raise PooledSessionError(alias, f"{settings['HOST'] or 'localhost'}:{settings['PORT'] or 'default'}")


def is_pooled(connection: Any) -> bool:
    """Whether the server calls the session of an open connection something else than the driver does."""
    driver = connection.connection
    if connection.vendor == "mysql":
        with driver.cursor() as cursor:
            cursor.execute(_ASKING["mysql"])
            return bool(cursor.fetchone()[0] != driver.thread_id())
    with in_autocommit(driver), driver.cursor() as cursor:
        cursor.execute(_ASKING["postgresql"])
        return bool(cursor.fetchone()[0] != driver.info.backend_pid)


_PATIENCE = 5.0  # seconds for a connection to be had, and again for sessions to be gone
_LOOK = 500  # milliseconds between two looks of a server at its client
MYSQL_ENDED = frozenset({1053, 1927, 2006, 2013, 4031})  # shutdown, killed, gone away, lost, timed out
_POSTGRESQL_ENDED = frozenset({"57P01", "57P02", "57P05", "08003", "08006"})  # by word, crash, idleness; closed, lost
_ENDED = re.compile(r"connection (?:is|already|was) (?:closed|lost)|closed the connection|terminating connection")
_HUNG_UP = getattr(select, "POLLRDHUP", 0)  # on Linux; elsewhere, that both ends are closed, is always looked at
_PAUSE = 0.1  # seconds between two attempts to connect
_END = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
_LIST = {
    "postgresql": "SELECT pid FROM pg_stat_activity",
    "mysql": "SHOW PROCESSLIST",  # which needs no temporary table, as information_schema does, and so no room for one
}


def end_with_client(connection: Any) -> bool:
    """Let the server end what this session is doing soon after this process has gone, however it goes.

    MariaDB and MySQL look after their clients by themselves; PostgreSQL does from version 14 on, where it is told to.

    Returns:
        Whether it is this connection's own session: one that a pooler lends is for others to end, and to set.
    """
    if connection.vendor != "postgresql":
        return True
    driver = connection.connection
    if driver.info.server_version >= 140000:
        setting = (
            f"set_config('client_connection_check_interval', '{_LOOK}', pg_backend_pid() <> {driver.info.backend_pid})"
        )
        with contextlib.suppress(connection.Database.Error), in_autocommit(driver), driver.cursor() as cursor:
            cursor.execute(f"SELECT pg_backend_pid(), {setting}")
            return bool(cursor.fetchone()[0] == driver.info.backend_pid)
    return not is_pooled(connection)


def is_ended(driver: Any) -> bool:
    """Whether the server has ended the session of a driver's open connection: nothing is sent, its socket tells."""
    try:
        descriptor = (driver if hasattr(driver, "fileno") else driver._sock).fileno()
    except Exception:  # it was closed at this end
        return True
    poll = select.poll()
    poll.register(descriptor, _HUNG_UP)
    return bool(poll.poll(0))


def tells_of_end(error: BaseException | None) -> bool:
    """Whether an exception, or one that it came of, says that the server has ended the session."""
    while error is not None:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state in _POSTGRESQL_ENDED or (error.args and error.args[0] in MYSQL_ENDED):
            return True
        if state is None and "Error" in type(error).__name__ and _ENDED.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def end_sessions(sessions: Iterable[tuple[str, int | None]]) -> list[str]:
    """End these sessions and wait until they are gone.

    Args:
        sessions: Aliases, and what their servers call the connections.

    Returns:
        What could not be done, a sentence each.
    """
    by_alias: dict[str, list[int]] = {}
    for alias, session in sessions:
        if session is not None:
            by_alias.setdefault(alias, []).append(session)
    problems = []
    for alias, ids in by_alias.items():
        try:
            _end(alias, ids)
        except Exception as problem:
            told = f"{type(problem).__name__}: {printable(text_of(problem).strip())}"
            problems.append(
                f"What terminated calls were doing on database {alias!r} could not be ended there ({told}), "
                "so it may go on for a while and keep its locks."
            )
    return problems


def _end(alias: str, ids: list[int]) -> None:
    from django.db import connections

    connection: Any = connections[alias].copy()
    driver = _connect(connection)
    with contextlib.closing(driver):
        _commit_each(driver, connection.vendor)
        cursor = driver.cursor()
        for session in ids:
            with contextlib.suppress(connection.Database.Error):  # it ended by itself
                cursor.execute(_END[connection.vendor], [session])
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            cursor.execute(_LIST[connection.vendor])
            if not set(ids) & {row[0] for row in cursor.fetchall()}:
                return
            time.sleep(0.005)


def _connect(connection: Any) -> Any:
    """Connect, again and again for a while: the sessions that are to be ended may be all that the server allows."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            # through the driver, for the test may have told Django to open no connections
            return connection.get_new_connection(connection.get_connection_params())
        except connection.Database.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE)


def _commit_each(driver: Any, vendor: str) -> None:
    if vendor == "postgresql":
        driver.autocommit = True
    else:
        driver.autocommit(True)
