"""frontrun on three UPDATEs of SQLite a call: `python tests/benchmarks/peer.py reused|new FILE` prints seconds.

A program of its own, which imports nothing else, because each new process of
frontrun's imports it again.
"""

import json
import sqlite3
import sys
import time
from contextlib import closing
from itertools import pairwise

import frontrun

SCHEDULES = 3  # with a new process for each call, which takes seconds


def add_three_times(path: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pk in (1, 2, 1):
            connection.execute("UPDATE shop_counter SET value = value + 1 WHERE id = ?", (pk,))


def times_of_schedules(path: str, *, reuse: bool) -> list[float]:
    """Seconds from each reset of the rows to the next."""
    resets: list[float] = []

    def reset() -> str:
        resets.append(time.perf_counter())
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(
                "CREATE TABLE IF NOT EXISTS shop_counter (id INTEGER PRIMARY KEY, value INTEGER);"
                "DELETE FROM shop_counter; INSERT INTO shop_counter VALUES (1, 0), (2, 0)"
            )
        return path

    found = frontrun.explore(
        reset,
        [add_three_times] * 2,
        lambda _: True,
        execution="process",
        preemption_bound=None,
        stop_on_first=False,
        reuse_workers=reuse,
        max_executions=None if reuse else SCHEDULES,
        deadlock_timeout=60,
    )
    assert found.property_holds, found.explanation
    return [later - earlier for earlier, later in pairwise(resets)]


if __name__ == "__main__":
    # the first schedule with processes that are used again is their start
    print(json.dumps(times_of_schedules(sys.argv[2], reuse=sys.argv[1] == "reused")[sys.argv[1] == "reused" :]))
