"""What the engine needs of the world that calls run in, so that it does not depend on Django."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from .network import Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .surroundings import Surroundings
    from .wall_clock import WallClock


class World(Protocol):
    """The project around a call; it travels as a pickle and acts where it is unpickled."""

    def boot(self) -> None:
        """Start the project, once per interpreter; leave no connection open and no thread running."""

    def put_to_the_test(self) -> Callable[[], bool]:
        """In a fork that serves for this alone: find out whether what is done from here on could be done ahead.

        No outside session can be opened any more.

        Returns:
            Tells whether none was asked for, and nothing was done that a call could notice.
        """

    def rehearse(self) -> None:
        """Touch the memory that `connect` will touch, in a fork that waits for its call; open no session."""

    def enter(self, announce: Callable[[bytes], None], blame: Callable[[bytes], None]) -> None:
        """Become as the caller's process is; in a wrapper, before the call's arguments are unpickled.

        Args:
            announce: Takes a description of each outside session that is
                opened, for whoever has to end it if this process is killed.
            blame: Takes what `dump_error` made of an error that the test is to
                blame for, whatever the call does with it.
        """

    def connect(self) -> None:
        """Open and warm what the call will need, so that the barrier is behind it."""

    async def aconnect(self) -> None:
        """The same for a coroutine function, from inside its event loop."""

    def hook(self) -> None:
        """Have each operation on what calls share come by where it can ask, from `step` on."""

    def step(self, ask: Callable[[bytes], bytes], tell: Callable[[bytes], None], script: bytes) -> None:
        """From here on ask before each operation on what calls share, and report after it.

        Args:
            ask: Takes a message for the controller, and returns its answer when there is one.
            tell: Takes a message that is not answered.
            script: What the controller expects the call to ask for, pickled; empty if nothing is.
        """

    def begin(self) -> None:
        """Ask whether the call may begin; what was asked before only made it ready."""

    def record(self, tell: Callable[[bytes], None]) -> None:
        """From here on tell of each operation on what calls share when it begins, and when it ends."""

    def release(self) -> None:
        """Ask and tell no more; does nothing for a call that runs freely."""

    def sent(self) -> tuple[bytes, ...]:
        """What this process has sent by e-mail, pickled, as the test's process may have it."""

    def places(self) -> Iterable[tuple[str, int | None]]:
        """Hosts, or paths, and ports of what the project itself connects to: its databases and caches."""

    def is_severed(self) -> bool:
        """Whether a server has ended an outside session that this process had not closed."""

    def take_note(self) -> str:
        """Take note of what a call may change and `put_back` puts back; say why it could not, empty if it could."""

    def put_back(self) -> str:
        """Have all that as it was noted, so that another call can be made; say what could not be put back."""

    def memory(self) -> Mapping[str, object]:
        """What holds for the whole project besides the globals of its modules, by the names people know it by."""

    def leave(self) -> None:
        """Close every outside session."""

    def bury(self, sessions: Sequence[bytes]) -> None:
        """End what wrappers that were killed have left elsewhere, in the template, when the engine is gone.

        Args:
            sessions: What they announced.
        """


@dataclass(frozen=True, slots=True)
class Context:
    """What a process needs to know before it can unpickle a call of the caller's.

    Attributes:
        surroundings: Put in place first of all.
        world: A pickled `World`.
        modules: Where the functions of the calls are; imported in the template,
            so that no wrapper pays for it.
        access: What of the network calls may reach.
        clock: The caller's, if a test has moved it.
        doubles: What the test has put in place of other things, pickled; see `doubles`.
        allowed_threads: Patterns of the names and modules of threads that may run
            in the template, beside those that are known to do no harm there.
        start_timeout: How long starting the project may take, in seconds.
    """

    surroundings: Surroundings
    world: bytes
    modules: tuple[str, ...] = ()
    access: Reach = field(default_factory=Reach)
    clock: WallClock | None = None
    doubles: bytes = b""
    allowed_threads: tuple[str, ...] = ()
    start_timeout: float = 120.0
