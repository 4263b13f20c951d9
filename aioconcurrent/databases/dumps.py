"""A copy of a database on another server: dumped where the test is, and loaded where runs are made.

The databases' own programs do that, and have to be on the PATH: `pg_dump` and `pg_restore`,
`mysqldump` and `mysql` (or `mariadb-dump` and `mariadb`).  The other server has to be alike,
because runs on both are taken for the same: in its version, and in the settings that
decide what statements find and wait for.

The copy has a new name, so that nothing that is there is touched.  As long as it is used, a
session holds a lock of that name.  Where the lock is free, the process is gone that used
the copy, and the next one drops it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._text import shown, text_of
from .copies import LONGEST, NAMES, SUFFIX, drop
from .identity import identify
from .sessions import connect_directly

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .copies import Copy, Settings

PIECE = 4 * 1024 * 1024  # bytes
_SAID = 1000  # characters of what a program has said last
_TOLD = 3  # differences
_LONGEST_VALUE = 80  # characters
_WITHOUT_DATABASE = {"postgresql": "postgres", "mysql": ""}  # what a session is in that is in none of ours
_PROGRAMS = {
    "postgresql": (("pg_dump",), ("pg_restore",)),
    "mysql": (("mysqldump", "mariadb-dump"), ("mysql", "mariadb")),
}
_LOCK = {"postgresql": "SELECT pg_try_advisory_lock(%s)", "mysql": "SELECT GET_LOCK(%s, 0)"}
_UNLOCK = {"postgresql": "SELECT pg_advisory_unlock(%s)", "mysql": "SELECT RELEASE_LOCK(%s)"}

# What statements find, how they are planned, and what they wait for.
_TRAITS_OF_POSTGRESQL = """
SELECT name, setting FROM pg_settings WHERE name ~ '^(default_transaction_|enable_|geqo|jit|lc_|parallel_|cpu_)'
    OR name IN (
        'array_nulls', 'backslash_quote', 'bytea_output', 'constraint_exclusion', 'cursor_tuple_fraction', 'DateStyle',
        'default_statistics_target', 'default_text_search_config', 'extra_float_digits', 'from_collapse_limit',
        'IntervalStyle', 'join_collapse_limit', 'lock_timeout', 'max_parallel_workers_per_gather', 'plan_cache_mode',
        'quote_all_identifiers', 'random_page_cost', 'row_security', 'search_path', 'seq_page_cost',
        'session_replication_role', 'standard_conforming_strings', 'statement_timeout', 'synchronize_seqscans',
        'TimeZone', 'transform_null_equals'
    )
UNION ALL SELECT 'SUPERUSER', rolsuper::text FROM pg_roles WHERE rolname = current_user
UNION ALL SELECT 'BYPASSRLS', (rolsuper OR rolbypassrls)::text FROM pg_roles WHERE rolname = current_user
UNION ALL SELECT 'collation version', to_jsonb(d) ->> 'datcollversion' FROM pg_database d
    WHERE datname = current_database()
"""
_TRAITS_OF_MYSQL = """
SHOW VARIABLES WHERE variable_name IN (
    'auto_increment_increment', 'auto_increment_offset', 'autocommit', 'character_set_connection',
    'collation_connection', 'default_storage_engine', 'explicit_defaults_for_timestamp', 'foreign_key_checks',
    'group_concat_max_len', 'innodb_autoinc_lock_mode', 'innodb_deadlock_detect', 'innodb_lock_wait_timeout',
    'innodb_rollback_on_timeout', 'innodb_snapshot_isolation', 'lc_messages', 'lock_wait_timeout',
    'lower_case_table_names', 'max_statement_time', 'optimizer_switch', 'sql_auto_is_null', 'sql_mode',
    'time_zone', 'transaction_isolation', 'tx_isolation', 'tx_read_only', 'unique_checks'
)
"""
_HOURS = "SELECT 'time after UTC', TIMEDIFF(NOW(), UTC_TIMESTAMP())"  # where the time zone is that of the machine
_DATABASE = """
SELECT pg_encoding_to_char(encoding), to_jsonb(d)::text FROM pg_database d WHERE datname = current_database()
"""
_CHARACTERS = "SELECT @@character_set_database, @@collation_database"
_EXTENSIONS = "SELECT extname, extversion FROM pg_extension ORDER BY extname"
_OWNERS = """
SELECT DISTINCT pg_get_userbyid(owner) FROM (
    SELECT oid, relnamespace AS home, relowner AS owner FROM pg_class
    UNION ALL SELECT oid, pronamespace, proowner FROM pg_proc
) found JOIN pg_namespace n ON n.oid = home
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND pg_get_userbyid(owner) <> current_user
    AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = found.oid AND d.deptype = 'e')
