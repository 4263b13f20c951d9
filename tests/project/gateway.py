"""What no test may really do, and calls that do it."""

from __future__ import annotations

import threading
from functools import wraps
from typing import Any

CURRENCY = "EUR"
LIMITS = {"EUR": 100}


class RealThingError(Exception):
    """The real thing was used."""


def charge(amount: int, *, card: str = "") -> str:
    raise RealThingError(f"charged {amount}")


async def acharge(amount: int) -> str:
    raise RealThingError(f"charged {amount}")


class Client:
    """A client as SDKs have them."""

    def __init__(self, key: str = "") -> None:
        self.key = key

    def send(self, text: str) -> str:
        raise RealThingError(text)

    @staticmethod
    def version() -> str:
        return "real"


client = Client("live")
clients = {"main": Client("live")}
lock = threading.Lock()


def pay(amount: int = 10) -> Any:
    return charge(amount, card="4242")


async def apay(amount: int = 10) -> Any:
    return await acharge(amount)


def send(text: str = "hello") -> Any:
    return Client("test").send(text)


def send_by_singleton(text: str = "hello") -> Any:
    return client.send(text)


def send_by_registry(text: str = "hello") -> Any:
    return clients["main"].send(text)


def version() -> str:
    return Client.version()


def currency() -> str:
    return str(globals().get("CURRENCY", "deleted"))


def pay_and_lock() -> Any:
    return charge(threading.Lock())  # type: ignore[arg-type]


def pay_twice() -> list[Any]:
    return [charge(1), charge(2)]


def pay_and_confirm(amount: int = 10) -> None:
    paid: Any = charge(amount)
    paid.confirm()


def use(thing: Any) -> Any:
    return thing(1)


def context() -> Any:
    with client as opened:  # type: ignore[attr-defined]
        return opened.send("in a block"), len(client), client["a"]  # type: ignore[arg-type, index]


def counted(function: Any) -> Any:
    @wraps(function)
    def replaced(*args: Any, **kwargs: Any) -> tuple[str, Any]:
        return "counted", args

    return replaced


def limits() -> dict[str, int]:
    return LIMITS
