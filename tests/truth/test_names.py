"""What the calls work on is asked of the servers: one thing may have two names, and a level be set anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.db import OperationalError, connections
from pytest_django import Settings

from aioconcurrent.sync import explore
from tests import servers
from tests.conftest import BACKENDS
from tests.project.databases import changed_options, on, taking_turns
from tests.project.office import names
from tests.project.office.models import Handle
from tests.project.office.statements import sql
from tests.truth.cases import RACE, SAFE, assert_verdict
from tests.truth.judge import fill

ADDITIONS = [(names.look_then_add, {"using": "postgresql"}), (names.add, {"using": "postgresql"})]
LOOKS = [(names.look_then_lock, {"using": "mysql"}), (names.add, {"using": "mysql"})]


@contextmanager
def by_options() -> Iterator[None]:
    with changed_options("postgresql", options="-c default_transaction_isolation=repeatable\\ read"):
        yield


@contextmanager
def by_database(role: str = "") -> Iterator[None]:
    name = connections["postgresql"].settings_dict["NAME"]
    whose = f"ROLE {role} IN DATABASE {name}" if role else f"DATABASE {name}"
    sql("postgresql", f"ALTER {whose} SET default_transaction_isolation = 'repeatable read'")
    connections["postgresql"].close()
    try:
        yield
    finally:
        sql("postgresql", f"ALTER {whose} RESET default_transaction_isolation")
        connections["postgresql"].close()


@contextmanager
def by_role() -> Iterator[None]:
    with by_database(sql("postgresql", "SELECT current_user")):
        yield


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.parametrize("default", [by_options, by_database, by_role])
def test_the_isolation_is_that_of_the_server(database: str, default: Callable[[], Any]) -> None:
    fill(database)
    with default():
        assert_verdict(explore(*ADDITIONS), "race: unhandled conflict")


@pytest.mark.parametrize("database", on("postgresql"))
def test_the_isolation_may_be_set_in_a_transaction(database: str) -> None:
    fill(database)
    add = (names.add, {"using": database})
    for level, verdict in {"REPEATABLE READ": "race: unhandled conflict", "READ COMMITTED": SAFE}.items():
        assert_verdict(explore((names.look_then_add, {"using": database, "level": level}), add), verdict)


@pytest.mark.parametrize("database", on("mysql"))
@pytest.mark.parametrize(("level", "verdict"), [("REPEATABLE READ", RACE), ("READ COMMITTED", SAFE)])
def test_the_isolation_of_a_session_is_asked_of_mariadb(database: str, level: str, verdict: str) -> None:
    fill(database)
    command = f"SET SESSION TRANSACTION ISOLATION LEVEL {level}"
    with changed_options(database, isolation_level=None, init_command=command):
        assert_verdict(explore(*LOOKS), verdict)


OTHERWISE: dict[str, dict[str, object]] = {
    "postgresql": {"HOST": "localhost"},
    "mysql": {"HOST": "localhost"},
    "file": {},
}


@pytest.fixture
def second(database: str, tmp_path: Path) -> Iterator[str]:
    """Another alias of the same database, spelled in another way."""
    settings = connections[database].settings_dict
    other = dict(OTHERWISE[database])
    if database == "file":
        link = tmp_path / "link"
        link.symlink_to(Path(settings["NAME"]).parent)
        other = {"NAME": str(link / Path(settings["NAME"]).name)}
    elif settings["PORT"] in {5432, 3306, "5432", "3306"}:
        other["PORT"] = ""
    connections.settings["second"] = {**settings, **other}
    yield "second"
    connections["second"].close()
    del connections["second"], connections.settings["second"]


@pytest.mark.parametrize("database", on("postgresql", "mysql", "file"))
@pytest.mark.parametrize(("function", "verdict"), [(names.lose_update, "race: lost update"), (names.add_by, SAFE)])
def test_two_aliases_are_one_database(database: str, second: str, function: object, verdict: str) -> None:
    fill(database)
    Handle.objects.using(database).create(name="x")
    found = explore((function, {"using": database}), (function, {"using": database, "alias": second}))
    assert_verdict(found, verdict)


def _spellings(url: str) -> dict[str, str]:
    url = url.removesuffix("/0").rstrip("/")
    return {"host": url.replace("127.0.0.1", "localhost") + "/0", "database": url, "query": f"{url}?db=0"}


@pytest.mark.parametrize(
    ("database", "spelling"),
    taking_turns(on("file", "postgresql"), ["host", "database", "query"], all_thoroughly=True),
)
def test_two_spellings_are_one_cache(database: str, spelling: str, settings: Settings) -> None:
    url = servers.find_redis()
    if not url:
        pytest.skip(servers.NO_REDIS)
    urls = {"default": url.removesuffix("/0").rstrip("/") + "/0", "other": _spellings(url)[spelling]}
    prefix = f"aioconcurrent-{os.getpid()}-names"
    settings.CACHES = {
        alias: {"BACKEND": f"{BACKENDS}.redis.RedisCache", "LOCATION": where, "KEY_PREFIX": prefix}
        for alias, where in urls.items()
    }
    fill(database)
    Handle.objects.using(database).create(name="x")
    caches["default"].set("visits", 0)
    try:
        for function, verdict in ((names.count_in_cache, RACE), (names.count_in_cache_at_once, SAFE)):
            calls = [(function, {"alias": alias, "using": database}) for alias in urls]
            assert_verdict(explore(*calls, refusals=OperationalError), verdict)
    finally:
        caches["default"].delete("visits")
