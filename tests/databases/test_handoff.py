"""The caller's live databases are those of the calls, whatever the settings of the project say."""

from functools import partial
from pathlib import Path

import pytest
from django.db import connections

import aioconcurrent
from aioconcurrent.databases.handoff import View, hand_over
from aioconcurrent.engine.fork import close_template
from aioconcurrent.sync import call_concurrently, make_concurrent_calls, options
from tests.project.databases import ThreadOfQueries, on
from tests.project.echoes import database_name
from tests.project.queries import (
    count,
    count_async,
    count_in_thread,
    create,
    keep_a_thread_connected,
    names,
    watch_the_result,
)
from tests.project.shop.models import Counter

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")


@pytest.mark.parametrize("function", [count, count_async, count_in_thread])
def test_a_call_sees_the_rows_of_the_test(database: str, function: object) -> None:
    Counter.objects.using(database).create(name="clicks")
    assert make_concurrent_calls((function, {"using": database}), (function, {"using": database})) == [1, 1]


@both_start_methods
def test_the_test_sees_the_rows_of_the_calls(database: str) -> None:
    make_concurrent_calls(
        (create, {"name": "one", "using": database}), (create, {"name": "two", "using": database})
    ).raise_errors()
    assert {*names(database)} == {"one", "two"}


async def test_a_call_of_a_coroutine_sees_the_rows_of_the_test(database: str, in_thread: ThreadOfQueries) -> None:
    await in_thread(Counter.objects.using(database).create, name="clicks")
    assert await aioconcurrent.call_concurrently(2, count, using=database) == [1, 1]


@both_start_methods
@pytest.mark.parametrize("database", on("file", "postgresql", "mysql"))
def test_connections_are_on_the_database_that_the_test_is_on(database: str) -> None:
    assert call_concurrently(1, database_name, database) == [str(connections[database].settings_dict["NAME"])]


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.django_db(transaction=True, databases=["postgresql", "file"])
def test_an_alias_may_lead_to_another_engine_in_the_next_test(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    close_template()  # so that the one of the first race has opened the alias
    for alias, rows in (("file", 2), (database, 3)):
        for number in range(rows):
            Counter.objects.using(alias).create(name=str(number))
        monkeypatch.setitem(connections.settings, "second", dict(connections[alias].settings_dict))
        assert call_concurrently(1, count, using="second") == [rows]


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.django_db(transaction=True, databases=["postgresql", "file"])
def test_a_call_has_all_aliases(database: str) -> None:
    Counter.objects.using("file").create(name="in the file")
    Counter.objects.using(database).create(name="on the server")
    outcomes = make_concurrent_calls((names, {"using": "file"}), (names, {"using": database}))
    assert outcomes == [["in the file"], ["on the server"]]


@both_start_methods
@pytest.mark.django_db(transaction=True, databases=["default", "file"])
def test_a_mirror_is_the_database_that_it_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    primary = connections["file"].settings_dict["NAME"]
    connections["other"].close()
    monkeypatch.setitem(connections["other"].settings_dict, "NAME", primary)  # as Django's test setup does it
    Counter.objects.using("file").create(name="clicks")
    assert call_concurrently(1, names, "other") == [["clicks"]]


@both_start_methods
@pytest.mark.parametrize("database", on("file"))
def test_the_next_race_follows_a_connection_that_was_pointed_elsewhere(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call_concurrently(1, count, using=database) == [0]
    copy = tmp_path / "test_copy.sqlite3"
    Counter.objects.using(database).create(name="clicks")
    copy.write_bytes(Path(connections[database].settings_dict["NAME"]).read_bytes())
    Counter.objects.using(database).create(name="not in the copy")
    monkeypatch.setitem(connections[database].settings_dict, "NAME", str(copy))
    assert call_concurrently(1, names, database) == [["clicks"]]


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
@pytest.mark.parametrize(
    ("function", "opened"), [(count, 1), (count_async, 1), (count_in_thread, 2), (keep_a_thread_connected, 2)]
)
def test_connections_of_all_threads_are_closed_before_the_result_is_reported(
    database: str, function: object, opened: int, tmp_path: Path
) -> None:
    count(database)  # what the caller uses is connected ahead
    report = tmp_path / "report"
    with options(prepare=partial(watch_the_result, str(report), database)):
        make_concurrent_calls((function, {"using": database})).raise_errors()
    assert report.read_text() == f"{opened} opened, 0 open"


@both_start_methods
@pytest.mark.parametrize("database", on("postgresql"))
def test_a_database_can_be_dropped_right_after_a_race_on_it(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = connections[database].settings_dict
    name = f"{settings['NAME']}_to_drop"
    with connections[database].cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            with monkeypatch.context() as pointed:
                pointed.setitem(settings, "NAME", name)
                assert call_concurrently(3, database_name, database) == [name] * 3
        finally:
            cursor.execute(f"DROP DATABASE {name}")  # which fails if a session is there and does not end at once


def test_a_database_whose_name_is_a_path_will_be_used_like_any_other() -> None:
    settings = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path("test_shop.sqlite3")}}
    view = View(settings=settings, in_atomic=frozenset(), opened={"default": object()})
    assert hand_over([view], {}, allow_real_databases=False).likely == {"default"}
