"""How doubles of the network are carried into calls: responses, respx and requests-mock.

Each records the requests that were made, and so do the copies in the calls.  None of these
libraries is imported here: a library that the test has not imported replaces nothing.
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


Starter: TypeAlias = "RespxRouter | RequestsMocker"


def starters() -> list[Starter]:
    """What is started anew in a call; the rest are patches like others."""
    return [*_respx_routers(), *_requests_mockers()]


def belongs_to_starter(patcher: Any) -> bool:
    """Whether this patcher of `unittest.mock` is started along with a starter."""
    mocks = sys.modules.get("respx.mocks")
    return mocks is not None and any(patcher in mocker._patches for mocker in mocks.Mocker.registry.values())


def tells(obj: Any) -> bool:
    """Whether calls tell which requests this was asked for."""
    return any(isinstance(obj, kind) for kind in _kinds())


def reduce(obj: Any) -> Any:
    """What pickle needs to make a copy; NotImplemented for what is none of these, or is pickled as it is."""
    responses, respx = sys.modules.get("responses"), sys.modules.get("respx.models")
    requests_mock = sys.modules.get("requests_mock.adapter")
    if responses is not None and type(obj) is responses.RequestsMock:
        left_out = {"_thread_lock", "_patcher", "_calls"}
        return responses.RequestsMock, (), {name: vars(obj)[name] for name in vars(obj).keys() - left_out}
    if any(module is not None and type(obj) is module.CallList for module in (responses, respx)):
        return type(obj), ()
    if respx is not None and isinstance(obj, respx.Route | sys.modules["respx.router"].Router):
        return object.__new__, (type(obj),), vars(obj) | {"_snapshots": []}
    if respx is not None and isinstance(obj, respx.httpx.Response):
        return _respond, (obj.status_code, obj.headers.raw, obj.content, obj.extensions)
    if requests_mock is not None and isinstance(obj, requests_mock._RequestHistoryTracker):
        return object.__new__, (type(obj),), vars(obj) | {"request_history": []}
    if requests_mock is not None and obj is requests_mock.ANY:
        return getattr, (requests_mock, "ANY")
    return NotImplemented


def _respond(status: int, headers: Any, content: bytes, extensions: Any) -> Any:
    """A response of httpx that can be answered with; one that was pickled cannot be read again."""
    import httpx

    return httpx.Response(status, headers=headers, content=content, extensions=extensions)


def routes(double: Any) -> list[Any]:
    """What may answer, in the order in which it was added; some libraries forget one that has been used up."""
    if hasattr(double, "registered"):
        return list(double.registered())
    return list(double.routes if hasattr(double, "routes") else double._matchers)


def recorded(double: Any, routes: Sequence[Any]) -> list[tuple[int | None, Any]]:
    """The requests that were made, each with the number of the route that answered it."""
    found = []
    for each in made(double):
        numbers = (number for number, route in enumerate(routes) if any(each is known for known in made(route)))
        found.append((next(numbers, None), _without_references(each)))
    return found


def absorb(double: Any, routes: Sequence[Any], requests: Iterable[tuple[int | None, Any]]) -> None:
    """Let this know of the requests as if they had been made here."""
    for number, each in requests:
        for holder in (double, *([] if number is None else [routes[number]])):
            made(holder).append(each)


def _kinds() -> Iterator[type]:
    for module, name in (
        ("responses", "RequestsMock"),
        ("respx.router", "Router"),
        ("requests_mock.adapter", "Adapter"),
    ):
        if module in sys.modules:
            yield getattr(sys.modules[module], name)


def made(holder: Any) -> list[Any]:
    """The list of requests of a double, or of one of its routes."""
    if hasattr(holder, "request_history"):
        return holder.request_history  # type: ignore[no-any-return]
    calls = holder.calls
    return calls if isinstance(calls, list) else calls._calls


def _without_references(made: Any) -> Any:
    if hasattr(made, "_matcher"):
        made._matcher = None
    return made


@dataclass(frozen=True)
class RespxRouter:
    """A router that answers."""

    router: Any

    def start(self) -> None:
        self.router.start()

    def __str__(self) -> str:
        return "respx"


def _respx_routers() -> Iterator[RespxRouter]:
    mocks = sys.modules.get("respx.mocks")
    for mocker in mocks.Mocker.registry.values() if mocks is not None else ():
        yield from map(RespxRouter, mocker.routers)


@dataclass(frozen=True)
class RequestsMocker:
    """A mocker of requests-mock for all sessions."""

    adapter: Any
    settings: dict[str, Any]

    def start(self) -> None:
        from requests_mock import Mocker

        Mocker(adapter=self.adapter, **self.settings).start()

    def __str__(self) -> str:
        return "requests-mock"


def _requests_mockers() -> list[RequestsMocker]:
    """The mockers that are started, in the order in which they were; each keeps what it has replaced."""
    module = sys.modules.get("requests_mock.mocker")
    found: list[RequestsMocker] = []
    if module is not None:
        send = module.requests.Session.send
        while send is not module._original_send:
            mocker = inspect.getclosurevars(send).nonlocals.get("self")
            if not isinstance(mocker, module.MockerCore):
                break
            names = ("real_http", "case_sensitive")
            settings = {name: getattr(mocker, name) for name in names} | {"json_encoder": mocker._json_encoder}
            found.insert(0, RequestsMocker(mocker._adapter, settings))
            send = mocker._last_send
    return found
