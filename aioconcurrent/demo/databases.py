"""The database of the demo: one of its own, on SQLite or on a server, made and dropped by Django."""

from __future__ import annotations

import secrets
import tempfile
import warnings
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ENGINES = {
    "postgres": "django.db.backends.postgresql",
    "postgresql": "django.db.backends.postgresql",
    "mysql": "django.db.backends.mysql",
    "mariadb": "django.db.backends.mysql",
}
_DRIVERS = {"django.db.backends.postgresql": "psycopg[binary]", "django.db.backends.mysql": "mysqlclient"}
_FORMS = "postgres://user:password@host:port/ or mysql://user:password@host:port/"
_PATIENCE = 10  # seconds for a server to answer; the drivers would wait for minutes


class DemoError(Exception):
    """The demo cannot run; the text says why."""


def server_settings(url: str) -> dict[str, object]:
    """Return Django's connection settings for the server at `url`.

    Its query is for the driver: ?sslmode=require, for example.

    Raises:
        ValueError: `url` names no server of a known kind.
    """
    try:
        parts = urlsplit(url)
        port, query = parts.port, parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise ValueError(f"not a URL of the form {_FORMS}: {error}") from None
    if parts.scheme not in _ENGINES:  # and no more of it: it may hold a password
        found = f"not one that begins with {parts.scheme!r}" if parts.scheme else "and this has nothing before ://"
        raise ValueError(f"a URL of the form {_FORMS} is needed, {found}")
    options: dict[str, object] = {"connect_timeout": _PATIENCE, **dict(query)}
    host = str(options.pop("host", "")) or parts.hostname or ""  # in the query it is the folder of a socket
    if not host and "unix_socket" not in options:
        raise ValueError(f"a URL of the form {_FORMS} is needed; this one names no host")
    return {
        "ENGINE": _ENGINES[parts.scheme],
        "NAME": unquote(parts.path.strip("/")) or ("" if parts.scheme in ("mysql", "mariadb") else "postgres"),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(port or ""),
        "OPTIONS": options,
    }


@contextmanager
def own_database(server: Mapping[str, Any] | None) -> Iterator[None]:
    """Set Django up with the shop as its only app, on a database that exists for the block only.

    Args:
        server: Connection settings; None for SQLite.

    Raises:
        DemoError: There is no such server, or no driver for it.
    """
    if server is not None:
        # a name that nobody has: where it exists, Django would offer to replace the database
        name = f"test_aioconcurrent_demo_{secrets.token_hex(8)}"
        _set_up({**server, "TEST": {"NAME": name}})
        _check_server(server)
        with _test_database(name):
            yield
        return
    with tempfile.TemporaryDirectory(prefix="aioconcurrent-demo-") as folder:
        name = str(Path(folder, "test_shop.sqlite3"))
        _set_up(
            {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(Path(folder, "shop.sqlite3")),
                "OPTIONS": {"timeout": 20},  # seconds; many buyers queue for one lock
                "TEST": {"NAME": name},
            }
        )
        with _test_database(name):
            yield


def _set_up(database: Mapping[str, Any]) -> None:
    import django
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    if "mysql" in database["ENGINE"] and not find_spec("MySQLdb") and find_spec("pymysql"):
        import_module("pymysql").install_as_MySQLdb()  # also in the processes of calls, see `Project.drivers`
    settings.configure(
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=["aioconcurrent.demo"],
        USE_TZ=True,
    )
    try:
        django.setup()  # imports the driver, for the models
    except ImproperlyConfigured as error:
        package = _DRIVERS[database["ENGINE"]]
        reason = str(error).splitlines()[0]
        raise DemoError(f'{reason.rstrip(".")}. Install the driver: python -m pip install "{package}"') from None


def _check_server(server: Mapping[str, Any]) -> None:
    from django.db import connection

    try:
        with warnings.catch_warnings(action="ignore"), connection._nodb_cursor():
            pass
    except Exception as error:  # the driver's, or of an option that it does not know
        place = ":".join(filter(None, (server["HOST"], server["PORT"]))) or "the given socket"
        raise DemoError(f"cannot connect to the {connection.vendor} server at {place}: {str(error).strip()}") from None


@contextmanager
def _test_database(name: str) -> Iterator[None]:
    from django.db import connection

    before = connection.settings_dict["NAME"]
    try:
        connection.creation.create_test_db(verbosity=0)
        yield
    finally:
        if connection.settings_dict["NAME"] == name:  # else it was not made, and Django would drop another one
            connection.creation.destroy_test_db(before, verbosity=0)
