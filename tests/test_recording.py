"""Races that record what their calls do, with times."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from aioconcurrent import RecordedStep
from aioconcurrent.base.trace import interleaved
from aioconcurrent.sync import call_concurrently, make_concurrent_calls, options, override_environment
from tests.faults.processes import wait_until
from tests.project import cached, plain
from tests.project.databases import on, taking_turns
from tests.project.shop.calls import increment_locked
from tests.project.shop.models import Counter

HELD = 0.3  # seconds


def hold(pk: int, using: str, folder: Path) -> None:
    """Keep the row locked, for a while after somebody has come for it."""
    with transaction.atomic(using):
        Counter.objects.using(using).select_for_update().get(pk=pk)
        meet(folder)
        time.sleep(HELD)
    cached.stop_at("held")


def lock_later(pk: int, using: str, folder: Path) -> int:
    """Come when the row is locked."""
    meet(folder)
    return increment_locked(pk, using)


def meet(folder: Path) -> None:
    """Go on when the other call is here, too."""
    (folder / str(os.getpid())).touch()
    assert wait_until(lambda: len(list(folder.iterdir())) == 2)


def stay(pk: int, using: str) -> None:
    Counter.objects.using(using).get(pk=pk)
    time.sleep(60)


def count_to(number: int) -> None:
    for each in range(number):
        cached.stop_at(str(each))


def rename(pk: int, name: str) -> None:
    """Name the parameters, in another order than the text has them."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_counter SET name = %(name)s WHERE id = %(pk)s", {"pk": pk, "name": name})


def texts(steps: tuple[RecordedStep, ...]) -> list[str]:
    return [(step.operation.text.split() or [step.operation.kind.upper()])[0] for step in steps]


def test_without_the_option_nothing_is_recorded() -> None:
    outcomes = call_concurrently(2, plain.add, 1, 2)
    assert [report.steps for report in outcomes.reports] == [(), ()]
    assert outcomes.lanes() == "Nothing was recorded. Make the race with options(record=True)."


@pytest.mark.parametrize(
    ("database", "start_method"), taking_turns(on("default", "file", "postgresql", "mysql"), ["fork", "spawn"])
)
def test_each_step_is_recorded_with_its_times_rows_and_line(database: str, start_method: str) -> None:
    pk = Counter.objects.using(database).create(name="n", value=4).pk
    with options(record=True, start_method=start_method):
        outcomes = call_concurrently(1, increment_locked, pk, using=database)
    report = outcomes.reports[0]
    read = next(step for step in report.steps if texts((step,)) == ["SELECT"])
    assert texts(report.steps)[-2:] == ["UPDATE", "COMMIT"]
    assert (read.columns, read.rows) == (("id", "name", "value"), ((pk, "n", 4),))
    assert read.source is not None
    assert read.source.endswith("counter = Counter.objects.using(using).select_for_update().get(pk=pk)")
    assert report.started is not None
    assert report.finished is not None
    times = [time for step in report.steps for time in (step.started, step.ended or 0)]
    assert [report.started, *times, report.finished] == sorted([report.started, *times, report.finished])


@pytest.mark.parametrize("database", on("default"))
def test_values_with_names_stand_where_the_text_has_their_names(database: str) -> None:
    pk = Counter.objects.create(name="n").pk
    with options(record=True):
        outcomes = call_concurrently(1, rename, pk=pk, name="new")
    assert [step.operation.parameters for step in outcomes.reports[0].steps] == [("new", pk)]
    assert f"SET name = 'new' WHERE id = {pk}" in " ".join(outcomes.lanes().split())


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_a_wait_for_a_lock_is_seen_in_the_lanes(database: str, tmp_path: Path) -> None:
    pk = Counter.objects.using(database).create(name="n").pk
    call: dict[str, Any] = {"pk": pk, "using": database, "folder": tmp_path}
    with options(record=True):
        outcomes = make_concurrent_calls((hold, call), (lock_later, call))
    assert outcomes[1] == 1
    waiters = [step for step in outcomes.reports[1].steps if step.waited]
    assert [(texts((step,)), step.waited_for) for step in waiters] == [(["SELECT"], frozenset({0}))]
    assert waiters[0].waited > 0
    assert not any(step.waited for step in outcomes.reports[0].steps)
    lanes = outcomes.lanes(width=120)
    assert "waits for A" in lanes
    assert f"(waited {waiters[0].waited * 1000:.1f} ms for A)" in lanes


