from asgiref.sync import sync_to_async
from django.core import mail
from django.db import transaction
from django.http import HttpResponse

from . import services


def withdraw(request, account_id):
    return _answer(services.withdraw(account_id, int(request.POST["amount"])))


def withdraw_safely(request, account_id):
    return _answer(services.withdraw_safely(account_id, int(request.POST["amount"])))


def deposit(request, account_id):
    return HttpResponse(services.deposit(account_id, int(request.POST["amount"])))


async def adeposit(request, account_id):
    return HttpResponse(await sync_to_async(services.deposit)(account_id, int(request.POST["amount"])))


def redeem(request, code):
    done = services.redeem(code)
    transaction.on_commit(lambda: mail.send_mail("Redeemed", code, "till@example.com", ["you@example.com"]))
    request.session["last"] = code
    return _answer(done)


def redeem_once(request, code):
    return _answer(services.redeem_once(code))


def promise(request, code):
    services.promise(code)
    return _answer(True)


def write_invoice(request):
    services.write_invoice()
    return _answer(True)


def write_invoice_in_series(request, series_id):
    services.write_invoice_in_series(series_id)
    return _answer(True)


def show_twice(request, account_id):
    return HttpResponse([services.Account.objects.get(pk=account_id).balance for _ in range(2)])


def show(request, account_id):
    return HttpResponse(services.Account.objects.get(pk=account_id).balance)


async def awithdraw(request, account_id):
    account = await services.Account.objects.aget(pk=account_id)
    account.balance -= int(request.POST["amount"])
    await account.asave()
    return _answer(True)


def _answer(done):
    return HttpResponse(status=201 if done else 409)


def withdraw_own(request):
    """As Django REST framework has it: who asks is not in the session."""
    account = services.Account.objects.get(pk=request.user.pk)
    account.balance -= 10
    account.save()
    return _answer(True)
