"""Which pairs the workers of pytest-xdist have taken: the process that runs no tests has the list, and they ask it.

They ask over a channel of the gateway by which xdist itself speaks with a worker, so that the list
is one wherever the workers are.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Key = tuple[str, ...]


class Claims:
    """The list."""

    def __init__(self) -> None:
        self._taken: set[Key] = set()
        self._turn = threading.Lock()  # each gateway has a thread that answers

    def take(self, key: Key) -> bool:
        """Take a pair; whether nobody has yet."""
        with self._turn:
            is_first = key not in self._taken
            self._taken.add(key)
        return is_first

    def channel_to(self, gateway: Any) -> Any:
        """A channel over which a worker can `take`, to be sent to it."""
        channel = gateway.newchannel()
        channel.setcallback(lambda key: channel.send(self.take(key)))
        return channel


def taking_over(channel: Any) -> Callable[[Key], bool]:
    """What takes a pair, in a worker."""

    def take(key: Key) -> bool:
        channel.send(key)
        return bool(channel.receive())

    return take
