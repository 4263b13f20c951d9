"""Coroutine functions and threads that query, for stepping them."""

import asyncio
import threading

from asgiref.sync import sync_to_async
from django.db import connections, transaction

from tests.project.shop.calls import increment_locked
from tests.project.shop.models import Counter


async def increment(pk: int, using: str) -> int:
    counter = await Counter.objects.using(using).aget(pk=pk)
    counter.value += 1
    await counter.asave()
    return counter.value


async def increment_in_transaction(pk: int, using: str) -> int:
    return await sync_to_async(increment_locked)(pk, using)


async def look_twice_at_once(pk: int, using: str) -> list[int]:
    found = await asyncio.gather(*(Counter.objects.using(using).aget(pk=pk) for _ in range(2)))
    return [counter.value for counter in found]


async def look_from_two_threads(pk: int, using: str) -> list[int]:
    return await asyncio.gather(*(sync_to_async(_look, thread_sensitive=False)(pk, using) for _ in range(2)))


def look_in_threads(pk: int, using: str) -> list[int]:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(_look(pk, using))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def leave_a_thread_behind(pk: int, using: str) -> str:
    """End while a thread of the call still queries."""
    began = threading.Event()

    def look() -> None:
        began.set()
        for _ in range(3):
            _look(pk, using)

    threading.Thread(target=look, daemon=True).start()
    began.wait()
    return "done"


def _look(pk: int, using: str) -> int:
    try:
        with transaction.atomic(using):
            return Counter.objects.using(using).get(pk=pk).value
    finally:
        connections[using].close()
