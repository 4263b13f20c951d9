"""Views that sell the last seat, each in the way that a race breaks, and some that answer in other ways."""

import json
import time
from collections.abc import Iterator
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from tests.project.shop.models import Show, Ticket


def sell(show: int, buyer: str) -> bool:
    """Read, think, write."""
    if not Show.objects.get(pk=show).seats_left:
        return False
    Ticket.objects.create(show_id=show, buyer=buyer)
    Show.objects.filter(pk=show).update(seats_left=0)
    return True


@login_required
def buy(request: HttpRequest) -> HttpResponse:
    sold = sell(int(request.POST["show"]), request.user.get_username())
    return JsonResponse({"sold": sold}, status=201 if sold else 409)


async def buy_in_coroutine(request: HttpRequest) -> HttpResponse:
    user: Any = await request.auser()
    if not user.is_authenticated:
        return HttpResponse(status=401)
    show = await Show.objects.aget(pk=json.loads(request.body)["show"])
    await Ticket.objects.acreate(show=show, buyer=user.get_username())
    return HttpResponse(status=201)


class Buy(APIView):  # type: ignore[misc]  # it ships no types
    permission_classes = (IsAuthenticated,)

    def post(self, request: Request) -> Response:
        sold = sell(request.data["show"], request.user.get_username())
        return Response({"sold": sold}, status=201 if sold else 409)


@login_required
def meet(request: HttpRequest) -> HttpResponse:
    """Wait until somebody else is here."""
    Ticket.objects.create(show_id=int(request.POST["show"]), buyer=request.user.get_username())
    while Ticket.objects.count() < 2:
        time.sleep(0.01)
    return HttpResponse("met")


def whoami(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(f"{request.method} {request.user.get_username()} {request.GET.get('ask', '')}")
    response.set_cookie("seen", "1")
    return response


def moved(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/whoami/")


def fail(request: HttpRequest) -> HttpResponse:
    raise LookupError(request.path)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        yield "Löwe"
        yield "nzahn"

    return StreamingHttpResponse(parts(), content_type="text/plain; charset=latin-1")
