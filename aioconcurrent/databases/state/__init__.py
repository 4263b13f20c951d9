"""The starting rows of a database: saved, compared, and put back before every schedule.

No copy outlives the connection that it was made on, so that even a killed process leaves
none behind: temporary tables on PostgreSQL, MariaDB and MySQL, a database in memory for
SQLite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...exceptions import StateError, UnexplorableDatabaseError
from ..sessions import connect_directly, refuse_pooler
from .base import Advance, Row, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Advance", "Row", "State", "StateError", "open_state"]


def open_state(alias: str, settings: Mapping[str, Any] | None = None) -> State:
    """Take the rows that a database holds now as its starting state.

    Call it in a thread without a running event loop, and `close()` the result.

    Args:
        alias: Of the database.
        settings: Where it is, as in Django's DATABASES; by default where this thread's connection is.
            A database in memory must have been lent as a file.

    Raises:
        PooledSessionError: A pooler stands before the database.
        UnexplorableDatabaseError: It is of an engine whose rows cannot be put back.
        StateError: The database refuses.
    """
    connection = connect_directly(alias, settings)
    try:
        refuse_pooler(alias, connection)
        return _state_class(connection.vendor, alias)(connection)
    except BaseException:
        connection.connection.close()
        raise


def _state_class(vendor: str, alias: str) -> Callable[[Any], State]:
    if vendor == "postgresql":
        from .postgresql import PostgresState

        return PostgresState
    if vendor == "mysql":
        from .mysql import MysqlState

        return MysqlState
    if vendor == "sqlite":
        from .sqlite import SqliteState

        return SqliteState
    raise UnexplorableDatabaseError(alias, vendor)
