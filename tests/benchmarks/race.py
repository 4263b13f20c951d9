"""How fast races are, next to the predecessor and to a warm pool: `hatch run bench:race`.

Everything that is compared is measured in one run, in turns, so that a noisy
machine is noisy for all.  The predecessor is django-concurrent-test-helper 0.7.0.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 - found through the path above
from rich.table import Table  # noqa: E402

from tests import servers  # noqa: E402

SETUP = """
import time
start = time.perf_counter()
import django
django.setup()
print(time.perf_counter() - start)
"""
FIRST_RACE = """
import time
import django
django.setup()
from django.db import connection
from aioconcurrent.sync import call_concurrently
from tests.benchmarks.project.calls import nothing
connection.settings_dict["NAME"] = connection.settings_dict["TEST"]["NAME"]
start = time.perf_counter()
call_concurrently(5, nothing).raise_errors()
print(time.perf_counter() - start)
"""
PAUSE = 0.1  # seconds between two races, as between two tests: the template forks ahead in them
DATABASES = ("sqlite", "postgresql")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds, to see that it runs")
    parser.add_argument("--database", choices=DATABASES, help="measure on this one, and print rows for a program")
    arguments = parser.parse_args()
    if arguments.database:
        measure(arguments.database, rounds=1 if arguments.quick else 10)
        return
    table = Table("work", "reached", "to reach", title=f"{machine()}; medians")
    with postgresql(), tempfile.TemporaryDirectory(prefix="aioconcurrent-") as folder:
        os.environ["AIOCONCURRENT_BENCHMARK_FOLDER"] = folder
        for database in DATABASES:
            command = [sys.executable, __file__, "--database", database, *["--quick"][: arguments.quick]]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            for row in json.loads(output.splitlines()[-1]):
                table.add_row(*row)
    Console(width=130).print(table)


def measure(database: str, rounds: int) -> None:
    os.environ["AIOCONCURRENT_BENCHMARK"] = database
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.project.settings"
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # for manage.py
    parts = {"sqlite": (trivial, first_race, spread, many), "postgresql": (trivial, lost_updates)}[database]
    with test_database():
        rows = [row for part in parts for row in part(rounds)]
    print(json.dumps(rows))


def trivial(rounds: int) -> Iterator[tuple[str, str, str]]:
    """Five trivial calls, template warm, next to the predecessor and to a warm pool."""
    import django_concurrent_tests
    from django.db import connection

    from aioconcurrent.sync import call_concurrently
    from tests.benchmarks.project.calls import nothing

    ours, at_once, theirs, pooled = [], [], [], []
    with ProcessPoolExecutor(5) as pool:
        list(pool.map(_nothing, range(5)))
        call_concurrently(5, nothing)
        for _ in range(rounds):
            theirs.append(seconds(lambda: django_concurrent_tests.call_concurrently(5, nothing)))
            for _ in range(10):
                time.sleep(PAUSE)
                ours.append(seconds(lambda: call_concurrently(5, nothing)))
            at_once += [seconds(lambda: call_concurrently(5, nothing)) for _ in range(10)]
            pooled += [seconds(lambda: list(pool.map(_nothing, range(5)))) for _ in range(10)]
    ratio = median(theirs) / median(ours)
    yield (
        f"5 trivial calls, template warm and at rest, {connection.vendor}",
        f"{ms(ours)}, predecessor {ms(theirs)}: {ratio:.0f} times faster",
        "100 times faster",
    )
    yield "the same, race after race without a pause", ms(at_once[1:]), ""
    if connection.vendor == "sqlite":
        yield "the same in a warm ProcessPoolExecutor(5)", f"{ms(pooled)}: not in fresh processes, no barrier", ""


def first_race(rounds: int) -> Iterator[tuple[str, str, str]]:
    """The first race of a new parent next to one django.setup() in a new process."""
    setups, races = [], []
    for _ in range(max(3, rounds)):
        setups.append(in_new_process(SETUP))
        races.append(in_new_process(FIRST_RACE))
    limit = 1.5 * median(setups) + 0.150
    yield (
        "first race of 5 calls in a new parent",
        f"{ms(races)}; django.setup() {ms(setups)}",
        f"1.5 x django.setup() + 150 ms = {limit * 1000:.0f} ms",
    )


def lost_updates(rounds: int) -> Iterator[tuple[str, str, str]]:
    """Two increments without any sleep."""
    import django_concurrent_tests

    from aioconcurrent.sync import call_concurrently
    from tests.project.shop.calls import increment
    from tests.project.shop.models import Counter

    def lost(call: Callable[[int], object]) -> bool:
        counter = Counter.objects.create()
        call(counter.pk)
        counter.refresh_from_db()
        return counter.value < 2

    ours = [lost(lambda pk: call_concurrently(2, increment, pk=pk).raise_errors()) for _ in range(20 * rounds)]
    theirs = [lost(lambda pk: django_concurrent_tests.call_concurrently(2, increment, pk=pk)) for _ in range(rounds)]
    yield (
        f"2 increments on PostgreSQL, {len(ours)} rounds",
        f"an update lost in {sum(ours) / len(ours):.0%}; predecessor in {sum(theirs)} of {len(theirs)}",
        "80 %",
    )


def spread(rounds: int) -> Iterator[tuple[str, str, str]]:
    """The time between the first and the last start of five calls."""
    from aioconcurrent.sync import call_concurrently
    from tests.benchmarks.project.calls import nothing

    spreads = []
    for _ in range(10 * rounds):
        starts = [report.started for report in call_concurrently(5, nothing).reports if report.started is not None]
        spreads.append(max(starts) - min(starts))
    yield "spread of the first starts, 5 calls", f"{median(spreads) * 1000:.3f} ms", "0.5 ms"


def many(rounds: int) -> Iterator[tuple[str, str, str]]:
    """Two hundred calls next to five."""
    from aioconcurrent.sync import call_concurrently
    from tests.benchmarks.project.calls import nothing, private_memory

    few, crowd = [], []
    for _ in range(max(3, rounds // 2)):
        few += [seconds(lambda: call_concurrently(5, nothing)) for _ in range(5)]
        crowd.append(seconds(lambda: call_concurrently(200, nothing).raise_errors()))
    yield "200 calls", f"{ms(crowd)}: {median(crowd) / median(few):.0f} times the time of 5", "40 times"
    memory = call_concurrently(20, private_memory)
    memory.raise_errors()
    yield "unique memory of a wrapper that starts", f"{max(memory.values) / 2**20:.1f} MB", "8 MB"


def _nothing(_: int) -> None:
    """The trivial call, as a pool takes it."""


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_new_process(program: str) -> float:
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(result.stdout)


def ms(times: list[float]) -> str:
    return f"{median(times) * 1000:.1f} ms"


def machine() -> str:
    versions = f"Python {sys.version.split()[0]}"
    return f"{os.cpu_count()} cores, {versions}"


@contextmanager
def postgresql() -> Iterator[None]:
    """See that there is a PostgreSQL server, and that the environment names it."""
    if servers.find_postgresql():
        yield
        return
    with servers.embedded_postgresql() as url:
        os.environ[servers.POSTGRES_VARIABLE] = url
        yield


@contextmanager
def test_database() -> Iterator[None]:
    import django

    django.setup()
    from django.db import connection
    from django.test.utils import setup_test_environment

    setup_test_environment()
    name = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        yield
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


if __name__ == "__main__":
    main()
