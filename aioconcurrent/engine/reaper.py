"""A small process above a wrapper that is a new interpreter, which ends whatever the wrapper leaves behind.

A process that leaves its group and its session can only be found by its parent or, when
that ends, by the nearest subreaper (prctl(2)).  For forks, the template is that subreaper.
Here the interpreter forks before it has imported anything, and the parent stays as the
subreaper.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from typing import NoReturn

from . import lifeline, threads

KILL = signal.SIGUSR1  # asks it to kill the wrapper: it would not survive SIGKILL itself
_HEARD = {signal.SIGCHLD, signal.SIGTERM, KILL}


def stay_above(life: int) -> None:
    """Go on in a fork, and stay as its parent until it has ended, and all that came of it.

    It does not where that cannot be: on other systems than Linux, and beside threads.

    Args:
        life: The pipe that is cut when the engine ends.
    """
    if sys.platform != "linux" or threads.count() > 1:
        lifeline.end_with(life)
        return
    lifeline.adopt_orphans()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    parent, pid = os.getpid(), os.fork()
    if pid:
        _serve(pid, life)
    os.setsid()
    lifeline.die_with_parent(parent)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(life)


def _serve(wrapper: int, life: int) -> NoReturn:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # or they would not end when the wrapper does
        os.dup2(null, stream)
    lifeline.signal_when_cut(life, KILL)
    while (status := _ended(wrapper)) is None:
        number = signal.sigwait(_HEARD)
        if number != signal.SIGCHLD:
            lifeline.signal_group(wrapper, signal.SIGTERM if number == signal.SIGTERM else signal.SIGKILL)
    lifeline.end_children()
    _end_like(status)


def _ended(wrapper: int) -> int | None:
    """The wrapper's status, when it has ended; nothing else of its group is alive then."""
    if os.waitid(os.P_PID, wrapper, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    lifeline.signal_group(wrapper)  # while its process id cannot be anybody else's
    return os.waitstatus_to_exitcode(os.waitpid(wrapper, 0)[1])


def _end_like(status: int) -> NoReturn:
    """End as the wrapper has, for that is what the engine is told."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # there is one of the wrapper, if any is wanted
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)
