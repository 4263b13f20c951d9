"""Orders whose receipts are sent in the background, by a queue that is in no library."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from aioconcurrent import background

from .models import Account, Coupon


def place(using: str, *, on_commit: bool = False) -> int:
    """Make an order, and leave its receipt to another process."""
    with transaction.atomic(using=using):
        order = Coupon.objects.using(using).create(code="new")
        if on_commit:
            transaction.on_commit(lambda: enqueue(send_receipt, order.pk, using=using), using=using)
        else:
            enqueue(send_receipt, order.pk, using=using)
    return order.pk


def enqueue(function: Any, *args: Any, **kwargs: Any) -> None:
    """What a queue does that was told of explorations."""
    if not background(function, *args, **kwargs):
        raise RuntimeError("there is no queue here")


def send_receipt(pk: int, using: str) -> None:
    """Note that the receipt was sent."""
    order = Coupon.objects.using(using).get(pk=pk)
    order.code = "sent"
    order.save()


def pay(using: str) -> None:
    """Count a payment in the background, where that is not yet at hand."""
    if not Coupon.objects.using(using).exists():
        enqueue(count, using)
    Coupon.objects.using(using).create(code="paid")


def announce(using: str) -> None:
    """Have something counted in the background."""
    enqueue(count, using)


def count(using: str) -> None:
    """Count, and forget what others count meanwhile."""
    account = Account.objects.using(using).get(pk=1)
    account.balance += 1
    account.save()


def repeat(using: str) -> None:
    """Enqueue itself for ever."""
    Coupon.objects.using(using).create(code="again")
    enqueue(repeat, using)
