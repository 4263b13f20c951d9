"""`breakpoint()` in a call: a prompt on the caller's terminal, while the time limits of the race are stopped.

A wrapper reads nothing and prints into a pipe, so its debugger opens the terminal of the caller's
process.  One wrapper at a time has it.  The others wait for a lock on it, which the kernel releases
if its holder dies.
"""

from __future__ import annotations

import math
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

import anyio

from ..base import pickling, points
from ..exceptions import NoTerminalError
from .protocol import Kind

if TYPE_CHECKING:
    from .protocol import Channel


def own_terminal() -> str | None:
    """The path of the terminal that this process reads from, if it does."""
    try:
        return os.ttyname(0)
    except (OSError, AttributeError):  # it reads from something else, or the system has no such paths
        return None


class Pauses:
    """Stops the time limits of a race while somebody is at a prompt in one of its calls, on the engine's side."""

    def __init__(self) -> None:
        self._limits: list[anyio.CancelScope] = []
        self._paused: set[object] = set()
        self._since = 0.0
        self._deadlines: list[float] = []

    def watch(self, limit: anyio.CancelScope) -> None:
        """Stop this limit too."""
        self._limits.append(limit)

    def pause(self, who: object) -> None:
        """Take note that a call is at a prompt, or waits for its turn to be."""
        if not self._paused:
            self._since = anyio.current_time()
            self._deadlines = [limit.deadline for limit in self._limits]
            for limit in self._limits:
                limit.deadline = math.inf
        self._paused.add(who)

    def resume(self, who: object) -> None:
        """Take note that a call goes on, or has ended; nothing happens if it was not at a prompt."""
        if who not in self._paused:
            return
        self._paused.remove(who)
        if not self._paused:
            paused = anyio.current_time() - self._since
            for limit, deadline in zip(self._limits, self._deadlines, strict=False):
                limit.deadline = min(limit.deadline, deadline + paused)


class Debugging:
    """`breakpoint()` in a wrapper.

    Args:
        call: Which call it is, for people.
        terminal: The path of the caller's terminal; None if it has none.

    Attributes:
        is_quiet: Whether `breakpoint()` does nothing.
    """

    def __init__(self, channel: Channel, call: str, terminal: str | None) -> None:
        self._channel = channel
        self._call = call
        self._path = terminal
        self.is_quiet = False
        self._terminal: tuple[TextIO, TextIO] | None = None  # to read from, and to write to
        self._has_turn = False
        self._debugger: Any = None

    def install(self) -> None:
        """Let `breakpoint()` open a prompt on the terminal."""
        sys.breakpointhook = self._break

    def leave(self) -> None:
        """Stop at nothing more: the call is over."""
        if self._debugger is not None:
            sys.settrace(None)
            self.give_up_turn()

    def take_turn(self) -> None:
        """Wait until no other wrapper has the terminal; from here on the race's clock stands still."""
        import fcntl

        if not self._has_turn:
            self._channel.send(Kind.PAUSED)
            source, sink = self._open()
            fcntl.flock(source, fcntl.LOCK_EX)
            self._has_turn = True
            number = points.number
            where = f" after step {number} of the order" if number else ""
            told = f"{self._call} (process {os.getpid()}) has stopped{where}, and so have all time limits."
            print(f"\n{told}", file=sink)

    def give_up_turn(self) -> None:
        """Let the next wrapper have the terminal."""
        import fcntl

        if self._has_turn:
            self._has_turn = False
            fcntl.flock(self._open()[0], fcntl.LOCK_UN)
            self._channel.send(Kind.RESUMED)

    def _break(self, *args: Any, **kwargs: Any) -> None:
        if self.is_quiet or os.environ.get("PYTHONBREAKPOINT") == "0":  # as in Python's own hook
            return
        if self._path is None:
            mistake = NoTerminalError()
            self._channel.send(Kind.MISTAKE, pickling.dump_error(mistake))
            raise mistake
        self.take_turn()
        self._debugger = self._debugger or _make_debugger(self, *self._open())
        self._debugger.set_trace(sys._getframe(1))

    def _open(self) -> tuple[TextIO, TextIO]:
        if self._terminal is None:
            assert self._path is not None
            self._terminal = (
                open(self._path, opener=_without_control),  # noqa: SIM115 - as long as the process
                open(self._path, "w", buffering=1, opener=_without_control),  # noqa: SIM115 - likewise
            )
        return self._terminal


def _make_debugger(debugging: Debugging, source: TextIO, sink: TextIO) -> Any:
    import pdb  # noqa: T100 - it is meant

    class Debugger(pdb.Pdb):
        """Has the terminal from its first prompt until the call goes on by itself."""

        def interaction(self, *args: Any, **kwargs: Any) -> None:
            debugging.take_turn()
            super().interaction(*args, **kwargs)

        def set_continue(self) -> None:
            super().set_continue()
            debugging.give_up_turn()

        def set_quit(self) -> None:
            super().set_quit()
            debugging.give_up_turn()

    return Debugger(stdin=source, stdout=sink, nosigint=True, skip=["aioconcurrent.*"])


def _without_control(path: str, flags: int) -> int:
    """A terminal that controls no process: it is read from outside of its session."""
    return os.open(path, flags | os.O_NOCTTY)
