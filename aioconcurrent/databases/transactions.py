"""Transactions around single statements, of which Django knows nothing.

They are run by the driver, on the statement's own connection, so that Django's
`atomic`, `on_commit` and autocommit are as if there were none.  Each has what a
statement in autocommit has: the isolation level that the server gives to whoever
asks for none.
"""

from __future__ import annotations

from typing import Any


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
