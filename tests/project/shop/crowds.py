"""What more than two calls do to one account, and loops that end in some orders only."""

from django.db import IntegrityError, connections, transaction
from django.db.models import F

from tests.project.shop.models import Account, Coupon, Voucher


def increment(pk: int, using: str, by: int = 1) -> None:
    account = Account.objects.using(using).get(pk=pk)
    account.balance += by
    account.save()


def increment_in_database(pk: int, using: str, by: int = 1) -> None:
    Account.objects.using(using).filter(pk=pk).update(balance=F("balance") + by)


def draw_number(pk: int, using: str) -> int:
    """Take the next number under a lock."""
    with transaction.atomic(using):
        account = Account.objects.using(using).select_for_update().get(pk=pk)
        account.balance += 1
        account.save()
        return account.balance


def claim_unless_taken(code: str, using: str) -> bool:
    """Refuse in order where somebody was first, and in a loop where somebody was only just first."""
    if Coupon.objects.using(using).filter(code=code).exists():
        return False
    while True:
        try:
            with transaction.atomic(using):
                Voucher.objects.using(using).create(code=code)
                Coupon.objects.using(using).create(code=code)
                return True
        except IntegrityError:
            continue


def claim_or_give_up(code: str, using: str) -> bool:
    for _ in range(3):
        if Coupon.objects.using(using).filter(code=code).exists():
            return False
        try:
            with transaction.atomic(using):
                Voucher.objects.using(using).create(code=code)
                Coupon.objects.using(using).create(code=code)
                return True
        except IntegrityError:
            continue
    raise LookupError(code)


def claim_uniquely(code: str, using: str) -> bool:
    """Look, and insert where the database sees to it that nobody else does."""
    if Voucher.objects.using(using).filter(code=code).exists():
        return False
    Voucher.objects.using(using).create(code=code)
    return True


def add_and_note(pk: int, using: str) -> None:
    with transaction.atomic(using):
        Account.objects.using(using).filter(pk=pk).update(balance=F("balance") + 1)
        Coupon.objects.using(using).create(code="noted")


def count_into_owner(pk: int, using: str) -> None:
    """Write what is counted when the statement begins, beside the balance as it is when it has the row."""
    with transaction.atomic(using), connections[using].cursor() as cursor:
        counted = "owner || ';' || (SELECT count(*) FROM shop_coupon) || ':' || balance"
        cursor.execute(f"UPDATE shop_account SET owner = {counted} WHERE id = %s", [pk])


def lock_then_count_into_owner(pk: int, using: str) -> None:
    with transaction.atomic(using):
        account = Account.objects.using(using).select_for_update().get(pk=pk)
        account.owner += f":{Coupon.objects.using(using).count()}"
        account.save()
