"""Views whose answers hold what differs by chance beside what does not."""

import uuid

from django.contrib.auth.decorators import login_required
from django.db.models import F
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.middleware.csrf import get_token
from django.utils import timezone

from tests.project.shop.models import Account, Counter, Coupon


@login_required
def deposit(request: HttpRequest) -> HttpResponse:
    Account.objects.update(balance=F("balance") + 1)
    return JsonResponse({"user": request.user.pk})


@login_required
def deposit_badly(request: HttpRequest) -> HttpResponse:
    account = Account.objects.get()
    account.balance += 1
    account.save()
    return JsonResponse({"user": request.user.pk})


def form(request: HttpRequest) -> HttpResponse:
    """A page with a token and a time; if it is asked, with the number of those who came, read after it was raised."""
    Account.objects.update(balance=F("balance") + 1)
    number = Account.objects.get().balance if "number" in request.GET else "many"
    page = f"<form><input value='{get_token(request)}'></form><p>{timezone.now():%H:%M:%S.%f}: {number}</p>"
    return HttpResponse(page)


def made(request: HttpRequest) -> HttpResponse:
    """Something is made; the answer names it, by its key, a token and a time."""
    coupon = Coupon.objects.create(code=uuid.uuid4().hex)
    return JsonResponse({"data": {"id": coupon.pk, "code": coupon.code, "at": timezone.now().isoformat()}})


def numbered(request: HttpRequest) -> HttpResponse:
    """As in GraphQL, the answer is in the body, and the status says nothing."""
    coupon = Coupon.objects.create(code=uuid.uuid4().hex)
    return JsonResponse({"data": {"id": coupon.pk, "number": Coupon.objects.count(), "token": uuid.uuid4().hex}})


def make_and_go(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(f"/coupons/{Coupon.objects.create(code='x').pk}/")


def join(request: HttpRequest) -> HttpResponse:
    """Whoever comes second is to be told so."""
    if Coupon.objects.filter(code="x").exists():
        return HttpResponseRedirect("/again/")
    Coupon.objects.create(code="x")
    return HttpResponseRedirect("/welcome/")


def logged(request: HttpRequest) -> HttpResponse:
    """Visits are counted badly, and it is no matter; the deposit is made well."""
    Account.objects.update(balance=F("balance") + 1)
    counter, _ = Counter.objects.get_or_create(name="visits")
    counter.value += 1
    counter.save()
    return HttpResponse("thank you")


def missing(request: HttpRequest) -> HttpResponse:
    raise Http404
