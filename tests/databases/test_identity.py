"""Spellings of one database or cache are told from those of another, by asking real servers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.cache.backends.redis import RedisCache
from django.db import connections

from aioconcurrent.databases.handoff import database_identity
from aioconcurrent.databases.identity import cache_names, database_names
from aioconcurrent.databases.watching.caches import store
from tests.databases.conftest import fetch, run
from tests.project.databases import on

on_servers = pytest.mark.parametrize("database", on("postgresql", "mysql"))
on_file = pytest.mark.parametrize("database", on("file"))


def names(*settings: Mapping[str, Any]) -> list[int]:
    """For each of these settings the number of the first that is of the same database."""
    spellings = [database_identity(each) for each in settings]
    named = database_names({spelling: ("default", each) for spelling, each in zip(spellings, settings, strict=True)})
    return [spellings.index(named[spelling]) for spelling in spellings]


def respelled(host: str) -> str:
    """Another name of the same place."""
    if host.startswith("/") or not host:
        return f"{host or '/var/run/postgresql'}/"
    return {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(host, f"{host}.")


@on_servers
def test_a_server_is_the_same_under_every_name_and_port_of_it(database: str) -> None:
    settings = connections[database].settings_dict
    ((port,),) = fetch(database, "SHOW port" if database == "postgresql" else "SELECT @@port")
    assert names(
        settings,
        {**settings, "HOST": respelled(settings["HOST"])},
        {**settings, "PORT": f"0{port}"},
        {**settings, "HOST": respelled(settings["HOST"]), "PORT": f"00{port}"},
    ) == [0, 0, 0, 0]


@on_servers
def test_another_database_of_the_server_is_another_one(database: str) -> None:
    settings = connections[database].settings_dict
    quoted = connections[database].ops.quote_name(settings["NAME"].upper())
    run(database, f"CREATE DATABASE {quoted}")
    try:
        other = {**settings, "NAME": settings["NAME"].upper()}
        respelt = {**other, "HOST": respelled(settings["HOST"])}
        assert names(settings, other, respelt, {**settings, "NAME": "test_elsewhere"}) == [0, 1, 1, 3]
    finally:
        run(database, f"DROP DATABASE {quoted}")


@on_servers
def test_what_does_not_answer_keeps_its_spelling(database: str) -> None:
    settings = connections[database].settings_dict
    assert names(settings, {**settings, "PORT": "1"}, {**settings, "HOST": respelled(settings["HOST"])}) == [0, 1, 0]


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_role_that_may_little_can_be_asked(database: str) -> None:
    settings = connections[database].settings_dict
    role = f"aioconcurrent_asked_{os.getpid()}"
    run(database, f"CREATE ROLE {role} LOGIN", "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    try:
        plain = {**settings, "USER": role, "PASSWORD": ""}
        assert names(plain, {**plain, "HOST": respelled(settings["HOST"])}) == [0, 0]
    finally:
        run(database, f"DROP ROLE {role}", "GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")


@on_file
def test_a_file_is_the_same_by_every_path_that_leads_to_it(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = connections[database].settings_dict
    path = Path(settings["NAME"])
    (tmp_path / "symbolic").symlink_to(path)
    hard = path.with_name(f"{path.name}.hard")
    hard.hardlink_to(path)
    monkeypatch.chdir(path.parent)
    spelled = [path, path.name, f"./{path.name}", tmp_path / "symbolic", hard, f"file:{path}?mode=rw", f"{path}2"]
    try:
        assert names(*({**settings, "NAME": name} for name in spelled)) == [0, 0, 0, 0, 0, 0, 6]
    finally:
        hard.unlink()


def test_options_that_lead_elsewhere_make_another_spelling() -> None:
    settings = {"NAME": "shop", "HOST": "", "PORT": "", "OPTIONS": {"unix_socket": "/one"}}
    assert database_identity(settings) != database_identity({**settings, "OPTIONS": {"unix_socket": "/other"}})
    assert database_identity(settings) == database_identity({**settings, "OPTIONS": {"unix_socket": "/one", "a": 1}})


def stores(*made: BaseCache) -> list[int]:
    """As `names`."""
    spellings = [store(cache) for cache in made]
    named = cache_names(dict(zip(spellings, made, strict=True)))
    return [spellings.index(named[spelling]) for spelling in spellings]


def test_a_number_of_a_redis_is_one_store_by_every_url(redis: str) -> None:
    assert redis
    parts = urlsplit(str(caches.settings["default"]["LOCATION"]))
    host, port = str(parts.hostname), parts.port
    urls = [
        f"redis://{host}:{port}/0",
        f"redis://{host}:{port}",
        f"redis://{respelled(host)}:{port}/0",
        f"redis://{respelled(host)}:{port}?db=1",
        f"redis://{host}:{port}/1",
        f"redis://{host}:1/0",
    ]
    several = RedisCache([f"redis://{respelled(host)}:{port}", f"redis://{host}:{port}"], {})
    assert stores(*(RedisCache(url, {}) for url in urls), several) == [0, 0, 0, 3, 3, 5, 0]


def test_a_folder_is_one_store_by_every_path(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.symlink_to(one)
    folders = [one, other, f"{one}/../one", tmp_path / "third"]
    assert stores(*(FileBasedCache(str(folder), {}) for folder in folders)) == [0, 0, 0, 3]


def test_a_memcached_that_does_not_answer_keeps_its_spelling() -> None:
    assert stores(PyMemcacheCache("127.0.0.1:1", {}), PyMemcacheCache("localhost:1", {})) == [0, 1]
