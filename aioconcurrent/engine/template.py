"""The template: one process that starts the project once and forks a fresh wrapper for each call.

It serves any number of races at a time.  A race is a socket: the caller's
context comes in over it, then a request per wrapper with the descriptors that
the wrapper talks through; process ids and exit statuses go back.  When the
socket is closed, what is left of the race is killed.  When the engine is gone,
all is killed and the template ends.

It has one thread and no open connection whenever it forks, and runs project
code only where it starts the project or imports the modules of calls.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import random
import selectors
import signal
import socket
import sys
import threading
import warnings
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .. import _pickling
from . import lifeline
from .channel import Channel
from .frames import Frame, FrameReader, Kind
from .wrapper import Wrapper, guard_descriptors

if TYPE_CHECKING:
    from .world import Context, World

_LATER = ("cloudpickle", "tblib.pickling_support")  # what many wrappers need and the first race should not wait for
_DESCRIPTORS = 250  # in one message; the kernel's limit is 253 (unix(7), SCM_MAX_FD)


@dataclass(eq=False)
class _Race:
    """One race as the template sees it."""

    link: socket.socket
    reader: FrameReader = field(default_factory=lambda: FrameReader(greeting=False))
    descriptors: deque[int] = field(default_factory=deque)
    context: Context | None = None
    world: World | None = None
    wrappers: dict[int, int] = field(default_factory=dict)  # index -> pid, while it lives

    def tell(self, kind: Kind, value: object = None) -> None:
        with contextlib.suppress(OSError):  # the race was given up; its end of file is on the way
            self.link.sendall(Frame(kind, _pickling.dumps(value)).encode())

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
        self._pid = os.getpid()
        self._races: list[_Race] = []
        self._applied: _Race | None = None
        self._generators: list[random.Random] = []
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
        lifeline.adopt_orphans()
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _welcome(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
        except BlockingIOError:
            return
        if not message:
            self._abandon()
        race = _Race(socket.socket(fileno=descriptors[0]))
        race.link.setblocking(True)
        self._races.append(race)
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

    def _obey(self, race: _Race, frame: Frame) -> None:
        if frame.kind is Kind.CONTEXT:
            race.context = _pickling.loads(frame.payload)
            self._boot(race)
        elif frame.kind is Kind.FORK:
            self._fork(race, _pickling.loads(frame.payload))
        elif frame.kind is Kind.SIGNAL:
            index, number = _pickling.loads(frame.payload)
            if index in race.wrappers:
                _signal_group(race.wrappers[index], number)

    def _boot(self, race: _Race) -> None:
        """Start the project, once, and import what this race calls; say whether wrappers can be forked."""
        with lifeline.ending_with(self._life):
            try:
                self._apply(race)
                assert race.context is not None
                race.world = _pickling.loads(race.context.world)
                race.world.boot()
            except BaseException as error:
                race.tell(Kind.BOOT_FAILED, _pickling.dump_error(error))
                _flush()
                os._exit(1)
            _import_all(race.context.modules)
            with warnings.catch_warnings():  # once here, where it is slow, so that it is fast in the forks
                race.context.surroundings.apply_filters()
            race.world.boot()  # once more, for what the modules may have opened
        self._freeze()
        _flush()
        race.tell(*self._fitness())

    def _fitness(self) -> tuple[Kind, str]:
        threads = _count_threads()
        if threads == 1:
            return Kind.BOOTED, ""
        names = ", ".join(thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
        return Kind.UNFIT, f"starting the project left {threads - 1} thread(s) running ({names or 'not of Python'})"

    def _freeze(self) -> None:
        """Find what must differ between wrappers, then keep the collector from touching what they share."""
        self._generators += [item for item in gc.get_objects() if _is_generator(type(item))]
        gc.freeze()

    def _apply(self, race: _Race) -> None:
        if self._applied is not race and race.context is not None:
            race.context.surroundings.apply()
            self._applied = race

    def _fork(self, race: _Race, index: int) -> None:
        assert race.context is not None
        self._apply(race)
        channel, output = race.descriptors.popleft(), race.descriptors.popleft()
        _flush()
        try:
            pid = os.fork()
        except OSError as error:
            race.tell(Kind.FORKED, (index, None, str(error)))
        else:
            if pid == 0:
                self._become_wrapper(race, channel, output)
            race.wrappers[index] = pid
            race.tell(Kind.FORKED, (index, pid, ""))
        os.close(channel)
        os.close(output)

    def _become_wrapper(self, race: _Race, channel: int, output: int) -> NoReturn:
        try:
            os.setsid()
            lifeline.die_with_parent(self._pid)
            self._let_go()
            guard_descriptors(output)
            os.close(output)
            for generator in self._generators:
                generator.seed()
            gc.enable()
            assert race.context is not None
            Wrapper(Channel(channel, channel), race.context, race.world).perform()
        finally:
            os._exit(1)

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
            _signal_group(pid, signal.SIGKILL)  # while its process id cannot be anybody else's
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            for race in self._races:
                for index in [index for index, known in race.wrappers.items() if known == pid]:
                    del race.wrappers[index]
                    race.tell(Kind.EXITED, (index, status))
        if not any(race.wrappers for race in self._races):
            _kill_orphans()

    def _end(self, race: _Race) -> None:
        self._selector.unregister(race.link)
        self._races.remove(race)
        for pid in race.wrappers.values():
            _signal_group(pid, signal.SIGKILL)
        race.close()
        if not self._races:
            _import_all(_LATER)
            gc.freeze()

    def _abandon(self) -> NoReturn:
        for race in self._races:
            for pid in race.wrappers.values():
                _signal_group(pid, signal.SIGKILL)
        _kill_orphans()
        os._exit(0)


def main(life: int, control: int) -> NoReturn:
    """Leave the process that the engine started, so that no event loop of the engine's owns the template."""
    if os.fork():
        os._exit(0)
    gc.disable()
    os.setsid()
    Template(life, socket.socket(fileno=control)).serve()


def _import_all(modules: tuple[str, ...]) -> None:
    for module in modules:
        with contextlib.suppress(BaseException):  # the wrapper meets it again, and reports it for its call
            importlib.import_module(module)


def _is_generator(kind: type) -> bool:
    # by type: isinstance() would ask a lazy object for its __class__ and so evaluate it
    return issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom)


def _count_threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def _ended_child() -> int | None:
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return ended.si_pid if ended else None


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:  # a new fork may not have a group of its own yet
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _kill_orphans() -> None:
    """Kill what left its wrapper's process group and was adopted when the wrapper ended."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    with contextlib.suppress(OSError):
        for pid in children.read_text().split():
            _signal_group(int(pid), signal.SIGKILL)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
