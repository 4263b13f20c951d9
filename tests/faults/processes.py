"""Which processes there are, and waiting until they are there or gone."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TypeVar

import anyio
import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

T = TypeVar("T")

MARK = "AIOCONCURRENT_FAULT_TESTS"  # in the environment of every process that the tests start
PATIENCE = 30.0  # seconds for what has to happen, on however busy a machine


def is_gone(pid: int) -> bool:
    """Whether this process has ended; a zombie has, and only waits for whoever started it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def left_of(pids: Iterable[int], seconds: float = PATIENCE) -> list[int]:
    """Those of the processes that still live after that time; returns as soon as there are none."""
    alive = list(pids)
    wait_until(lambda: all(map(is_gone, alive)), seconds)
    return [pid for pid in alive if not is_gone(pid)]


def started_here() -> list[int]:
    """Every living process that came, directly or not, from this one since it has its mark."""
    return marked(os.environ[MARK])


def marked(mark: str) -> list[int]:
    """Every living process with this mark."""
    return [pid for pid in psutil.pids() if not is_gone(pid) and _mark(pid) == mark]


def at_rest(template: int, look: Callable[[], T]) -> T:
    """What is seen while neither a template nor any process that it has forked does anything.

    Processes that slept before and after, and were not run between, have done nothing between.
    """
    seen: list[T] = []

    def is_seen() -> bool:
        before = _sleep_of(template)
        seen[:] = [look()]
        return before is not None and before == _sleep_of(template)

    assert wait_until(is_seen), f"the template {template} does not come to rest"
    return seen[0]


def descriptors_of(template: int) -> int:
    """Those of a template at rest, but for the one that leads to each process that it has forked ahead."""
    process = psutil.Process(template)
    return at_rest(template, lambda: process.num_fds() - len(process.children()))


def signed_in(folder: Path) -> list[int]:
    """The processes that `calls.sign_in` wrote down."""
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait for a condition; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not (came := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return came


async def until(condition: Callable[[], bool]) -> None:
    """The same in a coroutine; a condition that does not come true is an error."""
    with anyio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110 - other processes make it true
            await anyio.sleep(0.01)


def _sleep_of(template: int) -> dict[int, int] | None:
    """How often each process has gone to sleep; None where one of them is awake, or has just ended."""
    process = psutil.Process(template)
    family = [process, *process.children(recursive=True)]
    try:
        if all(member.status() == psutil.STATUS_SLEEPING for member in family):
            return {member.pid: member.num_ctx_switches().voluntary for member in family}
    except psutil.NoSuchProcess:
        pass
    return None


def _mark(pid: int) -> str | None:
    try:
        return psutil.Process(pid).environ().get(MARK)
    except psutil.Error:
        return None
