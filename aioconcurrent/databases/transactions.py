"""Transactions that the application has not asked for: around single statements, and around whole calls.

Those around a statement are run by the driver, on the statement's own connection, so that
Django's `atomic`, `on_commit` and autocommit know nothing of them.  Each has what a
statement in autocommit has: the isolation level that the server gives to whoever
asks for none.

Those around a call are Django's, and say what would become of the call in one transaction,
or with a read in it that locks its rows.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence


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


def in_one_transaction(
    function: Callable[..., Any] | str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    aliases: Collection[str],
    locking: str,
) -> Any:
    """Make a call inside `atomic()`.

    Args:
        function: Itself, or its name.
        args: Of the call.
        kwargs: Of the call.
        aliases: Of the databases on which there is a transaction.
        locking: The text of the query that is to lock the rows that it reads, if one is.
    """
    from django.db import transaction

    from ..engine.wrapper import import_target

    target = import_target(function) if isinstance(function, str) else function
    with ExitStack() as stack:
        if locking:
            stack.enter_context(_locked(locking))
        for alias in aliases:
            stack.enter_context(transaction.atomic(alias))
        return target(*args, **kwargs)


@contextmanager
def _locked(text: str) -> Iterator[None]:
    """Have a query say FOR UPDATE, before whoever steps it sees it."""
    from django.db.backends.utils import CursorWrapper

    execute: Any = CursorWrapper.execute

    def locking_execute(self: Any, sql: Any, params: Any = None) -> Any:
        return execute(self, f"{sql} FOR UPDATE" if str(sql) == text else sql, params)

    CursorWrapper.execute = locking_execute  # type: ignore[method-assign]
    try:
        yield
    finally:
        CursorWrapper.execute = execute  # type: ignore[method-assign]
