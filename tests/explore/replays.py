"""Replays of every race of the catalogue, many times: all must have the same steps and the same outcomes.

hatch run fuzz:replays [TIMES]
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from aioconcurrent.exploring.orders.standings import request
from aioconcurrent.sync import explore, replay

if __name__ == "__main__":  # a script has no pytest to set Django up
    import os

    sys.path.insert(0, os.getcwd())
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
    import django

    django.setup()

from tests.explore.catalogue import CATALOGUE
from tests.explore.places import PLACES, Place

if TYPE_CHECKING:
    from aioconcurrent.sync import Counterexample, Outcomes

RACES = [(name, place) for name, case in CATALOGUE.items() for place, anomaly in case.found.items() if anomaly]


def told(counterexample: Counterexample) -> tuple[object, ...]:
    """What has to be the same in every replay."""
    values = [(step.operation.parameters, step.rows, step.error) for step in counterexample.steps]
    return asked(counterexample), values, [repr(outcome) for outcome in counterexample.outcomes]


def asked(counterexample: Counterexample) -> list[tuple[object, ...]]:
    """What has to be the same where the counters of keys were moved to compare endings."""
    return [(step.call, request(step.operation), step.waited_for, step.resumed_after) for step in counterexample.steps]


def repeats(name: str, place: Place, times: int) -> tuple[int, int]:
    """Explore a race of the catalogue and replay it; return how many replays were made, and how many were like it.

    The rule of the replays is broken always, so that nothing has to be run for comparison.
    """
    case = CATALOGUE[name]
    case.rows(place.alias)
    calls = case.calls_at(place.alias)
    found = explore(*calls).counterexample
    assert found is not None

    def never(outcomes: Outcomes) -> bool:
        return False

    first, *again = [replay(found.token, *calls, check=never).counterexample for _ in range(times + 1)]
    assert first is not None
    assert asked(first) == asked(found)
    return times, sum(other is not None and told(other) == told(first) for other in again)


def main(times: int) -> int:
    """Replay all of them in test databases of their own; the exit status tells whether any differed."""
    from django.core.management import call_command
    from django.test.utils import setup_databases, teardown_databases

    aliases = dict.fromkeys((PLACES[place].alias for _, place in RACES), False)
    made = setup_databases(verbosity=0, interactive=False, aliases=aliases)
    different = 0
    try:
        for name, place in RACES:
            call_command("flush", verbosity=0, interactive=False, database=PLACES[place].alias)
            with PLACES[place].entered():
                made_now, same = repeats(name, PLACES[place], times)
            print(f"{name}, {place}: {same} of {made_now} the same", flush=True)
            different += made_now - same
    finally:
        teardown_databases(made, verbosity=0)
    return 1 if different else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("times", type=int, nargs="?", default=100, help="how often each of them is replayed")
    sys.exit(main(parser.parse_args().times))
