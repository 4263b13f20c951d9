"""Hooks in Django's database classes, through which every operation passes.

The patches are on the classes, so that other threads, reconnects and the async
ORM pass through them too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .passage import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .passage import Passage


# What PostgreSQL's drivers have for rows that flow while Python runs: no step could stand between.
_STREAMS = frozenset({"copy", "stream", "copy_expert", "copy_from", "copy_to"})


def install(passage: Passage) -> None:
    """Let every round trip of this process pass."""
    from django.db import connections
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            passage.isolation.of(connection)  # before anything is told, or anybody waits
    _hook_cursor(CursorWrapper, passage)
    _hook_connection(BaseDatabaseWrapper, passage)


def _hook_cursor(kind: Any, passage: Passage) -> None:
    execute, executemany, callproc = kind.execute, kind.executemany, kind.callproc

    def passing_execute(self: Any, sql: Any, params: Any = None) -> Any:
        if not passage.is_closed():
            return execute(self, sql, params)
        self.aioconcurrent_query = str(sql), params  # for those that fetch it later
        run = lambda: execute(self, sql, params)  # noqa: E731 - a name would say no more
        return passage.pass_database(self.db, "sql", str(sql), params, run, self)

    def passing_executemany(self: Any, sql: Any, param_list: Any) -> Any:
        if not passage.is_closed():
            return executemany(self, sql, param_list)
        rows = list(param_list)
        flat = [value for row in rows for value in in_order(str(sql), row)]
        return passage.pass_database(self.db, "many", str(sql), flat, lambda: executemany(self, sql, rows), self)

    def passing_callproc(self: Any, procname: str, params: Any = None, kparams: Any = None) -> Any:
        if not passage.is_closed():
            return callproc(self, procname, params, kparams)
        run = lambda: callproc(self, procname, params, kparams)  # noqa: E731 - a name would say no more
        return passage.pass_database(self.db, "callproc", procname, params, run, self)

    kind.execute, kind.executemany, kind.callproc = passing_execute, passing_executemany, passing_callproc
    for name, several in (("fetchone", False), ("fetchmany", True), ("fetchall", True)):
        setattr(kind, name, _noting(passage, name, several=several))
    kind.__iter__ = _iterating(kind.__iter__)
    attribute = kind.__getattr__

    def noted_attribute(self: Any, name: str) -> Any:
        if name in _STREAMS and passage.is_closed():
            passage.unseen.add(f"cursor.{name}() passes unseen")
        return attribute(self, name)

    kind.__getattr__ = noted_attribute


def _noting(passage: Passage, name: str, *, several: bool) -> Callable[..., Any]:
    """A fetch method that takes note of what is read, for the picture, and passes where it is a round trip."""

    def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        def run() -> Any:
            with self.db.wrap_database_errors:
                return getattr(self.cursor, name)(*args, **kwargs)

        query = getattr(self, "aioconcurrent_query", None)
        if query is not None and _is_on_server(self.cursor) and passage.is_closed():
            sql, params = query
            found = passage.pass_fetch(self.db, sql, params, run)
        else:
            found = run()
        passage.fetched(self.cursor, found if several else [] if found is None else [found])
        return found

    return fetch


def _iterating(iterate: Callable[[Any], Iterator[Any]]) -> Callable[[Any], Iterator[Any]]:
    def iterate_by_fetching(self: Any) -> Iterator[Any]:
        if not _is_on_server(self.cursor):
            yield from iterate(self)
            return
        while rows := self.fetchmany(self.cursor.itersize):
            yield from rows

    return iterate_by_fetching


def _is_on_server(cursor: Any) -> bool:
    """Whether each fetch is a round trip of its own: both drivers of PostgreSQL give such cursors a name."""
    return isinstance(getattr(cursor, "name", None), str)


def _hook_connection(kind: Any, passage: Passage) -> None:
    commit, rollback, connect, close = kind._commit, kind._rollback, kind.connect, kind.close
    set_autocommit = kind.set_autocommit

    def passing(self: Any, what: Any, run: Callable[[], Any]) -> Any:
        if self.connection is None or not passage.is_closed():
            return run()
        return passage.pass_database(self, what, "", None, run)

    def passing_close(self: Any) -> Any:
        if self.connection is not None and (self.in_atomic_block or not self.autocommit):
            return passing(self, "close", lambda: close(self))
        return close(self)

    def passing_set_autocommit(self: Any, autocommit: bool, *args: Any, **kwargs: Any) -> Any:
        if not autocommit or not _has_open_transaction(self, passage):
            return set_autocommit(self, autocommit, *args, **kwargs)
        return passing(self, "commit", lambda: set_autocommit(self, autocommit, *args, **kwargs))

    kind._commit = lambda self: passing(self, "commit", lambda: commit(self))
    kind._rollback = lambda self: passing(self, "rollback", lambda: rollback(self))
    kind.connect = lambda self: passage.while_connecting(lambda: connect(self))
    kind.close, kind.set_autocommit = passing_close, passing_set_autocommit


def _has_open_transaction(connection: Any, passage: Passage) -> bool:
    """Whether turning autocommit on would commit: in SQLite and MySQL it does, silently."""
    if connection.connection is None or connection.autocommit or connection.vendor not in ("sqlite", "mysql"):
        return False
    if connection.vendor == "mysql":
        return id(connection.connection) in passage.dirty
    return bool(connection.connection.in_transaction)
