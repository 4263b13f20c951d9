"""Where a hunt catches actions: test clients, `call_command`, and the named functions.

Installed once in a process that hunts, and never removed.
"""

from __future__ import annotations

import functools
import inspect
import sys
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import actions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .hunter import Hunter


def catch(hunter: Hunter) -> None:
    """Let a hunter meet what tests ask for."""
    _catch_requests(hunter)
    _catch_commands(hunter)


def catch_targets(hunter: Hunter) -> None:
    """Let it meet calls of the named functions, also in modules that have imported them by name."""
    from django.conf import settings

    for pattern in (*hunter.options.target, *getattr(settings, "AIOCONCURRENT_HUNT_TARGETS", ())):
        module_name, _, names = pattern.partition(":")
        module = import_module(module_name)
        for holder, name, function in _functions(module, names or "*"):
            target = f"{module_name}:{function.__qualname__}"
            caught = _caught(hunter, target, function)
            if holder is module:
                _replace_everywhere(function, caught)
            else:
                setattr(holder, name, caught)


def _catch_requests(hunter: Hunter) -> None:
    from django.test import AsyncClient, Client
    from django.test.client import FakePayload

    request: Callable[..., Any] = Client.request
    arequest: Callable[..., Any] = AsyncClient.request

    @functools.wraps(request)
    def caught(self: Any, **environ: Any) -> Any:
        body = _read(environ, "wsgi.input", FakePayload)
        make = partial(actions.of_request, self, environ, body, keeps_body=hunter.options.bodies)
        return hunter.meet(make, partial(request, self, **environ))

    @functools.wraps(arequest)
    async def acaught(self: Any, **scope: Any) -> Any:
        body = _read(scope, "_body_file", FakePayload)
        make = partial(actions.of_async_request, self, scope, body, keeps_body=hunter.options.bodies)
        return await hunter.ameet(make, partial(arequest, self, **scope))

    Client.request, AsyncClient.request = caught, acaught  # type: ignore[method-assign]


def _read(environ: dict[str, Any], name: str, payload: Callable[[bytes], Any]) -> bytes:
    """The body of a request, which can still be read afterwards."""
    if name not in environ:
        return b""
    body: bytes = environ[name].read()
    environ[name] = payload(body)
    return body


def _catch_commands(hunter: Hunter) -> None:
    from django.core import management

    call_command = management.call_command

    @functools.wraps(call_command)
    def caught(command_name: Any, *args: Any, **options: Any) -> Any:
        if management.get_commands().get(command_name) == "django.core":  # they set up what tests run on
            return call_command(command_name, *args, **options)
        make = partial(actions.of_command, command_name, args, options)
        return hunter.meet(make, partial(call_command, command_name, *args, **options))

    management.call_command = caught
    _replace_everywhere(call_command, caught)


def _caught(hunter: Hunter, target: str, function: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def acaught(*args: Any, **kwargs: Any) -> Any:
            make = partial(actions.of_function, target, args, kwargs)
            return await hunter.ameet(make, partial(function, *args, **kwargs))

        return acaught

    @functools.wraps(function)
    def caught(*args: Any, **kwargs: Any) -> Any:
        return hunter.meet(partial(actions.of_function, target, args, kwargs), partial(function, *args, **kwargs))

    return caught


def _functions(module: Any, names: str) -> Iterator[tuple[Any, str, Any]]:
    """The functions and methods of a module whose qualified names are like a pattern, and where each is found."""
    for holder in [module, *(each for each in vars(module).values() if inspect.isclass(each))]:
        if holder is not module and holder.__module__ != module.__name__:
            continue
        for name, function in list(vars(holder).items()):
            is_own = inspect.isfunction(function) and function.__module__ == module.__name__
            if is_own and not name.startswith("_") and fnmatchcase(function.__qualname__, names):
                yield holder, name, function


def _replace_everywhere(function: object, caught: object) -> None:
    """In all modules of the project that know it by a name of their own; Django's own go on as they are."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("django", "aioconcurrent") or module is None:
            continue
        for known, value in list(getattr(module, "__dict__", {}).items()):
            if value is function:
                setattr(module, known, caught)
