"""Which aliases are one database, and which URLs one cache, as their servers say.

`localhost` and `127.0.0.1`, a socket and a port, a port and none: two aliases of one
database have the same rows and the same locks, whatever their settings look like.
Servers are asked only if two spellings could mean the same.  A server that does not
answer keeps its spelling.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Hashable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .sessions import connect_directly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Identity = tuple[Hashable, ...]

_PATIENCE = 5  # seconds for a server to answer
_POSTGRESQL = """
SELECT extract(epoch FROM pg_postmaster_start_time())::text, d.oid::bigint, d.datname FROM pg_database d
WHERE d.datname = current_database()
"""
_SYSTEM = "SELECT system_identifier FROM pg_control_system()"
_MYSQL = """
SHOW GLOBAL VARIABLES
WHERE variable_name IN
    ('hostname', 'port', 'datadir', 'pid_file', 'server_uuid', 'server_uid', 'lower_case_table_names')
"""


def database_names(candidates: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Give each spelling of a database the one under which it goes, the first.

    Args:
        candidates: An alias and its settings, by spelling.
    """
    by_vendor: dict[str, list[str]] = {}
    for spelling, (_, settings) in candidates.items():
        by_vendor.setdefault(_vendor(settings), []).append(spelling)
    names: dict[str, str] = {}
    for vendor, spellings in by_vendor.items():
        called = Counter(_name_of(candidates[spelling][1]) for spelling in spellings)
        alike = [each for each in spellings if called[""] or called[_name_of(candidates[each][1])] > 1]
        asked = spellings if vendor == "sqlite" else alike  # to look at files costs nothing
        names |= _merged(spellings, asked, lambda spelling: identify(*candidates[spelling]))
    return names


def cache_names(caches: Mapping[str, Any]) -> dict[str, str]:
    """Give each spelling of a cache's store the one under which it goes, the first.

    Args:
        caches: A cache that keeps its values there, by spelling.
    """
    return _merged(caches, caches if len(caches) > 1 else (), lambda spelling: _of_cache(caches[spelling]))


def _merged(spellings: Iterable[str], asked: Iterable[str], identify: Callable[[str], Identity]) -> dict[str, str]:
    first: dict[Identity, str] = {}
    names = {spelling: spelling for spelling in spellings}
    for spelling in asked:
        with suppress(Exception):  # whatever is wrong with it, the calls tell if they use it
            names[spelling] = first.setdefault(identify(spelling), spelling)
    return names


def _vendor(settings: Mapping[str, Any]) -> str:
    from django.db.utils import load_backend

    with suppress(Exception):  # as above
        return str(load_backend(settings["ENGINE"]).DatabaseWrapper.vendor)
    return ""


def _name_of(settings: Mapping[str, Any]) -> str:
    """What the server may call it; empty where that is said elsewhere, as in a service file of PostgreSQL."""
    return str(settings["NAME"]).casefold()


def identify(alias: str, settings: Mapping[str, Any]) -> Identity:
    """What no other database has, as its server says."""
    ask = {"postgresql": _of_postgresql, "mysql": _of_mysql, "sqlite": _of_sqlite}[_vendor(settings)]
    return ask(alias, settings)


def _of_postgresql(alias: str, settings: Mapping[str, Any]) -> Identity:
    """A standby has the identifier of its primary, and has been started at another time."""
    with closing(_connected(alias, settings)) as driver, driver.cursor() as cursor:
        cursor.execute(_POSTGRESQL)
        found = tuple(cursor.fetchone())
        with suppress(Exception):  # the role may not; the time has microseconds
            cursor.execute(_SYSTEM)
            found += tuple(cursor.fetchone())
        return found


def _of_mysql(alias: str, settings: Mapping[str, Any]) -> Identity:
    with closing(_connected(alias, settings)) as driver, driver.cursor() as cursor:
        cursor.execute(_MYSQL)
        variables = dict(cursor.fetchall())
        cursor.execute("SELECT DATABASE()")
        name = str(cursor.fetchone()[0])
        is_folded = variables.pop("lower_case_table_names") != "0"
        return (name.lower() if is_folded else name, *sorted(variables.items()))


def _connected(alias: str, settings: Mapping[str, Any]) -> Any:
    options = {"connect_timeout": _PATIENCE, **(settings.get("OPTIONS") or {})}
    return connect_directly(alias, {**settings, "OPTIONS": options}).connection


def _of_sqlite(_alias: str, settings: Mapping[str, Any]) -> Identity:
    return _of_file(sqlite_file(str(settings["NAME"])))


def sqlite_file(name: str) -> str:
    """The file of a database, which may be named by a URI (sqlite.org/uri.html)."""
    return unquote(urlsplit(name).path) if name.startswith("file:") else name


def _of_file(path: str) -> Identity:
    try:
        found = os.stat(path)
    except OSError:  # it is not there yet
        return (os.path.realpath(path),)
    return found.st_dev, found.st_ino


def _of_cache(cache: Any) -> Identity:
    folder = getattr(cache, "_dir", None)
    if folder:
        return _of_file(folder)
    client = _redis_client(cache)
    if client is not None:
        return str(client.info("server")["run_id"]), int(client.connection_pool.connection_kwargs.get("db") or 0)
    return tuple(map(_memcached, cache._servers))


def _redis_client(cache: Any) -> Any:
    """The client that Django's backend, or one like django-redis, writes with."""
    if hasattr(cache, "client"):
        return cache.client.get_client(write=True)
    inner: Any = getattr(cache, "_cache", None)
    return inner.get_client(None, write=True) if hasattr(inner, "get_client") else None


def _memcached(server: str | tuple[str, int]) -> Identity:
    """The process that serves, by its number and when it began: "stats" in protocol.txt of memcached."""
    with _dialled(server) as connection, connection.makefile("rwb") as stream:
        stream.write(b"stats\r\n")
        stream.flush()
        told = {}
        for line in stream:
            word, *pair = line.decode().split(maxsplit=2)
            if word != "STAT":
                break
            told[pair[0]] = pair[1].strip()
        return told["pid"], int(told["time"]) - int(told["uptime"])


def _dialled(server: str | tuple[str, int]) -> socket.socket:
    if isinstance(server, str):
        path = server.removeprefix("unix:")
        if path.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(_PATIENCE)
            connection.connect(path)
            return connection
        host, _, port = server.rpartition(":")
        server = (host.strip("[]"), int(port))
    return socket.create_connection(server, _PATIENCE)
