"""Whether a server refuses a connection because it has too many."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._text import text_of
from ..exceptions import NoConnectionLeftError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MYSQL = (1040, 1203, 1226)  # ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED
# psycopg knows of no code where a connection fails: these are the texts of SQLSTATE 53300 in English
_POSTGRESQL = ("too many connections for", "too many clients already", "connection slots are reserved")


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
        return bool(error.args) and error.args[0] in _MYSQL
    return vendor == "postgresql" and any(text in str(error) for text in _POSTGRESQL)
