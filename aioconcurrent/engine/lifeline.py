"""Makes processes end when the engine does, even when it is killed.

The engine holds the write end of a pipe and every process it starts the read
end.  When the engine dies, by whatever cause, the kernel closes the pipe and
signals the readers' process groups (`O_ASYNC`, fcntl(2)): no thread watches it,
and code that never returns to Python ends too.  A parent-death signal will not
do, for it follows the *thread* that started the process (prctl(2)), and an event
loop may start processes from a thread that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..base import own_clock as time

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # there is none on Windows
_FAREWELL = 2.0  # seconds for all descendants to be gone

_lifelines: weakref.WeakSet[Lifeline] = weakref.WeakSet()


def end_with(lifeline: int) -> None:
    """Let the kernel end this process group when the other end of the pipe is closed."""
    _signal_when_cut(lifeline, signal.SIGKILL, -os.getpgrp())
    if is_cut(lifeline):  # it happened before the flag was set
        os.killpg(0, signal.SIGKILL)


def signal_when_cut(lifeline: int, number: int) -> None:
    """Let the kernel send this process a signal when the other end of the pipe is closed."""
    _signal_when_cut(lifeline, number, os.getpid())
    if is_cut(lifeline):
        os.kill(os.getpid(), number)


def _signal_when_cut(lifeline: int, number: int, whom: int) -> None:
    import fcntl

    if hasattr(fcntl, "F_SETSIG"):  # Linux; elsewhere it is SIGIO, which a call could block
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, number)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, whom)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def go_on_when_told(source: int) -> None:
    """Let the kernel wake this process when something arrives there, or the end, should it have been stopped."""
    _signal_when_cut(source, signal.SIGCONT, os.getpid())


@contextmanager
def ending_with(lifeline: int) -> Iterator[None]:
    """The same, while foreign code runs in a process that watches the pipe itself at other times."""
    end_with(lifeline)
    try:
        yield
    finally:
        go_on_when_told(lifeline)


def is_cut(lifeline: int) -> bool:
    """Whether the engine is gone."""
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    return bool(poll.poll(0))


def die_with_parent(parent: int) -> None:
    """Let this process be killed when its parent is; right where the parent has one thread only."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def signal_group(pid: int, number: int = _KILL) -> None:
    """Signal a process and its group, if it has one of its own: a new fork may not have it yet."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def kill_children(spared: Collection[int | None] = ()) -> None:
    """Kill the children of this process, also those that left their group and were adopted."""
    with contextlib.suppress(OSError):
        for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
            if pid not in spared:
                signal_group(pid)


def end_children() -> None:
    """Kill the children of this process, and those that it adopts meanwhile, until there is none."""
    deadline = time.monotonic() + _FAREWELL
    while _has_children() and time.monotonic() < deadline:
        kill_children()
        time.sleep(0.001)


def _has_children() -> bool:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def _prctl(option: int, argument: int) -> None:
    if _libc is not None:
        _libc.prctl(option, argument, 0, 0, 0)


class Lifeline:
    """The engine's end of the pipe; there is none on Windows."""

    def __init__(self) -> None:
        self._ends = os.pipe() if sys.platform != "win32" else ()
        _lifelines.add(self)

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors for a child process to inherit."""
        return self._ends[:1]

    def close(self) -> None:
        """Cut it: the processes at the other end are ended by the kernel."""
        for end in self._ends:
            os.close(end)
        self._ends = ()


def _cut_in_fork() -> None:
    """A fork of this process keeps nobody alive."""
    for lifeline in list(_lifelines):
        lifeline.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cut_in_fork)
