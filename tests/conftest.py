"""The fixtures that all tests share: event loops and databases.

A test that takes `anyio_backend`, and every `async def` test does, runs on asyncio
and on trio.  A test that takes `database` runs on every database there is:

    def test_no_update_is_lost(database: str) -> None:
        counter = Counter.objects.using(database).create(name="clicks")
        call_concurrently(2, increment, counter.pk, using=database)
        counter.refresh_from_db()
        assert counter.value == 2

`database` is an alias of the settings, and such a test has the mark
`django_db(transaction=True)` for that alias alone.  Fewer of them, by name:

    @pytest.mark.parametrize("database", on("postgresql", "mysql"))

A coroutine queries with `await in_thread(Counter.objects.using(database).get, pk=1)`.
"""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from django.conf import settings
from django.core.cache import caches
from django.db.backends.postgresql.operations import DatabaseOperations
from hypothesis import settings as random_settings
from pytest_django import Settings

from tests import servers
from tests.project.databases import ThreadOfQueries, on

BACKENDS = "django.core.cache.backends"


def pytest_configure() -> None:
    # The same random values in every run: what fails has been changed.  The scripts of `fuzz` draw others.
    random_settings.register_profile("same", derandomize=True)
    random_settings.load_profile("same")
    if os.environ.get("AIOCONCURRENT_TEST_REQUIRE_SERVERS") and "mysql" not in settings.DATABASES:
        raise pytest.UsageError(f"AIOCONCURRENT_TEST_REQUIRE_SERVERS is set, but there is {servers.NO_MYSQL}")


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let event loops take turns with start methods and with databases, and start methods with all else."""
    of_functions: dict[str, list[pytest.Item]] = {}
    for item in items:
        if getattr(item, "callspec", None):
            of_functions.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for same in of_functions.values():
        columns = {
            name: tuple(item.callspec.indices[name] for item in same)  # type: ignore[attr-defined]
            for name in same[0].callspec.indices  # type: ignore[attr-defined]
        }
        methods, loops = columns.pop("start_method", ()), columns.pop("anyio_backend", ())
        if partner := methods or columns.get("database"):
            _take_turns(same, loops, partner)
        others = {*columns.values()} - {methods}  # parameters that are given together are one
        _take_turns(same, methods, tuple(map(sum, zip(*others, strict=True))))


def _take_turns(same: Sequence[pytest.Item], column: Sequence[int], other: Sequence[int]) -> None:
    """Of a test with two parameters, which do not ask for each other, leave every second pair of values out."""
    if len({*zip(column, other, strict=False)}) >= 4:
        for item, one, another in zip(same, column, other, strict=True):
            if one % 2 != another % 2:
                item.add_marker("thorough")


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return cast("str", request.param)


@pytest.fixture(params=on("default", "file", "postgresql", "mysql"))
def database(request: pytest.FixtureRequest) -> str:
    """The alias of one of the test databases, empty and without a transaction around the test."""
    return cast("str", request.param)


@pytest.fixture
def in_thread() -> ThreadOfQueries:
    """Runs a function that queries, from a coroutine on any loop, on the test's own connections."""
    return ThreadOfQueries()


@pytest.fixture
def redis(settings: Settings) -> Iterator[str]:
    """The default cache on the Redis server, under keys of the test's own; returns their beginning."""
    url = servers.find_redis()
    if not url:
        pytest.skip(servers.NO_REDIS)
    prefix = f"aioconcurrent-{os.getpid()}-{uuid.uuid4()}"
    settings.CACHES = {"default": {"BACKEND": f"{BACKENDS}.redis.RedisCache", "LOCATION": url, "KEY_PREFIX": prefix}}
    yield f"{prefix}:1:"
    client = caches["default"]._cache.get_client(write=True)  # type: ignore[attr-defined]
    for key in client.scan_iter(f"{prefix}:*"):
        client.delete(key)


@pytest.fixture
def files(settings: Settings, tmp_path: Path) -> str:
    """The default cache in files; returns what keys begin with."""
    settings.CACHES = {"default": {"BACKEND": f"{BACKENDS}.filebased.FileBasedCache", "LOCATION": str(tmp_path)}}
    return ":1:"


@pytest.fixture(scope="session", autouse=True)
def _truncate_no_empty_table() -> Iterator[None]:
    """Leave empty tables out where Django truncates all after a test: PostgreSQL makes new files for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", _flush_of_filled(DatabaseOperations.sql_flush))
        yield


def _flush_of_filled(flush: Callable[..., list[str]]) -> Callable[..., list[str]]:
    def sql_flush(operations: DatabaseOperations, style: object, tables: Sequence[str], **options: Any) -> list[str]:
        looks = [
            f"SELECT {number} WHERE EXISTS (SELECT 1 FROM {operations.quote_name(table)})"
            for number, table in enumerate(tables)
        ]
        with operations.connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(looks))
            filled = [tables[number] for (number,) in cursor.fetchall()]
        return flush(operations, style, filled, **{**options, "allow_cascade": True})

    return sql_flush


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> Iterator[None]:
    """Run an embedded PostgreSQL server, one for each worker of pytest-xdist, if no other was found."""
    postgresql = settings.DATABASES["postgresql"]
    if "HOST" in postgresql:
        yield
        return
    with servers.embedded_postgresql() as url:
        os.environ[servers.POSTGRES_VARIABLE] = url
        postgresql.update(servers.connection_settings(url))
        yield
