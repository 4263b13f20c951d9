"""The process that races: it tells what it does over a pipe, for it may be killed at any moment.

Run by `__main__.py`: `python -m tests.soak.host PIPE SEED FIRST LAST [kind left out ...]`
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import anyio
import django
from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aioconcurrent import Exploration, Outcomes
    from tests.soak.plan import Plan

EVERY = 20  # races, between two looks at what is left
ROWS = range(1, 22)
_SOME_SESSION = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    "AND backend_type = 'client backend' AND pid NOT IN (pg_backend_pid(), {spared}) ORDER BY random() LIMIT 1",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = DATABASE() "
    "AND id NOT IN (CONNECTION_ID(), {spared}) ORDER BY rand() LIMIT 1",
}


class Host:
    """Races until it is told to stop.

    Args:
        pipe: The descriptor that it tells over.
        without: Kinds of faults that are left out.
    """

    def __init__(self, pipe: int, seed: int, without: frozenset[str]) -> None:
        self._pipe, self._seed, self._without = pipe, seed, without
        self.is_told_to_stop = False
        self._hits: list[str] = []
        self._findings: list[tuple[str, str]] = []

    def run(self, first: int, last: int) -> None:
        from tests.soak.leftovers import Use, left, template_of_race

        with databases():
            template_of_race()
            before = Use.now()
            number = first
            while number <= last and not self.is_told_to_stop:
                self._race(number)
                if number % EVERY == 0 or number == last or self.is_told_to_stop:
                    for kind, these in left(os.environ["AIOCONCURRENT_FAULT_TESTS"], before).items():
                        self._findings += [(kind, one) for one in these]
                        self._say(number=number, hits=[], findings=self._findings)
                        self._findings = []
                        before = Use.now()
                number += 1

    def _race(self, number: int) -> None:
        from tests.soak.plan import draw

        plan = draw(self._seed, number, self._without)
        self._hits, self._findings = [], []
        self._say(begun=number, plan=repr(plan))
        if plan.around == "parent killed":
            self._say(doomed=number)
        (explore if plan.explores else race)(plan, self._hits, self._findings)
        self._say(number=number, hits=self._hits, findings=self._findings)
        self._findings = []

    def _say(self, **told: Any) -> None:
        os.write(self._pipe, json.dumps(told).encode() + b"\n")


def race(plan: Plan, hits: list[str], findings: list[tuple[str, str]]) -> None:
    """Run a race, and judge its outcomes."""
    from aioconcurrent import make_concurrent_calls, options
    from aioconcurrent.sync import make_concurrent_calls as make_blocking
    from tests.soak.calls import work
    from tests.soak.judge import judge, sign_of

    these: list[Any] = [
        (work, (sign_of(plan, index), fault, ROWS[index], plan.database), {}) for index, fault in enumerate(plan.faults)
    ]
    if plan.around == "template killed":
        killer = plan.faults[0].__class__("template killed", plan.moments[0], 0)
        these.append((work, ("", killer, ROWS[0], plan.database), {}))
    with options(timeout=plan.timeout, start_method=plan.start_method):
        outcomes: Outcomes | None = in_runner(
            plan, hits, findings, lambda: make_concurrent_calls(*these), lambda: make_blocking(*these)
        )
    if outcomes is None:
        return
    if plan.around == "template killed":
        killer_outcome = outcomes.pop()
        outcomes.reports.pop()
        hits.append("template killed")
        if not hasattr(killer_outcome, "error"):
            findings.append(("lost errors", f"{plan}: the template was killed, and a call returned {killer_outcome!r}"))
    hits += [fault.kind for fault in plan.faults if fault.kind != "none"]
    findings += [("lost errors", text) for text in judge(plan, outcomes)]


def explore(plan: Plan, hits: list[str], findings: list[tuple[str, str]]) -> None:
    """Explore, and see that the verdict can be right and that the rows are as they were."""
    from aioconcurrent import explore as explore_here
    from aioconcurrent import options
    from aioconcurrent.sync import explore as explore_blocking
    from tests.soak.calls import increment, increment_atomically

    is_racy = plan.faults[0].detail % 2
    function = increment if is_racy else increment_atomically
    faults = list(plan.faults)
    if plan.around == "template killed":
        faults[0] = plan.faults[0].__class__("template killed", plan.moments[0], 0)
    these: list[Any] = [(function, (fault, ROWS[0], plan.database), {}) for fault in faults]
    before = rows(plan.database)
    with options(timeout=10, max_seconds=20, start_method=plan.start_method):
        exploration: Exploration | None = in_runner(
            plan, hits, findings, lambda: explore_here(*these), lambda: explore_blocking(*these)
        )
    if rows(plan.database) != before:
        findings.append(("rows", f"{before} are {rows(plan.database)}"))
        restore(plan.database)
    if exploration is not None:
        hits += [fault.kind for fault in faults if fault.kind != "none"]
        if exploration.verdict == ("no race" if is_racy else "race"):
            findings.append(("wrong verdicts", f"{function.__name__}: {exploration}"))


def in_runner(
    plan: Plan,
    hits: list[str],
    findings: list[tuple[str, str]],
    awaitable: Callable[[], Any],
    blocking: Callable[[], Any],
) -> Any:
    """Return what comes of it; None where it was cancelled, or raised, which is noted."""
    spared = own_session(plan.database)
    disturb = {"sessions ended": lambda: end_some_session(plan, spared), "parent killed": die}.get(plan.around)
    timers = [threading.Timer(plan.moments[0], disturb)] if disturb else []
    for timer in timers:
        timer.start()
    run = {"asyncio": in_asyncio, "trio": in_trio, "blocking": in_no_loop}[plan.runner]
    try:
        result, is_cancelled = run(plan, awaitable, blocking)
    except BaseException:
        findings.append(("raised", traceback.format_exc()[-3000:]))
        return None
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()
    hits += [plan.around] * (is_cancelled or plan.around == "sessions ended")
    return None if is_cancelled else result


def in_asyncio(plan: Plan, awaitable: Callable[[], Any], _: Callable[[], Any]) -> tuple[Any, bool]:
    """Cancelled as asyncio cancels."""

    async def main() -> tuple[list[Any], bool]:
        async def call() -> list[Any]:
            return [await awaitable()]  # in a list, for asyncio takes the repr of results

        task = asyncio.get_running_loop().create_task(call())
        if plan.around.startswith("cancel"):
            for moment in plan.moments:
                asyncio.get_running_loop().call_later(moment, task.cancel)
        try:
            return await task, False
        except asyncio.CancelledError:
            return [None], True

    [result], is_cancelled = asyncio.run(main())
    return result, is_cancelled


def in_trio(plan: Plan, awaitable: Callable[[], Any], _: Callable[[], Any]) -> tuple[Any, bool]:
    """Cancelled by a scope of anyio's."""

    async def main() -> tuple[list[Any], bool]:
        with anyio.move_on_after(plan.moments[0] if plan.around.startswith("cancel") else None):
            return [await awaitable()], False
        return [None], True

    [result], is_cancelled = anyio.run(main, backend="trio")
    return result, is_cancelled


