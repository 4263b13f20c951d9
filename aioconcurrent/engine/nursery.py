"""Where the template's forks come from: some are made ahead, while nobody waits for them.

A spare is a fork that has run nothing yet.  It holds no connection and no
stream of a race; what it needs to become a wrapper is sent to it.  It knows the
modules that the template had when it was forked, so all spares are given up when
the template imports more.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import random
import signal
import socket
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from .. import _pickling
from . import lifeline, threads
from .channel import Channel
from .surroundings import forward_logs
from .wrapper import Wrapper, guard_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable

    from .world import Context, World

_PIECE = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a fork is to become.

    Attributes:
        pickled: The pickled context, for a fork that does not share it.
        channel: The descriptor of its stream of frames.
        output: The descriptor that it prints to.
    """

    pickled: bytes
    context: Context
    world: World
    channel: int
    output: int


class Nursery:
    """Makes forks of this process that become wrappers.

    Args:
        let_go: Undoes, in a fork, what makes this process the template.
    """

    def __init__(self, let_go: Callable[[], None]) -> None:
        self._let_go = let_go
        self._pid = os.getpid()
        self._generators: list[random.Random] = []
        self._spares: dict[int, socket.socket] = {}  # by process id
        self._modules: frozenset[str] = frozenset()

    @property
    def spares(self) -> set[int]:
        """The process ids of the spares."""
        return set(self._spares)

    def freeze(self) -> None:
        """Settle what forks share: to be called when this process has imported something."""
        self.discard()
        self._modules = frozenset(sys.modules)
        self._generators += [item for item in gc.get_objects() if _is_generator(type(item))]
        gc.freeze()  # else the collector of each fork would copy all pages that it shares

    def produce(self, assignment: Assignment) -> int:
        """Let a spare, or else a new fork, become a wrapper, and return its process id.

        Raises:
            OSError: This process cannot be forked.
        """
        while self._spares:
            pid, link = self._spares.popitem()
            with link, contextlib.suppress(OSError):  # it was killed
                sent = socket.send_fds(link, [assignment.pickled], [assignment.channel, assignment.output])
                link.sendall(assignment.pickled[sent:])
                return pid
        return self._fork(partial(self._become, assignment))

    def add_spare(self, pickled: bytes) -> None:
        """Have one more spare.

        Args:
            pickled: The context that this process has. They rehearse with it what they will do with
                theirs: memory that a fork touches is copied first, which costs more than the work itself.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            self._spares[self._fork(partial(self._wait, ours, theirs, pickled))] = ours

    def start_trial(self, run: Callable[[], None]) -> int:
        """Let a fork run this and end; return its process id.

        Raises:
            OSError: This process cannot be forked.
        """
        return self._fork(run)

    def discard(self) -> None:
        """End all spares; they find their link closed."""
        for link in self._spares.values():
            link.close()
        self._spares.clear()

    def forget(self, pid: int) -> None:
        """Take note that a process has ended, which may be a spare."""
        if link := self._spares.pop(pid, None):
            link.close()

    def _fork(self, become: Callable[[], None]) -> int:
        flush()
        threads.settle()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 3.12 warns of any other thread, and these are known
            pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                lifeline.die_with_parent(self._pid)
                self._let_go()
                for generator in self._generators:
                    generator.seed()
                gc.enable()
                become()
            finally:
                os._exit(1)
        return pid

    def _wait(self, ours: socket.socket, theirs: socket.socket, rehearsed: bytes) -> None:
        """Be a spare, until it is told what to become."""
        ours.close()
        self.discard()
        guard_descriptors(2)
        before: Context = _pickling.loads(rehearsed)
        before.surroundings.apply_filters()
        forward_logs(logging.NullHandler())
        world: World = _pickling.loads(before.world)
        world.rehearse()
        pickled, descriptors, _, _ = socket.recv_fds(theirs, _PIECE, 2)
        while piece := theirs.recv(_PIECE):
            pickled += piece
        theirs.close()
        if not pickled:
            os._exit(0)
        context: Context = _pickling.loads(pickled)
        context.surroundings.apply(before.surroundings)
        self._become(Assignment(pickled, context, _pickling.loads(context.world), *descriptors))

    def _become(self, assignment: Assignment) -> NoReturn:
        self.discard()
        guard_descriptors(assignment.output)
        os.close(assignment.output)
        channel = Channel(assignment.channel, assignment.channel)
        Wrapper(channel, assignment.context, assignment.world, self._generators, self._modules).perform()


def flush() -> None:
    """Write out what has been printed, so that no fork prints it again."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def signal_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a fork and its process group."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:  # a new fork may not have a group of its own yet
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _is_generator(kind: type) -> bool:
    # by type: isinstance() would ask a lazy object for its __class__ and so evaluate it
    return issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom)
