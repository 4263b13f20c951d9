"""Tests in transactions, whose rows others see for a while."""

from __future__ import annotations

import unittest
from contextlib import closing

import pytest
from django.db import connections, transaction
from django.test import TestCase

from aioconcurrent.databases.handoff import is_in_memory
from aioconcurrent.databases.sessions import connect_directly
from aioconcurrent.hunting.committing import Committing, committed
from tests.project.shop.models import Counter


def seen_by_others(database: str) -> set[str]:
    """The names of the counters that another connection reads."""
    other = connect_directly(database)
    with closing(other.connection), closing(other.connection.cursor()) as cursor:
        cursor.execute("SELECT name FROM shop_counter")
        return {row[0] for row in cursor.fetchall()}


def seen_here(database: str) -> set[str]:
    return set(Counter.objects.using(database).values_list("name", flat=True))


@pytest.fixture
def is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests commit, as in the second run of a hunt."""
    for name in ("_enter_atomics", "_rollback_atomics"):
        monkeypatch.setattr(TestCase, name, vars(TestCase)[name])  # is put back at the end
    committing = Committing()
    committing.install()
    committing.is_on = True


def run(case: type[unittest.TestCase], *names: str) -> None:
    """Run some tests of a class, and raise what they raise."""
    result = unittest.TestResult()
    unittest.TestSuite([case(name) for name in names]).run(result)
    assert result.wasSuccessful(), [text for _, text in [*result.errors, *result.failures]]
    assert result.testsRun == len(names)


@pytest.mark.usefixtures("is_on")
def test_others_see_the_rows_of_class_and_test_and_all_are_taken_back(database: str) -> None:
    found: list[set[str]] = []

    class Case(TestCase):
        @classmethod
        def setUpTestData(cls) -> None:
            Counter.objects.using(database).create(name="class")

        def test_one(self) -> None:
            Counter.objects.using(database).create(name="test")
            Counter.objects.using(database).filter(name="class").update(value=5)
            with committed():
                if not is_in_memory(connections[database].settings_dict):
                    found.append(seen_by_others(database))
            Counter.objects.using(database).create(name="afterwards")
            assert seen_here(database) == {"class", "test", "afterwards"}

        def test_two(self) -> None:
            found.append(seen_here(database))
            assert Counter.objects.using(database).get(name="class").value == 0

    Case.databases = {database}
    run(Case, "test_one", "test_two", "test_one", "test_two")
    in_first = [] if is_in_memory(connections[database].settings_dict) else [{"class", "test"}]
    assert found == 2 * [*in_first, {"class"}]
    assert seen_here(database) == set()


@pytest.mark.usefixtures("is_on")
def test_the_test_stays_in_its_transaction_and_its_savepoints(database: str) -> None:
    done: list[str] = []

    class Case(TestCase):
        def test_it(self) -> None:
            transaction.on_commit(lambda: done.append("commit"), using=database)
            with transaction.atomic(using=database):
                with committed():
                    pass
                Counter.objects.using(database).create(name="inner")
                list(Counter.objects.using(database).select_for_update())
                transaction.set_rollback(True, using=database)
            assert connections[database].in_atomic_block
            assert seen_here(database) == set()

    Case.databases = {database}
    run(Case, "test_it")
    assert done == []


def test_without_a_hunt_nothing_is_committed(database: str) -> None:
    class Case(TestCase):
        def test_it(self) -> None:
            Counter.objects.using(database).create(name="test")
            if not is_in_memory(connections[database].settings_dict):
                assert seen_by_others(database) == set()

    Case.databases = {database}
    run(Case, "test_it")
    assert seen_here(database) == set()
