"""Runs the core in an event loop and a thread of its own, while the caller waits, so that nothing interrupts the core.

A shield of anyio keeps off anyio's cancellation only.  `task.cancel()`, `asyncio.timeout`, a
loop that is left because of Ctrl-C, and exceptions of signal handlers get through it, at any
line of a clean-up.  None of these reaches another thread.  So only the caller is interrupted.
It asks the core to finish, waits for that however often it is interrupted again, and then
lets the interruption continue.

What has to be done in the caller's thread, such as asking its rule, the core passes to it as
an errand, and waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import threading
import warnings
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
import anyio.lowlevel

from .._text import printable, text_of
from ..base.loops import current_backend, from_other_threads
from ..base.own_clock import ticking_loop
from ..exceptions import AioconcurrentError
from ..results.unread import is_between

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

__tracebackhide__ = True  # pytest shows the test, not this
T = TypeVar("T")

on_errand: ContextVar[bool] = ContextVar("aioconcurrent: whether the caller is on an errand of a core", default=False)


class _Errand:
    """A function that the caller runs for the core."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.function, self.args = function, args
        self.value: Any = None
        self.error: Exception | None = None
        self.is_over = anyio.Event()  # done, or left by a caller that was interrupted in it


class _Core(Generic[T]):
    """A coroutine function on its way in a loop of its own.

    Args:
        function: Gets the arguments, and then the function by which it hands errands to the caller.
        backend: Of its loop.
        ring: Wakes the caller, from any thread: there are errands, or it is over.

    Attributes:
        errands: Those that the caller has not taken up yet.
        is_over: Whether nothing of it goes on any more.
    """

    def __init__(
        self,
        function: Callable[..., Coroutine[Any, Any, T]],
        args: tuple[Any, ...],
        backend: str,
        ring: Callable[[], Any],
    ) -> None:
        self._function, self._args, self._backend, self._ring = function, args, backend, ring
        self.errands: deque[_Errand] = deque()
        self.is_over = False
        self._handed: list[_Errand] = []
        self._is_cancelled = False
        self._is_abandoned = False
        self._lock = threading.Lock()  # for the moments in which it begins and ends
        self._in_loop: Callable[[Callable[[], object]], object] | None = None  # calls a function in it, from any thread
        self._results: list[T] = []
        self._error: BaseException | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run,), name="aioconcurrent")

    def start(self) -> None:
        """Let it begin; once is enough."""
        if self._thread.ident is None:
            self._thread.start()

    def cancel(self) -> None:
        """Let it come to its end, and give up the errand that the caller is on; may be called again and again."""
        with self._lock:
            self._is_cancelled = True
            if self._in_loop is None:
                self.is_over = True  # it has not begun, and never will
            else:
                with suppress(RuntimeError):  # its loop has just ended
                    self._in_loop(self._give_up)

    def abandon(self) -> None:
        """Cancel it, do no errands any more, and block until it is over, also while that is interrupted."""
        interruption: BaseException | None = None
        self._is_abandoned = True
        while not self.is_over or self._thread.is_alive():
            try:
                self.cancel()
                self.join()
            except BaseException as raised:
                interruption = raised
        if interruption is not None:
            raise interruption

    def join(self) -> None:
        """Block until its thread has ended."""
        if self._thread.is_alive():
            self._thread.join()

    def result(self, interruption: BaseException | None) -> T:
        """What it came to; raises what it has raised, or by what the caller was interrupted."""
        error, self._error = self._error, None
        try:
            if interruption is not None:
                if error is not None:  # rows that could not be put back, or the like
                    told = f"{type(error).__name__}: {printable(text_of(error))}"
                    warnings.showwarning(f"After an interruption: {told}", RuntimeWarning, __file__, 0)
                raise interruption
            if isinstance(error, AioconcurrentError):  # its text says what to do, and our frames do not
                raise error.with_traceback(_frames_of_others(error.__traceback__))
            if error is not None:
                raise error
            return self._results.pop()  # and nobody else holds it
        finally:
            del error, interruption  # or they would hold this frame, which holds them

    def _run(self) -> None:
        if sniffio := sys.modules.get("sniffio"):
            sniffio.current_async_library_cvar.set(None)  # the caller's loop is none of this thread
        try:
            anyio.run(self._main, backend=self._backend)
        except BaseException as error:
            self._error = error
        finally:
            self.is_over = True
            self._ring()

    async def _main(self) -> None:
        self._scope = anyio.CancelScope()
        with self._lock:
            if self._is_cancelled:
                return
            self._in_loop = from_other_threads()
        with self._scope:
            try:
                self._results.append(await self._function(*self._args, self._hand_to_caller))
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:
                self._error = error

    def _give_up(self) -> None:
        self._scope.cancel()
        for errand in self._handed:
            errand.is_over.set()

    async def _hand_to_caller(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function, plain or async, where the caller is; None if the caller was interrupted in it."""
        errand = _Errand(function, args)
        self._handed.append(errand)
        self.errands.append(errand)
        if self._is_abandoned:
            errand.is_over.set()
        self._ring()
        with anyio.CancelScope(shield=True):  # the caller is on it for as long as it takes
            await errand.is_over.wait()
        self._handed.remove(errand)
        await anyio.lowlevel.checkpoint_if_cancelled()
        if errand.error is not None:
            raise errand.error
        return errand.value

    @contextmanager
    def errand(self) -> Iterator[_Errand]:
        """Take up the next errand, and let the core have what came of it, unless the caller was interrupted."""
        errand = self.errands.popleft()
        begun = on_errand.set(True)
        try:
            yield errand
        except Exception as error:
            errand.error = error
        finally:
            on_errand.reset(begun)
        assert self._in_loop is not None
        with suppress(RuntimeError):  # its loop has ended
            self._in_loop(errand.is_over.set)


def _frames_of_others(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of this package, and of what it runs in."""
    kept: TracebackType | None = None
    for each in reversed([*_levels(trace)]):
        if not is_between(each.tb_frame):
            kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return kept


def _levels(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def run_blocking(function: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Block while a coroutine function runs; it gets the arguments and a function that runs others in this thread."""
    bell: SimpleQueue[None] = SimpleQueue()
    core = _Core(function, args, "asyncio", partial(bell.put, None))
    interruption: BaseException | None = None
    try:
        while not core.is_over:
            # All is in the `try`, whose handler calls nothing: signals are handled where something is called.
            try:
                if interruption is None:
                    core.start()
                else:
                    core.cancel()
                _serve(core, bell)
            except BaseException as raised:
                interruption = raised
    finally:
        if not core.is_over:
            core.abandon()
    core.join()
    return core.result(interruption)


def _serve(core: _Core[Any], bell: SimpleQueue[None]) -> None:
    while not core.is_over:
        bell.get()
        while core.errands:
            with core.errand() as errand:
                errand.value = errand.function(*errand.args)


async def run_awaited(
    function: Callable[..., Coroutine[Any, Any, T]], *args: Any, in_caller: Callable[..., Awaitable[Any]]
) -> T:
    """Await a coroutine function; it gets the arguments and a function that runs others in this task.

    Args:
        in_caller: Runs plain functions for this task.
    """
    bell = _Bell()
    core = _Core(function, args, current_backend() or "asyncio", bell.ring)
    interruption: BaseException | None = None
    try:
        _hold_open(core)
        while not core.is_over:
            try:
                if interruption is None:
                    core.start()
                else:
                    core.cancel()
                # Without the shield it would be cancelled at every turn of the loop; and the caller's own limits of
                # time hold while it waits, also where a test has frozen time.
                with anyio.CancelScope(shield=interruption is not None), ticking_loop():
                    await _serve_awaiting(core, bell, in_caller)
            except GeneratorExit:  # of a coroutine whose loop has ended: there is nothing to await any more
                raise
            except BaseException as raised:
                interruption = raised
    finally:
        if not core.is_over:
            core.abandon()
    core.join()
    return core.result(interruption)


def _hold_open(core: _Core[Any]) -> None:
    """Let whoever closes the running loop wait for the core: asyncio is impatient of its tasks after Ctrl-C."""
    loop = asyncio.events._get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):  # trio waits for its tasks
        return
    cores: set[_Core[Any]] = vars(loop).setdefault("_aioconcurrent_cores", weakref.WeakSet())
    cores.add(core)
    if "close" not in vars(loop):
        close = loop.close

        def close_after_them() -> None:
            for each in list(cores):
                each.abandon()
            close()

        vars(loop)["close"] = close_after_them


async def _serve_awaiting(core: _Core[Any], bell: _Bell, in_caller: Callable[..., Awaitable[Any]]) -> None:
    while not core.is_over:
        await bell.wait()
        while core.errands:
            with core.errand() as errand:
                if inspect.iscoroutinefunction(errand.function):
                    errand.value = await errand.function(*errand.args)
                else:
                    errand.value = await in_caller(errand.function, *errand.args)


class _Bell:
    """Wakes a task of the running loop, from any thread."""

    def __init__(self) -> None:
        self._rung = anyio.Event()
        self._in_loop = from_other_threads()

    def ring(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self._in_loop(self._ring)

    def _ring(self) -> None:
        self._rung.set()

    async def wait(self) -> None:
        await self._rung.wait()
        self._rung = anyio.Event()
