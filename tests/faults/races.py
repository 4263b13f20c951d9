"""Races from any event loop, from two threads, and with the check that they leave nothing in this process."""

from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import anyio
import psutil
from django.db import connections

from aioconcurrent import Outcomes, make_concurrent_calls
from aioconcurrent.sync import call_concurrently, options
from tests.faults import calls
from tests.faults.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

_KEPT = ("Trio thread", "ThreadPoolExecutor")  # idle threads that trio and asgiref keep for their next work


@contextmanager
def leaving_nothing(temporary: Path) -> Iterator[None]:
    """Fail if the block leaves anything, or no template to `rest`; its temporary files are made in that folder."""
    before = tempfile.tempdir
    tempfile.tempdir = str(temporary)
    try:
        descriptors, threads = _count_descriptors(), _threads()
        yield
        rest()
        assert wait_until(lambda: _threads() <= threads, 5), _threads() - threads
        assert _count_descriptors() <= descriptors
        assert not list(temporary.iterdir())
    finally:
        tempfile.tempdir = before


def run_race(backend: str, *concurrent: object) -> Outcomes:
    """Make these calls from an event loop of that kind."""
    made: list[Outcomes] = []  # asyncio takes the repr of what its main task returns

    async def main() -> None:
        made.append(await make_concurrent_calls(*concurrent))

    anyio.run(main, backend=backend)
    return made[0]


def at_once(function: Callable[[int], T]) -> list[T]:
    """Call the function with 0 and with 1, in two threads that start together."""
    barrier = threading.Barrier(2)

    def call(number: int) -> T:
        barrier.wait()
        return function(number)

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(call, range(2)))


def rest() -> None:
    """See to it that there is a template, which works and rests."""
    with options(start_method="fork"):
        call_concurrently(1, calls.answer).raise_errors()


def _count_descriptors() -> int:
    connections.close_all()
    return psutil.Process().num_fds()


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.name.startswith(_KEPT)}
