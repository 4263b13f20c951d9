"""What an exploration takes, next to frontrun: `hatch run bench:explore`.

frontrun 0.7 is measured in its process mode, in turns with ours: a new process
for each call of each schedule, and processes that are used again for all, as ours are.  Both
run the same three UPDATEs of one SQLite file a call.  Ours go through Django, in
a fresh fork of a process that has started the project; frontrun's go straight to
sqlite3, and it starts no Django: what it cannot do costs it nothing here.  The time of a schedule
is from one reset of the rows to the next, so that all that an explorer does counts.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 - found through the path above
from rich.table import Table  # noqa: E402

from tests import servers  # noqa: E402
from tests.benchmarks.race import machine, ms, postgresql, seconds, test_database  # noqa: E402

DATABASES = ("sqlite", "mysql", "postgresql")
UNTOUCHED = 500_000  # rows
Rows = Iterator[tuple[str, str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the rounds")
    parser.add_argument("--database", choices=DATABASES, help="measure on this one, and print rows for a program")
    arguments = parser.parse_args()
    if arguments.database:
        measure(arguments.database, rounds=2 if arguments.quick else 10)
        return
    table = Table("work", "reached", "to reach", title=f"{machine()}, load {os.getloadavg()[0]:.1f}; medians")
    with postgresql(), tempfile.TemporaryDirectory(prefix="aioconcurrent-") as folder:
        os.environ["AIOCONCURRENT_BENCHMARK_FOLDER"] = folder
        for database in DATABASES:
            if database == "mysql" and not servers.find_mysql():
                table.add_row(f"all on {database}", servers.NO_MYSQL, "")
                continue
            command = [sys.executable, __file__, "--database", database, *["--quick"][: arguments.quick]]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            for row in json.loads(output.splitlines()[-1]):
                table.add_row(*row)
    Console(width=150).print(table)
    print("A schedule is 2 calls of 3 UPDATEs on their own, from one reset of the rows to the next.")
    print("frontrun 0.7 runs the same statements of the same table on SQLite, without Django.")


def measure(database: str, rounds: int) -> None:
    os.environ["AIOCONCURRENT_BENCHMARK"] = database
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.project.settings"
    parts: tuple[Callable[[int], Rows], ...] = {
        "sqlite": (schedule, cached, counterexample, first_wrong, untouched),
        "mysql": (schedule, cached, counterexample, first_wrong, wait, untouched),
        "postgresql": (schedule, cached, counterexample, reduction, apart, rows_apart, first_wrong, wait, untouched),
    }[database]
    with test_database():
        rows = [row for part in parts for row in part(rounds)]
    print(json.dumps(rows))


def schedule(rounds: int) -> Rows:
    from django.db import connection

    from aioconcurrent import options

    theirs: dict[str, list[float]] = {"reused": [], "new": []}
    ours: list[float] = []
    same: list[float] = []  # in processes that are used again, but for the last order, which fresh ones run
    limits: list[float] = []
    forks: list[float] = []
    explore("add_three_times")
    for turn in range(rounds):
        ours += times_of_schedules("add_three_times")
        with options(processes="reused"):
            same += times_of_schedules("add_three_times")[:-1]
        limits += times_one_after_the_other()
        forks += times_of_two_forks()
        if connection.vendor == "sqlite" and turn % 5 == 0:
            for how, times in theirs.items():
                times += times_of_frontrun(how)
    for work, taken, what, times, target in (
        ("a schedule", ours, "its calls in one process", limits, ""),
        ("a schedule", ours, "two forks and their ends", forks, "2 times"),
        ("a schedule, same processes", same, "its calls in one process", limits, "3 times"),
    ):
        told = f"{ms(taken)}, least {min(taken) * 1000:.1f} ms, of {len(taken)}"
        reached = f"{median(taken) / median(times):.1f} times {ms(times)}: {told}"
        yield f"{work}, {connection.vendor}, next to {what}", reached, target
    for (how, times), taken, target in zip(theirs.items(), (same, ours), ("3 times", "20 times"), strict=True):
        if times:
            reached = f"{ms(times)}, least {min(times) * 1000:.1f} ms: {median(times) / median(taken):.1f} times ours"
            yield f"the same by frontrun, {how} processes", reached, target


def cached(rounds: int) -> Rows:
    """The same calls on a cache of a Redis server, next to those on a table of the database."""
    from django.db import connection

    if not servers.find_redis():
        yield f"calls on a cache, {connection.vendor}", servers.NO_REDIS, ""
        return
    tables, caches = [], []
    for name in ("add_three_times", "count_in_cache"):
        explore(name)
    for _ in range(rounds):
        tables += times_of_schedules("add_three_times")
        caches += times_of_schedules("count_in_cache")
    reached = f"{ms(caches)}, on a table {ms(tables)}: {median(caches) / median(tables):.2f} times as long"
    yield f"a schedule of calls on a cache of Redis, {connection.vendor}", reached, "1.5 times"


def counterexample(rounds: int) -> Rows:
    from django.db import connection

    times = [seconds(lambda: explore("lose", verdict="race")) for _ in range(3 * rounds)]
    yield f"lost update until the counterexample, {connection.vendor}", ms(times), "150 ms"


def untouched(rounds: int) -> Rows:
    """What rows cost that no call touches, next to reading them all, as was done before."""
    from django.db import connection

    def explored() -> float:
        return median([seconds(lambda: explore("add_three_times")) for _ in range(rounds)])

    alone, memory = explored(), peak()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE benchmark_untouched (id integer PRIMARY KEY, a varchar(50), b integer)")
        for start in range(0, UNTOUCHED, 10_000):
            rows = ", ".join(f"({number}, 'some text {number}', {number})" for number in range(start, start + 10_000))
            cursor.execute(f"INSERT INTO benchmark_untouched VALUES {rows}")
        filled = peak()
        beside, more = explored(), peak() - filled

        def read() -> None:
            cursor.execute("SELECT * FROM benchmark_untouched")
            list(map(dict, map(enumerate, cursor.fetchall())))

        reading, former = seconds(read), peak() - filled - more
        cursor.execute("DROP TABLE benchmark_untouched")
    reached = (
        f"{beside / alone:.2f} times as long as without them ({beside * 1000:.0f} and {alone * 1000:.0f} ms), {more} "
        f"MB more than {memory}; to read them, as before, takes {reading:.1f} s and {former} MB"
    )
    yield f"beside {UNTOUCHED:,} rows that no call touches, {connection.vendor}", reached, "1.5 times"


def peak() -> int:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def reduction(_: int) -> Rows:
    found = explore("lose_in_atomic", "lose_in_atomic", "lose_in_atomic", check=accept)
    yield (
        "lost update in atomic, 3 calls, PostgreSQL, until exhaustive",
        f"{found.schedules_run} schedules; exhaustive: {found.exhaustive}",
        "96 of 636",
    )


def apart(_: int) -> Rows:
    found = explore("lose_late", "lose_early", verdict="race")
    yield "lost update, windows 8 statements apart", f"found in {found.schedules_run} schedules", "20 of 184,756"
    found = explore("add_late", "add_early")
    reached = f"{found.schedules_run} schedules; exhaustive: {found.exhaustive}"
    yield "its fixed twin, until exhaustive", reached, "100"


def rows_apart(_: int) -> Rows:
    """Two calls that read other rows of one table, and each change one."""
    from aioconcurrent import sync
    from tests.benchmarks.project.stepped import read_others
    from tests.project.shop.models import Account

    numbers = (2, 4, 8, 16)
    made: list[str] = []
    for number in numbers:
        Account.objects.all().delete()
        Account.objects.bulk_create(Account(pk=pk, balance=pk) for pk in range(1, 2 * number + 3))
        halves = range(1, number + 1), range(number + 1, 2 * number + 1)
        calls = [
            (read_others, {"own": 2 * number + 1 + index, "others": list(others)})
            for index, others in enumerate(halves)
        ]
        found = sync.explore(*calls)
        assert (found.verdict, found.exhaustive) == ("no race", True), str(found)
        made.append(str(found.schedules_run))
    work = f"k reads of other rows of one table, k = {', '.join(map(str, numbers))}, PostgreSQL"
    yield work, f"{', '.join(made)} schedules, exhaustive", "2, 2, 2, 2"


def first_wrong(_: int) -> Rows:
    """The number of the first run that goes wrong, of every race of the catalogue that there is here."""
    from django.db import connection

    from aioconcurrent import sync
    from aioconcurrent.exploring.proof import Prover
    from aioconcurrent.exploring.stepping.maker import Maker
    from tests.explore.catalogue import CATALOGUE
    from tests.project.shop.models import Account, Counter, Coupon, Doctor, Show, Ticket, Voucher

    place = {"sqlite": "file", "mysql": "mysql-RC", "postgresql": "postgresql-RC"}[connection.vendor]
    firsts: list[int] = []
    confirm, make = Prover.confirm, Maker.make
    seen: list[Any] = []  # of each run

    async def kept(self: Any, *args: Any, **options: Any) -> Any:
        made = await make(self, *args, **options)
        seen.append(made.seen)
        return made

    async def noted(self: Any, first: Any, search: Any) -> Any:
        firsts[-1] = next(number for number, each in enumerate(seen, 1) if each is first.seen)
        return await confirm(self, first, search)

    told: list[int] = []
    with patch.multiple(Prover, confirm=noted), patch.multiple(Maker, make=kept):
        for case in CATALOGUE.values():
            if case.found.get(place) is None:
                continue
            for model in (Account, Counter, Coupon, Doctor, Ticket, Show, Voucher):
                model._default_manager.all().delete()
            case.rows("default")
            firsts.append(0)
            seen.clear()
            found = sync.explore(*case.calls_at("default"))
            assert found.verdict == "race"
            told.append(found.schedules_run)
    yield (
        f"the first run that goes wrong, {len(firsts)} races of the catalogue, {connection.vendor}",
        f"run {max(firsts)} at most, median {median(firsts):g}; told after {max(told)}, median {median(told):g}",
        "3, 2; 5",
    )


def wait(rounds: int) -> Rows:
    """From the word that lets a statement go until the controller knows that it waits."""
    from django.db import connection

    from aioconcurrent.exploring.stepping.controller import Controller

    gone: dict[int, float] = {}
    waits: list[float] = []
    answer, block = Controller._answer, Controller._block

    async def timed_answer(self: Any, player: Any, word: str) -> None:
        gone[player.number] = time.perf_counter()
        await answer(self, player, word)

    async def timed_block(self: Any, player: Any, *blockers: Any) -> None:
        await block(self, player, *blockers)
        waits.append(time.perf_counter() - gone[player.number])

    with patch.multiple(Controller, _answer=timed_answer, _block=timed_block):
        for _ in range(rounds):
            explore("add_locked")
    reached = f"{median(waits) * 1000:.2f} ms, least {min(waits) * 1000:.2f} ms, of {len(waits)}"
    yield f"a lock wait seen after the statement was let go, {connection.vendor}", reached, "2 ms"


def explore(*names: str, verdict: str = "no race", check: Callable[[Any], Any] | None = None) -> Any:
    """Explore calls of these functions, two of the first where there is one."""
    from django.core.cache import cache

    from aioconcurrent import sync
    from tests.benchmarks.project import stepped
    from tests.project.shop.models import Counter

    Counter.objects.all().delete()
    keys = {name: Counter.objects.create().pk for name in ("first", "second")}
    if "count_in_cache" in names:
        cache.set_many({f"counter-{pk}": 0 for pk in keys.values()})
    calls = [(getattr(stepped, name), keys) for name in (names if len(names) > 1 else names * 2)]
    found = sync.explore(*calls, check=check)
    if "count_in_cache" in names:
        cache.delete_many([f"counter-{pk}" for pk in keys.values()])
    assert found.verdict == verdict, str(found)
    return found


def accept(_: object) -> bool:
    return True


def times_of_schedules(name: str) -> list[float]:
    """Seconds from each reset of the rows to the next."""
    from aioconcurrent.exploring.stepping.maker import Maker

    resets: list[float] = []
    make = Maker.make

    async def timed(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return await make(self, *args, **options)
        finally:
            resets.append(time.perf_counter())

    with patch.multiple(Maker, make=timed):
        explore(name)
    return [later - earlier for earlier, later in pairwise(resets)]


def times_one_after_the_other() -> list[float]:
    """Seconds for the same two calls in this process, with a reset of their rows: what no schedule can be below."""
    from django.db import connection

    from tests.benchmarks.project import stepped
    from tests.project.shop.models import Counter

    first, second = (Counter.objects.create().pk for _ in range(2))
    unsafe = {"sqlite": "PRAGMA synchronous = OFF", "postgresql": "SET synchronous_commit = off"}

    def run() -> None:
        stepped.add_three_times(first, second)
        stepped.add_three_times(second, first)
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM shop_counter WHERE id IN (%s, %s)", [first, second])
            values = [first, second]
            cursor.execute("INSERT INTO shop_counter (id, name, value) VALUES (%s, '', 0), (%s, '', 0)", values)

    with connection.cursor() as cursor:  # as in the calls of an exploration
        cursor.execute(unsafe.get(connection.vendor, "SELECT 1"))
    return [seconds(run) for _ in range(10)]


def times_of_two_forks() -> list[float]:
    """Seconds for two forks of this process, which has started Django, to come and go."""

    def run() -> None:
        pids = []
        for _ in range(2):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            pids.append(pid)
        for pid in pids:
            os.waitpid(pid, 0)

    return [seconds(run) for _ in range(10)]


def times_of_frontrun(how: str) -> list[float]:
    path = os.path.join(os.environ["AIOCONCURRENT_BENCHMARK_FOLDER"], "frontrun.sqlite3")
    command = [sys.executable, str(Path(__file__).with_name("peer.py")), how, path]
    times: list[float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return times


if __name__ == "__main__":
    main()
