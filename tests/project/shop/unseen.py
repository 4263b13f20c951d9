"""Calls that change rows where nobody looks."""

from django.db import connections

from tests.project.shop.models import Account, Counter


def add_with_the_driver(pk: int, using: str, *, at_once: bool = False) -> None:
    """Read and write through a cursor of the driver, which passes unseen, with a statement that is seen between."""
    Counter.objects.using(using).filter(name="before").update(value=1)
    cursor = connections[using].connection.cursor()
    cursor.execute(f"SELECT balance FROM shop_account WHERE id = {int(pk)}")
    (balance,) = cursor.fetchone()
    Counter.objects.using(using).filter(name="between").update(value=1)
    balance = "balance" if at_once else balance
    cursor.execute(f"UPDATE shop_account SET balance = {balance} + 1 WHERE id = {int(pk)}")
    connections[using].connection.commit()


def rename_with_the_driver(pk: int, owner: str, using: str) -> str:
    """Change what another call does not look at, beside what it does."""
    add_with_the_driver(pk, using, at_once=True)
    return Account.objects.using(using).filter(owner=owner).values_list("owner", flat=True).first() or ""
