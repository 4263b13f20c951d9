"""Explorations on clusters of dask to which something happens, at moments drawn by a seed.

hatch run fuzz:clusters [TRIES] [SEED] [DATABASE ...]

Each has to end with the verdict that one worker comes to, or with a clear error, and to leave nothing.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections import Counter as Tally
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if __name__ == "__main__":  # a script has no pytest to set Django up
    sys.path.insert(0, os.getcwd())
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
    import django

    django.setup()

from django.db import InterfaceError, OperationalError, connections

from aioconcurrent import ClusterError, options
from aioconcurrent.base import own_clock as time
from aioconcurrent.exceptions import StateError
from aioconcurrent.running.cluster.workers import WorkerThread
from aioconcurrent.sync import explore
from tests.explore.catalogue import counters
from tests.explore.clusters import FAULTS, Cluster, asking, cluster, end_sessions
from tests.explore.test_workers import copies_of
from tests.project.shop import races
from tests.project.shop.models import Counter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LATEST = 14  # times that workers are asked before something happens
_ORDERS = 10  # of the calls, which are the same


def _press_key(_: Cluster, __: str) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _end_all_sessions(_: Cluster, alias: str) -> None:
    end_sessions(alias, of_copies_only=False)


ALL: dict[str, Callable[[Cluster, str], None]] = {
    **FAULTS,
    "Ctrl-C": _press_key,
    "all sessions are ended": _end_all_sessions,
}
_LOST = "an error that tells to make the database anew"  # the sessions that kept the rows were ended
_FINE = ("the right verdict", "a clear error", "interrupted", "inconclusive, for that reason", _LOST)


class Clusters:
    """One after another, each for as long as it is whole: to start one takes longer than an exploration."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._cluster: Cluster | None = None

    def get(self) -> Cluster:
        if self._cluster is None or not self._cluster.is_whole:
            self._stack.close()
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="aioconcurrent-"))
            self._cluster = self._stack.enter_context(cluster(Path(folder)))
        return self._cluster

    def close(self) -> None:
        self._stack.close()


def try_once(alias: str, found: Cluster, random: Random) -> tuple[str, str]:
    """Explore while something happens; say what, and what came of it."""
    fault, times = random.choice(list(ALL)), random.randint(1, _LATEST)
    rows = list(Counter.objects.using(alias).order_by("pk").values_list("pk", "value"))
    ask, done = WorkerThread.ask, list[str]()
    WorkerThread.ask = asking(ask, times, partial(ALL[fault], found, alias), done)  # type: ignore[assignment, method-assign]
    try:
        came = _explored(alias, found)
    finally:
        WorkerThread.ask = ask  # type: ignore[method-assign]
    connections[alias].close()  # the server may have ended its session
    found.thaw()
    left = [f"process {each.pid} left" for each in found.wait_until_left_alone()]
    left += [f"{name} left" for name in copies_of(alias)]
    if came == _LOST:
        Counter.objects.using(alias).all().delete()
        counters(alias)
    elif list(Counter.objects.using(alias).order_by("pk").values_list("pk", "value")) != rows:
        left.append("rows changed")
    return fault if done else "nothing", "; ".join([came, *left])


def _explored(alias: str, found: Cluster) -> str:
    try:
        with options(workers=found.address, max_seconds=300):
            came = explore(*[(races.add_thrice, {"using": alias})] * 2)
    except (ClusterError, OperationalError, InterfaceError):
        return "a clear error"
    except StateError as error:
        return _LOST if "the server has ended all sessions that kept" in str(error) else f"WRONG: {error}"
    except KeyboardInterrupt:
        return "interrupted"
    except BaseException as error:
        return f"WRONG: {error!r}"[:300]
    is_right = (came.verdict, came.schedules_run) == ("no race", _ORDERS)
    if came.verdict == "inconclusive" and "session" in came.reason:
        return "inconclusive, for that reason"
    return "the right verdict" if is_right else f"WRONG: {came}"


def main(tries: int, seed: int, aliases: Sequence[str]) -> int:
    """Explore in test databases of their own; the exit status tells whether anything was wrong, or left."""
    from django.test.utils import setup_databases, teardown_databases

    made = setup_databases(verbosity=0, interactive=False, aliases=dict.fromkeys(aliases, False))
    random, told, slowest = Random(seed), Tally[tuple[str, str]](), 0.0
    clusters = Clusters()
    try:
        for alias in aliases:
            counters(alias)
        for number in range(tries):
            alias, begun = aliases[number % len(aliases)], time.monotonic()
            for other in aliases:
                if other != alias:
                    connections[other].close()  # or it would be copied as well
            fault, came = try_once(alias, clusters.get(), random)
            slowest = max(slowest, time.monotonic() - begun)
            told[fault, came] += 1
            print(f"  {number + 1}, {alias}, {fault}: {came}", flush=True)
    finally:
        clusters.close()
        connections.close_all()
        teardown_databases(made, verbosity=0)
    for (fault, came), count in sorted(told.items()):
        print(f"{fault}: {came}: {count}")
    print(f"the slowest took {slowest:.1f} s")
    return 0 if all(came in _FINE for _, came in told) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tries", type=int, nargs="?", default=100)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("aliases", nargs="*", default=["file", "postgresql", "mysql"], metavar="DATABASE")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    sys.exit(main(chosen.tries, chosen.seed, chosen.aliases))
