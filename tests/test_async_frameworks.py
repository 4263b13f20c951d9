"""The awaitable functions under every way to run async tests; our own tests are run by anyio's plugin."""

from pathlib import Path

from tests.project.scripts import run

SETTINGS = """
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["tests.project.shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "own.sqlite3"}}
"""
PYTEST_TESTS = """
import pytest
from aioconcurrent import call_concurrently
from tests.project.shop.calls import increment_atomically, increment_in_coroutine
from tests.project.shop.models import Counter


@pytest.mark.{marker}
@pytest.mark.django_db(transaction=True)
async def test_race():
    counter = await Counter.objects.acreate(name="clicks")
    (await call_concurrently(2, increment_atomically, counter.pk)).raise_errors()
    (await call_concurrently(1, increment_in_coroutine, counter.pk)).raise_errors()
    await counter.arefresh_from_db()
    assert counter.value == 3


@pytest.mark.{marker}
async def test_race_without_a_database():
    assert await call_concurrently(2, int, "7") == [7, 7]
"""
DJANGO_TESTS = """
from django.test import TransactionTestCase
from aioconcurrent import call_concurrently
from tests.project.shop.calls import increment_atomically, increment_in_coroutine
from tests.project.shop.models import Counter


class Race(TransactionTestCase):
    async def test_race(self):
        counter = await Counter.objects.acreate(name="clicks")
        (await call_concurrently(2, increment_atomically, counter.pk)).raise_errors()
        (await call_concurrently(1, increment_in_coroutine, counter.pk)).raise_errors()
        await counter.arefresh_from_db()
        self.assertEqual(counter.value, 3)
"""


def make_project(folder: Path, tests: str) -> None:
    (folder / "own_settings.py").write_text(SETTINGS)
    (folder / "test_race.py").write_text(tests)


def run_pytest(folder: Path, *options: str) -> None:
    ran = run("-m", "pytest", "--ds=own_settings", "-p", "no:cacheprovider", *options, folder=folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout


def test_tests_of_pytest_asyncio_await_a_race(tmp_path: Path) -> None:
    make_project(tmp_path, PYTEST_TESTS.format(marker="asyncio"))
    run_pytest(tmp_path, "-p", "no:anyio")


def test_tests_of_anyios_plugin_await_a_race(tmp_path: Path) -> None:
    make_project(tmp_path, PYTEST_TESTS.format(marker="parametrize('anyio_backend', ['asyncio'])"))
    run_pytest(tmp_path, "-p", "no:asyncio", "-o", "anyio_mode=auto")


def test_async_tests_of_django_await_a_race(tmp_path: Path) -> None:
    make_project(tmp_path, DJANGO_TESTS)
    ran = run("-m", "django", "test", "--settings=own_settings", folder=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Ran 1 test" in ran.stderr
