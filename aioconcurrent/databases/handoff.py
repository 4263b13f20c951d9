"""The caller's live connections, as a wrapper takes them over.

A wrapper never reads the project's own database settings.  It gets what the caller's
connections point at now, with suffixes of pytest-xdist, clones of `--parallel`, and mirrors.

If a test runner keeps the test from connecting, its calls may not connect either.
pytest-django blocks every connection in a test without its mark, on Django's class;
Django's `SimpleTestCase` blocks connections themselves.  If only some aliases are blocked,
those that are not in the `databases` of a test, the calls are not restricted by that: they
may use a mirror that the test does not name.

What a test has set in the session of its connection is set in those of its calls: tenant,
schema, role, variables.  PostgreSQL tells which of its settings were set in a session.  It
does not list those of applications (`app.tenant`), but policies, functions and defaults
that read them name them in their texts.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..base import context_variables, pickling
from .sessions import in_autocommit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from datetime import tzinfo


# Options of drivers that say where a database is, beside or in place of the settings.
_PLACES = (
    *("service", "dbname", "host", "hostaddr", "port"),  # of PostgreSQL
    *("db", "database", "unix_socket", "read_default_file", "read_default_group"),  # of MySQL
)
_taken_over: dict[str, bytes] = {}  # as in `Handoff.pickled`


@dataclass(frozen=True)
class Handoff:
    """Where a wrapper's connections go, and which it may open.

    Attributes:
        pickled: The connection settings, by alias.
        uncommitted: Aliases on which the caller is inside `atomic()`.
        allowed: Names of databases that may be connected to; None for any.
        in_use: Aliases that the caller has connected to, and a call probably will.
        forbidden: By alias, the error with which the caller's test may not connect itself, as `dump_error` makes it.
        sessions: By alias, the pickled `SessionState` of the caller's connection, where there is any.
    """

    pickled: Mapping[str, bytes] = field(default_factory=dict)
    uncommitted: frozenset[str] = frozenset()
    allowed: frozenset[str] | None = frozenset()
    in_use: frozenset[str] = frozenset()
    forbidden: Mapping[str, bytes] = field(default_factory=dict)
    sessions: Mapping[str, bytes] = field(default_factory=dict)

    def settings(self) -> dict[str, dict[str, Any]]:
        """The connection settings, by alias, as in Django's DATABASES."""
        return {alias: pickling.loads(pickled) for alias, pickled in self.pickled.items()}

    def changed(self, settings: Mapping[str, Mapping[str, Any]], allowed: frozenset[str] | None) -> Handoff:
        """The same with other connection settings, and other databases that calls may connect to."""
        return replace(self, pickled=_pickled(settings), allowed=allowed)

    @property
    def likely(self) -> frozenset[str]:
        """Aliases that a call will probably connect to, and may."""
        settings = self.settings()
        return frozenset(
            alias
            for alias in self.in_use - self.forbidden.keys()
            if self.allowed is None or str(settings[alias]["NAME"]) in self.allowed
        )

    def take_over(self) -> None:
        """Point this process's connections at the caller's databases; none of them may be open."""
        from django.db import connections

        engines = {each.alias: each.settings_dict["ENGINE"] for each in connections.all(initialized_only=True)}
        for alias, settings in self.settings().items():
            known: dict[str, Any] = connections.settings.setdefault(alias, {})
            known.clear()
            known.update(settings)
        for connection in connections.all(initialized_only=True):
            connection.settings_dict = connections.settings[connection.alias]
            if connection.settings_dict["ENGINE"] != engines[connection.alias]:
                del connections[connection.alias]  # the next one is of the new engine
        _taken_over.clear()
        _taken_over.update(self.pickled)

    def is_taken_over(self) -> bool:
        """Whether this process's connections have been pointed there already."""
        return self.pickled == _taken_over


@dataclass(frozen=True)
class View:
    """What one thread of the caller's process knows of its connections, and what else is its own.

    Attributes:
        settings: The live connection settings, by alias.
        in_atomic: Aliases on which the thread is inside `atomic()`.
        opened: The open driver connections, by alias.
        forbidden: The errors with which the thread's test may not connect, by alias.
        sessions: As in `Handoff`.
        variables: Context variables and thread locals of the thread, as `context_variables` has them.
        language: The active one; None where translation is off.
        time_zone: The active one.
    """

    settings: Mapping[str, Mapping[str, Any]]
    in_atomic: frozenset[str]
    opened: Mapping[str, Any]
    forbidden: Mapping[str, Exception] = field(default_factory=dict)
    sessions: Mapping[str, bytes] = field(default_factory=dict)
    variables: Mapping[context_variables.Place, bytes] = field(default_factory=dict)
    language: str | None = None
    time_zone: tzinfo | None = None


def look() -> View:
    """Look at the connections of this thread, without opening any, and at what else is its own."""
    from django.db import connections
    from django.utils import timezone, translation

    live = connections.all(initialized_only=True)
    settings = {**connections.settings, **{connection.alias: connection.settings_dict for connection in live}}
    return View(
        settings=settings,
        in_atomic=frozenset(connection.alias for connection in live if connection.in_atomic_block),
        opened={connection.alias: connection.connection for connection in live if connection.connection is not None},
        forbidden=forbidden(settings, live),
        sessions=session_states(list(live)),
        variables=context_variables.capture(),
        language=translation.get_language(),
        time_zone=timezone.get_current_timezone(),
    )


