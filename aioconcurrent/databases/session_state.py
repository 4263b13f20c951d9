"""What a test has set in the session of its connection, for the sessions of its calls: tenant, schema, role, variables.

PostgreSQL tells which of its settings were set in a session.  It does not list those of
applications (`app.tenant`), but says where they are read: in policies, functions and
defaults, whose texts name them.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from .. import _pickling
from .isolation import in_autocommit

# Those that Django or this library sets by itself in each session, or that are a transaction's.
_OWN = (
    *("TimeZone", "client_encoding", "application_name", "client_connection_check_interval"),
    *("transaction_isolation", "transaction_read_only", "transaction_deferrable"),
    *("is_superuser", "session_authorization"),
)
_IDLE = 0  # what libpq calls a connection without a transaction
_ASKED = f"""
SELECT name, current_setting(name) FROM pg_settings WHERE source = 'session' AND name NOT IN {_OWN}
UNION ALL
SELECT name, current_setting(name, true) FROM (
    SELECT DISTINCT lower(found[1]) AS name FROM (
        SELECT qual AS text FROM pg_policies UNION ALL SELECT with_check FROM pg_policies
        UNION ALL SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
        UNION ALL SELECT prosrc FROM pg_proc WHERE prosrc LIKE '%current_setting%' AND oid >= 16384
    ) texts, regexp_matches(text, 'current_setting\\s*\\(\\s*''([^'']+\\.[^'']+)''', 'gi') found
) variables WHERE current_setting(name, true) <> ''
UNION ALL
SELECT 'role', current_setting('role') WHERE current_setting('role') <> 'none'
"""


@dataclass(frozen=True)
class SessionState:
    """What one connection of the test keeps.

    Attributes:
        settings: Of the server's session, in the order in which they are to be set.
        tenant: What django-tenants and its kin keep on the connection object: the tenant, and whether its
            search path has the public schema; None for that schema itself.
    """

    settings: tuple[tuple[str, str], ...] = ()
    tenant: tuple[Any, bool] | None = None


def session_states(connections: list[Any]) -> dict[str, bytes]:
    """Take note of the state of these connections, pickled and by alias, without opening any; where there is some.

    Raises:
        UnpicklableError: A tenant cannot be pickled.
    """
    found = {}
    for connection in connections:
        state = SessionState(_settings_of(connection), _tenant_of(connection))
        if state != SessionState():
            found[connection.alias] = _pickling.dumps(state, f"The tenant of database {connection.alias!r}")
    return found


def enter_tenant(connection: Any, pickled: bytes | None) -> None:
    """Let a connection of a call be for the tenant that the test's is for."""
    if not hasattr(connection, "set_tenant"):
        return
    state: SessionState = _pickling.loads(pickled) if pickled else SessionState()
    if state.tenant is not None:
        tenant, has_public = state.tenant
        connection.set_tenant(tenant, has_public)
    elif _tenant_of(connection) is not None:  # left in the process that this one was forked from
        connection.set_schema_to_public()


def enter_session(connection: Any, pickled: bytes) -> None:
    """Set in a new session of a call what is set in the test's."""
    state: SessionState = _pickling.loads(pickled)
    if state.settings:
        calls = ", ".join("set_config(%s, %s, false)" for _ in state.settings)
        with in_autocommit(connection.connection), connection.connection.cursor() as cursor:
            cursor.execute(f"SELECT {calls}", [text for pair in state.settings for text in pair])


def _settings_of(connection: Any) -> tuple[tuple[str, str], ...]:
    driver = connection.connection
    if connection.vendor != "postgresql" or driver is None:
        return ()
    with contextlib.suppress(Exception):  # a session that is broken, or in use, has nothing to hand over
        if driver.info.transaction_status == _IDLE:
            with in_autocommit(driver), driver.cursor() as cursor:
                cursor.execute(_ASKED)
                return tuple((str(name), str(value)) for name, value in cursor.fetchall())
    return ()


def _tenant_of(connection: Any) -> tuple[Any, bool] | None:
    tenant = getattr(connection, "tenant", None)
    schema = getattr(tenant, "schema_name", None)
    if schema is None or not hasattr(connection, "set_tenant"):
        return None
    from django.conf import settings

    if schema == getattr(settings, "PUBLIC_SCHEMA_NAME", "public"):
        return None
    return tenant, bool(getattr(connection, "include_public_schema", True))
