"""How long a restore and a look at lock waits take on each database: `python tests/benchmarks/databases.py`."""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.project.settings")

import django

django.setup()

from django.db import connections  # noqa: E402 - needs django.setup()
from django.test.utils import setup_databases, teardown_databases  # noqa: E402

from aioconcurrent.databases.guard import session_id  # noqa: E402
from aioconcurrent.databases.probes import Probe, open_probe  # noqa: E402
from aioconcurrent.databases.schema import Changes  # noqa: E402
from aioconcurrent.databases.sessions import connect_directly  # noqa: E402
from aioconcurrent.databases.state import open_state  # noqa: E402
from tests.project.shop.models import Account, Counter  # noqa: E402

ROUNDS = 200
TABLES = ("shop_counter", "shop_account")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    aliases = [alias for alias in ("file", "postgresql", "mysql") if alias in connections]
    with databases(aliases):
        for alias in aliases:
            for model in (Counter, Account):
                for _ in range(3):
                    model.objects.using(alias).create()
            measure_state(alias)
            measure_probe(alias)
            for others in (0, 100_000):
                measure_reset(alias, others)


@contextmanager
def databases(aliases: list[str]) -> Iterator[None]:
    old = setup_databases(verbosity=0, interactive=False, aliases=dict.fromkeys(aliases, False))
    try:
        yield
    finally:
        teardown_databases(old, verbosity=0)


def measure_state(alias: str) -> None:
    report(alias, "open_state", timed(lambda: open_state(alias).close(), rounds=20))
    with closing(open_state(alias)) as state:
        updated = timed(lambda: state.restore(TABLES), lambda: update(alias))
        report(alias, "restore 2 tables, no counter moved", updated)
        report(alias, "restore 2 tables, both counters moved", timed(lambda: state.restore(TABLES), lambda: add(alias)))
        report(alias, "rows of 2 tables", timed(lambda: state.rows(TABLES)))
        report(alias, "changed, all tables", timed(state.changed))
        assert not state.changed()


def measure_reset(alias: str, others: int) -> None:
    """How long a run of which is known what it changed takes to be taken back, next to all rows of the table."""
    counters = Counter.objects.using(alias)
    counters.bulk_create([Counter(name="another") for _ in range(others)], batch_size=5000)
    keys = list(counters.order_by("pk").values_list("pk", flat=True)[:1]) or [counters.create().pk]
    keys += [counters.create().pk for _ in range(10)]
    with closing(open_state(alias)) as state:
        state.keep()
        for number in (1, 10):
            changed = keys[:number]
            told = {"shop_counter": Changes(frozenset((key,) for key in changed), frozenset({"value"}))}

            def change(changed: list[int] = changed) -> None:
                counters.filter(pk__in=changed).update(value=1)

            def restore(told: dict[str, Changes] = told) -> None:
                state.restore(told, told)

            rounds = ROUNDS if not others else 10
            whole = timed(lambda: state.restore({"shop_counter"}), change, rounds)
            known = timed(restore, change, rounds)
            what = f"restore {number} rows beside {others:,}"
            report(alias, what, known)
            report(alias, f"  all rows: {median(whole) / median(known):.1f} times as long", whole)
        report(alias, f"restore of a run that read, beside {others:,}", timed(lambda: state.restore(frozenset())))
        assert not state.changed()
    counters.filter(name="another").delete()


def update(alias: str) -> None:
    Counter.objects.using(alias).update(value=1)
    Account.objects.using(alias).update(balance=1)


def add(alias: str) -> None:
    Counter.objects.using(alias).create()
    Account.objects.using(alias).create()


def measure_probe(alias: str) -> None:
    probe = open_probe(alias)
    if probe is None:
        return
    with closing(probe), closing(connect_directly(alias).connection) as one:
        other = connect_directly(alias)
        session = session_id(other) or 0
        with closing(other.connection):
            report(alias, "probe, nobody waits", timed(lambda: probe.waiting([session])))
            report(alias, "wait, from the send until it is seen", [wait(probe, one, other, session) for _ in range(50)])


def wait(probe: Probe, one: object, other: object, session: int) -> float:
    """Milliseconds from before an UPDATE is sent, in a thread that runs already, until the probe sees it wait."""
    holder, cursor = one.cursor(), other.connection.cursor()  # type: ignore[attr-defined]
    holder.execute("BEGIN")
    holder.execute("UPDATE shop_counter SET value = 2")
    sent: list[float] = []

    def work() -> None:
        sent.append(time.perf_counter())
        cursor.execute("UPDATE shop_counter SET value = 3")

    thread = threading.Thread(target=work)
    thread.start()
    while not probe.waiting([session]):
        pass
    seen = time.perf_counter()
    holder.execute("ROLLBACK")
    thread.join()
    return (seen - sent[0]) * 1000


def timed(work: Callable[[], object], before: Callable[[], object] = lambda: None, rounds: int = ROUNDS) -> list[float]:
    found = []
    for _ in range(rounds):
        before()
        start = time.perf_counter()
        work()
        found.append((time.perf_counter() - start) * 1000)
    return found


def report(alias: str, what: str, found: list[float]) -> None:
    print(f"{alias:<11} {what:<46} median {median(found):7.3f} ms   least {min(found):7.3f} ms")


if __name__ == "__main__":
    main()
