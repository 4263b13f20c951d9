"""The tests' own way to the databases: which server is used, and what `database` gives a test."""

import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

from tests import servers
from tests.project.databases import ThreadOfQueries
from tests.project.shop.models import Counter


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://ann:p%40ss@db.example:5433/shop",
            {"NAME": "shop", "USER": "ann", "PASSWORD": "p@ss", "HOST": "db.example", "PORT": "5433"},
        ),
        (
            "postgresql://postgres:@/postgres?host=/run/pg",
            {"NAME": "postgres", "USER": "postgres", "PASSWORD": "", "HOST": "/run/pg", "PORT": ""},
        ),
        (
            "mysql://root@127.0.0.1:3306/",
            {"NAME": "", "USER": "root", "PASSWORD": "", "HOST": "127.0.0.1", "PORT": "3306"},
        ),
    ],
)
def test_a_url_becomes_connection_settings(url: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOCONCURRENT_TEST_MYSQL_DRIVER", "mysqlclient")
    assert servers.connection_settings(url) == expected


def test_pymysql_is_told_to_read_no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIOCONCURRENT_TEST_MYSQL_DRIVER", raising=False)
    assert servers.connection_settings("mysql://root@127.0.0.1:3306/")["OPTIONS"] == {"ssl_disabled": True}


def test_the_variable_comes_before_the_server_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOCONCURRENT_TEST_POSTGRES", "postgresql://ann@db.example/shop")
    monkeypatch.setenv("AIOCONCURRENT_TEST_MYSQL", "mysql://ann@db.example/shop")
    assert servers.find_postgresql() == "postgresql://ann@db.example/shop"
    assert servers.find_mysql() == "mysql://ann@db.example/shop"


def test_a_port_without_a_server_gives_no_url() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert servers.postgresql_on_loopback(port) == ""
        assert servers.mysql_on_loopback(port) == ""


def test_the_embedded_server_runs_and_leaves_nothing_behind() -> None:
    driver = servers.postgresql_driver()
    with servers.embedded_postgresql() as url:
        with closing(driver.connect(url)) as session, session.cursor() as cursor:
            cursor.execute("SHOW fsync")
            assert cursor.fetchone() == ("off",)
        folder = Path(servers.connection_settings(url)["HOST"])
        assert folder.exists()
    assert not folder.exists()
    with pytest.raises(driver.OperationalError):
        driver.connect(url)


def test_each_database_is_its_own_and_outside_a_transaction(database: str) -> None:
    Counter.objects.using(database).create(name="clicks", value=1)
    vendors = {"default": "sqlite", "file": "sqlite", "postgresql": "postgresql", "mysql": "mysql"}
    assert connections[database].vendor == vendors[database]
    assert not connections[database].in_atomic_block


def test_each_test_starts_without_rows(database: str) -> None:
    assert not Counter.objects.using(database).exists()


async def test_a_coroutine_reads_what_its_test_wrote(database: str, in_thread: ThreadOfQueries) -> None:
    created = await in_thread(Counter.objects.using(database).create, name="clicks", value=3)
    assert await in_thread(Counter.objects.using(database).get, pk=created.pk) == created


@pytest.mark.django_db
async def test_a_coroutine_stays_in_the_transaction_of_its_test(in_thread: ThreadOfQueries) -> None:
    assert await in_thread(lambda: connection.in_atomic_block)
