"""Calls that change rows where nobody looks."""

import io

from django.db import connections
from django.db.models import F

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


def change_copies(using: str, original: str) -> None:
    """Count, and where somebody has come between, on a copy of the database alone, change what nobody sees."""
    counter = Counter.objects.using(using).filter(pk=1)
    before = counter.get().value
    for _ in range(2):
        counter.update(value=F("value") + 1)
    is_between = counter.get().value != before + 2
    if is_between and connections[using].settings_dict["NAME"] != original:
        connections[using].connection.cursor().execute("UPDATE shop_account SET balance = balance + 1")


def copy_balances(using: str) -> bytes:
    """Read by COPY, and add to what is there."""
    with connections[using].cursor() as cursor:
        if hasattr(cursor.cursor, "copy_expert"):  # psycopg2
            file = io.BytesIO()
            cursor.copy_expert("COPY shop_account (balance) TO STDOUT", file)
            return file.getvalue()
        with cursor.copy("COPY shop_account (balance) TO STDOUT") as copy:
            return b"".join(map(bytes, copy))


def copy_and_add(using: str) -> None:
    copy_balances(using)
    Account.objects.using(using).update(balance=F("balance") + 1)
