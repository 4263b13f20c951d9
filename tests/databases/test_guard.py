"""What a call may connect to: no database whose rows it could not see, and nobody's real data."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

import aioconcurrent
from aioconcurrent import UncommittedDataError
from aioconcurrent.sync import call_concurrently, make_concurrent_calls
from tests.project.databases import ThreadOfQueries, on
from tests.project.echoes import echo
from tests.project.queries import (
    connect_again,
    count,
    count_and_exit,
    count_async,
    count_if_possible,
    count_in_thread,
    count_or_raise_from,
    touch_late,
)
from tests.project.scripts import output_of
from tests.project.shop.models import Counter

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")


@contextmanager
def refusal(alias: str) -> Iterator[None]:
    """Expect that the calls in the block may not connect to this database, and that it is told as a mistake."""
    advice = r"TransactionTestCase or @pytest\.mark\.django_db\(transaction=True\)"
    with pytest.raises(UncommittedDataError, match=advice) as caught:
        yield
    assert caught.value.alias == alias


queries = pytest.mark.parametrize("function", [count, count_async, count_in_thread, connect_again])


@pytest.mark.django_db
@queries
def test_in_the_transaction_of_a_test_a_call_may_not_connect(function: Callable[..., Any]) -> None:
    Counter.objects.create(name="clicks")
    with refusal("default"):
        call_concurrently(2, function)


@both_start_methods
@pytest.mark.django_db
def test_in_the_transaction_of_a_test_calls_without_a_database_just_run() -> None:
    Counter.objects.create(name="clicks")
    assert call_concurrently(2, echo, 1) == [1, 1]


@both_start_methods
@pytest.mark.django_db
@pytest.mark.parametrize("function", [count_if_possible, count_or_raise_from, count_and_exit])
def test_a_refusal_is_told_whatever_the_call_makes_of_it(function: Callable[..., Any]) -> None:
    Counter.objects.create(name="clicks")
    with refusal("default"):
        call_concurrently(2, function)


@pytest.mark.django_db
def test_a_refusal_comes_with_the_frames_of_the_call_and_how_many_met_it() -> None:
    with pytest.raises(UncommittedDataError) as caught:
        make_concurrent_calls((echo, {"value": 1}), (count_or_raise_from, {}), (count, {}))
    [note] = caught.value.__notes__
    assert note.startswith(
        "This is a mistake in the test. It was met by call 2 of 3, tests.project.queries.count_or_raise_"
    )
    assert note.endswith(", and 1 of the others too.")
    assert "count_or_raise_from" in {frame.name for frame in traceback.extract_tb(caught.value.__traceback__)}


@pytest.mark.django_db
def test_a_refusal_is_told_when_all_calls_are_over(tmp_path: Path) -> None:
    with refusal("default"):
        make_concurrent_calls((count, {}), (touch_late, {"path": tmp_path / "late"}))
    assert (tmp_path / "late").exists()


@pytest.mark.django_db
async def test_in_the_transaction_of_an_async_test_a_call_may_not_connect(in_thread: ThreadOfQueries) -> None:
    await in_thread(Counter.objects.create, name="clicks")
    with refusal("default"):
        await aioconcurrent.call_concurrently(2, count)


@pytest.mark.django_db
async def test_in_the_transaction_of_an_async_test_calls_without_a_database_just_run() -> None:
    assert await aioconcurrent.call_concurrently(2, echo, 1) == [1, 1]


@both_start_methods
def test_inside_atomic_a_call_may_not_connect_and_after_it_may(database: str) -> None:
    with transaction.atomic(using=database):
        Counter.objects.using(database).create(name="clicks")
        with refusal(database):
            call_concurrently(2, count, using=database)
    assert call_concurrently(2, count, using=database) == [1, 1]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("database", on("file"))
async def test_inside_atomic_in_the_thread_of_the_async_orm_a_call_may_not_connect(database: str) -> None:
    block = transaction.atomic(using=database)
    await sync_to_async(block.__enter__)()
    try:
        with refusal(database):
            await aioconcurrent.call_concurrently(2, count, using=database)
    finally:
        await sync_to_async(block.__exit__)(None, None, None)
        await sync_to_async(connections.close_all)()


@pytest.mark.django_db
def test_in_the_transaction_of_a_test_a_call_may_not_connect_through_a_mirror_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connections["other"].settings_dict, "NAME", connections["default"].settings_dict["NAME"])
    Counter.objects.create(name="clicks")
    with refusal("other"):
        call_concurrently(1, count, using="other")


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.django_db(transaction=True, databases=["postgresql", "file"])
def test_a_transaction_on_one_database_leaves_the_others(database: str) -> None:
    with transaction.atomic(using=database):
        assert call_concurrently(1, count, using="file") == [0]
        with refusal(database):
            make_concurrent_calls((count, {"using": database}), (count, {"using": "file"}))


OUTSIDE = """
import os
import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["NAME"], "TEST": {}}},
    INSTALLED_APPS=["tests.project.shop"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from aioconcurrent.sync import call_concurrently, options
from django.core.management import call_command
from tests.project.echoes import echo
from tests.project.queries import count, count_async, count_in_thread

def told(*calls):
    try:
        print(*call_concurrently(*calls))
    except Exception as error:
        print(type(error).__name__, error)

call_command("migrate", run_syncdb=True, verbosity=0)
"""


def outside(folder: Path, name: str, statements: str, test: str = "{}", **variables: str) -> list[str]:
    """What a script prints that is no test and has this database."""
    return output_of(
        OUTSIDE.replace('"TEST": {}', f'"TEST": {test}') + statements, folder, NAME=str(folder / name), **variables
    ).splitlines()


@both_start_methods
def test_outside_of_tests_a_call_may_not_connect(tmp_path: Path) -> None:
    [said] = outside(tmp_path, "shop.sqlite3", "told(2, count)")
    expected = f"NotATestDatabaseError Database 'default' is '{tmp_path}/shop.sqlite3', which is not a test database, "
    assert said.startswith(expected)
    assert "options(allow_real_databases=True)" in said


def test_outside_of_tests_threads_and_coroutines_may_not_connect_either(tmp_path: Path) -> None:
    statements = "for function in (count_async, count_in_thread): told(1, function)"
    said = outside(tmp_path, "shop.sqlite3", statements)
    assert ["NotATestDatabaseError " in line for line in said] == [True, True]


def test_outside_of_tests_calls_without_a_database_just_run(tmp_path: Path) -> None:
    assert outside(tmp_path, "shop.sqlite3", "print(*call_concurrently(2, echo, 1))") == ["1 1"]


@both_start_methods
def test_outside_of_tests_a_call_may_connect_on_request_and_no_longer(tmp_path: Path) -> None:
    statements = "with options(allow_real_databases=True): print(*call_concurrently(2, count))\n"
    allowed, refused = outside(tmp_path, "shop.sqlite3", statements + "told(1, count)")
    assert allowed == "0 0"
    assert "NotATestDatabaseError " in refused


def test_a_request_in_the_environment_counts(tmp_path: Path) -> None:
    statements = "print(*call_concurrently(2, count))"
    assert outside(tmp_path, "shop.sqlite3", statements, AIOCONCURRENT_ALLOW_REAL_DATABASES="1") == ["0 0"]


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("test_shop.sqlite3", "{}"),
        ("trial.sqlite3", "{'NAME': os.environ['NAME']}"),
    ],
    ids=["named test_", "named by TEST"],
)
def test_a_database_that_is_named_as_test_databases_are_may_be_connected_to(
    tmp_path: Path, name: str, test: str
) -> None:
    assert outside(tmp_path, name, "print(*call_concurrently(2, count))", test) == ["0 0"]


CLONE = "{'NAME': os.environ['NAME'].replace('trial_1', 'trial')}"


def test_a_name_that_begins_like_that_of_the_test_database_is_no_clone_of_it_outside_of_tests(tmp_path: Path) -> None:
    [said] = outside(tmp_path, "trial_1.sqlite3", "told(1, count)", test=CLONE)
    assert "NotATestDatabaseError" in said


def test_a_clone_of_the_test_database_may_be_connected_to_by_tests(tmp_path: Path) -> None:
    setup = "from django.test.utils import setup_test_environment; setup_test_environment()\n"
    assert outside(tmp_path, "trial_1.sqlite3", setup + "told(1, count)", test=CLONE) == ["0"]


@pytest.mark.parametrize("function", ["count", "count_async", "count_in_thread"])
def test_calls_inline_may_not_connect_outside_of_tests_either(tmp_path: Path, function: str) -> None:
    statements = f"with options(start_method='inline'): told(1, {function})\n"
    [said] = outside(tmp_path, "shop.sqlite3", statements)
    assert "NotATestDatabaseError Database 'default'" in said


def test_calls_inline_may_connect_on_request(tmp_path: Path) -> None:
    statements = "with options(start_method='inline', allow_real_databases=True): told(1, count)\n"
    assert outside(tmp_path, "shop.sqlite3", statements) == ["0"]


def test_exploring_is_for_test_databases_alone(tmp_path: Path) -> None:
    statements = (
        "from aioconcurrent.sync import explore\n"
        "def told_of_exploring():\n"
        "    try: explore(count, count)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
        "told_of_exploring()\n"
        "with options(allow_real_databases=True): told_of_exploring()\n"
    )
    refused, refused_on_request = outside(tmp_path, "shop.sqlite3", statements)
    assert "NotATestDatabaseError" in refused
    assert "RealDatabaseError explore() and replay() put the rows of a database back" in refused_on_request
