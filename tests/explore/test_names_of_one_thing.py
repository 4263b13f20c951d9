"""Calls that reach one database, or one cache, by several names meet there."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.cache import caches
from django.db import connections
from pytest_django import Settings

from aioconcurrent.sync import Exploration, explore
from tests.databases.test_identity import respelled
from tests.project import cached
from tests.project.databases import on, thorough
from tests.project.shop import races

from .catalogue import accounts


@pytest.fixture
def second(database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An alias of the same database by another name."""
    settings = dict(connections[database].settings_dict)
    if database == "file":
        link = tmp_path / "test_link.sqlite3"
        link.symlink_to(settings["NAME"])
        settings["NAME"] = str(link)
    else:
        settings["HOST"] = respelled(settings["HOST"])
    monkeypatch.setitem(connections.settings, "second", settings)
    return "second"


def by_both(function: object, database: str, second: str) -> Exploration:
    accounts(database)
    return explore(*((function, {"pk": 1, "amount": 1, "using": alias}) for alias in (database, second)))


@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
def test_an_update_is_lost_between_two_aliases(database: str, second: str) -> None:
    found = by_both(races.add, database, second)
    assert found.counterexample, found
    assert found.counterexample.anomaly == "lost update"


@pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql", "mysql"))])
def test_nothing_is_lost_between_two_aliases_where_the_database_adds(database: str, second: str) -> None:
    found = by_both(races.add_in_database, database, second)
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_a_lock_that_was_taken_by_another_alias_is_waited_for(database: str, second: str) -> None:
    found = by_both(races.add_locked, database, second)
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.fixture
def another_name(redis: str, settings: Settings) -> str:
    """A second cache on the same Redis, under the same keys."""
    one = dict(settings.CACHES["default"])
    host = "localhost" if "127.0.0.1" in one["LOCATION"] else "127.0.0.1"
    url = str(one["LOCATION"]).replace("127.0.0.1", host).replace("localhost", host)
    settings.CACHES = {"default": one, "another": {**one, "LOCATION": url}}
    assert redis
    return "another"


@pytest.mark.django_db(transaction=True)
def test_an_update_is_lost_between_two_urls_of_one_redis(another_name: str) -> None:
    caches["default"].set("k", 5)
    found = explore(*((cached.add_one_in, (alias, "k"), {}) for alias in ("default", another_name)))
    assert found.verdict == "race", found
    assert caches["default"].get("k") == 5


@pytest.mark.django_db(transaction=True)
def test_nothing_is_lost_there_where_redis_adds(another_name: str) -> None:
    caches["default"].set("k", 5)
    found = explore(*((cached.count_in, (alias, "k"), {}) for alias in ("default", another_name)))
    assert (found.verdict, found.exhaustive) == ("no race", True), found


@pytest.mark.django_db(transaction=True)
def test_a_cache_that_no_alias_names_is_told_of(redis: str, settings: Settings) -> None:
    url = f"{str(settings.CACHES['default']['LOCATION']).rpartition('/')[0]}/15"
    found = explore(*[(cached.set_by_hand, (url, f"{redis}k"), {})] * 2)
    assert not found.exhaustive
    assert "is none of CACHES" in found.reason, found
