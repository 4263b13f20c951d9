"""Whether a connection has a session of the server to itself.

A pooler between them, such as PgBouncer, may run each transaction of a connection in
another session.  It gives its clients process ids of its own making, so the server's
word is another than the driver's.  That holds in every pooling mode; which one it
is, a client cannot find out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..exceptions import PooledSessionError
from .isolation import in_autocommit

if TYPE_CHECKING:
    from collections.abc import Mapping

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
