"""A pooler between the tests and their database: the race works, and what needs sessions of its own is refused."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import DatabaseError, connections

from aioconcurrent import Outcomes, PooledSessionError, ProcessDiedError
from aioconcurrent.sync import call_concurrently, explore
from tests.faults.misbehaviour import exit_at_once
from tests.faults.processes import wait_until
from tests.project.databases import on
from tests.project.shop.calls import increment, increment_atomically
from tests.project.shop.models import Counter

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users
pool_mode = {mode}
"""

pytestmark = pytest.mark.parametrize("database", on("postgresql"))


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that a user without rights may read, which the tests' own ones are not."""
    with tempfile.TemporaryDirectory(prefix="aioconcurrent-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(params=["transaction", "session"])
def pooler(request: pytest.FixtureRequest, database: str, public_folder: Path) -> Iterator[None]:
    """Let the connections of the database lead through PgBouncer."""
    if PGBOUNCER is None:
        if os.environ.get("AIOCONCURRENT_TEST_REQUIRE_SERVERS"):
            pytest.fail("there is no PgBouncer")
        pytest.skip("there is no PgBouncer")
    connection = connections[database]
    direct = connection.settings_dict
    place = {"host": direct["HOST"], "port": direct["PORT"] or 5432, "user": direct["USER"]}
    own_port = _free_port()
    folder = public_folder
    (folder / "users").touch()
    configuration = folder / "configuration"
    configuration.write_text(CONFIGURATION.format(**place, own_port=own_port, folder=folder, mode=request.param))
    command = [PGBOUNCER, "--quiet", *(["--user", "nobody"] if os.getuid() == 0 else []), str(configuration)]
    connection.close()
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        connection.settings_dict = {**direct, "HOST": "127.0.0.1", "PORT": str(own_port)}
        try:
            assert wait_until(lambda: process.poll() is not None or _listens(database)), "PgBouncer does not listen"
            yield
        finally:
            connection.close()
            connection.settings_dict = direct
            process.terminate()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _listens(database: str) -> bool:
    try:
        connections[database].ensure_connection()
    except DatabaseError:
        return False
    return True


@pytest.fixture
def counter(pooler: None, database: str) -> Counter:
    return Counter.objects.using(database).create(name="clicks")


def test_a_race_works_through_a_pooler(counter: Counter, database: str) -> None:
    call_concurrently(5, increment_atomically, counter.pk, using=database).raise_errors()
    counter.refresh_from_db()
    assert counter.value == 5


def test_a_race_sets_nothing_in_a_session_that_others_get(counter: Counter, database: str) -> None:
    call_concurrently(5, increment_atomically, counter.pk, using=database).raise_errors()
    with connections[database].cursor() as cursor:
        for _ in range(5):
            cursor.execute("SHOW client_connection_check_interval")
            assert cursor.fetchone() == ("0",)


def test_a_call_that_dies_behind_a_pooler_is_told_as_anywhere(counter: Counter, database: str) -> None:
    outcomes: Outcomes = call_concurrently(2, exit_at_once, counter.pk, using=database)
    assert [type(wrapped.error) for wrapped in outcomes.errors] == [ProcessDiedError, ProcessDiedError]
    assert wait_until(lambda: not _is_locked(counter, database))  # PgBouncer ends the session in the transaction
    counter.refresh_from_db()
    assert counter.value == 0


def _is_locked(counter: Counter, database: str) -> bool:
    try:
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT 1 FROM shop_counter WHERE id = %s FOR UPDATE NOWAIT", [counter.pk])
    except DatabaseError:
        return True
    return False


def test_exploring_through_a_pooler_is_refused_by_its_name_before_anything_runs(
    counter: Counter, database: str
) -> None:
    with pytest.raises(PooledSessionError) as caught:
        explore(*[(increment, {"pk": counter.pk, "using": database})] * 2)
    text = str(caught.value)
    assert f"Database {database!r} is reached at 127.0.0.1:" in text
    assert "through a connection pooler, such as PgBouncer" in text
    assert "Point HOST and PORT of the tests at the server itself" in text
    counter.refresh_from_db()
    assert counter.value == 0
