"""Second database servers, as another machine has them, of the version of the first ones.

`AIOCONCURRENT_TEST_SECOND_POSTGRES` and `AIOCONCURRENT_TEST_SECOND_MYSQL` may hold their URLs.  Else they
are run in folders of their own, as long as tests need them.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django.db import connections

from aioconcurrent.base import own_clock as time
from aioconcurrent.databases.sessions import connect_directly
from tests import servers

POSTGRES_VARIABLE = "AIOCONCURRENT_TEST_SECOND_POSTGRES"
MYSQL_VARIABLE = "AIOCONCURRENT_TEST_SECOND_MYSQL"
_PATIENCE = 120.0  # seconds
_DATABASES = {
    "postgresql": "SELECT datname FROM pg_database WHERE datname LIKE %s",
    "mysql": "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE %s",
}
_FIRST = """
SELECT current_setting('server_version_num')::int / 10000, datcollate FROM pg_database WHERE datname = 'template0'
"""
_HOME = {"postgresql": "postgres", "mysql": ""}  # a database that is always there, or none


class SecondServer:
    """One of them.

    Args:
        alias: Of the database that is on the first server.
    """

    def __init__(self, alias: str, url: str) -> None:
        self.alias, self.url = alias, url

    @property
    def environment(self) -> dict[str, str]:
        """With which the project's settings lead there."""
        variables = {"postgresql": servers.POSTGRES_VARIABLE, "mysql": servers.MYSQL_VARIABLE}
        return {variables[self.alias]: self.url}

    @property
    def settings(self) -> dict[str, Any]:
        """Of a session that is in no database of ours."""
        known = connections[self.alias].settings_dict
        return {**known, **servers.connection_settings(self.url), "NAME": _HOME[self.alias]}

    def ask(self, query: str, *parameters: object, name: str | None = None) -> list[Any]:
        """The first column of what a query finds, in a database of this name."""
        settings = self.settings if name is None else {**self.settings, "NAME": name}
        connection = connect_directly(self.alias, settings)
        with closing(connection.connection), connection.connection.cursor() as cursor:
            cursor.execute(query, parameters or None)
            return [row[0] for row in cursor.fetchall()] if cursor.description else []

    def copies(self) -> list[str]:
        """The databases there that are copies of that of the test."""
        return self.ask(_DATABASES[self.alias], f"{connections[self.alias].settings_dict['NAME']}_aioconcurrent%")


@contextmanager
def second_postgresql() -> Iterator[SecondServer]:
    """Run one in a block, where its programs are to be had in the version of the first, or else an embedded one."""
    if url := os.environ.get(POSTGRES_VARIABLE):
        yield SecondServer("postgresql", url)
        return
    first = {**connections["postgresql"].settings_dict, "NAME": "postgres"}
    with closing(connect_directly("postgresql", first).connection) as driver, driver.cursor() as cursor:
        cursor.execute(_FIRST)
        version, locale = cursor.fetchone()
    programs = _programs(version)
    if programs is None:
        with servers.embedded_postgresql() as url, _on_path(servers.embedded_programs()):
            yield SecondServer("postgresql", url)
        return
    with _folder("postgres") as (folder, user):
        data, port = folder / "data", _free_port()
        making = ["-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", f"--locale={locale}", "--no-sync"]
        _run(user, programs / "initdb", *making)
        options = {"port": port, "fsync": "off", "listen_addresses": "127.0.0.1", "unix_socket_directories": folder}
        set_to = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        found = SecondServer("postgresql", f"postgresql://postgres@127.0.0.1:{port}/postgres")
        with _running(user, found, programs / "postgres", "-D", data, *set_to):
            yield found


def _programs(version: int) -> Path | None:
    known = shutil.which("initdb")
    for folder in (Path(f"/usr/lib/postgresql/{version}/bin"), known and Path(known).resolve().parent):
        if folder and (folder / "initdb").exists():
            told = subprocess.run([folder / "initdb", "--version"], capture_output=True, check=True, text=True).stdout
            if f" {version}." in told:
                return folder
    return None


@contextmanager
def second_mysql() -> Iterator[SecondServer | None]:
    """Run one in a block, where its programs are to be had."""
    if url := os.environ.get(MYSQL_VARIABLE):
        yield SecondServer("mysql", url)
        return
    server = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin") or shutil.which("mysqld")
    if server is None:
        yield None
        return
    with _folder("mysql") as (folder, user):
        data, port = folder / "data", _free_port()
        if make := shutil.which("mariadb-install-db"):
            _run(user, make, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal")
        else:
            _run(user, server, "--no-defaults", f"--datadir={data}", "--initialize-insecure")
        options = ["--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder / 'socket'}", "--loose-mysqlx=OFF"]
        found = SecondServer("mysql", f"mysql://root@127.0.0.1:{port}/")
        quick = "--innodb-flush-log-at-trx-commit=2"
        with _running(user, found, server, "--no-defaults", f"--datadir={data}", *options, quick):
            yield found


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}:{before}"
    yield
    os.environ["PATH"] = before


SECOND: dict[str, Callable[[], Any]] = {"postgresql": second_postgresql, "mysql": second_mysql}


@contextmanager
def _folder(user: str) -> Iterator[tuple[Path, str | None]]:
    """A folder for a server, and the user that it runs as: these servers refuse to run as root."""
    with tempfile.TemporaryDirectory(prefix="aioconcurrent-") as name:
        if os.geteuid():
            yield Path(name), None
        else:
            shutil.chown(name, user)
            yield Path(name), user


def _run(user: str | None, *command: object) -> None:
    done = subprocess.run([*map(str, command)], user=user, cwd="/", capture_output=True, check=False, text=True)
    assert not done.returncode, done.stdout + done.stderr


@contextmanager
def _running(user: str | None, found: SecondServer, *command: object) -> Iterator[None]:
    environment = {name: value for name, value in os.environ.items() if name != "TZ"}  # which is Django's here
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen(
            [*map(str, command)], user=user, cwd="/", env=environment, stdout=told, stderr=told
        ) as process,
    ):
        try:
            _wait_for(found, process, lambda: _text(told))
            yield
        finally:
            process.kill()


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode(errors="replace"))


def _wait_for(found: SecondServer, process: subprocess.Popen[bytes], told: Callable[[], str]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        assert process.poll() is None, told()
        try:
            found.copies()
        except Exception:
            assert time.monotonic() < deadline, told()
            time.sleep(0.05)
        else:
            return


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def environment(found: Sequence[SecondServer]) -> dict[str, str]:
    """With which the project's settings lead to these servers."""
    return {name: value for each in found for name, value in each.environment.items()}
