"""Transactions that show what an isolation level lets happen, after github.com/ept/hermitage.

Each returns what it saw, or `ABORTED` where the database refused to go on.  They
begin with the counters 1 and 2 at 10 and 20.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import OperationalError, transaction
from django.db.models import F, QuerySet

from tests.project.shop.models import Counter

ABORTED = "aborted"


class _RollBackError(Exception):
    """Takes back what a transaction did."""


def _in_transaction(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(using: str, **kwargs: Any) -> Any:
        try:
            with transaction.atomic(using):
                return function(Counter.objects.using(using), **kwargs)
        except (OperationalError, _RollBackError):
            return ABORTED

    return run


def _put(counters: QuerySet[Counter], pk: int, value: int) -> None:
    counters.filter(pk=pk).update(value=value)


def _get(counters: QuerySet[Counter], pk: int) -> int:
    return counters.values_list("value", flat=True).get(pk=pk)


@_in_transaction
def write_both(counters: QuerySet[Counter], first: int, second: int) -> None:
    _put(counters, 1, first)
    _put(counters, 2, second)


@_in_transaction
def write_and_abort(counters: QuerySet[Counter], value: int) -> None:
    _put(counters, 1, value)
    raise _RollBackError


@_in_transaction
def write_twice(counters: QuerySet[Counter], first: int, second: int) -> None:
    _put(counters, 1, first)
    _put(counters, 1, second)


@_in_transaction
def read(counters: QuerySet[Counter], pks: list[int]) -> list[int]:
    return [_get(counters, pk) for pk in pks]


@_in_transaction
def write_and_read_other(counters: QuerySet[Counter], pk: int, value: int) -> int:
    _put(counters, pk, value)
    return _get(counters, 3 - pk)


@_in_transaction
def find_twice(counters: QuerySet[Counter]) -> list[list[int]]:
    """Two different predicates, which the same new row satisfies."""
    before = counters.filter(value=30).values_list("pk", flat=True)
    after = counters.annotate(rest=F("value") % 3).filter(rest=0).values_list("pk", flat=True)
    return [list(before), list(after)]


@_in_transaction
def insert(counters: QuerySet[Counter], pk: int, value: int) -> None:
    counters.create(pk=pk, name="new", value=value)


@_in_transaction
def raise_all(counters: QuerySet[Counter]) -> None:
    counters.update(value=F("value") + 10)


@_in_transaction
def find_and_delete(counters: QuerySet[Counter]) -> list[int]:
    """Look for what has the value 20, and delete what has it."""
    found = list(counters.filter(value=20).values_list("pk", flat=True))
    counters.filter(value=20)._raw_delete(counters.db)
    return found


@_in_transaction
def read_and_write(counters: QuerySet[Counter], value: int) -> int:
    seen = _get(counters, 1)
    _put(counters, 1, value)
    return seen


@_in_transaction
def read_and_delete(counters: QuerySet[Counter]) -> tuple[int, int]:
    """Read the first, and delete the second if it has its old value."""
    seen = _get(counters, 1)
    return seen, counters.filter(value=20)._raw_delete(counters.db)


@_in_transaction
def read_both_and_write(counters: QuerySet[Counter], pk: int, value: int) -> list[int]:
    seen = [_get(counters, 1), _get(counters, 2)]
    _put(counters, pk, value)
    return seen


@_in_transaction
def find_and_insert(counters: QuerySet[Counter], pk: int, value: int) -> list[int]:
    found = list(counters.annotate(rest=F("value") % 3).filter(rest=0).values_list("pk", flat=True))
    counters.create(pk=pk, name="new", value=value)
    return found
