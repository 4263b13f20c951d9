"""The template: one process that starts the project once and forks a fresh wrapper for each call.

It serves any number of races at a time.  A race is a socket.  The caller's context comes in over
it, then a request for each wrapper with the descriptors through which the wrapper talks; process
ids and exit statuses go back.  When the socket is closed, what is left of the race is killed.  When
the engine is gone, everything is killed and the template ends.

When it forks, it has no open connection, and no threads except its own and those that a fork
survives.  It runs project code only to start the project and to import the modules of calls.

Some forks are made ahead, while nobody waits for them.  Such a spare has run nothing yet, and holds
no connection and no stream of a race.  What it needs to become a wrapper is sent to it.  It has the
modules that the template had when it was forked, so all spares are given up when the template
imports more.

Every call would import late modules again.  So the template learns from calls which modules these
are, tries in a fork whether importing them leaves anything behind, and then imports them ahead of
the calls that follow.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import logging
import os
import random
import selectors
import signal
import socket
import sys
import warnings
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from operator import is_not
from typing import TYPE_CHECKING, NoReturn

from ..base import pickling
from . import fork_sessions, huge_pages, lifeline, threads, urandom
from .learning import Learning
from .protocol import Channel, Frame, FrameReader, Kind
from .surroundings import forward_logs, guard_descriptors
from .wrapper import Performer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .surroundings import Surroundings
    from .world import Context, World


_PIECE = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Role:
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
        self._modules = 0  # that forks have from this process
        self._drawing: list[dict[str, object]] = []  # the namespaces of those that have `os.urandom`

    @property
    def spares(self) -> set[int]:
        """The process ids of the spares."""
        return set(self._spares)

    def freeze(self) -> None:
        """Settle what forks share: to be called when this process has imported something."""
        self.discard()
        self._modules = len(sys.modules)
        self._drawing = urandom.users(sys.modules.values())
        self._generators += [item for item in gc.get_objects() if _is_generator(type(item))]
        gc.freeze()  # else the collector of each fork would copy all pages that it shares

    def produce(self, role: Role) -> int:
        """Let a spare, or else a new fork, become a wrapper, and return its process id.

        Raises:
            OSError: This process cannot be forked.
        """
        while self._spares:
            pid, link = self._spares.popitem()
            with link, contextlib.suppress(OSError):  # it was killed
                sent = socket.send_fds(link, [role.pickled], [role.channel, role.output])
                link.sendall(role.pickled[sent:])
                return pid
        return self._fork(partial(self._become, role))

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
        before: Context = pickling.loads(rehearsed)
        before.surroundings.apply_filters()
        forward_logs(logging.NullHandler())
        world: World = pickling.loads(before.world)
        world.rehearse()
        pickled, descriptors, _, _ = socket.recv_fds(theirs, _PIECE, 2)
        while piece := theirs.recv(_PIECE):
            pickled += piece
        theirs.close()
        if not pickled:
            os._exit(0)
        context: Context = pickling.loads(pickled)
        context.surroundings.apply(before.surroundings)
        self._become(Role(pickled, context, pickling.loads(context.world), *descriptors))

    def _become(self, role: Role) -> NoReturn:
        self.discard()
        guard_descriptors(role.output)
        os.close(role.output)
        channel = Channel(role.channel, role.channel)
        known = min(self._modules, len(sys.modules))  # a spare may have dropped another caller's
        wrapper = Performer(channel, role.context, role.world, self._generators, known, self._drawing)
        wrapper.perform()


def flush() -> None:
    """Write out what has been printed, so that no fork prints it again."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


def _is_generator(kind: type) -> bool:
    # by type: isinstance() would ask a lazy object for its __class__ and so evaluate it
    return issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom)


_LATER = ("cloudpickle", "tblib.pickling_support")  # what many wrappers need and the first race should not wait for
_DESCRIPTORS = 250  # in one message; the kernel's limit is 253 (unix(7), SCM_MAX_FD)
_SPARES = 8  # at most
_LATE = 0.5  # of its time is over when the start of a project tells where it is
_FUNERAL = 15  # seconds for what they have left on servers


