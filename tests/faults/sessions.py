"""What sessions the server of a test database has."""

from contextlib import suppress

from django.db import DatabaseError, connections


def sessions_of(database: str) -> set[int]:
    """The sessions of the server that have the test database open."""
    queries = {
        "postgresql": "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = "
        "'client backend'",
        "mysql": "SELECT id FROM information_schema.processlist WHERE db = DATABASE()",
    }
    connection = connections[database]
    if connection.vendor not in queries:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(queries[connection.vendor])
        return {session for (session,) in cursor.fetchall()}


def end_session(database: str, session: int) -> None:
    """Have the server end a session, as an administrator, a limit of its own or a failover does."""
    connection = connections[database]
    statement = "SELECT pg_terminate_backend(%s)" if connection.vendor == "postgresql" else "KILL %s"
    with suppress(DatabaseError), connection.cursor() as cursor:  # it may have ended by itself
        cursor.execute(statement, [session])
