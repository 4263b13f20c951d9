"""Numbers that are made from the keys of rows, and such as are not."""

from django.db import transaction
from django.db.models import F, Max

from tests.project.office.models import Bill, Post, Reply


def after_maximum(using: str) -> None:
    Bill.objects.using(using).create(number=Bill.objects.using(using).aggregate(last=Max("pk"))["last"] + 1)


def padded(using: str) -> str:
    last = Bill.objects.using(using).order_by("pk").last()
    return Bill.objects.using(using).create(code=f"{last.pk + 1:06d}" if last else "").code


def dated(using: str) -> str:
    last = Bill.objects.using(using).order_by("pk").last()
    return Bill.objects.using(using).create(code=f"2024/{last.pk + 1}" if last else "").code


def returned_only(using: str) -> int:
    last = Bill.objects.using(using).order_by("pk").last()
    Bill.objects.using(using).create()
    return last.pk + 1 if last else 0


def in_hundreds(using: str) -> None:
    """As many digits as it takes, and something else behind them."""
    last = Bill.objects.using(using).order_by("pk").last()
    Bill.objects.using(using).create(code=f"No. {100 * (last.pk + 1)} of 2024" if last else "")


def from_counter(using: str) -> int:
    """A row that counts, locked where rows can be."""
    with transaction.atomic(using):
        Post.objects.using(using).filter(pk=1).update(likes=F("likes") + 1)
        number = Post.objects.using(using).get(pk=1).likes
        return Bill.objects.using(using).create(number=number).number


def own_key(using: str) -> int:
    """The number is the key of the row itself, as the database made it."""
    with transaction.atomic(using):
        bill = Bill.objects.using(using).create()
        Bill.objects.using(using).filter(pk=bill.pk).update(number=bill.pk, code=f"2024/{bill.pk:05d}")
    return bill.pk


def reply_to_own(using: str) -> tuple[int, int]:
    """Rows that refer to each other, and are both told."""
    with transaction.atomic(using):
        post = Post.objects.using(using).create()
        return post.pk, Reply.objects.using(using).create(post=post).pk
