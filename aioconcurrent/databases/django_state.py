"""What Django keeps in a process besides the memory of the project, put back between two calls of it.

Connections to servers stay open.  Their sessions are put back by the server itself, and what was set in them when
they were new is set again.  A connection to SQLite is opened anew, for that costs less than to look for what a call
may have left in it.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType

from .guard import guard
from .sessions import in_autocommit, is_ended
from .watching.gate import gate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONTAINERS = (list, dict, set, deque)
_OURS = __name__.partition(".")[0]
_RECEIVERS = (_OURS, "django")  # that put nothing into a session which is not put there again here
# All of DISCARD ALL, which is refused where other statements come with it.
_RESET_POSTGRESQL = """
CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; UNLISTEN *;
SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES
"""
_SET_POSTGRESQL = """
SELECT name, current_setting(name) FROM pg_settings WHERE source = 'session'
AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')
UNION ALL SELECT 'role', current_setting('role') WHERE current_setting('role') <> 'none'
"""
_COM_RESET_CONNECTION = 0x1F  # dev.mysql.com/doc/dev/mysql-server, mariadb.com/kb/en/com_reset_connection
_OF_THE_MOMENT = frozenset(
    {
        *("rand_seed1", "rand_seed2", "timestamp", "last_insert_id", "identity", "insert_id", "pseudo_thread_id"),
        *("error_count", "warning_count", "in_transaction", "last_gtid", "gtid_seq_no"),
    }
)


class Kept:
    """What there was before a call."""

    def __init__(self) -> None:
        self._connections: dict[int, _Connection] = {}  # by the id of Django's
        self._stores: list[_Content] = []
        self._outbox: list[object] | None = None
        self._modules = 0  # how many there were
        self._signals = _Signals()

    def take_note(self) -> str:
        """Take note of what there is; return why it could not be put back, empty if it could."""
        from django.db import connections

        live = connections.all(initialized_only=True)
        for connection in live:
            known = self._connections.get(id(connection))
            if known is None or known.driver is not connection.connection:
                self._connections[id(connection)] = _Connection(connection)
            if connection.connection is not None:
                gate.isolation.of(connection)  # before the call, as in a new session
                with suppress(Exception):  # as where the file is locked; it is done in the first step
                    gate.have_locks_reported(connection)
        self._modules = len(sys.modules)
        self._stores = [_Content(store, depth=1) for store in _stores()]
        outbox = getattr(sys.modules.get("django.core.mail"), "outbox", None)
        self._outbox = None if outbox is None else list(outbox)
        return _foreign_receivers() or next((why for each in live if (why := _unfit(each))), "")

    def put_back(self) -> str:
        """Put it back; return what could not be, empty if all was."""
        from django.db import connections

        problems = [known.put_back() for known in self._connections.values()]
        for connection in connections.all(initialized_only=True):
            if id(connection) not in self._connections:
                _close(connection)
                del connections[connection.alias]
        for connection in list(guard.opened):
            known = self._connections.get(id(connection))
            if known is None or connection.connection is None:
                _close(connection)
                guard.opened.remove(connection)
        for store in self._stores:
            store.put_back()
        if self._signals.put_back() and len(sys.modules) != self._modules:
            problems.append("a module that a call has imported listens to signals")
        if (mail := sys.modules.get("django.core.mail")) is not None:
            vars(mail).pop("outbox", None)
            if self._outbox is not None:
                vars(mail)["outbox"] = list(self._outbox)
        gate.start_anew({id(each.driver) for each in self._connections.values()})
        return next(filter(None, problems), "")


class _Signals:
    """The receivers of all signals, as they were before any was connected or disconnected."""

    def __init__(self) -> None:
        from django.dispatch import Signal

        self._before: dict[int, tuple[Any, list[Any]]] = {}
        kind: Any = Signal
        kind.connect, kind.disconnect = self._noting(kind.connect), self._noting(kind.disconnect)

    def _noting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def noted(signal: Any, *args: Any, **kwargs: Any) -> Any:
            self._before.setdefault(id(signal), (signal, list(signal.receivers)))
            return method(signal, *args, **kwargs)

        return noted

    def put_back(self) -> bool:
        """Have them as they were; return whether somebody had added one."""
        changed = [(signal, before) for signal, before in self._before.values() if signal.receivers != before]
        added = [entry for signal, before in changed for entry in signal.receivers if entry not in before]
        for signal, receivers in changed:
            signal.receivers = receivers
            signal.sender_receivers_cache.clear()
        self._before.clear()
        return any(_owner(receiver) != _OURS for receiver in map(_receiver, added))


class _Connection:
    """One connection of Django's: its attributes, and its session."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.driver = connection.connection
        self._attributes = dict(vars(connection))
        self._contents = [_Content(value) for value in self._attributes.values() if type(value) in _CONTAINERS]
        self._reset = _reset_of(connection) if self.driver is not None else None

    def put_back(self) -> str:
        """Have it as it was, or closed, to be opened anew."""
        connection, problem = self.connection, ""
        is_ours = connection.connection is not None and connection.connection is self.driver
        is_ours = is_ours and id(self.driver) not in gate.unresettable
        if is_ours and self._reset is not None and not is_ended(self.driver):
            try:
                self._reset()
            except Exception as error:
                problem = f"a session could not be put back ({type(error).__name__}: {error})"
                is_ours = False
        else:
            is_ours = False
        if not is_ours:
            _close(connection)
        for content in self._contents:
            content.put_back()
        vars(connection).clear()
        vars(connection).update(self._attributes)
        if not is_ours:
            connection.connection = self.driver = None
        return problem


