"""Copies of the test databases: runs on different copies do not affect each other.

PostgreSQL and MariaDB are copied as Django does for `--parallel` (a template; mysqldump),
SQLite by its online backup.  A copy has everything that its database has at that moment, so
that runs on both end alike.  What is not in a database is not copied: `is_shared` tells
whether calls use anything else, such as a cache or another database.

A killed process leaves its copies behind; the next one that copies the same database
removes them.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._text import text_of
from .handoff import database_identity, is_in_memory
from .identity import sqlite_file
from .in_memory import temporary_folder
from .sessions import unopened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..base.trace import Operation
    from .handoff import Handoff

Settings = Mapping[str, Any]

SUFFIX = "aioconcurrent"
LONGEST = 63  # bytes of a name: PostgreSQL cuts what is longer, perhaps to that of the original
_OF_SERVER = re.compile(r"\b(GET_LOCK|RELEASE_LOCK|RELEASE_ALL_LOCKS)\s*\(|^\s*ATTACH\b", re.IGNORECASE)
_OWN_SETTINGS = """
SELECT 1 FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = %s
"""
NAMES = {
    "postgresql": "SELECT datname FROM pg_database",
    "mysql": "SELECT schema_name FROM information_schema.schemata",
}
_CHARACTERS = """
SELECT default_character_set_name, default_collation_name FROM information_schema.schemata WHERE schema_name = %s
"""
_TABLES = """
SELECT table_name FROM information_schema.tables
WHERE table_schema = %s AND table_type = 'BASE TABLE' ORDER BY table_name
"""


_SESSIONS = "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> CONNECTION_ID()"


class CopyError(Exception):
    """A database cannot be copied; the argument says why, as the end of a sentence."""


@dataclass(frozen=True)
class Copy:
    """One copy of each database that calls will probably use.

    Attributes:
        handoff: For calls that run on it.
        settings: Of each copy, by the name of its original.
        originals: The names of the originals, by the aliases that lead to a copy.
    """

    handoff: Handoff
    settings: Mapping[str, Settings]
    originals: Mapping[str, str]

    def led(self, places: Mapping[str, Settings]) -> Copy:
        """The same elsewhere.

        Args:
            places: What is otherwise in the settings of copies, by the names of their originals.
        """
        made = {name: {**settings, **places.get(name, {})} for name, settings in self.settings.items()}
        before = self.handoff.settings()
        led = {alias: {**before[alias], **places.get(name, {})} for alias, name in self.originals.items()}
        left = {str(before[alias]["NAME"]) for alias in led}
        allowed = (self.handoff.allowed or frozenset()) - left | {str(each["NAME"]) for each in made.values()}
        return Copy(self.handoff.changed({**before, **led}, allowed), made, self.originals)


def is_shared(operation: Operation) -> bool:
    """Whether a run on one copy meets those on others in this operation."""
    return operation.kind == "cache" or _OF_SERVER.search(operation.text) is not None


def close_connections(handoff: Handoff) -> list[str]:
    """Close the caller's own connections that would keep a database from being copied; return their aliases."""
    from django.db import connections

    closed = []
    for alias in handoff.likely - handoff.sessions.keys():
        connection = connections[alias]
        if connection.vendor == "postgresql" and connection.connection is not None:
            connection.close()
            closed.append(alias)
    return closed


def open_connections(aliases: Iterable[str]) -> None:
    """Open them again, so that the next exploration sees which databases its caller uses."""
    from django.db import connections

    for alias in aliases:
        with suppress(Exception):  # a test may keep those closed that are not its own
            connections[alias].ensure_connection()


def _originals(handoff: Handoff, names: Mapping[str, str]) -> dict[str, tuple[str, Settings]]:
    """The databases that calls will probably use: an alias and its settings, by name.

    Args:
        names: Of databases, by their spellings.

    Raises:
        CopyError: One of them is not to be copied.
    """
    settings = handoff.settings()
    found: dict[str, tuple[str, Settings]] = {}
    for alias in sorted(handoff.likely, key=lambda alias: (alias != "default", alias)):
        if handoff.allowed is None or str(settings[alias]["NAME"]) not in handoff.allowed:
            raise CopyError(f"{alias!r} is not a test database")
        if alias in handoff.sessions:
            raise CopyError(f"the test has changed its session on {alias!r}, which a copy would have to close")
        if is_in_memory(settings[alias]):
            raise CopyError(f"{alias!r} is in memory, and was not lent")
        found.setdefault(_name_of(settings[alias], names), (alias, settings[alias]))
    return found


@contextmanager
def copied(handoff: Handoff, names: Mapping[str, str], count: int) -> Iterator[list[Copy]]:
    """Copy the databases of the caller so many times, for a block; in a thread without an event loop.

    Nobody else may be connected to a database of PostgreSQL while it is copied.

    Args:
        names: Of databases, by their spellings.

    Raises:
        CopyError: A database cannot be copied.
    """
    sources = _originals(handoff, names)
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        for alias, settings in sources.values():
            _take_away_left(unopened(alias, settings))
        originals, copies = _in_place_of_copies(handoff, sources, names), []
        for number in range(1, count + 1):
            made = {name: stack.enter_context(_copied(*source, number, folder)) for name, source in sources.items()}
            copies.append(originals.led({name: {"NAME": each} for name, each in made.items()}))
        yield copies


