"""Calls of every kind: what Django and the databases have besides plain reads and writes."""

import os
import random
import uuid
from pathlib import Path
from typing import Any

from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.models import F

from tests.project.shop.models import Account, Counter, Coupon, Show, Stamp, Ticket, Voucher


class TakenError(Exception):
    """Somebody else was first: a correct refusal."""


def claim_or_refuse(code: str, using: str) -> None:
    try:
        with transaction.atomic(using):
            Voucher.objects.using(using).create(code=code)
    except IntegrityError:
        raise TakenError(code) from None


def note_and_claim(code: str, using: str) -> bool:
    """Leave a note behind, also if it is refused."""
    if Voucher.objects.using(using).filter(code=code).exists():
        return False
    Coupon.objects.using(using).create(code=code)
    claim_or_refuse(code, using)
    return True


def take(using: str, *, skip_locked: bool = False, nowait: bool = False) -> int | None:
    """Take the first account that nobody has taken, and mark it."""
    with transaction.atomic(using):
        free = Account.objects.using(using).filter(owner="").order_by("pk")
        account = free.select_for_update(skip_locked=skip_locked, nowait=nowait).first()
        if account is None:
            return None
        account.owner = "taken"
        account.save()
        return account.pk


def take_or_refuse(using: str) -> int | None:
    try:
        return take(using, nowait=True)
    except OperationalError:
        raise TakenError from None


def claim_alone(code: str, using: str) -> bool:
    """Check, then insert, under a lock that belongs to no row."""
    connection = connections[using]
    if connection.vendor == "postgresql":
        with transaction.atomic(using):
            _run(using, "SELECT pg_advisory_xact_lock(7)")
            return _claim(code, using)
    _run(using, f"SELECT GET_LOCK('{connection.settings_dict['NAME']}', 20)")
    try:
        return _claim(code, using)
    finally:
        _run(using, f"SELECT RELEASE_LOCK('{connection.settings_dict['NAME']}')")


def _claim(code: str, using: str) -> bool:
    if Coupon.objects.using(using).filter(code=code).exists():
        return False
    Coupon.objects.using(using).create(code=code)
    return True


def _run(using: str, statement: str, *parameters: int | str) -> Any:
    with connections[using].cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchone() if cursor.description else None


def add_raw(pk: int, using: str) -> None:
    (balance,) = _run(using, "SELECT balance FROM shop_account WHERE id = %s", pk)
    _run(using, "UPDATE shop_account SET balance = %s WHERE id = %s", balance + 1, pk)


def add_raw_at_once(pk: int, using: str) -> None:
    _run(using, "UPDATE shop_account SET balance = balance + 1 WHERE id = %s", pk)


def add_in_vain(pk: int, using: str) -> None:
    with transaction.atomic(using):
        Account.objects.using(using).filter(pk=pk).update(balance=0)
        transaction.set_rollback(True, using)


def balance(pk: int, using: str) -> int:
    return Account.objects.using(using).get(pk=pk).balance


def add_after_rollback(pk: int, using: str) -> None:
    """Lock a row by changing it in a savepoint, and take that back."""
    accounts = Account.objects.using(using).filter(pk=pk)
    with transaction.atomic(using):
        add_in_vain(pk, using)
        balance = accounts.get().balance
        accounts.update(balance=balance + 1)


def claim_on_commit(code: str, using: str) -> None:
    with transaction.atomic(using):
        Account.objects.using(using).filter(pk=1).update(balance=F("balance") + 1)
        transaction.on_commit(lambda: _claim(code, using), using=using)


def claim_before_commit(code: str, using: str) -> None:
    with transaction.atomic(using):
        Account.objects.using(using).filter(pk=1).update(balance=F("balance") + 1)
        _claim(code, using)


def close_show(pk: int, using: str) -> None:
    Show.objects.using(using).filter(pk=pk).delete()


def close_show_locked(pk: int, using: str) -> None:
    with transaction.atomic(using):
        for show in Show.objects.using(using).filter(pk=pk).select_for_update():
            show.delete()


def sell(pk: int, using: str) -> bool:
    if not Show.objects.using(using).filter(pk=pk).exists():
        return False
    Ticket.objects.using(using).create(show_id=pk, buyer="ada")
    return True


def sell_locked(pk: int, using: str) -> bool:
    with transaction.atomic(using):
        if not Show.objects.using(using).filter(pk=pk).select_for_update():
            return False
        Ticket.objects.using(using).create(show_id=pk, buyer="ada")
        return True


def add_coupon(using: str) -> None:
    Coupon.objects.using(using).create(code="x")


def add_many_coupons(using: str) -> None:
    with connections[using].cursor() as cursor:
        cursor.executemany("INSERT INTO shop_coupon (code) VALUES (%s)", [("a",), ("b",)])


def stamp(using: str) -> tuple[uuid.UUID, float]:
    """Make a row that is never the same, and return what is not, either."""
    made = Stamp.objects.using(using).create()
    Stamp.objects.using(using).filter(pk=made.pk).update(times=F("times") + 1)
    return made.key, random.random()


def count_stamp(using: str) -> None:
    """Lose updates, in a row in which other values change by themselves."""
    found = Stamp.objects.using(using).get()
    found.times += 1
    found.key = uuid.uuid4()
    found.save()


def first_account(using: str) -> Account:
    """Change a row safely, and return it as it is then."""
    with transaction.atomic(using):
        account = Account.objects.using(using).select_for_update().get(pk=1)
        account.balance += 1
        account.save()
    return account


async def add_async(pk: int, using: str) -> int:
    account = await Account.objects.using(using).aget(pk=pk)
    account.balance += 1
    await account.asave()
    return account.balance


async def add_async_at_once(pk: int, using: str) -> int:
    return await Account.objects.using(using).filter(pk=pk).aupdate(balance=F("balance") + 1)


def churn(using: str, folder: Path | None = None) -> int:
    """Change, add and remove rows, some of it in vain, and sign in with the process's id."""
    if folder is not None:
        (folder / str(os.getpid())).touch()
    counter = Counter.objects.using(using).get(name="clicks")
    counter.value += 1
    counter.save()
    with transaction.atomic(using):
        Show.objects.using(using).all().delete()
        made = Show.objects.using(using).create(title="Macbeth", seats_left=counter.value)
        Ticket.objects.using(using).create(show=made, buyer="ada")
    return counter.value


def churn_locked(using: str, folder: Path | None = None) -> int:
    if folder is not None:
        (folder / str(os.getpid())).touch()
    Counter.objects.using(using).filter(name="clicks").update(value=F("value") + 1)
    return Ticket.objects.using(using).count()


def insert_two(pks: list[int], using: str) -> None:
    """Insert rows that nobody else inserts: two such calls have nothing in common."""
    with transaction.atomic(using):
        for pk in pks:
            Voucher.objects.using(using).create(pk=pk, code=f"code {pk}")
