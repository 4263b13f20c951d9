"""Races in the test cases of Django, which pytest gives no parameters."""

from django.test import TestCase, TransactionTestCase

import aioconcurrent
from aioconcurrent.sync import call_concurrently
from tests.databases.test_guard import refusal
from tests.project.echoes import echo
from tests.project.queries import count
from tests.project.shop.models import Counter


class TestInDjangosTestCase(TestCase):
    def test_a_call_may_not_connect(self) -> None:
        Counter.objects.create(name="clicks")
        with refusal("default"):
            call_concurrently(2, count)

    def test_calls_without_a_database_just_run(self) -> None:
        assert call_concurrently(2, echo, 1) == [1, 1]

    async def test_a_call_of_a_coroutine_may_not_connect(self) -> None:
        await Counter.objects.acreate(name="clicks")
        with refusal("default"):
            await aioconcurrent.call_concurrently(2, count)

    async def test_calls_of_a_coroutine_without_a_database_just_run(self) -> None:
        assert await aioconcurrent.call_concurrently(2, echo, 1) == [1, 1]


class TestInDjangosTransactionTestCase(TransactionTestCase):
    def test_a_call_sees_the_rows(self) -> None:
        Counter.objects.create(name="clicks")
        assert call_concurrently(2, count) == [1, 1]

    async def test_a_call_of_a_coroutine_sees_the_rows(self) -> None:
        await Counter.objects.acreate(name="clicks")
        assert await aioconcurrent.call_concurrently(2, count) == [1, 1]
