"""Operations of Django's caches in stepped wrappers."""

from pathlib import Path

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.db import connections
from pytest_django import Settings

from tests.databases.stepping import Stepped, stepped
from tests.project import cached
from tests.project.databases import on
from tests.project.shop.models import Counter

FILES = "django.core.cache.backends.filebased.FileBasedCache"
MEMORY = "django.core.cache.backends.locmem.LocMemCache"
NOTHING = "django.core.cache.backends.dummy.DummyCache"
TABLE = "django.core.cache.backends.db.DatabaseCache"


def told(result: Stepped, prefix: str) -> list[tuple[object, ...]]:
    """Method, keys, count and values of each step."""
    return [
        (
            step.operation.text,
            tuple(str(key).removeprefix(prefix) for key in step.operation.parameters or ()),
            step.rowcount,
            step.rows[0] if step.rows else (),
        )
        for step in result.steps
    ]


def test_each_operation_of_redis_is_one_step_with_its_keys_and_values(redis: str) -> None:
    result = stepped((cached.every_way, {}))
    assert result.outcomes == [None]
    assert told(result, redis) == [
        ("set", ("a",), None, (1,)),
        ("get", ("a",), 1, (1,)),
        ("get", ("b",), 0, (None,)),
        ("add", ("a",), 0, (2,)),
        ("add", ("b",), 1, (2,)),
        ("incr", ("a",), None, (3,)),
        ("incr", ("a",), None, (2,)),  # decr
        ("touch", ("a",), 1, ()),
        ("has_key", ("a",), None, (True,)),
        ("set_many", ("c", "d"), None, (3, "[4]")),
        ("get_many", ("c", "d", "e"), 2, (3, "[4]", None)),
        ("get", ("f",), 0, (None,)),  # get_or_set
        ("add", ("f",), 1, (6,)),
        ("get", ("f",), 1, (6,)),
        ("delete", ("f",), 1, ()),
        ("delete_many", ("c", "d"), None, ()),
    ]
    assert {step.columns for step in result.steps if step.operation.text == "get_many"} == {
        (f"{redis}c", f"{redis}d", f"{redis}e")
    }


def test_calls_take_turns_at_redis(redis: str) -> None:
    result = stepped((cached.add_one, ("k",), {}), (cached.add_one, ("k",), {}), order=[0, 1, 0, 1])
    assert [step.call for step in result.steps] == [0, 1, 0, 1]
    assert result.outcomes == [1, 1]


def test_an_operation_that_raises_is_told(redis: str) -> None:
    result = stepped((cached.count, ("missing",), {}))
    assert [step.error for step in result.steps] == [f"ValueError: Key '{redis}missing' not found."]


def test_what_a_backend_makes_of_several_operations_is_as_many_steps(files: str) -> None:
    result = stepped((cached.count_from, (1,), {}))
    assert [(text, values) for text, _, _, values in told(result, files)] == [
        ("has_key", (False,)),  # add
        ("set", (1,)),
        ("get", (1,)),  # incr
        ("set", (2,)),
    ]


def test_clearing_a_cache_is_a_step(files: str) -> None:
    assert told(stepped((cached.empty, {})), files) == [("clear", (), None, ())]


def test_a_subclass_that_calls_its_parent_is_one_step(settings: Settings, tmp_path: Path) -> None:
    settings.CACHES = {"default": {"BACKEND": "tests.project.cached.Watched", "LOCATION": str(tmp_path)}}
    assert stepped((cached.ask_for, ("k", 3), {})).texts() == ["cache get"]


def test_a_default_is_not_taken_for_a_value_found(files: str) -> None:
    caches["default"].set("zero", 0)
    result = stepped((cached.ask_for, ("zero", 0), {}), (cached.ask_for, ("none", 0), {}))
    assert result.outcomes == [0, 0]
    assert told(result, files) == [("get", ("zero",), 1, (0,)), ("get", ("none",), 0, (None,))]


def test_two_aliases_of_one_store_are_one_and_other_stores_are_others(settings: Settings, tmp_path: Path) -> None:
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    locations = {"default": one, "again": one, "other": other}
    settings.CACHES = {alias: {"BACKEND": FILES, "LOCATION": location} for alias, location in locations.items()}
    result = stepped((cached.look_into_each, ("default", "again", "other"), {}))
    assert [step.operation.database for step in result.steps] == [one, one, other]


@pytest.mark.parametrize("database", on("default"))
def test_a_model_instance_is_shown_by_its_fields(database: str, files: str) -> None:
    counter = Counter.objects.create(name="n", value=7)
    result = stepped((cached.keep_counter, {"pk": counter.pk}), database=database)
    assert result.steps[-1].rows == ((f"Counter(id={counter.pk}, name='n', value=7)",),)


@pytest.mark.parametrize("database", on("default", "postgresql"))
def test_the_queries_of_a_default_lie_between_the_steps_of_get_or_set(database: str, files: str) -> None:
    result = stepped((cached.total, {"using": database}), database=database)
    assert result.texts() == ["cache get", "SELECT", "cache has_key", "cache set", "cache get"]


@pytest.mark.parametrize("database", on("postgresql"))
def test_a_database_cache_is_seen_as_its_statements(database: str, settings: Settings) -> None:
    settings.DATABASE_ROUTERS = ["tests.project.cached.CacheRouter"]
    settings.CACHES = {"default": {"BACKEND": TABLE, "LOCATION": "cache_table"}}
    call_command("createcachetable", database=database)
    try:
        result = stepped((cached.add_one, ("k",), {}), (cached.add_one, ("k",), {}), database=database)
    finally:
        with connections[database].cursor() as cursor:
            cursor.execute("DROP TABLE cache_table")
    assert result.outcomes == [1, 2]
    assert {step.operation.kind for step in result.steps} <= {"sql", "commit"}
    assert any('INSERT INTO "cache_table"' in step.operation.text for step in result.steps)


def test_caches_in_local_memory_are_no_steps_but_told_once(settings: Settings, tmp_path: Path) -> None:
    settings.CACHES = {
        "default": {"BACKEND": MEMORY},
        "shelf": {"BACKEND": "tests.project.cached.Shelf"},
        "nothing": {"BACKEND": NOTHING},
        "unused": {"BACKEND": MEMORY},
        "files": {"BACKEND": FILES, "LOCATION": str(tmp_path)},
    }
    used = ("default", "shelf", "nothing", "files", "default")
    result = stepped((cached.look_into_each, used, {}), (cached.look_into_each, used, {}))
    assert result.texts() == ["cache get", "cache get"]
    assert sorted(text.partition(", ")[0] for text in result.unshared) == [
        "The cache 'default' is django.core.cache.backends.locmem.LocMemCache",
        "The cache 'nothing' is django.core.cache.backends.dummy.DummyCache",
        "The cache 'shelf' is tests.project.cached.Shelf",
    ]


def test_async_operations_are_single_steps_with_the_line_that_awaits_them(redis: str) -> None:
    result = stepped(
        (cached.add_one_in_coroutine, ("k",), {}), (cached.add_one_in_coroutine, ("k",), {}), order=[0, 1, 0, 1]
    )
    assert result.outcomes == [1, 1]
    assert [(step.call, step.operation.text) for step in result.steps] == [
        (0, "get"), (1, "get"), (0, "set"), (1, "set")
    ]  # fmt: skip
    assert {(step.source or "").partition(": ")[2] for step in result.steps} == {
        "value: int = await cache.aget(key, 0) + 1",
        "await cache.aset(key, value)",
    }
