"""Connections of our own, on which Django is not asked again once they are open.

pytest-django may have told Django to open no cursors, and in a thread with a
running event loop Django refuses to query at all.  The cursors of the driver do
not know of either.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from .patience import make_patient
from .slots import naming_full_servers

if TYPE_CHECKING:
    from collections.abc import Mapping


def connect_directly(alias: str, settings: Mapping[str, Any] | None = None) -> Any:
    """Open a connection in autocommit; use `.connection`, the driver's, from then on.

    Call it in a thread without a running event loop.  Any thread may use the result,
    one at a time.  It is a `BaseDatabaseWrapper`, whose attributes differ by vendor.

    Args:
        alias: Of the database.
        settings: Where to connect to, as in Django's DATABASES; by default where this thread's connection does.

    Raises:
        NoConnectionLeftError: The server has too many.
    """
    from django.db import connections
    from django.db.utils import load_backend

    live = copy.deepcopy(dict(connections[alias].settings_dict if settings is None else settings))
    live["AUTOCOMMIT"] = True
    live.get("OPTIONS", {}).pop("pool", None)  # or the next user of the pool would find our settings and tables
    connection = load_backend(live["ENGINE"]).DatabaseWrapper(live, alias)
    try:
        with naming_full_servers(connection):
            connection.connect()
        make_patient(connection)
    except BaseException:
        if connection.connection is not None:  # it was made, and could not be set up
            connection.connection.close()
        raise
    return connection
