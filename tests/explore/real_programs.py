"""Random small programs on real databases: what exploring leaves out must not hide an outcome.

hatch run fuzz:programs [SECONDS [FIRST_SEED]]
"""

from __future__ import annotations

import argparse
import sys
import time
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if __name__ == "__main__":  # a script has no pytest to set Django up
    import os

    sys.path.insert(0, os.getcwd())
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
    import django

    django.setup()

from aioconcurrent.sync import explore
from tests.explore.places import PLACES, Place
from tests.project.shop import programs
from tests.project.shop.models import Account, Coupon, Show, Ticket, Voucher

if TYPE_CHECKING:
    from aioconcurrent.sync import Outcomes

FUZZED = ("file", "file-immediate", "file-wal", "postgresql-RC", "postgresql-RR", "mysql-RC", "mysql-RR")
_MANY = 150  # orders; programs with more are passed over

Endings = set[tuple[str, str]]


def made_up(seed: int) -> list[list[programs.Block]]:
    """Two programs of one or two blocks, mostly about the same."""
    random = Random(seed)
    theme = random.choice(programs.THEMES)
    everything = [verb for verbs in programs.THEMES for verb in verbs]

    def operation() -> programs.Operation:
        return random.choice(theme if random.random() < 0.85 else everything), random.choice((1, 1, 1, 2))

    def program() -> list[programs.Block]:
        sizes = random.choice(((1,), (2,), (2,), (1, 1)))
        return [(random.random() < 0.5, [operation() for _ in range(size)]) for size in sizes]

    return [program(), program()]


def fill(alias: str) -> None:
    Account.objects.using(alias).bulk_create([Account(pk=1, balance=1), Account(pk=2, balance=2)])
    Show.objects.using(alias).bulk_create([Show(pk=1, title="a", seats_left=1), Show(pk=2, title="b", seats_left=1)])
    Ticket.objects.using(alias).create(pk=50, show_id=1, buyer="bob")
    Voucher.objects.using(alias).create(pk=50, code="z")


def endings(seed: int, place: Place, *, all_orders: bool) -> Endings | None:
    """All that the programs of a seed can come to; None if there are too many orders.

    The database holds what `fill` has put there.
    """
    found: Endings = set()

    def note(outcomes: Outcomes) -> None:
        found.add((repr(list(outcomes)), repr(_rows(place.alias))))

    calls = [(programs.run, {"blocks": blocks, "using": place.alias}) for blocks in made_up(seed)]
    if not all_orders:
        explored = explore(*calls, check=note)
    else:
        with patch("aioconcurrent.exploring.orders.unfolding.dependent", lambda one, other: True):
            explored = explore(*calls, check=note, max_schedules=_MANY)
    if "budget" in explored.reason:
        return None
    assert explored.exhaustive or "nothing overlapped" in explored.reason, (seed, place.name, explored)
    return found


def _rows(alias: str) -> list[Any]:
    return [
        list(Account.objects.using(alias).order_by("pk").values_list("pk", "balance")),
        list(Show.objects.using(alias).order_by("pk").values_list("pk", "title")),
        sorted(Ticket.objects.using(alias).values_list("pk", "show_id", "buyer")),
        Coupon.objects.using(alias).count(),
        sorted(Voucher.objects.using(alias).values_list("code", flat=True)),
    ]


def main(seconds: float, seed: int) -> None:
    """Compare programs from `seed` on, in one place after another, until the time is over."""
    from django.core.management import call_command
    from django.test.utils import setup_databases, teardown_databases

    made = setup_databases(
        verbosity=0, interactive=False, aliases=dict.fromkeys((PLACES[name].alias for name in FUZZED), False)
    )
    end, compared = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            place = PLACES[FUZZED[seed % len(FUZZED)]]
            call_command("flush", verbosity=0, interactive=False, database=place.alias)
            with place.entered():
                fill(place.alias)
                expected = endings(seed, place, all_orders=True)
                if expected is not None:
                    found = endings(seed, place, all_orders=False)
                    if found != expected:
                        print(f"seed {seed}, {place.name}: {made_up(seed)}")
                        print(f"  missed {expected - (found or set())}, only found {(found or set()) - expected}")
                    compared += 1
            seed += 1
    finally:
        teardown_databases(made, verbosity=0)
    print(f"{compared} programs compared, up to seed {seed - 1}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", type=float, nargs="?", default=60)
    parser.add_argument("seed", type=int, nargs="?", default=0, help="of the first program")
    main(**vars(parser.parse_args()))