def hand_over(views: Iterable[View], lent: Mapping[str, str], *, allow_real_databases: bool) -> Handoff:
    """Make the handoff from what the threads of the caller know.

    Args:
        views: The first one's settings count.
        lent: Files that stand for databases in memory, by database name.
        allow_real_databases: Whether any database may be connected to.

    Raises:
        UnpicklableError: Connection settings cannot be pickled; the text names them.
    """
    views = list(views)
    settings = {alias: _lend(values, lent) for alias, values in views[0].settings.items()}
    return Handoff(
        pickled=_pickled(settings),
        uncommitted=_aliases_of(views[0].settings, uncommitted_names(views)),
        allowed=None if allow_real_databases else test_names(settings) | frozenset(lent.values()),
        in_use=frozenset().union(*(view.opened for view in views)) or frozenset(settings),
        forbidden={
            alias: pickling.dump_error(error) for view in reversed(views) for alias, error in view.forbidden.items()
        },
        sessions={alias: state for view in reversed(views) for alias, state in view.sessions.items()},
    )


def _pickled(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    return {
        alias: pickling.dumps(values, f"The connection settings of database {alias!r}")
        for alias, values in settings.items()
    }


def uncommitted_names(views: Iterable[View]) -> set[str]:
    """The names of the databases on which a thread is inside `atomic()`."""
    return {str(view.settings[alias]["NAME"]) for view in views for alias in view.in_atomic}


def _aliases_of(settings: Mapping[str, Mapping[str, Any]], names: set[str]) -> frozenset[str]:
    """All aliases of these databases: a mirror is one more name for a database."""
    return frozenset(alias for alias, values in settings.items() if str(values["NAME"]) in names)


def database_identity(settings: Mapping[str, Any]) -> str:
    """How these settings spell a database; another spelling may be of the same one (`identity.py`)."""
    options = settings.get("OPTIONS") or {}
    elsewhere = "".join(f" {name}={options[name]}" for name in _PLACES if name in options)
    return f"{settings['NAME']}@{settings.get('HOST', '')}:{settings.get('PORT', '')}{elsewhere}"


def is_in_memory(settings: Mapping[str, Any]) -> bool:
    """Whether these connection settings are of an SQLite database in memory."""
    name = str(settings.get("NAME"))
    return "lite" in settings.get("ENGINE", "") and (name == ":memory:" or "mode=memory" in name)


def _lend(settings: Mapping[str, Any], lent: Mapping[str, str]) -> dict[str, Any]:
    name = str(settings.get("NAME"))
    return {**settings, "NAME": lent[name]} if name in lent else dict(settings)


def test_names(settings: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """The names of those of these databases that are of tests."""
    planned = [str(values["TEST"]["NAME"]) for values in settings.values() if values.get("TEST", {}).get("NAME")]
    return frozenset(str(values["NAME"]) for values in settings.values() if _is_test_database(values, planned))


def _is_test_database(settings: Mapping[str, Any], planned: Iterable[str]) -> bool:
    """By its name, which Django's test setup changes: to TEST["NAME"], else "test_..."; clones add "_<number>".

    Where no test setup ran there are no clones: what begins like one is somebody's database.
    """
    name = str(settings["NAME"])
    if is_in_memory(settings) or os.path.basename(name).startswith("test_") or name in planned:
        return True
    return _is_testing() and any(name.startswith(f"{os.path.splitext(test)[0]}_") for test in planned)


def _is_testing() -> bool:
    """Whether `setup_test_environment()` is in force, which every runner of tests calls."""
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")


_RUNNERS = ("pytest_django.plugin", "django.test.testcases")


def forbidden(aliases: Iterable[str], live: Collection[Any]) -> dict[str, Exception]:
    """Return the errors with which the test may not connect at this moment, by alias.

    Args:
        aliases: All there are.
        live: The connections of this thread.
    """
    from django.db.backends.base.base import BaseDatabaseWrapper

    everywhere = _error_of(BaseDatabaseWrapper.ensure_connection, "_blocking_wrapper")
    if everywhere is not None:
        return dict.fromkeys(aliases, everywhere)
    errors = {each.alias: _error_of(vars(each).get("connect"), "_DatabaseFailure") for each in live}
    found = {alias: error for alias, error in errors.items() if error is not None}
    return found if found.keys() >= set(aliases) else {}


def _error_of(method: Any, name: str) -> Exception | None:
    """What this method does nothing but raise, if a runner has put it there under that name."""
    kind = method if hasattr(method, "__name__") else type(method)
    if kind.__name__ != name or kind.__module__ not in _RUNNERS:
        return None
    return _raised_by(method)


def _raised_by(method: Callable[[], object]) -> Exception:
    try:
        method()
    except Exception as error:
        return error.with_traceback(None)
    raise AssertionError(f"{method!r} lets tests connect")


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
            found[connection.alias] = pickling.dumps(state, f"The tenant of database {connection.alias!r}")
    return found


def enter_tenant(connection: Any, pickled: bytes | None) -> None:
    """Let a connection of a call be for the tenant that the test's is for."""
    if not hasattr(connection, "set_tenant"):
        return
    state: SessionState = pickling.loads(pickled) if pickled else SessionState()
    if state.tenant is not None:
        tenant, has_public = state.tenant
        connection.set_tenant(tenant, has_public)
    elif _tenant_of(connection) is not None:  # left in the process that this one was forked from
        connection.set_schema_to_public()


def enter_session(connection: Any, pickled: bytes) -> None:
    """Set in a new session of a call what is set in the test's."""
    state: SessionState = pickling.loads(pickled)
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