"""
# Plans depend on whether a table was analyzed.
_ANALYZED = """
SELECT DISTINCT format('%I.%I', schemaname, tablename) FROM pg_stats
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""


class DumpError(Exception):
    """A copy cannot be made on another server; the argument says why, as the end of a sentence."""


@dataclass(frozen=True)
class Source:
    """A copy of a database, as its server tells of it.

    Attributes:
        alias: Of the database.
        settings: Where the copy is, as in Django's DATABASES.
        identity: What no other database has.
        version: Of the server, as far as it has to be the same.
        traits: What else has to be the same on another server, by name.
        creation: What has to follow `CREATE DATABASE name`.
        extensions: With their versions.
        owners: Of what is in it, but for the user of the connection.
        analyzed: Tables of which the server knows how values are distributed.
    """

    alias: str
    settings: Settings
    vendor: str
    identity: object
    version: str
    traits: Mapping[str, str]
    creation: str
    extensions: Sequence[tuple[str, str]] = ()
    owners: Sequence[str] = ()
    analyzed: Sequence[str] = ()

    @property
    def base(self) -> str:
        """The name of the database that it is a copy of."""
        return re.sub(rf"_{SUFFIX}\d+\Z", "", str(self.settings["NAME"]))


def sources_of(copy: Copy, aliases: Mapping[str, str]) -> dict[str, Source]:
    """Those of a copy that are on servers, by the names of their originals.

    Args:
        aliases: One of each original, by its name.
    """
    return {
        name: _source(aliases[name], settings)
        for name, settings in copy.settings.items()
        if "sqlite" not in settings["ENGINE"]
    }


def _source(alias: str, settings: Settings) -> Source:
    identity = identify(alias, settings)
    with _session(alias, settings) as connection:
        cursor = connection.connection.cursor()
        known = connection.vendor, identity, _version(connection), _traits(connection), _creation(connection)
        if connection.vendor != "postgresql":
            return Source(alias, settings, *known)
        extensions, owners = _rows(cursor, _EXTENSIONS), _firsts(cursor, _OWNERS)
        return Source(alias, settings, *known, extensions, owners, _firsts(cursor, _ANALYZED))


@contextmanager
def _session(alias: str, settings: Settings) -> Iterator[Any]:
    connection = connect_directly(alias, settings)
    with closing(connection.connection):
        yield connection


def _rows(cursor: Any, query: str) -> list[tuple[Any, ...]]:
    cursor.execute(query)
    return [tuple(row) for row in cursor.fetchall()]


def _firsts(cursor: Any, query: str) -> list[Any]:
    return [first for (first, *_) in _rows(cursor, query)]


def _version(connection: Any) -> str:
    driver = connection.connection
    if connection.vendor == "postgresql":
        return f"PostgreSQL {driver.info.server_version // 10000}"
    (found,) = _firsts(driver.cursor(), "SELECT VERSION()")
    product = "MariaDB" if "MariaDB" in found else "MySQL"
    return f"{product} {'.'.join(found.split('.')[:2])}"


def _traits(connection: Any) -> dict[str, str]:
    queries = [_TRAITS_OF_POSTGRESQL] if connection.vendor == "postgresql" else [_TRAITS_OF_MYSQL, _HOURS]
    cursor = connection.connection.cursor()
    return {str(name).lower(): str(value) for query in queries for name, value in _rows(cursor, query)}


