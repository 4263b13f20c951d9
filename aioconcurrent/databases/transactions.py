"""Transactions around single statements, for which the application did not ask.

They are run by the driver, on the statement's own connection, so that
Django's `atomic`, `on_commit` and autocommit know nothing of them.  Each has what a
statement in autocommit has: the isolation level that the server gives to whoever
asks for none.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


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
