"""What several workers gain on this machine: `hatch run bench:workers`.

One search, ended by its budget, is made by 1, 2 and 4 workers, each on its own copy of
the database, and with the workers of a LocalCluster of dask beside one here.  `scale.py`
says what the search would gain on more cores than there are.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from distributed import LocalCluster  # noqa: E402 - found through the path above
from rich.console import Console  # noqa: E402 - found through the path above
from rich.table import Table  # noqa: E402

from tests import servers  # noqa: E402
from tests.benchmarks.race import machine, postgresql, seconds, test_database  # noqa: E402

DATABASES = ("sqlite", "mysql", "postgresql")
WORKERS = (1, 2, 4)
OF_CLUSTER = (1, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=150, help="the budget of the search")
    parser.add_argument("--database", choices=DATABASES, help="measure on this one, and print rows for a program")
    arguments = parser.parse_args()
    if arguments.database:
        measure(arguments.database, arguments.runs)
        return
    columns = ("database", "workers", "runs", "in vain", "runs a second", "times one worker", "s for the copies")
    table = Table(*columns, title=f"{machine()}, load {os.getloadavg()[0]:.1f}")
    with postgresql(), tempfile.TemporaryDirectory(prefix="aioconcurrent-") as folder:
        os.environ["AIOCONCURRENT_BENCHMARK_FOLDER"] = folder
        for database in DATABASES:
            if database == "mysql" and not servers.find_mysql():
                continue
            command = [sys.executable, __file__, "--database", database, "--runs", str(arguments.runs)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            for row in json.loads(output.splitlines()[-1]):
                table.add_row(*row)
    Console(width=150).print(table)
    print("The search: 3 calls of 3 UPDATEs on their own.")


def measure(database: str, runs: int) -> None:
    os.environ["AIOCONCURRENT_BENCHMARK"] = database
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.benchmarks.project.settings"
    rows, alone, least = [], 0.0, 0.0
    with test_database(), ExitStack() as stack:
        explored(1, 2)  # starts the template
        places: list[tuple[str, int | str]] = [(str(workers), workers) for workers in WORKERS]
        for count in OF_CLUSTER:
            cluster = LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0")
            places.append((f"1 and {count} of dask", stack.enter_context(cluster).scheduler_address))
        for name, workers in places:
            begun, _, _ = explored(workers, 2)
            least = least or begun
            took, counted, made = explored(workers, runs)
            pace = counted / (took - begun)
            alone = alone or pace
            rows.append(
                (
                    database,
                    name,
                    str(counted),
                    f"{(made - counted) / made:.0%}",
                    f"{pace:.1f}",
                    f"{pace / alone:.2f}",
                    f"{begun - least:.2f}",
                )
            )
    print(json.dumps(rows))


def explored(workers: int | str, runs: int) -> tuple[float, int, int]:
    """Seconds for an exploration, its runs, and those that were made."""
    from aioconcurrent import Exploration, options
    from aioconcurrent.exploring.stepping.maker import Maker
    from aioconcurrent.running.cluster.workers import WorkerThread
    from aioconcurrent.sync import explore
    from tests.benchmarks.project import stepped
    from tests.project.shop.models import Counter

    Counter.objects.all().delete()
    keys = {name: Counter.objects.create().pk for name in ("first", "second")}
    made: list[object] = []
    make, ask = Maker.make, WorkerThread.ask

    async def counted(self: Maker, *args: object, **kwargs: object) -> object:
        made.append(args)
        return await make(self, *args, **kwargs)  # type: ignore[arg-type]

    async def asked(self: WorkerThread, message: bytes) -> bytes:
        answer = await ask(self, message)
        made.append(message)
        return answer

    Maker.make = counted  # type: ignore[assignment, method-assign]
    WorkerThread.ask = asked  # type: ignore[method-assign]
    try:
        with options(workers=workers, max_schedules=runs, max_seconds=600):
            found: list[Exploration] = []
            took = seconds(lambda: found.append(explore(*[(stepped.add_three_times, keys)] * 3)))
    finally:
        Maker.make = make  # type: ignore[method-assign]
        WorkerThread.ask = ask  # type: ignore[method-assign]
    assert found[0].verdict != "race", found[0]
    assert not any("worker" in note or "no more runs" in note for note in found[0].notes), found[0]
    return took, found[0].schedules_run, len(made)


if __name__ == "__main__":
    main()
