"""Random small programs, explored and run freely: no real race may end as exploring calls impossible.

    hatch run fuzz:truth [--seconds 60 | --programs 20] [--seed 0] [--place NAME ...] [--races 200]

"No race, exhaustive" says that every order ends as a serial one does; so must every
real race, and every order that is explored again and judged here.  "Race" must show
an order that can be replayed and ends as no serial one does.  Other verdicts claim
nothing, and are counted.

A failure is told with its seed and place: `--seed SEED --place PLACE --programs 1` repeats it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # a script has no pytest to set Django up
    import os

    sys.path.insert(0, os.getcwd())
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
    import django

    django.setup()

from django.db import connections

from aioconcurrent.exceptions import WrappedError
from aioconcurrent.sync import Exploration, explore, replay
from tests.explore.places import PLACES, Place
from tests.project.office import programs
from tests.project.office.programs import Journal
from tests.truth import free_races
from tests.truth.judge import MODELS, Told, canonical, fill, rows_of
from tests.truth.random_programs import Trial, made_up

if TYPE_CHECKING:
    from aioconcurrent.sync import Outcomes

FUZZED = (
    *("postgresql-RC", "mysql-RC", "file", "postgresql-RR", "mysql-RR", "file-immediate"),
    *("postgresql-SER", "mysql-SER", "file-wal"),
)
_MANY = 120  # schedules; programs with more are not explored to their end
_LONG = 40.0  # seconds

Explore = Callable[..., Exploration]


@dataclass
class Tally:
    """What was compared, and what was wrong."""

    programs: int = 0
    races: int = 0
    astray: int = 0  # real races that ended as no serial order does
    verdicts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f"{self.programs} programs and {self.races} real races compared; {self.astray} ended as no order does",
            *(f"{number:6} {verdict}" for verdict, number in self.verdicts.most_common()),
            "; ".join(f"{what} {spent:.0f} s" for what, spent in self.seconds.items()),
        ]
        return "\n".join([*lines, f"{len(self.failures)} failures", *self.failures])


@dataclass
class Comparison:
    """One trial in one place; `failures` says what was claimed wrongly."""

    trial: Trial
    place: Place
    seed: int
    races: int
    explore: Explore = explore
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    astray: Counter[str] = field(default_factory=Counter)
    raced: int = 0

    def run(self) -> Exploration:
        alias = self.place.alias
        self._serial = self._timed("serial orders", free_races.serial_endings, self.trial, alias)
        fill(alias)
        found: Exploration = self._timed("exploring", self._explored)
        if found.verdict == "race":
            self._timed("replaying", self._confirm, found)
        elif found.verdict == "no race" and found.exhaustive:
            self.astray = self._timed("real races", self._raced, fill)
            if self.astray and alias == "mysql":  # rows that were deleted and not yet purged lead to waits of their own
                self.astray = self._timed("real races again", self._raced, truncate_and_fill)
            for ending, times in self.astray.items():
                self.failures.append(f"MISSED: {times} of {self.races} real races end as {ending}")
            self._timed("judging", self._judge)
        return found

    def _timed(self, what: str, function: Callable[..., Any], *args: Any) -> Any:
        begun = time.monotonic()
        try:
            return function(*args)
        finally:
            self.seconds[what] = time.monotonic() - begun

    def _explored(self) -> Exploration:
        calls = [(programs.run, arguments) for arguments in self.trial.arguments(self.place.alias)]
        return self.explore(*calls, max_schedules=_MANY, max_seconds=_LONG)

    def _raced(self, refill: free_races.Refill) -> Counter[str]:
        ended = free_races.endings(self.trial, self.place.alias, self.races, self.seed, refill)
        self.raced += self.races
        return Counter(ending for ending in ended if ending not in self._serial)

    def _confirm(self, found: Exploration) -> None:
        """Replay an order that is said to go wrong."""
        assert found.counterexample
        again, ended = self._judged(replay, found.counterexample.token)
        if again.verdict == "race":
            return
        said = f"{found.reason}: {found.counterexample.explanation}"
        if again.verdict == "no race":
            order = self._serial[ended[-1]]
            self.failures.append(f"FALSE ALARM: {said}\n  but the calls in the order {order} end as {ended[-1]}")
        else:
            self.failures.append(f"NOT REPLAYED: {said}\n  {again.reason}")

    def _judge(self) -> None:
        """Explore again, and judge each ending."""
        again, ended = self._judged(self.explore, max_schedules=_MANY, max_seconds=_LONG)
        if again.verdict == "race":
            assert again.counterexample
            self.failures.append(f"ACCEPTED: an order of {again.counterexample.token} ends as {ended[-1]}")

    def _judged(self, explore: Callable[..., Exploration], *args: Any, **options: Any) -> tuple[Exploration, list[str]]:
        """Explore or replay with a rule that knows all serial endings; returns all endings, too."""
        ended: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            journals = [Path(folder, str(call)) for call in range(len(self.trial.programs))]

            def ends_as_some_order_does(outcomes: Outcomes[Any]) -> bool:
                told = [
                    Told(each.error if isinstance(each, WrappedError) else each, Journal.read(journal))
                    for each, journal in zip(outcomes, journals, strict=True)
                ]
                ended.append(canonical(told, rows_of(self.place.alias)))
                return ended[-1] in self._serial

            arguments = zip(self.trial.arguments(self.place.alias), journals, strict=True)
            calls = [(programs.run, {**given, "journal": journal}) for given, journal in arguments]
            fill(self.place.alias)
            return explore(*args, *calls, check=ends_as_some_order_does, **options), ended


def truncate_and_fill(alias: str) -> None:
    """Put the rows there from which every race begins, in tables that never had others."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        for model in MODELS:
            cursor.execute(f"TRUNCATE {model._meta.db_table}")
        cursor.execute("SET foreign_key_checks = 1")
    fill(alias)


