"""A server that has no connection left, for the exploration itself or for one of its calls."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from django.db import connections

from aioconcurrent import NoConnectionLeftError
from aioconcurrent.sync import explore
from tests.faults.processes import wait_until
from tests.project.databases import on
from tests.project.shop.calls import increment
from tests.project.shop.models import Counter

SERVERS: list[Any] = on("postgresql", "mysql")
LIMIT = 8

OF_USER = {
    "postgresql": (
        f"CREATE ROLE {{name}} LOGIN CONNECTION LIMIT {LIMIT}",
        "GRANT {owner} TO {name}",
        "DROP ROLE {name}",
    ),
    "mysql": (
        "CREATE USER {name}",
        f"GRANT ALL ON *.* TO {{name}} WITH MAX_USER_CONNECTIONS {LIMIT}",
        "DROP USER {name}",
    ),
}
COUNT = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE usename = %s",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE user = %s",
}


@contextmanager
def limited(database: str, left: int) -> Iterator[None]:
    """Connect as a user whose connections are all in use but for so many; the test's own is not one of them."""
    connection: Any = connections[database]
    direct, name = connection.settings_dict, f"limited_{connection.settings_dict['NAME'][-20:]}"
    texts = [text.format(name=name, owner=direct["USER"]) for text in OF_USER[connection.vendor]]
    administrator = connection.copy()
    run(administrator, *texts[:2])
    try:
        connection.settings_dict = {**direct, "USER": name}
        with ExitStack() as stack:
            for _ in range(LIMIT - left):
                stack.enter_context(closing(connection.get_new_connection(connection.get_connection_params())))
            connection.settings_dict = {**direct, "USER": name}
            yield
    finally:
        connection.settings_dict = direct
        assert wait_until(lambda: not asked(administrator, COUNT[connection.vendor], name))
        run(administrator, texts[2])
        administrator.close()


def run(connection: Any, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def asked(connection: Any, query: str, name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, [name])
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize(
    ("database", "left"),
    [
        pytest.param(*database.values, left, id=f"{database.id}-{left}", marks=database.marks)
        for database, numbers in zip(SERVERS, [(0, 2, 4), (0, 1, 3)], strict=True)
        for left in numbers
    ],
)
def test_it_is_named_with_what_is_needed_and_the_rows_stay(database: str, left: int) -> None:
    counter = Counter.objects.using(database).create(name="clicks")
    with limited(database, left), pytest.raises(NoConnectionLeftError) as caught:
        explore(*[(increment, {"pk": counter.pk, "using": database})] * 2)
    text = str(caught.value)
    assert text.startswith(f"The server of database {database!r} has no connection left (")
    assert "exploring needs three of its own and up to two for each call" in text
    counter.refresh_from_db()
    assert counter.value == 0


@pytest.mark.parametrize("database", SERVERS)
def test_as_many_as_are_needed_are_enough(database: str) -> None:
    counter = Counter.objects.using(database).create(name="clicks")
    with limited(database, 7):
        found = explore(*[(increment, {"pk": counter.pk, "using": database})] * 2)
    assert found.verdict == "race", found
