"""The clock that this library uses, which no test can patch, freeze or move.

A test that freezes time replaces `time.monotonic` in every module that has it, and
with it the clock of its event loop.  Our timeouts must not stop with it, or we would
wait for ever.  So the functions here come from a private copy of the module `time`,
and `ticking_loop` lets the running event loop use real time for a while.
"""

from __future__ import annotations

import math
import sys
from contextlib import contextmanager
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


def _copy_of_time() -> ModuleType:
    spec = BuiltinImporter.find_spec("time")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_time: Any = _copy_of_time()


def monotonic() -> float:
    """Seconds that pass, whatever a test does to `time.monotonic`."""
    return _time.monotonic()  # type: ignore[no-any-return]


def sleep(seconds: float) -> None:
    """Sleep, whatever a test does to `time.sleep`."""
    _time.sleep(seconds)


class _Ticking:
    """A clock that begins where another one stands."""

    def __init__(self, now: float) -> None:
        self._ahead = now - monotonic()

    def time(self) -> float:
        return self._ahead + monotonic()


class _TrioClock(_Ticking):
    """The same as trio wants its clocks."""

    def start_clock(self) -> None:
        """It is running already."""

    def current_time(self) -> float:
        return self.time()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self.time()


class _Hold:
    """An event loop that ticks, and how many blocks ask for it."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self.stop = stop
        self.count = 0


_holds: dict[int, _Hold] = {}  # by the id of the loop


@contextmanager
def ticking_loop() -> Iterator[None]:
    """Let the running event loop tell real time in this block, going on from what its clock shows.

    Timers that the caller has set, such as a time limit around the block, so come
    about, too.
    """
    import asyncio  # not above: new interpreters have to import this module at once

    trio, loop = sys.modules.get("trio"), asyncio.events._get_running_loop()
    is_trio = trio is not None and trio.lowlevel.in_trio_run()
    if trio is not None and is_trio:
        loop = trio._core._run.GLOBAL_RUN_CONTEXT.runner  # nothing public changes a clock that runs
    if id(loop) not in _holds:
        _holds[id(loop)] = _Hold(_start_trio(loop) if is_trio else _start_asyncio(loop))
    hold = _holds[id(loop)]
    hold.count += 1
    try:
        yield
    finally:
        hold.count -= 1
        if not hold.count:
            del _holds[id(loop)]
            hold.stop()


def _start_asyncio(loop: Any) -> Callable[[], None]:
    from asyncio import BaseEventLoop

    if not isinstance(loop, BaseEventLoop):  # uvloop asks the system, not Python
        return lambda: None
    before = vars(loop).get("time")
    vars(loop)["time"] = _Ticking(loop.time()).time

    def stop() -> None:
        del vars(loop)["time"]
        if before is not None:
            vars(loop)["time"] = before

    return stop


def _start_trio(runner: Any) -> Callable[[], None]:
    before = runner.clock, runner.clock_autojump_threshold
    runner.clock, runner.clock_autojump_threshold = _TrioClock(runner.clock.current_time()), math.inf

    def stop() -> None:
        runner.clock, runner.clock_autojump_threshold = before

    return stop
