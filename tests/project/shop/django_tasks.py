"""The same orders with Django's own tasks, which Django has from 6.0 on."""

from __future__ import annotations

from django.db import transaction
from django.tasks import TaskContext, task

from .models import Coupon


@task(takes_context=True)
def send_receipt(context: TaskContext[..., None], pk: int, using: str) -> None:
    """Note that the receipt was sent."""
    assert context.attempt == 0
    order = Coupon.objects.using(using).get(pk=pk)
    order.code = "sent"
    order.save()


@task
async def send_receipt_later(pk: int, using: str) -> None:
    """The same as a coroutine."""
    await Coupon.objects.using(using).filter(pk=pk).aupdate(code="sent")


def place(using: str) -> str:
    """Make an order, and have its receipt sent."""
    with transaction.atomic(using=using):
        order = Coupon.objects.using(using).create(code="new")
        result = send_receipt.enqueue(order.pk, using=using)
    return result.status


async def place_asynchronously(using: str) -> str:
    """The same as a coroutine, with the receipt enqueued when the order is there."""
    order = await Coupon.objects.using(using).acreate(code="new")
    result = await send_receipt_later.aenqueue(order.pk, using)
    return result.status
