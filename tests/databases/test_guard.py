"""What a call may connect to: no database whose rows it could not see, and nobody's real data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

import aioconcurrent
from aioconcurrent import Outcomes, UncommittedDataError, WrappedError
from aioconcurrent.sync import call_concurrently, make_concurrent_calls
from tests.project.databases import ThreadOfQueries, on
from tests.project.echoes import echo
from tests.project.queries import connect_again, count, count_async, count_if_possible, count_in_thread
from tests.project.scripts import output_of
from tests.project.shop.models import Counter

pytest_plugins = ["tests.project.start_methods"]
both_start_methods = pytest.mark.usefixtures("start_method")


def assert_refused(outcomes: Outcomes, alias: str) -> None:
    for wrapped in outcomes:
        assert isinstance(wrapped, WrappedError), wrapped
        assert isinstance(wrapped.error, UncommittedDataError), wrapped
        assert wrapped.error.alias == alias
        assert "TransactionTestCase or @pytest.mark.django_db(transaction=True)" in str(wrapped)


queries = pytest.mark.parametrize("function", [count, count_async, count_in_thread, connect_again])


@pytest.mark.django_db
@queries
def test_in_the_transaction_of_a_test_a_call_may_not_connect(function: Callable[..., Any]) -> None:
    Counter.objects.create(name="clicks")
    assert_refused(call_concurrently(2, function), "default")


@both_start_methods
@pytest.mark.django_db
def test_in_the_transaction_of_a_test_calls_without_a_database_just_run() -> None:
    Counter.objects.create(name="clicks")
    assert call_concurrently(2, echo, 1) == [1, 1]


@pytest.mark.django_db
def test_a_call_that_does_without_goes_on_after_the_refusal() -> None:
    Counter.objects.create(name="clicks")
    assert call_concurrently(2, count_if_possible) == ["UncommittedDataError", "UncommittedDataError"]


@pytest.mark.django_db
async def test_in_the_transaction_of_an_async_test_a_call_may_not_connect(in_thread: ThreadOfQueries) -> None:
    await in_thread(Counter.objects.create, name="clicks")
    assert_refused(await aioconcurrent.call_concurrently(2, count), "default")


@pytest.mark.django_db
async def test_in_the_transaction_of_an_async_test_calls_without_a_database_just_run() -> None:
    assert await aioconcurrent.call_concurrently(2, echo, 1) == [1, 1]


@both_start_methods
def test_inside_atomic_a_call_may_not_connect_and_after_it_may(database: str) -> None:
    with transaction.atomic(using=database):
        Counter.objects.using(database).create(name="clicks")
        assert_refused(call_concurrently(2, count, using=database), database)
    assert call_concurrently(2, count, using=database) == [1, 1]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("database", on("file"))
async def test_inside_atomic_in_the_thread_of_the_async_orm_a_call_may_not_connect(database: str) -> None:
    block = transaction.atomic(using=database)
    await sync_to_async(block.__enter__)()
    try:
        assert_refused(await aioconcurrent.call_concurrently(2, count, using=database), database)
    finally:
        await sync_to_async(block.__exit__)(None, None, None)
        await sync_to_async(connections.close_all)()


@pytest.mark.django_db
def test_in_the_transaction_of_a_test_a_call_may_not_connect_through_a_mirror_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(connections["other"].settings_dict, "NAME", connections["default"].settings_dict["NAME"])
    Counter.objects.create(name="clicks")
    assert_refused(call_concurrently(1, count, using="other"), "other")


@pytest.mark.parametrize("database", on("postgresql"))
@pytest.mark.django_db(transaction=True, databases=["postgresql", "file"])
def test_a_transaction_on_one_database_leaves_the_others(database: str) -> None:
    with transaction.atomic(using=database):
        refused, counted = make_concurrent_calls((count, {"using": database}), (count, {"using": "file"}))
    assert_refused(Outcomes([refused]), database)
    assert counted == 0


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

call_command("migrate", run_syncdb=True, verbosity=0)
"""


def outside(folder: Path, name: str, statements: str, test: str = "{}", **variables: str) -> list[str]:
    """What a script prints that is no test and has this database."""
    return output_of(
        OUTSIDE.replace('"TEST": {}', f'"TEST": {test}') + statements, folder, NAME=str(folder / name), **variables
    ).splitlines()


@both_start_methods
def test_outside_of_tests_a_call_may_not_connect(tmp_path: Path) -> None:
    said = outside(tmp_path, "shop.sqlite3", "print(*call_concurrently(2, count), sep='\\n')")
    expected = f"NotATestDatabaseError: Database 'default' is '{tmp_path}/shop.sqlite3', which is no test database, "
    assert len(said) == 2
    assert all(expected in line for line in said)
    assert all("options(allow_real_databases=True)" in line for line in said)


def test_outside_of_tests_threads_and_coroutines_may_not_connect_either(tmp_path: Path) -> None:
    statements = "for function in (count_async, count_in_thread): print(*call_concurrently(1, function))"
    said = outside(tmp_path, "shop.sqlite3", statements)
    assert ["NotATestDatabaseError: " in line for line in said] == [True, True]


def test_outside_of_tests_calls_without_a_database_just_run(tmp_path: Path) -> None:
    assert outside(tmp_path, "shop.sqlite3", "print(*call_concurrently(2, echo, 1))") == ["1 1"]


@both_start_methods
def test_outside_of_tests_a_call_may_connect_on_request_and_no_longer(tmp_path: Path) -> None:
    statements = "with options(allow_real_databases=True): print(*call_concurrently(2, count))\n"
    allowed, refused = outside(tmp_path, "shop.sqlite3", statements + "print(*call_concurrently(1, count))")
    assert allowed == "0 0"
    assert "NotATestDatabaseError: " in refused


def test_a_request_in_the_environment_counts(tmp_path: Path) -> None:
    statements = "print(*call_concurrently(2, count))"
    assert outside(tmp_path, "shop.sqlite3", statements, AIOCONCURRENT_ALLOW_REAL_DATABASES="1") == ["0 0"]


@pytest.mark.parametrize(
    ("name", "test"),
    [
        ("test_shop.sqlite3", "{}"),
        ("trial.sqlite3", "{'NAME': os.environ['NAME']}"),
        ("trial_1.sqlite3", "{'NAME': os.environ['NAME'].replace('trial_1', 'trial')}"),
    ],
    ids=["named test_", "named by TEST", "a clone"],
)
def test_a_database_that_is_named_as_test_databases_are_may_be_connected_to(
    tmp_path: Path, name: str, test: str
) -> None:
    assert outside(tmp_path, name, "print(*call_concurrently(2, count))", test) == ["0 0"]
