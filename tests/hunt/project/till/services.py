"""Each of these has a safe twin."""

from django.db import transaction
from django.db.models import F, Max

from aioconcurrent import background

from .models import Account, Invoice, Redeemed, RedeemedOnce, Series


def withdraw(account_id, amount):
    account = Account.objects.get(pk=account_id)
    if account.balance < amount:
        return False
    account.balance -= amount
    account.save()
    return True


def withdraw_safely(account_id, amount):
    rich = Account.objects.filter(pk=account_id, balance__gte=amount)
    return bool(rich.update(balance=F("balance") - amount))


def deposit(account_id, amount):
    Account.objects.filter(pk=account_id).update(balance=F("balance") + amount)
    return Account.objects.get(pk=account_id).balance


def redeem(code):
    if Redeemed.objects.filter(code=code).exists():
        return False
    Redeemed.objects.create(code=code)
    return True


def redeem_once(code):
    return RedeemedOnce.objects.get_or_create(code=code)[1]


@transaction.atomic
def promise(code):
    promised = RedeemedOnce.objects.create(code=code)
    if not background(keep_promise, promised.pk):
        keep_promise(promised.pk)


def keep_promise(pk):
    RedeemedOnce.objects.get(pk=pk).delete()


def redeem_each(codes):
    return sum(map(redeem, codes))


def write_invoice():
    last = Invoice.objects.aggregate(last=Max("number"))["last"] or 0
    Invoice.objects.create(number=last + 1)


def write_invoice_in_series(series_id):
    with transaction.atomic():
        Series.objects.filter(pk=series_id).update(last=F("last") + 1)
        Invoice.objects.create(number=Series.objects.get(pk=series_id).last)