def compare(seed: int, place: Place, races: int, tally: Tally) -> None:
    """Compare the program of a seed in a place, and add what came of it."""
    comparison = Comparison(made_up(seed), place, seed, races)
    with place.entered():
        try:
            found = comparison.run()
            verdict = f"{found.verdict}{', exhaustive' if found.exhaustive else ''}"
            if found.verdict == "inconclusive" or (found.verdict == "no race" and not found.exhaustive):
                verdict += f": {found.reason[:150]}"
        except Exception as error:
            verdict = "raised"
            comparison.failures.append(f"RAISED: {type(error).__name__}: {error}")
    tally.programs += 1
    tally.races += comparison.raced
    tally.astray += comparison.astray.total()
    tally.verdicts[verdict] += 1
    for what, spent in comparison.seconds.items():
        tally.seconds[what] = tally.seconds.get(what, 0) + spent
    told = f"seed {seed}, {place.name}: {comparison.trial}"
    if comparison.failures:
        tally.failures.append("\n".join([told, *(f"  {failure}" for failure in comparison.failures)]))
        print(tally.failures[-1], flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--programs", type=int, help="how many, whatever the time that they take")
    parser.add_argument("--seed", type=int, default=0, help="of the first program")
    parser.add_argument("--races", type=int, default=200, help="real ones, for each program")
    parser.add_argument("--place", choices=FUZZED, action="append", help="by default one after another")
    options = parser.parse_args()
    places = [PLACES[name] for name in options.place or FUZZED]
    from django.test.utils import setup_databases, teardown_databases

    made = setup_databases(verbosity=0, interactive=False, aliases=dict.fromkeys((p.alias for p in places), False))
    tally, begun = Tally(), time.monotonic()
    try:
        for seed in count(options.seed):
            if tally.programs == options.programs or (
                options.programs is None and time.monotonic() - begun > options.seconds
            ):
                break
            compare(seed, places[seed % len(places)], options.races, tally)
    finally:
        teardown_databases(made, verbosity=0)
    print(tally)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
