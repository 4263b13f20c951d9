# mypy: disable-error-code=untyped-decorator
"""The same orders with Celery; as tests often have it, tasks would be made at once."""

from __future__ import annotations

from typing import Any

from celery import Celery, chain, chord, group
from celery.contrib.django.task import DjangoTask
from django.db import transaction

from .models import Account, Coupon

app = Celery("shop", task_cls=DjangoTask, broker="redis://127.0.0.1:1", backend="redis://127.0.0.1:1")
app.conf.task_always_eager = True


@app.task
def send_receipt(pk: int, using: str) -> str:
    """Note that the receipt was sent."""
    order = Coupon.objects.using(using).get(pk=pk)
    order.code = "sent"
    order.save()
    return order.code


@app.task(bind=True, autoretry_for=(Coupon.DoesNotExist,), max_retries=2, retry_jitter=True)
def send_sometime(self: Any, pk: int, using: str) -> None:
    """Try again where the order is not there yet."""
    send_receipt.run(pk, using)


@app.task
def count(_: object, using: str) -> None:
    """Count, and forget what others count meanwhile."""
    account = Account.objects.using(using).get(pk=1)
    account.balance += 1
    account.save()


def place(using: str, how: str) -> object:
    """Make an order, and have its receipt sent."""
    with transaction.atomic(using=using):
        order = Coupon.objects.using(using).create(code="new")
        match how:
            case "delay":
                result = send_receipt.delay(order.pk, using)
                return result.state if result.ignored else type(result).__name__
            case "countdown":
                send_receipt.apply_async((order.pk,), {"using": using}, countdown=60)
            case "signature":
                send_receipt.s(order.pk, using).delay()
            case "retried":
                send_sometime.delay(order.pk, using)
            case "on commit":
                send_receipt.delay_on_commit(order.pk, using)
            case "name":
                app.send_task(send_receipt.name, (order.pk, using))
            case "waited for":
                return send_receipt.delay(order.pk, using).get(timeout=60)
            case "all waited for":
                return group(send_receipt.s(order.pk, using)).delay().get()
            case "chord":
                chord([send_receipt.s(order.pk, using)], count.s(using)).delay()
            case "elsewhere":
                app.send_task("billing.bill", (order.pk,))
            case "object":
                send_receipt.delay(order, using)
    return None


def chained(using: str) -> None:
    """Have something counted after the receipt."""
    order = Coupon.objects.using(using).create(code="new")
    chain(send_receipt.s(order.pk, using), count.s(using)).delay()