@dataclass(eq=False)
class _Race:
    """One race as the template sees it."""

    link: socket.socket
    reader: FrameReader = field(default_factory=lambda: FrameReader(greeting=False))
    descriptors: deque[int] = field(default_factory=deque)
    pickled: bytes = b""
    context: Context | None = None
    world: World | None = None
    wrappers: dict[int, int] = field(default_factory=dict)  # index -> pid, while it lives
    _news: bytearray = field(default_factory=bytearray)

    def boot(self, pickled: bytes, applied: Surroundings | None) -> None:
        """`applied` are the surroundings that this process has, unless it has not started the project yet."""
        self.pickled = pickled
        self.context = context = pickling.loads(pickled)
        if applied is None:
            faulthandler.dump_traceback_later(context.start_timeout * _LATE)
        context.surroundings.apply(applied)
        with threads.quiet():
            self.world = world = pickling.loads(context.world)
            world.boot()
            is_changed = _import_all(context.modules) or applied is None
            if is_changed:
                world.boot()  # once more, for the connections that the modules may have opened
        if is_changed:
            context.surroundings.apply()  # the project may have changed the environment, as Django does with TZ

    def tell(self, kind: Kind, value: object = None) -> None:
        self._news += Frame(kind, pickling.dumps(value)).encode()

    def send_news(self) -> None:
        """Send all that there is to tell at once: the engine shares the processors with the calls."""
        news, self._news = self._news, bytearray()
        with contextlib.suppress(OSError):  # the race was given up; its end of file is on the way
            self.link.sendall(news)

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.link.close()


