"""The caller's live connection settings, as a wrapper takes them over.

A wrapper never reads the project's own settings of the databases: what the
caller's connections point at now - suffixes of pytest-xdist, clones of
`--parallel`, mirrors - is what it gets.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import _context_variables, _pickling
from .bans import forbidden
from .session_state import session_states

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
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
        return {alias: _pickling.loads(pickled) for alias, pickled in self.pickled.items()}

    @property
    def likely(self) -> frozenset[str]:
        """Aliases that a call will probably connect to, and may."""
        settings = self.settings()
        return frozenset(
            alias
            for alias in self.in_use - self.forbidden.keys()
            if self.allowed is None or settings[alias]["NAME"] in self.allowed
        )

    def take_over(self) -> None:
        """Point this process's connections at the caller's databases; none of them may be open."""
        from django.db import connections

        for alias, settings in self.settings().items():
            known: dict[str, Any] = connections.settings.setdefault(alias, {})
            known.clear()
            known.update(settings)
        for connection in connections.all(initialized_only=True):
            connection.settings_dict = connections.settings[connection.alias]
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
        variables: Context variables and thread locals of the thread, as `_context_variables` has them.
        language: The active one; None where translation is off.
        time_zone: The active one.
    """

    settings: Mapping[str, Mapping[str, Any]]
    in_atomic: frozenset[str]
    opened: Mapping[str, Any]
    forbidden: Mapping[str, Exception] = field(default_factory=dict)
    sessions: Mapping[str, bytes] = field(default_factory=dict)
    variables: Mapping[_context_variables.Place, bytes] = field(default_factory=dict)
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
        variables=_context_variables.capture(),
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
        pickled={
            alias: _pickling.dumps(values, f"The connection settings of database {alias!r}")
            for alias, values in settings.items()
        },
        uncommitted=_aliases_of(views[0].settings, uncommitted_names(views)),
        allowed=None if allow_real_databases else test_names(settings) | frozenset(lent.values()),
        in_use=frozenset().union(*(view.opened for view in views)) or frozenset(settings),
        forbidden={
            alias: _pickling.dump_error(error) for view in reversed(views) for alias, error in view.forbidden.items()
        },
        sessions={alias: state for view in reversed(views) for alias, state in view.sessions.items()},
    )


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
