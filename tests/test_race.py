"""Races as users write them, on each database and each event loop."""

from aioconcurrent import call_concurrently, sync
from tests.project.databases import ThreadOfQueries
from tests.project.shop.calls import increment_atomically
from tests.project.shop.models import Counter


def test_calls_work_on_the_database_of_the_test(database: str) -> None:
    counter = Counter.objects.using(database).create(name="clicks")
    outcomes = sync.call_concurrently(3, increment_atomically, counter.pk, using=database)
    outcomes.raise_errors()
    counter.refresh_from_db()
    assert counter.value == 3


async def test_awaited_calls_work_on_the_database_of_the_test(database: str, in_thread: ThreadOfQueries) -> None:
    counter = await in_thread(Counter.objects.using(database).create, name="clicks")
    outcomes = await call_concurrently(3, increment_atomically, counter.pk, using=database)
    outcomes.raise_errors()
    await in_thread(counter.refresh_from_db)
    assert counter.value == 3
