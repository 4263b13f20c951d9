"""No false alarm comes from how a lock is waited for, and none is missed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connections

from aioconcurrent.sync import explore, options
from tests.explore.places import Place
from tests.project.databases import changed_options, on
from tests.project.office import waits
from tests.project.office.models import Post
from tests.project.office.statements import sql
from tests.truth.cases import RACE, SAFE, Call, Case, assert_verdict, at_places, twice
from tests.truth.judge import fill

CONFLICT = "race: unhandled conflict"
SQLITE = ("file", "file-immediate", "file-wal")


def beside(one: Callable[..., Any], other: Callable[..., Any]) -> list[Any]:
    return [(one, {}), (other, {})]


ON_SQLITE = {
    "an INSERT that returns its key, after a transaction": Case(
        beside(waits.close_and_note, waits.read_twice), dict.fromkeys(SQLITE, SAFE)
    ),
    "an INSERT that returns its key": Case(beside(waits.reply, waits.count), SAFE),
    "a get_or_create": Case(beside(waits.take, waits.count), SAFE),
    "a transaction that reads before it writes": Case(
        beside(waits.reply, waits.read_then_like),
        {"file": CONFLICT, "file-immediate": SAFE, "file-wal": CONFLICT, "postgresql-RC": SAFE, "mysql-RC": SAFE},
    ),
    "coroutines": Case(twice(waits.take_async), SAFE),
    "coroutines that look first": Case(twice(waits.take_async_unless_taken), CONFLICT),
    "coroutines that lose an update": Case(twice(waits.like_async), "race: lost update"),
}


@pytest.mark.parametrize(("case", "place"), at_places(ON_SQLITE), indirect=["place"])
def test_a_writer_waits_for_readers_and_fails_only_as_it_really_would(case: Case, place: Place) -> None:
    case.check(place)


@pytest.mark.parametrize("database", on("file"))
def test_coroutines_do_not_sit_out_the_busy_timeout(database: str) -> None:
    fill(database)
    call = (waits.take_async, {"using": database})
    with changed_options(database, timeout=20):
        assert_verdict(explore(call, call), SAFE)


@contextmanager
def old_view(database: str) -> Iterator[None]:
    """Keep the server from purging what is deleted, as any long transaction does."""
    own = connections[database].copy()
    try:
        sql_ = own.cursor()
        sql_.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        sql_.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        sql_.execute("SELECT count(*) FROM office_post")
        yield
    finally:
        own.close()


INSERTS: dict[str, list[Call]] = {
    "names": [(waits.insert_names, {"names": names}) for names in ("ad", "cb")],
    "keys": [(waits.insert_keys, {"keys": keys}) for keys in ([1, 4], [3, 2])],
    "after a lock of nothing": [(waits.store, {"name": name}) for name in "xy"],
}


@pytest.mark.parametrize("database", on("mysql"))
@pytest.mark.parametrize("inserts", INSERTS)
def test_rows_that_were_put_back_are_no_obstacle(database: str, inserts: str) -> None:
    fill(database)
    calls = [(function, {**given, "using": database}) for function, given in INSERTS[inserts]]
    with old_view(database):
        assert_verdict(explore(*calls), SAFE)


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_timeout_of_the_application_is_no_deadlock(database: str) -> None:
    fill(database)
    call = (waits.like_within, {"milliseconds": 300, "using": database})
    found = explore(call, call)
    assert "deadlock" not in str(found), found


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.parametrize("timeout", ["idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout"])
def test_a_timeout_of_the_server_does_not_fall_on_calls_that_are_held(database: str, timeout: str) -> None:
    fill(database)
    name = connections[database].settings_dict["NAME"]
    sql(database, f"ALTER DATABASE {name} SET {timeout} = 200")
    connections[database].close()
    try:
        calls = [(waits.like_under_lock, {"using": database})] * 3
        found = explore(*calls)
    finally:
        sql(database, f"ALTER DATABASE {name} RESET {timeout}")
        connections[database].close()
    assert found.verdict != "race", found


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_session_that_may_not_be_idle_is_opened_anew_where_the_start_took_longer(database: str) -> None:
    fill(database)
    name = connections[database].settings_dict["NAME"]
    sql(database, f"ALTER DATABASE {name} SET idle_session_timeout = 1500")
    connections[database].close()
    try:
        with options(prepare=partial(time.sleep, 2)):
            found = explore(*[(waits.like_under_lock, {"using": database})] * 2)
    finally:
        connections[database].close()
        sql(database, f"ALTER DATABASE {name} RESET idle_session_timeout")
        connections[database].close()
    assert found.verdict == "no race", found


LOOPS = {
    "a name that stays taken": Case(twice(waits.name_bill, attempts=None), RACE),
    "a name that stays taken, given up": Case(twice(waits.name_bill, attempts=3), CONFLICT),
    "two that wait for each other": Case(twice(waits.hand_over), RACE),
    "a loop that looks again": Case(twice(waits.name_looking_again), SAFE),
}


@pytest.mark.parametrize(("case", "place"), at_places(LOOPS), indirect=["place"])
def test_an_order_that_never_ends_is_a_race(case: Case, place: Place) -> None:
    found = case.check(place)
    assert found.counterexample is None or found.counterexample.steps


def _old(using: str) -> None:
    fill(using)
    Post.objects.using(using).filter(pk=1).update(note="old")
    cache.delete("setting")


def _old_and_cached(using: str) -> None:
    _old(using)
    cache.set("setting", "old")


CACHES = {
    "forgotten in the transaction": Case(
        beside(waits.write_setting_in_block, waits.read_setting), "race: stale cache", _old_and_cached
    ),
    "forgotten after it": Case(beside(waits.write_setting, waits.read_setting), SAFE, _old_and_cached),
    "forgotten after it, and empty at first": Case(
        beside(waits.write_setting, waits.read_setting), "race: stale cache", _old
    ),
    "read under a lock": Case(
        beside(waits.write_setting, waits.read_setting_under_lock),
        {"postgresql-RC": SAFE, "mysql-RC": SAFE, "file-immediate": SAFE},
        _old,
    ),
    "only forgotten": Case(twice(waits.forget_and_like), SAFE, _old_and_cached),
}


@pytest.mark.parametrize(("case", "place"), at_places(CACHES), indirect=["place"])
def test_a_cache_may_forget_at_any_time(case: Case, place: Place, redis: str) -> None:
    case.check(place)
