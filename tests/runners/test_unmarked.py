"""Tests that may not connect to a database themselves: their calls may not either, and the runner's words say why."""

import pytest

from tests.project.databases import on, thorough
from tests.runners.sites import Site
from tests.runners.test_django import with_manage

UNMARKED = """
from django.test import SimpleTestCase
from aioconcurrent.sync import make_concurrent_calls

def count():
    return Counter.objects.count()

def count_if_possible():
    try:
        return count()
    except Exception:
        return None

def refused():
    return pytest.raises(RuntimeError, match='Database access not allowed, use the "django_db" mark')

@on_database
def test_with_the_mark():
    assert call_concurrently(2, count) == [0, 0]

@pytest.mark.parametrize("method", ["fork", "spawn", "inline"])
@pytest.mark.parametrize("function", [count, Counter.objects.create])
def test_without_the_mark(function, method):
    with refused(), options(start_method=method):
        call_concurrently(2, function)

def test_a_call_that_keeps_it_to_itself():
    with refused():
        call_concurrently(2, count_if_possible)

def test_an_exploration():
    with refused():
        explore((increment, {"pk": 1}), (increment, {"pk": 1}))

def test_calls_without_a_database():
    assert call_concurrently(2, max, 1, 2) == [2, 2]

@pytest.fixture
def unblocked(django_db_blocker):
    with django_db_blocker.unblock():
        yield

def test_unblocked(unblocked):
    assert call_concurrently(2, count) == [0, 0]

@pytest.fixture(scope="session")
def rows(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        counter = Counter.objects.create(name="clicks")
        call_concurrently(2, increment_atomically, counter.pk).raise_errors()
    yield
    with django_db_blocker.unblock():
        counter.refresh_from_db()
        counter.delete()
        assert counter.value == 2

def test_a_fixture_of_the_session(rows):
    with refused():
        call_concurrently(2, count)

def test_nothing_was_written(rows, unblocked):
    assert Counter.objects.count() == 1
"""


@pytest.mark.parametrize("database", [*on("file"), *thorough(on("postgresql"))])
def test_without_its_mark_pytest_django_refuses_calls_as_it_does_the_test(site_anywhere: Site) -> None:
    site_anywhere.write_tests(UNMARKED)
    assert site_anywhere.pytest("-p", "no:randomly") == 0, site_anywhere.text
    assert "13 passed" in site_anywhere.text
    assert "warning" not in site_anywhere.text


DJANGO = """
from django.test import SimpleTestCase, TestCase
from django.test.testcases import DatabaseOperationForbidden
import aioconcurrent

def count():
    return Counter.objects.count()

class Simple(SimpleTestCase):
    def test_a_call_may_not_connect(self):
        with self.assertRaisesMessage(DatabaseOperationForbidden, "Either subclass TestCase or TransactionTestCase"):
            call_concurrently(2, count)

    async def test_a_call_of_a_coroutine_may_not_connect(self):
        with self.assertRaisesMessage(DatabaseOperationForbidden, "Either subclass TestCase or TransactionTestCase"):
            await aioconcurrent.call_concurrently(2, count)

    def test_calls_without_a_database_just_run(self):
        self.assertEqual(call_concurrently(2, max, 1, 2), [2, 2])

class Inside(TestCase):
    def test_a_call_may_not_connect(self):
        with self.assertRaises(aioconcurrent.UncommittedDataError):
            call_concurrently(2, count)

class Outside(TransactionTestCase):
    def test_a_call_may_connect(self):
        self.assertEqual(call_concurrently(2, count), [0, 0])

    def test_a_mistyped_keyword(self):
        with self.assertRaisesMessage(TypeError, "got an unexpected keyword argument 'kp'"):
            call_concurrently(2, increment_atomically, kp=1)
"""


def test_where_djangos_test_cases_may_not_connect_calls_may_not_either(site: Site) -> None:
    with_manage(site).write_tests(DJANGO)
    assert site.python("manage.py", "test", "--noinput") == 0, site.text
    assert "Ran 6 tests" in site.text
