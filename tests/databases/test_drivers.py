"""What drivers of one database call by different names: run with psycopg 3 and, in the matrix, with psycopg2."""

from typing import Any

import pytest
from django.db import OperationalError, connections

from aioconcurrent.base import pickling
from aioconcurrent.databases.guard import session_id
from aioconcurrent.databases.watching.gate import Cancelled, Gate, Leave
from tests.project.databases import on


@pytest.fixture(params=on("postgresql"))
def connection(request: pytest.FixtureRequest) -> Any:
    return connections[request.param]


def test_a_session_has_the_number_that_its_server_gives_it(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == (session_id(connection),)


def test_the_gate_tells_that_a_statement_was_cancelled(connection: Any) -> None:
    said: list[object] = []

    def talk(message: bytes) -> bytes:
        said.extend(pickling.loads(message))
        return pickling.dumps(Leave("go"))

    gate = Gate()
    gate.close(talk, said.append)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '10ms'")
        sleep = "SELECT pg_sleep(60)"
        with pytest.raises(OperationalError):
            gate.pass_database(connection, "sql", sleep, None, lambda: cursor.execute(sleep), cursor.cursor)
    connection.close()  # and the timeout with it
    assert Cancelled() in said
