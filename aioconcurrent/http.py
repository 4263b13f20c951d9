"""Requests to the project's own views, as calls of a race.

    outcomes = call_concurrently(5, request, "post", "/buy/", {"show": 7}, user=user)
    assert [response.status_code for response in outcomes.values].count(201) == 1

Each wrapper makes a test client of its own, and logs in before the common start;
no server is started.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base.calls import METHODS, MODULES, READY

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Response", "request"]

_CLIENT = "django.test.Client"
_API_CLIENT = "rest_framework.test.APIClient"
_ready: list[Any] = []  # the client of this process, from before the common start


@dataclass(frozen=True, slots=True)
class Response:
    """What a view answered, as returned from the process of the call.

    Attributes:
        status_code: The status, such as 201.
        content: The whole body, also of a streaming response.
        headers: The headers, by their names as the view wrote them.
        cookies: The cookies that were set, by name.
        charset: The charset of the body.
    """

    status_code: int
    content: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    cookies: dict[str, str] = field(repr=False)
    charset: str = field(default="utf-8", repr=False)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(self.charset)

    def json(self) -> Any:
        """The body, parsed as JSON.

        Raises:
            json.JSONDecodeError: The body is not JSON.
        """
        return json.loads(self.content)


def request(
    method: str,
    path: str,
    data: Any = None,
    *,
    user: Any = None,
    cookies: Mapping[str, Any] | None = None,
    client: str | None = None,
    raise_request_exception: bool = True,
    **options: Any,
) -> Response:
    """Make one request with a new test client; meant as the function of a call.

    Args:
        method: The HTTP method, in upper or lower case.
        path: The path of the view, such as "/buy/".
        data: As for the client's method of that name.
        user: The user that `force_login` logs in, or the primary key of one.  Each call has
            a session of its own.
        cookies: Cookies that the client has from the beginning, such as those of a client
            that the test has logged in; the calls then share its session.
        client: The dotted name of the client's class; by default Django's, or that of Django
            REST framework if `format` is among the options.
        raise_request_exception: Whether an exception in the view is raised by the call, or
            becomes a response with status 500.
        **options: As for the client's method: `content_type`, `format`, `follow`, `headers`...

    Raises:
        ValueError: There is no such method.
    """
    if method.lower() not in METHODS:
        raise ValueError(f"The method of a request is one of {', '.join(METHODS)}, not {method!r}.")
    if not _ready:
        _get_ready(method, path, user=user, cookies=cookies, client=client, **options)
    made = _ready.pop()
    made.raise_request_exception = raise_request_exception
    given = {} if data is None else {"data": data}
    return _response(getattr(made, method.lower())(path, **given, **options))


def _get_ready(
    *_: object, user: Any = None, cookies: Mapping[str, Any] | None = None, client: str | None = None, **options: Any
) -> None:
    """Do what comes before the request, so that the barrier is behind it."""
    from django.utils.module_loading import import_string

    made = import_string(client or (_API_CLIENT if "format" in options else _CLIENT))()
    made.handler.load_middleware()
    for name in _modules():
        import_module(name)
    if user is not None:
        made.force_login(_user(user))
    made.cookies.load(dict(cookies or {}))
    _ready.append(made)


def _modules() -> tuple[str, ...]:
    """What the views are imported with, once for all calls."""
    from django.conf import settings

    name = getattr(settings, "ROOT_URLCONF", None)
    return (name,) if isinstance(name, str) else ()


vars(request).update({READY: _get_ready, MODULES: _modules})


def _user(user: Any) -> Any:
    from django.contrib.auth import get_user_model

    model: Any = get_user_model()
    return user if isinstance(user, model) else model._default_manager.get(pk=user)


def _response(response: Any) -> Response:
    return Response(
        status_code=response.status_code,
        content=response.getvalue(),
        headers=dict(response.items()),
        cookies={name: morsel.value for name, morsel in response.cookies.items()},
        charset=response.charset,
    )