def _creation(connection: Any) -> str:
    cursor = connection.connection.cursor()
    if connection.vendor == "mysql":
        ((characters, collation),) = _rows(cursor, _CHARACTERS)
        return f"CHARACTER SET {characters} COLLATE {collation}"
    ((encoding, told),) = _rows(cursor, _DATABASE)
    row = json.loads(told)
    parts = {"ENCODING": encoding, "LC_COLLATE": row["datcollate"], "LC_CTYPE": row["datctype"]}
    provider, locale = row.get("datlocprovider", "c"), row.get("daticulocale") or row.get("datlocale")
    if provider == "i":
        parts |= {"LOCALE_PROVIDER": "icu", "ICU_LOCALE": locale}
    elif provider == "b":
        parts |= {"LOCALE_PROVIDER": "builtin", "BUILTIN_LOCALE": locale}
    if row.get("daticurules"):
        parts["ICU_RULES"] = row["daticurules"]
    return "TEMPLATE template0 " + " ".join(f"{name} {_quoted(value)}" for name, value in parts.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class Dump:
    """A dump of a copy, as it is made.

    Raises:
        DumpError: There is no program for that.
    """

    def __init__(self, source: Source) -> None:
        arguments, environment = _arguments(source.vendor, source.settings)
        if source.vendor == "postgresql":
            arguments = ["--format=custom", "--no-password", *arguments, str(source.settings["NAME"])]
        else:
            arguments = [*arguments, "--routines", "--events", str(source.settings["NAME"])]
        self._program = _Program(source.vendor, 0, arguments, environment)

    def read(self) -> bytes:
        """The next piece, and nothing at its end.

        Raises:
            DumpError: It cannot be made.
        """
        piece = self._program.read()
        if not piece:
            self._program.finish()
        return piece

    def close(self) -> None:
        """End the program, whatever it is doing."""
        self._program.close()


class Load:
    """Loads a dump into an empty database.

    Args:
        settings: Of the database.

    Raises:
        DumpError: There is no program for that.
    """

    def __init__(self, source: Source, settings: Settings) -> None:
        self._source, self._settings = source, settings
        arguments, environment = _arguments(source.vendor, settings)
        if source.vendor == "postgresql":
            arguments = ["--exit-on-error", "--no-password", *arguments, f"--dbname={settings['NAME']}"]
            if settings.get("USER") != source.settings.get("USER"):
                arguments.insert(0, "--no-owner")
        else:
            arguments = [*arguments, str(settings["NAME"])]
        self._program = _Program(source.vendor, 1, arguments, environment)

    def write(self, piece: bytes) -> None:
        """Load a piece.

        Raises:
            DumpError: It cannot be loaded.
        """
        self._program.write(piece)

    def finish(self) -> None:
        """Take note that this was all, and see whether the database is as it has to be.

        Raises:
            DumpError: It is not.
        """
        self._program.finish()
        if self._source.vendor != "postgresql":
            return
        with _session(self._source.alias, self._settings) as connection:
            cursor = connection.connection.cursor()
            _refuse(dict(_rows(cursor, _EXTENSIONS)), dict(self._source.extensions))
            for table in self._source.analyzed:
                cursor.execute(f"ANALYZE {table}")

    def close(self) -> None:
        """End the program, whatever it is doing."""
        self._program.close()


class _Program:
    """One of a database's programs; what it says on stderr is told where it fails."""

    def __init__(self, vendor: str, kind: int, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        names = _PROGRAMS[vendor][kind]
        self._path = next((path for name in names if (path := shutil.which(name))), "")
        self._name = os.path.basename(self._path)
        if not self._path:
            where = "the machine of the test" if kind == 0 else "the worker's machine"
            raise DumpError(f"{' or '.join(names)} is not installed on {where}, or not on the PATH")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._process = subprocess.Popen(
            [self._path, *arguments],
            stdin=subprocess.DEVNULL if kind == 0 else subprocess.PIPE,
            stdout=subprocess.PIPE if kind == 0 else subprocess.DEVNULL,
            stderr=self._errors,
            env={**os.environ, **environment},
        )

    def read(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.read(PIECE)

    def write(self, piece: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(piece)
        except OSError:  # it has ended, and `finish` says how
            self.finish()
            raise DumpError(f"{self._name} has ended before the dump") from None

    def finish(self) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        if self._process.wait():
            raise DumpError(f"{self._name} ({self._version()}) has failed: {self._last_words()}")

    def _version(self) -> str:
        told = subprocess.run([self._path, "--version"], capture_output=True, check=False, text=True, errors="replace")
        return told.stdout.strip()

    def _last_words(self) -> str:
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        return " ".join(said.split())[-_SAID:] or f"exit status {self._process.returncode}"

    def close(self) -> None:
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was not written yet
                    stream.close()
        self._process.wait()
        self._errors.close()


def _arguments(vendor: str, settings: Settings) -> tuple[list[str], dict[str, str]]:
    """What tells a program of the database where to connect, but for the database, and its environment."""
    if vendor == "postgresql":
        from django.db.backends.postgresql.client import DatabaseClient
    else:
        from django.db.backends.mysql.client import DatabaseClient  # type: ignore[assignment]
    arguments, environment = DatabaseClient.settings_to_cmd_args_env({**settings, "NAME": "database"}, [])
    return list(arguments[1:-1]), dict(environment or {})


def is_at(source: Source, settings: Settings) -> bool:
    """Whether these settings lead to the copy itself, on its own server."""
    with suppress(Exception):  # there is no such database, or no way in: `room` tells
        return bool(identify(source.alias, settings) == source.identity)
    return False


@contextmanager
def room(source: Source, settings: Settings) -> Iterator[Settings]:
    """Have an empty database on the server of these settings for a block, into which the dump may be loaded.

    Raises:
        DumpError: That is not allowed there, or the server is not alike.
    """
    name = f"{source.base}_{SUFFIX}_{uuid.uuid4().hex[:12]}"
    if len(name.encode()) > LONGEST:
        raise DumpError(f"the name {name!r} of the copy has more than {LONGEST} bytes")
    connection = _reached(source.alias, {**settings, "NAME": _WITHOUT_DATABASE[source.vendor]})
    with closing(connection.connection):
        found = _version(connection)
        if found != source.version:
            raise DumpError(f"its server is {found}, and the test's {source.version}")
        cursor = connection.connection.cursor()
        _take_away_left(connection, cursor, source.base)
        _lock(connection, cursor, name)
        try:
            cursor.execute(f"CREATE DATABASE {connection.ops.quote_name(name)} {source.creation}")
        except connection.Database.Error as error:
            raise DumpError(f"its server does not make a database: {' '.join(text_of(error).split())}") from error
        made = {**settings, "NAME": name}
        try:
            _refuse_unlike(source, made)
            yield made
        finally:
            _drop_anew(source, settings, name)


def _reached(alias: str, settings: Settings) -> Any:
    try:
        return connect_directly(alias, settings)
    except Exception as error:
        raise DumpError(f"its database server cannot be reached: {' '.join(text_of(error).split())}") from error


def _drop_anew(source: Source, settings: Settings, name: str) -> None:
    """Drop what was made here, in a session of its own: the other one may have been ended."""
    with _session(source.alias, {**settings, "NAME": _WITHOUT_DATABASE[source.vendor]}) as connection:
        drop(connection, connection.connection.cursor(), name, "IF EXISTS ")


def _refuse_unlike(source: Source, settings: Settings) -> None:
    """See whether runs on the server of these settings are as on that of the test."""
    with _session(source.alias, settings) as connection:
        _refuse(_traits(connection), source.traits)
    user = settings.get("USER")
    if source.owners and user != source.settings.get("USER"):
        raise DumpError(f"its database user is {user!r}, and there is more than one owner: {', '.join(source.owners)}")


def _refuse(found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    unlike = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if unlike:
        told = [f"{name} is {_shown(found.get(name))} there, and {_shown(wanted.get(name))} here" for name in unlike]
        rest = f", and {len(told) - _TOLD} more differences" if len(told) > _TOLD else ""
        raise DumpError(f"its server is not like the test's: {'; '.join(told[:_TOLD])}{rest}")


def _shown(value: str | None) -> str:
    return "missing" if value is None else shown(value, _LONGEST_VALUE)


def _lock(connection: Any, cursor: Any, name: str) -> bool:
    cursor.execute(_LOCK[connection.vendor], [_key(connection.vendor, name)])
    return bool(cursor.fetchone()[0])


def _key(vendor: str, name: str) -> int | str:
    """What the lock of a database is called: PostgreSQL has numbers of 64 bits."""
    if vendor == "mysql":
        return name
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def _take_away_left(connection: Any, cursor: Any, base: str) -> None:
    """Drop copies that killed processes have left; those that are in use are locked."""
    ours = re.compile(re.escape(f"{base}_{SUFFIX}_") + "[0-9a-f]{12}")
    for name in filter(ours.fullmatch, _firsts(cursor, NAMES[connection.vendor])):
        if _lock(connection, cursor, name):
            with suppress(connection.Database.Error):  # another one drops it, or it is somebody else's
                drop(connection, cursor, name, "IF EXISTS ")
            cursor.execute(_UNLOCK[connection.vendor], [_key(connection.vendor, name)])