def in_no_loop(plan: Plan, _: Callable[[], Any], blocking: Callable[[], Any]) -> tuple[Any, bool]:
    """Cancelled by Ctrl-C."""
    if not plan.around.startswith("cancel"):
        return blocking(), False

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    timers = [threading.Timer(moment, interrupt) for moment in plan.moments]
    result, is_cancelled = None, False
    try:
        for timer in timers:
            timer.start()
        result = blocking()
    except KeyboardInterrupt:
        is_cancelled = True
    while any(timer.is_alive() for timer in timers):
        try:
            for timer in timers:
                timer.join()
        except KeyboardInterrupt:
            continue
    return result, is_cancelled


def end_some_session(plan: Plan, spared: int) -> None:
    """Have the server end a session of this database, whosever it is, but the test's own."""
    connection: Any = connections[plan.database].copy()
    with contextlib.closing(connection.get_new_connection(connection.get_connection_params())) as driver:
        cursor = driver.cursor()
        cursor.execute(_SOME_SESSION[connection.vendor].format(spared=spared))
        if connection.vendor == "mysql":
            for (session,) in list(cursor.fetchall()):
                with contextlib.suppress(connection.Database.Error):  # it has gone
                    cursor.execute(f"KILL {session}")


def own_session(alias: str) -> int:
    """The session of this process that the soak itself uses, or 0."""
    connection: Any = connections[alias]
    if connection.vendor == "postgresql" and connection.connection is not None:
        return int(connection.connection.info.backend_pid)
    return int(connection.connection.thread_id()) if connection.vendor == "mysql" and connection.connection else 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def rows(alias: str) -> list[Any]:
    from tests.project.shop.models import Counter

    return list(Counter.objects.using(alias).order_by("pk").values_list("pk", "name", "value"))


def restore(alias: str) -> None:
    """Have the rows of the start."""
    from tests.project.shop.models import Counter

    Counter.objects.using(alias).all().delete()
    Counter.objects.using(alias).bulk_create([Counter(pk=pk, name=f"row {pk}") for pk in ROWS])


@contextlib.contextmanager
def databases() -> Iterator[None]:
    """The test databases, which those before may have left."""
    from django.test.utils import setup_databases, teardown_databases

    old = setup_databases(0, interactive=False, keepdb=True, serialized_aliases=[])
    for alias in connections:
        restore(alias)
    yield
    teardown_databases(old, 0)


def main(pipe: str, seed: str, first: str, last: str, *without: str) -> None:
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    logging.getLogger().addHandler(logging.NullHandler())  # what calls log is of no interest
    warnings.simplefilter("ignore")
    django.setup()
    host = Host(int(pipe), int(seed), frozenset(without))
    signal.signal(signal.SIGTERM, lambda *_: setattr(host, "is_told_to_stop", True))
    host.run(int(first), int(last))


if __name__ == "__main__":
    main(*sys.argv[1:])