def _in_place_of_copies(
    handoff: Handoff, sources: Mapping[str, tuple[str, Settings]], names: Mapping[str, str]
) -> Copy:
    """The originals, from which calls are to be led to copies, by whatever alias."""
    called = {alias: _name_of(values, names) for alias, values in handoff.settings().items()}
    originals = {alias: name for alias, name in called.items() if name in sources}
    return Copy(handoff, {name: settings for name, (_, settings) in sources.items()}, originals)


def _name_of(settings: Settings, names: Mapping[str, str]) -> str:
    spelling = database_identity(settings)
    return names.get(spelling, spelling)


def files_of(copy: Copy) -> dict[str, bytes]:
    """What is in those of a copy that are files, by the names of their originals."""
    return {
        name: Path(settings["NAME"]).read_bytes()
        for name, settings in copy.settings.items()
        if "sqlite" in settings["ENGINE"]
    }


def _take_away_left(connection: Any) -> None:
    """Drop the copies of a database that a killed process has left."""
    if connection.vendor not in NAMES:
        return
    ours = re.compile(re.escape(f"{connection.settings_dict['NAME']}_{SUFFIX}") + r"\d+")
    with connection._nodb_cursor() as cursor:
        cursor.execute(NAMES[connection.vendor])
        for name in [name for (name,) in cursor.fetchall() if ours.fullmatch(name)]:
            drop(connection, cursor, name)


@contextmanager
def _copied(alias: str, settings: Settings, number: int, folder: Path) -> Iterator[str]:
    """Make a copy for the block; its name."""
    from django.db import Error

    connection = unopened(alias, settings)
    make = _WAYS.get(connection.vendor)
    if make is None:
        raise CopyError(f"there is no way to copy a database of {connection.display_name}")
    root, ending = os.path.splitext(str(settings["NAME"])) if connection.vendor == "sqlite" else (settings["NAME"], "")
    name = f"{root}_{SUFFIX}{number}{ending}"
    with ExitStack() as stack:
        try:
            made = stack.enter_context(make(connection, name, folder))
        except (Error, OSError, subprocess.SubprocessError) as error:
            raise CopyError(f"the database {alias!r} cannot be copied: {text_of(error)}") from error
        yield made


@contextmanager
def _on_postgresql(connection: Any, name: str, _: Path) -> Iterator[str]:
    source, target = map(connection.ops.quote_name, (connection.settings_dict["NAME"], name))
    with connection._nodb_cursor() as cursor:
        cursor.execute(_OWN_SETTINGS, [connection.settings_dict["NAME"]])
        if cursor.fetchone():
            raise CopyError("the database has settings of its own (ALTER DATABASE ... SET), which a copy would lack")
    with _dropped_after(connection, name):
        with connection._nodb_cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {target} TEMPLATE {source}")
        yield name


@contextmanager
def _on_mysql(connection: Any, name: str, _: Path) -> Iterator[str]:
    source, target = connection.settings_dict["NAME"], connection.ops.quote_name(name)
    with _dropped_after(connection, name):
        with connection._nodb_cursor() as cursor:
            cursor.execute(_CHARACTERS, [source])
            characters, collation = cursor.fetchone()
            cursor.execute(f"CREATE DATABASE {target} CHARACTER SET {characters} COLLATE {collation}")
            connection.creation._clone_db(source, name)
            if _checksums(cursor, source) != _checksums(cursor, name):  # Django does not look at how mysqldump ended
                raise CopyError("mysqldump has not copied all of its rows")
        yield name


@contextmanager
def _dropped_after(connection: Any, name: str) -> Iterator[None]:
    """Drop a copy when the block is left, in whatever thread, which has to have a connection of its own."""
    if len(name.encode()) > LONGEST:
        raise CopyError(f"the name {name!r} of a copy has more than {LONGEST} bytes")
    try:
        yield
    finally:
        with connection._nodb_cursor() as cursor:
            drop(connection, cursor, name, "IF EXISTS ")


def drop(connection: Any, cursor: Any, name: str, condition: str = "") -> None:
    """Drop a copy, whoever is connected to it."""
    from django.db import Error

    force = " WITH (FORCE)" if connection.vendor == "postgresql" else ""  # sessions of ours may be about to end
    if connection.vendor == "mysql":  # it would wait for them, and for those of a machine that is gone for ever
        cursor.execute(_SESSIONS, [name])
        for (session,) in cursor.fetchall():
            with suppress(Error):  # it has ended by itself
                cursor.execute(f"KILL {session}")
    cursor.execute(f"DROP DATABASE {condition}{connection.ops.quote_name(name)}{force}")


def _checksums(cursor: Any, database: str) -> list[tuple[str, int | None]]:
    cursor.execute(_TABLES, [database])
    return [(table, _checksum(cursor, f"`{database}`.`{table}`")) for (table,) in cursor.fetchall()]


def _checksum(cursor: Any, table: str) -> int | None:
    cursor.execute(f"CHECKSUM TABLE {table}")
    found: int | None = cursor.fetchone()[1]
    return found


@contextmanager
def _on_sqlite(connection: Any, name: str, folder: Path) -> Iterator[str]:
    target = str(folder / os.path.basename(name))
    source = sqlite_file(str(connection.settings_dict["NAME"]))
    with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(target)) as new:
        original.backup(new)
    yield target


_WAYS: Mapping[str, Callable[[Any, str, Path], AbstractContextManager[str]]] = {
    "postgresql": _on_postgresql,
    "mysql": _on_mysql,
    "sqlite": _on_sqlite,
}
