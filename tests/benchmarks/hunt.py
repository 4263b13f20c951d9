"""What a hunt takes: `hatch run bench:hunt`.

The suite is an ordinary one of the small project that the tests hunt: 100 tests,
of which 30 make one request, 15 make two (each two of its six endpoints that
write meet once), and 55 none.  The CPU seconds are those of all its processes.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 - found through the path above
from rich.table import Table  # noqa: E402

from tests.benchmarks.race import machine  # noqa: E402
from tests.hunt.runs import HUNT, RACES, Hunted, copied, run  # noqa: E402

REQUESTS: tuple[tuple[str, dict[str, int]], ...] = (
    ("/accounts/1/withdraw/", {"amount": 80}),
    ("/accounts/1/withdraw-safely/", {"amount": 80}),
    ("/codes/SPRING/redeem/", {}),
    ("/codes/SPRING/redeem-once/", {}),
    ("/invoices/", {}),
    ("/invoices/1/", {}),
)
HEAD = """\
from django.test import TestCase

from .models import Account, Invoice, Series


class Ordinary(TestCase):
    @classmethod
    def setUpTestData(cls):
        Account.objects.create(pk=1, balance=200)
        Series.objects.create(pk=1)
"""
REQUEST = "        self.assertEqual(self.client.post({!r}, {!r}).status_code, 201)"
OTHER = """\
        Invoice.objects.create(number={})
        self.assertEqual(Invoice.objects.count(), 1)"""


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    table = Table("run", "wall", "CPU", "hunted", title=f"{machine()}, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory(prefix="aioconcurrent-") as folder:
        project = copied(Path(folder))
        (project / "till" / "tests.py").write_text(suite())
        _, *plain = timed(project, "manage.py", "test", "till")
        hunted, *seconds = timed(project, *HUNT, "manage.py", "test", "till")
        report = hunted.report
    assert hunted.told >= RACES, hunted.printed
    told = f"{report['actions']} actions, {report['pairs']} pairs, {report['schedules']} runs, {len(hunted.told)} races"
    table.add_row("the tests alone", *plain, "")
    table.add_row("the tests, and the hunt", *seconds, told)
    Console(width=120).print(table)
    print("To reach: 60 s on two cores.")


def suite() -> str:
    """The text of 100 tests with 60 requests."""
    bodies = [[each] for each in REQUESTS * 5] + [list(each) for each in combinations(REQUESTS, 2)]
    texts = ["\n".join(REQUEST.format(*each) for each in body) for body in bodies]
    texts += [OTHER.format(number) for number in range(100 - len(texts))]
    return HEAD + "".join(f"\n    def test_{number}(self):\n{text}\n" for number, text in enumerate(texts))


def timed(folder: Path, *arguments: str) -> tuple[Hunted, str, str]:
    """Run Python there; return what it left, and its seconds of the clock and of the CPU."""
    begun, before = time.perf_counter(), cpu()
    done = run(folder, *arguments)
    assert "Ran 100 tests" in done.printed, done.printed
    assert "\nOK\n" in done.printed, done.printed
    return done, f"{time.perf_counter() - begun:.1f} s", f"{cpu() - before:.1f} s"


def cpu() -> float:
    """Seconds of the processes that were waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
