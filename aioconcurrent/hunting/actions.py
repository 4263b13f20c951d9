"""What tests ask of the application: requests, management commands and named functions, as calls to explore."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from io import StringIO
from typing import TYPE_CHECKING, Any

from ..base import pickling
from ..base.calls import MODULES, READY
from ..http import Response, request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PLAIN = (str, bytes, int, float, bool, type(None))
_url_modules: Callable[[], tuple[str, ...]] = vars(request)[MODULES]
_STREAMS = ("stdout", "stderr")  # of a command, where its output is not what is hunted


@dataclass(frozen=True)
class Action:
    """One thing that a test asks of the application.

    Attributes:
        name: Without values, as "POST shop/<int:pk>/buy/"; the same in all tests.
        text: For the story, as "POST /shop/1/buy/".
        function: Of the call that does it in another process.
        args: Of the call.
        kwargs: Of the call.
    """

    name: str
    text: str
    function: Callable[..., Any] | str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def call(self) -> tuple[Callable[..., Any] | str, tuple[Any, ...], dict[str, Any]]:
        """As `explore` takes it."""
        return self.function, self.args, dict(self.kwargs)


@dataclass(frozen=True)
class Sent:
    """A request as a test client has sent it.

    Attributes:
        environ: Plain values of WSGI or ASGI.
        body: All of it.
        cookies: Of the client, in the form of the header.
        defaults: Of the client.
        checks_csrf: Whether the client has that checked.
        user: Whom a client of Django REST framework forces to be authenticated.
        token: With what.
        is_forced: Whether it does so.
        headers: Of ASGI.
        keeps_body: Whether the body of the answer counts, too, and not its status alone.
    """

    environ: Mapping[str, Any] = field(repr=False)
    body: bytes = field(repr=False)
    cookies: str = field(repr=False)
    defaults: Mapping[str, Any] = field(repr=False)
    checks_csrf: bool = False
    user: Any = field(default=None, repr=False)
    token: Any = field(default=None, repr=False)
    is_forced: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    keeps_body: bool = False


def of_request(client: Any, environ: Mapping[str, Any], body: bytes, *, keeps_body: bool = False) -> Action:
    """The request that a client of Django's, or of Django REST framework, is about to send."""
    method, path = str(environ.get("REQUEST_METHOD", "GET")), str(environ.get("PATH_INFO", "/"))
    sent = replace(_sent(client, environ, body), keeps_body=keeps_body)
    return Action(f"{method} {_route(path)}", f"{method} {path}", send, (method, path, sent))


def of_async_request(client: Any, scope: Mapping[str, Any], body: bytes, *, keeps_body: bool = False) -> Action:
    """The same of Django's asynchronous client."""
    method, path = str(scope.get("method", "GET")), str(scope.get("path", "/"))
    sent = replace(_sent(client, scope, body), keeps_body=keeps_body)
    return Action(f"{method} {_route(path)}", f"{method} {path}", asend, (method, path, sent))


def _sent(client: Any, environ: Mapping[str, Any], body: bytes) -> Sent:
    handler = client.handler
    return Sent(
        environ={name: value for name, value in environ.items() if type(value) in _PLAIN},
        body=body,
        cookies="; ".join(f"{each.key}={each.coded_value}" for each in client.cookies.values()),
        defaults={name: value for name, value in client.defaults.items() if type(value) in _PLAIN},
        checks_csrf=bool(handler.enforce_csrf_checks),
        user=_unlazy(getattr(handler, "_force_user", None)),
        token=getattr(handler, "_force_token", None),
        is_forced=hasattr(handler, "_force_user"),
        headers=tuple(environ.get("headers", ())),
    )


def _unlazy(user: Any) -> Any:
    """The user of a lazy object, which would travel with its function."""
    from django.utils.functional import LazyObject, empty

    if isinstance(user, LazyObject):
        bool(user)
        wrapped = vars(user).get("_wrapped", empty)
        return user if wrapped is empty else wrapped
    return user


def _route(path: str) -> str:
    """The pattern of the path, or the path where there is none."""
    from django.urls import Resolver404, resolve

    try:
        return "/" + resolve(path).route.lstrip("^/")
    except Resolver404:
        return path


def send(method: str, path: str, sent: Sent) -> int | Response:
    """Send a request again, in the process of a call; return what counts of the answer."""
    from django.test import Client
    from django.test.client import FakePayload

    client = _ready.pop() if _ready else _client(sent)
    response = Client.request(client, **{**sent.environ, "wsgi.input": FakePayload(sent.body)})
    body = response.getvalue()  # also because a view may write while its answer is read
    return _counting(response, body) if sent.keeps_body else int(response.status_code)


async def asend(method: str, path: str, sent: Sent) -> int | Response:
    """Do what `send` does, with Django's asynchronous client."""
    from django.test import AsyncClient
    from django.test.client import FakePayload

    client: Any = AsyncClient(enforce_csrf_checks=sent.checks_csrf)
    client.defaults.update(sent.defaults)
    client.cookies.load(sent.cookies)
    response = await client.request(**sent.environ, headers=list(sent.headers), _body_file=FakePayload(sent.body))
    body = b"" if response.streaming else response.getvalue()
    return _counting(response, body) if sent.keeps_body else int(response.status_code)


def _counting(response: Any, body: bytes) -> Response:
    """What is compared of an answer if its body counts; headers and cookies say little that a user would see."""
    return Response(int(response.status_code), body, {}, {}, response.charset)


def _client(sent: Sent) -> Any:
    from django.test import Client

    client: Any = Client(enforce_csrf_checks=sent.checks_csrf)
    if sent.is_forced:
        from rest_framework.test import ForceAuthClientHandler

        client.handler = ForceAuthClientHandler(sent.checks_csrf)
        client.handler._force_user, client.handler._force_token = sent.user, sent.token
    client.defaults.update(sent.defaults)
    client.cookies.load(sent.cookies)
    client.handler.load_middleware()
    return client


_ready: list[Any] = []  # the client of this process, from before the common start


def _get_ready(method: str, path: str, sent: Sent) -> None:
    """Do what comes before the request, so that it is no step."""
    from importlib import import_module

    _ready.append(_client(sent))
    for name in _url_modules():
        import_module(name)


vars(send).update({READY: _get_ready, MODULES: _url_modules})
vars(asend).update({MODULES: _url_modules})


def of_command(command: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> Action:
    """A management command that is called by `call_command`."""
    kept = {name: value for name, value in options.items() if name not in _STREAMS}
    name = command if isinstance(command, str) else type(command).__module__.rpartition(".")[2]
    given = command if isinstance(command, str) else type(command)
    return Action(f"command {name}", f"command {' '.join([name, *map(str, args)])}", run_command, (given, args, kept))


def run_command(command: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Run a management command in the process of a call; what it prints does not matter."""
    from django.core.management import call_command

    made = command if isinstance(command, str) else command()
    call_command(made, *args, stdout=StringIO(), stderr=StringIO(), **options)


def of_function(target: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Action:
    """A named function or method, with the arguments as they are now."""
    # pickled at once: what is done with them afterwards must not show
    args, kwargs = pickling.loads(pickling.dumps((args, dict(kwargs)), f"An argument of {target}"))
    name = target.partition(":")[2]
    return Action(target, f"{name}()", target, args, kwargs)