class Template:
    """The process's state; `serve` runs until the engine is gone.

    Args:
        life: The pipe that is cut when the engine ends.
        control: Where the sockets of new races arrive.
    """

    def __init__(self, life: int, control: socket.socket) -> None:
        self._life = life
        self._control = control
        self._races: list[_Race] = []
        self._applied: _Race | None = None
        self._nursery = Nursery(self._let_go)
        self._largest = 0  # number of wrappers of a race
        self._learning = Learning(self._nursery.start_trial, self._nursery.freeze)
        self._is_resting = False  # with something left to do ahead
        self._pieces: Iterator[range] = iter(())  # of memory to put into large pages
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()

    def serve(self) -> NoReturn:
        for source, handler in ((self._control, self._welcome), (self._woken, self._reap)):
            source.setblocking(False)
            self._selector.register(source, selectors.EVENT_READ, handler)
        self._selector.register(self._life, selectors.EVENT_READ, self._abandon)
        self._wake.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for told in (self._life, self._control.fileno()):
            lifeline.go_on_when_told(told)
        lifeline.adopt_orphans()
        while True:
            events = self._selector.select(0 if self._is_resting else None)
            for key, _ in events:
                key.data()
            if not events:
                self._rest()

    def _welcome(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        except BlockingIOError:
            return
        if not message:
            self._abandon()
        race = _Race(socket.socket(fileno=descriptors[0]))
        race.link.setblocking(True)
        lifeline.go_on_when_told(race.link.fileno())
        self._races.append(race)
        self._is_resting = False
        self._selector.register(race.link, selectors.EVENT_READ, lambda: self._listen(race))

    def _listen(self, race: _Race) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(race.link, 65536, _DESCRIPTORS)
        except ConnectionResetError:
            data, descriptors = b"", []
        race.descriptors.extend(descriptors)
        if not data:
            self._end(race)
            return
        race.reader.feed(data)
        while (frame := race.reader.next_frame()) is not None:
            self._obey(race, frame)
        race.send_news()

    def _obey(self, race: _Race, frame: Frame) -> None:
        if frame.kind is Kind.CONTEXT:
            self._boot(race, frame.payload)
        elif frame.kind is Kind.FORK:
            self._fork(race, pickling.loads(frame.payload))
        elif frame.kind is Kind.SIGNAL:
            index, number = pickling.loads(frame.payload)
            if index in race.wrappers:
                lifeline.signal_group(race.wrappers[index], number)
        elif frame.kind is Kind.LEARN:
            self._learning.want(pickling.loads(frame.payload))
            self._try_imports()

    def _boot(self, race: _Race, pickled: bytes) -> None:
        """Start the project, once, and import what this race calls; say whether wrappers can be forked."""
        known = list(sys.modules.values())
        with lifeline.ending_with(self._life), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the caller has seen the warnings of these modules
            try:
                race.boot(pickled, self._surroundings())
                faulthandler.cancel_dump_traceback_later()
            except BaseException as error:
                race.tell(Kind.BOOT_FAILED, pickling.dump_error(error))
                race.send_news()
                flush()
                os._exit(1)
        self._applied = race
        if len(sys.modules) != len(known) or any(map(is_not, sys.modules.values(), known)):
            self._nursery.freeze()
        flush()
        assert race.context is not None
        race.tell(*_fitness(race.context.allowed_threads))

    def _fork(self, race: _Race, index: int) -> None:
        assert race.context is not None
        assert race.world is not None
        if self._applied is not race:
            race.context.surroundings.apply(self._surroundings())
            self._applied = race
        role = Role(race.pickled, race.context, race.world, race.descriptors.popleft(), race.descriptors.popleft())
        try:
            race.wrappers[index] = self._nursery.produce(role)
            race.tell(Kind.FORKED, (index, race.wrappers[index], ""))
        except OSError as error:
            race.tell(Kind.FORKED, (index, None, str(error)))
        os.close(role.channel)
        os.close(role.output)
        self._largest = max(self._largest, len(race.wrappers))

    def _try_imports(self) -> None:
        """Try in a fork to import what calls have imported late; hear of it as soon as it is done."""
        if self._applied is not None and self._applied.world is not None:
            results = self._learning.start_trial(self._applied.world)
            if results is not None:
                self._selector.register(results, selectors.EVENT_READ, lambda: self._learn(results))

    def _learn(self, results: int) -> None:
        self._selector.unregister(results)
        if self._learning.end_trial(results) and self._applied is not None and self._applied.context is not None:
            self._applied.context.surroundings.apply()  # a module may have changed them while it was imported
            flush()
        self._try_imports()

    def _surroundings(self) -> Surroundings | None:
        """Those that this process has."""
        return self._applied.context.surroundings if self._applied and self._applied.context else None

    def _let_go(self) -> None:
        """Undo in a fork what makes this process the template."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        for source in (self._control, self._woken, self._wake):
            source.close()
        os.close(self._life)
        for race in self._races:
            race.close()

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        while (pid := _ended_child()) is not None:
            lifeline.signal_group(pid)  # while its process id cannot be anybody else's
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            self._nursery.forget(pid)
            for race in self._races:
                for index in [index for index, known in race.wrappers.items() if known == pid]:
                    del race.wrappers[index]
                    race.tell(Kind.EXITED, (index, status))
        if not any(race.wrappers for race in self._races):
            lifeline.kill_children(spared={*self._nursery.spares, self._learning.pid})
        for race in self._races:
            race.send_news()

    def _end(self, race: _Race) -> None:
        self._selector.unregister(race.link)
        self._races.remove(race)
        for pid in race.wrappers.values():
            lifeline.signal_group(pid)
        race.close()
        if not race.wrappers and not self._races:
            fork_sessions.forget()
        self._is_resting = not self._races and self._applied is not None
        if not self._nursery.spares:  # else they would keep the memory as it was
            self._pieces = huge_pages.pieces()  # those that were written to while forks shared them are small again

    def _rest(self) -> None:
        """Do ahead, while nobody waits, some of what the next race would have to wait for."""
        if _import_all(_LATER):
            self._nursery.freeze()
        elif (piece := next(self._pieces, None)) is not None:
            huge_pages.enlarge(piece)
        elif self._applied is not None and len(self._nursery.spares) < min(self._largest, _SPARES):
            try:
                self._nursery.add_spare(self._applied.pickled)
            except OSError:  # no more processes: the next race will tell
                self._is_resting = False
        else:
            self._is_resting = False

    def _abandon(self) -> NoReturn:
        for race in self._races:
            for pid in race.wrappers.values():
                lifeline.signal_group(pid)
        self._nursery.discard()
        lifeline.end_children()  # what a wrapper leaves is adopted when it is dead
        signal.alarm(_FUNERAL)
        with contextlib.suppress(BaseException):
            if self._applied is not None and self._applied.world is not None:
                self._applied.world.bury(fork_sessions.read())
        os._exit(0)


def main(life: int, control: int) -> NoReturn:
    """Leave the process that the engine started, so that no event loop of the engine's owns the template."""
    if os.fork():
        os._exit(0)
    gc.disable()
    os.setsid()
    fork_sessions.open_file()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # or nobody reads it where this is killed
    Template(life, socket.socket(fileno=control)).serve()


def _fitness(allowed: Sequence[str]) -> tuple[Kind, tuple[str, str] | None]:
    """Whether this process can be forked; why it cannot, and what to do about it."""
    found = threads.dangerous(allowed)
    if not found:
        return Kind.BOOTED, None
    number = "1 thread" if len(found) == 1 else f"{len(found)} threads"
    return Kind.UNFIT, (f"starting the project left {number} running: {', '.join(found)}", threads.advice())


def _import_all(modules: tuple[str, ...]) -> bool:
    """Import what is not imported yet; return whether there was any."""
    new = [module for module in modules if module not in sys.modules]
    for module in new:
        with contextlib.suppress(BaseException):  # the wrapper meets it again, and reports it for its call
            importlib.import_module(module)
    return bool(new)


def _ended_child() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None
