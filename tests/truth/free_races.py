"""Programs in threads that run freely, each on a connection of its own: nothing here knows of exploring."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import permutations
from random import Random
from threading import Barrier
from typing import Any

from django.db import connections

from tests.project.office.programs import Clerk
from tests.truth.judge import Told, canonical, fill, rows_of
from tests.truth.random_programs import Trial

_LONGEST = 0.003  # seconds from one statement to the next
Refill = Callable[[str], None]


def endings(trial: Trial, alias: str, rounds: int, seed: int, refill: Refill = fill) -> Iterator[str]:
    """Run the programs at the same moment, again and again; yields how each round ends."""
    barrier = Barrier(len(trial.programs))
    with _workers(len(trial.programs), alias) as workers:
        _do_not_wait_for_the_disk(alias)
        for number in range(rounds):
            refill(alias)
            randoms = [Random(f"{seed} {number} {call}") for call in range(len(workers))]
            running = [
                worker.submit(_dawdle, trial, call, alias, randoms[call], barrier)
                for call, worker in enumerate(workers)
            ]
            yield canonical([each.result() for each in running], rows_of(alias))


def serial_endings(trial: Trial, alias: str, refill: Refill = fill) -> dict[str, tuple[int, ...]]:
    """How the programs end one after another, and in which order."""
    found: dict[str, tuple[int, ...]] = {}
    with _workers(len(trial.programs), alias) as workers:
        for order in permutations(range(len(workers))):
            refill(alias)
            told = {call: workers[call].submit(_tell, trial, call, alias).result() for call in order}
            found.setdefault(canonical([told[call] for call in sorted(told)], rows_of(alias)), order)
    return found


@contextmanager
def _workers(number: int, alias: str) -> Iterator[Sequence[Executor]]:
    """One thread for each call, with a connection."""
    with ExitStack() as stack:
        workers = [stack.enter_context(ThreadPoolExecutor(1)) for _ in range(number)]
        try:
            yield workers
        finally:
            for worker in workers:
                worker.submit(lambda: connections[alias].close()).result()


def _do_not_wait_for_the_disk(alias: str) -> None:
    statements = {"sqlite": "PRAGMA synchronous = OFF", "postgresql": "SET synchronous_commit = off"}
    with connections[alias].cursor() as cursor:
        if connections[alias].vendor in statements:
            cursor.execute(statements[connections[alias].vendor])


def _dawdle(trial: Trial, call: int, alias: str, random: Random, barrier: Barrier) -> Told:
    """Run one program with short pauses after its statements, often none."""

    def pausing(execute: Callable[..., Any], *args: Any) -> Any:
        result = execute(*args)
        if random.random() < 0.5:
            time.sleep(random.random() * _LONGEST)
        return result

    with connections[alias].execute_wrapper(pausing):
        connections[alias].ensure_connection()
        if connections[alias].vendor == "sqlite":  # on servers it is what lets others come between
            _do_not_wait_for_the_disk(alias)
        barrier.wait(timeout=30)
        return _tell(trial, call, alias)


def _tell(trial: Trial, call: int, alias: str) -> Told:
    clerk = Clerk(trial.names[call], alias)
    try:
        clerk.run(trial.programs[call])
        return Told(clerk.shown(trial.shown), clerk.journal)
    except Exception as error:
        return Told(error, clerk.journal)