class _Content:
    """What a container holds; with a depth, what containers in it hold as well."""

    def __init__(self, container: Any, depth: int = 0) -> None:
        self._container = container
        self._before = container.copy()
        inner = container.values() if isinstance(container, dict) and depth else ()
        self._inner = [_Content(each, depth - 1) for each in inner if isinstance(each, _CONTAINERS)]

    def put_back(self) -> None:
        for each in self._inner:
            each.put_back()
        if self._container != self._before or isinstance(self._container, deque):
            self._container.clear()
            extend = getattr(self._container, "extend", None) or self._container.update
            extend(self._before)


def _stores() -> Iterator[dict[Any, Any]]:
    """Where Django keeps what calls have cached, for all of a process."""
    for module, names in {
        "django.core.cache.backends.locmem": ("_caches", "_expire_info"),
        "django.contrib.sites.models": ("SITE_CACHE",),
    }.items():
        yield from (vars(sys.modules[module])[name] for name in names if module in sys.modules)
    if (types := sys.modules.get("django.contrib.contenttypes.models")) is not None:
        yield types.ContentType.objects._cache


def _close(connection: Any) -> None:
    from django.db.backends.base.base import BaseDatabaseWrapper

    if connection.connection is not None:
        connection.in_atomic_block = False  # else it would be closed at the end of its transaction only
        connection.inc_thread_sharing()
        with suppress(Exception):  # the server may have ended it
            BaseDatabaseWrapper.close(connection)  # SQLite's own close() keeps databases in memory open
    if hasattr(connection, "close_pool"):
        connection.close_pool()


def _unfit(connection: Any) -> str:
    if (connection.settings_dict.get("OPTIONS") or {}).get("pool"):
        return f"database {connection.alias!r} is used through a pool of connections"
    if hasattr(connection, "set_tenant"):
        return f"connections of database {connection.alias!r} have a tenant"
    return ""


def _foreign_receivers() -> str:
    """What of the project is told of new connections, and may put into their sessions what nobody knows of."""
    from django.db.backends.signals import connection_created

    for receiver in map(_receiver, connection_created.receivers):
        if receiver is not None and _owner(receiver) not in _RECEIVERS:
            told = f"{receiver.__module__}.{getattr(receiver, '__name__', type(receiver).__name__)}"
            return f"{told} is called for each new connection"
    return ""


def _receiver(entry: Any) -> Any:
    """The receiver of an entry in a signal's list; None where it is gone."""
    return entry[1]() if isinstance(entry[1], ReferenceType) else entry[1]


def _owner(receiver: Any) -> str:
    """The package that it is of."""
    return str(getattr(receiver, "__module__", "")).partition(".")[0]


def _reset_of(connection: Any) -> Callable[[], None] | None:
    """What puts the open session of a connection back to what it is now; None where it is opened anew."""
    if connection.vendor == "postgresql":
        return _reset_of_postgresql(connection)
    if connection.vendor == "mysql" and hasattr(connection.connection, "_execute_command"):
        return _reset_of_pymysql(connection)
    return None


def _reset_of_postgresql(connection: Any) -> Callable[[], None]:
    driver = connection.connection
    autocommit, level = driver.autocommit, driver.isolation_level
    with in_autocommit(driver), driver.cursor() as cursor:
        cursor.execute(_SET_POSTGRESQL)
        known = [*cursor.fetchall(), *guard.settings_of(connection.alias)]
    again = ", ".join(f"set_config({_quoted(name)}, {_quoted(value)}, false)" for name, value in known)
    statements = f"{_RESET_POSTGRESQL}; SELECT {again}" if again else _RESET_POSTGRESQL

    def reset() -> None:
        driver.rollback()
        if hasattr(driver, "_prepared"):  # psycopg, which knows by name what it has prepared
            driver._prepared.clear()
        driver.isolation_level = level
        driver.autocommit = True
        with driver.cursor() as cursor:
            cursor.execute(statements)
        driver.autocommit = autocommit

    return reset


def _reset_of_pymysql(connection: Any) -> Callable[[], None]:
    driver, name = connection.connection, connection.settings_dict["NAME"]

    def variables() -> dict[str, str]:
        with driver.cursor() as cursor:
            cursor.execute("SHOW SESSION VARIABLES")
            return dict(cursor.fetchall())

    def clear() -> None:
        driver._execute_command(_COM_RESET_CONNECTION, b"")
        driver._read_ok_packet()
        driver.select_db(name)

    before = variables()
    clear()
    after = variables()
    changed = [key for key in before if key not in _OF_THE_MOMENT and before[key] != after.get(key)]
    again = "SET SESSION " + ", ".join(f"{key} = {_told(before[key])}" for key in changed)

    def reset() -> None:
        clear()
        if changed:
            driver.query(again)

    reset()
    return reset


def _told(value: str) -> str:
    """A value as SET takes it, which wants no quotes around numbers."""
    return value if value.lstrip("-").replace(".", "", 1).isdigit() else f"'{_escaped(value)}'"


def _quoted(text: str) -> str:
    return f" E'{_escaped(text)}'"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "''")
