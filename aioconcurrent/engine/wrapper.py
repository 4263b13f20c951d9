"""What happens inside a wrapper: one call, from its arrival to the end of the process.

The wrapper imports the function, connects, prepares, reports that it is ready, and blocks
until it is told when to start.  Whatever the call does becomes data for the engine.  Only
the death of the process ends the conversation.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import importlib
import inspect
import logging
import logging.handlers
import os
import queue
import sys
import warnings
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from .._text import printable, text_of
from ..base import own_clock as time
from ..base import pickling
from ..base.calls import READY, cannot_be_made, misfit_met
from ..doubles.transfer import put_in_place, recorded
from . import fork_sessions
from .debugging import Debugging
from .learning import new_libraries, new_modules
from .protocol import Kind, Release
from .surroundings import forward_logs
from .urandom import users

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from .left_behind import Process
    from .protocol import Channel
    from .world import Context, World

_SPIN = 0.0003  # seconds before the start in which a processor of its own lets a wrapper spin instead of sleep
RAISED = "a call has raised an exception"
_SETTLE = 0.0005  # seconds after the start in which a call that is over leaves the processors to those that begin


@dataclass(frozen=True, slots=True)
class Task:
    """A call as it travels.

    Attributes:
        call: Which call it is, for people.
        name: "module:qualified.name" of a function that is imported; None for
            one that travels by value.
        pickled: The function or None, its positional arguments and its keyword
            arguments; opened when the project is there.
        prepare: The same for `options(prepare=...)`, as a pickled (name, function).
        backend: The event loop that a coroutine function runs on.
        alone: Whether a processor is free for this wrapper at the start.
        step: The number of a stepped call, which waits before each of its operations to be
            let go; None for a call that runs freely.
        moment: Where the clock of a stepped call stands that owes nothing to chance; see `chance`.
        record: Whether it tells of its operations.
        stays: Whether its process is to make another call after it, if that comes to the same.
    """

    call: str
    name: str | None
    pickled: bytes
    prepare: bytes
    backend: str
    alone: bool
    step: int | None = None
    moment: int | None = None
    record: bool = False
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How a call ended.

    Attributes:
        value: The pickled value; None if there is none.
        error: What `dump_error` made of an exception; None if there was none.
        phase: What was being done when the exception was raised.
        started: When the function was entered, in seconds of `time.monotonic`; None if it never was.
        finished: When it was left, likewise.
        drawn: How far a stepped call had drawn random numbers then; 0 where it draws real ones.
        doubles: What happened to the test's doubles, for `Doubles.absorb`.
        sent: What was sent by e-mail, pickled.
        imported: The modules of libraries that this process has and the one that it was forked from has not.
        is_severed: Whether a server has ended a session of the call.
        leftover: Why the process makes no other call; None if it waits for one.
    """

    value: bytes | None
    error: bytes | None
    phase: str
    started: float | None
    finished: float | None
    drawn: int = 0
    doubles: bytes = b""
    sent: tuple[bytes, ...] = ()
    imported: tuple[str, ...] = ()
    is_severed: bool = False
    leftover: str | None = ""


class _DismissedError(Exception):
    """The call is not to be made after all."""


