"""Explorations whose callers are cancelled and interrupted, again and again, at moments drawn by a seed.

hatch run fuzz:interruptions [TRIES] [SEED] [DATABASE ...]

Prints, for each database and each way to be interrupted, what was left behind; all have to be 0.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from collections import Counter as Tally
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

if __name__ == "__main__":  # a script has no pytest to set Django up
    sys.path.insert(0, os.getcwd())
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
    import django

    django.setup()

from django.db import connections

from aioconcurrent import explore as aexplore
from aioconcurrent.base import own_clock as time
from aioconcurrent.sync import explore
from tests.faults.processes import wait_until
from tests.faults.sessions import sessions_of
from tests.project.shop.models import Counter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

IMPATIENCE = 0.15  # seconds between two interruptions, at most


def change(pk: int, using: str, value: int) -> bool:
    counter = Counter.objects.using(using).get(pk=pk)
    counter.value = value
    counter.save(using=using)
    return True


async def cancel_task(calls: Sequence[Any], pauses: Sequence[float]) -> bool:
    """Each way to be interrupted returns whether the caller was, or got a verdict before."""
    task = asyncio.ensure_future(aexplore(*calls))
    for pause in pauses:
        await asyncio.sleep(pause)
        task.cancel()
    with suppress(asyncio.CancelledError):
        return bool((await task).verdict)
    return task.cancelled()


async def run_out_of_time(calls: Sequence[Any], pauses: Sequence[float]) -> bool:
    try:
        async with asyncio.timeout(pauses[0]):
            return bool((await aexplore(*calls)).verdict)
    except TimeoutError:
        return True


async def run_out_of_time_in_wait_for(calls: Sequence[Any], pauses: Sequence[float]) -> bool:
    try:
        return bool((await asyncio.wait_for(aexplore(*calls), pauses[0])).verdict)
    except TimeoutError:
        return True


async def cancel_scopes(calls: Sequence[Any], pauses: Sequence[float]) -> bool:
    """Two scopes around it, one after the other."""
    came_back = False
    with anyio.move_on_after(sum(pauses)) as outer, anyio.move_on_after(pauses[0]) as inner:
        came_back = bool((await aexplore(*calls)).verdict)
    return came_back or inner.cancelled_caught or outer.cancelled_caught


def press_keys(run: Callable[[], bool], pauses: Sequence[float]) -> bool:
    """Ctrl-C as often, while a function runs in this thread."""
    over = threading.Event()

    def press() -> None:
        for pause in pauses:
            if over.wait(pause):
                return
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    try:
        try:
            thread.start()
            return run()
        finally:
            over.set()
            thread.join()
    except KeyboardInterrupt:
        return True


def by_keys(calls: Sequence[Any], pauses: Sequence[float]) -> bool:
    return press_keys(lambda: bool(explore(*calls).verdict), pauses)


def by_keys_in_loop(calls: Sequence[Any], pauses: Sequence[float]) -> bool:
    """The loop of asyncio cancels its main task for the first one, and is left for the others."""

    async def main() -> bool:
        return bool((await aexplore(*calls)).verdict)

    return press_keys(lambda: asyncio.run(main()), pauses)


def _on(backend: str, main: Callable[..., Any]) -> Callable[..., bool]:
    return lambda calls, pauses: anyio.run(main, calls, pauses, backend=backend)


WAYS: dict[str, tuple[Callable[[Sequence[Any], Sequence[float]], bool], int]] = {
    "task.cancel()": (_on("asyncio", cancel_task), 1),
    "task.cancel() twice": (_on("asyncio", cancel_task), 2),
    "task.cancel() three times": (_on("asyncio", cancel_task), 3),
    "asyncio.timeout": (_on("asyncio", run_out_of_time), 1),
    "asyncio.wait_for": (_on("asyncio", run_out_of_time_in_wait_for), 1),
    "scopes of anyio on asyncio": (_on("asyncio", cancel_scopes), 2),
    "scopes of anyio on trio": (_on("trio", cancel_scopes), 2),
    "Ctrl-C": (by_keys, 1),
    "Ctrl-C twice": (by_keys, 2),
    "Ctrl-C three times": (by_keys, 3),
    "Ctrl-C twice in asyncio.run": (by_keys_in_loop, 2),
    "Ctrl-C three times in asyncio.run": (by_keys_in_loop, 3),
}


class Interruptions:
    """One database, a row of it, and what interrupted explorations leave behind.

    Attributes:
        left: How often, by what it was.
        slowest: Seconds from the first interruption until the caller went on.
    """

    def __init__(self, alias: str, seed: int) -> None:
        self._alias, self._random = alias, Random(seed)
        self._row = Counter.objects.using(alias).create(name="kept")
        self._calls = [(change, {"pk": self._row.pk, "using": alias, "value": value}) for value in (1, 2)]
        assert explore(*self._calls).verdict == "no race"
        begun = time.monotonic()
        assert explore(*self._calls).verdict == "no race"
        self._whole = time.monotonic() - begun
        self._sessions, self._descriptors, self._threads = sessions_of(alias), _descriptors(), _threads()
        self.left: Tally[str] = Tally()
        self.slowest = 0.0

    def try_once(self, way: str) -> None:
        """Interrupt one exploration, and look at what it has left."""
        run, times = WAYS[way]
        pauses = [self._random.uniform(0, self._whole)]
        pauses += [self._random.uniform(0, IMPATIENCE) for _ in range(times - 1)]
        begun = time.monotonic()
        try:
            if not run(self._calls, pauses):
                self._note(way, "cancellation swallowed")
        except BaseException as error:
            self._note(way, f"{type(error).__name__}: {error}"[:200])
        self.slowest = max(self.slowest, time.monotonic() - begun - pauses[0])
        self._look(way)

    def _look(self, way: str) -> None:
        rows = list(Counter.objects.using(self._alias).values_list("name", "value"))
        if rows != [("kept", 0)]:
            self._note(way, "rows changed")
            Counter.objects.using(self._alias).update(value=0)
        if not wait_until(lambda: _threads() <= self._threads, 1):
            self._note(way, "thread outlived its call")
        if not wait_until(lambda: sessions_of(self._alias) <= self._sessions, 3):
            self._note(way, "session left")
            self._sessions |= sessions_of(self._alias)
        if not wait_until(lambda: _descriptors() <= self._descriptors, 1):
            self._note(way, "descriptor left")
            self._descriptors = _descriptors()

    def _note(self, way: str, what: str) -> None:
        self.left[what] += 1
        print(f"  {self._alias}, {way}: {what}", flush=True)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _threads() -> set[threading.Thread]:
    """Those of ours."""
    return {thread for thread in threading.enumerate() if thread.name.startswith(("aioconcurrent", "AnyIO worker"))}


def main(tries: int, seed: int, aliases: Sequence[str]) -> int:
    """Interrupt explorations in test databases of their own; the exit status tells whether they left anything."""
    from django.test.utils import setup_databases, teardown_databases

    made = setup_databases(verbosity=0, interactive=False, aliases=dict.fromkeys(aliases, False))
    left = 0
    try:
        for alias in aliases:
            interruptions = Interruptions(alias, seed)
            for number in range(tries):
                interruptions.try_once(list(WAYS)[number % len(WAYS)])
                if number % 100 == 99:
                    print(f"  {alias}: {number + 1} tries", flush=True)
            told = ", ".join(f"{what} {count}" for what, count in interruptions.left.items()) or "nothing left"
            print(
                f"{alias}: {tries} tries, {told}; the slowest came back after {interruptions.slowest:.1f} s", flush=True
            )
            left += interruptions.left.total()
    finally:
        connections.close_all()
        teardown_databases(made, verbosity=0)
    return 1 if left else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tries", type=int, nargs="?", default=1000)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("aliases", nargs="*", default=["default", "file", "postgresql", "mysql"], metavar="DATABASE")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    sys.exit(main(chosen.tries, chosen.seed, chosen.aliases))
