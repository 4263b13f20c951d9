"""Orders that go wrong, in pytest: the line that replays one, and the cache, which keeps them for the next run."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

from ..results.replaying import Orders, orders_of_test
from .options import named_here

if TYPE_CHECKING:
    import pytest


def replay_command(item: pytest.Item, token: str) -> str:
    """The line that runs an order again, in the test alone."""
    in_one_process = " -n 0" if hasattr(item.config, "workerinput") else ""
    test = shlex.quote(named_here(item.config, item.nodeid))
    return f"pytest {test} --aioconcurrent-replay {shlex.quote(token)}{in_one_process}"


def kept_orders(item: pytest.Item) -> Orders:
    """The orders that went wrong in a test when it ran last."""
    wrong = _cache(item, "get", {})
    return Orders(partial(replay_command, item), {int(number): token for number, token in wrong.items()})


def keep_orders(item: pytest.Item, *, failed: bool) -> None:
    """Keep the orders of a test that failed, and forget those that do not go wrong any more."""
    orders = orders_of_test()
    if orders is None:
        return
    before = _cache(item, "get", {})
    now = {str(number): token for number, token in sorted(orders.wrong.items())}
    if not failed:
        now = {number: token for number, token in now.items() if number in before}
    if now != before:
        _cache(item, "set", now)


def _cache(item: pytest.Item, do: str, value: dict[str, str]) -> Any:
    """Read or write the orders of a test, if there is a cache."""
    cache = getattr(item.config, "cache", None)  # not with `-p no:cacheprovider`
    if cache is None:
        return value
    from hashlib import blake2b  # costly for a run without races

    name = blake2b(item.nodeid.encode(errors="backslashreplace"), digest_size=8).hexdigest()
    return getattr(cache, do)(f"aioconcurrent/orders/{name}", value)