class Performer:
    """One call inside its process."""

    def __init__(
        self,
        channel: Channel,
        context: Context,
        world: World | None = None,
        generators: Sequence[random.Random] = (),
        known: int | None = None,
        drawing: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Have one.

        Args:
            generators: Of random numbers, of the process that this one was forked from, if it was.
            known: The number of its modules, likewise; None for an interpreter of its own.
            drawing: The namespaces of those that have `os.urandom`.
        """
        self.channel = channel
        self._known = known
        self._generators = generators
        self._drawing = drawing
        self.context = context
        self.world = world
        self.phase = "starting"
        self.started: float | None = None
        self.finished: float | None = None
        self._drawn = 0
        self._tell_drawn: Callable[[], int] = lambda: 0
        self._settled = 0.0
        self._is_watched = False
        self._process: Process | None = None  # as it was before the call, where another is to follow
        self._is_dismissed = False
        self._doubles: list[object] = []  # the test's, that are in place
        # why it makes no call after this one, whatever the call does
        self._unfit = "they were not forked from one that has started the project" if known is None else ""
        self._has_entered = self._is_forwarding = False
        self._debugging: Debugging | None = None

    def perform(self) -> NoReturn:
        """Run the call that comes through the channel, report its result, and end this process.

        Where another is to be made after it, that may come too, or the word to end.
        """
        pid, status = os.getpid(), 1
        try:
            self.channel.greet()
            self.channel.send(Kind.STARTED, pickling.dumps(pid))
            while call := self.channel.expect(Kind.CALL):
                result = self._result(pickling.loads(call))
                if result.leftover is not None:
                    _save_coverage()  # before the result, after which the engine waits for the end only so long
                if os.getpid() == pid:  # else the function forked, and this is a copy of it that went on
                    self.channel.send(Kind.RESULT, pickling.dumps(result))
                if result.leftover is not None:
                    break
            else:
                self._leave()
                _save_coverage()
            status = 0
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass  # the engine is gone: there is nobody to tell
        finally:
            _flush()
            os._exit(status)

    def _result(self, task: Task) -> Result:
        self.phase, self.started, self.finished, self._is_dismissed = "starting", None, None, False
        result = self._outcome(task)
        leftover = self._leftover(task, result)
        if leftover is not None:
            self._leave()
        return replace(result, leftover=leftover)

    def _outcome(self, task: Task) -> Result:
        try:
            self._make_certain(task)  # what the project draws while it starts
            if not self._has_entered:
                self._enter(task)
            # what one call puts into context variables, another one does not find there
            run = contextvars.copy_context().run if task.stays else _run_here
            return self._ended(value=run(self._pickled_value, task))
        except _DismissedError:
            return self._ended()
        except BaseException as error:
            return self._ended(error=pickling.dump_error(error.with_traceback(_frames_of_call(error))))

    def _pickled_value(self, task: Task) -> bytes:
        value = self._call(task)
        self.phase = "pickling its result"
        return pickling.dumps(value, f"What {task.call} returned")

    def _leftover(self, task: Task, result: Result) -> str | None:
        """Put back what the call has changed; why no other call can be made, None if one can."""
        if self._process is None or not task.stays:
            return self._unfit
        if self._is_dismissed:
            return None
        if result.error is not None:
            return RAISED
        if result.is_severed:
            return "the server has ended a session of a call"
        try:
            problem = self._process.put_back()
            self.channel.send(Kind.OVER)  # what comes now takes a while, and is nobody's business
            return problem or self._process.change() or None
        except Exception as error:
            return f"a process could not be put back ({type(error).__name__}: {text_of(error)})"

    def _leave(self) -> None:
        if self.world is not None:
            with contextlib.suppress(Exception):  # a connection that the call broke cannot be closed in order
                self.world.leave()

    def _ended(self, value: bytes | None = None, error: bytes | None = None) -> Result:
        effects = self._effects()
        late = () if self._known is None else new_libraries(self._known)
        is_severed = self.world is not None and self.world.is_severed()
        return Result(value, error, self.phase, self.started, self.finished, self._drawn, *effects, late, is_severed)

    def _effects(self) -> tuple[bytes, tuple[bytes, ...]]:
        """What the call did to the test's doubles, and what it sent; an error in telling it is not worth the result."""
        try:
            return recorded(), self.world.sent() if self.world is not None else ()
        except BaseException as error:
            what = "What a call did to mocks, and its e-mails, cannot be told"
            text = f"{what}: {type(error).__name__}: {printable(text_of(error))}"
            warnings.showwarning(text, RuntimeWarning, __file__, 0)
            return b"", ()

    def _call(self, task: Task) -> Any:
        world = self.world
        assert world is not None
        self._debugging = Debugging(self.channel, task.call, self.context.surroundings.terminal)
        self._debugging.install()
        self.phase = "importing the function"
        function, args, kwargs = _open(task)
        self.phase = "importing prepare"
        prepare_name, prepare_function = pickling.loads(task.prepare)
        prepare = import_target(prepare_name) if prepare_name else prepare_function
        if not self._is_forwarding:
            self._forward()
        if _is_coroutine_function(function):
            self._unfit = "calls are coroutines"

            async def main() -> Any:
                self.phase = "connecting to the databases"
                await world.aconnect()
                self._start(prepare, task)
                return await self._timed_async(task.call, function, args, kwargs)

            return _run(main, task.backend)
        self.phase = "connecting to the databases"
        world.connect()
        get_ready = getattr(function, READY, None)
        self._start(prepare, task, get_ready and (lambda: get_ready(*args, **kwargs)))
        return self._timed(task.call, function, args, kwargs, task.backend)

    def _enter(self, task: Task) -> None:
        """Become as the caller's process is."""
        if self.world is None:
            self.context.surroundings.apply()
            self.phase = "starting the project"
            self.world = pickling.loads(self.context.world)
            self.world.boot()
            self.context.surroundings.apply()  # the project may have changed the environment, as Django does with TZ
        self.context.access.restrict(self.world.places)
        self.phase = "taking over the caller's settings"
        self.world.enter(self._announce, self._blame)
        if self.context.doubles:
            self._put_doubles_in_place(task)
        self._has_entered = True

    def _announce(self, session: bytes) -> None:
        fork_sessions.write(session)
        self.channel.send(Kind.SESSION, session)

    def _blame(self, mistake: bytes) -> None:
        self.channel.send(Kind.MISTAKE, mistake)

    def _put_doubles_in_place(self, task: Task) -> None:
        """After the import of the function's module: what it imports by name is the real thing, as in the caller."""
        if task.name:
            with contextlib.suppress(Exception):  # it is met again
                importlib.import_module(task.name.partition(":")[0])
        self.phase = "putting the test's mocks in place"
        self._doubles = put_in_place(self.context.doubles)

    def _forward(self) -> None:
        """From here on log records and warnings are the caller's, under the caller's filters."""
        self._is_forwarding = True
        self.context.surroundings.apply_filters()
        self.context.surroundings.apply_levels()
        forward_logs(_ForwardingHandler(self.channel))

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            with contextlib.suppress(Exception):  # a warning that cannot travel is not worth the call
                shown = message if _travels(message) else str(message)
                self.channel.send(Kind.WARNING, pickling.dumps((shown, category, filename, lineno)))

        warnings.showwarning = show

    def _start(
        self, prepare: Callable[[], object] | None, task: Task, get_ready: Callable[[], object] | None = None
    ) -> None:
        """Get ready, and block until the call is to begin."""
        if task.step is not None:
            self._start_stepped(task, prepare, get_ready)
            return
        self._get_ready(task, prepare, get_ready)
        if task.record:
            assert self.world is not None
            self._is_watched = True
            self.world.record(lambda news: self.channel.send(Kind.STEP, news))
        start = self._await_release().start
        self.phase = "running"
        self._settled = start + _SETTLE
        time.sleep(max(0.0, start - time.monotonic() - (_SPIN if task.alone else 0.0)))
        while time.monotonic() < start:
            pass

    def _start_stepped(
        self, task: Task, prepare: Callable[[], object] | None, get_ready: Callable[[], object] | None
    ) -> None:
        """Get ready only when released, as a part of the run: before, the rows of another one are put back."""
        assert self.world is not None
        if self._process is None:
            self.world.hook()
        if task.stays and not self._unfit:
            from .left_behind import Process  # others need none of it

            self._process = self._process or Process(self.world, self._doubles)
            self._process.take_note()
        is_set = prepare is None and get_ready is None
        release = self._await_release(is_set=is_set)
        self._make_certain(task, release.draw)  # what the call draws, however much was drawn before
        self._is_watched = True
        self.world.step(self._ask, self._tell, release.script)
        try:
            self._get_ready(task, prepare, get_ready)
            if not is_set:
                self.phase = "waiting for its turn"
                self.world.begin()
        except BaseException:
            self.world.release()
            raise
        self.phase = "running"

    def _get_ready(
        self, task: Task, prepare: Callable[[], object] | None, get_ready: Callable[[], object] | None
    ) -> None:
        self._set_clock(task)
        for phase, do in (("running prepare", prepare), ("getting ready", get_ready)):
            if do is not None:
                self.phase = phase
                do()

    def _await_release(self, *, is_set: bool = False) -> Release:
        """Report that all is there, and whether nothing is left to do before the call; return how to begin."""
        self.phase = "waiting for the others"
        self.channel.send(Kind.READY, b"set" if is_set else b"")
        release: Release | None = pickling.loads(self.channel.expect(Kind.START))
        if release is None:
            self._is_dismissed = True
            raise _DismissedError
        if self._debugging is not None:
            self._debugging.is_quiet = release.is_quiet
        return release

    def _make_certain(self, task: Task, draw: int = 0) -> None:
        if task.step is not None and task.moment is not None:
            from .chance import drawn, make_certain  # a race needs none of it

            make_certain(task.step, task.moment, self._generators, self._users, draw)
            self._tell_drawn = drawn

    def _users(self) -> list[dict[str, Any]]:
        """The namespaces of all modules that have `os.urandom`."""
        if self._known is None:
            return users(sys.modules.values())
        return [*self._drawing, *users(sys.modules.get(name) for name in new_modules(self._known))]

    def _set_clock(self, task: Task) -> None:
        """Let the wall clock show what the caller's does; that of a stepped call stands where it is to stand."""
        clock = self.context.clock
        if clock is not None:
            if task.moment is not None:
                clock = replace(clock, instant=task.moment, ticks=False)
            clock.apply()

    def _ask(self, question: bytes) -> bytes:
        self.channel.send(Kind.ASK, question)
        return self.channel.expect(Kind.ANSWER)

    def _tell(self, message: bytes) -> None:
        self.channel.send(Kind.ASK, message)

    def _timed(self, call: str, function: Callable[..., Any], args: Any, kwargs: Any, backend: str) -> Any:
        self.started = time.monotonic()
        try:
            return finish(function(*args, **kwargs), backend)
        except TypeError as error:
            self._look_for_misfit(error, call, function, args, kwargs)
            raise
        finally:
            self._finish()

    async def _timed_async(self, call: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        self.started = time.monotonic()
        try:
            return await function(*args, **kwargs)
        except TypeError as error:
            self._look_for_misfit(error, call, function, args, kwargs)
            raise
        finally:
            self._finish()

    def _look_for_misfit(
        self, error: TypeError, call: str, function: Callable[..., Any], args: Any, kwargs: Any
    ) -> None:
        reason = misfit_met(error, function, args, kwargs)
        if reason:
            self._blame(pickling.dump_error(cannot_be_made(call, reason)))

    def _finish(self) -> None:
        self.finished, self._drawn = time.monotonic(), self._tell_drawn()
        if self._debugging is not None:
            self._debugging.leave()
        if self._is_watched and self.world is not None:
            self.world.release()
        if self._settled > self.finished:
            time.sleep(self._settled - self.finished)


class _ForwardingHandler(logging.handlers.QueueHandler):
    """Sends each record to the engine."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(queue.SimpleQueue())  # never filled: `enqueue` sends instead
        self._channel = channel

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Keep message and arguments apart where both can travel; a traceback travels as text."""
        if not _travels(record.args):
            return super().prepare(record)  # type: ignore[no-any-return]
        record = copy.copy(record)
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if _travels(value)}
        self._channel.send(Kind.LOG, pickling.dumps(fields))


def _open(task: Task) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    function = import_target(task.name) if task.name else None
    travelled, args, kwargs = pickling.loads(task.pickled)
    return function or travelled, args, kwargs


def import_target(name: str) -> Any:
    """Return what "module:qualified.name" names.

    Raises:
        ImportError: There is no such module.
        AttributeError: It has no such attribute.
    """
    module, _, path = name.partition(":")
    return reduce(getattr, path.split("."), importlib.import_module(module))


def finish(value: Any, backend: str) -> Any:
    """Return what a call returned; where that is a coroutine, run it first."""
    return _run(lambda: value, backend) if inspect.iscoroutine(value) else value


def _is_coroutine_function(function: Any) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - not whether it is callable


def _run(main: Callable[[], Any], backend: str) -> Any:
    if backend == "trio":
        import trio

        async def entry() -> Any:
            return await main()

        return trio.run(entry)
    import asyncio

    return asyncio.run(main())


def _run_here(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _travels(value: object) -> bool:
    try:
        pickling.loads(pickling.dumps(value))
    except Exception:
        return False
    return True


def _frames_of_call(error: BaseException) -> TracebackType | None:
    """The traceback from where this module is left; all of it where nothing else was entered."""
    trace = first = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == __file__ and trace.tb_next is not None:
            first = trace.tb_next
        trace = trace.tb_next
    return first


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # the call may have closed or replaced it
            stream.flush()


def _save_coverage() -> None:
    """Write down what coverage.py has measured, if it runs here: `os._exit` runs none of its handlers."""
    kind = getattr(sys.modules.get("coverage"), "Coverage", None)
    with contextlib.suppress(Exception):  # a call is worth more than the measure of it
        if kind is not None and (running := kind.current()) is not None:
            running.stop()
            running.save()
