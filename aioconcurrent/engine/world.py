"""What the engine asks of the world that calls run in, so that it need not know Django."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .surroundings import Surroundings


class World(Protocol):
    """The project around a call; it travels as a pickle and acts where it is unpickled."""

    def boot(self) -> None:
        """Start the project, once per interpreter; leave no connection open and no thread running."""

    def rehearse(self) -> None:
        """Touch the memory that `connect` will touch, in a fork that waits for its call; open no session."""

    def enter(self, announce: Callable[[bytes], None]) -> None:
        """Become as the caller's process is; in a wrapper, before the call's arguments are unpickled.

        Args:
            announce: Takes a description of each outside session that is
                opened, for whoever has to end it if this process is killed.
        """

    def connect(self) -> None:
        """Open and warm what the call will need, so that the barrier is behind it."""

    async def aconnect(self) -> None:
        """The same for a coroutine function, from inside its event loop."""

    def step(self, ask: Callable[[bytes], bytes]) -> None:
        """From here on ask before each operation on what calls share, and report after it.

        Args:
            ask: Takes a message for the controller, and returns its answer when there is one.
        """

    def begin(self) -> None:
        """Ask whether the call may begin; what was asked before only made it ready."""

    def record(self, tell: Callable[[bytes], None]) -> None:
        """From here on tell of each operation on what calls share when it begins, and when it ends."""

    def release(self) -> None:
        """Ask and tell no more; does nothing for a call that runs freely."""

    def leave(self) -> None:
        """Close every outside session."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a process needs to know before it can unpickle a call of the caller's.

    Attributes:
        surroundings: Put in place first of all.
        world: A pickled `World`.
        modules: Where the functions of the calls are; imported in the template,
            so that no wrapper pays for it.
    """

    surroundings: Surroundings
    world: bytes
    modules: tuple[str, ...] = ()
