"""What a search gains from many places to run at once: `hatch run bench:scale`.

The search and the programs are real, the places and the time are not: a run takes about one unit of it, as chance
wants, and a place that is free begins the next at once.  So this says how many runs the search has to give out at
a time, and what of them is in vain; what copies of a database cost it does not say.  `workers.py`, whose table is
printed last, says that, with the few real workers and the LocalCluster of dask that this machine has cores for.
"""

import argparse
import heapq
import subprocess
import sys
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 - found through the path above
from rich.table import Table  # noqa: E402

from aioconcurrent.exploring.orders.search import Search  # noqa: E402
from aioconcurrent.exploring.orders.walk import Walk  # noqa: E402
from tests.explore import scenarios  # noqa: E402
from tests.explore.workload import POSTGRESQL, Client, Program, Scenario, Simulation, Steps  # noqa: E402


def updates(times: int) -> Program:
    """Change one row so many times, each time in a transaction of its own."""

    def program(c: Client) -> Steps:
        for _ in range(times):
            yield c.update("counter", scenarios.plus(1), id=1)

    return program


# By the number of their orders, the last of which are left out unless they are asked for.
PROGRAMS = {
    924: ("2 calls of 6 updates", scenarios.twice(updates(6))),
    2520: ("4 calls of 2 updates", scenarios.twice(updates(2), calls=4)),
    12870: ("2 calls of 8 updates", scenarios.twice(updates(8))),
    184756: ("2 calls of 10 updates", scenarios.twice(updates(10))),
}


@dataclass
class Stages:
    """So many places to run at once, and the time that passes there."""

    scenario: Scenario
    places: int
    random: Random = field(default_factory=lambda: Random(0))
    now: float = 0.0
    busy: float = 0.0
    thinking: float = 0.0  # seconds of real time that the search takes
    _under_way: list[tuple[float, int, Walk]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)
    _begun: set[Walk] = field(default_factory=set)
    _brought: set[Walk] = field(default_factory=set)
    _reserve: list[Walk] = field(default_factory=list)  # given out, and not begun

    def explore(self, most: int) -> Search:
        """Run a search to its end, or until so many runs had their turn."""
        search = Search(range(len(self.scenario.programs)), self.scenario.catalogue)
        while (run := self._next(search)) is not None and search.runs <= most:
            if run not in self._begun:
                self._begin(run)
            self._fill(search)
            while run not in self._brought:
                self.now, _, arrived = heapq.heappop(self._under_way)
                self._brought.add(arrived)
                if run not in self._brought:
                    search.foresee(arrived)
                    self._fill(search)
        return search

    def _next(self, search: Search) -> Walk | None:
        begun = time.perf_counter()
        run = search.next_run()
        self.thinking += time.perf_counter() - begun
        return run

    def _fill(self, search: Search) -> None:
        while len(self._under_way) < self.places:
            if not self._reserve:
                begun = time.perf_counter()
                self._reserve = search.ahead(max(self.places // 4, self.places - len(self._under_way)))[::-1]
                self.thinking += time.perf_counter() - begun
            if not self._reserve:
                return
            run = self._reserve.pop()
            if run not in self._begun:
                self._begin(run)

    def _begin(self, run: Walk) -> None:
        self._begun.add(run)
        simulation = Simulation(self.scenario, POSTGRESQL)
        while (worker := run.choose(simulation.decision())) is not None:
            simulation.step(worker)
        simulation.end()
        took = self.random.uniform(0.5, 1.5)
        self.busy += took
        heapq.heappush(self._under_way, (self.now + took, next(self._numbers), run))

    @property
    def made(self) -> int:
        return len(self._begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=13_000, help="leave out programs with more")
    parser.add_argument("--simulated", action="store_true", help="leave out the real workers")
    parser.add_argument("--places", type=int, nargs="+", default=[1, 10, 100, 1000])
    arguments = parser.parse_args()
    columns = (
        "program",
        "orders",
        "places",
        "runs made",
        "in vain",
        "time",
        "speed-up",
        "places busy",
        "ms of search a run",
    )
    for orders, (name, scenario) in PROGRAMS.items():
        if orders > arguments.orders:
            continue
        table = Table(*columns, title="a search on simulated places; the time of a run is the unit")
        alone = 0.0
        for places in arguments.places:
            stages = Stages(scenario, places)
            search = stages.explore(orders)
            alone = alone or stages.now
            table.add_row(
                name,
                str(search.runs),
                str(places),
                str(stages.made),
                f"{(stages.made - search.runs) / stages.made:.0%}",
                f"{stages.now:.0f}",
                f"{alone / stages.now:.1f}",
                f"{stages.busy / stages.now:.1f}",
                f"{1000 * stages.thinking / search.runs:.1f}",
            )
        Console(width=150).print(table)
    if not arguments.simulated:
        subprocess.run([sys.executable, Path(__file__).with_name("workers.py")], check=True)


if __name__ == "__main__":
    main()
