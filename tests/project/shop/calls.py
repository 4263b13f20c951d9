"""What the tests call concurrently."""

from django.db import connections, transaction
from django.db.models import F

from tests.project.shop.models import Counter


def increment(pk: int, using: str = "default") -> int:
    """Add one the wrong way: read, add, write."""
    counter = Counter.objects.using(using).get(pk=pk)
    counter.value += 1
    counter.save()
    return counter.value


def increment_atomically(pk: int, using: str = "default") -> None:
    """Add one in the database."""
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + 1)


async def increment_in_coroutine(pk: int, using: str = "default") -> int:
    counter = await Counter.objects.using(using).aget(pk=pk)
    counter.value += 1
    await counter.asave()
    return counter.value


def increment_locked(pk: int, using: str = "default") -> int:
    """Add one to a row that is locked first."""
    with transaction.atomic(using):
        counter = Counter.objects.using(using).select_for_update().get(pk=pk)
        counter.value += 1
        counter.save()
        return counter.value


def increment_after_looking_elsewhere(pk: int, using: str) -> None:
    for other in range(100, 120):
        Counter.objects.using(using).filter(pk=other).exists()
    Counter.objects.using(using).filter(pk=pk).update(value=F("value") + 1)


def increment_in_turn(pk: int, using: str) -> None:
    """Add one inside a lock of the session that functions of the database take and give back."""
    Counter.objects.using(using).filter(pk=100).exists()
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT take_turn()")
        increment_atomically(pk, using)
        cursor.execute("SELECT give_turn()")