@pytest.mark.parametrize("database", on("postgresql", "mysql"))
def test_a_wait_is_told_with_the_step_that_ended_it(database: str, tmp_path: Path) -> None:
    pk = Counter.objects.using(database).create(name="n").pk
    call: dict[str, Any] = {"pk": pk, "using": database, "folder": tmp_path}
    with options(record=True):
        outcomes = make_concurrent_calls((hold, call), (lock_later, call))
    steps = interleaved(report.steps for report in outcomes.reports)
    (waiter,) = [step for step in steps if step.waited_for]
    assert waiter.resumed_after is not None
    assert (steps[waiter.resumed_after].call, steps[waiter.resumed_after].operation.kind) == (0, "commit")


@pytest.mark.parametrize("database", on("file"))
def test_where_the_database_says_nothing_of_waits_the_time_is_told(database: str, tmp_path: Path) -> None:
    """SQLite's writers wait within the statement; that they do is nobody's word."""
    pk = Counter.objects.using(database).create(name="n").pk
    call: dict[str, Any] = {"pk": pk, "using": database, "folder": tmp_path}
    with options(record=True):
        outcomes = make_concurrent_calls((write_and_hold, call), (write_later, call))
    (update,) = [step for step in outcomes.reports[1].steps if texts((step,)) == ["UPDATE"]]
    assert (update.ended or 0) > outcomes.reports[0].steps[-1].started  # the commit, which it waited for
    assert not update.waited
    assert f"took {((update.ended or 0) - update.started) * 1000:.1f} ms" in outcomes.lanes()


def write_and_hold(pk: int, using: str, folder: Path) -> None:
    with transaction.atomic(using):
        Counter.objects.using(using).filter(pk=pk).update(value=1)
        meet(folder)
        time.sleep(HELD)


def write_later(pk: int, using: str, folder: Path) -> None:
    meet(folder)
    Counter.objects.using(using).filter(pk=pk).update(value=2)


def test_the_axis_of_time_is_common_to_all_calls() -> None:
    with options(record=True):
        outcomes = make_concurrent_calls((cached.stop_at, ("one", "two"), {}), (cached.stop_at, ("three",), {}))
    rows = [line.split("│") for line in outcomes.lanes(width=120).splitlines()[2:]]
    times = [float(row[0]) for row in rows if row[0].strip()]
    assert times[0] == 0
    assert times == sorted(times)
    assert len(times) == 5  # three steps and two ends
    assert any("step('three')" in row[2] for row in rows)


@pytest.mark.parametrize("database", on("postgresql"))
def test_of_a_call_that_is_killed_all_is_known_up_to_its_end(database: str) -> None:
    pk = Counter.objects.using(database).create(name="n").pk
    with options(record=True, timeout=2):
        outcomes = make_concurrent_calls(
            (stay, {"pk": pk, "using": database}), (sleep_in_database, {"using": database})
        )
    assert len(outcomes.errors) == 2
    assert texts(outcomes.reports[0].steps) == ["SELECT"]
    assert [step.ended for step in outcomes.reports[1].steps] == [None]
    assert "was still under way when the call ended" in outcomes.lanes(200)


def sleep_in_database(using: str) -> None:
    with transaction.get_connection(using).cursor() as cursor:
        cursor.execute("SELECT pg_sleep(60)")


def test_only_the_first_thousand_steps_are_recorded() -> None:
    with options(record=True):
        report = call_concurrently(1, count_to, 1010).reports[0]
    assert (len(report.steps), report.unrecorded) == (1000, 10)


def test_the_environment_can_ask_for_it() -> None:
    with override_environment(AIOCONCURRENT_RECORD="1"):
        outcomes = call_concurrently(1, cached.stop_at, "here")
    assert [step.operation.text for step in outcomes.reports[0].steps] == ["here"]
