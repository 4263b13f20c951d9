"""Sessions that may stand still: no limit of the server's ends them for that.

A limit of statements, or of waits for locks, is the application's own, and counts as it
does elsewhere.
"""

from __future__ import annotations

from typing import Any

from .isolation import in_autocommit

_YEAR = 31_536_000  # seconds


def make_patient(connection: Any) -> None:
    """Let an open connection be idle, in a transaction or not, for as long as it takes; only its driver is asked."""
    driver = connection.connection
    if connection.vendor == "postgresql":
        with in_autocommit(driver), driver.cursor() as cursor:
            cursor.execute("; ".join(f"SET {name} = 0" for name in _postgresql_limits(driver.info.server_version)))
    elif connection.vendor == "mysql":
        kinds = ("", "readonly_", "write_") if "MariaDB" in driver.get_server_info() else ()
        settings = [f"idle_{kind}transaction_timeout = 0" for kind in kinds]
        with driver.cursor() as cursor:
            cursor.execute("SET SESSION " + ", ".join([*settings, f"wait_timeout = {_YEAR}"]))


def _postgresql_limits(version: int) -> list[str]:
    names = ["idle_in_transaction_session_timeout"]
    names += ["idle_session_timeout"] if version >= 140000 else []
    return names + (["transaction_timeout"] if version >= 170000 else [])
