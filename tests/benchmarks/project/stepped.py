"""What is explored in the benchmark: each statement of these is one step."""

from collections.abc import Sequence

from django.core.cache import cache
from django.db import transaction
from django.db.models import F

from tests.project.shop.models import Account, Counter

APART = 8  # statements


def add_three_times(first: int, second: int) -> None:
    """Three statements that give the same in any order."""
    for pk in (first, second, first):
        Counter.objects.filter(pk=pk).update(value=F("value") + 1)


def lose(first: int, **_: int) -> None:
    value = Counter.objects.values_list("value", flat=True).get(pk=first)
    Counter.objects.filter(pk=first).update(value=value + 1)


def count_in_cache(first: int, second: int) -> None:
    """Three operations of a cache that give the same in any order."""
    for pk in (first, second, first):
        cache.incr(f"counter-{pk}")


def lose_in_atomic(first: int, **_: int) -> None:
    with transaction.atomic():
        lose(first)


def add_locked(first: int, **_: int) -> None:
    with transaction.atomic():
        value = Counter.objects.select_for_update().values_list("value", flat=True).get(pk=first)
        Counter.objects.filter(pk=first).update(value=value + 1)


def read_others(own: int, others: Sequence[int]) -> None:
    """Reads of rows that nobody changes, and a change of one that nobody else reads."""
    total = sum(Account.objects.values_list("balance", flat=True).get(pk=pk) for pk in others)
    Account.objects.filter(pk=own).update(balance=total)


def lose_early(first: int, **_: int) -> None:
    lose(first)
    _look_elsewhere()


def lose_late(first: int, **_: int) -> None:
    _look_elsewhere()
    lose(first)


def add_early(first: int, **_: int) -> None:
    add_locked(first)
    _look_elsewhere()


def add_late(first: int, **_: int) -> None:
    _look_elsewhere()
    add_locked(first)


def _look_elsewhere() -> None:
    for pk in range(APART):
        Account.objects.filter(pk=pk).exists()
