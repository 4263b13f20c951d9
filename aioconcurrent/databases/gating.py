"""Putting the gate into Django's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .gate import gate

if TYPE_CHECKING:
    from collections.abc import Callable


def install(talk: Callable[[bytes], bytes]) -> None:
    """Close the gate: from here on every round trip of this process asks through `talk`."""
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    _gate_cursor(CursorWrapper)
    _gate_connection(BaseDatabaseWrapper)
    _quicken_sqlite()
    gate.talk = talk


def _gate_cursor(kind: Any) -> None:
    execute, executemany, callproc = kind.execute, kind.executemany, kind.callproc

    def gated_execute(self: Any, sql: Any, params: Any = None) -> Any:
        if not gate.is_closed():
            return execute(self, sql, params)
        run = lambda: execute(self, sql, params)  # noqa: E731 - a name would say no more
        return gate.pass_database(self.db, "sql", str(sql), params, run, self.cursor)

    def gated_executemany(self: Any, sql: Any, param_list: Any) -> Any:
        if not gate.is_closed():
            return executemany(self, sql, param_list)
        rows = list(param_list)
        flat = [value for row in rows for value in (row.values() if isinstance(row, dict) else row)]
        return gate.pass_database(self.db, "many", str(sql), flat, lambda: executemany(self, sql, rows), self.cursor)

    def gated_callproc(self: Any, procname: str, params: Any = None, kparams: Any = None) -> Any:
        if not gate.is_closed():
            return callproc(self, procname, params, kparams)
        run = lambda: callproc(self, procname, params, kparams)  # noqa: E731 - a name would say no more
        return gate.pass_database(self.db, "callproc", procname, params, run, self.cursor)

    kind.execute, kind.executemany, kind.callproc = gated_execute, gated_executemany, gated_callproc
    for name, several in (("fetchone", False), ("fetchmany", True), ("fetchall", True)):
        setattr(kind, name, _noting(name, several=several))


def _noting(name: str, *, several: bool) -> Callable[..., Any]:
    """A fetch method that takes note of what is read, for the picture."""

    def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.db.wrap_database_errors:
            found = getattr(self.cursor, name)(*args, **kwargs)
        gate.fetched(self.cursor, found if several else [] if found is None else [found])
        return found

    return fetch


def _gate_connection(kind: Any) -> None:
    commit, rollback, connect, close = kind._commit, kind._rollback, kind.connect, kind.close
    set_autocommit = kind.set_autocommit

    def gated(self: Any, what: Any, run: Callable[[], Any]) -> Any:
        if self.connection is None or not gate.is_closed():
            return run()
        return gate.pass_database(self, what, "", None, run)

    def gated_close(self: Any) -> Any:
        if self.connection is not None and (self.in_atomic_block or not self.autocommit):
            return gated(self, "close", lambda: close(self))
        return close(self)

    def gated_set_autocommit(self: Any, autocommit: bool, *args: Any, **kwargs: Any) -> Any:
        if not autocommit or not _has_open_transaction(self):
            return set_autocommit(self, autocommit, *args, **kwargs)
        return gated(self, "commit", lambda: set_autocommit(self, autocommit, *args, **kwargs))

    kind._commit = lambda self: gated(self, "commit", lambda: commit(self))
    kind._rollback = lambda self: gated(self, "rollback", lambda: rollback(self))
    kind.connect = lambda self: gate.while_connecting(lambda: connect(self))
    kind.close, kind.set_autocommit = gated_close, gated_set_autocommit


def _has_open_transaction(connection: Any) -> bool:
    """Whether turning autocommit on would commit: in SQLite and MySQL it does, silently."""
    if connection.connection is None or connection.autocommit or connection.vendor not in ("sqlite", "mysql"):
        return False
    if connection.vendor == "mysql":
        return id(connection.connection) in gate.dirty
    return bool(connection.connection.in_transaction)


def _quicken_sqlite() -> None:
    """Let SQLite report a lock at once: the gate waits in its place."""
    from django.db import connections
    from django.db.backends.signals import connection_created

    def without_timeout(sender: object, connection: Any, **_: object) -> None:
        if connection.vendor == "sqlite":
            connection.connection.execute("PRAGMA busy_timeout = 0")

    connection_created.connect(without_timeout, weak=False)
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            without_timeout(None, connection)
