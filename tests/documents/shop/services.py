"""The functions that the documents race and explore."""

from django.core.mail import send_mail
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from shop import gateway
from shop.models import Account, Coupon, Show, Ticket


class SoldOut(Exception):  # noqa: N818 - what the documents call it
    pass


def buy(show_id):
    show = Show.objects.get(pk=show_id)
    if show.seats_left == 0:
        return False
    Ticket.objects.create(show=show)
    show.seats_left -= 1
    show.save()
    return True


@transaction.atomic
def buy_safely(show_id):
    if not Show.objects.filter(pk=show_id, seats_left__gt=0).update(seats_left=F("seats_left") - 1):
        return False
    Ticket.objects.create(show_id=show_id)
    return True


def refund(show_id, reason):
    Show.objects.filter(pk=show_id).update(seats_left=F("seats_left") + 1)
    return reason


def close_show(show_id):
    Show.objects.filter(pk=show_id).update(seats_left=0)


def withdraw(account_id, amount):
    account = Account.objects.get(pk=account_id)
    if account.balance < amount:
        return False
    account.balance -= amount
    account.save()
    return True


@transaction.atomic
def withdraw_locked(account_id, amount):
    account = Account.objects.select_for_update().get(pk=account_id)
    if account.balance < amount:
        return False
    account.balance -= amount
    account.save()
    return True


def redeem(code):
    Coupon.objects.create(code=code)
    return code


def pay(account_id, amount):
    account = Account.objects.get(pk=account_id)
    gateway.charge(card="4242", amount=amount)
    account.balance -= amount
    account.save()
    return account.balance


def pay_once(account_id, amount):
    account = Account.objects.filter(pk=account_id, balance__gte=amount)
    if not account.update(balance=F("balance") - amount):
        return False
    gateway.charge(card="4242", amount=amount)
    return True


def confirm(account_id):
    send_mail("Paid", f"Account {account_id}", "shop@example.org", ["ann@example.org"])


def opened_at(account_id):
    return timezone.now()
